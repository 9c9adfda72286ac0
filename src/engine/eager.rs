//! Eager: the payload travels with the header, as long as the receiver has lent memory for it.

use crate::base::id::PeerId;
use crate::engine::data::Data;
use crate::engine::operation::{End, State, Ticket, FORGOTTEN};
use crate::engine::peer::ENVELOPE;
use crate::engine::{deliver, Body, Core, Engine, Message, Place, Run};
use crate::transport::{Access, Links, Sent, Way, LEAST_RUN, SMALLEST};
use crate::wire::frame::{Header, Kind, EXPOSED, SYNCHRONOUS};

/// What is longer goes eagerly only to who answers: memory for it, should no receive wait, costs more than an announcement.
const LONG: usize = 64 << 10;

impl Engine {
    /// Sends dense data at once, and remembers nothing but a serial number by which the message may be recalled
    /// ([`Engine::recall`]; 0: it may not). `None`: not now, or not so ([`Engine::send`] can).
    #[inline(always)]
    pub fn send_at_once(
        &mut self,
        (buffer, bytes): Run,
        to: PeerId,
        context: u64,
        source: u32,
        tag: i32,
        recallable: bool,
    ) -> Option<u64> {
        let Engine { links, core } = self;
        let data = Data::dense(buffer, bytes);
        let serial = if recallable { core.serial + 1 } else { 0 };
        if core.severed(context).is_some()
            || !core.try_forgotten(links, &data, to, context, source, tag, serial)
        {
            return None;
        }
        core.serial += u64::from(recallable);
        Some(serial)
    }
}

impl Core {
    /// Would this many bytes go eagerly, had the peer lent more?
    #[inline]
    pub(super) fn lacks_credit(&self, to: PeerId, bytes: usize) -> bool {
        self.peers[to.0 as usize].credit < bytes + ENVELOPE && bytes <= self.eager
    }

    /// May this many bytes go eagerly to this peer now?
    #[inline]
    fn may_eager(&self, links: &mut Links, to: PeerId, bytes: usize) -> bool {
        let peer = &self.peers[to.0 as usize];
        bytes <= self.eager
            && peer.credit >= bytes + ENVELOPE
            && (bytes <= LONG || !peer.unanswered)
            && (bytes <= SMALLEST || bytes <= self.most(links, to))
    }

    /// So many bytes have left eagerly.
    #[inline]
    fn lent(&mut self, to: PeerId, bytes: usize) {
        let peer = &mut self.peers[to.0 as usize];
        peer.credit -= bytes + ENVELOPE;
        if bytes > LONG {
            peer.unanswered = true;
        }
    }

    /// What may go to this peer in one frame, as the user or as the links want it.
    #[inline]
    fn most(&self, links: &mut Links, to: PeerId) -> usize {
        match self.wished {
            true => links.max_payload(to),
            false => links.max_eager(to),
        }
    }

