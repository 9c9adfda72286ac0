//! Completion of requests (MPI-5.0 §3.7.3 to §3.7.5). The door keeps the arrays in the ABI's layout: it passes ids
//! and is told by index what completed; it nulls a handle unless `keep`.

use crate::base::error::{Class, Error, Result};
use crate::base::id::RequestId;
use crate::mpi::request::{is_loss, Completion, Generalized, Request, Taken};
use crate::mpi::{Status, World};
use crate::runtime::Runtime;

/// Asks a generalized request's code for its status, then lets it free its state (MPI-5.0 §13.2).
fn query(parts: &Generalized) -> Completion {
    let mut status = Status::EMPTY;
    let asked = (parts.query)(&mut status);
    let freed = (parts.free)();
    let error = asked
        .and(freed)
        .err()
        .map(|code| Error::user(code, "a generalized request's function failed"));
    if let Some(error) = &error {
        status.error = error.class;
    }
    Completion {
        status,
        error,
        keep: false,
    }
}

#[inline]
fn finish(taken: Taken) -> Completion {
    match taken {
        Taken::Completion(completion) => completion,
        Taken::Query(parts) => query(&parts),
    }
}

/// How the end of a request that is known to be complete is learnt: [`take`] or [`look`].
pub type End = fn(&Runtime, RequestId) -> Result<Completion>;

/// Takes a request that is known to be complete.
pub fn take(rt: &Runtime, request: RequestId) -> Result<Completion> {
    rt.with(|w| w.take_request(request)).map(finish)
}

/// The status of a request that is known to be complete, which stays as it is.
pub fn look(rt: &Runtime, request: RequestId) -> Result<Completion> {
    let mut status = Status::EMPTY;
    if let Some(known) = rt.with(|w| w.request_status(request))? {
        status = known;
    } else {
        let ask = rt.with(|w| match w.requests.get(request) {
            Ok(Request::Generalized(parts)) => Some(parts.query.clone()),
            _ => None,
        });
        if let Some(ask) = ask {
            let text = "a generalized request's query function failed";
            ask(&mut status).map_err(|code| Error::user(code, text))?;
        }
    }
    Ok(Completion {
        status,
        error: None,
        keep: true,
    })
}

/// The request's end, if it is over.
#[inline]
fn ended(w: &mut World, request: RequestId) -> Option<Result<Taken>> {
    if let Some((status, error)) = w.take_plain(request) {
        return Some(Ok(Taken::Completion(Completion::freed(status, error))));
    }
    if w.is_plain(request) {
        return None;
    }
    match w.request_state(request) {
        Ok((true, _)) => Some(w.take_request(request)),
        Ok((false, _)) => None,
        Err(error) => Some(Err(error)),
    }
}

/// Waits for one request; null and inactive ones are complete and empty.
#[inline]
pub fn wait(rt: &Runtime, request: RequestId) -> Result<Completion> {
    rt.until(|w| ended(w, request)).map(finish)
}

/// Is it complete?
pub fn test(rt: &Runtime, request: RequestId) -> Result<Option<Completion>> {
    let mut end = None;
    rt.attempt(|w| {
        end = ended(w, request);
        end.is_some()
    });
    match end {
        Some(end) => end.map(finish).map(Some),
        None => Ok(None),
    }
}

/// Waits for all; `each` is told of every one, in order. When one has failed because its peer is gone, the others are
/// not waited for, which might be for ever: those that are not over keep their handles, with MPI_ERR_PENDING.
pub fn waitall(
    rt: &Runtime,
    requests: &[RequestId],
    mut each: impl FnMut(usize, Completion),
) -> Result<()> {
    rt.with(|w| requests.iter().try_for_each(|&r| w.check_request(r)))?;
    let (mut vain, mut index) = (false, 0);
    while index < requests.len() {
        // Those that are over already, one after the other, without a look at the links in between.
        index = rt.with(|w| take_ended(w, requests, index, &mut vain, &mut each))?;
        let Some(&request) = requests.get(index) else {
            break;
        };
        let end = rt.until(|w| match ended(w, request) {
            Some(end) => Some(Some(end)),
            None => {
                vain = vain || w.any_lost(&requests[index..]);
                vain.then_some(None)
            }
        });
        let completion = end.map_or_else(|| Ok(pending()), |end| end.map(finish))?;
        vain |= is_loss(completion.error.as_ref());
        each(index, completion);
        index += 1;
    }
    Ok(())
}

