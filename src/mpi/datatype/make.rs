//! How types are made: the constructors' arguments, and the one view of them that everything else is derived from.

use super::bounds::Measure;
use super::predefined::Basic;
use super::{Datatype, Type};
use crate::base::error::Result;
use crate::base::id::DatatypeId;
use crate::fail;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

/// The constructor and its arguments, displacements and strides in the constructor's own units.
pub(super) enum Make {
    Basic(&'static Basic),
    /// A value and its index, as a C compiler lays them out.
    Pair {
        offsets: [i64; 2],
        olds: [Type; 2],
    },
    Dup(Type),
    Contiguous {
        count: i64,
        old: Type,
    },
    Vector {
        count: i64,
        block: i64,
        stride: i64,
        old: Type,
    },
    Hvector {
        count: i64,
        block: i64,
        stride: i64,
        old: Type,
    },
    Indexed {
        lengths: Box<[i64]>,
        displacements: Box<[i64]>,
        old: Type,
    },
    Hindexed {
        lengths: Box<[i64]>,
        displacements: Box<[i64]>,
        old: Type,
    },
    IndexedBlock {
        block: i64,
        displacements: Box<[i64]>,
        old: Type,
    },
    HindexedBlock {
        block: i64,
        displacements: Box<[i64]>,
        old: Type,
    },
    Struct {
        lengths: Box<[i64]>,
        displacements: Box<[i64]>,
        olds: Box<[Type]>,
    },
    /// `inner`: the same typemap made of simpler constructors; so for the darray.
    Subarray {
        sizes: Box<[i64]>,
        subsizes: Box<[i64]>,
        starts: Box<[i64]>,
        order: i32,
        old: Type,
        inner: Type,
    },
    Darray {
        size: i32,
        rank: i32,
        gsizes: Box<[i64]>,
        distribs: Box<[i32]>,
        dargs: Box<[i32]>,
        psizes: Box<[i32]>,
        order: i32,
        old: Type,
        inner: Type,
    },
    Resized {
        lb: i64,
        extent: i64,
        old: Type,
    },
    /// MPI_Type_create_f90_real, _complex or _integer (`combiner`) with these parameters.
    F90 {
        combiner: i32,
        parameters: Box<[i32]>,
        base: Type,
    },
}

/// A type seen as copies of simpler types.
pub(super) enum Parts<'a> {
    Leaf(&'static Basic),
    /// `count` rows, `stride` bytes apart, of `block` elements each, an extent apart.
    Grid {
        count: i64,
        stride: i64,
        block: i64,
        old: &'a Type,
    },
    List(Blocks<'a>),
}

/// Blocks at displacements of their own.
pub(super) struct Blocks<'a> {
    lengths: Each<'a, i64>,
    displacements: &'a [i64],
    /// Bytes per unit of displacement.
    unit: i64,
    olds: Each<'a, Type>,
}

enum Each<'a, T> {
    One(&'a T),
    Own(&'a [T]),
}

impl<'a, T> Each<'a, T> {
    #[inline]
    fn at(&self, i: usize) -> &'a T {
        match self {
            Each::One(same) => same,
            Each::Own(list) => &list[i],
        }
    }
}

/// `count` elements of `old` from `displacement` bytes on, an extent apart.
pub(super) struct Block<'a> {
    pub displacement: i64,
    pub count: i64,
    pub old: &'a Type,
}

impl<'a> Blocks<'a> {
    pub fn iter(&self) -> impl Iterator<Item = Block<'a>> + use<'a, '_> {
        self.displacements
            .iter()
            .enumerate()
            .map(|(i, displacement)| Block {
                // Overflow was excluded when the type was made.
                displacement: displacement.wrapping_mul(self.unit),
                count: *self.lengths.at(i),
                old: self.olds.at(i),
            })
    }

    /// Is a displacement beyond 64 bits?
    fn overflow(&self) -> bool {
        self.displacements
            .iter()
            .any(|d| d.checked_mul(self.unit).is_none())
    }
}

