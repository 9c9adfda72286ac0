//! A collective as data: what to send, receive, copy and combine, in which order.

use crate::base::id::DatatypeId;
use crate::engine;
use crate::mpi::datatype::{Datatype, Type};
use crate::mpi::op::{kernel, Kernel, Op, OpKind};
use std::sync::Arc;

/// Stands for a type in [`Data`]: gap-free bytes.
const DENSE: u32 = u32::MAX;

/// Elements in memory, as a schedule knows them: gap-free bytes, or elements of one of its types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Data {
    pub buffer: *mut u8,
    /// Elements; of gap-free data bytes.
    pub count: usize,
    ty: u32,
}

impl Data {
    /// Nothing at all.
    pub const EMPTY: Data = Data::bytes(std::ptr::null_mut(), 0);

    /// Gap-free bytes.
    pub const fn bytes(buffer: *mut u8, count: usize) -> Data {
        Data {
            buffer,
            count,
            ty: DENSE,
        }
    }

    /// Where the bytes lie, if there is no gap between them.
    pub fn address(&self) -> Option<*mut u8> {
        (self.ty == DENSE).then_some(self.buffer)
    }
}

/// A process, by its rank in the communicator's local or remote group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rank {
    Local(u32),
    Remote(u32),
}

/// One step. Steps run in order; a message is only started by its step, and over behind a fence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Send {
        data: Data,
        to: Rank,
    },
    Recv {
        data: Data,
        from: Rank,
    },
    /// Every message above, except the `keep` started last, has to be over before what follows.
    Fence {
        keep: u32,
    },
    Copy {
        from: Data,
        to: Data,
    },
    /// `inout[i] = input[i] op inout[i]`, by the schedule's operation.
    Reduce {
        input: *mut u8,
        inout: *mut u8,
        count: usize,
    },
    /// Shows these on this rank's board. What follows happens when it is its turn, without a fence.
    Show {
        data: Data,
        phase: u32,
    },
    /// Shows the schedule's pieces, one for each rank, behind a table that says where each is.
    ShowEach {
        phase: u32,
    },
    /// Shows the schedule's pieces, one after the other.
    ShowAll {
        phase: u32,
    },
    /// Takes what a rank shows in a phase, when it does.
    Look {
        at: Spot,
        to: Data,
    },
    /// Takes the piece for this rank.
    LookEach {
        from: u32,
        phase: u32,
        to: Data,
    },
    /// As `Reduce`, with what a rank shows.
    Combine {
        at: Spot,
        inout: *mut u8,
        count: usize,
    },
    /// Nothing more is read from boards, and what this rank showed of its own memory has been read.
    Settle {
        by: Readers,
    },
}

/// A part of what a rank shows in a phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spot {
    pub from: u32,
    /// From 1.
    pub phase: u32,
    /// Bytes before the part.
    pub skip: usize,
    /// Bytes of all; more are a mistake.
    pub total: usize,
}

/// Who reads what a rank shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readers {
    Nobody,
    One(u32),
    All,
}

/// The operation that a schedule's [`Step::Reduce`] apply.
pub struct Fold {
    /// A user's.
    pub op: Option<Arc<Op>>,
    /// The datatype as the program named it, for the user's function.
    pub id: DatatypeId,
    /// Of a predefined operation.
    pub kernel: Option<Kernel>,
}

/// What scratch memory is made of: aligned for every type.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Chunk(#[allow(dead_code)] [u8; CHUNK]);
const CHUNK: usize = 16;

/// Scratch of small collectives, in chunks; it stays with the schedule when that is used again.
const SMALL: usize = 128;

/// Steps, and what they refer to. It may run again and again: every run begins by writing what it reads of scratch.
#[derive(Default)]
pub struct Schedule {
    pub steps: Vec<Step>,
    types: Vec<Type>,
    pub fold: Option<Fold>,
    /// What is shown to each rank.
    pub pieces: Vec<Data>,
    /// It uses boards.
    pub shows: bool,
    /// Bytes up to which data are shown on the board itself.
    pub here: usize,
    /// Bytes of one of the elements that are combined there.
    pub element: usize,
    /// Memory behind addresses in steps: capacity is all that is used of these vectors.
    small: Vec<Chunk>,
    used: usize,
    large: Vec<Vec<Chunk>>,
}

impl Schedule {
    pub fn new() -> Schedule {
        Schedule::default()
    }

    /// Forgets everything but the memory for the next one.
    pub fn clear(&mut self) {
        self.steps.clear();
        self.types.clear();
        self.large.clear();
        self.fold = None;
        self.pieces.clear();
        self.shows = false;
        self.used = 0;
    }

