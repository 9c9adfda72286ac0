//! MPI_Comm_split (MPI-5.0 §7.4.2).

use super::exchange::{gather, number, small, swap_groups, view};
use super::{forget, install, new_context, Parts};
use crate::base::constant::{handle, UNDEFINED};
use crate::base::error::Result;
use crate::base::id::{CommId, PeerId};
use crate::mpi::group::Group;
use crate::runtime::Runtime;
use std::sync::Arc;

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
