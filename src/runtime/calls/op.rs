//! Reduction operations (MPI-5.0 §6.9).

use crate::base::constant::IN_PLACE;
use crate::base::error::Result;
use crate::base::id::{DatatypeId, OpId};
use crate::fail;
use crate::mpi::op::{self, Op, OpKind, UserFunction};
use crate::runtime::Runtime;
use std::sync::Arc;

/// A new operation from a user's function, which is called outside the gate with the datatype handle that the
/// program passed to the reduction.
pub fn op_create(rt: &Runtime, function: UserFunction, commute: bool) -> Result<OpId> {
    let op = Op {
        commute,
        kind: OpKind::User(function),
    };
    Ok(rt.with(|w| w.ops.table.insert(Arc::new(op))))
}

/// Frees the handle; reductions in progress keep the operation.
pub fn op_free(rt: &Runtime, op: OpId) -> Result<()> {
    rt.with(|w| w.ops.free(op))
}

/// May operands be reordered?
pub fn op_commutative(rt: &Runtime, op: OpId) -> Result<bool> {
    rt.with(|w| Ok(w.ops.get(op)?.commute))
}

/// `inoutbuf = inbuf op inoutbuf`, element by element, without communication (MPI-5.0 §6.9.7).
pub fn reduce_local(
    rt: &Runtime,
    inbuf: *mut u8,
    inoutbuf: *mut u8,
    count: i64,
    datatype: DatatypeId,
    op: OpId,
) -> Result<()> {
    if count < 0 {
        fail!(Count, "count is {count}");
    }
    if inbuf == IN_PLACE || inoutbuf == IN_PLACE {
        fail!(Buffer, "MPI_IN_PLACE has no meaning here");
    }
    if inbuf == inoutbuf && count > 0 {
        fail!(Buffer, "both buffers are at {inbuf:p}");
    }
    let (op, ty) =
        rt.with(|w| Ok((w.ops.get(op)?.clone(), w.types.committed(datatype)?.clone())))?;
    op::check_type(&op, &ty)?;
    if count == 0 {
        return Ok(());
    }
    match (&op.kind, ty.id()) {
        (OpKind::User(function), _) => function(inbuf, inoutbuf, count, datatype),
        // SAFETY: the program vouches for `count` elements in both buffers, as for every call of MPI.
        (OpKind::Predefined(id), Some(basic)) => unsafe {
            op::apply(*id, basic, inbuf, inoutbuf, count as usize)
        },
        (OpKind::Predefined(_), None) => {}
    }
    Ok(())
}
