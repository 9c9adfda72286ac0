//! A large message in parts that its two ranks copy at the same time: the receiver from the front, the sender from behind.

use crate::base::error::Result;
use crate::base::id::PeerId;
use crate::fail;
use crate::transport::links::{Links, Route};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Most parts of a message.
pub const MOST: u32 = (1 << SHIFT) - 1;
const SHIFT: u32 = 16;

/// Which parts of one message are taken: its serial number in the upper half, how many from the front, how many from
/// behind. It lies in memory of both ranks, and only the receiver begins a message.
#[derive(Default)]
#[repr(C)]
pub struct Parts {
    taken: AtomicU64,
    /// The last message of which the sender has copied all that it took.
    finished: AtomicU32,
}

/// From where a part is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The receiver's.
    Front,
    /// The sender's.
    Behind,
}

impl Parts {
    /// The next message: no part of the last one can be taken any more. Its serial number.
    pub fn begin(&self) -> u32 {
        let serial = ((self.taken.load(Ordering::Relaxed) >> 32) as u32).wrapping_add(1);
        self.taken.store(u64::from(serial) << 32, Ordering::Release);
        serial
    }

    /// Takes the next of so many parts of that message: a third of what is left, so that few calls do it and both end at about
    /// the same time; their indices. `None`: all are taken, or it is another message's turn.
    pub fn take(&self, serial: u32, count: u32, side: Side) -> Option<Range<u32>> {
        let taken = |word: u64| {
            let front = word as u32 & MOST;
            let behind = word as u32 >> SHIFT;
            let left = count.min(MOST).saturating_sub(front + behind);
            if (word >> 32) as u32 != serial || left == 0 {
                return None;
            }
            let run = (left / 3).max(1);
            let end = count - behind;
            Some(match side {
                Side::Front => (word + u64::from(run), front..front + run),
                Side::Behind => (word + (u64::from(run) << SHIFT), end - run..end),
            })
        };
        let next = |word| taken(word).map(|(next, _)| next);
        let before = self
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
        before.ok().and_then(taken).map(|(_, run)| run)
    }

    /// The sender touches the receiver's memory no more for this message.
    pub fn finish(&self, serial: u32) {
        self.finished.store(serial, Ordering::Release);
    }

    /// Has it said so, of this message or a later one?
    pub fn is_finished(&self, serial: u32) -> bool {
        let last = self.finished.load(Ordering::Acquire);
        (last.wrapping_sub(serial) as i32) >= 0
    }
}

/// The pointers are a program's: see [`Links::fetch`].
#[allow(clippy::not_unsafe_ptr_arg_deref)]
impl Links {
    /// Begins a message of so many bytes from `peer` that the two copy together; its serial number. `None`: it does not pay,
    /// or the peer has no hand free.
    pub fn share(&mut self, peer: PeerId, bytes: usize) -> Option<u32> {
        // Where ranks are more than processors somebody else has work for this one.
        let crowded = self.is_crowded();
        match (self.routes[peer.0 as usize], &mut self.shm, &mut self.sim) {
            (Route::Shm, Some(shm), _) if !crowded => shm.share(peer, bytes),
            (Route::Sim, _, Some(sim)) => sim.share(peer),
            _ => None,
        }
    }

    /// Takes parts of a message from `peer`, or from behind of one to it.
    pub fn take_part(
        &mut self,
        peer: PeerId,
        serial: u32,
        count: u32,
        side: Side,
    ) -> Option<Range<u32>> {
        match (self.routes[peer.0 as usize], &mut self.shm, &mut self.sim) {
            (Route::Shm, Some(shm), _) => shm.take_part(peer, serial, count, side),
            (Route::Sim, _, Some(sim)) => sim.take_part(peer, serial, count, side),
            _ => None,
        }
    }

