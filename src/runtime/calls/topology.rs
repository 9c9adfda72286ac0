//! Process topologies (MPI-5.0 §8). Ranks are never reordered: no order is better than another where processes are
//! functions.

use crate::base::constant::{handle, CART, DIST_GRAPH, GRAPH, UNDEFINED};
use crate::base::error::Result;
use crate::base::id::{CommId, InfoId};
use crate::fail;
use crate::mpi::topology::{cart, dims, graph, grid_size, Topology};
use crate::runtime::{calls, construct, Runtime};

/// Size of an intra-communicator and this process's rank.
fn place(rt: &Runtime, comm: CommId) -> Result<(u32, u32)> {
    rt.with(|w| {
        let found = w.comms.get(comm)?;
        if found.is_inter() {
            fail!(Comm, "communicator {:#x} is an inter-communicator", comm.0);
        }
        Ok((found.size(), found.rank))
    })
}

/// The first `size` processes of a communicator with a topology; the others get MPI_COMM_NULL.
fn create(rt: &Runtime, comm: CommId, size: u32, rank: u32, topology: Topology) -> Result<CommId> {
    let color = (rank < size).then_some(0);
    let new = construct::split(rt, comm, color, rank as i32)?;
    attach(rt, new, topology)
}

fn attach(rt: &Runtime, comm: CommId, topology: Topology) -> Result<CommId> {
    if comm != handle::COMM_NULL {
        rt.with(|w| w.comms.get_mut(comm).map(|c| c.topology = Some(topology)))?;
    }
    Ok(comm)
}

/// Looks at a communicator's topology; `pick` answers when it is of the wanted kind.
fn look<R>(
    rt: &Runtime,
    comm: CommId,
    wanted: &str,
    pick: impl FnOnce(&Topology, u32) -> Option<Result<R>>,
) -> Result<R> {
    rt.with(|w| {
        let found = w.comms.get(comm)?;
        match found.topology.as_ref().and_then(|t| pick(t, found.size())) {
            Some(answer) => answer,
            None => fail!(
                Topology,
                "communicator {:#x} has no {wanted} topology",
                comm.0
            ),
        }
    })
}

type Grid<'a> = (&'a [i32], &'a [bool], &'a [i32]);

fn on_grid<R>(rt: &Runtime, comm: CommId, ask: impl FnOnce(Grid, u32) -> Result<R>) -> Result<R> {
    look(rt, comm, "Cartesian", |topology, size| match topology {
        Topology::Cart {
            dims,
            periods,
            coords,
        } => Some(ask((dims, periods, coords), size)),
        _ => None,
    })
}

fn on_graph<R>(
    rt: &Runtime,
    comm: CommId,
    ask: impl FnOnce(&[i32], &[i32]) -> Result<R>,
) -> Result<R> {
    look(rt, comm, "graph", |topology, _| match topology {
        Topology::Graph { index, edges } => Some(ask(index, edges)),
        _ => None,
    })
}

/// At most `most` of them.
fn first<T: Clone>(all: &[T], most: i32) -> Vec<T> {
    all[..all.len().min(most.max(0) as usize)].to_vec()
}

/// MPI_CART, MPI_GRAPH, MPI_DIST_GRAPH, or MPI_UNDEFINED for none.
pub fn topo_test(rt: &Runtime, comm: CommId) -> Result<i32> {
    rt.with(|w| {
        Ok(match w.comms.get(comm)?.topology {
            Some(Topology::Cart { .. }) => CART,
            Some(Topology::Graph { .. }) => GRAPH,
            Some(Topology::DistGraph { .. }) => DIST_GRAPH,
            None => UNDEFINED,
        })
    })
}

/// `dims` with its zeros replaced by a balanced factorization of `nnodes`.
pub fn dims_create(_rt: &Runtime, nnodes: i32, dims: &[i32]) -> Result<Vec<i32>> {
    dims::create(nnodes, dims)
}

pub fn cart_create(
    rt: &Runtime,
    comm_old: CommId,
    dims: &[i32],
    periods: &[bool],
    reorder: bool,
) -> Result<CommId> {
    let _ = reorder;
    let (available, rank) = place(rt, comm_old)?;
    let size = grid_size(dims, available)?;
    let topology = Topology::Cart {
        dims: dims.to_vec(),
        periods: periods.to_vec(),
        coords: cart::coords(dims, rank as i32),
    };
    create(rt, comm_old, size, rank, topology)
}

