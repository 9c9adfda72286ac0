//! One function a procedure of MPI, in the engine's types: what the generated entry points call. Names are the
//! procedures' without `MPI_`, in lower case; `_c` forms share the function. Inputs in the standard's order as
//! arguments, outputs as the result (a tuple when several).

// Argument lists are MPI's, and buffers valid by MPI's rules.
#![allow(clippy::not_unsafe_ptr_arg_deref, clippy::too_many_arguments)]

mod attribute;
mod collective;
mod comm;
mod completion;
mod datatype;
mod environment;
mod errhandler;
mod group;
mod info;
mod op;
mod pack;
mod pt2pt;
mod session;
mod topology;

pub use attribute::*;
pub use collective::*;
pub use comm::*;
pub use completion::*;
pub use datatype::*;
pub use environment::*;
pub use errhandler::*;
pub use group::*;
pub use info::*;
pub use op::*;
pub use pack::*;
pub use pt2pt::*;
pub use session::*;
pub use topology::*;
