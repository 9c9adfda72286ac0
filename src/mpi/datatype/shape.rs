//! A typemap folded for copying: what bytes lie where, types forgotten.
//!
//! Regular parts stay loops, however many blocks they have; irregular ones are lists with running totals, so that any
//! byte of the packed stream is found without walking there.

use super::make::Block;
use super::{Datatype, Parts};
use std::sync::Arc;

/// Where the bytes of one element lie, in packed order. Offsets and strides in bytes; cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Empty,
    /// `len` bytes at `offset`.
    Run {
        offset: i64,
        len: usize,
    },
    /// `count` runs of `len` bytes, the first at `offset`.
    Strided {
        offset: i64,
        len: usize,
        stride: i64,
        count: usize,
    },
    /// Runs in any order.
    Runs {
        offset: i64,
        list: Arc<Runs>,
    },
    /// `count` times `body`.
    Loop {
        offset: i64,
        stride: i64,
        count: usize,
        body: Arc<Shape>,
        size: usize,
    },
    /// One shape after another.
    Parts {
        offset: i64,
        list: Arc<[Part]>,
    },
}

#[derive(Debug, PartialEq)]
pub(super) struct Runs {
    /// Bytes of each run if all are equal, else 0.
    pub equal: usize,
    pub runs: Box<[Run]>,
}

/// A run that ends at byte `end` of the packed element and begins where the one before it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Run {
    pub offset: i64,
    pub end: usize,
}

impl Runs {
    /// Where run `i` begins in the packed element.
    #[inline(always)]
    pub fn begin(&self, i: usize) -> usize {
        if i == 0 {
            0
        } else {
            self.runs[i - 1].end
        }
    }

    /// The run that holds byte `at` of the packed element.
    pub fn find(&self, at: usize) -> usize {
        match self.equal {
            0 => self.runs.partition_point(|run| run.end <= at),
            len => at / len,
        }
    }

    pub fn size(&self) -> usize {
        self.runs.last().map_or(0, |run| run.end)
    }
}

/// A shape whose bytes end at `end` of the packed element.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub shape: Shape,
    pub end: usize,
}

/// Runs and strided shapes of up to this many runs are taken apart when they meet others in a list.
const FEW: usize = 8;

impl Shape {
    /// Of one element of a type.
    pub fn of(ty: &Datatype) -> Shape {
        match ty.parts() {
            Parts::Leaf(basic) if basic.size == 0 => Shape::Empty,
            Parts::Leaf(basic) => Shape::Run {
                offset: 0,
                len: basic.size,
            },
            Parts::Grid {
                count,
                stride,
                block,
                old,
            } => {
                let row = old.shape().repeat(block as usize, old.extent());
                row.repeat(count as usize, stride)
            }
            Parts::List(blocks) => {
                let mut list = List::default();
                for Block {
                    displacement,
                    count,
                    old,
                } in blocks.iter()
                {
                    if count > 0 {
                        let row = old.shape().repeat(count as usize, old.extent());
                        list.push(row.shift(displacement));
                    }
                }
                list.finish()
            }
        }
    }

    /// Packed bytes.
    pub fn size(&self) -> usize {
        match self {
            Shape::Empty => 0,
            Shape::Run { len, .. } => *len,
            Shape::Strided { len, count, .. } => len * count,
            Shape::Runs { list, .. } => list.size(),
            Shape::Loop { count, size, .. } => count * size,
            Shape::Parts { list, .. } => list.last().map_or(0, |part| part.end),
        }
    }

    /// The same, `by` bytes further on.
    pub fn shift(mut self, by: i64) -> Shape {
        match &mut self {
            Shape::Empty => {}
            Shape::Run { offset, .. }
            | Shape::Strided { offset, .. }
            | Shape::Runs { offset, .. }
            | Shape::Loop { offset, .. }
            | Shape::Parts { offset, .. } => *offset += by,
        }
        self
    }