impl Make {
    pub fn parts(&self) -> Parts<'_> {
        match self {
            Make::Basic(basic) => Parts::Leaf(basic),
            Make::Pair { offsets, olds } => Parts::List(Blocks {
                lengths: Each::One(&1),
                displacements: offsets,
                unit: 1,
                olds: Each::Own(olds),
            }),
            Make::Dup(old)
            | Make::Resized { old, .. }
            | Make::F90 { base: old, .. }
            | Make::Subarray { inner: old, .. }
            | Make::Darray { inner: old, .. } => Parts::Grid {
                count: 1,
                stride: 0,
                block: 1,
                old,
            },
            Make::Contiguous { count, old } => Parts::Grid {
                count: 1,
                stride: 0,
                block: *count,
                old,
            },
            Make::Vector {
                count,
                block,
                stride,
                old,
            } => Parts::Grid {
                count: *count,
                stride: stride.wrapping_mul(old.extent()),
                block: *block,
                old,
            },
            Make::Hvector {
                count,
                block,
                stride,
                old,
            } => Parts::Grid {
                count: *count,
                stride: *stride,
                block: *block,
                old,
            },
            Make::Indexed {
                lengths,
                displacements,
                old,
            } => list(Each::Own(lengths), displacements, old.extent(), old),
            Make::Hindexed {
                lengths,
                displacements,
                old,
            } => list(Each::Own(lengths), displacements, 1, old),
            Make::IndexedBlock {
                block,
                displacements,
                old,
            } => list(Each::One(block), displacements, old.extent(), old),
            Make::HindexedBlock {
                block,
                displacements,
                old,
            } => list(Each::One(block), displacements, 1, old),
            Make::Struct {
                lengths,
                displacements,
                olds,
            } => Parts::List(Blocks {
                lengths: Each::Own(lengths),
                displacements,
                unit: 1,
                olds: Each::Own(olds),
            }),
        }
    }

    /// Strides and displacements must stay within 64 bits when they become bytes.
    fn check(&self) -> Result<()> {
        let overflow = match self {
            Make::Vector {
                count, stride, old, ..
            } => *count > 1 && stride.checked_mul(old.extent()).is_none(),
            _ => match self.parts() {
                Parts::List(blocks) => blocks.overflow(),
                _ => false,
            },
        };
        if overflow {
            fail!(
                Arg,
                "a displacement is beyond 64 bits when counted in bytes"
            );
        }
        Ok(())
    }
}

fn list<'a>(
    lengths: Each<'a, i64>,
    displacements: &'a [i64],
    unit: i64,
    old: &'a Type,
) -> Parts<'a> {
    Parts::List(Blocks {
        lengths,
        displacements,
        unit,
        olds: Each::One(old),
    })
}

/// The common basic type of two parts, `None` standing for "no data yet".
fn common(a: Option<Option<DatatypeId>>, b: &Type) -> Option<Option<DatatypeId>> {
    match a {
        _ if b.size() == 0 => a,
        None => Some(b.basic),
        Some(a) if a == b.basic => Some(a),
        Some(_) => Some(None),
    }
}

