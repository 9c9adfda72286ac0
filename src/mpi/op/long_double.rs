//! C's `long double`: 80 bits in 16 bytes on x86-64, IEEE quadruple precision elsewhere.

#[cfg(target_arch = "x86_64")]
pub use x87::LongDouble;

#[cfg(not(target_arch = "x86_64"))]
pub use super::quad::Quad as LongDouble;

#[cfg(target_arch = "x86_64")]
mod x87 {
    use crate::mpi::op::element::{Field, Order, Truth};
    use std::arch::asm;

    /// An x87 extended number as it lies in memory: ten bytes and six of padding.
    #[derive(Clone, Copy)]
    #[repr(C, align(16))]
    pub struct LongDouble(pub [u8; 16]);

    macro_rules! arithmetic {
        ($name:ident, $instruction:literal) => {
            fn $name(self, other: LongDouble) -> LongDouble {
                let mut result = self;
                // SAFETY: reads ten bytes of each operand and writes ten of `result`, all live; the x87 stack is
                // declared clobbered, so it is empty on entry, and two pushes meet two pops.
                unsafe {
                    asm!(
                        "fld tbyte ptr [{a}]",
                        "fld tbyte ptr [{b}]",
                        $instruction,
                        "fstp tbyte ptr [{a}]",
                        a = in(reg) &mut result,
                        b = in(reg) &other,
                        out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                        out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                        options(nostack),
                    );
                }
                result
            }
        };
    }

    impl Field for LongDouble {
        arithmetic!(add, "faddp st(1), st");
        arithmetic!(mul, "fmulp st(1), st");

        fn sub(self, other: LongDouble) -> LongDouble {
            // Turning the sign over and adding leaves no question which way round an assembler reads fsubp.
            let mut negative = other;
            negative.0[9] ^= 0x80;
            self.add(negative)
        }
    }

    impl LongDouble {
        /// (self < other, self == other); both false with a NaN.
        fn compare(self, other: LongDouble) -> (bool, bool) {
            let (above, unequal, unordered): (u8, u8, u8);
            // SAFETY: reads ten bytes of each live operand; the x87 stack is declared clobbered and left empty.
            unsafe {
                asm!(
                    "fld tbyte ptr [{a}]",
                    "fld tbyte ptr [{b}]",
                    "fcomip st, st(1)",
                    "seta {above}",
                    "setne {unequal}",
                    "setp {unordered}",
                    "fstp st(0)",
                    a = in(reg) &self,
                    b = in(reg) &other,
                    above = out(reg_byte) above,
                    unequal = out(reg_byte) unequal,
                    unordered = out(reg_byte) unordered,
                    out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                    out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                    options(nostack),
                );
            }
            (above != 0, unequal == 0 && unordered == 0)
        }
    }

    impl Order for LongDouble {
        fn less(self, other: LongDouble) -> bool {
            self.compare(other).0
        }
        fn same(self, other: LongDouble) -> bool {
            self.compare(other).1
        }
    }

    impl Truth for LongDouble {
        fn truth(self) -> bool {
            !self.same(LongDouble::from(0.0))
        }
        fn from_truth(truth: bool) -> LongDouble {
            LongDouble::from(f64::from(u8::from(truth)))
        }
    }

    impl From<f64> for LongDouble {
        fn from(value: f64) -> LongDouble {
            let mut result = LongDouble([0; 16]);
            // SAFETY: reads eight bytes and writes ten of live values; one push, one pop.
            unsafe {
                asm!(
                    "fld qword ptr [{a}]",
                    "fstp tbyte ptr [{r}]",
                    a = in(reg) &value,
                    r = in(reg) &mut result,
                    out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                    out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                    options(nostack),
                );
            }
            result
        }
    }
}
