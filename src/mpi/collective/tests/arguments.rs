//! Wrong arguments, and errors under way.

use super::memory::{Buffer, Stock};
use super::net::Job;
use super::{Limits, SHOWN, SHOWN_HERE};
use crate::base::constant::{handle, IN_PLACE, PROC_NULL, ROOT};
use crate::base::error::{Class, Result};
use crate::mpi::collective::schedule::Schedule;
use crate::mpi::collective::*;
use crate::transport::BOARD_ROOM;

const INT: crate::base::id::DatatypeId = handle::INT;

/// The class of the error on rank 1 of 3, or between groups of 3 and 2.
fn class(inter: bool, build: impl FnOnce(&mut Call) -> Result<()>) -> Class {
    let stock = Stock::new();
    let mut call = Call {
        world: &stock.world,
        place: Place {
            rank: 1,
            size: 3,
            remote: inter.then_some(2),
        },
        topology: None,
        reach: None,
        limits: &Limits::DEFAULT,
        s: &mut Schedule::new(),
    };
    build(&mut call).map_or_else(|e| e.class, |()| Class::Success)
}

#[test]
fn wrong_arguments_have_their_classes() {
    let mut memory = [0u8; 256];
    let a = memory.as_mut_ptr();
    let b = a.wrapping_add(128);
    let null = std::ptr::null_mut();
    let intra = |wanted, build: &dyn Fn(&mut Call) -> Result<()>| {
        assert_eq!(class(false, build), wanted);
    };
    let inter = |wanted, build: &dyn Fn(&mut Call) -> Result<()>| {
        assert_eq!(class(true, build), wanted);
    };
    intra(Class::Success, &|c| bcast(c, a, 4, INT, 2));
    intra(Class::Root, &|c| bcast(c, a, 4, INT, 3));
    intra(Class::Root, &|c| bcast(c, a, 4, INT, -1));
    intra(Class::Root, &|c| bcast(c, a, 4, INT, ROOT));
    intra(Class::Root, &|c| gather(c, a, 1, INT, b, 1, INT, 7));
    intra(Class::Root, &|c| {
        reduce(c, a, b, 1, INT, handle::SUM, PROC_NULL)
    });
    inter(Class::Success, &|c| bcast(c, a, 4, INT, ROOT));
    inter(Class::Success, &|c| bcast(c, a, 4, INT, PROC_NULL));
    inter(Class::Success, &|c| bcast(c, a, 4, INT, 1));
    inter(Class::Root, &|c| bcast(c, a, 4, INT, 2));

    intra(Class::Count, &|c| bcast(c, a, -1, INT, 0));
    intra(Class::Count, &|c| allreduce(c, a, b, -4, INT, handle::SUM));
    intra(Class::Count, &|c| bcast(c, a, i64::MAX, INT, 0));
    intra(Class::Count, &|c| {
        allgatherv(c, a, 1, INT, b, &[1, -1, 1], &[0, 1, 2], INT)
    });
    intra(Class::Count, &|c| {
        reduce_scatter(c, a, b, &[1, 1, -2], INT, handle::SUM)
    });
    intra(Class::Count, &|c| {
        reduce_scatter_block(c, a, b, -1, INT, handle::SUM)
    });

    intra(Class::Type, &|c| bcast(c, a, 1, handle::DATATYPE_NULL, 0));
    intra(Class::Op, &|c| allreduce(c, a, b, 1, INT, handle::OP_NULL));
    intra(Class::Op, &|c| {
        allreduce(c, a, b, 1, handle::DOUBLE, handle::BAND)
    });
    intra(Class::Op, &|c| scan(c, a, b, 1, INT, handle::REPLACE));
    intra(Class::Op, &|c| exscan(c, a, b, 1, INT, handle::MINLOC));

    intra(Class::Buffer, &|c| bcast(c, IN_PLACE, 1, INT, 0));
    intra(Class::Buffer, &|c| bcast(c, null, 1, INT, 0));
    intra(Class::Success, &|c| bcast(c, null, 0, INT, 0));
    intra(Class::Buffer, &|c| allreduce(c, a, a, 1, INT, handle::SUM));
    intra(Class::Success, &|c| allreduce(c, a, a, 0, INT, handle::SUM));
    intra(Class::Buffer, &|c| {
        allreduce(c, a, IN_PLACE, 1, INT, handle::SUM)
    });
    intra(Class::Success, &|c| {
        allreduce(c, IN_PLACE, a, 1, INT, handle::SUM)
    });
    inter(Class::Buffer, &|c| {
        allreduce(c, IN_PLACE, a, 1, INT, handle::SUM)
    });
    intra(Class::Buffer, &|c| reduce(c, a, a, 1, INT, handle::SUM, 1));
    intra(Class::Success, &|c| reduce(c, a, a, 1, INT, handle::SUM, 0));
    intra(Class::Buffer, &|c| {
        reduce(c, IN_PLACE, a, 1, INT, handle::SUM, 0)
    });
    intra(Class::Buffer, &|c| {
        gather(c, IN_PLACE, 1, INT, b, 1, INT, 0)
    });
    intra(Class::Success, &|c| {
        gather(c, IN_PLACE, 1, INT, b, 1, INT, 1)
    });
    intra(Class::Buffer, &|c| {
        gather(c, b.wrapping_add(4), 1, INT, b, 1, INT, 1)
    });
    intra(Class::Buffer, &|c| {
        scatter(c, b, 1, INT, IN_PLACE, 1, INT, 2)
    });
    intra(Class::Buffer, &|c| {
        allgather(c, b.wrapping_add(4), 1, INT, b, 1, INT)
    });
    intra(Class::Buffer, &|c| alltoall(c, a, 1, INT, a, 1, INT));
    inter(Class::Buffer, &|c| alltoall(c, IN_PLACE, 1, INT, a, 1, INT));

    inter(Class::Comm, &|c| scan(c, a, b, 1, INT, handle::SUM));
    inter(Class::Comm, &|c| exscan(c, a, b, 1, INT, handle::SUM));
}

