//! The innermost copying loops. `PACK`: from memory to the stream, else from the stream to memory.

use super::shape::Runs;

/// Copies one run of `len` bytes. Short runs of usual lengths are single moves.
///
/// # Safety
/// `len` bytes must be valid at both addresses, and the source must be readable, the target writable.
#[inline(always)]
pub(super) unsafe fn run<const PACK: bool>(memory: *mut u8, stream: *mut u8, len: usize) {
    let (from, to) = if PACK {
        (memory, stream)
    } else {
        (stream, memory)
    };
    // SAFETY: the caller vouches for both ranges; a user's typemap may overlap itself in memory, but memory and
    // stream are different objects.
    unsafe {
        match len {
            4 => one::<u32>(from, to),
            8 => one::<u64>(from, to),
            _ => std::ptr::copy_nonoverlapping(from, to, len),
        }
    }
}

/// # Safety
/// As [`run`], with `size_of::<T>()` bytes.
#[inline(always)]
unsafe fn one<T: Copy>(from: *mut u8, to: *mut u8) {
    // SAFETY: the caller vouches for the ranges; unaligned access is allowed here.
    unsafe {
        to.cast::<T>()
            .write_unaligned(from.cast::<T>().read_unaligned())
    }
}

/// Copies `count` runs of `len` bytes, `apart` bytes from one to the next on each side.
///
/// # Safety
/// Every run must be valid on both sides, as for [`run`].
pub(super) unsafe fn strided<const PACK: bool>(
    memory: (*mut u8, i64),
    stream: (*mut u8, i64),
    len: usize,
    count: usize,
) {
    // SAFETY: each instance copies exactly the runs that the caller vouches for.
    unsafe {
        match len {
            1 => typed::<u8, PACK>(memory, stream, count),
            2 => typed::<u16, PACK>(memory, stream, count),
            4 => typed::<u32, PACK>(memory, stream, count),
            8 => typed::<u64, PACK>(memory, stream, count),
            12 => typed::<[u32; 3], PACK>(memory, stream, count),
            16 => typed::<[u64; 2], PACK>(memory, stream, count),
            24 => typed::<[u64; 3], PACK>(memory, stream, count),
            32 => typed::<[u64; 4], PACK>(memory, stream, count),
            _ => {
                let (mut m, mut s) = (memory.0, stream.0);
                for _ in 0..count {
                    run::<PACK>(m, s, len);
                    m = m.wrapping_offset(memory.1 as isize);
                    s = s.wrapping_offset(stream.1 as isize);
                }
            }
        }
    }
}

/// # Safety
/// As [`strided`], with runs of `size_of::<T>()` bytes.
#[inline(always)]
unsafe fn typed<T: Copy, const PACK: bool>(
    memory: (*mut u8, i64),
    stream: (*mut u8, i64),
    count: usize,
) {
    let (mut m, mut s) = (memory.0, stream.0);
    for _ in 0..count {
        let (from, to) = if PACK { (m, s) } else { (s, m) };
        // SAFETY: the caller vouches for every run.
        unsafe { one::<T>(from, to) };
        m = m.wrapping_offset(memory.1 as isize);
        s = s.wrapping_offset(stream.1 as isize);
    }
}

/// Copies runs `from..to` of a list; `stream` is where run `from` goes.
///
/// # Safety
/// Every run must be valid on both sides, as for [`run`].
pub(super) unsafe fn listed<const PACK: bool>(
    list: &Runs,
    from: usize,
    to: usize,
    memory: *mut u8,
    stream: *mut u8,
) {
    // SAFETY: each instance copies exactly the runs that the caller vouches for.
    unsafe {
        match list.equal {
            4 => picked::<u32, PACK>(list, from, to, memory, stream),
            8 => picked::<u64, PACK>(list, from, to, memory, stream),
            16 => picked::<[u64; 2], PACK>(list, from, to, memory, stream),
            _ => {
                let begin = list.begin(from);
                let mut done = begin;
                for r in &list.runs[from..to] {
                    let m = memory.wrapping_offset(r.offset as isize);
                    run::<PACK>(m, stream.wrapping_add(done - begin), r.end - done);
                    done = r.end;
                }
            }
        }
    }
}

/// # Safety
/// As [`listed`], with runs of `size_of::<T>()` bytes.
#[inline(always)]
unsafe fn picked<T: Copy, const PACK: bool>(
    list: &Runs,
    from: usize,
    to: usize,
    memory: *mut u8,
    stream: *mut u8,
) {
    let mut s = stream;
    for r in &list.runs[from..to] {
        let m = memory.wrapping_offset(r.offset as isize);
        let (from, to) = if PACK { (m, s) } else { (s, m) };
        // SAFETY: the caller vouches for every run.
        unsafe { one::<T>(from, to) };
        s = s.wrapping_add(size_of::<T>());
    }
}
