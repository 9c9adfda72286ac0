//! The loops. One generic function per operation, instantiated per type; simple enough to become vector code.

use super::element::{Bits, Complex, Field, Order, Truth};
use super::half::Half;
use super::level::{versions, Level};
use super::locate::{any_pair, pair};
use super::long_double::LongDouble;
use super::quad::Quad;
use crate::base::constant::handle::*;
use crate::base::id::{DatatypeId, OpId};
use std::mem::size_of;

/// `(input, inout, count)`: see [`super::apply`].
pub type Kernel = unsafe fn(*const u8, *mut u8, usize);

/// The loop for this operation on this predefined type; none where MPI defines none. Whoever reduces in many
/// pieces asks once.
pub fn kernel(op: OpId, ty: DatatypeId) -> Option<Kernel> {
    at_level(Level::best(), op, ty)
}

/// As [`kernel`], for a processor that has the instructions of this level.
pub fn at_level(level: Level, op: OpId, ty: DatatypeId) -> Option<Kernel> {
    match ty {
        CHAR | SIGNED_CHAR | INT8_T | INTEGER1 => integer::<i8>(op, level),
        UNSIGNED_CHAR | UINT8_T => integer::<u8>(op, level),
        SHORT | INT16_T | INTEGER2 => integer::<i16>(op, level),
        UNSIGNED_SHORT | UINT16_T => integer::<u16>(op, level),
        INT | INT32_T | INTEGER | INTEGER4 => integer::<i32>(op, level),
        UNSIGNED | UINT32_T => integer::<u32>(op, level),
        LONG | LONG_LONG | INT64_T | INTEGER8 | AINT | COUNT | OFFSET => integer::<i64>(op, level),
        UNSIGNED_LONG | UNSIGNED_LONG_LONG | UINT64_T => integer::<u64>(op, level),
        INTEGER16 => integer::<i128>(op, Level::Plain),
        REAL2 | C_FLOAT16 => half(op, level),
        FLOAT | REAL | REAL4 => real::<f32>(op, level),
        DOUBLE | DOUBLE_PRECISION | REAL8 => real::<f64>(op, level),
        LONG_DOUBLE => real::<LongDouble>(op, Level::Plain),
        REAL16 => real::<Quad>(op, Level::Plain),
        COMPLEX4 => complex_half(op, level),
        COMPLEX | COMPLEX8 | C_FLOAT_COMPLEX | CXX_FLOAT_COMPLEX => complex::<f32>(op, level),
        DOUBLE_COMPLEX | COMPLEX16 | C_DOUBLE_COMPLEX | CXX_DOUBLE_COMPLEX => {
            complex::<f64>(op, level)
        }
        C_LONG_DOUBLE_COMPLEX | CXX_LONG_DOUBLE_COMPLEX => complex::<LongDouble>(op, Level::Plain),
        COMPLEX32 => complex::<Quad>(op, Level::Plain),
        C_BOOL | CXX_BOOL | LOGICAL1 => truth::<u8>(op, level).or_else(|| copy::<u8>(op)),
        LOGICAL2 => truth::<u16>(op, level).or_else(|| copy::<u16>(op)),
        LOGICAL | LOGICAL4 => truth::<u32>(op, level).or_else(|| copy::<u32>(op)),
        LOGICAL8 => truth::<u64>(op, level).or_else(|| copy::<u64>(op)),
        LOGICAL16 => truth::<i128>(op, Level::Plain).or_else(|| copy::<i128>(op)),
        BYTE => bits::<u8>(op, level).or_else(|| copy::<u8>(op)),
        PACKED | CHARACTER => copy::<u8>(op),
        WCHAR => copy::<u32>(op),
        FLOAT_INT => pair::<4, f32, i32>(op, level),
        DOUBLE_INT => pair::<8, f64, i32>(op, level),
        LONG_INT => pair::<8, i64, i32>(op, level),
        TWO_INT | TWO_INTEGER => pair::<4, i32, i32>(op, level),
        SHORT_INT => pair::<4, i16, i32>(op, level),
        LONG_DOUBLE_INT => any_pair::<LongDouble, i32>(op),
        TWO_REAL => pair::<4, f32, f32>(op, level),
        TWO_DOUBLE_PRECISION => pair::<8, f64, f64>(op, level),
        _ => None,
    }
}

fn integer<T: Field + Order + Bits + Truth>(op: OpId, level: Level) -> Option<Kernel> {
    real::<T>(op, level).or_else(|| bits::<T>(op, level))
}

fn real<T: Field + Order + Truth>(op: OpId, level: Level) -> Option<Kernel> {
    match op {
        SUM => Some(sum::<T>(level)),
        PROD => Some(product::<T>(level)),
        MIN | MAX => Some(extreme::<T>(op == MAX, level)),
        _ => truth::<T>(op, level).or_else(|| copy::<T>(op)),
    }
}

