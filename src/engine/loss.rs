//! Peers that are gone: what waited for them ends, and what is started later ends at once.

use crate::base::id::PeerId;
use crate::engine::operation::{End, Operation, State};
use crate::engine::{Core, Engine};

impl Engine {
    /// The next lost peer that nobody above has heard of; every context that it belonged to is to be told by
    /// [`Engine::bereave`].
    #[inline]
    pub fn next_loss(&mut self) -> Option<PeerId> {
        let peer = self.core.lost.get(self.core.told).copied()?;
        self.core.told += 1;
        Some(peer)
    }

    /// A lost peer belonged to this context: receives from any source fail, those that wait and those to come, for
    /// the message may have been its.
    pub fn bereave(&mut self, context: u64, peer: PeerId) {
        let core = &mut self.core;
        if core.bereft.iter().any(|&(c, _)| c == context) {
            return;
        }
        core.bereft.push((context, peer));
        core.fail(peer, |o| {
            o.context == context && o.peer.is_none() && o.state == State::Posted
        });
    }
}

impl Core {
    /// The peer whose end makes a receive hopeless: the one it names, or for a wildcard any of the context's.
    #[inline]
    pub fn gone(&self, context: u64, from: Option<PeerId>) -> Option<PeerId> {
        match from {
            Some(peer) => self.peers[peer.0 as usize].is_gone().then_some(peer),
            None => self
                .bereft
                .iter()
                .find(|b| b.0 == context)
                .map(|&(_, peer)| peer),
        }
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
        self.parted = true;
        let peer = &mut self.peers[from.0 as usize];
        // The fast path goes by credit alone.
        peer.credit = 0;
        peer.sends.clear();
        peer.streams.clear();
        self.fail(from, |o| o.peer == Some(from));
    }

    pub(super) fn on_goodbye(&mut self, from: PeerId) {
        if from != self.me {
            self.peers[from.0 as usize].goodbye = true;
            self.part(from);
        }
    }

    /// The link broke. After a goodbye that is no loss.
    pub(super) fn on_loss(&mut self, peer: PeerId, why: &str) {
        let known = &mut self.peers[peer.0 as usize];
        if known.is_gone() {
            return;
        }
        known.lost = Some(why.into());
        known.control.clear();
        self.lost.push(peer);
        self.part(peer);
    }
}
