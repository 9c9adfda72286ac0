//! A list that lives on the stack while it is short: decoded array arguments.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

/// How many entries need no heap.
pub const INLINE: usize = 64;

/// A list of known length, on the stack up to [`INLINE`] entries.
pub struct Array<T: Copy> {
    inline: [MaybeUninit<T>; INLINE],
    heap: Vec<T>,
    length: usize,
}

impl<T: Copy> Array<T> {
    /// `length` entries, each made from its index.
    #[inline]
    pub fn from_fn(length: usize, mut make: impl FnMut(usize) -> T) -> Array<T> {
        let mut array = Array {
            inline: [const { MaybeUninit::uninit() }; INLINE],
            heap: Vec::new(),
            length,
        };
        if length <= INLINE {
            for (index, slot) in array.inline[..length].iter_mut().enumerate() {
                slot.write(make(index));
            }
        } else {
            array.heap.extend((0..length).map(make));
        }
        array
    }
}

impl<T: Copy> Deref for Array<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        if self.length > INLINE {
            return &self.heap;
        }
        // SAFETY: `from_fn` wrote the first `length` inline entries.
        unsafe { std::slice::from_raw_parts(self.inline.as_ptr().cast(), self.length) }
    }
}

impl<T: Copy> DerefMut for Array<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        if self.length > INLINE {
            return &mut self.heap;
        }
        // SAFETY: `from_fn` wrote the first `length` inline entries.
        unsafe { std::slice::from_raw_parts_mut(self.inline.as_mut_ptr().cast(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_lists_hold_their_entries() {
        for length in [0, 1, INLINE, INLINE + 1, 1000] {
            let mut array = Array::from_fn(length, |i| i as i64 * 3);
            assert_eq!(array.len(), length);
            assert!(array.iter().enumerate().all(|(i, &v)| v == i as i64 * 3));
            if let Some(last) = array.last_mut() {
                *last = -1;
                assert_eq!(array[length - 1], -1);
            }
        }
    }
}
