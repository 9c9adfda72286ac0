//! Attributes and their keys (MPI-5.0 §7.7, §9.1.2). The MPI-1 procedures (MPI_Keyval_create, MPI_Attr_put ...) are
//! those of communicators under older names.

use crate::base::constant::{handle, ANY_SOURCE, PROC_NULL, TAG_MAX};
use crate::base::error::{Error, Result};
use crate::base::id::{CommId, DatatypeId, KeyvalId, WinId};
use crate::fail;
use crate::mpi::attribute::{is_predefined, seconds_left, Attributes, Copy, Delete, Kind, Owner};
use crate::mpi::World;
use crate::runtime::Runtime;

/// What get_attr found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttributeValue {
    /// The program's own value.
    User(usize),
    /// A predefined attribute that C sees as a pointer to an int: the door keeps the int, in its ABI's numbers.
    /// MPI_LASTUSEDCODE comes as the engine's error code.
    Int(i32, KeyvalId),
}

fn attributes(w: &mut World, owner: Owner) -> Result<&mut Attributes> {
    match owner {
        Owner::Comm(id) => Ok(&mut w.comms.get_mut(id)?.attributes),
        Owner::Type(id) => Ok(&mut w.types.entry_mut(id)?.attributes),
        Owner::Win(id) => match w.keyvals.windows.get_mut(&id) {
            Some(attributes) => Ok(attributes),
            None => fail!(Win, "window {:#x} does not exist", id.0),
        },
    }
}

/// Runs a delete function; with the gate free.
fn run_delete(delete: Delete, handle: u32, key: KeyvalId, value: usize) -> Result<()> {
    match delete {
        Delete::Null => Ok(()),
        Delete::User(function) => function(handle, key, value).map_err(|code| {
            Error::user(
                code,
                format!("the delete function of attribute key {} failed", key.0),
            )
        }),
    }
}

fn delete_function(w: &World, key: KeyvalId) -> Delete {
    match w.keyvals.table.get(key) {
        Some(keyval) => keyval.delete.clone(),
        None => Delete::Null,
    }
}

/// The copies of an object's attributes that its duplicate gets, by each key's copy function. Call it with the gate
/// free.
///
/// # Errors
/// The first error of a user's function; then nothing was copied.
pub fn copy_all(rt: &Runtime, from: &Attributes, handle: u32) -> Result<Attributes> {
    let mut copies = Attributes::default();
    for &(key, value) in &from.values {
        let copy = rt.with(|w| w.keyvals.table.get(key).map(|k| k.copy.clone()));
        let copied = match copy {
            None | Some(Copy::Null) => Ok(None),
            Some(Copy::Dup) => Ok(Some(value)),
            Some(Copy::User(function)) => function(handle, key, value),
        };
        match copied {
            Ok(None) => {}
            Ok(Some(value)) => {
                copies.values.push((key, value));
                rt.with(|w| w.keyvals.retain(key));
            }
            Err(code) => {
                rt.with(|w| {
                    copies
                        .values
                        .iter()
                        .for_each(|&(key, _)| w.keyvals.release(key))
                });
                let text = format!("the copy function of attribute key {} failed", key.0);
                return Err(Error::user(code, text));
            }
        }
    }
    Ok(copies)
}

/// Deletes an object's attributes one by one, the last set first; functions still see the object and what is left on
/// it. What freeing an object does. Call it with the gate free.
///
/// # Errors
/// A user's function's; its attribute and those before it stay.
pub fn delete_from(rt: &Runtime, owner: Owner) -> Result<()> {
    while let Some((key, value)) = rt.with(|w| Ok(attributes(w, owner)?.values.last().copied()))? {
        delete(rt, owner, key, value)?;
    }
    Ok(())
}

/// Runs the delete function, then removes the attribute.
fn delete(rt: &Runtime, owner: Owner, key: KeyvalId, value: usize) -> Result<()> {
    let function = rt.with(|w| delete_function(w, key));
    run_delete(function, owner.raw(), key, value)?;
    rt.with(|w| {
        if attributes(w, owner)?.remove(key) {
            w.keyvals.release(key);
        }
        Ok(())
    })
}

fn writable(key: KeyvalId) -> Result<()> {
    if is_predefined(key) {
        fail!(
            Keyval,
            "the attribute with key {} is predefined and cannot be changed",
            key.0
        );
    }
    Ok(())
}

