//! Peers that are gone: what waited for them ends, and what is started later ends at once.
//!
//! Whoever learns of a loss tells all with whom it has talked, for one that waits for the living may in truth wait for
//! the dead. On a severed context (a collective's, when a member is gone) nothing succeeds any more: what arrives there
//! is not received, and its sender is told why.

use crate::base::id::PeerId;
use crate::engine::operation::{End, Operation, State, Ticket};
use crate::engine::{Body, Core, Engine};
use crate::transport::Links;
use crate::wire::frame::{Header, Kind, NOBODY, SYNCHRONOUS};

/// Peers that are looked for at a time.
const PROBES: usize = 32;

/// How the reason ends that another rank gave.
pub const HEARSAY: &str = "says so";

impl Engine {
    /// The next lost peer that nobody above has heard of; every context that it belonged to is to be told by
    /// [`Engine::bereave`].
    #[inline]
    pub fn next_loss(&mut self) -> Option<PeerId> {
        let peer = self.core.lost.get(self.core.told).copied()?;
        self.core.told += 1;
        Some(peer)
    }

    /// The lost peer because of which nothing succeeds any more on this context.
    #[inline]
    pub fn severed(&self, context: u64) -> Option<PeerId> {
        self.core.severed(context)
    }

    /// A lost peer belonged to this context: receives from any source fail, those that wait and those to come, for
    /// the message may have been its.
    pub fn bereave(&mut self, context: u64, peer: PeerId) {
        let core = &mut self.core;
        core.settle_blocking();
        if core.bereft.iter().any(|&(c, _)| c == context) {
            return;
        }
        core.bereft.push((context, peer));
        core.fail(peer, |o| {
            o.context == context && o.peer.is_none() && o.state == State::Posted
        });
    }

    /// Nothing succeeds on this context any more, because of that peer: what is under way there ends, and everybody
    /// from whom something waits there hears of it.
    pub fn sever(&mut self, context: u64, peer: PeerId) {
        let core = &mut self.core;
        core.settle_blocking();
        if core.severed.iter().any(|&(c, _)| c == context) {
            return;
        }
        core.severed.push((context, peer));
        let on = |o: &Operation| o.context == context && o.state != State::Cancelling;
        // Before they are over: to whom something was to go.
        let mut others: Vec<PeerId> = Vec::new();
        for ticket in core.operations.tickets() {
            if let Some(o) = core.operations.get(ticket).filter(|o| on(o)) {
                others.extend(o.peer.filter(|_| o.state != State::Complete));
            }
        }
        for peer in &mut core.peers {
            let stays = |t: &Ticket| !core.operations.get(*t).is_some_and(on);
            peer.sends.retain(stays);
            peer.streams.retain(stays);
        }
        core.fail(peer, on);
        while let Some(message) = core
            .contexts
            .get_mut(context)
            .and_then(|q| q.take_where(|_| true))
        {
            others.push(message.from);
            if let Body::Whole(bytes) = message.body {
                core.consumed(message.from, bytes.len(), false, 0);
                core.recycle(bytes);
            }
        }
        for other in others {
            core.refuse(other, peer);
        }
        let Engine { links, core } = self;
        core.go_on(links);
    }

    /// Looks for peers that ended in silence, among those for whom something waits. The first time in a wait (not
    /// `again`) those from whom something is to come are asked whether they live, and whom they know to be gone: the
    /// first word to a peer is what finds out that nobody is there. After that the links look, where silence tells them
    /// nothing, and without bothering the peer: a few peers each time, in turn.
    pub fn inquire(&mut self, again: bool) {
        let Engine { links, core } = self;
        core.settle_blocking();
        let mut waited: Vec<PeerId> = Vec::new();
        let mut anybody = false;
        for ticket in core.operations.tickets() {
            let Some(o) = core.operations.get(ticket) else {
                continue;
            };
            let posted = o.state == State::Posted;
            anybody |= posted && o.peer.is_none();
            if posted || (again && o.state != State::Complete) {
                waited.extend(o.peer);
            }
        }
        waited.extend(links.awaited());
        waited.sort_unstable();
        waited.dedup();
        let (me, peers) = (core.me, &core.peers);
        waited.retain(|&p| p != me && !peers[p.0 as usize].is_gone());
        if again {
            core.probe(links, &waited, anybody);
        } else {
            for peer in waited {
                core.control(
                    peer,
                    Header {
                        request: NOBODY,
                        ..Header::new(Kind::Loss)
                    },
                );
            }
        }
        core.go_on(links);
    }
}

impl Core {
    /// Has the links look for these, and, when anybody's message is waited for, for some to whom this rank has talked.
    fn probe(&mut self, links: &mut Links, waited: &[PeerId], anybody: bool) {
        let turn = self.probed;
        let from = waited.partition_point(|p| p.0 < turn);
        let (before, after) = waited.split_at(from);
        for &peer in after.iter().chain(before).take(PROBES) {
            links.probe(peer);
            self.probed = peer.0 + 1;
        }
        if anybody {
            let size = self.peers.len();
            let others = (0..size).map(|step| (turn as usize + step) % size);
            let known = |&at: &usize| self.peers[at].talked && !self.peers[at].is_gone();
            for at in others.filter(known).take(PROBES) {
                links.probe(PeerId(at as u32));
                self.probed = at as u32 + 1;
            }
        }
    }

