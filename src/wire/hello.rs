//! The greeting of two ranks on a new connection, before any frame.
//!
//! The one who dials sends its [`Hello`]; the one who listens answers with its own and a proof that it knows the
//! job's token; the dialler sends its proof; the listener sends [`WELCOME`], and frames flow. A proof is an HMAC under the token over both hellos
//! (with fresh nonces) and a letter for the role: the token never travels, nothing can be replayed or reflected.

use crate::wire::sha256;

const MAGIC: &[u8; 8] = b"MAYFLY\0\x01";
/// Bytes of an encoded [`Hello`].
pub const HELLO: usize = 48;
/// The listener's last byte before frames: until it comes, the dialler may be sent away and has lost nothing.
pub const WELCOME: u8 = b'w';
/// Bytes of a proof.
pub const PROOF: usize = 32;

/// Who speaks, to whom, in which job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    pub job: [u8; 16],
    pub from: u32,
    pub to: u32,
    pub nonce: [u8; 16],
}

/// Which side of a connection proves itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Role {
    Dialler = b'd',
    Listener = b'l',
}

impl Hello {
    pub fn encode(&self) -> [u8; HELLO] {
        let mut out = [0; HELLO];
        out[..8].copy_from_slice(MAGIC);
        out[8..24].copy_from_slice(&self.job);
        out[24..28].copy_from_slice(&self.from.to_le_bytes());
        out[28..32].copy_from_slice(&self.to.to_le_bytes());
        out[32..].copy_from_slice(&self.nonce);
        out
    }

    /// `None` when the bytes are no hello, of this version at least.
    pub fn decode(bytes: &[u8; HELLO]) -> Option<Hello> {
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let part = |at: usize| {
            let mut out = [0; 16];
            out.copy_from_slice(&bytes[at..at + 16]);
            out
        };
        (&bytes[..8] == MAGIC).then(|| Hello {
            job: part(8),
            from: number(24),
            to: number(28),
            nonce: part(32),
        })
    }
}

/// Can these first bytes of a connection still become a hello?
pub fn plausible(bytes: &[u8]) -> bool {
    bytes.iter().zip(MAGIC).all(|(a, b)| a == b)
}

/// What only somebody who knows the token can say.
pub fn proof(token: &[u8; 32], role: Role, dialler: &Hello, listener: &Hello) -> [u8; PROOF] {
    sha256::hmac(
        token,
        &[&[role as u8], &dialler.encode(), &listener.encode()],
    )
}

/// Is it the proof? In constant time.
pub fn holds(token: &[u8; 32], role: Role, dialler: &Hello, listener: &Hello, said: &[u8]) -> bool {
    sha256::same(&proof(token, role, dialler, listener), said)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Hello = Hello {
        job: [1; 16],
        from: 2,
        to: 3,
        nonce: [4; 16],
    };
    const B: Hello = Hello {
        job: [1; 16],
        from: 3,
        to: 2,
        nonce: [5; 16],
    };

    #[test]
    fn a_hello_survives_the_wire_and_nonsense_does_not() {
        assert_eq!(Hello::decode(&A.encode()), Some(A));
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
}
