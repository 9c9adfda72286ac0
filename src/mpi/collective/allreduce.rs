//! MPI_Allreduce (MPI-5.0 §6.9.6).

use crate::base::error::Result;
use crate::base::id::{DatatypeId, OpId};
use crate::mpi::collective::allgather::ring as go_round;
use crate::mpi::collective::arguments::{Call, Place};
use crate::mpi::collective::bcast;
use crate::mpi::collective::limits::{Allreduce, Limits};
use crate::mpi::collective::reduce::{at_first, even_bounds, for_all, halves, powers};
use crate::mpi::collective::schedule::{Rank, Schedule};
use crate::mpi::collective::shown;
use crate::mpi::collective::vector::{Part, Vector};

/// Everyone's elements combined, everywhere; between groups those of the other group.
pub fn allreduce(
    call: &mut Call,
    sendbuf: *mut u8,
    recvbuf: *mut u8,
    count: i64,
    datatype: DatatypeId,
    op: OpId,
) -> Result<()> {
    let v = call.vector(count, datatype, op)?;
    let (own, result) = call.operands(sendbuf, recvbuf, &v)?;
    if v.size() == 0 {
        return Ok(());
    }
    let shown = call.combines(&v);
    let node = call.node_combines(&v, None);
    let (s, place, limits) = (&mut *call.s, call.place, call.limits);
    if shown {
        shown::allreduce(s, &limits.job(&v, place, own, result));
        return Ok(());
    }
    if let Some(node) = node {
        shown::node::allreduce(s, limits, &node, (own, result), &v);
        return Ok(());
    }
    if place.remote.is_some() {
        let sum = at_first(s, limits, place, own, &v);
        let all = v.all(s, result);
        if let Some(sum) = sum {
            let data = v.all(s, sum);
            s.recv(all, Rank::Remote(0));
            s.send(data, Rank::Remote(0));
            s.fence();
        }
        bcast::everywhere(s, limits, place.local(), 0, all);
        return Ok(());
    }
    local(s, limits, place, own, result, &v);
    Ok(())
}

/// Among a group's ranks, by messages; `own` may be `result`.
pub fn local(
    s: &mut Schedule,
    limits: &Limits,
    place: Place,
    own: *mut u8,
    result: *mut u8,
    v: &Vector,
) {
    if place.size == 1 {
        return v.copy(s, own, result);
    }
    match limits.allreduce(v.size(), v.count, place.size, v.free) {
        Allreduce::Root => {
            for_all(s, limits, place, own, result, v);
            if place.rank == 0 {
                s.fence();
            }
            let all = v.all(s, result);
            bcast::flat(s, place, 0, all);
        }
        Allreduce::Doubling => doubling(s, place, own, result, v),
        Allreduce::Halving => halving(s, place, own, result, v),
        Allreduce::Ring => ring(s, place, own, result, v),
    }
}

/// This rank's sum on its way through [`doubling`].
struct Meeting<'a> {
    v: &'a Vector<'a>,
    own: *mut u8,
    result: *mut u8,
    current: *mut u8,
    spare: *mut u8,
}

impl Meeting<'_> {
    fn spare(&mut self, s: &mut Schedule) -> *mut u8 {
        if self.spare.is_null() {
            self.spare = self.v.scratch(s, self.v.count);
        }
        self.spare
    }

    /// Takes in what `from` has, on the left of this rank's or on its right; `both`: it gets this rank's.
    fn meet(&mut self, s: &mut Schedule, from: u32, left: bool, both: bool) {
        let v = self.v;
        let into = if self.current == self.result {
            self.spare(s)
        } else {
            self.result
        };
        let theirs = v.all(s, into);
        s.recv(theirs, Rank::Local(from));
        if both {
            let mine = v.all(s, self.current);
            s.send(mine, Rank::Local(from));
        }
        s.fence();
        // The send buffer is only to be read.
        let fixed = self.current == self.own && self.own != self.result;
        if fixed && left && !v.commute {
            let spare = self.spare(s);
            v.copy(s, self.current, spare);
            self.current = spare;
        }
        let stays = if v.commute { !fixed } else { left };
        if stays {
            v.reduce(s, into, self.current);
        } else {
            v.reduce(s, self.current, into);
            self.current = into;
        }
    }
}

