//! Reduction operations (MPI-5.0 §6.9).

/// All operations.
#[derive(Default)]
pub struct Ops {}
