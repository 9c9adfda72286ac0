//! Requests: what an operation that was started is known by (MPI-5.0 §3.7).

use crate::base::constant::handle;
use crate::base::error::{Class, Error, Object, Result};
use crate::base::id::{CommId, PeerId, RequestId, Table, FIRST_USER};
use crate::engine::{Data, End, Outcome, Pattern, Started, Ticket};
use crate::fail;
use crate::mpi::buffered::Parcel;
use crate::mpi::progress::Collective;
use crate::mpi::pt2pt::{received, sent, Begun, Mode};
use crate::mpi::{Status, World};
use std::sync::Arc;

/// How a request ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    pub status: Status,
    pub error: Option<Error>,
    /// The handle stays valid (persistent requests).
    pub keep: bool,
}

impl Completion {
    /// Of a null or inactive request.
    pub const EMPTY: Completion = Completion {
        status: Status::EMPTY,
        error: None,
        keep: false,
    };

    /// Of a request that is no more.
    #[inline]
    pub fn freed(status: Status, error: Option<Error>) -> Completion {
        Completion {
            status,
            error,
            keep: false,
        }
    }
}

/// What a persistent request starts: everything resolved, so that datatype and communicator may be freed meanwhile.
#[derive(Clone)]
pub enum Template {
    Send {
        mode: Mode,
        data: Data,
        /// Process, context id and our rank; none: MPI_PROC_NULL.
        target: Option<(PeerId, u64, u32)>,
        tag: i32,
    },
    Receive {
        data: Data,
        /// None: MPI_PROC_NULL.
        pattern: Option<(u64, Pattern, Option<PeerId>)>,
    },
}

/// Where one send or receive stands.
pub enum Active {
    Ticket(Ticket),
    Over(Status, Option<Error>),
    /// A send that has left: to whom, on which context, and its serial number, to cancel it.
    Sent(PeerId, u64, u64),
    /// A buffered send: over for the program; the parcel's serial number, to cancel it.
    Parcel(u64),
    /// A buffered send that was asked to be cancelled, with its message's memory.
    Recalled(Ticket, Box<[u8]>),
}

/// Status and error of a send or receive that is over.
fn told(outcome: &Outcome, comm: CommId, send: bool) -> (Status, Option<Error>) {
    match send {
        true => sent(outcome, comm),
        false => received(outcome, comm),
    }
}

/// One send or receive of a communicator.
pub struct Half {
    pub active: Active,
    pub comm: CommId,
    pub send: bool,
}

impl Half {
    /// What a started operation leaves to be completed.
    pub fn new(begun: Begun, comm: CommId, send: bool) -> Half {
        let active = match begun {
            Begun::Nothing => Active::Over(
                if send {
                    Status::EMPTY
                } else {
                    Status::PROC_NULL
                },
                None,
            ),
            Begun::Engine(Started::Pending(ticket)) => Active::Ticket(ticket),
            Begun::Engine(Started::Done(outcome)) => {
                let (status, error) = told(&outcome, comm, send);
                Active::Over(status, error)
            }
            Begun::Parcel(serial) => Active::Parcel(serial),
        };
        Half { active, comm, send }
    }
}

/// A persistent send or receive.
pub struct Persistent {
    pub template: Template,
    pub comm: CommId,
    pub active: Option<Half>,
}

/// The parts of a generalized request (MPI-5.0 §13.2); `Err` carries the user's error code.
pub struct Generalized {
    pub query: QueryFunction,
    pub free: Arc<dyn Fn() -> std::result::Result<(), i32> + Send + Sync>,
    pub cancel: CancelFunction,
    pub complete: bool,
    /// Its handle was freed before it was complete.
    pub freed: bool,
}

/// A generalized request's query function: it fills the status.
pub type QueryFunction = Arc<dyn Fn(&mut Status) -> std::result::Result<(), i32> + Send + Sync>;

/// A generalized request's cancel function; its argument says whether the request is complete.
pub type CancelFunction = Arc<dyn Fn(bool) -> std::result::Result<(), i32> + Send + Sync>;