/// The subgrid of the dimensions that remain. When none does, rank 0 gets a grid without dimensions and the others
/// MPI_COMM_NULL, as from MPI_Cart_create without dimensions.
pub fn cart_sub(rt: &Runtime, comm: CommId, remain_dims: &[bool]) -> Result<CommId> {
    let (_, rank) = place(rt, comm)?;
    let (color, key, topology) = on_grid(rt, comm, |(dims, periods, coords), _| {
        if remain_dims.len() < dims.len() {
            fail!(
                Dims,
                "{} flags for {} dimensions",
                remain_dims.len(),
                dims.len()
            );
        }
        let (color, key) = cart::part(dims, coords, remain_dims);
        let stays = |i: &usize| remain_dims[*i];
        let kept: Vec<usize> = (0..dims.len()).filter(stays).collect();
        let topology = Topology::Cart {
            dims: kept.iter().map(|&i| dims[i]).collect(),
            periods: kept.iter().map(|&i| periods[i]).collect(),
            coords: kept.iter().map(|&i| coords[i]).collect(),
        };
        Ok(if kept.is_empty() {
            ((rank == 0).then_some(0), 0, topology)
        } else {
            (Some(color), key, topology)
        })
    })?;
    let new = construct::split(rt, comm, color, key)?;
    attach(rt, new, topology)
}

pub fn cartdim_get(rt: &Runtime, comm: CommId) -> Result<i32> {
    on_grid(rt, comm, |(dims, ..), _| Ok(dims.len() as i32))
}

/// (dimensions, periodic, own coordinates), at most `maxdims` of each.
pub fn cart_get(
    rt: &Runtime,
    comm: CommId,
    maxdims: i32,
) -> Result<(Vec<i32>, Vec<bool>, Vec<i32>)> {
    on_grid(rt, comm, |(dims, periods, coords), _| {
        Ok((
            first(dims, maxdims),
            first(periods, maxdims),
            first(coords, maxdims),
        ))
    })
}

pub fn cart_rank(rt: &Runtime, comm: CommId, coords: &[i32]) -> Result<i32> {
    on_grid(rt, comm, |(dims, periods, _), _| {
        cart::rank(dims, periods, coords)
    })
}

/// The coordinates of a rank, at most `maxdims`.
pub fn cart_coords(rt: &Runtime, comm: CommId, rank: i32, maxdims: i32) -> Result<Vec<i32>> {
    on_grid(rt, comm, |(dims, ..), size| {
        graph::in_range(&[rank], size, "rank")?;
        Ok(first(&cart::coords(dims, rank), maxdims))
    })
}

/// (source, destination) of a shift; MPI_PROC_NULL beyond an edge that is not periodic.
pub fn cart_shift(rt: &Runtime, comm: CommId, direction: i32, disp: i32) -> Result<(i32, i32)> {
    on_grid(rt, comm, |(dims, periods, coords), _| {
        cart::shift(dims, periods, coords, direction, disp)
    })
}

/// The rank that this process would have in such a grid, or MPI_UNDEFINED.
pub fn cart_map(rt: &Runtime, comm: CommId, dims: &[i32], _periods: &[bool]) -> Result<i32> {
    let (available, rank) = place(rt, comm)?;
    let size = grid_size(dims, available)?;
    Ok(if rank < size { rank as i32 } else { UNDEFINED })
}

fn checked_graph(rt: &Runtime, comm: CommId, index: &[i32], edges: &[i32]) -> Result<(u32, usize)> {
    let (available, rank) = place(rt, comm)?;
    if index.len() > available as usize {
        fail!(
            Arg,
            "the graph has {} nodes, the communicator only {available} processes",
            index.len()
        );
    }
    Ok((rank, graph::check(index, edges, index.len() as u32)?))
}

/// `index`: cumulated degrees of all nodes; `edges`: their neighbors, node by node.
pub fn graph_create(
    rt: &Runtime,
    comm_old: CommId,
    index: &[i32],
    edges: &[i32],
    reorder: bool,
) -> Result<CommId> {
    let _ = reorder;
    let (rank, count) = checked_graph(rt, comm_old, index, edges)?;
    let topology = Topology::Graph {
        index: index.to_vec(),
        edges: edges[..count].to_vec(),
    };
    create(rt, comm_old, index.len() as u32, rank, topology)
}

