//! Collective communication (MPI-5.0 §6): the schedule is built, started, and waited for.

use crate::base::constant::handle;
use crate::base::error::Result;
use crate::base::id::{CommId, DatatypeId, InfoId, OpId, RequestId};
use crate::mpi::boards::OFFER;
use crate::mpi::collective::{self, Call};
use crate::mpi::progress::{Flight, Then};
use crate::runtime::Runtime;

/// Runs a collective to its end, without a request.
#[inline]
fn run(rt: &Runtime, comm: CommId, build: impl FnOnce(&mut Call) -> Result<()>) -> Result<()> {
    if rt.with(|w| w.is_meeting_due(comm)) {
        meet(rt, comm)?;
    }
    match rt.with(|w| w.begin_collective(comm, build))? {
        None => {
            rt.breathe();
            Ok(())
        }
        Some(flight) => finish(rt, comm, flight),
    }
}

/// The rest of one that has to wait.
fn finish(rt: &Runtime, comm: CommId, mut flight: Box<Flight>) -> Result<()> {
    let end = loop {
        match rt.until(|w| w.fly(&mut flight)) {
            Ok(Some(upcall)) => {
                upcall.run();
                flight.resumed();
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    rt.with(|w| w.land(comm, flight, end.is_ok()));
    end
}

/// The members of a communicator agree about boards.
#[cold]
fn meet(rt: &Runtime, comm: CommId) -> Result<()> {
    let (mine, size) = rt.with(|w| w.offer_boards(comm))?;
    let mut all = vec![0u8; size * OFFER];
    let (from, into, count) = (mine.as_ptr().cast_mut(), all.as_mut_ptr(), OFFER as i64);
    let end = run(rt, comm, |call| {
        collective::allgather(call, from, count, handle::BYTE, into, count, handle::BYTE)
    });
    rt.with(|w| w.join_boards(comm, end.is_ok().then_some(&all)))?;
    end
}

/// Blocking, nonblocking and persistent forms of one builder.
macro_rules! collectives {
    ($($(#[$doc:meta])* $name:ident, $start:ident, $init:ident, ($($arg:ident: $kind:ty),*);)*) => {$(
        $(#[$doc])*
        pub fn $name(rt: &Runtime, $($arg: $kind,)* comm: CommId) -> Result<()> {
            run(rt, comm, |call| collective::$name(call, $($arg),*))
        }

        $(#[$doc])*
        pub fn $start(rt: &Runtime, $($arg: $kind,)* comm: CommId) -> Result<RequestId> {
            rt.with(|w| w.start_collective(comm, Then::Nothing, |call| collective::$name(call, $($arg),*)))
        }

        $(#[$doc])*
        pub fn $init(rt: &Runtime, $($arg: $kind,)* comm: CommId, info: InfoId) -> Result<RequestId> {
            rt.with(|w| {
                w.infos.hints(info)?;
                w.persistent_collective(comm, |call| collective::$name(call, $($arg),*))
            })
        }
    )*};
}

collectives! {
    /// Nobody leaves before everybody has come (MPI-5.0 §6.3).
    barrier, ibarrier, barrier_init, ();

    /// The root's data, everywhere (MPI-5.0 §6.4).
    bcast, ibcast, bcast_init, (buffer: *mut u8, count: i64, datatype: DatatypeId, root: i32);

    /// Everyone's block, at the root (MPI-5.0 §6.5).
    gather, igather, gather_init,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId, root: i32);

    /// The same with counts and displacements, which matter at the root.
    gatherv, igatherv, gatherv_init,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcounts: &[i64], displs: &[i64], recvtype: DatatypeId, root: i32);

    /// The root's blocks, each at its rank (MPI-5.0 §6.6).
    scatter, iscatter, scatter_init,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId, root: i32);

    /// The same with counts and displacements, which matter at the root.
    scatterv, iscatterv, scatterv_init,
    (sendbuf: *mut u8, sendcounts: &[i64], displs: &[i64], sendtype: DatatypeId,
     recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId, root: i32);

    /// Everyone's block, everywhere (MPI-5.0 §6.7).
    allgather, iallgather, allgather_init,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId);

    /// The same with counts and displacements.
    allgatherv, iallgatherv, allgatherv_init,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcounts: &[i64], displs: &[i64], recvtype: DatatypeId);

    /// From everyone to everyone (MPI-5.0 §6.8).
    alltoall, ialltoall, alltoall_init,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId);

    /// The same with counts and displacements.
    alltoallv, ialltoallv, alltoallv_init,
    (sendbuf: *mut u8, sendcounts: &[i64], sdispls: &[i64], sendtype: DatatypeId,
     recvbuf: *mut u8, recvcounts: &[i64], rdispls: &[i64], recvtype: DatatypeId);

    /// The same with types, and displacements in bytes.
    alltoallw, ialltoallw, alltoallw_init,
    (sendbuf: *mut u8, sendcounts: &[i64], sdispls: &[i64], sendtypes: &[DatatypeId],
     recvbuf: *mut u8, recvcounts: &[i64], rdispls: &[i64], recvtypes: &[DatatypeId]);

    /// Everyone's elements combined, at the root (MPI-5.0 §6.9.1).
    reduce, ireduce, reduce_init,
    (sendbuf: *mut u8, recvbuf: *mut u8, count: i64, datatype: DatatypeId, op: OpId, root: i32);

    /// Everyone's elements combined, everywhere (MPI-5.0 §6.9.6).
    allreduce, iallreduce, allreduce_init,
    (sendbuf: *mut u8, recvbuf: *mut u8, count: i64, datatype: DatatypeId, op: OpId);

    /// Everyone's elements combined, a block of them at each rank (MPI-5.0 §6.10).
    reduce_scatter, ireduce_scatter, reduce_scatter_init,
    (sendbuf: *mut u8, recvbuf: *mut u8, recvcounts: &[i64], datatype: DatatypeId, op: OpId);

    /// The same with equal blocks.
    reduce_scatter_block, ireduce_scatter_block, reduce_scatter_block_init,
    (sendbuf: *mut u8, recvbuf: *mut u8, recvcount: i64, datatype: DatatypeId, op: OpId);

    /// Elements of ranks 0 to this one combined (MPI-5.0 §6.11).
    scan, iscan, scan_init,
    (sendbuf: *mut u8, recvbuf: *mut u8, count: i64, datatype: DatatypeId, op: OpId);

    /// Elements of the ranks before this one combined; nothing at rank 0.
    exscan, iexscan, exscan_init,
    (sendbuf: *mut u8, recvbuf: *mut u8, count: i64, datatype: DatatypeId, op: OpId);

    /// A block to every neighbor, the same to all (MPI-5.0 §8.6.1).
    neighbor_allgather, ineighbor_allgather, neighbor_allgather_init,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId);

    /// The same with counts and displacements.
    neighbor_allgatherv, ineighbor_allgatherv, neighbor_allgatherv_init,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcounts: &[i64], displs: &[i64], recvtype: DatatypeId);

    /// A block to every neighbor (MPI-5.0 §8.6.2).
    neighbor_alltoall, ineighbor_alltoall, neighbor_alltoall_init,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId);

    /// The same with counts and displacements.
    neighbor_alltoallv, ineighbor_alltoallv, neighbor_alltoallv_init,
    (sendbuf: *mut u8, sendcounts: &[i64], sdispls: &[i64], sendtype: DatatypeId,
     recvbuf: *mut u8, recvcounts: &[i64], rdispls: &[i64], recvtype: DatatypeId);

    /// The same with types, and displacements in bytes.
    neighbor_alltoallw, ineighbor_alltoallw, neighbor_alltoallw_init,
    (sendbuf: *mut u8, sendcounts: &[i64], sdispls: &[i64], sendtypes: &[DatatypeId],
     recvbuf: *mut u8, recvcounts: &[i64], rdispls: &[i64], recvtypes: &[DatatypeId]);
}