    /// This rank has copied all that it took of a message to `peer`.
    pub fn finish_parts(&mut self, peer: PeerId, serial: u32) {
        match (self.routes[peer.0 as usize], &mut self.shm, &mut self.sim) {
            (Route::Shm, Some(shm), _) => shm.finish_parts(peer, serial),
            (Route::Sim, _, Some(sim)) => sim.finish_parts(peer, serial),
            _ => (),
        }
    }

    /// Has `peer` copied all that it took of a message from it? It may be one of whom others say that it is gone.
    pub fn has_finished(&self, peer: PeerId, serial: u32) -> bool {
        match (&self.shm, &self.sim) {
            (Some(shm), _) => shm.has_finished(peer, serial),
            (None, Some(sim)) => sim.has_finished(peer, serial),
            (None, None) => true,
        }
    }

    /// Says of a message from `peer` whether that took any part of it.
    pub fn was_shared(&mut self, peer: PeerId, shared: bool) {
        if let (Route::Shm, Some(shm)) = (self.routes[peer.0 as usize], &mut self.shm) {
            shm.was_shared(peer, shared);
        }
    }

    /// Writes `length` bytes from `from` to `remote` in the memory of `peer`, with which a message is shared.
    ///
    /// # Errors
    /// As those of [`Links::fetch`].
    pub fn store(
        &mut self,
        peer: PeerId,
        from: *const u8,
        remote: u64,
        length: usize,
    ) -> Result<()> {
        match (self.routes[peer.0 as usize], &mut self.shm) {
            (Route::Sim, _) => {
                // SAFETY: as in `Links::fetch`.
                unsafe { std::ptr::copy(from, remote as *mut u8, length) };
                Ok(())
            }
            (Route::Shm, Some(shm)) => shm.store(peer, from, remote, length),
            _ => fail!(
                Other,
                "rank {} cannot write to the memory of rank {}",
                self.me.0,
                peer.0
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn each_part_is_taken_once() {
        let parts = Parts::default();
        for count in [1, 2, 7, 64, 1000] {
            let serial = parts.begin();
            let over = AtomicBool::new(false);
            let all = |side| {
                let mut mine = Vec::new();
                while let Some(run) = parts.take(serial, count, side) {
                    assert!(!over.load(Ordering::Relaxed), "taken after all were");
                    match side {
                        Side::Front => mine.extend(run),
                        Side::Behind => mine.extend(run.rev()),
                    }
                }
                mine
            };
            let (front, behind) = std::thread::scope(|scope| {
                let other = scope.spawn(|| all(Side::Behind));
                (all(Side::Front), other.join().unwrap())
            });
            over.store(true, Ordering::Relaxed);
            assert!(front.iter().copied().eq(0..front.len() as u32));
            assert!(behind
                .iter()
                .copied()
                .eq((0..count).rev().take(behind.len())));
            let whole: BTreeSet<u32> = front.iter().chain(&behind).copied().collect();
            assert_eq!(
                (whole.len(), front.len() + behind.len()),
                (count as usize, count as usize)
            );
        }
    }

    #[test]
    fn nothing_of_an_earlier_message_can_be_taken() {
        let parts = Parts::default();
        let first = parts.begin();
        assert_eq!(parts.take(first, 3, Side::Behind), Some(2..3));
        let second = parts.begin();
        assert_ne!(first, second);
        assert_eq!(parts.take(first, 3, Side::Behind), None);
        assert_eq!(parts.take(second, 3, Side::Behind), Some(2..3));
        assert!(!parts.is_finished(first));
        parts.finish(first);
        assert!(parts.is_finished(first) && !parts.is_finished(second));
        parts.finish(second);
        assert!(parts.is_finished(first) && parts.is_finished(second));
    }

    #[test]
    fn nonsense_in_the_word_names_no_part_beyond_the_message() {
        for word in [u64::MAX, 0xffff, 0xffff_0000, 0x0002_0002] {
            let parts = Parts {
                taken: AtomicU64::new(word & 0xffff_ffff),
                ..Parts::default()
            };
            for side in [Side::Front, Side::Behind] {
                assert!(parts.take(0, 4, side).is_none());
            }
        }
    }
}
