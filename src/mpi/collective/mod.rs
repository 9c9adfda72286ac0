//! Collective communication (MPI-5.0 §6): a collective is a schedule.

mod provisional;
/// Provisional.
pub mod running {
    pub use super::provisional::*;
}
/// Provisional.
pub mod schedule {
    pub use super::provisional::*;
}
