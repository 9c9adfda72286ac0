use super::*;
use crate::base::constant::handle::*;

mod levels;

/// Applies to typed slices through deliberately unaligned copies.
fn run<T: Copy>(op: OpId, ty: DatatypeId, input: &[T], inout: &[T]) -> Vec<T> {
    let bytes = std::mem::size_of_val(input);
    let (mut a, mut b) = (vec![0u8; bytes + 1], vec![0u8; bytes + 1]);
    let mut out = inout.to_vec();
    // SAFETY: every copy stays inside vectors of `bytes` (+1) bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(input.as_ptr().cast::<u8>(), a.as_mut_ptr().add(1), bytes);
        std::ptr::copy_nonoverlapping(inout.as_ptr().cast::<u8>(), b.as_mut_ptr().add(1), bytes);
        apply(
            op,
            ty,
            a.as_ptr().add(1),
            b.as_mut_ptr().add(1),
            input.len(),
        );
        std::ptr::copy_nonoverlapping(b.as_ptr().add(1), out.as_mut_ptr().cast::<u8>(), bytes);
    }
    out
}

fn legal(op: OpId, ty: DatatypeId) -> bool {
    let ops = Ops::new();
    check(ops.get(op).unwrap(), ty).is_ok()
}

#[test]
fn integers_wrap_and_compare() {
    assert_eq!(
        run(SUM, INT, &[1, i32::MAX, -3], &[2, 1, 3]),
        [3, i32::MIN, 0]
    );
    assert_eq!(run(PROD, UINT64_T, &[3u64, 1 << 63], &[5, 2]), [15, 0]);
    assert_eq!(run(MIN, INT8_T, &[-1i8, 5], &[1, 4]), [-1, 4]);
    assert_eq!(run(MAX, UINT8_T, &[255u8, 5], &[1, 6]), [255, 6]);
    assert_eq!(run(BXOR, UNSIGNED_SHORT, &[0b1100u16], &[0b1010]), [0b0110]);
    assert_eq!(run(BAND, BYTE, &[0xf0u8], &[0x3c]), [0x30]);
    assert_eq!(
        run(SUM, INTEGER16, &[1i128 << 100], &[7]),
        [(1i128 << 100) + 7]
    );
}

#[test]
fn truth_is_stored_as_one() {
    assert_eq!(run(LAND, INT, &[7, 0, 7, 0], &[2, 2, 0, 0]), [1, 0, 0, 0]);
    assert_eq!(run(LOR, LOGICAL, &[-1, 0, 0], &[0, 0, 8]), [1, 0, 1]);
    assert_eq!(run(LXOR, C_BOOL, &[1u8, 1, 0], &[1, 0, 0]), [0, 1, 0]);
    assert_eq!(run(LXOR, LOGICAL8, &[4u64, 4], &[2, 0]), [0, 1]);
}

#[test]
fn floating_point_truth() {
    assert_eq!(
        run(LXOR, DOUBLE, &[0.5, 2.0, -0.0], &[0.0, 3.0, 0.0]),
        [1.0, 0.0, 0.0]
    );
    assert_eq!(
        run(LAND, REAL2, &[0x3800u16, 0x8000], &[0x0001, 0x3c00]),
        [0x3c00, 0]
    );
    let one = quad(1.0);
    assert_eq!(
        run(LOR, REAL16, &[quad(-7.5), 1u128 << 127], &[0, 0]),
        [one, 0]
    );
}

#[test]
fn floats_and_complex() {
    assert_eq!(
        run(SUM, DOUBLE, &[0.5, 1e300], &[0.25, 1e300]),
        [0.75, 2e300]
    );
    assert_eq!(run(MIN, FLOAT, &[1.0f32, -2.0], &[0.0, 5.0]), [0.0, -2.0]);
    assert_eq!(
        run(PROD, C_DOUBLE_COMPLEX, &[[1.0, 2.0]], &[[3.0, 4.0]]),
        [[-5.0, 10.0]]
    );
    assert_eq!(
        run(SUM, COMPLEX, &[[1.0f32, 2.0]], &[[3.0, 4.0]]),
        [[4.0, 6.0]]
    );
    // Half precision: 1.0 is 0x3c00, 2048 + 1 ties to even 2048.
    assert_eq!(
        run(SUM, REAL2, &[0x3c00u16, 0x3c00], &[0x3c00, 0x6800]),
        [0x4000, 0x6800]
    );
    assert_eq!(run(MAX, REAL2, &[0xbc00u16], &[0x0001]), [0x0001]);
}

