//! Cancelling: a receive that nothing has matched, a send that nobody has matched (MPI-5.0 §3.8.4).

use crate::base::id::PeerId;
use crate::engine::operation::{End, Operation, State, Ticket};
use crate::engine::{receiving, Body, Core, Data, Engine};
use crate::wire::frame::{Header, Kind, EXPOSED};

/// In an answer: neither forgotten now nor being read.
const UNREAD: u64 = 2;

impl Engine {
    /// Marks for cancellation. The operation still has to complete, cancelled or as if nothing had been asked.
    pub fn cancel(&mut self, ticket: Ticket) {
        let core = &mut self.core;
        let Some(operation) = core.operations.get_mut(ticket) else {
            return;
        };
        if operation.send {
            let Some(to) = operation.peer else { return };
            let peer = &mut core.peers[to.0 as usize];
            if let Some(position) = peer.sends.iter().position(|&t| t == ticket) {
                peer.sends.remove(position);
                core.complete(ticket, End::Cancelled);
            } else if !operation.asked && !peer.is_gone() && operation.may_be_unmatched() {
                operation.asked = true;
                if operation.state == State::Complete {
                    operation.state = State::Cancelling;
                }
                let (request, context, cookie) = (ticket.0, operation.context, operation.cookie);
                core.control(
                    to,
                    Header {
                        request,
                        context,
                        cookie,
                        ..Header::new(Kind::Cancel)
                    },
                );
            }
        } else if let Some((posted, pattern)) = operation.posted {
            let context = operation.context;
            let withdrawn = core
                .contexts
                .get_mut(context)
                .and_then(|q| q.withdraw(posted, pattern));
            if withdrawn.is_some() {
                core.complete(ticket, End::Cancelled);
            }
        }
        let Engine { links, core } = self;
        core.go_on(links);
    }

    /// Asks for a message back that left by [`Engine::send_at_once`]: the operation that ends cancelled, or fine.
    pub fn recall(&mut self, to: PeerId, context: u64, serial: u64) -> Ticket {
        let operation = Operation {
            state: State::Complete,
            send: true,
            cookie: serial,
            ..receiving(Data::empty(), context, Some(to))
        };
        let ticket = self.core.operations.insert(operation);
        self.cancel(ticket);
        ticket
    }
}

impl Core {
    /// A sender asks for its message back.
    pub(super) fn on_cancel(&mut self, from: PeerId, header: &Header) {
        let found = self.contexts.get_mut(header.context).and_then(|q| {
            q.take_where(|m| {
                // An eager one is known by its number, an announced one, which has none, by its request.
                let same = m.serial != 0 || m.request == header.request;
                m.from == from && m.serial == header.cookie && same
            })
        });
        if let Some(message) = &found {
            if let Body::Whole(bytes) = &message.body {
                let length = bytes.len();
                self.consumed(from, length, false, 0);
            }
        }
        let mut total = u64::from(found.is_some());
        if found.is_none() && header.flags & EXPOSED != 0 && !self.reads(from, header.request) {
            total = UNREAD;
        }
        self.control(
            from,
            Header {
                request: header.request,
                total,
                ..Header::new(Kind::Cancelled)
            },
        );
    }

    /// Is a receive under way that may read this message's data at its sender?
    fn reads(&self, from: PeerId, request: u32) -> bool {
        self.operations.tickets().into_iter().any(|ticket| {
            self.operations.get(ticket).is_some_and(|o| {
                !o.send && o.state == State::Moving && o.peer == Some(from) && o.remote == request
            })
        })
    }

    /// The receiver's answer. Not forgotten means matched: an eager send that had left is over then, a synchronous
    /// or announced one goes on as if nothing had been asked.
    pub(super) fn on_cancelled(&mut self, from: PeerId, header: &Header) {
        let ticket = Ticket(header.request);
        if header.total != 0 {
            self.let_go(from, Some(header.request));
        }
        let Some(operation) = self.operations.get(ticket) else {
            return;
        };
        if !operation.send || !operation.asked || operation.peer != Some(from) {
            return;
        }
        match (operation.state, header.total) {
            (State::Announced | State::Cancelling, 1) => self.complete(ticket, End::Cancelled),
            (State::Cancelling, _) => self.complete(ticket, End::Fine),
            _ => {}
        }
    }
}