/// The rank that this process would have in such a graph, or MPI_UNDEFINED.
pub fn graph_map(rt: &Runtime, comm: CommId, index: &[i32], edges: &[i32]) -> Result<i32> {
    let (rank, _) = checked_graph(rt, comm, index, edges)?;
    Ok(if (rank as usize) < index.len() {
        rank as i32
    } else {
        UNDEFINED
    })
}

/// (nodes, edges).
pub fn graphdims_get(rt: &Runtime, comm: CommId) -> Result<(i32, i32)> {
    on_graph(rt, comm, |index, edges| {
        Ok((index.len() as i32, edges.len() as i32))
    })
}

/// (cumulated degrees, neighbors), at most `maxindex` and `maxedges`.
pub fn graph_get(
    rt: &Runtime,
    comm: CommId,
    maxindex: i32,
    maxedges: i32,
) -> Result<(Vec<i32>, Vec<i32>)> {
    on_graph(rt, comm, |index, edges| {
        Ok((first(index, maxindex), first(edges, maxedges)))
    })
}

pub fn graph_neighbors_count(rt: &Runtime, comm: CommId, rank: i32) -> Result<i32> {
    on_graph(rt, comm, |index, edges| {
        Ok(graph::neighbors(index, edges, rank)?.len() as i32)
    })
}

/// At most `maxneighbors`.
pub fn graph_neighbors(
    rt: &Runtime,
    comm: CommId,
    rank: i32,
    maxneighbors: i32,
) -> Result<Vec<i32>> {
    on_graph(rt, comm, |index, edges| {
        Ok(first(graph::neighbors(index, edges, rank)?, maxneighbors))
    })
}

/// Edges into and out of this process, each with its weight.
#[derive(Default)]
struct Edges {
    into: Vec<(i32, i32)>,
    out: Vec<(i32, i32)>,
}

fn create_distributed(
    rt: &Runtime,
    comm: CommId,
    place: (u32, u32),
    edges: Edges,
    weighted: bool,
) -> Result<CommId> {
    let unzip = |edges: Vec<(i32, i32)>| -> (Vec<i32>, Vec<i32>) {
        let (ranks, weights) = edges.into_iter().unzip();
        (ranks, if weighted { weights } else { Vec::new() })
    };
    let (sources, source_weights) = unzip(edges.into);
    let (destinations, destination_weights) = unzip(edges.out);
    let topology = Topology::DistGraph {
        sources,
        source_weights,
        destinations,
        destination_weights,
        weighted,
    };
    let (size, rank) = place;
    create(rt, comm, size, rank, topology)
}

/// The weight of the `i`-th edge; 1 without weights.
fn weight(weights: Option<&[i32]>, i: usize) -> i32 {
    weights.map_or(1, |w| w.get(i).copied().unwrap_or(1))
}

/// Each process names its own neighbors. No weights: MPI_UNWEIGHTED.
#[allow(clippy::too_many_arguments)]
pub fn dist_graph_create_adjacent(
    rt: &Runtime,
    comm_old: CommId,
    sources: &[i32],
    sourceweights: Option<&[i32]>,
    destinations: &[i32],
    destweights: Option<&[i32]>,
    info: InfoId,
    reorder: bool,
) -> Result<CommId> {
    let _ = reorder;
    rt.with(|w| w.infos.hints(info))?;
    let (size, rank) = place(rt, comm_old)?;
    graph::in_range(sources, size, "source")?;
    graph::in_range(destinations, size, "destination")?;
    graph::weights(sourceweights)?;
    graph::weights(destweights)?;
    if sourceweights.is_some() != destweights.is_some() {
        fail!(
            Arg,
            "only one of sourceweights and destweights is MPI_UNWEIGHTED"
        );
    }
    let pairs = |ranks: &[i32], weights| -> Vec<(i32, i32)> {
        ranks
            .iter()
            .enumerate()
            .map(|(i, &r)| (r, weight(weights, i)))
            .collect()
    };
    let edges = Edges {
        into: pairs(sources, sourceweights),
        out: pairs(destinations, destweights),
    };
    create_distributed(rt, comm_old, (size, rank), edges, sourceweights.is_some())
}

