//! Attribute keys with their callbacks, and reading attributes (MPI-5.0 §7.7, §9.1.2).

use crate::abi::convert::*;
use crate::abi::entry;
use crate::abi::kinds::{Abi, Handle};
use crate::base::constant::handle;
use crate::base::error::{Object, Result};
use crate::base::id::{CommId, DatatypeId, Id, KeyvalId, WinId};
use crate::mpi::attribute::{Copy, Delete};
use crate::runtime::calls::{self, AttributeValue};
use crate::runtime::Runtime;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::Arc;

/// Copies an attribute: (object, key, extra state, value, place of the copy, place of the flag).
type CopyFunction<H> =
    unsafe extern "C" fn(H, c_int, *mut c_void, *mut c_void, *mut c_void, *mut c_int) -> c_int;
/// Deletes an attribute: (object, key, value, extra state).
type DeleteFunction<H> = unsafe extern "C" fn(H, c_int, *mut c_void, *mut c_void) -> c_int;

/// A pointer of the program's that callbacks get back.
#[derive(Clone, std::marker::Copy)]
struct Extra(*mut c_void);

// SAFETY: only handed back to the program, whose business threads are.
unsafe impl Send for Extra {}
// SAFETY: as for Send.
unsafe impl Sync for Extra {}

impl Extra {
    fn get(self) -> *mut c_void {
        self.0
    }
}

/// # Safety
/// `function` is a constant of the ABI or a copy function for `H`.
unsafe fn copy_of<A: Abi, H: Handle>(function: *const c_void, extra: Extra) -> Copy {
    if A::is_null_fn(function) {
        return Copy::Null;
    }
    if A::is_dup_fn(function) {
        return Copy::Dup;
    }
    // SAFETY: no constant, so a copy function by contract.
    let function: CopyFunction<H> = unsafe { std::mem::transmute(function) };
    Copy::User(Arc::new(move |object, key, value| {
        let mut copy: *mut c_void = std::ptr::null_mut();
        let mut flag: c_int = 0;
        let object = H::of(H::Id::from_raw(object));
        // SAFETY: a copy function; both places live while it runs.
        let code = unsafe {
            function(
                object,
                keyval_out::<A>(key),
                extra.get(),
                value as *mut c_void,
                (&raw mut copy).cast(),
                &mut flag,
            )
        };
        match (code, flag) {
            (0, 0) => Ok(None),
            (0, _) => Ok(Some(copy as usize)),
            (code, _) => Err(code),
        }
    }))
}

/// # Safety
/// `function` is a constant of the ABI or a delete function for `H`.
unsafe fn delete_of<A: Abi, H: Handle>(function: *const c_void, extra: Extra) -> Delete {
    if A::is_null_fn(function) {
        return Delete::Null;
    }
    // SAFETY: no constant, so a delete function by contract.
    let function: DeleteFunction<H> = unsafe { std::mem::transmute(function) };
    Delete::User(Arc::new(move |object, key, value| {
        let object = H::of(H::Id::from_raw(object));
        // SAFETY: a delete function.
        let code = unsafe {
            function(
                object,
                keyval_out::<A>(key),
                value as *mut c_void,
                extra.get(),
            )
        };
        match code {
            0 => Ok(()),
            code => Err(code),
        }
    }))
}

type Create = fn(&Runtime, Copy, Delete) -> Result<KeyvalId>;

/// # Safety
/// The functions are constants or callbacks for `H`; `keyval` is null or valid.
unsafe fn create<A: Abi, H: Handle>(
    name: &'static str,
    run: Create,
    copy: *const c_void,
    delete: *const c_void,
    keyval: *mut c_int,
    extra: *mut c_void,
) -> c_int {
    entry::call::<A>(name, of_none, |rt| {
        need(keyval, "keyval")?;
        // SAFETY: the caller's contract; `keyval` is not null.
        unsafe {
            let copy = copy_of::<A, H>(copy, Extra(extra));
            let delete = delete_of::<A, H>(delete, Extra(extra));
            keyval.write(keyval_out::<A>(run(rt, copy, delete)?));
        }
        Ok(())
    })
}

/// MPI_Comm_create_keyval.
///
/// # Safety
/// The functions are constants or callbacks as their types say; `keyval` is null or valid.
pub unsafe fn comm_create_keyval<A: Abi>(
    copy: *const c_void,
    delete: *const c_void,
    keyval: *mut c_int,
    extra: *mut c_void,
) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe {
        create::<A, A::Comm>(
            "MPI_Comm_create_keyval",
            calls::comm_create_keyval,
            copy,
            delete,
            keyval,
            extra,
        )
    }
}

/// MPI_Keyval_create, the same in MPI-1.
///
/// # Safety
/// As [`comm_create_keyval`].
pub unsafe fn keyval_create<A: Abi>(
    copy: *const c_void,
    delete: *const c_void,
    keyval: *mut c_int,
    extra: *mut c_void,
) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe {
        create::<A, A::Comm>(
            "MPI_Keyval_create",
            calls::comm_create_keyval,
            copy,
            delete,
            keyval,
            extra,
        )
    }
}

