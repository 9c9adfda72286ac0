//! Running a schedule, a bit at every turn of progress.

use crate::base::error::{Class, Error, Result};
use crate::base::id::DatatypeId;
use crate::engine;
use crate::mpi::collective::schedule::{Data, Schedule, Step};
use crate::mpi::datatype;
use crate::mpi::op::UserFunction;
use crate::transport::Shown;

pub use crate::mpi::collective::schedule::Rank;

/// What carries a schedule's messages. Messages between two processes arrive in the order in which they were sent.
pub trait Port {
    type Ticket;
    fn send(&mut self, data: engine::Data, to: Rank) -> Self::Ticket;
    fn recv(&mut self, data: engine::Data, from: Rank) -> Self::Ticket;
    /// `None`: under way. Not asked again once it has answered.
    fn test(&mut self, ticket: &Self::Ticket) -> Option<Result<()>>;

    /// This rank's number in its communicator.
    fn rank(&self) -> u32;
    /// Shows so many bytes on this rank's board, or (`show_at`) in its memory. `None`: not yet, ask again.
    fn show(
        &mut self,
        phase: u32,
        length: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Option<Result<()>>;
    fn show_at(&mut self, phase: u32, address: *mut u8, length: usize) -> Option<Result<()>>;
    /// What a rank shows; it stays until [`Port::done`].
    fn look(&mut self, phase: u32, from: u32) -> Option<Result<Shown>>;
    /// Reads what a rank shows in its memory.
    fn fetch(
        &mut self,
        phase: u32,
        from: u32,
        remote: u64,
        into: *mut u8,
        length: usize,
    ) -> Result<()>;
    /// Boards are not looked at any more.
    fn done(&mut self);
    /// Has everybody, or this rank, said that of theirs?
    fn is_read(&mut self, by: Option<u32>) -> Option<Result<()>>;
    /// What was shown in memory is not there any more.
    fn withdraw(&mut self);
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
    pub schedule: Schedule,
    /// The step to be done next.
    at: usize,
    /// Messages in the order in which they were started; those before `open` are over.
    pending: Vec<T>,
    open: usize,
    /// What went wrong first. The rest still runs, so that no peer waits for this one in vain.
    trouble: Option<Error>,
    /// Something went wrong at the boards, and nothing more is shown.
    pub(super) gave_up: bool,
    /// Something is shown in this rank's memory.
    pub(super) away: bool,
    /// It was said that boards are not looked at any more.
    pub(super) done: bool,
    /// Portions of others' memory, as words for their alignment.
    pub(super) portion: Vec<u128>,
}

impl<T> Default for Running<T> {
    fn default() -> Running<T> {
        Running::new(Schedule::default())
    }
}

impl<T> Running<T> {
    pub fn new(schedule: Schedule) -> Running<T> {
        Running {
            schedule,
            at: 0,
            pending: Vec::new(),
            open: 0,
            trouble: None,
            gave_up: false,
            away: false,
            done: false,
            portion: Vec::new(),
        }
    }

    /// Back to the first step, to run once more. Only when it is done.
    pub fn rewind(&mut self) {
        self.at = 0;
        self.pending.clear();
        self.open = 0;
        self.trouble = None;
        self.gave_up = false;
        self.away = false;
        self.done = false;
    }

    /// Goes on as far as it can without waiting.
    ///
    /// # Errors
    /// The first of its messages' errors, when all is over.
    pub fn advance(&mut self, port: &mut impl Port<Ticket = T>) -> Result<State> {
        loop {
            let Some(step) = self.schedule.steps.get(self.at) else {
                if !self.settle(port, 0) {
                    return Ok(State::Waiting);
                }
                return match self.trouble.take() {
                    None => Ok(State::Done),
                    Some(error) => Err(error),
                };
            };
            match step {
                Step::Fence { keep } => {
                    let keep = *keep as usize;
                    if !self.settle(port, keep) {
                        return Ok(State::Waiting);
                    }
                }
                Step::Send { data, to } => {
                    let ticket = port.send(self.schedule.wire(data), *to);
                    self.pending.push(ticket);
                }
                Step::Recv { data, from } => {
                    let ticket = port.recv(self.schedule.wire(data), *from);
                    self.pending.push(ticket);
                }
                // Without a message there is nothing to combine; on the way to the end nothing waits either.
                Step::Copy { .. } | Step::Reduce { .. } if self.hopeless() => {}
                Step::Copy { from, to } => self.copy(from, to),
                Step::Reduce {
                    input,
                    inout,
                    count,
                } => {
                    if let Some(call) = self.reduce(*input, *inout, *count) {
                        return Ok(State::Call(call));
                    }
                }
                step => {
                    let step = *step;
                    match self.board(step, port) {
                        None => return Ok(State::Waiting),
                        Some(Ok(())) => {}
                        Some(Err(error)) => {
                            self.trouble.get_or_insert(error);
                        }
                    }
                }
            }
            self.at += 1;
        }
    }

    /// A member is gone.
    fn hopeless(&self) -> bool {
        matches!(&self.trouble, Some(error) if error.class == Class::ProcAborted)
    }

    /// The user's reduction has run.
    pub fn resumed(&mut self) {
        self.at += 1;
    }

    /// Are all messages over but for the newest `keep`?
    fn settle(&mut self, port: &mut impl Port<Ticket = T>, keep: usize) -> bool {
        let end = self.pending.len().saturating_sub(keep);
        while self.open < end {
            match port.test(&self.pending[self.open]) {
                None => return false,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    self.trouble.get_or_insert(error);
                }
            }
            self.open += 1;
        }
        if self.open == self.pending.len() {
            self.pending.clear();
            self.open = 0;
        }
        true
    }

    fn copy(&self, from: &Data, to: &Data) {
        let s = &self.schedule;
        match (s.ty(from), s.ty(to)) {
            // SAFETY: buffers of the program, valid until the collective completes (MPI-5.0 §6.12), or scratch of
            // this schedule; of both sides the smaller size is copied.
            (None, None) => unsafe {
                std::ptr::copy(from.buffer, to.buffer, from.count.min(to.count));
            },
            (None, Some(ty)) => {
                // SAFETY: as above.
                unsafe {
                    let bytes = std::slice::from_raw_parts(from.buffer, from.count);
                    datatype::unpack(ty, to.count, to.buffer, 0, bytes);
                }
            }
            (Some(ty), None) => {
                // SAFETY: as above.
                unsafe {
                    let bytes = std::slice::from_raw_parts_mut(to.buffer, to.count);
                    datatype::pack(ty, from.count, from.buffer, 0, bytes);
                }
            }
            (Some(a), Some(b)) => {
                // SAFETY: as above.
                unsafe { datatype::copy((a, from.count, from.buffer), (b, to.count, to.buffer)) };
            }
        }
    }

    /// Reduces, or says that the user's function has to.
    fn reduce(&self, input: *mut u8, inout: *mut u8, count: usize) -> Option<Upcall> {
        let fold = self.schedule.fold.as_ref()?;
        if let Some(function) = fold.op.as_ref().and_then(|op| op.user()) {
            return Some(Upcall {
                function: function.clone(),
                input,
                inout,
                count,
                id: fold.id,
            });
        }
        if let Some(kernel) = fold.kernel {
            // SAFETY: as in `copy`; the builder lets input and inout never overlap, and checked that operation and
            // type fit.
            unsafe { kernel(input, inout, count) };
        }
        None
    }
}
