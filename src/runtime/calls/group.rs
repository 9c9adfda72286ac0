//! Groups (MPI-5.0 §7.3), and the groups of communicators (§7.3.2, §7.6.1).

use crate::base::constant::UNDEFINED;
use crate::base::error::Result;
use crate::base::id::{CommId, GroupId, PeerId};
use crate::fail;
use crate::mpi::group::Group;
use crate::runtime::Runtime;

pub fn group_size(rt: &Runtime, group: GroupId) -> Result<i32> {
    rt.with(|w| Ok(w.groups.get(group)?.size() as i32))
}

/// This process's rank, or MPI_UNDEFINED.
pub fn group_rank(rt: &Runtime, group: GroupId) -> Result<i32> {
    rt.with(|w| Ok(w.groups.get(group)?.me.map_or(UNDEFINED, |r| r as i32)))
}

pub fn group_translate_ranks(
    rt: &Runtime,
    group1: GroupId,
    ranks1: &[i32],
    group2: GroupId,
) -> Result<Vec<i32>> {
    rt.with(|w| {
        w.groups
            .get(group1)?
            .translate(ranks1, w.groups.get(group2)?)
    })
}

/// MPI_IDENT, MPI_SIMILAR or MPI_UNEQUAL.
pub fn group_compare(rt: &Runtime, group1: GroupId, group2: GroupId) -> Result<i32> {
    rt.with(|w| Ok(w.groups.get(group1)?.compare(w.groups.get(group2)?)))
}

fn of_two(
    rt: &Runtime,
    group1: GroupId,
    group2: GroupId,
    members: impl FnOnce(&Group, &Group) -> Vec<PeerId>,
) -> Result<GroupId> {
    rt.with(|w| {
        let members = members(w.groups.get(group1)?, w.groups.get(group2)?);
        Ok(w.groups.create(members))
    })
}

fn of_one(
    rt: &Runtime,
    group: GroupId,
    members: impl FnOnce(&Group) -> Result<Vec<PeerId>>,
) -> Result<GroupId> {
    rt.with(|w| {
        let members = members(w.groups.get(group)?)?;
        Ok(w.groups.create(members))
    })
}

pub fn group_union(rt: &Runtime, group1: GroupId, group2: GroupId) -> Result<GroupId> {
    of_two(rt, group1, group2, |a, b| a.union(b))
}

pub fn group_intersection(rt: &Runtime, group1: GroupId, group2: GroupId) -> Result<GroupId> {
    of_two(rt, group1, group2, |a, b| a.select(b, true))
}

pub fn group_difference(rt: &Runtime, group1: GroupId, group2: GroupId) -> Result<GroupId> {
    of_two(rt, group1, group2, |a, b| a.select(b, false))
}

pub fn group_incl(rt: &Runtime, group: GroupId, ranks: &[i32]) -> Result<GroupId> {
    of_one(rt, group, |g| g.include(ranks))
}

pub fn group_excl(rt: &Runtime, group: GroupId, ranks: &[i32]) -> Result<GroupId> {
    of_one(rt, group, |g| g.exclude(ranks))
}

/// `ranges`: (first rank, last rank, stride) each.
pub fn group_range_incl(rt: &Runtime, group: GroupId, ranges: &[[i32; 3]]) -> Result<GroupId> {
    of_one(rt, group, |g| g.include(&g.ranges(ranges)?))
}

/// `ranges`: (first rank, last rank, stride) each.
pub fn group_range_excl(rt: &Runtime, group: GroupId, ranges: &[[i32; 3]]) -> Result<GroupId> {
    of_one(rt, group, |g| g.exclude(&g.ranges(ranges)?))
}

pub fn group_free(rt: &Runtime, group: GroupId) -> Result<()> {
    rt.with(|w| w.groups.free(group))
}

/// The (local) group of a communicator.
pub fn comm_group(rt: &Runtime, comm: CommId) -> Result<GroupId> {
    rt.with(|w| {
        let group = w.comms.get(comm)?.group.clone();
        Ok(w.groups.handle(group))
    })
}

/// The remote group of an inter-communicator.
///
/// # Errors
/// `Comm`: an intra-communicator.
pub fn comm_remote_group(rt: &Runtime, comm: CommId) -> Result<GroupId> {
    rt.with(|w| match w.comms.get(comm)?.remote.clone() {
        Some(group) => Ok(w.groups.handle(group)),
        None => fail!(
            Comm,
            "communicator {:#x} is not an inter-communicator",
            comm.0
        ),
    })
}