/// Tells `each` of those from `index` on that are over, up to the first that is not, or for which user code has to be
/// asked: its index.
#[inline]
fn take_ended(
    w: &mut World,
    requests: &[RequestId],
    mut index: usize,
    vain: &mut bool,
    each: &mut impl FnMut(usize, Completion),
) -> Result<usize> {
    while let Some(&request) = requests.get(index) {
        if let Some((status, error)) = w.take_plain(request) {
            *vain |= is_loss(error.as_ref());
            each(index, Completion::freed(status, error));
            index += 1;
            continue;
        }
        if !w.request_state(request)?.0 || w.asks_user(request) {
            break;
        }
        if let Taken::Completion(completion) = w.take_request(request)? {
            *vain |= is_loss(completion.error.as_ref());
            each(index, completion);
        }
        index += 1;
    }
    Ok(index)
}

/// Of a request that is left active because another failed.
#[cold]
fn pending() -> Completion {
    let text = "not complete when another request of the call failed";
    Completion {
        status: Status {
            error: Class::Pending,
            ..Status::EMPTY
        },
        error: Some(Error::new(Class::Pending, text)),
        keep: true,
    }
}

/// If all are complete, tells `each` of every one; otherwise touches none.
pub fn testall(
    rt: &Runtime,
    requests: &[RequestId],
    end: End,
    mut each: impl FnMut(usize, Completion),
) -> Result<bool> {
    let all = |w: &mut World| -> Result<bool> {
        for &request in requests {
            if !w.request_state(request)?.0 {
                return Ok(false);
            }
        }
        Ok(true)
    };
    if !rt.with(all)? {
        rt.poke();
        if !rt.with(all)? {
            return Ok(false);
        }
    }
    for (index, &request) in requests.iter().enumerate() {
        each(index, end(rt, request)?);
    }
    Ok(true)
}

/// What a look for any completed request found.
enum Any {
    Found(usize),
    NoneActive,
    NotYet,
}

fn any(w: &mut World, requests: impl Iterator<Item = RequestId>) -> Result<Any> {
    let mut active = false;
    for (index, request) in requests.enumerate() {
        if w.plain_state(request) == Some(false) {
            active = true;
            continue;
        }
        match w.request_state(request)? {
            (true, true) => return Ok(Any::Found(index)),
            (false, true) => active = true,
            _ => {}
        }
    }
    Ok(if active { Any::NotYet } else { Any::NoneActive })
}

/// Waits for one of them; `None` when none is active.
pub fn waitany(rt: &Runtime, requests: &[RequestId]) -> Result<Option<(usize, Completion)>> {
    let index = rt.until(|w| match any(w, requests.iter().copied()) {
        Ok(Any::Found(index)) => Some(Ok(Some(index))),
        Ok(Any::NoneActive) => Some(Ok(None)),
        Ok(Any::NotYet) => None,
        Err(error) => Some(Err(error)),
    })?;
    match index {
        None => Ok(None),
        Some(index) => Ok(Some((index, take(rt, requests[index])?))),
    }
}

/// The answer of [`testany`].
pub enum TestAny {
    Completed(usize, Completion),
    NoneActive,
    NotYet,
}

/// Is one of them complete?
pub fn testany(
    rt: &Runtime,
    mut requests: impl Iterator<Item = RequestId> + Clone,
    end: End,
) -> Result<TestAny> {
    let mut look = Ok(Any::NotYet);
    rt.attempt(|w| {
        look = any(w, requests.clone());
        !matches!(look, Ok(Any::NotYet))
    });
    Ok(match look? {
        Any::Found(index) => match requests.nth(index) {
            Some(request) => TestAny::Completed(index, end(rt, request)?),
            None => TestAny::NotYet,
        },
        Any::NoneActive => TestAny::NoneActive,
        Any::NotYet => TestAny::NotYet,
    })
}

