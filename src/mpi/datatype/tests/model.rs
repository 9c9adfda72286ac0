//! Typemaps written out entry by entry, by the standard's definitions (MPI-5.0 §5.1), and random types with theirs.

use super::super::*;
use super::named;
use crate::base::constant::handle::*;
use crate::base::constant::{ORDER_C, ORDER_FORTRAN};
use crate::base::id::DatatypeId;

/// Random numbers from a seed (xorshift).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    /// From `low` to `high`, both possible.
    pub fn range(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Item {
    Data {
        id: DatatypeId,
        size: i64,
        align: i64,
    },
    Lower,
    Upper,
}

/// Entries and their displacements, in order.
#[derive(Clone, Debug, Default)]
pub struct Typemap(pub Vec<(Item, i64)>);

impl Typemap {
    pub fn data(&self) -> impl Iterator<Item = (DatatypeId, i64, i64)> + '_ {
        self.0.iter().filter_map(|&(item, at)| match item {
            Item::Data { id, size, .. } => Some((id, size, at)),
            _ => None,
        })
    }

    pub fn size(&self) -> i64 {
        self.data().map(|(_, size, _)| size).sum()
    }

    pub fn true_bounds(&self) -> (i64, i64) {
        let low = self.data().map(|(_, _, at)| at).min().unwrap_or(0);
        let high = self.data().map(|(_, size, at)| at + size).max();
        (low, high.unwrap_or(0))
    }

    pub fn bounds(&self) -> (i64, i64) {
        let mark = |wanted: Item| {
            self.0
                .iter()
                .filter(move |(i, _)| *i == wanted)
                .map(|e| e.1)
        };
        let empty = self.data().next().is_none();
        let (low, high) = self.true_bounds();
        let upper = mark(Item::Upper).max();
        let lb = mark(Item::Lower).min().unwrap_or(low);
        let align = self.0.iter().map(|(item, _)| match item {
            Item::Data { align, .. } => *align,
            _ => 1,
        });
        let ub = upper.unwrap_or_else(|| {
            if empty {
                return 0;
            }
            let align = align.max().unwrap_or(1);
            let mut extent = high - lb;
            while extent % align != 0 {
                extent += 1;
            }
            lb + extent
        });
        (lb, ub)
    }

    pub fn extent(&self) -> i64 {
        let (lb, ub) = self.bounds();
        ub - lb
    }

    fn put(&mut self, old: &Typemap, at: i64) {
        self.0.extend(old.0.iter().map(|&(item, d)| (item, d + at)));
    }

    /// `count` elements, an extent apart, from `at` on.
    pub fn block(&mut self, old: &Typemap, at: i64, count: i64) {
        for i in 0..count {
            self.put(old, at + i * old.extent());
        }
    }

    /// Offsets of every byte of `count` elements, in packed order.
    pub fn bytes(&self, count: i64) -> Vec<i64> {
        let mut bytes = Vec::new();
        for i in 0..count {
            let base = i * self.extent();
            for (_, size, at) in self.data() {
                bytes.extend((0..size).map(|b| base + at + b));
            }
        }
        bytes
    }
}

fn leaf(id: DatatypeId) -> (Type, Typemap) {
    let ty = named(id);
    let data = |id: DatatypeId, at: i64| {
        let ty = named(id);
        let item = Item::Data {
            id,
            size: ty.size() as i64,
            align: ty.alignment(),
        };
        (item, at)
    };
    let map = match id {
        LB => vec![(Item::Lower, 0)],
        UB => vec![(Item::Upper, 0)],
        DOUBLE_INT => vec![data(DOUBLE, 0), data(INT, 8)],
        SHORT_INT => vec![data(SHORT, 0), data(INT, 4)],
        _ => vec![data(id, 0)],
    };
    (ty, Typemap(map))
}