    /// The fast path: sends at once and remembers nothing. `cookie`: the serial number by which it may be recalled, or 0.
    /// False: not now.
    #[inline]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn try_forgotten(
        &mut self,
        links: &mut Links,
        data: &Data,
        to: PeerId,
        context: u64,
        source: u32,
        tag: i32,
        cookie: u64,
    ) -> bool {
        let peer = &self.peers[to.0 as usize];
        if !peer.sends.is_empty()
            || !peer.control.is_empty()
            || !self.may_eager(links, to, data.bytes)
        {
            return false;
        }
        let header = Header {
            length: data.bytes as u32,
            context,
            source,
            tag,
            total: data.bytes as u64,
            request: FORGOTTEN,
            cookie,
            ..Header::new(Kind::Eager)
        };
        let run = match data.bytes >= LEAST_RUN {
            true => data.run(0, data.bytes),
            false => None,
        };
        let sent = match run {
            Some(run) => links.send_run(to, &header, run),
            None => links.send(to, &header, |slot| data.read(0, slot)),
        };
        if sent != Sent::Done {
            return false;
        }
        self.lent(to, data.bytes);
        self.peers[to.0 as usize].talked = true;
        true
    }

    /// Sends an operation's message eagerly, or announces it.
    pub(super) fn start_send(&mut self, links: &mut Links, ticket: Ticket, to: PeerId) -> Sent {
        let Some(operation) = self.operations.get(ticket) else {
            return Sent::Done;
        };
        let bytes = operation.data.bytes;
        let header = Header {
            flags: if operation.synchronous {
                SYNCHRONOUS
            } else {
                0
            },
            context: operation.context,
            source: operation.source,
            tag: operation.tag,
            total: bytes as u64,
            request: ticket.0,
            ..Header::new(Kind::Eager)
        };
        if self.may_eager(links, to, bytes) {
            self.serial += 1;
            let cookie = self.serial;
            let header = Header {
                length: bytes as u32,
                cookie,
                ..header
            };
            let Some(operation) = self.operations.get(ticket) else {
                return Sent::Done;
            };
            let sent = links.send(to, &header, |slot| operation.data.read(0, slot));
            if sent == Sent::Done {
                self.lent(to, bytes);
                if let Some(operation) = self.operations.get_mut(ticket) {
                    operation.cookie = cookie;
                }
                if header.flags & SYNCHRONOUS == 0 {
                    self.complete(ticket, End::Fine);
                } else if let Some(operation) = self.operations.get_mut(ticket) {
                    operation.state = State::Announced;
                }
            }
            return sent;
        }
        let cookie = operation.data.address().map_or(0, |address| address as u64);
        let key = match links.way(to) {
            Way::Get => self.lend(links, ticket, to, bytes, Access::Read),
            _ => None,
        };
        let exposed = if key.is_some() { EXPOSED } else { 0 };
        let announcement = Header {
            kind: Kind::Ready,
            flags: header.flags | exposed,
            answer: key.unwrap_or(0),
            cookie,
            ..header
        };
        let sent = links.send(to, &announcement, |_| {});
        if sent == Sent::Done {
            if let Some(operation) = self.operations.get_mut(ticket) {
                operation.state = State::Announced;
            }
        }
        sent
    }

    /// A whole message has arrived.
    #[inline]
    pub(super) fn on_eager(&mut self, from: PeerId, header: &Header, payload: &[u8]) {
        let synchronous = header.flags & SYNCHRONOUS != 0;
        if self.unblocks(header, payload) {
            return self.consumed(from, payload.len(), synchronous, header.request);
        }
        let queues = self.contexts.of(header.context);
        match queues.match_message(header.source, header.tag) {
            Some(ticket) => {
                if let Some(operation) = self.operations.get_mut(ticket) {
                    operation.outcome = deliver(
                        &operation.data,
                        header.source,
                        header.tag,
                        payload.len(),
                        payload,
                    );
                    let end = operation.outcome.end;
                    self.complete(ticket, end);
                }
                self.consumed(from, payload.len(), synchronous, header.request);
            }
            None => {
                let bytes = self.keep_bytes(payload);
                let message = Message {
                    from,
                    request: header.request,
                    synchronous,
                    serial: header.cookie,
                    total: bytes.len(),
                    body: Body::Whole(bytes),
                };
                let queues = self.contexts.of(header.context);
                queues.keep(header.source, header.tag, message);
            }
        }
    }

    /// A message has begun to come: if a receive waits for it the rest is a piece for that, and needs no memory of ours.
    pub(super) fn take_in(&mut self, from: PeerId, header: &Header) -> Option<Header> {
        // What is turned away is so when it is whole.
        if self.parted || header.kind != Kind::Eager {
            return None;
        }
        let total = header.length as usize;
        let ticket = self.match_begun(from, header, total, Place::NOWHERE)?;
        let peer = &mut self.peers[from.0 as usize];
        (peer.talked, peer.unanswered) = (true, false);
        let synchronous = header.flags & SYNCHRONOUS != 0;
        self.consumed(from, total, synchronous, header.request);
        Some(Header {
            length: header.length,
            answer: ticket.0,
            ..Header::new(Kind::Piece)
        })
    }

    /// A synchronous send was matched, or announced data were pulled.
    pub(super) fn on_done(&mut self, from: PeerId, header: &Header) {
        let ticket = Ticket(header.request);
        if self
            .operations
            .get(ticket)
            .is_some_and(|o| o.send && o.peer == Some(from) && o.state == State::Announced)
        {
            self.complete(ticket, End::Fine);
        } else {
            self.let_go(from, Some(header.request));
        }
    }
}
