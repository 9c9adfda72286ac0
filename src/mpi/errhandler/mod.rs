//! Error handlers (MPI-5.0 §9.3), and the error classes and codes that a program adds (§9.5).

mod codes;

pub use codes::{Codes, LAST_CODE};

use crate::base::constant::handle;
use crate::base::error::{Object, Result};
use crate::base::id::{ErrhandlerId, Table};
use crate::fail;
use crate::mpi::World;
use std::sync::Arc;

/// The kind of object that a user's handler is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Comm,
    Win,
    File,
    Session,
}

/// A user's handler: `(object, error code)`, the code in the program's own numbers. Runs outside the gate.
pub type ErrhandlerFunction = Arc<dyn Fn(u32, i32) + Send + Sync>;

/// What happens to an error.
#[derive(Clone)]
pub enum Handler {
    /// MPI_ERRORS_ARE_FATAL: the whole job ends.
    Fatal,
    /// MPI_ERRORS_ABORT: the processes of the object end.
    Abort,
    /// MPI_ERRORS_RETURN.
    Return,
    User(Kind, ErrhandlerFunction),
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Handler::Fatal => f.write_str("MPI_ERRORS_ARE_FATAL"),
            Handler::Abort => f.write_str("MPI_ERRORS_ABORT"),
            Handler::Return => f.write_str("MPI_ERRORS_RETURN"),
            Handler::User(kind, _) => write!(f, "a user's handler of a {kind:?}"),
        }
    }
}

struct Entry {
    handler: Handler,
    /// The program's handles and the objects that use it.
    references: usize,
}

/// All error handlers. Freeing a handle leaves it to the objects that use it: references are counted.
pub struct Errhandlers {
    table: Table<ErrhandlerId, Entry>,
    /// Handlers of objects that keep none themselves: windows, files, sessions, and MPI_FILE_NULL for files to come.
    objects: Vec<(Object, ErrhandlerId)>,
    /// What the program added.
    pub codes: Codes,
}

impl Errhandlers {
    pub fn new() -> Errhandlers {
        let mut table = Table::new(handle::ERRHANDLER_NULL.0);
        for (id, handler) in [
            (handle::ERRORS_ARE_FATAL, Handler::Fatal),
            (handle::ERRORS_ABORT, Handler::Abort),
            (handle::ERRORS_RETURN, Handler::Return),
        ] {
            table.set(
                id,
                Entry {
                    handler,
                    references: 1,
                },
            );
        }
        Errhandlers {
            table,
            objects: vec![(Object::File(handle::FILE_NULL), handle::ERRORS_RETURN)],
            codes: Codes::default(),
        }
    }

    pub fn get(&self, id: ErrhandlerId) -> Result<&Handler> {
        match self.table.get(id) {
            Some(entry) => Ok(&entry.handler),
            None if id == handle::ERRHANDLER_NULL => {
                fail!(Errhandler, "the error handler is MPI_ERRHANDLER_NULL")
            }
            None => fail!(
                Errhandler,
                "error handler {:#x} does not exist (freed?)",
                id.0
            ),
        }
    }

    /// The program's new handle.
    pub fn create(&mut self, kind: Kind, function: ErrhandlerFunction) -> ErrhandlerId {
        let handler = Handler::User(kind, function);
        self.table.insert(Entry {
            handler,
            references: 1,
        })
    }

    /// One more handle or object has it.
    pub fn hold(&mut self, id: ErrhandlerId) {
        if let Some(entry) = self.table.get_mut(id) {
            entry.references += 1;
        }
    }

    /// One handle or object less; the last takes the handler with it. Predefined ones stay.
    pub fn release(&mut self, id: ErrhandlerId) {
        let Some(entry) = self.table.get_mut(id) else {
            return;
        };
        if !matches!(entry.handler, Handler::User(..)) {
            return;
        }
        entry.references -= 1;
        if entry.references == 0 {
            self.table.remove(id);
        }
    }

    /// May this handler be set on an object of this kind?
    pub fn fits(&self, id: ErrhandlerId, kind: Kind) -> Result<()> {
        match self.get(id)? {
            Handler::User(own, _) if *own != kind => {
                fail!(
                    Errhandler,
                    "error handler {:#x} is one of a {own:?}, not of a {kind:?}",
                    id.0
                )
            }
            _ => Ok(()),
        }
    }

