//! The standard's examples, bounds, contents, and sizes no memory could hold.

use super::super::*;
use super::{named, offsets, packed};
use crate::base::constant::handle::*;
use crate::base::constant::*;
use crate::base::error::Class;

/// {(double, 0), (char, 8)}: the type of most of the standard's examples.
fn double_char() -> Type {
    Datatype::structure(&[1, 1], &[0, 8], &[named(DOUBLE), named(CHAR)], false).unwrap()
}

#[test]
fn example_5_1_the_extent_is_rounded() {
    let ty = double_char();
    assert_eq!((ty.size(), ty.lb(), ty.extent()), (9, 0, 16));
    assert_eq!((ty.true_lb(), ty.true_extent()), (0, 9));
    let three = Datatype::contiguous(3, &ty, false).unwrap();
    assert_eq!(
        (three.size(), three.extent(), three.true_extent()),
        (27, 48, 41)
    );
}

#[test]
fn example_vector_of_struct() {
    // count 2, blocklength 3, stride 4 of an extent of 16.
    let ty = Datatype::vector(2, 3, 4, &double_char(), false).unwrap();
    let expected: Vec<i64> = [0, 16, 32, 64, 80, 96]
        .iter()
        .flat_map(|at| (0..9).map(move |b| at + b))
        .collect();
    assert_eq!(offsets(&ty, 1, 0, 112), expected);
    let back = Datatype::vector(3, 1, -2, &double_char(), false).unwrap();
    assert_eq!((back.lb(), back.ub(), back.true_lb()), (-64, 16, -64));
}

#[test]
fn example_indexed_and_struct() {
    let ty = Datatype::indexed(&[3, 1], &[4, 0], &double_char(), false).unwrap();
    let starts: Vec<i64> = offsets(&ty, 1, 0, 112).into_iter().step_by(9).collect();
    assert_eq!(starts, [64, 80, 96, 0]);
    // {(float,0),(float,4),(double,16),(char,24),(char,26),(char,27),(char,28)}
    let ty = Datatype::structure(
        &[2, 1, 3],
        &[0, 16, 26],
        &[named(FLOAT), double_char(), named(CHAR)],
        false,
    )
    .unwrap();
    let mut expected: Vec<i64> = (0..8).collect();
    expected.extend(16..25);
    expected.extend(26..29);
    assert_eq!(offsets(&ty, 1, 0, 32), expected);
    assert_eq!(ty.extent(), 32);
}

#[test]
fn markers_and_resized_stick() {
    let types = [named(LB), named(INT), named(UB)];
    let ty = Datatype::structure(&[1, 1, 1], &[-3, 0, 6], &types, false).unwrap();
    assert_eq!((ty.lb(), ty.ub(), ty.size()), (-3, 6, 4));
    let two = Datatype::contiguous(2, &ty, false).unwrap();
    assert_eq!((two.lb(), two.ub()), (-3, 15));
    let ty = Datatype::structure(&[1], &[10], &[named(LB)], false).unwrap();
    assert_eq!((ty.lb(), ty.ub(), ty.extent()), (10, 0, -10));
    // Bounds of a member win over data outside of them.
    let resized = Datatype::resized(&named(INT), 0, 7, false).unwrap();
    let ty = Datatype::structure(&[1, 1], &[8, 0], &[resized, named(DOUBLE)], false).unwrap();
    assert_eq!((ty.lb(), ty.extent()), (8, 7));
    // Erased and set anew.
    let ty = Datatype::resized(&ty, -2, 20, false).unwrap();
    assert_eq!(
        (ty.lb(), ty.extent(), ty.true_lb(), ty.true_extent()),
        (-2, 20, 0, 12)
    );
    let back = Datatype::resized(&named(INT), 4, -12, false).unwrap();
    let three = Datatype::contiguous(3, &back, false).unwrap();
    assert_eq!((three.lb(), three.extent()), (-20, 12));
    assert_eq!((three.true_lb(), three.true_extent()), (-24, 28));
}

