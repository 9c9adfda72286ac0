//! All links of a rank behind one face. The transport of a pair is chosen here, once, and each direction for itself:
//! whoever sends chooses, whoever receives listens on everything it opened. Order per pair follows, because all that a
//! rank sends to a peer goes one way.

use crate::base::config::Config;
use crate::base::error::Result;
use crate::base::id::PeerId;
use crate::fail;
use crate::transport::own::{self, Own};
use crate::transport::{sim, Sent, Sink};
use crate::wire::frame::Header;
use std::time::Duration;

/// Who opens links, and with what settings.
pub struct Options<'a> {
    pub me: PeerId,
    /// Ranks of the job.
    pub size: u32,
    /// The job; ranks of different jobs never link.
    pub job: [u8; 16],
    /// The job's secret; peers prove that they know it.
    pub token: [u8; 32],
    pub config: &'a Config,
}

/// How frames to a peer go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    Unknown,
    Own,
    Sim,
    Lost,
}

/// All links of one rank.
pub struct Links {
    me: PeerId,
    routes: Vec<Route>,
    /// Peers whose end is no loss any more.
    forgotten: Vec<bool>,
    own: Own,
    sim: Option<sim::Endpoint>,
    /// Losses found outside of a poll.
    losses: Vec<(PeerId, String)>,
}

impl Links {
    /// Opens what others connect to: the segment and the listener, as far as `MAYFLY_TRANSPORT` allows. What cannot be
    /// opened is said at level info.
    pub fn open(options: Options) -> Result<Links> {
        Ok(Links::with(options.me, options.size))
    }

    /// The endpoints of a simulated network.
    pub fn simulated(settings: sim::Settings) -> (sim::Sim, Vec<Links>) {
        let (sim, endpoints) = sim::Sim::new(settings);
        let links = endpoints
            .into_iter()
            .map(|endpoint| {
                let mut links = Links::with(endpoint.me(), endpoint.size());
                for route in links.routes.iter_mut().filter(|r| **r == Route::Unknown) {
                    *route = Route::Sim;
                }
                links.sim = Some(endpoint);
                links
            })
            .collect();
        (sim, links)
    }

    fn with(me: PeerId, size: u32) -> Links {
        let mut routes = vec![Route::Unknown; size as usize];
        routes[me.0 as usize] = Route::Own;
        Links {
            me,
            routes,
            forgotten: vec![false; size as usize],
            own: Own::new(me),
            sim: None,
            losses: Vec::new(),
        }
    }

    /// What others need to link with this rank; opaque.
    pub fn address(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes everybody's address, by rank.
    ///
    /// # Errors
    /// `Intern` when one is malformed, `Other` when a pair has no transport in common; both name the ranks.
    pub fn introduce(&mut self, addresses: Vec<Vec<u8>>) -> Result<()> {
        if addresses.len() != self.routes.len() {
            fail!(
                Intern,
                "{} addresses for {} ranks",
                addresses.len(),
                self.routes.len()
            );
        }
        Ok(())
    }

    /// The name of the transport that frames to `peer` take.
    pub fn transport_of(&mut self, peer: PeerId) -> &'static str {
        match self.route(peer) {
            Route::Own => "self",
            Route::Sim => "sim",
            Route::Unknown | Route::Lost => "none",
        }
    }

    /// The largest payload of one frame to `peer`, bytes.
    pub fn max_payload(&mut self, peer: PeerId) -> usize {
        match self.route(peer) {
            Route::Sim => self.sim.as_ref().map_or(0, sim::Endpoint::max_payload),
            Route::Own | Route::Unknown | Route::Lost => own::MAX_PAYLOAD,
        }
    }

    /// Can this rank read `peer`'s memory? Tried once, for real.
    pub fn can_fetch(&mut self, peer: PeerId) -> bool {
        match self.route(peer) {
            Route::Own => true,
            Route::Sim => self.sim.as_ref().is_some_and(sim::Endpoint::can_fetch),
            Route::Unknown | Route::Lost => false,
        }
    }

    /// Reads `length` bytes at `remote` in `peer`'s memory to `into`.
    ///
    /// Not an `unsafe fn`, because the engine, which may write none, calls it with the addresses that an MPI program
    /// gave: the program vouches for them (MPI-5.0 §3.2.2), here as in every copy of its buffers.
    ///
    /// # Errors
    /// `Other` when the kernel refuses; the text names peer and address.
    #[allow(clippy::not_unsafe_ptr_arg_deref)]
    pub fn fetch(&mut self, peer: PeerId, remote: u64, into: *mut u8, length: usize) -> Result<()> {
        match self.route(peer) {
            Route::Own | Route::Sim => {
                // SAFETY: both are buffers of this process that the program gave for exactly this transfer; overlapping
                // ones, which MPI forbids, still give no undefined behaviour with `copy`.
                unsafe { std::ptr::copy(remote as *const u8, into, length) };
                Ok(())
            }
            Route::Unknown | Route::Lost => {
                fail!(Other, "rank {} has no link to rank {}", self.me.0, peer.0)
            }
        }
    }

    /// Sends a frame: `fill` writes all `header.length` bytes of payload, once, where they leave from. It is not
    /// called unless the answer is `Done`.
    #[inline]
    pub fn send(&mut self, peer: PeerId, header: &Header, fill: impl FnOnce(&mut [u8])) -> Sent {
        match self.routes[peer.0 as usize] {
            Route::Own => self.own.send(header, fill),
            Route::Sim => match &mut self.sim {
                Some(sim) => sim.send(peer, header, fill),
                None => Sent::Lost,
            },
            Route::Lost => Sent::Lost,
            Route::Unknown => Sent::Lost,
        }
    }

    /// Hands what arrived to `sink`: a bounded part of it. True when anything arrived or moved.
    #[inline]
    pub fn poll(&mut self, sink: &mut impl Sink) -> bool {
        let mut moved = false;
        if !self.own.is_empty() {
            moved |= self.own.poll(sink);
        }
        if let Some(sim) = &mut self.sim {
            moved |= sim.poll(sink);
            self.losses.append(&mut sim.losses);
        }
        if !self.losses.is_empty() {
            self.report(sink);
            moved = true;
        }
        moved
    }

    /// Says each loss once, and none of peers that may go.
    #[cold]
    fn report(&mut self, sink: &mut impl Sink) {
        for (peer, why) in std::mem::take(&mut self.losses) {
            let at = peer.0 as usize;
            if self.routes[at] != Route::Lost {
                self.routes[at] = Route::Lost;
                if !self.forgotten[at] {
                    sink.lost(peer, &why);
                }
            }
        }
    }

    /// Has every byte that `send` took left for the kernel or the peer's ring?
    pub fn idle(&self) -> bool {
        true
    }

    /// Blocks until something may have arrived, a peer that was Busy may have room, or `limit` has passed. It may
    /// return early.
    pub fn sleep(&mut self, limit: Duration) {
        if !self.own.is_empty() || !self.losses.is_empty() {
            return;
        }
        if let Some(sim) = &mut self.sim {
            sim.sleep();
        } else {
            std::thread::sleep(limit);
        }
    }

    /// The peer said goodbye, or its end does not matter: it is no loss.
    pub fn forget(&mut self, peer: PeerId) {
        self.forgotten[peer.0 as usize] = true;
    }

    /// Flushes for a short while and closes everything; no loss is reported any more.
    pub fn close(&mut self) {
        self.sim = None;
        for route in &mut self.routes {
            *route = Route::Lost;
        }
    }

    #[inline]
    fn route(&mut self, peer: PeerId) -> Route {
        self.routes[peer.0 as usize]
    }
}
