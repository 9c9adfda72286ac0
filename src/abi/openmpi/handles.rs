//! Handles: pointers. A predefined one is the address of an object (see `objects`), a made one a value that is no
//! address of user space: bit 63, the kind, and the engine's id.

use crate::objects::{self, Kind};
use crate::status::Status;
use mayfly::abi::kinds::{Abi, Handle, Numbers, Pair, NONE};
use mayfly::base::constant::handle;
use mayfly::base::id::*;
use std::ffi::{c_int, c_void};

/// The ABI.
pub struct A;

/// Below it no object can be.
const LOWEST_ADDRESS: usize = 4096;

#[inline(always)]
const fn made(kind: Kind) -> u64 {
    1 << 63 | (kind as u64) << 32
}

macro_rules! handles {
    ($($name:ident, $id:ident, $null:ident, $object:ident, $fortran:ident;)*) => {$(
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub struct $name(*mut c_void);

        impl Handle for $name {
            type Id = $id;
            const NULL: $id = handle::$null;

            #[inline]
            fn id(self) -> $id {
                let value = self.0 as u64;
                if value & !0xffff_ffff == made(Kind::$name) {
                    return $id(value as u32);
                }
                if (value as i64) < LOWEST_ADDRESS as i64 {
                    return $id(NONE);
                }
                // SAFETY: neither made by this library nor null: the address of a predefined object by MPI's contract.
                $id(unsafe { objects::id_at(self.0, Kind::$name) })
            }

            #[inline]
            fn of(id: $id) -> $name {
                $name(match id.0 {
                    FIRST_USER.. => (made(Kind::$name) | id.0 as u64) as *mut c_void,
                    id => objects::$object(id),
                })
            }

            fn to_int(self) -> c_int {
                let id = self.id().0;
                let find = $fortran.iter().find(|pair| pair.0 == id);
                find.map_or(id as c_int, |pair| pair.1)
            }

            fn from_int(number: c_int) -> $name {
                match $fortran.iter().find(|pair| pair.1 == number) {
                    Some(pair) => $name::of($id(pair.0)),
                    None if number as u32 >= FIRST_USER && number > 0 => $name::of($id(number as u32)),
                    None => $name::of(Self::NULL),
                }
            }
        }
    )*};
}

handles! {
    Comm, CommId, COMM_NULL, comm_object, COMM;
    Group, GroupId, GROUP_NULL, group_object, GROUP;
    Datatype, DatatypeId, DATATYPE_NULL, datatype_object, DATATYPE;
    Op, OpId, OP_NULL, op_object, OP;
    Request, RequestId, REQUEST_NULL, request_object, REQUEST;
    Message, MessageId, MESSAGE_NULL, message_object, MESSAGE;
    Info, InfoId, INFO_NULL, info_object, INFO;
    Errhandler, ErrhandlerId, ERRHANDLER_NULL, errhandler_object, ERRHANDLER;
    Win, WinId, WIN_NULL, win_object, WIN;
    File, FileId, FILE_NULL, file_object, FILE;
    Session, SessionId, SESSION_NULL, session_object, SESSION;
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
    const KEYVAL_BASE: c_int = 0;

    fn unweighted() -> *const c_int {
        std::ptr::without_provenance(2)
    }

    fn weights_empty() -> *const c_int {
        std::ptr::without_provenance(3)
    }

    fn is_fortran_ignore(status: *const c_void) -> bool {
        objects::is_fortran_ignore(status)
    }

    fn is_dup_fn(function: *const c_void) -> bool {
        objects::is_dup_fn(function)
    }

    fn is_null_fn(function: *const c_void) -> bool {
        objects::is_null_fn(function)
    }
}

include!(concat!(env!("OUT_DIR"), "/numbers.rs"));
