//! Making reduction operations of the program's functions (MPI-5.0 §6.9.5).

use crate::abi::convert::*;
use crate::abi::entry;
use crate::abi::kinds::{Abi, Handle};
use crate::base::id::DatatypeId;
use crate::mpi::op::{Op, OpKind, UserFunction};
use crate::runtime::calls;
use crate::runtime::process::runtime;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::Arc;

/// (Operand, operand and result, length, datatype); the last argument is for Open MPI's C++ bindings alone, C's calling
/// convention lets other functions ignore it.
type Function<D, N> = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut N, *mut D, *const c_void);

thread_local! {
    /// What a C++ operation passes to its function as the last argument, while it runs.
    static BEHIND: Cell<*const c_void> = const { Cell::new(std::ptr::null()) };
}

/// # Safety
/// `function` is a reduction function whose length is an `N`.
unsafe fn wrap<D: Handle<Id = DatatypeId>, N: TryFrom<i64> + 'static>(
    function: *const c_void,
) -> UserFunction {
    // SAFETY: a reduction function by contract.
    let function: Function<D, N> = unsafe { std::mem::transmute(function) };
    Arc::new(move |operand, result, count, datatype| {
        let Ok(mut length) = N::try_from(count) else {
            runtime().abort(
                1,
                &format!("an operation made by MPI_Op_create cannot reduce {count} elements: use MPI_Op_create_c"),
            );
        };
        let mut datatype = D::of(datatype);
        // SAFETY: a reduction function, called with buffers of `count` elements by the engine.
        unsafe {
            function(
                operand.cast_mut().cast(),
                result.cast(),
                &mut length,
                &mut datatype,
                BEHIND.get(),
            )
        }
    })
}

/// # Safety
/// `function` is null or a reduction function whose length is an `N`; `op` is null or valid.
unsafe fn create<A: Abi, N: TryFrom<i64> + 'static>(
    name: &'static str,
    function: *const c_void,
    commute: c_int,
    op: *mut A::Op,
) -> c_int {
    entry::call::<A>(name, of_none, |rt| {
        need(function, "user_fn")?;
        need(op, "op")?;
        // SAFETY: not null, so as the contract says.
        unsafe {
            let function = wrap::<A::Datatype, N>(function);
            op.write(Handle::of(calls::op_create(rt, function, commute != 0)?));
        }
        Ok(())
    })
}

/// MPI_Op_create.
///
/// # Safety
/// `function` is null or a reduction function; `op` is null or valid.
pub unsafe fn op_create<A: Abi>(function: *const c_void, commute: c_int, op: *mut A::Op) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { create::<A, c_int>("MPI_Op_create", function, commute, op) }
}

/// MPI_Op_create_c.
///
/// # Safety
/// As [`op_create`], with a large count.
pub unsafe fn op_create_c<A: Abi>(
    function: *const c_void,
    commute: c_int,
    op: *mut A::Op,
) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { create::<A, i64>("MPI_Op_create_c", function, commute, op) }
}

/// A pointer of the program's.
struct Callback(*const c_void);

// SAFETY: only handed back to the program.
unsafe impl Send for Callback {}
// SAFETY: as for Send.
unsafe impl Sync for Callback {}

/// Open MPI's C++ bindings make an operation of a function of their own, and then tell which C++ function that one is to
/// call: it gets it as a fifth argument.
pub fn op_set_cxx_callback<A: Abi>(op: A::Op, function: *const c_void) {
    let function = Callback(function);
    runtime().with(|w| {
        let Some(slot) = w.ops.table.get_mut(op.id()) else {
            return;
        };
        let OpKind::User(first) = &slot.kind else {
            return;
        };
        let (first, commute) = (first.clone(), slot.commute);
        let both: UserFunction = Arc::new(move |operand, result, count, datatype| {
            let function = &function;
            let before = BEHIND.replace(function.0);
            first(operand, result, count, datatype);
            BEHIND.set(before);
        });
        *slot = Arc::new(Op {
            commute,
            kind: OpKind::User(both),
        });
    });
}