/// One request.
pub enum Request {
    Plain(Half),
    /// MPI_Isendrecv: send and receive, and the packed message of the replacing form; the status is the receive's.
    Pair(Box<[Half; 2]>, Vec<u8>),
    Persistent(Box<Persistent>),
    Collective(Box<Collective>),
    Generalized(Box<Generalized>),
}

/// All requests.
pub struct Requests {
    pub table: Table<RequestId, Request>,
    /// Collectives that progress has to run.
    pub running: Vec<RequestId>,
}

impl Requests {
    pub fn new() -> Requests {
        Requests {
            table: Table::new(FIRST_USER),
            running: Vec::new(),
        }
    }

    pub fn get(&self, id: RequestId) -> Result<&Request> {
        match self.table.get(id) {
            Some(request) => Ok(request),
            None => missing(id),
        }
    }

    pub fn get_mut(&mut self, id: RequestId) -> Result<&mut Request> {
        match self.table.get_mut(id) {
            Some(request) => Ok(request),
            None => missing(id),
        }
    }
}

impl Default for Requests {
    fn default() -> Requests {
        Requests::new()
    }
}

#[cold]
fn missing<T>(id: RequestId) -> Result<T> {
    if id == handle::REQUEST_NULL {
        fail!(Request, "the request is MPI_REQUEST_NULL");
    }
    fail!(
        Request,
        "request {:#x} does not exist (already completed or freed?)",
        id.0
    )
}

/// Status and error of a collective that has ended.
fn ended(comm: CommId, result: Result<()>) -> (Status, Option<Error>) {
    let error = result.err().map(|e| e.on(Object::Comm(comm)));
    let class = error.as_ref().map_or(Status::EMPTY.error, |e| e.class);
    let status = Status {
        error: class,
        ..Status::EMPTY
    };
    (status, error)
}

/// Did a peer's end cause it?
pub fn is_loss(error: Option<&Error>) -> bool {
    error.is_some_and(|e| e.class == Class::ProcAborted)
}

/// What [`World::take_fine`] found.
pub enum Found {
    Fine(Status),
    /// It is not over.
    Waits,
    /// Something else, or its end was not a good one: nothing was done.
    Other,
}

/// What is found when a completed request is taken.
pub enum Taken {
    Completion(Completion),
    /// A generalized one: user code has to be asked.
    Query(Box<Generalized>),
}

/// Halves: what plain, paired and persistent requests have in common.
impl World {
    fn half_over(&self, half: &Half) -> bool {
        match &half.active {
            Active::Over(..) | Active::Sent(..) | Active::Parcel(_) => true,
            Active::Ticket(ticket) | Active::Recalled(ticket, _) => self
                .engine
                .as_ref()
                .is_some_and(|e| e.peek(*ticket).is_some()),
        }
    }

    fn half_status(&self, half: &Half) -> Status {
        match &half.active {
            Active::Over(status, _) => *status,
            Active::Sent(..) | Active::Parcel(_) => Status::EMPTY,
            Active::Ticket(ticket) | Active::Recalled(ticket, _) => {
                let outcome = self.engine.as_ref().and_then(|e| e.peek(*ticket));
                outcome.map_or(Status::EMPTY, |o| told(&o, half.comm, half.send).0)
            }
        }
    }

    /// Status and error of a complete half.
    fn take_half(&mut self, half: Half) -> (Status, Option<Error>) {
        match half.active {
            Active::Over(status, error) => (status, error),
            Active::Sent(..) | Active::Parcel(_) => (Status::EMPTY, None),
            Active::Ticket(ticket) | Active::Recalled(ticket, _) => {
                let outcome = self.engine.as_mut().and_then(|e| e.test(ticket));
                outcome.map_or((Status::EMPTY, None), |o| told(&o, half.comm, half.send))
            }
        }
    }

