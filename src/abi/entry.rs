//! The duties of every entry point: the state check, the call, and what becomes of an error.

use crate::abi::convert::{error_code, number_out};
use crate::abi::kinds::Abi;
use crate::base::error::{Class, Error, Object, Result};
use crate::runtime::process::{runtime, State};
use crate::runtime::{upcall, Runtime};
use std::ffi::c_int;

/// Runs a call between MPI_Init and MPI_Finalize; an error goes to the error handler of `object`.
#[inline(always)]
pub fn call<A: Abi>(
    name: &'static str,
    object: impl FnOnce() -> Object,
    run: impl FnOnce(&'static Runtime) -> Result<()>,
) -> c_int {
    let rt = runtime();
    if !rt.is_active() {
        misplaced(rt, name);
    }
    match run(rt) {
        Ok(()) => 0,
        Err(error) => failed::<A>(rt, name, object(), error),
    }
}

/// Runs a call that is allowed at any time.
#[inline]
pub fn anytime<A: Abi>(
    name: &'static str,
    object: impl FnOnce() -> Object,
    run: impl FnOnce(&'static Runtime) -> Result<()>,
) -> c_int {
    let rt = runtime();
    match run(rt) {
        Ok(()) => 0,
        Err(error) => failed::<A>(rt, name, object(), error),
    }
}

/// A procedure that is not implemented yet.
#[cold]
pub fn later<A: Abi>(name: &'static str, object: impl FnOnce() -> Object) -> c_int {
    call::<A>(name, object, |_| Err(unsupported()))
}

/// The same of a procedure that may be called at any time.
#[cold]
pub fn later_anytime<A: Abi>(name: &'static str, object: impl FnOnce() -> Object) -> c_int {
    anytime::<A>(name, object, |_| Err(unsupported()))
}

/// The same of a tool procedure, which calls no error handler (MPI-5.0 §15.3.10).
#[cold]
pub fn later_tool<A: Abi>() -> c_int {
    number_out(A::ERRCLASS, Class::UnsupportedOperation as c_int)
}

#[cold]
fn unsupported() -> Error {
    Error::new(
        Class::UnsupportedOperation,
        "not implemented in this version of Mayfly",
    )
}

/// The error handler's turn; gives the code that the call returns.
#[cold]
pub fn failed<A: Abi>(rt: &Runtime, name: &'static str, object: Object, error: Error) -> c_int {
    let code = error_code::<A>(&error);
    upcall::raise(rt, object, name, error, code);
    code
}

/// A call before MPI_Init or after MPI_Finalize has nobody to report to: the process ends.
#[cold]
fn misplaced(rt: &Runtime, name: &'static str) -> ! {
    let when = match rt.state() {
        State::Finalized => "after MPI_Finalize",
        _ => "before MPI_Init",
    };
    crate::base::trace::line(&format!("{name} was called {when}"));
    // SAFETY: ends the process at once; handlers that run at exit may call MPI again and come back here.
    unsafe { libc::_exit(1) }
}
