//! Attributes and their keys (MPI-5.0 §7.7). Copy and delete functions are user code: this file says what to call,
//! the runtime calls it.

use crate::base::constant::handle;
use crate::base::error::Result;
use crate::base::id::{CommId, DatatypeId, KeyvalId, Table, WinId, FIRST_USER};
use crate::fail;
use std::collections::HashMap;
use std::sync::Arc;

/// The attributes cached on one object, in the order they were set.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    pub values: Vec<(KeyvalId, usize)>,
}

impl Attributes {
    pub fn get(&self, key: KeyvalId) -> Option<usize> {
        let pair = self.values.iter().rev().find(|(k, _)| *k == key);
        pair.map(|&(_, value)| value)
    }

    /// Adds, or replaces in place; says whether it is new.
    pub fn set(&mut self, key: KeyvalId, value: usize) -> bool {
        match self.values.iter_mut().find(|(k, _)| *k == key) {
            Some(pair) => {
                pair.1 = value;
                false
            }
            None => {
                self.values.push((key, value));
                true
            }
        }
    }

    /// Removes; says whether it was there.
    pub fn remove(&mut self, key: KeyvalId) -> bool {
        // Objects are freed from the last attribute on.
        match self.values.iter().rposition(|(k, _)| *k == key) {
            Some(index) => {
                self.values.remove(index);
                true
            }
            None => false,
        }
    }
}

/// What an attribute is cached on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    Comm(CommId),
    Type(DatatypeId),
    Win(WinId),
}

impl Owner {
    pub fn kind(self) -> Kind {
        match self {
            Owner::Comm(_) => Kind::Comm,
            Owner::Type(_) => Kind::Type,
            Owner::Win(_) => Kind::Win,
        }
    }

    /// The object's number, as user functions get it.
    pub fn raw(self) -> u32 {
        match self {
            Owner::Comm(id) => id.0,
            Owner::Type(id) => id.0,
            Owner::Win(id) => id.0,
        }
    }
}

/// The kind of object that a key belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Comm,
    Type,
    Win,
}

/// A user's copy function: `(old object, key, value)`; answers the copy's value, none for no copy, or an error code
/// in the program's own numbers.
pub type CopyFunction =
    Arc<dyn Fn(u32, KeyvalId, usize) -> std::result::Result<Option<usize>, i32> + Send + Sync>;

/// A user's delete function: `(object, key, value)`; answers an error code in the program's own numbers.
pub type DeleteFunction =
    Arc<dyn Fn(u32, KeyvalId, usize) -> std::result::Result<(), i32> + Send + Sync>;

/// What happens to an attribute when its object is duplicated.
#[derive(Clone)]
pub enum Copy {
    /// MPI_COMM_NULL_COPY_FN: it stays behind.
    Null,
    /// MPI_COMM_DUP_FN: the value is copied.
    Dup,
    User(CopyFunction),
}

/// What happens when it is deleted, replaced, or its object freed.
#[derive(Clone)]
pub enum Delete {
    Null,
    User(DeleteFunction),
}

/// An attribute key.
#[derive(Clone)]
pub struct Keyval {
    pub kind: Kind,
    pub copy: Copy,
    pub delete: Delete,
    /// Attributes of this key.
    uses: usize,
    /// Freed by the program: gone with the last attribute (MPI-5.0 §7.7.2).
    freed: bool,
}

/// All attribute keys, and the attributes of windows.
pub struct Keyvals {
    pub table: Table<KeyvalId, Keyval>,
    /// A window's attributes, from its making to its freeing.
    pub windows: HashMap<WinId, Attributes>,
    /// MPI_APPNUM: which program of an MPMD start this is.
    pub appnum: Option<i32>,
    /// MPI_UNIVERSE_SIZE; none: the size of MPI_COMM_WORLD.
    pub universe_size: Option<i32>,
    /// MAYFLY_SECONDS_LEFT counts down to this, in milliseconds since 1970; 0: nothing ends us.
    pub deadline_ms: u64,
}

impl Keyvals {
    pub fn new() -> Keyvals {
        Keyvals {
            table: Table::new(FIRST_USER),
            windows: HashMap::new(),
            appnum: None,
            universe_size: None,
            deadline_ms: 0,
        }
    }

    /// What the start told: the values of MPI_APPNUM and MPI_UNIVERSE_SIZE.
    pub fn set_predefined(&mut self, appnum: Option<i32>, universe_size: Option<i32>) {
        self.appnum = appnum;
        self.universe_size = universe_size;
    }