    /// The operation goes on without anybody to ask for it.
    fn abandon_half(&mut self, half: Half) {
        match half.active {
            Active::Over(..) | Active::Sent(..) | Active::Parcel(_) => {}
            Active::Ticket(ticket) => {
                if let Some(engine) = &mut self.engine {
                    engine.abandon(ticket);
                }
            }
            Active::Recalled(ticket, memory) => self.buffered.parcels.push(Parcel {
                serial: 0,
                ticket,
                memory,
            }),
        }
    }

    /// Marks for cancellation. A buffered send's memory moves from the parcels to the half until that is decided.
    fn cancel_half(&mut self, half: Half) -> Half {
        let Half {
            mut active,
            comm,
            send,
        } = half;
        if let Active::Parcel(serial) = active {
            if let Some(at) = self
                .buffered
                .parcels
                .iter()
                .position(|p| p.serial == serial)
            {
                let parcel = self.buffered.parcels.swap_remove(at);
                active = Active::Recalled(parcel.ticket, parcel.memory);
            }
        }
        match (&active, &mut self.engine) {
            (Active::Ticket(ticket) | Active::Recalled(ticket, _), Some(engine)) => {
                engine.cancel(*ticket);
            }
            (&Active::Sent(peer, context, serial), Some(engine)) => {
                active = Active::Ticket(engine.recall(peer, context, serial));
            }
            _ => {}
        }
        Half { active, comm, send }
    }
}

impl World {
    /// A request for a started send or receive.
    pub fn request_for(&mut self, begun: Begun, comm: CommId, send: bool) -> RequestId {
        let half = Half::new(begun, comm, send);
        self.requests.table.insert(Request::Plain(half))
    }

    /// A request for a send that has left, or a receive that waits.
    #[inline(always)]
    pub fn request_for_active(&mut self, active: Active, comm: CommId, send: bool) -> RequestId {
        let half = Half { active, comm, send };
        self.requests.table.insert(Request::Plain(half))
    }

    /// Is it complete (or null, or inactive)? The second answer: is it active at all?
    pub fn request_state(&self, id: RequestId) -> Result<(bool, bool)> {
        if id == handle::REQUEST_NULL {
            return Ok((true, false));
        }
        Ok(match self.requests.get(id)? {
            Request::Plain(half) => (self.half_over(half), true),
            Request::Pair(halves, _) => (halves.iter().all(|half| self.half_over(half)), true),
            Request::Persistent(persistent) => match &persistent.active {
                None => (true, false),
                Some(half) => (self.half_over(half), true),
            },
            Request::Collective(collective) => (collective.is_over(), collective.is_active()),
            Request::Generalized(generalized) => (generalized.complete, true),
        })
    }

    /// Does user code have to be asked how this one ended?
    pub fn asks_user(&self, id: RequestId) -> bool {
        matches!(self.requests.table.get(id), Some(Request::Generalized(_)))
    }

    /// The status of a complete request, which stays as it is (MPI_Request_get_status). `None`: ask the user's code.
    pub fn request_status(&self, id: RequestId) -> Result<Option<Status>> {
        if id == handle::REQUEST_NULL {
            return Ok(Some(Status::EMPTY));
        }
        Ok(Some(match self.requests.get(id)? {
            Request::Plain(half) => self.half_status(half),
            Request::Pair(halves, _) => self.half_status(&halves[1]),
            Request::Persistent(persistent) => persistent
                .active
                .as_ref()
                .map_or(Status::EMPTY, |half| self.half_status(half)),
            Request::Collective(_) => Status::EMPTY,
            Request::Generalized(_) => return Ok(None),
        }))
    }

    /// Null, or there.
    #[inline]
    pub fn check_request(&self, id: RequestId) -> Result<()> {
        match id == handle::REQUEST_NULL || self.requests.table.get(id).is_some() {
            true => Ok(()),
            false => missing(id),
        }
    }

