//! Exchanges: everybody gives a blob; when the last one is there, everybody gets what it needs.

use super::job::{Job, Standing, State};
use super::{Effect, Time};
use crate::rendezvous::message::{tree_children, tree_parent, ToMember, TO_MEMBER_MAX};

/// How many fences of one job may be incomplete at once.
const FENCES_MAX: usize = 64;
/// The sum of the blobs in one fence, bytes; a table must fit into a frame.
const TABLE_MAX: usize = TO_MEMBER_MAX / 2;

/// An exchange under way.
pub(super) struct Fence {
    tree: bool,
    /// By rank.
    parts: Vec<Option<Vec<u8>>>,
    count: u32,
    bytes: usize,
}

impl Fence {
    fn new(tree: bool, size: u32) -> Fence {
        Fence {
            tree,
            parts: vec![None; size as usize],
            count: 0,
            bytes: 0,
        }
    }

    /// This rank has not been here after all.
    pub(super) fn withdraw(&mut self, rank: u32) {
        if let Some(blob) = self.parts[rank as usize].take() {
            self.count -= 1;
            self.bytes -= blob.len();
        }
    }

    pub(super) fn has(&self, rank: u32) -> bool {
        self.parts[rank as usize].is_some()
    }
}

impl Job {
    pub(super) fn fence(
        &mut self,
        now: Time,
        rank: u32,
        (name, blob, tree): (String, Vec<u8>, bool),
        out: &mut Vec<Effect>,
    ) -> Result<(), &'static str> {
        if !matches!(self.state, State::Running) {
            return Ok(());
        }
        if self.standing(rank) != Some(Standing::Here) {
            return Err("it takes part in a fence after its end");
        }
        let size = self.plan.size;
        if !self.fences.contains_key(&name) {
            if self.fences.len() >= FENCES_MAX {
                return Err("too many fences are open");
            }
            if let Some(left) = self.first(Standing::Finished) {
                let text = format!(
                    "rank {rank} wants to exchange something with everybody, but rank {left} has left the job"
                );
                self.end(now, rank, 1, text, out);
                return Ok(());
            }
            self.fences.insert(name.clone(), Fence::new(tree, size));
        }
        let Some(fence) = self.fences.get_mut(&name) else {
            return Ok(());
        };
        if fence.tree != tree {
            return Err("it takes a tree for a table or a table for a tree");
        }
        if fence.has(rank) {
            return Err("it enters the same fence twice");
        }
        if fence.bytes + blob.len() > TABLE_MAX {
            return Err("the blobs of a fence are too large together");
        }
        fence.bytes += blob.len();
        fence.count += 1;
        fence.parts[rank as usize] = Some(blob);
        if fence.count == size {
            if let Some(fence) = self.fences.remove(&name) {
                self.complete(now, name, fence, out);
            }
        }
        Ok(())
    }

    fn complete(&mut self, now: Time, name: String, fence: Fence, out: &mut Vec<Effect>) {
        self.begun.get_or_insert(now);
        let blobs: Vec<Vec<u8>> = fence
            .parts
            .into_iter()
            .map(Option::unwrap_or_default)
            .collect();
        if !fence.tree {
            let everybody = self.connections();
            return out.push(Effect::send(everybody, ToMember::Table { name, blobs }));
        }
        let size = self.plan.size;
        let part = |rank: u32| (rank, blobs[rank as usize].clone());
        for (rank, member) in (0..).zip(self.members.iter().flatten()) {
            if member.standing != Standing::Here {
                continue;
            }
            let blobs = match tree_parent(rank) {
                None => (0..size).map(part).collect(),
                Some(parent) => std::iter::once(parent)
                    .chain(tree_children(rank, size))
                    .map(part)
                    .collect(),
            };
            let name = name.clone();
            let branch = ToMember::Branch { name, blobs };
            out.push(Effect::send(vec![member.connection], branch));
        }
    }
}
