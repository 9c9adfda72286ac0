//! The part of a buffer that belongs to a rank, in the uniform, the v and the w forms.

use crate::mpi::collective::schedule::Data;
use crate::mpi::datatype::Type;

/// A buffer with one block a rank.
pub enum Blocks<'a> {
    /// `count` elements each, one after the other.
    Even {
        buffer: *mut u8,
        count: usize,
        ty: Type,
    },
    /// Counts and displacements in elements.
    Each {
        buffer: *mut u8,
        counts: &'a [i64],
        displs: &'a [i64],
        ty: Type,
    },
    /// Counts, displacements in bytes, types.
    Typed {
        buffer: *mut u8,
        counts: &'a [i64],
        displs: &'a [i64],
        types: Vec<Type>,
    },
}

impl Blocks<'_> {
    /// That rank's block.
    pub fn of(&self, rank: u32) -> Data {
        let i = rank as usize;
        match self {
            Blocks::Even { buffer, count, ty } => {
                let offset = ty.extent() * (*count as i64) * i64::from(rank);
                Data::new(buffer.wrapping_offset(offset as isize), *count, ty)
            }
            Blocks::Each {
                buffer,
                counts,
                displs,
                ty,
            } => Data::new(
                buffer.wrapping_offset((displs[i] * ty.extent()) as isize),
                counts[i] as usize,
                ty,
            ),
            Blocks::Typed {
                buffer,
                counts,
                displs,
                types,
            } => Data::new(
                buffer.wrapping_offset(displs[i] as isize),
                counts[i] as usize,
                &types[i],
            ),
        }
    }
}
