//! One-sided calls: memory is exposed to a peer, which reads it, writes it or counts in it without a word from here.
//!
//! What begins (`Begun::Yes`) ends with one [`Sink::finished`] of its token, in a later poll; until then the memory it
//! names must stay. Calls overtake each other. One that does not end well means that the connection is gone: the peer's loss follows. A frame
//! that is sent after a put is handed out there after the put's bytes are in place.
//!
//! [`Sink::finished`]: crate::transport::Sink::finished

use crate::base::id::PeerId;
use crate::transport::links::{Links, Route};
use std::sync::atomic::{AtomicU64, Ordering};

/// What keeps exposed memory reachable; given back by [`Links::conceal`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hold(pub(super) Keeper);

/// Who keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keeper {
    /// Nobody has to: the kernel lets the peer in, or it is this process.
    Nobody,
    Sim(u32),
    Verbs(crate::transport::verbs::memory::Hold),
}

/// What a peer needs, with the address, to reach memory of this rank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exposed {
    pub key: u32,
    pub hold: Hold,
}

/// What a peer may do with exposed memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Read,
    Write,
    /// Read, write and count.
    Atomic,
}

/// How a large message comes from a peer best.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// By reading its memory at once: one's own, or cross-memory attach.
    Fetch,
    /// By a read that completes later.
    Get,
    /// By a write of the sender's.
    Put,
    /// In frames.
    Pieces,
}

/// The answer to a one-sided call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begun {
    /// It is under way; its token will be finished.
    Yes,
    /// Nothing was begun; try again after a poll.
    Busy,
    /// Nothing was begun, and nothing will be: take another way. (Bytes of the target may have been written.)
    No,
}

/// A remote operation on 8 bytes, little endian; the old value is fetched. It is atomic among those of one transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Atomic {
    FetchAdd(u64),
    CompareSwap { compare: u64, swap: u64 },
}

impl Atomic {
    /// Does it at this address, which must be valid and a multiple of 8, and says what was there.
    ///
    /// # Safety
    /// The 8 bytes must be valid for reads and writes, and nobody may use them otherwise meanwhile but by atomics.
    pub(super) unsafe fn apply(self, at: *mut u64) -> u64 {
        // SAFETY: the caller's promise.
        let word = unsafe { AtomicU64::from_ptr(at) };
        match self {
            Atomic::FetchAdd(add) => word.fetch_add(add, Ordering::SeqCst),
            Atomic::CompareSwap { compare, swap } => word
                .compare_exchange(compare, swap, Ordering::SeqCst, Ordering::SeqCst)
                .unwrap_or_else(|old| old),
        }
    }
}

/// The pointers that these take are a program's, which vouches for them (MPI-5.0 §3.2.2, §12.2), as in [`Links::fetch`]:
/// the engine, which may write no `unsafe`, passes them on.
#[allow(clippy::not_unsafe_ptr_arg_deref)]
impl Links {
    /// How a large message comes from this peer best. Settled on first use.
    pub fn way(&mut self, peer: PeerId) -> Way {
        match self.route(peer) {
            Route::Sim => self.sim.as_ref().map_or(Way::Pieces, |s| s.way(peer)),
            Route::Verbs => self.verbs.as_ref().map_or(Way::Pieces, |v| v.way(peer)),
            Route::Own | Route::Shm if self.can_fetch(peer) => Way::Fetch,
            _ => Way::Pieces,
        }
    }

    /// Lets a peer reach `length` bytes from `address` on, until [`Links::conceal`]. `None`: it cannot; frames have to
    /// do. Cheap where the memory is known already.
    pub fn expose(
        &mut self,
        peer: PeerId,
        address: *mut u8,
        length: usize,
        access: Access,
    ) -> Option<Exposed> {
        let free = Exposed {
            key: 0,
            hold: Hold(Keeper::Nobody),
        };
        let route = self.route(peer);
        if let (Route::Verbs, Some(verbs)) = (route, &mut self.verbs) {
            let (key, hold) = verbs.expose(address, length, access)?;
            return Some(Exposed {
                key,
                hold: Hold(Keeper::Verbs(hold)),
            });
        }
        match (route, &mut self.sim) {
            (Route::Own, _) => Some(free),
            (Route::Shm, _) if access != Access::Atomic => Some(free),
            (Route::Sim, Some(sim)) => sim.expose(peer, address, length, access),
            _ => None,
        }
    }

    /// Memory that is exposed by the simulation.
    #[cfg(test)]
    pub fn exposed(&self) -> usize {
        self.sim.as_ref().map_or(0, |sim| sim.exposed())
    }

