//! Time as the service has seen it, and what is due when.

use super::{Connection, JobId, Time};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// While something is due at some time, somebody looks at least this often.
const BEAT: Time = 1_000;
/// A longer time between two looks was no time of ours: the service, or the whole machine, stood still.
const GAP: Time = 3_000;

/// Counts the time in which the service was there to see. When it was frozen, nobody's silence counts.
#[derive(Default)]
pub(super) struct Clock {
    last: Option<Time>,
    seen: Time,
}

impl Clock {
    /// The caller's time has come to `now`; gives ours.
    pub(super) fn see(&mut self, now: Time) -> Time {
        match self.last {
            None => self.seen = now,
            Some(last) => self.seen += now.saturating_sub(last).min(GAP),
        }
        self.last = Some(self.last.unwrap_or(0).max(now));
        self.seen
    }

    /// When the caller should look again for something that is due at `at` of our time.
    pub(super) fn outside(&self, at: Time) -> Time {
        let last = self.last.unwrap_or(0);
        last.saturating_add(at.saturating_sub(self.seen).min(BEAT))
    }

    /// Our time at the last look.
    pub(super) fn now(&self) -> Time {
        self.seen
    }
}

/// Who has something due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Who {
    Guest(Connection),
    Job(JobId),
}

/// What is due when, at the earliest: whoever is called looks whether that is still so, and puts itself down again.
/// So renewing a lease touches nothing here.
#[derive(Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(Time, Who)>>,
}

impl Agenda {
    pub(super) fn add(&mut self, at: Time, who: Who) {
        self.heap.push(Reverse((at, who)));
    }

    pub(super) fn first(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next one that is due by `now`.
    pub(super) fn due(&mut self, now: Time) -> Option<Who> {
        if self.first()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, who))| who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let mut clock = Clock::default();
        assert_eq!(clock.see(500), 500);
        assert_eq!(clock.see(1_500), 1_500);
        // An hour asleep.
        assert_eq!(clock.see(3_601_500), 1_500 + GAP);
        assert_eq!(clock.see(3_600_000), 1_500 + GAP, "backwards");
        assert_eq!(clock.see(3_601_600), 1_600 + GAP);
        assert_eq!(clock.outside(1_700 + GAP), 3_601_700);
        assert_eq!(clock.outside(u64::MAX), 3_601_600 + BEAT);
        assert_eq!(clock.outside(0), 3_601_600);
    }

    #[test]
    fn what_is_due_comes_in_order() {
        let mut agenda = Agenda::default();
        for at in [5, 3, 9] {
            agenda.add(at, Who::Guest(Connection(at)));
        }
        assert_eq!(agenda.due(2), None);
        assert_eq!(agenda.due(5), Some(Who::Guest(Connection(3))));
        assert_eq!(agenda.due(5), Some(Who::Guest(Connection(5))));
        assert_eq!((agenda.due(5), agenda.first()), (None, Some(9)));
    }
}
