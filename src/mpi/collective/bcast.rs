//! MPI_Bcast (MPI-5.0 §6.4).

use crate::base::error::Result;
use crate::base::id::DatatypeId;
use crate::mpi::collective::arguments::{Call, Place, Root};
use crate::mpi::collective::limits::{Bcast, Limits};
use crate::mpi::collective::schedule::{Data, Rank, Schedule};
use crate::mpi::collective::shown;

/// The root's data, everywhere.
pub fn bcast(
    call: &mut Call,
    buffer: *mut u8,
    count: i64,
    datatype: DatatypeId,
    root: i32,
) -> Result<()> {
    let root = call.root(root)?;
    if root == Root::Nobody {
        return Ok(());
    }
    let elements = call.elements(buffer, count, datatype)?;
    if elements.size() == 0 {
        return Ok(());
    }
    let shown = call.shows_rooted(elements.size());
    let node = match root {
        Root::Local(root) => {
            let size = elements.size();
            call.node(size, Some(root))
                .filter(|node| node.suits(call.limits, size))
        }
        _ => None,
    };
    let (s, place) = (&mut *call.s, call.place);
    let data = elements.data(s);
    match root {
        Root::Local(root) if shown => shown::bcast(s, place, root, data),
        Root::Local(root) => match node {
            Some(node) => shown::node::bcast(s, call.limits, &node, root, data),
            None => everywhere(s, call.limits, place, root, data),
        },
        Root::Me => s.send(data, Rank::Remote(0)),
        Root::Remote(root) => {
            if place.rank == 0 {
                s.recv(data, Rank::Remote(root));
                s.fence();
            }
            everywhere(s, call.limits, place, 0, data);
        }
        Root::Nobody => {}
    }
    Ok(())
}

/// The data of a root of the local group, everywhere in it.
pub fn everywhere(s: &mut Schedule, limits: &Limits, place: Place, root: u32, data: Data) {
    match limits.bcast(s.size(&data), place.size) {
        Bcast::Flat => flat(s, place, root, data),
        Bcast::Tree => tree(s, place, root, data),
        Bcast::Split => split(s, place, root, data),
    }
}

/// From the root to everybody, whole.
pub fn flat(s: &mut Schedule, place: Place, root: u32, data: Data) {
    if place.rank != root {
        return s.recv(data, Rank::Local(root));
    }
    for distance in 1..place.size {
        s.send(data, Rank::Local(place.after(distance)));
    }
}

/// Along a binomial tree, whole.
pub fn tree(s: &mut Schedule, place: Place, root: u32, data: Data) {
    let me = place.before(root);
    let at = |v: u32| Rank::Local((v + root) % place.size);
    let mut mask = 1;
    while mask < place.size {
        if me & mask != 0 {
            s.recv(data, at(me - mask));
            s.fence();
            break;
        }
        mask *= 2;
    }
    mask /= 2;
    while mask > 0 {
        if me + mask < place.size {
            s.send(data, at(me + mask));
        }
        mask /= 2;
    }
}

/// How many ranks' parts a rank (counted from the root) of a binomial tree answers for.
pub fn subtree(v: u32, size: u32) -> u32 {
    if v == 0 {
        size
    } else {
        (1 << v.trailing_zeros()).min(size - v)
    }
}

/// Scattered along a binomial tree in equal parts, which then go round a ring; whoever has a part from the tree does
/// not get it again.
pub fn split(s: &mut Schedule, place: Place, root: u32, data: Data) {
    let size = place.size;
    let me = place.before(root);
    let at = |v: u32| Rank::Local((v + root) % size);
    let bytes = s.size(&data);
    let base = match data.address() {
        Some(address) => address,
        None => s.scratch(bytes),
    };
    let packed = Data::bytes(base, bytes);
    if me == 0 {
        s.copy(data, packed);
    }
    let block = bytes.div_ceil(size as usize);
    let parts = |first: u32, n: u32| {
        let begin = (first as usize * block).min(bytes);
        let end = ((first + n) as usize * block).min(bytes);
        Data::bytes(base.wrapping_add(begin), end - begin)
    };
    let mut mask = size.next_power_of_two();
    if me != 0 {
        mask = 1 << me.trailing_zeros();
        s.recv_some(parts(me, subtree(me, size)), at(me - mask));
        s.fence();
    }
    while mask > 1 {
        mask /= 2;
        if me + mask < size {
            s.send_some(parts(me + mask, subtree(me + mask, size)), at(me + mask));
        }
    }
    let has = |v: u32, part: u32| part >= v && part < v + subtree(v, size);
    let (next, last) = ((me + 1) % size, (me + size - 1) % size);
    for step in 0..size - 1 {
        let out = (me + size - step) % size;
        let into = (me + size - step - 1) % size;
        if !has(me, into) {
            s.recv_some(parts(into, 1), at(last));
        }
        let mut sent = 0;
        if !has(next, out) {
            sent = s.send_some(parts(out, 1), at(next));
        }
        s.fence_but(sent);
    }
    if me != 0 && data != packed {
        s.fence();
        s.copy(packed, data);
    }
}
