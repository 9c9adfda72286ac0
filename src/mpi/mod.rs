//! MPI's semantics, a file a chapter, over the engine. Nothing here blocks, calls user code or knows an ABI.

pub mod attribute;
mod begin;
pub mod boards;
pub mod buffered;
mod channel;
pub mod collective;
pub mod comm;
pub mod datatype;
pub mod errhandler;
pub mod group;
pub mod info;
pub mod nodes;
pub mod op;
pub mod progress;
pub mod pt2pt;
pub mod request;
pub mod session;
pub mod status;
pub mod topology;

pub use status::Status;

use crate::base::error::Result;
use crate::base::id::{MessageId, Table};
use crate::engine::{Engine, Message};
use crate::fail;

/// Everything that one MPI process knows. The runtime owns the only one and lends it while the gate is held.
pub struct World {
    pub types: datatype::Types,
    pub groups: group::Groups,
    pub comms: comm::Comms,
    pub ops: op::Ops,
    pub infos: info::Infos,
    pub errhandlers: errhandler::Errhandlers,
    pub keyvals: attribute::Keyvals,
    pub requests: request::Requests,
    pub buffered: buffered::Buffered,
    pub messages: Table<MessageId, Matched>,
    pub sessions: session::Sessions,
    /// Which algorithms collectives choose.
    pub limits: collective::limits::Limits,
    /// Schedules that have run, for the next collectives.
    pub idle: progress::Idle,
    /// `None` before MPI_Init and after MPI_Finalize.
    pub engine: Option<Engine>,
}

/// A message that a matched probe took (MPI-5.0 §3.8.2).
pub struct Matched {
    pub comm: crate::base::id::CommId,
    pub context: u64,
    pub source: u32,
    pub tag: i32,
    pub message: Message,
}

impl World {
    /// A process that has not been told yet who it is.
    pub fn new() -> World {
        World {
            types: datatype::Types::new(),
            groups: group::Groups::new(crate::base::id::PeerId(0)),
            comms: comm::Comms::new(),
            ops: op::Ops::new(),
            infos: info::Infos::new(),
            errhandlers: errhandler::Errhandlers::new(),
            keyvals: attribute::Keyvals::new(),
            requests: request::Requests::new(),
            buffered: buffered::Buffered::default(),
            messages: Table::new(crate::base::id::FIRST_USER),
            sessions: session::Sessions::new(),
            limits: collective::limits::Limits::DEFAULT,
            idle: progress::Idle::default(),
            engine: None,
        }
    }

    #[inline]
    pub fn engine(&mut self) -> Result<&mut Engine> {
        match &mut self.engine {
            Some(engine) => Ok(engine),
            None => fail!(Other, "MPI is not initialized, or already finalized"),
        }
    }
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}
