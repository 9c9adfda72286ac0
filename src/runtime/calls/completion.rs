//! Completion of requests (MPI-5.0 §3.7.3 to §3.7.5). The door keeps the arrays in the ABI's layout: it passes ids
//! and is told by index what completed; it nulls a handle unless `keep`.

use crate::base::error::{Class, Error, Result};
use crate::base::id::RequestId;
use crate::mpi::request::{is_loss, Completion, Found, Generalized, Request, Taken};
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
    match w.take_fine(request) {
        Found::Fine(status) => Some(Ok(Taken::Completion(Completion::freed(status, None)))),
        Found::Waits => None,
        Found::Other => match w.request_state(request) {
            Ok((true, _)) => Some(w.take_request(request)),
            Ok((false, _)) => None,
            Err(error) => Some(Err(error)),
        },
    }
}

/// A program's array of requests, read where it lies.
pub trait Handles: Copy {
    fn count(self) -> usize;
    fn id(self, index: usize) -> RequestId;

    /// From the one at `index` on.
    fn from(self, index: usize) -> impl Iterator<Item = RequestId> + Clone {
        (index..self.count()).map(move |index| self.id(index))
    }

    fn all(self) -> impl Iterator<Item = RequestId> + Clone {
        self.from(0)
    }
}

impl Handles for &[RequestId] {
    fn count(self) -> usize {
        self.len()
    }

    fn id(self, index: usize) -> RequestId {
        self[index]
    }
}

/// Whom the ends of requests are told, by their index; then the handle may be overwritten.
pub trait Listener {
    /// It went well, and its handle is no more.
    fn fine(&mut self, index: usize, status: Status);
    fn told(&mut self, index: usize, completion: Completion);
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

impl<F: FnMut(usize, Completion)> Listener for F {
    fn fine(&mut self, index: usize, status: Status) {
        self(index, Completion::freed(status, None));
    }

    fn told(&mut self, index: usize, completion: Completion) {
        self(index, completion);
    }
}

/// Waits for all, and tells of every one, in order. When one has failed because its peer is gone, the others are
/// not waited for, which might be for ever: those that are not over keep their handles, with MPI_ERR_PENDING.
#[inline]
pub fn waitall(rt: &Runtime, requests: impl Handles, tell: &mut impl Listener) -> Result<()> {
    rt.with(|w| requests.all().try_for_each(|r| w.check_request(r)))?;
    let (mut vain, mut index) = (false, 0);
    while index < requests.count() {
        // Those that are over already, one after the other, without a look at the links in between.
        index = rt.with(|w| take_ended(w, requests, index, &mut vain, tell))?;
        if index == requests.count() {
            break;
        }
        let request = requests.id(index);
        let end = rt.until(|w| match ended(w, request) {
            Some(end) => Some(Some(end)),
            None => {
                vain = vain || w.any_lost(requests.from(index));
                vain.then_some(None)
            }
        });
        let completion = end.map_or_else(|| Ok(pending()), |end| end.map(finish))?;
        vain |= is_loss(completion.error.as_ref());
        tell.told(index, completion);
        index += 1;
    }
    Ok(())
}

/// Tells of those from `index` on that are over, up to the first that is not, or for which user code has to be asked: its
/// index.
#[inline]
fn take_ended(
    w: &mut World,
    requests: impl Handles,
    mut index: usize,
    vain: &mut bool,
    tell: &mut impl Listener,
) -> Result<usize> {
    while index < requests.count() {
        let request = requests.id(index);
        match w.take_fine(request) {
            Found::Fine(status) => tell.fine(index, status),
            Found::Waits => break,
            Found::Other => {
                if !w.request_state(request)?.0 || w.asks_user(request) {
                    break;
                }
                if let Taken::Completion(completion) = w.take_request(request)? {
                    *vain |= is_loss(completion.error.as_ref());
                    tell.told(index, completion);
                }
            }
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

/// If all are complete, tells of every one; otherwise touches none.
pub fn testall(
    rt: &Runtime,
    requests: impl Handles,
    end: End,
    tell: &mut impl Listener,
) -> Result<bool> {
    let mut all = Ok(true);
    rt.attempt(|w| {
        all = are_over(w, requests);
        !matches!(all, Ok(false))
    });
    if !all? {
        return Ok(false);
    }
    for index in 0..requests.count() {
        tell.told(index, end(rt, requests.id(index))?);
    }
    Ok(true)
}

fn are_over(w: &World, requests: impl Handles) -> Result<bool> {
    for request in requests.all() {
        let over = match w.plain_state(request) {
            Some(over) => over,
            None => w.request_state(request)?.0,
        };
        if !over {
            return Ok(false);
        }
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
pub fn waitany(rt: &Runtime, requests: impl Handles) -> Result<Option<(usize, Completion)>> {
    let index = rt.until(|w| match any(w, requests.all()) {
        Ok(Any::Found(index)) => Some(Ok(Some(index))),
        Ok(Any::NoneActive) => Some(Ok(None)),
        Ok(Any::NotYet) => None,
        Err(error) => Some(Err(error)),
    })?;
    match index {
        None => Ok(None),
        Some(index) => Ok(Some((index, take(rt, requests.id(index))?))),
    }
}

/// The answer of [`testany`].
pub enum TestAny {
    Completed(usize, Completion),
    NoneActive,
    NotYet,
}

/// Is one of them complete?
pub fn testany(rt: &Runtime, requests: impl Handles, end: End) -> Result<TestAny> {
    let mut look = Ok(Any::NotYet);
    rt.attempt(|w| {
        look = any(w, requests.all());
        !matches!(look, Ok(Any::NotYet))
    });
    Ok(match look? {
        Any::Found(index) => TestAny::Completed(index, end(rt, requests.id(index))?),
        Any::NoneActive => TestAny::NoneActive,
        Any::NotYet => TestAny::NotYet,
    })
}

/// All that are complete now, or (`wait`) at least one; `None` when none is active.
pub fn some(
    rt: &Runtime,
    requests: impl Handles,
    wait: bool,
    end: End,
) -> Result<Option<Vec<(usize, Completion)>>> {
    let first = if wait {
        rt.until(|w| match any(w, requests.all()) {
            Ok(Any::NotYet) => None,
            other => Some(other),
        })?
    } else {
        rt.poke();
        rt.with(|w| any(w, requests.all()))?
    };
    if let Any::NoneActive = first {
        return Ok(None);
    }
    let mut found = Vec::new();
    for (index, request) in requests.all().enumerate() {
        if rt.with(|w| w.request_state(request))? == (true, true) {
            found.push((index, end(rt, request)?));
        }
    }
    Ok(Some(found))
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
pub fn startall(rt: &Runtime, requests: impl Handles) -> Result<()> {
    rt.with(|w| requests.all().try_for_each(|r| w.start_request(r)))
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