#[test]
fn nothing_at_all() {
    let int = named(INT);
    for ty in [
        Datatype::contiguous(0, &int, false),
        Datatype::vector(0, 5, 7, &int, false),
        Datatype::hvector(5, 0, 7, &int, false),
        Datatype::indexed(&[], &[], &int, false),
        Datatype::hindexed(&[0, 0], &[100, -9], &int, false),
        Datatype::indexed_block(0, &[1, 2], &int, false),
        Datatype::structure(&[], &[], &[], false),
    ] {
        let ty = ty.unwrap();
        assert_eq!(
            (ty.size(), ty.lb(), ty.extent(), ty.true_extent()),
            (0, 0, 0, 0)
        );
        assert_eq!(ty.dense(5), Some(0));
        assert!(packed(&ty, 3, &[1, 2], 0).is_empty());
        let ty = Datatype::contiguous(3, &ty, false).unwrap();
        assert_eq!((ty.size(), ty.extent()), (0, 0));
    }
    // A block of length zero does not count, wherever it lies.
    let ty = Datatype::structure(&[1, 0], &[0, 1000], &[int.clone(), int.clone()], false).unwrap();
    assert_eq!((ty.extent(), ty.dense(9)), (4, Some(0)));
}

#[test]
fn wrong_arguments_are_refused() {
    let int = named(INT);
    let class = |ty: crate::base::error::Result<Type>| ty.unwrap_err().class;
    assert_eq!(class(Datatype::contiguous(-1, &int, false)), Class::Count);
    assert_eq!(class(Datatype::vector(1, -1, 1, &int, false)), Class::Arg);
    assert_eq!(
        class(Datatype::indexed(&[1, -2], &[0, 0], &int, false)),
        Class::Arg
    );
    let huge = Datatype::contiguous(i64::MAX / 4, &int, false).unwrap();
    assert_eq!(class(Datatype::contiguous(3, &huge, false)), Class::Count);
    assert_eq!(
        class(Datatype::vector(2, 1, i64::MAX / 2, &int, false)),
        Class::Arg
    );
}

#[test]
fn huge_types_cost_nothing() {
    let int = named(INT);
    let row = Datatype::vector(1 << 30, 1, 2, &int, true).unwrap();
    let matrix = Datatype::hvector(1 << 20, 1, 1 << 34, &row, true).unwrap();
    matrix.commit();
    assert_eq!(matrix.size(), 1 << 52);
    assert_eq!(matrix.count_of(1 << 53), Some(2));
    assert_eq!(matrix.elements_of((1 << 52) + 12), Some((1 << 50) + 3));
    assert_eq!(matrix.elements_of((1 << 52) + 13), None);
    // The last bytes of the stream, where only the end of the memory exists.
    let end = matrix.true_extent();
    let memory = 0xa1b2_c3d4u32.to_ne_bytes();
    let base = memory.as_ptr().wrapping_offset(4 - end as isize);
    let mut out = [0; 9];
    // SAFETY: the last four bytes of the typemap are `memory`, and only those are asked for.
    let n = unsafe { pack(&matrix, 1, base, (1 << 52) - 4, &mut out) };
    assert_eq!((n, &out[..4]), (4, &memory[..]));
}

#[test]
fn indexed_million_finds_its_middle() {
    let n = 1 << 20;
    let places: Vec<i64> = (0..n).map(|i| i * 3 + (i & 1)).collect();
    let ty = Datatype::indexed_block(1, &places, &named(SHORT), false).unwrap();
    let memory: Vec<u8> = (0..n * 6 + 8).map(|i| (i >> 3) as u8 ^ i as u8).collect();
    let all = packed(&ty, 1, &memory, 0);
    let mut part = [0; 7];
    // SAFETY: `memory` holds the whole type.
    unsafe { pack(&ty, 1, memory.as_ptr(), 1_000_001, &mut part) };
    assert_eq!(part, all[1_000_001..1_000_008]);
}

#[test]
fn predefined_types() {
    let types = Types::new();
    for (id, size, extent) in [
        (DOUBLE_INT, 12, 16),
        (LONG_INT, 12, 16),
        (FLOAT_INT, 8, 8),
        (SHORT_INT, 6, 8),
        (LONG_DOUBLE_INT, 20, 32),
        (TWO_INT, 8, 8),
        (LONG_DOUBLE, 16, 16),
        (C_LONG_DOUBLE_COMPLEX, 32, 32),
        (WCHAR, 4, 4),
        (AINT, 8, 8),
        (LOGICAL, 4, 4),
        (REAL2, 2, 2),
        (COMPLEX32, 32, 32),
        (LB, 0, 0),
    ] {
        let ty = types.committed(id).unwrap();
        assert_eq!((ty.size(), ty.extent()), (size, extent), "{id:?}");
        assert_eq!((ty.id(), ty.predefined()), (Some(id), Some(id)));
        assert!(ty.is_named());
    }
    assert_eq!(types.get(INT).unwrap().dense(1 << 40), Some(0));
    assert_eq!(types.get(DOUBLE_INT).unwrap().dense(1), Some(0));
    assert_eq!(types.get(DOUBLE_INT).unwrap().dense(2), None);
    assert_eq!(types.get(DATATYPE_NULL).unwrap_err().class, Class::Type);
}

