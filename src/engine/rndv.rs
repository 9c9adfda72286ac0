//! rndv: a large message is announced; its receiver pulls it where it can reach the sender's memory, or clears it to be
//! written to its own, or to be sent in pieces.

use crate::base::id::PeerId;
use crate::engine::operation::{End, Operation, Outcome, State, Ticket};
use crate::engine::{transfer, Body, Core, Message, Place};
use crate::transport::{Access, Links, Sent, Way};
use crate::wire::frame::{Header, Kind, EXPOSED, SHARED, SYNCHRONOUS};

/// Bytes pulled at a time when the receiver's data are not dense.
const BOUNCE: usize = 128 << 10;

impl Core {
    /// A message is announced.
    pub(super) fn on_ready(&mut self, from: PeerId, header: &Header) {
        let place = Place {
            address: header.cookie,
            key: (header.flags & EXPOSED != 0).then_some(header.answer),
        };
        match self.match_begun(from, header, header.total as usize, place) {
            Some(ticket) => self.pulls.push(ticket),
            None => {
                let message = Message {
                    from,
                    request: header.request,
                    synchronous: header.flags & SYNCHRONOUS != 0,
                    serial: 0,
                    total: header.total as usize,
                    body: Body::Announced(place),
                };
                let queues = self.contexts.of(header.context);
                queues.keep(header.source, header.tag, message);
            }
        }
    }

    /// The receive that waits for a message of `total` bytes whose data are still to come; it is moving then.
    pub(super) fn match_begun(
        &mut self,
        from: PeerId,
        header: &Header,
        total: usize,
        place: Place,
    ) -> Option<Ticket> {
        if self.is_blocked(header.context) {
            self.settle_blocking();
        }
        let queues = self.contexts.of(header.context);
        let ticket = queues.match_message(header.source, header.tag)?;
        self.note_match(
            ticket,
            header.source,
            header.tag,
            from,
            header.request,
            total,
            place,
        );
        Some(ticket)
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
        place: Place,
    ) {
        self.note_match(ticket, source, tag, from, request, total, place);
        if self.peers[from.0 as usize].is_gone() {
            self.complete(ticket, End::Lost(from));
            return;
        }
        self.pulls.push(ticket);
    }

    #[allow(clippy::too_many_arguments)]
    fn note_match(
        &mut self,
        ticket: Ticket,
        source: u32,
        tag: i32,
        from: PeerId,
        request: u32,
        total: usize,
        place: Place,
    ) {
        let Some(operation) = self.operations.get_mut(ticket) else {
            return;
        };
        let room = operation.data.bytes;
        operation.state = State::Moving;
        operation.posted = None;
        operation.peer = Some(from);
        operation.remote = request;
        operation.cookie = place.address;
        operation.key = place.key;
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

    /// Gets the data of matched receives moving: by reading the sender's memory, at once or by and by, or by clearing it
    /// to write here or to send.
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
            let (end, key) = (operation.outcome.end, operation.key);
            let dense = operation.data.address().is_some();
            let way = if cookie == 0 {
                Way::Pieces
            } else {
                links.way(from)
            };
            if way == Way::Fetch && self.share(links, ticket, from) {
                continue;
            }
            if wanted == 0 || (way == Way::Fetch && self.fetch(links, ticket, from)) {
                self.done(from, remote);
                self.complete(ticket, end);
                continue;
            }
            match (way, key) {
                (Way::Get, Some(key)) if dense => self.start_get(ticket, from, cookie, key),
                (Way::Put, _) => {
                    let key = self.lend(links, ticket, from, wanted, Access::Write);
                    let operation = self.operations.get(ticket);
                    let address = operation.and_then(|o| o.data.address());
                    let place = address.zip(key).map(|(a, key)| (a as u64, key));
                    self.clear(from, ticket, remote, wanted, place);
                }
                _ => self.clear(from, ticket, remote, wanted, None),
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

    /// The receiver is ready for the data of one of our sends.
    pub(super) fn on_clear(&mut self, from: PeerId, header: &Header) {
        if header.flags & SHARED != 0 {
            self.on_invitation(from, header);
            return;
        }
        let ticket = Ticket(header.request);
        let exposed = header.flags & EXPOSED != 0;
        let operation = self.operations.get_mut(ticket);
        let waits =
            |o: &&mut Operation| o.send && o.peer == Some(from) && o.state == State::Announced;
        let Some(operation) = operation.filter(waits) else {
            self.let_go(from, Some(header.request));
            if exposed {
                // It is over here, and the receiver waits to have its memory back.
                let header = Header {
                    answer: header.answer,
                    ..Header::new(Kind::Placed)
                };
                self.control(from, header);
            }
            return;
        };
        operation.state = State::Moving;
        operation.remote = header.answer;
        operation.wanted = (header.total as usize).min(operation.data.bytes);
        let (lent, wanted) = (operation.transfer != transfer::NONE, operation.wanted);
        if lent {
            self.detach(ticket);
        }
        if exposed && wanted > 0 {
            self.start_put(ticket, from, header.cookie, header.source);
            return;
        }
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
        let sent = match operation.data.run(at, length) {
            Some(run) => links.send_run(to, &header, run),
            None => links.send(to, &header, |slot| operation.data.read(at, slot)),
        };
        if sent == Sent::Done {
            operation.moved += length;
        }
        (sent, operation.moved >= operation.wanted)
    }

    /// Where a piece belongs, when that lies in one piece and nothing else may be done with it.
    pub(super) fn place_of(&self, from: PeerId, header: &Header) -> Option<*mut u8> {
        let operation = self.operations.get(Ticket(header.answer))?;
        let moving = !operation.send
            && operation.peer == Some(from)
            && operation.state == State::Moving
            && operation.transfer == transfer::NONE;
        let end = header.cookie.checked_add(u64::from(header.length))?;
        let within = end <= operation.wanted as u64;
        let address = operation.data.address().filter(|_| moving && within)?;
        Some(address.wrapping_add(header.cookie as usize))
    }

    /// So many bytes of a piece are in their place.
    pub(super) fn on_placed_piece(&mut self, header: &Header, bytes: usize) {
        let ticket = Ticket(header.answer);
        if let Some(operation) = self.operations.get_mut(ticket) {
            operation.moved += bytes;
            if operation.moved >= operation.wanted {
                let end = operation.outcome.end;
                self.complete(ticket, end);
            }
        }
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
        if operation.transfer != transfer::NONE {
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
