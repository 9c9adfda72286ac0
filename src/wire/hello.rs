//! The greeting of two ranks on a new connection, before any frame.
//!
//! The one who dials sends its [`Hello`]; the one who listens answers with its own and a proof that it knows the
//! pair's key; the dialler sends its proof; the listener sends [`WELCOME`], and frames flow. A proof is an HMAC under
//! that key over both hellos (with fresh nonces) and a letter for the role: the key never travels, nothing can be
//! replayed or reflected, and nobody on the way can change what a hello says.
//!
//! On a sealed connection (Noise KKpsk0) the dialler's hello is followed by the first Noise message, the listener's by
//! the second with its proof inside, and all from there on, the dialler's proof first, travels in records.
//!
//! Two that punch may both dial on one connection: then the rank with the lower number is the dialler.

use crate::wire::sha256;

const MAGIC: &[u8; 8] = b"MAYFLY\0\x02";
/// Bytes of an encoded [`Hello`].
pub const HELLO: usize = 52;
/// The listener's last byte before frames: until it comes, the dialler may be sent away and has lost nothing.
pub const WELCOME: u8 = b'w';
/// Bytes of a proof.
pub const PROOF: usize = 32;

/// Which side of a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Role {
    Dialler = b'd',
    Listener = b'l',
}

/// How the connection was made. The better ones come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Path {
    /// To an address of the platform's own network.
    Private = 1,
    /// To a public address.
    Public = 2,
    /// Both sides connected to each other, through what stands between.
    Punched = 3,
    Relayed = 4,
}

impl Path {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Path::Private => "direct",
            Path::Public => "direct over public addresses",
            Path::Punched => "punched",
            Path::Relayed => "relayed",
        }
    }
}

/// Who speaks, to whom, in which job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    pub role: Role,
    pub path: Path,
    /// Noise follows.
    pub sealed: bool,
    pub job: [u8; 16],
    pub from: u32,
    pub to: u32,
    pub nonce: [u8; 16],
}

impl Hello {
    pub fn encode(&self) -> [u8; HELLO] {
        let mut out = [0; HELLO];
        out[..8].copy_from_slice(MAGIC);
        out[8] = self.role as u8;
        out[9] = self.path as u8;
        out[10] = u8::from(self.sealed);
        out[12..28].copy_from_slice(&self.job);
        out[28..32].copy_from_slice(&self.from.to_le_bytes());
        out[32..36].copy_from_slice(&self.to.to_le_bytes());
        out[36..].copy_from_slice(&self.nonce);
        out
    }

    /// `None` when the bytes are no hello, of this version at least.
    pub fn decode(bytes: &[u8; HELLO]) -> Option<Hello> {
        if &bytes[..8] != MAGIC || bytes[11] != 0 {
            return None;
        }
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let part = |at: usize| {
            let mut out = [0; 16];
            out.copy_from_slice(&bytes[at..at + 16]);
            out
        };
        Some(Hello {
            role: match bytes[8] {
                b'd' => Role::Dialler,
                b'l' => Role::Listener,
                _ => return None,
            },
            path: match bytes[9] {
                1 => Path::Private,
                2 => Path::Public,
                3 => Path::Punched,
                4 => Path::Relayed,
                _ => return None,
            },
            sealed: match bytes[10] {
                0 => false,
                1 => true,
                _ => return None,
            },
            job: part(12),
            from: number(28),
            to: number(32),
            nonce: part(36),
        })
    }
}

/// Can these first bytes of a connection still become a hello?
pub fn plausible(bytes: &[u8]) -> bool {
    bytes.iter().zip(MAGIC).all(|(a, b)| a == b)
}

/// The key of a pair's proofs, from the job's token and what only the two can compute: the agreement (X25519) of their
/// keys. A rank that knows the token still cannot pass for another.
pub fn pair_key(token: &[u8; 32], agreed: &[u8; 32]) -> [u8; 32] {
    sha256::hmac(token, &[b"pair", agreed])
}

/// What only somebody who knows the pair's key can say.
pub fn proof(key: &[u8; 32], role: Role, dialler: &Hello, listener: &Hello) -> [u8; PROOF] {
    sha256::hmac(key, &[&[role as u8], &dialler.encode(), &listener.encode()])
}

/// Is it the proof? In constant time.
pub fn holds(key: &[u8; 32], role: Role, dialler: &Hello, listener: &Hello, said: &[u8]) -> bool {
    sha256::same(&proof(key, role, dialler, listener), said)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Hello = Hello {
        role: Role::Dialler,
        path: Path::Punched,
        sealed: true,
        job: [1; 16],
        from: 2,
        to: 3,
        nonce: [4; 16],
    };
    const B: Hello = Hello {
        role: Role::Listener,
        path: Path::Relayed,
        sealed: false,
        job: [1; 16],
        from: 3,
        to: 2,
        nonce: [5; 16],
    };

    #[test]
    fn a_hello_survives_the_wire_and_nonsense_does_not() {
        assert_eq!(Hello::decode(&A.encode()), Some(A));
        assert_eq!(Hello::decode(&B.encode()), Some(B));
        for at in 0..8 {
            let mut bytes = A.encode();
            bytes[at] ^= 0x20;
            assert_eq!(Hello::decode(&bytes), None);
            assert!(!plausible(&bytes[..=at]));
            assert!(plausible(&A.encode()[..=at]));
        }
        assert!(!plausible(b"GET / HTTP/1.1"));
        assert!(plausible(b""));
    }

    #[test]
    fn a_proof_holds_for_one_token_one_role_and_one_meeting() {
        let token = [9; 32];
        let said = proof(&token, Role::Listener, &A, &B);
        assert!(holds(&token, Role::Listener, &A, &B, &said));
        assert!(!holds(&[8; 32], Role::Listener, &A, &B, &said));
        assert!(!holds(&token, Role::Dialler, &A, &B, &said));
        assert!(!holds(&token, Role::Listener, &B, &A, &said));
        let later = Hello {
            nonce: [6; 16],
            ..A
        };
        assert!(!holds(&token, Role::Listener, &later, &B, &said));
        assert!(!holds(&token, Role::Listener, &A, &B, &said[..31]));
        for byte in 0..PROOF {
            let mut wrong = said;
            wrong[byte] ^= 1;
            assert!(!holds(&token, Role::Listener, &A, &B, &wrong));
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
        for _ in 0..50_000 {
            let mut bytes = A.encode();
            for _ in 0..1 + random() % 3 {
                bytes[random() % HELLO] = random() as u8;
            }
            if let Some(hello) = Hello::decode(&bytes) {
                assert_eq!(hello.encode(), bytes);
                read += 1;
            }
        }
        assert!(read > 0);
    }

    #[test]
    fn another_pair_has_another_key() {
        let key = pair_key(&[1; 32], &[2; 32]);
        assert_ne!(key, pair_key(&[1; 32], &[3; 32]));
        assert_ne!(key, pair_key(&[2; 32], &[2; 32]));
    }
}
