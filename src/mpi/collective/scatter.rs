//! MPI_Scatter and MPI_Scatterv (MPI-5.0 §6.6).

use crate::base::error::Result;
use crate::base::id::DatatypeId;
use crate::mpi::collective::arguments::Call;
use crate::mpi::collective::rooted::{build, Rooted, Way};
use crate::mpi::collective::schedule::{Data, Rank, Schedule};

/// The root's blocks, each at its rank.
#[allow(clippy::too_many_arguments)]
pub fn scatter(
    call: &mut Call,
    sendbuf: *mut u8,
    sendcount: i64,
    sendtype: DatatypeId,
    recvbuf: *mut u8,
    recvcount: i64,
    recvtype: DatatypeId,
    root: i32,
) -> Result<()> {
    let own = (recvbuf, recvcount, recvtype);
    build(
        call,
        Way::FromRoot,
        own,
        |call| call.even(sendbuf, sendcount, sendtype),
        root,
        true,
        tree,
    )
}

/// The same with a count and a displacement for every rank.
#[allow(clippy::too_many_arguments)]
pub fn scatterv(
    call: &mut Call,
    sendbuf: *mut u8,
    sendcounts: &[i64],
    displs: &[i64],
    sendtype: DatatypeId,
    recvbuf: *mut u8,
    recvcount: i64,
    recvtype: DatatypeId,
    root: i32,
) -> Result<()> {
    let own = (recvbuf, recvcount, recvtype);
    build(
        call,
        Way::FromRoot,
        own,
        |call| call.each(sendbuf, sendcounts, displs, sendtype),
        root,
        false,
        tree,
    )
}

/// Along a binomial tree; inner ranks get their subtree's blocks and pass them on.
fn tree(s: &mut Schedule, part: &Rooted) {
    let (me, size, block) = (part.me(), part.place.size, part.block);
    let mine = part.subtree(me);
    let children = || {
        (0..32)
            .rev()
            .map(|i| 1u32 << i)
            .filter(move |&mask| mask < mine)
    };
    let Some(blocks) = &part.blocks else {
        let Some(own) = &part.own else { return };
        let own = own.data(s);
        if mine == 1 {
            s.recv(own, part.parent());
            return;
        }
        let all = s.scratch(mine as usize * block);
        let piece = |first: u32, n: u32| {
            Data::bytes(all.wrapping_add(first as usize * block), n as usize * block)
        };
        s.recv(piece(0, mine), part.parent());
        s.fence();
        for child in children() {
            let to = Rank::Local(part.rank(me + child));
            s.send(piece(child, part.subtree(me + child)), to);
        }
        s.copy(piece(0, 1), own);
        return;
    };
    for child in children() {
        let n = part.subtree(child);
        let first = part.rank(child);
        let direct = if first + n <= size {
            blocks.run(s, first, n)
        } else {
            None
        };
        let from = direct.unwrap_or_else(|| {
            let memory = s.scratch(n as usize * block);
            for i in 0..n {
                let from = blocks.of(s, (first + i) % size);
                let to = Data::bytes(memory.wrapping_add(i as usize * block), block);
                s.copy(from, to);
            }
            Data::bytes(memory, n as usize * block)
        });
        s.send(from, Rank::Local(first));
    }
    part.copy(s, Way::FromRoot);
}
