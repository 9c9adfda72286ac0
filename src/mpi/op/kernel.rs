//! The loops. One generic function per operation, instantiated per type; simple enough to become vector code.

use super::element::{Bits, Complex, Field, Half, Order, Pair, Truth};
use super::long_double::LongDouble;
use super::quad::Quad;
use crate::base::constant::handle::*;
use crate::base::id::{DatatypeId, OpId};
use std::mem::{offset_of, size_of};

/// `(input, inout, count)`: see [`super::apply`].
pub type Kernel = unsafe fn(*const u8, *mut u8, usize);

/// The loop for this operation on this predefined type; none where MPI defines none. Whoever reduces in many
/// pieces asks once.
pub fn kernel(op: OpId, ty: DatatypeId) -> Option<Kernel> {
    match ty {
        CHAR | SIGNED_CHAR | INT8_T | INTEGER1 => integer::<i8>(op),
        UNSIGNED_CHAR | UINT8_T => integer::<u8>(op),
        SHORT | INT16_T | INTEGER2 => integer::<i16>(op),
        UNSIGNED_SHORT | UINT16_T => integer::<u16>(op),
        INT | INT32_T | INTEGER | INTEGER4 => integer::<i32>(op),
        UNSIGNED | UINT32_T => integer::<u32>(op),
        LONG | LONG_LONG | INT64_T | INTEGER8 | AINT | COUNT | OFFSET => integer::<i64>(op),
        UNSIGNED_LONG | UNSIGNED_LONG_LONG | UINT64_T => integer::<u64>(op),
        INTEGER16 => integer::<i128>(op),
        REAL2 | C_FLOAT16 => real::<Half>(op),
        FLOAT | REAL | REAL4 => real::<f32>(op),
        DOUBLE | DOUBLE_PRECISION | REAL8 => real::<f64>(op),
        LONG_DOUBLE => real::<LongDouble>(op),
        REAL16 => real::<Quad>(op),
        COMPLEX4 => complex::<Half>(op),
        COMPLEX | COMPLEX8 | C_FLOAT_COMPLEX | CXX_FLOAT_COMPLEX => complex::<f32>(op),
        DOUBLE_COMPLEX | COMPLEX16 | C_DOUBLE_COMPLEX | CXX_DOUBLE_COMPLEX => complex::<f64>(op),
        C_LONG_DOUBLE_COMPLEX | CXX_LONG_DOUBLE_COMPLEX => complex::<LongDouble>(op),
        COMPLEX32 => complex::<Quad>(op),
        C_BOOL | CXX_BOOL | LOGICAL1 => truth::<u8>(op).or_else(|| copy::<u8>(op)),
        LOGICAL2 => truth::<u16>(op).or_else(|| copy::<u16>(op)),
        LOGICAL | LOGICAL4 => truth::<u32>(op).or_else(|| copy::<u32>(op)),
        LOGICAL8 => truth::<u64>(op).or_else(|| copy::<u64>(op)),
        LOGICAL16 => truth::<i128>(op).or_else(|| copy::<i128>(op)),
        BYTE => bits::<u8>(op).or_else(|| copy::<u8>(op)),
        PACKED | CHARACTER => copy::<u8>(op),
        WCHAR => copy::<u32>(op),
        FLOAT_INT => pair::<f32, i32>(op),
        DOUBLE_INT => pair::<f64, i32>(op),
        LONG_INT => pair::<i64, i32>(op),
        TWO_INT | TWO_INTEGER => pair::<i32, i32>(op),
        SHORT_INT => pair::<i16, i32>(op),
        LONG_DOUBLE_INT => pair::<LongDouble, i32>(op),
        TWO_REAL => pair::<f32, f32>(op),
        TWO_DOUBLE_PRECISION => pair::<f64, f64>(op),
        _ => None,
    }
}

fn integer<T: Field + Order + Bits + Truth>(op: OpId) -> Option<Kernel> {
    real::<T>(op).or_else(|| bits::<T>(op))
}

fn real<T: Field + Order + Truth>(op: OpId) -> Option<Kernel> {
    match op {
        MIN => Some(min::<T>),
        MAX => Some(max::<T>),
        _ => complex_like::<T>(op).or_else(|| truth::<T>(op)),
    }
}

