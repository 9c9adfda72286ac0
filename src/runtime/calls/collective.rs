//! Collective communication (MPI-5.0 §6): arguments checked, the schedule built, started, and waited for.

use crate::base::constant::{handle, IN_PLACE, PROC_NULL, ROOT};
use crate::base::error::Result;
use crate::base::id::{CommId, DatatypeId, OpId, RequestId};
use crate::fail;
use crate::mpi::collective::blocks::Blocks;
use crate::mpi::collective::moving::{self, Shape};
use crate::mpi::collective::reducing::{self, Combine};
use crate::mpi::collective::schedule::{Data, Schedule};
use crate::mpi::datatype::Type;
use crate::mpi::progress::Then;
use crate::mpi::{op, World};
use crate::runtime::Runtime;

/// Builds and starts.
fn begin(
    rt: &Runtime,
    comm: CommId,
    build: impl FnOnce(&World, Shape, &mut Schedule) -> Result<()>,
) -> Result<RequestId> {
    rt.with(|w| {
        let on = w.comms.get(comm)?;
        let remote = on.remote.as_ref().map(|g| g.size() as u32);
        let shape = Shape {
            rank: on.rank,
            size: on.size(),
            remote,
        };
        let mut schedule = Schedule::new();
        build(w, shape, &mut schedule)?;
        w.start_schedule(comm, schedule, Then::Nothing)
    })
}

/// Waits for a collective that was started.
pub(super) fn finish(rt: &Runtime, request: RequestId) -> Result<()> {
    match super::wait(rt, request)?.error {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

fn count(count: i64) -> Result<usize> {
    if count < 0 {
        fail!(Count, "the count is {count}, which is negative");
    }
    Ok(count as usize)
}

fn check_counts(counts: &[i64]) -> Result<()> {
    counts.iter().try_for_each(|&c| count(c).map(drop))
}

fn ty(w: &World, id: DatatypeId) -> Result<Type> {
    w.types.committed(id).cloned()
}

fn data(w: &World, buffer: *mut u8, n: i64, id: DatatypeId) -> Result<Data> {
    let ty = ty(w, id)?;
    let n = count(n)?;
    if buffer.is_null() && n * ty.size() > 0 && ty.predefined().is_some() {
        fail!(
            Buffer,
            "the buffer is a null pointer, with {n} elements to move"
        );
    }
    Ok(Data {
        buffer,
        count: n,
        ty,
    })
}

fn even(w: &World, buffer: *mut u8, n: i64, id: DatatypeId) -> Result<Blocks<'static>> {
    let Data { buffer, count, ty } = data(w, buffer, n, id)?;
    Ok(Blocks::Even { buffer, count, ty })
}

fn each<'a>(
    w: &World,
    buffer: *mut u8,
    counts: &'a [i64],
    displs: &'a [i64],
    id: DatatypeId,
) -> Result<Blocks<'a>> {
    check_counts(counts)?;
    Ok(Blocks::Each {
        buffer,
        counts,
        displs,
        ty: ty(w, id)?,
    })
}

fn typed<'a>(
    w: &World,
    buffer: *mut u8,
    counts: &'a [i64],
    displs: &'a [i64],
    ids: &[DatatypeId],
) -> Result<Blocks<'a>> {
    check_counts(counts)?;
    let types = ids
        .iter()
        .map(|&id| ty(w, id))
        .collect::<Result<Vec<_>>>()?;
    Ok(Blocks::Typed {
        buffer,
        counts,
        displs,
        types,
    })
}

/// A root argument: is this process the one whose root-only arguments count?
fn root(shape: Shape, root: i32) -> Result<bool> {
    match shape.remote {
        None => {
            if root < 0 || root as u32 >= shape.size {
                fail!(Root, "the root {root} is not in 0..{}", shape.size);
            }
            Ok(root as u32 == shape.rank)
        }
        Some(remote) => {
            if root != ROOT && root != PROC_NULL && (root < 0 || root as u32 >= remote) {
                fail!(
                    Root,
                    "the root {root} is not MPI_ROOT, MPI_PROC_NULL or in 0..{remote}"
                );
            }
            Ok(root == ROOT)
        }
    }
}

fn no_in_place(shape: Shape, buffer: *mut u8) -> Result<bool> {
    if buffer == IN_PLACE && shape.remote.is_some() {
        fail!(Buffer, "MPI_IN_PLACE is not for inter-communicators");
    }
    Ok(buffer == IN_PLACE)
}

fn not_the_same(a: *mut u8, b: *mut u8, bytes: usize) -> Result<()> {
    if a == b && bytes > 0 && !a.is_null() {
        fail!(Buffer, "the send and the receive buffer are the same ({a:p}); MPI_IN_PLACE says so if that is meant");
    }
    Ok(())
}

