//! Collectives that combine.

use super::memory::{Buffer, Operation};
use super::net::Job;
use super::*;
use crate::base::constant::IN_PLACE;
use crate::mpi::collective::*;

/// One process's elements as ints.
type Values = Vec<i32>;

/// The elements of these processes combined in their order.
fn combined<'a>(operation: &Operation, all: impl Iterator<Item = &'a Values>) -> Values {
    let width = operation.kind.slots.len();
    let combine = |a: Values, b: &Values| -> Values {
        let pairs = a.chunks(width).zip(b.chunks(width));
        pairs.flat_map(|(a, b)| (operation.combine)(a, b)).collect()
    };
    let mut all = all;
    let first = all.next().cloned().unwrap_or_default();
    all.fold(first, combine)
}

struct Run {
    operation: Operation,
    values: Vec<Values>,
    send: Vec<Buffer>,
    recv: Vec<Buffer>,
    wanted: Vec<Buffer>,
}

impl Run {
    /// `count` elements to send at each process, `room` to receive.
    fn new(stock: &Stock, cast: &Cast, random: &mut Random, count: usize, room: usize) -> Run {
        let operation = random.pick(&stock.operations).clone();
        let kind = &operation.kind;
        let values: Vec<Values> = cast
            .all()
            .map(|_| ints(random, count * kind.slots.len()))
            .collect();
        let mut send = Vec::new();
        let mut recv = Vec::new();
        for p in cast.all() {
            let mut buffer = Buffer::new(kind, count);
            buffer.put(kind, 0, &values[p]);
            send.push(buffer);
            recv.push(Buffer::new(kind, room.max(count)));
        }
        Run {
            wanted: recv.clone(),
            operation,
            values,
            send,
            recv,
        }
    }

    /// Puts this process's own elements where they are taken from and replaced.
    fn place(&mut self, p: usize) {
        self.recv[p].put(&self.operation.kind, 0, &self.values[p]);
        self.wanted[p] = self.recv[p].clone();
    }

    fn want(&mut self, p: usize, values: &[i32]) {
        self.wanted[p].put(&self.operation.kind, 0, values);
    }

    fn addresses(&mut self, p: usize, in_place: bool) -> (*mut u8, *mut u8) {
        let send = if in_place {
            IN_PLACE
        } else {
            self.send[p].address()
        };
        (send, self.recv[p].address())
    }

    /// Runs it twice, as a persistent collective would.
    fn check(&mut self, mut job: Job, random: &mut Random, what: &str) {
        let (send, recv) = (self.send.clone(), self.recv.clone());
        for _ in 0..2 {
            for end in job.run(random.below(1 << 30) as u64) {
                assert_eq!(end, Ok(()));
            }
            assert_eq!(self.recv, self.wanted, "{what} {:?}", self.operation.op);
            assert_eq!(self.send, send, "{what}");
            for (now, before) in self.recv.iter_mut().zip(&recv) {
                now.restore(before);
            }
            job.rewind();
        }
    }
}

#[test]
fn reduce_combines_in_order() {
    everywhere(true, |stock, limits, cast, random| {
        let root = random.below(cast.all().len());
        let count = some(random, cast.all().len());
        let in_place = !cast.inter() && random.below(3) == 0;
        let mut run = Run::new(stock, cast, random, count, count);
        if in_place {
            run.place(root);
        }
        let all = cast.partners(root).map(|p| &run.values[p]);
        let sum = combined(&run.operation, all);
        run.want(root, &sum);
        let job = Job::new(&stock.world, limits, &cast.groups, |call, p| {
            let (send, recv) = run.addresses(p, in_place && p == root);
            let recv = if p == root { recv } else { IN_PLACE };
            let (op, id) = (run.operation.op, run.operation.kind.id);
            reduce(call, send, recv, count as i64, id, op, cast.root(p, root))
        });
        let what = format!("{cast:?} root {root} count {count} {limits:?}");
        run.check(job, random, &what);
    });
}

