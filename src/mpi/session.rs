//! Sessions (MPI-5.0 §11.3): MPI without a world, from named sets of processes.

use crate::base::constant::{
    handle, THREAD_FUNNELED, THREAD_MULTIPLE, THREAD_SERIALIZED, THREAD_SINGLE,
};
use crate::base::error::Result;
use crate::base::id::{SessionId, Table};
use crate::fail;

/// The process sets that every session has; their names' case does not matter.
pub const PROCESS_SETS: [&str; 2] = ["mpi://WORLD", "mpi://SELF"];

/// What an open session is known for.
#[derive(Clone, Debug)]
pub struct Session {
    /// The thread level provided.
    pub level: i32,
}

/// All open sessions.
pub struct Sessions {
    pub table: Table<SessionId, Session>,
}

impl Sessions {
    pub fn new() -> Sessions {
        Sessions {
            table: Table::new(handle::SESSION_NULL.0),
        }
    }

    pub fn get(&self, id: SessionId) -> Result<&Session> {
        match self.table.get(id) {
            Some(session) => Ok(session),
            None if id == handle::SESSION_NULL => {
                fail!(Session, "the session is MPI_SESSION_NULL")
            }
            None => fail!(Session, "session {:#x} does not exist (finalized?)", id.0),
        }
    }
}

impl Default for Sessions {
    fn default() -> Sessions {
        Sessions::new()
    }
}

/// Which of [`PROCESS_SETS`] a name means.
///
/// # Errors
/// `Arg`: none of them.
pub fn process_set(name: &str) -> Result<usize> {
    let named = |set: &&str| set.eq_ignore_ascii_case(name);
    match PROCESS_SETS.iter().position(named) {
        Some(index) => Ok(index),
        None => fail!(Arg, "there is no process set \"{name}\""),
    }
}

/// Values of the info key `thread_level` (MPI-5.0 §11.3.1).
const LEVELS: [(&str, i32); 4] = [
    ("MPI_THREAD_SINGLE", THREAD_SINGLE),
    ("MPI_THREAD_FUNNELED", THREAD_FUNNELED),
    ("MPI_THREAD_SERIALIZED", THREAD_SERIALIZED),
    ("MPI_THREAD_MULTIPLE", THREAD_MULTIPLE),
];

/// The thread level with this name.
pub fn level(name: &str) -> Option<i32> {
    let found = LEVELS.iter().find(|(n, _)| *n == name);
    found.map(|&(_, level)| level)
}

/// A thread level's name.
pub fn level_name(level: i32) -> &'static str {
    let found = LEVELS.iter().find(|(_, l)| *l == level);
    found.map_or(LEVELS[0].0, |&(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Class;

    #[test]
    fn names() {
        assert_eq!(process_set("mpi://world").unwrap(), 0);
        assert_eq!(process_set("mpi://SELF").unwrap(), 1);
        assert_eq!(process_set("mpi://").unwrap_err().class, Class::Arg);
        assert_eq!(level("MPI_THREAD_MULTIPLE"), Some(THREAD_MULTIPLE));
        assert_eq!(level("multiple"), None);
        assert_eq!(level_name(THREAD_FUNNELED), "MPI_THREAD_FUNNELED");
    }

    #[test]
    fn handles() {
        let mut sessions = Sessions::new();
        let id = sessions.table.insert(Session { level: 0 });
        assert!(sessions.get(id).is_ok());
        sessions.table.remove(id);
        assert_eq!(sessions.get(id).unwrap_err().class, Class::Session);
        let null = sessions.get(handle::SESSION_NULL);
        assert_eq!(null.unwrap_err().class, Class::Session);
    }
}
