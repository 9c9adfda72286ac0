//! A relayed connection that breaks comes back: through the same relay, started again, or another of the list. Both
//! ranks live, as far as anybody knows; what they send meanwhile is kept (`lane`).
//!
//! Both go round the relays, the higher rank so slowly that the lower one passes by at each of its stations. That has a
//! limit (`meet::RELAYS`). A peer that has not answered the call may compute, for as long as it likes; whether it lives is the
//! rendezvous' to say, which tells too when it has left the job. Meanwhile the caller looks whether a relay is there at
//! all (`vigil`): when none comes back within that limit, the peer is lost.

use crate::info;
use crate::transport::tcp::lane::{Lane, RECORD};
use crate::transport::tcp::link::{Link, Stage};
use crate::transport::tcp::{write, Tcp, NONE};
use crate::transport::{PeerId, Sent};
use crate::wire::frame::{Header, HEADER};
use crate::wire::hello::Path;
use std::time::{Duration, Instant};

/// How long the lower rank stays at a relay.
const STAY: Duration = Duration::from_secs(1);

/// A connection that broke.
pub struct Mend {
    since: Instant,
    why: String,
    at: String,
    rest_sent: bool,
    rest_came: bool,
    tired: bool,
}

impl Mend {
    fn new(link: &Link, why: &str) -> Mend {
        Mend {
            since: Instant::now(),
            why: why.to_string(),
            at: link.at.clone(),
            rest_sent: link.rest_sent,
            rest_came: link.rest_came,
            tired: link.tired,
        }
    }
}

impl Tcp {
    /// Is it one that may come back?
    pub(super) fn can_mend(&self, link: &Link) -> bool {
        let p = &self.peers[link.peer as usize];
        let relayed = link.path == Path::Relayed && p.lane.is_some();
        relayed && !link.closes && !p.goodbye && !p.gone && self.can_relay(link.peer)
    }

    /// Did a relayed connection of this pair break, or will the other side say so?
    pub(super) fn mends(&self, peer: u32) -> bool {
        let p = &self.peers[peer as usize];
        let relayed = |at: &u32| {
            let link = self.links[*at as usize].as_deref();
            link.is_some_and(|l| l.lane.is_some() && !l.finished)
        };
        p.mend.is_some() || p.ready.iter().any(relayed)
    }

    /// How long to stay at a relay, when it is one of those that both go round.
    pub(super) fn stay(&self, peer: u32) -> Option<Duration> {
        let slowly = STAY * self.ways.relays.len() as u32 + STAY / 2;
        self.mends(peer)
            .then_some(if self.me < peer { STAY } else { slowly })
    }

    /// A relayed connection broke; it is removed already.
    pub(super) fn mend(&mut self, at: u32, link: &Link, why: &str) {
        let peer = link.peer;
        info!(
            "rank {}: rank {peer} by tcp relayed broke: {why} ({})",
            self.me, link.at
        );
        self.lay_aside(at, link, why);
        let p = &mut self.peers[peer as usize];
        if !p.lane.as_mut().is_some_and(|lane| lane.broke()) {
            self.not_mended(peer, "and so did those that followed it");
            return;
        }
        self.seek(peer);
    }

    /// What the connection had to do is left to the next one.
    fn lay_aside(&mut self, at: u32, link: &Link, why: &str) {
        let p = &mut self.peers[link.peer as usize];
        p.ready.retain(|r| *r != at);
        if p.out == at {
            p.out = NONE;
        }
        p.mend = Some(Box::new(Mend::new(link, why)));
    }

    /// Calls a peer whose connection broke, unless it is called or both are at it already: what they have tried so far
    /// must count, or they would try for ever.
    pub(super) fn seek(&mut self, peer: u32) {
        let p = &self.peers[peer as usize];
        if p.mend.is_none() {
            return;
        }
        match &p.meeting {
            Some(meeting) if meeting.calls.is_some() || meeting.goes_to_relay() => return,
            Some(_) => self.end_meeting(peer),
            None => (),
        }
        self.call(peer, Instant::now());
    }

