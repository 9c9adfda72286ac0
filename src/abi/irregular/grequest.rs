//! Generalized requests (MPI-5.0 §13.2).

use crate::abi::convert::*;
use crate::abi::entry;
use crate::abi::kinds::{Abi, Handle, StatusLayout};
use crate::mpi::request::Generalized;
use crate::mpi::Status;
use crate::runtime::calls;
use std::ffi::{c_int, c_void};
use std::sync::Arc;

type Query<S> = unsafe extern "C" fn(*mut c_void, *mut S) -> c_int;
type Free = unsafe extern "C" fn(*mut c_void) -> c_int;
type Cancel = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;

/// A pointer of the program's that callbacks get back.
#[derive(Clone, Copy)]
struct Extra(*mut c_void);

// SAFETY: only handed back to the program, whose business threads are.
unsafe impl Send for Extra {}
// SAFETY: as for Send.
unsafe impl Sync for Extra {}

impl Extra {
    fn get(self) -> *mut c_void {
        self.0
    }
}

fn result(code: c_int) -> Result<(), c_int> {
    match code {
        0 => Ok(()),
        code => Err(code),
    }
}

/// MPI_Grequest_start.
///
/// # Safety
/// The functions are null or as their types say; `request` is null or valid.
pub unsafe fn grequest_start<A: Abi>(
    query: *const c_void,
    free: *const c_void,
    cancel: *const c_void,
    extra: *mut c_void,
    request: *mut A::Request,
) -> c_int {
    entry::call::<A>("MPI_Grequest_start", of_none, |rt| {
        need(query, "query_fn")?;
        need(free, "free_fn")?;
        need(cancel, "cancel_fn")?;
        need(request, "request")?;
        let extra = Extra(extra);
        // SAFETY: not null, so functions of these types by contract.
        let (query, free, cancel): (Query<A::Status>, Free, Cancel) = unsafe {
            (
                std::mem::transmute::<*const c_void, Query<A::Status>>(query),
                std::mem::transmute::<*const c_void, Free>(free),
                std::mem::transmute::<*const c_void, Cancel>(cancel),
            )
        };
        let parts = Generalized {
            query: Arc::new(move |status: &mut Status| {
                let mut place = std::mem::MaybeUninit::<A::Status>::zeroed();
                // SAFETY: a status is plain integers, so zeros are one; the function fills it.
                let code = unsafe {
                    (*place.as_mut_ptr()).set(&status_fields::<A>(status), true);
                    let code = query(extra.get(), place.as_mut_ptr());
                    if let Ok(filled) = status_in::<A>(place.as_ptr(), "status") {
                        *status = filled;
                    }
                    code
                };
                result(code)
            }),
            // SAFETY: a free function.
            free: Arc::new(move || result(unsafe { free(extra.get()) })),
            // SAFETY: a cancel function.
            cancel: Arc::new(move |complete| {
                result(unsafe { cancel(extra.get(), complete.into()) })
            }),
            complete: false,
            freed: false,
        };
        // SAFETY: not null, so valid by contract.
        unsafe { request.write(Handle::of(calls::grequest_start(rt, parts)?)) };
        Ok(())
    })
}
