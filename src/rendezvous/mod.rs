//! The service where the members of a job meet, and its two ends.
//!
//! The library uses [`message`] and [`client`] (blocking, std only); the command adds [`registry`], what the service
//! knows, and `server`, how it listens.

pub mod client;
pub mod message;
pub mod registry;

#[cfg(feature = "command")]
pub mod dial;
#[cfg(feature = "command")]
pub mod forward;
#[cfg(feature = "command")]
pub mod operator;
#[cfg(feature = "command")]
pub mod place;
#[cfg(feature = "command")]
pub mod relay;
#[cfg(feature = "command")]
pub mod server;
#[cfg(feature = "command")]
pub mod tls;
