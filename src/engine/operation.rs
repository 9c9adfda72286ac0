//! Sends and receives that are under way.

use crate::base::id::PeerId;
use crate::engine::data::Data;
use crate::engine::matching::{Pattern, Posted};

/// Names an operation of the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Ticket(pub u32);

/// Stands for "no request" on the wire: a send that its sender has forgotten.
pub const FORGOTTEN: u32 = u32::MAX;

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
    /// Of a pull the sender's address of the data; of an eager send its serial number.
    pub cookie: u64,
    pub posted: Option<(Posted, Pattern)>,
    pub outcome: Outcome,
}

/// Operations by ticket.
#[derive(Default)]
pub struct Operations {
    slots: Vec<Option<Operation>>,
    free: Vec<u32>,
}

impl Operations {
    pub fn insert(&mut self, operation: Operation) -> Ticket {
        match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(operation);
                Ticket(index)
            }
            None => {
                self.slots.push(Some(operation));
                Ticket((self.slots.len() - 1) as u32)
            }
        }
    }

    #[inline]
    pub fn get(&self, ticket: Ticket) -> Option<&Operation> {
        self.slots.get(ticket.0 as usize).and_then(Option::as_ref)
    }

    #[inline]
    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Operation> {
        self.slots
            .get_mut(ticket.0 as usize)
            .and_then(Option::as_mut)
    }

    pub fn remove(&mut self, ticket: Ticket) {
        if let Some(slot) = self.slots.get_mut(ticket.0 as usize) {
            if slot.take().is_some() {
                self.free.push(ticket.0);
            }
        }
    }

    pub fn tickets(&self) -> Vec<Ticket> {
        (0..self.slots.len() as u32)
            .filter(|&i| self.slots[i as usize].is_some())
            .map(Ticket)
            .collect()
    }
}
