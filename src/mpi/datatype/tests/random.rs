//! Random nested types against their written-out typemaps.

use super::super::*;
use super::model::{any, Random, Typemap};

const ROUNDS: u64 = 1500;

/// Memory for `count` elements: its bytes, and where in it the buffer's address is.
fn memory(offsets: &[i64]) -> (Vec<u8>, i64) {
    let low = offsets.iter().copied().min().unwrap_or(0).min(0);
    let high = offsets.iter().copied().max().unwrap_or(0).max(0) + 1;
    (vec![0; (high - low) as usize], -low)
}

fn fill(memory: &mut [u8], random: &mut Random) {
    for byte in memory {
        *byte = random.below(256) as u8;
    }
}

/// How many elements to move: few, or more than are moved at a time.
fn elements(random: &mut Random, map: &Typemap) -> i64 {
    match random.below(4) {
        0 if map.size() < 200 => random.range(60, 200),
        _ => random.range(0, 5),
    }
}

/// Random pieces that make up `0..len`.
fn pieces(len: usize, random: &mut Random) -> Vec<(usize, usize)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < len {
        let piece = random.range(1, 1 + (len - at) as i64 / 2) as usize;
        pieces.push((at, piece));
        at += piece;
    }
    for i in (1..pieces.len()).rev() {
        pieces.swap(i, random.below(i as u64 + 1) as usize);
    }
    pieces
}

fn each(test: impl Fn(&Type, &Typemap, &mut Random)) {
    for seed in 1..=ROUNDS {
        let mut random = Random::new(seed);
        let depth = random.below(4) as u32;
        let (ty, map) = any(&mut random, depth);
        test(&ty, &map, &mut random);
    }
}

#[test]
fn measures() {
    each(|ty, map, _| {
        let (low, high) = map.true_bounds();
        assert_eq!(ty.size() as i64, map.size());
        assert_eq!((ty.true_lb(), ty.true_extent()), (low, high - low));
        assert_eq!((ty.lb(), ty.ub()), map.bounds());
        assert_eq!(ty.elements(), map.data().count() as i64);
        let mut kinds: Vec<_> = map.data().map(|(id, ..)| id).collect();
        kinds.dedup();
        match kinds[..] {
            [one] => assert_eq!(ty.basic(), Some(one)),
            [] => {}
            _ => assert_eq!(ty.basic(), None),
        }
    });
}

#[test]
fn dense_is_what_has_no_gaps() {
    each(|ty, map, _| {
        for count in 0..4 {
            let bytes = map.bytes(count);
            let gap_free = bytes.windows(2).all(|two| two[1] == two[0] + 1);
            match ty.dense(count as usize) {
                Some(offset) => {
                    assert!(gap_free, "{map:?}");
                    if let Some(&first) = bytes.first() {
                        assert_eq!(offset as i64, first);
                    }
                }
                None => assert!(!gap_free || count < 2, "{map:?}"),
            }
        }
    });
}

#[test]
fn packs_from_any_byte() {
    each(|ty, map, random| {
        let count = elements(random, map);
        let offsets = map.bytes(count);
        let (mut memory, at) = memory(&offsets);
        fill(&mut memory, random);
        let expected: Vec<u8> = offsets.iter().map(|&o| memory[(o + at) as usize]).collect();
        let buffer = memory.as_ptr().wrapping_offset(at as isize);
        let mut out = vec![0; expected.len()];
        for (skip, len) in pieces(expected.len(), random) {
            // SAFETY: `memory` holds every byte of the typemap.
            let n = unsafe { pack(ty, count as usize, buffer, skip, &mut out[skip..skip + len]) };
            assert_eq!(n, len);
        }
        assert_eq!(out, expected);
        // At and beyond the end there is nothing.
        let mut beyond = [0; 3];
        // SAFETY: as above.
        let n = unsafe { pack(ty, count as usize, buffer, expected.len() + 1, &mut beyond) };
        assert_eq!(n, 0);
        if !expected.is_empty() {
            let skip = expected.len() - 1;
            // SAFETY: as above.
            let n = unsafe { pack(ty, count as usize, buffer, skip, &mut beyond) };
            assert_eq!((n, beyond[0]), (1, expected[skip]));
        }
    });
}

