//! MPI_Alltoall, MPI_Alltoallv, MPI_Alltoallw (MPI-5.0 §6.8).

use crate::base::error::Result;
use crate::base::id::DatatypeId;
use crate::mpi::collective::arguments::{apart, Call, Place};
use crate::mpi::collective::blocks::Blocks;
use crate::mpi::collective::schedule::{Data, Rank, Schedule};
use crate::mpi::collective::shown;

/// Block r of mine to rank r, block `me` of theirs to me.
#[allow(clippy::too_many_arguments)]
pub fn alltoall(
    call: &mut Call,
    sendbuf: *mut u8,
    sendcount: i64,
    sendtype: DatatypeId,
    recvbuf: *mut u8,
    recvcount: i64,
    recvtype: DatatypeId,
) -> Result<()> {
    let into = call.even(recvbuf, recvcount, recvtype)?;
    let mut from = None;
    if !call.in_place(sendbuf)? {
        from = Some(call.even(sendbuf, sendcount, sendtype)?);
    }
    let block = into.size(0);
    if from.is_some() {
        apart(sendbuf, recvbuf, block)?;
    }
    let place = call.place;
    if place.remote.is_none() {
        if block == 0 {
            return Ok(());
        }
        let most = block.saturating_mul(place.size as usize - 1);
        if call.shows(most) {
            shown::alltoall(call.s, place, from.as_ref(), &into, true);
            return Ok(());
        }
        if call.limits.exchange(block, place.size) {
            at_first(call.s, place, from.as_ref().unwrap_or(&into), &into, block);
            return Ok(());
        }
        if call.limits.forward(block, place.size) {
            forward(call.s, place, from.as_ref().unwrap_or(&into), &into, block);
            return Ok(());
        }
    }
    any(call, from.as_ref(), &into)
}

/// The same with counts and displacements.
#[allow(clippy::too_many_arguments)]
pub fn alltoallv(
    call: &mut Call,
    sendbuf: *mut u8,
    sendcounts: &[i64],
    sdispls: &[i64],
    sendtype: DatatypeId,
    recvbuf: *mut u8,
    recvcounts: &[i64],
    rdispls: &[i64],
    recvtype: DatatypeId,
) -> Result<()> {
    let into = call.each(recvbuf, recvcounts, rdispls, recvtype)?;
    let mut from = None;
    if !call.in_place(sendbuf)? {
        from = Some(call.each(sendbuf, sendcounts, sdispls, sendtype)?);
        let moves = sendcounts.iter().chain(recvcounts).any(|&n| n > 0);
        apart(sendbuf, recvbuf, usize::from(moves))?;
    }
    any(call, from.as_ref(), &into)
}

/// The same with types, and displacements in bytes.
#[allow(clippy::too_many_arguments)]
pub fn alltoallw(
    call: &mut Call,
    sendbuf: *mut u8,
    sendcounts: &[i64],
    sdispls: &[i64],
    sendtypes: &[DatatypeId],
    recvbuf: *mut u8,
    recvcounts: &[i64],
    rdispls: &[i64],
    recvtypes: &[DatatypeId],
) -> Result<()> {
    let into = call.typed(recvbuf, recvcounts, rdispls, recvtypes)?;
    let mut from = None;
    if !call.in_place(sendbuf)? {
        from = Some(call.typed(sendbuf, sendcounts, sdispls, sendtypes)?);
    }
    any(call, from.as_ref(), &into)
}

fn any(call: &mut Call, from: Option<&Blocks>, into: &Blocks) -> Result<()> {
    if call.place.remote.is_none() && call.shows_any() {
        shown::alltoall(call.s, call.place, from, into, false);
        return Ok(());
    }
    let (s, place, limits) = (&mut *call.s, call.place, call.limits);
    let ranks = place.remote.unwrap_or(place.size);
    let largest = (0..ranks).map(|r| into.size(r)).max().unwrap_or(0);
    let window = limits.window(largest);
    match (from, place.remote) {
        (Some(from), Some(remote)) => across(s, place, remote, from, into, window),
        (Some(from), None) => straight(s, place, from, into, window),
        (None, _) => in_place(s, place, into, largest, window),
    }
    Ok(())
}

/// Step k: to the rank k after, from the rank k before.
fn straight(s: &mut Schedule, place: Place, from: &Blocks, into: &Blocks, window: u32) {
    for step in 1..place.size {
        let (to, source) = (place.after(step), place.before(step));
        let block = into.of(s, source);
        s.recv_some(block, Rank::Local(source));
        let block = from.of(s, to);
        s.send_some(block, Rank::Local(to));
        if step > window {
            s.fence_but(2 * window);
        }
    }
    let (own, block) = (from.of(s, place.rank), into.of(s, place.rank));
    s.copy(own, block);
}

