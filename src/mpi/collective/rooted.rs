//! What gather and scatter have in common: every rank has one block of its own, the root all of them, and the data go
//! one way or the other.

use crate::base::error::Result;
use crate::base::id::DatatypeId;
use crate::mpi::collective::arguments::{apart, Call, Elements, Place, Root};
use crate::mpi::collective::bcast::subtree;
use crate::mpi::collective::blocks::Blocks;
use crate::mpi::collective::schedule::{Rank, Schedule};
use crate::mpi::collective::shown;

/// Whither the data go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToRoot,
    FromRoot,
}

/// A rank's part in it, within one group.
pub struct Rooted<'b> {
    pub place: Place,
    pub root: u32,
    /// This rank's block; `None`: in place, at the root.
    pub own: Option<Elements<'b>>,
    /// All of them; at the root only.
    pub blocks: Option<Blocks<'b>>,
    /// Bytes of one.
    pub block: usize,
}

/// Builds it, by `tree` where that is quicker; `own` and `blocks` are the arguments of every rank and of the root,
/// `even` says that all blocks have one size.
pub fn build<'a: 'b, 'b>(
    call: &mut Call<'a>,
    way: Way,
    (buffer, count, datatype): (*mut u8, i64, DatatypeId),
    blocks: impl FnOnce(&Call<'a>) -> Result<Blocks<'b>>,
    root: i32,
    even: bool,
    tree: impl FnOnce(&mut Schedule, &Rooted),
) -> Result<()> {
    match call.root(root)? {
        Root::Nobody => {}
        Root::Me => {
            let blocks = blocks(call)?;
            for rank in 0..call.place.remote.unwrap_or(0) {
                way.at_root(call.s, &blocks, rank, Rank::Remote(rank));
            }
        }
        Root::Remote(root) => {
            let own = call.elements(buffer, count, datatype)?;
            way.elsewhere(call.s, &own, Rank::Remote(root));
        }
        Root::Local(root) => {
            let place = call.place;
            let mut own = None;
            if !call.in_place_at(buffer, root)? {
                own = Some(call.elements(buffer, count, datatype)?);
            }
            let mut all = None;
            if place.rank == root {
                let blocks = blocks(call)?;
                if let Some(own) = &own {
                    let size = own.size().min(blocks.size(root));
                    apart(own.buffer, blocks.address(root), size)?;
                }
                all = Some(blocks);
            }
            let block = match (&own, &all) {
                (Some(own), _) => own.size(),
                (None, Some(blocks)) => blocks.size(root),
                (None, None) => 0,
            };
            let part = Rooted {
                place,
                root,
                own,
                blocks: all,
                block,
            };
            if even && block == 0 {
                return Ok(());
            }
            let most = match way {
                Way::ToRoot => block,
                Way::FromRoot => block.saturating_mul(place.size as usize - 1),
            };
            let shown = match even {
                true => call.shows_rooted(most),
                false => call.shows_any_rooted(),
            };
            if shown {
                match way {
                    Way::ToRoot => shown::gather(call.s, &part),
                    Way::FromRoot => shown::scatter(call.s, &part, even),
                }
            } else if !even {
                part.straight(call.s, way);
            } else if call.limits.tree(block, place.size) {
                tree(call.s, &part);
            } else {
                part.straight(call.s, way);
            }
        }
    }
    Ok(())
}

impl Way {
    fn at_root(self, s: &mut Schedule, blocks: &Blocks, rank: u32, other: Rank) {
        let block = blocks.of(s, rank);
        match self {
            Way::ToRoot => s.recv_some(block, other),
            Way::FromRoot => s.send_some(block, other),
        };
    }

    fn elsewhere(self, s: &mut Schedule, own: &Elements, root: Rank) {
        let own = own.data(s);
        match self {
            Way::ToRoot => s.send_some(own, root),
            Way::FromRoot => s.recv_some(own, root),
        };
    }
}

impl Rooted<'_> {
    /// Between the root and every rank.
    fn straight(&self, s: &mut Schedule, way: Way) {
        let Some(blocks) = &self.blocks else {
            if let Some(own) = &self.own {
                way.elsewhere(s, own, Rank::Local(self.root));
            }
            return;
        };
        for distance in 1..self.place.size {
            let rank = self.place.after(distance);
            way.at_root(s, blocks, rank, Rank::Local(rank));
        }
        self.copy(s, way);
    }

    /// At the root: its own block, unless that is in place.
    pub fn copy(&self, s: &mut Schedule, way: Way) {
        if let (Some(blocks), Some(own)) = (&self.blocks, &self.own) {
            let own = own.data(s);
            let block = blocks.of(s, self.root);
            match way {
                Way::ToRoot => s.copy(own, block),
                Way::FromRoot => s.copy(block, own),
            }
        }
    }

    /// How far behind the root this rank is.
    pub fn me(&self) -> u32 {
        self.place.before(self.root)
    }

    /// The rank so far behind the root.
    pub fn rank(&self, behind: u32) -> u32 {
        (behind + self.root) % self.place.size
    }

    /// Whom a rank other than the root has above it in the tree.
    pub fn parent(&self) -> Rank {
        let me = self.me();
        Rank::Local(self.rank(me - (1 << me.trailing_zeros())))
    }

    /// Ranks in the tree from that one on.
    pub fn subtree(&self, behind: u32) -> u32 {
        subtree(behind, self.place.size)
    }
}
