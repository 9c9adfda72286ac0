//! What the thread that listens does before it lets the maker of a change go on: afterwards the program's mappings must be joined
//! and cut as if nothing of them had ever been watched.

use super::mappings::Mappings;
use super::ring::Ring;
use super::runs::{Runs, ROOM};
use super::uffd::Uffd;
use super::watch::Change;
use std::io;

/// Bytes of a run that is not left for a hole in it: where pages are small, a tenth of a millisecond for each 8 MiB.
const LARGE: usize = 64 << 20;

/// Looks after watched runs; allocates nothing.
pub struct Mender {
    maps: Mappings,
    seen: Box<[Seen]>,
}

/// A watched run, and what is there now.
#[derive(Clone, Copy, Default)]
struct Seen {
    start: usize,
    end: usize,
    /// The runs that have a part of it: how many, from where, to where.
    parts: usize,
    from: usize,
    to: usize,
}

impl Seen {
    /// Nothing of it is gone. Of the heap the end comes and goes: who would move that in one piece with what was there before?
    fn is_whole(&self, heap: usize) -> bool {
        let end = match (self.start..self.end).contains(&heap.wrapping_sub(1)) {
            true => heap,
            false => self.end,
        };
        self.parts == 1 && self.from <= self.start && self.to >= end
    }
}

impl Mender {
    pub fn new() -> io::Result<Mender> {
        Ok(Mender {
            maps: Mappings::open()?,
            seen: vec![Seen::default(); ROOM].into(),
        })
    }

    /// Somebody waits for an event to be read; it is not known yet which.
    ///
    /// What is new within a run (mapped over what was there) is watched with it, while nothing was written to it, so that all
    /// becomes one mapping again. A run with a hole is watched no longer: what fills the hole will not be told, and shall
    /// be joined with what is around it. That costs a look at each of its pages and all that is kept of it, so large runs stay.
    pub fn mend(&mut self, uffd: &Uffd, runs: &Runs, ring: &Ring) {
        let mut count = 0;
        for (seen, (start, end)) in self.seen.iter_mut().zip(runs.each()) {
            *seen = Seen {
                start,
                end,
                ..Seen::default()
            };
            count += 1;
        }
        if count == 0 {
            return;
        }
        let seen = &mut self.seen[..count];
        let read = self.maps.runs(|from, to| {
            for seen in seen.iter_mut().filter(|s| s.start < to && s.end > from) {
                if seen.parts == 0 {
                    seen.from = from;
                }
                seen.to = to;
                seen.parts += 1;
            }
        });
        // SAFETY: sbrk(0) changes nothing.
        let heap = unsafe { libc::sbrk(0) } as usize;
        for at in 0..count {
            let seen = self.seen[at];
            let whole = read.is_ok() && seen.is_whole(heap.next_multiple_of(4096));
            // It may have grown, with its watch or without.
            let grown = seen.from < seen.start || seen.to > seen.end;
            let run = (seen.start, seen.end);
            if read.is_ok() && !whole && seen.end - seen.start > LARGE && self.split(run, runs) {
                continue;
            }
            let known = whole && (!grown || runs.grow(run, seen.from, seen.to));
            if !known || uffd.add(seen.from, seen.to).is_err() {
                self.give_up(seen.start, seen.end, uffd, runs, ring);
            }
        }
    }

    /// Its parts stay watched; false: they are too many.
    fn split(&mut self, run: (usize, usize), runs: &Runs) -> bool {
        runs.take(run);
        let mut known = true;
        let read = self.maps.runs(|from, to| {
            if from < run.1 && to > run.0 {
                known &= runs.add(from, to);
            }
        });
        known && read.is_ok()
    }

    /// Watches no longer what stands between the two. Who has a part of it watched anew meanwhile, without knowing, is told
    /// afterwards: what is left may be more than what was seen.
    fn give_up(&mut self, start: usize, end: usize, uffd: &Uffd, runs: &Runs, ring: &Ring) {
        uffd.leave(&mut self.maps, (start, end), |start, end| {
            runs.take_all(start, end);
            ring.put(Change::Gone(start, end));
        });
        runs.take_all(start, end);
        ring.put(Change::Gone(start, end));
    }

    /// Watched memory came to `start`: it is left, unless it stands in one run with memory that stays watched.
    pub fn moved(&mut self, start: usize, uffd: &Uffd, runs: &Runs, ring: &Ring) {
        let Ok(Some((start, end))) = self.maps.run(start, start + 1) else {
            return;
        };
        let with = runs.each().find(|run| run.0 < end && run.1 > start);
        let joined = with.is_some_and(|run| {
            runs.grow(run, start.min(run.0), end.max(run.1)) && uffd.add(start, end).is_ok()
        });
        if !joined {
            self.give_up(start, end, uffd, runs, ring);
        }
    }
}
