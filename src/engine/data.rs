//! The bytes of a message: one run of memory, or whatever a layout says.

use std::sync::Arc;

/// Elements in memory that a datatype describes; the datatype's side of the engine.
pub trait Layout: Send + Sync {
    /// Copies bytes `skip..` of the packed form of `count` elements at `buffer` into `out`; returns how many.
    ///
    /// # Safety
    /// `buffer` must be valid for reads of `count` elements of this layout.
    unsafe fn pack(&self, count: usize, buffer: *const u8, skip: usize, out: &mut [u8]) -> usize;

    /// The reverse of [`Layout::pack`].
    ///
    /// # Safety
    /// `buffer` must be valid for writes of `count` elements of this layout.
    unsafe fn unpack(&self, count: usize, buffer: *mut u8, skip: usize, data: &[u8]) -> usize;
}

/// A message's memory. The program promises (MPI-5.0 §3.7.2) that it stays valid until the operation completes;
/// whoever makes a `Data` passes that promise on.
#[derive(Clone)]
pub struct Data {
    /// Of dense data the first byte, of others the buffer argument.
    pub buffer: *mut u8,
    /// Bytes of the packed form; of a receive its room.
    pub bytes: usize,
    /// `None`: dense.
    pub typed: Option<(Arc<dyn Layout>, usize)>,
}

/// Copies `length` bytes, few of them without a call.
///
/// # Safety
/// As `copy_nonoverlapping`.
#[inline(always)]
unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: the caller's; the two ends of a word overlap where the length lies between.
    unsafe {
        match length {
            8..=16 => {
                let first = from.cast::<u64>().read_unaligned();
                let last = from.add(length - 8).cast::<u64>().read_unaligned();
                to.cast::<u64>().write_unaligned(first);
                to.add(length - 8).cast::<u64>().write_unaligned(last);
            }
            4..8 => {
                let first = from.cast::<u32>().read_unaligned();
                let last = from.add(length - 4).cast::<u32>().read_unaligned();
                to.cast::<u32>().write_unaligned(first);
                to.add(length - 4).cast::<u32>().write_unaligned(last);
            }
            _ => std::ptr::copy_nonoverlapping(from, to, length),
        }
    }
}

impl Data {
    /// One run of memory.
    pub fn dense(buffer: *mut u8, bytes: usize) -> Data {
        Data {
            buffer,
            bytes,
            typed: None,
        }
    }

    /// `count` elements of a layout, `bytes` in all when packed.
    pub fn typed(layout: Arc<dyn Layout>, count: usize, buffer: *mut u8, bytes: usize) -> Data {
        Data {
            buffer,
            bytes,
            typed: Some((layout, count)),
        }
    }

    /// No bytes at all.
    pub fn empty() -> Data {
        Data::dense(std::ptr::null_mut(), 0)
    }

    /// Address of the data when they lie in one piece.
    pub fn address(&self) -> Option<*mut u8> {
        if self.typed.is_none() {
            Some(self.buffer)
        } else {
            None
        }
    }

    /// The bytes from `skip` on, where they lie in one piece.
    #[inline]
    pub fn run(&self, skip: usize, length: usize) -> Option<&[u8]> {
        debug_assert!(skip + length <= self.bytes);
        match &self.typed {
            // SAFETY: as in `read`, and the program does not write to what it sends before that is over.
            None if length > 0 => {
                Some(unsafe { std::slice::from_raw_parts(self.buffer.add(skip), length) })
            }
            // Of no bytes the buffer may be null.
            _ => None,
        }
    }

    /// Fills `out` with the packed bytes from `skip` on.
    #[inline]
    pub fn read(&self, skip: usize, out: &mut [u8]) {
        debug_assert!(skip + out.len() <= self.bytes);
        match &self.typed {
            // SAFETY: the maker of this Data promised `bytes` readable bytes at `buffer`; user buffers and the
            // transport's slots never overlap.
            None => unsafe { copy(self.buffer.add(skip), out.as_mut_ptr(), out.len()) },
            Some((layout, count)) => {
                // SAFETY: the maker promised a buffer of `count` elements of this layout.
                unsafe { layout.pack(*count, self.buffer, skip, out) };
            }
        }
    }