fn combine(w: &World, n: i64, id: DatatypeId, operation: OpId) -> Result<Combine> {
    let ty = ty(w, id)?;
    let operation = w.ops.get(operation)?.clone();
    op::check_type(&operation, &ty)?;
    Ok(Combine {
        op: operation,
        id,
        ty,
        count: count(n)?,
    })
}

/// Blocking and nonblocking forms of one builder.
macro_rules! collective {
    ($(#[$doc:meta])* $blocking:ident, $nonblocking:ident,
     ($($arg:ident: $kind:ty),*), |$w:ident, $shape:ident, $s:ident| $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        pub fn $nonblocking(rt: &Runtime, $($arg: $kind,)* comm: CommId) -> Result<RequestId> {
            begin(rt, comm, |$w, $shape, $s| $body)
        }

        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        pub fn $blocking(rt: &Runtime, $($arg: $kind,)* comm: CommId) -> Result<()> {
            finish(rt, $nonblocking(rt, $($arg,)* comm)?)
        }
    };
}

collective! {
    /// MPI-5.0 §6.3.
    barrier, ibarrier, (), |w, shape, s| {
        moving::barrier(s, shape, &ty(w, handle::BYTE)?);
        Ok(())
    }
}

collective! {
    /// MPI-5.0 §6.4.
    bcast, ibcast, (buffer: *mut u8, n: i64, id: DatatypeId, top: i32), |w, shape, s| {
        root(shape, top)?;
        if buffer == IN_PLACE {
            fail!(Buffer, "MPI_IN_PLACE is not for MPI_Bcast");
        }
        if top != PROC_NULL || shape.remote.is_none() {
            moving::bcast(s, shape, top, &data(w, buffer, n, id)?);
        }
        Ok(())
    }
}

fn gather_any(
    w: &World,
    shape: Shape,
    s: &mut Schedule,
    top: i32,
    send: (*mut u8, i64, DatatypeId),
    recvbuf: *mut u8,
    blocks: impl FnOnce() -> Result<Blocks<'static>>,
) -> Result<()> {
    let here = root(shape, top)?;
    let in_place = no_in_place(shape, send.0)?;
    if in_place && !here {
        fail!(Buffer, "MPI_IN_PLACE is for the root");
    }
    if shape.remote.is_some() && top == PROC_NULL {
        return Ok(());
    }
    let own = if in_place || top == ROOT {
        None
    } else {
        Some(data(w, send.0, send.1, send.2)?)
    };
    let blocks = if here { Some(blocks()?) } else { None };
    if let (Some(own), true) = (&own, here) {
        not_the_same(own.buffer, recvbuf, own.count * own.ty.size())?;
    }
    moving::gather(s, shape, top, own.as_ref(), blocks.as_ref());
    Ok(())
}

/// Slices outlive the builder; this says so to the types that borrow them.
fn stretch<'a>(slice: &'a [i64]) -> &'static [i64] {
    // SAFETY: builders copy what they need of the slice before `begin` returns; no block outlives the call.
    unsafe { std::mem::transmute::<&'a [i64], &'static [i64]>(slice) }
}

collective! {
    /// MPI-5.0 §6.5.
    gather, igather,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId, recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId, top: i32),
    |w, shape, s| {
        gather_any(w, shape, s, top, (sendbuf, sendcount, sendtype), recvbuf, || even(w, recvbuf, recvcount, recvtype))
    }
}

collective! {
    /// MPI-5.0 §6.5.
    gatherv, igatherv,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId, recvbuf: *mut u8, counts: &[i64], displs: &[i64], recvtype: DatatypeId, top: i32),
    |w, shape, s| {
        let blocks = || each(w, recvbuf, stretch(counts), stretch(displs), recvtype);
        gather_any(w, shape, s, top, (sendbuf, sendcount, sendtype), recvbuf, blocks)
    }
}

fn scatter_any(
    w: &World,
    shape: Shape,
    s: &mut Schedule,
    top: i32,
    sendbuf: *mut u8,
    recv: (*mut u8, i64, DatatypeId),
    blocks: impl FnOnce() -> Result<Blocks<'static>>,
) -> Result<()> {
    let here = root(shape, top)?;
    let in_place = no_in_place(shape, recv.0)?;
    if in_place && !here {
        fail!(Buffer, "MPI_IN_PLACE is for the root");
    }
    if shape.remote.is_some() && top == PROC_NULL {
        return Ok(());
    }
    let own = if in_place || top == ROOT {
        None
    } else {
        Some(data(w, recv.0, recv.1, recv.2)?)
    };
    let blocks = if here { Some(blocks()?) } else { None };
    if let (Some(own), true) = (&own, here) {
        not_the_same(own.buffer, sendbuf, own.count * own.ty.size())?;
    }
    moving::scatter(s, shape, top, own.as_ref(), blocks.as_ref());
    Ok(())
}

