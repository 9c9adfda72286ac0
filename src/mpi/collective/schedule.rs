//! A collective as data: what to send, receive, copy and combine, in which order.

use crate::base::id::DatatypeId;
use crate::engine;
use crate::mpi::datatype::Type;
use crate::mpi::op::Op;
use std::sync::Arc;

/// Elements in memory.
#[derive(Clone)]
pub struct Data {
    pub buffer: *mut u8,
    pub count: usize,
    pub ty: Type,
}

impl Data {
    pub fn new(buffer: *mut u8, count: usize, ty: &Type) -> Data {
        Data {
            buffer,
            count,
            ty: ty.clone(),
        }
    }

    /// The same for the engine.
    pub fn bytes(&self) -> engine::Data {
        let bytes = self.count * self.ty.size();
        if bytes == 0 {
            return engine::Data::empty();
        }
        match self.ty.dense(self.count) {
            Some(offset) => engine::Data::dense(self.buffer.wrapping_offset(offset), bytes),
            None => engine::Data::typed(self.ty.clone(), self.count, self.buffer, bytes),
        }
    }
}

/// A process, by its rank in the communicator's local or remote group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rank {
    Local(u32),
    Remote(u32),
}

/// One step.
pub enum Step {
    Send {
        data: Data,
        to: Rank,
    },
    Recv {
        data: Data,
        from: Rank,
    },
    /// Everything sent and received above has to be over before what follows.
    Fence,
    Copy {
        from: Data,
        to: Data,
    },
    /// `inout[i] = input[i] op inout[i]`.
    Reduce {
        op: Arc<Op>,
        id: DatatypeId,
        ty: Type,
        input: *mut u8,
        inout: *mut u8,
        count: usize,
    },
}

/// Steps, and the scratch memory that they use.
#[derive(Default)]
pub struct Schedule {
    pub steps: Vec<Step>,
    scratch: Vec<Box<[u8]>>,
}

impl Schedule {
    pub fn new() -> Schedule {
        Schedule::default()
    }

    pub fn send(&mut self, data: Data, to: Rank) {
        self.steps.push(Step::Send { data, to });
    }

    pub fn recv(&mut self, data: Data, from: Rank) {
        self.steps.push(Step::Recv { data, from });
    }

    pub fn fence(&mut self) {
        self.steps.push(Step::Fence);
    }

    pub fn copy(&mut self, from: Data, to: Data) {
        if from.count * from.ty.size() != 0 {
            self.steps.push(Step::Copy { from, to });
        }
    }

    /// Scratch bytes that live as long as the schedule.
    pub fn bytes(&mut self, size: usize) -> *mut u8 {
        let mut memory = vec![0u8; size.max(1)].into_boxed_slice();
        let address = memory.as_mut_ptr();
        self.scratch.push(memory);
        address
    }

    /// Scratch for `count` elements laid out as the type wants; what a buffer argument would be.
    pub fn elements(&mut self, count: usize, ty: &Type) -> *mut u8 {
        let span = ty.true_extent() + ty.extent().abs() * (count.max(1) as i64 - 1);
        let memory = self.bytes(span.max(0) as usize + 64);
        let low = if ty.extent() < 0 {
            ty.extent() * (count.max(1) as i64 - 1)
        } else {
            0
        };
        memory.wrapping_offset((-(ty.true_lb() + low)) as isize)
    }
}
