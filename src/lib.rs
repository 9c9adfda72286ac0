//! Mayfly: MPI for processes that live inside functions.
//!
//! The floors, highest first; a floor uses only those below it (ARCHITECTURE.md tells more, tests/tidy.rs holds it):
//!
//! `cli` > `platform` > `rendezvous`; `abi` > `runtime` > `mpi` > `engine` > `transport`, `wire`, `qos`;
//! `runtime` > `bootstrap` > `rendezvous` (client and messages only); everything may use `base`.

pub mod base;

pub mod qos;
pub mod wire;

pub mod transport;

pub mod engine;

pub mod mpi;

pub mod bootstrap;
pub mod rendezvous;

pub mod runtime;

pub mod abi;

#[cfg(feature = "command")]
pub mod platform;