    /// Elements as steps name them.
    pub fn data(&mut self, buffer: *mut u8, count: usize, ty: &Type) -> Data {
        if let Some(offset) = ty.dense(count) {
            return Data::bytes(buffer.wrapping_offset(offset), count * ty.size());
        }
        let known = self.types.iter().rposition(|t| Arc::ptr_eq(t, ty));
        let ty = known.unwrap_or_else(|| {
            self.types.push(ty.clone());
            self.types.len() - 1
        });
        Data {
            buffer,
            count,
            ty: ty as u32,
        }
    }

    /// The type behind data that have gaps.
    pub fn ty(&self, data: &Data) -> Option<&Type> {
        self.types.get(data.ty as usize)
    }

    /// How many bytes that is on the wire.
    pub fn size(&self, data: &Data) -> usize {
        data.count * self.ty(data).map_or(1, |ty| ty.size())
    }

    /// The same for the engine.
    pub fn wire(&self, data: &Data) -> engine::Data {
        match self.ty(data) {
            None => engine::Data::dense(data.buffer, data.count),
            Some(ty) => engine::Data::typed(ty.clone(), data.count, data.buffer, self.size(data)),
        }
    }

    /// Also sends nothing, if there is nothing to send.
    pub fn send(&mut self, data: Data, to: Rank) {
        self.steps.push(Step::Send { data, to });
    }

    /// Also receives nothing, if there is nothing to receive.
    pub fn recv(&mut self, data: Data, from: Rank) {
        self.steps.push(Step::Recv { data, from });
    }

    /// Sends unless there is nothing to send, which the receiver knows too; returns the number of messages.
    pub fn send_some(&mut self, data: Data, to: Rank) -> u32 {
        let some = self.size(&data) > 0;
        if some {
            self.send(data, to);
        }
        u32::from(some)
    }

    /// The other side of [`Schedule::send_some`].
    pub fn recv_some(&mut self, data: Data, from: Rank) -> u32 {
        let some = self.size(&data) > 0;
        if some {
            self.recv(data, from);
        }
        u32::from(some)
    }

    /// Everything above has to be over.
    pub fn fence(&mut self) {
        self.fence_but(0);
    }

    /// Everything above has to be over, but for the `keep` newest messages.
    pub fn fence_but(&mut self, keep: u32) {
        self.steps.push(Step::Fence { keep });
    }

    /// What messages from step `first` on call rank i is rank `ranks[i]`.
    pub fn rename(&mut self, first: usize, ranks: &[u32]) {
        for step in &mut self.steps[first..] {
            if let Step::Send {
                to: Rank::Local(rank),
                ..
            }
            | Step::Recv {
                from: Rank::Local(rank),
                ..
            } = step
            {
                *rank = ranks[*rank as usize];
            }
        }
    }

    /// As a message would: the types may differ.
    pub fn copy(&mut self, from: Data, to: Data) {
        if self.size(&from) > 0 && from != to {
            self.steps.push(Step::Copy { from, to });
        }
    }

    /// `inout = input op inout`.
    pub fn reduce(&mut self, input: *mut u8, inout: *mut u8, count: usize) {
        if count > 0 {
            self.steps.push(Step::Reduce {
                input,
                inout,
                count,
            });
        }
    }

    /// Sets the operation that steps apply to this type.
    pub fn set_fold(&mut self, op: &Arc<Op>, id: DatatypeId, ty: &Datatype) {
        let kernel = match (&op.kind, ty.id()) {
            (OpKind::Predefined(which), Some(basic)) => kernel(*which, basic),
            _ => None,
        };
        self.fold = Some(Fold {
            op: op.user().map(|_| op.clone()),
            id,
            kernel,
        });
    }

    /// Scratch bytes that live as long as the schedule; aligned for every type, not initialised.
    pub fn scratch(&mut self, size: usize) -> *mut u8 {
        let chunks = size.div_ceil(CHUNK);
        if chunks <= SMALL - self.used {
            if self.small.capacity() == 0 {
                self.small.reserve_exact(SMALL);
            }
            let address = self.small.as_mut_ptr().wrapping_add(self.used);
            self.used += chunks;
            return address.cast();
        }
        let mut memory = Vec::with_capacity(chunks);
        let address: *mut Chunk = memory.as_mut_ptr();
        self.large.push(memory);
        address.cast()
    }

    /// Scratch for `count` elements laid out as the type wants; what a buffer argument would be.
    pub fn elements(&mut self, count: usize, ty: &Datatype) -> *mut u8 {
        let more = ty.extent() * (count.max(1) as i64 - 1);
        let lowest = ty.true_lb() + more.min(0);
        let span = ty.true_extent() + more.abs();
        // As far before the data as keeps the alignment that a program would have given them.
        let room = lowest.rem_euclid(CHUNK as i64);
        let memory = self.scratch((span + room) as usize);
        memory.wrapping_offset((room - lowest) as isize)
    }
}
