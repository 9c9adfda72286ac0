//! The send queue of one link: how many requests are under way, which of them ask for a completion, and what each of them
//! holds until it is over. Completions come in order, so one stands for all before it.

use std::collections::VecDeque;

/// One of so many requests asks for a completion.
const EACH: u32 = 16;
/// One of so many that hold something.
const HOLDING: u32 = 4;

/// What is let go when a request is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// A send buffer.
    Buffer(u32),
    /// Part of a one-sided operation.
    Part(u32),
}

/// Counts wrap.
#[derive(Debug)]
pub struct Queue {
    depth: u32,
    posted: u32,
    done: u32,
    /// Completions asked for that have not come.
    asked: u32,
    /// Since the last request that asked: requests, and those that hold something.
    quiet: u32,
    quiet_holding: u32,
    held: VecDeque<(u32, Hold)>,
}

impl Queue {
    pub fn new(depth: u32) -> Queue {
        Queue {
            depth,
            posted: 0,
            done: 0,
            asked: 0,
            quiet: 0,
            quiet_holding: 0,
            held: VecDeque::new(),
        }
    }

    /// Requests that may still be posted.
    #[inline]
    pub fn free(&self) -> u32 {
        self.depth - self.posted.wrapping_sub(self.done)
    }

    /// Is everything over?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.posted == self.done
    }

    /// Will no completion come, though something is under way?
    #[inline]
    pub fn is_mute(&self) -> bool {
        self.asked == 0 && !self.is_empty()
    }

    /// Completions that will come.
    #[inline]
    pub fn asked(&self) -> u32 {
        self.asked
    }

    /// A request is to be posted (there must be room): its number, and whether it has to ask for a completion, which
    /// `wish` makes it do anyway.
    #[inline(always)]
    pub fn post(&mut self, hold: Option<Hold>, wish: bool) -> (u32, bool) {
        debug_assert!(self.free() > 0);
        let number = self.posted;
        self.posted = number.wrapping_add(1);
        self.quiet += 1;
        if let Some(hold) = hold {
            self.quiet_holding += 1;
            self.held.push_back((number, hold));
        }
        let ask = wish
            || self.quiet >= EACH.min(self.depth / 2)
            || self.quiet_holding >= HOLDING
            || self.free() == 0;
        if ask {
            self.quiet = 0;
            self.quiet_holding = 0;
            self.asked += 1;
        }
        (number, ask)
    }

    /// The request that was just numbered holds this.
    pub fn hold_last(&mut self, hold: Hold) {
        self.held.push_back((self.posted.wrapping_sub(1), hold));
    }

    /// The last post failed, and nothing is under way of it.
    pub fn unpost(&mut self, asked: bool) -> Option<Hold> {
        self.posted = self.posted.wrapping_sub(1);
        self.asked -= u32::from(asked);
        if self.held.back().is_some_and(|(n, _)| *n == self.posted) {
            return self.held.pop_back().map(|(_, hold)| hold);
        }
        None
    }

    /// The completion of this request has come: it and all before are over.
    #[inline]
    pub fn complete(&mut self, number: u32, mut release: impl FnMut(Hold)) {
        let over = number.wrapping_add(1);
        if over.wrapping_sub(self.done) > self.posted.wrapping_sub(self.done) {
            return;
        }
        self.asked = self.asked.saturating_sub(1);
        self.done = over;
        while let Some((n, hold)) = self.held.front().copied() {
            if over.wrapping_sub(n).wrapping_sub(1) >= 1 << 31 {
                break;
            }
            self.held.pop_front();
            release(hold);
        }
    }

    /// The link is broken: nothing of it is under way any more.
    pub fn abandon(&mut self, mut release: impl FnMut(Hold)) {
        self.done = self.posted;
        self.asked = 0;
        for (_, hold) in self.held.drain(..) {
            release(hold);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that completes some time later, in order, what asked for it.
    #[test]
    fn every_request_ends_once_and_completions_are_few() {
        for (seed, depth) in [(1u64, 4u32), (2, 16), (3, 64), (4, 5)] {
            let mut state = seed;
            let mut random = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            let mut queue = Queue::new(depth);
            queue.posted = u32::MAX - 500;
            queue.done = queue.posted;
            let mut device = VecDeque::new();
            let (mut posted, mut completions, mut next, mut released) = (0, 0, 0, 0);
            while posted < 5000 {
                if queue.free() > 0 && !random().is_multiple_of(3) {
                    let hold = random().is_multiple_of(8).then(|| {
                        next += 1;
                        Hold::Part(next)
                    });
                    let (number, ask) = queue.post(hold, false);
                    if ask {
                        device.push_back(number);
                        completions += 1;
                    }
                    posted += 1;
                } else if !device.is_empty() {
                    let number = device.pop_front().expect("not empty");
                    queue.complete(number, |hold| {
                        released += 1;
                        assert_eq!(hold, Hold::Part(released), "in order");
                    });
                } else {
                    assert!(queue.free() > 0, "full, and no completion will come");
                }
                assert_eq!(queue.is_mute(), device.is_empty() && !queue.is_empty());
            }
            assert!(depth < 16 || completions < posted / 7, "{completions}");
            queue.abandon(|hold| {
                released += 1;
                assert_eq!(hold, Hold::Part(released));
            });
            assert!(released == next && queue.is_empty() && queue.free() == depth);
        }
    }

    #[test]
    fn a_failed_post_leaves_nothing() {
        let mut queue = Queue::new(8);
        queue.post(None, false);
        let (_, ask) = queue.post(Some(Hold::Buffer(3)), true);
        assert_eq!((queue.free(), queue.asked()), (6, 1));
        assert_eq!(queue.unpost(ask), Some(Hold::Buffer(3)));
        assert_eq!(queue.unpost(false), None);
        assert!(queue.is_empty() && queue.asked() == 0);
    }
}
