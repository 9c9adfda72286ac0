//! rndv by one-sided calls: the receiver reads the sender's memory (get), or the sender writes the receiver's (put).
//!
//! While a call is under way, or a peer may still write here, the operation is not over, whatever happens: its memory
//! belongs to the program again as soon as it is. What was exposed is concealed when the operation ends; only what a
//! living peer may be reading stays reachable until that answers, for to be caught reading what is not would break the
//! connection (an orphan: its operation is over).

use crate::base::id::PeerId;
use crate::engine::operation::{End, State, Ticket};
use crate::engine::Core;
use crate::transport::{Access, Begun, Hold, Links};
use crate::wire::frame::{Header, Kind, EXPOSED};

/// Bytes of one call at most: devices take less than 2 GiB.
const STRETCH: usize = 1 << 30;
/// Fewer bytes go in frames: to make memory known to a device costs more than to copy it.
const LEAST: usize = 4096;
/// Calls under way with one peer, so that nobody's queue is flooded.
const CALLS: u32 = 8;

/// Of an operation without a transfer.
pub const NONE: u32 = u32::MAX;

/// Who moves the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    /// The peer may read.
    Lent,
    /// It may, but nobody waits for that any more.
    Orphan,
    /// The peer may write.
    Open,
    /// The peer writes some parts.
    Shared,
    /// This rank reads.
    Get,
    /// This rank writes.
    Put,
}

/// One operation's part in it.
struct Transfer {
    ticket: Ticket,
    peer: PeerId,
    manner: Manner,
    remote: u64,
    /// The peer's, for what this rank does there; its own, for what the peer does here.
    key: Option<u32>,
    length: usize,
    /// Bytes whose calls have begun.
    begun: usize,
    /// Calls under way.
    calls: u32,
    hold: Option<Hold>,
    /// The operation's end when nothing is under way any more, if it is not to be a good one.
    end: Option<End>,
    /// The transport would not go on: frames have to do.
    refused: bool,
}

impl Transfer {
    /// Of which nothing has begun.
    fn new(
        ticket: Ticket,
        peer: PeerId,
        manner: Manner,
        key: Option<u32>,
        length: usize,
    ) -> Transfer {
        Transfer {
            ticket,
            peer,
            manner,
            remote: 0,
            key,
            length,
            begun: 0,
            calls: 0,
            hold: None,
            end: None,
            refused: false,
        }
    }
}

/// All of them.
pub struct Transfers {
    slots: Vec<Option<Transfer>>,
    free: Vec<u32>,
    /// Gets and puts among them.
    active: usize,
    /// Is anything in the lists below?
    pub(super) due: bool,
    orphans: usize,
    /// Peers with transfers that wait to begin.
    stalled: Vec<PeerId>,
    /// What need not be reachable any more.
    over: Vec<Hold>,
    /// Peers of whom others say that they are gone.
    forsaken: Vec<PeerId>,
    /// See [`STRETCH`] and [`LEAST`]; tests change them.
    pub(super) stretch: usize,
    pub(super) least: usize,
}

impl Default for Transfers {
    fn default() -> Transfers {
        Transfers {
            slots: Vec::new(),
            free: Vec::new(),
            active: 0,
            orphans: 0,
            due: false,
            stalled: Vec::new(),
            over: Vec::new(),
            forsaken: Vec::new(),
            stretch: STRETCH,
            least: LEAST,
        }
    }
}

impl Transfers {
    fn insert(&mut self, transfer: Transfer) -> u32 {
        self.active += usize::from(matches!(transfer.manner, Manner::Get | Manner::Put));
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(transfer);
                slot
            }
            None => {
                self.slots.push(Some(transfer));
                (self.slots.len() - 1) as u32
            }
        }
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Transfer> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Nothing of a call's is in it any more.
    fn remove(&mut self, slot: u32) -> Option<Transfer> {
        let transfer = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        self.active -= usize::from(matches!(transfer.manner, Manner::Get | Manner::Put));
        self.orphans -= usize::from(transfer.manner == Manner::Orphan);
        if let Some(hold) = transfer.hold {
            self.over.push(hold);
            self.due = true;
        }
        Some(transfer)
    }

    /// No get and no put is under way or waits.
    pub fn is_idle(&self) -> bool {
        self.active == 0
    }

    /// Not even memory is exposed.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len() && !self.due
    }

    /// That peer is to be given up.
    pub(super) fn forsake(&mut self, peer: PeerId) {
        self.forsaken.push(peer);
        self.due = true;
    }
}

impl Core {
    /// A transfer becomes its operation's part.
    fn enlist(&mut self, transfer: Transfer) -> u32 {
        let ticket = transfer.ticket;
        let slot = self.transfers.insert(transfer);
        if let Some(operation) = self.operations.get_mut(ticket) {
            operation.transfer = slot;
        }
        slot
    }