    pub fn create(&mut self, kind: Kind, copy: Copy, delete: Delete) -> KeyvalId {
        self.table.insert(Keyval {
            kind,
            copy,
            delete,
            uses: 0,
            freed: false,
        })
    }

    /// The key, if it is one of this kind of object.
    pub fn get(&self, id: KeyvalId, kind: Kind) -> Result<&Keyval> {
        match self.table.get(id) {
            Some(key) if key.kind == kind => Ok(key),
            Some(key) => fail!(
                Keyval,
                "key {} is one of a {:?}, not of a {kind:?}",
                id.0,
                key.kind
            ),
            None if id == handle::KEYVAL_INVALID => fail!(Keyval, "the key is MPI_KEYVAL_INVALID"),
            None if is_predefined(id) => fail!(Keyval, "key {} is predefined", id.0),
            None => fail!(Keyval, "key {} does not exist (freed?)", id.0),
        }
    }

    /// Gives the key up; attributes that have it keep it alive, and then it may be freed again.
    pub fn free(&mut self, id: KeyvalId, kind: Kind) -> Result<()> {
        self.get(id, kind)?;
        if let Some(key) = self.table.get_mut(id) {
            key.freed = true;
        }
        self.collect(id);
        Ok(())
    }

    /// An attribute has this key from now on.
    pub fn retain(&mut self, id: KeyvalId) {
        if let Some(key) = self.table.get_mut(id) {
            key.uses += 1;
        }
    }

    /// An attribute of this key is gone.
    pub fn release(&mut self, id: KeyvalId) {
        if let Some(key) = self.table.get_mut(id) {
            key.uses -= 1;
        }
        self.collect(id);
    }

    fn collect(&mut self, id: KeyvalId) {
        if self
            .table
            .get(id)
            .is_some_and(|key| key.freed && key.uses == 0)
        {
            self.table.remove(id);
        }
    }
}

impl Default for Keyvals {
    fn default() -> Keyvals {
        Keyvals::new()
    }
}

/// A key that MPI itself defines (those of communicators are 501 to 507, those of windows 601 to 605), or Mayfly.
pub fn is_predefined(id: KeyvalId) -> bool {
    matches!(id.0, 501..=507 | 601..=605) || id == handle::SECONDS_LEFT
}

/// Whole seconds from `now_ms` to the deadline, both in milliseconds since 1970; none without a deadline.
pub fn seconds_left(deadline_ms: u64, now_ms: u64) -> Option<i32> {
    let left = deadline_ms.saturating_sub(now_ms) / 1000;
    (deadline_ms != 0).then(|| left.min(i32::MAX as u64) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Class;

    #[test]
    fn attributes_are_replaced_in_place() {
        let mut a = Attributes::default();
        let (k, l) = (KeyvalId(0x400), KeyvalId(0x401));
        assert!(a.set(k, 1) && a.set(l, 2) && !a.set(k, 3));
        assert_eq!(a.values, [(k, 3), (l, 2)]);
        assert!(a.remove(k) && !a.remove(k));
        assert_eq!(a.get(k), None);
        assert_eq!(a.get(l), Some(2));
    }

    #[test]
    fn a_key_lives_as_long_as_its_attributes() {
        let mut keys = Keyvals::new();
        let id = keys.create(Kind::Comm, Copy::Dup, Delete::Null);
        assert_eq!(keys.get(id, Kind::Type).err().unwrap().class, Class::Keyval);
        keys.retain(id);
        assert!(keys.free(id, Kind::Comm).is_ok());
        assert!(keys.free(id, Kind::Comm).is_ok(), "again while in use");
        let other = keys.create(Kind::Comm, Copy::Null, Delete::Null);
        assert_ne!(other, id);
        keys.release(id);
        assert_eq!(keys.free(id, Kind::Comm).unwrap_err().class, Class::Keyval);
    }

    #[test]
    fn the_seconds_left_stop_at_nought() {
        assert_eq!(seconds_left(0, 5), None);
        assert_eq!(seconds_left(61_999, 2_000), Some(59));
        assert_eq!(seconds_left(2_000, 9_000), Some(0));
        assert_eq!(seconds_left(u64::MAX, 0), Some(i32::MAX));
        assert!(is_predefined(handle::SECONDS_LEFT));
    }

    #[test]
    fn predefined_keys_are_not_the_programs() {
        let mut keys = Keyvals::new();
        assert_eq!(
            keys.free(handle::TAG_UB, Kind::Comm).unwrap_err().class,
            Class::Keyval
        );
        assert_eq!(
            keys.free(handle::KEYVAL_INVALID, Kind::Comm)
                .unwrap_err()
                .class,
            Class::Keyval
        );
    }
}
