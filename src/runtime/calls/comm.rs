//! Communicators (MPI-5.0 §7.4 to §7.6, §7.8).

use crate::base::constant::{
    handle, COMM_TYPE_HW_GUIDED, COMM_TYPE_HW_UNGUIDED, COMM_TYPE_RESOURCE_GUIDED,
    COMM_TYPE_SHARED, CONGRUENT, IDENT, SIMILAR, UNDEFINED, UNEQUAL,
};
use crate::base::error::Result;
use crate::base::id::{CommId, GroupId, InfoId, RequestId};
use crate::base::os;
use crate::fail;
use crate::mpi::attribute::{Attributes, Owner};
use crate::mpi::comm::CHANNELS;
use crate::mpi::group::Group;
use crate::mpi::info::Info;
use crate::mpi::topology::Topology;
use crate::runtime::{calls, construct, Runtime};
use std::hash::{BuildHasher, BuildHasherDefault, Hash};
use std::os::unix::fs::MetadataExt;

/// Processes in the (local) group.
#[inline]
pub fn comm_size(rt: &Runtime, comm: CommId) -> Result<i32> {
    rt.with(|w| Ok(w.comms.get(comm)?.size() as i32))
}

/// This process's rank in it.
#[inline]
pub fn comm_rank(rt: &Runtime, comm: CommId) -> Result<i32> {
    rt.with(|w| Ok(w.comms.get(comm)?.rank as i32))
}

/// Processes in the remote group.
pub fn comm_remote_size(rt: &Runtime, comm: CommId) -> Result<i32> {
    rt.with(|w| match &w.comms.get(comm)?.remote {
        Some(group) => Ok(group.size() as i32),
        None => fail!(Comm, "the communicator is not an inter-communicator"),
    })
}

/// Is it an inter-communicator?
pub fn comm_test_inter(rt: &Runtime, comm: CommId) -> Result<bool> {
    rt.with(|w| Ok(w.comms.get(comm)?.is_inter()))
}

fn alike(a: &Group, b: &Group) -> i32 {
    if a.members == b.members {
        return CONGRUENT;
    }
    let sorted = |g: &Group| {
        let mut members = g.members.clone();
        members.sort_unstable();
        members
    };
    if sorted(a) == sorted(b) {
        SIMILAR
    } else {
        UNEQUAL
    }
}

/// IDENT, CONGRUENT, SIMILAR or UNEQUAL.
pub fn comm_compare(rt: &Runtime, first: CommId, second: CommId) -> Result<i32> {
    rt.with(|w| {
        let (a, b) = (w.comms.get(first)?, w.comms.get(second)?);
        if first == second {
            return Ok(IDENT);
        }
        Ok(match (&a.remote, &b.remote) {
            (None, None) => alike(&a.group, &b.group),
            (Some(x), Some(y)) => alike(&a.group, &b.group).max(alike(x, y)),
            _ => UNEQUAL,
        })
    })
}

/// Attributes that their copy functions want copied, and the topology.
fn copied(rt: &Runtime, comm: CommId) -> Result<(Attributes, Option<Topology>)> {
    let (attributes, topology) = rt.with(|w| {
        let comm = w.comms.get(comm)?;
        Ok((comm.attributes.clone(), comm.topology.clone()))
    })?;
    Ok((calls::copy_all(rt, &attributes, comm.0)?, topology))
}

/// A copy with those attributes that their copy functions want copied.
pub fn comm_dup(rt: &Runtime, comm: CommId) -> Result<CommId> {
    let (attributes, topology) = copied(rt, comm)?;
    construct::dup(rt, comm, attributes, topology)
}

/// The same with hints.
pub fn comm_dup_with_info(rt: &Runtime, comm: CommId, info: InfoId) -> Result<CommId> {
    let hints = known(rt.with(|w| w.infos.hints(info))?);
    let new = comm_dup(rt, comm)?;
    rt.with(|w| w.comms.get_mut(new).map(|c| c.info = hints))?;
    Ok(new)
}