/// A random type at most `depth` constructors deep, and its typemap.
pub fn any(random: &mut Random, depth: u32) -> (Type, Typemap) {
    const LEAVES: [DatatypeId; 9] = [
        BYTE,
        SHORT,
        INT,
        DOUBLE,
        LONG_DOUBLE,
        C_DOUBLE_COMPLEX,
        DOUBLE_INT,
        SHORT_INT,
        CHAR,
    ];
    if depth == 0 {
        return leaf(LEAVES[random.below(9) as usize]);
    }
    let (old, map) = any(random, depth - 1);
    if map.0.len() > 400 {
        return (old, map);
    }
    let mut new = Typemap::default();
    let n = random.below(4) as usize + (random.below(8) != 0) as usize;
    let lengths: Vec<i64> = (0..n).map(|_| random.range(0, 3)).collect();
    let step = map.extent();
    let ty = match random.below(11) {
        0 => {
            let count = random.range(0, 5);
            new.block(&map, 0, count);
            Datatype::contiguous(count, &old, false)
        }
        1 => {
            let (count, block, stride) =
                (random.range(0, 12), random.range(0, 3), random.range(-4, 5));
            for i in 0..count {
                new.block(&map, i * stride * step, block);
            }
            Datatype::vector(count, block, stride, &old, false)
        }
        2 => {
            let (count, block, stride) = (
                random.range(0, 12),
                random.range(0, 3),
                random.range(-50, 90),
            );
            for i in 0..count {
                new.block(&map, i * stride, block);
            }
            Datatype::hvector(count, block, stride, &old, false)
        }
        3 => {
            let places: Vec<i64> = (0..n).map(|_| random.range(-5, 9)).collect();
            for i in 0..n {
                new.block(&map, places[i] * step, lengths[i]);
            }
            Datatype::indexed(&lengths, &places, &old, false)
        }
        4 => {
            let places: Vec<i64> = (0..n).map(|_| random.range(-60, 120)).collect();
            for i in 0..n {
                new.block(&map, places[i], lengths[i]);
            }
            Datatype::hindexed(&lengths, &places, &old, false)
        }
        5 => {
            let block = random.range(0, 3);
            let places: Vec<i64> = (0..n * 4).map(|_| random.range(-5, 30)).collect();
            for &at in &places {
                new.block(&map, at * step, block);
            }
            Datatype::indexed_block(block, &places, &old, false)
        }
        6 => {
            let block = random.range(0, 3);
            let places: Vec<i64> = (0..n).map(|_| random.range(-60, 120)).collect();
            for &at in &places {
                new.block(&map, at, block);
            }
            Datatype::hindexed_block(block, &places, &old, false)
        }
        7 | 8 => {
            let mut olds = Vec::new();
            let mut places = Vec::new();
            // Often laid out one after the other, as compilers do.
            let tight = random.below(2) == 0;
            let mut next = 0;
            for &length in &lengths {
                let (old, map) = match random.below(6) {
                    0 => leaf(if random.below(2) == 0 { LB } else { UB }),
                    1 => (old.clone(), map.clone()),
                    _ => {
                        let depth = random.below(depth as u64) as u32;
                        any(random, depth)
                    }
                };
                let at = if tight { next } else { random.range(-60, 120) };
                next = at + length * map.extent();
                new.block(&map, at, length);
                places.push(at);
                olds.push(old);
            }
            Datatype::structure(&lengths, &places, &olds, false)
        }
        9 => {
            let (lb, extent) = (random.range(-20, 20), random.range(-30, 80));
            new = Typemap(
                map.0
                    .iter()
                    .filter(|e| matches!(e.0, Item::Data { .. }))
                    .copied()
                    .collect(),
            );
            new.0.push((Item::Lower, lb));
            new.0.push((Item::Upper, lb + extent));
            Datatype::resized(&old, lb, extent, false)
        }
        _ => {
            let order = if random.below(2) == 0 {
                ORDER_C
            } else {
                ORDER_FORTRAN
            };
            let sizes = [random.range(1, 4), random.range(1, 4)];
            let subs = [random.range(1, sizes[0]), random.range(1, sizes[1])];
            let starts = [
                random.range(0, sizes[0] - subs[0]),
                random.range(0, sizes[1] - subs[1]),
            ];
            // Slow and fast dimension.
            let (s, f) = if order == ORDER_C { (0, 1) } else { (1, 0) };
            for i in 0..subs[s] {
                for j in 0..subs[f] {
                    let at = ((starts[s] + i) * sizes[f] + starts[f] + j) * step;
                    new.0.extend(
                        map.0
                            .iter()
                            .filter(|e| matches!(e.0, Item::Data { .. }))
                            .map(|&(item, d)| (item, d + at)),
                    );
                }
            }
            new.0.push((Item::Lower, 0));
            new.0.push((Item::Upper, sizes[0] * sizes[1] * step));
            Datatype::subarray(&sizes, &subs, &starts, order, &old, false)
        }
    };
    (ty.unwrap(), new)
}
