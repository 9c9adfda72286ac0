//! Handles: pointers that hold the engine's id; the standard's codes for predefined objects are those ids.

use crate::status::Status;
use mayfly::abi::kinds::{Abi, Handle, Numbers, Pair, NONE};
use mayfly::base::constant::handle;
use mayfly::base::id::*;
use std::ffi::{c_int, c_void};

/// The ABI.
pub struct A;

macro_rules! handles {
    ($($name:ident, $id:ident, $null:ident;)*) => {$(
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub struct $name(*mut c_void);

        impl Handle for $name {
            type Id = $id;
            const NULL: $id = handle::$null;

            #[inline(always)]
            fn id(self) -> $id {
                $id(u32::try_from(self.0 as usize).unwrap_or(NONE))
            }

            #[inline(always)]
            fn of(id: $id) -> $name {
                $name(id.0 as usize as *mut c_void)
            }

            fn to_int(self) -> c_int {
                self.0 as usize as c_int
            }

            fn from_int(number: c_int) -> $name {
                $name(number as u32 as usize as *mut c_void)
            }
        }
    )*};
}

handles! {
    Comm, CommId, COMM_NULL;
    Group, GroupId, GROUP_NULL;
    Datatype, DatatypeId, DATATYPE_NULL;
    Op, OpId, OP_NULL;
    Request, RequestId, REQUEST_NULL;
    Message, MessageId, MESSAGE_NULL;
    Info, InfoId, INFO_NULL;
    Errhandler, ErrhandlerId, ERRHANDLER_NULL;
    Win, WinId, WIN_NULL;
    File, FileId, FILE_NULL;
    Session, SessionId, SESSION_NULL;
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

    const ABI_VERSION: (c_int, c_int) = (1, 0);
    const KEYVAL_BASE: c_int = 0;

    fn unweighted() -> *const c_int {
        10 as *const c_int
    }

    fn weights_empty() -> *const c_int {
        11 as *const c_int
    }

    fn is_fortran_ignore(status: *const c_void) -> bool {
        status.is_null()
    }

    fn is_dup_fn(function: *const c_void) -> bool {
        function as usize == 1
    }

    fn is_null_fn(function: *const c_void) -> bool {
        function.is_null()
    }
}

include!(concat!(env!("OUT_DIR"), "/numbers.rs"));
