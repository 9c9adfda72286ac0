//! How a rank speaks to a relay, which tells it where it is seen from and joins two ranks that cannot reach each
//! other.
//!
//! The relay greets with [`GREETING`] bytes (magic, nonce); the rank answers with a [`Request`] of [`REQUEST`] bytes
//! whose last part proves that it knows the job's grant; the relay answers with one [`Status`] byte, and for
//! [`Op::Observe`] with [`OBSERVED`] bytes more. After `Ok` to a link, bytes flow to and from the counterpart.
//! A relay listens on two ports: behind an address translator that gives each destination a port of its own, they
//! see different ports, and punching is in vain.

use crate::wire::sha256;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const MAGIC: &[u8; 8] = b"MAYRLY\0\x01";
/// Bytes of what the relay says first.
pub const GREETING: usize = 24;
/// Bytes of a request, proof included.
pub const REQUEST: usize = 65;
/// Bytes of an observed address: 16 of the IP address (IPv4 mapped into IPv6), 2 of the port, both big-endian.
pub const OBSERVED: usize = 18;

/// What a rank wants of the relay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Op {
    /// Where am I seen from?
    Observe = 1,
    /// Join me with the rank that listens.
    Dial = 2,
    /// Join me with the rank that dials.
    Listen = 3,
}

impl Op {
    /// What the counterpart of a link asks for.
    pub fn counterpart(self) -> Op {
        match self {
            Op::Observe => Op::Observe,
            Op::Dial => Op::Listen,
            Op::Listen => Op::Dial,
        }
    }
}

/// The relay's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Status {
    Ok = 0,
    /// The request is not of this protocol.
    Malformed = 1,
    /// The proof is wrong: no grant, another relay's, or another job's.
    WrongGrant = 2,
    /// The grant is of the past.
    Expired = 3,
    /// As many connections as it takes are open, or as many as it takes from one address.
    Busy = 4,
    /// The counterpart did not come in time.
    Alone = 5,
    /// The same side of the same link came again; the earlier connection gets this.
    Displaced = 6,
    /// The relay is about to end.
    Closing = 7,
    /// The job has as many pairs as a job may have there.
    JobFull = 8,
}

impl Status {
    /// By number.
    pub const ALL: [Status; 9] = [
        Status::Ok,
        Status::Malformed,
        Status::WrongGrant,
        Status::Expired,
        Status::Busy,
        Status::Alone,
        Status::Displaced,
        Status::Closing,
        Status::JobFull,
    ];

    /// `None`: a status of a later version, which is a refusal.
    pub fn decode(byte: u8) -> Option<Status> {
        Status::ALL.into_iter().find(|status| *status as u8 == byte)
    }

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Status::Ok => "it agrees",
            Status::Malformed => "it does not understand the request",
            Status::WrongGrant => "it refuses the job's grant",
            Status::Expired => "the job's grant has expired",
            Status::Busy => "it has too many connections",
            Status::Alone => "the other rank did not come",
            Status::Displaced => "the same rank came again",
            Status::Closing => "it is about to end",
            Status::JobFull => "the job has as many pairs there as a job may have",
        }
    }
}

/// What the relay says first.
pub fn greeting(nonce: &[u8; 16]) -> [u8; GREETING] {
    let mut out = [0; GREETING];
    out[..8].copy_from_slice(MAGIC);
    out[8..].copy_from_slice(nonce);
    out
}

/// The nonce in a relay's greeting; `None` when it is none, of this version at least.
pub fn nonce(greeting: &[u8; GREETING]) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    out.copy_from_slice(&greeting[8..]);
    (&greeting[..8] == MAGIC).then_some(out)
}

/// What a job's ranks need to use a relay until `expiry` (Unix time, seconds): made by whoever knows the relay's
/// key, given to them at the rendezvous.
pub fn grant(key: &[u8; 32], job: &[u8; 16], expiry: u64) -> [u8; 32] {
    sha256::hmac(key, &[b"relay", job, &expiry.to_le_bytes()])
}

/// Who wants what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    pub op: Op,
    pub job: [u8; 16],
    /// Of the grant: Unix time, seconds.
    pub expiry: u64,
    /// The rank that speaks.
    pub from: u32,
    /// The rank it wants; itself to observe.
    pub to: u32,
}

impl Request {
    fn body(&self) -> [u8; 33] {
        let mut out = [0; 33];
        out[0] = self.op as u8;
        out[1..17].copy_from_slice(&self.job);
        out[17..25].copy_from_slice(&self.expiry.to_le_bytes());
        out[25..29].copy_from_slice(&self.from.to_le_bytes());
        out[29..].copy_from_slice(&self.to.to_le_bytes());
        out
    }

    /// With its proof, for the relay that gave this nonce.
    pub fn encode(&self, grant: &[u8; 32], nonce: &[u8; 16]) -> [u8; REQUEST] {
        let body = self.body();
        let mut out = [0; REQUEST];
        out[..33].copy_from_slice(&body);
        out[33..].copy_from_slice(&sha256::hmac(grant, &[nonce, &body]));
        out
    }

