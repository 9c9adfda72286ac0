//! What came, by whatever link: the links in turn, the cheap ones more often.

use super::Links;
use crate::transport::tcp::Tcp;
use crate::transport::Sink;

/// Polls for one of a link that costs system calls, or that nobody uses, while it is quiet: one costs more than many looks
/// at memory.
const QUIET: u32 = 64;
/// The same while messages come through a device.
const QUIETER: u32 = 256;
/// Polls after which TCP counts as quiet again.
const LOUD: u32 = 512;
/// Looks at memory that a poll with system calls is worth.
const CALLS: u32 = 4;

/// Whose turn it is.
pub(super) struct Turns {
    /// Polls until that of those who wait for it.
    wait: u32,
    /// Polls until TCP counts as quiet.
    loud: u32,
    /// What the last poll was worth, in looks at memory.
    pub(super) effort: u32,
}

impl Turns {
    pub(super) fn new() -> Turns {
        Turns {
            wait: 1,
            loud: 0,
            effort: 1,
        }
    }

    /// Something goes out by TCP, so something will come.
    #[inline]
    pub(super) fn tcp_speaks(&mut self) {
        self.loud = LOUD;
    }

    /// After a sleep everybody is looked at.
    pub(super) fn all_at_once(&mut self) {
        self.wait = 1;
    }
}

impl Links {
    /// Hands what arrived to `sink`: a bounded part of it. True when anything arrived or moved.
    #[inline]
    pub fn poll(&mut self, sink: &mut impl Sink) -> bool {
        let mut moved = false;
        self.turns.effort = 1;
        if !self.own.is_empty() {
            moved |= self.own.poll(sink);
        }
        let used = self.verbs.as_ref().is_some_and(|v| v.used());
        if let Some(shm) = &mut self.shm {
            moved |= shm.poll(sink);
            if !shm.losses.is_empty() {
                self.losses.append(&mut shm.losses);
            } else if moved
                && self.turns.wait > 1
                && self.turns.loud == 0
                && !used
                && self.losses.is_empty()
            {
                // Somebody waits for this, more likely than for what may come elsewhere.
                self.turns.wait -= 1;
                return true;
            }
        }
        self.turns.wait = self.turns.wait.saturating_sub(1);
        let turn = self.turns.wait == 0;
        // Looks at the queues of a device are looks at memory, but not as cheap as the others.
        if turn {
            self.turns.wait = if used { QUIETER } else { QUIET };
        }
        if used || (turn && self.verbs.is_some()) {
            moved |= self.poll_verbs(sink, used);
        }
        // Where nothing else comes, or a poll is worth a system call anyway, TCP need not wait.
        let sole = (self.shm.is_none() && !used) || self.turns.effort >= QUIET;
        if turn || sole || self.turns.loud > 0 {
            moved |= self.poll_tcp(sink);
        }
        if let Some(sim) = &mut self.sim {
            moved |= sim.poll(sink);
            self.losses.append(&mut sim.losses);
        }
        if !self.losses.is_empty() {
            self.report(sink);
            moved = true;
        }
        moved
    }

    #[inline]
    fn poll_verbs(&mut self, sink: &mut impl Sink, used: bool) -> bool {
        let Some(verbs) = &mut self.verbs else {
            return false;
        };
        let mut moved = verbs.poll(sink);
        if used {
            self.turns.effort = verbs.effort();
        }
        let news =
            !(verbs.losses.is_empty() && verbs.wanted.is_empty() && verbs.refused.is_empty());
        if news || verbs.is_over().is_some() {
            self.hear_of_verbs();
            moved = true;
        }
        moved
    }

    fn poll_tcp(&mut self, sink: &mut impl Sink) -> bool {
        let Some(tcp) = &mut self.tcp else {
            self.turns.loud = 0;
            return false;
        };
        self.turns.effort = self.turns.effort.max(CALLS);
        let moved = tcp.poll(sink);
        self.losses.append(&mut tcp.losses);
        let wanted = !tcp.wanted.is_empty();
        self.turns.loud = if moved || !Tcp::idle(tcp) {
            LOUD
        } else {
            self.turns.loud.saturating_sub(1)
        };
        if wanted {
            self.present();
        }
        moved
    }
}
