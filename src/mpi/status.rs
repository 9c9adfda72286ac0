//! What a completed operation says of itself (MPI-5.0 §3.2.5).

use crate::base::constant::{ANY_SOURCE, ANY_TAG, PROC_NULL};
use crate::base::error::Class;

/// A status in the engine's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    pub source: i32,
    pub tag: i32,
    pub error: Class,
    /// Bytes of packed data received.
    pub bytes: u64,
    pub cancelled: bool,
}

impl Status {
    /// The empty status (MPI-5.0 §3.7.3): of null and inactive requests, and of sends.
    pub const EMPTY: Status = Status {
        source: ANY_SOURCE,
        tag: ANY_TAG,
        error: Class::Success,
        bytes: 0,
        cancelled: false,
    };

    /// Of a receive from MPI_PROC_NULL (MPI-5.0 §3.10).
    pub const PROC_NULL: Status = Status {
        source: PROC_NULL,
        tag: ANY_TAG,
        error: Class::Success,
        bytes: 0,
        cancelled: false,
    };
}
