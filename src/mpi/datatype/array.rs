//! Parts of multidimensional arrays (MPI-5.0 §5.1.3, §5.1.4): made of the simpler constructors.

use super::make::Make;
use super::{Datatype, Type};
use crate::base::constant::{
    DISTRIBUTE_BLOCK, DISTRIBUTE_CYCLIC, DISTRIBUTE_DFLT_DARG, DISTRIBUTE_NONE, ORDER_C,
    ORDER_FORTRAN,
};
use crate::base::error::Result;
use crate::fail;

/// The dimensions, fastest first.
fn fastest_first(ndims: usize, order: i32) -> Result<Vec<usize>> {
    match order {
        ORDER_FORTRAN => Ok((0..ndims).collect()),
        ORDER_C => Ok((0..ndims).rev().collect()),
        _ => fail!(
            Arg,
            "order {order} is neither MPI_ORDER_C nor MPI_ORDER_FORTRAN"
        ),
    }
}

/// `a * b`, an array's extent in bytes.
fn bytes(a: i64, b: i64) -> Result<i64> {
    match a.checked_mul(b) {
        Some(bytes) => Ok(bytes),
        None => fail!(
            Arg,
            "an array of {a} elements of {b} bytes is beyond 64 bits"
        ),
    }
}

/// What MPI_Type_create_darray takes.
pub struct Distribution<'a> {
    pub size: i32,
    pub rank: i32,
    pub gsizes: &'a [i64],
    pub distribs: &'a [i32],
    pub dargs: &'a [i32],
    pub psizes: &'a [i32],
    pub order: i32,
}

impl Datatype {
    /// A block `subsizes` large, from `starts` on, of an array of `sizes`; its extent is the whole array's.
    pub fn subarray(
        sizes: &[i64],
        subsizes: &[i64],
        starts: &[i64],
        order: i32,
        old: &Type,
        large: bool,
    ) -> Result<Type> {
        if sizes.is_empty() || sizes.len() != subsizes.len() || sizes.len() != starts.len() {
            fail!(
                Arg,
                "{} sizes, {} subsizes and {} starts",
                sizes.len(),
                subsizes.len(),
                starts.len()
            );
        }
        for (d, ((&size, &sub), &start)) in sizes.iter().zip(subsizes).zip(starts).enumerate() {
            if size < 1 || sub < 1 || sub > size {
                fail!(Arg, "subsize {sub} of size {size} in dimension {d}");
            }
            if start < 0 || start > size - sub {
                fail!(
                    Arg,
                    "start {start} with subsize {sub} of size {size} in dimension {d}"
                );
            }
        }
        let mut inner = old.clone();
        // Bytes from one index of the dimension to the next, and from the array's start to the block's.
        let mut step = old.extent();
        let mut offset = 0i64;
        for d in fastest_first(sizes.len(), order)? {
            inner = Datatype::hvector(subsizes[d], 1, step, &inner, true)?;
            offset += bytes(starts[d], step)?;
            step = bytes(sizes[d], step)?;
        }
        let inner = Datatype::hindexed(&[1], &[offset], &inner, true)?;
        let inner = Datatype::resized(&inner, 0, step, true)?;
        let make = Make::Subarray {
            sizes: sizes.into(),
            subsizes: subsizes.into(),
            starts: starts.into(),
            order,
            old: old.clone(),
            inner,
        };
        Datatype::make(make, large)
    }

    /// What one process of a grid holds of a distributed array; its extent is the whole array's.
    pub fn darray(array: &Distribution, old: &Type, large: bool) -> Result<Type> {
        array.check()?;
        let n = array.gsizes.len();
        // The process's place in the grid, which is in C order whatever `order` says.
        let mut places = vec![0; n];
        let mut rank = array.rank;
        for d in (0..n).rev() {
            places[d] = rank % array.psizes[d];
            rank /= array.psizes[d];
        }
        let mut inner = old.clone();
        let mut step = old.extent();
        for d in fastest_first(n, array.order)? {
            let gsize = array.gsizes[d];
            let block = array.block(d)?;
            inner = cyclic(
                &inner,
                step,
                gsize,
                block,
                places[d] as i64,
                array.psizes[d] as i64,
            )?;
            step = bytes(gsize, step)?;
        }
        let inner = Datatype::resized(&inner, 0, step, true)?;
        let make = Make::Darray {
            size: array.size,
            rank: array.rank,
            gsizes: array.gsizes.into(),
            distribs: array.distribs.into(),
            dargs: array.dargs.into(),
            psizes: array.psizes.into(),
            order: array.order,
            old: old.clone(),
            inner,
        };
        Datatype::make(make, large)
    }
}

