//! Datatypes (MPI-5.0 §5).

use std::sync::Arc;

/// A datatype; handles and pending operations share it.
pub type Type = Arc<Datatype>;

/// What a buffer's elements look like in memory.
pub struct Datatype {}

/// All datatypes.
#[derive(Default)]
pub struct Types {}
