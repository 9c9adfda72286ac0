//! Groups (MPI-5.0 §7.3).

use crate::base::constant::{handle, IDENT, PROC_NULL, SIMILAR, UNDEFINED, UNEQUAL};
use crate::base::error::Result;
use crate::base::id::{GroupId, PeerId, Table};
use crate::fail;
use std::collections::HashMap;
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

    /// MPI_IDENT, MPI_SIMILAR or MPI_UNEQUAL (MPI-5.0 §7.3.1).
    pub fn compare(&self, other: &Group) -> i32 {
        if self.members == other.members {
            return IDENT;
        }
        let ranks = Ranks::new(other, self.size());
        let same =
            self.size() == other.size() && self.members.iter().all(|&p| ranks.of(p).is_some());
        if same {
            SIMILAR
        } else {
            UNEQUAL
        }
    }

    /// Ranks of this group as ranks of another; MPI_PROC_NULL stays, who is not there becomes MPI_UNDEFINED.
    pub fn translate(&self, ranks: &[i32], other: &Group) -> Result<Vec<i32>> {
        let lookup = Ranks::new(other, ranks.len());
        let translate = |&rank: &i32| {
            if rank == PROC_NULL {
                return Ok(PROC_NULL);
            }
            let member = self.members[self.checked(rank)?];
            Ok(lookup.of(member).map_or(UNDEFINED, |r| r as i32))
        };
        ranks.iter().map(translate).collect()
    }

    fn checked(&self, rank: i32) -> Result<usize> {
        match usize::try_from(rank) {
            Ok(index) if index < self.size() => Ok(index),
            _ => fail!(
                Rank,
                "rank {rank} is not in 0..{} of the group",
                self.size()
            ),
        }
    }

    /// Marks the named ranks, each once.
    fn marked(&self, ranks: &[i32]) -> Result<Vec<bool>> {
        let mut mark = vec![false; self.size()];
        for &rank in ranks {
            let index = self.checked(rank)?;
            if std::mem::replace(&mut mark[index], true) {
                fail!(Rank, "rank {rank} is named twice");
            }
        }
        Ok(mark)
    }

    /// The members with these ranks, in this order.
    pub fn include(&self, ranks: &[i32]) -> Result<Vec<PeerId>> {
        self.marked(ranks)?;
        Ok(ranks.iter().map(|&r| self.members[r as usize]).collect())
    }

    /// The members without these ranks.
    pub fn exclude(&self, ranks: &[i32]) -> Result<Vec<PeerId>> {
        let mark = self.marked(ranks)?;
        Ok(self.keep(|rank, _| !mark[rank]))
    }

    fn keep(&self, wanted: impl Fn(usize, PeerId) -> bool) -> Vec<PeerId> {
        let members = self.members.iter().enumerate();
        members
            .filter(|&(r, &p)| wanted(r, p))
            .map(|(_, &p)| p)
            .collect()
    }

    /// The ranks that (first, last, stride) triplets name (MPI-5.0 §7.3.2).
    pub fn ranges(&self, triplets: &[[i32; 3]]) -> Result<Vec<i32>> {
        let mut ranks = Vec::new();
        for &[first, last, stride] in triplets {
            if stride == 0 {
                fail!(Arg, "range ({first}, {last}, {stride}) has no stride");
            }
            if (last > first && stride < 0) || (last < first && stride > 0) {
                fail!(
                    Arg,
                    "range ({first}, {last}, {stride}) never reaches its end"
                );
            }
            let (first, last, stride) = (i64::from(first), i64::from(last), i64::from(stride));
            let steps = (last - first) / stride;
            // The ends first, so that a wild range costs nothing.
            self.checked(first as i32)?;
            self.checked((first + steps * stride) as i32)?;
            ranks.extend((0..=steps).map(|i| (first + i * stride) as i32));
        }
        Ok(ranks)
    }

    /// All of this group, then those of the other that are not in it.
    pub fn union(&self, other: &Group) -> Vec<PeerId> {
        let ranks = Ranks::new(self, other.size());
        let mut members = self.members.clone();
        members.extend(other.keep(|_, p| ranks.of(p).is_none()));
        members
    }

    /// Those of this group that are (`inside`) or are not in the other: intersection and difference.
    pub fn select(&self, other: &Group, inside: bool) -> Vec<PeerId> {
        let ranks = Ranks::new(other, self.size());
        self.keep(|_, p| ranks.of(p).is_some() == inside)
    }
}

/// Ranks by process, for a number of look-ups known beforehand.
pub struct Ranks<'a> {
    group: &'a Group,
    map: Option<HashMap<PeerId, u32>>,
}

