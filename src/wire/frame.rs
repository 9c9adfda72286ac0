//! The header in front of every payload.

/// Bytes of an encoded [`Header`].
pub const HEADER: usize = 48;

/// What a frame is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A whole message: the payload follows.
    Eager = 1,
    /// rndv, ready to send: `total` bytes wait at the sender under `request`; `cookie` is the sender's address of
    /// the data when it lies in one piece, else 0; with [`EXPOSED`] they can be read there, with the key `answer`.
    Ready = 2,
    /// rndv, clear to send: the receiver's `answer` takes the data of the sender's `request`. With [`EXPOSED`] they may
    /// be written to the receiver's memory at `cookie`, whose key is `source`; [`Kind::Placed`] follows them. With
    /// [`SHARED`] parts of them may, which are taken under the serial number `source`.
    Clear = 3,
    /// rndv, a piece: `cookie` bytes into the packed message, for the receiver's `answer`.
    Piece = 4,
    /// The sender's `request` is finished: its data were taken, or a synchronous send was matched.
    Done = 5,
    /// Bytes of unexpected memory given back: `total`.
    Credit = 6,
    /// Please forget the message of my `request`; with [`EXPOSED`]: may its data be read still?
    Cancel = 7,
    /// Answer to Cancel for your `request`; `total` is 1 when it was forgotten, 0 when it had been matched, 2 when that is
    /// over.
    Cancelled = 8,
    /// This rank has finalized and sends nothing more.
    Goodbye = 9,
    /// The rank `request` is gone; [`NOBODY`]: tell me who is.
    Loss = 10,
    /// rndv, written: the data are in the memory that the receiver's `answer` exposed; `total` is 0 when they never will
    /// be, else 1.
    Placed = 11,
}

/// In a [`Kind::Loss`]: no news, but a question.
pub const NOBODY: u32 = u32::MAX;

/// Stands for "no request": a send that its sender has forgotten.
pub const FORGOTTEN: u32 = u32::MAX;

/// Flag of an eager message: its sender waits for the match (synchronous mode).
pub const SYNCHRONOUS: u8 = 1;

/// Flag of an announcement and of its answer: one-sided calls reach the memory.
pub const EXPOSED: u8 = 2;

/// Flag of [`Kind::Clear`]: the receiver reads the data itself, and invites the sender to write some of them.
pub const SHARED: u8 = 4;

/// A frame's header; 48 bytes, little endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub kind: Kind,
    pub flags: u8,
    /// Payload bytes that follow.
    pub length: u32,
    /// The communicator's number on the wire.
    pub context: u64,
    /// The sender's rank in that communicator.
    pub source: u32,
    pub tag: i32,
    /// Bytes of the whole message.
    pub total: u64,
    /// The sender's request.
    pub request: u32,
    /// The receiver's request.
    pub answer: u32,
    /// An address or an offset, by kind.
    pub cookie: u64,
}

impl Header {
    /// An otherwise empty header of this kind.
    pub fn new(kind: Kind) -> Header {
        Header {
            kind,
            flags: 0,
            length: 0,
            context: 0,
            source: 0,
            tag: 0,
            total: 0,
            request: 0,
            answer: 0,
            cookie: 0,
        }
    }

    /// A whole message that its sender has forgotten, and whose header says no more than context, source, tag, length and
    /// perhaps a number to recall it by.
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        self.kind == Kind::Eager
            && self.flags == 0
            && self.request == FORGOTTEN
            && self.answer == 0
            && self.total == u64::from(self.length)
    }

    #[inline]
    pub fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[0] = self.kind as u8;
        out[1] = self.flags;
        out[4..8].copy_from_slice(&self.length.to_le_bytes());
        out[8..16].copy_from_slice(&self.context.to_le_bytes());
        out[16..20].copy_from_slice(&self.source.to_le_bytes());
        out[20..24].copy_from_slice(&self.tag.to_le_bytes());
        out[24..32].copy_from_slice(&self.total.to_le_bytes());
        out[32..36].copy_from_slice(&self.request.to_le_bytes());
        out[36..40].copy_from_slice(&self.answer.to_le_bytes());
        out[40..48].copy_from_slice(&self.cookie.to_le_bytes());
        out
    }

    /// `None` when the bytes are no header.
    #[inline]
    pub fn decode(bytes: &[u8; HEADER]) -> Option<Header> {
        let kind = match bytes[0] {
            1 => Kind::Eager,
            2 => Kind::Ready,
            3 => Kind::Clear,
            4 => Kind::Piece,
            5 => Kind::Done,
            6 => Kind::Credit,
            7 => Kind::Cancel,
            8 => Kind::Cancelled,
            9 => Kind::Goodbye,
            10 => Kind::Loss,
            11 => Kind::Placed,
            _ => return None,
        };
        let u32_at =
            |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        let u64_at = |i: usize| u64::from(u32_at(i)) | u64::from(u32_at(i + 4)) << 32;
        Some(Header {
            kind,
            flags: bytes[1],
            length: u32_at(4),
            context: u64_at(8),
            source: u32_at(16),
            tag: u32_at(20) as i32,
            total: u64_at(24),
            request: u32_at(32),
            answer: u32_at(36),
            cookie: u64_at(40),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_wire() {
        let header = Header {
            kind: Kind::Ready,
            flags: SYNCHRONOUS | EXPOSED,
            length: 7,
            context: 0x1122_3344_5566_7788,
            source: 9,
            tag: -5,
            total: 1 << 40,
            request: 0xdead_beef,
            answer: 3,
            cookie: u64::MAX,
        };
        assert_eq!(Header::decode(&header.encode()), Some(header));
        for kind in 1..12 {
            let mut bytes = header.encode();
            bytes[0] = kind;
            assert_eq!(Header::decode(&bytes).map(|h| h.kind as u8), Some(kind));
        }
        let mut nonsense = header.encode();
        nonsense[0] = 0;
        assert_eq!(Header::decode(&nonsense), None);
        nonsense[0] = 200;
        assert_eq!(Header::decode(&nonsense), None);
    }
}
