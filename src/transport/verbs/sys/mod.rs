//! libibverbs, opened at run time, behind owners that free what they hold in the right order.
//!
//! ```text
//! Library::open()            "is there any device?" (one system call when not), dlopen, the calls' addresses; never closed
//!   .devices()               Devices: names, kinds; .open(name) -> Arc<Context>
//! Context                    .attributes() .port(n) .gids(n) .event() .events_fd() .library() .name()
//! Pd::new(&context)          Arc<Pd>
//! Mr::register(&pd, address, length, Access)         .lkey() .rkey()            unsafe: the memory must stay
//! Channel::new(&context)     .fd() (nonblocking) .take() .drain() acknowledge what they take
//! Cq::new(&context, entries, Option<&channel>)       .poll(&mut [Completion]) -> &[Completion]; .arm(solicited_only)
//! Srq::new(&pd, requests)    .post(&[Receive])
//! Qp::reliable(..), Qp::datagram(..)                 .number() .caps() .init() .receive_from() .send_to() .fail() .state()
//!   .post(&mut [Work]) -> Result<(), Refused>        Work::send(id).piece(address, length, lkey).signaled() ...
//! Ah::new(&pd, &Route)       where a datagram goes
//! Watch::new(&context)       .descriptors() for epoll, .look() -> Option<Gone>: the device or a connection is gone
//! ```
//!
//! Everything may be used from any thread (libibverbs locks). An owner keeps what it was made from alive, so any order of
//! drops is right. A child of a fork shares the parent's descriptors: there, dropping an owner does nothing. Every error
//! names the call, the device and what the system said ([`Error`]); `errno` tells causes apart.

mod completion;
mod context;
mod error;
pub mod layout;
mod library;
#[cfg(test)]
mod live;
mod memory;
mod pair;
mod receive;
mod route;
mod watch;
mod work;

pub use completion::{words, Channel, Completion, Cq, Operation};
pub use context::{Context, Event, GidEntry, GidKind, Of};
pub use error::Error;
pub use library::{Devices, Fork, Library};
pub use memory::{Access, Mr, Pd};
pub use pair::{Caps, Peering, Qp, Sending, State};
pub use receive::{Receive, Srq};
pub use route::{Ah, Global, Route};
pub use watch::{Gone, Watch};
pub use work::{Refused, Work};
