//! Matching, protocols, progress.

/// The message engine of one process.
pub struct Engine {}
