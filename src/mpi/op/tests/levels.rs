//! The loops for this processor beside those for any: the same bits.

use super::*;
use crate::mpi::op::kernel::at_level;
use crate::mpi::op::level::Level;

const OPS: [OpId; 13] = [
    SUM, PROD, MIN, MAX, LAND, LOR, LXOR, BAND, BOR, BXOR, MINLOC, MAXLOC, REPLACE,
];

/// Types with their bytes, and the bytes of a number where the result of two NaNs may be either.
const TYPES: &[(DatatypeId, usize, usize)] = &[
    (INT8_T, 1, 0),
    (UINT8_T, 1, 0),
    (INT16_T, 2, 0),
    (UINT16_T, 2, 0),
    (INT32_T, 4, 0),
    (UINT32_T, 4, 0),
    (INT64_T, 8, 0),
    (UINT64_T, 8, 0),
    (INTEGER16, 16, 0),
    (REAL2, 2, 0),
    (FLOAT, 4, 4),
    (DOUBLE, 8, 8),
    (LONG_DOUBLE, 16, 0),
    (REAL16, 16, 0),
    (COMPLEX4, 4, 0),
    (COMPLEX, 8, 4),
    (DOUBLE_COMPLEX, 16, 8),
    (COMPLEX32, 32, 0),
    (C_BOOL, 1, 0),
    (LOGICAL2, 2, 0),
    (LOGICAL4, 4, 0),
    (LOGICAL8, 8, 0),
    (LOGICAL16, 16, 0),
    (BYTE, 1, 0),
    (FLOAT_INT, 8, 0),
    (DOUBLE_INT, 16, 0),
    (LONG_INT, 16, 0),
    (TWO_INT, 8, 0),
    (SHORT_INT, 8, 0),
    (LONG_DOUBLE_INT, 32, 0),
    (TWO_REAL, 8, 0),
    (TWO_DOUBLE_PRECISION, 16, 0),
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Two operands: any bits; extremes (zeros of both signs, infinities, not a number); few values; mostly equal.
    fn operands(&mut self, kind: usize, bytes: usize) -> (Vec<u8>, Vec<u8>) {
        let mut operand = || -> Vec<u8> { (0..bytes).map(|_| (self.next() >> 24) as u8).collect() };
        let (mut a, mut b) = (operand(), operand());
        for (x, y) in a.iter_mut().zip(&mut b) {
            match kind {
                0 => {}
                1 => {
                    let end =
                        |z: u8| [0, 0x80, 0xff, 0x7f, 0x7c, 0xfc, 0xf0, 0][usize::from(z % 8)];
                    (*x, *y) = (end(*x), end(*y));
                }
                2 => (*x, *y) = (*x & 1, *y & 1),
                _ => *y = if *y % 8 == 0 { *y } else { *x },
            }
        }
        (a, b)
    }
}

/// `inout` after the loop of a level, with what is around it.
fn result(
    level: Level,
    op: OpId,
    ty: DatatypeId,
    a: &[u8],
    b: &[u8],
    at: [usize; 2],
    count: usize,
) -> Vec<u8> {
    let mut inout = b.to_vec();
    let kernel = at_level(level, op, ty).unwrap();
    // SAFETY: the callers' operands are longer than `count` elements behind the offsets.
    unsafe { kernel(a.as_ptr().add(at[0]), inout.as_mut_ptr().add(at[1]), count) };
    inout
}

/// Both the same, or of two NaNs one or the other: the compiler may exchange the operands of a sum or product.
fn agree(plain: &[u8], best: &[u8], number: usize) -> bool {
    let nan = |bytes: &[u8]| match bytes.len() {
        4 => f32::from_ne_bytes(bytes.try_into().unwrap()).is_nan(),
        _ => f64::from_ne_bytes(bytes.try_into().unwrap()).is_nan(),
    };
    plain == best
        || number > 0
            && plain
                .chunks(number)
                .zip(best.chunks(number))
                .all(|(p, q)| p == q || p.len() == number && nan(p) && nan(q))
}