collective! {
    /// MPI-5.0 §6.6.
    scatter, iscatter,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId, recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId, top: i32),
    |w, shape, s| {
        scatter_any(w, shape, s, top, sendbuf, (recvbuf, recvcount, recvtype), || even(w, sendbuf, sendcount, sendtype))
    }
}

collective! {
    /// MPI-5.0 §6.6.
    scatterv, iscatterv,
    (sendbuf: *mut u8, counts: &[i64], displs: &[i64], sendtype: DatatypeId, recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId, top: i32),
    |w, shape, s| {
        let blocks = || each(w, sendbuf, stretch(counts), stretch(displs), sendtype);
        scatter_any(w, shape, s, top, sendbuf, (recvbuf, recvcount, recvtype), blocks)
    }
}

collective! {
    /// MPI-5.0 §6.7.
    allgather, iallgather,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId, recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId),
    |w, shape, s| {
        let in_place = no_in_place(shape, sendbuf)?;
        let blocks = even(w, recvbuf, recvcount, recvtype)?;
        let own = if in_place { None } else { Some(data(w, sendbuf, sendcount, sendtype)?) };
        if let Some(own) = &own {
            not_the_same(own.buffer, recvbuf, own.count * own.ty.size())?;
        }
        let total = blocks.of(0).count * blocks.of(0).ty.size() * shape.size as usize;
        moving::allgather(s, shape, own.as_ref(), &blocks, total);
        Ok(())
    }
}

collective! {
    /// MPI-5.0 §6.7.
    allgatherv, iallgatherv,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId, recvbuf: *mut u8, counts: &[i64], displs: &[i64], recvtype: DatatypeId),
    |w, shape, s| {
        let in_place = no_in_place(shape, sendbuf)?;
        let blocks = each(w, recvbuf, counts, displs, recvtype)?;
        let own = if in_place { None } else { Some(data(w, sendbuf, sendcount, sendtype)?) };
        let total = counts.iter().sum::<i64>() as usize * ty(w, recvtype)?.size();
        moving::allgather(s, shape, own.as_ref(), &blocks, total);
        Ok(())
    }
}

collective! {
    /// MPI-5.0 §6.8.
    alltoall, ialltoall,
    (sendbuf: *mut u8, sendcount: i64, sendtype: DatatypeId, recvbuf: *mut u8, recvcount: i64, recvtype: DatatypeId),
    |w, shape, s| {
        let in_place = no_in_place(shape, sendbuf)?;
        let into = even(w, recvbuf, recvcount, recvtype)?;
        let from = if in_place { None } else { Some(even(w, sendbuf, sendcount, sendtype)?) };
        if let Some(from) = &from {
            not_the_same(sendbuf, recvbuf, from.of(0).count * from.of(0).ty.size())?;
        }
        moving::alltoall(s, shape, from.as_ref(), &into, &ty(w, handle::BYTE)?);
        Ok(())
    }
}

collective! {
    /// MPI-5.0 §6.8.
    alltoallv, ialltoallv,
    (sendbuf: *mut u8, sendcounts: &[i64], sdispls: &[i64], sendtype: DatatypeId,
     recvbuf: *mut u8, recvcounts: &[i64], rdispls: &[i64], recvtype: DatatypeId),
    |w, shape, s| {
        let in_place = no_in_place(shape, sendbuf)?;
        let into = each(w, recvbuf, recvcounts, rdispls, recvtype)?;
        let from = if in_place { None } else { Some(each(w, sendbuf, sendcounts, sdispls, sendtype)?) };
        if !in_place {
            not_the_same(sendbuf, recvbuf, sendcounts.iter().sum::<i64>() as usize)?;
        }
        moving::alltoall(s, shape, from.as_ref(), &into, &ty(w, handle::BYTE)?);
        Ok(())
    }
}

collective! {
    /// MPI-5.0 §6.8; displacements in bytes.
    alltoallw, ialltoallw,
    (sendbuf: *mut u8, sendcounts: &[i64], sdispls: &[i64], sendtypes: &[DatatypeId],
     recvbuf: *mut u8, recvcounts: &[i64], rdispls: &[i64], recvtypes: &[DatatypeId]),
    |w, shape, s| {
        let in_place = no_in_place(shape, sendbuf)?;
        let into = typed(w, recvbuf, recvcounts, rdispls, recvtypes)?;
        let from = if in_place { None } else { Some(typed(w, sendbuf, sendcounts, sdispls, sendtypes)?) };
        moving::alltoall(s, shape, from.as_ref(), &into, &ty(w, handle::BYTE)?);
        Ok(())
    }
}

