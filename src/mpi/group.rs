//! Groups (MPI-5.0 §7.3).

use crate::base::constant::handle;
use crate::base::error::Result;
use crate::base::id::{GroupId, PeerId, Table};
use crate::fail;
use std::sync::Arc;

/// An ordered set of processes. Immutable; communicators and group handles share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub members: Vec<PeerId>,
    /// This process's rank in it.
    pub me: Option<u32>,
}

impl Group {
    pub fn new(members: Vec<PeerId>, me: PeerId) -> Arc<Group> {
        let me = members.iter().position(|&p| p == me).map(|r| r as u32);
        Arc::new(Group { members, me })
    }

    pub fn size(&self) -> usize {
        self.members.len()
    }
}

/// All group handles.
pub struct Groups {
    pub table: Table<GroupId, Arc<Group>>,
    /// This process.
    pub me: PeerId,
}

impl Groups {
    pub fn new(me: PeerId) -> Groups {
        let mut table = Table::new(handle::GROUP_NULL.0);
        table.set(handle::GROUP_EMPTY, Group::new(Vec::new(), me));
        Groups { table, me }
    }

    pub fn get(&self, id: GroupId) -> Result<&Arc<Group>> {
        match self.table.get(id) {
            Some(group) => Ok(group),
            None if id == handle::GROUP_NULL => fail!(Group, "the group is MPI_GROUP_NULL"),
            None => fail!(Group, "group {:#x} does not exist (freed?)", id.0),
        }
    }

    /// A handle for this group; MPI_GROUP_EMPTY for an empty one.
    pub fn handle(&mut self, group: Arc<Group>) -> GroupId {
        if group.members.is_empty() {
            handle::GROUP_EMPTY
        } else {
            self.table.insert(group)
        }
    }
}