/// A typemap that may be received into: no byte twice.
fn disjoint(offsets: &[i64]) -> bool {
    let mut sorted = offsets.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).all(|two| two[0] != two[1])
}

#[test]
fn unpacks_at_any_byte() {
    each(|ty, map, random| {
        let count = elements(random, map);
        let offsets = map.bytes(count);
        if !disjoint(&offsets) {
            return;
        }
        let mut data = vec![0; offsets.len()];
        fill(&mut data, random);
        let (mut memory, at) = memory(&offsets);
        memory.fill(0xee);
        let mut expected = memory.clone();
        for (byte, &offset) in data.iter().zip(&offsets) {
            expected[(offset + at) as usize] = *byte;
        }
        let buffer = memory.as_mut_ptr().wrapping_offset(at as isize);
        for (skip, len) in pieces(data.len(), random) {
            // SAFETY: `memory` holds every byte of the typemap.
            let n = unsafe { unpack(ty, count as usize, buffer, skip, &data[skip..skip + len]) };
            assert_eq!(n, len);
        }
        assert_eq!(memory, expected);
    });
}

#[test]
fn copies_between_layouts() {
    each(|from, map, random| {
        let depth = random.below(4) as u32;
        let (to, other) = any(random, depth);
        // Streams of about equal length.
        let from_count = elements(random, map);
        let to_count = from_count * map.size() / other.size().max(1) + random.range(0, 1);
        let (sources, targets) = (map.bytes(from_count), other.bytes(to_count));
        if !disjoint(&targets) {
            return;
        }
        let (mut source, s) = memory(&sources);
        fill(&mut source, random);
        let (mut target, t) = memory(&targets);
        let mut expected = target.clone();
        for (a, b) in sources.iter().zip(&targets) {
            expected[(b + t) as usize] = source[(a + s) as usize];
        }
        // SAFETY: the memories hold every byte of the typemaps.
        let n = unsafe {
            copy(
                (
                    from,
                    from_count as usize,
                    source.as_ptr().wrapping_offset(s as isize),
                ),
                (
                    &to,
                    to_count as usize,
                    target.as_mut_ptr().wrapping_offset(t as isize),
                ),
            )
        };
        assert_eq!(n, sources.len().min(targets.len()));
        assert_eq!(target, expected);
    });
}

#[test]
fn counts_elements() {
    each(|ty, map, random| {
        if map.size() == 0 {
            assert_eq!((ty.count_of(0), ty.elements_of(0)), (Some(0), Some(0)));
            assert_eq!((ty.count_of(3), ty.elements_of(3)), (None, None));
            return;
        }
        // Ends of the basic elements of three copies.
        let mut ends = vec![0];
        for _ in 0..3 {
            for (_, size, _) in map.data() {
                ends.push(ends[ends.len() - 1] + size);
            }
        }
        for _ in 0..40 {
            let bytes = random.range(0, 3 * map.size());
            let expected = ends.binary_search(&bytes).ok().map(|n| n as i64);
            assert_eq!(ty.elements_of(bytes as u64), expected);
            let whole = (bytes % map.size() == 0).then_some(bytes / map.size());
            assert_eq!(ty.count_of(bytes as u64), whole);
        }
        let n = random.range(0, ends.len() as i64 - 1);
        assert_eq!(ty.bytes_of_elements(n).unwrap(), ends[n as usize] as u64);
    });
}

#[test]
fn dup_and_resized_copies_behave_alike() {
    each(|ty, map, _| {
        let dup = Datatype::dup(ty).unwrap();
        assert_eq!((dup.lb(), dup.ub()), map.bounds());
        assert_eq!(dup.is_committed(), ty.is_committed());
        assert_eq!(dup.dense(2), ty.dense(2));
    });
}