/// Sets an attribute; the delete function runs first for a value that is replaced.
fn set_attr(rt: &Runtime, owner: Owner, key: KeyvalId, value: usize) -> Result<()> {
    writable(key)?;
    let (old, function) = rt.with(|w| {
        let old = attributes(w, owner)?.get(key);
        Ok((old, w.keyvals.get(key, owner.kind())?.delete.clone()))
    })?;
    if let Some(old) = old {
        run_delete(function, owner.raw(), key, old)?;
    }
    rt.with(|w| {
        if attributes(w, owner)?.set(key, value) {
            w.keyvals.retain(key);
        }
        Ok(())
    })
}

/// Deleting an attribute that is not there does nothing, as elsewhere.
fn delete_attr(rt: &Runtime, owner: Owner, key: KeyvalId) -> Result<()> {
    writable(key)?;
    let old = rt.with(|w| {
        w.keyvals.get(key, owner.kind())?;
        Ok(attributes(w, owner)?.get(key))
    })?;
    match old {
        Some(value) => delete(rt, owner, key, value),
        None => Ok(()),
    }
}

fn get_attr(rt: &Runtime, owner: Owner, key: KeyvalId) -> Result<Option<AttributeValue>> {
    rt.with(|w| {
        if let Owner::Comm(comm) = owner {
            if matches!(key.0, 501..=507) || key == handle::SECONDS_LEFT {
                w.comms.get(comm)?;
                return predefined(w, key);
            }
        }
        let value = attributes(w, owner)?.get(key);
        w.keyvals.get(key, owner.kind())?;
        Ok(value.map(AttributeValue::User))
    })
}

/// The attributes that MPI sets on MPI_COMM_WORLD, seen on every communicator.
fn predefined(w: &World, key: KeyvalId) -> Result<Option<AttributeValue>> {
    let value = match key {
        handle::TAG_UB => Some(TAG_MAX),
        // Every process can do input and output; none is a host.
        handle::IO => Some(ANY_SOURCE),
        handle::HOST => Some(PROC_NULL),
        handle::WTIME_IS_GLOBAL => Some(0),
        handle::APPNUM => w.keyvals.appnum,
        handle::LASTUSEDCODE => Some(w.errhandlers.codes.last_used()),
        handle::UNIVERSE_SIZE => match w.keyvals.universe_size {
            Some(size) => Some(size),
            None => Some(w.comms.get(handle::COMM_WORLD)?.size() as i32),
        },
        handle::SECONDS_LEFT => seconds_left(w.keyvals.deadline_ms, now_ms()),
        _ => None,
    };
    Ok(value.map(|value| AttributeValue::Int(value, key)))
}

/// Milliseconds since 1970: the clock that platforms state deadlines in.
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

macro_rules! per_object {
    ($kind:ident, $id:ty, $object:literal,
     $create:ident, $free:ident, $set:ident, $get:ident, $delete:ident) => {
        #[doc = concat!("A new attribute key for ", $object, "s.")]
        pub fn $create(rt: &Runtime, copy: Copy, delete: Delete) -> Result<KeyvalId> {
            rt.with(|w| Ok(w.keyvals.create(Kind::$kind, copy, delete)))
        }

        /// Gives a key up; attributes that have it stay, and so do its functions for them.
        pub fn $free(rt: &Runtime, keyval: KeyvalId) -> Result<()> {
            rt.with(|w| w.keyvals.free(keyval, Kind::$kind))
        }

        #[doc = concat!("Sets an attribute of a ", $object, ".")]
        pub fn $set(rt: &Runtime, object: $id, keyval: KeyvalId, value: usize) -> Result<()> {
            set_attr(rt, Owner::$kind(object), keyval, value)
        }

        #[doc = concat!("An attribute of a ", $object, ", if it is set.")]
        pub fn $get(rt: &Runtime, object: $id, keyval: KeyvalId) -> Result<Option<AttributeValue>> {
            get_attr(rt, Owner::$kind(object), keyval)
        }

        #[doc = concat!("Deletes an attribute of a ", $object, ".")]
        pub fn $delete(rt: &Runtime, object: $id, keyval: KeyvalId) -> Result<()> {
            delete_attr(rt, Owner::$kind(object), keyval)
        }
    };
}

per_object!(
    Comm,
    CommId,
    "communicator",
    comm_create_keyval,
    comm_free_keyval,
    comm_set_attr,
    comm_get_attr,
    comm_delete_attr
);
per_object!(
    Type,
    DatatypeId,
    "datatype",
    type_create_keyval,
    type_free_keyval,
    type_set_attr,
    type_get_attr,
    type_delete_attr
);
per_object!(
    Win,
    WinId,
    "window",
    win_create_keyval,
    win_free_keyval,
    win_set_attr,
    win_get_attr,
    win_delete_attr
);
