//! rndv: a large message is announced; its receiver pulls it where it can reach the sender's memory, or clears it
//! to be sent in pieces.

use crate::base::id::PeerId;
use crate::engine::operation::{End, Outcome, State, Ticket};
use crate::engine::{Body, Core, Message};
use crate::transport::{Links, Sent};
use crate::wire::frame::{Header, Kind, SYNCHRONOUS};

/// Bytes pulled at a time when the receiver's data are not dense.
const BOUNCE: usize = 128 << 10;

impl Core {
    /// A message is announced.
    pub(super) fn on_ready(&mut self, from: PeerId, header: &Header) {
        let queues = self.contexts.of(header.context);
        match queues.match_message(header.source, header.tag) {
            Some(ticket) => {
                self.note_match(
                    ticket,
                    header.source,
                    header.tag,
                    from,
                    header.request,
                    header.total as usize,
                );
                if let Some(operation) = self.operations.get_mut(ticket) {
                    operation.cookie = header.cookie;
                }
                self.pulls.push(ticket);
            }
            None => {
                let message = Message {
                    from,
                    request: header.request,
                    synchronous: header.flags & SYNCHRONOUS != 0,
                    serial: 0,
                    total: header.total as usize,
                    body: Body::Announced(header.cookie),
                };
                queues.keep(header.source, header.tag, message);
            }
        }
    }

    /// A receive has found a message that waited announced.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn matched_announced(
        &mut self,
        ticket: Ticket,
        source: u32,
        tag: i32,
        from: PeerId,
        request: u32,
        total: usize,
        cookie: u64,
    ) {
        self.note_match(ticket, source, tag, from, request, total);
        if self.peers[from.0 as usize].is_gone() {
            self.complete(ticket, End::Lost(from));
            return;
        }
        if let Some(operation) = self.operations.get_mut(ticket) {
            operation.cookie = cookie;
        }
        self.pulls.push(ticket);
    }

    fn note_match(
        &mut self,
        ticket: Ticket,
        source: u32,
        tag: i32,
        from: PeerId,
        request: u32,
        total: usize,
    ) {
        let Some(operation) = self.operations.get_mut(ticket) else {
            return;
        };
        let room = operation.data.bytes;
        operation.state = State::Moving;
        operation.posted = None;
        operation.peer = Some(from);
        operation.remote = request;
        operation.wanted = total.min(room);
        let end = if total > room {
            End::Truncated(total as u64)
        } else {
            End::Fine
        };
        operation.outcome = Outcome {
            source,
            tag,
            bytes: operation.wanted as u64,
            end,
        };
    }

    /// Gets the data of matched receives moving: by reading the sender's memory, or by clearing it to send.
    pub(super) fn pull(&mut self, links: &mut Links) {
        // In the order of the matches; the list keeps its memory.
        for at in 0..self.pulls.len() {
            let ticket = self.pulls[at];
            let Some(operation) = self.operations.get(ticket) else {
                continue;
            };
            if operation.state != State::Moving {
                continue;
            }
            let Some(from) = operation.peer else { continue };
            let (wanted, remote, cookie) = (operation.wanted, operation.remote, operation.cookie);
            let end = operation.outcome.end;
            let pulled = wanted == 0
                || (cookie != 0 && links.can_fetch(from) && self.fetch(links, ticket, from));
            if pulled {
                self.control(
                    from,
                    Header {
                        request: remote,
                        ..Header::new(Kind::Done)
                    },
                );
                self.complete(ticket, end);
            } else {
                let clear = Header {
                    request: remote,
                    answer: ticket.0,
                    total: wanted as u64,
                    ..Header::new(Kind::Clear)
                };
                self.control(from, clear);
            }
        }
        self.pulls.clear();
    }

    /// Reads the sender's memory; false when that fails, and pieces have to do.
    fn fetch(&self, links: &mut Links, ticket: Ticket, from: PeerId) -> bool {
        let Some(operation) = self.operations.get(ticket) else {
            return false;
        };
        let (wanted, cookie) = (operation.wanted, operation.cookie);
        if let Some(address) = operation.data.address() {
            return links.fetch(from, cookie, address, wanted).is_ok();
        }
        let mut bounce = vec![0u8; BOUNCE.min(wanted)];
        let mut at = 0;
        while at < wanted {
            let length = bounce.len().min(wanted - at);
            if links
                .fetch(
                    from,
                    cookie.wrapping_add(at as u64),
                    bounce.as_mut_ptr(),
                    length,
                )
                .is_err()
            {
                return false;
            }
            operation.data.write(at, &bounce[..length]);
            at += length;
        }
        true
    }

    /// The receiver is ready for the pieces of one of our sends.
    pub(super) fn on_clear(&mut self, from: PeerId, header: &Header) {
        let ticket = Ticket(header.request);
        let Some(operation) = self.operations.get_mut(ticket) else {
            return;
        };
        if !operation.send || operation.peer != Some(from) || operation.state != State::Announced {
            return;
        }
        operation.state = State::Moving;
        operation.remote = header.answer;
        operation.wanted = (header.total as usize).min(operation.data.bytes);
        self.peers[from.0 as usize].streams.push_back(ticket);
        self.mark_busy(from);
    }

    /// Sends the next piece; also says whether it was the last.
    pub(super) fn send_piece(
        &mut self,
        links: &mut Links,
        ticket: Ticket,
        to: PeerId,
    ) -> (Sent, bool) {
        let room = links.max_payload(to);
        let Some(operation) = self.operations.get_mut(ticket) else {
            return (Sent::Done, true);
        };
        let at = operation.moved;
        let length = room.min(operation.wanted - at);
        let header = Header {
            length: length as u32,
            answer: operation.remote,
            cookie: at as u64,
            ..Header::new(Kind::Piece)
        };
        let sent = links.send(to, &header, |slot| operation.data.read(at, slot));
        if sent == Sent::Done {
            operation.moved += length;
        }
        (sent, operation.moved >= operation.wanted)
    }

    /// A piece has arrived.
    pub(super) fn on_piece(&mut self, from: PeerId, header: &Header, payload: &[u8]) {
        let ticket = Ticket(header.answer);
        let Some(operation) = self.operations.get_mut(ticket) else {
            return;
        };
        if operation.send || operation.peer != Some(from) || operation.state != State::Moving {
            return;
        }
        operation.data.write(header.cookie as usize, payload);
        operation.moved += payload.len();
        if operation.moved >= operation.wanted {
            let end = operation.outcome.end;
            self.complete(ticket, end);
        }
    }
}
