//! What the meeting of two ranks needs of the links, and what it tells them. Who meets whom, and by which messages, is
//! `meet`'s matter; what a queue pair is made of and what is sent on it is not.

use crate::transport::verbs::sys::Qp;

/// Bytes of encoded [`Terms`].
pub const TERMS: usize = 32;

/// What a rank offers to a peer when their queue pair is made; carried as bytes that only both ends read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// Frames that the peer may send before it hears more.
    pub credits: u32,
    /// Bytes of one receive buffer: the longest frame that may be sent.
    pub buffer: u32,
    /// The ring that the peer may write to: its address, key and bytes; no bytes: there is none yet.
    pub ring: u64,
    pub ring_key: u32,
    pub ring_size: u32,
    /// What this rank can do: reads ([`READS`]), writes ([`WRITES`]), atomics ([`ATOMICS`]) to its memory.
    pub abilities: u32,
}

/// Its memory can be read by the device.
pub const READS: u32 = 1;
/// Its memory can be written by the device.
pub const WRITES: u32 = 2;
/// Eight bytes of its memory can be changed atomically by the device.
pub const ATOMICS: u32 = 4;

impl Terms {
    pub fn encode(&self) -> [u8; TERMS] {
        let mut out = [0; TERMS];
        out[0..4].copy_from_slice(&self.credits.to_le_bytes());
        out[4..8].copy_from_slice(&self.buffer.to_le_bytes());
        out[8..16].copy_from_slice(&self.ring.to_le_bytes());
        out[16..20].copy_from_slice(&self.ring_key.to_le_bytes());
        out[20..24].copy_from_slice(&self.ring_size.to_le_bytes());
        out[24..28].copy_from_slice(&self.abilities.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8; TERMS]) -> Terms {
        let four = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Terms {
            credits: four(0),
            buffer: four(4),
            ring: u64::from(four(8)) | u64::from(four(12)) << 32,
            ring_key: four(16),
            ring_size: four(20),
            abilities: four(24),
        }
    }
}

/// This side of a connection to be, as the peer must know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Local {
    /// The queue pair's number.
    pub qpn: u32,
    /// The first packet's number; 24 bits.
    pub psn: u32,
    pub terms: Terms,
}

/// The links, as a meeting sees them. All is idempotent: hellos get lost and come twice.
pub trait Hall {
    /// Makes the queue pair to this peer (state INIT, able to receive as soon as it is RTR) and what it receives
    /// into; answers the same again when it is made already.
    ///
    /// # Errors
    /// One line: why this rank cannot; nothing is kept then.
    fn prepare(&mut self, peer: u32) -> Result<Local, String>;

    /// The queue pair that `prepare` made, in state INIT, to be taken to RTR and RTS; brought back to INIT when it was
    /// further, for a peer that has made another since.
    ///
    /// # Errors
    /// One line: there is none, or what the device refuses.
    fn fresh(&mut self, peer: u32) -> Result<&Qp, String>;

    /// Both ends are at RTS and the other end is known to be: frames may go. `theirs` is what the peer offered.
    fn connected(&mut self, peer: u32, theirs: &Terms);

    /// It will not be: no frame went and none will. Gives up what `prepare` made.
    fn failed(&mut self, peer: u32, why: String);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_survive_the_wire() {
        let terms = Terms {
            credits: 7,
            buffer: 0x1_0040,
            ring: 0x1122_3344_5566_7788,
            ring_key: 0xdead_beef,
            ring_size: 1 << 16,
            abilities: READS | ATOMICS,
        };
        assert_eq!(Terms::decode(&terms.encode()), terms);
    }
}
