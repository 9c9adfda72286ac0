//! Error handlers (MPI-5.0 §9.3).

/// All error handlers.
#[derive(Default)]
pub struct Errhandlers {}
