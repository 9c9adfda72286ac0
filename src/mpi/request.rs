//! Requests: what an operation that was started is known by (MPI-5.0 §3.7).

use crate::base::constant::handle;
use crate::base::error::{Error, Object, Result};
use crate::base::id::{CommId, RequestId, Table, FIRST_USER};
use crate::engine::{Started, Ticket};
use crate::fail;
use crate::mpi::progress::Collective;
use crate::mpi::pt2pt::{received, sent, Begun, ReceiveArgs, SendArgs};
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
}

/// What a persistent request starts.
#[derive(Clone, Debug)]
pub enum Template {
    Send(SendArgs),
    Receive(ReceiveArgs),
}

/// The parts of a generalized request (MPI-5.0 §13.2); `Err` carries the user's error code.
pub struct Generalized {
    pub query: Arc<dyn Fn(&mut Status) -> std::result::Result<(), i32> + Send + Sync>,
    pub free: Arc<dyn Fn() -> std::result::Result<(), i32> + Send + Sync>,
    pub cancel: Arc<dyn Fn(bool) -> std::result::Result<(), i32> + Send + Sync>,
    pub complete: bool,
}

/// One request.
pub enum Request {
    Operation {
        ticket: Ticket,
        comm: CommId,
        send: bool,
    },
    /// MPI_Isendrecv: both halves, and the packed message of the replacing form; the status is the receive's.
    Pair(Box<[Half; 2]>, Vec<u8>),
    /// A buffered send that was asked to be cancelled: its message's memory, until that is decided.
    Recalled {
        ticket: Ticket,
        comm: CommId,
        memory: Box<[u8]>,
    },
    /// A buffered send: over for the program; the parcel's ticket, to cancel it.
    Buffered {
        ticket: Ticket,
        comm: CommId,
    },
    /// Over when it was made.
    Over {
        status: Status,
        error: Option<Error>,
    },
    Persistent {
        template: Template,
        active: Option<Active>,
    },
    Collective(Box<Collective>),
    Generalized(Box<Generalized>),
}

/// One half of a combined send and receive, with its communicator.
pub type Half = (Active, CommId);

/// The running operation of a persistent request.
#[derive(Clone, Debug)]
pub enum Active {
    Ticket(Ticket),
    Over(Status, Option<Error>),
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

/// What a started operation leaves to be completed.
pub fn active(begun: Begun, comm: CommId, send: bool) -> Active {
    match begun {
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
            let (status, error) = if send {
                sent(&outcome, comm)
            } else {
                received(&outcome, comm)
            };
            Active::Over(status, error)
        }
    }
}

/// What is found when a completed request is taken.
pub enum Taken {
    Completion(Completion),
    /// A generalized one: user code has to be asked.
    Query(Box<Generalized>),
}

impl World {
    /// A request for a buffered send just started.
    pub fn request_for_buffered(
        &mut self,
        begun: Begun,
        comm: CommId,
        parcels_before: usize,
    ) -> RequestId {
        let request = match self.buffered.parcels.last() {
            Some(parcel) if self.buffered.parcels.len() > parcels_before => Request::Buffered {
                ticket: parcel.ticket,
                comm,
            },
            _ => return self.request_for(begun, comm, true),
        };
        self.requests.table.insert(request)
    }

    /// A request for a started send or receive.
    pub fn request_for(&mut self, begun: Begun, comm: CommId, send: bool) -> RequestId {
        let request = match active(begun, comm, send) {
            Active::Ticket(ticket) => Request::Operation { ticket, comm, send },
            Active::Over(status, error) => Request::Over { status, error },
        };
        self.requests.table.insert(request)
    }

    /// Is it complete (or null, or inactive)? The second answer: is it active at all?
    pub fn request_state(&self, id: RequestId) -> Result<(bool, bool)> {
        if id == handle::REQUEST_NULL {
            return Ok((true, false));
        }
        Ok(match self.requests.get(id)? {
            Request::Operation { ticket, .. } | Request::Recalled { ticket, .. } => {
                (self.is_over(*ticket), true)
            }
            Request::Pair(halves, _) => (
                halves.iter().all(|(active, _)| self.half_over(active)),
                true,
            ),
            Request::Buffered { .. } | Request::Over { .. } => (true, true),
            Request::Persistent { active: None, .. } => (true, false),
            Request::Persistent {
                active: Some(Active::Over(..)),
                ..
            } => (true, true),
            Request::Persistent {
                active: Some(Active::Ticket(ticket)),
                ..
            } => (self.is_over(*ticket), true),
            Request::Collective(collective) => (collective.is_over(), true),
            Request::Generalized(generalized) => (generalized.complete, true),
        })
    }

