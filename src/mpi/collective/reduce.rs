//! MPI_Reduce (MPI-5.0 §6.9.1), and the combining by halves that other reductions share.

use crate::base::constant::IN_PLACE;
use crate::base::error::Result;
use crate::base::id::{DatatypeId, OpId};
use crate::mpi::collective::arguments::{apart, Call, Place, Root};
use crate::mpi::collective::limits::Limits;
use crate::mpi::collective::schedule::{Rank, Schedule};
use crate::mpi::collective::shown;
use crate::mpi::collective::vector::{Part, Vector};

/// Everyone's elements combined, at the root.
pub fn reduce(
    call: &mut Call,
    sendbuf: *mut u8,
    recvbuf: *mut u8,
    count: i64,
    datatype: DatatypeId,
    op: OpId,
    root: i32,
) -> Result<()> {
    let root = call.root(root)?;
    if root == Root::Nobody {
        return Ok(());
    }
    let v = call.vector(count, datatype, op)?;
    let place = call.place;
    let here = root == Root::Local(place.rank) || root == Root::Me;
    let result = if here {
        call.operand(recvbuf, &v)?
    } else {
        std::ptr::null_mut()
    };
    let own = match root {
        Root::Me => result,
        Root::Local(root) if call.in_place_at(sendbuf, root)? => result,
        _ => {
            call.in_place(sendbuf)?;
            call.operand(sendbuf, &v)?
        }
    };
    if sendbuf != IN_PLACE && root == Root::Local(place.rank) {
        apart(own, result, v.size())?;
    }
    if v.size() == 0 {
        return Ok(());
    }
    let shown = call.combines_rooted(&v);
    let node = match root {
        Root::Local(root) => call.node_combines(&v, Some(root)),
        _ => None,
    };
    let s = &mut *call.s;
    match root {
        Root::Local(root) if shown => {
            shown::reduce(s, &call.limits.job(&v, place, own, result), root);
        }
        Root::Local(root) => match node {
            Some(node) => shown::node::reduce(s, call.limits, &node, (own, result), &v, root),
            None => at(s, call.limits, place, root, own, result, &v),
        },
        Root::Me => {
            let data = v.all(s, result);
            s.recv(data, Rank::Remote(0));
        }
        Root::Remote(root) => {
            if let Some(sum) = at_first(s, call.limits, place, own, &v) {
                let data = v.all(s, sum);
                s.send(data, Rank::Remote(root));
            }
        }
        Root::Nobody => {}
    }
    Ok(())
}

/// Combines the local group's elements at its rank 0: where they are then, there.
pub fn at_first(
    s: &mut Schedule,
    limits: &Limits,
    place: Place,
    own: *mut u8,
    v: &Vector,
) -> Option<*mut u8> {
    if place.size == 1 {
        return Some(own);
    }
    let sum = if place.rank == 0 {
        v.scratch(s, v.count)
    } else {
        std::ptr::null_mut()
    };
    for_all(s, limits, place, own, sum, v);
    (place.rank == 0).then_some(sum)
}

/// Combines the local group's elements in the order of ranks, unless the operation lets them be reordered, at a root.
/// `result` matters there only and may be `own`.
pub fn at(
    s: &mut Schedule,
    limits: &Limits,
    place: Place,
    root: u32,
    own: *mut u8,
    result: *mut u8,
    v: &Vector,
) {
    if place.size == 1 {
        v.copy(s, own, result);
    } else if !v.commute {
        ordered(s, place, root, own, result, v);
    } else if limits.share(v.size(), v.count, place.size, v.free) {
        halving(s, place, root, own, result, v);
    } else if limits.flat_reduce(v.size(), place.size, false) {
        flat(s, place, root, own, result, v);
    } else {
        tree(s, place, root, own, result, v);
    }
}

/// The same at rank 0, where all wait for what it does then.
pub fn for_all(
    s: &mut Schedule,
    limits: &Limits,
    place: Place,
    own: *mut u8,
    result: *mut u8,
    v: &Vector,
) {
    match v.commute && limits.flat_reduce(v.size(), place.size, true) {
        true => flat(s, place, 0, own, result, v),
        false => at(s, limits, place, 0, own, result, v),
    }
}

/// From everybody to the root, whole.
fn flat(s: &mut Schedule, place: Place, root: u32, own: *mut u8, result: *mut u8, v: &Vector) {
    if place.rank != root {
        let data = v.all(s, own);
        return s.send(data, Rank::Local(root));
    }
    let rooms: Vec<_> = (1..place.size).map(|_| v.scratch(s, v.count)).collect();
    for (distance, &room) in (1..).zip(&rooms) {
        let data = v.all(s, room);
        s.recv(data, Rank::Local(place.after(distance)));
    }
    v.copy(s, own, result);
    for (left, room) in (0..place.size - 1).rev().zip(rooms) {
        s.fence_but(left);
        v.reduce(s, room, result);
    }
}

