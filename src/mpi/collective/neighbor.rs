//! Neighborhood collectives (MPI-5.0 §8.6): between the processes that a topology makes neighbors.

use crate::base::error::Result;
use crate::base::id::DatatypeId;
use crate::fail;
use crate::mpi::collective::arguments::Call;
use crate::mpi::collective::blocks::Blocks;
use crate::mpi::collective::schedule::{Data, Rank, Schedule};
use crate::mpi::topology::Topology;

/// This process's block to every destination; a block from every source.
#[allow(clippy::too_many_arguments)]
pub fn neighbor_allgather(
    call: &mut Call,
    sendbuf: *mut u8,
    sendcount: i64,
    sendtype: DatatypeId,
    recvbuf: *mut u8,
    recvcount: i64,
    recvtype: DatatypeId,
) -> Result<()> {
    let own = call.elements(sendbuf, sendcount, sendtype)?;
    let into = call.even(recvbuf, recvcount, recvtype)?;
    exchange(call, |s, _| own.data(s), &into)
}

/// The same with a count and a displacement for every source.
#[allow(clippy::too_many_arguments)]
pub fn neighbor_allgatherv(
    call: &mut Call,
    sendbuf: *mut u8,
    sendcount: i64,
    sendtype: DatatypeId,
    recvbuf: *mut u8,
    recvcounts: &[i64],
    displs: &[i64],
    recvtype: DatatypeId,
) -> Result<()> {
    let own = call.elements(sendbuf, sendcount, sendtype)?;
    let into = call.each(recvbuf, recvcounts, displs, recvtype)?;
    exchange(call, |s, _| own.data(s), &into)
}

/// A block to every destination, a block from every source.
#[allow(clippy::too_many_arguments)]
pub fn neighbor_alltoall(
    call: &mut Call,
    sendbuf: *mut u8,
    sendcount: i64,
    sendtype: DatatypeId,
    recvbuf: *mut u8,
    recvcount: i64,
    recvtype: DatatypeId,
) -> Result<()> {
    let from = call.even(sendbuf, sendcount, sendtype)?;
    let into = call.even(recvbuf, recvcount, recvtype)?;
    exchange(call, |s, i| from.of(s, i), &into)
}

/// The same with counts and displacements.
#[allow(clippy::too_many_arguments)]
pub fn neighbor_alltoallv(
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
    let from = call.each(sendbuf, sendcounts, sdispls, sendtype)?;
    let into = call.each(recvbuf, recvcounts, rdispls, recvtype)?;
    exchange(call, |s, i| from.of(s, i), &into)
}

/// The same with types, and displacements in bytes.
#[allow(clippy::too_many_arguments)]
pub fn neighbor_alltoallw(
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
    let from = call.typed(sendbuf, sendcounts, sdispls, sendtypes)?;
    let into = call.typed(recvbuf, recvcounts, rdispls, recvtypes)?;
    exchange(call, |s, i| from.of(s, i), &into)
}

/// Block `i` goes to the `i`-th destination and comes from the `i`-th source.
fn exchange(
    call: &mut Call,
    from: impl Fn(&mut Schedule, u32) -> Data,
    into: &Blocks,
) -> Result<()> {
    let place = call.place;
    let Some(topology) = call.topology else {
        fail!(
            Topology,
            "the communicator has no topology, so nobody has neighbors"
        );
    };
    let (sources, destinations) = topology.neighbors(place.rank as i32)?;
    // Several edges between two processes are told apart by their order. On a grid the neighbor before may also be
    // the one after: what it sends to the one before it arrives from the one after, so those are awaited first.
    let twisted = matches!(topology, Topology::Cart { .. });
    let order = (0..sources.len()).map(|i| if twisted { i ^ 1 } else { i });
    let own = place.rank as i32;
    let mut mine = Vec::new();
    let s = &mut *call.s;
    for i in order {
        let source = sources[i];
        if source == own {
            mine.push(i);
        } else if source >= 0 {
            let block = into.of(s, i as u32);
            s.recv_some(block, Rank::Local(source as u32));
        }
    }
    let mut mine = mine.into_iter();
    for (i, &destination) in destinations.iter().enumerate() {
        let block = from(s, i as u32);
        if destination != own {
            if destination >= 0 {
                s.send_some(block, Rank::Local(destination as u32));
            }
        } else if let Some(i) = mine.next() {
            let to = into.of(s, i as u32);
            s.copy(block, to);
        }
    }
    Ok(())
}