    /// The peer whose end makes a receive hopeless: the one it names, or for a wildcard any of the context's.
    #[inline]
    pub fn gone(&self, context: u64, from: Option<PeerId>) -> Option<PeerId> {
        if let Some(peer) = self.severed(context) {
            return Some(peer);
        }
        match from {
            Some(peer) => self.peers[peer.0 as usize].is_gone().then_some(peer),
            None => self
                .bereft
                .iter()
                .find(|b| b.0 == context)
                .map(|&(_, peer)| peer),
        }
    }

    /// Because of whom nothing succeeds on this context.
    #[inline]
    pub(super) fn severed(&self, context: u64) -> Option<PeerId> {
        if self.severed.is_empty() {
            return None;
        }
        self.severed
            .iter()
            .find(|s| s.0 == context)
            .map(|&(_, peer)| peer)
    }

    /// Ends the operations of this kind: the peer is gone.
    fn fail(&mut self, peer: PeerId, kind: impl Fn(&Operation) -> bool) {
        if self.operations.is_empty() {
            return;
        }
        for ticket in self.operations.tickets() {
            let Some(operation) = self.operations.get(ticket) else {
                continue;
            };
            if operation.state == State::Complete || !kind(operation) {
                continue;
            }
            // What left whole was sent, whether or not it could have been taken back.
            let end = match operation.state {
                State::Cancelling => End::Fine,
                _ => End::Lost(peer),
            };
            if !self.may_end(ticket, end) {
                continue;
            }
            let Some(operation) = self.operations.get(ticket) else {
                continue;
            };
            if let Some((posted, pattern)) = operation.posted {
                if let Some(queues) = self.contexts.get_mut(operation.context) {
                    queues.withdraw(posted, pattern);
                }
            }
            self.complete(ticket, end);
        }
    }

    /// Nothing more can be exchanged with this peer.
    fn part(&mut self, from: PeerId) {
        self.settle_blocking();
        self.parted = true;
        let peer = &mut self.peers[from.0 as usize];
        // The fast path goes by credit alone.
        peer.credit = 0;
        peer.sends.clear();
        peer.streams.clear();
        self.let_go(from, None);
        self.fail(from, |o| o.peer == Some(from));
    }

    pub(super) fn on_goodbye(&mut self, from: PeerId) {
        if from != self.me {
            let peer = &mut self.peers[from.0 as usize];
            (peer.goodbye, peer.cut, peer.ended) = (true, true, true);
            self.part(from);
        }
    }

    /// The link broke. After a goodbye that is no loss.
    pub(super) fn on_loss(&mut self, peer: PeerId, why: &str) {
        let known = &mut self.peers[peer.0 as usize];
        (known.cut, known.ended) = (true, true);
        if known.is_gone() {
            return;
        }
        self.mourn(peer, why.into());
    }

    fn mourn(&mut self, peer: PeerId, why: Box<str>) {
        let known = &mut self.peers[peer.0 as usize];
        known.lost = Some(why);
        known.control.clear();
        self.lost.push(peer);
        self.part(peer);
        for at in 0..self.peers.len() {
            if self.peers[at].talked {
                self.tell(PeerId(at as u32));
            }
        }
    }

    /// Tells a peer of the losses that it has not been told of.
    fn tell(&mut self, to: PeerId) {
        let at = to.0 as usize;
        while self.peers[at].told < self.lost.len() {
            let lost = self.lost[self.peers[at].told];
            self.peers[at].told += 1;
            self.refuse(to, lost);
        }
    }

    /// Tells a living peer that another is gone.
    pub(super) fn refuse(&mut self, to: PeerId, gone: PeerId) {
        if to != self.me && to != gone && !self.peers[to.0 as usize].is_gone() {
            let header = Header {
                request: gone.0,
                ..Header::new(Kind::Loss)
            };
            self.control(to, header);
        }
    }

    /// Somebody says that a rank is gone, or wants to know. This rank believes it: who was parted from one of the
    /// others cannot go on with all of them.
    pub(super) fn on_hearsay(&mut self, from: PeerId, gone: u32) {
        if gone == self.me.0 || gone as usize >= self.peers.len() {
            return;
        }
        let gone = PeerId(gone);
        if self.peers[gone.0 as usize].lost.is_none() {
            self.mourn(gone, format!("rank {} {HEARSAY}", from.0).into());
            self.transfers.forsake(gone);
        }
    }

    /// A frame from a peer that may not know of a loss, or comes too late; true when there is no more to do with it.
    #[cold]
    pub(super) fn turned_away(&mut self, from: PeerId, header: &Header) -> bool {
        self.tell(from);
        let Some(gone) = self.severed(header.context) else {
            return false;
        };
        match header.kind {
            Kind::Eager => {
                let synchronous = header.flags & SYNCHRONOUS != 0;
                self.consumed(from, header.length as usize, synchronous, header.request);
            }
            Kind::Ready => {}
            _ => return false,
        }
        self.refuse(from, gone);
        true
    }
}
