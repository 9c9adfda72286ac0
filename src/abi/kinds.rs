//! What an ABI must say of itself: handles, statuses, numbers.

use crate::base::id::*;
use std::ffi::{c_int, c_void};

/// A handle as C passes it.
pub trait Handle: Copy + 'static {
    type Id: Id;
    /// The kind's null handle.
    const NULL: Self::Id;
    /// The engine's id; of something that is no handle, one that no object has ([`NONE`]).
    fn id(self) -> Self::Id;
    /// The handle of an id.
    fn of(id: Self::Id) -> Self;
    /// Its number in Fortran, also that of MPI_X_toint.
    fn to_int(self) -> c_int;
    /// The handle with that number.
    fn from_int(number: c_int) -> Self;
}

/// The raw id that no object has.
pub const NONE: u32 = u32::MAX;

/// A status's fields in the ABI's own numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StatusFields {
    pub source: c_int,
    pub tag: c_int,
    pub error: c_int,
    /// Bytes received.
    pub bytes: u64,
    pub cancelled: bool,
}

/// MPI_Status in memory.
pub trait StatusLayout: Copy + 'static {
    fn get(&self) -> StatusFields;
    /// Writes all fields; `error` only when `with_error`, because single completions leave it alone (MPI-5.0 §3.7.5).
    fn set(&mut self, fields: &StatusFields, with_error: bool);
}

/// A predefined number: (in the ABI, in the engine).
pub type Pair = (c_int, c_int);

/// The numbers that the ABI gives constants, written from constants.table.
pub trait Numbers {
    const ANY_SOURCE: c_int;
    const PROC_NULL: c_int;
    const ROOT: c_int;
    const ANY_TAG: c_int;

    const IN_PLACE: usize;
    /// As IN_PLACE where the ABI has no such constant.
    const BUFFER_AUTOMATIC: usize;
    /// Also MPI_STATUSES_IGNORE.
    const STATUS_IGNORE: usize;

    const ERRCLASS: &'static [Pair];
    const LASTCODE: c_int;
    const THREADLEVEL: &'static [Pair];
    const COMPARISON: &'static [Pair];
    const TOPOLOGY: &'static [Pair];
    const SPLITTYPE: &'static [Pair];
    const ORDER: &'static [Pair];
    const DISTRIBUTION: &'static [Pair];
    const DARG: &'static [Pair];
    const COMBINER: &'static [Pair];
    const TYPECLASS: &'static [Pair];
    const LOCKTYPE: &'static [Pair];
    const WHENCE: &'static [Pair];
    const FLAVOR: &'static [Pair];
    const MODEL: &'static [Pair];
    const KEYVAL: &'static [Pair];
    /// Sets of bits.
    const AMODE: &'static [Pair];
    const ASSERT: &'static [Pair];

    const VERSION: (c_int, c_int);
    const MAX_PROCESSOR_NAME: usize;
    const MAX_ERROR_STRING: usize;
    const MAX_OBJECT_NAME: usize;
    const MAX_LIBRARY_VERSION_STRING: usize;
    const MAX_INFO_KEY: usize;
    const MAX_INFO_VAL: usize;
    const MAX_PORT_NAME: usize;
    const MAX_DATAREP_STRING: usize;
    const MAX_PSET_NAME_LEN: usize;
}

/// One of the three ABIs.
pub trait Abi: Numbers + Sized + 'static {
    type Comm: Handle<Id = CommId>;
    type Group: Handle<Id = GroupId>;
    type Datatype: Handle<Id = DatatypeId>;
    type Op: Handle<Id = OpId>;
    type Request: Handle<Id = RequestId>;
    type Message: Handle<Id = MessageId>;
    type Info: Handle<Id = InfoId>;
    type Errhandler: Handle<Id = ErrhandlerId>;
    type Win: Handle<Id = WinId>;
    type File: Handle<Id = FileId>;
    type Session: Handle<Id = SessionId>;
    type Status: StatusLayout;

    /// MPI_Abi_get_version's answer; (-1, -1): not the standard's ABI.
    const ABI_VERSION: (c_int, c_int);
    /// Added to the ids of attribute keys that programs make.
    const KEYVAL_BASE: c_int;

    /// MPI_UNWEIGHTED and MPI_WEIGHTS_EMPTY.
    fn unweighted() -> *const c_int;
    fn weights_empty() -> *const c_int;
    /// MPI_F_STATUS_IGNORE and MPI_F_STATUSES_IGNORE, MPI_F08_STATUS_IGNORE and MPI_F08_STATUSES_IGNORE.
    fn is_fortran_ignore(status: *const c_void) -> bool;
    /// Is this callback MPI_COMM_DUP_FN or one of its kin?
    fn is_dup_fn(function: *const c_void) -> bool;
    /// Is it MPI_COMM_NULL_COPY_FN, MPI_COMM_NULL_DELETE_FN or one of their kin?
    fn is_null_fn(function: *const c_void) -> bool;
}