/// MPI_Type_create_keyval.
///
/// # Safety
/// As [`comm_create_keyval`].
pub unsafe fn type_create_keyval<A: Abi>(
    copy: *const c_void,
    delete: *const c_void,
    keyval: *mut c_int,
    extra: *mut c_void,
) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe {
        create::<A, A::Datatype>(
            "MPI_Type_create_keyval",
            calls::type_create_keyval,
            copy,
            delete,
            keyval,
            extra,
        )
    }
}

/// MPI_Win_create_keyval.
///
/// # Safety
/// As [`comm_create_keyval`].
pub unsafe fn win_create_keyval<A: Abi>(
    copy: *const c_void,
    delete: *const c_void,
    keyval: *mut c_int,
    extra: *mut c_void,
) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe {
        create::<A, A::Win>(
            "MPI_Win_create_keyval",
            calls::win_create_keyval,
            copy,
            delete,
            keyval,
            extra,
        )
    }
}

/// The integers that predefined attributes point to, MPI_TAG_UB first and MAYFLY_SECONDS_LEFT last: programs may keep
/// the pointers.
static INTEGERS: [AtomicI32; 8] = [const { AtomicI32::new(0) }; 8];

/// The attribute's value as C sees it.
fn value_of<A: Abi>(value: AttributeValue) -> *mut c_void {
    match value {
        AttributeValue::User(value) => value as *mut c_void,
        AttributeValue::Int(value, key) => {
            let value = match key {
                handle::IO | handle::HOST => rank_out::<A>(value),
                handle::LASTUSEDCODE => value - LASTCODE + A::LASTCODE,
                _ => value,
            };
            let index = (key.0 - handle::TAG_UB.0) as usize;
            let index = index.min(INTEGERS.len() - 1);
            INTEGERS[index].store(value, Ordering::Relaxed);
            INTEGERS[index].as_ptr().cast()
        }
    }
}

type Get<I> = fn(&Runtime, I, KeyvalId) -> Result<Option<AttributeValue>>;

/// # Safety
/// `value` and `flag` are null or valid.
unsafe fn get<A: Abi, H: Handle>(
    name: &'static str,
    run: Get<H::Id>,
    on: fn(H::Id) -> Object,
    object: H,
    keyval: c_int,
    value: *mut c_void,
    flag: *mut c_int,
) -> c_int {
    entry::call::<A>(
        name,
        || on(object.id()),
        |rt| {
            need(value, "attribute_val")?;
            need(flag, "flag")?;
            let found = run(rt, object.id(), keyval_in::<A>(keyval))?;
            // SAFETY: not null, so valid by contract.
            unsafe {
                flag.write(found.is_some().into());
                if let Some(found) = found {
                    value.cast::<*mut c_void>().write(value_of::<A>(found));
                }
            }
            Ok(())
        },
    )
}

/// MPI_Comm_get_attr.
///
/// # Safety
/// `value` and `flag` are null or valid.
pub unsafe fn comm_get_attr<A: Abi>(
    comm: A::Comm,
    keyval: c_int,
    value: *mut c_void,
    flag: *mut c_int,
) -> c_int {
    let on: fn(CommId) -> Object = Object::Comm;
    // SAFETY: the caller's contract is the same.
    unsafe {
        get::<A, _>(
            "MPI_Comm_get_attr",
            calls::comm_get_attr,
            on,
            comm,
            keyval,
            value,
            flag,
        )
    }
}

/// MPI_Attr_get, the same in MPI-1.
///
/// # Safety
/// As [`comm_get_attr`].
pub unsafe fn attr_get<A: Abi>(
    comm: A::Comm,
    keyval: c_int,
    value: *mut c_void,
    flag: *mut c_int,
) -> c_int {
    let on: fn(CommId) -> Object = Object::Comm;
    // SAFETY: the caller's contract is the same.
    unsafe {
        get::<A, _>(
            "MPI_Attr_get",
            calls::comm_get_attr,
            on,
            comm,
            keyval,
            value,
            flag,
        )
    }
}

/// MPI_Type_get_attr.
///
/// # Safety
/// As [`comm_get_attr`].
pub unsafe fn type_get_attr<A: Abi>(
    datatype: A::Datatype,
    keyval: c_int,
    value: *mut c_void,
    flag: *mut c_int,
) -> c_int {
    let on = |_: DatatypeId| Object::None;
    // SAFETY: the caller's contract is the same.
    unsafe {
        get::<A, _>(
            "MPI_Type_get_attr",
            calls::type_get_attr,
            on,
            datatype,
            keyval,
            value,
            flag,
        )
    }
}

/// MPI_Win_get_attr.
///
/// # Safety
/// As [`comm_get_attr`].
pub unsafe fn win_get_attr<A: Abi>(
    win: A::Win,
    keyval: c_int,
    value: *mut c_void,
    flag: *mut c_int,
) -> c_int {
    let on: fn(WinId) -> Object = Object::Win;
    // SAFETY: the caller's contract is the same.
    unsafe {
        get::<A, _>(
            "MPI_Win_get_attr",
            calls::win_get_attr,
            on,
            win,
            keyval,
            value,
            flag,
        )
    }
}
