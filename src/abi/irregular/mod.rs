//! The doors written by hand, a file a noun: what no table row can say.

// As many as the procedures have.
#![allow(clippy::too_many_arguments)]

mod attribute;
mod completion;
mod datatype;
mod environment;
mod errhandler;
mod grequest;
mod info;
mod op;
mod session;
mod status;
mod topology;

pub use attribute::*;
pub use completion::*;
pub use datatype::*;
pub use environment::*;
pub use errhandler::*;
pub use grequest::*;
pub use info::*;
pub use op::*;
pub use session::*;
pub use status::*;
pub use topology::*;
