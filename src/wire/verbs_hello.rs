//! The hello of two ranks that connect reliable queue pairs: one unreliable datagram, complete in itself, repeated until
//! it is answered.
//!
//! A hello names the sender's queue pair (under the number of the attempt it was made for) and, once that queue pair
//! receives from the other's, the attempt of the other's: whoever reads its own attempt there may send. Attempts of a
//! sender only grow, so what was lost for long, or is sent again by somebody else, is recognised as old. The proof is an
//! HMAC under the pair's key over all that stands before it: nobody on the way can make or change a hello, and none holds
//! for another pair, direction or job.

use crate::wire::sha256;
use crate::wire::verbs_address::MAX_QUEUE_PAIR;

const MAGIC: &[u8; 8] = b"MAYFLYv\x01";
const PLAIN: usize = 84;
const PROOF: usize = 32;
/// Bytes of an encoded [`VerbsHello`] with its proof.
pub const HELLO: usize = PLAIN + PROOF;

/// Bytes of an offer's terms.
pub const TERMS: usize = 32;

/// The sender has not been told that it may send: please answer.
const ASKS: u8 = 1;
/// The sender cannot be reached by verbs, and says so at once.
const REFUSES: u8 = 2;

/// A queue pair, and how its owner wants to be sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offer {
    /// Its number (24 bits) and its first packet's (24 bits).
    pub queue_pair: u32,
    pub first_packet: u32,
    /// The largest packet, as verbs number it (1 to 5).
    pub mtu: u8,
    /// Reads and atomics of the peer's that its device serves at once.
    pub reads: u8,
    /// What else the transport offers; it alone reads that.
    pub terms: [u8; TERMS],
}

/// Who speaks, to whom, in which job, and with what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerbsHello {
    pub job: [u8; 16],
    pub from: u32,
    pub to: u32,
    /// The sender's attempt, from 1; of a refusal the last that it gave up, 0 when there was none.
    pub attempt: u32,
    /// The receiver's attempt whose queue pair the sender receives from; 0: none yet.
    pub ready_for: u32,
    pub asks: bool,
    pub refuses: bool,
    pub offer: Offer,
}

impl VerbsHello {
    pub fn encode(&self, key: &[u8; 32]) -> [u8; HELLO] {
        let mut out = [0; HELLO];
        let offer = &self.offer;
        out[..8].copy_from_slice(MAGIC);
        out[8..24].copy_from_slice(&self.job);
        for (at, number) in [
            (24, self.from),
            (28, self.to),
            (32, self.attempt),
            (36, self.ready_for),
            (44, offer.queue_pair),
            (48, offer.first_packet),
        ] {
            out[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        let flags = if self.asks { ASKS } else { 0 } | if self.refuses { REFUSES } else { 0 };
        out[40..44].copy_from_slice(&[flags, offer.mtu, offer.reads, 0]);
        out[52..PLAIN].copy_from_slice(&offer.terms);
        let proof = sha256::hmac(key, &[&out[..PLAIN]]);
        out[PLAIN..].copy_from_slice(&proof);
        out
    }

    /// `None` when the bytes are no hello, of this version at least. Nothing is proven yet.
    pub fn decode(bytes: &[u8; HELLO]) -> Option<VerbsHello> {
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mut job = [0; 16];
        job.copy_from_slice(&bytes[8..24]);
        let mut terms = [0; TERMS];
        terms.copy_from_slice(&bytes[52..PLAIN]);
        let flags = bytes[40];
        let offer = Offer {
            queue_pair: number(44),
            first_packet: number(48),
            mtu: bytes[41],
            reads: bytes[42],
            terms,
        };
        let hello = VerbsHello {
            job,
            from: number(24),
            to: number(28),
            attempt: number(32),
            ready_for: number(36),
            asks: flags & ASKS != 0,
            refuses: flags & REFUSES != 0,
            offer,
        };
        let sound = &bytes[..8] == MAGIC && flags & !(ASKS | REFUSES) == 0 && bytes[43] == 0;
        let offers = hello.attempt > 0
            && (1..=5).contains(&offer.mtu)
            && offer.queue_pair <= MAX_QUEUE_PAIR
            && offer.first_packet <= MAX_QUEUE_PAIR;
        (sound && (offers || hello.refuses)).then_some(hello)
    }

    /// Was it made by somebody who knows the pair's key? In constant time.
    pub fn proven(bytes: &[u8; HELLO], key: &[u8; 32]) -> bool {
        let proof = sha256::hmac(key, &[&bytes[..PLAIN]]);
        sha256::same(&proof, &bytes[PLAIN..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [9; 32];

    fn example() -> VerbsHello {
        VerbsHello {
            job: [1; 16],
            from: 2,
            to: 3,
            attempt: 4,
            ready_for: 5,
            asks: true,
            refuses: false,
            offer: Offer {
                queue_pair: 0xab_cdef,
                first_packet: 0xfe_dcba,
                mtu: 3,
                reads: 16,
                terms: std::array::from_fn(|i| i as u8),
            },
        }
    }

    #[test]
    fn a_hello_survives_the_wire_and_nonsense_does_not() {
        let hello = example();
        let bytes = hello.encode(&KEY);
        assert_eq!(VerbsHello::decode(&bytes), Some(hello));
        let refusal = VerbsHello {
            attempt: 0,
            asks: false,
            refuses: true,
            offer: Offer::default(),
            ..hello
        };
        assert_eq!(VerbsHello::decode(&refusal.encode(&KEY)), Some(refusal));
        // Magic, flags, the packet size, numbers of more than 24 bits, the byte that must be empty.
        for at in [0, 7, 43, 47, 51] {
            let mut wrong = bytes;
            wrong[at] ^= 0x41;
            assert_eq!(VerbsHello::decode(&wrong), None, "byte {at}");
        }
        for (at, value) in [(40, 4), (41, 0), (41, 6)] {
            let mut wrong = bytes;
            wrong[at] = value;
            assert_eq!(VerbsHello::decode(&wrong), None, "byte {at}");
        }
        let none = VerbsHello {
            attempt: 0,
            ..hello
        };
        assert_eq!(VerbsHello::decode(&none.encode(&KEY)), None);
    }

    #[test]
    fn whoever_changes_a_byte_or_has_another_key_proves_nothing() {
        let bytes = example().encode(&KEY);
        assert!(VerbsHello::proven(&bytes, &KEY));
        assert!(!VerbsHello::proven(&bytes, &[8; 32]));
        for at in 0..HELLO {
            let mut wrong = bytes;
            wrong[at] ^= 1;
            assert!(!VerbsHello::proven(&wrong, &KEY), "byte {at}");
        }
    }

    #[test]
    fn garbage_never_panics_and_what_is_read_is_what_was_written() {
        let mut state = 7u64;
        let mut random = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize
        };
        let mut read = 0;
        for _ in 0..20_000 {
            let mut bytes = example().encode(&KEY);
            for _ in 0..1 + random() % 3 {
                bytes[random() % HELLO] = random() as u8;
            }
            if let Some(hello) = VerbsHello::decode(&bytes) {
                assert_eq!(hello.encode(&KEY)[..PLAIN], bytes[..PLAIN]);
                read += 1;
            }
        }
        assert!(read > 0);
    }
}