impl Datatype {
    pub(super) fn parts(&self) -> Parts<'_> {
        self.make.parts()
    }

    pub(super) fn make(make: Make, large: bool) -> Result<Type> {
        make.check()?;
        let mut measure = Measure::of(&make.parts())?;
        if let Make::Resized { lb, extent, .. } = make {
            measure = measure.resized(lb, extent)?;
        }
        let basic = match make.parts() {
            Parts::Leaf(basic) => Some(basic.id),
            Parts::Grid { old, .. } => old.basic,
            Parts::List(blocks) => blocks
                .iter()
                .filter(|block| block.count > 0)
                .fold(None, |sum, block| common(sum, block.old))
                .flatten(),
        };
        Ok(Arc::new(Datatype {
            measure,
            committed: AtomicBool::new(false),
            handle: OnceLock::new(),
            kind: None,
            basic,
            make,
            large,
            shape: OnceLock::new(),
        }))
    }

    /// A predefined type: committed, with a handle that cannot be freed.
    pub(super) fn fixed(
        make: Make,
        kind: Option<DatatypeId>,
        measure: Option<Measure>,
    ) -> Result<Type> {
        let ty = Datatype::make(make, false)?;
        let mut ty = Arc::into_inner(ty).expect("only just made");
        ty.kind = kind;
        if let Some(measure) = measure {
            ty.measure = measure;
        }
        ty.committed = AtomicBool::new(true);
        Ok(Arc::new(ty))
    }

    /// The same typemap with the same bounds, committed if the old one is (MPI-5.0 §5.1.10).
    pub fn dup(old: &Type) -> Result<Type> {
        let ty = Datatype::make(Make::Dup(old.clone()), false)?;
        if old.is_committed() {
            ty.commit();
        }
        Ok(ty)
    }

    pub fn contiguous(count: i64, old: &Type, large: bool) -> Result<Type> {
        check_count(count)?;
        let old = old.clone();
        Datatype::make(Make::Contiguous { count, old }, large)
    }

    /// `stride` in extents of `old`.
    pub fn vector(count: i64, block: i64, stride: i64, old: &Type, large: bool) -> Result<Type> {
        check_count(count)?;
        check_block(block)?;
        let make = Make::Vector {
            count,
            block,
            stride,
            old: old.clone(),
        };
        Datatype::make(make, large)
    }

    /// `stride` in bytes.
    pub fn hvector(count: i64, block: i64, stride: i64, old: &Type, large: bool) -> Result<Type> {
        check_count(count)?;
        check_block(block)?;
        let make = Make::Hvector {
            count,
            block,
            stride,
            old: old.clone(),
        };
        Datatype::make(make, large)
    }

    /// Displacements in extents of `old`.
    pub fn indexed(
        lengths: &[i64],
        displacements: &[i64],
        old: &Type,
        large: bool,
    ) -> Result<Type> {
        lengths_match(lengths, displacements)?;
        let make = Make::Indexed {
            lengths: lengths.into(),
            displacements: displacements.into(),
            old: old.clone(),
        };
        Datatype::make(make, large)
    }

    /// Displacements in bytes.
    pub fn hindexed(
        lengths: &[i64],
        displacements: &[i64],
        old: &Type,
        large: bool,
    ) -> Result<Type> {
        lengths_match(lengths, displacements)?;
        let make = Make::Hindexed {
            lengths: lengths.into(),
            displacements: displacements.into(),
            old: old.clone(),
        };
        Datatype::make(make, large)
    }

    /// Displacements in extents of `old`.
    pub fn indexed_block(
        block: i64,
        displacements: &[i64],
        old: &Type,
        large: bool,
    ) -> Result<Type> {
        check_block(block)?;
        let make = Make::IndexedBlock {
            block,
            displacements: displacements.into(),
            old: old.clone(),
        };
        Datatype::make(make, large)
    }

    /// Displacements in bytes.
    pub fn hindexed_block(
        block: i64,
        displacements: &[i64],
        old: &Type,
        large: bool,
    ) -> Result<Type> {
        check_block(block)?;
        let make = Make::HindexedBlock {
            block,
            displacements: displacements.into(),
            old: old.clone(),
        };
        Datatype::make(make, large)
    }

    /// Displacements in bytes. MPI-1's markers among `olds` set the bounds.
    pub fn structure(
        lengths: &[i64],
        displacements: &[i64],
        olds: &[Type],
        large: bool,
    ) -> Result<Type> {
        lengths_match(lengths, displacements)?;
        if olds.len() != lengths.len() {
            fail!(
                Arg,
                "{} block lengths but {} types",
                lengths.len(),
                olds.len()
            );
        }
        let make = Make::Struct {
            lengths: lengths.into(),
            displacements: displacements.into(),
            olds: olds.into(),
        };
        Datatype::make(make, large)
    }

    /// The same typemap with other bounds (MPI-5.0 §5.1.7).
    pub fn resized(old: &Type, lb: i64, extent: i64, large: bool) -> Result<Type> {
        let old = old.clone();
        Datatype::make(Make::Resized { lb, extent, old }, large)
    }
}

fn check_count(count: i64) -> Result<()> {
    if count < 0 {
        fail!(Count, "count {count} is negative");
    }
    Ok(())
}

fn check_block(block: i64) -> Result<()> {
    if block < 0 {
        fail!(Arg, "block length {block} is negative");
    }
    Ok(())
}

fn lengths_match(lengths: &[i64], displacements: &[i64]) -> Result<()> {
    if lengths.len() != displacements.len() {
        fail!(
            Arg,
            "{} block lengths but {} displacements",
            lengths.len(),
            displacements.len()
        );
    }
    match lengths.iter().position(|&l| l < 0) {
        Some(i) => fail!(Arg, "block length {} at index {i} is negative", lengths[i]),
        None => Ok(()),
    }
}
