//! MPI_Gather and MPI_Gatherv (MPI-5.0 §6.5).

use crate::base::error::Result;
use crate::base::id::DatatypeId;
use crate::mpi::collective::arguments::{apart, Call, Elements, Place, Root};
use crate::mpi::collective::bcast::subtree;
use crate::mpi::collective::blocks::Blocks;
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
    let blocks = |call: &Call| call.even(recvbuf, recvcount, recvtype);
    any(call, (sendbuf, sendcount, sendtype), blocks, root, true)
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
    let blocks = |call: &Call| call.each(recvbuf, recvcounts, displs, recvtype);
    any(call, (sendbuf, sendcount, sendtype), blocks, root, false)
}

fn any<'b>(
    call: &mut Call,
    (sendbuf, sendcount, sendtype): (*mut u8, i64, DatatypeId),
    blocks: impl FnOnce(&Call) -> Result<Blocks<'b>>,
    root: i32,
    even: bool,
) -> Result<()> {
    match call.root(root)? {
        Root::Nobody => {}
        Root::Me => {
            let blocks = blocks(call)?;
            for rank in 0..call.place.remote.unwrap_or(0) {
                let block = blocks.of(call.s, rank);
                call.s.recv_some(block, Rank::Remote(rank));
            }
        }
        Root::Remote(root) => {
            let own = call.elements(sendbuf, sendcount, sendtype)?.data(call.s);
            call.s.send_some(own, Rank::Remote(root));
        }
        Root::Local(root) => {
            let place = call.place;
            let mut own = None;
            if !call.in_place_at(sendbuf, root)? {
                own = Some(call.elements(sendbuf, sendcount, sendtype)?);
            }
            let mut target = None;
            if place.rank == root {
                let blocks = blocks(call)?;
                if let Some(own) = &own {
                    let size = own.size().min(blocks.size(root));
                    apart(own.buffer, blocks.address(root), size)?;
                }
                target = Some(blocks);
            }
            let block = match (&own, &target) {
                (Some(own), _) => own.size(),
                (None, Some(blocks)) => blocks.size(root),
                (None, None) => 0,
            };
            if even && block == 0 {
                return Ok(());
            }
            if even && call.limits.tree(block, place.size) {
                tree(call.s, place, root, own.as_ref(), target.as_ref(), block);
            } else {
                straight(call.s, place, root, own.as_ref(), target.as_ref());
            }
        }
    }
    Ok(())
}

/// From every rank to the root. `own`: none in place; `target`: at the root.
fn straight(
    s: &mut Schedule,
    place: Place,
    root: u32,
    own: Option<&Elements>,
    target: Option<&Blocks>,
) {
    let own = own.map(|own| own.data(s));
    match target {
        None => {
            if let Some(own) = own {
                s.send_some(own, Rank::Local(root));
            }
        }
        Some(blocks) => {
            for distance in 1..place.size {
                let rank = place.after(distance);
                let block = blocks.of(s, rank);
                s.recv_some(block, Rank::Local(rank));
            }
            if let Some(own) = own {
                let block = blocks.of(s, root);
                s.copy(own, block);
            }
        }
    }
}

/// Along a binomial tree; inner ranks collect their subtree's blocks first. `block`: bytes of each.
fn tree(
    s: &mut Schedule,
    place: Place,
    root: u32,
    own: Option<&Elements>,
    target: Option<&Blocks>,
    block: usize,
) {
    let size = place.size;
    let me = place.before(root);
    let rank = |v: u32| (v + root) % size;
    let mine = subtree(me, size);
    let own = own.map(|own| own.data(s));
    let children = || (0..).map(|i| 1 << i).take_while(|&mask| mask < mine);
    let Some(blocks) = target else {
        let parent = Rank::Local(rank(me - (1 << me.trailing_zeros())));
        let Some(own) = own else { return };
        if mine == 1 {
            s.send(own, parent);
            return;
        }
        let all = s.scratch(mine as usize * block);
        let part = |first: u32, n: u32| {
            Data::bytes(all.wrapping_add(first as usize * block), n as usize * block)
        };
        for child in children() {
            let from = Rank::Local(rank(me + child));
            s.recv(part(child, subtree(me + child, size)), from);
        }
        s.copy(own, part(0, 1));
        s.fence();
        s.send(part(0, mine), parent);
        return;
    };
    let mut aside = None;
    for child in children() {
        let n = subtree(child, size);
        let first = rank(child);
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
    if let Some(own) = own {
        let block = blocks.of(s, root);
        s.copy(own, block);
    }
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
