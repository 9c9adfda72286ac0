//! The message engine of one process: matching, eager and rndv, back-pressure, progress. It knows peers, context
//! ids, ranks as numbers and bytes; communicators and datatypes are the floor above.

mod blocking;
pub mod cancel;
pub mod data;
pub mod eager;
mod egress;
pub mod loss;
pub mod matching;
pub mod operation;
pub mod peer;
pub mod rndv;
mod share;
#[cfg(test)]
mod tests;
pub mod transfer;

pub use data::{Data, Layout};
pub use loss::HEARSAY;
pub use matching::Pattern;
pub use operation::{End, Outcome, Ticket};

use crate::base::id::PeerId;
use crate::engine::blocking::Blocking;
use crate::engine::matching::Contexts;
use crate::engine::operation::{Operation, Operations, State, FORGOTTEN};
use crate::engine::peer::Peer;
use crate::engine::transfer::Transfers;
use crate::transport::{Links, Sink};
use crate::wire::frame::{Header, Kind};

/// How a started operation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Started {
    /// Already over.
    Done(Outcome),
    /// Ask for it by this.
    Pending(Ticket),
}

/// A message that arrived before its receive.
pub struct Message {
    pub from: PeerId,
    /// The sender's request.
    pub request: u32,
    pub synchronous: bool,
    /// Tells an eager message from an earlier one of the same request; 0: announced, or never to be cancelled.
    pub serial: u64,
    /// Bytes of the whole message.
    pub total: usize,
    pub body: Body,
}

/// What has arrived of it.
pub enum Body {
    Whole(Vec<u8>),
    /// Announced.
    Announced(Place),
}

/// Where announced data lie at their sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// 0: not in one piece.
    pub address: u64,
    /// What a get needs, if they can be got.
    pub key: Option<u32>,
}

impl Place {
    pub const NOWHERE: Place = Place {
        address: 0,
        key: None,
    };
}

/// The engine: links and what goes over them, apart so that a poll can feed one from the other.
pub struct Engine {
    pub links: Links,
    pub core: Core,
}

/// Everything but the links.
pub struct Core {
    pub me: PeerId,
    pub operations: Operations,
    contexts: Contexts<Ticket, Message>,
    /// The receive that stands beside them.
    blocking: Blocking,
    pub peers: Vec<Peer>,
    busy: Vec<PeerId>,
    /// The list's other memory, for when it is walked.
    walked: Vec<PeerId>,
    /// Matched rndv receives that can be pulled.
    pulls: Vec<Ticket>,
    /// Invitations to copy parts of sends.
    invitations: Vec<share::Invitation>,
    /// What moves by one-sided calls.
    pub transfers: Transfers,
    /// Unexpected eager bytes that a peer may place here.
    window: usize,
    /// Largest eager payload; 0: the link's own.
    eager: usize,
    /// The user has said how large that is.
    wished: bool,
    /// Spare buffers for unexpected payloads.
    pool: Vec<Vec<u8>>,
    /// Peers that were lost, first one first.
    pub lost: Vec<PeerId>,
    /// Is any peer gone, lost or with a goodbye?
    pub parted: bool,
    /// How many of the lost [`Engine::next_loss`] has told.
    told: usize,
    /// Contexts that a lost peer belonged to: no receive from any source succeeds there.
    bereft: Vec<(u64, PeerId)>,
    /// Contexts on which nothing succeeds any more, for that peer is gone.
    severed: Vec<(u64, PeerId)>,
    /// Where the search for silent peers goes on.
    probed: u32,
    /// Operations completed so far: lets waiters see that something happened.
    pub completions: u64,
    /// Eager messages sent that may be cancelled.
    serial: u64,
}

/// A run of memory: its first byte, and bytes.
pub type Run = (*mut u8, usize);

/// Memory that all peers together may fill with unexpected messages, bytes, as far as the floor per peer allows.
const UNEXPECTED: usize = 256 << 20;

impl Engine {
    /// `size` processes in the job; `eager`: the largest eager payload, 0 for the links' own.
    pub fn new(links: Links, me: PeerId, size: u32, eager: usize) -> Engine {
        let window = (UNEXPECTED / size.max(1) as usize).clamp(64 << 10, 1 << 20);
        let core = Core {
            me,
            operations: Operations::default(),
            contexts: Contexts::default(),
            blocking: Blocking::new(),
            peers: (0..size).map(|_| Peer::new(window)).collect(),
            busy: Vec::new(),
            walked: Vec::new(),
            pulls: Vec::new(),
            invitations: Vec::new(),
            transfers: Transfers::default(),
            window,
            eager: if eager == 0 {
                window / 4
            } else {
                eager.min(window / 4)
            },
            wished: eager != 0,
            pool: Vec::new(),
            lost: Vec::new(),
            parted: false,
            told: 0,
            bereft: Vec::new(),
            severed: Vec::new(),
            probed: 0,
            completions: 0,
            serial: 0,
        };
        Engine { links, core }
    }

