//! Handles: 32-bit integers. Bits 31 and 30 tell a null (0), a predefined (1) or a made object (2), bits 29 to 26 the
//! kind; below them Mayfly keeps the engine's id of a made object. A predefined datatype also carries its size.

use crate::objects;
use crate::status::Status;
use mayfly::abi::kinds::{Abi, Handle, Numbers, Pair, NONE};
use mayfly::base::constant::handle;
use mayfly::base::id::*;
use std::ffi::{c_int, c_void};

/// The ABI.
pub struct A;

const MADE: u32 = 0x8000_0000;
const INDEX: u32 = (1 << 26) - 1;

/// The engine's id of a handle: a made one's of this class, or a predefined one's.
#[inline]
fn find<const CLASS: u32>(table: &[(u32, u32)], handle: u32) -> u32 {
    if handle & !INDEX == MADE | CLASS << 26 && handle & INDEX >= FIRST_USER {
        return handle & INDEX;
    }
    let find = table.iter().find(|pair| pair.0 == handle);
    find.map_or(NONE, |pair| pair.1)
}

/// The handle of a predefined object.
#[inline]
fn handle_of(table: &[(u32, u32)], id: u32) -> u32 {
    let find = table.iter().find(|pair| pair.1 == id);
    find.map_or(0, |pair| pair.0)
}

/// Predefined datatypes by the lowest byte of their handle: all builtin ones have different ones.
static BUILTIN: [(u32, u32); 256] = {
    let mut table = [(0, NONE); 256];
    let mut i = 0;
    while i < DATATYPE.len() {
        let (handle, id) = DATATYPE[i];
        if handle >> 30 == 1 {
            assert!(table[handle as usize & 0xff].1 == NONE);
            table[handle as usize & 0xff] = (handle, id);
        }
        i += 1;
    }
    table
};

/// Builtin ones first.
#[inline(always)]
fn datatype<const CLASS: u32>(table: &[(u32, u32)], handle: u32) -> u32 {
    let (known, id) = BUILTIN[handle as usize & 0xff];
    match known == handle {
        true => id,
        false => find::<CLASS>(table, handle),
    }
}

/// MPI_COMM_WORLD first.
#[inline(always)]
fn comm<const CLASS: u32>(table: &[(u32, u32)], handle: u32) -> u32 {
    const WORLD: u32 = world();
    match handle == WORLD {
        true => handle::COMM_WORLD.0,
        false => find::<CLASS>(table, handle),
    }
}

const fn world() -> u32 {
    let mut i = 0;
    while COMM[i].1 != handle::COMM_WORLD.0 {
        i += 1;
    }
    COMM[i].0
}

macro_rules! handles {
    ($($name:ident, $id:ident, $null:ident, $class:literal, $table:ident, $find:ident;)*) => {$(
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub struct $name(c_int);

        impl Handle for $name {
            type Id = $id;
            const NULL: $id = handle::$null;

            #[inline]
            fn id(self) -> $id {
                $id($find::<$class>($table, self.0 as u32))
            }

            #[inline]
            fn of(id: $id) -> $name {
                $name(match id.0 {
                    FIRST_USER.. => (MADE | $class << 26 | id.0) as c_int,
                    _ => handle_of($table, id.0) as c_int,
                })
            }

            fn to_int(self) -> c_int {
                self.0
            }

            fn from_int(number: c_int) -> $name {
                $name(number)
            }
        }
    )*};
}

handles! {
    Comm, CommId, COMM_NULL, 1, COMM, comm;
    Group, GroupId, GROUP_NULL, 2, GROUP, find;
    Datatype, DatatypeId, DATATYPE_NULL, 3, DATATYPE, datatype;
    Op, OpId, OP_NULL, 6, OP, find;
    Request, RequestId, REQUEST_NULL, 0xb, REQUEST, find;
    Message, MessageId, MESSAGE_NULL, 0xb, MESSAGE, find;
    Info, InfoId, INFO_NULL, 7, INFO, find;
    Errhandler, ErrhandlerId, ERRHANDLER_NULL, 5, ERRHANDLER, find;
    Win, WinId, WIN_NULL, 8, WIN, find;
    Session, SessionId, SESSION_NULL, 0xe, SESSION, find;
}

/// MPI_File is a pointer; the null handle is null, others hold the engine's id.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct File(*mut c_void);

impl Handle for File {
    type Id = FileId;
    const NULL: FileId = handle::FILE_NULL;

    fn id(self) -> FileId {
        match self.0 as usize {
            0 => handle::FILE_NULL,
            value if value & 0xf == 0 => FileId(u32::try_from(value >> 4).unwrap_or(NONE)),
            _ => FileId(NONE),
        }
    }

    fn of(id: FileId) -> File {
        match id {
            handle::FILE_NULL => File(std::ptr::null_mut()),
            id => File(((id.0 as usize) << 4) as *mut c_void),
        }
    }

    fn to_int(self) -> c_int {
        match self.id() {
            handle::FILE_NULL => 0,
            id => id.0 as c_int,
        }
    }

    fn from_int(number: c_int) -> File {
        match number {
            0 => File::of(handle::FILE_NULL),
            number => File::of(FileId(number as u32)),
        }
    }
}

impl Abi for A {
    type Comm = Comm;
    type Group = Group;
    type Datatype = Datatype;
    type Op = Op;
    type Request = Request;
    type Message = Message;
    type Info = Info;
    type Errhandler = Errhandler;
    type Win = Win;
    type File = File;
    type Session = Session;
    type Status = Status;

    const ABI_VERSION: (c_int, c_int) = (-1, -1);
    const KEYVAL_BASE: c_int = (MADE | 9 << 26) as c_int;

    fn unweighted() -> *const c_int {
        objects::unweighted()
    }

    fn weights_empty() -> *const c_int {
        objects::weights_empty()
    }

    fn is_fortran_ignore(status: *const c_void) -> bool {
        objects::is_fortran_ignore(status)
    }

    fn is_dup_fn(function: *const c_void) -> bool {
        function == objects::dup_fn()
    }

    fn is_null_fn(function: *const c_void) -> bool {
        function.is_null()
    }
}

/// Files are pointers in this ABI: their table is not used.
#[allow(dead_code)]
mod numbers {
    use super::*;

    include!(concat!(env!("OUT_DIR"), "/numbers.rs"));
}
pub use numbers::*;