fn complex<T: Field>(op: OpId) -> Option<Kernel> {
    complex_like::<Complex<T>>(op)
}

fn complex_like<T: Field>(op: OpId) -> Option<Kernel> {
    match op {
        SUM => Some(sum::<T>),
        PROD => Some(product::<T>),
        _ => copy::<T>(op),
    }
}

fn bits<T: Bits>(op: OpId) -> Option<Kernel> {
    match op {
        BAND => Some(bit_and::<T>),
        BOR => Some(bit_or::<T>),
        BXOR => Some(bit_xor::<T>),
        _ => None,
    }
}

fn truth<T: Truth>(op: OpId) -> Option<Kernel> {
    match op {
        LAND => Some(all::<T>),
        LOR => Some(any::<T>),
        LXOR => Some(odd::<T>),
        _ => None,
    }
}

fn pair<V: Order, I: Order>(op: OpId) -> Option<Kernel> {
    match op {
        MINLOC => Some(min_location::<V, I>),
        MAXLOC => Some(max_location::<V, I>),
        _ => copy::<Pair<V, I>>(op),
    }
}

fn copy<T: Copy>(op: OpId) -> Option<Kernel> {
    match op {
        REPLACE => Some(replace::<T>),
        NO_OP => Some(nothing),
        _ => None,
    }
}

/// `inout[i] = f(input[i], inout[i])`, element by element.
///
/// # Safety
/// As [`super::apply`].
#[inline(always)]
unsafe fn each<T: Copy>(input: *const u8, inout: *mut u8, count: usize, f: impl Fn(T, T) -> T) {
    let (input, inout) = (input.cast::<T>(), inout.cast::<T>());
    for i in 0..count {
        // SAFETY: i is below count, for which the caller vouches; unaligned access needs no alignment.
        unsafe {
            let value = f(input.add(i).read_unaligned(), inout.add(i).read_unaligned());
            inout.add(i).write_unaligned(value);
        }
    }
}

macro_rules! kernels {
    ($($name:ident: $bound:ident, |$a:ident, $b:ident| $value:expr;)*) => {$(
        unsafe fn $name<T: $bound>(input: *const u8, inout: *mut u8, count: usize) {
            // SAFETY: the caller's promise, passed on.
            unsafe { each::<T>(input, inout, count, |$a, $b| $value) }
        }
    )*};
}

kernels! {
    sum: Field, |a, b| a.add(b);
    product: Field, |a, b| a.mul(b);
    min: Order, |a, b| if a.less(b) { a } else { b };
    max: Order, |a, b| if b.less(a) { a } else { b };
    bit_and: Bits, |a, b| a.and(b);
    bit_or: Bits, |a, b| a.or(b);
    bit_xor: Bits, |a, b| a.xor(b);
    all: Truth, |a, b| T::from_truth(a.truth() & b.truth());
    any: Truth, |a, b| T::from_truth(a.truth() | b.truth());
    odd: Truth, |a, b| T::from_truth(a.truth() ^ b.truth());
}

unsafe fn replace<T>(input: *const u8, inout: *mut u8, count: usize) {
    // SAFETY: both hold `count` elements and do not overlap, says the caller.
    unsafe { std::ptr::copy_nonoverlapping(input, inout, count * size_of::<T>()) }
}

unsafe fn nothing(_: *const u8, _: *mut u8, _: usize) {}

unsafe fn min_location<V: Order, I: Order>(input: *const u8, inout: *mut u8, count: usize) {
    // SAFETY: the caller's promise, passed on.
    unsafe { locate::<V, I>(input, inout, count, |a, b| a.less(b)) }
}

unsafe fn max_location<V: Order, I: Order>(input: *const u8, inout: *mut u8, count: usize) {
    // SAFETY: the caller's promise, passed on.
    unsafe { locate::<V, I>(input, inout, count, |a, b| b.less(a)) }
}

/// The pair whose value wins, the lower index between equals (MPI-5.0 §6.9.4). Field by field: the gaps between a
/// pair's fields are the user's.
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
