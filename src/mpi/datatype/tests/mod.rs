//! Tests of the whole module: against typemaps written out, and the standard's examples.

mod array;
mod examples;
mod external;
mod model;
mod random;

use super::*;
use crate::base::id::DatatypeId;

/// A predefined type.
fn named(id: DatatypeId) -> Type {
    thread_local!(static TYPES: Types = Types::new());
    TYPES.with(|types| types.get(id).unwrap().clone())
}

/// Packed bytes of `count` elements that begin at `at` in `memory`.
fn packed(ty: &Datatype, count: usize, memory: &[u8], at: usize) -> Vec<u8> {
    let mut out = vec![0; ty.size() * count];
    // SAFETY: the tests' types name only bytes of `memory`.
    let written = unsafe { pack(ty, count, memory[at..].as_ptr(), 0, &mut out) };
    assert_eq!(written, out.len());
    out
}

/// Byte offsets of `count` elements in packed order, found by packing bytes that say where they are: `from` and `to`
/// bound the data.
fn offsets(ty: &Datatype, count: usize, from: i64, to: i64) -> Vec<i64> {
    let len = (to - from) as usize;
    let mut planes = Vec::new();
    for shift in [0, 8, 16, 24] {
        let memory: Vec<u8> = (0..len).map(|i| (i >> shift) as u8).collect();
        let mut out = vec![0; ty.size() * count];
        let base = memory.as_ptr().wrapping_offset(-from as isize);
        // SAFETY: the caller bounds the data by `from..to`.
        unsafe { pack(ty, count, base, 0, &mut out) };
        planes.push(out);
    }
    (0..ty.size() * count)
        .map(|i| {
            let value = (0..4)
                .map(|p| (planes[p][i] as i64) << (8 * p))
                .sum::<i64>();
            value + from
        })
        .collect()
}
