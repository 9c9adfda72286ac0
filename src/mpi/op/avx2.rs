//! Loops written out for AVX2, where the compiler's own are poor: of a choice between what is in memory and another
//! value it makes a masked store (slow on AMD's processors) or branches, of complex products many shuffles.

use super::element::Complex;
use super::kernel::{self, Kernel};
use super::level::Level;
use std::arch::asm;
use std::arch::x86_64::*;

/// Bytes of a register.
const REGISTER: usize = 32;

macro_rules! loops {
    ($($name:ident: $plain:ident of $t:ty, |$a:ident, $b:ident| $value:expr;)*) => {$(
        #[target_feature(enable = "avx2")]
        pub unsafe fn $name(input: *const u8, inout: *mut u8, count: usize) {
            let whole = count * size_of::<$t>() / REGISTER * REGISTER;
            for at in (0..whole).step_by(REGISTER) {
                // SAFETY: these bytes are among those for which the caller vouches; unaligned access needs no alignment.
                unsafe {
                    let $a = _mm256_loadu_si256(input.add(at).cast());
                    let $b = _mm256_loadu_si256(inout.add(at).cast());
                    _mm256_storeu_si256(inout.add(at).cast(), $value);
                }
            }
            let plain = kernel::$plain::<$t>(Level::Plain);
            // SAFETY: what is left.
            unsafe { plain(input.add(whole), inout.add(whole), count - whole / size_of::<$t>()) }
        }
    )*};
}

// The second operand is the result when one is not a number or both are zeros, as in the plain loop.
loops! {
    min_f32: min of f32, |a, b| _mm256_castps_si256(_mm256_min_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)));
    max_f32: max of f32, |a, b| _mm256_castps_si256(_mm256_max_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)));
    min_f64: min of f64, |a, b| _mm256_castpd_si256(_mm256_min_pd(_mm256_castsi256_pd(a), _mm256_castsi256_pd(b)));
    max_f64: max of f64, |a, b| _mm256_castpd_si256(_mm256_max_pd(_mm256_castsi256_pd(a), _mm256_castsi256_pd(b)));
    min_i64: min of i64, |a, b| _mm256_blendv_epi8(b, a, opaque(_mm256_cmpgt_epi64(b, a)));
    max_i64: max of i64, |a, b| _mm256_blendv_epi8(b, a, opaque(_mm256_cmpgt_epi64(a, b)));
    min_u64: min of u64, |a, b| _mm256_blendv_epi8(b, a, opaque(_mm256_cmpgt_epi64(signed(b), signed(a))));
    max_u64: max of u64, |a, b| _mm256_blendv_epi8(b, a, opaque(_mm256_cmpgt_epi64(signed(a), signed(b))));
    product_c32: product of Complex<f32>, |a, b| {
        let (a, b) = (_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
        let turned = _mm256_permute_ps::<0b10_11_00_01>(b);
        let (x, y) = (_mm256_mul_ps(_mm256_moveldup_ps(a), b), _mm256_mul_ps(_mm256_movehdup_ps(a), turned));
        _mm256_castps_si256(_mm256_addsub_ps(x, y))
    };
    product_c64: product of Complex<f64>, |a, b| {
        let (a, b) = (_mm256_castsi256_pd(a), _mm256_castsi256_pd(b));
        let turned = _mm256_permute_pd::<0b0101>(b);
        let (re, im) = (_mm256_movedup_pd(a), _mm256_permute_pd::<0b1111>(a));
        _mm256_castpd_si256(_mm256_addsub_pd(_mm256_mul_pd(re, b), _mm256_mul_pd(im, turned)))
    };
}

/// The compiler does not see that this is a comparison, and so makes no masked store of what depends on it.
#[inline]
#[target_feature(enable = "avx2")]
fn opaque(mut mask: __m256i) -> __m256i {
    // SAFETY: no instruction at all.
    unsafe {
        asm!("/* {0} */", inout(ymm_reg) mask, options(pure, nomem, nostack, preserves_flags))
    };
    mask
}

/// Ordered as signed numbers as the argument is as unsigned ones.
#[inline]
#[target_feature(enable = "avx2")]
fn signed(a: __m256i) -> __m256i {
    _mm256_xor_si256(a, _mm256_set1_epi64x(i64::MIN))
}

/// A field of a pair at the beginning of a word of so many bytes, perhaps followed by a gap. A pair is two words.
///
/// # Safety
/// Of all three: the processor has AVX2.
pub trait Lanes<const WORD: usize> {
    /// All ones in words where the field of a is less, or equal.
    unsafe fn less(a: __m256i, b: __m256i) -> __m256i;
    unsafe fn same(a: __m256i, b: __m256i) -> __m256i;
    /// The field's bits in each word.
    unsafe fn field() -> __m256i;
}