/// In round k, ranks that differ in bit k swap their sums, each of a run of ranks. Keeps the order of ranks.
fn doubling(s: &mut Schedule, place: Place, own: *mut u8, result: *mut u8, v: &Vector) {
    let (full, rest) = powers(place.size);
    let me = place.rank;
    let mut meeting = Meeting {
        v,
        own,
        result,
        current: own,
        spare: std::ptr::null_mut(),
    };
    let mut number = me.wrapping_sub(rest);
    if me < 2 * rest {
        if me.is_multiple_of(2) {
            // The odd one of the pair stands for both.
            let (mine, all) = (v.all(s, own), v.all(s, result));
            s.send(mine, Rank::Local(me + 1));
            s.fence();
            s.recv(all, Rank::Local(me + 1));
            return;
        }
        meeting.meet(s, me - 1, true, false);
        number = me / 2;
    }
    let mut mask = 1;
    while mask < full {
        let partner = number ^ mask;
        let rank = if partner < rest {
            2 * partner + 1
        } else {
            partner + rest
        };
        meeting.meet(s, rank, partner < number, true);
        mask *= 2;
    }
    if meeting.current != result {
        v.copy(s, meeting.current, result);
    }
    if me < 2 * rest {
        let all = v.all(s, result);
        s.send(all, Rank::Local(me - 1));
    }
}

/// Combined by halves, then gathered by doubling (Rabenseifner).
fn halving(s: &mut Schedule, place: Place, own: *mut u8, result: *mut u8, v: &Vector) {
    let (full, rest) = powers(place.size);
    let me = place.rank;
    let (mut current, mut spare) = (own, None);
    let mut number = me.wrapping_sub(rest);
    if me < 2 * rest {
        if me.is_multiple_of(2) {
            v.give(s, own, Rank::Local(me + 1));
            s.fence();
            let all = v.all(s, result);
            s.recv(all, Rank::Local(me + 1));
            return;
        }
        let all = Part {
            base: result,
            first: 0,
            count: v.count,
            peer: Rank::Local(me - 1),
        };
        v.take_in(s, all, current, &mut spare, None);
        current = result;
        number = me / 2;
    }
    let peer = |n: u32| Rank::Local(if n < rest { 2 * n + 1 } else { n + rest });
    let bounds = even_bounds(v.count, full);
    halves(s, v, number, &bounds, peer, current, result, &mut spare);
    let mut mask = 1;
    while mask < full {
        let partner = number ^ mask;
        let parts = |s: &mut Schedule, first: u32| {
            let first = (first & !(mask - 1)) as usize;
            let (begin, end) = (bounds[first], bounds[first + mask as usize]);
            v.data(s, result, begin, end - begin)
        };
        let into = parts(s, partner);
        s.recv_some(into, peer(partner));
        let out = parts(s, number);
        s.send_some(out, peer(partner));
        s.fence();
        mask *= 2;
    }
    if me < 2 * rest {
        let all = v.all(s, result);
        s.send(all, Rank::Local(me - 1));
    }
}

/// Parts go round once and are combined on the way, then once more.
fn ring(s: &mut Schedule, place: Place, own: *mut u8, result: *mut u8, v: &Vector) {
    let bounds = even_bounds(v.count, place.size);
    let part = |base, of: u32, peer: u32| {
        let first = bounds[of as usize];
        Part {
            base,
            first,
            count: bounds[of as usize + 1] - first,
            peer: Rank::Local(peer),
        }
    };
    let mut spare = if own == result {
        Some(v.scratch(s, bounds[1]))
    } else {
        None
    };
    for step in 0..place.size - 1 {
        let source = if step == 0 { own } else { result };
        let out = part(source, place.before(step), place.after(1));
        let into = part(result, place.before(step + 1), place.before(1));
        v.take_in(s, into, own, &mut spare, Some(out));
    }
    // Rank r has part r + 1 now.
    go_round(s, place, |s, rank| {
        let of = ((rank + 1) % place.size) as usize;
        v.data(s, result, bounds[of], bounds[of + 1] - bounds[of])
    });
}
