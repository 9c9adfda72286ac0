//! Sends and receives that are under way.

use crate::base::id::PeerId;
use crate::engine::data::Data;
use crate::engine::matching::{Pattern, Posted};

/// Names an operation of the engine: its slot, and above that a count of the slot's operations, so that an answer that
/// comes late does not hit the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Ticket(pub u32);

/// Bits of a ticket that are the slot.
const SLOT: u32 = 24;

impl Ticket {
    fn new(slot: usize, turn: u8) -> Ticket {
        Ticket(u32::from(turn) << SLOT | slot as u32)
    }

    #[inline]
    fn slot(self) -> usize {
        (self.0 & ((1 << SLOT) - 1)) as usize
    }

    #[inline]
    fn turn(self) -> u8 {
        (self.0 >> SLOT) as u8
    }
}

pub use crate::wire::frame::FORGOTTEN;

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Of a receive: the sender's rank in the communicator, and the message's tag.
    pub source: u32,
    pub tag: i32,
    /// Bytes stored (of the whole message when that was longer).
    pub bytes: u64,
    pub end: End,
}

/// Its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Fine,
    /// The message was longer than the room: its bytes.
    Truncated(u64),
    Cancelled,
    /// That peer is gone.
    Lost(PeerId),
}

/// Where an operation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// A send that waits for room at the link.
    Queued,
    /// A send that was announced (rndv), or a synchronous one, and waits for the receiver.
    Announced,
    /// A receive that waits for a message.
    Posted,
    /// The payload is moving.
    Moving,
    /// Over.
    Complete,
    /// A send that left whole and waits for the answer to its cancellation.
    Cancelling,
}

/// One send or receive.
pub struct Operation {
    pub data: Data,
    pub state: State,
    pub send: bool,
    pub synchronous: bool,
    /// Nobody will ask for the outcome: the slot is free once complete.
    pub abandoned: bool,
    /// The receiver was asked to forget the message.
    pub asked: bool,
    /// Of a send the receiver; of a receive the sender when known.
    pub peer: Option<PeerId>,
    pub context: u64,
    /// Of a send this process's rank in the communicator.
    pub source: u32,
    pub tag: i32,
    /// Bytes to move.
    pub wanted: usize,
    pub moved: usize,
    /// The other side's request.
    pub remote: u32,
    /// Of a pull the sender's address of the data; of an eager send its serial number, which is not 0.
    pub cookie: u64,
    /// Of a pull what a get needs.
    pub key: Option<u32>,
    /// Its part in one-sided calls, or `transfer::NONE`.
    pub transfer: u32,
    pub posted: Option<(Posted, Pattern)>,
    pub outcome: Outcome,
}

impl Operation {
    /// Of a send that has left: may its message still wait unmatched? An eager one is complete before it is matched,
    /// unless it is synchronous.
    pub fn may_be_unmatched(&self) -> bool {
        match self.state {
            State::Announced => true,
            State::Complete => {
                !self.synchronous && self.cookie != 0 && self.outcome.end == End::Fine
            }
            _ => false,
        }
    }
}

/// A place for one operation at a time.
struct Slot {
    turn: u8,
    operation: Option<Operation>,
}

/// Operations by ticket.
#[derive(Default)]
pub struct Operations {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Operations {
    /// # Panics
    /// With 2^24 operations under way, some 4 GB of them.
    #[inline]
    pub fn insert(&mut self, operation: Operation) -> Ticket {
        match self.free.pop() {
            Some(index) => {
                let slot = &mut self.slots[index as usize];
                slot.operation = Some(operation);
                Ticket::new(index as usize, slot.turn)
            }
            None => {
                let index = self.slots.len();
                // The last slot is never given out: FORGOTTEN is nobody's ticket.
                assert!(
                    index < (1 << SLOT) - 1,
                    "16 million sends and receives are under way"
                );
                self.slots.push(Slot {
                    turn: 0,
                    operation: Some(operation),
                });
                Ticket::new(index, 0)
            }
        }
    }

    #[inline]
    pub fn get(&self, ticket: Ticket) -> Option<&Operation> {
        let slot = self.slots.get(ticket.slot())?;
        slot.operation
            .as_ref()
            .filter(|_| slot.turn == ticket.turn())
    }

    #[inline]
    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Operation> {
        let slot = self.slots.get_mut(ticket.slot())?;
        let current = slot.turn == ticket.turn();
        slot.operation.as_mut().filter(|_| current)
    }

    #[inline]
    pub fn remove(&mut self, ticket: Ticket) {
        if self.get(ticket).is_some() {
            let slot = &mut self.slots[ticket.slot()];
            slot.operation = None;
            slot.turn = slot.turn.wrapping_add(1);
            self.free.push(ticket.slot() as u32);
        }
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    pub fn tickets(&self) -> Vec<Ticket> {
        let live = |(index, slot): (usize, &Slot)| {
            let ticket = Ticket::new(index, slot.turn);
            slot.operation.as_ref().map(|_| ticket)
        };
        self.slots.iter().enumerate().filter_map(live).collect()
    }
}
