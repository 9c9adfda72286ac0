//! MPI_Scan and MPI_Exscan (MPI-5.0 §6.11).

use crate::base::error::Result;
use crate::base::id::{DatatypeId, OpId};
use crate::fail;
use crate::mpi::collective::arguments::Call;
use crate::mpi::collective::schedule::Rank;

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

/// In round k, ranks that differ in bit k swap the sums of their runs of 2^k ranks. Keeps the order of ranks.
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
    let (s, place) = (&mut *call.s, call.place);
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
    Ok(())
}
