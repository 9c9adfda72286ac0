//! Making and asking datatypes (MPI-5.0 §5.1, §19.1.5, §19.1.6).
//!
//! Constructors exist in two forms, because a datatype remembers which made it: `x_c` is the large-count one. Values
//! that the caller's integer type cannot hold become MPI_UNDEFINED at the door.

use crate::base::constant::handle::DATATYPE_NULL;
use crate::base::error::Result;
use crate::base::id::DatatypeId;
use crate::fail;
use crate::mpi::attribute::Owner;
use crate::mpi::datatype::{self, Datatype, Distribution, Type};
use crate::runtime::{calls, Runtime};

/// A handle for what `make` makes of the old type.
fn derive(
    rt: &Runtime,
    old: DatatypeId,
    make: impl FnOnce(&Type) -> Result<Type>,
) -> Result<DatatypeId> {
    let old = rt.with(|w| w.types.get(old).cloned())?;
    // Outside the gate: a long list takes its time.
    let new = make(&old)?;
    rt.with(|w| Ok(w.types.insert(new)))
}

/// The first arguments' types, then the two forms of a constructor.
macro_rules! constructors {
    ($($(#[$doc:meta])* $small:ident, $large:ident ($($arg:ident: $ty:ty),*) = $make:ident;)*) => {$(
        $(#[$doc])*
        pub fn $small(rt: &Runtime, $($arg: $ty,)* oldtype: DatatypeId) -> Result<DatatypeId> {
            derive(rt, oldtype, |old| Datatype::$make($($arg,)* old, false))
        }

        /// The same as a large-count procedure.
        pub fn $large(rt: &Runtime, $($arg: $ty,)* oldtype: DatatypeId) -> Result<DatatypeId> {
            derive(rt, oldtype, |old| Datatype::$make($($arg,)* old, true))
        }
    )*};
}

constructors! {
    /// `count` elements, an extent apart.
    type_contiguous, type_contiguous_c(count: i64) = contiguous;
    /// `count` blocks, `stride` extents apart.
    type_vector, type_vector_c(count: i64, blocklength: i64, stride: i64) = vector;
    /// `count` blocks, `stride` bytes apart.
    type_create_hvector, type_create_hvector_c(count: i64, blocklength: i64, stride: i64) = hvector;
    /// Blocks at displacements in extents.
    type_indexed, type_indexed_c(blocklengths: &[i64], displacements: &[i64]) = indexed;
    /// Blocks at displacements in bytes.
    type_create_hindexed, type_create_hindexed_c(blocklengths: &[i64], displacements: &[i64]) = hindexed;
    /// Blocks of equal length at displacements in extents.
    type_create_indexed_block, type_create_indexed_block_c(blocklength: i64, displacements: &[i64]) = indexed_block;
    /// Blocks of equal length at displacements in bytes.
    type_create_hindexed_block, type_create_hindexed_block_c(blocklength: i64, displacements: &[i64]) = hindexed_block;
    /// A part of an array, in the order of MPI_ORDER_*.
    type_create_subarray, type_create_subarray_c(sizes: &[i64], subsizes: &[i64], starts: &[i64], order: i32) = subarray;
}

/// MPI_Type_create_resized. The old type comes first in the standard.
pub fn type_create_resized(
    rt: &Runtime,
    oldtype: DatatypeId,
    lb: i64,
    extent: i64,
) -> Result<DatatypeId> {
    derive(rt, oldtype, |old| Datatype::resized(old, lb, extent, false))
}

/// The same as a large-count procedure.
pub fn type_create_resized_c(
    rt: &Runtime,
    oldtype: DatatypeId,
    lb: i64,
    extent: i64,
) -> Result<DatatypeId> {
    derive(rt, oldtype, |old| Datatype::resized(old, lb, extent, true))
}

fn create_struct(
    rt: &Runtime,
    blocklengths: &[i64],
    displacements: &[i64],
    types: &[DatatypeId],
    large: bool,
) -> Result<DatatypeId> {
    let olds = rt.with(|w| {
        types
            .iter()
            .map(|&id| w.types.get(id).cloned())
            .collect::<Result<Vec<_>>>()
    })?;
    let new = Datatype::structure(blocklengths, displacements, &olds, large)?;
    rt.with(|w| Ok(w.types.insert(new)))
}

/// Blocks of different types at displacements in bytes.
pub fn type_create_struct(
    rt: &Runtime,
    blocklengths: &[i64],
    displacements: &[i64],
    types: &[DatatypeId],
) -> Result<DatatypeId> {
    create_struct(rt, blocklengths, displacements, types, false)
}

/// The same as a large-count procedure.
pub fn type_create_struct_c(
    rt: &Runtime,
    blocklengths: &[i64],
    displacements: &[i64],
    types: &[DatatypeId],
) -> Result<DatatypeId> {
    create_struct(rt, blocklengths, displacements, types, true)
}

/// What process `rank` of `size` holds of a distributed array.
pub fn type_create_darray(
    rt: &Runtime,
    size: i32,
    rank: i32,
    gsizes: &[i64],
    distribs: &[i32],
    dargs: &[i32],
    psizes: &[i32],
    order: i32,
    oldtype: DatatypeId,
) -> Result<DatatypeId> {
    let array = Distribution {
        size,
        rank,
        gsizes,
        distribs,
        dargs,
        psizes,
        order,
    };
    derive(rt, oldtype, |old| Datatype::darray(&array, old, false))
}

/// The same as a large-count procedure.
pub fn type_create_darray_c(
    rt: &Runtime,
    size: i32,
    rank: i32,
    gsizes: &[i64],
    distribs: &[i32],
    dargs: &[i32],
    psizes: &[i32],
    order: i32,
    oldtype: DatatypeId,
) -> Result<DatatypeId> {
    let array = Distribution {
        size,
        rank,
        gsizes,
        distribs,
        dargs,
        psizes,
        order,
    };
    derive(rt, oldtype, |old| Datatype::darray(&array, old, true))
}

/// MPI-1's name of MPI_Type_create_hvector.
pub fn type_hvector(
    rt: &Runtime,
    count: i64,
    blocklength: i64,
    stride: i64,
    oldtype: DatatypeId,
) -> Result<DatatypeId> {
    type_create_hvector(rt, count, blocklength, stride, oldtype)
}

/// MPI-1's name of MPI_Type_create_hindexed.
pub fn type_hindexed(
    rt: &Runtime,
    blocklengths: &[i64],
    displacements: &[i64],
    oldtype: DatatypeId,
) -> Result<DatatypeId> {
    type_create_hindexed(rt, blocklengths, displacements, oldtype)
}

/// MPI-1's name of MPI_Type_create_struct.
pub fn type_struct(
    rt: &Runtime,
    blocklengths: &[i64],
    displacements: &[i64],
    types: &[DatatypeId],
) -> Result<DatatypeId> {
    type_create_struct(rt, blocklengths, displacements, types)
}

/// Makes a type ready for communication; the handle stays.
pub fn type_commit(rt: &Runtime, datatype: DatatypeId) -> Result<()> {
    let ty = rt.with(|w| w.types.get(datatype).cloned())?;
    ty.commit();
    Ok(())
}

/// The same typemap under a new handle, committed if the old one is, with the attributes that their copy functions
/// pass on.
pub fn type_dup(rt: &Runtime, oldtype: DatatypeId) -> Result<DatatypeId> {
    let (old, attributes) = rt.with(|w| {
        let entry = w.types.entry(oldtype)?;
        Ok((entry.ty.clone(), entry.attributes.clone()))
    })?;
    let attributes = calls::copy_all(rt, &attributes, oldtype.0)?;
    let new = Datatype::dup(&old)?;
    rt.with(|w| {
        let id = w.types.insert(new);
        w.types.entry_mut(id)?.attributes = attributes;
        Ok(id)
    })
}

/// Gives up a handle after its attributes' delete functions ran; operations and types that use the type keep it.
/// Errors: MPI_ERR_TYPE for a predefined type; a delete function's, then the type stays.
pub fn type_free(rt: &Runtime, datatype: DatatypeId) -> Result<()> {
    rt.with(|w| w.types.freeable(datatype))?;
    calls::delete_from(rt, Owner::Type(datatype))?;
    rt.with(|w| w.types.free(datatype).map(|_| ()))
}

/// MPI_Type_create_f90_real; `p` or `r` may be MPI_UNDEFINED.
pub fn type_create_f90_real(rt: &Runtime, p: i32, r: i32) -> Result<DatatypeId> {
    rt.with(|w| w.types.f90_real(p, r))
}

/// MPI_Type_create_f90_complex.
pub fn type_create_f90_complex(rt: &Runtime, p: i32, r: i32) -> Result<DatatypeId> {
    rt.with(|w| w.types.f90_complex(p, r))
}

/// MPI_Type_create_f90_integer.
pub fn type_create_f90_integer(rt: &Runtime, r: i32) -> Result<DatatypeId> {
    rt.with(|w| w.types.f90_integer(r))
}

/// The Fortran type of a class with that many bytes.
pub fn type_match_size(_rt: &Runtime, typeclass: i32, size: i32) -> Result<DatatypeId> {
    datatype::match_size(typeclass, size)
}

/// The pair type for MPI_MINLOC and MPI_MAXLOC, MPI_DATATYPE_NULL if there is none.
pub fn type_get_value_index(
    rt: &Runtime,
    value_type: DatatypeId,
    index_type: DatatypeId,
) -> Result<DatatypeId> {
    rt.with(|w| w.types.value_index(value_type, index_type))
}

/// What `ask` says of a type.
fn of<R>(rt: &Runtime, datatype: DatatypeId, ask: impl FnOnce(&Datatype) -> R) -> Result<R> {
    rt.with(|w| Ok(ask(w.types.get(datatype)?)))
}

/// Bytes of data.
pub fn type_size(rt: &Runtime, datatype: DatatypeId) -> Result<i64> {
    of(rt, datatype, |ty| ty.size() as i64)
}

/// Lower bound and extent, bytes.
pub fn type_get_extent(rt: &Runtime, datatype: DatatypeId) -> Result<(i64, i64)> {
    of(rt, datatype, |ty| (ty.lb(), ty.extent()))
}

/// Lower bound and extent of the data, bytes.
pub fn type_get_true_extent(rt: &Runtime, datatype: DatatypeId) -> Result<(i64, i64)> {
    of(rt, datatype, |ty| (ty.true_lb(), ty.true_extent()))
}

/// MPI-1: the extent.
pub fn type_extent(rt: &Runtime, datatype: DatatypeId) -> Result<i64> {
    of(rt, datatype, Datatype::extent)
}

/// MPI-1: the lower bound.
pub fn type_lb(rt: &Runtime, datatype: DatatypeId) -> Result<i64> {
    of(rt, datatype, Datatype::lb)
}

/// MPI-1: the upper bound.
pub fn type_ub(rt: &Runtime, datatype: DatatypeId) -> Result<i64> {
    of(rt, datatype, Datatype::ub)
}

/// Integers, addresses and datatypes in the contents, and the combiner. Errors: MPI_ERR_TYPE for a type that a
/// large-count constructor made; its arguments do not fit.
pub fn type_get_envelope(rt: &Runtime, datatype: DatatypeId) -> Result<(i64, i64, i64, i32)> {
    let (integers, addresses, large, datatypes, combiner) = type_get_envelope_c(rt, datatype)?;
    if large > 0 {
        return only_large(large);
    }
    Ok((integers, addresses, datatypes, combiner))
}

/// Integers, addresses, large counts and datatypes in the contents, and the combiner.
pub fn type_get_envelope_c(
    rt: &Runtime,
    datatype: DatatypeId,
) -> Result<(i64, i64, i64, i64, i32)> {
    let e = of(rt, datatype, Datatype::envelope)?;
    Ok((
        e.integers as i64,
        e.addresses as i64,
        e.large_counts as i64,
        e.datatypes as i64,
        e.combiner,
    ))
}

fn only_large<T>(large: i64) -> Result<T> {
    fail!(
        Type,
        "the datatype was made with {large} large counts; only the large-count procedure tells them"
    )
}

/// Integers, addresses and datatypes that the constructor took. Derived datatypes come as new handles. Errors:
/// MPI_ERR_TYPE for a named type or one made by a large-count constructor, MPI_ERR_ARG if a maximum is too small.
pub fn type_get_contents(
    rt: &Runtime,
    datatype: DatatypeId,
    max_integers: i64,
    max_addresses: i64,
    max_datatypes: i64,
) -> Result<(Vec<i32>, Vec<i64>, Vec<DatatypeId>)> {
    let large = of(rt, datatype, Datatype::envelope)?.large_counts as i64;
    if large > 0 {
        return only_large(large);
    }
    let (integers, addresses, _, datatypes) =
        type_get_contents_c(rt, datatype, max_integers, max_addresses, 0, max_datatypes)?;
    Ok((integers, addresses, datatypes))
}

/// Integers, addresses, large counts and datatypes that the constructor took. Errors: as [`type_get_contents`], except
/// that large counts are welcome.
#[allow(clippy::type_complexity)]
pub fn type_get_contents_c(
    rt: &Runtime,
    datatype: DatatypeId,
    max_integers: i64,
    max_addresses: i64,
    max_large_counts: i64,
    max_datatypes: i64,
) -> Result<(Vec<i32>, Vec<i64>, Vec<i64>, Vec<DatatypeId>)> {
    rt.with(|w| {
        let entry = w.types.entry(datatype)?;
        if entry.ty.is_named() {
            fail!(Type, "{} is a named type: it has no contents", entry.name);
        }
        let contents = entry.ty.contents();
        for (what, max, have) in [
            ("integers", max_integers, contents.integers.len()),
            ("addresses", max_addresses, contents.addresses.len()),
            (
                "large counts",
                max_large_counts,
                contents.large_counts.len(),
            ),
            ("datatypes", max_datatypes, contents.datatypes.len()),
        ] {
            if max < have as i64 {
                fail!(Arg, "room for {max} {what}, the datatype has {have}");
            }
        }
        let datatypes = contents.datatypes.iter().map(|ty| w.types.handle(ty));
        let datatypes = datatypes.collect();
        Ok((
            contents.integers,
            contents.addresses,
            contents.large_counts,
            datatypes,
        ))
    })
}

/// Names a datatype; a predefined one too.
pub fn type_set_name(rt: &Runtime, datatype: DatatypeId, name: &str) -> Result<()> {
    rt.with(|w| {
        w.types.entry_mut(datatype)?.name = name.to_string().into();
        Ok(())
    })
}

/// The name, empty if none was given; MPI_DATATYPE_NULL has one too.
pub fn type_get_name(rt: &Runtime, datatype: DatatypeId) -> Result<String> {
    if datatype == DATATYPE_NULL {
        return Ok("MPI_DATATYPE_NULL".to_string());
    }
    rt.with(|w| Ok(w.types.entry(datatype)?.name.to_string()))
}
