//! Messages that both ranks copy, over the simulated network. There the sender never runs while the receiver copies, so
//! parts are put by for it, which it then finds.

use super::{lock, Endpoint};
use crate::base::id::PeerId;
use crate::transport::parts::{Parts, Side};
use std::ops::Range;

/// The parts between a receiver and a sender.
#[derive(Default)]
pub(super) struct Shared {
    parts: Parts,
    /// Put by for the sender: of which message, and the indices.
    kept: Vec<(u32, Range<u32>)>,
}

impl Endpoint {
    pub fn share(&mut self, peer: PeerId) -> Option<u32> {
        let mut net = lock(&self.net);
        if net.chance(300) {
            return None;
        }
        let shared = net.shared.entry((self.me, peer.0)).or_default();
        Some(shared.parts.begin())
    }

    pub fn take_part(
        &mut self,
        peer: PeerId,
        serial: u32,
        count: u32,
        side: Side,
    ) -> Option<Range<u32>> {
        let mut net = lock(&self.net);
        let helps = net.chance(300);
        let pair = match side {
            Side::Front => (self.me, peer.0),
            Side::Behind => (peer.0, self.me),
        };
        let shared = net.shared.entry(pair).or_default();
        if side == Side::Behind {
            let at = shared.kept.iter().position(|kept| kept.0 == serial)?;
            return Some(shared.kept.remove(at).1);
        }
        if helps {
            let kept = shared.parts.take(serial, count, Side::Behind);
            shared.kept.extend(kept.map(|run| (serial, run)));
        }
        shared.parts.take(serial, count, side)
    }

    pub fn finish_parts(&mut self, peer: PeerId, serial: u32) {
        let mut net = lock(&self.net);
        let shared = net.shared.entry((peer.0, self.me)).or_default();
        shared.parts.finish(serial);
    }

    pub fn has_finished(&self, peer: PeerId, serial: u32) -> bool {
        let net = lock(&self.net);
        // The dead copy nothing, nor does one whom the invitation does not reach.
        if net.dead[peer.0 as usize] || net.parted[net.at(self.me, peer.0)] {
            return true;
        }
        let shared = net.shared.get(&(self.me, peer.0));
        shared.is_none_or(|shared| shared.parts.is_finished(serial))
    }
}
