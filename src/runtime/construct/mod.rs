//! Making communicators (MPI-5.0 §7.4.2, §7.6.2): agreeing on members and on a context id.
//!
//! A context id is a number that some member gives out of its own range; all a constructor has to do is to make every
//! member learn the same one.

mod exchange;
mod inter;
mod split;

pub use inter::{intercomm, merge};
pub use split::split;

use crate::base::constant::handle;
use crate::base::error::Result;
use crate::base::id::{CommId, RequestId};
use crate::fail;
use crate::mpi::attribute::Attributes;
use crate::mpi::boards::Showing;
use crate::mpi::collective::schedule::{Data as Piece, Rank};
use crate::mpi::collective::{tree, Call};
use crate::mpi::comm::{Comm, CONSTRUCTION};
use crate::mpi::group::Group;
use crate::mpi::info::Info;
use crate::mpi::progress::{Then, Words};
use crate::mpi::topology::Topology;
use crate::runtime::{calls, Runtime};
use exchange::{
    end, fetch, gather, number, pack_group, post, swap_groups, unpack_group, view, Route,
};
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
            boards: Showing::default(),
            nodes: None,
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

/// Removes a communicator that the program never saw.
pub fn forget(rt: &Runtime, comm: CommId) {
    rt.with(|w| {
        if let Some(gone) = w.comms.table.remove(comm) {
            w.errhandlers.release(gone.errhandler);
            w.leave_boards(*gone);
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
