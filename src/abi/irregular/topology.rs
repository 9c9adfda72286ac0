//! Topologies whose arrays depend on one another or may be special addresses (MPI-5.0 §8.5).

use crate::abi::convert::*;
use crate::abi::entry;
use crate::abi::kinds::{Abi, Handle};
use crate::base::error::Result;
use crate::fail;
use crate::runtime::calls;
use std::ffi::c_int;

/// MPI_Dims_create.
///
/// # Safety
/// `dims` is null or valid for `ndims` entries.
pub unsafe fn dims_create<A: Abi>(nnodes: c_int, ndims: c_int, dims: *mut c_int) -> c_int {
    entry::anytime::<A>("MPI_Dims_create", of_none, |rt| {
        let room = length_in(ndims, "ndims")?;
        // SAFETY: the caller's contract.
        unsafe {
            let all = calls::dims_create(rt, nnodes, slice(dims, room, "dims")?)?;
            fill(dims, room, all, |v| v);
        }
        Ok(())
    })
}

/// `index` and `edges`, whose length `index` ends with.
///
/// # Safety
/// The arrays are null or valid, `index` for `nnodes` entries, `edges` for as many as `index` says.
unsafe fn graph<'a>(
    nnodes: c_int,
    index: *const c_int,
    edges: *const c_int,
) -> Result<(&'a [c_int], &'a [c_int])> {
    let nodes = length_in(nnodes, "nnodes")?;
    // SAFETY: the caller's contract.
    unsafe {
        let index = slice(index, nodes, "index")?;
        let count = index.last().copied().unwrap_or(0);
        if count < 0 {
            fail!(Arg, "index[{}] = {count} is negative", nodes - 1);
        }
        Ok((index, slice(edges, count as usize, "edges")?))
    }
}

/// MPI_Graph_create.
///
/// # Safety
/// The arrays as [`graph`]; `new` is null or valid.
pub unsafe fn graph_create<A: Abi>(
    comm: A::Comm,
    nnodes: c_int,
    index: *const c_int,
    edges: *const c_int,
    reorder: c_int,
    new: *mut A::Comm,
) -> c_int {
    entry::call::<A>(
        "MPI_Graph_create",
        || of_comm(comm),
        |rt| {
            need(new, "comm_graph")?;
            // SAFETY: the caller's contract; `new` is not null.
            unsafe {
                let (index, edges) = graph(nnodes, index, edges)?;
                let graph = calls::graph_create(rt, comm.id(), index, edges, reorder != 0)?;
                new.write(Handle::of(graph));
            }
            Ok(())
        },
    )
}

/// MPI_Graph_map.
///
/// # Safety
/// The arrays as [`graph`]; `rank` is null or valid.
pub unsafe fn graph_map<A: Abi>(
    comm: A::Comm,
    nnodes: c_int,
    index: *const c_int,
    edges: *const c_int,
    rank: *mut c_int,
) -> c_int {
    entry::call::<A>(
        "MPI_Graph_map",
        || of_comm(comm),
        |rt| {
            need(rank, "newrank")?;
            // SAFETY: the caller's contract; `rank` is not null.
            unsafe {
                let (index, edges) = graph(nnodes, index, edges)?;
                rank.write(calls::graph_map(rt, comm.id(), index, edges)?);
            }
            Ok(())
        },
    )
}

/// Weights: none when MPI_UNWEIGHTED, an empty list when MPI_WEIGHTS_EMPTY.
///
/// # Safety
/// `weights` is a constant of the ABI, null or valid for `length` entries.
unsafe fn weights<'a, A: Abi>(
    weights: *const c_int,
    length: usize,
    name: &'static str,
) -> Result<Option<&'a [c_int]>> {
    if weights == A::unweighted() {
        return Ok(None);
    }
    if weights == A::weights_empty() || length == 0 {
        return Ok(Some(&[]));
    }
    // SAFETY: no constant, so as the caller's contract says.
    unsafe { slice(weights, length, name).map(Some) }
}