    /// A relayed connection is there: any other of this pair is over. Gives the words that it begins with.
    pub(super) fn supersede(&mut self, new: u32) -> [u8; RECORD] {
        let Some(peer) = self.links[new as usize].as_deref().map(|l| l.peer) else {
            return [0; RECORD];
        };
        let old = |l: &Link| l.peer == peer && l.lane.is_some();
        for at in 0..self.links.len() as u32 {
            if at == new || !self.links[at as usize].as_deref().is_some_and(old) {
                continue;
            }
            // What it still has comes again.
            let removed = self.remove(at);
            if let Some(meeting) = &mut self.peers[peer as usize].meeting {
                meeting.misses(at);
            }
            match removed {
                Some(link) if link.finished => {
                    let p = &mut self.peers[peer as usize];
                    p.ready.retain(|r| *r != at);
                    if p.out == at {
                        p.out = NONE;
                    }
                }
                Some(link) if link.stage == Stage::Ready => {
                    self.lay_aside(at, &link, "another took its place");
                }
                _ => (),
            }
        }
        let p = &mut self.peers[peer as usize];
        let over = p.mend.as_ref().is_some_and(|m| m.rest_sent && m.rest_came);
        p.lane.get_or_insert_default().tell(over)
    }

    /// The words were said: the peer's must come.
    pub(super) fn take_lane(&mut self, at: u32) {
        if let Some(link) = self.links[at as usize].as_deref_mut() {
            link.lane = self.peers[link.peer as usize].lane.take();
            link.stage = Stage::Counting;
        }
    }

    /// A relayed connection goes on where the last one broke.
    pub(super) fn inherit(&mut self, at: u32) {
        let Some(link) = self.links[at as usize].as_deref_mut() else {
            return;
        };
        let p = &mut self.peers[link.peer as usize];
        if let Some(mend) = p.mend.take() {
            let took = mend.since.elapsed().as_millis();
            let (me, peer) = (self.me, link.peer);
            info!("rank {me}: rank {peer} by tcp relayed again after {took} ms");
            link.rest_sent |= mend.rest_sent;
            link.rest_came |= mend.rest_came;
            link.tired |= mend.tired;
            p.out = at;
        }
    }

    /// It is ready, and may have something to do.
    pub(super) fn go_on(&mut self, at: u32) {
        let Some(link) = self.links[at as usize].as_deref_mut() else {
            return;
        };
        let rests = link.rests();
        if !link.pending {
            link.pending = true;
            self.pending.push(at);
        }
        if rests {
            self.rested(at);
        }
    }

    /// The lane of a pair, which a connection may have.
    fn lane(&mut self, peer: u32) -> Option<&mut Lane> {
        match &mut self.peers[peer as usize].lane {
            Some(lane) => Some(lane),
            None => (self.links.iter_mut().flatten())
                .find(|l| l.peer == peer && l.lane.is_some())
                .and_then(|l| l.lane.as_deref_mut()),
        }
    }

    /// Keeps a frame for a peer whose connection broke.
    #[cold]
    pub(super) fn keep(
        &mut self,
        peer: u32,
        header: &Header,
        fill: impl FnOnce(&mut [u8]),
    ) -> Sent {
        let total = HEADER + header.length as usize;
        let p = &mut self.peers[peer as usize];
        if let Some(dial) = &mut p.dial {
            return super::put(&mut dial.output, &mut self.pool, header, fill);
        }
        if p.mend.as_ref().is_some_and(|m| m.rest_sent || m.rest_came) {
            return Sent::Busy;
        }
        let Some(lane) = self.lane(peer) else {
            return Sent::Lost;
        };
        let Some(room) = lane.room(total) else {
            return Sent::Busy;
        };
        write(room, header, fill);
        lane.commit(total);
        Sent::Done
    }

    /// No connection took the place of the one that broke: the peer is lost.
    pub(super) fn not_mended(&mut self, peer: u32, why: &str) {
        self.end_meeting(peer);
        let p = &mut self.peers[peer as usize];
        let Some(mend) = p.mend.take() else { return };
        p.gone = true;
        p.out = NONE;
        p.lane = None;
        let said = !std::mem::replace(&mut p.goodbye, true);
        let dial = p.dial.take();
        self.dialling.retain(|d| *d != peer);
        // What came on another one would stand behind what is missing.
        for at in std::mem::take(&mut p.ready) {
            self.remove(at);
        }
        if let Some(at) = dial.map(|d| d.link()).filter(|at| *at != NONE) {
            self.remove(at);
        }
        if said {
            let why = format!(
                "relayed, and the relay or the rank ended: {} ({}); it did not come back: {why}",
                mend.why, mend.at
            );
            self.losses.push((PeerId(peer), why));
        }
    }

    /// Has everything arrived that was sent through relays?
    pub fn settled(&self) -> bool {
        let mended = self.peers.iter().all(|p| p.mend.is_none() || p.goodbye);
        mended
            && self
                .links
                .iter()
                .flatten()
                .all(|l| l.lane.is_none() || l.settled() || self.peers[l.peer as usize].goodbye)
    }
}
