//! Where MPI meets the process: the gate, waiting, user callbacks, start and end.

pub mod calls;
pub mod process;

pub use process::Runtime;