    /// Starts a send. `tracked`: the caller needs a ticket even when the send is already over (so that it can be
    /// cancelled). `source` is this process's rank in the communicator.
    #[inline]
    #[allow(clippy::too_many_arguments)]
    pub fn send(
        &mut self,
        data: Data,
        to: PeerId,
        context: u64,
        source: u32,
        tag: i32,
        synchronous: bool,
        tracked: bool,
    ) -> Started {
        let wanted = data.bytes;
        let severed = self.core.severed(context);
        let outcome = Outcome {
            source,
            tag,
            bytes: wanted as u64,
            end: End::Fine,
        };
        if severed.is_none() && self.core.lacks_credit(to, wanted) {
            // It may have come back already, unread: who only sends does not look.
            self.progress();
        }
        let Engine { links, core } = self;
        if severed.is_none()
            && !tracked
            && !synchronous
            && core.try_forgotten(links, &data, to, context, source, tag, 0)
        {
            return Started::Done(outcome);
        }
        let ticket = core.operations.insert(Operation {
            data,
            state: State::Queued,
            send: true,
            synchronous,
            abandoned: false,
            asked: false,
            peer: Some(to),
            context,
            source,
            tag,
            wanted,
            moved: 0,
            remote: FORGOTTEN,
            cookie: 0,
            key: None,
            transfer: transfer::NONE,
            posted: None,
            outcome,
        });
        if let Some(gone) = severed {
            core.complete(ticket, End::Lost(gone));
            core.refuse(to, gone);
        } else if core.peers[to.0 as usize].is_gone() {
            core.complete(ticket, End::Lost(to));
        } else {
            core.peers[to.0 as usize].sends.push_back(ticket);
            core.flush_peer(links, to);
        }
        Started::Pending(ticket)
    }

    /// Starts a receive. `from`: the process behind the pattern's source, when it names one. One that nothing can
    /// match any more, because the sender is gone, ends at once.
    #[inline]
    pub fn receive(
        &mut self,
        data: Data,
        context: u64,
        pattern: Pattern,
        from: Option<PeerId>,
    ) -> Started {
        let core = &mut self.core;
        let gone = core.gone(context, from);
        if core.is_blocked(context) {
            core.settle_blocking();
        }
        let queues = core.contexts.of(context);
        if let Some((source, tag, message)) = queues.take(pattern) {
            return self.receive_message(data, context, source, tag, message);
        }
        let ticket = core.operations.insert(receiving(data, context, from));
        if let Some(peer) = gone {
            core.complete(ticket, End::Lost(peer));
            return Started::Pending(ticket);
        }
        core.post(context, pattern, ticket);
        Started::Pending(ticket)
    }

    /// Receives a message that was taken from the unexpected queue (by a receive or by mprobe).
    pub fn receive_message(
        &mut self,
        data: Data,
        context: u64,
        source: u32,
        tag: i32,
        message: Message,
    ) -> Started {
        let Engine { links, core } = self;
        match message.body {
            Body::Whole(ref bytes) => {
                let outcome = deliver(&data, source, tag, message.total, bytes);
                core.consumed(
                    message.from,
                    bytes.len(),
                    message.synchronous,
                    message.request,
                );
                if let Body::Whole(bytes) = message.body {
                    core.recycle(bytes);
                }
                core.go_on(links);
                Started::Done(outcome)
            }
            Body::Announced(place) => {
                let ticket = core
                    .operations
                    .insert(receiving(data, context, Some(message.from)));
                core.matched_announced(
                    ticket,
                    source,
                    tag,
                    message.from,
                    message.request,
                    message.total,
                    place,
                );
                core.pull(links);
                core.go_on(links);
                Started::Pending(ticket)
            }
        }
    }

    /// The oldest waiting message of this pattern: source, tag, bytes.
    pub fn probe(&mut self, context: u64, pattern: Pattern) -> Option<(u32, i32, usize)> {
        let queues = self.core.contexts.get_mut(context)?;
        queues
            .peek(pattern)
            .map(|(source, tag, message)| (source, tag, message.total))
    }

