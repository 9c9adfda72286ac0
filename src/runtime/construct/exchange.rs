//! How constructors talk: within a communicator by collectives, to another group's leader by messages of their own.

use crate::base::constant::handle;
use crate::base::error::Result;
use crate::base::id::{CommId, PeerId};
use crate::engine::{Data, Pattern, Started};
use crate::fail;
use crate::mpi::comm::CONSTRUCTION;
use crate::mpi::group::Group;
use crate::runtime::{calls, Runtime};
use std::sync::Arc;

/// What constructors ask of a communicator.
pub(super) struct View {
    pub(super) group: Arc<Group>,
    pub(super) remote: Option<Arc<Group>>,
    pub(super) local: Option<CommId>,
    pub(super) context: u64,
    pub(super) rank: u32,
}

pub(super) fn view(rt: &Runtime, comm: CommId) -> Result<View> {
    rt.with(|w| {
        let comm = w.comms.get(comm)?;
        Ok(View {
            group: comm.group.clone(),
            remote: comm.remote.clone(),
            local: comm.local,
            context: comm.context,
            rank: comm.rank,
        })
    })
}

/// Everyone's `mine`, by rank; all are equally long.
pub(super) fn gather(rt: &Runtime, comm: CommId, size: usize, mine: &[u8]) -> Result<Vec<u8>> {
    let mut all = vec![0u8; size * mine.len()];
    let count = mine.len() as i64;
    let send = mine.as_ptr().cast_mut();
    calls::allgather(
        rt,
        send,
        count,
        handle::BYTE,
        all.as_mut_ptr(),
        count,
        handle::BYTE,
        comm,
    )?;
    Ok(all)
}

/// The root's bytes, everywhere.
pub(super) fn share(rt: &Runtime, comm: CommId, root: i32, bytes: &mut Vec<u8>) -> Result<()> {
    let mut length = (bytes.len() as u64).to_le_bytes();
    calls::bcast(rt, length.as_mut_ptr(), 8, handle::BYTE, root, comm)?;
    bytes.resize(u64::from_le_bytes(length) as usize, 0);
    calls::bcast(
        rt,
        bytes.as_mut_ptr(),
        bytes.len() as i64,
        handle::BYTE,
        root,
        comm,
    )
}

/// Where a construction message goes.
pub(super) struct Route {
    pub(super) peer: PeerId,
    pub(super) context: u64,
    pub(super) me: u32,
    pub(super) them: u32,
    pub(super) tag: i32,
}

pub(super) fn post(rt: &Runtime, route: &Route, bytes: &[u8]) -> Result<Started> {
    let data = Data::dense(bytes.as_ptr().cast_mut(), bytes.len());
    rt.with(|w| {
        Ok(w.engine()?.send(
            data,
            route.peer,
            route.context,
            route.me,
            route.tag,
            false,
            false,
        ))
    })
}

pub(super) fn end(rt: &Runtime, started: Started) -> Result<()> {
    if let Started::Pending(ticket) = started {
        let outcome = rt.wait_ticket(ticket)?;
        if let crate::engine::End::Lost(peer) = outcome.end {
            fail!(ProcAborted, "rank {} of MPI_COMM_WORLD is gone", peer.0);
        }
    }
    Ok(())
}

pub(super) fn fetch(rt: &Runtime, route: &Route) -> Result<Vec<u8>> {
    let pattern = Pattern {
        source: Some(route.them),
        tag: Some(route.tag),
    };
    let status = rt.until(|w| w.look(route.context, pattern, Some(route.peer)))?;
    let mut bytes = vec![0u8; status.bytes as usize];
    let data = Data::dense(bytes.as_mut_ptr(), bytes.len());
    let started = rt.with(|w| {
        Ok(w.engine()?
            .receive(data, route.context, pattern, Some(route.peer)))
    })?;
    end(rt, started)?;
    Ok(bytes)
}

/// Both sides' bytes change hands.
pub(super) fn swap(rt: &Runtime, route: &Route, mine: &[u8]) -> Result<Vec<u8>> {
    let sent = post(rt, route, mine)?;
    let theirs = fetch(rt, route)?;
    end(rt, sent)?;
    Ok(theirs)
}

/// The leaders (ranks 0) of both groups of an inter-communicator swap `mine`; everyone gets (ours, theirs).
pub(super) fn swap_groups(rt: &Runtime, view: &View, mine: Vec<u8>) -> Result<(Vec<u8>, Vec<u8>)> {
    let (Some(local), Some(remote)) = (view.local, &view.remote) else {
        fail!(Comm, "the communicator is not an inter-communicator");
    };
    let (mut ours, mut theirs) = (mine, Vec::new());
    if view.rank == 0 {
        let Some(&peer) = remote.members.first() else {
            fail!(Comm, "the remote group is empty")
        };
        let route = Route {
            peer,
            context: view.context + CONSTRUCTION,
            me: 0,
            them: 0,
            tag: 0,
        };
        theirs = swap(rt, &route, &ours)?;
    }
    share(rt, local, 0, &mut ours)?;
    share(rt, local, 0, &mut theirs)?;
    Ok((ours, theirs))
}

pub(super) fn number(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0u8; 8];
    if let Some(found) = bytes.get(at..at + 8) {
        word.copy_from_slice(found);
    }
    u64::from_le_bytes(word)
}

pub(super) fn small(bytes: &[u8], at: usize) -> i32 {
    let mut word = [0u8; 4];
    if let Some(found) = bytes.get(at..at + 4) {
        word.copy_from_slice(found);
    }
    i32::from_le_bytes(word)
}

pub(super) fn pack_group(group: &Group, context: u64) -> Vec<u8> {
    let mut bytes = context.to_le_bytes().to_vec();
    for member in &group.members {
        bytes.extend_from_slice(&member.0.to_le_bytes());
    }
    bytes
}

pub(super) fn unpack_group(rt: &Runtime, bytes: &[u8]) -> Result<(u64, Arc<Group>)> {
    let words = bytes.get(8..).unwrap_or(&[]).chunks_exact(4);
    let members: Vec<PeerId> = words.map(|c| PeerId(small(c, 0) as u32)).collect();
    rt.with(|w| {
        let ranks = w.engine()?.core.peers.len();
        if let Some(peer) = members.iter().find(|p| p.0 as usize >= ranks) {
            fail!(Intern, "a group came with rank {} of {ranks}", peer.0);
        }
        Ok((number(bytes, 0), Group::new(members, w.groups.me)))
    })
}
