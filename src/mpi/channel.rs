//! Where a collective's steps go: its communicator's messages and boards.

use crate::base::error::{Class, Error, Result};
use crate::base::id::PeerId;
use crate::engine::{Data, End, Engine, Outcome, Pattern, Started, Ticket};
use crate::mpi::boards::PHASES;
use crate::mpi::collective::running::{Port, Rank};
use crate::mpi::comm::{self, Comm, COLLECTIVE, LOCAL_PHASE};
use crate::mpi::group::Group;
use crate::transport::{Boards, Shown};
use std::sync::Arc;

/// Where a collective's messages go.
pub(super) struct Lane {
    context: u64,
    local_context: u64,
    tag: i32,
    rank: u32,
    group: Arc<Group>,
    remote: Option<Arc<Group>>,
    /// Lent by the communicator, if the schedule shows anything.
    pub(super) boards: Option<Box<Boards>>,
    /// Looks at a board before something else is done.
    pub(super) spins: u32,
    /// What is read from boards also goes on by messages.
    pub(super) passes_on: bool,
}

impl Lane {
    pub(super) fn of(on: &Comm, tag: i32) -> Lane {
        Lane {
            context: on.context,
            local_context: on.local_context,
            tag,
            rank: on.rank,
            group: on.group.clone(),
            remote: on.remote.clone(),
            boards: None,
            spins: 0,
            passes_on: false,
        }
    }

    /// The same for the next collective, mostly on the same communicator.
    pub(super) fn change(&mut self, on: &Comm, tag: i32) {
        let same = |a: &Option<Arc<Group>>, b: &Option<Arc<Group>>| match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        if !Arc::ptr_eq(&self.group, &on.group) || !same(&self.remote, &on.remote) {
            *self = Lane::of(on, tag);
        }
        (self.context, self.local_context) = (on.context, on.local_context);
        (self.tag, self.rank) = (tag, on.rank);
    }
}

/// The engine as a schedule sees it.
pub(super) struct Channel<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) lane: &'a mut Lane,
}

impl Channel<'_> {
    fn resolve(&self, rank: Rank) -> (PeerId, u64, u32) {
        match (rank, &self.lane.remote) {
            (Rank::Remote(rank), Some(remote)) => (
                remote.members[rank as usize],
                self.lane.context + COLLECTIVE,
                rank,
            ),
            (Rank::Local(rank) | Rank::Remote(rank), remote) => {
                let channel = if remote.is_some() {
                    LOCAL_PHASE
                } else {
                    COLLECTIVE
                };
                let context = self.lane.local_context + channel;
                (self.lane.group.members[rank as usize], context, rank)
            }
        }
    }
}

/// A schedule's message: over already, or under way.
pub enum Message {
    Over(Outcome),
    Ticket(Ticket),
}

impl From<Started> for Message {
    fn from(started: Started) -> Message {
        match started {
            Started::Done(outcome) => Message::Over(outcome),
            Started::Pending(ticket) => Message::Ticket(ticket),
        }
    }
}

