//! Point-to-point communication (MPI-5.0 §3).

/// All requests.
#[derive(Default)]
pub struct Requests {}
