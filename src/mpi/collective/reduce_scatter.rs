//! MPI_Reduce_scatter and MPI_Reduce_scatter_block (MPI-5.0 §6.10).

use crate::base::error::Result;
use crate::base::id::{DatatypeId, OpId};
use crate::mpi::collective::arguments::{Call, Place};
use crate::mpi::collective::limits::ReduceScatter;
use crate::mpi::collective::reduce::{at_first, halves, powers};
use crate::mpi::collective::schedule::{Rank, Schedule};
use crate::mpi::collective::shown;
use crate::mpi::collective::vector::{Part, Vector};

/// Everyone's elements combined, `recvcounts[r]` of them at rank r.
pub fn reduce_scatter(
    call: &mut Call,
    sendbuf: *mut u8,
    recvbuf: *mut u8,
    recvcounts: &[i64],
    datatype: DatatypeId,
    op: OpId,
) -> Result<()> {
    let (v, bounds) = call.vectors(recvcounts, datatype, op)?;
    any(call, sendbuf, recvbuf, &v, &bounds)
}

/// The same with `recvcount` elements at every rank.
pub fn reduce_scatter_block(
    call: &mut Call,
    sendbuf: *mut u8,
    recvbuf: *mut u8,
    recvcount: i64,
    datatype: DatatypeId,
    op: OpId,
) -> Result<()> {
    let size = call.place.size;
    let v = call.vector(recvcount.saturating_mul(i64::from(size)), datatype, op)?;
    let bounds: Vec<usize> = (0..=size as usize)
        .map(|r| r * recvcount as usize)
        .collect();
    any(call, sendbuf, recvbuf, &v, &bounds)
}

fn any(
    call: &mut Call,
    sendbuf: *mut u8,
    recvbuf: *mut u8,
    v: &Vector,
    bounds: &[usize],
) -> Result<()> {
    let (own, result) = call.operands(sendbuf, recvbuf, v)?;
    if v.size() == 0 {
        return Ok(());
    }
    let shown = call.combines(v);
    let (s, place, limits) = (&mut *call.s, call.place, call.limits);
    if shown {
        shown::reduce_scatter(s, &limits.job(v, place, own, result), bounds);
        return Ok(());
    }
    let job = Job {
        v,
        bounds,
        place,
        own,
        result,
    };
    if place.remote.is_some() {
        let sum = at_first(s, limits, place, own, v);
        let mut all = std::ptr::null_mut();
        if let Some(sum) = sum {
            all = v.scratch(s, v.count);
            let (mine, theirs) = (v.all(s, sum), v.all(s, all));
            s.recv(theirs, Rank::Remote(0));
            s.send(mine, Rank::Remote(0));
            s.fence();
        }
        job.scatter(s, all);
        return Ok(());
    }
    if place.size == 1 {
        v.copy(s, own, result);
        return Ok(());
    }
    match limits.reduce_scatter(v.size(), v.count, place.size, v.commute) {
        ReduceScatter::Halving => job.halving(s),
        ReduceScatter::Pairs => job.pairs(s),
        ReduceScatter::Ordered => job.ordered(s, limits.window),
        ReduceScatter::Root => {
            let sum = at_first(s, limits, place, own, v);
            if sum.is_none() {
                // In place, the block arrives where elements may still be leaving.
                s.fence();
            }
            job.scatter(s, sum.unwrap_or(std::ptr::null_mut()));
        }
    }
    Ok(())
}

struct Job<'a> {
    v: &'a Vector<'a>,
    /// Where each rank's block begins, and the end of the last.
    bounds: &'a [usize],
    place: Place,
    own: *mut u8,
    result: *mut u8,
}