    /// A window, file or session came into being: with this handler.
    pub fn register(&mut self, object: Object, id: ErrhandlerId) {
        self.hold(id);
        self.objects.push((object, id));
    }

    /// It is gone.
    pub fn unregister(&mut self, object: Object) {
        if let Some(index) = self.objects.iter().position(|(o, _)| *o == object) {
            let (_, id) = self.objects.swap_remove(index);
            self.release(id);
        }
    }

    /// The handler of a registered object.
    pub fn of(&self, object: Object) -> Result<ErrhandlerId> {
        match self.objects.iter().find(|(o, _)| *o == object) {
            Some(&(_, id)) => Ok(id),
            None => match object {
                Object::Win(id) => fail!(Win, "window {:#x} does not exist", id.0),
                Object::File(id) => fail!(File, "file {:#x} does not exist", id.0),
                Object::Session(id) => fail!(Session, "session {:#x} does not exist", id.0),
                Object::Comm(_) | Object::None => fail!(Comm, "no communicator is named"),
            },
        }
    }

    /// Sets the handler of a registered object.
    pub fn assign(&mut self, object: Object, id: ErrhandlerId) -> Result<()> {
        let old = self.of(object)?;
        self.hold(id);
        self.release(old);
        for entry in self.objects.iter_mut().filter(|(o, _)| *o == object) {
            entry.1 = id;
        }
        Ok(())
    }
}

impl Default for Errhandlers {
    fn default() -> Errhandlers {
        Errhandlers::new()
    }
}

impl World {
    /// Whose handler an error on `object` goes to. A call that names no object raises on MPI_COMM_SELF (MPI-5.0
    /// §9.3); programs older than MPI-4.0 expect MPI_COMM_WORLD there, so that one's is asked while the program has
    /// not set MPI_COMM_SELF's. An object that does not exist counts as none.
    pub fn raised_on(&self, object: Object) -> (Object, Handler) {
        let id = match object {
            Object::None => None,
            Object::Comm(comm) => self.comms.get(comm).ok().map(|c| c.errhandler),
            other => self.errhandlers.of(other).ok(),
        };
        if let Some(handler) = id.and_then(|id| self.errhandlers.get(id).ok()) {
            return (object, handler.clone());
        }
        for comm in [handle::COMM_SELF, handle::COMM_WORLD] {
            let id = self
                .comms
                .get(comm)
                .map_or(handle::ERRORS_ARE_FATAL, |c| c.errhandler);
            match self.errhandlers.get(id) {
                Ok(Handler::Fatal) | Err(_) => {}
                Ok(handler) => return (Object::Comm(comm), handler.clone()),
            }
        }
        (Object::None, Handler::Fatal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Class;
    use crate::base::id::SessionId;

    #[test]
    fn the_last_reference_frees() {
        let mut all = Errhandlers::new();
        let id = all.create(Kind::Comm, Arc::new(|_, _| {}));
        all.hold(id);
        all.release(id);
        assert!(all.get(id).is_ok());
        all.release(id);
        assert_eq!(all.get(id).unwrap_err().class, Class::Errhandler);
        all.release(handle::ERRORS_RETURN);
        all.release(handle::ERRORS_RETURN);
        assert!(all.get(handle::ERRORS_RETURN).is_ok());
    }

    #[test]
    fn kinds_are_kept_apart() {
        let mut all = Errhandlers::new();
        let id = all.create(Kind::File, Arc::new(|_, _| {}));
        assert!(all.fits(id, Kind::File).is_ok());
        assert_eq!(
            all.fits(id, Kind::Comm).unwrap_err().class,
            Class::Errhandler
        );
        assert!(all.fits(handle::ERRORS_ABORT, Kind::Comm).is_ok());
    }

    #[test]
    fn registered_objects_have_handlers() {
        let mut all = Errhandlers::new();
        let session = Object::Session(SessionId(0x400));
        assert_eq!(all.of(session).unwrap_err().class, Class::Session);
        all.register(session, handle::ERRORS_ARE_FATAL);
        let id = all.create(Kind::Session, Arc::new(|_, _| {}));
        all.assign(session, id).unwrap();
        all.release(id);
        assert_eq!(all.of(session).unwrap(), id);
        assert!(all.get(id).is_ok());
        all.unregister(session);
        assert!(all.get(id).is_err());
        assert_eq!(
            all.of(Object::File(handle::FILE_NULL)).unwrap(),
            handle::ERRORS_RETURN
        );
    }
}
