//! MPI_MINLOC and MPI_MAXLOC (MPI-5.0 §6.9.4): of two pairs the one whose value wins, the lower index between equals.

#[cfg(target_arch = "x86_64")]
use super::avx2::{self, Lanes};
use super::element::Order;
use super::kernel::{copy, Kernel};
use super::level::Level;
use crate::base::constant::handle::{MAXLOC, MINLOC};
use crate::base::id::OpId;
use std::mem::offset_of;

/// A C struct, or a Fortran array of two.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Pair<V, I> {
    pub value: V,
    pub index: I,
}

/// Over pairs of any fields.
pub fn any_pair<V: Order, I: Order>(op: OpId) -> Option<Kernel> {
    match op {
        MINLOC => Some(min_location::<V, I>),
        MAXLOC => Some(max_location::<V, I>),
        _ => copy::<Pair<V, I>>(op),
    }
}

/// Over pairs that are two words of so many bytes, a value and an index.
#[cfg(target_arch = "x86_64")]
pub fn pair<const WORD: usize, V: Order + Lanes<WORD>, I: Order + Lanes<WORD>>(
    op: OpId,
    level: Level,
) -> Option<Kernel> {
    const { assert!(size_of::<Pair<V, I>>() == 2 * WORD && offset_of!(Pair<V, I>, index) == WORD) };
    match (level, op) {
        (Level::Avx2, MINLOC) => Some(min_by_words::<WORD, V, I>),
        (Level::Avx2, MAXLOC) => Some(max_by_words::<WORD, V, I>),
        _ => any_pair::<V, I>(op),
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn pair<const WORD: usize, V: Order, I: Order>(op: OpId, _: Level) -> Option<Kernel> {
    any_pair::<V, I>(op)
}

macro_rules! locations {
    ($($name:ident, $by_words:ident: $greatest:literal, |$a:ident, $b:ident| $wins:expr;)*) => {$(
        unsafe fn $name<V: Order, I: Order>(input: *const u8, inout: *mut u8, count: usize) {
            // SAFETY: the caller's promise, passed on.
            unsafe { locate::<V, I>(input, inout, count, |$a, $b| $wins) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        unsafe fn $by_words<const WORD: usize, V: Order + Lanes<WORD>, I: Order + Lanes<WORD>>(
            input: *const u8,
            inout: *mut u8,
            count: usize,
        ) {
            // SAFETY: the caller's promise, passed on.
            unsafe { avx2::locate::<WORD, $greatest, V, I>(input, inout, count, $name::<V, I>) }
        }
    )*};
}

locations! {
    min_location, min_by_words: false, |a, b| a.less(b);
    max_location, max_by_words: true, |a, b| b.less(a);
}

/// Field by field: the gaps between a pair's fields are the user's.
///
/// # Safety
/// As [`super::apply`].
#[inline(always)]
unsafe fn locate<V: Order, I: Order>(
    input: *const u8,
    inout: *mut u8,
    count: usize,
    wins: impl Fn(V, V) -> bool,
) {
    for i in 0..count {
        let at = i * size_of::<Pair<V, I>>();
        // SAFETY: i is below count, for which the caller vouches, and the fields lie inside the pair.
        unsafe {
            let (index_in, index) = (
                input.add(at + offset_of!(Pair<V, I>, index)).cast::<I>(),
                inout.add(at + offset_of!(Pair<V, I>, index)).cast::<I>(),
            );
            let (value_in, value) = (input.add(at).cast::<V>(), inout.add(at).cast::<V>());
            let (a, b) = (value_in.read_unaligned(), value.read_unaligned());
            let (i, j) = (index_in.read_unaligned(), index.read_unaligned());
            if wins(a, b) {
                value.write_unaligned(a);
                index.write_unaligned(i);
            } else if a.same(b) && i.less(j) {
                index.write_unaligned(i);
            }
        }
    }
}
