//! Collectives that move data.

use crate::mpi::collective::arguments::Place;
use crate::mpi::collective::blocks::Blocks;
use crate::mpi::collective::rooted::{Rooted, Way};
use crate::mpi::collective::schedule::{Data, Readers, Schedule, Step};
use crate::mpi::collective::showing::ENTRY;

/// Nobody leaves before everybody has come.
pub fn barrier(s: &mut Schedule, place: Place) {
    s.show(Data::EMPTY, 1);
    for rank in place.others() {
        s.look(rank, 1, (0, 0), Data::EMPTY);
    }
    s.settle_boards(Readers::Nobody);
}

/// The root's data, everywhere.
pub fn bcast(s: &mut Schedule, place: Place, root: u32, data: Data) {
    if place.rank == root {
        s.show(data, 1);
        return s.settle_boards(Readers::All);
    }
    let size = s.size(&data);
    s.look(root, 1, (0, size), data);
    s.settle_boards(Readers::Nobody);
}

/// Every rank's block, at the root.
pub fn gather(s: &mut Schedule, part: &Rooted) {
    let Some(blocks) = &part.blocks else {
        return show_own(s, part);
    };
    part.copy(s, Way::ToRoot);
    for rank in part.place.others() {
        let block = blocks.of(s, rank);
        let size = s.size(&block);
        if size > 0 {
            s.look(rank, 1, (0, size), block);
        }
    }
    s.shows = true;
    s.settle_boards(Readers::Nobody);
}

fn show_own(s: &mut Schedule, part: &Rooted) {
    let own = part.own.as_ref().map(|own| own.data(s));
    s.show(own.unwrap_or(Data::EMPTY), 1);
    s.settle_boards(Readers::One(part.root));
}

/// The root's blocks, each at its rank; `even`: all of one size.
pub fn scatter(s: &mut Schedule, part: &Rooted, even: bool) {
    let place = part.place;
    if let Some(blocks) = &part.blocks {
        match even {
            true => show_even(s, place, blocks, part.block),
            false => show_each(s, place, blocks, false),
        }
        part.copy(s, Way::FromRoot);
        return s.settle_boards(Readers::All);
    }
    if let Some(own) = &part.own {
        let to = own.data(s);
        match even {
            true => look_even(s, place, part.root, part.block, to),
            false => look_each(s, part.root, to),
        }
    }
    s.settle_boards(Readers::Nobody);
}

/// Do the even pieces for all other ranks have room on a board? If not, all pieces are shown where they are.
fn has_room(s: &Schedule, place: Place, block: usize) -> bool {
    block.saturating_mul(place.size as usize - 1) <= s.here
}

/// A piece for each other rank, all of one size.
fn show_even(s: &mut Schedule, place: Place, blocks: &Blocks, block: usize) {
    if has_room(s, place, block) {
        for rank in place.others() {
            let piece = blocks.of(s, rank);
            s.pieces.push(piece);
        }
        s.shows = true;
        s.steps.push(Step::ShowAll { phase: 1 });
    } else if let Some(all) = blocks.run(s, 0, place.size) {
        s.show(all, 1);
    }
}

/// The piece for this rank of those that another one shows so.
fn look_even(s: &mut Schedule, place: Place, from: u32, block: usize, to: Data) {
    let (me, ranks) = (place.rank as usize, place.size as usize);
    let spot = match has_room(s, place, block) {
        true => {
            let after = (place.rank + place.size - from) % place.size;
            ((after as usize - 1) * block, (ranks - 1) * block)
        }
        false => (me * block, ranks * block),
    };
    s.look(from, 1, spot, to);
}

fn look_each(s: &mut Schedule, from: u32, to: Data) {
    s.shows = true;
    s.steps.push(Step::LookEach { from, phase: 1, to });
}

/// A piece for each other rank; `aside`: others are about to arrive where they lie.
fn show_each(s: &mut Schedule, place: Place, blocks: &Blocks, aside: bool) {
    let total = place.others().map(|rank| blocks.size(rank)).sum::<usize>();
    // With the table.
    let whole = total + ENTRY * place.size as usize <= s.here;
    for rank in 0..place.size {
        let mut piece = Data::EMPTY;
        if rank != place.rank {
            piece = blocks.of(s, rank);
            if aside || (!whole && piece.address().is_none()) {
                piece = s.put_aside(piece);
            }
        }
        s.pieces.push(piece);
    }
    s.shows = true;
    s.steps.push(Step::ShowEach { phase: 1 });
}

/// Every rank's block, everywhere.
pub fn allgather(s: &mut Schedule, place: Place, own: Data, blocks: &Blocks) {
    s.show(own, 1);
    let mine = blocks.of(s, place.rank);
    s.copy(own, mine);
    for rank in place.others() {
        let block = blocks.of(s, rank);
        let size = s.size(&block);
        if size > 0 {
            s.look(rank, 1, (0, size), block);
        }
    }
    s.settle_boards(Readers::All);
}

/// Block r of each rank to rank r; `even`: all of one size, one after the other.
pub fn alltoall(s: &mut Schedule, place: Place, from: Option<&Blocks>, into: &Blocks, even: bool) {
    let block = into.size(0);
    match (from, even) {
        (Some(from), true) => show_even(s, place, from, block),
        (Some(from), false) => show_each(s, place, from, false),
        // In place: what is shown elsewhere must stay while blocks arrive.
        (None, true) if has_room(s, place, block) => show_even(s, place, into, block),
        (None, true) => {
            if let Some(all) = into.run(s, 0, place.size) {
                let aside = s.put_aside(all);
                s.show(aside, 1);
            }
        }
        (None, false) => show_each(s, place, into, true),
    }
    if let Some(from) = from {
        let (own, to) = (from.of(s, place.rank), into.of(s, place.rank));
        s.copy(own, to);
    }
    for rank in place.others() {
        let to = into.of(s, rank);
        match even {
            true => look_even(s, place, rank, block, to),
            false => look_each(s, rank, to),
        }
    }
    s.settle_boards(Readers::All);
}
