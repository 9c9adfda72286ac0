//! Changes on their way from the thread that reads them to whoever asks next: no lock, no allocation.

use super::watch::Change;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Changes that wait.
const ROOM: usize = 1024;

/// A ring with one writer and one reader.
pub struct Ring {
    slots: Box<[[AtomicUsize; 2]]>,
    /// How many were ever taken.
    head: AtomicUsize,
    /// How many were ever put.
    tail: AtomicUsize,
    /// Something was not kept.
    lost: AtomicBool,
}

impl Ring {
    pub fn new() -> Ring {
        Ring {
            slots: (0..ROOM).map(|_| Default::default()).collect(),
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            lost: AtomicBool::new(false),
        }
    }

    /// For the writer alone.
    pub fn put(&self, change: Change) {
        let tail = self.tail.load(Ordering::Relaxed);
        if tail.wrapping_sub(self.head.load(Ordering::Acquire)) == ROOM {
            return self.lose();
        }
        let Change::Gone(start, end) = change else {
            return self.lose();
        };
        let slot = &self.slots[tail % ROOM];
        slot[0].store(start, Ordering::Relaxed);
        slot[1].store(end, Ordering::Relaxed);
        self.tail.store(tail.wrapping_add(1), Ordering::Release);
    }

    /// From now on anything may have changed.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Release);
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tail.load(Ordering::Acquire) == self.head.load(Ordering::Relaxed)
            && !self.lost.load(Ordering::Acquire)
    }

    /// For the reader alone.
    pub fn take(&self) -> Option<Change> {
        if self.lost.load(Ordering::Relaxed) && self.lost.swap(false, Ordering::AcqRel) {
            return Some(Change::Anything);
        }
        let head = self.head.load(Ordering::Relaxed);
        if head == self.tail.load(Ordering::Acquire) {
            return None;
        }
        let slot = &self.slots[head % ROOM];
        let (start, end) = (
            slot[0].load(Ordering::Relaxed),
            slot[1].load(Ordering::Relaxed),
        );
        self.head.store(head.wrapping_add(1), Ordering::Release);
        Some(Change::Gone(start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_out_in_order_and_too_many_mean_anything() {
        let ring = Ring::new();
        assert!(ring.is_empty() && ring.take().is_none());
        for round in 0..3 {
            for i in 0..ROOM {
                ring.put(Change::Gone(i * 4096, round * 4096));
            }
            assert!(!ring.is_empty());
            for i in 0..ROOM {
                assert_eq!(ring.take(), Some(Change::Gone(i * 4096, round * 4096)));
            }
            assert!(ring.is_empty());
        }
        for i in 0..=ROOM {
            ring.put(Change::Gone(i * 4096, (i + 1) * 4096));
        }
        assert_eq!(ring.take(), Some(Change::Anything));
        assert_eq!(std::iter::from_fn(|| ring.take()).count(), ROOM);
        assert!(ring.is_empty());
    }

    #[test]
    fn a_writer_and_a_reader_at_once_lose_nothing_unsaid() {
        const ALL: usize = 20_000;
        let ring = Ring::new();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in 1..=ALL {
                    ring.put(Change::Gone(i << 12, i << 12));
                }
                over.store(true, Ordering::Release);
            });
            let (mut last, mut lost) = (0, false);
            loop {
                let ended = over.load(Ordering::Acquire);
                match ring.take() {
                    Some(Change::Gone(start, end)) => {
                        assert_eq!(start, end);
                        assert!(start >> 12 == last + 1 || lost && start >> 12 > last);
                        last = start >> 12;
                    }
                    Some(_) => lost = true,
                    None if ended => break,
                    None => std::thread::yield_now(),
                }
            }
            assert!(lost || last == ALL);
        });
    }
}
