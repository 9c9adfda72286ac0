//! The "external32" representation (MPI-5.0 §5.3, §14.5.2): big-endian, sizes fixed by the standard, no gaps.

use super::predefined::{Basic, Form};
use super::{Datatype, Parts};
use crate::base::error::Result;
use crate::fail;

/// Bytes that one element takes. Errors: MPI_ERR_COUNT beyond 64 bits.
pub fn external_size(ty: &Datatype) -> Result<i64> {
    match wide_size(ty).try_into() {
        Ok(size) => Ok(size),
        Err(_) => fail!(Count, "the datatype's external32 size is beyond 64 bits"),
    }
}

fn wide_size(ty: &Datatype) -> i128 {
    match ty.parts() {
        Parts::Leaf(basic) => basic.external as i128,
        Parts::Grid {
            count, block, old, ..
        } => count.max(0) as i128 * block.max(0) as i128 * wide_size(old),
        Parts::List(blocks) => blocks
            .iter()
            .map(|block| block.count.max(0) as i128 * wide_size(block.old))
            .sum(),
    }
}

/// Packs `count` elements at `buffer` to the front of `out`. Returns the bytes written. Errors: MPI_ERR_TRUNCATE if `out`
/// is too short.
///
/// # Safety
/// The bytes that the type and count name relative to `buffer` must be readable.
pub unsafe fn pack_external(
    ty: &Datatype,
    count: usize,
    buffer: *const u8,
    out: &mut [u8],
) -> Result<usize> {
    let total = total(ty, count, out.len())?;
    let mut rest = &mut out[..total];
    each(ty, count, &mut |basic, offset, copies, stride| {
        let (part, after) = std::mem::take(&mut rest).split_at_mut(basic.external * copies);
        rest = after;
        let mut native = [0; 32];
        for (i, to) in part.chunks_exact_mut(basic.external).enumerate() {
            let at = offset.wrapping_add(stride.wrapping_mul(i as i64));
            // SAFETY: a basic element of the typemap, for which the caller vouches; none is longer than `native`.
            unsafe {
                let from = buffer.wrapping_offset(at as isize);
                std::ptr::copy_nonoverlapping(from, native.as_mut_ptr(), basic.size);
            }
            encode(basic, &native[..basic.size], to);
        }
    });
    Ok(total)
}

/// Unpacks `count` elements from the front of `data` to `buffer`. Returns the bytes read. Errors: MPI_ERR_TRUNCATE if
/// `data` is too short.
///
/// # Safety
/// The bytes that the type and count name relative to `buffer` must be writable.
pub unsafe fn unpack_external(
    ty: &Datatype,
    count: usize,
    buffer: *mut u8,
    data: &[u8],
) -> Result<usize> {
    let total = total(ty, count, data.len())?;
    let mut rest = &data[..total];
    each(ty, count, &mut |basic, offset, copies, stride| {
        let (part, after) = rest.split_at(basic.external * copies);
        rest = after;
        let mut native = [0; 32];
        for (i, from) in part.chunks_exact(basic.external).enumerate() {
            decode(basic, from, &mut native[..basic.size]);
            let at = offset.wrapping_add(stride.wrapping_mul(i as i64));
            // SAFETY: a basic element of the typemap, for which the caller vouches.
            unsafe {
                let to = buffer.wrapping_offset(at as isize);
                std::ptr::copy_nonoverlapping(native.as_ptr(), to, basic.size);
            }
        }
    });
    Ok(total)
}

/// External bytes of `count` elements, which must fit into `room`.
fn total(ty: &Datatype, count: usize, room: usize) -> Result<usize> {
    let total = wide_size(ty) * count as i128;
    if total > room as i128 {
        fail!(
            Truncate,
            "{count} elements take {total} bytes of external32, there are {room}"
        );
    }
    Ok(total as usize)
}

/// Calls `f(basic type, offset, copies, stride)` for the basic elements of `count` elements, in typemap order.
fn each(ty: &Datatype, count: usize, f: &mut dyn FnMut(&Basic, i64, usize, i64)) {
    copies(ty, 0, count, ty.extent(), f);
}

fn copies(
    ty: &Datatype,
    base: i64,
    count: usize,
    stride: i64,
    f: &mut dyn FnMut(&Basic, i64, usize, i64),
) {
    if ty.size() == 0 {
        return;
    }
    if let Parts::Leaf(basic) = ty.parts() {
        return f(basic, base, count, stride);
    }
    for i in 0..count {
        let base = base.wrapping_add(stride.wrapping_mul(i as i64));
        match ty.parts() {
            Parts::Leaf(..) => {}
            Parts::Grid {
                count,
                stride,
                block,
                old,
            } => {
                if block == 1 {
                    copies(old, base, count as usize, stride, f);
                } else {
                    for row in 0..count {
                        let base = base.wrapping_add(stride.wrapping_mul(row));
                        copies(old, base, block as usize, old.extent(), f);
                    }
                }
            }
            Parts::List(blocks) => {
                for block in blocks.iter() {
                    let at = base.wrapping_add(block.displacement);
                    copies(block.old, at, block.count as usize, block.old.extent(), f);
                }
            }
        }
    }
}