    /// `times` copies of it, `every` bytes apart.
    pub fn repeat(&self, times: usize, every: i64) -> Shape {
        match *self {
            _ if times == 0 => Shape::Empty,
            _ if times == 1 => self.clone(),
            Shape::Empty => Shape::Empty,
            Shape::Run { offset, len } if len as i64 == every => Shape::Run {
                offset,
                len: len * times,
            },
            Shape::Run { offset, len } => Shape::Strided {
                offset,
                len,
                stride: every,
                count: times,
            },
            Shape::Strided {
                offset,
                len,
                stride,
                count,
            } if continues(stride, count, every) => Shape::Strided {
                offset,
                len,
                stride,
                count: count * times,
            },
            Shape::Loop {
                offset,
                stride,
                count,
                ref body,
                size,
            } if continues(stride, count, every) => Shape::Loop {
                offset,
                stride,
                count: count * times,
                body: body.clone(),
                size,
            },
            _ => Shape::Loop {
                offset: 0,
                stride: every,
                count: times,
                size: self.size(),
                body: Arc::new(self.clone()),
            },
        }
    }
}

/// Does a loop repeated `every` bytes go on as it began?
fn continues(stride: i64, count: usize, every: i64) -> bool {
    i64::try_from(count)
        .ok()
        .and_then(|count| stride.checked_mul(count))
        == Some(every)
}

/// Shapes in sequence, neighbours merged.
#[derive(Default)]
struct List {
    parts: Vec<Part>,
    /// Runs not yet put into `parts`: offset and length.
    runs: Vec<(i64, usize)>,
    size: usize,
}

impl List {
    fn push(&mut self, shape: Shape) {
        match shape {
            Shape::Empty => {}
            Shape::Run { offset, len } => self.run(offset, len),
            Shape::Strided {
                offset,
                len,
                stride,
                count,
            } if count <= FEW => {
                for i in 0..count {
                    self.run(offset + stride * i as i64, len);
                }
            }
            Shape::Runs { offset, list } if list.runs.len() <= FEW => {
                for (i, run) in list.runs.iter().enumerate() {
                    self.run(offset + run.offset, run.end - list.begin(i));
                }
            }
            other => {
                self.flush();
                self.part(other);
            }
        }
    }

    fn run(&mut self, offset: i64, len: usize) {
        match self.runs.last_mut() {
            Some((at, before)) if *at + *before as i64 == offset => *before += len,
            _ => self.runs.push((offset, len)),
        }
    }

    fn part(&mut self, shape: Shape) {
        self.size += shape.size();
        self.parts.push(Part {
            shape,
            end: self.size,
        });
    }

    fn flush(&mut self) {
        let runs = std::mem::take(&mut self.runs);
        match runs[..] {
            [] => {}
            [(offset, len)] => self.part(Shape::Run { offset, len }),
            _ => self.part(runs_of(&runs)),
        }
    }

    fn finish(mut self) -> Shape {
        self.flush();
        match self.parts.len() {
            0 => Shape::Empty,
            1 => self.parts.remove(0).shape,
            _ => Shape::Parts {
                offset: 0,
                list: self.parts.into(),
            },
        }
    }
}

/// Two or more runs: a loop if they are regular.
fn runs_of(runs: &[(i64, usize)]) -> Shape {
    let (first, len) = runs[0];
    let equal = runs.iter().all(|run| run.1 == len);
    let stride = runs[1].0 - first;
    if equal && runs.windows(2).all(|two| two[1].0 - two[0].0 == stride) {
        return Shape::Strided {
            offset: first,
            len,
            stride,
            count: runs.len(),
        };
    }
    let mut end = 0;
    let runs = runs
        .iter()
        .map(|&(offset, len)| {
            end += len;
            Run { offset, end }
        })
        .collect();
    let equal = if equal { len } else { 0 };
    Shape::Runs {
        offset: 0,
        list: Arc::new(Runs { equal, runs }),
    }
}
