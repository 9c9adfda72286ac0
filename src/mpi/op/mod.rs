//! Reduction operations (MPI-5.0 §6.9): what an operation is, on which types a predefined one is legal, and its
//! application to basic elements. Derived types are cut into basic elements by whoever calls.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod element;
#[cfg(target_arch = "x86_64")]
mod f16c;
mod half;
mod kernel;
mod level;
mod locate;
mod long_double;
mod quad;

pub use kernel::{kernel, Kernel};

use crate::base::constant::handle;
use crate::base::error::Result;
use crate::base::id::{DatatypeId, OpId, Table};
use crate::fail;
use crate::mpi::datatype::Datatype;
use std::sync::Arc;

/// A user's reduction: `(invec, inoutvec, count, datatype)` with the datatype handle that the program passed.
/// Runs outside the gate.
pub type UserFunction = Arc<dyn Fn(*const u8, *mut u8, i64, DatatypeId) + Send + Sync>;

/// Who computes.
#[derive(Clone)]
pub enum OpKind {
    Predefined(OpId),
    User(UserFunction),
}

/// One reduction operation.
#[derive(Clone)]
pub struct Op {
    /// May operands be reordered? All predefined operations commute.
    pub commute: bool,
    pub kind: OpKind,
}

impl Op {
    /// The user's function, if it is the user's.
    pub fn user(&self) -> Option<&UserFunction> {
        match &self.kind {
            OpKind::User(function) => Some(function),
            OpKind::Predefined(_) => None,
        }
    }
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            OpKind::Predefined(id) => f.write_str(name(id)),
            OpKind::User(_) => write!(f, "user operation (commute: {})", self.commute),
        }
    }
}

const PREDEFINED: [(OpId, &str); 14] = [
    (handle::SUM, "MPI_SUM"),
    (handle::MIN, "MPI_MIN"),
    (handle::MAX, "MPI_MAX"),
    (handle::PROD, "MPI_PROD"),
    (handle::BAND, "MPI_BAND"),
    (handle::BOR, "MPI_BOR"),
    (handle::BXOR, "MPI_BXOR"),
    (handle::LAND, "MPI_LAND"),
    (handle::LOR, "MPI_LOR"),
    (handle::LXOR, "MPI_LXOR"),
    (handle::MINLOC, "MPI_MINLOC"),
    (handle::MAXLOC, "MPI_MAXLOC"),
    (handle::REPLACE, "MPI_REPLACE"),
    (handle::NO_OP, "MPI_NO_OP"),
];

/// The constant's name in C.
pub fn name(op: OpId) -> &'static str {
    match PREDEFINED.iter().find(|(id, _)| *id == op) {
        Some((_, name)) => name,
        None => "a user-defined operation",
    }
}

/// All operations.
pub struct Ops {
    pub table: Table<OpId, Arc<Op>>,
}

impl Ops {
    /// With the predefined operations in place.
    pub fn new() -> Ops {
        let mut table = Table::new(handle::OP_NULL.0);
        for (id, _) in PREDEFINED {
            let kind = OpKind::Predefined(id);
            table.set(
                id,
                Arc::new(Op {
                    commute: true,
                    kind,
                }),
            );
        }
        Ops { table }
    }

    #[inline]
    pub fn get(&self, id: OpId) -> Result<&Arc<Op>> {
        match self.table.get(id) {
            Some(op) => Ok(op),
            None if id == handle::OP_NULL => fail!(Op, "the operation is MPI_OP_NULL"),
            None => fail!(Op, "operation {:#x} does not exist (freed?)", id.0),
        }
    }

    /// Forgets a user's operation; calls in progress keep theirs.
    pub fn free(&mut self, id: OpId) -> Result<()> {
        self.get(id)?;
        if PREDEFINED.iter().any(|(p, _)| *p == id) {
            fail!(Op, "{} is predefined and cannot be freed", name(id));
        }
        self.table.remove(id);
        Ok(())
    }
}

impl Default for Ops {
    fn default() -> Ops {
        Ops::new()
    }
}

/// May this operation reduce elements of this predefined type (MPI-5.0 §6.9.2, §6.9.4)? A user's operation takes
/// any. Beyond the standard, MPI_CHAR counts as a C integer as in MPICH and Open MPI, and the logical operations take
/// every integer and floating-point type as in MPICH.
///
/// # Errors
/// `Op`: illegal together, or an operation that only one-sided accumulation knows.
pub fn check(op: &Op, ty: DatatypeId) -> Result<()> {
    let OpKind::Predefined(id) = op.kind else {
        return Ok(());
    };
    if id == handle::REPLACE || id == handle::NO_OP {
        fail!(
            Op,
            "{} is only for one-sided accumulation, not for a reduction",
            name(id)
        );
    }
    if kernel(id, ty).is_none() {
        fail!(Op, "{} is not defined on datatype {:#x}", name(id), ty.0);
    }
    Ok(())
}

/// As [`check`], of a type as a program passes it: derived types are only for users' operations.
///
/// # Errors
/// `Op`: illegal together.
pub fn check_type(op: &Op, ty: &Datatype) -> Result<()> {
    match (&op.kind, ty.id()) {
        (OpKind::User(_), _) => Ok(()),
        (OpKind::Predefined(_), Some(id)) => check(op, id),
        (OpKind::Predefined(id), None) => {
            fail!(Op, "{} is not defined on derived datatypes", name(*id))
        }
    }
}

/// `inout[i] = input[i] op inout[i]` for `count` elements of a predefined type, packed at the type's extent. Both
/// buffers may be unaligned. Nothing happens where the pair is illegal (see [`check`]).
///
/// # Safety
/// `input` is readable and `inout` readable and writable for `count` elements; they do not overlap.
pub unsafe fn apply(op: OpId, ty: DatatypeId, input: *const u8, inout: *mut u8, count: usize) {
    if let Some(kernel) = kernel(op, ty) {
        // SAFETY: the caller's promise is the kernel's.
        unsafe { kernel(input, inout, count) }
    }
}

#[cfg(test)]
mod tests;