/// A copy that is ready when the request is complete.
pub fn comm_idup(rt: &Runtime, comm: CommId) -> Result<(CommId, RequestId)> {
    let (attributes, topology) = copied(rt, comm)?;
    construct::idup(rt, comm, attributes, topology)
}

/// The same with hints.
pub fn comm_idup_with_info(
    rt: &Runtime,
    comm: CommId,
    info: InfoId,
) -> Result<(CommId, RequestId)> {
    let hints = known(rt.with(|w| w.infos.hints(info))?);
    let (new, request) = comm_idup(rt, comm)?;
    rt.with(|w| w.comms.get_mut(new).map(|c| c.info = hints))?;
    Ok((new, request))
}

/// A new communicator of a group's members; everyone of `comm` calls.
pub fn comm_create(rt: &Runtime, comm: CommId, group: GroupId) -> Result<CommId> {
    let group = rt.with(|w| w.groups.get(group).cloned())?;
    construct::create(rt, comm, group)
}

/// The same; only the members call.
pub fn comm_create_group(rt: &Runtime, comm: CommId, group: GroupId, tag: i32) -> Result<CommId> {
    if tag < 0 {
        fail!(Tag, "the tag is {tag}, which is negative");
    }
    if comm_test_inter(rt, comm)? {
        fail!(Comm, "the communicator is an inter-communicator");
    }
    let group = rt.with(|w| w.groups.get(group).cloned())?;
    construct::create_group(rt, comm, group, tag)
}

/// Parts of a communicator by color, ordered by key.
pub fn comm_split(rt: &Runtime, comm: CommId, color: i32, key: i32) -> Result<CommId> {
    if color < 0 && color != UNDEFINED {
        fail!(
            Arg,
            "the color is {color}; it must be MPI_UNDEFINED or not negative"
        );
    }
    construct::split(rt, comm, (color != UNDEFINED).then_some(color), key)
}

/// A number that ranks have in common exactly when they share a host. Two sandboxes on one machine are two hosts: they
/// see nothing of each other's memory. Nor does a name or a boot id do alone: microVMs resumed from one snapshot have
/// both in common.
fn host(rt: &Runtime) -> u64 {
    let name = calls::get_processor_name(rt).unwrap_or_default();
    hash((name, os::boot(), os::namespace("pid")))
}

fn hash(value: impl Hash) -> u64 {
    BuildHasherDefault::<crate::engine::matching::Fold>::default().hash_one(value)
}

/// The hint by which programs for MPICH ask for those who reach one directory. MPICH 4 has a split type of its own for
/// that, MPIX_COMM_TYPE_NEIGHBORHOOD, with the number that MPICH 5 gave to MPI_COMM_TYPE_RESOURCE_GUIDED.
const DIRECTORY: &str = "nbhd_common_dirname";

/// A number that ranks have in common when they reach the same directory; none if there is no such directory.
fn directory(rt: &Runtime, name: &str) -> Option<u64> {
    let found = std::fs::metadata(name).ok().filter(|m| m.is_dir())?;
    Some(hash((host(rt), found.dev(), found.ino())))
}

/// Parts of a communicator by what their processes share (MPI-5.0 §7.4.2).
pub fn comm_split_type(
    rt: &Runtime,
    comm: CommId,
    kind: i32,
    key: i32,
    info: InfoId,
) -> Result<CommId> {
    let hints = rt.with(|w| w.infos.hints(info))?;
    let place = match kind {
        COMM_TYPE_SHARED => Some(host(rt)),
        COMM_TYPE_RESOURCE_GUIDED => hints.get(DIRECTORY).and_then(|name| directory(rt, name)),
        // No hardware below the host is told apart: nothing is a proper part, which these answer with COMM_NULL.
        COMM_TYPE_HW_UNGUIDED | COMM_TYPE_HW_GUIDED | UNDEFINED => None,
        _ => fail!(
            Arg,
            "the split type is {kind}, which is none that MPI knows"
        ),
    };
    let color = construct::color_of(rt, comm, place.unwrap_or(0))?;
    construct::split(rt, comm, place.map(|_| color), key)
}

