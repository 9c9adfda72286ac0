//! Reductions by predefined operations, whose operands may be reordered, on elements without gaps.

use crate::mpi::collective::arguments::{Call, Place};
use crate::mpi::collective::reduce::even_begin;
use crate::mpi::collective::schedule::{Readers, Schedule, Spot, Step};
use crate::mpi::collective::vector::Vector;

/// Elements are combined in portions of about so many bytes, all ranks' one after the other, so that the sum stays in the
/// nearest cache.
const PORTION: usize = 16 << 10;
/// The same of others' memory, where each look is a system call.
const AWAY_PORTION: usize = 64 << 10;

impl Call<'_> {
    /// Do boards serve this reduction?
    pub fn combines(&mut self, v: &Vector) -> bool {
        self.combines_up_to(self.limits.here(), v)
    }

    /// The same where each rank reads what one other shows, or only a root does.
    pub fn combines_rooted(&mut self, v: &Vector) -> bool {
        let whole = v.size() <= self.limits.board_reduce;
        let here = match whole {
            true => self.limits.board_root,
            false => self.limits.here(),
        };
        self.combines_up_to(here, v)
    }

    fn combines_up_to(&mut self, here: usize, v: &Vector) -> bool {
        // Of parts, one a rank, some are longer than others.
        let most = v.size() + v.ty.size() * self.place.size as usize;
        self.folds(v) && self.shows_up_to(here, most)
    }

    /// Can these elements be combined where they are shown?
    pub fn folds(&mut self, v: &Vector) -> bool {
        let kernel = self
            .s
            .fold
            .as_ref()
            .is_some_and(|fold| fold.kernel.is_some());
        self.s.element = v.ty.size();
        kernel && v.ty.dense(v.count) == Some(0) && v.free
    }
}

/// A reduction, as a rank of a communicator sees it.
pub struct Job<'a> {
    pub v: &'a Vector<'a>,
    pub place: Place,
    pub own: *mut u8,
    pub result: *mut u8,
    /// Bytes up to which every rank combines all that it wants itself.
    pub whole: usize,
    /// The same where only a root wants something.
    pub whole_at_root: usize,
}

impl Job<'_> {
    pub(super) fn show(&self, s: &mut Schedule, phase: u32) {
        let own = self.v.all(s, self.own);
        s.show(own, phase);
    }

    /// `inout` becomes the combination of elements `first..first + n` of these ranks. In place, this rank's come first, and
    /// lie there already.
    pub(super) fn combine(
        &self,
        s: &mut Schedule,
        ranks: impl Iterator<Item = u32> + Clone,
        range: (usize, usize),
        inout: *mut u8,
    ) {
        let whole = |_| (0, self.v.size());
        self.combine_parts(s, ranks, range, inout, whole);
    }

    /// The same where each rank does not show its whole vector; `shown`: how many bytes into it element 0 would be, and the
    /// bytes of all.
    fn combine_parts(
        &self,
        s: &mut Schedule,
        ranks: impl Iterator<Item = u32> + Clone,
        (first, n): (usize, usize),
        inout: *mut u8,
        shown: impl Fn(u32) -> (usize, usize),
    ) {
        let v = self.v;
        let size = v.ty.size();
        let portion = match v.size() <= s.here {
            true => PORTION,
            false => AWAY_PORTION,
        };
        let most = (portion / size.max(1)).max(1);
        let (mut at, end) = (first, first + n);
        while at < end {
            let n = most.min(end - at);
            let to = v.at(inout, at - first);
            for (i, rank) in ranks.clone().enumerate() {
                let mine = rank == self.place.rank;
                if mine && i == 0 {
                    let (own, into) = (v.data(s, self.own, at, n), v.data(s, to, 0, n));
                    s.copy(own, into);
                } else if mine {
                    s.reduce(v.at(self.own, at), to, n);
                } else {
                    let (base, total) = shown(rank);
                    let spot = Spot {
                        from: rank,
                        phase: 1,
                        skip: base.wrapping_add(at * size),
                        total,
                    };
                    self.add(s, spot, n, to, i == 0);
                }
            }
            at += n;
        }
    }

    /// What a rank shows is added to the sum, or begins it.
    fn add(&self, s: &mut Schedule, at: Spot, count: usize, inout: *mut u8, begins: bool) {
        s.shows = true;
        let to = self.v.data(s, inout, 0, count);
        s.steps.push(match begins {
            true => Step::Look { at, to },
            false => Step::Combine { at, inout, count },
        });
    }

    /// All that this rank shows in phase 1.
    fn spot(&self, from: u32) -> Spot {
        Spot {
            from,
            phase: 1,
            skip: 0,
            total: self.v.size(),
        }
    }

    /// All ranks, where any order will do: what another one shows begins the sum, then this rank's elements are added, so
    /// that these need not be copied; unless they lie there already.
    pub(super) fn any_order(&self) -> impl Iterator<Item = u32> + Clone {
        let (place, in_place) = (self.place, self.own == self.result);
        (0..place.size).map(move |i| match i {
            0 | 1 if !in_place => place.after(1 - i),
            i => place.after(i),
        })
    }

    /// The first element of a rank's part, and how many, of nearly equal parts for all.
    pub(super) fn part(&self, rank: u32) -> (usize, usize) {
        let begin = |i: u32| even_begin(self.v.count, self.place.size, i as usize);
        (begin(rank), begin(rank + 1) - begin(rank))
    }

    /// The others' parts, which they show in phase 2, come to the result. Who shows its part has read this rank's elements
    /// there.
    pub(super) fn collect(&self, s: &mut Schedule) {
        for rank in self.place.others() {
            let (first, n) = self.part(rank);
            let to = self.v.data(s, self.result, first, n);
            let size = s.size(&to);
            s.look(rank, 2, (0, size), to);
        }
    }

    fn is_whole(&self, limit: usize) -> bool {
        self.v.size() <= limit || self.v.count < self.place.size as usize
    }
}

