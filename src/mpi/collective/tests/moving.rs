//! Collectives that move data.

use super::memory::Buffer;
use super::net::{Job, Random};
use super::*;
use crate::base::constant::{handle, IN_PLACE};
use crate::base::id::DatatypeId;
use crate::mpi::collective::*;

fn done(job: &mut Job, random: &mut Random) {
    for (p, end) in job.run(random.below(1 << 30) as u64).iter().enumerate() {
        assert_eq!(*end, Ok(()), "process {p}");
    }
}

#[test]
fn barriers_hold_everyone() {
    use crate::mpi::op::{Op, OpKind};
    use std::sync::{Arc, Mutex};
    everywhere(true, |stock, limits, cast, random| {
        // A user's operation says when each process comes, and when it goes.
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut byte = 0u8;
        let address = &mut byte as *mut u8;
        let mut job = Job::new(&stock.world, limits, &cast.groups, |call, p| {
            let log = log.clone();
            let note = move |_: *const u8, _: *mut u8, count: i64, _: DatatypeId| {
                log.lock().unwrap().push((p, count));
            };
            let op = Arc::new(Op {
                commute: true,
                kind: OpKind::User(Arc::new(note)),
            });
            let ty = stock.world.types.get(handle::BYTE)?;
            call.s.set_fold(&op, handle::BYTE, ty);
            call.s.reduce(address, address, 1);
            barrier(call)?;
            call.s.fence();
            call.s.reduce(address, address, 2);
            Ok(())
        });
        done(&mut job, random);
        let log = log.lock().unwrap();
        for p in cast.all() {
            let left = log.iter().position(|&e| e == (p, 2)).unwrap();
            for other in cast.partners(p) {
                let came = log.iter().position(|&e| e == (other, 1)).unwrap();
                assert!(came < left, "{cast:?}: {p} left before {other} came");
            }
        }
    });
}

#[test]
fn bcast_reaches_everyone() {
    everywhere(true, |stock, limits, cast, random| {
        let root = random.below(cast.all().len());
        let pool = kinds(stock, random);
        let mine: Vec<Kind> = cast.all().map(|_| random.pick(&pool).clone()).collect();
        let count = some(random, cast.all().len());
        let values = ints(random, count * pool[0].slots.len());
        let mut buffers: Vec<Buffer> = mine.iter().map(|k| Buffer::new(k, count)).collect();
        buffers[root].put(&mine[root], 0, &values);
        let mut wanted = buffers.clone();
        let receives = |p| !cast.inter() || cast.group(p) != cast.group(root);
        for p in cast.all().filter(|&p| receives(p)) {
            wanted[p].put(&mine[p], 0, &values);
        }
        let mut job = Job::new(&stock.world, limits, &cast.groups, |call, p| {
            let address = buffers[p].address();
            bcast(call, address, count as i64, mine[p].id, cast.root(p, root))
        });
        done(&mut job, random);
        assert_eq!(
            buffers, wanted,
            "{cast:?} root {root} count {count} {limits:?}"
        );
    });
}

/// Gather and scatter, both forms: blocks at the root, one at everybody else.
fn rooted(gathers: bool, even: bool) {
    everywhere(true, |stock, limits, cast, random| {
        let root = random.below(cast.all().len());
        let pool = kinds(stock, random);
        let width = pool[0].slots.len();
        let mine: Vec<Kind> = cast.all().map(|_| random.pick(&pool).clone()).collect();
        let outer = random.pick(&pool).clone();
        let members = cast.partners(root);
        let count = some(random, 3);
        let plan = if even {
            Plan::even(count, members.len())
        } else {
            let counts = members.clone().map(|_| some(random, 3) as i64).collect();
            Plan::new(random, counts)
        };
        let in_place = !cast.inter() && random.below(3) == 0;
        let values: Vec<Vec<i32>> = plan
            .counts
            .iter()
            .map(|&n| ints(random, n as usize * width))
            .collect();
        let mut whole = Buffer::new(&outer, plan.room);
        let counts: Vec<usize> = cast
            .all()
            .map(|p| plan.counts.get(cast.rank(p)).map_or(0, |&n| n as usize))
            .collect();
        let mut own: Vec<Buffer> = cast
            .all()
            .map(|p| Buffer::new(&mine[p], counts[p]))
            .collect();
        let fill_whole = |whole: &mut Buffer| {
            for (r, values) in values.iter().enumerate() {
                whole.put(&outer, plan.displs[r] as usize, values);
            }
        };
        let fill_own = |own: &mut Vec<Buffer>, with_root: bool| {
            for (r, p) in members.clone().enumerate() {
                if p != root || with_root {
                    own[p].put(&mine[p], 0, &values[r]);
                }
            }
        };
        if gathers {
            fill_own(&mut own, true);
            if in_place {
                let r = cast.rank(root);
                whole.put(&outer, plan.displs[r] as usize, &values[r]);
            }
        } else {
            fill_whole(&mut whole);
        }
        let (mut wanted, mut wanted_own) = (whole.clone(), own.clone());
        if gathers {
            fill_whole(&mut wanted);
        } else {
            fill_own(&mut wanted_own, !in_place);
        }
        let mut job = Job::new(&stock.world, limits, &cast.groups, |call, p| {
            let here = p == root;
            let top = cast.root(p, root);
            let (buffer, n, id) = if here && in_place {
                (IN_PLACE, -7, handle::DATATYPE_NULL)
            } else {
                (own[p].address(), counts[p] as i64, mine[p].id)
            };
            // What does not matter is nonsense.
            let (all, all_id) = if here {
                (whole.address(), outer.id)
            } else {
                (IN_PLACE, handle::DATATYPE_NULL)
            };
            let each = if here { count as i64 } else { -1 };
            let (ns, places): (&[i64], &[i64]) = if here {
                (&plan.counts, &plan.displs)
            } else {
                (&[], &[])
            };
            match (gathers, even) {
                (true, true) => gather(call, buffer, n, id, all, each, all_id, top),
                (true, false) => gatherv(call, buffer, n, id, all, ns, places, all_id, top),
                (false, true) => scatter(call, all, each, all_id, buffer, n, id, top),
                (false, false) => scatterv(call, all, ns, places, all_id, buffer, n, id, top),
            }
        });
        done(&mut job, random);
        assert_eq!(whole, wanted, "{cast:?} root {root} {plan:?} {limits:?}");
        assert_eq!(own, wanted_own, "{cast:?} root {root} {plan:?} {limits:?}");
    });
}