    /// Takes that message, for a matched receive later.
    pub fn take(&mut self, context: u64, pattern: Pattern) -> Option<(u32, i32, Message)> {
        self.core.contexts.get_mut(context)?.take(pattern)
    }

    /// The outcome, once.
    #[inline]
    pub fn test(&mut self, ticket: Ticket) -> Option<Outcome> {
        let operation = self.core.operations.get(ticket)?;
        if operation.state != State::Complete {
            return None;
        }
        let outcome = operation.outcome;
        self.core.operations.remove(ticket);
        Some(outcome)
    }

    /// Takes the outcome if it is known and a good one: the sender's rank, the tag, the bytes. `Some(None)`: it is not known yet;
    /// `None`: it is another one, or there is no such operation.
    #[inline]
    pub fn take_fine(&mut self, ticket: Ticket) -> Option<Option<(u32, i32, u64)>> {
        let operation = self.core.operations.get(ticket)?;
        if operation.state != State::Complete {
            return Some(None);
        }
        let Outcome {
            source, tag, bytes, ..
        } = operation.outcome;
        if operation.outcome.end != End::Fine {
            return None;
        }
        self.core.operations.remove(ticket);
        Some(Some((source, tag, bytes)))
    }

    /// Is it over? Leaves the outcome where it is.
    #[inline]
    pub fn peek(&self, ticket: Ticket) -> Option<Outcome> {
        let operation = self.core.operations.get(ticket)?;
        (operation.state == State::Complete).then_some(operation.outcome)
    }

    /// Is its outcome known?
    #[inline]
    pub fn is_over(&self, ticket: Ticket) -> bool {
        let operation = self.core.operations.get(ticket);
        operation.is_some_and(|operation| operation.state == State::Complete)
    }

    /// Nobody will ask for this one: it ends by itself.
    pub fn abandon(&mut self, ticket: Ticket) {
        let over = match self.core.operations.get_mut(ticket) {
            None => return,
            Some(operation) => {
                operation.abandoned = true;
                operation.state == State::Complete
            }
        };
        if over {
            self.core.operations.remove(ticket);
        }
    }

    /// One bounded look at the links; true when anything moved.
    #[inline(always)]
    pub fn progress(&mut self) -> bool {
        let Engine { links, core } = self;
        let mut moved = links.poll(core);
        if !core.pulls.is_empty() {
            core.pull(links);
            moved = true;
        }
        if !core.invitations.is_empty() {
            core.take_part(links);
        }
        moved | core.go_on(links)
    }

    /// Everything that was sent has left for the links, and the links have let go of it.
    pub fn is_idle(&self) -> bool {
        self.core.busy.is_empty() && self.core.transfers.is_idle() && self.links.idle()
    }

    /// Tells every peer that was talked to that nothing more comes.
    pub fn goodbye(&mut self) {
        let Engine { links, core } = self;
        for index in 0..core.peers.len() {
            let peer = PeerId(index as u32);
            if peer != core.me && core.peers[index].talked && core.peers[index].lost.is_none() {
                core.control(peer, Header::new(Kind::Goodbye));
            }
        }
        core.go_on(links);
    }

    /// Forgets the queues of a context that will not be used again, if nothing stands in them.
    pub fn drop_context(&mut self, context: u64) {
        self.core.settle_blocking();
        self.core.bereft.retain(|&(c, _)| c != context);
        self.core.severed.retain(|&(c, _)| c != context);
        self.core.contexts.forget(context);
    }
}

fn receiving(data: Data, context: u64, from: Option<PeerId>) -> Operation {
    Operation {
        data,
        state: State::Posted,
        send: false,
        synchronous: false,
        abandoned: false,
        asked: false,
        peer: from,
        context,
        source: 0,
        tag: 0,
        wanted: 0,
        moved: 0,
        remote: FORGOTTEN,
        cookie: 0,
        key: None,
        transfer: transfer::NONE,
        posted: None,
        outcome: Outcome {
            source: 0,
            tag: 0,
            bytes: 0,
            end: End::Fine,
        },
    }
}

/// Stores a whole message and says how that ended.
#[inline]
fn deliver(data: &Data, source: u32, tag: i32, total: usize, payload: &[u8]) -> Outcome {
    data.write(0, payload);
    if total > data.bytes {
        Outcome {
            source,
            tag,
            bytes: data.bytes as u64,
            end: End::Truncated(total as u64),
        }
    } else {
        Outcome {
            source,
            tag,
            bytes: total as u64,
            end: End::Fine,
        }
    }
}

