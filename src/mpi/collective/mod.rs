//! Collective communication (MPI-5.0 §6): a collective is a schedule.

pub mod blocks;
pub mod moving;
pub mod reducing;
pub mod running;
pub mod schedule;
