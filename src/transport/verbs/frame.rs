//! What stands in front of each frame between two ranks: what it is, its place in the order, and what its sender gives
//! back to the receiver.

use crate::wire::frame::{Header, HEADER};

/// Bytes of an encoded [`Prefix`].
pub const PREFIX: usize = 16;
/// Bytes in front of a payload.
pub const FRONT: usize = PREFIX + HEADER;

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

/// Writes prefix and header in front of a payload.
#[inline]
pub fn write_front(out: &mut [u8], prefix: &Prefix, header: &Header) {
    out[..PREFIX].copy_from_slice(&prefix.encode());
    out[PREFIX..FRONT].copy_from_slice(&header.encode());
}

/// Reads a message: its prefix, and the header and payload of a frame. `None`: it is nonsense.
#[inline]
pub fn read(bytes: &[u8]) -> Option<(Prefix, Option<Header>, &[u8])> {
    let prefix = Prefix::decode(bytes.first_chunk()?)?;
    let rest = &bytes[PREFIX..];
    if prefix.what != What::Frame {
        return Some((prefix, None, rest));
    }
    let header = Header::decode(rest.first_chunk()?)?;
    let payload = &rest[HEADER..];
    (payload.len() == header.length as usize).then_some((prefix, Some(header), payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::Kind;

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
}