/// Between two groups; step k as above, counted round the larger group.
fn across(s: &mut Schedule, place: Place, remote: u32, from: &Blocks, into: &Blocks, window: u32) {
    let most = place.size.max(remote);
    for step in 0..most {
        let to = (place.rank + step) % most;
        let source = (place.rank + most - step) % most;
        if source < remote {
            let block = into.of(s, source);
            s.recv_some(block, Rank::Remote(source));
        }
        if to < remote {
            let block = from.of(s, to);
            s.send_some(block, Rank::Remote(to));
        }
        if step > window {
            s.fence_but(2 * window);
        }
    }
}

/// Two ranks swap their blocks in step (sum of ranks); what is sent is put aside first.
fn in_place(s: &mut Schedule, place: Place, into: &Blocks, largest: usize, window: u32) {
    let places = window.min(place.size) as usize;
    let aside = s.scratch(places * largest);
    let mut used = 0;
    for step in 0..place.size {
        let partner = (step + place.size - place.rank) % place.size;
        let size = into.size(partner);
        if partner == place.rank || size == 0 {
            continue;
        }
        if used == places {
            s.fence();
            used = 0;
        }
        let copy = Data::bytes(aside.wrapping_add(used * largest), size);
        let block = into.of(s, partner);
        s.copy(block, copy);
        s.recv(block, Rank::Local(partner));
        s.send(copy, Rank::Local(partner));
        used += 1;
    }
}

/// All blocks to rank 0, which sends each rank its own: the fewest messages.
fn at_first(s: &mut Schedule, place: Place, from: &Blocks, into: &Blocks, block: usize) {
    let size = place.size;
    let (Some(mine), Some(theirs)) = (from.run(s, 0, size), into.run(s, 0, size)) else {
        return;
    };
    if place.rank != 0 {
        // In place: rank 0 sends only what it has, so all of this has left by then.
        s.send(mine, Rank::Local(0));
        return s.recv(theirs, Rank::Local(0));
    }
    let row = size as usize * block;
    let (came, goes) = (
        s.scratch(size as usize * row),
        s.scratch(size as usize * row),
    );
    let at = |base: *mut u8, row: u32, column: u32, n: u32| {
        let before = (row as usize * size as usize + column as usize) * block;
        Data::bytes(base.wrapping_add(before), n as usize * block)
    };
    for rank in 1..size {
        s.recv(at(came, rank, 0, size), Rank::Local(rank));
    }
    s.copy(mine, at(came, 0, 0, size));
    s.fence();
    for to in 1..size {
        for rank in 0..size {
            s.copy(at(came, rank, to, 1), at(goes, to, rank, 1));
        }
        s.send(at(goes, to, 0, size), Rank::Local(to));
    }
    for rank in 0..size {
        let to = into.of(s, rank);
        s.copy(at(came, rank, 0, 1), to);
    }
}

/// Blocks travel with others (Bruck): block i, counted from the sender on, goes i ranks further, by a message to
/// the rank 2^k further for every bit k of i.
fn forward(s: &mut Schedule, place: Place, from: &Blocks, into: &Blocks, block: usize) {
    let size = place.size;
    let all = s.scratch(size as usize * block);
    let half = size.div_ceil(2) as usize * block;
    let (out, arrived) = (s.scratch(half), s.scratch(half));
    let at = |memory: *mut u8, i: u32| Data::bytes(memory.wrapping_add(i as usize * block), block);
    for i in 0..size {
        let own = from.of(s, place.after(i));
        s.copy(own, at(all, i));
    }
    let mut bit = 1;
    while bit < size {
        let travels = |i: &u32| i & bit != 0;
        let mut n = 0;
        for i in (0..size).filter(travels) {
            s.copy(at(all, i), at(out, n));
            n += 1;
        }
        let bytes = n as usize * block;
        s.recv(Data::bytes(arrived, bytes), Rank::Local(place.before(bit)));
        s.send(Data::bytes(out, bytes), Rank::Local(place.after(bit)));
        s.fence();
        for (n, i) in (0..size).filter(travels).enumerate() {
            s.copy(at(arrived, n as u32), at(all, i));
        }
        bit *= 2;
    }
    for i in 0..size {
        let to = into.of(s, place.before(i));
        s.copy(at(all, i), to);
    }
}
