//! Making and merging inter-communicators (MPI-5.0 §7.6.2).

use super::exchange::{number, pack_group, share, swap, swap_groups, unpack_group, view, Route};
use super::{dup_plain, install, new_context, Parts};
use crate::base::error::Result;
use crate::base::id::CommId;
use crate::fail;
use crate::mpi::comm::CONSTRUCTION;
use crate::mpi::group::Group;
use crate::runtime::Runtime;

/// The way to the other group's leader.
fn bridge(rt: &Runtime, peer_comm: CommId, remote_leader: i32, tag: i32) -> Result<Route> {
    let bridge = view(rt, peer_comm)?;
    let targets = bridge.remote.as_ref().unwrap_or(&bridge.group);
    match targets.members.get(remote_leader as usize) {
        Some(&peer) if remote_leader >= 0 => Ok(Route {
            peer,
            context: bridge.context + CONSTRUCTION,
            me: bridge.rank,
            them: remote_leader as u32,
            tag,
        }),
        _ => fail!(
            Rank,
            "the remote leader {remote_leader} is not in 0..{}",
            targets.size()
        ),
    }
}

/// MPI_Intercomm_create.
pub fn intercomm(
    rt: &Runtime,
    local: CommId,
    leader: i32,
    peer_comm: CommId,
    remote_leader: i32,
    tag: i32,
) -> Result<CommId> {
    let seen = view(rt, local)?;
    if seen.remote.is_some() {
        fail!(Comm, "the local communicator is an inter-communicator");
    }
    if leader < 0 || leader as usize >= seen.group.size() {
        fail!(
            Rank,
            "the local leader {leader} is not in 0..{} of the local communicator",
            seen.group.size()
        );
    }
    let (mut ours, mut theirs) = (pack_group(&seen.group, new_context(rt)), Vec::new());
    let mut trouble = Ok(());
    if seen.rank == leader as u32 {
        match bridge(rt, peer_comm, remote_leader, tag).and_then(|route| swap(rt, &route, &ours)) {
            Ok(bytes) => theirs = bytes,
            // The others of the group wait to be told.
            Err(error) => trouble = Err(error),
        }
    }
    share(rt, local, leader, &mut ours)?;
    share(rt, local, leader, &mut theirs)?;
    trouble?;
    if theirs.is_empty() {
        fail!(Comm, "the local leader could not reach the remote one");
    }
    let (our_context, _) = unpack_group(rt, &ours)?;
    let (their_context, other) = unpack_group(rt, &theirs)?;
    if let Some(both) = other
        .members
        .iter()
        .find(|m| seen.group.members.contains(m))
    {
        fail!(Comm, "rank {} of MPI_COMM_WORLD is in both groups", both.0);
    }
    let hidden = dup_plain(rt, local)?;
    let context = our_context.min(their_context);
    install(
        rt,
        local,
        Parts {
            remote: Some((other, hidden)),
            ..Parts::intra(context, seen.group)
        },
    )
}

/// MPI_Intercomm_merge: the group that passes `high` comes second; equal ones in the order of their contexts.
pub fn merge(rt: &Runtime, comm: CommId, high: bool) -> Result<CommId> {
    let seen = view(rt, comm)?;
    let Some(remote) = seen.remote.clone() else {
        fail!(Comm, "the communicator is not an inter-communicator")
    };
    let mut mine = new_context(rt).to_le_bytes().to_vec();
    mine.push(u8::from(high));
    let (ours, theirs) = swap_groups(rt, &seen, mine)?;
    let rank = |bytes: &[u8]| (bytes.get(8).copied().unwrap_or(0), number(bytes, 0));
    let (first, second, context) = if rank(&ours) < rank(&theirs) {
        (&seen.group, &remote, number(&ours, 0))
    } else {
        (&remote, &seen.group, number(&theirs, 0))
    };
    let members = first
        .members
        .iter()
        .chain(&second.members)
        .copied()
        .collect();
    let me = rt.with(|w| w.groups.me);
    install(rt, comm, Parts::intra(context, Group::new(members, me)))
}
