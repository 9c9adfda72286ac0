//! Error handlers, error classes and codes (MPI-5.0 §9.3 to §9.5).
//!
//! Error codes are the engine's numbers: predefined classes, and behind [`crate::mpi::errhandler::LAST_CODE`] what the
//! program added. Only a handler that is called gets, as everything of the user's does, the program's own numbers.

use crate::base::error::{Error, Object, Result};
use crate::base::id::{CommId, ErrhandlerId, FileId, SessionId, WinId};
use crate::mpi::errhandler::{ErrhandlerFunction, Handler, Kind};
use crate::runtime::Runtime;

/// The object whose handler an error goes to, and that handler. `object` is what the call names; an error that says
/// better (waits and tests) overrules it.
pub fn handler_of(rt: &Runtime, object: Object, error: &Error) -> (Object, Handler) {
    let object = match error.object {
        Object::None => object,
        better => better,
    };
    rt.with(|w| w.raised_on(object))
}

/// The number that a user's handler gets for an object.
pub fn object_number(object: Object) -> u32 {
    match object {
        Object::None => crate::base::constant::handle::COMM_SELF.0,
        Object::Comm(id) => id.0,
        Object::Win(id) => id.0,
        Object::File(id) => id.0,
        Object::Session(id) => id.0,
    }
}

fn create(rt: &Runtime, kind: Kind, function: ErrhandlerFunction) -> Result<ErrhandlerId> {
    rt.with(|w| Ok(w.errhandlers.create(kind, function)))
}

fn set(rt: &Runtime, kind: Kind, object: Object, errhandler: ErrhandlerId) -> Result<()> {
    rt.with(|w| {
        let Object::Comm(comm) = object else {
            w.errhandlers.fits(errhandler, kind)?;
            return w.errhandlers.assign(object, errhandler);
        };
        let comm = w.comms.get_mut(comm)?;
        w.errhandlers.fits(errhandler, kind)?;
        w.errhandlers.hold(errhandler);
        let old = std::mem::replace(&mut comm.errhandler, errhandler);
        w.errhandlers.release(old);
        Ok(())
    })
}

/// A handle of its own, which the program frees.
fn get(rt: &Runtime, object: Object) -> Result<ErrhandlerId> {
    rt.with(|w| {
        let id = match object {
            Object::Comm(comm) => w.comms.get(comm)?.errhandler,
            other => w.errhandlers.of(other)?,
        };
        w.errhandlers.hold(id);
        Ok(id)
    })
}

/// Calls a user's handler with `code`, a number of the program's. Under MPI_ERRORS_RETURN nothing happens; under the
/// fatal ones the error comes back, and raising it ends the program.
fn call(rt: &Runtime, object: Object, code: i32) -> Result<()> {
    get(rt, object).map(|id| rt.with(|w| w.errhandlers.release(id)))?;
    match rt.with(|w| w.raised_on(object)) {
        (_, Handler::Return) => Ok(()),
        (object, Handler::User(_, function)) => {
            function(object_number(object), code);
            Ok(())
        }
        (object, Handler::Fatal | Handler::Abort) => {
            Err(Error::user(code, format!("the program raised error code {code}")).on(object))
        }
    }
}

macro_rules! per_object {
    ($kind:ident, $id:ty, $object:literal, $create:ident, $set:ident, $get:ident, $call:ident) => {
        #[doc = concat!("A new error handler for ", $object, "s.")]
        pub fn $create(rt: &Runtime, function: ErrhandlerFunction) -> Result<ErrhandlerId> {
            create(rt, Kind::$kind, function)
        }

        #[doc = concat!("Sets a ", $object, "'s error handler.")]
        pub fn $set(rt: &Runtime, object: $id, errhandler: ErrhandlerId) -> Result<()> {
            set(rt, Kind::$kind, Object::$kind(object), errhandler)
        }

        #[doc = concat!("A ", $object, "'s error handler, as a handle of its own.")]
        pub fn $get(rt: &Runtime, object: $id) -> Result<ErrhandlerId> {
            get(rt, Object::$kind(object))
        }

        #[doc = concat!("Calls a ", $object, "'s error handler with a code in the program's numbers.")]
        pub fn $call(rt: &Runtime, object: $id, errorcode: i32) -> Result<()> {
            call(rt, Object::$kind(object), errorcode)
        }
    };
}

per_object!(
    Comm,
    CommId,
    "communicator",
    comm_create_errhandler,
    comm_set_errhandler,
    comm_get_errhandler,
    comm_call_errhandler
);
per_object!(
    Win,
    WinId,
    "window",
    win_create_errhandler,
    win_set_errhandler,
    win_get_errhandler,
    win_call_errhandler
);
per_object!(
    File,
    FileId,
    "file",
    file_create_errhandler,
    file_set_errhandler,
    file_get_errhandler,
    file_call_errhandler
);
per_object!(
    Session,
    SessionId,
    "session",
    session_create_errhandler,
    session_set_errhandler,
    session_get_errhandler,
    session_call_errhandler
);

/// Gives the handle up; objects that use the handler keep it.
pub fn errhandler_free(rt: &Runtime, errhandler: ErrhandlerId) -> Result<()> {
    rt.with(|w| {
        w.errhandlers.get(errhandler)?;
        w.errhandlers.release(errhandler);
        Ok(())
    })
}

pub fn add_error_class(rt: &Runtime) -> Result<i32> {
    rt.with(|w| Ok(w.errhandlers.codes.add_class()))
}

pub fn add_error_code(rt: &Runtime, errorclass: i32) -> Result<i32> {
    rt.with(|w| w.errhandlers.codes.add_code(errorclass))
}

pub fn add_error_string(rt: &Runtime, errorcode: i32, string: &str) -> Result<()> {
    rt.with(|w| w.errhandlers.codes.set_text(errorcode, string))
}

pub fn remove_error_class(rt: &Runtime, errorclass: i32) -> Result<()> {
    rt.with(|w| w.errhandlers.codes.remove_class(errorclass))
}

pub fn remove_error_code(rt: &Runtime, errorcode: i32) -> Result<()> {
    rt.with(|w| w.errhandlers.codes.remove_code(errorcode))
}

/// The code or class has an empty text again.
pub fn remove_error_string(rt: &Runtime, errorcode: i32) -> Result<()> {
    rt.with(|w| w.errhandlers.codes.set_text(errorcode, ""))
}

/// The class of an error code.
pub fn error_class(rt: &Runtime, errorcode: i32) -> Result<i32> {
    rt.with(|w| w.errhandlers.codes.class(errorcode))
}

/// What an error code means.
pub fn error_string(rt: &Runtime, errorcode: i32) -> Result<String> {
    rt.with(|w| w.errhandlers.codes.text(errorcode))
}
