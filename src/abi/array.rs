//! A list that lives on the stack while it is short: decoded array arguments.

use std::mem::MaybeUninit;

/// How many entries need no heap.
pub const INLINE: usize = 64;

/// A list of known length, on the stack up to [`INLINE`] entries.
pub struct Array<T: Copy> {
    inline: [MaybeUninit<T>; INLINE],
    heap: Vec<T>,
}

impl<T: Copy> Array<T> {
    #[inline(always)]
    pub const fn new() -> Array<T> {
        Array {
            inline: [const { MaybeUninit::uninit() }; INLINE],
            heap: Vec::new(),
        }
    }

    /// `length` entries, each made from its index.
    #[inline(always)]
    pub fn fill(&mut self, length: usize, mut make: impl FnMut(usize) -> T) -> &mut [T] {
        if length > INLINE {
            self.heap = (0..length).map(make).collect();
            return &mut self.heap;
        }
        for (index, slot) in self.inline[..length].iter_mut().enumerate() {
            slot.write(make(index));
        }
        // SAFETY: the first `length` entries were just written.
        unsafe { std::slice::from_raw_parts_mut(self.inline.as_mut_ptr().cast(), length) }
    }
}

impl<T: Copy> Default for Array<T> {
    fn default() -> Array<T> {
        Array::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_lists_hold_their_entries() {
        for length in [0, 1, INLINE, INLINE + 1, 1000] {
            let mut array = Array::new();
            let entries = array.fill(length, |i| i as i64 * 3);
            assert_eq!(entries.len(), length);
            assert!(entries.iter().enumerate().all(|(i, &v)| v == i as i64 * 3));
            if let Some(last) = entries.last_mut() {
                *last = -1;
                assert_eq!(entries[length - 1], -1);
            }
        }
    }
}
