//! Reduction operations (MPI-5.0 §6.9).

use crate::base::error::Result;
use crate::base::id::OpId;
use crate::mpi::op::{Op, OpKind, UserFunction};
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