/// Everyone's elements combined, everywhere.
pub fn allreduce(s: &mut Schedule, job: &Job) {
    let (v, place) = (job.v, job.place);
    job.show(s, 1);
    // In place, what is shown of this rank's own memory would not stay while the sum grows there.
    if job.is_whole(job.whole) && v.size() <= s.here {
        // In one order everywhere, so that all get the same.
        if job.own == job.result {
            // This rank's elements stay where they are shown.
            for rank in 0..place.size {
                job.add(s, job.spot(rank), v.count, job.result, rank == 0);
            }
        } else {
            job.combine(s, 0..place.size, (0, v.count), job.result);
        }
        return s.settle_boards(Readers::All);
    }
    let mine = job.part(place.rank);
    let sum = v.at(job.result, mine.0);
    job.combine(s, job.any_order(), mine, sum);
    let data = v.data(s, sum, 0, mine.1);
    s.show(data, 2);
    job.collect(s);
    s.settle_boards(Readers::All);
}

/// Everyone's elements combined, at a root; `result` matters there only.
pub fn reduce(s: &mut Schedule, job: &Job, root: u32) {
    let (v, place) = (job.v, job.place);
    let here = place.rank == root;
    if job.is_whole(job.whole_at_root) {
        if here {
            job.combine(s, job.any_order(), (0, v.count), job.result);
            s.shows = true;
            return s.settle_boards(Readers::Nobody);
        }
        job.show(s, 1);
        return s.settle_boards(Readers::One(root));
    }
    job.show(s, 1);
    let mine = job.part(place.rank);
    if here {
        let sum = v.at(job.result, mine.0);
        job.combine(s, job.any_order(), mine, sum);
        job.collect(s);
        return s.settle_boards(Readers::All);
    }
    let sum = v.scratch(s, mine.1);
    job.combine(s, job.any_order(), mine, sum);
    let data = v.data(s, sum, 0, mine.1);
    s.show(data, 2);
    s.settle_boards(Readers::All);
}

/// Everyone's elements combined, a block of them at each rank.
pub fn reduce_scatter(s: &mut Schedule, job: &Job, bounds: &[usize]) {
    let (v, place) = (job.v, job.place);
    let count = |rank: u32| bounds[rank as usize + 1] - bounds[rank as usize];
    let mine = (bounds[place.rank as usize], count(place.rank));
    let parts = v.size() <= s.here;
    let size = |rank: u32| count(rank) * v.ty.size();
    match parts {
        true => {
            for rank in place.others() {
                let piece = v.data(s, job.own, bounds[rank as usize], count(rank));
                s.pieces.push(piece);
            }
            s.shows = true;
            s.steps.push(Step::ShowAll { phase: 1 });
        }
        false => job.show(s, 1),
    }
    let shown = |from: u32| {
        if !parts {
            return (0, v.size());
        }
        // The pieces begin with that for the rank after it.
        let mut before = 0;
        let mut rank = (from + 1) % place.size;
        while rank != place.rank {
            before += size(rank);
            rank = (rank + 1) % place.size;
        }
        let base = before.wrapping_sub(mine.0 * v.ty.size());
        (base, v.size() - size(from))
    };
    // In place, the sum must not grow over elements that others still read, or this rank.
    let aside = job.own == job.result;
    let sum = match aside {
        true => v.scratch(s, mine.1),
        false => job.result,
    };
    job.combine_parts(s, job.any_order(), mine, sum, shown);
    s.settle_boards(Readers::All);
    if aside {
        let (from, to) = (v.data(s, sum, 0, mine.1), v.data(s, job.result, 0, mine.1));
        s.copy(from, to);
    }
}

/// Elements of the ranks before this one, and its own if `inclusive`, combined: each takes what the one before shows, and
/// shows it with its own. Everything has room on a board.
pub fn scan(s: &mut Schedule, job: &Job, inclusive: bool) {
    let (v, place) = (job.v, job.place);
    let (first, last) = (place.rank == 0, place.rank + 1 == place.size);
    s.shows = true;
    let before = place.rank.wrapping_sub(1);
    let all = (0, v.size());
    if inclusive {
        let (own, sum) = (v.all(s, job.own), v.all(s, job.result));
        s.copy(own, sum);
        if !first {
            job.add(s, job.spot(before), v.count, job.result, false);
        }
        if !last {
            s.show(sum, 1);
        }
        return s.settle_boards(Readers::Nobody);
    }
    if first {
        job.show(s, 1);
        return s.settle_boards(Readers::Nobody);
    }
    if !last {
        // With its own, on the way to the next; before the result may take its own's place.
        let sum = v.scratch(s, v.count);
        let (own, shown) = (v.all(s, job.own), v.all(s, sum));
        s.copy(own, shown);
        job.add(s, job.spot(before), v.count, sum, false);
        s.show(shown, 1);
    }
    let result = v.all(s, job.result);
    s.look(before, 1, all, result);
    s.settle_boards(Readers::Nobody);
}
