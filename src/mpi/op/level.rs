//! Which instructions the loops are compiled for. A result has the same bits at every level: no level contracts a
//! product and a sum into one operation, or the ranks of a job on two kinds of processor would disagree. (Which of two
//! NaNs a sum or product yields is open at every level: the compiler may exchange the operands.)
//!
//! There is none for AVX-512: measured on Sapphire Rapids, it is half as fast again where both operands are in the first
//! cache, and no faster in the second.

/// Chosen when an operation is looked up.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Level {
    /// What every processor of the architecture has: SSE2, NEON.
    Plain,
    /// With F16C, as all that have it.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Level {
    /// The best that this processor has (detected once: the standard library remembers).
    #[inline]
    pub fn best() -> Level {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") {
            return Level::Avx2;
        }
        Level::Plain
    }
}

/// Bytes of an operand that an AVX2 loop takes in a turn: four registers. Compiled for whole turns alone, it stays
/// short, and what is left over has the instructions of the plain loop, which serve few elements better.
#[cfg(target_arch = "x86_64")]
pub const TURN: usize = 128;

/// Functions of a level that give the version of a loop over elements for it, compiled from one text.
macro_rules! versions {
    ($($name:ident<$t:ident: $bound:path> of $element:ty = |$input:ident, $inout:ident, $count:ident| $run:expr;)*) => {$(
        pub(super) fn $name<$t: $bound>(level: Level) -> Kernel {
            #[inline(never)]
            unsafe fn plain<$t: $bound>($input: *const u8, $inout: *mut u8, $count: usize) {
                // SAFETY: the caller's promise, passed on.
                unsafe { $run }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            unsafe fn avx2<$t: $bound>($input: *const u8, $inout: *mut u8, $count: usize) {
                let (all, size) = ($count, size_of::<$element>());
                let turn = $crate::mpi::op::level::TURN / size;
                let $count = all / turn * turn;
                // SAFETY: the caller's promise, passed on: of `all` elements the first `count`, then the others.
                unsafe {
                    $run;
                    plain::<$t>($input.add($count * size), $inout.add($count * size), all - $count)
                }
            }
            match level {
                Level::Plain => plain::<$t>,
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => avx2::<$t>,
            }
        }
    )*};
}
pub(super) use versions;
