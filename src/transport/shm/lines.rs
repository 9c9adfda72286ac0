//! Hints to the processor about the cache lines of a ring. They change nothing but the time: who writes to a line must take
//! it away from the other's cache, who reads one must wait until it has come over, and both can be begun before.

/// Bytes of a cache line.
pub const LINE: usize = 64;
/// Lines called for at a time: as many misses as a processor has under way.
const BATCH: usize = 16 * LINE;

/// The record that a producer wrote last, and the place of the next one, which will likely be as long.
#[derive(Clone, Copy, Default)]
pub struct Last {
    /// Where it begins in the ring, and its bytes.
    at: usize,
    bytes: usize,
    /// Bytes behind it whose lines were called for.
    called: usize,
    /// Its own lines were pushed.
    pushed: bool,
}

impl Last {
    /// A record was published. Calls for some lines of the next, but not for its first, at which the consumer looks.
    #[inline]
    pub fn published(&mut self, data: *const u8, ring: usize, at: usize, bytes: usize) {
        *self = Last {
            at,
            bytes,
            called: LINE,
            pushed: false,
        };
        self.call(data, ring);
    }

    /// The producer has nothing else to do just now: pushes the record to where its consumer finds it sooner (who sends
    /// without a pause wants its lines where they are), and calls for more of the next one's lines. True: there is no more
    /// to do.
    #[inline]
    pub fn pause(&mut self, data: *const u8, ring: usize) -> bool {
        if !self.pushed {
            self.pushed = true;
            // The consumer begins at the other end.
            for line in (self.at + LINE..self.at + self.bytes).step_by(LINE).rev() {
                push(data.wrapping_add(line));
            }
        } else {
            self.call(data, ring);
        }
        self.called >= self.bytes
    }

    #[inline]
    fn call(&mut self, data: *const u8, ring: usize) {
        let next = self.at + self.bytes;
        let until = (self.called + BATCH).min(self.bytes);
        for line in (next + self.called..(next + until).min(ring)).step_by(LINE) {
            call(data.wrapping_add(line));
        }
        self.called = until;
    }
}

/// Begins to fetch a line that will be written to.
#[inline(always)]
pub fn call(line: *const u8) {
    // SAFETY: a hint; it reads and writes nothing and faults nowhere. Processors that do not know it do nothing.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}

/// Begins to fetch a line that will be read.
#[inline(always)]
pub fn await_line(line: *const u8) {
    // SAFETY: as above.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("prefetcht0 [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Moves a line that was written to from this processor's own cache to the one that all share.
#[inline(always)]
pub fn push(line: *const u8) {
    // SAFETY: as above.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("cldemote [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}