#[test]
fn pairs_and_structs_have_two_elements() {
    let pair = named(DOUBLE_INT);
    assert_eq!(pair.elements_of(12 + 8), Some(3));
    assert_eq!(pair.elements_of(12 + 9), None);
    assert_eq!((pair.count_of(20), pair.elements()), (None, 2));
    assert_eq!(named(TWO_INT).elements_of(8), Some(1));
}

#[test]
fn handles() {
    let mut types = Types::new();
    let ty = Datatype::contiguous(2, types.get(INT).unwrap(), false).unwrap();
    let id = types.insert(ty);
    assert_eq!(types.committed(id).unwrap_err().class, Class::Type);
    types.get(id).unwrap().commit();
    let pending = types.committed(id).unwrap().clone();
    assert!(types.free(id).is_ok());
    assert_eq!(types.get(id).unwrap_err().class, Class::Type);
    assert_eq!(pending.size(), 8);
    assert_eq!(types.free(INT).err().unwrap().class, Class::Type);
    assert_eq!(types.free(DATATYPE_NULL).err().unwrap().class, Class::Type);
    assert_eq!(types.entry(LONG_LONG).unwrap().name, "MPI_LONG_LONG_INT");
}

#[test]
fn fortran_kinds() {
    let mut types = Types::new();
    let single = types.f90_real(6, UNDEFINED).unwrap();
    assert_eq!(types.f90_real(6, UNDEFINED).unwrap(), single);
    assert_ne!(types.f90_real(5, UNDEFINED).unwrap(), single);
    assert!(types.free(single).is_err());
    let ty = types.committed(single).unwrap();
    assert_eq!((ty.id(), ty.size()), (Some(REAL), 4));
    let envelope = ty.envelope();
    assert_eq!((envelope.integers, envelope.datatypes), (2, 0));
    assert_eq!(envelope.combiner, COMBINER_F90_REAL);
    assert_eq!(ty.contents().integers, [6, UNDEFINED]);
    let double = types.f90_real(UNDEFINED, 300).unwrap();
    assert_eq!(types.get(double).unwrap().id(), Some(DOUBLE_PRECISION));
    let complex = types.f90_complex(30, UNDEFINED).unwrap();
    assert_eq!(types.get(complex).unwrap().size(), 32);
    let integer = types.f90_integer(10).unwrap();
    assert_eq!(types.get(integer).unwrap().id(), Some(INTEGER8));
    assert_eq!(types.get(integer).unwrap().contents().integers, [10]);
    assert_eq!(types.f90_real(34, 10).unwrap_err().class, Class::Arg);
    assert_eq!(
        types.f90_real(UNDEFINED, UNDEFINED).unwrap_err().class,
        Class::Arg
    );
    assert_eq!(types.f90_integer(39).unwrap_err().class, Class::Arg);
    assert_eq!(match_size(TYPECLASS_REAL, 8).unwrap(), REAL8);
    assert_eq!(
        match_size(TYPECLASS_INTEGER, 3).unwrap_err().class,
        Class::Arg
    );
}

#[test]
fn value_index_types() {
    let types = Types::new();
    assert_eq!(types.value_index(DOUBLE, INT).unwrap(), DOUBLE_INT);
    assert_eq!(types.value_index(INT, INT).unwrap(), TWO_INT);
    assert_eq!(types.value_index(FLOAT, FLOAT).unwrap(), DATATYPE_NULL);
    let error = types.value_index(DATATYPE_NULL, INT).unwrap_err();
    assert_eq!(error.class, Class::Type);
}

/// (integers, addresses, large counts, datatypes) of a constructor's contents, and its combiner.
fn counts(ty: &Type) -> (usize, usize, usize, usize, i32) {
    let (e, c) = (ty.envelope(), ty.contents());
    let lengths = (c.integers.len(), c.addresses.len(), c.large_counts.len());
    assert_eq!(lengths, (e.integers, e.addresses, e.large_counts));
    assert_eq!(c.datatypes.len(), e.datatypes);
    (
        e.integers,
        e.addresses,
        e.large_counts,
        e.datatypes,
        e.combiner,
    )
}

