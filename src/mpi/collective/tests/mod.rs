//! Every collective against what the standard says, on simulated processes: random ranks, roots, types, counts,
//! algorithms and orders of delivery, from seeds.

mod arguments;
mod loss;
mod memory;
mod moving;
mod neighbor;
mod net;
mod reducing;

use super::limits::Limits;
use crate::base::constant::{PROC_NULL, ROOT};
use memory::{Kind, Stock};
use net::Random;
use std::ops::Range;

/// Everything small is already large, and cut into small pieces.
const SPLIT: Limits = Limits {
    near: false,
    crowded: false,
    bcast_split: 1,
    tree_block: 0,
    allgather_ring: 1,
    alltoall_forward: 0,
    window: 1,
    large_window: 1,
    reduce_split: 1,
    crowded_split: 64,
    crowded_ranks: 3,
    allreduce_ring: usize::MAX,
    allreduce_ring_odd: usize::MAX,
    scatter_pairs: 1,
    segment: 16,
    link: 16,
    scan_chain: 1,
    board_here: 0,
    board_root: 0,
    board_most: 0,
    board_whole: 0,
    board_reduce: 0,
};

/// More ranks than processors.
const CROWDED: Limits = Limits {
    near: true,
    crowded: true,
    ..SPLIT
};

/// And everything goes through rank 0 that may.
const AT_ROOT: Limits = Limits {
    crowded_split: usize::MAX,
    ..CROWDED
};

/// With boards: what is longer than a few elements is shown by its address, and combined in parts.
const SHOWN: Limits = Limits {
    near: true,
    board_here: 24,
    board_root: 40,
    board_most: 100,
    board_whole: 12,
    board_reduce: 30,
    ..Limits::DEFAULT
};

/// With boards that have room for all.
const SHOWN_HERE: Limits = Limits {
    near: true,
    board_here: usize::MAX,
    board_root: usize::MAX,
    board_whole: 60,
    board_reduce: 20,
    ..Limits::DEFAULT
};

/// On several machines, where what is longer than a few elements is shown by its address.
const ON_NODES: Limits = Limits {
    board_root: 40,
    board_reduce: 30,
    board_most: net::NODES,
    board_here: 24,
    window: 1,
    ..Limits::DEFAULT
};

/// The same with boards that have room for all.
const ON_NODES_HERE: Limits = Limits {
    board_root: usize::MAX,
    board_most: net::NODES,
    board_here: usize::MAX,
    allgather_ring: 1,
    ..Limits::DEFAULT
};

/// Of all these, one.
const ANY: &[Limits] = &[
    Limits::DEFAULT,
    SPLIT,
    RINGS,
    WHOLE,
    CROWDED,
    AT_ROOT,
    SHOWN,
    SHOWN_HERE,
    ON_NODES,
    ON_NODES_HERE,
];

/// The same with rings.
const RINGS: Limits = Limits {
    allreduce_ring: 1,
    allreduce_ring_odd: 1,
    window: 3,
    ..SPLIT
};

/// Nothing is ever large.
const WHOLE: Limits = Limits {
    tree_block: usize::MAX,
    alltoall_forward: usize::MAX,
    ..Limits::DEFAULT
};

/// Who takes part: one group, or the two of an inter-communicator.
#[derive(Clone, Debug)]
struct Cast {
    groups: Vec<u32>,
}

impl Cast {
    fn inter(&self) -> bool {
        self.groups.len() == 2
    }

    fn all(&self) -> Range<usize> {
        0..self.groups.iter().sum::<u32>() as usize
    }

    fn group(&self, p: usize) -> usize {
        usize::from(p >= self.groups[0] as usize)
    }

    fn members(&self, group: usize) -> Range<usize> {
        let first = self.groups[0] as usize;
        if group == 0 {
            0..first
        } else {
            first..first + self.groups[1] as usize
        }
    }

    fn rank(&self, p: usize) -> usize {
        p - self.members(self.group(p)).start
    }

    /// Whom this process exchanges data with in collectives without a root.
    fn partners(&self, p: usize) -> Range<usize> {
        if self.inter() {
            self.members(1 - self.group(p))
        } else {
            self.members(0)
        }
    }

    /// The root argument where `root` is the root's number.
    fn root(&self, p: usize, root: usize) -> i32 {
        if !self.inter() || self.group(p) != self.group(root) {
            self.rank(root) as i32
        } else if p == root {
            ROOT
        } else {
            PROC_NULL
        }
    }
}

/// Runs a case for many numbers of ranks and seeds; intra- and, if it is for them, inter-communicators.
fn everywhere(inter: bool, case: impl Fn(&Stock, &Limits, &Cast, &mut Random)) {
    let stock = Stock::new();
    let sizes: Vec<u32> = (1..=17).chain([32]).collect();
    for (i, &size) in sizes.iter().enumerate() {
        let rounds = if size > 12 { 8 } else { 20 };
        for round in 0..rounds {
            let mut random = Random::new(1 + i as u64 * 1000 + round);
            let cast = Cast { groups: vec![size] };
            let limits = *random.pick(ANY);
            case(&stock, &limits, &cast, &mut random);
        }
    }
    if inter {
        for round in 0..80 {
            let mut random = Random::new(50_000 + round);
            let groups = vec![1 + random.below(9) as u32, 1 + random.below(9) as u32];
            let limits = *random.pick(ANY);
            case(&stock, &limits, &Cast { groups }, &mut random);
        }
    }
}

/// A number of elements: none, few, or enough for every rank to get some.
fn some(random: &mut Random, ranks: usize) -> usize {
    match random.below(6) {
        0 => 0,
        1 => 1,
        2 => 1 + random.below(4),
        3 => ranks,
        4 => 2 * ranks + 1,
        _ => ranks + random.below(40),
    }
}

fn ints(random: &mut Random, count: usize) -> Vec<i32> {
    (0..count).map(|_| random.below(50) as i32).collect()
}

/// Blocks of a v form, in any order and with gaps between.
#[derive(Clone, Debug)]
struct Plan {
    counts: Vec<i64>,
    displs: Vec<i64>,
    room: usize,
}

impl Plan {
    fn new(random: &mut Random, counts: Vec<i64>) -> Plan {
        let mut order: Vec<usize> = (0..counts.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i + 1));
        }
        let mut displs = vec![0; counts.len()];
        let mut at = 0;
        for i in order {
            displs[i] = at;
            at += counts[i] + random.below(3) as i64;
        }
        Plan {
            counts,
            displs,
            room: at as usize,
        }
    }

    /// All equal, one after the other.
    fn even(count: usize, ranks: usize) -> Plan {
        Plan {
            counts: vec![count as i64; ranks],
            displs: (0..ranks).map(|r| (r * count) as i64).collect(),
            room: count * ranks,
        }
    }
}

fn kinds(stock: &Stock, random: &mut Random) -> Vec<Kind> {
    if random.below(2) == 0 {
        vec![stock.int.clone()]
    } else {
        stock.pairs.clone()
    }
}
