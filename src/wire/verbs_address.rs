//! How a rank is reached by verbs: the part of its address that says on which port of which fabric, and where it takes
//! hellos.

/// What carries a port's packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Fabric {
    Infiniband = 1,
    /// RDMA over Converged Ethernet, version 1: frames of Ethernet, not routed.
    RoceV1 = 2,
    /// The same, version 2: in UDP packets.
    RoceV2 = 3,
    /// Iwarp or another one that has names for its ends, but neither of the above.
    Other = 4,
}

impl Fabric {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Fabric::Infiniband => "InfiniBand",
            Fabric::RoceV1 => "RoCE v1",
            Fabric::RoceV2 => "RoCE v2",
            Fabric::Other => "another fabric",
        }
    }

    pub(super) fn decode(byte: u8) -> Option<Fabric> {
        Some(match byte {
            1 => Fabric::Infiniband,
            2 => Fabric::RoceV1,
            3 => Fabric::RoceV2,
            4 => Fabric::Other,
            _ => return None,
        })
    }
}

/// The prefix of InfiniBand's subnets that nobody named, and of addresses that hold on one link only.
const LINK_LOCAL: [u8; 8] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0];
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// Bytes of it.
pub const LENGTH: usize = 30;
/// The largest number of a queue pair.
pub const MAX_QUEUE_PAIR: u32 = (1 << 24) - 1;

/// One rank's port, and the queue pair that takes hellos.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerbsAddress {
    pub fabric: Fabric,
    /// The largest packet, as verbs number it: 1 is 256 bytes, each further one twice as much, 5 the most.
    pub mtu: u8,
    /// What it can do beyond sending: bits that the transport names.
    pub modes: u8,
    /// On InfiniBand the port's number in its subnet; else 0.
    pub lid: u16,
    pub gid: [u8; 16],
    /// The unreliable queue pair's number (24 bits) and key.
    pub queue_pair: u32,
    pub queue_key: u32,
}

impl VerbsAddress {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.fabric as u8, self.mtu, self.modes, 0]);
        out.extend_from_slice(&self.lid.to_le_bytes());
        out.extend_from_slice(&self.gid);
        out.extend_from_slice(&self.queue_pair.to_le_bytes());
        out.extend_from_slice(&self.queue_key.to_le_bytes());
    }

    pub(super) fn decode(bytes: &[u8; LENGTH]) -> Option<VerbsAddress> {
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mut gid = [0; 16];
        gid.copy_from_slice(&bytes[6..22]);
        let all = VerbsAddress {
            fabric: Fabric::decode(bytes[0])?,
            mtu: bytes[1],
            modes: bytes[2],
            lid: u16::from_le_bytes([bytes[4], bytes[5]]),
            gid,
            queue_pair: number(22),
            queue_key: number(26),
        };
        let sound = (1..=5).contains(&all.mtu) && bytes[3] == 0 && all.queue_pair <= MAX_QUEUE_PAIR;
        sound.then_some(all)
    }

    /// Why packets cannot go from one port to the other, as far as the addresses tell; a first message proves the rest.
    /// `near`: both may be on one machine.
    pub fn apart(&self, other: &VerbsAddress, near: bool) -> Option<String> {
        if self.fabric != other.fabric {
            let (ours, theirs) = (self.fabric.name(), other.fabric.name());
            return Some(format!("{ours} here, {theirs} there"));
        }
        if self.gid == other.gid && self.lid == other.lid && !near {
            return Some("its port has the name of this machine's".to_string());
        }
        if self.fabric == Fabric::Infiniband {
            let (ours, theirs) = (&self.gid[..8], &other.gid[..8]);
            let unnamed = [ours, theirs].contains(&&LINK_LOCAL[..]);
            return (ours != theirs && unnamed)
                .then(|| "its InfiniBand subnet is another, and one has no name".to_string());
        }
        let family = |gid: &[u8; 16]| match gid {
            ip if ip[..12] == MAPPED => "an IPv4 address",
            ip if ip[..8] == LINK_LOCAL => "a link-local address",
            _ => "an IPv6 address",
        };
        let (ours, theirs) = (family(&self.gid), family(&other.gid));
        (ours != theirs).then(|| format!("{ours} here, {theirs} there"))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// An IPv4 address of RoCE v2.
    pub fn example(last: u8) -> VerbsAddress {
        let mut gid = [0; 16];
        gid[..12].copy_from_slice(&MAPPED);
        gid[12..].copy_from_slice(&[10, 98, 0, last]);
        VerbsAddress {
            fabric: Fabric::RoceV2,
            mtu: 3,
            modes: 7,
            lid: 0,
            gid,
            queue_pair: 0x12_3456,
            queue_key: 0x89ab_cdef,
        }
    }

    fn bytes(address: &VerbsAddress) -> [u8; LENGTH] {
        let mut out = Vec::new();
        address.encode(&mut out);
        out.try_into().expect("its length")
    }

    #[test]
    fn it_survives_the_wire_and_nonsense_does_not() {
        let address = VerbsAddress {
            lid: 77,
            ..example(1)
        };
        assert_eq!(VerbsAddress::decode(&bytes(&address)), Some(address));
        for (at, wrong) in [(0, 0), (0, 5), (1, 0), (1, 6), (3, 1), (25, 1)] {
            let mut bytes = bytes(&address);
            bytes[at] = wrong;
            assert_eq!(VerbsAddress::decode(&bytes), None, "byte {at}");
        }
    }

    #[test]
    fn ports_of_different_fabrics_families_and_subnets_are_apart() {
        let (a, b) = (example(1), example(2));
        assert_eq!(a.apart(&b, false), None);
        assert_eq!(a.apart(&a, true), None);
        assert!(a.apart(&a, false).expect("a reason").contains("name"));
        let one = VerbsAddress {
            fabric: Fabric::RoceV1,
            ..b
        };
        let why = a.apart(&one, false).expect("a reason");
        assert_eq!(why, "RoCE v2 here, RoCE v1 there");
        let mut six = b;
        six.gid = [0x20; 16];
        assert!(a.apart(&six, false).expect("a reason").contains("IPv6"));
        let subnet = |prefix: [u8; 8], last: u8| {
            let mut port = VerbsAddress {
                fabric: Fabric::Infiniband,
                lid: u16::from(last),
                ..example(0)
            };
            port.gid[..8].copy_from_slice(&prefix);
            port
        };
        let (local, named, other) = (subnet(LINK_LOCAL, 1), subnet([1; 8], 2), subnet([2; 8], 3));
        assert_eq!(local.apart(&subnet(LINK_LOCAL, 2), false), None);
        assert_eq!(
            named.apart(&other, false),
            None,
            "a router may stand between"
        );
        assert!(local.apart(&named, false).is_some());
    }
}
