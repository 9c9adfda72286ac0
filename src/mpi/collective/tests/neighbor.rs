//! Neighborhood collectives.

use super::memory::Buffer;
use super::net::Job;
use super::*;
use crate::base::id::DatatypeId;
use crate::mpi::collective::*;
use crate::mpi::topology::Topology;

/// Who sends what where: for every process the edges (from, their block; to, their block), in order.
struct Net {
    topologies: Vec<Topology>,
    /// For every process and source: the process, and the number of the block there.
    origins: Vec<Vec<Option<(usize, usize)>>>,
    /// Destinations of every process.
    out: Vec<usize>,
}

/// A grid whose dimensions may be so short that both neighbors are the same, or the process itself.
fn grid(random: &mut Random) -> Net {
    let dims: Vec<i32> = (0..2).map(|_| 1 + random.below(4) as i32).collect();
    let periods: Vec<bool> = (0..2).map(|_| random.below(3) > 0).collect();
    let size = (dims[0] * dims[1]) as usize;
    let at = |p: usize| vec![p as i32 / dims[1], p as i32 % dims[1]];
    let step = |p: usize, dim: usize, by: i32| -> Option<usize> {
        let mut place = at(p);
        place[dim] += by;
        let outside = place[dim] < 0 || place[dim] >= dims[dim];
        if outside && !periods[dim] {
            return None;
        }
        place[dim] = place[dim].rem_euclid(dims[dim]);
        Some((place[0] * dims[1] + place[1]) as usize)
    };
    let topology = |p| Topology::Cart {
        dims: dims.clone(),
        periods: periods.clone(),
        coords: at(p),
    };
    // What arrives from the one before went to the one after.
    let origins = |p| {
        (0..4)
            .map(|i| {
                let from = step(p, i / 2, if i % 2 == 0 { -1 } else { 1 })?;
                Some((from, i ^ 1))
            })
            .collect()
    };
    Net {
        topologies: (0..size).map(topology).collect(),
        origins: (0..size).map(origins).collect(),
        out: vec![4; size],
    }
}

