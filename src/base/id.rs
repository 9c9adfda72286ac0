//! Handles as the engine knows them: a number per kind of object.
//!
//! Predefined objects have the number that the MPI-5.0 ABI gives them (MPI-5.0 §20, Appendix A), all below
//! [`FIRST_USER`]; objects that a program creates are numbered from there on. Each ABI translates its own handles.

/// The lowest number of an object that a program created.
pub const FIRST_USER: u32 = 0x400;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(transparent)]
        pub struct $name(pub u32);
        impl Id for $name {
            #[inline(always)]
            fn from_raw(raw: u32) -> Self { $name(raw) }
            #[inline(always)]
            fn raw(self) -> u32 { self.0 }
        }
    )*};
}

/// A typed object number.
pub trait Id: Copy + Eq {
    fn from_raw(raw: u32) -> Self;
    fn raw(self) -> u32;
}

ids! {
    /// A communicator.
    CommId;
    /// A group.
    GroupId;
    /// A datatype.
    DatatypeId;
    /// A reduction operation.
    OpId;
    /// A request.
    RequestId;
    /// A matched message (mprobe).
    MessageId;
    /// An info object.
    InfoId;
    /// An error handler.
    ErrhandlerId;
    /// An attribute key; comm, type and window keys share one space.
    KeyvalId;
    /// A window.
    WinId;
    /// A file.
    FileId;
    /// A session.
    SessionId;
    /// A process of the job, by its number in MPI_COMM_WORLD.
    PeerId;
}

/// Objects of one kind by id, with constant-time insert, look-up and removal. Ids are reused.
pub struct Table<I, T> {
    first: u32,
    entries: Vec<Option<T>>,
    free: Vec<u32>,
    kind: std::marker::PhantomData<I>,
}

impl<I: Id, T> Table<I, T> {
    /// `first`: the lowest id that can be stored; predefined objects between `first` and
    /// [`FIRST_USER`] are placed with [`Table::set`].
    pub fn new(first: u32) -> Self {
        let reserved = FIRST_USER.saturating_sub(first) as usize;
        let mut entries = Vec::new();
        entries.resize_with(reserved, || None);
        Table {
            first,
            entries,
            free: Vec::new(),
            kind: std::marker::PhantomData,
        }
    }

    #[inline(always)]
    fn index(&self, id: I) -> usize {
        id.raw().wrapping_sub(self.first) as usize
    }

    #[inline(always)]
    pub fn get(&self, id: I) -> Option<&T> {
        self.entries.get(self.index(id)).and_then(Option::as_ref)
    }

    #[inline(always)]
    pub fn get_mut(&mut self, id: I) -> Option<&mut T> {
        let index = self.index(id);
        self.entries.get_mut(index).and_then(Option::as_mut)
    }

    /// Stores a new object under an id of its own.
    pub fn insert(&mut self, value: T) -> I {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.entries.push(None);
                (self.entries.len() - 1) as u32
            }
        };
        self.entries[index as usize] = Some(value);
        I::from_raw(index + self.first)
    }

    /// Places a predefined object; replaces what was there.
    pub fn set(&mut self, id: I, value: T) {
        let index = self.index(id);
        assert!(
            id.raw() < FIRST_USER && index < self.entries.len(),
            "not a predefined id"
        );
        self.entries[index] = Some(value);
    }

    /// Removes an object; the id of a created one may be given out again.
    pub fn remove(&mut self, id: I) -> Option<T> {
        let index = self.index(id);
        let value = self.entries.get_mut(index)?.take();
        if value.is_some() && id.raw() >= FIRST_USER {
            self.free.push(index as u32);
        }
        value
    }

    /// All stored objects, lowest id first.
    pub fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        let first = self.first;
        self.entries
            .iter()
            .enumerate()
            .filter_map(move |(i, e)| e.as_ref().map(|e| (I::from_raw(i as u32 + first), e)))
    }

    /// How many objects are stored.
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|e| e.is_some()).count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_reused_and_typed() {
        let mut table: Table<GroupId, &str> = Table::new(0x108);
        table.set(GroupId(0x109), "empty");
        let a = table.insert("a");
        assert_eq!(a, GroupId(FIRST_USER));
        assert_eq!(table.remove(a), Some("a"));
        assert_eq!(table.get(a), None);
        assert_eq!(table.insert("b"), a);
        assert_eq!(table.get(GroupId(0x109)), Some(&"empty"));
        assert_eq!(table.get(GroupId(3)), None);
        assert_eq!(table.len(), 2);
    }
}
