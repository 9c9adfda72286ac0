//! What stands in front of each frame between two ranks: what it is, its place in the order, and what its sender gives
//! back to the receiver.

use crate::wire::frame::{Header, Kind, HEADER};

/// Bytes of an encoded [`Prefix`].
pub const PREFIX: usize = 16;
/// Bytes in front of a payload.
pub const FRONT: usize = PREFIX + HEADER;

/// Bytes in front of the payload of a short frame: a small message that nobody will ask back for needs few of a header's
/// fields, and each byte costs a device in software twice a checksum.
pub const SHORT: usize = 24;
/// The fourth byte of a short frame; of others it is 0.
const SHORTLY: u8 = 5;
/// Records of a ring: one that begins with a prefix and a header, one that begins with an envelope, and one whose envelope is
/// that of the one before.
pub const LONG: u32 = 1;
pub const NEW: u32 = 2;
pub const SAME: u32 = 3;
/// Bytes of an [`Envelope`] in a ring.
pub const ENVELOPE: usize = 12;

/// What follows a prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum What {
    /// A header and its payload.
    Frame = 1,
    /// Nothing: the prefix itself is the message.
    Credit = 2,
    /// The sender closes its links and sends nothing more.
    Bye = 3,
}

/// 16 bytes, little endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    pub what: What,
    /// Place of a frame among all frames of its sender to this receiver, by whatever way they go; of the next frame, when
    /// this is none.
    pub number: u32,
    /// Messages that the receiver of this may have sent, since the beginning.
    pub limit: u32,
    /// Lines of its ring that the sender of this has read and zeroed, since the beginning.
    pub read: u32,
}

impl Prefix {
    #[inline]
    pub fn encode(&self) -> [u8; PREFIX] {
        let mut out = [0; PREFIX];
        out[0] = self.what as u8;
        out[4..8].copy_from_slice(&self.number.to_le_bytes());
        out[8..12].copy_from_slice(&self.limit.to_le_bytes());
        out[12..16].copy_from_slice(&self.read.to_le_bytes());
        out
    }

    /// `None` when the bytes are no prefix.
    #[inline]
    pub fn decode(bytes: &[u8; PREFIX]) -> Option<Prefix> {
        let four = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let what = match bytes[0] {
            1 => What::Frame,
            2 => What::Credit,
            3 => What::Bye,
            _ => return None,
        };
        Some(Prefix {
            what,
            number: four(4),
            limit: four(8),
            read: four(12),
        })
    }
}

/// Can the front be short?
#[inline(always)]
pub fn is_short(header: &Header) -> bool {
    header.is_plain()
        && header.cookie == 0
        && header.source <= u32::from(u16::MAX)
        && header.context <= u64::from(u32::MAX)
}

/// What the header of a short frame says besides its length. Two ranks mostly say the same again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Envelope {
    pub context: u32,
    pub tag: i32,
    pub source: u16,
}

impl Envelope {
    /// Of a header that can be short.
    #[inline(always)]
    pub fn of(header: &Header) -> Envelope {
        Envelope {
            context: header.context as u32,
            tag: header.tag,
            source: header.source as u16,
        }
    }

    /// The header of a short frame with a payload of so many bytes.
    #[inline(always)]
    pub fn header(&self, length: usize) -> Header {
        Header {
            length: length as u32,
            context: u64::from(self.context),
            source: u32::from(self.source),
            tag: self.tag,
            total: length as u64,
            request: u32::MAX,
            ..Header::new(Kind::Eager)
        }
    }

    /// Source, tag, context.
    #[inline]
    pub fn encode(&self) -> [u8; ENVELOPE] {
        let first = u64::from(self.source) | u64::from(self.tag as u32) << 32;
        let first = first.to_le_bytes();
        let mut out = [0; ENVELOPE];
        out[..8].copy_from_slice(&first);
        out[8..].copy_from_slice(&self.context.to_le_bytes());
        out
    }

    #[inline]
    pub fn decode(bytes: &[u8; ENVELOPE]) -> Envelope {
        let four = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Envelope {
            context: four(8),
            tag: four(4) as i32,
            source: four(0) as u16,
        }
    }
}

/// Bytes of prefix and header in front of this frame's payload.
#[inline]
pub fn front(header: &Header) -> usize {
    match is_short(header) {
        true => SHORT,
        false => FRONT,
    }
}

/// Writes prefix and header in front of a payload, [`front`] bytes.
#[inline]
pub fn write_front(out: &mut [u8], prefix: &Prefix, header: &Header) {
    if is_short(header) {
        let envelope = Envelope::of(header).encode();
        out[..4].copy_from_slice(&envelope[..4]);
        out[3] = SHORTLY;
        out[4..16].copy_from_slice(&prefix.encode()[4..]);
        out[16..SHORT].copy_from_slice(&envelope[4..]);
        return;
    }
    write_long(out, prefix, header);
}

