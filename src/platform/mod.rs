//! What is outside the library: programs, launchers, hosts.

pub mod elf;
pub mod host;
pub mod kubernetes;
pub mod launch;
pub mod on;
pub mod pack;
pub mod package;
pub mod remote;
pub mod start;
pub mod task;
