//! Which runs of memory are watched: told by who registers, read by the thread that listens.
//!
//! A *run* is private anonymous memory without a hole, as far as it goes. It is watched whole or not at all, for the kernel joins
//! mappings that are alike, and moves by one mremap only what is one mapping: were a part of it known to userfaultfd, it would be
//! another mapping, and a call of the program that fits the whole would be refused.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Runs at a time. Few programs have more than some: the heap, and what is mapped between two libraries.
pub const ROOM: usize = 64;

/// A table of two writers: who registers puts in and takes away; the thread, which never waits for the other, takes away and lets
/// grow.
pub struct Runs {
    /// Start and end; an end of 0: none.
    all: Box<[[AtomicUsize; 2]]>,
    /// Somebody puts one in or lets one grow.
    busy: AtomicBool,
}

impl Runs {
    pub fn new() -> Runs {
        Runs {
            all: (0..ROOM).map(|_| Default::default()).collect(),
            busy: AtomicBool::new(false),
        }
    }

    pub fn get(&self, at: usize) -> Option<(usize, usize)> {
        let [start, end] = &self.all[at];
        let before = end.load(Ordering::SeqCst);
        let start = start.load(Ordering::SeqCst);
        // Taken away and put anew meanwhile: who put it will be heard of.
        (before != 0 && end.load(Ordering::SeqCst) == before).then_some((start, before))
    }

    pub fn each(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..ROOM).filter_map(|at| self.get(at))
    }

    /// One that has all from `start` to `end`.
    pub fn having(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        self.each().find(|run| run.0 <= start && run.1 >= end)
    }

    /// For who registers. Runs that lie in this one go; false: there is no room.
    pub fn put(&self, start: usize, end: usize) -> bool {
        // The thread is at it for some instructions.
        while self.busy.swap(true, Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let done = self.put_alone(start, end);
        self.busy.store(false, Ordering::SeqCst);
        done
    }

    /// For the thread: false when the other one is at it, or there is no room.
    pub fn add(&self, start: usize, end: usize) -> bool {
        if self.busy.swap(true, Ordering::SeqCst) {
            return false;
        }
        let done = self.put_alone(start, end);
        self.busy.store(false, Ordering::SeqCst);
        done
    }

    /// For the thread: `run` is now part of a larger one. False when the other one is at it, or the run is gone.
    pub fn grow(&self, run: (usize, usize), start: usize, end: usize) -> bool {
        let known = self.each().any(|r| r == run) || self.having(start, end).is_some();
        known && self.add(start, end)
    }

    fn put_alone(&self, start: usize, end: usize) -> bool {
        if self.having(start, end).is_some() {
            return true;
        }
        for run in self.each().filter(|run| run.0 >= start && run.1 <= end) {
            self.take(run);
        }
        let Some(at) = (0..ROOM).find(|at| self.all[*at][1].load(Ordering::SeqCst) == 0) else {
            return false;
        };
        self.all[at][0].store(start, Ordering::SeqCst);
        self.all[at][1].store(end, Ordering::SeqCst);
        true
    }

    /// Of these addresses no run is watched whole any more.
    pub fn take_all(&self, start: usize, end: usize) {
        for run in self.each().filter(|run| run.0 < end && run.1 > start) {
            self.take(run);
        }
    }

    /// It is no longer watched, or will not be in a moment.
    pub fn take(&self, run: (usize, usize)) {
        for at in 0..ROOM {
            if self.get(at) == Some(run) {
                let end = &self.all[at][1];
                let _ = end.compare_exchange(run.1, 0, Ordering::SeqCst, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_run_takes_the_place_of_those_in_it() {
        let runs = Runs::new();
        assert!(runs.put(10, 20) && runs.put(30, 40) && runs.put(15, 18));
        assert_eq!(runs.each().collect::<Vec<_>>(), [(10, 20), (30, 40)]);
        assert_eq!(runs.having(12, 20), Some((10, 20)));
        assert_eq!(runs.having(12, 21), None);
        assert!(runs.put(0, 40));
        assert_eq!(runs.each().collect::<Vec<_>>(), [(0, 40)]);
        runs.take((0, 39));
        assert!(runs.having(0, 40).is_some(), "another one");
        assert!(runs.grow((0, 40), 0, 50) && runs.put(60, 70));
        assert!(!runs.grow((0, 40), 0, 60), "no longer");
        assert_eq!(runs.each().collect::<Vec<_>>(), [(0, 50), (60, 70)]);
        assert!(runs.grow((60, 70), 0, 70));
        assert_eq!(runs.each().collect::<Vec<_>>(), [(0, 70)]);
        runs.take((0, 70));
        assert_eq!(runs.each().count(), 0);
    }

    #[test]
    fn there_is_room_for_so_many() {
        let runs = Runs::new();
        for i in 1..=ROOM {
            assert!(runs.put(i * 100, i * 100 + 50));
        }
        assert!(!runs.put(7, 8) && runs.put(110, 120));
        runs.take((500, 550));
        assert!(runs.put(7, 8));
    }
}