    /// Takes a plain send or receive that is over and went well; it is freed.
    #[inline]
    pub fn take_fine(&mut self, id: RequestId) -> Found {
        let Some(Request::Plain(half)) = self.requests.table.get(id) else {
            return Found::Other;
        };
        let status = match (&half.active, &mut self.engine) {
            (Active::Sent(..), _) => Status::EMPTY,
            (&Active::Ticket(ticket), Some(engine)) => match engine.take_fine(ticket) {
                None => return Found::Other,
                Some(None) => return Found::Waits,
                Some(Some(_)) if half.send => Status::EMPTY,
                Some(Some((source, tag, bytes))) => Status {
                    source: source as i32,
                    tag,
                    bytes,
                    ..Status::EMPTY
                },
            },
            _ => return Found::Other,
        };
        // Nothing in it is to be dropped, which the compiler cannot see.
        std::mem::forget(self.requests.table.remove(id));
        Found::Fine(status)
    }

    /// Of a plain send or receive: is it over?
    #[inline]
    pub fn plain_state(&self, id: RequestId) -> Option<bool> {
        match self.requests.table.get(id) {
            Some(Request::Plain(half)) => match (&half.active, &self.engine) {
                (Active::Ticket(ticket), Some(engine)) => Some(engine.is_over(*ticket)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Takes what a complete request has to say and frees it, or makes it inactive if it is persistent.
    pub fn take_request(&mut self, id: RequestId) -> Result<Taken> {
        if id == handle::REQUEST_NULL {
            return Ok(Taken::Completion(Completion::EMPTY));
        }
        if let Request::Persistent(persistent) = self.requests.get_mut(id)? {
            let active = persistent.active.take();
            let (status, error) = active.map_or((Status::EMPTY, None), |half| self.take_half(half));
            return Ok(Taken::Completion(Completion {
                status,
                error,
                keep: true,
            }));
        }
        if let Request::Collective(collective) = self.requests.get_mut(id)? {
            if collective.is_persistent() {
                let (status, error) = ended(collective.comm(), collective.take());
                return Ok(Taken::Completion(Completion {
                    status,
                    error,
                    keep: true,
                }));
            }
        }
        let Some(request) = self.requests.table.remove(id) else {
            return missing(id);
        };
        let (status, error) = match request {
            Request::Plain(half) => self.take_half(half),
            Request::Pair(halves, _) => {
                let [send, receive] = *halves;
                let (_, send_error) = self.take_half(send);
                let (status, error) = self.take_half(receive);
                (status, error.or(send_error))
            }
            Request::Collective(collective) => {
                let comm = collective.comm();
                ended(comm, self.end_collective(*collective))
            }
            Request::Generalized(generalized) => return Ok(Taken::Query(generalized)),
            Request::Persistent(_) => (Status::EMPTY, None),
        };
        Ok(Taken::Completion(Completion {
            status,
            error,
            keep: false,
        }))
    }

    /// MPI_Request_free: the operation goes on, its request is forgotten. Returns a generalized request's parts if
    /// user code has to be told now.
    pub fn free_request(&mut self, id: RequestId) -> Result<Option<Box<Generalized>>> {
        match self.requests.get_mut(id)? {
            Request::Collective(collective) if collective.is_active() => fail!(
                Request,
                "request {:#x} is a collective under way; it must be completed before it is freed",
                id.0
            ),
            // Its functions are needed until it is complete (MPI-5.0 §13.2).
            Request::Generalized(generalized) if !generalized.complete => {
                generalized.freed = true;
                return Ok(None);
            }
            _ => {}
        }
        match self.requests.table.remove(id) {
            None => return missing(id),
            Some(Request::Collective(_)) => {}
            Some(Request::Plain(half)) => self.abandon_half(half),
            Some(Request::Pair(halves, packed)) => {
                // The engine may still read it, and nobody is left to ask when.
                std::mem::forget(packed);
                halves.into_iter().for_each(|half| self.abandon_half(half));
            }
            Some(Request::Persistent(persistent)) => {
                if let Some(half) = persistent.active {
                    self.abandon_half(half);
                }
            }
            Some(Request::Generalized(generalized)) => return Ok(Some(generalized)),
        }
        Ok(None)
    }

    /// MPI_Grequest_complete. Gives back the parts of one that was freed, for its free function.
    pub fn complete_generalized(&mut self, id: RequestId) -> Result<Option<Box<Generalized>>> {
        let freed = match self.requests.get_mut(id)? {
            Request::Generalized(generalized) => {
                generalized.complete = true;
                generalized.freed
            }
            _ => fail!(Request, "request {:#x} is not a generalized request", id.0),
        };
        if !freed {
            return Ok(None);
        }
        match self.requests.table.remove(id) {
            Some(Request::Generalized(generalized)) => Ok(Some(generalized)),
            _ => missing(id),
        }
    }

    /// Has one of these ended because its peer is gone?
    pub fn any_lost(&self, mut ids: impl Iterator<Item = RequestId>) -> bool {
        let Some(engine) = self.engine.as_ref().filter(|e| e.core.parted) else {
            return false;
        };
        let half = |half: &Half| match &half.active {
            Active::Over(_, error) => is_loss(error.as_ref()),
            Active::Sent(..) | Active::Parcel(_) => false,
            Active::Ticket(ticket) | Active::Recalled(ticket, _) => engine
                .peek(*ticket)
                .is_some_and(|o| matches!(o.end, End::Lost(_))),
        };
        ids.any(|id| match self.requests.table.get(id) {
            Some(Request::Plain(plain)) => half(plain),
            Some(Request::Pair(halves, _)) => halves.iter().any(half),
            Some(Request::Persistent(persistent)) => persistent.active.as_ref().is_some_and(half),
            Some(Request::Collective(collective)) => is_loss(collective.error()),
            Some(Request::Generalized(_)) | None => false,
        })
    }

    /// Starts a persistent request.
    pub fn start_request(&mut self, id: RequestId) -> Result<()> {
        let (template, comm) = match self.requests.get(id)? {
            Request::Collective(_) => return self.restart_collective(id),
            Request::Persistent(persistent) if persistent.active.is_some() => {
                fail!(Request, "persistent request {:#x} is already active", id.0)
            }
            Request::Persistent(persistent) => (persistent.template.clone(), persistent.comm),
            _ => fail!(Request, "request {:#x} is not persistent", id.0),
        };
        let (begun, send) = match template {
            Template::Send {
                mode,
                data,
                target,
                tag,
            } => (self.send_data(mode, data, target, tag)?, true),
            Template::Receive { pattern: None, .. } => (Begun::Nothing, false),
            Template::Receive {
                data,
                pattern: Some((context, pattern, peer)),
            } => (
                Begun::Engine(self.engine()?.receive(data, context, pattern, peer)),
                false,
            ),
        };
        if let Request::Persistent(persistent) = self.requests.get_mut(id)? {
            persistent.active = Some(Half::new(begun, comm, send));
        }
        Ok(())
    }

    /// Marks for cancellation; a generalized request's own function is returned to be called, with its argument.
    pub fn cancel_request(&mut self, id: RequestId) -> Result<Option<(CancelFunction, bool)>> {
        let half = match self.requests.get_mut(id)? {
            Request::Plain(half) => std::mem::replace(half, Half::nothing()),
            Request::Persistent(persistent) => match persistent.active.take() {
                Some(half) => half,
                None => fail!(Request, "persistent request {:#x} is not active", id.0),
            },
            Request::Pair(..) => return Ok(None),
            Request::Collective(_) => {
                fail!(
                    Request,
                    "request {:#x} is a nonblocking collective; it cannot be cancelled",
                    id.0
                )
            }
            Request::Generalized(generalized) => {
                return Ok(Some((generalized.cancel.clone(), generalized.complete)))
            }
        };
        let marked = self.cancel_half(half);
        match self.requests.get_mut(id)? {
            Request::Plain(half) => *half = marked,
            Request::Persistent(persistent) => persistent.active = Some(marked),
            _ => {}
        }
        Ok(None)
    }
}

impl Half {
    /// Stands in while a half is out of its request.
    fn nothing() -> Half {
        Half {
            active: Active::Over(Status::EMPTY, None),
            comm: handle::COMM_NULL,
            send: true,
        }
    }
}

#[cfg(test)]
mod tests;