collective! {
    /// MPI-5.0 §6.9.1.
    reduce, ireduce,
    (sendbuf: *mut u8, recvbuf: *mut u8, n: i64, id: DatatypeId, operation: OpId, top: i32), |w, shape, s| {
        let here = root(shape, top)?;
        let in_place = no_in_place(shape, sendbuf)?;
        if in_place && !here {
            fail!(Buffer, "MPI_IN_PLACE is for the root");
        }
        if shape.remote.is_some() && top == PROC_NULL {
            return Ok(());
        }
        let c = combine(w, n, id, operation)?;
        if here && !in_place && shape.remote.is_none() {
            not_the_same(sendbuf, recvbuf, c.count)?;
        }
        if c.count > 0 {
            reducing::reduce(s, shape, top, if in_place { recvbuf } else { sendbuf }, recvbuf, &c);
        }
        Ok(())
    }
}

collective! {
    /// MPI-5.0 §6.9.6.
    allreduce, iallreduce,
    (sendbuf: *mut u8, recvbuf: *mut u8, n: i64, id: DatatypeId, operation: OpId), |w, shape, s| {
        let in_place = no_in_place(shape, sendbuf)?;
        let c = combine(w, n, id, operation)?;
        if !in_place {
            not_the_same(sendbuf, recvbuf, c.count)?;
        }
        if c.count > 0 || shape.remote.is_some() {
            reducing::allreduce(s, shape, if in_place { recvbuf } else { sendbuf }, recvbuf, &c);
        }
        Ok(())
    }
}

collective! {
    /// MPI-5.0 §6.10.
    reduce_scatter, ireduce_scatter,
    (sendbuf: *mut u8, recvbuf: *mut u8, counts: &[i64], id: DatatypeId, operation: OpId), |w, shape, s| {
        let in_place = no_in_place(shape, sendbuf)?;
        check_counts(counts)?;
        let c = combine(w, counts.iter().sum(), id, operation)?;
        if !in_place {
            not_the_same(sendbuf, recvbuf, c.count)?;
        }
        if c.count > 0 {
            reducing::reduce_scatter(s, shape, if in_place { recvbuf } else { sendbuf }, recvbuf, counts, &c);
        }
        Ok(())
    }
}

collective! {
    /// MPI-5.0 §6.10.
    reduce_scatter_block, ireduce_scatter_block,
    (sendbuf: *mut u8, recvbuf: *mut u8, n: i64, id: DatatypeId, operation: OpId), |w, shape, s| {
        let in_place = no_in_place(shape, sendbuf)?;
        let counts = vec![count(n)? as i64; shape.size as usize];
        let c = combine(w, counts.iter().sum(), id, operation)?;
        if !in_place {
            not_the_same(sendbuf, recvbuf, c.count)?;
        }
        if c.count > 0 {
            reducing::reduce_scatter(s, shape, if in_place { recvbuf } else { sendbuf }, recvbuf, &counts, &c);
        }
        Ok(())
    }
}

fn intra(shape: Shape) -> Result<()> {
    if shape.remote.is_some() {
        fail!(Comm, "a scan is not for inter-communicators");
    }
    Ok(())
}

collective! {
    /// MPI-5.0 §6.11.
    scan, iscan, (sendbuf: *mut u8, recvbuf: *mut u8, n: i64, id: DatatypeId, operation: OpId), |w, shape, s| {
        intra(shape)?;
        let in_place = sendbuf == IN_PLACE;
        let c = combine(w, n, id, operation)?;
        if !in_place {
            not_the_same(sendbuf, recvbuf, c.count)?;
        }
        reducing::scan(s, shape, if in_place { recvbuf } else { sendbuf }, recvbuf, &c);
        Ok(())
    }
}

collective! {
    /// MPI-5.0 §6.11.
    exscan, iexscan, (sendbuf: *mut u8, recvbuf: *mut u8, n: i64, id: DatatypeId, operation: OpId), |w, shape, s| {
        intra(shape)?;
        let in_place = sendbuf == IN_PLACE;
        let c = combine(w, n, id, operation)?;
        if !in_place {
            not_the_same(sendbuf, recvbuf, c.count)?;
        }
        reducing::exscan(s, shape, if in_place { recvbuf } else { sendbuf }, recvbuf, &c);
        Ok(())
    }
}