/// MPI_Dist_graph_create_adjacent.
///
/// # Safety
/// The arrays are valid for as many entries as the degrees say; the weights may be constants; `new` is null or valid.
pub unsafe fn dist_graph_create_adjacent<A: Abi>(
    comm: A::Comm,
    indegree: c_int,
    sources: *const c_int,
    sourceweights: *const c_int,
    outdegree: c_int,
    destinations: *const c_int,
    destweights: *const c_int,
    info: A::Info,
    reorder: c_int,
    new: *mut A::Comm,
) -> c_int {
    entry::call::<A>(
        "MPI_Dist_graph_create_adjacent",
        || of_comm(comm),
        |rt| {
            need(new, "comm_dist_graph")?;
            let incoming = length_in(indegree, "indegree")?;
            let outgoing = length_in(outdegree, "outdegree")?;
            // SAFETY: the caller's contract; `new` is not null.
            unsafe {
                let mut room = Array::new();
                let sources = mapped(&mut room, sources, incoming, "sources", rank_in::<A>)?;
                let mut more = Array::new();
                let destinations = mapped(
                    &mut more,
                    destinations,
                    outgoing,
                    "destinations",
                    rank_in::<A>,
                )?;
                let graph = calls::dist_graph_create_adjacent(
                    rt,
                    comm.id(),
                    sources,
                    weights::<A>(sourceweights, incoming, "sourceweights")?,
                    destinations,
                    weights::<A>(destweights, outgoing, "destweights")?,
                    info.id(),
                    reorder != 0,
                )?;
                new.write(Handle::of(graph));
            }
            Ok(())
        },
    )
}

/// MPI_Dist_graph_create.
///
/// # Safety
/// `sources` and `degrees` are valid for `n` entries, `destinations` for the degrees' sum, `edge_weights` too unless it is
/// a constant; `new` is null or valid.
pub unsafe fn dist_graph_create<A: Abi>(
    comm: A::Comm,
    n: c_int,
    sources: *const c_int,
    degrees: *const c_int,
    destinations: *const c_int,
    edge_weights: *const c_int,
    info: A::Info,
    reorder: c_int,
    new: *mut A::Comm,
) -> c_int {
    entry::call::<A>(
        "MPI_Dist_graph_create",
        || of_comm(comm),
        |rt| {
            need(new, "comm_dist_graph")?;
            let nodes = length_in(n, "n")?;
            // SAFETY: the caller's contract; `new` is not null.
            unsafe {
                let mut room = Array::new();
                let sources = mapped(&mut room, sources, nodes, "sources", rank_in::<A>)?;
                let degrees = slice(degrees, nodes, "degrees")?;
                let mut edges = 0;
                for (i, &degree) in degrees.iter().enumerate() {
                    if degree < 0 {
                        fail!(Arg, "degrees[{i}] = {degree} is negative");
                    }
                    edges += degree as usize;
                }
                let mut more = Array::new();
                let destinations =
                    mapped(&mut more, destinations, edges, "destinations", rank_in::<A>)?;
                let graph = calls::dist_graph_create(
                    rt,
                    comm.id(),
                    sources,
                    degrees,
                    destinations,
                    weights::<A>(edge_weights, edges, "weights")?,
                    info.id(),
                    reorder != 0,
                )?;
                new.write(Handle::of(graph));
            }
            Ok(())
        },
    )
}

/// MPI_Dist_graph_neighbors.
///
/// # Safety
/// The arrays are valid for as many entries as the maxima say; the weights may be MPI_UNWEIGHTED.
pub unsafe fn dist_graph_neighbors<A: Abi>(
    comm: A::Comm,
    maxindegree: c_int,
    sources: *mut c_int,
    sourceweights: *mut c_int,
    maxoutdegree: c_int,
    destinations: *mut c_int,
    destweights: *mut c_int,
) -> c_int {
    entry::call::<A>(
        "MPI_Dist_graph_neighbors",
        || of_comm(comm),
        |rt| {
            let incoming = length_in(maxindegree, "maxindegree")?;
            let outgoing = length_in(maxoutdegree, "maxoutdegree")?;
            let (s, sw, d, dw) =
                calls::dist_graph_neighbors(rt, comm.id(), maxindegree, maxoutdegree)?;
            need_array(sources, s.len().min(incoming), "sources")?;
            need_array(destinations, d.len().min(outgoing), "destinations")?;
            let wanted = |w: *mut c_int| {
                let constant =
                    w.cast_const() == A::unweighted() || w.cast_const() == A::weights_empty();
                !w.is_null() && !constant
            };
            // SAFETY: the caller's contract; nothing is written to constants.
            unsafe {
                fill(sources, incoming, s, rank_out::<A>);
                fill(destinations, outgoing, d, rank_out::<A>);
                if wanted(sourceweights) {
                    fill(sourceweights, incoming, sw, |v| v);
                }
                if wanted(destweights) {
                    fill(destweights, outgoing, dw, |v| v);
                }
            }
            Ok(())
        },
    )
}