/// Writes prefix and header, [`FRONT`] bytes.
pub fn write_long(out: &mut [u8], prefix: &Prefix, header: &Header) {
    out[..PREFIX].copy_from_slice(&prefix.encode());
    out[PREFIX..FRONT].copy_from_slice(&header.encode());
}

/// Reads a short frame.
#[inline]
fn read_short(bytes: &[u8]) -> Option<(Prefix, Option<Header>, &[u8])> {
    let (front, payload) = bytes.split_first_chunk::<SHORT>()?;
    let mut envelope = [0; ENVELOPE];
    envelope[..3].copy_from_slice(&front[..3]);
    envelope[4..].copy_from_slice(&front[16..]);
    let mut prefix = [0; PREFIX];
    prefix[0] = What::Frame as u8;
    prefix[4..].copy_from_slice(&front[4..16]);
    let header = Envelope::decode(&envelope).header(payload.len());
    Some((Prefix::decode(&prefix)?, Some(header), payload))
}

/// Reads a message: its prefix, and the header and payload of a frame. `None`: it is nonsense.
#[inline]
pub fn read(bytes: &[u8]) -> Option<(Prefix, Option<Header>, &[u8])> {
    if bytes.get(3) == Some(&SHORTLY) {
        return read_short(bytes);
    }
    let prefix = Prefix::decode(bytes.first_chunk()?)?;
    let rest = &bytes[PREFIX..];
    if prefix.what != What::Frame {
        return Some((prefix, None, rest));
    }
    let header = Header::decode(rest.first_chunk()?)?;
    let payload = &rest[HEADER..];
    (payload.len() == header.length as usize).then_some((prefix, Some(header), payload))
}

/// Reads a ring's long record. `None`: it is not one.
pub fn read_long(message: &[u8]) -> Option<(Prefix, Header, &[u8])> {
    match read(message)? {
        (prefix, Some(header), payload) if message[3] != SHORTLY => Some((prefix, header, payload)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_wire_and_nonsense_is_none() {
        let prefix = Prefix {
            what: What::Frame,
            number: u32::MAX,
            limit: 3,
            read: 0x0102_0304,
        };
        let mut header = Header::new(Kind::Eager);
        header.length = 5;
        header.cookie = 77;
        let mut bytes = vec![9; FRONT + 5];
        write_front(&mut bytes, &prefix, &header);
        let (p, h, payload) = read(&bytes).expect("a frame");
        assert_eq!((p, h, payload), (prefix, Some(header), &[9u8; 5][..]));
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_none(), "{length} bytes");
        }
        for what in [What::Credit, What::Bye] {
            let alone = Prefix { what, ..prefix };
            let (p, h, rest) = read(&alone.encode())
                .map(|(p, h, r)| (p, h, r.len()))
                .expect("a message");
            assert_eq!((p, h, rest), (alone, None, 0));
        }
        bytes[0] = 99;
        assert!(read(&bytes).is_none());
    }

    #[test]
    fn a_small_message_has_a_short_front_and_any_other_field_a_long_one() {
        let prefix = Prefix {
            what: What::Frame,
            number: 0xfedc_ba98,
            limit: u32::MAX,
            read: 7,
        };
        let plain = Header {
            length: 3,
            context: u64::from(u32::MAX),
            source: 65535,
            tag: -5,
            total: 3,
            request: u32::MAX,
            ..Header::new(Kind::Eager)
        };
        let others = [
            Header { total: 4, ..plain },
            Header { flags: 1, ..plain },
            Header {
                request: 9,
                ..plain
            },
            Header { answer: 1, ..plain },
            Header { cookie: 1, ..plain },
            Header {
                source: 65536,
                ..plain
            },
            Header {
                context: 1 << 32,
                ..plain
            },
            Header {
                kind: Kind::Piece,
                ..plain
            },
        ];
        assert_eq!(front(&plain), SHORT);
        assert!(others.iter().all(|other| front(other) == FRONT));
        for header in others.iter().chain([&plain]) {
            let mut bytes = vec![8; front(header) + 3];
            write_front(&mut bytes, &prefix, header);
            let seen = read(&bytes).expect("a frame");
            assert_eq!(seen, (prefix, Some(*header), &[8u8; 3][..]));
            for length in 0..front(header) {
                assert!(read(&bytes[..length]).is_none(), "{length} bytes");
            }
            if is_short(header) {
                let envelope = Envelope::of(header);
                assert_eq!(Envelope::decode(&envelope.encode()), envelope);
                assert_eq!(envelope.header(3), *header);
                assert!(read_long(&bytes).is_none());
            } else {
                assert_eq!(read_long(&bytes), Some((prefix, *header, &[8u8; 3][..])));
            }
        }
    }
}