#[test]
fn gather_collects() {
    rooted(true, true);
}

#[test]
fn gatherv_collects() {
    rooted(true, false);
}

#[test]
fn scatter_distributes() {
    rooted(false, true);
}

#[test]
fn scatterv_distributes() {
    rooted(false, false);
}

fn gathered_everywhere(even: bool) {
    everywhere(true, |stock, limits, cast, random| {
        let pool = kinds(stock, random);
        let width = pool[0].slots.len();
        let kinds: Vec<(Kind, Kind)> = cast
            .all()
            .map(|_| (random.pick(&pool).clone(), random.pick(&pool).clone()))
            .collect();
        // Elements of each process: in the even form as many for all of a group.
        let mut lengths = [some(random, 3), some(random, 3)];
        if random.below(3) == 0 {
            lengths[0] = 0;
        }
        let counts: Vec<usize> = cast
            .all()
            .map(|p| {
                if even {
                    lengths[cast.group(p)]
                } else {
                    some(random, 3)
                }
            })
            .collect();
        let values: Vec<Vec<i32>> = counts.iter().map(|&n| ints(random, n * width)).collect();
        let in_place = !cast.inter() && random.below(3) == 0;
        let plans: Vec<Plan> = cast
            .all()
            .map(|p| {
                let partners = cast.partners(p);
                if even {
                    return Plan::even(counts[partners.start], partners.len());
                }
                let counts = partners.map(|q| counts[q] as i64).collect();
                Plan::new(random, counts)
            })
            .collect();
        let mut own = Vec::new();
        let mut all = Vec::new();
        for p in cast.all() {
            let (a, b) = &kinds[p];
            let mut buffer = Buffer::new(a, counts[p]);
            buffer.put(a, 0, &values[p]);
            own.push(buffer);
            let mut buffer = Buffer::new(b, plans[p].room);
            if in_place {
                buffer.put(b, plans[p].displs[p] as usize, &values[p]);
            }
            all.push(buffer);
        }
        let mut wanted = all.clone();
        for p in cast.all() {
            for (r, q) in cast.partners(p).enumerate() {
                let at = plans[p].displs[r] as usize;
                wanted[p].put(&kinds[p].1, at, &values[q]);
            }
        }
        let before = own.clone();
        let mut job = Job::new(&stock.world, limits, &cast.groups, |call, p| {
            let (a, b) = (kinds[p].0.id, kinds[p].1.id);
            let (buffer, n, a) = if in_place {
                (IN_PLACE, -1, handle::DATATYPE_NULL)
            } else {
                (own[p].address(), counts[p] as i64, a)
            };
            let into = all[p].address();
            let plan = &plans[p];
            if even {
                allgather(call, buffer, n, a, into, plan.counts[0], b)
            } else {
                allgatherv(call, buffer, n, a, into, &plan.counts, &plan.displs, b)
            }
        });
        done(&mut job, random);
        assert_eq!(all, wanted, "{cast:?} {counts:?} {limits:?}");
        assert_eq!(own, before);
    });
}

