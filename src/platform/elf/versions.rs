//! Which glibc an ELF file wants: the versions of the symbols it takes from libc and its kin (LSB, "Symbol Versioning").

use super::image::Reader;
use object::elf::{self, Sym64};
use object::Endianness;
use std::fmt;

/// A version of glibc: 2.34 is (2, 34).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Glibc(pub u32, pub u32);

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Glibc {
    /// Of `2.34` or `2.3.4` (as `2.3`).
    pub fn parse(text: &str) -> Option<Glibc> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let version = Glibc(parts.next()??, parts.next()??);
        parts
            .all(|part: Option<u32>| part.is_some())
            .then_some(version)
    }
}

/// The newest glibc that a file wants, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    pub glibc: Glibc,
    /// A symbol of that version, or a property of the file (`packed relocations`).
    pub symbol: String,
}

/// The newest of the versions that the loader insists on: it overlooks a missing version that is marked as weak.
pub(super) fn newest(reader: &Reader<'_>, symbols: &[Sym64<Endianness>]) -> Option<Wish> {
    let strings = reader.strings().ok()?;
    let versions = needed(reader)?;
    let (glibc, number) = versions.into_iter().max_by_key(|(glibc, _)| *glibc)?;
    let table = reader
        .one(elf::DT_VERSYM)
        .and_then(|at| reader.table(at, Some(symbols.len() as u64 * 2)).ok())
        .unwrap_or_default();
    let symbol = symbols.iter().zip(table.chunks_exact(2)).find(|(_, v)| {
        // The highest bit hides a symbol; it is no part of the number.
        u16::from_le_bytes([v[0], v[1]]) & 0x7fff == number
    });
    let symbol = symbol
        .and_then(|(symbol, _)| {
            reader
                .name(&strings, symbol.st_name.get(super::image::ORDER).into())
                .ok()
        })
        .unwrap_or_else(|| "packed relocations".into());
    Some(Wish { glibc, symbol })
}

/// The glibc versions that must be there, and their numbers in the table of symbols' versions.
fn needed(reader: &Reader<'_>) -> Option<Vec<(Glibc, u16)>> {
    let strings = reader.strings().ok()?;
    let bytes = reader.table(reader.one(elf::DT_VERNEED)?, None).ok()?;
    let half = |at: usize| -> Option<u16> {
        Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
    };
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let mut found = Vec::new();
    let mut file = 0usize;
    for _ in 0..reader.one(elf::DT_VERNEEDNUM)?.min(4096) {
        let mut at = file + word(file + 8)? as usize;
        for _ in 0..half(file + 2)? {
            let (flags, number) = (half(at + 4)?, half(at + 6)?);
            let name = reader.name(&strings, word(at + 8)?.into()).ok()?;
            let glibc = match name.strip_prefix("GLIBC_") {
                // A mark instead of a number: glibc learned to read such relocations in 2.36.
                Some("ABI_DT_RELR") => Some(Glibc(2, 36)),
                Some(version) => Glibc::parse(version),
                None => None,
            };
            const WEAK: u16 = 2;
            if let Some(glibc) = glibc.filter(|_| flags & WEAK == 0) {
                found.push((glibc, number & 0x7fff));
            }
            at += word(at + 12)? as usize;
        }
        match word(file + 12)? {
            0 => break,
            next => file += next as usize,
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_ordered() {
        assert_eq!(Glibc::parse("2.34"), Some(Glibc(2, 34)));
        assert_eq!(Glibc::parse("2.2.5"), Some(Glibc(2, 2)));
        for wrong in ["", "2", "2.x", "PRIVATE", "2.34.y"] {
            assert_eq!(Glibc::parse(wrong), None, "{wrong}");
        }
        assert!(Glibc(2, 4) < Glibc(2, 34));
        assert_eq!(Glibc(2, 34).to_string(), "2.34");
    }
}