impl Job<'_> {
    fn count(&self, rank: u32) -> usize {
        self.bounds[rank as usize + 1] - self.bounds[rank as usize]
    }

    /// This rank's block of the vector at `base` becomes the result.
    fn keep(&self, s: &mut Schedule, base: *mut u8) {
        let (me, v) = (self.place.rank, self.v);
        let from = v.data(s, base, self.bounds[me as usize], self.count(me));
        let to = v.data(s, self.result, 0, self.count(me));
        s.copy(from, to);
    }

    /// This rank's block comes from that rank.
    fn await_block(&self, s: &mut Schedule, from: u32) {
        let data = self.v.data(s, self.result, 0, self.count(self.place.rank));
        s.recv_some(data, Rank::Local(from));
    }

    /// The blocks at rank 0, to all.
    fn scatter(&self, s: &mut Schedule, all: *mut u8) {
        if self.place.rank != 0 {
            return self.await_block(s, 0);
        }
        for rank in 1..self.place.size {
            self.give(s, all, rank);
        }
        self.keep(s, all);
    }

    /// A rank's block of the vector at `base`, to that rank.
    fn give(&self, s: &mut Schedule, base: *mut u8, to: u32) -> u32 {
        let first = self.bounds[to as usize];
        let data = self.v.data(s, base, first, self.count(to));
        s.send_some(data, Rank::Local(to))
    }

    /// By halves among a power of two of ranks; of the first pairs the odd one stands for both.
    fn halving(&self, s: &mut Schedule) {
        let (v, me) = (self.v, self.place.rank);
        let (full, rest) = powers(self.place.size);
        let paired = me < 2 * rest;
        if paired && me % 2 == 0 {
            v.give(s, self.own, Rank::Local(me + 1));
            s.fence();
            return self.await_block(s, me + 1);
        }
        let sum = v.scratch(s, v.count);
        let (mut current, mut spare) = (self.own, None);
        let mut number = me.wrapping_sub(rest);
        if paired {
            let all = Part {
                base: sum,
                first: 0,
                count: v.count,
                peer: Rank::Local(me - 1),
            };
            v.take_in(s, all, current, &mut spare, None);
            current = sum;
            number = me / 2;
        }
        let bounds: Vec<usize> = (0..=full)
            .map(|n| self.bounds[if n < rest { 2 * n } else { n + rest } as usize])
            .collect();
        let peer = |n: u32| Rank::Local(if n < rest { 2 * n + 1 } else { n + rest });
        halves(s, v, number, &bounds, peer, current, sum, &mut spare);
        if paired {
            self.give(s, sum, me - 1);
        }
        self.keep(s, sum);
    }

    /// Everyone's block from everyone, combined one while the next arrives.
    fn pairs(&self, s: &mut Schedule) {
        let (v, place) = (self.v, self.place);
        let me = place.rank;
        let mine = self.count(me);
        let own = v.at(self.own, self.bounds[me as usize]);
        let sum = if self.own == self.result {
            v.scratch(s, mine)
        } else {
            self.result
        };
        let spares = [v.scratch(s, mine), v.scratch(s, mine)];
        let mut before = None;
        for step in 1..place.size {
            let room = if step == 1 {
                sum
            } else {
                spares[step as usize % 2]
            };
            let data = v.data(s, room, 0, mine);
            let mut started = s.recv_some(data, Rank::Local(place.before(step)));
            started += self.give(s, self.own, place.after(step));
            if let Some(room) = before {
                s.fence_but(started);
                self.combine(s, own, sum, room, mine);
            }
            before = Some(room);
        }
        s.fence();
        if let Some(room) = before {
            self.combine(s, own, sum, room, mine);
        }
        let (from, to) = (v.data(s, sum, 0, mine), v.data(s, self.result, 0, mine));
        s.copy(from, to);
    }

    /// What arrived at `room` is combined: the first with this rank's own, into the sum.
    fn combine(&self, s: &mut Schedule, own: *mut u8, sum: *mut u8, room: *mut u8, n: usize) {
        if room == sum {
            s.reduce(own, sum, n);
        } else {
            s.reduce(room, sum, n);
        }
    }

    /// This rank's block from everyone, then all of them combined in the order of ranks.
    fn ordered(&self, s: &mut Schedule, window: u32) {
        let (v, place) = (self.v, self.place);
        let me = place.rank;
        let mine = self.count(me);
        let own = v.at(self.own, self.bounds[me as usize]);
        let mut blocks = vec![own; place.size as usize];
        for step in 1..place.size {
            let (to, from) = (place.after(step), place.before(step));
            let room = v.scratch(s, mine);
            blocks[from as usize] = room;
            let data = v.data(s, room, 0, mine);
            s.recv_some(data, Rank::Local(from));
            self.give(s, self.own, to);
            if step > window {
                s.fence_but(2 * window);
            }
        }
        s.fence();
        // From the right; the last block is where the sum grows.
        let last = blocks.pop().unwrap_or(own);
        let mut sum = last;
        if last == own {
            sum = v.scratch(s, mine);
            let (from, to) = (v.data(s, own, 0, mine), v.data(s, sum, 0, mine));
            s.copy(from, to);
        }
        for &left in blocks.iter().rev() {
            s.reduce(left, sum, mine);
        }
        let (from, to) = (v.data(s, sum, 0, mine), v.data(s, self.result, 0, mine));
        s.copy(from, to);
    }
}
