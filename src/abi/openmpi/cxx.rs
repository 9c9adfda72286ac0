//! libmpi_cxx.so.40: what C++ programs built with Open MPI 4 import from it, most of them without a word of MPI's C++
//! bindings in their sources: mpi.h compiles those into every C++ object file, and they need these few functions.
//!
//! An object of a class of the bindings is a pointer to virtual functions, which are the program's, and a handle.

#![allow(non_snake_case)]

use crate::entry_points::{PMPI_Type_free, PMPI_Win_free};
use crate::handles::{Comm, Datatype, Win};
use mayfly::abi::kinds::Handle;
use mayfly::base::constant::handle::COMM_NULL;
use std::ffi::{c_int, c_void};

/// An object of MPI::Comm, MPI::Datatype or MPI::Win.
#[repr(C)]
pub struct Object<H> {
    functions: *const c_void,
    handle: H,
}

macro_rules! comm_constructors {
    ($($empty:ident)*; $($copy:ident)*) => {
        $(
            /// MPI::Comm::Comm(): a base of other classes, which set the virtual functions.
            ///
            /// # Safety
            /// `this` is room for an object.
            #[no_mangle]
            pub unsafe extern "C" fn $empty(this: *mut Object<Comm>) {
                // SAFETY: room for an object by contract.
                unsafe { (&raw mut (*this).handle).write(Comm::of(COMM_NULL)) };
            }
        )*
        $(
            /// MPI::Comm::Comm(const MPI::Comm_Null &): the same with a handle.
            ///
            /// # Safety
            /// `this` is room for an object, `other` is one.
            #[no_mangle]
            pub unsafe extern "C" fn $copy(this: *mut Object<Comm>, other: *const Object<Comm>) {
                // SAFETY: as the contract says.
                unsafe { (&raw mut (*this).handle).write((*other).handle) };
            }
        )*
    };
}

comm_constructors! {
    _ZN3MPI4CommC1Ev _ZN3MPI4CommC2Ev;
    _ZN3MPI4CommC1ERKNS_9Comm_NullE _ZN3MPI4CommC2ERKNS_9Comm_NullE
}

/// MPI::Datatype::Free(): what went wrong, the error handler was told.
///
/// # Safety
/// `this` is an object.
#[no_mangle]
pub unsafe extern "C" fn _ZN3MPI8Datatype4FreeEv(this: *mut Object<Datatype>) {
    // SAFETY: an object by contract.
    unsafe { PMPI_Type_free(&raw mut (*this).handle) };
}

/// MPI::Win::Free().
///
/// # Safety
/// `this` is an object.
#[no_mangle]
pub unsafe extern "C" fn _ZN3MPI3Win4FreeEv(this: *mut Object<Win>) {
    // SAFETY: an object by contract.
    unsafe { PMPI_Win_free(&raw mut (*this).handle) };
}

/// A reduction function of C++: (operand, operand and result, length, datatype).
type Function = unsafe extern "C" fn(*const c_void, *mut c_void, c_int, *const Object<Datatype>);

/// The function that MPI::Op::Init passes to MPI_Op_create; the last argument is what `ompi_op_set_cxx_callback` was told.
///
/// # Safety
/// As a reduction function of C, and `function` is one of C++.
#[no_mangle]
pub unsafe extern "C" fn ompi_mpi_cxx_op_intercept(
    operand: *const c_void,
    result: *mut c_void,
    length: *const c_int,
    datatype: *const Datatype,
    function: *const c_void,
) {
    // SAFETY: a constant string; the program's own table of virtual functions, of which the first two words are not one.
    let table = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_ZTVN3MPI8DatatypeE".as_ptr()) };
    let datatype = Object {
        functions: match table.is_null() {
            true => std::ptr::null(),
            false => table.wrapping_byte_add(16),
        },
        // SAFETY: valid by contract.
        handle: unsafe { *datatype },
    };
    // SAFETY: a function of that type by contract, and its arguments are the caller's.
    unsafe {
        let function: Function = std::mem::transmute(function);
        function(operand, result, *length, &datatype);
    }
}
