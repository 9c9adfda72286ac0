//! The part of a buffer that belongs to a rank, in the uniform, the v and the w forms.

use crate::mpi::collective::schedule::{Data, Schedule};
use crate::mpi::datatype::Type;

/// A buffer with one block a rank.
pub enum Blocks<'a> {
    /// `count` elements each, one after the other.
    Even {
        buffer: *mut u8,
        count: usize,
        ty: &'a Type,
    },
    /// Counts and displacements in elements.
    Each {
        buffer: *mut u8,
        counts: &'a [i64],
        displs: &'a [i64],
        ty: &'a Type,
    },
    /// Counts, displacements in bytes, types.
    Typed {
        buffer: *mut u8,
        counts: &'a [i64],
        displs: &'a [i64],
        types: Vec<&'a Type>,
    },
}

impl Blocks<'_> {
    fn part(&self, rank: u32) -> (*mut u8, usize, &Type) {
        let i = rank as usize;
        match self {
            Blocks::Even { buffer, count, ty } => {
                let offset = ty.extent() * (*count as i64) * i64::from(rank);
                (buffer.wrapping_offset(offset as isize), *count, ty)
            }
            Blocks::Each {
                buffer,
                counts,
                displs,
                ty,
            } => {
                let offset = displs[i] * ty.extent();
                (
                    buffer.wrapping_offset(offset as isize),
                    counts[i] as usize,
                    ty,
                )
            }
            Blocks::Typed {
                buffer,
                counts,
                displs,
                types,
            } => (
                buffer.wrapping_offset(displs[i] as isize),
                counts[i] as usize,
                types[i],
            ),
        }
    }

    /// That rank's block.
    pub fn of(&self, s: &mut Schedule, rank: u32) -> Data {
        let (buffer, count, ty) = self.part(rank);
        s.data(buffer, count, ty)
    }

    /// Where that rank's block begins, as a buffer argument would say it.
    pub fn address(&self, rank: u32) -> *mut u8 {
        self.part(rank).0
    }

    /// Bytes of that rank's block on the wire.
    pub fn size(&self, rank: u32) -> usize {
        let (_, count, ty) = self.part(rank);
        count * ty.size()
    }

    /// Blocks `first..first + n` as one, where they are even.
    pub fn run(&self, s: &mut Schedule, first: u32, n: u32) -> Option<Data> {
        match self {
            Blocks::Even { count, ty, .. } => {
                Some(s.data(self.address(first), count * n as usize, ty))
            }
            _ => None,
        }
    }
}
