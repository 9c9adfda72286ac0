//! Distributed arrays against their owners' indices.

use super::super::*;
use super::model::Random;
use super::{named, offsets};
use crate::base::constant::*;

/// Who owns an index of a dimension.
fn owner(index: i64, gsize: i64, distrib: i32, darg: i32, places: i64) -> i64 {
    let block = match (distrib, darg) {
        (DISTRIBUTE_BLOCK, DISTRIBUTE_DFLT_DARG) => (gsize + places - 1) / places,
        (DISTRIBUTE_CYCLIC, DISTRIBUTE_DFLT_DARG) => 1,
        (DISTRIBUTE_NONE, _) => gsize,
        _ => darg as i64,
    };
    index / block % places
}

#[test]
fn darray_is_what_the_process_owns() {
    for seed in 1..400u64 {
        let mut random = Random::new(seed);
        let n = random.range(1, 3) as usize;
        let order = if random.below(2) == 0 {
            ORDER_C
        } else {
            ORDER_FORTRAN
        };
        let (mut gsizes, mut distribs, mut dargs, mut psizes) = (vec![], vec![], vec![], vec![]);
        for _ in 0..n {
            let (gsize, places) = (random.range(1, 9), random.range(1, 4));
            let (distrib, darg, places) = match random.below(5) {
                0 => (DISTRIBUTE_NONE, DISTRIBUTE_DFLT_DARG, 1),
                1 => (DISTRIBUTE_BLOCK, DISTRIBUTE_DFLT_DARG, places),
                2 => (
                    DISTRIBUTE_BLOCK,
                    ((gsize + places - 1) / places) as i32 + 1,
                    places,
                ),
                3 => (DISTRIBUTE_CYCLIC, DISTRIBUTE_DFLT_DARG, places),
                _ => (DISTRIBUTE_CYCLIC, random.range(1, 4) as i32, places),
            };
            gsizes.push(gsize);
            distribs.push(distrib);
            dargs.push(darg);
            psizes.push(places as i32);
        }
        let size: i32 = psizes.iter().product();
        let mut seen = Vec::new();
        let total: i64 = gsizes.iter().product();
        for rank in 0..size {
            let array = Distribution {
                size,
                rank,
                gsizes: &gsizes,
                distribs: &distribs,
                dargs: &dargs,
                psizes: &psizes,
                order,
            };
            let ty = Datatype::darray(&array, &named(handle::SHORT), false).unwrap();
            assert_eq!((ty.lb(), ty.extent()), (0, 2 * total));
            let mut places = vec![0; n];
            let mut rest = rank;
            for d in (0..n).rev() {
                places[d] = (rest % psizes[d]) as i64;
                rest /= psizes[d];
            }
            // All indices in memory order.
            let mut expected = Vec::new();
            for cell in 0..total {
                let mut index = vec![0; n];
                let mut rest = cell;
                let fastest: Vec<usize> = match order {
                    ORDER_C => (0..n).rev().collect(),
                    _ => (0..n).collect(),
                };
                for d in fastest {
                    index[d] = rest % gsizes[d];
                    rest /= gsizes[d];
                }
                let mine = (0..n).all(|d| {
                    let places_of = psizes[d] as i64;
                    owner(index[d], gsizes[d], distribs[d], dargs[d], places_of) == places[d]
                });
                if mine {
                    expected.extend([2 * cell, 2 * cell + 1]);
                }
            }
            assert_eq!(
                offsets(&ty, 1, 0, 2 * total),
                expected,
                "seed {seed} rank {rank}"
            );
            seen.extend(expected);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..2 * total).collect::<Vec<_>>());
    }
}

#[test]
fn wrong_arrays_are_refused() {
    let int = named(handle::INT);
    let sub = |sizes: &[i64], subs: &[i64], starts: &[i64], order| {
        Datatype::subarray(sizes, subs, starts, order, &int, false)
    };
    assert!(sub(&[4], &[2], &[2], ORDER_C).is_ok());
    assert!(sub(&[4], &[2], &[3], ORDER_C).is_err());
    assert!(sub(&[4], &[5], &[0], ORDER_C).is_err());
    assert!(sub(&[4], &[0], &[0], ORDER_C).is_err());
    assert!(sub(&[4], &[2], &[0], 77).is_err());
    assert!(sub(&[], &[], &[], ORDER_C).is_err());
    let array = |size, rank, distrib, darg, places| {
        let array = Distribution {
            size,
            rank,
            gsizes: &[10],
            distribs: &[distrib],
            dargs: &[darg],
            psizes: &[places],
            order: ORDER_C,
        };
        Datatype::darray(&array, &int, false)
    };
    assert!(array(2, 1, DISTRIBUTE_BLOCK, 5, 2).is_ok());
    assert!(array(2, 1, DISTRIBUTE_BLOCK, 4, 2).is_err());
    assert!(array(2, 2, DISTRIBUTE_BLOCK, 5, 2).is_err());
    assert!(array(4, 1, DISTRIBUTE_BLOCK, 5, 2).is_err());
    assert!(array(2, 1, DISTRIBUTE_NONE, 5, 2).is_err());
    assert!(array(2, 1, DISTRIBUTE_CYCLIC, 0, 2).is_err());
}
