//! Open MPI's data: the objects that predefined handles point to, and functions that are constants.

#![allow(non_upper_case_globals)]

use mayfly::abi::kinds::NONE;
use std::ffi::{c_int, c_void};

/// What kind of handle points to an object.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    Comm = 1,
    Group,
    Datatype,
    Op,
    Request,
    Message,
    Info,
    Errhandler,
    Win,
    File,
    Session,
}

/// Begins every object: "Mayfly" and a version.
const MAGIC: u64 = 0x4d61_7966_6c79_0001;

/// A predefined object, as large as Open MPI's: `WORDS` follow the first 16 bytes.
#[repr(C, align(16))]
pub struct Object<const WORDS: usize> {
    magic: u64,
    kind: Kind,
    id: u32,
    rest: [u64; WORDS],
}

impl<const WORDS: usize> Object<WORDS> {
    const fn new(kind: Kind, id: u32) -> Self {
        Object {
            magic: MAGIC,
            kind,
            id,
            rest: [0; WORDS],
        }
    }
}

/// The engine's id in the object at `address`.
///
/// # Safety
/// `address` is readable: a handle that the program got from mpi.h's constants.
#[inline(always)]
pub unsafe fn id_at(address: *const c_void, kind: Kind) -> u32 {
    let object = address.cast::<Object<0>>();
    // SAFETY: readable by contract; read as plain words because a program may pass anything.
    let (magic, word, id) = unsafe {
        (
            (&raw const (*object).magic).read_unaligned(),
            (&raw const (*object).kind).cast::<u32>().read_unaligned(),
            (&raw const (*object).id).read_unaligned(),
        )
    };
    match magic == MAGIC && word == kind as u32 {
        true => id,
        false => NONE,
    }
}

include!(concat!(env!("OUT_DIR"), "/objects.rs"));

/// A pointer in a variable of C.
#[repr(transparent)]
pub struct Pointer(*const c_void);

// SAFETY: never written after the program was loaded.
unsafe impl Sync for Pointer {}

static F_PLACES: [c_int; 12] = [0; 12];

const fn place(index: usize) -> Pointer {
    // SAFETY: used with indices inside the array above.
    Pointer(unsafe { F_PLACES.as_ptr().add(index) }.cast())
}

#[no_mangle]
pub static mut MPI_F_STATUS_IGNORE: Pointer = place(0);
#[no_mangle]
pub static mut MPI_F_STATUSES_IGNORE: Pointer = place(6);
#[no_mangle]
pub static mut MPI_F08_STATUS_IGNORE: Pointer = place(0);
#[no_mangle]
pub static mut MPI_F08_STATUSES_IGNORE: Pointer = place(6);

fn read(variable: *const Pointer) -> *const c_void {
    // SAFETY: one of the variables above, which nobody writes.
    unsafe { (*variable).0 }
}

pub fn is_fortran_ignore(status: *const c_void) -> bool {
    status.is_null()
        || status == read(&raw const MPI_F_STATUS_IGNORE)
        || status == read(&raw const MPI_F_STATUSES_IGNORE)
        || status == read(&raw const MPI_F08_STATUS_IGNORE)
        || status == read(&raw const MPI_F08_STATUSES_IGNORE)
}

macro_rules! constant_functions {
    (dup: $($dup:ident)*; null_copy: $($copy:ident)*; null_delete: $($delete:ident)*;) => {
        $(
            /// Copies the attribute's value.
            ///
            /// # Safety
            /// The contract of attribute copy functions: the last two pointers are valid.
            #[no_mangle]
            #[allow(non_snake_case)]
            pub unsafe extern "C" fn $dup(
                _object: *mut c_void,
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
        )*
        $(
            /// Copies nothing.
            ///
            /// # Safety
            /// The contract of attribute copy functions: `flag` is valid.
            #[no_mangle]
            #[allow(non_snake_case)]
            pub unsafe extern "C" fn $copy(
                _object: *mut c_void,
                _keyval: c_int,
                _extra_state: *mut c_void,
                _value_in: *mut c_void,
                _value_out: *mut c_void,
                flag: *mut c_int,
            ) -> c_int {
                // SAFETY: the caller's contract.
                unsafe { flag.write(0) };
                0
            }
        )*
        $(
            /// Deletes nothing.
            #[no_mangle]
            #[allow(non_snake_case)]
            pub extern "C" fn $delete(
                _object: *mut c_void,
                _keyval: c_int,
                _value: *mut c_void,
                _extra_state: *mut c_void,
            ) -> c_int {
                0
            }
        )*

        pub fn is_dup_fn(function: *const c_void) -> bool {
            [$($dup as *const c_void),*].contains(&function)
        }

        pub fn is_null_fn(function: *const c_void) -> bool {
            [$($copy as *const c_void,)* $($delete as *const c_void),*].contains(&function)
        }
    };
}

constant_functions! {
    dup: OMPI_C_MPI_DUP_FN OMPI_C_MPI_COMM_DUP_FN OMPI_C_MPI_TYPE_DUP_FN OMPI_C_MPI_WIN_DUP_FN;
    null_copy: OMPI_C_MPI_NULL_COPY_FN OMPI_C_MPI_COMM_NULL_COPY_FN OMPI_C_MPI_TYPE_NULL_COPY_FN OMPI_C_MPI_WIN_NULL_COPY_FN;
    null_delete: OMPI_C_MPI_NULL_DELETE_FN OMPI_C_MPI_COMM_NULL_DELETE_FN OMPI_C_MPI_TYPE_NULL_DELETE_FN OMPI_C_MPI_WIN_NULL_DELETE_FN;
}

/// Called by the C++ bindings that Open MPI 4's mpi.h compiles into programs, after MPI_Op_create.
#[no_mangle]
pub extern "C" fn ompi_op_set_cxx_callback(op: crate::handles::Op, function: *const c_void) {
    mayfly::abi::irregular::op_set_cxx_callback::<crate::handles::A>(op, function);
}
