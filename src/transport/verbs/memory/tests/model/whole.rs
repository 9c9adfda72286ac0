//! A mapping of which parts are registered, moved and resized as one: what the call says must be what it says where nothing is.

use super::{Device, Model, Registrar, PAGE, PAGES, RW};

impl<D: Device + Registrar + Clone> Model<D> {
    pub fn whole(&mut self) {
        let count = 3 + self.below(10);
        let first = self.below(PAGES - count + 1);
        // By one call, so that it is one mapping whatever was there.
        self.map(first, count);
        for _ in 0..self.below(5) {
            // Inside of it: at its edges it depends on what lies beside it what becomes one with what.
            let at = first + 1 + self.below(count - 2);
            let some = 1 + self.below((first + count - 1 - at).min(6));
            let (from, length) = (at * PAGE, some * PAGE);
            match self.below(6) {
                0 | 1 => self.begin(at, some),
                2 => self.map(at, some),
                3 => {
                    self.unmap(at, some);
                    self.map(at, some);
                }
                4 => self.discard(at, some),
                _ => {
                    for block in [&self.block, &self.twin] {
                        block.protect(from, length, libc::PROT_READ);
                        block.protect(from, length, RW);
                    }
                }
            }
        }
        self.resize_as_one(first, count);
    }

    fn resize_as_one(&mut self, first: usize, count: usize) {
        let (grown, shrunk) = (count + 1 + self.below(4), 1 + self.below(count));
        let fixed = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let (new, flags) = match self.below(6) {
            0 => (count, fixed),
            1 => (grown, fixed),
            2 => (shrunk, fixed),
            3 => (grown, 0),
            4 => (shrunk, 0),
            _ => (count, fixed | libc::MREMAP_DONTUNMAP),
        };
        if new > PAGES || first + new > PAGES {
            return;
        }
        let to = self.below(PAGES - new + 1);
        let apart = to + new <= first || to >= first + count.max(new);
        if flags & fixed != 0 && !apart {
            return;
        }
        let [real, twin] = [&self.block, &self.twin].map(|block| {
            let done = block.try_remap(first * PAGE, count * PAGE, new * PAGE, flags, to * PAGE);
            done.map_err(|error| error.raw_os_error())
        });
        assert_eq!(
            real, twin,
            "{count} pages at {first} to {new} at {to}, flags {flags}"
        );
        self.compared += 1;
        if real.is_err() {
            return;
        }
        let there = if flags & fixed != 0 { to } else { first };
        let moved = count.min(new);
        if there != first {
            self.moved(first, there, moved);
            self.pages[first..first + count].fill(None);
        } else {
            self.pages[first + moved..first + count].fill(None);
        }
        self.fresh(there + moved, new - moved);
        if flags & libc::MREMAP_DONTUNMAP != 0 {
            self.fresh(first, count);
        }
    }
}
