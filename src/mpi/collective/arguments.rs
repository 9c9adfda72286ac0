//! The arguments of a collective, checked (MPI-5.0 §6.2.3 and the sections of each).

use crate::base::constant::{handle, IN_PLACE, PROC_NULL, ROOT};
use crate::base::error::Result;
use crate::base::id::{DatatypeId, OpId};
use crate::fail;
use crate::mpi::collective::blocks::Blocks;
use crate::mpi::collective::limits::Limits;
use crate::mpi::collective::schedule::{Data, Schedule};
use crate::mpi::collective::shown::Reach;
use crate::mpi::collective::vector::Vector;
use crate::mpi::datatype::Type;
use crate::mpi::topology::Topology;
use crate::mpi::{op, World};

/// The communicator as a builder sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub rank: u32,
    pub size: u32,
    /// Ranks of the remote group, on an inter-communicator.
    pub remote: Option<u32>,
}

impl Place {
    /// The local group alone.
    pub fn local(self) -> Place {
        Place {
            remote: None,
            ..self
        }
    }

    /// The rank `distance` after this one, round the group.
    pub fn after(self, distance: u32) -> u32 {
        (self.rank + distance) % self.size
    }

    /// The rank `distance` (at most the size) before this one, round the group.
    pub fn before(self, distance: u32) -> u32 {
        (self.rank + self.size - distance) % self.size
    }
}

/// What a builder gets: where the arguments' handles are looked up, and where the steps go.
pub struct Call<'a> {
    pub world: &'a World,
    pub place: Place,
    pub topology: Option<&'a Topology>,
    pub limits: &'a Limits,
    /// What boards can do here, if there are any.
    pub reach: Option<Reach<'a>>,
    pub s: &'a mut Schedule,
}

/// The meaning of a root argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Root {
    /// This rank of an intra-communicator.
    Local(u32),
    /// This rank of the other group.
    Remote(u32),
    /// This process, for the other group.
    Me,
    /// Another process of this group, for the other group.
    Nobody,
}

/// Elements that a buffer argument names.
pub struct Elements<'a> {
    pub buffer: *mut u8,
    pub count: usize,
    pub ty: &'a Type,
}

impl Elements<'_> {
    pub fn size(&self) -> usize {
        self.count * self.ty.size()
    }

    pub fn data(&self, s: &mut Schedule) -> Data {
        s.data(self.buffer, self.count, self.ty)
    }
}

fn count(n: i64, ty: &Type) -> Result<usize> {
    if n < 0 {
        fail!(Count, "the count is {n}, which is negative");
    }
    match (n as usize).checked_mul(ty.size().max(1)) {
        Some(bytes) if bytes <= isize::MAX as usize => Ok(n as usize),
        _ => fail!(
            Count,
            "{n} elements of {} bytes are more than memory can hold",
            ty.size()
        ),
    }
}

fn counts(counts: &[i64]) -> Result<()> {
    match counts.iter().position(|&n| n < 0) {
        Some(i) => fail!(
            Count,
            "count number {i} is {}, which is negative",
            counts[i]
        ),
        None => Ok(()),
    }
}

/// MPI_IN_PLACE is not for this buffer.
pub fn ordinary(buffer: *mut u8) -> Result<()> {
    if buffer == IN_PLACE {
        fail!(Buffer, "MPI_IN_PLACE is not for this buffer");
    }
    Ok(())
}

/// Both are the same although something is to move between them.
pub fn apart(a: *mut u8, b: *mut u8, bytes: usize) -> Result<()> {
    if a == b && bytes > 0 && !a.is_null() {
        fail!(
            Buffer,
            "send and receive buffer are the same ({a:p}); MPI_IN_PLACE is for that"
        );
    }
    Ok(())
}

