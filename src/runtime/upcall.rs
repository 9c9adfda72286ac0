//! User code: error handlers and what they decide (MPI-5.0 §9.3).

use crate::base::error::{Class, Error, Object};
use crate::mpi::errhandler::Handler;
use crate::runtime::{calls, Runtime};

/// Hands an error to the error handler of the object it belongs to (`error.object`, or else `object`). `code` is the
/// error in the program's own numbers: what a user's handler gets, and the exit status of a fatal one. Gives the
/// error back when the call is to return it.
#[cold]
pub fn raise(rt: &Runtime, object: Object, name: &'static str, error: Error, code: i32) -> Error {
    let (object, handler) = calls::handler_of(rt, object, &error);
    if !matches!(handler, Handler::Fatal | Handler::Abort) {
        rt.with(|w| w.errhandlers.codes.remember(name, &error));
    }
    match handler {
        Handler::Return => error,
        Handler::User(_, function) => {
            function(calls::object_number(object), code);
            error
        }
        Handler::Fatal | Handler::Abort => {
            let whose = match object {
                Object::Comm(comm) => rt.with(|w| {
                    w.comms
                        .get(comm)
                        .map(|c| c.name.clone())
                        .unwrap_or_default()
                }),
                _ => String::new(),
            };
            let on = if whose.is_empty() {
                String::new()
            } else {
                format!(" on {whose}")
            };
            // The call knows who is gone, the engine why.
            let loss = (error.class == Class::ProcAborted).then(|| rt.with(|w| w.loss()));
            let loss = loss
                .flatten()
                .filter(|loss| !error.detail.contains(loss.as_str()));
            let why = loss.map(|loss| format!(" ({loss})")).unwrap_or_default();
            rt.abort(code, &format!("fatal error in {name}{on}: {error}{why}"))
        }
    }
}
