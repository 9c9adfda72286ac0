//! MPI's semantics, a file a chapter, over the engine. Nothing here blocks, calls user code or knows an ABI.

pub mod attribute;
pub mod collective;
pub mod comm;
pub mod datatype;
pub mod errhandler;
pub mod group;
pub mod info;
pub mod op;
pub mod pt2pt;
pub mod status;
pub mod topology;

pub use status::Status;

use crate::engine::Engine;

/// Everything that one MPI process knows. The runtime owns the only one and lends it while the gate is held.
pub struct World {
    pub types: datatype::Types,
    pub groups: group::Groups,
    pub comms: comm::Comms,
    pub ops: op::Ops,
    pub infos: info::Infos,
    pub errhandlers: errhandler::Errhandlers,
    pub keyvals: attribute::Keyvals,
    pub requests: pt2pt::Requests,
    pub engine: Engine,
}