/// Any edges, also several between two processes and from one to itself.
fn graph(random: &mut Random) -> Net {
    let size = 1 + random.below(7);
    let mut sources = vec![Vec::new(); size];
    let mut destinations = vec![Vec::new(); size];
    let mut origins = vec![Vec::new(); size];
    for _ in 0..random.below(4 * size) {
        let (from, to) = (random.below(size), random.below(size));
        origins[to].push(Some((from, destinations[from].len())));
        sources[to].push(from as i32);
        destinations[from].push(to as i32);
    }
    let out = destinations.iter().map(Vec::len).collect();
    let pairs = sources.into_iter().zip(destinations);
    let topologies = pairs.map(|(sources, destinations)| Topology::DistGraph {
        sources,
        destinations,
        source_weights: Vec::new(),
        destination_weights: Vec::new(),
        weighted: false,
    });
    Net {
        topologies: topologies.collect(),
        origins,
        out,
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Form {
    Gather,
    Gatherv,
    All,
    Allv,
    Allw,
}

fn neighbors(form: Form) {
    let stock = Stock::new();
    for seed in 0..60 {
        let random = &mut Random::new(seed + 1);
        let net = if seed % 2 == 0 {
            grid(random)
        } else {
            graph(random)
        };
        let size = net.topologies.len();
        let pool = kinds(&stock, random);
        let width = pool[0].slots.len();
        let even = matches!(form, Form::Gather | Form::All);
        let same = matches!(form, Form::Gather | Form::Gatherv);
        let length = random.below(4);
        // Elements of every block that is sent.
        let mut counts: Vec<Vec<usize>> = Vec::new();
        for p in 0..size {
            let any = random.below(4);
            let mut block = |_| match (even, same) {
                (true, _) => length,
                (_, true) => any,
                _ => random.below(4),
            };
            counts.push((0..net.out[p].max(1)).map(&mut block).collect());
        }
        let whole = |counts: &[usize]| counts.iter().map(|&n| n as i64).collect::<Vec<_>>();
        let mut values: Vec<Vec<Vec<i32>>> = Vec::new();
        let (mut from, mut into, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        let mut plans = Vec::new();
        let mine: Vec<(Kind, Kind)> = (0..size)
            .map(|_| (random.pick(&pool).clone(), random.pick(&pool).clone()))
            .collect();
        for p in 0..size {
            let mut rows: Vec<Vec<i32>> =
                counts[p].iter().map(|n| ints(random, n * width)).collect();
            if same {
                rows = vec![rows[0].clone(); rows.len()];
            }
            let mut out = Plan::new(random, whole(&counts[p]));
            if even {
                out = Plan::even(length, counts[p].len());
            }
            let incoming = net.origins[p].iter();
            let incoming: Vec<i64> = incoming
                .map(|o| o.map_or(length, |(q, i)| counts[q][i]) as i64)
                .collect();
            let mut plan = Plan::new(random, incoming.clone());
            if even {
                plan = Plan::even(length, incoming.len());
            }
            let (a, b) = &mine[p];
            let mut buffer = Buffer::new(a, out.room);
            for (i, row) in rows.iter().enumerate() {
                buffer.put(a, out.displs[i] as usize, row);
            }
            if same {
                buffer = Buffer::new(a, counts[p][0]);
                buffer.put(a, 0, &rows[0]);
            }
            from.push(buffer);
            into.push(Buffer::new(b, plan.room));
            values.push(rows);
            plans.push((out, plan));
        }
        for p in 0..size {
            let mut buffer = into[p].clone();
            for (i, origin) in net.origins[p].iter().enumerate() {
                if let Some((q, block)) = origin {
                    let at = plans[p].1.displs[i] as usize;
                    buffer.put(&mine[p].1, at, &values[*q][*block]);
                }
            }
            wanted.push(buffer);
        }
        let limits = Limits::DEFAULT;
        let groups = [size as u32];
        let mut job = Job::on(
            &stock.world,
            &limits,
            &groups,
            &net.topologies,
            |call, p| {
                let (a, b) = &mine[p];
                let (out, plan) = &plans[p];
                let (send, recv) = (from[p].address(), into[p].address());
                let own = counts[p][0] as i64;
                let n = length as i64;
                let (ns, at) = (&out.counts, &out.displs);
                let (ms, to) = (&plan.counts, &plan.displs);
                let bytes = |displs: &[i64], kind: &Kind| -> Vec<i64> {
                    displs.iter().map(|d| d * kind.extent as i64).collect()
                };
                let types = |n: usize, kind: &Kind| -> Vec<DatatypeId> { vec![kind.id; n] };
                match form {
                    Form::Gather => neighbor_allgather(call, send, own, a.id, recv, n, b.id),
                    Form::Gatherv => neighbor_allgatherv(call, send, own, a.id, recv, ms, to, b.id),
                    Form::All => neighbor_alltoall(call, send, n, a.id, recv, n, b.id),
                    Form::Allv => neighbor_alltoallv(call, send, ns, at, a.id, recv, ms, to, b.id),
                    Form::Allw => neighbor_alltoallw(
                        call,
                        send,
                        ns,
                        &bytes(at, a),
                        &types(ns.len(), a),
                        recv,
                        ms,
                        &bytes(to, b),
                        &types(ms.len(), b),
                    ),
                }
            },
        );
        for end in job.run(seed) {
            assert_eq!(end, Ok(()));
        }
        assert_eq!(into, wanted, "{form:?} seed {seed} {:?}", net.topologies[0]);
    }
}

#[test]
fn neighbor_allgather_reaches_neighbors() {
    neighbors(Form::Gather);
}

#[test]
fn neighbor_allgatherv_reaches_neighbors() {
    neighbors(Form::Gatherv);
}

#[test]
fn neighbor_alltoall_keeps_directions() {
    neighbors(Form::All);
}

#[test]
fn neighbor_alltoallv_keeps_directions() {
    neighbors(Form::Allv);
}

#[test]
fn neighbor_alltoallw_keeps_directions() {
    neighbors(Form::Allw);
}
