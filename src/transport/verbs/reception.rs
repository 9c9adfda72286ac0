//! Where peers are received: meetings ([`Meet`]), their datagrams ([`Ud`]), and the queue pairs that come of them, which
//! are the hall's.

use crate::base::id::PeerId;
use crate::transport::verbs::meet::{Ends, Meet, Ours, Settings};
use crate::transport::verbs::peer::{Hall, Terms};
use crate::transport::verbs::sys::{Peering, Sending};
use crate::transport::verbs::ud::{Port, Ud};
use crate::wire::address::Address;
use crate::wire::verbs_address::VerbsAddress;
use crate::wire::verbs_hello::{Offer, HELLO};
use std::time::{Duration, Instant};

/// How long a sender waits when there is no receive buffer, as verbs number it: 0.64 ms. There always is one.
const NOT_READY: u8 = 12;
/// Without end; the same.
const NOT_READY_RETRIES: u8 = 7;
/// A dead peer is found after 1 to 4 s on a card, which takes up to four times the time it is told; in software, which
/// takes it exactly, after 2 s. (4.096 us times 2 to this, seven times.)
const CARD: u8 = 15;
const SOFTWARE: u8 = 16;
/// Not 7: Soft-RoCE takes that for without end, as it is for receivers that are not ready.
const RETRIES: u8 = 6;

/// What this rank's device does for a connection.
#[derive(Clone, Copy, Debug)]
pub struct Able {
    /// Reads and atomics under way: of peers here, and of this rank at a peer.
    pub reads_here: u8,
    pub reads_there: u8,
    pub software: bool,
}

/// See the file's head.
pub struct Reception {
    meet: Meet,
    ud: Ud,
    port: Port,
    able: Able,
    hellos: Vec<[u8; HELLO]>,
    /// Peers to which this rank will not send by verbs, and why; none was sent anything yet.
    pub refused: Vec<(PeerId, String)>,
}

/// The device as meetings use it.
struct Floor<'a, H> {
    hall: &'a mut H,
    ud: &'a mut Ud,
    port: &'a Port,
    able: &'a Able,
    refused: &'a mut Vec<(PeerId, String)>,
}

impl<H: Hall> Ends for Floor<'_, H> {
    fn prepare(&mut self, peer: u32) -> Result<Ours, String> {
        let local = self.hall.prepare(peer)?;
        Ok(Ours {
            queue_pair: local.qpn,
            first_packet: local.psn,
            terms: local.terms.encode(),
        })
    }

    fn connect(&mut self, peer: u32, at: &VerbsAddress, theirs: &Offer) -> Result<(), String> {
        let local = self.hall.prepare(peer)?;
        let pair = self.hall.fresh(peer)?;
        pair.receive_from(&Peering {
            route: self.port.route(at),
            pair: theirs.queue_pair,
            first: theirs.first_packet,
            mtu: u32::from(theirs.mtu.min(self.port.mtu)),
            reads: self.able.reads_here,
            not_ready: NOT_READY,
        })?;
        pair.send_to(&Sending {
            first: local.psn,
            timeout: if self.able.software { SOFTWARE } else { CARD },
            retries: RETRIES,
            not_ready_retries: NOT_READY_RETRIES,
            reads: self.able.reads_there.min(theirs.reads),
        })?;
        Ok(())
    }

    fn connected(&mut self, peer: u32, theirs: &Offer) {
        self.hall.connected(peer, &Terms::decode(&theirs.terms));
    }

    fn failed(&mut self, peer: u32, why: String) {
        self.hall.failed(peer, why.clone());
        self.refused.push((PeerId(peer), why));
    }

    fn unheard(&mut self, peer: u32, why: String) {
        self.refused.push((PeerId(peer), why));
    }

    fn post(&mut self, _: u32, to: &VerbsAddress, hello: &[u8; HELLO]) -> Result<(), String> {
        self.ud.send(to, hello)
    }
}

impl Reception {
    pub fn new(ud: Ud, port: Port, able: Able, settings: Settings) -> Reception {
        Reception {
            meet: Meet::new(settings),
            ud,
            port,
            able,
            hellos: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// How others reach this rank. `modes`: what the transport can do.
    pub fn address(&self, modes: u8) -> VerbsAddress {
        self.ud.address(modes)
    }

    /// Takes a peer's address in.
    pub fn introduce(&mut self, peer: PeerId, address: &Address) {
        self.meet.introduce(peer.0, address);
    }

    /// Peers that came before they were introduced.
    pub fn wanted(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.meet.wanted)
            .into_iter()
            .map(PeerId)
            .collect()
    }

    /// Nothing is said to the peer, or heard of it, any more.
    pub fn forget(&mut self, peer: PeerId) {
        self.meet.forget(peer.0);
    }

    /// Nothing can be sent by datagrams any more, for this reason.
    pub fn broken(&self) -> Option<&str> {
        self.ud.broken.as_deref()
    }

    /// Is anybody asked?
    pub fn asks(&self) -> bool {
        self.meet.next_tick().is_some()
    }

    fn with<H: Hall>(&mut self, hall: &mut H, act: impl FnOnce(&mut Meet, &mut Floor<'_, H>)) {
        let mut floor = Floor {
            hall,
            ud: &mut self.ud,
            port: &self.port,
            able: &self.able,
            refused: &mut self.refused,
        };
        act(&mut self.meet, &mut floor);
    }

    /// This rank has something for a peer with whom it is not connected. Cheap to be said again.
    pub fn want<H: Hall>(&mut self, peer: PeerId, hall: &mut H) {
        if self.meet.may_want(peer.0) {
            self.with(hall, |meet, floor| {
                meet.want(peer.0, Instant::now(), floor);
            });
        }
    }

    /// Something came from a peer of which it was not known that it may send.
    pub fn heard<H: Hall>(&mut self, peer: PeerId, hall: &mut H) {
        self.with(hall, |meet, floor| meet.heard(peer.0, floor));
    }

    /// Takes hellos and does what is due; true when anything moved.
    pub fn poll<H: Hall>(&mut self, hall: &mut H) -> bool {
        let mut hellos = std::mem::take(&mut self.hellos);
        let moved = self.ud.poll(&mut hellos);
        let due = self.asks();
        if !hellos.is_empty() || due {
            self.with(hall, |meet, floor| {
                for hello in hellos.drain(..) {
                    meet.came(&hello, floor);
                }
                if due {
                    meet.tick(Instant::now(), floor);
                }
            });
        }
        self.hellos = hellos;
        moved
    }

    /// How long a sleep may be so that no repetition is late.
    pub fn nap(&self, limit: Duration) -> Duration {
        match self.meet.next_tick() {
            Some(at) => limit.min(at.saturating_duration_since(Instant::now())),
            None => limit,
        }
    }

    /// From now on the channel tells of hellos; false: some are there.
    ///
    /// # Errors
    /// The device's.
    pub fn arm(&mut self) -> Result<bool, String> {
        self.ud.arm()
    }
}
