//! Running a schedule, a bit at every turn of progress.

use crate::base::error::Result;
use crate::base::id::DatatypeId;
use crate::mpi::collective::schedule::{Data, Schedule, Step};
use crate::mpi::datatype;
use crate::mpi::op::{self, OpKind, UserFunction};

pub use crate::mpi::collective::schedule::Rank;

/// What carries a schedule's messages.
pub trait Port {
    type Ticket;
    fn send(&mut self, data: &Data, to: Rank) -> Self::Ticket;
    fn recv(&mut self, data: &Data, from: Rank) -> Self::Ticket;
    /// `None`: under way.
    fn test(&mut self, ticket: &Self::Ticket) -> Option<Result<()>>;
}

/// Where a schedule stands.
pub enum State {
    Done,
    Waiting,
    /// A user's reduction has to run with the gate open; then [`Running::resumed`].
    Call(Upcall),
}

/// A user's reduction.
pub struct Upcall {
    function: UserFunction,
    input: *mut u8,
    inout: *mut u8,
    count: usize,
    id: DatatypeId,
}

impl Upcall {
    pub fn run(self) {
        (self.function)(self.input, self.inout, self.count as i64, self.id);
    }
}

/// A schedule under way; `T` is the port's ticket.
pub struct Running<T> {
    schedule: Schedule,
    at: usize,
    pending: Vec<T>,
}

impl<T> Running<T> {
    pub fn new(schedule: Schedule) -> Running<T> {
        Running {
            schedule,
            at: 0,
            pending: Vec::new(),
        }
    }

    /// Goes on as far as it can without waiting.
    pub fn advance(&mut self, port: &mut impl Port<Ticket = T>) -> Result<State> {
        loop {
            match self.schedule.steps.get(self.at) {
                None | Some(Step::Fence) => {
                    if !self.settle(port)? {
                        return Ok(State::Waiting);
                    }
                    if self.at >= self.schedule.steps.len() {
                        return Ok(State::Done);
                    }
                }
                Some(Step::Send { data, to }) => {
                    let ticket = port.send(data, *to);
                    self.pending.push(ticket);
                }
                Some(Step::Recv { data, from }) => {
                    let ticket = port.recv(data, *from);
                    self.pending.push(ticket);
                }
                Some(Step::Copy { from, to }) => {
                    // SAFETY: buffers of the program, valid until the collective completes (MPI-5.0 §6.12), or
                    // scratch of this schedule.
                    unsafe {
                        datatype::copy(
                            (&from.ty, from.count, from.buffer),
                            (&to.ty, to.count, to.buffer),
                        )
                    };
                }
                Some(Step::Reduce {
                    op,
                    id,
                    ty,
                    input,
                    inout,
                    count,
                }) => match &op.kind {
                    OpKind::User(function) => {
                        let call = Upcall {
                            function: function.clone(),
                            input: *input,
                            inout: *inout,
                            count: *count,
                            id: *id,
                        };
                        return Ok(State::Call(call));
                    }
                    OpKind::Predefined(which) => {
                        if let Some(basic) = ty.id() {
                            // SAFETY: as above; the builder checked that op and type fit.
                            unsafe { op::apply(*which, basic, *input, *inout, *count) };
                        }
                    }
                },
            }
            self.at += 1;
        }
    }

    /// The user's reduction has run.
    pub fn resumed(&mut self) {
        self.at += 1;
    }

    /// Is everything that was started over?
    fn settle(&mut self, port: &mut impl Port<Ticket = T>) -> Result<bool> {
        let mut trouble = Ok(());
        self.pending.retain(|ticket| match port.test(ticket) {
            None => true,
            Some(Ok(())) => false,
            Some(Err(error)) => {
                trouble = Err(error);
                false
            }
        });
        trouble?;
        Ok(self.pending.is_empty())
    }
}
