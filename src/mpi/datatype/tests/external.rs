//! external32: known bytes, sizes, and there and back.

use super::super::*;
use super::model::{any, Random};
use super::named;
use crate::base::constant::handle::*;
use crate::base::error::Class;

fn packed(ty: &Datatype, value: &[u8]) -> Vec<u8> {
    let mut out = vec![0; external_size(ty).unwrap() as usize];
    // SAFETY: `value` holds one element.
    let n = unsafe { pack_external(ty, 1, value.as_ptr(), &mut out).unwrap() };
    assert_eq!(n, out.len());
    out
}

fn unpacked(ty: &Datatype, data: &[u8]) -> Vec<u8> {
    let mut value = vec![0; ty.extent() as usize];
    // SAFETY: `value` holds one element.
    unsafe { unpack_external(ty, 1, value.as_mut_ptr(), data).unwrap() };
    value
}

#[test]
fn known_bytes() {
    let int = named(INT);
    assert_eq!(
        packed(&int, &(-2i32).to_ne_bytes()),
        [0xff, 0xff, 0xff, 0xfe]
    );
    let short = named(SHORT);
    assert_eq!(packed(&short, &0x0102i16.to_ne_bytes()), [1, 2]);
    let double = named(DOUBLE);
    assert_eq!(
        packed(&double, &1.0f64.to_ne_bytes()),
        [0x3f, 0xf0, 0, 0, 0, 0, 0, 0]
    );
    // long has four bytes, and comes back with its sign.
    let long = named(LONG);
    assert_eq!(
        packed(&long, &(-3i64).to_ne_bytes()),
        [0xff, 0xff, 0xff, 0xfd]
    );
    assert_eq!(
        unpacked(&long, &[0xff, 0xff, 0xff, 0xfd]),
        (-3i64).to_ne_bytes()
    );
    let unsigned = named(UNSIGNED_LONG);
    assert_eq!(
        unpacked(&unsigned, &[0xff, 0xff, 0xff, 0xfd]),
        0xffff_fffdu64.to_ne_bytes()
    );
    let wide = named(WCHAR);
    assert_eq!(packed(&wide, &0x20acu32.to_ne_bytes()), [0x20, 0xac]);
    assert_eq!(unpacked(&wide, &[0x20, 0xac]), 0x20acu32.to_ne_bytes());
    // A complex number: each part for itself.
    let complex = named(C_FLOAT_COMPLEX);
    let value = [1.0f32.to_ne_bytes(), (-2.0f32).to_ne_bytes()].concat();
    assert_eq!(packed(&complex, &value), [0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0]);
    // A pair without its gap.
    let pair = named(SHORT_INT);
    let value = [&7i16.to_ne_bytes()[..], &[9, 9], &5i32.to_ne_bytes()].concat();
    assert_eq!(packed(&pair, &value), [0, 7, 0, 0, 0, 5]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn long_double_is_binary128() {
    let ty = named(LONG_DOUBLE);
    // (significand, sign and exponent) and the first bytes of binary128.
    let cases: [(u64, u16, u128); 8] = [
        (0, 0, 0),
        (1 << 63, 0x3fff, 0x3fff << 112),
        (0xa000_0000_0000_0000, 0xbfff, 0xbfff_4000 << 96),
        (
            u64::MAX,
            0x7ffe,
            (0x7ffe << 112) | ((u64::MAX >> 1) as u128) << 49,
        ),
        (1 << 63, 0xffff, 0xffff << 112),
        (3 << 62, 0x7fff, 0x7fff_8000 << 96),
        // The least denormal and the least normal number.
        (1, 0, 1 << 49),
        (1 << 63, 1, 1 << 112),
    ];
    for (significand, head, quad) in cases {
        let mut value = [0; 16];
        value[..8].copy_from_slice(&significand.to_le_bytes());
        value[8..10].copy_from_slice(&head.to_le_bytes());
        assert_eq!(packed(&ty, &value), quad.to_be_bytes());
        assert_eq!(unpacked(&ty, &quad.to_be_bytes()), value);
    }
    // Bits that the narrower format lacks are rounded: ties to even, carries up to infinity.
    let back = |quad: u128| {
        let value = unpacked(&ty, &quad.to_be_bytes());
        let significand = u64::from_le_bytes(value[..8].try_into().unwrap());
        (significand, u16::from_le_bytes([value[8], value[9]]))
    };
    let one = 0x3fffu128 << 112;
    assert_eq!(back(one | 1 << 48), (1 << 63, 0x3fff));
    assert_eq!(back(one | 1 << 48 | 1), (1 << 63 | 1, 0x3fff));
    assert_eq!(back(one | 3 << 48), (1 << 63 | 2, 0x3fff));
    assert_eq!(back((0x4000 << 112) - 1), (1 << 63, 0x4000));
    assert_eq!(back((0x7fff << 112) - 1), (1 << 63, 0x7fff));
    assert_eq!(back((1 << 112) - 1), (1 << 63, 1));
    // A NaN stays one.
    assert_eq!(back(0x7fff << 112 | 1), (3 << 62, 0x7fff));
}

#[test]
fn there_and_back() {
    for seed in 1..1500u64 {
        let mut random = Random::new(seed);
        let depth = random.below(4) as u32;
        let (ty, map) = any(&mut random, depth);
        let offsets = map.bytes(2);
        let mut sorted = offsets.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != offsets.len() || offsets.is_empty() {
            continue;
        }
        let (low, high) = (sorted[0], sorted[sorted.len() - 1] + 1);
        let mut memory = vec![0u8; (high - low) as usize];
        // A long double's spare bytes do not travel: leave long doubles zero.
        for i in 0..2 {
            for (id, size, at) in map.data() {
                let at = (i * map.extent() + at - low) as usize;
                if id != LONG_DOUBLE {
                    for byte in &mut memory[at..at + size as usize] {
                        *byte = random.below(256) as u8;
                    }
                }
            }
        }
        let size = external_size(&ty).unwrap();
        assert_eq!(size, map.size());
        let mut out = vec![0; 2 * size as usize];
        let mut back = vec![0u8; memory.len()];
        // SAFETY: the memories hold every byte of the typemap.
        unsafe {
            pack_external(
                &ty,
                2,
                memory.as_ptr().wrapping_offset(-low as isize),
                &mut out,
            )
            .unwrap();
            unpack_external(
                &ty,
                2,
                back.as_mut_ptr().wrapping_offset(-low as isize),
                &out,
            )
            .unwrap();
        }
        assert_eq!(back, memory, "seed {seed}");
    }
}

#[test]
fn short_room_is_an_error() {
    let int = named(INT);
    let value = [0u8; 8];
    // SAFETY: `value` holds two elements.
    let error = unsafe { pack_external(&int, 2, value.as_ptr(), &mut [0; 7]) };
    assert_eq!(error.unwrap_err().class, Class::Truncate);
}
