//! Waits and tests (MPI-5.0 §3.7.3 to §3.7.5): request and status arrays stay in the program's layout.
//!
//! When a call that completes several has an error in any of them, each status carries its own code and the call
//! itself raises MPI_ERR_IN_STATUS.

use crate::abi::convert::*;
use crate::abi::entry;
use crate::abi::kinds::{Abi, Handle};
use crate::base::constant::UNDEFINED;
use crate::base::error::{Class, Error, Result};
use crate::base::id::RequestId;
use crate::mpi::request::Completion;
use crate::mpi::Status;
use crate::runtime::calls::{self, End, TestAny};
use std::ffi::c_int;

/// A program's array of requests.
struct Handles<R> {
    first: *mut R,
    count: usize,
}

impl<R> Clone for Handles<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Handles<R> {}

impl<R: Handle<Id = RequestId> + Copy> calls::Handles for Handles<R> {
    #[inline(always)]
    fn count(self) -> usize {
        self.count
    }

    #[inline(always)]
    fn id(self, index: usize) -> RequestId {
        debug_assert!(index < self.count);
        // SAFETY: within the array, which is valid by the contract of [`Requests::new`].
        unsafe { self.first.add(index).read().id() }
    }
}

/// The requests of a call and where their statuses go.
struct Requests<A: Abi> {
    handles: Handles<A::Request>,
    statuses: *mut A::Status,
    failed: Option<Error>,
}

impl<A: Abi> Requests<A> {
    /// # Safety
    /// `handles` is null or valid for `count` handles while the call runs, `statuses` is MPI_STATUSES_IGNORE, null or valid
    /// for as many.
    #[inline]
    unsafe fn new(
        count: c_int,
        handles: *mut A::Request,
        statuses: *mut A::Status,
    ) -> Result<Requests<A>> {
        let count = length_of_count(count, "count")?;
        need_array(handles, count, "array_of_requests")?;
        let handles = Handles {
            first: handles,
            count,
        };
        Ok(Requests {
            handles,
            statuses,
            failed: None,
        })
    }

    /// The place of the status at `index`.
    #[inline(always)]
    fn place(&self, index: usize) -> *mut A::Status {
        if self.statuses.is_null() || is_ignore::<A>(self.statuses) {
            return self.statuses;
        }
        self.statuses.wrapping_add(index)
    }

    /// Takes note of a completion: its handle at `index`, its status at `slot`; slots come in order. Errors are written
    /// to statuses, all of them, only when there is one (MPI-5.0 §3.2.5).
    fn done(&mut self, index: usize, slot: usize, completion: Completion) {
        let Completion {
            status,
            error,
            keep,
        } = completion;
        // SAFETY: `index` is below the handles' count and `slot` below the statuses' by the callers; valid by contract.
        unsafe {
            if !keep {
                clear(self.handles.first.add(index));
            }
            status_out::<A>(self.place(slot), &status);
            if error.is_some() && self.failed.is_none() {
                (0..slot).for_each(|before| set_error::<A>(self.place(before), 0));
            }
            if error.is_some() || self.failed.is_some() {
                let code = error.as_ref().map_or(0, error_code::<A>);
                set_error::<A>(self.place(slot), code);
            }
        }
        if let Some(error) = error {
            self.failed.get_or_insert(error);
        }
    }

    /// The call's own result.
    #[inline]
    fn finish(self) -> Result<()> {
        match self.failed {
            None => Ok(()),
            Some(error) => {
                let detail = format!("a request failed: {error}");
                Err(Error::new(Class::InStatus, detail).on(error.object))
            }
        }
    }
}

impl<A: Abi> calls::Listener for Requests<A> {
    #[inline(always)]
    fn fine(&mut self, index: usize, status: Status) {
        if self.failed.is_some() {
            return self.done(index, index, Completion::freed(status, None));
        }
        // SAFETY: as in `done`.
        unsafe {
            clear(self.handles.first.add(index));
            status_out::<A>(self.place(index), &status);
        }
    }

    fn told(&mut self, index: usize, completion: Completion) {
        self.done(index, index, completion);
    }
}

/// Overwrites a status's MPI_ERROR.
///
/// # Safety
/// `place` is MPI_STATUS_IGNORE, null or valid.
unsafe fn set_error<A: Abi>(place: *mut A::Status, code: c_int) {
    use crate::abi::kinds::StatusLayout;
    if place.is_null() || is_ignore::<A>(place) {
        return;
    }
    // SAFETY: a status of the program by contract.
    let status = unsafe { &mut *place };
    let fields = status.get();
    status.set(
        &crate::abi::kinds::StatusFields {
            error: code,
            ..fields
        },
        true,
    );
}

