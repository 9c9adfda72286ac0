//! Collectives that combine: reduce, allreduce, reduce_scatter, scan, exscan.

use crate::base::constant::{PROC_NULL, ROOT};
use crate::base::id::DatatypeId;
use crate::mpi::collective::blocks::Blocks;
use crate::mpi::collective::moving::{allgather, scatter, tree, Shape};
use crate::mpi::collective::schedule::{Data, Rank, Schedule, Step};
use crate::mpi::datatype::Type;
use crate::mpi::op::Op;
use std::sync::Arc;

/// What is combined, and how.
#[derive(Clone)]
pub struct Combine {
    pub op: Arc<Op>,
    pub id: DatatypeId,
    pub ty: Type,
    pub count: usize,
}

impl Combine {
    fn data(&self, buffer: *mut u8) -> Data {
        Data::new(buffer, self.count, &self.ty)
    }

    fn part(&self, buffer: *mut u8, first: usize, count: usize) -> Data {
        Data::new(
            buffer.wrapping_offset((self.ty.extent() * first as i64) as isize),
            count,
            &self.ty,
        )
    }

    /// `inout = input op inout`.
    fn reduce(&self, s: &mut Schedule, input: *mut u8, inout: *mut u8) {
        self.reduce_part(s, input, inout, self.count);
    }

    fn reduce_part(&self, s: &mut Schedule, input: *mut u8, inout: *mut u8, count: usize) {
        if count > 0 {
            s.steps.push(Step::Reduce {
                op: self.op.clone(),
                id: self.id,
                ty: self.ty.clone(),
                input,
                inout,
                count,
            });
        }
    }

    fn scratch(&self, s: &mut Schedule) -> *mut u8 {
        s.elements(self.count, &self.ty)
    }

    fn bytes(&self) -> usize {
        self.count * self.ty.size()
    }
}

/// Combines the local group's `own` at `root`, in the order of ranks, into `result` (only used there).
fn local_reduce(
    s: &mut Schedule,
    shape: Shape,
    root: u32,
    own: *mut u8,
    result: *mut u8,
    c: &Combine,
) {
    // Operands that may not be reordered meet at rank 0; others at the root at once.
    let top = if c.op.commute { root } else { 0 };
    let me = (shape.rank + shape.size - top) % shape.size;
    let at = |v: u32| Rank::Local((v + top) % shape.size);
    let leaf = me & 1 != 0 || me + 1 >= shape.size;
    let mut sum = own;
    let mut spare = std::ptr::null_mut();
    if !leaf {
        sum = if shape.rank == root && c.op.commute {
            result
        } else {
            c.scratch(s)
        };
        spare = c.scratch(s);
        if sum != own {
            s.copy(c.data(own), c.data(sum));
        }
    }
    let mut mask = 1;
    while mask < shape.size {
        if me & mask != 0 {
            s.send(c.data(sum), at(me - mask));
            s.fence();
            break;
        }
        if me + mask < shape.size {
            s.recv(c.data(spare), at(me + mask));
            s.fence();
            if c.op.commute {
                c.reduce(s, spare, sum);
            } else {
                c.reduce(s, sum, spare);
                std::mem::swap(&mut sum, &mut spare);
            }
        }
        mask *= 2;
    }
    if top != root {
        if shape.rank == top {
            s.send(c.data(sum), Rank::Local(root));
            s.fence();
        } else if shape.rank == root {
            s.recv(c.data(result), Rank::Local(top));
            s.fence();
        }
    } else if shape.rank == root && sum != result {
        s.copy(c.data(sum), c.data(result));
    }
}

/// Everyone's `own` combined at the root.
pub fn reduce(
    s: &mut Schedule,
    shape: Shape,
    root: i32,
    own: *mut u8,
    result: *mut u8,
    c: &Combine,
) {
    if shape.remote.is_none() {
        return local_reduce(s, shape, root as u32, own, result, c);
    }
    match root {
        PROC_NULL => {}
        ROOT => s.recv(c.data(result), Rank::Remote(0)),
        _ => {
            let sum = c.scratch(s);
            local_reduce(s, shape, 0, own, sum, c);
            if shape.rank == 0 {
                s.send(c.data(sum), Rank::Remote(root as u32));
            }
        }
    }
}

/// From this many bytes, an allreduce shares the work.
const SHARED: usize = 32 << 10;

