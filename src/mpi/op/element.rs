//! What a kernel needs to know of an element's type.

#[cfg(target_arch = "x86_64")]
use super::{avx2, kernel::Kernel};

/// Sum and product; complex numbers have these alone.
pub trait Field: Copy {
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// The product of complex numbers of these where the compiler's loop for AVX2 is poor.
    #[cfg(target_arch = "x86_64")]
    const AVX2_PRODUCT: Option<Kernel> = None;
}

/// Smaller, larger, equal.
pub trait Order: Copy {
    fn less(self, other: Self) -> bool;
    fn same(self, other: Self) -> bool;
    /// MIN and MAX where the compiler's loops for AVX2 are poor.
    #[cfg(target_arch = "x86_64")]
    const AVX2: Option<[Kernel; 2]> = None;
}

/// Bit by bit.
pub trait Bits: Copy {
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
}

/// True unless zero; true is stored as one.
pub trait Truth: Copy {
    fn truth(self) -> bool;
    fn from_truth(truth: bool) -> Self;
}

macro_rules! integers {
    ($($t:ty)*) => {$(
        impl Field for $t {
            #[inline(always)]
            fn add(self, other: $t) -> $t { self.wrapping_add(other) }
            #[inline(always)]
            fn sub(self, other: $t) -> $t { self.wrapping_sub(other) }
            #[inline(always)]
            fn mul(self, other: $t) -> $t { self.wrapping_mul(other) }
        }
        impl Bits for $t {
            #[inline(always)]
            fn and(self, other: $t) -> $t { self & other }
            #[inline(always)]
            fn or(self, other: $t) -> $t { self | other }
            #[inline(always)]
            fn xor(self, other: $t) -> $t { self ^ other }
        }
        impl Truth for $t {
            #[inline(always)]
            fn truth(self) -> bool { self != 0 }
            #[inline(always)]
            fn from_truth(truth: bool) -> $t { truth as $t }
        }
    )*};
}
integers!(i8 i16 i32 i64 i128 u8 u16 u32 u64);

macro_rules! floats {
    ($($t:ty: $product:ident)*) => {$(
        impl Field for $t {
            #[cfg(target_arch = "x86_64")]
            const AVX2_PRODUCT: Option<Kernel> = Some(avx2::$product);
            #[inline(always)]
            fn add(self, other: $t) -> $t { self + other }
            #[inline(always)]
            fn sub(self, other: $t) -> $t { self - other }
            #[inline(always)]
            fn mul(self, other: $t) -> $t { self * other }
        }
        impl Truth for $t {
            #[inline(always)]
            fn truth(self) -> bool { self != 0.0 }
            #[inline(always)]
            fn from_truth(truth: bool) -> $t { if truth { 1.0 } else { 0.0 } }
        }
    )*};
}
floats!(f32: product_c32 f64: product_c64);

macro_rules! ordered {
    ($($t:ty $(: $least:ident $most:ident)?)*) => {$(
        impl Order for $t {
            $(
                #[cfg(target_arch = "x86_64")]
                const AVX2: Option<[Kernel; 2]> = Some([avx2::$least, avx2::$most]);
            )?
            #[inline(always)]
            fn less(self, other: $t) -> bool { self < other }
            #[inline(always)]
            fn same(self, other: $t) -> bool { self == other }
        }
    )*};
}
ordered!(i8 i16 i32 i64: min_i64 max_i64 i128 u8 u16 u32 u64: min_u64 max_u64 f32: min_f32 max_f32 f64: min_f64 max_f64);

/// A complex number as C and Fortran lay it out.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(C)]
pub struct Complex<T> {
    pub re: T,
    pub im: T,
}

impl<T: Field> Field for Complex<T> {
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Complex {
            re: self.re.add(other.re),
            im: self.im.add(other.im),
        }
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Complex {
            re: self.re.sub(other.re),
            im: self.im.sub(other.im),
        }
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Complex {
            re: self.re.mul(other.re).sub(self.im.mul(other.im)),
            im: self.re.mul(other.im).add(self.im.mul(other.re)),
        }
    }
}