/// One completion: the handle, the status without its error field, and the error as the call's own.
///
/// # Safety
/// `request` is valid, `status` is MPI_STATUS_IGNORE, null or valid.
#[inline(always)]
unsafe fn one<A: Abi>(
    request: *mut A::Request,
    status: *mut A::Status,
    completion: Completion,
) -> Result<()> {
    // SAFETY: the caller's contract.
    unsafe {
        if !completion.keep {
            clear(request);
        }
        status_out::<A>(status, &completion.status);
    }
    match completion.error {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// MPI_Wait.
///
/// # Safety
/// `request` is null or valid, `status` is MPI_STATUS_IGNORE, null or valid.
#[inline]
pub unsafe fn wait<A: Abi>(request: *mut A::Request, status: *mut A::Status) -> c_int {
    entry::call::<A>("MPI_Wait", of_none, |rt| {
        need(request, "request")?;
        // SAFETY: not null, so valid by contract.
        unsafe {
            let completion = calls::wait(rt, request.read().id())?;
            one::<A>(request, status, completion)
        }
    })
}

/// MPI_Test.
///
/// # Safety
/// `request` and `flag` are null or valid, `status` is MPI_STATUS_IGNORE, null or valid.
pub unsafe fn test<A: Abi>(
    request: *mut A::Request,
    flag: *mut c_int,
    status: *mut A::Status,
) -> c_int {
    entry::call::<A>("MPI_Test", of_none, |rt| {
        need(request, "request")?;
        need(flag, "flag")?;
        // SAFETY: not null, so valid by contract.
        unsafe {
            let found = calls::test(rt, request.read().id())?;
            flag.write(found.is_some().into());
            match found {
                None => Ok(()),
                Some(completion) => one::<A>(request, status, completion),
            }
        }
    })
}

/// MPI_Waitall.
///
/// # Safety
/// The arrays are null or valid for `count` entries; `statuses` may be MPI_STATUSES_IGNORE.
pub unsafe fn waitall<A: Abi>(
    count: c_int,
    requests: *mut A::Request,
    statuses: *mut A::Status,
) -> c_int {
    entry::call::<A>("MPI_Waitall", of_none, |rt| {
        // SAFETY: the caller's contract.
        let mut all = unsafe { Requests::<A>::new(count, requests, statuses)? };
        calls::waitall(rt, all.handles, &mut all)?;
        all.finish()
    })
}

/// # Safety
/// As [`testall`].
unsafe fn all<A: Abi>(
    name: &'static str,
    end: End,
    count: c_int,
    requests: *mut A::Request,
    flag: *mut c_int,
    statuses: *mut A::Status,
) -> c_int {
    entry::call::<A>(name, of_none, |rt| {
        need(flag, "flag")?;
        // SAFETY: the caller's contract.
        let mut all = unsafe { Requests::<A>::new(count, requests, statuses)? };
        let done = calls::testall(rt, all.handles, end, &mut all)?;
        // SAFETY: not null, so valid by contract.
        unsafe { flag.write(done.into()) };
        all.finish()
    })
}

/// MPI_Testall.
///
/// # Safety
/// As [`waitall`]; `flag` is null or valid.
pub unsafe fn testall<A: Abi>(
    count: c_int,
    requests: *mut A::Request,
    flag: *mut c_int,
    statuses: *mut A::Status,
) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { all::<A>("MPI_Testall", calls::take, count, requests, flag, statuses) }
}

/// MPI_Waitany.
///
/// # Safety
/// The array is null or valid for `count` entries, `index` is null or valid, `status` is MPI_STATUS_IGNORE, null or valid.
pub unsafe fn waitany<A: Abi>(
    count: c_int,
    requests: *mut A::Request,
    index: *mut c_int,
    status: *mut A::Status,
) -> c_int {
    entry::call::<A>("MPI_Waitany", of_none, |rt| {
        need(index, "index")?;
        // SAFETY: the caller's contract; `index` is not null.
        unsafe {
            let all = Requests::<A>::new(count, requests, status)?;
            match calls::waitany(rt, all.handles)? {
                Some((i, completion)) => {
                    index.write(i as c_int);
                    one::<A>(requests.add(i), status, completion)
                }
                None => {
                    index.write(UNDEFINED);
                    status_out::<A>(status, &Status::EMPTY);
                    Ok(())
                }
            }
        }
    })
}

/// # Safety
/// As [`testany`].
unsafe fn any<A: Abi>(
    name: &'static str,
    end: End,
    count: c_int,
    requests: *mut A::Request,
    index: *mut c_int,
    flag: *mut c_int,
    status: *mut A::Status,
) -> c_int {
    entry::call::<A>(name, of_none, |rt| {
        need(index, "index")?;
        need(flag, "flag")?;
        // SAFETY: the caller's contract; neither is null.
        unsafe {
            let all = Requests::<A>::new(count, requests, status)?;
            let (i, done, completion) = match calls::testany(rt, all.handles, end)? {
                TestAny::Completed(i, completion) => (i as c_int, true, Some(completion)),
                TestAny::NoneActive => (UNDEFINED, true, None),
                TestAny::NotYet => (UNDEFINED, false, None),
            };
            index.write(i);
            flag.write(done.into());
            match completion {
                Some(completion) => one::<A>(requests.add(i as usize), status, completion),
                None if done => {
                    status_out::<A>(status, &Status::EMPTY);
                    Ok(())
                }
                None => Ok(()),
            }
        }
    })
}

/// MPI_Testany.
///
/// # Safety
/// As [`waitany`]; `flag` is null or valid.
pub unsafe fn testany<A: Abi>(
    count: c_int,
    requests: *mut A::Request,
    index: *mut c_int,
    flag: *mut c_int,
    status: *mut A::Status,
) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe {
        any::<A>(
            "MPI_Testany",
            calls::take,
            count,
            requests,
            index,
            flag,
            status,
        )
    }
}