/// Along a binomial tree below the root.
fn tree(s: &mut Schedule, place: Place, root: u32, own: *mut u8, result: *mut u8, v: &Vector) {
    let me = place.before(root);
    let at = |rank: u32| Rank::Local((rank + root) % place.size);
    let mut sum = if me == 0 {
        result
    } else {
        std::ptr::null_mut()
    };
    let mut current = own;
    let mut spare = None;
    let mut mask = 1;
    while mask < place.size {
        if me & mask != 0 {
            v.give(s, current, at(me - mask));
            return;
        }
        if me + mask < place.size {
            if sum.is_null() {
                sum = v.scratch(s, v.count);
            }
            let all = Part {
                base: sum,
                first: 0,
                count: v.count,
                peer: at(me + mask),
            };
            v.take_in(s, all, current, &mut spare, None);
            current = sum;
        }
        mask *= 2;
    }
}

/// Along a binomial tree below rank 0, whose subtrees are neighbours; then to the root.
fn ordered(s: &mut Schedule, place: Place, root: u32, own: *mut u8, result: *mut u8, v: &Vector) {
    let me = place.rank;
    let mut sum = own;
    // Sums by turns; what was the sum is then free.
    let mut turns = [std::ptr::null_mut(); 2];
    if me == 0 && root == 0 && own != result {
        turns[0] = result;
    }
    let mut mask = 1;
    while mask < place.size && me & mask == 0 {
        if me + mask < place.size {
            if turns[0].is_null() {
                turns[0] = v.scratch(s, v.count);
            }
            let data = v.all(s, turns[0]);
            s.recv(data, Rank::Local(me + mask));
            s.fence();
            v.reduce(s, sum, turns[0]);
            sum = turns[0];
            turns.swap(0, 1);
        }
        mask *= 2;
    }
    if me != 0 {
        let data = v.all(s, sum);
        s.send(data, Rank::Local(me - mask));
    } else if root == 0 {
        v.copy(s, sum, result);
    } else {
        let data = v.all(s, sum);
        s.send(data, Rank::Local(root));
    }
    if me == root && root != 0 {
        // The message to the parent may be read from the buffer that now gets the result.
        s.fence();
        let data = v.all(s, result);
        s.recv(data, Rank::Local(0));
        s.fence();
    }
}

/// The largest power of two of ranks, and how many are left over: the first `2 * rest` work in pairs.
pub fn powers(size: u32) -> (u32, u32) {
    let full = 1 << size.ilog2();
    (full, size - full)
}

/// Where part `i` of `n` nearly equal parts of `count` elements begins; of part `n`, the end of the last.
pub fn even_begin(count: usize, n: u32, i: usize) -> usize {
    let n = n as usize;
    count / n * i + i.min(count % n)
}

/// Where each of them begins, and the end of the last.
pub fn even_bounds(count: usize, n: u32) -> Vec<usize> {
    (0..=n as usize).map(|i| even_begin(count, n, i)).collect()
}

/// Among a power of two of processes: this one, of number `me`, ends with part `me` of the sum at `sum`. `peer`: who a
/// number is. Any order of operands.
#[allow(clippy::too_many_arguments)]
pub fn halves(
    s: &mut Schedule,
    v: &Vector,
    me: u32,
    bounds: &[usize],
    peer: impl Fn(u32) -> Rank,
    mut current: *mut u8,
    sum: *mut u8,
    spare: &mut Option<*mut u8>,
) {
    let full = bounds.len() as u32 - 1;
    let part = |base, first: u32, n: u32, with: u32| Part {
        base,
        first: bounds[first as usize],
        count: bounds[(first + n) as usize] - bounds[first as usize],
        peer: peer(with),
    };
    let mut mask = full / 2;
    while mask > 0 {
        let partner = me ^ mask;
        let base = |rank: u32| rank & !(mask - 1);
        let keep = part(sum, base(me), mask, partner);
        let give = part(current, base(partner), mask, partner);
        v.take_in(s, keep, current, spare, Some(give));
        current = sum;
        mask /= 2;
    }
}

/// Combined by halves, then gathered along a binomial tree (Rabenseifner).
fn halving(s: &mut Schedule, place: Place, root: u32, own: *mut u8, result: *mut u8, v: &Vector) {
    let me = place.before(root);
    let at = |rank: u32| Rank::Local((rank + root) % place.size);
    let (full, rest) = powers(place.size);
    let mut current = own;
    let mut spare = None;
    if me < 2 * rest && me % 2 == 1 {
        v.give(s, own, at(me - 1));
        return;
    }
    let sum = if me == 0 {
        result
    } else {
        v.scratch(s, v.count)
    };
    let mut number = me.wrapping_sub(rest);
    if me < 2 * rest {
        let all = Part {
            base: sum,
            first: 0,
            count: v.count,
            peer: at(me + 1),
        };
        v.take_in(s, all, current, &mut spare, None);
        current = sum;
        number = me / 2;
    }
    let peer = |n: u32| at(if n < rest { 2 * n } else { n + rest });
    let bounds = even_bounds(v.count, full);
    halves(s, v, number, &bounds, peer, current, sum, &mut spare);
    let parts = |s: &mut Schedule, first: u32, n: u32| {
        let (begin, end) = (bounds[first as usize], bounds[(first + n) as usize]);
        v.data(s, sum, begin, end - begin)
    };
    let mut mask = 1;
    while mask < full {
        if number & mask != 0 {
            s.fence();
            let data = parts(s, number, mask);
            s.send_some(data, peer(number - mask));
            return;
        }
        let data = parts(s, number + mask, mask);
        s.recv_some(data, peer(number + mask));
        mask *= 2;
    }
    s.fence();
}
