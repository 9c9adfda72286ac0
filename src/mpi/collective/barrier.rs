//! MPI_Barrier (MPI-5.0 §6.3).

use crate::base::error::Result;
use crate::mpi::collective::arguments::{Call, Place};
use crate::mpi::collective::bcast::{flat, tree};
use crate::mpi::collective::schedule::{Data, Rank, Schedule};
use crate::mpi::collective::shown;

/// Nobody leaves before everybody has come. Between groups the first ranks tell each other, then their groups.
pub fn barrier(call: &mut Call) -> Result<()> {
    let shown = call.shows(0);
    let node = call.node(0, None);
    let (s, place) = (&mut *call.s, call.place);
    if shown {
        shown::barrier(s, place);
        return Ok(());
    }
    if let Some(node) = node {
        shown::node::barrier(s, &node);
        return Ok(());
    }
    if call.limits.crowded && place.size > 2 {
        at_first(s, place);
    } else {
        dissemination(s, place);
    }
    if place.remote.is_some() {
        if place.rank == 0 {
            s.send(Data::EMPTY, Rank::Remote(0));
            s.recv(Data::EMPTY, Rank::Remote(0));
            s.fence();
        }
        tree(s, place, 0, Data::EMPTY);
    }
    Ok(())
}

/// In round k everyone tells the rank 2^k further.
pub fn dissemination(s: &mut Schedule, place: Place) {
    let mut distance = 1;
    while distance < place.size {
        s.recv(Data::EMPTY, Rank::Local(place.before(distance)));
        s.send(Data::EMPTY, Rank::Local(place.after(distance)));
        s.fence_but(1);
        distance *= 2;
    }
}

/// All tell rank 0, which tells all: the fewest messages, and everyone waits once.
fn at_first(s: &mut Schedule, place: Place) {
    if place.rank == 0 {
        for rank in 1..place.size {
            s.recv(Data::EMPTY, Rank::Local(rank));
        }
        s.fence();
    } else {
        s.send(Data::EMPTY, Rank::Local(0));
    }
    flat(s, place, 0, Data::EMPTY);
}
