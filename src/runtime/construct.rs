//! Making communicators (MPI-5.0 §7.4.2, §7.6.2): agreeing on members and on a context id.
//!
//! A context id is a number that some member gives out of its own range; all a constructor has to do is to make every
//! member learn the same one.

use crate::base::constant::{handle, UNDEFINED};
use crate::base::error::Result;
use crate::base::id::{CommId, PeerId, RequestId};
use crate::engine::{Data, Pattern, Started};
use crate::fail;
use crate::mpi::attribute::Attributes;
use crate::mpi::collective::schedule::{Data as Piece, Rank};
use crate::mpi::collective::{tree, Call};
use crate::mpi::comm::{Comm, CONSTRUCTION};
use crate::mpi::group::Group;
use crate::mpi::info::Info;
use crate::mpi::progress::{Then, Words};
use crate::mpi::topology::Topology;
use crate::runtime::{calls, Runtime};
use std::sync::Arc;

/// What a new communicator is made of.
pub struct Parts {
    pub context: u64,
    pub group: Arc<Group>,
    /// Of an inter-communicator: the remote group and the hidden local communicator.
    pub remote: Option<(Arc<Group>, CommId)>,
    pub attributes: Attributes,
    pub topology: Option<Topology>,
}

impl Parts {
    /// A plain intra-communicator.
    pub fn intra(context: u64, group: Arc<Group>) -> Parts {
        Parts {
            context,
            group,
            remote: None,
            attributes: Attributes::default(),
            topology: None,
        }
    }
}

/// Enters a new communicator, with the error handler of the one it comes from.
pub fn install(rt: &Runtime, from: CommId, parts: Parts) -> Result<CommId> {
    rt.with(|w| {
        let errhandler = w.comms.get(from)?.errhandler;
        w.errhandlers.hold(errhandler);
        let (remote, local) = parts
            .remote
            .map_or((None, None), |(group, local)| (Some(group), Some(local)));
        let local_context = match local {
            Some(local) => w.comms.get(local)?.context,
            None => parts.context,
        };
        let comm = Comm {
            context: parts.context,
            rank: parts.group.me.unwrap_or(0),
            group: parts.group,
            remote,
            local,
            local_context,
            collectives: 0,
            attributes: parts.attributes,
            topology: parts.topology,
            name: String::new(),
            errhandler,
            info: Info::default(),
        };
        let id = w.comms.table.insert(Box::new(comm));
        if let Some(engine) = &mut w.engine {
            for peer in engine.core.lost.clone() {
                w.comms.bereave(engine, peer);
            }
        }
        Ok(id)
    })
}

fn new_context(rt: &Runtime) -> u64 {
    rt.with(|w| {
        let me = w.groups.me;
        w.comms.new_context(me)
    })
}

/// What constructors ask of a communicator.
struct View {
    group: Arc<Group>,
    remote: Option<Arc<Group>>,
    local: Option<CommId>,
    context: u64,
    rank: u32,
}