impl<'a> Call<'a> {
    pub fn ty(&self, id: DatatypeId) -> Result<&'a Type> {
        self.world.types.committed(id)
    }

    /// A root argument.
    pub fn root(&self, root: i32) -> Result<Root> {
        let size = self.place.remote.unwrap_or(self.place.size);
        let within = root >= 0 && (root as u32) < size;
        match self.place.remote {
            None if within => Ok(Root::Local(root as u32)),
            None => fail!(Root, "the root {root} is not in 0..{size}"),
            Some(_) if within => Ok(Root::Remote(root as u32)),
            Some(_) if root == ROOT => Ok(Root::Me),
            Some(_) if root == PROC_NULL => Ok(Root::Nobody),
            Some(_) => fail!(
                Root,
                "the root {root} is not MPI_ROOT, MPI_PROC_NULL or in 0..{size}"
            ),
        }
    }

    /// Is it MPI_IN_PLACE, where that may be?
    pub fn in_place(&self, buffer: *mut u8) -> Result<bool> {
        if buffer == IN_PLACE && self.place.remote.is_some() {
            fail!(
                Buffer,
                "MPI_IN_PLACE is not for inter-communicators (MPI-5.0 §6.2.3)"
            );
        }
        Ok(buffer == IN_PLACE)
    }

    /// The same where only the root may say it.
    pub fn in_place_at(&self, buffer: *mut u8, root: u32) -> Result<bool> {
        let in_place = self.in_place(buffer)?;
        if in_place && root != self.place.rank {
            fail!(Buffer, "MPI_IN_PLACE is for the root {root} alone");
        }
        Ok(in_place)
    }

    /// (buffer, count, datatype).
    pub fn elements(&self, buffer: *mut u8, n: i64, id: DatatypeId) -> Result<Elements<'a>> {
        let ty = self.ty(id)?;
        let count = count(n, ty)?;
        ordinary(buffer)?;
        if buffer.is_null() && count * ty.size() > 0 && ty.predefined().is_some() {
            fail!(
                Buffer,
                "the buffer is a null pointer, with {count} elements to move"
            );
        }
        Ok(Elements { buffer, count, ty })
    }

    /// A block a rank, all alike.
    pub fn even(&self, buffer: *mut u8, n: i64, id: DatatypeId) -> Result<Blocks<'a>> {
        let Elements { buffer, count, ty } = self.elements(buffer, n, id)?;
        Ok(Blocks::Even { buffer, count, ty })
    }

    /// The v form.
    pub fn each<'b>(
        &self,
        buffer: *mut u8,
        n: &'b [i64],
        displs: &'b [i64],
        id: DatatypeId,
    ) -> Result<Blocks<'b>>
    where
        'a: 'b,
    {
        counts(n)?;
        ordinary(buffer)?;
        let ty = self.ty(id)?;
        Ok(Blocks::Each {
            buffer,
            counts: n,
            displs,
            ty,
        })
    }

    /// The w form. Types without elements do not matter.
    pub fn typed<'b>(
        &self,
        buffer: *mut u8,
        n: &'b [i64],
        displs: &'b [i64],
        ids: &[DatatypeId],
    ) -> Result<Blocks<'b>>
    where
        'a: 'b,
    {
        counts(n)?;
        ordinary(buffer)?;
        let byte = self.ty(handle::BYTE)?;
        let ty = |(&id, &n): (&DatatypeId, &i64)| {
            if n == 0 {
                Ok(byte)
            } else {
                self.ty(id)
            }
        };
        let types = ids.iter().zip(n).map(ty).collect::<Result<Vec<_>>>()?;
        Ok(Blocks::Typed {
            buffer,
            counts: n,
            displs,
            types,
        })
    }

    /// Count, datatype and operation of a reduction; the schedule's steps will apply that operation.
    pub fn vector(&mut self, n: i64, id: DatatypeId, operation: OpId) -> Result<Vector<'a>> {
        let ty = self.ty(id)?;
        let count = count(n, ty)?;
        let operation = self.world.ops.get(operation)?;
        op::check_type(operation, ty)?;
        self.s.set_fold(operation, id, ty);
        Ok(Vector {
            count,
            commute: operation.commute,
            free: operation.commute && operation.user().is_none(),
            segment: (self.limits.segment / ty.size().max(1)).max(1),
            ty,
        })
    }

    /// The same with a count for every rank; also where each rank's block begins, and the end of the last.
    pub fn vectors(
        &mut self,
        n: &[i64],
        id: DatatypeId,
        operation: OpId,
    ) -> Result<(Vector<'a>, Vec<usize>)> {
        counts(n)?;
        let mut bounds = Vec::with_capacity(n.len() + 1);
        let mut total = 0i64;
        bounds.push(0);
        for &n in n {
            total = total.saturating_add(n);
            bounds.push(total as usize);
        }
        Ok((self.vector(total, id, operation)?, bounds))
    }

    /// A buffer of a reduction.
    pub fn operand(&self, buffer: *mut u8, v: &Vector) -> Result<*mut u8> {
        ordinary(buffer)?;
        if buffer.is_null() && v.size() > 0 && v.ty.predefined().is_some() {
            fail!(
                Buffer,
                "the buffer is a null pointer, with {} elements to combine",
                v.count
            );
        }
        Ok(buffer)
    }

    /// Send and receive buffer of a reduction where both matter; the same address if in place.
    pub fn operands(
        &self,
        sendbuf: *mut u8,
        recvbuf: *mut u8,
        v: &Vector,
    ) -> Result<(*mut u8, *mut u8)> {
        let result = self.operand(recvbuf, v)?;
        if self.in_place(sendbuf)? {
            return Ok((result, result));
        }
        let own = self.operand(sendbuf, v)?;
        apart(own, result, v.size())?;
        Ok((own, result))
    }
}
