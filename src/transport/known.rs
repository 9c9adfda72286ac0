//! Everybody's address, kept as the bytes that came: thousands of peers of whom few are ever spoken to. An address is
//! decoded when its transport is chosen.

use crate::base::id::PeerId;
use crate::wire::address::Address;

/// The largest table that is read, bytes.
pub const TABLE_MAX: usize = 256 << 20;

/// Addresses by rank, as far as they are known.
#[derive(Default)]
pub struct Known {
    bytes: Vec<u8>,
    /// Where each lies in `bytes`: from, to; the same twice: it is not known.
    places: Vec<(u32, u32)>,
    missing: usize,
}

impl Known {
    /// None of so many ranks yet.
    pub fn none_of(ranks: u32) -> Known {
        Known {
            bytes: Vec::new(),
            places: vec![(0, 0); ranks as usize],
            missing: ranks as usize,
        }
    }

    /// Ranks of the job.
    pub fn ranks(&self) -> u32 {
        self.places.len() as u32
    }

    /// Is everybody known?
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Takes a rank's address in; a rank beyond the job is none.
    pub fn add(&mut self, rank: u32, address: &[u8]) {
        let Some(place) = self.places.get_mut(rank as usize) else {
            return;
        };
        if place.0 == place.1 && !address.is_empty() {
            self.missing -= 1;
        }
        self.bytes
            .extend_from_slice(&(address.len() as u32).to_le_bytes());
        let from = self.bytes.len();
        self.bytes.extend_from_slice(address);
        *place = (from as u32, self.bytes.len() as u32);
    }

    /// The table for others: each address behind its length (4 bytes, little endian), by rank. Only when complete and
    /// added in order.
    pub fn table(&self) -> &[u8] {
        &self.bytes
    }

    /// From a table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(ranks: u32, bytes: Vec<u8>) -> Result<Known, &'static str> {
        if bytes.len() > TABLE_MAX {
            return Err("it is too long");
        }
        let mut known = Known::none_of(ranks);
        let mut at = 0;
        for place in &mut known.places {
            let Some(length) = bytes.get(at..).and_then(<[u8]>::first_chunk) else {
                return Err("it ends too early");
            };
            let from = at + 4;
            let to = from + u32::from_le_bytes(*length) as usize;
            if to > bytes.len() {
                return Err("it ends too early");
            }
            if from == to {
                return Err("an address is missing in it");
            }
            *place = (from as u32, to as u32);
            at = to;
        }
        if at != bytes.len() {
            return Err("bytes are left over");
        }
        known.bytes = bytes;
        known.missing = 0;
        Ok(known)
    }

    /// This peer's address.
    ///
    /// # Errors
    /// It is not known, cannot be read, or is another's.
    pub fn address(&self, peer: PeerId) -> Result<Address, String> {
        let rank = peer.0;
        let (from, to) = match self.places.get(rank as usize) {
            Some(&(from, to)) if from < to => (from as usize, to as usize),
            _ => return Err("nobody introduced it".to_string()),
        };
        match Address::decode(&self.bytes[from..to]) {
            Err(why) => Err(format!("the address of rank {rank} cannot be read: {why}")),
            Ok(address) if address.rank != rank => Err(format!(
                "the address of rank {rank} is that of rank {}",
                address.rank
            )),
            Ok(address) => Ok(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_survives_the_way_and_a_broken_one_is_refused() {
        let mut known = Known::none_of(3);
        for (rank, address) in [(0, &b"zero"[..]), (1, b"1"), (2, b"another")] {
            assert!(!known.is_complete());
            known.add(rank, address);
        }
        known.add(3, b"beyond");
        assert!(known.is_complete());
        let table = known.table().to_vec();
        let copy = Known::read(3, table.clone()).expect("a table");
        assert!(copy.is_complete());
        assert_eq!((copy.table(), copy.ranks()), (&table[..], 3));
        for end in 0..table.len() {
            assert!(Known::read(3, table[..end].to_vec()).is_err(), "{end}");
        }
        for (ranks, bytes) in [
            (2, table.clone()),
            (4, table.clone()),
            (1, vec![0, 0, 0, 0]),
            (1, vec![255, 255, 255, 255, 1]),
        ] {
            assert!(Known::read(ranks, bytes).is_err());
        }
        assert!(copy.address(PeerId(0)).unwrap_err().contains("rank 0"));
        assert!(copy.address(PeerId(9)).unwrap_err().contains("introduced"));
        assert!(Known::none_of(1).address(PeerId(0)).is_err());
    }
}