macro_rules! lanes {
    ($($t:ident in $word:literal: |$a:ident, $b:ident| $less:expr, $same:expr, $field:expr;)*) => {$(
        impl Lanes<$word> for $t {
            #[inline]
            #[target_feature(enable = "avx2")]
            unsafe fn less($a: __m256i, $b: __m256i) -> __m256i {
                $less
            }
            #[inline]
            #[target_feature(enable = "avx2")]
            unsafe fn same($a: __m256i, $b: __m256i) -> __m256i {
                $same
            }
            #[inline]
            #[target_feature(enable = "avx2")]
            unsafe fn field() -> __m256i {
                $field
            }
        }
    )*};
}

lanes! {
    i16 in 4: |a, b| _mm256_cmpgt_epi32(_mm256_slli_epi32::<16>(b), _mm256_slli_epi32::<16>(a)),
        _mm256_cmpeq_epi32(_mm256_slli_epi32::<16>(a), _mm256_slli_epi32::<16>(b)), _mm256_set1_epi32(0xffff);
    i32 in 4: |a, b| _mm256_cmpgt_epi32(b, a), _mm256_cmpeq_epi32(a, b), _mm256_set1_epi32(-1);
    f32 in 4: |a, b| compare_ps::<_CMP_LT_OQ>(a, b), compare_ps::<_CMP_EQ_OQ>(a, b), _mm256_set1_epi32(-1);
    i32 in 8: |a, b| _mm256_cmpgt_epi64(_mm256_slli_epi64::<32>(b), _mm256_slli_epi64::<32>(a)),
        _mm256_cmpeq_epi64(_mm256_slli_epi64::<32>(a), _mm256_slli_epi64::<32>(b)), _mm256_set1_epi64x(0xffff_ffff);
    i64 in 8: |a, b| _mm256_cmpgt_epi64(b, a), _mm256_cmpeq_epi64(a, b), _mm256_set1_epi64x(-1);
    f64 in 8: |a, b| compare_pd::<_CMP_LT_OQ>(a, b), compare_pd::<_CMP_EQ_OQ>(a, b), _mm256_set1_epi64x(-1);
}

#[inline]
#[target_feature(enable = "avx2")]
fn compare_ps<const HOW: i32>(a: __m256i, b: __m256i) -> __m256i {
    _mm256_castps_si256(_mm256_cmp_ps::<HOW>(
        _mm256_castsi256_ps(a),
        _mm256_castsi256_ps(b),
    ))
}

#[inline]
#[target_feature(enable = "avx2")]
fn compare_pd<const HOW: i32>(a: __m256i, b: __m256i) -> __m256i {
    _mm256_castpd_si256(_mm256_cmp_pd::<HOW>(
        _mm256_castsi256_pd(a),
        _mm256_castsi256_pd(b),
    ))
}

/// MPI_MINLOC, or with GREATEST MPI_MAXLOC. What is in the gaps is written back as it was read, but not in the last
/// pair: a user's memory may end before its gap. That pair at least goes to `plain`.
///
/// # Safety
/// As [`super::apply`], of pairs of two words; the processor has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn locate<const WORD: usize, const GREATEST: bool, V: Lanes<WORD>, I: Lanes<WORD>>(
    input: *const u8,
    inout: *mut u8,
    count: usize,
    plain: Kernel,
) {
    let whole = count.saturating_sub(1) * 2 * WORD / REGISTER * REGISTER;
    for at in (0..whole).step_by(REGISTER) {
        // SAFETY: these bytes are among those for which the caller vouches; unaligned access needs no alignment.
        unsafe {
            let a = _mm256_loadu_si256(input.add(at).cast());
            let b = _mm256_loadu_si256(inout.add(at).cast());
            let wins = if GREATEST {
                V::less(b, a)
            } else {
                V::less(a, b)
            };
            let (wins, same) = (both::<WORD>(wins), both::<WORD>(V::same(a, b)));
            let lower = _mm256_or_si256(wins, _mm256_and_si256(same, I::less(a, b)));
            let value = _mm256_and_si256(wins, V::field());
            let index = _mm256_and_si256(lower, I::field());
            let taken = if WORD == 4 {
                _mm256_blend_epi32::<0b1010_1010>(value, index)
            } else {
                _mm256_blend_epi32::<0b1100_1100>(value, index)
            };
            _mm256_storeu_si256(inout.add(at).cast(), _mm256_blendv_epi8(b, a, taken));
        }
    }
    // SAFETY: what is left.
    unsafe {
        plain(
            input.add(whole),
            inout.add(whole),
            count - whole / (2 * WORD),
        )
    }
}

/// The first word of each pair in both.
#[inline]
#[target_feature(enable = "avx2")]
fn both<const WORD: usize>(a: __m256i) -> __m256i {
    if WORD == 4 {
        _mm256_shuffle_epi32::<0b10_10_00_00>(a)
    } else {
        _mm256_shuffle_epi32::<0b01_00_01_00>(a)
    }
}
