//! What a datatype was made of (MPI-5.0 §5.1.13): the integers among the constructor's arguments include numbers that
//! the ABIs have differently.

use crate::abi::convert::*;
use crate::abi::entry;
use crate::abi::kinds::{Abi, Handle};
use crate::base::constant::{COMBINER_DARRAY, COMBINER_SUBARRAY};
use crate::runtime::calls;
use std::ffi::c_int;

/// MPI_Type_get_envelope.
///
/// # Safety
/// The pointers are null or valid.
pub unsafe fn type_get_envelope<A: Abi>(
    datatype: A::Datatype,
    integers: *mut c_int,
    addresses: *mut c_int,
    datatypes: *mut c_int,
    combiner: *mut c_int,
) -> c_int {
    entry::call::<A>("MPI_Type_get_envelope", of_none, |rt| {
        need(integers, "num_integers")?;
        need(addresses, "num_addresses")?;
        need(datatypes, "num_datatypes")?;
        need(combiner, "combiner")?;
        let (i, a, d, how) = calls::type_get_envelope(rt, datatype.id())?;
        // SAFETY: not null, so valid by contract.
        unsafe {
            integers.write(small(i));
            addresses.write(small(a));
            datatypes.write(small(d));
            combiner.write(number_out(A::COMBINER, how));
        }
        Ok(())
    })
}

/// MPI_Type_get_envelope_c.
///
/// # Safety
/// The pointers are null or valid.
pub unsafe fn type_get_envelope_c<A: Abi>(
    datatype: A::Datatype,
    integers: *mut i64,
    addresses: *mut i64,
    large_counts: *mut i64,
    datatypes: *mut i64,
    combiner: *mut c_int,
) -> c_int {
    entry::call::<A>("MPI_Type_get_envelope_c", of_none, |rt| {
        need(integers, "num_integers")?;
        need(addresses, "num_addresses")?;
        need(large_counts, "num_large_counts")?;
        need(datatypes, "num_datatypes")?;
        need(combiner, "combiner")?;
        let (i, a, l, d, how) = calls::type_get_envelope_c(rt, datatype.id())?;
        // SAFETY: not null, so valid by contract.
        unsafe {
            integers.write(i);
            addresses.write(a);
            large_counts.write(l);
            datatypes.write(d);
            combiner.write(number_out(A::COMBINER, how));
        }
        Ok(())
    })
}

/// Puts orders and distributions among the integers into the ABI's numbers.
fn translate<A: Abi>(combiner: c_int, integers: &mut [c_int]) {
    if !matches!(combiner, COMBINER_SUBARRAY | COMBINER_DARRAY) {
        return;
    }
    if let Some(order) = integers.last_mut() {
        *order = number_out(A::ORDER, *order);
    }
    if combiner == COMBINER_DARRAY && integers.len() > 3 {
        // size, rank, ndims; then, except in the large-count form, the global sizes; distributions, their arguments,
        // the process grid; order.
        let dims = integers[2].max(0) as usize;
        let first = integers.len().saturating_sub(1 + 3 * dims);
        let (distributions, arguments) = integers[first..].split_at_mut(dims);
        for v in distributions {
            *v = number_out(A::DISTRIBUTION, *v);
        }
        for v in &mut arguments[..dims] {
            *v = number_out(A::DARG, *v);
        }
    }
}

/// MPI_Type_get_contents.
///
/// # Safety
/// The arrays are null or valid for as many entries as the maxima say.
pub unsafe fn type_get_contents<A: Abi>(
    datatype: A::Datatype,
    max_integers: c_int,
    max_addresses: c_int,
    max_datatypes: c_int,
    integers: *mut c_int,
    addresses: *mut i64,
    datatypes: *mut A::Datatype,
) -> c_int {
    entry::call::<A>("MPI_Type_get_contents", of_none, |rt| {
        let (mi, ma, md) = (
            length_in(max_integers, "max_integers")?,
            length_in(max_addresses, "max_addresses")?,
            length_in(max_datatypes, "max_datatypes")?,
        );
        let combiner = calls::type_get_envelope(rt, datatype.id())?.3;
        let (mut i, a, d) =
            calls::type_get_contents(rt, datatype.id(), mi as i64, ma as i64, md as i64)?;
        translate::<A>(combiner, &mut i);
        need_array(integers, i.len(), "array_of_integers")?;
        need_array(addresses, a.len(), "array_of_addresses")?;
        need_array(datatypes, d.len(), "array_of_datatypes")?;
        // SAFETY: not null where anything is written, so valid by contract.
        unsafe {
            fill(integers, mi, i, |v| v);
            fill(addresses, ma, a, |v| v);
            fill(datatypes, md, d, Handle::of);
        }
        Ok(())
    })
}

/// MPI_Type_get_contents_c.
///
/// # Safety
/// As [`type_get_contents`].
pub unsafe fn type_get_contents_c<A: Abi>(
    datatype: A::Datatype,
    max_integers: i64,
    max_addresses: i64,
    max_large_counts: i64,
    max_datatypes: i64,
    integers: *mut c_int,
    addresses: *mut i64,
    large_counts: *mut i64,
    datatypes: *mut A::Datatype,
) -> c_int {
    entry::call::<A>("MPI_Type_get_contents_c", of_none, |rt| {
        let (mi, ma, ml, md) = (
            length_in(max_integers, "max_integers")?,
            length_in(max_addresses, "max_addresses")?,
            length_in(max_large_counts, "max_large_counts")?,
            length_in(max_datatypes, "max_datatypes")?,
        );
        let combiner = calls::type_get_envelope_c(rt, datatype.id())?.4;
        let (mut i, a, l, d) = calls::type_get_contents_c(
            rt,
            datatype.id(),
            max_integers,
            max_addresses,
            max_large_counts,
            max_datatypes,
        )?;
        translate::<A>(combiner, &mut i);
        need_array(integers, i.len(), "array_of_integers")?;
        need_array(addresses, a.len(), "array_of_addresses")?;
        need_array(large_counts, l.len(), "array_of_large_counts")?;
        need_array(datatypes, d.len(), "array_of_datatypes")?;
        // SAFETY: not null where anything is written, so valid by contract.
        unsafe {
            fill(integers, mi, i, |v| v);
            fill(addresses, ma, a, |v| v);
            fill(large_counts, ml, l, |v| v);
            fill(datatypes, md, d, Handle::of);
        }
        Ok(())
    })
}
