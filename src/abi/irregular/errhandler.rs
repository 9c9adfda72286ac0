//! Making error handlers of the program's functions (MPI-5.0 §9.3).

use crate::abi::convert::*;
use crate::abi::entry;
use crate::abi::kinds::{Abi, Handle};
use crate::base::error::Result;
use crate::base::id::{ErrhandlerId, Id};
use crate::mpi::errhandler::ErrhandlerFunction;
use crate::runtime::calls;
use crate::runtime::Runtime;
use std::ffi::{c_int, c_void};
use std::sync::Arc;

type Create = fn(&Runtime, ErrhandlerFunction) -> Result<ErrhandlerId>;

/// # Safety
/// `function` is null or a handler for `H`: (pointer to the object, pointer to the code, ...); `errhandler` is null or
/// valid.
unsafe fn create<A: Abi, H: Handle>(
    name: &'static str,
    run: Create,
    function: *const c_void,
    errhandler: *mut A::Errhandler,
) -> c_int {
    entry::anytime::<A>(name, of_none, |rt| {
        need(function, "the function")?;
        need(errhandler, "errhandler")?;
        // SAFETY: not null, so a handler by contract.
        let function: unsafe extern "C" fn(*mut H, *mut c_int, ...) =
            unsafe { std::mem::transmute(function) };
        let handler = run(
            rt,
            Arc::new(move |object, code| {
                let mut object = H::of(H::Id::from_raw(object));
                let mut code: c_int = code;
                // SAFETY: a handler; both places live while it runs.
                unsafe { function(&mut object, &mut code) }
            }),
        )?;
        // SAFETY: not null, so valid by contract.
        unsafe { errhandler.write(Handle::of(handler)) };
        Ok(())
    })
}

/// MPI_Comm_create_errhandler.
///
/// # Safety
/// `function` is null or a handler for communicators; `errhandler` is null or valid.
pub unsafe fn comm_create_errhandler<A: Abi>(
    function: *const c_void,
    errhandler: *mut A::Errhandler,
) -> c_int {
    let run: Create = calls::comm_create_errhandler;
    // SAFETY: the caller's contract is the same.
    unsafe { create::<A, A::Comm>("MPI_Comm_create_errhandler", run, function, errhandler) }
}

/// MPI_Errhandler_create, the same in MPI-1.
///
/// # Safety
/// As [`comm_create_errhandler`].
pub unsafe fn errhandler_create<A: Abi>(
    function: *const c_void,
    errhandler: *mut A::Errhandler,
) -> c_int {
    let run: Create = calls::comm_create_errhandler;
    // SAFETY: the caller's contract is the same.
    unsafe { create::<A, A::Comm>("MPI_Errhandler_create", run, function, errhandler) }
}

/// MPI_Win_create_errhandler.
///
/// # Safety
/// As [`comm_create_errhandler`], for windows.
pub unsafe fn win_create_errhandler<A: Abi>(
    function: *const c_void,
    errhandler: *mut A::Errhandler,
) -> c_int {
    let run: Create = calls::win_create_errhandler;
    // SAFETY: the caller's contract is the same.
    unsafe { create::<A, A::Win>("MPI_Win_create_errhandler", run, function, errhandler) }
}

/// MPI_File_create_errhandler.
///
/// # Safety
/// As [`comm_create_errhandler`], for files.
pub unsafe fn file_create_errhandler<A: Abi>(
    function: *const c_void,
    errhandler: *mut A::Errhandler,
) -> c_int {
    let run: Create = calls::file_create_errhandler;
    // SAFETY: the caller's contract is the same.
    unsafe { create::<A, A::File>("MPI_File_create_errhandler", run, function, errhandler) }
}

/// MPI_Session_create_errhandler.
///
/// # Safety
/// As [`comm_create_errhandler`], for sessions.
pub unsafe fn session_create_errhandler<A: Abi>(
    function: *const c_void,
    errhandler: *mut A::Errhandler,
) -> c_int {
    let run: Create = calls::session_create_errhandler;
    // SAFETY: the caller's contract is the same.
    unsafe { create::<A, A::Session>("MPI_Session_create_errhandler", run, function, errhandler) }
}
