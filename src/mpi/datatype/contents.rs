//! What a type was made of (MPI-5.0 §5.1.13).

use super::make::Make;
use super::{Datatype, Type};
use crate::base::constant::*;

/// How many arguments of each sort the constructor took, and which it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    pub integers: usize,
    pub addresses: usize,
    pub large_counts: usize,
    pub datatypes: usize,
    pub combiner: i32,
}

/// The constructor's arguments, in the order the standard prescribes for the combiner.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub integers: Vec<i32>,
    pub addresses: Vec<i64>,
    pub large_counts: Vec<i64>,
    pub datatypes: Vec<Type>,
}

/// Collects arguments; counts become integers, or large counts if the constructor's large form was called.
struct Collect {
    contents: Contents,
    large: bool,
}

impl Collect {
    fn counts(&mut self, values: &[i64]) -> &mut Self {
        if self.large {
            self.contents.large_counts.extend_from_slice(values);
        } else {
            // A constructor's small form got them as ints.
            let narrow = values.iter().map(|&v| v as i32);
            self.contents.integers.extend(narrow);
        }
        self
    }

    fn count(&mut self, value: i64) -> &mut Self {
        self.counts(&[value])
    }

    /// Byte displacements: addresses, or large counts of the large form.
    fn bytes(&mut self, values: &[i64]) -> &mut Self {
        let to = if self.large {
            &mut self.contents.large_counts
        } else {
            &mut self.contents.addresses
        };
        to.extend_from_slice(values);
        self
    }

    fn ints(&mut self, values: &[i32]) -> &mut Self {
        self.contents.integers.extend_from_slice(values);
        self
    }

    fn types(&mut self, types: &[Type]) -> &mut Self {
        self.contents.datatypes.extend_from_slice(types);
        self
    }

    fn ty(&mut self, ty: &Type) -> &mut Self {
        self.types(std::slice::from_ref(ty))
    }
}

impl Make {
    fn combiner(&self) -> i32 {
        match self {
            Make::Basic(_) | Make::Pair { .. } => COMBINER_NAMED,
            Make::Dup(_) => COMBINER_DUP,
            Make::Contiguous { .. } => COMBINER_CONTIGUOUS,
            Make::Vector { .. } => COMBINER_VECTOR,
            Make::Hvector { .. } => COMBINER_HVECTOR,
            Make::Indexed { .. } => COMBINER_INDEXED,
            Make::Hindexed { .. } => COMBINER_HINDEXED,
            Make::IndexedBlock { .. } => COMBINER_INDEXED_BLOCK,
            Make::HindexedBlock { .. } => COMBINER_HINDEXED_BLOCK,
            Make::Struct { .. } => COMBINER_STRUCT,
            Make::Subarray { .. } => COMBINER_SUBARRAY,
            Make::Darray { .. } => COMBINER_DARRAY,
            Make::Resized { .. } => COMBINER_RESIZED,
            Make::F90 { combiner, .. } => *combiner,
        }
    }
}

impl Datatype {
    /// How it was made; with combiner MPI_COMBINER_NAMED it has no [`Datatype::contents`].
    pub fn envelope(&self) -> Envelope {
        let combiner = self.make.combiner();
        if combiner == COMBINER_NAMED {
            return Envelope {
                integers: 0,
                addresses: 0,
                large_counts: 0,
                datatypes: 0,
                combiner,
            };
        }
        let contents = self.contents();
        Envelope {
            integers: contents.integers.len(),
            addresses: contents.addresses.len(),
            large_counts: contents.large_counts.len(),
            datatypes: contents.datatypes.len(),
            combiner,
        }
    }

    /// Is it a predefined type with a name?
    pub fn is_named(&self) -> bool {
        self.make.combiner() == COMBINER_NAMED
    }

    /// The arguments it was made with; empty for a named type.
    pub fn contents(&self) -> Contents {
        let mut c = Collect {
            contents: Contents::default(),
            large: self.large,
        };
        match &self.make {
            Make::Basic(_) | Make::Pair { .. } => {}
            Make::Dup(old) => {
                c.ty(old);
            }
            Make::Contiguous { count, old } => {
                c.count(*count).ty(old);
            }
            Make::Vector {
                count,
                block,
                stride,
                old,
            } => {
                c.counts(&[*count, *block, *stride]).ty(old);
            }
            Make::Hvector {
                count,
                block,
                stride,
                old,
            } => {
                c.counts(&[*count, *block]).bytes(&[*stride]).ty(old);
            }
            Make::Indexed {
                lengths,
                displacements,
                old,
            } => {
                c.count(lengths.len() as i64)
                    .counts(lengths)
                    .counts(displacements)
                    .ty(old);
            }
            Make::Hindexed {
                lengths,
                displacements,
                old,
            } => {
                c.count(lengths.len() as i64)
                    .counts(lengths)
                    .bytes(displacements)
                    .ty(old);
            }
            Make::IndexedBlock {
                block,
                displacements,
                old,
            } => {
                c.counts(&[displacements.len() as i64, *block])
                    .counts(displacements)
                    .ty(old);
            }
            Make::HindexedBlock {
                block,
                displacements,
                old,
            } => {
                c.counts(&[displacements.len() as i64, *block])
                    .bytes(displacements)
                    .ty(old);
            }
            Make::Struct {
                lengths,
                displacements,
                olds,
            } => {
                c.count(lengths.len() as i64)
                    .counts(lengths)
                    .bytes(displacements)
                    .types(olds);
            }
            Make::Subarray {
                sizes,
                subsizes,
                starts,
                order,
                old,
                ..
            } => {
                c.ints(&[sizes.len() as i32])
                    .counts(sizes)
                    .counts(subsizes)
                    .counts(starts)
                    .ints(&[*order])
                    .ty(old);
            }
            Make::Darray {
                size,
                rank,
                gsizes,
                distribs,
                dargs,
                psizes,
                order,
                old,
                ..
            } => {
                c.ints(&[*size, *rank, gsizes.len() as i32])
                    .counts(gsizes)
                    .ints(distribs)
                    .ints(dargs)
                    .ints(psizes)
                    .ints(&[*order])
                    .ty(old);
            }
            Make::Resized { lb, extent, old } => {
                c.bytes(&[*lb, *extent]).ty(old);
            }
            Make::F90 { parameters, .. } => {
                c.ints(parameters);
            }
        }
        c.contents
    }
}