/// Each process names any edges: `degrees[i]` of them leave `sources[i]`, for `destinations`, which follow one another.
/// No weights: MPI_UNWEIGHTED.
#[allow(clippy::too_many_arguments)]
pub fn dist_graph_create(
    rt: &Runtime,
    comm_old: CommId,
    sources: &[i32],
    degrees: &[i32],
    destinations: &[i32],
    weights: Option<&[i32]>,
    info: InfoId,
    reorder: bool,
) -> Result<CommId> {
    let _ = reorder;
    rt.with(|w| w.infos.hints(info))?;
    let (size, rank) = place(rt, comm_old)?;
    graph::in_range(sources, size, "source")?;
    graph::in_range(destinations, size, "destination")?;
    graph::weights(weights)?;
    if let Some(degree) = degrees.iter().find(|&&d| d < 0) {
        fail!(Arg, "degree {degree} is negative");
    }
    let total = degrees.iter().map(|&d| d as usize).sum::<usize>();
    if total > destinations.len() || degrees.len() != sources.len() {
        fail!(Arg, "{} destinations for {total} edges", destinations.len());
    }
    let mut named = Vec::with_capacity(total);
    for (&source, &degree) in sources.iter().zip(degrees) {
        for _ in 0..degree {
            let i = named.len();
            named.push([source, destinations[i], weight(weights, i)]);
        }
    }
    let mut edges = Edges::default();
    for [source, destination, weight] in exchange(rt, comm_old, size, &named)? {
        if source == rank as i32 {
            edges.out.push((destination, weight));
        }
        if destination == rank as i32 {
            edges.into.push((source, weight));
        }
    }
    create_distributed(rt, comm_old, (size, rank), edges, weights.is_some())
}

/// Sends every named edge to both its ends; gives those that end here, by the rank that named them.
fn exchange(rt: &Runtime, comm: CommId, size: u32, named: &[[i32; 3]]) -> Result<Vec<[i32; 3]>> {
    let mut blocks = vec![Vec::new(); size as usize];
    for edge in named {
        let [source, destination, _] = *edge;
        blocks[source as usize].extend_from_slice(edge);
        if destination != source {
            blocks[destination as usize].extend_from_slice(edge);
        }
    }
    let counts: Vec<i64> = blocks.iter().map(|b| b.len() as i64).collect();
    let mut theirs = vec![0i64; size as usize];
    let (from, to) = (
        counts.as_ptr().cast_mut().cast(),
        theirs.as_mut_ptr().cast(),
    );
    calls::alltoall(rt, from, 1, handle::INT64_T, to, 1, handle::INT64_T, comm)?;
    let offsets = |counts: &[i64]| -> Vec<i64> {
        let begins = counts.iter().scan(0, |end, n| {
            *end += n;
            Some(*end - n)
        });
        begins.collect()
    };
    let (at, there) = (offsets(&counts), offsets(&theirs));
    let block = blocks.concat();
    let mut edges = vec![0i32; theirs.iter().sum::<i64>() as usize];
    let (from, to) = (block.as_ptr().cast_mut().cast(), edges.as_mut_ptr().cast());
    calls::alltoallv(
        rt,
        from,
        &counts,
        &at,
        handle::INT,
        to,
        &theirs,
        &there,
        handle::INT,
        comm,
    )?;
    Ok(edges.chunks_exact(3).map(|e| [e[0], e[1], e[2]]).collect())
}

/// (edges in, edges out, is it weighted?)
pub fn dist_graph_neighbors_count(rt: &Runtime, comm: CommId) -> Result<(i32, i32, bool)> {
    look(
        rt,
        comm,
        "distributed graph",
        |topology, _| match topology {
            Topology::DistGraph {
                sources,
                destinations,
                weighted,
                ..
            } => Some(Ok((
                sources.len() as i32,
                destinations.len() as i32,
                *weighted,
            ))),
            _ => None,
        },
    )
}

/// (sources, their weights, destinations, their weights), at most `maxindegree` and `maxoutdegree`; no weights where
/// the graph has none.
#[allow(clippy::type_complexity)]
pub fn dist_graph_neighbors(
    rt: &Runtime,
    comm: CommId,
    maxindegree: i32,
    maxoutdegree: i32,
) -> Result<(Vec<i32>, Vec<i32>, Vec<i32>, Vec<i32>)> {
    look(
        rt,
        comm,
        "distributed graph",
        |topology, _| match topology {
            Topology::DistGraph {
                sources,
                source_weights,
                destinations,
                destination_weights,
                ..
            } => Some(Ok((
                first(sources, maxindegree),
                first(source_weights, maxindegree),
                first(destinations, maxoutdegree),
                first(destination_weights, maxoutdegree),
            ))),
            _ => None,
        },
    )
}
