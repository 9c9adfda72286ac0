//! The bytes of a frame: little-endian numbers, and fields with their length in front.

use super::TEXT_MAX;

/// Bytes that are no frame, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed frame: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// A kind of frame: what one side of one role says.
pub trait Frame: Sized {
    /// The largest body, bytes.
    const LIMIT: usize;
    /// The whole frame, length first.
    fn encode(&self) -> Vec<u8>;
    /// From a frame's body.
    fn decode(body: &[u8]) -> Result<Self, Malformed>;
}

/// The length of a frame's body, from its first four bytes; an error when it is empty or above `limit`.
pub fn body_length(prefix: [u8; 4], limit: usize) -> Result<usize, Malformed> {
    match u32::from_le_bytes(prefix) as usize {
        0 => Err(Malformed("it is empty")),
        n if n > limit => Err(Malformed("it is larger than allowed")),
        n => Ok(n),
    }
}

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn frame(kind: u8) -> Writer {
        Writer(vec![0, 0, 0, 0, kind])
    }
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }
    pub(super) fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }
    pub(super) fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.raw(bytes);
    }
    /// Cut to the limit, at a character.
    pub(super) fn text(&mut self, text: &str, limit: usize) {
        let mut end = text.len().min(limit);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.bytes(&text.as_bytes()[..end]);
    }
    pub(super) fn done(mut self) -> Vec<u8> {
        let length = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        if n > self.0.len() {
            return Err(Malformed("it ends too early"));
        }
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        Ok(head)
    }
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }
    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }
    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_le_bytes(self.array()?))
    }
    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    pub(super) fn version(&mut self) -> Result<(), Malformed> {
        match u16::from_le_bytes(self.array()?) {
            super::VERSION => Ok(()),
            _ => Err(Malformed("it is of another version of the protocol")),
        }
    }
    pub(super) fn bytes(&mut self, limit: usize) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        if length > limit {
            return Err(Malformed("a field is longer than allowed"));
        }
        self.take(length)
    }
    pub(super) fn text(&mut self, limit: usize) -> Result<String, Malformed> {
        match std::str::from_utf8(self.bytes(limit)?) {
            Ok(text) => Ok(text.to_string()),
            Err(_) => Err(Malformed("a text is not UTF-8")),
        }
    }
    /// A text of any frame's usual limit.
    pub(super) fn line(&mut self) -> Result<String, Malformed> {
        self.text(TEXT_MAX)
    }
    /// How many items of at least `least` bytes follow: a lying count cannot make us reserve much.
    pub(super) fn count(&mut self, most: u32, least: usize) -> Result<usize, Malformed> {
        let count = self.u32()?;
        if count > most || count as usize * least > self.0.len() {
            return Err(Malformed("its table is too long"));
        }
        Ok(count as usize)
    }
    pub(super) fn end<T>(self, value: T) -> Result<T, Malformed> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(Malformed("bytes are left over"))
        }
    }
}