impl Core {
    /// Posts a receive that no waiting message matched.
    #[inline]
    fn post(&mut self, context: u64, pattern: Pattern, ticket: Ticket) {
        let posted = self.contexts.of(context).post(pattern, ticket);
        if let Some(operation) = self.operations.get_mut(ticket) {
            operation.posted = Some((posted, pattern));
        }
    }

    fn on_credit(&mut self, from: PeerId, header: &Header) {
        let peer = &mut self.peers[from.0 as usize];
        if !peer.is_gone() {
            // Never more than was lent at first, whatever the peer says.
            let credit = (peer.credit as u64).saturating_add(header.total);
            peer.credit = credit.min(self.window as u64) as usize;
        }
    }

    /// Ends an operation.
    #[inline]
    fn complete(&mut self, ticket: Ticket, end: End) {
        self.completions += 1;
        let Some(operation) = self.operations.get_mut(ticket) else {
            return;
        };
        operation.state = State::Complete;
        operation.outcome.end = end;
        operation.posted = None;
        if operation.abandoned || operation.transfer != transfer::NONE {
            self.clear_up(ticket);
        }
    }

    /// Of a completed operation, what need not stay: its part in one-sided calls, and, if nobody will ask, itself.
    #[cold]
    fn clear_up(&mut self, ticket: Ticket) {
        self.detach(ticket);
        if self.operations.get(ticket).is_some_and(|o| o.abandoned) {
            self.operations.remove(ticket);
        }
    }

    /// An eager message of `length` bytes has left the receiver's memory (or never needed any).
    #[inline(always)]
    fn consumed(&mut self, from: PeerId, length: usize, synchronous: bool, request: u32) {
        let peer = &mut self.peers[from.0 as usize];
        peer.owed += length + peer::ENVELOPE;
        if synchronous || peer.owed >= self.window / 4 {
            self.acknowledge(from, synchronous, request);
        }
    }

    /// Tells the sender what it has to know of a message that was received.
    #[inline(never)]
    fn acknowledge(&mut self, from: PeerId, synchronous: bool, request: u32) {
        if synchronous {
            self.control(
                from,
                Header {
                    request,
                    ..Header::new(Kind::Done)
                },
            );
        }
        let window = self.window;
        let peer = &mut self.peers[from.0 as usize];
        if peer.owed >= window / 4 {
            let total = std::mem::take(&mut peer.owed) as u64;
            self.control(
                from,
                Header {
                    total,
                    ..Header::new(Kind::Credit)
                },
            );
        }
    }

    fn keep_bytes(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = self.pool.pop().unwrap_or_default();
        bytes.extend_from_slice(payload);
        bytes
    }

    fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.pool.len() < 64 && bytes.capacity() <= 4096 {
            bytes.clear();
            self.pool.push(bytes);
        }
    }
}

impl Sink for Core {
    #[inline]
    fn frame(&mut self, from: PeerId, header: &Header, payload: &[u8]) {
        let peer = &mut self.peers[from.0 as usize];
        peer.talked = true;
        if peer.unanswered && matches!(header.kind, Kind::Eager | Kind::Ready | Kind::Piece) {
            peer.unanswered = false;
        }
        if self.parted && self.turned_away(from, header) {
            return;
        }
        match header.kind {
            Kind::Eager => self.on_eager(from, header, payload),
            Kind::Ready => self.on_ready(from, header),
            Kind::Clear => self.on_clear(from, header),
            Kind::Piece => self.on_piece(from, header, payload),
            Kind::Done => self.on_done(from, header),
            Kind::Credit => self.on_credit(from, header),
            Kind::Cancel => self.on_cancel(from, header),
            Kind::Cancelled => self.on_cancelled(from, header),
            Kind::Goodbye => self.on_goodbye(from),
            Kind::Loss => self.on_hearsay(from, header.request),
            Kind::Placed => self.on_placed(from, header),
        }
    }

    fn place(&mut self, from: PeerId, header: &Header) -> Option<*mut u8> {
        self.place_of(from, header)
    }

    fn begun(&mut self, from: PeerId, header: &Header) -> Option<Header> {
        self.take_in(from, header)
    }

    fn placed(&mut self, _from: PeerId, header: &Header, bytes: usize) {
        self.on_placed_piece(header, bytes);
    }

    fn finished(&mut self, token: u64, fine: bool) {
        self.on_finished(token, fine);
    }

    fn lost(&mut self, peer: PeerId, why: &str) {
        self.on_loss(peer, why);
    }
}
