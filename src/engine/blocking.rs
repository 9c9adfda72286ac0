//! A blocking receive that needs no operation: the only receive posted on its context, of dense data. It stands beside the
//! queues, and the message it waits for goes straight into its memory. Whatever it cannot do itself (an announced message, a
//! second receive, a lost peer) makes an ordinary operation of it first, so that only this file knows of it.

use crate::base::id::PeerId;
use crate::engine::data::Data;
use crate::engine::operation::Outcome;
use crate::engine::{deliver, receiving, Core, Engine, Pattern, Run, Ticket};
use crate::wire::frame::Header;

/// How it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stand {
    /// There is none.
    Nobody,
    Posted,
    Over(Outcome),
    /// It has become this operation.
    Ordinary(Ticket),
}

/// The place of the one receive.
pub struct Blocking {
    stand: Stand,
    context: u64,
    pattern: Pattern,
    peer: Option<PeerId>,
    buffer: *mut u8,
    room: usize,
}

impl Blocking {
    pub(super) fn new() -> Blocking {
        Blocking {
            stand: Stand::Nobody,
            context: 0,
            pattern: Pattern {
                source: None,
                tag: None,
            },
            peer: None,
            buffer: std::ptr::null_mut(),
            room: 0,
        }
    }

    #[inline(always)]
    fn data(&self) -> Data {
        Data::dense(self.buffer, self.room)
    }

    /// Does a message go to it?
    #[inline(always)]
    fn matches(&self, header: &Header) -> bool {
        self.stand == Stand::Posted
            && self.context == header.context
            && self.pattern.source.is_none_or(|s| s == header.source)
            && self.pattern.tag.is_none_or(|t| t == header.tag)
    }
}

impl Engine {
    /// Begins a blocking receive in this way; false: it takes the ordinary one. [`Engine::unblock`] tells its end.
    #[inline]
    pub fn block(
        &mut self,
        (buffer, room): Run,
        context: u64,
        pattern: Pattern,
        from: Option<PeerId>,
    ) -> bool {
        let core = &mut self.core;
        // Without anybody gone, nothing is severed or bereft either.
        if core.parted
            || core.blocking.stand != Stand::Nobody
            || !core.contexts.of(context).is_empty()
        {
            return false;
        }
        core.blocking = Blocking {
            stand: Stand::Posted,
            context,
            pattern,
            peer: from,
            buffer,
            room,
        };
        true
    }

    /// Posts a receive of dense data on whose context no message waits. `None`: nothing was done; the ordinary way knows
    /// more.
    #[inline]
    pub fn post(
        &mut self,
        (buffer, room): Run,
        context: u64,
        pattern: Pattern,
        from: Option<PeerId>,
    ) -> Option<Ticket> {
        let core = &mut self.core;
        if core.parted || core.is_blocked(context) || core.contexts.of(context).holds_messages() {
            return None;
        }
        let receive = receiving(Data::dense(buffer, room), context, from);
        let ticket = core.operations.insert(receive);
        core.post(context, pattern, ticket);
        Some(ticket)
    }

    /// The outcome of the blocking receive, once.
    #[inline(always)]
    pub fn unblock(&mut self) -> Option<Outcome> {
        let outcome = match self.core.blocking.stand {
            Stand::Over(outcome) => outcome,
            Stand::Ordinary(ticket) => self.test(ticket)?,
            Stand::Nobody | Stand::Posted => return None,
        };
        self.core.blocking.stand = Stand::Nobody;
        Some(outcome)
    }
}

impl Core {
    /// Gives a whole message to the blocking receive, if it is that one's.
    #[inline(always)]
    pub(super) fn unblocks(&mut self, header: &Header, payload: &[u8]) -> bool {
        if !self.blocking.matches(header) {
            return false;
        }
        let outcome = deliver(
            &self.blocking.data(),
            header.source,
            header.tag,
            payload.len(),
            payload,
        );
        self.blocking.stand = Stand::Over(outcome);
        self.completions += 1;
        true
    }

    /// Is there one that waits on this context?
    #[inline]
    pub(super) fn is_blocked(&self, context: u64) -> bool {
        self.blocking.stand == Stand::Posted && self.blocking.context == context
    }

    /// Makes an operation of the blocking receive, if it waits: the oldest posted one of its context.
    #[inline(never)]
    pub(super) fn settle_blocking(&mut self) {
        if self.blocking.stand != Stand::Posted {
            return;
        }
        let blocking = &self.blocking;
        let (context, pattern) = (blocking.context, blocking.pattern);
        let receive = receiving(blocking.data(), context, blocking.peer);
        let ticket = self.operations.insert(receive);
        self.post(context, pattern, ticket);
        self.blocking.stand = Stand::Ordinary(ticket);
    }
}