    fn half_over(&self, active: &Active) -> bool {
        match active {
            Active::Ticket(ticket) => self.is_over(*ticket),
            Active::Over(..) => true,
        }
    }

    /// Status and error of a complete half; takes its ticket.
    fn take_half(&mut self, (active, comm): Half, send: bool) -> (Status, Option<Error>) {
        match active {
            Active::Over(status, error) => (status, error),
            Active::Ticket(ticket) => match self.engine.as_mut().and_then(|e| e.test(ticket)) {
                Some(outcome) if send => sent(&outcome, comm),
                Some(outcome) => received(&outcome, comm),
                None => (Status::EMPTY, None),
            },
        }
    }

    fn is_over(&self, ticket: Ticket) -> bool {
        self.engine
            .as_ref()
            .is_some_and(|e| e.peek(ticket).is_some())
    }

    /// The status of a complete request, which stays as it is (MPI_Request_get_status). `None`: ask the user's code.
    pub fn request_status(&self, id: RequestId) -> Result<Option<Status>> {
        if id == handle::REQUEST_NULL {
            return Ok(Some(Status::EMPTY));
        }
        let peek = |ticket: &Ticket, comm: CommId, send: bool| {
            let outcome = self.engine.as_ref().and_then(|e| e.peek(*ticket));
            outcome.map_or(Status::EMPTY, |o| {
                if send {
                    sent(&o, comm).0
                } else {
                    received(&o, comm).0
                }
            })
        };
        Ok(Some(match self.requests.get(id)? {
            Request::Operation { ticket, comm, send } => peek(ticket, *comm, *send),
            Request::Recalled { ticket, comm, .. } => peek(ticket, *comm, true),
            Request::Pair(halves, _) => match &halves[1] {
                (Active::Over(status, _), _) => *status,
                (Active::Ticket(ticket), comm) => peek(ticket, *comm, false),
            },
            Request::Buffered { .. } => Status::EMPTY,
            Request::Over { status, .. } => *status,
            Request::Persistent { active: None, .. } => Status::EMPTY,
            Request::Persistent {
                active: Some(Active::Over(status, _)),
                ..
            } => *status,
            Request::Persistent {
                template,
                active: Some(Active::Ticket(ticket)),
            } => match template {
                Template::Send(args) => peek(ticket, args.comm, true),
                Template::Receive(args) => peek(ticket, args.comm, false),
            },
            Request::Collective(_) => Status::EMPTY,
            Request::Generalized(_) => return Ok(None),
        }))
    }

    /// Takes what a complete request has to say and frees it, or makes it inactive if it is persistent.
    pub fn take_request(&mut self, id: RequestId) -> Result<Taken> {
        if id == handle::REQUEST_NULL {
            return Ok(Taken::Completion(Completion::EMPTY));
        }
        if let Request::Persistent { template, active } = self.requests.get_mut(id)? {
            let mut completion = Completion {
                keep: true,
                ..Completion::EMPTY
            };
            match active.take() {
                None => {}
                Some(Active::Over(status, error)) => {
                    completion.status = status;
                    completion.error = error;
                }
                Some(Active::Ticket(ticket)) => {
                    let (comm, send) = match template {
                        Template::Send(args) => (args.comm, true),
                        Template::Receive(args) => (args.comm, false),
                    };
                    if let Some(outcome) = self.engine.as_mut().and_then(|e| e.test(ticket)) {
                        let (status, error) = if send {
                            sent(&outcome, comm)
                        } else {
                            received(&outcome, comm)
                        };
                        completion.status = status;
                        completion.error = error;
                    }
                }
            }
            return Ok(Taken::Completion(completion));
        }
        let Some(request) = self.requests.table.remove(id) else {
            return missing(id);
        };
        Ok(Taken::Completion(match request {
            Request::Operation { ticket, comm, send } => {
                let Some(outcome) = self.engine.as_mut().and_then(|e| e.test(ticket)) else {
                    fail!(
                        Intern,
                        "request {:#x} was taken before it was complete",
                        id.0
                    )
                };
                let (status, error) = if send {
                    sent(&outcome, comm)
                } else {
                    received(&outcome, comm)
                };
                Completion {
                    status,
                    error,
                    keep: false,
                }
            }
            Request::Recalled { ticket, comm, .. } => {
                let outcome = self.engine.as_mut().and_then(|e| e.test(ticket));
                let (status, error) = outcome.map_or((Status::EMPTY, None), |o| sent(&o, comm));
                Completion {
                    status,
                    error,
                    keep: false,
                }
            }
            Request::Pair(halves, _) => {
                let [send, receive] = *halves;
                let (_, send_error) = self.take_half(send, true);
                let (status, error) = self.take_half(receive, false);
                Completion {
                    status,
                    error: error.or(send_error),
                    keep: false,
                }
            }
            Request::Buffered { .. } => Completion::EMPTY,
            Request::Over { status, error } => Completion {
                status,
                error,
                keep: false,
            },
            Request::Collective(collective) => {
                let comm = collective.comm();
                let error = self
                    .end_collective(*collective)
                    .err()
                    .map(|e| e.on(Object::Comm(comm)));
                let mut status = Status::EMPTY;
                if let Some(error) = &error {
                    status.error = error.class;
                }
                Completion {
                    status,
                    error,
                    keep: false,
                }
            }
            Request::Generalized(generalized) => return Ok(Taken::Query(generalized)),
            Request::Persistent { .. } => Completion::EMPTY,
        }))
    }