/// Everyone's `own` combined, everywhere.
pub fn allreduce(s: &mut Schedule, shape: Shape, own: *mut u8, result: *mut u8, c: &Combine) {
    if shape.remote.is_some() {
        let sum = c.scratch(s);
        local_reduce(s, shape, 0, own, sum, c);
        if shape.rank == 0 {
            s.send(c.data(sum), Rank::Remote(0));
            s.recv(c.data(result), Rank::Remote(0));
            s.fence();
        }
        return tree(s, shape, 0, &c.data(result));
    }
    if own != result {
        s.copy(c.data(own), c.data(result));
    }
    if shape.size == 1 {
        return;
    }
    if c.op.commute && c.bytes() >= SHARED && c.count >= shape.size as usize && shape.size > 2 {
        return shared_allreduce(s, shape, result, c);
    }
    let spare = c.scratch(s);
    let full = 1 << (31 - shape.size.leading_zeros());
    let rest = shape.size - full;
    // The first 2 * rest ranks work in pairs: the odd one stands for both.
    let mut me = Some(shape.rank.wrapping_sub(rest));
    if shape.rank < 2 * rest {
        if shape.rank % 2 == 0 {
            s.send(c.data(result), Rank::Local(shape.rank + 1));
            s.fence();
            me = None;
        } else {
            s.recv(c.data(spare), Rank::Local(shape.rank - 1));
            s.fence();
            c.reduce(s, spare, result);
            me = Some(shape.rank / 2);
        }
    }
    if let Some(me) = me {
        let rank = |v: u32| if v < rest { 2 * v + 1 } else { v + rest };
        let mut mask = 1;
        while mask < full {
            let partner = me ^ mask;
            s.recv(c.data(spare), Rank::Local(rank(partner)));
            s.send(c.data(result), Rank::Local(rank(partner)));
            s.fence();
            if partner < me || c.op.commute {
                c.reduce(s, spare, result);
            } else {
                c.reduce(s, result, spare);
                s.copy(c.data(spare), c.data(result));
            }
            mask *= 2;
        }
    }
    if shape.rank < 2 * rest {
        if shape.rank % 2 == 0 {
            s.recv(c.data(result), Rank::Local(shape.rank + 1));
        } else {
            s.send(c.data(result), Rank::Local(shape.rank - 1));
        }
        s.fence();
    }
}

/// Rank i combines block i of everybody, then the blocks go round.
fn shared_allreduce(s: &mut Schedule, shape: Shape, result: *mut u8, c: &Combine) {
    let size = shape.size as usize;
    let first = |r: usize| c.count / size * r + r.min(c.count % size);
    let counts: Vec<i64> = (0..size)
        .map(|r| (first(r + 1) - first(r)) as i64)
        .collect();
    let displs: Vec<i64> = (0..size).map(|r| first(r) as i64).collect();
    let me = shape.rank as usize;
    let own = counts[me] as usize;
    let spares: Vec<*mut u8> = (1..size).map(|_| s.elements(own, &c.ty)).collect();
    for step in 1..size {
        let (to, from) = ((me + step) % size, (me + size - step) % size);
        s.recv(
            Data::new(spares[step - 1], own, &c.ty),
            Rank::Local(from as u32),
        );
        s.send(
            c.part(result, displs[to] as usize, counts[to] as usize),
            Rank::Local(to as u32),
        );
    }
    s.fence();
    let block = c.part(result, displs[me] as usize, own).buffer;
    for spare in spares {
        c.reduce_part(s, spare, block, own);
    }
    let blocks = Blocks::Each {
        buffer: result,
        counts: &counts,
        displs: &displs,
        ty: c.ty.clone(),
    };
    allgather(s, shape, None, &blocks, c.bytes());
}

/// Everyone's `own` (of all `counts` together) combined; block r of it at rank r.
pub fn reduce_scatter(
    s: &mut Schedule,
    shape: Shape,
    own: *mut u8,
    result: *mut u8,
    counts: &[i64],
    c: &Combine,
) {
    let sum = c.scratch(s);
    local_reduce(s, shape, 0, own, sum, c);
    let mut from = sum;
    if shape.remote.is_some() {
        from = c.scratch(s);
        if shape.rank == 0 {
            s.send(c.data(sum), Rank::Remote(0));
            s.recv(c.data(from), Rank::Remote(0));
            s.fence();
        }
    }
    let mut at = 0;
    let displs: Vec<i64> = counts
        .iter()
        .map(|n| {
            at += n;
            at - n
        })
        .collect();
    let blocks = Blocks::Each {
        buffer: from,
        counts,
        displs: &displs,
        ty: c.ty.clone(),
    };
    let mine = Data::new(result, counts[shape.rank as usize] as usize, &c.ty);
    let inside = Shape {
        remote: None,
        ..shape
    };
    scatter(
        s,
        inside,
        0,
        Some(&mine),
        (shape.rank == 0).then_some(&blocks),
    );
}

/// Ranks 0 to me combined, at me.
pub fn scan(s: &mut Schedule, shape: Shape, own: *mut u8, result: *mut u8, c: &Combine) {
    if own != result {
        s.copy(c.data(own), c.data(result));
    }
    if shape.rank > 0 {
        let spare = c.scratch(s);
        s.recv(c.data(spare), Rank::Local(shape.rank - 1));
        s.fence();
        c.reduce(s, spare, result);
    }
    if shape.rank + 1 < shape.size {
        s.send(c.data(result), Rank::Local(shape.rank + 1));
    }
}

/// Ranks 0 to me - 1 combined, at me; nothing at rank 0.
pub fn exscan(s: &mut Schedule, shape: Shape, own: *mut u8, result: *mut u8, c: &Combine) {
    let sum = c.scratch(s);
    s.copy(c.data(own), c.data(sum));
    if shape.rank > 0 {
        s.recv(c.data(result), Rank::Local(shape.rank - 1));
        s.fence();
        c.reduce(s, result, sum);
    }
    if shape.rank + 1 < shape.size {
        s.send(c.data(sum), Rank::Local(shape.rank + 1));
    }
}
