//! Collective communication (MPI-5.0 §6): the schedule is built, started, and waited for.

use crate::base::error::Result;
use crate::base::id::{CommId, DatatypeId, OpId, RequestId};
use crate::mpi::collective::{self, Call};
use crate::mpi::progress::Then;
use crate::runtime::Runtime;

/// Runs a collective to its end, without a request.
fn run(rt: &Runtime, comm: CommId, build: impl FnOnce(&mut Call) -> Result<()>) -> Result<()> {
    let mut flight = rt.with(|w| w.collective(comm, build))?;
    while let Some(upcall) = rt.until(|w| w.fly(&mut flight))? {
        upcall.run();
        flight.resumed();
    }
    Ok(())
}

/// Blocking and nonblocking forms of one builder.
macro_rules! collectives {
    ($($(#[$doc:meta])* $name:ident, $start:ident, ($($arg:ident: $kind:ty),*);)*) => {$(
        $(#[$doc])*
        pub fn $name(rt: &Runtime, $($arg: $kind,)* comm: CommId) -> Result<()> {
            run(rt, comm, |call| collective::$name(call, $($arg),*))
        }

        $(#[$doc])*
        pub fn $start(rt: &Runtime, $($arg: $kind,)* comm: CommId) -> Result<RequestId> {
            rt.with(|w| w.start_collective(comm, Then::Nothing, |call| collective::$name(call, $($arg),*)))
        }
    )*};
}

collectives! {
    /// Nobody leaves before everybody has come (MPI-5.0 §6.3).
    barrier, ibarrier, ();

    /// The root's data, everywhere (MPI-5.0 §6.4).
    bcast, ibcast, (buffer: *mut u8, count: i64, datatype: DatatypeId, root: i32);

    /// Everyone's block, at the root (MPI-5.0 §6.5).
    gather, igather,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId, root: i32);

    /// The same with counts and displacements, which matter at the root.
    gatherv, igatherv,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcounts: &[i64], displs: &[i64], recvtype: DatatypeId, root: i32);

    /// The root's blocks, each at its rank (MPI-5.0 §6.6).
    scatter, iscatter,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId, root: i32);

    /// The same with counts and displacements, which matter at the root.
    scatterv, iscatterv,
    (sendbuf: *mut u8, sendcounts: &[i64], displs: &[i64], sendtype: DatatypeId,
     recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId, root: i32);

    /// Everyone's block, everywhere (MPI-5.0 §6.7).
    allgather, iallgather,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId);

    /// The same with counts and displacements.
    allgatherv, iallgatherv,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcounts: &[i64], displs: &[i64], recvtype: DatatypeId);

    /// From everyone to everyone (MPI-5.0 §6.8).
    alltoall, ialltoall,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId,
     recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId);

    /// The same with counts and displacements.
    alltoallv, ialltoallv,
    (sendbuf: *mut u8, sendcounts: &[i64], sdispls: &[i64], sendtype: DatatypeId,
     recvbuf: *mut u8, recvcounts: &[i64], rdispls: &[i64], recvtype: DatatypeId);

    /// The same with types, and displacements in bytes.
    alltoallw, ialltoallw,
    (sendbuf: *mut u8, sendcounts: &[i64], sdispls: &[i64], sendtypes: &[DatatypeId],
     recvbuf: *mut u8, recvcounts: &[i64], rdispls: &[i64], recvtypes: &[DatatypeId]);

    /// Everyone's elements combined, at the root (MPI-5.0 §6.9.1).
    reduce, ireduce,
    (sendbuf: *mut u8, recvbuf: *mut u8, count: i64, datatype: DatatypeId, op: OpId, root: i32);

    /// Everyone's elements combined, everywhere (MPI-5.0 §6.9.6).
    allreduce, iallreduce,
    (sendbuf: *mut u8, recvbuf: *mut u8, count: i64, datatype: DatatypeId, op: OpId);

    /// Everyone's elements combined, a block of them at each rank (MPI-5.0 §6.10).
    reduce_scatter, ireduce_scatter,
    (sendbuf: *mut u8, recvbuf: *mut u8, recvcounts: &[i64], datatype: DatatypeId, op: OpId);

    /// The same with equal blocks.
    reduce_scatter_block, ireduce_scatter_block,
    (sendbuf: *mut u8, recvbuf: *mut u8, recvcount: i64, datatype: DatatypeId, op: OpId);

    /// Elements of ranks 0 to this one combined (MPI-5.0 §6.11).
    scan, iscan,
    (sendbuf: *mut u8, recvbuf: *mut u8, count: i64, datatype: DatatypeId, op: OpId);

    /// Elements of the ranks before this one combined; nothing at rank 0.
    exscan, iexscan,
    (sendbuf: *mut u8, recvbuf: *mut u8, count: i64, datatype: DatatypeId, op: OpId);
}