impl Port for Channel<'_> {
    type Ticket = Message;

    fn send(&mut self, data: Data, to: Rank) -> Message {
        let (peer, context, _) = self.resolve(to);
        self.engine
            .send(
                data,
                peer,
                context,
                self.lane.rank,
                self.lane.tag,
                false,
                false,
            )
            .into()
    }

    fn recv(&mut self, data: Data, from: Rank) -> Message {
        let (peer, context, rank) = self.resolve(from);
        let pattern = Pattern {
            source: Some(rank),
            tag: Some(self.lane.tag),
        };
        self.engine
            .receive(data, context, pattern, Some(peer))
            .into()
    }

    fn test(&mut self, message: &Message) -> Option<Result<()>> {
        let outcome = match message {
            Message::Over(outcome) => *outcome,
            Message::Ticket(ticket) => self.engine.test(*ticket)?,
        };
        Some(match outcome.end {
            End::Fine | End::Cancelled => Ok(()),
            End::Truncated(total) => Err(Error::new(
                Class::Truncate,
                format!(
                    "rank {} sent {total} bytes where {} were expected: the ranks disagree about counts or types",
                    outcome.source, outcome.bytes
                ),
            )),
            End::Lost(peer) => {
                // What would be sent from here on lacks what it brought.
                comm::sever(self.engine, self.lane.context, self.lane.local_context, peer);
                Err(gone(self.engine, peer))
            }
        })
    }

    fn rank(&self) -> u32 {
        self.lane.rank
    }

    fn show(
        &mut self,
        phase: u32,
        length: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Option<Result<()>> {
        if let Some(error) = self.gone() {
            return Some(Err(error));
        }
        let boards = self.lane.boards.as_mut()?;
        self.engine
            .links
            .show(boards, phase, length, fill)
            .then_some(Ok(()))
    }

    fn show_at(&mut self, phase: u32, address: *mut u8, length: usize) -> Option<Result<()>> {
        if let Some(error) = self.gone() {
            return Some(Err(error));
        }
        let boards = self.lane.boards.as_mut()?;
        let links = &mut self.engine.links;
        links
            .show_at(boards, phase, address as u64, length)
            .then_some(Ok(()))
    }

    fn look(&mut self, phase: u32, from: u32) -> Option<Result<Shown>> {
        let boards = self.lane.boards.as_mut()?;
        match self.engine.links.look(boards, phase, from, self.lane.spins) {
            None => self.gone().map(Err),
            Some(Err(error)) => Some(Err(self.left(from, error))),
            shown => shown,
        }
    }

    fn fetch(
        &mut self,
        phase: u32,
        from: u32,
        remote: u64,
        into: *mut u8,
        length: usize,
    ) -> Result<()> {
        let Some(boards) = &self.lane.boards else {
            return Ok(());
        };
        let links = &mut self.engine.links;
        let end = links.fetch_shown(boards, (phase, from), remote, into, length);
        end.map_err(|error| self.left(from, error))
    }

    fn done(&mut self) {
        if let Some(boards) = &mut self.lane.boards {
            self.engine.links.say_done(boards, PHASES);
        }
    }

    fn is_read(&mut self, by: Option<u32>) -> Option<Result<()>> {
        let boards = self.lane.boards.as_mut()?;
        if self.engine.links.is_read(boards, PHASES, by) {
            return Some(Ok(()));
        }
        self.gone().map(Err)
    }

    fn withdraw(&mut self) {
        if let Some(boards) = &self.lane.boards {
            self.engine.links.withdraw_shown(boards, PHASES);
        }
    }
}

impl Channel<'_> {
    /// A member, by its place among those with boards, has left a collective, because it ended or another one did: none
    /// succeeds any more.
    #[cold]
    fn left(&mut self, rank: u32, error: Error) -> Error {
        let Some(boards) = &self.lane.boards else {
            return error;
        };
        let peer = boards.peer(rank);
        let refused = error.class != Class::ProcAborted;
        // What lacks a member's part must not reach those who do not see its board.
        if !refused || self.lane.passes_on {
            let (context, local) = (self.lane.context, self.lane.local_context);
            comm::sever(self.engine, context, local, peer);
        }
        if !refused {
            return error;
        }
        let advice = "memory that other processes may not read? MAYFLY_BOARDS=0 sends it instead";
        Error::new(error.class, format!("{} ({advice})", error.detail))
    }

    /// A member of the communicator is gone.
    fn gone(&mut self) -> Option<Error> {
        let peer = self.engine.severed(self.lane.context + COLLECTIVE)?;
        Some(gone(self.engine, peer))
    }
}

/// A peer is gone, in words.
#[cold]
fn gone(engine: &Engine, peer: PeerId) -> Error {
    let why = engine.core.peers[peer.0 as usize].lost.as_deref();
    let why = why.unwrap_or("it has finalized");
    let text = format!("rank {} of MPI_COMM_WORLD is gone: {why}", peer.0);
    Error::new(Class::ProcAborted, text)
}
