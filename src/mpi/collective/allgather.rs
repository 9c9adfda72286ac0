//! MPI_Allgather and MPI_Allgatherv (MPI-5.0 §6.7).

use crate::base::error::Result;
use crate::base::id::DatatypeId;
use crate::mpi::collective::arguments::{apart, Call, Place};
use crate::mpi::collective::bcast::flat;
use crate::mpi::collective::blocks::Blocks;
use crate::mpi::collective::limits::Allgather;
use crate::mpi::collective::schedule::{Data, Rank, Schedule};
use crate::mpi::collective::shown;

/// Everyone's block, everywhere.
#[allow(clippy::too_many_arguments)]
pub fn allgather(
    call: &mut Call,
    sendbuf: *mut u8,
    sendcount: i64,
    sendtype: DatatypeId,
    recvbuf: *mut u8,
    recvcount: i64,
    recvtype: DatatypeId,
) -> Result<()> {
    let blocks = call.even(recvbuf, recvcount, recvtype)?;
    any(call, (sendbuf, sendcount, sendtype), &blocks, true)
}

/// The same with a count and a displacement for every rank.
#[allow(clippy::too_many_arguments)]
pub fn allgatherv(
    call: &mut Call,
    sendbuf: *mut u8,
    sendcount: i64,
    sendtype: DatatypeId,
    recvbuf: *mut u8,
    recvcounts: &[i64],
    displs: &[i64],
    recvtype: DatatypeId,
) -> Result<()> {
    let blocks = call.each(recvbuf, recvcounts, displs, recvtype)?;
    any(call, (sendbuf, sendcount, sendtype), &blocks, false)
}

fn any(
    call: &mut Call,
    (sendbuf, sendcount, sendtype): (*mut u8, i64, DatatypeId),
    blocks: &Blocks,
    even: bool,
) -> Result<()> {
    let place = call.place;
    let own = if call.in_place(sendbuf)? {
        None
    } else {
        Some(call.elements(sendbuf, sendcount, sendtype)?)
    };
    if let Some(remote) = place.remote {
        if let Some(own) = own {
            let own = own.data(call.s);
            across(call.s, place, remote, own, blocks, call.limits.window);
        }
        return Ok(());
    }
    if let Some(own) = &own {
        let size = own.size().min(blocks.size(place.rank));
        apart(own.buffer, blocks.address(place.rank), size)?;
    }
    let largest = (0..place.size).map(|rank| blocks.size(rank)).max();
    let shown = call.shows(largest.unwrap_or(0));
    let total = (0..place.size).map(|rank| blocks.size(rank)).sum();
    let node = call.node(total, None);
    let s = &mut *call.s;
    let mine = blocks.of(s, place.rank);
    let own = own.map_or(mine, |own| own.data(s));
    if total == 0 {
        return Ok(());
    }
    if shown {
        shown::allgather(s, place, own, blocks);
        return Ok(());
    }
    if let Some(node) = node {
        shown::node::allgather(s, call.limits, &node, (place.rank, own), blocks);
        return Ok(());
    }
    match call.limits.allgather(total, place.size, even) {
        Allgather::Root => at_first(s, place, own, blocks, total),
        Allgather::Ring => {
            s.copy(own, mine);
            ring(s, place, |s, rank| blocks.of(s, rank));
        }
        Allgather::Shifted => shifted(s, place, own, |s, rank| blocks.of(s, rank)),
        Allgather::Doubling => {
            s.copy(own, mine);
            let mut mask = 1;
            while mask < place.size {
                let partner = place.rank ^ mask;
                let first = |rank: u32| rank & !(mask - 1);
                if let Some(into) = blocks.run(s, first(partner), mask) {
                    s.recv(into, Rank::Local(partner));
                }
                if let Some(out) = blocks.run(s, first(place.rank), mask) {
                    s.send(out, Rank::Local(partner));
                }
                s.fence();
                mask *= 2;
            }
        }
    }
    Ok(())
}

/// Everyone's block goes round, from this rank on; what every rank knows to be empty is left out.
pub fn ring(s: &mut Schedule, place: Place, block: impl Fn(&mut Schedule, u32) -> Data) {
    let (next, last) = (place.after(1), place.before(1));
    for step in 0..place.size.saturating_sub(1) {
        let into = block(s, place.before(step + 1));
        s.recv_some(into, Rank::Local(last));
        let out = block(s, place.before(step));
        let sent = s.send_some(out, Rank::Local(next));
        s.fence_but(sent);
    }
}

/// All to rank 0, which tells all.
fn at_first(s: &mut Schedule, place: Place, own: Data, blocks: &Blocks, total: usize) {
    let even = blocks.run(s, 0, place.size);
    let all = even.unwrap_or_else(|| Data::bytes(s.scratch(total), total));
    let mut begin = 0;
    let mut parts = Vec::with_capacity(place.size as usize);
    for rank in 0..place.size {
        let block = blocks.of(s, rank);
        let size = s.size(&block);
        parts.push((block, Data::bytes(all.buffer.wrapping_add(begin), size)));
        begin += size;
    }
    let part = |rank: u32| match (even, parts[rank as usize]) {
        (Some(_), (block, _)) => block,
        (None, (_, part)) => part,
    };
    if place.rank == 0 {
        for rank in 1..place.size {
            s.recv_some(part(rank), Rank::Local(rank));
        }
        s.copy(own, part(0));
        s.fence();
    } else {
        s.send_some(own, Rank::Local(0));
    }
    flat(s, place, 0, all);
    if even.is_none() {
        s.fence();
        for (block, part) in parts {
            s.copy(part, block);
        }
    }
}

/// In round k the first 2^k blocks, counted from this rank on, go to the rank 2^k before.
pub fn shifted(
    s: &mut Schedule,
    place: Place,
    own: Data,
    block: impl Fn(&mut Schedule, u32) -> Data,
) {
    let blocks: Vec<Data> = (0..place.size).map(|i| block(s, place.after(i))).collect();
    let mut bounds = Vec::with_capacity(blocks.len() + 1);
    let mut end = 0;
    bounds.push(0);
    for block in &blocks {
        end += s.size(block);
        bounds.push(end);
    }
    let all = s.scratch(end);
    let part = |first: u32, n: u32| {
        let (begin, end) = (bounds[first as usize], bounds[(first + n) as usize]);
        Data::bytes(all.wrapping_add(begin), end - begin)
    };
    s.copy(own, part(0, 1));
    let mut have = 1;
    while have < place.size {
        let n = have.min(place.size - have);
        s.recv_some(part(have, n), Rank::Local(place.after(have)));
        // The receiver gets its blocks have.. from here: this rank's first n.
        s.send_some(part(0, n), Rank::Local(place.before(have)));
        s.fence();
        have += n;
    }
    for (i, to) in (0..).zip(blocks) {
        if !(i == 0 && own == to) {
            s.copy(part(i, 1), to);
        }
    }
}

/// Between two groups: everyone's block to everyone of the other group.
fn across(s: &mut Schedule, place: Place, remote: u32, own: Data, blocks: &Blocks, window: u32) {
    let most = place.size.max(remote);
    for step in 0..most {
        let to = (place.rank + step) % most;
        let from = (place.rank + most - step) % most;
        if from < remote {
            let block = blocks.of(s, from);
            s.recv_some(block, Rank::Remote(from));
        }
        if to < remote {
            s.send_some(own, Rank::Remote(to));
        }
        s.fence_but(2 * window);
    }
}
