//! Where a rank can be found: the blob that bootstrap carries from each rank to all others.

use crate::wire::verbs_address::{self, VerbsAddress};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Format of the blob; a rank of another version is told apart before anything else is read.
const VERSION: u8 = 4;
const MAGIC: &[u8; 3] = b"MfA";
/// Addresses that one rank may announce.
pub const MAX_IPS: usize = 32;
/// And of settings.
const MAX_LIMITS: usize = 32;
const MAX_PATH: usize = 1024;

/// How others open a rank's shared segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Segment {
    /// There is none.
    None,
    /// This descriptor of the process, reached through `/proc`.
    Descriptor(u32),
    /// This file.
    File(String),
}

/// One rank's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    pub rank: u32,
    /// The kernel's boot id; zeros: unknown.
    pub boot: [u8; 16],
    /// Numbers of the process's namespaces; 0: unknown.
    pub pid_namespace: u64,
    pub net_namespace: u64,
    pub pid: u32,
    /// When the process started, in the kernel's ticks; 0: unknown.
    pub start: u64,
    /// Stands in the segment too: proof that one looks at the right one.
    pub nonce: [u8; 16],
    /// Where the nonce lies in the process's own memory; 0: nowhere to be read.
    pub probe: u64,
    pub segment: Segment,
    /// TCP port; 0: not listening.
    pub port: u16,
    pub ips: Vec<IpAddr>,
    /// How a relay sees the rank's listener; `None`: nobody knows.
    pub public: Option<SocketAddr>,
    /// Its address translator gives each destination a port of its own, so `public` is true for that relay only.
    pub symmetric: bool,
    /// It takes part in punching, and in meeting at a relay.
    pub punches: bool,
    pub relays: bool,
    /// All ranks of its job are on one machine, as it sees it; and they are more than that has processors.
    pub near: bool,
    pub crowded: bool,
    /// Its settings of collectives, as numbers by place; rank 0's hold for all.
    pub limits: Vec<(u8, u64)>,
    /// Its public key (X25519), made for this job.
    pub key: Option<[u8; 32]>,
    /// How it is reached by verbs; `None`: not at all.
    pub verbs: Option<VerbsAddress>,
}

/// The last byte before the optional parts.
const PUBLIC: u8 = 1;
const SYMMETRIC: u8 = 2;
const PUNCHES: u8 = 4;
const RELAYS: u8 = 8;
const KEY: u8 = 16;
const VERBS: u8 = 32;
const NEAR: u8 = 64;
const CROWDED: u8 = 128;

impl Address {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&self.rank.to_le_bytes());
        out.extend_from_slice(&self.boot);
        out.extend_from_slice(&self.pid_namespace.to_le_bytes());
        out.extend_from_slice(&self.net_namespace.to_le_bytes());
        out.extend_from_slice(&self.pid.to_le_bytes());
        out.extend_from_slice(&self.start.to_le_bytes());
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&self.probe.to_le_bytes());
        match &self.segment {
            Segment::None => out.push(0),
            Segment::Descriptor(fd) => {
                out.push(1);
                out.extend_from_slice(&fd.to_le_bytes());
            }
            Segment::File(path) => {
                let path = &path.as_bytes()[..path.len().min(MAX_PATH)];
                out.push(2);
                out.extend_from_slice(&(path.len() as u16).to_le_bytes());
                out.extend_from_slice(path);
            }
        }
        out.extend_from_slice(&self.port.to_le_bytes());
        let ips = &self.ips[..self.ips.len().min(MAX_IPS)];
        out.push(ips.len() as u8);
        for ip in ips {
            put_ip(&mut out, ip);
        }
        let flags = [
            (self.public.is_some(), PUBLIC),
            (self.symmetric, SYMMETRIC),
            (self.punches, PUNCHES),
            (self.relays, RELAYS),
            (self.key.is_some(), KEY),
            (self.verbs.is_some(), VERBS),
            (self.near, NEAR),
            (self.crowded, CROWDED),
        ];
        out.push(flags.iter().filter(|f| f.0).map(|f| f.1).sum());
        if let Some(public) = &self.public {
            put_ip(&mut out, &public.ip());
            out.extend_from_slice(&public.port().to_le_bytes());
        }
        if let Some(key) = &self.key {
            out.extend_from_slice(key);
        }
        if let Some(verbs) = &self.verbs {
            verbs.encode(&mut out);
        }
        let limits = &self.limits[..self.limits.len().min(MAX_LIMITS)];
        out.push(limits.len() as u8);
        for (place, value) in limits {
            out.push(*place);
            out.extend_from_slice(&value.to_le_bytes());
        }
        out
    }

    /// The address in `bytes`, or what is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Address, &'static str> {
        let mut rest = Rest(bytes);
        if &rest.array::<3>()? != MAGIC {
            return Err("it is not an address");
        }
        if rest.array::<1>()?[0] != VERSION {
            return Err("it is of another version of Mayfly");
        }
        let rank = rest.u32()?;
        let boot = rest.array()?;
        let pid_namespace = rest.u64()?;
        let net_namespace = rest.u64()?;
        let pid = rest.u32()?;
        let start = rest.u64()?;
        let nonce = rest.array()?;
        let probe = rest.u64()?;
        let segment = match rest.array::<1>()?[0] {
            0 => Segment::None,
            1 => Segment::Descriptor(rest.u32()?),
            2 => {
                let length = u16::from_le_bytes(rest.array()?) as usize;
                if length > MAX_PATH {
                    return Err("its path is too long");
                }
                match std::str::from_utf8(rest.take(length)?) {
                    Ok(path) => Segment::File(path.to_string()),
                    Err(_) => return Err("its path is not text"),
                }
            }
            _ => return Err("its segment is of an unknown kind"),
        };
        let port = u16::from_le_bytes(rest.array()?);
        let count = rest.array::<1>()?[0] as usize;
        if count > MAX_IPS {
            return Err("it has too many addresses");
        }
        let mut ips = Vec::with_capacity(count);
        for _ in 0..count {
            ips.push(rest.ip()?);
        }
        let flags = rest.array::<1>()?[0];
        let public = match flags & PUBLIC {
            0 => None,
            _ => {
                let ip = rest.ip()?;
                let port = u16::from_le_bytes(rest.array()?);
                Some(SocketAddr::new(ip, port))
            }
        };
        let key = match flags & KEY {
            0 => None,
            _ => Some(rest.array()?),
        };
        let verbs = match flags & VERBS {
            0 => None,
            _ => match VerbsAddress::decode(&rest.array::<{ verbs_address::LENGTH }>()?) {
                None => return Err("its port for verbs is of an unknown kind"),
                some => some,
            },
        };
        let count = rest.array::<1>()?[0] as usize;
        if count > MAX_LIMITS {
            return Err("it has too many settings");
        }
        let mut limits = Vec::with_capacity(count);
        for _ in 0..count {
            limits.push((rest.array::<1>()?[0], rest.u64()?));
        }
        if !rest.0.is_empty() {
            return Err("bytes are left over");
        }
        Ok(Address {
            rank,
            boot,
            pid_namespace,
            net_namespace,
            pid,
            start,
            nonce,
            probe,
            segment,
            port,
            ips,
            public,
            symmetric: flags & SYMMETRIC != 0,
            punches: flags & PUNCHES != 0,
            relays: flags & RELAYS != 0,
            near: flags & NEAR != 0,
            crowded: flags & CROWDED != 0,
            limits,
            key,
            verbs,
        })
    }
}

