//! Statuses: their fields, and Fortran's forms of them (MPI-5.0 §3.2.5, §19.3.5).

use crate::abi::convert::*;
use crate::abi::entry;
use crate::abi::kinds::{Abi, StatusFields, StatusLayout};
use crate::base::error::Result;
use crate::fail;
use std::ffi::{c_int, c_void};

/// # Safety
/// `status` is MPI_STATUS_IGNORE, null or valid; `place` is null or valid.
unsafe fn get<A: Abi>(
    name: &'static str,
    status: *const A::Status,
    place: *mut c_int,
    field: fn(&StatusFields) -> c_int,
) -> c_int {
    entry::anytime::<A>(name, of_none, |_| {
        need(place, "the result")?;
        real::<A>(status)?;
        // SAFETY: neither is null, so valid by contract.
        unsafe { place.write(field(&(*status).get())) };
        Ok(())
    })
}

/// # Safety
/// `status` is MPI_STATUS_IGNORE, null or valid.
unsafe fn set<A: Abi>(
    name: &'static str,
    status: *mut A::Status,
    change: impl FnOnce(&mut StatusFields),
) -> c_int {
    entry::anytime::<A>(name, of_none, |_| {
        real::<A>(status)?;
        // SAFETY: not null, so valid by contract.
        let status = unsafe { &mut *status };
        let mut fields = status.get();
        change(&mut fields);
        status.set(&fields, true);
        Ok(())
    })
}

fn real<A: Abi>(status: *const A::Status) -> Result<()> {
    if status.is_null() || is_ignore::<A>(status) {
        fail!(Arg, "status is MPI_STATUS_IGNORE or a null pointer");
    }
    Ok(())
}

macro_rules! fields {
    ($($name:literal, $get:ident, $set:ident, $field:ident;)*) => {$(
        #[doc = concat!("MPI_Status_get_", $name, ".")]
        ///
        /// # Safety
        /// `status` is MPI_STATUS_IGNORE, null or valid; `value` is null or valid.
        pub unsafe fn $get<A: Abi>(status: *const A::Status, value: *mut c_int) -> c_int {
            // SAFETY: the caller's contract is the same.
            unsafe { get::<A>(concat!("MPI_Status_get_", $name), status, value, |fields| fields.$field) }
        }

        #[doc = concat!("MPI_Status_set_", $name, ".")]
        ///
        /// # Safety
        /// `status` is MPI_STATUS_IGNORE, null or valid.
        pub unsafe fn $set<A: Abi>(status: *mut A::Status, value: c_int) -> c_int {
            // SAFETY: the caller's contract is the same.
            unsafe { set::<A>(concat!("MPI_Status_set_", $name), status, |fields| fields.$field = value) }
        }
    )*};
}

fields! {
    "error", status_get_error, status_set_error, error;
    "source", status_get_source, status_set_source, source;
    "tag", status_get_tag, status_set_tag, tag;
}

/// MPI_Status_set_cancelled.
///
/// # Safety
/// `status` is MPI_STATUS_IGNORE, null or valid.
pub unsafe fn status_set_cancelled<A: Abi>(status: *mut A::Status, flag: c_int) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe {
        set::<A>("MPI_Status_set_cancelled", status, |fields| {
            fields.cancelled = flag != 0
        })
    }
}

/// A status has the same layout in C and as an array of Fortran integers, and so has MPI_F08_status.
///
/// # Safety
/// Both are null or valid statuses.
unsafe fn copy<A: Abi>(name: &'static str, from: *const c_void, to: *mut c_void) -> c_int {
    entry::anytime::<A>(name, of_none, |_| {
        if A::is_fortran_ignore(from) || is_ignore::<A>(from.cast()) || from.is_null() {
            fail!(Arg, "the status is MPI_STATUS_IGNORE or a null pointer");
        }
        need(to, "the result")?;
        // SAFETY: neither is null, so both are valid for a status by contract; they may be the same.
        unsafe { std::ptr::copy(from.cast::<A::Status>(), to.cast::<A::Status>(), 1) };
        Ok(())
    })
}

/// MPI_Status_c2f.
///
/// # Safety
/// Both are null or valid.
pub unsafe fn status_c2f<A: Abi>(from: *const A::Status, to: *mut c_int) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { copy::<A>("MPI_Status_c2f", from.cast(), to.cast()) }
}

/// MPI_Status_f2c.
///
/// # Safety
/// Both are null or valid.
pub unsafe fn status_f2c<A: Abi>(from: *const c_int, to: *mut A::Status) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { copy::<A>("MPI_Status_f2c", from.cast(), to.cast()) }
}

/// MPI_Status_c2f08.
///
/// # Safety
/// Both are null or valid.
pub unsafe fn status_c2f08<A: Abi>(from: *const A::Status, to: *mut c_void) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { copy::<A>("MPI_Status_c2f08", from.cast(), to) }
}

/// MPI_Status_f082c.
///
/// # Safety
/// Both are null or valid.
pub unsafe fn status_f082c<A: Abi>(from: *const c_void, to: *mut A::Status) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { copy::<A>("MPI_Status_f082c", from, to.cast()) }
}

/// MPI_Status_f082f.
///
/// # Safety
/// Both are null or valid.
pub unsafe fn status_f082f<A: Abi>(from: *const c_void, to: *mut c_int) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { copy::<A>("MPI_Status_f082f", from, to.cast()) }
}

/// MPI_Status_f2f08.
///
/// # Safety
/// Both are null or valid.
pub unsafe fn status_f2f08<A: Abi>(from: *const c_int, to: *mut c_void) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { copy::<A>("MPI_Status_f2f08", from.cast(), to) }
}