#[test]
fn every_half_survives_the_round_trip() {
    for bits in 0..=u16::MAX {
        let half = half::Half(bits);
        if half.to_f32().is_nan() {
            continue;
        }
        assert_eq!(half::Half::from_f32(half.to_f32()), half, "{bits:#x}");
    }
    assert_eq!(half::Half::from_f32(65520.0).0, 0x7c00);
    assert_eq!(half::Half::from_f32(65519.0).0, 0x7bff);
    assert_eq!(half::Half::from_f32(2f32.powi(-25)).0, 0);
    assert_eq!(half::Half::from_f32(2f32.powi(-25) * 1.01).0, 1);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn long_double_has_64_bits_of_fraction() {
    use element::{Field, Order};
    use long_double::LongDouble;
    let of = |x: f64| LongDouble::from(x);
    let tiny = of(2f64.powi(-60));
    let sum = of(1.0).add(tiny);
    assert!(
        of(1.0).less(sum) && !sum.less(of(1.0)),
        "2^-60 beside 1 is lost in a double, not here"
    );
    assert!(sum.sub(of(1.0)).same(tiny));
    assert!(of(3.0).mul(of(-7.0)).same(of(-21.0)));
    let truth = run(LAND, LONG_DOUBLE, &[of(0.5), of(-0.0)], &[of(3.0), of(3.0)]);
    assert!(truth[0].same(of(1.0)) && truth[1].same(of(0.0)));
    assert!(!of(f64::NAN).less(of(1.0)) && !of(f64::NAN).same(of(f64::NAN)));
    let r = run(
        PROD,
        C_LONG_DOUBLE_COMPLEX,
        &[[of(1.0), of(2.0)]],
        &[[of(3.0), of(4.0)]],
    );
    assert!(r[0][0].same(of(-5.0)) && r[0][1].same(of(10.0)));
}

/// A double as a quad: exact.
fn quad(x: f64) -> u128 {
    let bits = x.to_bits();
    let (exponent, fraction) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
    assert!(exponent != 0 || fraction == 0, "normal doubles only");
    let biased = if exponent == 0 {
        0
    } else {
        u128::from(exponent) + 15360
    };
    u128::from(bits >> 63) << 127 | biased << 112 | u128::from(fraction) << 60
}

#[test]
fn quad_agrees_with_doubles_where_those_are_exact() {
    let values = [
        0.0,
        1.0,
        -1.5,
        3.25,
        1e9 + 0.5,
        -65536.0,
        2f64.powi(-20),
        123456.789,
    ];
    for a in values {
        for b in values {
            // f32-sized factors multiply exactly in a double.
            let (p, q) = (f64::from(a as f32), f64::from(b as f32));
            assert_eq!(
                run(PROD, REAL16, &[quad(p)], &[quad(q)])[0],
                quad(p * q),
                "{p} * {q}"
            );
            let (s, t) = (f64::from(a as f32), f64::from(b as f32));
            assert_eq!(
                run(SUM, REAL16, &[quad(s)], &[quad(t)])[0],
                quad(s + t),
                "{s} + {t}"
            );
            assert_eq!(
                run(MIN, REAL16, &[quad(a)], &[quad(b)])[0],
                quad(if a < b { a } else { b })
            );
        }
    }
}

#[test]
fn quad_rounds_to_even_and_knows_the_ends() {
    let one = quad(1.0);
    let half_unit = (16383 - 113) << 112;
    assert_eq!(run(SUM, REAL16, &[one], &[half_unit]), [one]);
    assert_eq!(run(SUM, REAL16, &[one + 1], &[half_unit]), [one + 2]);
    assert_eq!(run(SUM, REAL16, &[one], &[half_unit + 1]), [one + 1]);
    let largest = (0x7fffu128 << 112) - 1;
    assert_eq!(run(SUM, REAL16, &[largest], &[largest]), [0x7fff << 112]);
    assert_eq!(
        run(PROD, REAL16, &[1u128], &[quad(0.5)]),
        [0],
        "half the least subnormal ties to zero"
    );
    assert_eq!(run(PROD, REAL16, &[3u128], &[quad(0.5)]), [2]);
    assert_eq!(run(SUM, REAL16, &[1u128], &[1u128 << 127 | 1]), [0]);
}

#[test]
fn locations() {
    #[derive(Clone, Copy, PartialEq, Debug)]
    #[repr(C)]
    struct D(f64, i32);
    let r = run(
        MINLOC,
        DOUBLE_INT,
        &[D(1.0, 5), D(2.0, 1), D(3.0, 4)],
        &[D(1.0, 3), D(3.0, 0), D(2.0, 9)],
    );
    assert_eq!(r, [D(1.0, 3), D(2.0, 1), D(2.0, 9)]);
    assert_eq!(
        run(MAXLOC, TWO_INT, &[[4, 1], [4, 7]], &[[4, 2], [3, 0]]),
        [[4, 1], [4, 7]]
    );
    assert_eq!(
        run(MAXLOC, TWO_REAL, &[[4.0f32, 1.0]], &[[4.0, 0.0]]),
        [[4.0, 0.0]]
    );
    // The gap of a SHORT_INT (bytes 2 and 3) stays.
    assert_eq!(
        run(MAXLOC, SHORT_INT, &[[9i16, 1, 7, 0]], &[[8, 2, 6, 0]]),
        [[9, 2, 7, 0]]
    );
}

#[test]
fn the_standards_table() {
    for op in [SUM, PROD, MIN, MAX, BAND, LAND] {
        assert!(
            legal(op, INT) && legal(op, AINT) && legal(op, CHAR),
            "{}",
            name(op)
        );
        assert!(!legal(op, FLOAT_INT) && !legal(op, PACKED) && !legal(op, WCHAR));
        assert!(!legal(op, CHARACTER) && !legal(op, DatatypeId(0x400)));
    }
    assert!(legal(SUM, COMPLEX32) && !legal(MAX, COMPLEX) && !legal(BAND, COMPLEX));
    assert!(legal(MAX, REAL16) && !legal(BOR, DOUBLE) && !legal(LOR, COMPLEX));
    assert!(legal(LXOR, CXX_BOOL) && !legal(SUM, C_BOOL) && !legal(BXOR, LOGICAL));
    assert!(legal(BXOR, BYTE) && !legal(SUM, BYTE) && !legal(LAND, BYTE));
    for ty in [
        FLOAT_INT,
        DOUBLE_INT,
        LONG_INT,
        TWO_INT,
        SHORT_INT,
        LONG_DOUBLE_INT,
        TWO_REAL,
        TWO_INTEGER,
    ] {
        assert!(legal(MINLOC, ty) && legal(MAXLOC, ty));
    }
    assert!(!legal(MINLOC, INT) && !legal(REPLACE, INT) && !legal(NO_OP, INT));
    assert_eq!(run(REPLACE, FLOAT, &[2.0f32], &[1.0]), [2.0]);
    assert_eq!(run(NO_OP, FLOAT, &[2.0f32], &[1.0]), [1.0]);
}

#[test]
fn predefined_operations_stay() {
    let mut ops = Ops::new();
    assert!(ops.free(SUM).is_err());
    assert!(ops.get(OP_NULL).is_err());
    let function: UserFunction = Arc::new(|_, _, _, _| {});
    let id = ops.table.insert(Arc::new(Op {
        commute: false,
        kind: OpKind::User(function),
    }));
    assert!(check(ops.get(id).unwrap(), WCHAR).is_ok());
    assert!(ops.free(id).is_ok() && ops.get(id).is_err());
}
