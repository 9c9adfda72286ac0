//! MPI_Barrier (MPI-5.0 §6.3).

use crate::base::error::Result;
use crate::mpi::collective::arguments::Call;
use crate::mpi::collective::bcast::tree;
use crate::mpi::collective::schedule::{Data, Rank};

/// Nobody leaves before everybody has come: in round k everyone tells the rank 2^k further (dissemination). Between
/// groups the first ranks tell each other, then their groups.
pub fn barrier(call: &mut Call) -> Result<()> {
    let (s, place) = (&mut *call.s, call.place);
    let mut distance = 1;
    while distance < place.size {
        s.recv(Data::EMPTY, Rank::Local(place.before(distance)));
        s.send(Data::EMPTY, Rank::Local(place.after(distance)));
        s.fence_but(1);
        distance *= 2;
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