#[test]
fn allgather_collects_everywhere() {
    gathered_everywhere(true);
}

#[test]
fn allgatherv_collects_everywhere() {
    gathered_everywhere(false);
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Even,
    V,
    W,
}

fn exchanged(form: Form) {
    everywhere(true, |stock, limits, cast, random| {
        let pool = kinds(stock, random);
        let width = pool[0].slots.len();
        let kinds: Vec<(Kind, Kind)> = cast
            .all()
            .map(|_| (random.pick(&pool).clone(), random.pick(&pool).clone()))
            .collect();
        let in_place = !cast.inter() && random.below(3) == 0;
        // Elements from p to q; in place both ways the same.
        let even = [some(random, 3), some(random, 3)];
        let ranks = cast.all().len();
        let mut counts = vec![vec![0; ranks]; ranks];
        for p in cast.all() {
            for q in cast.partners(p) {
                counts[p][q] = if form == Form::Even {
                    even[cast.group(p)]
                } else if in_place && q < p {
                    counts[q][p]
                } else {
                    some(random, 2)
                };
            }
        }
        let values: Vec<Vec<Vec<i32>>> = counts
            .iter()
            .map(|row| row.iter().map(|&n| ints(random, n * width)).collect())
            .collect();
        let mut plans = Vec::new();
        for p in cast.all() {
            let partners = cast.partners(p);
            let out: Vec<i64> = partners.clone().map(|q| counts[p][q] as i64).collect();
            let into: Vec<i64> = partners.clone().map(|q| counts[q][p] as i64).collect();
            plans.push(if form == Form::Even {
                let n = partners.len();
                (
                    Plan::even(out[0] as usize, n),
                    Plan::even(into[0] as usize, n),
                )
            } else {
                (Plan::new(random, out), Plan::new(random, into))
            });
        }
        let (mut from, mut into) = (Vec::new(), Vec::new());
        for p in cast.all() {
            let (a, b) = &kinds[p];
            let mut buffer = Buffer::new(a, plans[p].0.room);
            for (r, q) in cast.partners(p).enumerate() {
                buffer.put(a, plans[p].0.displs[r] as usize, &values[p][q]);
            }
            from.push(buffer);
            let mut buffer = Buffer::new(b, plans[p].1.room);
            if in_place {
                for (r, q) in cast.partners(p).enumerate() {
                    buffer.put(b, plans[p].1.displs[r] as usize, &values[p][q]);
                }
            }
            into.push(buffer);
        }
        let mut wanted = into.clone();
        for p in cast.all() {
            for (r, q) in cast.partners(p).enumerate() {
                let at = plans[p].1.displs[r] as usize;
                wanted[p].put(&kinds[p].1, at, &values[q][p]);
            }
        }
        let before = from.clone();
        let mut job = Job::new(&stock.world, limits, &cast.groups, |call, p| {
            let (a, b) = &kinds[p];
            let (out, plan) = &plans[p];
            let buffer = if in_place {
                IN_PLACE
            } else {
                from[p].address()
            };
            let target = into[p].address();
            let none: &[i64] = &[];
            let (ns, at) = if in_place {
                (none, none)
            } else {
                (&out.counts[..], &out.displs[..])
            };
            match form {
                Form::Even => {
                    let n = if in_place { -3 } else { out.counts[0] };
                    alltoall(call, buffer, n, a.id, target, plan.counts[0], b.id)
                }
                Form::V => {
                    let (ms, places) = (&plan.counts, &plan.displs);
                    alltoallv(call, buffer, ns, at, a.id, target, ms, places, b.id)
                }
                Form::W => {
                    let bytes = |displs: &[i64], kind: &Kind| -> Vec<i64> {
                        displs.iter().map(|d| d * kind.extent as i64).collect()
                    };
                    // The type of nothing does not matter.
                    let types = |counts: &[i64], kind: &Kind| -> Vec<DatatypeId> {
                        let id = |&n: &i64| {
                            if n == 0 {
                                handle::DATATYPE_NULL
                            } else {
                                kind.id
                            }
                        };
                        counts.iter().map(id).collect()
                    };
                    alltoallw(
                        call,
                        buffer,
                        ns,
                        &bytes(at, a),
                        &types(ns, a),
                        target,
                        &plan.counts,
                        &bytes(&plan.displs, b),
                        &types(&plan.counts, b),
                    )
                }
            }
        });
        done(&mut job, random);
        assert_eq!(into, wanted, "{cast:?} {counts:?} {limits:?}");
        assert_eq!(from, before);
    });
}

#[test]
fn alltoall_exchanges() {
    exchanged(Form::Even);
}

#[test]
fn alltoallv_exchanges() {
    exchanged(Form::V);
}

#[test]
fn alltoallw_exchanges() {
    exchanged(Form::W);
}
