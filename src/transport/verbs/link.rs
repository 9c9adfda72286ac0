//! One peer, as the links by verbs see it: its queue pair, and what is known of both ends.

use crate::transport::verbs::credit::Credit;
use crate::transport::verbs::frame::{Prefix, What};
use crate::transport::verbs::lane::{Inward, Outward};
use crate::transport::verbs::onesided::Rest;
use crate::transport::verbs::peer::{Local, Terms};
use crate::transport::verbs::queue::Queue;
use crate::transport::verbs::sys::Qp;
use std::collections::VecDeque;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The queue pair is there; frames may come, none may go.
    Prepared,
    /// Frames go and come.
    Connected,
    /// The peer has closed its end, in order.
    Closed,
    /// It failed; what is left is to say so.
    Broken,
}

/// A peer with a queue pair.
pub struct Link {
    pub qp: Qp,
    pub local: Local,
    pub stage: Stage,
    pub theirs: Terms,
    pub credit: Credit,
    pub queue: Queue,
    /// Bytes that a send may carry inline.
    pub inline: usize,
    /// The number of the next frame to it, and of the next one from it.
    pub next: u32,
    pub expected: u32,
    /// The rings of the pair, when there are.
    pub inward: Option<Inward>,
    pub outward: Option<Outward>,
    /// Parts of one-sided operations that are not posted yet.
    pub rest: VecDeque<Rest>,
    /// It said goodbye: its end is no loss.
    pub goodbye: bool,
    /// It is in the list of those who are owed credit.
    pub due: bool,
    /// A send was refused for lack of credit.
    pub starved: bool,
    /// This end told it that no more comes.
    pub said_bye: bool,
}

impl Link {
    pub fn new(qp: Qp, local: Local, depth: u32) -> Link {
        Link {
            inline: qp.caps().inline as usize,
            qp,
            local,
            stage: Stage::Prepared,
            theirs: Terms::default(),
            credit: Credit::new(local.terms.credits),
            queue: Queue::new(depth),
            next: 0,
            expected: 0,
            inward: None,
            outward: None,
            rest: VecDeque::new(),
            goodbye: false,
            due: false,
            starved: false,
            said_bye: false,
        }
    }

    /// The prefix of what goes next.
    #[inline]
    pub fn prefix(&self, what: What) -> Prefix {
        Prefix {
            what,
            number: self.next,
            limit: self.credit.promise(),
            read: self.inward.as_ref().map_or(0, Inward::promise),
        }
    }

    /// Something with that prefix has gone.
    #[inline]
    pub fn told(&mut self) {
        self.credit.tell();
        if let Some(inward) = &mut self.inward {
            inward.tell();
        }
    }

    /// Is the peer owed news of what was taken, if need be by a message of its own?
    #[inline]
    pub fn is_due(&self) -> bool {
        self.credit.is_due() || self.inward.as_ref().is_some_and(Inward::is_due)
    }
}
