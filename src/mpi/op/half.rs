//! IEEE half precision (MPI_REAL2). Without branches, so that the loops over it become vector code.

use super::element::{Field, Order, Truth};

/// Computes in single precision, which rounds correctly for these operations.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(transparent)]
pub struct Half(pub u16);

const INFINITY: u16 = 0x7c00;

impl Half {
    /// A NaN loses its sign and payload.
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        let sign = u32::from(self.0 & 0x8000) << 16;
        let magnitude = u32::from(self.0 & 0x7fff);
        let infinity = u32::from(INFINITY);
        // The units of 2^-24 of which subnormals consist; a signed number, as processors convert no other.
        let subnormal = (magnitude as i32 as f32 * f32::from_bits(0x3380_0000)).to_bits();
        let normal = (magnitude << 13) + (112 << 23);
        let finite = if magnitude < 0x400 { subnormal } else { normal };
        let any = if magnitude < infinity {
            finite
        } else {
            0x7f80_0000
        };
        f32::from_bits(if magnitude > infinity {
            0x7fc0_0000
        } else {
            sign | any
        })
    }

    /// Rounds to nearest, ties to even.
    #[inline(always)]
    pub fn from_f32(value: f32) -> Half {
        let sign = (value.to_bits() >> 16) & 0x8000;
        let magnitude = value.to_bits() & 0x7fff_ffff;
        // Subnormal: in units of 2^-24, rounded by the addition of 2^23 (whose unit is 1). Of a larger number, whose
        // result is not taken, nothing overflows.
        let least = if magnitude < 0x3880_0000 {
            magnitude
        } else {
            0
        };
        let units = f32::from_bits(least) * 16_777_216.0;
        let subnormal = (units + 8_388_608.0).to_bits() & 0x007f_ffff;
        let odd = (magnitude >> 13) & 1;
        let normal = magnitude
            .wrapping_sub(0x3800_0000)
            .wrapping_add(0xfff + odd)
            >> 13;
        let finite = if magnitude < 0x3880_0000 {
            subnormal
        } else {
            normal
        };
        let any = if magnitude < 0x4780_0000 {
            finite
        } else {
            u32::from(INFINITY)
        };
        let any = if magnitude > 0x7f80_0000 { 0x7e00 } else { any };
        Half((sign | any) as u16)
    }

    /// A number that is ordered as this one is; both zeros are zero.
    #[inline(always)]
    fn key(self) -> i16 {
        let sign = (self.0 as i16) >> 15;
        ((self.0 & 0x7fff) as i16 ^ sign).wrapping_sub(sign)
    }

    #[inline(always)]
    fn is_number(self) -> bool {
        self.0 & 0x7fff <= INFINITY
    }
}

impl Field for Half {
    #[inline(always)]
    fn add(self, other: Half) -> Half {
        Half::from_f32(self.to_f32() + other.to_f32())
    }
    #[inline(always)]
    fn sub(self, other: Half) -> Half {
        Half::from_f32(self.to_f32() - other.to_f32())
    }
    #[inline(always)]
    fn mul(self, other: Half) -> Half {
        Half::from_f32(self.to_f32() * other.to_f32())
    }
}

impl Order for Half {
    #[inline(always)]
    fn less(self, other: Half) -> bool {
        (self.key() < other.key()) & self.is_number() & other.is_number()
    }
    #[inline(always)]
    fn same(self, other: Half) -> bool {
        (self.key() == other.key()) & self.is_number() & other.is_number()
    }
}

impl Truth for Half {
    #[inline(always)]
    fn truth(self) -> bool {
        self.0 & 0x7fff != 0
    }
    #[inline(always)]
    fn from_truth(truth: bool) -> Half {
        Half(if truth { 0x3c00 } else { 0 })
    }
}
