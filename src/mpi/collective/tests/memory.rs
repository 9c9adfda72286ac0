//! Buffers of different types whose elements consist of ints, and operations on them.

use crate::base::constant::handle;
use crate::base::id::{DatatypeId, OpId};
use crate::mpi::datatype::Datatype;
use crate::mpi::op::{Op, OpKind};
use crate::mpi::World;
use std::sync::Arc;

/// Bytes before and behind a buffer, which must stay as they are.
const MARGIN: usize = 256;
const UNTOUCHED: u8 = 0x5a;

/// A type: where the ints of an element lie.
#[derive(Clone, Debug)]
pub struct Kind {
    pub id: DatatypeId,
    pub slots: Vec<isize>,
    pub extent: isize,
}

impl Kind {
    fn at(&self, element: usize, slot: usize) -> isize {
        self.extent * element as isize + self.slots[slot]
    }
}

/// A buffer argument's memory.
#[derive(Clone, PartialEq)]
pub struct Buffer {
    bytes: Vec<u8>,
    low: usize,
}

impl Buffer {
    /// Room for so many elements.
    pub fn new(kind: &Kind, count: usize) -> Buffer {
        let span = kind.extent.unsigned_abs() * count;
        let low = MARGIN + if kind.extent < 0 { span } else { 0 };
        Buffer {
            bytes: vec![UNTOUCHED; MARGIN + span + MARGIN],
            low,
        }
    }

    /// The buffer argument.
    pub fn address(&mut self) -> *mut u8 {
        self.bytes[self.low..].as_mut_ptr()
    }

    pub fn set(&mut self, kind: &Kind, element: usize, values: &[i32]) {
        for (slot, value) in values.iter().enumerate() {
            let at = (self.low as isize + kind.at(element, slot)) as usize;
            self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
    }

    /// As it was, at the same address.
    pub fn restore(&mut self, before: &Buffer) {
        self.bytes.copy_from_slice(&before.bytes);
    }

    /// Stores a run of ints, as a message would.
    pub fn put(&mut self, kind: &Kind, first: usize, values: &[i32]) {
        for (i, values) in values.chunks(kind.slots.len()).enumerate() {
            self.set(kind, first + i, values);
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = self.bytes[MARGIN..self.bytes.len() - MARGIN].chunks(4);
        f.debug_list().entries(words.map(|w| w.to_vec())).finish()
    }
}

/// Combines the ints of one element: `left op right`.
pub type Combine = fn(&[i32], &[i32]) -> Vec<i32>;

fn affine(f: &[i32], g: &[i32]) -> Vec<i32> {
    // First f, then g: (a, b) is the map x -> a * x + b.
    let (a, b, c, d) = (f[0], f[1], g[0], g[1]);
    vec![a.wrapping_mul(c), b.wrapping_mul(c).wrapping_add(d)]
}

fn sum(a: &[i32], b: &[i32]) -> Vec<i32> {
    a.iter().zip(b).map(|(a, b)| a.wrapping_add(*b)).collect()
}

fn greatest(a: &[i32], b: &[i32]) -> Vec<i32> {
    a.iter().zip(b).map(|(a, b)| *a.max(b)).collect()
}

fn place_of_greatest(a: &[i32], b: &[i32]) -> Vec<i32> {
    match a[0].cmp(&b[0]) {
        std::cmp::Ordering::Greater => a.to_vec(),
        std::cmp::Ordering::Less => b.to_vec(),
        std::cmp::Ordering::Equal => vec![a[0], a[1].min(b[1])],
    }
}

/// An operation on a type.
#[derive(Clone)]
pub struct Operation {
    pub op: OpId,
    pub kind: Kind,
    pub combine: Combine,
}

/// Types and operations in a world.
pub struct Stock {
    pub world: World,
    pub int: Kind,
    /// All with two ints an element: messages fit from any to any.
    pub pairs: Vec<Kind>,
    pub operations: Vec<Operation>,
}

impl Stock {
    pub fn new() -> Stock {
        let mut world = World::new();
        let int = Kind {
            id: handle::INT,
            slots: vec![0],
            extent: 4,
        };
        let named = world.types.get(handle::INT).unwrap().clone();
        let mut pair = |slots: [isize; 2], lb: i64, extent: i64| {
            let places = slots.map(|s| s as i64);
            let ty = Datatype::hindexed(&[1, 1], &places, &named, false).unwrap();
            let ty = Datatype::resized(&ty, lb, extent, false).unwrap();
            ty.commit();
            Kind {
                id: world.types.insert(ty),
                slots: slots.to_vec(),
                extent: extent as isize,
            }
        };
        let pairs = vec![
            pair([0, 4], 0, 8),
            pair([4, 12], 0, 20),
            pair([-4, -12], -12, 16),
            pair([8, 0], 0, -12),
        ];
        let mut operations = Vec::new();
        for op in [handle::SUM, handle::MAX] {
            operations.push(Operation {
                op,
                kind: int.clone(),
                combine: if op == handle::SUM { sum } else { greatest },
            });
        }
        operations.push(Operation {
            op: handle::MAXLOC,
            kind: Kind {
                id: handle::TWO_INT,
                slots: vec![0, 4],
                extent: 8,
            },
            combine: place_of_greatest,
        });
        for (commute, combine) in [(false, affine as Combine), (true, sum)] {
            for kind in &pairs {
                let op = user(kind.clone(), commute, combine);
                operations.push(Operation {
                    op: world.ops.table.insert(Arc::new(op)),
                    kind: kind.clone(),
                    combine,
                });
            }
        }
        Stock {
            world,
            int,
            pairs,
            operations,
        }
    }
}

/// A user's operation, which works on the memory that it is shown.
fn user(kind: Kind, commute: bool, combine: Combine) -> Op {
    let function = move |input: *const u8, inout: *mut u8, count: i64, id: DatatypeId| {
        assert_eq!(id, kind.id, "the handle that the program passed");
        let read = |from: *const u8, i: usize| -> Vec<i32> {
            let slot = |s: usize| from.wrapping_offset(kind.at(i, s)).cast::<i32>();
            // SAFETY: the schedule says that there are `count` elements.
            (0..kind.slots.len())
                .map(|s| unsafe { slot(s).read_unaligned() })
                .collect()
        };
        for i in 0..count as usize {
            let values = combine(&read(input, i), &read(inout, i));
            for (s, value) in values.iter().enumerate() {
                let slot = inout.wrapping_offset(kind.at(i, s)).cast::<i32>();
                // SAFETY: as above.
                unsafe { slot.write_unaligned(*value) };
            }
        }
    };
    Op {
        commute,
        kind: OpKind::User(Arc::new(function)),
    }
}
