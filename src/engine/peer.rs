//! What the engine knows of one other process: what waits for its link, and who owes whom how much memory.

use crate::engine::operation::Ticket;
use crate::wire::frame::Header;
use std::collections::VecDeque;

/// What an envelope costs of the window besides its payload, bytes.
pub const ENVELOPE: usize = 64;

/// One peer.
pub struct Peer {
    /// Small answers that wait for room; they overtake nothing that has to be matched.
    pub control: VecDeque<Header>,
    /// Sends that wait for room, in the order in which they must be matched.
    pub sends: VecDeque<Ticket>,
    /// Payloads (rndv) that wait for room.
    pub streams: VecDeque<Ticket>,
    /// Gets and puts that wait to begin.
    pub transfers: VecDeque<u32>,
    /// Calls of gets and puts under way with it.
    pub calls: u32,
    /// Is it in the engine's list of peers with calls to begin?
    pub stalled: bool,
    /// Is it in the engine's list of peers with something to flush?
    pub busy: bool,
    /// Unexpected memory that we may still fill over there, bytes. Below that, messages are announced, not sent.
    pub credit: usize,
    /// A long message left eagerly, and no message has come from there since: it may be late with its receives.
    pub unanswered: bool,
    /// Memory of ours that was freed and not yet told, bytes.
    pub owed: usize,
    /// It has finalized.
    pub goodbye: bool,
    /// Why it is gone.
    pub lost: Option<Box<str>>,
    /// Nothing of its can reach this rank's memory any more, but for the last of what it copies of shared messages.
    pub cut: bool,
    /// Its process has ended, or its links are closed, as far as the links can tell: others' word is not enough.
    pub ended: bool,
    /// Has anything been exchanged?
    pub talked: bool,
    /// How many of the lost it was told of.
    pub told: usize,
}

impl Peer {
    pub fn new(window: usize) -> Peer {
        Peer {
            control: VecDeque::new(),
            sends: VecDeque::new(),
            streams: VecDeque::new(),
            transfers: VecDeque::new(),
            calls: 0,
            stalled: false,
            busy: false,
            credit: window,
            unanswered: false,
            owed: 0,
            goodbye: false,
            lost: None,
            cut: false,
            ended: false,
            talked: false,
            told: 0,
        }
    }

    /// Nothing more comes from it, and nothing reaches it.
    #[inline]
    pub fn is_gone(&self) -> bool {
        self.goodbye || self.lost.is_some()
    }

    /// Nothing waits for its link.
    pub fn is_idle(&self) -> bool {
        self.control.is_empty() && self.sends.is_empty() && self.streams.is_empty()
    }
}