/// One basic element to big-endian bytes.
fn encode(basic: &Basic, native: &[u8], to: &mut [u8]) {
    match basic.form {
        Form::Byte | Form::Marker => to.copy_from_slice(native),
        // Shorter forms keep the low bytes, as C's conversions do.
        Form::Signed | Form::Unsigned | Form::Float => reverse(&native[..to.len()], to),
        Form::Complex | Form::Twin => halves(native, to, reverse),
        Form::Extended => extended_to_quad(native, to),
        Form::ExtendedComplex => halves(native, to, extended_to_quad),
    }
}

/// The inverse of [`encode`].
fn decode(basic: &Basic, from: &[u8], native: &mut [u8]) {
    match basic.form {
        Form::Byte | Form::Marker => native.copy_from_slice(from),
        Form::Signed => {
            let negative = from[0] & 0x80 != 0;
            native.fill(if negative { 0xff } else { 0 });
            reverse(from, &mut native[..from.len()]);
        }
        Form::Unsigned => {
            native.fill(0);
            reverse(from, &mut native[..from.len()]);
        }
        Form::Float => reverse(from, native),
        Form::Complex | Form::Twin => halves(from, native, reverse),
        Form::Extended => quad_to_extended(from, native),
        Form::ExtendedComplex => halves(from, native, quad_to_extended),
    }
}

fn reverse(from: &[u8], to: &mut [u8]) {
    to.copy_from_slice(from);
    if cfg!(target_endian = "little") {
        to.reverse();
    }
}

fn halves(from: &[u8], to: &mut [u8], convert: impl Fn(&[u8], &mut [u8])) {
    let (a, b) = from.split_at(from.len() / 2);
    let (c, d) = to.split_at_mut(to.len() / 2);
    convert(a, c);
    convert(b, d);
}

/// `long double` to big-endian binary128. On x86 it has 80 bits: sign and exponent as in binary128, and 64 bits of
/// significand whose leading one is explicit.
#[cfg(target_arch = "x86_64")]
fn extended_to_quad(native: &[u8], to: &mut [u8]) {
    let significand = u64::from_le_bytes(native[..8].try_into().expect("8 bytes"));
    let head = u16::from_le_bytes(native[8..10].try_into().expect("2 bytes"));
    let (sign, mut exponent) = ((head >> 15) as u128, (head & 0x7fff) as u128);
    let mut fraction = significand;
    if exponent == 0 && significand >> 63 == 1 {
        // A pseudo-denormal has the value that exponent 1 gives it.
        exponent = 1;
    }
    // The leading one is implicit in binary128; a denormal has none, and both formats scale denormals alike.
    fraction &= u64::MAX >> 1;
    let quad = sign << 127 | exponent << 112 | (fraction as u128) << 49;
    to.copy_from_slice(&quad.to_be_bytes());
}

/// Big-endian binary128 to `long double`, rounded to nearest, ties to even.
#[cfg(target_arch = "x86_64")]
fn quad_to_extended(from: &[u8], native: &mut [u8]) {
    let quad = u128::from_be_bytes(from.try_into().expect("16 bytes"));
    let sign = (quad >> 127) as u16;
    let mut exponent = (quad >> 112) as u16 & 0x7fff;
    let fraction = quad & ((1 << 112) - 1);
    let mut significand = (fraction >> 49) as u64;
    let lost = fraction & ((1 << 49) - 1);
    if exponent == 0x7fff {
        // Infinity, or a NaN that must stay one though its low bits go.
        significand |= 1 << 63;
        if fraction != 0 {
            significand |= 1 << 62;
        }
    } else {
        if exponent != 0 {
            significand |= 1 << 63;
        }
        let half = 1u128 << 48;
        if lost > half || (lost == half && significand & 1 == 1) {
            let (next, carry) = significand.overflowing_add(1);
            significand = next;
            if carry {
                significand = 1 << 63;
                exponent += 1;
            } else if exponent == 0 && significand >> 63 == 1 {
                exponent = 1;
            }
        }
    }
    native.fill(0);
    native[..8].copy_from_slice(&significand.to_le_bytes());
    native[8..10].copy_from_slice(&(sign << 15 | exponent).to_le_bytes());
}

/// Elsewhere `long double` is binary128.
#[cfg(not(target_arch = "x86_64"))]
fn extended_to_quad(native: &[u8], to: &mut [u8]) {
    reverse(native, to);
}

#[cfg(not(target_arch = "x86_64"))]
fn quad_to_extended(from: &[u8], native: &mut [u8]) {
    reverse(from, native);
}