#[test]
fn every_level_gives_the_same_bits() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for &(ty, size, number) in TYPES {
        for op in OPS
            .into_iter()
            .filter(|op| at_level(Level::Plain, *op, ty).is_some())
        {
            let number = if op == SUM || op == PROD { number } else { 0 };
            for (round, count) in (0..=67).chain([128, 259]).enumerate() {
                for kind in 0..4 {
                    let at = [(3 * round + kind) % 33, (5 * round + 7 * kind) % 37];
                    let (a, b) = random.operands(kind, count * size + 64);
                    let plain = result(Level::Plain, op, ty, &a, &b, at, count);
                    let best = result(Level::best(), op, ty, &a, &b, at, count);
                    let (begin, end) = (at[1], at[1] + count * size);
                    let what =
                        format!("{} on {:#x}, {count} elements, kind {kind}", name(op), ty.0);
                    assert!(
                        agree(&plain[begin..end], &best[begin..end], number),
                        "{what}"
                    );
                    assert!(
                        best[..begin] == b[..begin] && best[end..] == b[end..],
                        "{what}: outside"
                    );
                }
            }
        }
    }
}

#[test]
fn least_and_greatest_take_the_second_of_what_is_not_ordered() {
    let ends = [
        0.0,
        -0.0,
        f64::NAN,
        -f64::NAN,
        1.0,
        f64::NEG_INFINITY,
        f64::INFINITY,
        -1.0,
    ];
    let pairs = || ends.into_iter().flat_map(|a| ends.map(|b| (a, b)));
    let (a, b): (Vec<f64>, Vec<f64>) = pairs().unzip();
    let bits = |values: Vec<f64>| -> Vec<u64> { values.into_iter().map(f64::to_bits).collect() };
    let least = pairs().map(|(a, b)| if a < b { a } else { b }).collect();
    let most = pairs().map(|(a, b)| if b < a { a } else { b }).collect();
    assert_eq!(bits(run(MIN, DOUBLE, &a, &b)), bits(least));
    assert_eq!(bits(run(MAX, DOUBLE, &a, &b)), bits(most));
    let single = |values: &[f64]| -> Vec<f32> { values.iter().map(|v| *v as f32).collect() };
    let bits = |values: Vec<f32>| -> Vec<u32> { values.into_iter().map(f32::to_bits).collect() };
    let (a, b) = (single(&a), single(&b));
    let pairs = || a.iter().copied().zip(b.iter().copied());
    let least = pairs().map(|(a, b)| if a < b { a } else { b }).collect();
    let most = pairs().map(|(a, b)| if b < a { a } else { b }).collect();
    assert_eq!(bits(run(MIN, FLOAT, &a, &b)), bits(least));
    assert_eq!(bits(run(MAX, FLOAT, &a, &b)), bits(most));
}

/// Sum and order of all halves with some, as they are in single precision.
#[test]
fn halves_are_what_they_are_in_single_precision() {
    use crate::mpi::op::half::Half;
    for other in [
        0, 0x8000, 1, 0x03ff, 0x3c01, 0xbc00, 0x7bff, 0x7c00, 0xfc00, 0x7e00, 0xfe01,
    ] {
        let a: Vec<u16> = (0..=u16::MAX).collect();
        let b = vec![other; a.len()];
        let (sum, product) = (run(SUM, REAL2, &a, &b), run(PROD, REAL2, &a, &b));
        let (least, most) = (run(MIN, REAL2, &a, &b), run(MAX, REAL2, &a, &b));
        for (i, &a) in a.iter().enumerate() {
            let (x, y) = (Half(a).to_f32(), Half(other).to_f32());
            assert_eq!(sum[i], Half::from_f32(x + y).0, "{a:#x} + {other:#x}");
            assert_eq!(product[i], Half::from_f32(x * y).0, "{a:#x} * {other:#x}");
            assert_eq!(
                least[i],
                if x < y { a } else { other },
                "{a:#x}, {other:#x}"
            );
            assert_eq!(most[i], if y < x { a } else { other }, "{a:#x}, {other:#x}");
        }
    }
}