    /// Stores packed bytes from position `skip` on; what lies beyond the room is dropped.
    #[inline]
    pub fn write(&self, skip: usize, bytes: &[u8]) {
        let room = self.bytes.saturating_sub(skip);
        let bytes = if bytes.len() > room {
            &bytes[..room]
        } else {
            bytes
        };
        if bytes.is_empty() {
            return;
        }
        match &self.typed {
            // SAFETY: as in `read`, for writes; `skip + bytes.len() <= self.bytes` by the cut above.
            None => unsafe { copy(bytes.as_ptr(), self.buffer.add(skip), bytes.len()) },
            Some((layout, count)) => {
                // SAFETY: as in `read`.
                unsafe { layout.unpack(*count, self.buffer, skip, bytes) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Data;

    #[test]
    fn any_number_of_bytes_and_no_more_is_copied() {
        let source: Vec<u8> = (1..=40).collect();
        for length in 0..40 {
            let (mut from, mut to) = (source.clone(), [0u8; 42]);
            Data::dense(from.as_mut_ptr(), length).read(0, &mut to[1..1 + length]);
            let whole = |to: &[u8]| to[1..1 + length] == source[..length];
            assert!(whole(&to) && to[0] == 0 && to[1 + length..].iter().all(|b| *b == 0));
            to.fill(0);
            // What lies beyond the room is dropped.
            Data::dense(to[1..].as_mut_ptr(), length).write(0, &source);
            assert!(whole(&to) && to[0] == 0 && to[1 + length..].iter().all(|b| *b == 0));
        }
    }
}

/// Data that do not lie in one piece, for tests.
#[cfg(test)]
pub(super) mod stripes {
    use super::{Data, Layout};
    use std::sync::Arc;

    /// Three bytes of data, then two that are not.
    struct Stripes;

    fn place(at: usize) -> usize {
        at / 3 * 5 + at % 3
    }

    impl Layout for Stripes {
        unsafe fn pack(&self, count: usize, from: *const u8, skip: usize, out: &mut [u8]) -> usize {
            for (at, b) in out.iter_mut().enumerate() {
                assert!(skip + at < count * 3);
                // SAFETY: the caller's buffer is valid for `count` stripes.
                *b = unsafe { *from.add(place(skip + at)) };
            }
            out.len()
        }

        unsafe fn unpack(&self, count: usize, to: *mut u8, skip: usize, data: &[u8]) -> usize {
            for (at, b) in data.iter().enumerate() {
                assert!(skip + at < count * 3);
                // SAFETY: as in `pack`, for writes.
                unsafe { *to.add(place(skip + at)) = *b };
            }
            data.len()
        }
    }

    /// Memory of a message, dense or in stripes.
    pub struct Memory {
        pub bytes: Vec<u8>,
        length: usize,
        dense: bool,
    }

    impl Memory {
        pub fn new(length: usize, dense: bool) -> Memory {
            let room = if dense {
                length
            } else {
                length.div_ceil(3) * 5
            };
            Memory {
                bytes: vec![0; room],
                length,
                dense,
            }
        }

        pub fn data(&mut self) -> Data {
            if self.dense {
                return Data::dense(self.bytes.as_mut_ptr(), self.length);
            }
            let stripes = self.length.div_ceil(3);
            Data::typed(
                Arc::new(Stripes),
                stripes,
                self.bytes.as_mut_ptr(),
                self.length,
            )
        }

        pub fn at(&mut self, at: usize) -> &mut u8 {
            let at = if self.dense { at } else { place(at) };
            &mut self.bytes[at]
        }
    }
}