#[test]
fn an_error_of_one_leaves_nobody_waiting() {
    let stock = Stock::new();
    let kind = stock.int.clone();
    // Rank 2 of a tree expects less than it gets, and passes on what it has.
    let counts = [9, 9, 3, 9];
    let mut buffers: Vec<Buffer> = counts.iter().map(|&n| Buffer::new(&kind, n)).collect();
    let mut job = Job::new(&stock.world, &Limits::DEFAULT, &[4], |call, p| {
        bcast(call, buffers[p].address(), counts[p] as i64, INT, 0)
    });
    job.strict = false;
    for seed in 0..20 {
        let ends = job.run(seed);
        let classes: Vec<Option<Class>> =
            ends.into_iter().map(|e| e.err().map(|e| e.class)).collect();
        assert_eq!(classes, [None, None, Some(Class::Truncate), None]);
        job.rewind();
    }
}

#[test]
fn boards_are_used_where_they_serve() {
    let stock = Stock::new();
    let kind = stock.int.clone();
    let shows = |limits: &Limits, ranks: u32, n: usize| {
        let mut buffers: Vec<Buffer> = (0..ranks).map(|_| Buffer::new(&kind, n)).collect();
        let job = Job::new(&stock.world, limits, &[ranks], |call, p| {
            bcast(call, buffers[p].address(), n as i64, INT, 0)
        });
        job.shows()
    };
    assert!(shows(&SHOWN, 2, 1));
    assert!(!shows(&SHOWN, 2, 0), "nothing is shown");
    assert!(!shows(&SHOWN, 2, 25), "both ranks copy what is long");
    assert!(!shows(&Limits::DEFAULT, 2, 1), "ranks far from each other");
    // Where nobody can read the others' memory, as long as there is room.
    assert!(shows(&SHOWN_HERE, 3, BOARD_ROOM / 4));
    assert!(!shows(&SHOWN_HERE, 3, BOARD_ROOM / 4 + 1));
}

#[test]
fn sizes_around_the_default_switch_points() {
    let stock = Stock::new();
    let limits = Limits::DEFAULT;
    let points = [
        limits.bcast_split,
        limits.reduce_split,
        limits.allreduce_ring_odd,
        limits.scatter_pairs,
    ];
    for point in points {
        for count in [point / 4 - 1, point / 4, point / 4 + 1] {
            for size in [3u32, 4] {
                large(&stock, &limits, size, count);
            }
        }
    }
}

/// The sum of all, everywhere, in four ways.
fn large(stock: &Stock, limits: &Limits, size: u32, count: usize) {
    let own: Vec<Vec<i32>> = (0..size as usize)
        .map(|p| (0..count).map(|i| (i * 7 + p * 1001) as i32).collect())
        .collect();
    let sum: Vec<i32> = (0..count).map(|i| own.iter().map(|o| o[i]).sum()).collect();
    let part = |r: usize| count * r / size as usize..count * (r + 1) / size as usize;
    let counts: Vec<i64> = (0..size as usize).map(|r| part(r).len() as i64).collect();
    let displs: Vec<i64> = (0..size as usize).map(|r| part(r).start as i64).collect();
    let run = |build: &mut dyn FnMut(&mut Call, usize) -> Result<()>| {
        let mut job = Job::new(&stock.world, limits, &[size], build);
        for end in job.run(count as u64) {
            assert_eq!(end, Ok(()));
        }
    };
    let mut send = own.clone();
    let mut result = vec![vec![0i32; count]; size as usize];
    let n = count as i64;
    run(&mut |call, p| {
        let (send, recv) = (send[p].as_mut_ptr().cast(), result[p].as_mut_ptr().cast());
        allreduce(call, send, recv, n, INT, handle::SUM)
    });
    assert!(result.iter().all(|r| *r == sum), "allreduce of {count}");
    result.iter_mut().for_each(|r| r.fill(0));
    run(&mut |call, p| {
        let (send, recv) = (send[p].as_mut_ptr().cast(), result[p].as_mut_ptr().cast());
        reduce(call, send, recv, n, INT, handle::SUM, 1)
    });
    assert_eq!(result[1], sum, "reduce of {count}");
    run(&mut |call, p| bcast(call, result[p].as_mut_ptr().cast(), n, INT, 1));
    assert!(result.iter().all(|r| *r == sum), "bcast of {count}");
    result.iter_mut().for_each(|r| r.fill(0));
    run(&mut |call, p| {
        let at = result[p].as_mut_ptr().wrapping_add(part(p).start).cast();
        reduce_scatter(
            call,
            send[p].as_mut_ptr().cast(),
            at,
            &counts,
            INT,
            handle::SUM,
        )
    });
    run(&mut |call, p| {
        let all = result[p].as_mut_ptr().cast();
        allgatherv(call, IN_PLACE, 0, INT, all, &counts, &displs, INT)
    });
    assert!(
        result.iter().all(|r| *r == sum),
        "reduce_scatter of {count}"
    );
    assert_eq!(send, own);
}