/// Frees it; what is under way still ends. The attributes' delete functions run first.
pub fn comm_free(rt: &Runtime, comm: CommId) -> Result<()> {
    if comm == handle::COMM_WORLD || comm == handle::COMM_SELF {
        fail!(Comm, "a predefined communicator cannot be freed");
    }
    calls::delete_from(rt, Owner::Comm(comm))?;
    rt.with(|w| {
        let Some(gone) = w.comms.table.remove(comm) else {
            fail!(Comm, "freed by its own attribute's function")
        };
        let hidden = gone.local.and_then(|local| w.comms.table.remove(local));
        for gone in [Some(gone), hidden].into_iter().flatten() {
            w.errhandlers.release(gone.errhandler);
            if let Some(engine) = &mut w.engine {
                (0..CHANNELS).for_each(|channel| engine.drop_context(gone.context + channel));
            }
            w.leave_boards(*gone);
        }
        Ok(())
    })
}

/// Frees it once everything on it is over.
pub fn comm_disconnect(rt: &Runtime, comm: CommId) -> Result<()> {
    if comm != handle::COMM_WORLD && comm != handle::COMM_SELF {
        calls::barrier(rt, comm)?;
    }
    comm_free(rt, comm)
}

/// The name given to it.
pub fn comm_get_name(rt: &Runtime, comm: CommId) -> Result<String> {
    if comm == handle::COMM_NULL {
        return Ok("MPI_COMM_NULL".to_string());
    }
    rt.with(|w| Ok(w.comms.get(comm)?.name.clone()))
}

/// Names it.
pub fn comm_set_name(rt: &Runtime, comm: CommId, name: &str) -> Result<()> {
    rt.with(|w| w.comms.get_mut(comm).map(|c| c.name = name.to_string()))
}

/// The hints that mean something here (MPI-5.0 §7.4.4); others are ignored.
fn known(mut info: Info) -> Info {
    const KEYS: [&str; 4] = [
        "mpi_assert_no_any_tag",
        "mpi_assert_no_any_source",
        "mpi_assert_exact_length",
        "mpi_assert_allow_overtaking",
    ];
    info.pairs.retain(|(key, _)| KEYS.contains(&key.as_str()));
    info
}

/// Sets hints; what is not given stays.
pub fn comm_set_info(rt: &Runtime, comm: CommId, info: InfoId) -> Result<()> {
    rt.with(|w| {
        let hints = known(w.infos.hints(info)?);
        let comm = w.comms.get_mut(comm)?;
        for (key, value) in hints.pairs {
            match comm.info.pairs.iter_mut().find(|(k, _)| *k == key) {
                Some(pair) => pair.1 = value,
                None => comm.info.pairs.push((key, value)),
            }
        }
        Ok(())
    })
}

/// A new info object with the hints.
pub fn comm_get_info(rt: &Runtime, comm: CommId) -> Result<InfoId> {
    rt.with(|w| {
        let info = w.comms.get(comm)?.info.clone();
        Ok(w.infos.table.insert(info))
    })
}

/// An inter-communicator of two groups.
pub fn intercomm_create(
    rt: &Runtime,
    local: CommId,
    leader: i32,
    peer: CommId,
    remote_leader: i32,
    tag: i32,
) -> Result<CommId> {
    construct::intercomm(rt, local, leader, peer, remote_leader, tag)
}

/// Both groups of an inter-communicator as one.
pub fn intercomm_merge(rt: &Runtime, comm: CommId, high: bool) -> Result<CommId> {
    construct::merge(rt, comm, high)
}

/// The parent of a spawned process: none, processes are not spawned yet.
pub fn comm_get_parent(_rt: &Runtime) -> Result<CommId> {
    Ok(handle::COMM_NULL)
}
