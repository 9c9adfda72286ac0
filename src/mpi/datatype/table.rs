//! The datatype handles.

use super::{predefined, Type};
use crate::base::constant::handle;
use crate::base::error::Result;
use crate::base::id::{DatatypeId, Table};
use crate::fail;
use crate::mpi::attribute::Attributes;
use std::borrow::Cow;
use std::collections::HashMap;

/// What a handle holds beside the type itself.
pub struct Entry {
    pub ty: Type,
    pub name: Cow<'static, str>,
    pub attributes: Attributes,
}

/// All datatypes.
pub struct Types {
    table: Table<DatatypeId, Entry>,
    /// Types made by MPI_Type_create_f90_*: equal parameters give the same handle (MPI-5.0 §19.1.5).
    pub(super) parametrised: HashMap<(i32, i32, i32), DatatypeId>,
}

impl Types {
    /// With every predefined type.
    pub fn new() -> Types {
        let mut table = Table::new(handle::DATATYPE_NULL.0);
        for (id, name, ty) in predefined::all() {
            table.set(id, Entry::new(ty, name));
        }
        Types {
            table,
            parametrised: HashMap::new(),
        }
    }

    /// The type behind a handle, if there is one.
    #[inline(always)]
    pub fn find(&self, id: DatatypeId) -> Option<&Type> {
        self.table.get(id).map(|entry| &entry.ty)
    }

    /// The type behind a handle. Errors: MPI_ERR_TYPE.
    #[inline]
    pub fn get(&self, id: DatatypeId) -> Result<&Type> {
        match self.table.get(id) {
            Some(entry) => Ok(&entry.ty),
            None => missing(id),
        }
    }

    /// The type behind a handle, for communication. Errors: MPI_ERR_TYPE, also if it was not committed.
    #[inline]
    pub fn committed(&self, id: DatatypeId) -> Result<&Type> {
        match self.table.get(id) {
            Some(entry) if entry.ty.is_committed() => Ok(&entry.ty),
            Some(entry) => uncommitted(entry),
            None => missing(id),
        }
    }

    /// A handle's type, name and attributes.
    pub fn entry(&self, id: DatatypeId) -> Result<&Entry> {
        match self.table.get(id) {
            Some(entry) => Ok(entry),
            None => missing(id),
        }
    }

    pub fn entry_mut(&mut self, id: DatatypeId) -> Result<&mut Entry> {
        match self.table.get_mut(id) {
            Some(entry) => Ok(entry),
            None => missing(id),
        }
    }

    /// A new handle, without name and attributes.
    pub fn insert(&mut self, ty: Type) -> DatatypeId {
        self.table.insert(Entry::new(ty, ""))
    }

    /// A handle that cannot be freed, for a predefined type without a name.
    pub(super) fn insert_fixed(&mut self, ty: Type) -> DatatypeId {
        let id = self.insert(ty.clone());
        ty.handle.set(id).expect("a new type has no handle yet");
        id
    }

    /// The handle for a type that get_contents returns: a predefined type's own, else a new one.
    pub fn handle(&mut self, ty: &Type) -> DatatypeId {
        match ty.predefined() {
            Some(id) => id,
            None => self.insert(ty.clone()),
        }
    }

    /// Drops a handle; operations under way keep the type. Errors: MPI_ERR_TYPE, also for predefined types.
    pub fn free(&mut self, id: DatatypeId) -> Result<Entry> {
        self.freeable(id)?;
        Ok(self.table.remove(id).expect("just looked up"))
    }

    /// May this handle be freed?
    pub fn freeable(&self, id: DatatypeId) -> Result<()> {
        let entry = self.entry(id)?;
        if entry.ty.predefined().is_some() {
            fail!(Type, "{} is predefined and cannot be freed", entry.title());
        }
        Ok(())
    }
}

impl Default for Types {
    fn default() -> Types {
        Types::new()
    }
}

impl Entry {
    fn new(ty: Type, name: &'static str) -> Entry {
        Entry {
            ty,
            name: Cow::Borrowed(name),
            attributes: Attributes::default(),
        }
    }

    /// What messages call it.
    fn title(&self) -> &str {
        match &*self.name {
            "" => "an unnamed datatype",
            name => name,
        }
    }
}

#[cold]
fn missing<T>(id: DatatypeId) -> Result<T> {
    if id == handle::DATATYPE_NULL {
        fail!(Type, "the datatype is MPI_DATATYPE_NULL");
    }
    fail!(Type, "datatype {:#x} does not exist (freed?)", id.0)
}

#[cold]
fn uncommitted<T>(entry: &Entry) -> Result<T> {
    fail!(
        Type,
        "{} of {} bytes was not committed (MPI_Type_commit)",
        entry.title(),
        entry.ty.size()
    )
}