fn view(rt: &Runtime, comm: CommId) -> Result<View> {
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
fn gather(rt: &Runtime, comm: CommId, size: usize, mine: &[u8]) -> Result<Vec<u8>> {
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
fn share(rt: &Runtime, comm: CommId, root: i32, bytes: &mut Vec<u8>) -> Result<()> {
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
struct Route {
    peer: PeerId,
    context: u64,
    me: u32,
    them: u32,
    tag: i32,
}

fn post(rt: &Runtime, route: &Route, bytes: &[u8]) -> Result<Started> {
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

fn end(rt: &Runtime, started: Started) -> Result<()> {
    if let Started::Pending(ticket) = started {
        let outcome = rt.wait_ticket(ticket)?;
        if let crate::engine::End::Lost(peer) = outcome.end {
            fail!(ProcAborted, "rank {} of MPI_COMM_WORLD is gone", peer.0);
        }
    }
    Ok(())
}

fn fetch(rt: &Runtime, route: &Route) -> Result<Vec<u8>> {
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
fn swap(rt: &Runtime, route: &Route, mine: &[u8]) -> Result<Vec<u8>> {
    let sent = post(rt, route, mine)?;
    let theirs = fetch(rt, route)?;
    end(rt, sent)?;
    Ok(theirs)
}

/// The leaders (ranks 0) of both groups of an inter-communicator swap `mine`; everyone gets (ours, theirs).
fn swap_groups(rt: &Runtime, view: &View, mine: Vec<u8>) -> Result<(Vec<u8>, Vec<u8>)> {
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

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0u8; 8];
    if let Some(found) = bytes.get(at..at + 8) {
        word.copy_from_slice(found);
    }
    u64::from_le_bytes(word)
}

fn small(bytes: &[u8], at: usize) -> i32 {
    let mut word = [0u8; 4];
    if let Some(found) = bytes.get(at..at + 4) {
        word.copy_from_slice(found);
    }
    i32::from_le_bytes(word)
}

fn pack_group(group: &Group, context: u64) -> Vec<u8> {
    let mut bytes = context.to_le_bytes().to_vec();
    for member in &group.members {
        bytes.extend_from_slice(&member.0.to_le_bytes());
    }
    bytes
}

fn unpack_group(rt: &Runtime, bytes: &[u8]) -> Result<(u64, Arc<Group>)> {
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

/// A color that those have in common, and only those, who name the same `place`.
pub fn color_of(rt: &Runtime, comm: CommId, place: u64) -> Result<i32> {
    let seen = view(rt, comm)?;
    let mine = place.to_le_bytes().to_vec();
    let local = seen.local.unwrap_or(comm);
    let mut all = gather(rt, local, seen.group.size(), &mine)?;
    if let Some(remote) = &seen.remote {
        let (ours, theirs) = swap_groups(rt, &seen, all)?;
        // The same order on both sides.
        let ours_first = seen.group.members.first() < remote.members.first();
        all = if ours_first {
            [ours, theirs].concat()
        } else {
            [theirs, ours].concat()
        };
    }
    let first = all.chunks_exact(8).position(|place| place == mine);
    Ok(first.unwrap_or(0) as i32)
}

/// A copy of `comm` with these attributes: same groups, a context of its own.
pub fn dup(
    rt: &Runtime,
    comm: CommId,
    attributes: Attributes,
    topology: Option<Topology>,
) -> Result<CommId> {
    let seen = view(rt, comm)?;
    let mine = new_context(rt);
    let Some(remote) = seen.remote.clone() else {
        let mut word = mine.to_le_bytes();
        calls::bcast(rt, word.as_mut_ptr(), 8, handle::BYTE, 0, comm)?;
        let parts = Parts {
            attributes,
            topology,
            ..Parts::intra(u64::from_le_bytes(word), seen.group)
        };
        return install(rt, comm, parts);
    };
    let (ours, theirs) = swap_groups(rt, &seen, mine.to_le_bytes().to_vec())?;
    let local = dup_plain(rt, seen.local.unwrap_or(comm))?;
    let context = number(&ours, 0).min(number(&theirs, 0));
    install(
        rt,
        comm,
        Parts {
            attributes,
            topology,
            remote: Some((remote, local)),
            ..Parts::intra(context, seen.group)
        },
    )
}

/// A copy without attributes or topology.
pub fn dup_plain(rt: &Runtime, comm: CommId) -> Result<CommId> {
    dup(rt, comm, Attributes::default(), None)
}

/// One row of a split: what a rank asked for.
#[derive(Clone, Copy)]
struct Wish {
    color: i32,
    key: i32,
    context: u64,
    rank: usize,
}

fn wishes(bytes: &[u8]) -> Vec<Wish> {
    let row = |(rank, row): (usize, &[u8])| Wish {
        color: small(row, 0),
        key: small(row, 4),
        context: number(row, 8),
        rank,
    };
    bytes.chunks_exact(16).enumerate().map(row).collect()
}

/// Those of one color in the order of keys, then of old ranks, and the context that the first of them gave.
fn choose(all: &[Wish], color: i32, old: &Group, me: PeerId) -> (Arc<Group>, u64) {
    let mut chosen: Vec<Wish> = all.iter().filter(|w| w.color == color).copied().collect();
    chosen.sort_by_key(|w| (w.key, w.rank));
    let context = chosen.first().map_or(0, |w| w.context);
    (
        Group::new(chosen.iter().map(|w| old.members[w.rank]).collect(), me),
        context,
    )
}

/// MPI_Comm_split; `None` for MPI_UNDEFINED. COMM_NULL for those, and where the other side has nobody of the color.
pub fn split(rt: &Runtime, comm: CommId, color: Option<i32>, key: i32) -> Result<CommId> {
    let seen = view(rt, comm)?;
    let me = rt.with(|w| w.groups.me);
    let mut mine = color.unwrap_or(UNDEFINED).to_le_bytes().to_vec();
    mine.extend_from_slice(&key.to_le_bytes());
    mine.extend_from_slice(&new_context(rt).to_le_bytes());
    let local = seen.local.unwrap_or(comm);
    let table = gather(rt, local, seen.group.size(), &mine)?;
    let Some(remote) = &seen.remote else {
        let Some(color) = color else {
            return Ok(handle::COMM_NULL);
        };
        let (group, context) = choose(&wishes(&table), color, &seen.group, me);
        return install(rt, comm, Parts::intra(context, group));
    };
    let (ours, theirs) = swap_groups(rt, &seen, table)?;
    let hidden = split(rt, local, color, key)?;
    let Some(color) = color else {
        return Ok(handle::COMM_NULL);
    };
    let (group, our_context) = choose(&wishes(&ours), color, &seen.group, me);
    let (other, their_context) = choose(&wishes(&theirs), color, remote, me);
    if other.members.is_empty() {
        forget(rt, hidden);
        return Ok(handle::COMM_NULL);
    }
    let context = our_context.min(their_context);
    install(
        rt,
        comm,
        Parts {
            remote: Some((other, hidden)),
            ..Parts::intra(context, group)
        },
    )
}

/// Removes a communicator that the program never saw.
pub fn forget(rt: &Runtime, comm: CommId) {
    rt.with(|w| {
        if let Some(gone) = w.comms.table.remove(comm) {
            w.errhandlers.release(gone.errhandler);
        }
    });
}

/// MPI_Comm_create: of the members of `group`, which everyone of the communicator passes.
pub fn create(rt: &Runtime, comm: CommId, group: Arc<Group>) -> Result<CommId> {
    let seen = view(rt, comm)?;
    for member in &group.members {
        if !seen.group.members.contains(member) {
            fail!(
                Group,
                "rank {} of MPI_COMM_WORLD is in the group but not in the communicator",
                member.0
            );
        }
    }
    let mine = new_context(rt);
    let Some(_) = &seen.remote else {
        let all = gather(rt, comm, seen.group.size(), &mine.to_le_bytes())?;
        if group.me.is_none() {
            return Ok(handle::COMM_NULL);
        }
        let first = seen
            .group
            .members
            .iter()
            .position(|p| Some(p) == group.members.first())
            .unwrap_or(0);
        return install(rt, comm, Parts::intra(number(&all, first * 8), group));
    };
    let (ours, theirs) = swap_groups(rt, &seen, pack_group(&group, mine))?;
    let hidden = create(rt, seen.local.unwrap_or(comm), group.clone())?;
    let (our_context, _) = unpack_group(rt, &ours)?;
    let (their_context, other) = unpack_group(rt, &theirs)?;
    if hidden == handle::COMM_NULL {
        return Ok(handle::COMM_NULL);
    }
    if other.members.is_empty() {
        forget(rt, hidden);
        return Ok(handle::COMM_NULL);
    }
    let context = our_context.min(their_context);
    install(
        rt,
        comm,
        Parts {
            remote: Some((other, hidden)),
            ..Parts::intra(context, group)
        },
    )
}

/// MPI_Comm_create_group: only the members call. The first one's context goes down a binomial tree.
pub fn create_group(rt: &Runtime, comm: CommId, group: Arc<Group>, tag: i32) -> Result<CommId> {
    let seen = view(rt, comm)?;
    let Some(me) = group.me else {
        return Ok(handle::COMM_NULL);
    };
    let parent_rank = |member: u32| -> Result<u32> {
        let process = group.members[member as usize];
        match seen.group.members.iter().position(|&p| p == process) {
            Some(rank) => Ok(rank as u32),
            None => fail!(
                Group,
                "rank {} of MPI_COMM_WORLD is in the group but not in the communicator",
                process.0
            ),
        }
    };
    for member in 0..group.size() as u32 {
        parent_rank(member)?;
    }
    let route = |member: u32| -> Result<Route> {
        Ok(Route {
            peer: group.members[member as usize],
            context: seen.context + CONSTRUCTION,
            me: seen.rank,
            them: parent_rank(member)?,
            tag,
        })
    };
    let mut bytes = new_context(rt).to_le_bytes().to_vec();
    let size = group.size() as u32;
    let mut step = 1;
    while step < size {
        if me < step {
            if me + step < size {
                let sent = post(rt, &route(me + step)?, &bytes)?;
                end(rt, sent)?;
            }
        } else if me < 2 * step {
            bytes = fetch(rt, &route(me - step)?)?;
        }
        step *= 2;
    }
    install(rt, comm, Parts::intra(number(&bytes, 0), group))
}

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

/// MPI_Comm_idup: the new communicator, whose context id arrives before the request completes.
pub fn idup(
    rt: &Runtime,
    comm: CommId,
    attributes: Attributes,
    topology: Option<Topology>,
) -> Result<(CommId, RequestId)> {
    let seen = view(rt, comm)?;
    let mut words: Box<Words> = Box::new([
        new_context(rt).to_le_bytes(),
        new_context(rt).to_le_bytes(),
        [0; 8],
        [0; 8],
    ]);
    let parts = Parts {
        attributes,
        topology,
        ..Parts::intra(0, seen.group.clone())
    };
    let address: *mut u8 = words.as_mut_ptr().cast();
    let between = seen.remote.is_some();
    let (new, then) = match &seen.remote {
        None => {
            let new = install(rt, comm, parts)?;
            (new, Then::Context { comm: new, words })
        }
        Some(remote) => {
            let hidden = install(rt, comm, Parts::intra(0, seen.group.clone()))?;
            let new = install(
                rt,
                comm,
                Parts {
                    remote: Some((remote.clone(), hidden)),
                    ..parts
                },
            )?;
            (
                new,
                Then::Contexts {
                    comm: new,
                    hidden,
                    words,
                },
            )
        }
    };
    let build = |call: &mut Call| {
        let word = |first: usize, n: usize| Piece::bytes(address.wrapping_add(8 * first), 8 * n);
        if between && call.place.rank == 0 {
            call.s.send(word(0, 2), Rank::Remote(0));
            call.s.recv(word(2, 2), Rank::Remote(0));
            call.s.fence();
        }
        let all = if between { word(0, 4) } else { word(0, 1) };
        tree(call.s, call.place, 0, all);
        Ok(())
    };
    let request = rt.with(|w| w.start_collective(comm, then, build))?;
    Ok((new, request))
}