/// # Safety
/// As [`waitsome`].
unsafe fn some<A: Abi>(
    name: &'static str,
    (wait, end): (bool, End),
    incount: c_int,
    requests: *mut A::Request,
    outcount: *mut c_int,
    indices: *mut c_int,
    statuses: *mut A::Status,
) -> c_int {
    entry::call::<A>(name, of_none, |rt| {
        need(outcount, "outcount")?;
        // SAFETY: the caller's contract; `outcount` is not null.
        unsafe {
            let mut all = Requests::<A>::new(incount, requests, statuses)?;
            need_array(indices, all.handles.count, "array_of_indices")?;
            let Some(found) = calls::some(rt, all.handles, wait, end)? else {
                outcount.write(UNDEFINED);
                return Ok(());
            };
            outcount.write(found.len() as c_int);
            for (slot, (index, completion)) in found.into_iter().enumerate() {
                indices.add(slot).write(index as c_int);
                all.done(index, slot, completion);
            }
            all.finish()
        }
    })
}

/// MPI_Waitsome.
///
/// # Safety
/// The arrays are null or valid for `incount` entries, `statuses` may be MPI_STATUSES_IGNORE, `outcount` is null or valid.
pub unsafe fn waitsome<A: Abi>(
    incount: c_int,
    requests: *mut A::Request,
    outcount: *mut c_int,
    indices: *mut c_int,
    statuses: *mut A::Status,
) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe {
        some::<A>(
            "MPI_Waitsome",
            (true, calls::take),
            incount,
            requests,
            outcount,
            indices,
            statuses,
        )
    }
}

/// MPI_Testsome.
///
/// # Safety
/// As [`waitsome`].
pub unsafe fn testsome<A: Abi>(
    incount: c_int,
    requests: *mut A::Request,
    outcount: *mut c_int,
    indices: *mut c_int,
    statuses: *mut A::Status,
) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe {
        some::<A>(
            "MPI_Testsome",
            (false, calls::take),
            incount,
            requests,
            outcount,
            indices,
            statuses,
        )
    }
}

/// MPI_Startall.
///
/// # Safety
/// The array is null or valid for `count` entries.
pub unsafe fn startall<A: Abi>(count: c_int, requests: *mut A::Request) -> c_int {
    entry::call::<A>("MPI_Startall", of_none, |rt| {
        // SAFETY: the caller's contract.
        let all = unsafe { Requests::<A>::new(count, requests, std::ptr::null_mut())? };
        calls::startall(rt, all.handles)
    })
}

/// MPI_Request_get_status_all.
///
/// # Safety
/// As [`testall`].
pub unsafe fn request_get_status_all<A: Abi>(
    count: c_int,
    requests: *const A::Request,
    flag: *mut c_int,
    statuses: *mut A::Status,
) -> c_int {
    let (name, requests) = ("MPI_Request_get_status_all", requests.cast_mut());
    // SAFETY: the caller's contract is the same; whoever looks keeps all handles, so that none is written.
    unsafe { all::<A>(name, calls::look, count, requests, flag, statuses) }
}

/// MPI_Request_get_status_any.
///
/// # Safety
/// As [`testany`].
pub unsafe fn request_get_status_any<A: Abi>(
    count: c_int,
    requests: *const A::Request,
    index: *mut c_int,
    flag: *mut c_int,
    status: *mut A::Status,
) -> c_int {
    let (name, requests) = ("MPI_Request_get_status_any", requests.cast_mut());
    // SAFETY: as above.
    unsafe { any::<A>(name, calls::look, count, requests, index, flag, status) }
}

/// MPI_Request_get_status_some.
///
/// # Safety
/// As [`testsome`].
pub unsafe fn request_get_status_some<A: Abi>(
    incount: c_int,
    requests: *const A::Request,
    outcount: *mut c_int,
    indices: *mut c_int,
    statuses: *mut A::Status,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        some::<A>(
            "MPI_Request_get_status_some",
            (false, calls::look),
            incount,
            requests.cast_mut(),
            outcount,
            indices,
            statuses,
        )
    }
}