/// The indices that process `place` of `places` holds of `gsize`, dealt out in blocks: `old` at each, `step` bytes
/// an index.
fn cyclic(old: &Type, step: i64, gsize: i64, block: i64, place: i64, places: i64) -> Result<Type> {
    let first = place * block;
    let round = block.saturating_mul(places);
    let row = |indices: i64| Datatype::hvector(indices, 1, step, old, true);
    // Whole blocks, then what is left of the last.
    let (whole, left) = if first >= gsize {
        (0, 0)
    } else {
        let rounds = (gsize - first) / round;
        let rest = ((gsize - first) % round).min(block);
        if rest == block {
            (rounds + 1, 0)
        } else {
            (rounds, rest)
        }
    };
    let blocks = if whole > 1 {
        Datatype::hvector(whole, 1, bytes(round, step)?, &row(block)?, true)?
    } else {
        row(block)?
    };
    let mut lengths = Vec::new();
    let mut displacements = Vec::new();
    let mut olds = Vec::new();
    if whole > 0 {
        lengths.push(1);
        displacements.push(bytes(first, step)?);
        olds.push(blocks);
    }
    if left > 0 {
        lengths.push(1);
        displacements.push(bytes(first + whole * round, step)?);
        olds.push(row(left)?);
    }
    Datatype::structure(&lengths, &displacements, &olds, true)
}

impl Distribution<'_> {
    fn check(&self) -> Result<()> {
        let n = self.gsizes.len();
        if n == 0 || self.distribs.len() != n || self.dargs.len() != n || self.psizes.len() != n {
            fail!(
                Arg,
                "{n} gsizes, {} distribs, {} dargs and {} psizes",
                self.distribs.len(),
                self.dargs.len(),
                self.psizes.len()
            );
        }
        if self.size < 1 {
            fail!(Arg, "size {} is not positive", self.size);
        }
        if self.rank < 0 || self.rank >= self.size {
            fail!(Arg, "rank {} is not in 0..{}", self.rank, self.size);
        }
        if let Some(d) = self.psizes.iter().position(|&p| p < 1) {
            fail!(Arg, "{} processes in dimension {d}", self.psizes[d]);
        }
        if let Some(d) = self.gsizes.iter().position(|&g| g < 1) {
            fail!(Arg, "global size {} in dimension {d}", self.gsizes[d]);
        }
        let processes: i128 = self.psizes.iter().map(|&p| p as i128).product();
        if processes != self.size as i128 {
            fail!(
                Arg,
                "a grid of {processes} processes for a group of {}",
                self.size
            );
        }
        Ok(())
    }

    /// Indices dealt out at a time in dimension `d`.
    fn block(&self, d: usize) -> Result<i64> {
        let (gsize, places) = (self.gsizes[d], self.psizes[d] as i64);
        let darg = self.dargs[d];
        let default = darg == DISTRIBUTE_DFLT_DARG;
        if !default && darg < 1 && self.distribs[d] != DISTRIBUTE_NONE {
            fail!(Arg, "distribution argument {darg} in dimension {d}");
        }
        match self.distribs[d] {
            DISTRIBUTE_BLOCK if default => Ok((gsize + places - 1) / places),
            DISTRIBUTE_BLOCK if (darg as i64).saturating_mul(places) < gsize => fail!(
                Arg,
                "blocks of {darg} for {places} processes are fewer than {gsize} in dimension {d}"
            ),
            DISTRIBUTE_BLOCK => Ok(darg as i64),
            DISTRIBUTE_CYCLIC if default => Ok(1),
            DISTRIBUTE_CYCLIC => Ok(darg as i64),
            DISTRIBUTE_NONE if places == 1 => Ok(gsize),
            DISTRIBUTE_NONE => fail!(
                Arg,
                "{places} processes in dimension {d}, which is not distributed"
            ),
            other => fail!(Arg, "distribution {other} in dimension {d}"),
        }
    }
}