/// All that are complete now; `None` when none is active.
fn some(
    rt: &Runtime,
    requests: &[RequestId],
    wait: bool,
    end: End,
) -> Result<Option<Vec<(usize, Completion)>>> {
    let first = if wait {
        rt.until(|w| match any(w, requests.iter().copied()) {
            Ok(Any::NotYet) => None,
            other => Some(other),
        })?
    } else {
        rt.poke();
        rt.with(|w| any(w, requests.iter().copied()))?
    };
    if let Any::NoneActive = first {
        return Ok(None);
    }
    let mut found = Vec::new();
    for (index, &request) in requests.iter().enumerate() {
        if rt.with(|w| w.request_state(request))? == (true, true) {
            found.push((index, end(rt, request)?));
        }
    }
    Ok(Some(found))
}

/// Waits for at least one and takes all that are complete; `None` when none is active.
pub fn waitsome(rt: &Runtime, requests: &[RequestId]) -> Result<Option<Vec<(usize, Completion)>>> {
    some(rt, requests, true, take)
}

/// Takes all that are complete; `None` when none is active.
pub fn testsome(rt: &Runtime, requests: &[RequestId]) -> Result<Option<Vec<(usize, Completion)>>> {
    some(rt, requests, false, take)
}

/// Looks at all that are complete; `None` when none is active.
pub fn looksome(rt: &Runtime, requests: &[RequestId]) -> Result<Option<Vec<(usize, Completion)>>> {
    some(rt, requests, false, look)
}

/// Complete? Leaves the request as it is.
pub fn request_get_status(rt: &Runtime, request: RequestId) -> Result<Option<Status>> {
    if !rt.with(|w| w.request_state(request))?.0 {
        rt.poke();
        if !rt.with(|w| w.request_state(request))?.0 {
            return Ok(None);
        }
    }
    look(rt, request).map(|end| Some(end.status))
}

/// Forgets a request; its operation goes on.
pub fn request_free(rt: &Runtime, request: RequestId) -> Result<()> {
    match rt.with(|w| w.free_request(request))? {
        Some(parts) => free(&parts),
        None => Ok(()),
    }
}

/// Asks for cancellation; the request still has to be completed.
pub fn cancel(rt: &Runtime, request: RequestId) -> Result<()> {
    if let Some((function, complete)) = rt.with(|w| w.cancel_request(request))? {
        function(complete)
            .map_err(|code| Error::user(code, "a generalized request's cancel function failed"))?;
    }
    // The question and its answer: of a message to this very process all is decided when the call returns, and
    // programs count on it (they look at the status before they complete the request).
    rt.poke();
    rt.poke();
    Ok(())
}

/// Starts a persistent request.
pub fn start(rt: &Runtime, request: RequestId) -> Result<()> {
    rt.with(|w| w.start_request(request))
}

/// Starts several.
pub fn startall(rt: &Runtime, requests: &[RequestId]) -> Result<()> {
    rt.with(|w| {
        requests
            .iter()
            .try_for_each(|&request| w.start_request(request))
    })
}

/// A request whose completion the program itself declares.
pub fn grequest_start(rt: &Runtime, parts: Generalized) -> Result<RequestId> {
    Ok(rt.with(|w| {
        w.requests
            .table
            .insert(Request::Generalized(Box::new(parts)))
    }))
}

/// Declares it complete. One that was freed before is gone now.
pub fn grequest_complete(rt: &Runtime, request: RequestId) -> Result<()> {
    match rt.with(|w| w.complete_generalized(request))? {
        Some(parts) => free(&parts),
        None => Ok(()),
    }
}

fn free(parts: &Generalized) -> Result<()> {
    (parts.free)().map_err(|code| Error::user(code, "a generalized request's free function failed"))
}

/// Was it cancelled?
pub fn test_cancelled(_rt: &Runtime, status: &Status) -> Result<bool> {
    Ok(status.cancelled)
}
