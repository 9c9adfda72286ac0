//! MPI_Scan and MPI_Exscan (MPI-5.0 §6.11).

use crate::base::error::Result;
use crate::base::id::{DatatypeId, OpId};
use crate::fail;
use crate::mpi::collective::arguments::{Call, Place};
use crate::mpi::collective::schedule::{Rank, Schedule};
use crate::mpi::collective::shown;
use crate::mpi::collective::vector::Vector;

/// Elements of ranks 0 to this one combined.
pub fn scan(
    call: &mut Call,
    sendbuf: *mut u8,
    recvbuf: *mut u8,
    count: i64,
    datatype: DatatypeId,
    op: OpId,
) -> Result<()> {
    any(call, sendbuf, recvbuf, (count, datatype, op), true)
}

/// Elements of the ranks before this one combined; nothing at rank 0.
pub fn exscan(
    call: &mut Call,
    sendbuf: *mut u8,
    recvbuf: *mut u8,
    count: i64,
    datatype: DatatypeId,
    op: OpId,
) -> Result<()> {
    any(call, sendbuf, recvbuf, (count, datatype, op), false)
}

fn any(
    call: &mut Call,
    sendbuf: *mut u8,
    recvbuf: *mut u8,
    (count, datatype, op): (i64, DatatypeId, OpId),
    inclusive: bool,
) -> Result<()> {
    if call.place.remote.is_some() {
        fail!(Comm, "scans are not for inter-communicators");
    }
    let v = call.vector(count, datatype, op)?;
    let (own, result) = call.operands(sendbuf, recvbuf, &v)?;
    if v.size() == 0 {
        return Ok(());
    }
    let shown = call.combines_rooted(&v) && v.size() <= call.s.here;
    let (s, place) = (&mut *call.s, call.place);
    if shown {
        let job = call.limits.job(&v, place, own, result);
        shown::scan(s, &job, inclusive);
        return Ok(());
    }
    if call.limits.chain(v.size(), place.size) {
        let v = Vector {
            segment: (call.limits.link / v.ty.size().max(1)).max(1),
            ..v
        };
        chain(s, place, own, result, &v, inclusive);
    } else {
        doubling(s, place, own, result, &v, inclusive);
    }
    Ok(())
}

/// Each rank takes in what those before it have, and passes it on with its own, in pieces. Keeps the order of ranks.
fn chain(
    s: &mut Schedule,
    place: Place,
    own: *mut u8,
    result: *mut u8,
    v: &Vector,
    inclusive: bool,
) {
    let (first, last) = (place.rank == 0, place.rank + 1 == place.size);
    let (before, next) = (place.before(1), Rank::Local(place.after(1)));
    // Where the elements before this rank's arrive, and where they meet its own, as the right operand or as either.
    let (into, sum) = match (inclusive, first) {
        (true, true) => (result, result),
        (true, false) if v.commute && own != result => (result, result),
        (true, false) => (v.scratch(s, v.count), result),
        (false, _) if last => (result, std::ptr::null_mut()),
        (false, true) => (result, own),
        (false, false) => (result, v.scratch(s, v.count)),
    };
    let direct = into == sum && !first;
    if !sum.is_null() && sum != own && !direct {
        v.copy(s, own, sum);
    }
    let pieces = v.pieces(v.count);
    if !first {
        for piece in 0..pieces {
            let (i, end) = v.piece(v.count, piece);
            let data = v.data(s, into, i, end - i);
            s.recv(data, Rank::Local(before));
        }
    }
    // Of those above, what was started last but for one: so many are not waited for with every piece.
    let open = if first { 0 } else { pieces as u32 - 1 };
    for piece in 0..pieces {
        let (i, end) = v.piece(v.count, piece);
        if !first {
            s.fence_but(if last { open - piece as u32 } else { open });
            if direct {
                s.reduce(v.at(own, i), v.at(into, i), end - i);
            } else if !sum.is_null() {
                s.reduce(v.at(into, i), v.at(sum, i), end - i);
            }
        }
        if !last {
            let data = v.data(s, sum, i, end - i);
            s.send(data, next);
        }
    }
}

/// In round k, ranks that differ in bit k swap the sums of their runs of 2^k ranks. Keeps the order of ranks.
fn doubling(
    s: &mut Schedule,
    place: Place,
    own: *mut u8,
    result: *mut u8,
    v: &Vector,
    inclusive: bool,
) {
    // Of this rank's run, as far as it has met; the result are the runs before it (and its own elements).
    let (mut run, mut into) = (std::ptr::null_mut(), std::ptr::null_mut());
    if place.size > 1 {
        run = v.scratch(s, v.count);
        into = v.scratch(s, v.count);
        v.copy(s, own, run);
    }
    let mut empty = !inclusive;
    if inclusive {
        v.copy(s, own, result);
    }
    let mut mask = 1;
    while mask < place.size {
        let partner = place.rank ^ mask;
        if partner < place.size {
            let (theirs, mine) = (v.all(s, into), v.all(s, run));
            s.recv(theirs, Rank::Local(partner));
            s.send(mine, Rank::Local(partner));
            s.fence();
            if partner > place.rank {
                v.reduce(s, run, into);
                std::mem::swap(&mut run, &mut into);
            } else {
                if empty {
                    v.copy(s, into, result);
                    empty = false;
                } else {
                    v.reduce(s, into, result);
                }
                v.reduce(s, into, run);
            }
        }
        mask *= 2;
    }
}
