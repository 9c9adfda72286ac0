//! What a kernel needs to know of an element's type.

/// Sum and product; complex numbers have these alone.
pub trait Field: Copy {
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
}

/// Smaller, larger, equal.
pub trait Order: Copy {
    fn less(self, other: Self) -> bool;
    fn same(self, other: Self) -> bool;
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
    ($($t:ty)*) => {$(
        impl Field for $t {
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
floats!(f32 f64);

macro_rules! ordered {
    ($($t:ty)*) => {$(
        impl Order for $t {
            #[inline(always)]
            fn less(self, other: $t) -> bool { self < other }
            #[inline(always)]
            fn same(self, other: $t) -> bool { self == other }
        }
    )*};
}
ordered!(i8 i16 i32 i64 i128 u8 u16 u32 u64 f32 f64);

/// IEEE half precision (MPI_REAL2); computes in single precision, which rounds correctly for these operations.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(transparent)]
pub struct Half(pub u16);

impl Half {
    pub fn to_f32(self) -> f32 {
        let sign = if self.0 & 0x8000 != 0 { -1.0f32 } else { 1.0 };
        let (exponent, fraction) = ((self.0 >> 10) & 0x1f, self.0 & 0x3ff);
        match exponent {
            0 => sign * f32::from(fraction) * f32::from_bits(0x3380_0000), // 2^-24
            0x1f if fraction != 0 => f32::NAN,
            0x1f => sign * f32::INFINITY,
            _ => f32::from_bits(
                (u32::from(self.0 & 0x8000) << 16)
                    | ((u32::from(exponent) + 112) << 23)
                    | (u32::from(fraction) << 13),
            ),
        }
    }

    /// Rounds to nearest, ties to even.
    pub fn from_f32(value: f32) -> Half {
        let bits = value.to_bits();
        let sign = ((bits >> 16) & 0x8000) as u16;
        let magnitude = bits & 0x7fff_ffff;
        if magnitude > 0x7f80_0000 {
            return Half(sign | 0x7e00);
        }
        if magnitude >= 0x4780_0000 {
            return Half(sign | 0x7c00);
        }
        if magnitude < 0x3880_0000 {
            // Subnormal: in units of 2^-24, rounded by the addition of 2^23 (whose unit is 1).
            let units = f32::from_bits(magnitude) * 16_777_216.0;
            let rounded = (units + 8_388_608.0).to_bits() & 0x007f_ffff;
            return Half(sign | rounded as u16);
        }
        let odd = (magnitude >> 13) & 1;
        let rounded = (magnitude - 0x3800_0000) + 0xfff + odd;
        Half(sign | (rounded >> 13) as u16)
    }
}

impl Field for Half {
    fn add(self, other: Half) -> Half {
        Half::from_f32(self.to_f32() + other.to_f32())
    }
    fn sub(self, other: Half) -> Half {
        Half::from_f32(self.to_f32() - other.to_f32())
    }
    fn mul(self, other: Half) -> Half {
        Half::from_f32(self.to_f32() * other.to_f32())
    }
}

impl Order for Half {
    fn less(self, other: Half) -> bool {
        self.to_f32() < other.to_f32()
    }
    fn same(self, other: Half) -> bool {
        self.to_f32() == other.to_f32()
    }
}

impl Truth for Half {
    fn truth(self) -> bool {
        self.0 & 0x7fff != 0
    }
    fn from_truth(truth: bool) -> Half {
        Half(if truth { 0x3c00 } else { 0 })
    }
}

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

/// MINLOC's and MAXLOC's element: a C struct, or a Fortran array of two.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Pair<V, I> {
    pub value: V,
    pub index: I,
}
