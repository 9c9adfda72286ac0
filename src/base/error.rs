//! MPI's error classes and the error that every semantic function returns.

use crate::base::id::{CommId, FileId, SessionId, WinId};
use std::borrow::Cow;

macro_rules! classes {
    ($($name:ident = $value:literal, $c:literal, $text:literal;)*) => {
        /// An error class, with the number of the MPI-5.0 ABI (MPI-5.0 §9.4).
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(i32)]
        pub enum Class { $($name = $value,)* }

        impl Class {
            /// Every class, lowest number first within a chapter.
            pub const ALL: &'static [Class] = &[$(Class::$name,)*];

            /// The constant's name in C.
            pub fn name(self) -> &'static str {
                match self { $(Class::$name => $c,)* }
            }

            /// What MPI_Error_string says of the class.
            pub fn text(self) -> &'static str {
                match self { $(Class::$name => $text,)* }
            }
        }
    };
}

classes! {
    Success = 0, "MPI_SUCCESS", "no error";
    Buffer = 1, "MPI_ERR_BUFFER", "invalid buffer pointer";
    Count = 2, "MPI_ERR_COUNT", "invalid count argument";
    Type = 3, "MPI_ERR_TYPE", "invalid datatype argument";
    Tag = 4, "MPI_ERR_TAG", "invalid tag argument";
    Comm = 5, "MPI_ERR_COMM", "invalid communicator";
    Rank = 6, "MPI_ERR_RANK", "invalid rank";
    Request = 7, "MPI_ERR_REQUEST", "invalid request handle";
    Root = 8, "MPI_ERR_ROOT", "invalid root";
    Group = 9, "MPI_ERR_GROUP", "invalid group";
    Op = 10, "MPI_ERR_OP", "invalid reduction operation";
    Topology = 11, "MPI_ERR_TOPOLOGY", "invalid topology";
    Dims = 12, "MPI_ERR_DIMS", "invalid dimension argument";
    Arg = 13, "MPI_ERR_ARG", "invalid argument of some other kind";
    Unknown = 14, "MPI_ERR_UNKNOWN", "unknown error";
    Truncate = 15, "MPI_ERR_TRUNCATE", "message truncated on receive";
    Other = 16, "MPI_ERR_OTHER", "known error not in this list";
    Intern = 17, "MPI_ERR_INTERN", "internal MPI error";
    Pending = 18, "MPI_ERR_PENDING", "pending request";
    InStatus = 19, "MPI_ERR_IN_STATUS", "error code is in status";
    Access = 20, "MPI_ERR_ACCESS", "permission denied";
    Amode = 21, "MPI_ERR_AMODE", "error in the access mode of MPI_File_open";
    Assert = 22, "MPI_ERR_ASSERT", "invalid assert argument";
    BadFile = 23, "MPI_ERR_BAD_FILE", "invalid file name";
    Base = 24, "MPI_ERR_BASE", "invalid base passed to MPI_Free_mem";
    Conversion = 25, "MPI_ERR_CONVERSION", "error in a user-supplied data conversion function";
    Disp = 26, "MPI_ERR_DISP", "invalid displacement argument";
    DupDatarep = 27, "MPI_ERR_DUP_DATAREP", "data representation identifier already registered";
    FileExists = 28, "MPI_ERR_FILE_EXISTS", "file exists";
    FileInUse = 29, "MPI_ERR_FILE_IN_USE", "file is in use by some process";
    File = 30, "MPI_ERR_FILE", "invalid file handle";
    InfoKey = 31, "MPI_ERR_INFO_KEY", "info key longer than MPI_MAX_INFO_KEY";
    InfoNokey = 32, "MPI_ERR_INFO_NOKEY", "no such info key";
    InfoValue = 33, "MPI_ERR_INFO_VALUE", "info value longer than MPI_MAX_INFO_VAL";
    Info = 34, "MPI_ERR_INFO", "invalid info object";
    Io = 35, "MPI_ERR_IO", "input or output error";
    Keyval = 36, "MPI_ERR_KEYVAL", "invalid attribute key";
    Locktype = 37, "MPI_ERR_LOCKTYPE", "invalid lock type";
    Name = 38, "MPI_ERR_NAME", "service name not published";
    NoMem = 39, "MPI_ERR_NO_MEM", "memory is exhausted";
    NotSame = 40, "MPI_ERR_NOT_SAME", "collective argument not the same on all processes";
    NoSpace = 41, "MPI_ERR_NO_SPACE", "not enough space";
    NoSuchFile = 42, "MPI_ERR_NO_SUCH_FILE", "file does not exist";
    Port = 43, "MPI_ERR_PORT", "invalid port name";
    Quota = 44, "MPI_ERR_QUOTA", "quota exceeded";
    ReadOnly = 45, "MPI_ERR_READ_ONLY", "read-only file or file system";
    RmaAttach = 46, "MPI_ERR_RMA_ATTACH", "memory cannot be attached";
    RmaConflict = 47, "MPI_ERR_RMA_CONFLICT", "conflicting accesses to window";
    RmaRange = 48, "MPI_ERR_RMA_RANGE", "target memory is not part of the window";
    RmaShared = 49, "MPI_ERR_RMA_SHARED", "memory cannot be shared";
    RmaSync = 50, "MPI_ERR_RMA_SYNC", "wrong synchronization of one-sided calls";
    Service = 51, "MPI_ERR_SERVICE", "invalid service name";
    Size = 52, "MPI_ERR_SIZE", "invalid size argument";
    Spawn = 53, "MPI_ERR_SPAWN", "error in spawning processes";
    UnsupportedDatarep = 54, "MPI_ERR_UNSUPPORTED_DATAREP", "unsupported data representation";
    UnsupportedOperation = 55, "MPI_ERR_UNSUPPORTED_OPERATION", "unsupported operation";
    Win = 56, "MPI_ERR_WIN", "invalid window";
    RmaFlavor = 57, "MPI_ERR_RMA_FLAVOR", "window of the wrong flavor";
    ProcAborted = 58, "MPI_ERR_PROC_ABORTED", "a peer process aborted";
    ValueTooLarge = 59, "MPI_ERR_VALUE_TOO_LARGE", "value too large to be returned";
    Session = 60, "MPI_ERR_SESSION", "invalid session";
    Errhandler = 61, "MPI_ERR_ERRHANDLER", "invalid error handler";
    Abi = 62, "MPI_ERR_ABI", "ABI error";
}

