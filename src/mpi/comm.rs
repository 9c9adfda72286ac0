//! Communicators (MPI-5.0 §7.4 to §7.6).

use crate::base::constant::handle;
use crate::base::error::Result;
use crate::base::id::{CommId, ErrhandlerId, PeerId, Table};
use crate::engine::Engine;
use crate::fail;
use crate::mpi::attribute::Attributes;
use crate::mpi::boards::Showing;
use crate::mpi::group::Group;
use crate::mpi::info::Info;
use crate::mpi::nodes::Nodes;
use crate::mpi::topology::Topology;
use std::sync::Arc;

/// Added to a context id: the channel of collectives.
pub const COLLECTIVE: u64 = 1;
/// Added to a context id: the channel on which communicators are made.
pub const CONSTRUCTION: u64 = 2;
/// Added to the context id of an inter-communicator's local group: the channel of its collectives' local phases. The
/// hidden communicator of that group counts its own collectives on [`COLLECTIVE`].
pub const LOCAL_PHASE: u64 = 3;

/// So many channels a context has.
pub const CHANNELS: u64 = 4;

/// One communicator of this process.
pub struct Comm {
    /// The number of its messages on the wire, a multiple of 8. Collectives use the next ([`COLLECTIVE`]),
    /// construction of communicators the one after ([`CONSTRUCTION`]).
    pub context: u64,
    /// The (local) group.
    pub group: Arc<Group>,
    /// The remote group of an inter-communicator.
    pub remote: Option<Arc<Group>>,
    /// This process's rank in `group`.
    pub rank: u32,
    /// Of an inter-communicator: a hidden communicator of its local group, for its internal collectives.
    pub local: Option<CommId>,
    /// Context of an inter-communicator's local group, for its internal collectives; else equal to `context`.
    pub local_context: u64,
    /// Collective operations started on it: their tag, the same on every rank because their order is.
    pub collectives: u32,
    /// Where its members show each other what collectives bring.
    pub boards: Showing,
    /// Its members are on several machines, and some share one: those have boards then.
    pub nodes: Option<Box<Nodes>>,
    pub attributes: Attributes,
    pub topology: Option<Topology>,
    pub name: String,
    pub errhandler: ErrhandlerId,
    pub info: Info,
}

impl Comm {
    /// Processes in the local group.
    pub fn size(&self) -> u32 {
        self.group.members.len() as u32
    }

    /// Is it an inter-communicator?
    pub fn is_inter(&self) -> bool {
        self.remote.is_some()
    }

    /// The group that ranks of point-to-point calls and roots name.
    pub fn targets(&self) -> &Arc<Group> {
        self.remote.as_ref().unwrap_or(&self.group)
    }

    /// The process behind a rank that a point-to-point call names.
    pub fn peer(&self, rank: u32) -> PeerId {
        self.targets().members[rank as usize]
    }
}

/// All communicators.
pub struct Comms {
    pub table: Table<CommId, Box<Comm>>,
    /// Contexts that this process gave out so far.
    pub contexts: u64,
}

impl Comms {
    /// A context id that no other process gives out: this process's number and a count. The low three bits are the
    /// message's channel.
    pub fn new_context(&mut self, me: PeerId) -> u64 {
        self.contexts += 1;
        u64::from(me.0 + 1) << 40 | self.contexts << 3
    }

    pub fn new() -> Comms {
        Comms {
            table: Table::new(handle::COMM_NULL.0),
            contexts: 0,
        }
    }

    /// Tells the engine in which communicators a lost process was: receives from any source fail there, and so do
    /// collectives, wherever among the members the loss would have been felt.
    #[cold]
    pub fn bereave(&self, engine: &mut Engine, peer: PeerId) {
        for (_, comm) in self.table.iter() {
            let local = comm.group.members.contains(&peer);
            let remote = comm.remote.as_ref();
            let remote = remote.is_some_and(|group| group.members.contains(&peer));
            if remote || (local && comm.remote.is_none()) {
                engine.bereave(comm.context, peer);
            }
            if local || remote {
                sever(engine, comm.context, comm.local_context, peer);
            }
        }
    }

    #[inline]
    pub fn get(&self, id: CommId) -> Result<&Comm> {
        match self.table.get(id) {
            Some(comm) => Ok(comm),
            None => missing(id),
        }
    }

    #[inline]
    pub fn get_mut(&mut self, id: CommId) -> Result<&mut Comm> {
        match self.table.get_mut(id) {
            Some(comm) => Ok(comm),
            None => missing(id),
        }
    }
}

impl Default for Comms {
    fn default() -> Comms {
        Comms::new()
    }
}

/// Ends the collectives and constructions of a communicator with these contexts.
#[cold]
pub fn sever(engine: &mut Engine, context: u64, local_context: u64, gone: PeerId) {
    engine.sever(context + COLLECTIVE, gone);
    engine.sever(context + CONSTRUCTION, gone);
    if local_context != context {
        engine.sever(local_context + LOCAL_PHASE, gone);
    }
}

#[cold]
fn missing<T>(id: CommId) -> Result<T> {
    if id == handle::COMM_NULL {
        fail!(Comm, "the communicator is MPI_COMM_NULL");
    }
    fail!(Comm, "communicator {:#x} does not exist (freed?)", id.0)
}
