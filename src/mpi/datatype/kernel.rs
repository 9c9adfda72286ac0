//! The innermost copying loops. `PACK`: from memory to the stream, else from the stream to memory.

use super::shape::Runs;

/// Copies one run of `len` bytes.
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
    // SAFETY: the caller vouches for both ranges; memory and stream are different objects.
    unsafe {
        match len {
            33.. => std::ptr::copy_nonoverlapping(from, to, len),
            8..=16 => ends::<u64>(from, to, len),
            4..=7 => ends::<u32>(from, to, len),
            17..=32 => ends::<[u64; 2]>(from, to, len),
            2..=3 => ends::<u16>(from, to, len),
            1 => *to = *from,
            0 => {}
        }
    }
}

/// Copies `len` bytes as a move at the beginning and one at the end, which meet or overlap: no loop, no call.
///
/// # Safety
/// As [`run`], and `len` must lie between the size of `T` and twice that.
#[inline(always)]
unsafe fn ends<T: Copy>(from: *mut u8, to: *mut u8, len: usize) {
    let last = len - size_of::<T>();
    // SAFETY: both moves lie within the `len` bytes; unaligned access is allowed here.
    unsafe {
        let first = from.cast::<T>().read_unaligned();
        let second = from.wrapping_add(last).cast::<T>().read_unaligned();
        to.cast::<T>().write_unaligned(first);
        to.wrapping_add(last).cast::<T>().write_unaligned(second);
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

/// An address, and the bytes from one run to the next there.
type Side = (*mut u8, i64);

/// Copies `count` runs of `len` bytes.
///
/// # Safety
/// Every run must be valid on both sides, as for [`run`].
pub(super) unsafe fn strided<const PACK: bool>(
    memory: Side,
    stream: Side,
    len: usize,
    count: usize,
) {
    // SAFETY: each instance copies exactly the runs that the caller vouches for.
    unsafe {
        match len {
            1 => moves::<1, PACK>(memory, stream, count, |f, t| one::<u8>(f, t)),
            2 => moves::<2, PACK>(memory, stream, count, |f, t| one::<u16>(f, t)),
            4 => moves::<4, PACK>(memory, stream, count, |f, t| one::<u32>(f, t)),
            8 => moves::<8, PACK>(memory, stream, count, |f, t| one::<u64>(f, t)),
            16 => moves::<16, PACK>(memory, stream, count, |f, t| one::<[u64; 2]>(f, t)),
            3 => moves::<0, PACK>(memory, stream, count, |f, t| ends::<u16>(f, t, 3)),
            5..=7 => moves::<0, PACK>(memory, stream, count, |f, t| ends::<u32>(f, t, len)),
            12 => moves::<12, PACK>(memory, stream, count, |f, t| ends::<u64>(f, t, 12)),
            9..=15 => moves::<0, PACK>(memory, stream, count, |f, t| ends::<u64>(f, t, len)),
            24 => moves::<24, PACK>(memory, stream, count, |f, t| ends::<[u64; 2]>(f, t, 24)),
            32 => moves::<32, PACK>(memory, stream, count, |f, t| ends::<[u64; 2]>(f, t, 32)),
            17..=31 => moves::<0, PACK>(memory, stream, count, |f, t| ends::<[u64; 2]>(f, t, len)),
            _ => moves::<0, PACK>(memory, stream, count, |f, t| {
                std::ptr::copy_nonoverlapping(f, t, len)
            }),
        }
    }
}

/// The loop of [`strided`]; `LEN` is the runs' length if the compiler may know it, else 0.
#[inline(always)]
fn moves<const LEN: usize, const PACK: bool>(
    memory: Side,
    stream: Side,
    count: usize,
    run: impl Fn(*mut u8, *mut u8),
) {
    let len = LEN as i64;
    // Known strides let the compiler use vector instructions for the commonest case.
    if LEN > 0 && stream.1 == len && memory.1 == 2 * len {
        by_four::<PACK>((memory.0, 2 * len), (stream.0, len), count, run);
    } else {
        by_four::<PACK>(memory, stream, count, run);
    }
}

#[inline(always)]
fn by_four<const PACK: bool>(
    memory: Side,
    stream: Side,
    count: usize,
    run: impl Fn(*mut u8, *mut u8),
) {
    let (mut m, mut s) = (memory.0, stream.0);
    let at = |m: *mut u8, s: *mut u8, i: i64| {
        let m = m.wrapping_offset(i.wrapping_mul(memory.1) as isize);
        let s = s.wrapping_offset(i.wrapping_mul(stream.1) as isize);
        if PACK {
            run(m, s)
        } else {
            run(s, m)
        }
    };
    // Else the addresses' arithmetic would cost as much as the moves.
    for _ in 0..count / 4 {
        at(m, s, 0);
        at(m, s, 1);
        at(m, s, 2);
        at(m, s, 3);
        m = m.wrapping_offset(memory.1.wrapping_mul(4) as isize);
        s = s.wrapping_offset(stream.1.wrapping_mul(4) as isize);
    }
    for i in 0..(count % 4) as i64 {
        at(m, s, i);
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
