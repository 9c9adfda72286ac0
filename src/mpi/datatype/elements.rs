//! Bytes of a packed stream as counts of types and of basic elements (MPI-5.0 §3.2.5, §5.1.11).

use super::{Datatype, Parts, Type};
use crate::base::error::Result;
use crate::fail;

impl Datatype {
    /// How many whole elements `bytes` of packed data are; none if they end within one (MPI_UNDEFINED).
    #[inline]
    pub fn count_of(&self, bytes: u64) -> Option<i64> {
        let size = self.size() as u64;
        match bytes {
            0 => Some(0),
            _ if size == 0 || !bytes.is_multiple_of(size) => None,
            _ => Some((bytes / size) as i64),
        }
    }

    /// How many basic elements `bytes` of packed data are; none if they end within one (MPI_UNDEFINED).
    pub fn elements_of(&self, bytes: u64) -> Option<i64> {
        if bytes == 0 {
            return Some(0);
        }
        let size = self.size() as u64;
        if size == 0 {
            return None;
        }
        let whole = (bytes / size) as i64 * self.elements();
        match bytes % size {
            0 => Some(whole),
            rest => Some(whole + self.elements_within(rest)?),
        }
    }

    /// The same for less than one element.
    fn elements_within(&self, mut bytes: u64) -> Option<i64> {
        let copies = |old: &Type, bytes: u64| old.elements_of(bytes);
        match self.parts() {
            Parts::Leaf(..) => None,
            Parts::Grid { old, .. } => copies(old, bytes),
            Parts::List(blocks) => {
                let mut sum = 0;
                for block in blocks.iter() {
                    let all = block.count.max(0) as u64 * block.old.size() as u64;
                    if bytes < all {
                        return Some(sum + copies(block.old, bytes)?);
                    }
                    sum += block.count.max(0) * block.old.elements();
                    bytes -= all;
                }
                Some(sum)
            }
        }
    }

    /// Packed bytes of the first `elements` basic elements of a sequence of this type: the inverse of
    /// [`Datatype::elements_of`]. Errors: MPI_ERR_COUNT.
    pub fn bytes_of_elements(&self, elements: i64) -> Result<u64> {
        if elements < 0 {
            fail!(Count, "count {elements} is negative");
        }
        if elements == 0 {
            return Ok(0);
        }
        if self.elements() == 0 {
            fail!(Count, "{elements} elements of a datatype without data");
        }
        let (whole, rest) = (elements / self.elements(), elements % self.elements());
        match (whole as u64).checked_mul(self.size() as u64) {
            Some(bytes) => Ok(bytes + self.bytes_within(rest)),
            None => fail!(Count, "{elements} elements are more than 2^64 bytes"),
        }
    }

    fn bytes_within(&self, mut elements: i64) -> u64 {
        let copies = |old: &Type, elements: i64| match old.elements() {
            0 => 0,
            each => {
                (elements / each) as u64 * old.size() as u64 + old.bytes_within(elements % each)
            }
        };
        match self.parts() {
            _ if elements == 0 => 0,
            Parts::Leaf(..) => 0,
            Parts::Grid { old, .. } => copies(old, elements),
            Parts::List(blocks) => {
                let mut sum = 0;
                for block in blocks.iter() {
                    let all = block.count.max(0) * block.old.elements();
                    if elements < all {
                        return sum + copies(block.old, elements);
                    }
                    sum += block.count.max(0) as u64 * block.old.size() as u64;
                    elements -= all;
                }
                sum
            }
        }
    }
}
