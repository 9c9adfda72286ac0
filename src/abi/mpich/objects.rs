//! Data that programs read: special addresses that are values of variables, and the attribute copy function.
//!
//! A program may hold its own copy of a variable (copy relocations), so the library compares with the variable's value,
//! which both share, never with its address.

use std::ffi::{c_int, c_void};

/// A pointer in a variable of C.
#[repr(transparent)]
pub struct Pointer(*const c_void);

// SAFETY: never written after the program was loaded.
unsafe impl Sync for Pointer {}

static PLACES: [c_int; 2] = [0; 2];
static F_PLACES: [c_int; 10] = [0; 10];
static ALL_HANDLES: c_int = 0;

const fn place(array: &'static [c_int], index: usize) -> Pointer {
    // SAFETY: used with indices inside the arrays above.
    Pointer(unsafe { array.as_ptr().add(index) }.cast())
}

#[no_mangle]
pub static mut MPI_UNWEIGHTED: Pointer = place(&PLACES, 0);
#[no_mangle]
pub static mut MPI_WEIGHTS_EMPTY: Pointer = place(&PLACES, 1);
#[no_mangle]
pub static mut MPI_F_STATUS_IGNORE: Pointer = place(&F_PLACES, 0);
#[no_mangle]
pub static mut MPI_F_STATUSES_IGNORE: Pointer = place(&F_PLACES, 5);
#[no_mangle]
pub static mut MPI_F08_STATUS_IGNORE: Pointer =
    Pointer((&raw const MPIR_F08_MPI_STATUS_IGNORE_OBJ).cast());
#[no_mangle]
pub static mut MPI_F08_STATUSES_IGNORE: Pointer =
    Pointer((&raw const MPIR_F08_MPI_STATUSES_IGNORE_OBJ).cast());
#[no_mangle]
pub static mut MPIR_F08_MPI_STATUS_IGNORE_OBJ: [c_int; 5] = [0; 5];
#[no_mangle]
pub static mut MPIR_F08_MPI_STATUSES_IGNORE_OBJ: [c_int; 5] = [0; 5];
#[no_mangle]
pub static mut MPI_T_PVAR_ALL_HANDLES: Pointer = Pointer((&raw const ALL_HANDLES).cast());

fn read(variable: *const Pointer) -> *const c_void {
    // SAFETY: one of the variables above, which nobody writes; volatile, so that the compiler does not take the
    // initial value for granted: the program's copy is the variable.
    unsafe { (*variable).0 }
}

pub fn unweighted() -> *const c_int {
    read(&raw const MPI_UNWEIGHTED).cast()
}

pub fn weights_empty() -> *const c_int {
    read(&raw const MPI_WEIGHTS_EMPTY).cast()
}

pub fn is_fortran_ignore(status: *const c_void) -> bool {
    status.is_null()
        || status == read(&raw const MPI_F_STATUS_IGNORE)
        || status == read(&raw const MPI_F_STATUSES_IGNORE)
        || status == read(&raw const MPI_F08_STATUS_IGNORE)
        || status == read(&raw const MPI_F08_STATUSES_IGNORE)
}

/// MPI_COMM_DUP_FN and its kin: copies the attribute's value.
///
/// # Safety
/// The last two pointers are valid: the contract of attribute copy functions.
#[no_mangle]
pub unsafe extern "C" fn MPIR_Dup_fn(
    _object: c_int,
    _keyval: c_int,
    _extra_state: *mut c_void,
    value_in: *mut c_void,
    value_out: *mut c_void,
    flag: *mut c_int,
) -> c_int {
    // SAFETY: the caller's contract.
    unsafe {
        value_out.cast::<*mut c_void>().write(value_in);
        flag.write(1);
    }
    0
}

pub fn dup_fn() -> *const c_void {
    MPIR_Dup_fn as *const c_void
}
