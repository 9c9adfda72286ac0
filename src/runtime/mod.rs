//! Where MPI meets the process: the gate, waiting, user callbacks, start and end.

pub mod calls;
pub mod construct;
pub mod gate;
pub mod init;
pub mod process;
pub mod upcall;
pub mod wait;
mod wireup;

pub use process::Runtime;