    /// Exposes an operation's data to its peer, if that is possible and pays; the key. Asked twice, it answers the same.
    pub(super) fn lend(
        &mut self,
        links: &mut Links,
        ticket: Ticket,
        peer: PeerId,
        length: usize,
        access: Access,
    ) -> Option<u32> {
        let operation = self.operations.get(ticket)?;
        if operation.transfer != NONE {
            return self.transfers.get_mut(operation.transfer)?.key;
        }
        let address = operation.data.address()?;
        if length < self.transfers.least.max(1) {
            return None;
        }
        let exposed = links.expose(peer, address, length, access);
        let manner = if access == Access::Read {
            Manner::Lent
        } else {
            Manner::Open
        };
        if exposed.is_none() && manner == Manner::Open {
            return None;
        }
        let key = exposed.map(|e| e.key);
        self.enlist(Transfer {
            hold: exposed.map(|e| e.hold),
            ..Transfer::new(ticket, peer, manner, key, length)
        });
        key
    }

    /// The sender of a receive is copying parts of it. Not `fine`: those of this rank could not be copied.
    pub(super) fn await_parts(&mut self, ticket: Ticket, from: PeerId, serial: u32, fine: bool) {
        self.enlist(Transfer {
            refused: !fine,
            ..Transfer::new(ticket, from, Manner::Shared, Some(serial), 0)
        });
    }

    /// Reads a matched receive's data from its sender's memory.
    pub(super) fn start_get(&mut self, ticket: Ticket, from: PeerId, remote: u64, key: u32) {
        let length = self.operations.get(ticket).map_or(0, |o| o.wanted);
        self.start(ticket, from, Manner::Get, remote, key, length);
    }

    /// Writes a send's data to its receiver's memory.
    pub(super) fn start_put(&mut self, ticket: Ticket, to: PeerId, remote: u64, key: u32) {
        let length = self.operations.get(ticket).map_or(0, |o| o.wanted);
        self.start(ticket, to, Manner::Put, remote, key, length);
    }

    fn start(
        &mut self,
        ticket: Ticket,
        peer: PeerId,
        manner: Manner,
        remote: u64,
        key: u32,
        length: usize,
    ) {
        let slot = self.enlist(Transfer {
            remote,
            ..Transfer::new(ticket, peer, manner, Some(key), length)
        });
        self.peers[peer.0 as usize].transfers.push_back(slot);
        self.stall(peer);
    }

    fn stall(&mut self, peer: PeerId) {
        let known = &mut self.peers[peer.0 as usize];
        if !known.stalled {
            known.stalled = true;
            self.transfers.stalled.push(peer);
            self.transfers.due = true;
        }
    }

    /// Begins what can begin, gives up whom others lost, and conceals; true when anything moved.
    #[cold]
    pub(super) fn transfer(&mut self, links: &mut Links) -> bool {
        let mut moved = false;
        for peer in std::mem::take(&mut self.transfers.forsaken) {
            links.give_up(peer);
            self.peers[peer.0 as usize].cut = true;
            self.close_to(peer);
            moved = true;
        }
        let mut stalled = std::mem::take(&mut self.transfers.stalled);
        for &peer in &stalled {
            self.peers[peer.0 as usize].stalled = false;
        }
        for peer in stalled.drain(..) {
            moved |= self.begin_calls(links, peer);
        }
        if self.transfers.stalled.is_empty() {
            // Keeps its memory.
            self.transfers.stalled = stalled;
        }
        for hold in self.transfers.over.drain(..) {
            links.conceal(hold);
        }
        let waits = self.end_shared(links);
        self.transfers.due = waits || !self.transfers.stalled.is_empty();
        moved
    }

    /// Ends what is to end badly and was shared with a sender that has let go of it; does any wait for that still?
    fn end_shared(&mut self, links: &Links) -> bool {
        let shared = |t: &&Transfer| t.manner == Manner::Shared && t.end.is_some();
        let found = self.transfers.slots.iter().flatten().filter(shared);
        let all: Vec<_> = found.map(|t| (t.ticket, t.peer, t.key, t.end)).collect();
        let mut waits = false;
        for (ticket, peer, serial, end) in all {
            let over = self.peers[peer.0 as usize].ended
                || serial.is_none_or(|serial| links.has_finished(peer, serial));
            match (over, end) {
                (true, Some(end)) => self.complete(ticket, end),
                _ => waits = true,
            }
        }
        waits
    }

    /// Begins a peer's calls, in the order of their transfers.
    fn begin_calls(&mut self, links: &mut Links, peer: PeerId) -> bool {
        let at = peer.0 as usize;
        let mut moved = false;
        while self.peers[at].calls < CALLS {
            let Some(&slot) = self.peers[at].transfers.front() else {
                break;
            };
            let begun = self.begin_call(links, slot);
            match begun {
                Begun::Yes => self.peers[at].calls += 1,
                Begun::No => self.give_in(slot),
                Begun::Busy => {
                    self.stall(peer);
                    break;
                }
            }
            moved = true;
        }
        moved
    }

