//! A type's measures: size, bounds, true bounds, alignment, and whether it is dense (MPI-5.0 §5.1.6 to §5.1.8).

use super::{Blocks, Parts, Type};
use crate::base::error::Result;
use crate::fail;

/// Whether elements lie in memory as they lie in the packed stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dense {
    No,
    /// One element is one run, several are not.
    Single,
    /// Any number of elements is one run.
    Always,
}

/// Everything that follows from a typemap, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    pub size: i64,
    pub lb: i64,
    pub ub: i64,
    pub true_lb: i64,
    pub true_ub: i64,
    /// Explicit bounds: of MPI_Type_create_resized, or the MPI-1 markers. Where there are any, only they count.
    pub lb_mark: Option<i64>,
    pub ub_mark: Option<i64>,
    pub align: i64,
    pub elements: i64,
    pub dense: Dense,
}

impl Measure {
    /// Of a basic type.
    pub fn basic(size: i64, align: i64) -> Measure {
        Measure {
            size,
            lb: 0,
            ub: size,
            true_lb: 0,
            true_ub: size,
            lb_mark: None,
            ub_mark: None,
            align,
            elements: (size > 0) as i64,
            dense: Dense::Always,
        }
    }

    /// Of a type made from these parts.
    pub fn of(parts: &Parts) -> Result<Measure> {
        let mut sum = Sum::default();
        match parts {
            Parts::Leaf(basic) => return Ok(Measure::basic(basic.size as i64, basic.align as i64)),
            Parts::Grid {
                count,
                stride,
                block,
                old,
            } => sum.grid(old, *count, *stride, *block),
            Parts::List(blocks) => sum.list(blocks),
        }
        sum.finish()
    }

    /// The same with these bounds (MPI_Type_create_resized): earlier markers are gone.
    pub fn resized(mut self, lb: i64, extent: i64) -> Result<Measure> {
        let Some(ub) = lb.checked_add(extent) else {
            fail!(
                Arg,
                "lower bound {lb} and extent {extent} give an upper bound beyond 64 bits"
            );
        };
        (self.lb, self.ub) = (lb, ub);
        (self.lb_mark, self.ub_mark) = (Some(lb), Some(ub));
        self.settle();
        Ok(self)
    }

    /// Corrects `dense` to the bounds.
    fn settle(&mut self) {
        if self.dense != Dense::No {
            let gap_free = self.size == 0 || self.ub - self.lb == self.size;
            self.dense = if gap_free {
                Dense::Always
            } else {
                Dense::Single
            };
        }
    }
}

/// Measures being added up; wide, so that a sum that leaves 64 bits is seen.
#[derive(Default)]
struct Sum {
    size: i128,
    elements: i128,
    true_bounds: Option<(i128, i128)>,
    lb_mark: Option<i128>,
    ub_mark: Option<i128>,
    align: i64,
    /// The run of all data so far, in typemap order.
    run: Run,
}

#[derive(Default, Clone, Copy)]
enum Run {
    #[default]
    Empty,
    From(i128, i128),
    Broken,
}

fn lower(a: Option<i128>, b: i128) -> Option<i128> {
    Some(a.map_or(b, |a| a.min(b)))
}

fn upper(a: Option<i128>, b: i128) -> Option<i128> {
    Some(a.map_or(b, |a| a.max(b)))
}

impl Sum {
    /// `copies` of `old`, the lowest at `low` and the highest at `high`; one gap-free run of them begins at `run`.
    fn add(&mut self, old: &Type, copies: i128, low: i128, high: i128, run: Option<i128>) {
        let m = &old.measure;
        self.size += copies * m.size as i128;
        self.elements += copies * m.elements as i128;
        self.align = self.align.max(m.align);
        if let Some(mark) = m.lb_mark {
            self.lb_mark = lower(self.lb_mark, low + mark as i128);
        }
        if let Some(mark) = m.ub_mark {
            self.ub_mark = upper(self.ub_mark, high + mark as i128);
        }
        if m.size == 0 {
            return;
        }
        let (from, to) = (low + m.true_lb as i128, high + m.true_ub as i128);
        self.true_bounds = Some(match self.true_bounds {
            None => (from, to),
            Some((a, b)) => (a.min(from), b.max(to)),
        });
        let len = copies * m.size as i128;
        self.run = match (self.run, run) {
            (Run::Empty, Some(start)) => Run::From(start, start + len),
            (Run::From(a, end), Some(start)) if end == start => Run::From(a, end + len),
            _ => Run::Broken,
        };
    }

    fn grid(&mut self, old: &Type, count: i64, stride: i64, block: i64) {
        if count <= 0 || block <= 0 {
            return;
        }
        let m = &old.measure;
        let row = (block - 1) as i128 * (m.ub as i128 - m.lb as i128);
        let column = (count - 1) as i128 * stride as i128;
        let dense_row = m.dense == Dense::Always || (block == 1 && m.dense == Dense::Single);
        let bytes = block as i128 * m.size as i128;
        let run =
            (dense_row && (count == 1 || bytes == stride as i128)).then_some(m.true_lb as i128);
        self.add(
            old,
            count as i128 * block as i128,
            row.min(0) + column.min(0),
            row.max(0) + column.max(0),
            run,
        );
    }

    fn list(&mut self, blocks: &Blocks) {
        for block in blocks.iter() {
            if block.count <= 0 {
                continue;
            }
            let m = &block.old.measure;
            let at = block.displacement as i128;
            let row = (block.count - 1) as i128 * (m.ub as i128 - m.lb as i128);
            let dense = m.dense == Dense::Always || (block.count == 1 && m.dense == Dense::Single);
            let run = dense.then_some(at + m.true_lb as i128);
            self.add(
                block.old,
                block.count as i128,
                at + row.min(0),
                at + row.max(0),
                run,
            );
        }
    }

    fn finish(self) -> Result<Measure> {
        let (true_lb, true_ub) = self.true_bounds.unwrap_or((0, 0));
        let empty = self.true_bounds.is_none();
        let align = self.align.max(1);
        // Without data or a mark a bound is 0.
        let lb = self.lb_mark.unwrap_or(true_lb);
        let ub = match self.ub_mark {
            Some(mark) => mark,
            None if empty => 0,
            // The extent is rounded up so that the next element is aligned (the standard's epsilon).
            None => {
                let extent = true_ub - lb;
                lb + extent + (-extent).rem_euclid(align as i128)
            }
        };
        let narrow = |value: i128, what: &str| match i64::try_from(value) {
            Ok(value) => Ok(value),
            Err(_) => fail!(
                Count,
                "the datatype's {what} of {value} bytes is beyond 64 bits"
            ),
        };
        let mut measure = Measure {
            size: narrow(self.size, "size")?,
            lb: narrow(lb, "lower bound")?,
            ub: narrow(ub, "upper bound")?,
            true_lb: narrow(true_lb, "true lower bound")?,
            true_ub: narrow(true_ub, "true upper bound")?,
            lb_mark: self.lb_mark.map(|_| lb as i64),
            ub_mark: self.ub_mark.map(|_| ub as i64),
            align,
            elements: narrow(self.elements, "number of elements")?,
            dense: match self.run {
                Run::Empty | Run::From(..) => Dense::Always,
                Run::Broken => Dense::No,
            },
        };
        if narrow(ub - lb, "extent").is_err() || narrow(true_ub - true_lb, "true extent").is_err() {
            fail!(
                Count,
                "the datatype's extent of {} bytes is beyond 64 bits",
                ub - lb
            );
        }
        measure.settle();
        Ok(measure)
    }
}
