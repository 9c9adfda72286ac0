//! Datatypes (MPI-5.0 §5).
//!
//! A [`Datatype`] remembers how it was made ([`Make`]: what get_contents tells, and the way to its basic elements)
//! and knows its measures from birth. For copying, its typemap is folded into a [`shape::Shape`]: runs of bytes, loops
//! where it is regular, lists where it is not.

mod array;
mod bounds;
mod contents;
mod copy;
mod elements;
mod external;
mod fortran;
mod kernel;
mod make;
mod predefined;
mod shape;
mod table;
#[cfg(test)]
mod tests;

pub use array::Distribution;
pub use contents::{Contents, Envelope};
pub use copy::{copy, pack, unpack};
pub use external::{external_size, pack_external, unpack_external};
pub use fortran::match_size;
pub use table::{Entry, Types};

use crate::base::id::DatatypeId;
use bounds::{Dense, Measure};
use make::{Blocks, Make, Parts};
use shape::Shape;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// A datatype; handles and pending operations share it.
pub type Type = Arc<Datatype>;

/// What a buffer's elements look like in memory. Only whether it is committed ever changes.
pub struct Datatype {
    measure: Measure,
    committed: AtomicBool,
    /// The handle of a predefined type, named or not.
    handle: OnceLock<DatatypeId>,
    /// The predefined type that it computes like: itself, or what a Fortran parametrised type stands for.
    kind: Option<DatatypeId>,
    basic: Option<DatatypeId>,
    make: Make,
    /// Arguments came through a large-count procedure.
    large: bool,
    shape: OnceLock<Shape>,
}

impl Datatype {
    /// Bytes of data in one element, without gaps.
    #[inline(always)]
    pub fn size(&self) -> usize {
        self.measure.size as usize
    }

    /// Where the lower bound lies, bytes from the element's address.
    #[inline]
    pub fn lb(&self) -> i64 {
        self.measure.lb
    }

    /// Where the upper bound lies, bytes from the element's address.
    #[inline]
    pub fn ub(&self) -> i64 {
        self.measure.ub
    }

    /// Bytes from one element to the next; may be negative.
    #[inline(always)]
    pub fn extent(&self) -> i64 {
        self.measure.ub - self.measure.lb
    }

    /// Where the first byte of data lies.
    #[inline]
    pub fn true_lb(&self) -> i64 {
        self.measure.true_lb
    }

    /// Bytes from the first to the last byte of data.
    #[inline]
    pub fn true_extent(&self) -> i64 {
        self.measure.true_ub - self.measure.true_lb
    }

    /// Its alignment in bytes: the strictest of its basic elements.
    pub fn alignment(&self) -> i64 {
        self.measure.align
    }

    /// Basic elements in one element (what MPI_Get_elements counts).
    pub fn elements(&self) -> i64 {
        self.measure.elements
    }

    /// The predefined type whose arithmetic applies: a named type's own id; for types made by
    /// MPI_Type_create_f90_* the named type of the same representation; none for derived types.
    #[inline(always)]
    pub fn id(&self) -> Option<DatatypeId> {
        self.kind
    }

    /// The handle of a predefined type, which a program cannot free.
    pub fn predefined(&self) -> Option<DatatypeId> {
        self.handle.get().copied()
    }

    /// The predefined type of all its basic elements, if they are of one type. Pair types count as mixed, except
    /// MPI_2INT and its like.
    pub fn basic(&self) -> Option<DatatypeId> {
        self.basic
    }

    /// May it be used for communication?
    #[inline(always)]
    pub fn is_committed(&self) -> bool {
        self.committed.load(Ordering::Relaxed)
    }

    /// Makes it ready for communication: folds the typemap now rather than at its first use.
    pub fn commit(&self) {
        self.shape();
        self.committed.store(true, Ordering::Relaxed);
    }

    /// If `count` elements form one gap-free run of memory: where it begins, bytes from the buffer's address.
    /// Constant time.
    #[inline(always)]
    pub fn dense(&self, count: usize) -> Option<isize> {
        match self.measure.dense {
            Dense::Always => Some(self.measure.true_lb as isize),
            Dense::Single if count <= 1 => Some(self.measure.true_lb as isize),
            _ => None,
        }
    }

    fn shape(&self) -> &Shape {
        self.shape.get_or_init(|| Shape::of(self))
    }
}

impl std::fmt::Debug for Datatype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datatype")
            .field("kind", &self.kind)
            .field("measure", &self.measure)
            .field("committed", &self.is_committed())
            .finish_non_exhaustive()
    }
}