    /// Begins the next call of a transfer at the head of its peer's queue.
    fn begin_call(&mut self, links: &mut Links, slot: u32) -> Begun {
        let stretch = self.transfers.stretch;
        let Some(t) = self.transfers.get_mut(slot) else {
            return Begun::No;
        };
        let operation = self.operations.get(t.ticket);
        let (Some(address), Some(key)) = (operation.and_then(|o| o.data.address()), t.key) else {
            return Begun::No;
        };
        let near = address.wrapping_add(t.begun);
        let far = t.remote.wrapping_add(t.begun as u64);
        let length = stretch.min(t.length - t.begun);
        let token = u64::from(slot);
        let begun = if t.manner == Manner::Get {
            links.get(t.peer, near, far, key, length, token)
        } else {
            links.put(t.peer, near, far, key, length, token)
        };
        if begun == Begun::Yes {
            t.calls += 1;
            t.begun += length;
            if t.begun == t.length {
                let (peer, ticket) = (t.peer, t.ticket);
                let put = t.manner == Manner::Put;
                self.peers[peer.0 as usize].transfers.pop_front();
                if put {
                    self.placed(peer, ticket, true);
                }
            }
        }
        begun
    }

    /// Tells a receiver that its memory holds the data, or will not be written.
    fn placed(&mut self, to: PeerId, ticket: Ticket, there: bool) {
        let answer = self.operations.get(ticket).map_or(0, |o| o.remote);
        let header = Header {
            answer,
            total: u64::from(there),
            ..Header::new(Kind::Placed)
        };
        self.control(to, header);
    }

    /// The transport refuses the transfer at the head of its peer's queue: frames have to do, when what is under way
    /// has ended.
    fn give_in(&mut self, slot: u32) {
        let Some(t) = self.transfers.get_mut(slot) else {
            return;
        };
        t.refused = true;
        let (peer, calls) = (t.peer, t.calls);
        self.peers[peer.0 as usize].transfers.pop_front();
        if calls == 0 {
            self.conclude(slot);
        }
    }

    /// One of its calls is over.
    pub(super) fn on_finished(&mut self, token: u64, fine: bool) {
        let Some(t) = self.transfers.get_mut(token as u32) else {
            return;
        };
        let peer = t.peer;
        t.calls -= 1;
        if !fine {
            t.end.get_or_insert(End::Lost(peer));
        }
        let waits = t.begun < t.length && !t.refused;
        let (calls, broken) = (t.calls, t.end.is_some());
        let known = &mut self.peers[peer.0 as usize];
        known.calls -= 1;
        if waits && broken {
            known.transfers.retain(|&s| s != token as u32);
        }
        if !known.transfers.is_empty() {
            self.stall(peer);
        }
        if calls == 0 && (!waits || broken) {
            self.conclude(token as u32);
        }
    }

    /// Nothing of a get or put is under way any more, and nothing more is to begin.
    fn conclude(&mut self, slot: u32) {
        let Some(t) = self.transfers.remove(slot) else {
            return;
        };
        let Some(operation) = self.operations.get_mut(t.ticket) else {
            return;
        };
        operation.transfer = NONE;
        let (remote, wanted, fine) = (operation.remote, operation.wanted, operation.outcome.end);
        let whole = t.begun == t.length;
        if t.manner == Manner::Put && !whole {
            self.placed(t.peer, t.ticket, false);
        }
        let clears = t.manner == Manner::Get && t.refused && t.end.is_none();
        if t.manner == Manner::Get && !clears {
            self.done(t.peer, remote);
        }
        if let Some(end) = t.end {
            self.complete(t.ticket, end);
        } else if clears {
            self.clear(t.peer, t.ticket, remote, wanted, None);
        } else if t.manner == Manner::Get {
            self.complete(t.ticket, fine);
        } else if t.refused {
            self.peers[t.peer.0 as usize].streams.push_back(t.ticket);
            self.mark_busy(t.peer);
        } else {
            self.complete(t.ticket, End::Fine);
        }
    }

    /// Tells a sender that nobody needs its memory any more.
    pub(super) fn done(&mut self, from: PeerId, remote: u32) {
        let header = Header {
            request: remote,
            ..Header::new(Kind::Done)
        };
        self.control(from, header);
    }

