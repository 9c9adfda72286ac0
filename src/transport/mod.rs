//! Links to other processes. A transport moves frames (header and payload), in order and without loss per pair, and
//! knows nothing of MPI or of the rendezvous: it hands out an opaque address and takes those of others.

mod choice;
#[cfg(test)]
mod conformance;
mod known;
pub mod links;
pub mod onesided;
mod os;
mod own;
pub mod parts;
pub mod post;
#[cfg(test)]
mod processes;
pub mod shm;
pub mod sim;
#[cfg(test)]
mod station;
pub mod tcp;
pub mod verbs;

pub use known::{Known, TABLE_MAX};
pub use links::{Links, Options};
pub use onesided::{Access, Atomic, Begun, Exposed, Hold, Way};
pub use post::{Courier, Mailbox, Outside};
pub use shm::board::{Boards, Offer, Shown, PHASES as BOARD_PHASES, ROOM as BOARD_ROOM};

use crate::base::id::PeerId;
use crate::wire::frame::Header;

/// Bytes of payload that a frame of any link takes.
pub const SMALLEST: usize = 512;

/// From so many bytes on a payload that lies in one piece had better leave from there and be read to its place, where the
/// link can do that, than go through a buffer.
pub const LEAST_RUN: usize = 8 << 10;

/// The answer to a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Header and payload are on their way.
    Done,
    /// Nothing was taken; try again after a poll.
    Busy,
    /// The peer is gone; `poll` reports (or has reported) the loss.
    Lost,
}

/// Takes what arrives during a poll.
pub trait Sink {
    /// A frame; `payload` is only lent. `header.length == payload.len()`.
    fn frame(&mut self, from: PeerId, header: &Header, payload: &[u8]);
    /// Where the payload of this frame belongs, `header.length` bytes in one piece, if that is known before it has come: it may
    /// be written there until the next call of anything of the rank's.
    fn place(&mut self, _from: PeerId, _header: &Header) -> Option<*mut u8> {
        None
    }
    /// Of a whole message that has only begun to come: what its payload is the piece of from now on, if a receive waits for it.
    fn begun(&mut self, _from: PeerId, _header: &Header) -> Option<Header> {
        None
    }
    /// The first bytes of it are there.
    fn placed(&mut self, _from: PeerId, _header: &Header, _bytes: usize) {}
    /// A one-sided call is over, told once and before the peer's loss. Not `fine`: that loss follows.
    fn finished(&mut self, token: u64, fine: bool);
    /// The peer is gone, said once.
    fn lost(&mut self, peer: PeerId, why: &str);
}
