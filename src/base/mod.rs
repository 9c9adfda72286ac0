//! What every floor may use: numbers, errors, handles. No I/O but [`trace`]'s and [`config`]'s.

pub mod config;
pub mod constant;
pub mod error;
pub mod id;
pub mod os;
pub mod span;
pub mod trace;
