//! Sum and product of half precision by the instructions F16C has for it, with the very bits of the loops that do
//! without: a NaN comes out as 0x7e00 when an operand was one, and as 0xfe00 when not.

use super::element::Complex;
use super::half::Half;
use super::kernel::{self, Kernel};
use super::level::Level;
use crate::base::constant::handle::{PROD, SUM};
use crate::base::id::OpId;
use std::arch::x86_64::*;

/// For a processor at [`super::level::Level::Avx2`].
pub fn real(op: OpId) -> Option<Kernel> {
    match op {
        SUM => Some(sum),
        PROD => Some(product),
        _ => None,
    }
}

/// As [`real`], of complex numbers.
pub fn complex(op: OpId) -> Option<Kernel> {
    match op {
        SUM => Some(complex_sum),
        PROD => Some(complex_product),
        _ => None,
    }
}

macro_rules! kernels {
    ($($name:ident of $element:ty, $plain:expr, |$a:ident, $b:ident| $eight:expr;)*) => {$(
        #[target_feature(enable = "avx2,f16c")]
        unsafe fn $name(input: *const u8, inout: *mut u8, count: usize) {
            let size = size_of::<$element>();
            let whole = count / (16 / size) * (16 / size);
            for at in (0..whole * size).step_by(16) {
                // SAFETY: these 16 bytes are among those for which the caller vouches; unaligned access needs no
                // alignment.
                unsafe {
                    let ($a, $b) = (single(input.add(at)), single(inout.add(at)));
                    _mm_storeu_si128(inout.add(at).cast(), $eight);
                }
            }
            let rest = $plain(Level::Plain);
            // SAFETY: what is left of the elements.
            unsafe { rest(input.add(whole * size), inout.add(whole * size), count - whole) }
        }
    )*};
}

kernels! {
    sum of Half, kernel::sum::<Half>, |a, b| half(a, b, _mm256_add_ps(a, b));
    product of Half, kernel::product::<Half>, |a, b| half(a, b, _mm256_mul_ps(a, b));
    complex_sum of Complex<Half>, kernel::complex_sum::<Half>, |a, b| half(a, b, _mm256_add_ps(a, b));
    complex_product of Complex<Half>, kernel::product::<Complex<Half>>, |a, b| {
        // Every product is rounded for itself, as are difference (the real part) and sum (the imaginary one).
        let (re, im) = (_mm256_moveldup_ps(a), _mm256_movehdup_ps(a));
        let turned = _mm256_permute_ps::<0b10_11_00_01>(b);
        let x = _mm256_cvtph_ps(half(re, b, _mm256_mul_ps(re, b)));
        let y = _mm256_cvtph_ps(half(im, turned, _mm256_mul_ps(im, turned)));
        half(x, y, _mm256_addsub_ps(x, y))
    };
}

/// Eight numbers from 16 bytes.
///
/// # Safety
/// The bytes are readable.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn single(at: *const u8) -> __m256 {
    // SAFETY: the caller's promise, passed on.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(at.cast()) })
}

/// The result of an operation on a and b, rounded to nearest.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn half(a: __m256, b: __m256, result: __m256) -> __m128i {
    let unordered = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, b);
    let result = _mm256_blendv_ps(result, _mm256_set1_ps(f32::NAN), unordered);
    _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(result)
}
