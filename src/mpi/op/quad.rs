//! IEEE quadruple precision (Fortran's REAL(16), C's `_Float128`) in integers, rounded to nearest, ties to even:
//! no compiler of ours has it, and a reduction needs only sum, product and order.

use super::element::{Field, Order, Truth};

/// The 128 bits: sign, 15 of exponent, 112 of fraction.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(transparent)]
pub struct Quad(pub u128);

const FRACTION: u32 = 112;
const HIDDEN: u128 = 1 << FRACTION;
const SIGN: u128 = 1 << 127;
const INFINITY: u128 = 0x7fff << FRACTION;
const NAN: u128 = INFINITY | 1 << (FRACTION - 1);
/// Bits below the last one kept while computing: guard, round, sticky.
const EXTRA: u32 = 3;

impl Quad {
    fn is_nan(self) -> bool {
        self.0 & !SIGN > INFINITY
    }

    fn is_infinite(self) -> bool {
        self.0 & !SIGN == INFINITY
    }

    /// Biased exponent (1 for subnormals too) and significand with its hidden bit.
    fn parts(self) -> (i32, u128) {
        let exponent = ((self.0 >> FRACTION) & 0x7fff) as i32;
        let fraction = self.0 & (HIDDEN - 1);
        match exponent {
            0 => (1, fraction),
            _ => (exponent, fraction | HIDDEN),
        }
    }

    /// Rounds `significand`, which has [`EXTRA`] bits below its unit, with its leading bit anywhere.
    fn round(sign: u128, mut exponent: i32, mut significand: u128) -> Quad {
        if significand == 0 {
            return Quad(sign);
        }
        let top = (FRACTION + EXTRA) as i32;
        let leading = 127 - significand.leading_zeros() as i32;
        let shift = (leading - top).max(1 - exponent);
        if shift > 0 {
            significand = shift_sticky(significand, shift as u32);
            exponent += shift;
        } else {
            // Up to the normal place, but no exponent below that of subnormals.
            significand <<= -shift;
            exponent += shift;
        }
        let rest = significand & ((1 << EXTRA) - 1);
        significand >>= EXTRA;
        if rest > 4 || (rest == 4 && significand & 1 == 1) {
            significand += 1;
        }
        if significand >= 2 * HIDDEN {
            significand >>= 1;
            exponent += 1;
        }
        if exponent >= 0x7fff {
            return Quad(sign | INFINITY);
        }
        let biased = if significand >= HIDDEN {
            exponent as u128
        } else {
            0
        };
        Quad(sign | biased << FRACTION | (significand & (HIDDEN - 1)))
    }
}

/// `value >> shift`, its lowest bit set when any bit was lost.
fn shift_sticky(value: u128, shift: u32) -> u128 {
    if shift >= 128 {
        return (value != 0) as u128;
    }
    let lost = value & ((1u128 << shift) - 1) != 0;
    value >> shift | lost as u128
}

/// The 256-bit product, high and low half.
fn widening(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 64);
    let cross = a0 * b1 + (middle & LOW);
    (
        a1 * b1 + (middle >> 64) + (cross >> 64),
        cross << 64 | (low & LOW),
    )
}

impl Field for Quad {
    fn add(self, other: Quad) -> Quad {
        if self.is_nan() || other.is_nan() {
            return Quad(NAN);
        }
        match (self.is_infinite(), other.is_infinite()) {
            (true, true) if self.0 != other.0 => return Quad(NAN),
            (true, _) => return self,
            (_, true) => return other,
            _ => {}
        }
        // The larger magnitude first; its sign is the result's.
        let (big, small) = if self.0 & !SIGN >= other.0 & !SIGN {
            (self, other)
        } else {
            (other, self)
        };
        let ((be, bs), (se, ss)) = (big.parts(), small.parts());
        let (bs, ss) = (bs << EXTRA, shift_sticky(ss << EXTRA, (be - se) as u32));
        let sign = big.0 & SIGN;
        if sign == small.0 & SIGN {
            return Quad::round(sign, be, bs + ss);
        }
        match bs - ss {
            0 => Quad(0),
            difference => Quad::round(sign, be, difference),
        }
    }

    fn sub(self, other: Quad) -> Quad {
        self.add(Quad(other.0 ^ SIGN))
    }

    fn mul(self, other: Quad) -> Quad {
        let sign = (self.0 ^ other.0) & SIGN;
        if self.is_nan() || other.is_nan() {
            return Quad(NAN);
        }
        let zero = self.0 & !SIGN == 0 || other.0 & !SIGN == 0;
        if self.is_infinite() || other.is_infinite() {
            return Quad(if zero { NAN } else { sign | INFINITY });
        }
        let ((ae, a), (be, b)) = (self.parts(), other.parts());
        // Significands left-aligned: their product's unit is then bit 126 of the high half.
        let (az, bz) = (a.leading_zeros(), b.leading_zeros());
        if zero {
            return Quad(sign);
        }
        let (high, low) = widening(a << az, b << bz);
        let significand = high | (low != 0) as u128;
        // Value = high * 2^(ae + be - 2*(16383+112) - az - bz + 128); round() takes units of 2^(e - 16383 - 112 - 3).
        let exponent = ae + be - 16383 - 112 - az as i32 - bz as i32 + 128 + EXTRA as i32;
        Quad::round(sign, exponent, significand)
    }
}

impl Order for Quad {
    fn less(self, other: Quad) -> bool {
        if self.is_nan() || other.is_nan() {
            return false;
        }
        // As sign and magnitude; both zeros are zero.
        let key = |q: Quad| match (q.0 & SIGN != 0, (q.0 & !SIGN) as i128) {
            (true, magnitude) => -magnitude,
            (false, magnitude) => magnitude,
        };
        key(self) < key(other)
    }

    fn same(self, other: Quad) -> bool {
        !self.is_nan() && !other.is_nan() && !self.less(other) && !other.less(self)
    }
}

impl Truth for Quad {
    fn truth(self) -> bool {
        self.0 & !SIGN != 0
    }
    fn from_truth(truth: bool) -> Quad {
        Quad(if truth { 0x3fff << FRACTION } else { 0 })
    }
}