#[test]
fn contents_in_both_forms() {
    let int = named(INT);
    let make = |large: bool| {
        [
            Datatype::contiguous(2, &int, large),
            Datatype::vector(2, 3, 4, &int, large),
            Datatype::hvector(2, 3, 40, &int, large),
            Datatype::indexed(&[1, 2], &[0, 5], &int, large),
            Datatype::hindexed(&[1, 2], &[0, 50], &int, large),
            Datatype::indexed_block(2, &[0, 5, 9], &int, large),
            Datatype::hindexed_block(2, &[0, 50, 90], &int, large),
            Datatype::structure(&[1, 2], &[0, 50], &[int.clone(), int.clone()], large),
            Datatype::subarray(&[4, 4], &[2, 2], &[1, 1], ORDER_C, &int, large),
            Datatype::resized(&int, -4, 12, large),
        ]
        .map(|ty| ty.unwrap())
    };
    let small: Vec<_> = make(false).iter().map(counts).collect();
    let expected = [
        (1, 0, 0, 1, COMBINER_CONTIGUOUS),
        (3, 0, 0, 1, COMBINER_VECTOR),
        (2, 1, 0, 1, COMBINER_HVECTOR),
        (5, 0, 0, 1, COMBINER_INDEXED),
        (3, 2, 0, 1, COMBINER_HINDEXED),
        (5, 0, 0, 1, COMBINER_INDEXED_BLOCK),
        (2, 3, 0, 1, COMBINER_HINDEXED_BLOCK),
        (3, 2, 0, 2, COMBINER_STRUCT),
        (8, 0, 0, 1, COMBINER_SUBARRAY),
        (0, 2, 0, 1, COMBINER_RESIZED),
    ];
    assert_eq!(small, expected);
    let large: Vec<_> = make(true).iter().map(counts).collect();
    let expected = [
        (0, 0, 1, 1, COMBINER_CONTIGUOUS),
        (0, 0, 3, 1, COMBINER_VECTOR),
        (0, 0, 3, 1, COMBINER_HVECTOR),
        (0, 0, 5, 1, COMBINER_INDEXED),
        (0, 0, 5, 1, COMBINER_HINDEXED),
        (0, 0, 5, 1, COMBINER_INDEXED_BLOCK),
        (0, 0, 5, 1, COMBINER_HINDEXED_BLOCK),
        (0, 0, 5, 2, COMBINER_STRUCT),
        (2, 0, 6, 1, COMBINER_SUBARRAY),
        (0, 0, 2, 1, COMBINER_RESIZED),
    ];
    assert_eq!(large, expected);
    let [_, vector, hvector, indexed, .., subarray, resized] = make(false);
    assert_eq!(vector.contents().integers, [2, 3, 4]);
    assert_eq!(hvector.contents().addresses, [40]);
    assert_eq!(indexed.contents().integers, [2, 1, 2, 0, 5]);
    assert_eq!(subarray.contents().integers, [2, 4, 4, 2, 2, 1, 1, ORDER_C]);
    assert_eq!(resized.contents().addresses, [-4, 12]);
    let dup = Datatype::dup(&vector).unwrap();
    assert_eq!(counts(&dup), (0, 0, 0, 1, COMBINER_DUP));
    let array = Distribution {
        size: 2,
        rank: 1,
        gsizes: &[4, 6],
        distribs: &[DISTRIBUTE_BLOCK, DISTRIBUTE_NONE],
        dargs: &[DISTRIBUTE_DFLT_DARG; 2],
        psizes: &[2, 1],
        order: ORDER_FORTRAN,
    };
    let ty = Datatype::darray(&array, &int, false).unwrap();
    assert_eq!(counts(&ty), (12, 0, 0, 1, COMBINER_DARRAY));
    assert_eq!(ty.contents().integers[..5], [2, 1, 2, 4, 6]);
    assert_eq!(ty.contents().integers[11], ORDER_FORTRAN);
    let ty = Datatype::darray(&array, &int, true).unwrap();
    assert_eq!(counts(&ty), (10, 0, 2, 1, COMBINER_DARRAY));
    assert_eq!(named(INT).envelope().combiner, COMBINER_NAMED);
}
