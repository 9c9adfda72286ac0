//! MPI_Scatter and MPI_Scatterv (MPI-5.0 §6.6).

use crate::base::error::Result;
use crate::base::id::DatatypeId;
use crate::mpi::collective::arguments::{apart, Call, Elements, Place, Root};
use crate::mpi::collective::bcast::subtree;
use crate::mpi::collective::blocks::Blocks;
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
    let blocks = |call: &Call| call.even(sendbuf, sendcount, sendtype);
    any(call, blocks, (recvbuf, recvcount, recvtype), root, true)
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
    let blocks = |call: &Call| call.each(sendbuf, sendcounts, displs, sendtype);
    any(call, blocks, (recvbuf, recvcount, recvtype), root, false)
}

fn any<'b>(
    call: &mut Call,
    blocks: impl FnOnce(&Call) -> Result<Blocks<'b>>,
    (recvbuf, recvcount, recvtype): (*mut u8, i64, DatatypeId),
    root: i32,
    even: bool,
) -> Result<()> {
    match call.root(root)? {
        Root::Nobody => {}
        Root::Me => {
            let blocks = blocks(call)?;
            for rank in 0..call.place.remote.unwrap_or(0) {
                let block = blocks.of(call.s, rank);
                call.s.send_some(block, Rank::Remote(rank));
            }
        }
        Root::Remote(root) => {
            let own = call.elements(recvbuf, recvcount, recvtype)?.data(call.s);
            call.s.recv_some(own, Rank::Remote(root));
        }
        Root::Local(root) => {
            let place = call.place;
            let mut own = None;
            if !call.in_place_at(recvbuf, root)? {
                own = Some(call.elements(recvbuf, recvcount, recvtype)?);
            }
            let mut source = None;
            if place.rank == root {
                let blocks = blocks(call)?;
                if let Some(own) = &own {
                    let size = own.size().min(blocks.size(root));
                    apart(own.buffer, blocks.address(root), size)?;
                }
                source = Some(blocks);
            }
            let block = match (&own, &source) {
                (Some(own), _) => own.size(),
                (None, Some(blocks)) => blocks.size(root),
                (None, None) => 0,
            };
            if even && block == 0 {
                return Ok(());
            }
            if even && call.limits.tree(block, place.size) {
                tree(call.s, place, root, source.as_ref(), own.as_ref(), block);
            } else {
                straight(call.s, place, root, source.as_ref(), own.as_ref());
            }
        }
    }
    Ok(())
}

/// From the root to every rank. `source`: at the root; `own`: none in place.
pub fn straight(
    s: &mut Schedule,
    place: Place,
    root: u32,
    source: Option<&Blocks>,
    own: Option<&Elements>,
) {
    let own = own.map(|own| own.data(s));
    match source {
        None => {
            if let Some(own) = own {
                s.recv_some(own, Rank::Local(root));
            }
        }
        Some(blocks) => {
            for distance in 1..place.size {
                let rank = place.after(distance);
                let block = blocks.of(s, rank);
                s.send_some(block, Rank::Local(rank));
            }
            if let Some(own) = own {
                let block = blocks.of(s, root);
                s.copy(block, own);
            }
        }
    }
}

/// Along a binomial tree; inner ranks get their subtree's blocks and pass them on. `block`: bytes of each.
fn tree(
    s: &mut Schedule,
    place: Place,
    root: u32,
    source: Option<&Blocks>,
    own: Option<&Elements>,
    block: usize,
) {
    let size = place.size;
    let me = place.before(root);
    let rank = |v: u32| (v + root) % size;
    let mine = subtree(me, size);
    let own = own.map(|own| own.data(s));
    let children = || {
        (0..32)
            .rev()
            .map(|i| 1u32 << i)
            .filter(move |&mask| mask < mine)
    };
    let Some(blocks) = source else {
        let parent = Rank::Local(rank(me - (1 << me.trailing_zeros())));
        let Some(own) = own else { return };
        if mine == 1 {
            s.recv(own, parent);
            return;
        }
        let all = s.scratch(mine as usize * block);
        let part = |first: u32, n: u32| {
            Data::bytes(all.wrapping_add(first as usize * block), n as usize * block)
        };
        s.recv(part(0, mine), parent);
        s.fence();
        for child in children() {
            let to = Rank::Local(rank(me + child));
            s.send(part(child, subtree(me + child, size)), to);
        }
        s.copy(part(0, 1), own);
        return;
    };
    for child in children() {
        let n = subtree(child, size);
        let first = rank(child);
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
    if let Some(own) = own {
        let block = blocks.of(s, root);
        s.copy(block, own);
    }
}