    /// `None` when the bytes are no request. The proof is not looked at: see [`Request::proven`].
    pub fn decode(bytes: &[u8; REQUEST]) -> Option<Request> {
        let op = match bytes[0] {
            1 => Op::Observe,
            2 => Op::Dial,
            3 => Op::Listen,
            _ => return None,
        };
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mut job = [0; 16];
        job.copy_from_slice(&bytes[1..17]);
        Some(Request {
            op,
            job,
            expiry: u64::from(number(17)) | u64::from(number(21)) << 32,
            from: number(25),
            to: number(29),
        })
    }

    /// Does the proof in these bytes hold, for a relay with this key that gave this nonce? In constant time.
    pub fn proven(&self, bytes: &[u8; REQUEST], key: &[u8; 32], nonce: &[u8; 16]) -> bool {
        let grant = grant(key, &self.job, self.expiry);
        sha256::same(&sha256::hmac(&grant, &[nonce, &self.body()]), &bytes[33..])
    }
}

/// An address as the relay tells it.
pub fn observed(address: SocketAddr) -> [u8; OBSERVED] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut out = [0; OBSERVED];
    out[..16].copy_from_slice(&ip.octets());
    out[16..].copy_from_slice(&address.port().to_be_bytes());
    out
}

/// The reverse of [`observed`]; a mapped IPv4 address comes out as IPv4.
pub fn seen(bytes: &[u8; OBSERVED]) -> SocketAddr {
    let mut ip = [0; 16];
    ip.copy_from_slice(&bytes[..16]);
    let port = u16::from_be_bytes([bytes[16], bytes[17]]);
    SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), port)
}

/// The two ports of a relay, `host:port,host:port`, each as a dialler takes it.
pub fn ports(relay: &str) -> Option<(&str, &str)> {
    let (first, second) = relay.split_once(',')?;
    let plausible = |end: &str| {
        end.rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    (plausible(first) && plausible(second)).then_some((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASK: Request = Request {
        op: Op::Dial,
        job: [3; 16],
        expiry: 0x0102_0304_0506_0708,
        from: 70_000,
        to: 5,
    };

    #[test]
    fn a_greeting_gives_its_nonce_and_nonsense_none() {
        let said = greeting(&[7; 16]);
        assert_eq!(nonce(&said), Some([7; 16]));
        for at in 0..8 {
            let mut wrong = said;
            wrong[at] ^= 1;
            assert_eq!(nonce(&wrong), None);
        }
    }

    #[test]
    fn a_request_survives_the_wire() {
        for op in [Op::Observe, Op::Dial, Op::Listen] {
            let ask = Request { op, ..ASK };
            assert_eq!(Request::decode(&ask.encode(&[1; 32], &[2; 16])), Some(ask));
            assert_eq!(op.counterpart().counterpart(), op);
        }
        let mut unknown = ASK.encode(&[1; 32], &[2; 16]);
        unknown[0] = 4;
        assert_eq!(Request::decode(&unknown), None);
    }

    #[test]
    fn a_proof_holds_for_one_key_one_job_one_time_and_one_nonce() {
        let (key, fresh) = ([9; 32], [4; 16]);
        let granted = grant(&key, &ASK.job, ASK.expiry);
        let bytes = ASK.encode(&granted, &fresh);
        assert!(ASK.proven(&bytes, &key, &fresh));
        assert!(!ASK.proven(&bytes, &[8; 32], &fresh), "another relay's key");
        assert!(!ASK.proven(&bytes, &key, &[5; 16]), "a replay");
        for at in 1..REQUEST {
            let mut wrong = bytes;
            wrong[at] ^= 1;
            let said = Request::decode(&wrong).unwrap();
            assert!(!said.proven(&wrong, &key, &fresh), "byte {at}");
        }
        let later = Request {
            expiry: ASK.expiry + 1,
            ..ASK
        };
        let stretched = later.encode(&granted, &fresh);
        assert!(!later.proven(&stretched, &key, &fresh), "a stretched grant");
    }

    #[test]
    fn addresses_of_both_families_come_back() {
        for text in ["192.0.2.7:1", "[2001:db8::1]:65535", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(seen(&observed(address)), address);
        }
    }

    #[test]
    fn statuses_and_ports() {
        for byte in 0..=8 {
            assert_eq!(Status::decode(byte).unwrap() as u8, byte);
        }
        assert_eq!(Status::decode(9), None);
        assert_eq!(ports("a:1,[::1]:2"), Some(("a:1", "[::1]:2")));
        for wrong in ["", "a:1", "a:1,", "a:1,b", "a:1,:2", "a:1,b:70000"] {
            assert_eq!(ports(wrong), None, "{wrong}");
        }
    }
}
