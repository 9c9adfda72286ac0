//! MPI_Gather and MPI_Gatherv (MPI-5.0 §6.5).

use crate::base::error::Result;
use crate::base::id::DatatypeId;
use crate::mpi::collective::arguments::Call;
use crate::mpi::collective::rooted::{build, Rooted, Way};
use crate::mpi::collective::schedule::{Data, Rank, Schedule};

/// Everyone's block, at the root.
#[allow(clippy::too_many_arguments)]
pub fn gather(
    call: &mut Call,
    sendbuf: *mut u8,
    sendcount: i64,
    sendtype: DatatypeId,
    recvbuf: *mut u8,
    recvcount: i64,
    recvtype: DatatypeId,
    root: i32,
) -> Result<()> {
    let own = (sendbuf, sendcount, sendtype);
    build(
        call,
        Way::ToRoot,
        own,
        |call| call.even(recvbuf, recvcount, recvtype),
        root,
        true,
        tree,
    )
}

/// The same with a count and a displacement for every rank.
#[allow(clippy::too_many_arguments)]
pub fn gatherv(
    call: &mut Call,
    sendbuf: *mut u8,
    sendcount: i64,
    sendtype: DatatypeId,
    recvbuf: *mut u8,
    recvcounts: &[i64],
    displs: &[i64],
    recvtype: DatatypeId,
    root: i32,
) -> Result<()> {
    let own = (sendbuf, sendcount, sendtype);
    build(
        call,
        Way::ToRoot,
        own,
        |call| call.each(recvbuf, recvcounts, displs, recvtype),
        root,
        false,
        tree,
    )
}

/// Along a binomial tree; inner ranks collect their subtree's blocks first.
fn tree(s: &mut Schedule, part: &Rooted) {
    let (me, size, block) = (part.me(), part.place.size, part.block);
    let mine = part.subtree(me);
    let children = || (0..).map(|i| 1 << i).take_while(|&mask| mask < mine);
    let Some(blocks) = &part.blocks else {
        let Some(own) = &part.own else { return };
        let own = own.data(s);
        if mine == 1 {
            s.send(own, part.parent());
            return;
        }
        let all = s.scratch(mine as usize * block);
        let piece = |first: u32, n: u32| {
            Data::bytes(all.wrapping_add(first as usize * block), n as usize * block)
        };
        for child in children() {
            let from = Rank::Local(part.rank(me + child));
            s.recv(piece(child, part.subtree(me + child)), from);
        }
        s.copy(own, piece(0, 1));
        s.fence();
        s.send(piece(0, mine), part.parent());
        return;
    };
    let mut aside = None;
    for child in children() {
        let n = part.subtree(child);
        let first = part.rank(child);
        let direct = if first + n <= size {
            blocks.run(s, first, n)
        } else {
            None
        };
        let into = direct.unwrap_or_else(|| {
            let memory = s.scratch(n as usize * block);
            aside = Some((first, n, memory));
            Data::bytes(memory, n as usize * block)
        });
        s.recv(into, Rank::Local(first));
    }
    part.copy(s, Way::ToRoot);
    // At most one child's blocks go past the last rank and on from the first.
    if let Some((first, n, memory)) = aside {
        s.fence();
        for i in 0..n {
            let from = Data::bytes(memory.wrapping_add(i as usize * block), block);
            let to = blocks.of(s, (first + i) % size);
            s.copy(from, to);
        }
    }
}
