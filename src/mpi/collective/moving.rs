//! Collectives that move data: barrier, bcast, gather, scatter, allgather, alltoall.

use crate::base::constant::{PROC_NULL, ROOT};
use crate::mpi::collective::blocks::Blocks;
use crate::mpi::collective::schedule::{Data, Rank, Schedule};
use crate::mpi::datatype::Type;

/// The communicator as a builder sees it.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub rank: u32,
    pub size: u32,
    /// Ranks of the remote group, on an inter-communicator.
    pub remote: Option<u32>,
}

/// From this many bytes in all, a ring carries an allgather.
const RING: usize = 64 << 10;

impl Shape {
    fn others(self) -> impl Iterator<Item = u32> {
        (1..self.size).map(move |i| (self.rank + i) % self.size)
    }
}

/// Nobody leaves before everybody has come: dissemination; through the leaders between groups.
pub fn barrier(s: &mut Schedule, shape: Shape, byte: &Type) {
    let word = s.bytes(2);
    let (out, into) = (
        Data::new(word, 0, byte),
        Data::new(word.wrapping_add(1), 0, byte),
    );
    let mut step = 1;
    while step < shape.size {
        s.send(out.clone(), Rank::Local((shape.rank + step) % shape.size));
        s.recv(
            into.clone(),
            Rank::Local((shape.rank + shape.size - step) % shape.size),
        );
        s.fence();
        step *= 2;
    }
    if shape.remote.is_some() {
        if shape.rank == 0 {
            s.send(out.clone(), Rank::Remote(0));
            s.recv(into, Rank::Remote(0));
            s.fence();
        }
        tree(s, shape, 0, &out);
    }
}

/// A binomial tree from a root of the local group.
pub fn tree(s: &mut Schedule, shape: Shape, root: u32, data: &Data) {
    let me = (shape.rank + shape.size - root) % shape.size;
    let at = |v: u32| Rank::Local((v + root) % shape.size);
    let mut mask = 1;
    while mask < shape.size {
        if me & mask != 0 {
            s.recv(data.clone(), at(me - mask));
            s.fence();
            break;
        }
        mask *= 2;
    }
    mask /= 2;
    while mask > 0 {
        if me + mask < shape.size {
            s.send(data.clone(), at(me + mask));
        }
        mask /= 2;
    }
    s.fence();
}

/// The root's data, everywhere.
pub fn bcast(s: &mut Schedule, shape: Shape, root: i32, data: &Data) {
    if shape.remote.is_none() {
        return tree(s, shape, root as u32, data);
    }
    match root {
        PROC_NULL => {}
        ROOT => s.send(data.clone(), Rank::Remote(0)),
        _ => {
            if shape.rank == 0 {
                s.recv(data.clone(), Rank::Remote(root as u32));
                s.fence();
            }
            tree(s, shape, 0, data);
        }
    }
}

/// `own`: none in place.
pub fn gather(
    s: &mut Schedule,
    shape: Shape,
    root: i32,
    own: Option<&Data>,
    blocks: Option<&Blocks>,
) {
    match (shape.remote, blocks, own) {
        (Some(remote), Some(blocks), _) if root == ROOT => {
            (0..remote).for_each(|r| s.recv(blocks.of(r), Rank::Remote(r)));
        }
        (Some(_), _, Some(own)) if root >= 0 => s.send(own.clone(), Rank::Remote(root as u32)),
        (None, Some(blocks), own) if root as u32 == shape.rank => {
            shape
                .others()
                .for_each(|r| s.recv(blocks.of(r), Rank::Local(r)));
            if let Some(own) = own {
                s.copy(own.clone(), blocks.of(shape.rank));
            }
        }
        (None, _, Some(own)) => s.send(own.clone(), Rank::Local(root as u32)),
        _ => {}
    }
}

/// `own`: none in place.
pub fn scatter(
    s: &mut Schedule,
    shape: Shape,
    root: i32,
    own: Option<&Data>,
    blocks: Option<&Blocks>,
) {
    match (shape.remote, blocks, own) {
        (Some(remote), Some(blocks), _) if root == ROOT => {
            (0..remote).for_each(|r| s.send(blocks.of(r), Rank::Remote(r)));
        }
        (Some(_), _, Some(own)) if root >= 0 => s.recv(own.clone(), Rank::Remote(root as u32)),
        (None, Some(blocks), own) if root as u32 == shape.rank => {
            shape
                .others()
                .for_each(|r| s.send(blocks.of(r), Rank::Local(r)));
            if let Some(own) = own {
                s.copy(blocks.of(shape.rank), own.clone());
            }
        }
        (None, _, Some(own)) => s.recv(own.clone(), Rank::Local(root as u32)),
        _ => {}
    }
}

/// Everyone's block, everywhere. `own`: none in place; `total`: bytes of all blocks.
pub fn allgather(
    s: &mut Schedule,
    shape: Shape,
    own: Option<&Data>,
    blocks: &Blocks,
    total: usize,
) {
    if let Some(remote) = shape.remote {
        for r in 0..remote {
            s.recv(blocks.of(r), Rank::Remote(r));
            if let Some(own) = own {
                s.send(own.clone(), Rank::Remote(r));
            }
        }
        return;
    }
    if let Some(own) = own {
        s.copy(own.clone(), blocks.of(shape.rank));
    }
    if total <= RING {
        for r in shape.others() {
            s.recv(blocks.of(r), Rank::Local(r));
            s.send(blocks.of(shape.rank), Rank::Local(r));
        }
        return;
    }
    let next = Rank::Local((shape.rank + 1) % shape.size);
    let last = Rank::Local((shape.rank + shape.size - 1) % shape.size);
    for step in 0..shape.size.saturating_sub(1) {
        let out = (shape.rank + shape.size - step) % shape.size;
        let into = (shape.rank + shape.size - step - 1) % shape.size;
        s.recv(blocks.of(into), last);
        s.send(blocks.of(out), next);
        s.fence();
    }
}

/// Messages under way at once in an alltoall.
const ABREAST: u32 = 32;

/// Block `r` of mine to rank `r`, block `me` of theirs to me. `from`: none in place.
pub fn alltoall(s: &mut Schedule, shape: Shape, from: Option<&Blocks>, into: &Blocks, byte: &Type) {
    if let (Some(remote), Some(from)) = (shape.remote, from) {
        for r in 0..remote {
            s.recv(into.of(r), Rank::Remote(r));
            s.send(from.of(r), Rank::Remote(r));
        }
        return;
    }
    let Some(from) = from else {
        // In place: what is sent is put aside first.
        let aside: Vec<(u32, Data)> = shape
            .others()
            .map(|r| {
                let block = into.of(r);
                let bytes = block.count * block.ty.size();
                let copy = Data::new(s.bytes(bytes), bytes, byte);
                s.copy(block, copy.clone());
                (r, copy)
            })
            .collect();
        for (r, copy) in aside {
            s.recv(into.of(r), Rank::Local(r));
            s.send(copy, Rank::Local(r));
        }
        return;
    };
    s.copy(from.of(shape.rank), into.of(shape.rank));
    for step in 1..shape.size {
        let to = (shape.rank + step) % shape.size;
        let source = (shape.rank + shape.size - step) % shape.size;
        s.recv(into.of(source), Rank::Local(source));
        s.send(from.of(to), Rank::Local(to));
        if step % ABREAST == 0 {
            s.fence();
        }
    }
}
