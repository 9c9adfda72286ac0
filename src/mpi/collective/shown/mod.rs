//! Collectives by boards: every rank shows what it brings, and takes what it needs from the others' boards. For ranks on
//! one machine, and (`node`) within each of several; nobody waits for more than the data's way from rank to rank, and ranks that share processors wait once
//! a phase.

mod moving;
pub mod node;
mod reducing;

pub use moving::{allgather, alltoall, barrier, bcast, gather, scatter};
pub use reducing::{allreduce, reduce, reduce_scatter, scan};

use crate::mpi::collective::arguments::{Call, Place};
use crate::mpi::collective::limits::Limits;
use crate::mpi::collective::schedule::{Data, Readers, Schedule, Spot, Step};
use crate::mpi::collective::vector::Vector;
use crate::mpi::nodes::Nodes;
use crate::transport::BOARD_ROOM;

/// What boards can do for a communicator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reach<'a> {
    /// Every member can read every other's memory, of those that share a machine.
    pub fetch: bool,
    /// Where they are, if they are on several machines.
    pub nodes: Option<&'a Nodes>,
}

impl Call<'_> {
    /// Do boards serve a collective in which a rank shows at most so many bytes? Every rank knows alike.
    pub fn shows(&mut self, most: usize) -> bool {
        self.shows_up_to(self.limits.here(), most)
    }

    /// The same where ranks do not know what others show.
    pub fn shows_any(&mut self) -> bool {
        self.shows(usize::MAX)
    }

    /// The same where only a root shows something, or only to the root something is shown.
    pub fn shows_rooted(&mut self, most: usize) -> bool {
        let as_messages = !self.limits.crowded && most >= self.limits.board_most;
        !as_messages && self.shows_up_to(self.limits.board_root, most)
    }

    /// The same where ranks do not know how much.
    pub fn shows_any_rooted(&mut self) -> bool {
        self.shows_up_to(self.limits.board_root, usize::MAX)
    }

    /// What is no longer than `here` is shown on the board itself.
    fn shows_up_to(&mut self, here: usize, most: usize) -> bool {
        self.reach.is_some_and(|reach| reach.nodes.is_none()) && self.has_boards(here, most)
    }

    fn has_boards(&mut self, here: usize, most: usize) -> bool {
        let Some(reach) = self.reach else {
            return false;
        };
        self.s.here = match reach.fetch {
            true => here.min(BOARD_ROOM),
            false => BOARD_ROOM,
        };
        reach.fetch || most <= self.s.here
    }
}

impl Limits {
    /// Bytes up to which data for all are shown on a board itself. Where ranks share processors waiting for who reads them
    /// elsewhere costs more than a copy.
    pub fn here(&self) -> usize {
        match self.crowded {
            true => self.board_root,
            false => self.board_here,
        }
    }

    /// A reduction by boards.
    pub fn job<'a>(
        &self,
        v: &'a Vector,
        place: Place,
        own: *mut u8,
        result: *mut u8,
    ) -> reducing::Job<'a> {
        reducing::Job {
            v,
            place,
            own,
            result,
            whole: self.board_whole,
            whole_at_root: self.board_reduce,
        }
    }
}

impl Schedule {
    fn show(&mut self, data: Data, phase: u32) {
        let data = self.in_one_piece(data);
        self.shows = true;
        self.steps.push(Step::Show { data, phase });
    }

    /// What lies in pieces is put together if it is not shown on the board itself.
    fn in_one_piece(&mut self, data: Data) -> Data {
        let size = self.size(&data);
        if size <= self.here || data.address().is_some() {
            return data;
        }
        self.put_aside(data)
    }

    /// A copy, in one piece.
    fn put_aside(&mut self, data: Data) -> Data {
        let size = self.size(&data);
        let aside = Data::bytes(self.scratch(size), size);
        self.copy(data, aside);
        aside
    }

    /// Takes bytes `skip..` of the `total` that a rank shows.
    fn look(&mut self, from: u32, phase: u32, (skip, total): (usize, usize), to: Data) {
        let at = Spot {
            from,
            phase,
            skip,
            total,
        };
        self.shows = true;
        self.steps.push(Step::Look { at, to });
    }

    fn settle_boards(&mut self, by: Readers) {
        self.steps.push(Step::Settle { by });
    }
}

impl Place {
    /// All ranks but this one, beginning with the next, so that not all look at the same one.
    fn others(self) -> impl Iterator<Item = u32> {
        (1..self.size).map(move |distance| self.after(distance))
    }
}