#[test]
fn allreduce_combines_in_order() {
    everywhere(true, |stock, limits, cast, random| {
        let count = some(random, cast.all().len());
        let in_place = !cast.inter() && random.below(2) == 0;
        let mut run = Run::new(stock, cast, random, count, count);
        for p in cast.all() {
            if in_place {
                run.place(p);
            }
            let all = cast.partners(p).map(|q| &run.values[q]);
            let sum = combined(&run.operation, all);
            run.want(p, &sum);
        }
        let job = Job::new(&stock.world, limits, &cast.groups, |call, p| {
            let (send, recv) = run.addresses(p, in_place);
            let (op, id) = (run.operation.op, run.operation.kind.id);
            allreduce(call, send, recv, count as i64, id, op)
        });
        let what = format!("{cast:?} count {count} in place {in_place} {limits:?}");
        run.check(job, random, &what);
    });
}

fn reduced_and_scattered(even: bool) {
    everywhere(true, |stock, limits, cast, random| {
        let in_place = !cast.inter() && random.below(2) == 0;
        // Both groups have as many elements in all.
        let unit = some(random, 3);
        let mut counts = vec![vec![unit as i64; cast.groups[0] as usize]];
        if !even {
            let any = |_| some(random, 2) as i64;
            counts[0] = (0..cast.groups[0]).map(any).collect();
        }
        if cast.inter() {
            let (a, b) = (cast.groups[0] as usize, cast.groups[1] as usize);
            if even {
                counts = vec![vec![(unit * b) as i64; a], vec![(unit * a) as i64; b]];
            } else {
                let mut second = vec![0; b];
                for _ in 0..counts[0].iter().sum() {
                    second[random.below(b)] += 1;
                }
                counts.push(second);
            }
        }
        let total = counts[0].iter().sum::<i64>() as usize;
        let mut run = Run::new(stock, cast, random, total, 0);
        let width = run.operation.kind.slots.len();
        for p in cast.all() {
            if in_place {
                run.place(p);
            }
            let all = cast.partners(p).map(|q| &run.values[q]);
            let sum = combined(&run.operation, all);
            let mine = &counts[cast.group(p)];
            let first = mine[..cast.rank(p)].iter().sum::<i64>() as usize * width;
            let end = first + mine[cast.rank(p)] as usize * width;
            if total > 0 {
                run.want(p, &sum[first..end]);
            }
        }
        let job = Job::new(&stock.world, limits, &cast.groups, |call, p| {
            let (send, recv) = run.addresses(p, in_place);
            let (op, id) = (run.operation.op, run.operation.kind.id);
            let counts = &counts[cast.group(p)];
            if even {
                reduce_scatter_block(call, send, recv, counts[0], id, op)
            } else {
                reduce_scatter(call, send, recv, counts, id, op)
            }
        });
        let what = format!("{cast:?} {counts:?} in place {in_place} {limits:?}");
        run.check(job, random, &what);
    });
}

#[test]
fn reduce_scatter_combines_in_order() {
    reduced_and_scattered(false);
}

#[test]
fn reduce_scatter_block_combines_in_order() {
    reduced_and_scattered(true);
}

fn scanned(inclusive: bool) {
    everywhere(false, |stock, limits, cast, random| {
        let count = some(random, cast.all().len());
        let in_place = random.below(2) == 0;
        let mut run = Run::new(stock, cast, random, count, count);
        for p in cast.all() {
            if in_place {
                run.place(p);
            }
            let end = if inclusive { p + 1 } else { p };
            if end > 0 {
                let sum = combined(&run.operation, run.values[..end].iter());
                run.want(p, &sum);
            }
        }
        let job = Job::new(&stock.world, limits, &cast.groups, |call, p| {
            let (send, recv) = run.addresses(p, in_place);
            let (op, id) = (run.operation.op, run.operation.kind.id);
            if inclusive {
                scan(call, send, recv, count as i64, id, op)
            } else {
                exscan(call, send, recv, count as i64, id, op)
            }
        });
        let what = format!("{cast:?} count {count} in place {in_place}");
        run.check(job, random, &what);
    });
}

#[test]
fn scan_combines_up_to_itself() {
    scanned(true);
}

#[test]
fn exscan_combines_those_before() {
    scanned(false);
}