/// The MPI object whose error handler an error goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Object {
    /// None named by the call: MPI_COMM_SELF's handler (MPI-5.0 §9.3).
    None,
    Comm(CommId),
    Win(WinId),
    File(FileId),
    Session(SessionId),
}

/// What went wrong. One word, so that a result is one, and the calls in which nothing goes wrong pass none of it on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error(Box<Trouble>);

/// A class, or a code that user code made, and a sentence that names argument and value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    pub class: Class,
    /// A code returned by a user's callback, in the numbers of the program's own ABI; it stands before the class.
    pub user_code: Option<i32>,
    pub detail: Cow<'static, str>,
    /// Where the call itself names no object (waits and tests), the one the failed request belongs to.
    pub object: Object,
    /// Of a receive that ended in an error: its source, tag and bytes, for the status.
    pub received: Option<(i32, i32, u64)>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    #[cold]
    pub fn new(class: Class, detail: impl Into<Cow<'static, str>>) -> Error {
        Error(Box::new(Trouble {
            class,
            user_code: None,
            detail: detail.into(),
            object: Object::None,
            received: None,
        }))
    }

    /// An error code that a user's callback returned.
    #[cold]
    pub fn user(code: i32, detail: impl Into<Cow<'static, str>>) -> Error {
        let mut error = Error::new(Class::Other, detail);
        error.user_code = Some(code);
        error
    }

    /// The same error of a receive that got this far: source, tag, bytes.
    pub fn with_received(mut self, source: i32, tag: i32, bytes: u64) -> Error {
        self.received = Some((source, tag, bytes));
        self
    }

    /// The same error, handed to this object's error handler.
    pub fn on(mut self, object: Object) -> Error {
        self.object = object;
        self
    }
}

impl std::ops::Deref for Error {
    type Target = Trouble;

    fn deref(&self) -> &Trouble {
        &self.0
    }
}

impl std::ops::DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Trouble {
        &mut self.0
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {}",
            self.class.name(),
            if self.detail.is_empty() {
                self.class.text()
            } else {
                &self.detail
            }
        )
    }
}

impl std::error::Error for Error {}

/// `fail!(Rank, "rank {rank} is not in 0..{size}")` returns that error from the function.
#[macro_export]
macro_rules! fail {
    ($class:ident, $($text:tt)*) => {
        return Err($crate::base::error::Error::new($crate::base::error::Class::$class, format!($($text)*)))
    };
}