    /// MPI_Request_free: the operation goes on, its request is forgotten. Returns a generalized request's parts if
    /// user code has to be told now.
    pub fn free_request(&mut self, id: RequestId) -> Result<Option<Box<Generalized>>> {
        let engine = match self.requests.get(id)? {
            Request::Collective(_) => {
                fail!(
                    Request,
                    "request {:#x} is a nonblocking collective; it must be completed, not freed",
                    id.0
                )
            }
            _ => self.engine.as_mut(),
        };
        let Some(request) = self.requests.table.remove(id) else {
            return missing(id);
        };
        match (request, engine) {
            (Request::Operation { ticket, .. }, Some(engine))
            | (
                Request::Persistent {
                    active: Some(Active::Ticket(ticket)),
                    ..
                },
                Some(engine),
            ) => {
                engine.abandon(ticket);
                Ok(None)
            }
            (Request::Pair(halves, packed), Some(engine)) => {
                // The engine may still read it, and nobody is left to ask when.
                std::mem::forget(packed);
                for (active, _) in halves.iter() {
                    if let Active::Ticket(ticket) = active {
                        engine.abandon(*ticket);
                    }
                }
                Ok(None)
            }
            (Request::Recalled { ticket, memory, .. }, _) => {
                self.buffered
                    .parcels
                    .push(crate::mpi::buffered::Parcel { ticket, memory });
                Ok(None)
            }
            (Request::Generalized(generalized), _) => Ok(Some(generalized)),
            _ => Ok(None),
        }
    }

    /// Starts a persistent request.
    pub fn start_request(&mut self, id: RequestId) -> Result<()> {
        let template = match self.requests.get(id)? {
            Request::Persistent {
                active: Some(_), ..
            } => {
                fail!(Request, "persistent request {:#x} is already active", id.0)
            }
            Request::Persistent { template, .. } => template.clone(),
            _ => fail!(Request, "request {:#x} is not persistent", id.0),
        };
        let (begun, comm, send) = match &template {
            Template::Send(args) => (self.send_any(args)?, args.comm, true),
            Template::Receive(args) => (self.receive_start(args)?, args.comm, false),
        };
        let now = active(begun, comm, send);
        if let Request::Persistent { active: slot, .. } = self.requests.get_mut(id)? {
            *slot = Some(now);
        }
        Ok(())
    }

    /// Marks for cancellation; a generalized request's own function is returned to be called.
    pub fn cancel_request(
        &mut self,
        id: RequestId,
    ) -> Result<
        Option<(
            Arc<dyn Fn(bool) -> std::result::Result<(), i32> + Send + Sync>,
            bool,
        )>,
    > {
        let ticket = match self.requests.get_mut(id)? {
            Request::Operation { ticket, .. } => *ticket,
            Request::Persistent {
                active: Some(Active::Ticket(ticket)),
                ..
            } => *ticket,
            Request::Persistent { active: None, .. } => {
                fail!(Request, "persistent request {:#x} is not active", id.0)
            }
            Request::Over { .. } | Request::Persistent { .. } | Request::Recalled { .. } => {
                return Ok(None)
            }
            Request::Buffered { ticket, comm } => {
                let (ticket, comm) = (*ticket, *comm);
                let Some(at) = self
                    .buffered
                    .parcels
                    .iter()
                    .position(|p| p.ticket == ticket)
                else {
                    return Ok(None);
                };
                let memory = self.buffered.parcels.swap_remove(at).memory;
                *self.requests.get_mut(id)? = Request::Recalled {
                    ticket,
                    comm,
                    memory,
                };
                ticket
            }
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
        self.engine()?.cancel(ticket);
        Ok(None)
    }
}
