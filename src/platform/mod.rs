//! What is outside the library: programs, launchers, hosts.

pub mod elf;
pub mod launch;
pub mod package;
pub mod on;