impl<'a> Ranks<'a> {
    /// A few look-ups search; many build a map first.
    pub fn new(group: &'a Group, lookups: usize) -> Ranks<'a> {
        let ordered = || {
            group
                .members
                .iter()
                .enumerate()
                .all(|(r, p)| p.0 as usize == r)
        };
        let map = if lookups.saturating_mul(group.size()) <= 4096 || ordered() {
            None
        } else {
            let ranks = group.members.iter().enumerate();
            Some(ranks.map(|(r, &p)| (p, r as u32)).collect())
        };
        Ranks { group, map }
    }

    /// The rank of a process.
    pub fn of(&self, process: PeerId) -> Option<u32> {
        // Groups like MPI_COMM_WORLD's are ordered by process.
        if self.group.members.get(process.0 as usize) == Some(&process) {
            return Some(process.0);
        }
        match &self.map {
            Some(map) => map.get(&process).copied(),
            None => {
                let position = self.group.members.iter().position(|&p| p == process);
                position.map(|r| r as u32)
            }
        }
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

    /// A handle for a new group of these processes.
    pub fn create(&mut self, members: Vec<PeerId>) -> GroupId {
        let group = Group::new(members, self.me);
        self.handle(group)
    }

    /// Frees a handle. MPI_GROUP_EMPTY may be freed as often as calls returned it; it stays.
    pub fn free(&mut self, id: GroupId) -> Result<()> {
        self.get(id)?;
        if id != handle::GROUP_EMPTY {
            self.table.remove(id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Class;

    fn group(members: &[u32]) -> Arc<Group> {
        Group::new(members.iter().map(|&p| PeerId(p)).collect(), PeerId(3))
    }

    fn numbers(members: Vec<PeerId>) -> Vec<u32> {
        members.into_iter().map(|p| p.0).collect()
    }

    #[test]
    fn compares() {
        let a = group(&[0, 1, 2, 3]);
        assert_eq!(a.me, Some(3));
        assert_eq!(a.compare(&group(&[0, 1, 2, 3])), IDENT);
        assert_eq!(a.compare(&group(&[3, 2, 1, 0])), SIMILAR);
        assert_eq!(a.compare(&group(&[0, 1, 2, 4])), UNEQUAL);
        assert_eq!(a.compare(&group(&[0, 1, 2])), UNEQUAL);
        assert_eq!(group(&[]).compare(&group(&[])), IDENT);
    }

    #[test]
    fn translates_in_small_and_large_groups() {
        let a = group(&[5, 3, 9]);
        let b = group(&[9, 1, 5]);
        assert_eq!(
            a.translate(&[0, 1, 2, PROC_NULL], &b).unwrap(),
            [2, UNDEFINED, 0, PROC_NULL]
        );
        assert_eq!(a.translate(&[3], &b).unwrap_err().class, Class::Rank);
        assert_eq!(a.translate(&[-1], &b).unwrap_err().class, Class::Rank);
        let backward: Vec<u32> = (0..500).rev().collect();
        let (large, world) = (group(&backward), group(&(0..400).collect::<Vec<_>>()));
        let ranks: Vec<i32> = (0..500).collect();
        let there = large.translate(&ranks, &world).unwrap();
        assert!((0..500).all(|r| there[r] == if r < 100 { UNDEFINED } else { 499 - r as i32 }));
        let back = world.translate(&ranks[..400], &large).unwrap();
        assert!((0..400).all(|r| back[r] == 499 - r as i32));
    }

    #[test]
    fn includes_and_excludes() {
        let a = group(&[10, 11, 12, 13]);
        assert_eq!(numbers(a.include(&[3, 0]).unwrap()), [13, 10]);
        assert_eq!(numbers(a.exclude(&[3, 0]).unwrap()), [11, 12]);
        for wrong in [&[0, 0][..], &[4], &[-3]] {
            assert_eq!(a.include(wrong).unwrap_err().class, Class::Rank);
            assert_eq!(a.exclude(wrong).unwrap_err().class, Class::Rank);
        }
    }

    #[test]
    fn ranges_go_both_ways() {
        let a = group(&(0..10).collect::<Vec<_>>());
        assert_eq!(a.ranges(&[[0, 5, 2], [9, 6, -3]]).unwrap(), [0, 2, 4, 9, 6]);
        assert_eq!(a.ranges(&[[0, 10, 3]]).unwrap(), [0, 3, 6, 9]);
        assert_eq!(a.ranges(&[[4, 4, -7]]).unwrap(), [4]);
        assert_eq!(a.ranges(&[[0, 5, 0]]).unwrap_err().class, Class::Arg);
        assert_eq!(a.ranges(&[[0, 5, -1]]).unwrap_err().class, Class::Arg);
        assert_eq!(
            a.ranges(&[[0, i32::MAX, 1]]).unwrap_err().class,
            Class::Rank
        );
        assert_eq!(
            a.ranges(&[[i32::MIN, i32::MAX, 1]]).unwrap_err().class,
            Class::Rank
        );
    }

    #[test]
    fn set_operations_keep_order() {
        let (a, b) = (group(&[4, 2, 6]), group(&[6, 7, 4, 1]));
        assert_eq!(numbers(a.union(&b)), [4, 2, 6, 7, 1]);
        assert_eq!(numbers(a.select(&b, true)), [4, 6]);
        assert_eq!(numbers(a.select(&b, false)), [2]);
    }

    #[test]
    fn handles() {
        let mut groups = Groups::new(PeerId(0));
        assert_eq!(groups.create(Vec::new()), handle::GROUP_EMPTY);
        assert!(
            groups.free(handle::GROUP_EMPTY).is_ok() && groups.get(handle::GROUP_EMPTY).is_ok()
        );
        assert_eq!(
            groups.free(handle::GROUP_NULL).unwrap_err().class,
            Class::Group
        );
        let id = groups.create(vec![PeerId(0)]);
        assert!(groups.free(id).is_ok() && groups.free(id).is_err());
    }
}