fn put_ip(out: &mut Vec<u8>, ip: &IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        if self.0.len() < length {
            return Err("it is cut short");
        }
        let (head, tail) = self.0.split_at(length);
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn ip(&mut self) -> Result<IpAddr, &'static str> {
        Ok(match self.array::<1>()?[0] {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Err("an IP address is of an unknown kind"),
        })
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(segment: Segment) -> Address {
        Address {
            rank: 7,
            boot: [3; 16],
            pid_namespace: 4_026_531_836,
            net_namespace: 4_026_531_840,
            pid: 4711,
            start: 123_456,
            nonce: [9; 16],
            probe: 0x7f00_0000_1000,
            segment,
            port: 40_000,
            ips: vec![
                "10.0.0.7".parse().expect("an address"),
                "fd00::7".parse().expect("an address"),
            ],
            public: Some("203.0.113.5:61000".parse().expect("an address")),
            symmetric: true,
            punches: true,
            relays: false,
            near: false,
            crowded: true,
            limits: Vec::new(),
            key: Some([8; 32]),
            verbs: Some(verbs_address::tests::example(7)),
        }
    }

    #[test]
    fn an_address_survives_the_wire() {
        for segment in [
            Segment::None,
            Segment::Descriptor(12),
            Segment::File("/tmp/mayfly-x".to_string()),
        ] {
            let address = example(segment);
            assert_eq!(Address::decode(&address.encode()), Ok(address.clone()));
            let bare = Address {
                public: None,
                key: None,
                verbs: None,
                punches: false,
                relays: true,
                near: true,
                crowded: false,
                limits: vec![(0, 7), (3, u64::MAX)],
                ..address
            };
            assert_eq!(Address::decode(&bare.encode()), Ok(bare));
        }
    }

    #[test]
    fn a_cut_or_lengthened_address_is_refused() {
        let bytes = example(Segment::File("/x".to_string())).encode();
        for end in 0..bytes.len() {
            assert!(Address::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        let mut long = bytes.clone();
        long.push(0);
        assert_eq!(Address::decode(&long), Err("bytes are left over"));
        let mut other = bytes;
        other[3] = 99;
        assert_eq!(
            Address::decode(&other),
            Err("it is of another version of Mayfly")
        );
    }

    #[test]
    fn garbage_never_panics() {
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let good = example(Segment::File("/some/where".to_string())).encode();
        for round in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..1 + round % 5 {
                let at = random() as usize % bytes.len();
                bytes[at] = random() as u8;
            }
            if let Ok(address) = Address::decode(&bytes) {
                assert_eq!(address.encode(), bytes);
            }
        }
    }
}