    /// Clears a send: its data may be written at this address with this key, else they come in pieces.
    pub(super) fn clear(
        &mut self,
        from: PeerId,
        ticket: Ticket,
        remote: u32,
        wanted: usize,
        place: Option<(u64, u32)>,
    ) {
        let (cookie, source) = place.unwrap_or((0, 0));
        let header = Header {
            flags: if place.is_some() { EXPOSED } else { 0 },
            request: remote,
            answer: ticket.0,
            total: wanted as u64,
            cookie,
            source,
            ..Header::new(Kind::Clear)
        };
        self.control(from, header);
    }

    /// The sender has written a receive's memory, or never will.
    pub(super) fn on_placed(&mut self, from: PeerId, header: &Header) {
        let ticket = Ticket(header.answer);
        let Some(operation) = self.operations.get(ticket) else {
            return;
        };
        let (slot, fine) = (operation.transfer, operation.outcome.end);
        let Some(t) = self.transfers.get_mut(slot) else {
            return;
        };
        if t.peer != from {
            return;
        }
        if t.manner == Manner::Shared {
            let (end, whole) = (t.end, !t.refused && header.total != 0);
            self.detach(ticket);
            match end {
                Some(end) => self.complete(ticket, end),
                None => self.shared(ticket, from, whole),
            }
            return;
        }
        if t.manner != Manner::Open {
            return;
        }
        match (t.end, header.total) {
            (Some(end), _) => self.complete(ticket, end),
            (None, 0) => self.detach(ticket),
            (None, _) => self.complete(ticket, fine),
        }
    }

    /// Ends an operation's transfer, which has no call under way.
    #[cold]
    pub(super) fn detach(&mut self, ticket: Ticket) {
        if let Some(operation) = self.operations.get_mut(ticket) {
            let slot = std::mem::replace(&mut operation.transfer, NONE);
            self.transfers.remove(slot);
        }
    }

    /// An operation is to end badly. True: now; else it does as soon as its memory is its own again.
    pub(super) fn may_end(&mut self, ticket: Ticket, end: End) -> bool {
        let slot = match self.operations.get(ticket) {
            Some(operation) if operation.transfer != NONE => operation.transfer,
            _ => return true,
        };
        let Some(t) = self.transfers.get_mut(slot) else {
            return true;
        };
        let (peer, manner, calls, waits) = (t.peer, t.manner, t.calls, t.begun < t.length);
        let known = &mut self.peers[peer.0 as usize];
        match manner {
            Manner::Lent => {
                if t.hold.is_some() && !known.is_gone() {
                    self.leave_behind(ticket);
                }
                true
            }
            Manner::Open if known.cut => true,
            Manner::Shared if known.ended => true,
            Manner::Get | Manner::Put if calls == 0 => {
                known.transfers.retain(|&s| s != slot);
                let remote = self.operations.get(ticket).map_or(0, |o| o.remote);
                if manner == Manner::Put {
                    self.placed(peer, ticket, false);
                } else {
                    self.done(peer, remote);
                }
                true
            }
            _ => {
                t.end.get_or_insert(end);
                if waits {
                    known.transfers.retain(|&s| s != slot);
                }
                self.transfers.due |= manner == Manner::Shared;
                false
            }
        }
    }

    /// An operation that was announced ends, but the receiver may be reading: it is asked for its message back.
    fn leave_behind(&mut self, ticket: Ticket) {
        let Some(operation) = self.operations.get_mut(ticket) else {
            return;
        };
        if operation.state != State::Announced {
            return;
        }
        let slot = std::mem::replace(&mut operation.transfer, NONE);
        let header = Header {
            flags: EXPOSED,
            request: ticket.0,
            context: operation.context,
            ..Header::new(Kind::Cancel)
        };
        if let Some(t) = self.transfers.get_mut(slot) {
            t.manner = Manner::Orphan;
            let peer = t.peer;
            self.transfers.orphans += 1;
            self.control(peer, header);
        }
    }

    /// A receiver does not read the data of that request any more; `None`: of no request.
    pub(super) fn let_go(&mut self, peer: PeerId, request: Option<u32>) {
        if self.transfers.orphans == 0 {
            return;
        }
        for slot in 0..self.transfers.slots.len() as u32 {
            let orphan = self.transfers.get_mut(slot).is_some_and(|t| {
                let this = request.is_none_or(|r| t.ticket.0 == r);
                t.manner == Manner::Orphan && t.peer == peer && this
            });
            if orphan {
                self.transfers.remove(slot);
            }
        }
    }

    /// This peer cannot write here any more.
    fn close_to(&mut self, peer: PeerId) {
        let open = |t: &&Transfer| t.peer == peer && t.manner == Manner::Open;
        let slots = self.transfers.slots.iter().flatten().filter(open);
        let ended: Vec<Ticket> = slots.map(|t| t.ticket).collect();
        for ticket in ended {
            let moving = self.operations.get(ticket);
            if moving.is_some_and(|o| o.state == State::Moving) {
                self.complete(ticket, End::Lost(peer));
            }
        }
    }
}
