//! Messages that both ranks copy: the word that says which parts are taken lies in the receiver's segment, by sender.

use crate::base::id::PeerId;
use crate::transport::parts::{Parts, Side};
use crate::transport::shm::Shm;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// After so many messages in turn with which a sender did not help ...
const IN_VAIN: u32 = 4;
/// ... it is invited to one of so many.
const SELDOM: u32 = 16;

/// From how many bytes on it pays that two ranks copy: measured, an eighth of the second cache. What is shorter one has nearly
/// copied before the other hears of it.
pub fn large() -> usize {
    // SAFETY: no memory is involved.
    let cache = unsafe { libc::sysconf(libc::_SC_LEVEL2_CACHE_SIZE) };
    let cache = usize::try_from(cache).ok().filter(|&bytes| bytes > 0);
    (cache.unwrap_or(1 << 20) / 8).clamp(192 << 10, 4 << 20)
}

impl Shm {
    /// Begins a message of so many bytes from `peer` that both copy, unless the peer sleeps, or has mostly had other things
    /// to do.
    pub fn share(&mut self, peer: PeerId, bytes: usize) -> Option<u32> {
        if bytes < self.large || !self.can_fetch(peer) {
            return None;
        }
        let p = self.peers[peer.0 as usize].as_mut()?;
        if p.map.head().sleeping.0.load(Ordering::Relaxed) != 0 {
            return None;
        }
        if p.in_vain >= IN_VAIN {
            p.in_vain += 1;
            if !p.in_vain.is_multiple_of(SELDOM) {
                return None;
            }
        }
        Some(self.segment.map.parts(peer.0).begin())
    }

    /// Takes parts: of a message from `peer` at the front, of one to it from behind.
    pub fn take_part(
        &mut self,
        peer: PeerId,
        serial: u32,
        count: u32,
        side: Side,
    ) -> Option<Range<u32>> {
        let parts: &Parts = match side {
            Side::Front => self.segment.map.parts(peer.0),
            Side::Behind if !self.can_fetch(peer) => return None,
            Side::Behind => self.peers[peer.0 as usize].as_ref()?.map.parts(self.me),
        };
        parts.take(serial, count, side)
    }

    /// This rank has copied what it took of a message to `peer`.
    pub fn finish_parts(&mut self, peer: PeerId, serial: u32) {
        if let Some(p) = &self.peers[peer.0 as usize] {
            p.map.parts(self.me).finish(serial);
        }
    }

    /// Has the peer copied what it took, or has its process ended? Of one whose end could not be seen the answer is yes.
    pub fn has_finished(&self, peer: PeerId, serial: u32) -> bool {
        if self.segment.map.parts(peer.0).is_finished(serial) {
            return true;
        }
        let Some(p) = self.peers[peer.0 as usize].as_ref().filter(|p| !p.gone) else {
            return true;
        };
        p.start == 0 || !p.lives()
    }

    /// Whether the sender helped with the last message from it.
    pub fn was_shared(&mut self, peer: PeerId, shared: bool) {
        if let Some(p) = &mut self.peers[peer.0 as usize] {
            p.in_vain = match shared {
                true => 0,
                // The wish to try again stays.
                false if p.in_vain >= IN_VAIN => p.in_vain,
                false => p.in_vain + 1,
            };
        }
    }
}