    /// The end of an exposure. The peer may be gone.
    pub fn conceal(&mut self, hold: Hold) {
        match (hold.0, &mut self.sim, &mut self.verbs) {
            (Keeper::Sim(key), Some(sim), _) => sim.conceal(key),
            (Keeper::Verbs(hold), _, Some(verbs)) => verbs.conceal(hold),
            _ => (),
        }
    }

    /// Reads `length` bytes at `remote`, which `peer` has exposed under `key`, to `into`.
    pub fn get(
        &mut self,
        peer: PeerId,
        into: *mut u8,
        remote: u64,
        key: u32,
        length: usize,
        token: u64,
    ) -> Begun {
        match (self.route(peer), &mut self.shm, &mut self.sim) {
            (Route::Own, _, _) => {
                // SAFETY: both are this process's, given for this transfer; overlapping gives no undefined behaviour.
                unsafe { std::ptr::copy(remote as *const u8, into, length) };
                self.own.finish_later(token)
            }
            (Route::Shm, Some(shm), _) => {
                if !shm.can_fetch(peer) || shm.fetch(peer, remote, into, length).is_err() {
                    return Begun::No;
                }
                self.own.finish_later(token)
            }
            (Route::Sim, _, Some(sim)) => sim.get(peer, into, remote, key, length, token),
            (Route::Verbs, ..) => match &mut self.verbs {
                Some(verbs) => verbs.get(peer, into, remote, key, length, token),
                None => Begun::No,
            },
            _ => Begun::No,
        }
    }

    /// Writes `length` bytes from `from` to `remote`, which `peer` has exposed under `key`. Finished: the bytes are
    /// there, and `from` is free.
    pub fn put(
        &mut self,
        peer: PeerId,
        from: *const u8,
        remote: u64,
        key: u32,
        length: usize,
        token: u64,
    ) -> Begun {
        match (self.route(peer), &mut self.shm, &mut self.sim) {
            (Route::Own, _, _) => {
                // SAFETY: as in `get`.
                unsafe { std::ptr::copy(from, remote as *mut u8, length) };
                self.own.finish_later(token)
            }
            (Route::Shm, Some(shm), _) => {
                if !shm.can_fetch(peer) || shm.store(peer, from, remote, length).is_err() {
                    return Begun::No;
                }
                self.own.finish_later(token)
            }
            (Route::Sim, _, Some(sim)) => sim.put(peer, from, remote, key, length, token),
            (Route::Verbs, ..) => match &mut self.verbs {
                Some(verbs) => verbs.put(peer, from, remote, key, length, token),
                None => Begun::No,
            },
            _ => Begun::No,
        }
    }

    /// An operation on the 8 bytes at `remote`, a multiple of 8, which `peer` has exposed under `key` for atomics; what
    /// was there goes to `into`. The kernel counts in no other process, so there is none between two over shared memory.
    pub fn atomic(
        &mut self,
        peer: PeerId,
        what: Atomic,
        remote: u64,
        key: u32,
        into: *mut u64,
        token: u64,
    ) -> Begun {
        if !remote.is_multiple_of(8) {
            return Begun::No;
        }
        match (self.route(peer), &mut self.sim) {
            (Route::Own, _) => {
                // SAFETY: the program gave both words for this, and `remote` is aligned.
                unsafe {
                    let old = what.apply(remote as *mut u64);
                    into.write_unaligned(old);
                }
                self.own.finish_later(token)
            }
            (Route::Sim, Some(sim)) => sim.atomic(peer, what, remote, key, into, token),
            (Route::Verbs, _) => match &mut self.verbs {
                Some(verbs) => verbs.atomic(peer, what, remote, key, into, token),
                None => Begun::No,
            },
            _ => Begun::No,
        }
    }

    /// Looks whether this peer is there, where its end would not be noticed in silence; it is not bothered. A loss that
    /// is found is told by a poll, seconds later perhaps.
    pub fn probe(&mut self, peer: PeerId) {
        match (self.routes[peer.0 as usize], &mut self.verbs, &mut self.sim) {
            (Route::Verbs, Some(verbs), _) => verbs.probe(peer),
            (Route::Sim, _, Some(sim)) => sim.probe(peer),
            _ => (),
        }
    }

    /// Nothing is to be exchanged with this peer any more: others have said that it is gone. What is under way with it
    /// ends soon, badly; from now on it reaches no memory of this rank.
    pub fn give_up(&mut self, peer: PeerId) {
        if let (Route::Sim, Some(sim)) = (self.routes[peer.0 as usize], &mut self.sim) {
            sim.give_up(peer);
        }
        // Whatever way this rank sends, the peer may have come by verbs.
        if let Some(verbs) = &mut self.verbs {
            verbs.give_up(peer);
        }
    }
}