fn extreme<T: Order>(greatest: bool, level: Level) -> Kernel {
    #[cfg(target_arch = "x86_64")]
    if let Some([least, most]) = T::AVX2 {
        return match (level, greatest) {
            (Level::Avx2, false) => least,
            (Level::Avx2, true) => most,
            (Level::Plain, false) => min::<T>(Level::Plain),
            (Level::Plain, true) => max::<T>(Level::Plain),
        };
    }
    match greatest {
        false => min::<T>(level),
        true => max::<T>(level),
    }
}

fn half(op: OpId, level: Level) -> Option<Kernel> {
    match (level, op) {
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, SUM | PROD) => super::f16c::real(op),
        (_, SUM | PROD) => real::<Half>(op, Level::Plain),
        _ => real::<Half>(op, level),
    }
}

fn complex_half(op: OpId, level: Level) -> Option<Kernel> {
    match (level, op) {
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, SUM | PROD) => super::f16c::complex(op),
        _ => complex::<Half>(op, Level::Plain),
    }
}

fn complex<T: Field>(op: OpId, level: Level) -> Option<Kernel> {
    match op {
        SUM => Some(complex_sum::<T>(level)),
        PROD => Some(complex_product::<T>(level)),
        _ => copy::<Complex<T>>(op),
    }
}

fn complex_product<T: Field>(level: Level) -> Kernel {
    #[cfg(target_arch = "x86_64")]
    if let Some(written) = T::AVX2_PRODUCT {
        return match level {
            Level::Avx2 => written,
            Level::Plain => product::<Complex<T>>(Level::Plain),
        };
    }
    product::<Complex<T>>(level)
}

fn bits<T: Bits>(op: OpId, level: Level) -> Option<Kernel> {
    match op {
        BAND => Some(bit_and::<T>(level)),
        BOR => Some(bit_or::<T>(level)),
        BXOR => Some(bit_xor::<T>(level)),
        _ => None,
    }
}

fn truth<T: Truth>(op: OpId, level: Level) -> Option<Kernel> {
    match op {
        LAND => Some(all::<T>(level)),
        LOR => Some(any::<T>(level)),
        LXOR => Some(odd::<T>(level)),
        _ => None,
    }
}

pub(super) fn copy<T: Copy>(op: OpId) -> Option<Kernel> {
    match op {
        REPLACE => Some(replace::<T>),
        NO_OP => Some(nothing),
        _ => None,
    }
}

/// `inout[i] = f(input[i], inout[i])`, part by part of each of the elements.
///
/// # Safety
/// As [`super::apply`].
#[inline(always)]
unsafe fn each<Part: Copy, Element>(
    input: *const u8,
    inout: *mut u8,
    count: usize,
    f: impl Fn(Part, Part) -> Part,
) {
    let (input, inout) = (input.cast::<Part>(), inout.cast::<Part>());
    for i in 0..count * (size_of::<Element>() / size_of::<Part>()) {
        // SAFETY: i is among the elements for which the caller vouches; unaligned access needs no alignment.
        unsafe {
            let value = f(input.add(i).read_unaligned(), inout.add(i).read_unaligned());
            inout.add(i).write_unaligned(value);
        }
    }
}

/// The loops, each with its expression.
macro_rules! loops {
    ($($name:ident<$t:ident: $bound:ident> of $element:ty, |$a:ident, $b:ident| $value:expr;)*) => {
        versions! {$(
            $name<$t: $bound> of $element = |input, inout, count|
                each::<$t, $element>(input, inout, count, |$a, $b| $value);
        )*}
    };
}

loops! {
    sum<T: Field> of T, |a, b| a.add(b);
    // By parts: simpler to vectorise.
    complex_sum<T: Field> of Complex<T>, |a, b| a.add(b);
    product<T: Field> of T, |a, b| a.mul(b);
    min<T: Order> of T, |a, b| if a.less(b) { a } else { b };
    max<T: Order> of T, |a, b| if b.less(a) { a } else { b };
    bit_and<T: Bits> of T, |a, b| a.and(b);
    bit_or<T: Bits> of T, |a, b| a.or(b);
    bit_xor<T: Bits> of T, |a, b| a.xor(b);
    all<T: Truth> of T, |a, b| T::from_truth(a.truth() & b.truth());
    any<T: Truth> of T, |a, b| T::from_truth(a.truth() | b.truth());
    odd<T: Truth> of T, |a, b| T::from_truth(a.truth() ^ b.truth());
}

unsafe fn replace<T>(input: *const u8, inout: *mut u8, count: usize) {
    // SAFETY: both hold `count` elements and do not overlap, says the caller.
    unsafe { std::ptr::copy_nonoverlapping(input, inout, count * size_of::<T>()) }
}

unsafe fn nothing(_: *const u8, _: *mut u8, _: usize) {}
