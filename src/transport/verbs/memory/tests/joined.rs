//! What the program maps is joined and cut as if nothing were registered: no call of its own may be refused because of that.

use super::super::{Cache, Use};
use super::block::{in_child, Block, PAGE, RW};
use super::pinning::Pinning;
use super::{alone, device, terms};
use std::rc::Rc;

/// Two pieces of address space: of what is mapped in one, parts are registered; in the other all the same is done.
struct Twins {
    cache: Cache<Rc<Pinning>>,
    blocks: [Block; 2],
}

const ROOM: usize = 256;

impl Twins {
    fn new() -> Option<Twins> {
        let cache = Cache::new(device()?, terms());
        let far = |at| Block::far(at, ROOM * PAGE);
        let blocks = [far(0x1400_0000_0000), far(0x1500_0000_0000)];
        Some(Twins { cache, blocks })
    }

    fn both(&self, what: impl Fn(&Block)) {
        self.blocks.iter().for_each(what);
    }

    fn map(&self, first: usize, count: usize) {
        self.both(|block| {
            block.map(first * PAGE, count * PAGE);
            block.fill(first * PAGE, count * PAGE, 1);
        });
    }

    fn send(&mut self, first: usize, count: usize) {
        let address = self.blocks[0].at(first * PAGE);
        let held = self.cache.register(address, count * PAGE, Use::Read);
        self.cache.release(held.expect("registered").hold);
        assert!(self.cache.kept() > 0);
    }

    /// An mremap of pages, in both; what it says must be the same, and that it is fine.
    fn moves(&self, (first, old): (usize, usize), new: usize, flags: i32, to: usize) {
        self.both(|block| {
            let got = block.try_remap(first * PAGE, old * PAGE, new * PAGE, flags, to * PAGE);
            got.unwrap_or_else(|error| panic!("mremap of {old} pages to {new}: {error}"));
        });
    }
}

const MOVE: i32 = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;

macro_rules! twins {
    ($twins:ident) => {
        let _alone = alone();
        let Some(mut $twins) = Twins::new() else {
            return;
        };
    };
}

#[test]
fn a_mapping_of_which_a_part_was_sent_is_moved_grown_and_shrunk_as_one() {
    for (new, flags) in [
        (16, MOVE),
        (24, MOVE),
        (12, MOVE),
        (24, 0),
        (2, 0),
        (16, MOVE | libc::MREMAP_DONTUNMAP),
    ] {
        twins!(twins);
        twins.map(0, 16);
        twins.send(4, 4);
        twins.moves((0, 16), new, flags, 100);
    }
}

#[test]
fn what_was_moved_grows_again() {
    twins!(twins);
    twins.map(0, 16);
    twins.send(4, 4);
    twins.moves((0, 16), 20, 0, 0);
    twins.moves((0, 20), 40, MOVE, 100);
    twins.moves((100, 40), 60, 0, 0);
    twins.send(110, 10);
    twins.moves((100, 60), 61, MOVE, 20);
    twins.moves((20, 61), 100, MOVE, 100);
}

#[test]
fn neighbours_that_are_one_mapping_stay_one() {
    twins!(twins);
    twins.map(0, 8);
    twins.map(8, 8);
    twins.send(0, 8);
    twins.moves((0, 16), 20, MOVE, 100);
}

#[test]
fn a_part_mapped_over_is_one_with_the_rest() {
    twins!(twins);
    twins.map(0, 16);
    twins.send(2, 10);
    twins.map(4, 4);
    twins.moves((0, 16), 20, MOVE, 100);
}

#[test]
fn a_hole_that_is_filled_again_is_one_with_the_rest() {
    for edge in [0, 4, 12] {
        twins!(twins);
        twins.map(0, 16);
        twins.send(2, 10);
        twins.both(|block| block.unmap(edge * PAGE, 4 * PAGE));
        twins.map(edge, 4);
        twins.moves((0, 16), 20, MOVE, 100);
    }
}

#[test]
fn what_is_moved_into_a_hole_leaves_the_rest_as_it_is() {
    twins!(twins);
    twins.map(0, 16);
    twins.map(40, 4);
    twins.send(40, 4);
    twins.send(0, 16);
    twins.moves((40, 4), 4, MOVE, 4);
    twins.moves((8, 8), 12, MOVE, 60);
    twins.moves((4, 4), 8, MOVE, 100);
}

#[test]
fn memory_that_is_reserved_first_and_used_piece_by_piece() {
    twins!(twins);
    twins.map(0, 32);
    twins.both(|block| block.protect(4 * PAGE, 28 * PAGE, libc::PROT_NONE));
    for used in [4, 12, 20] {
        twins.send(used - 3, 2);
        twins.both(|block| block.protect(used * PAGE, 8 * PAGE, RW));
    }
    twins.moves((0, 28), 28, MOVE, 100);
}

#[test]
fn a_child_moves_all_of_it_too() {
    twins!(twins);
    twins.map(0, 16);
    twins.send(4, 4);
    let grown = |block: &Block| block.try_remap(0, 16 * PAGE, 32 * PAGE, MOVE, 100 * PAGE);
    assert!(in_child(|| grown(&twins.blocks[0]).is_ok()));
    twins.moves((0, 16), 32, MOVE, 100);
}

#[test]
fn what_is_no_longer_registered_is_joined_with_what_comes_beside_it() {
    twins!(twins);
    twins.map(8, 8);
    twins.send(8, 2);
    twins.cache.close();
    twins.map(16, 8);
    twins.map(0, 8);
    twins.moves((0, 24), 32, MOVE, 100);
}

#[test]
fn a_large_run_keeps_what_is_kept_when_a_part_of_it_goes() {
    twins!(twins);
    // Reserved mostly, as a large heap is: 80 MiB of which some pages are there.
    let large = Block::far(0x1700_0000_0000, 80 << 20);
    large.map(0, 80 << 20);
    large.fill(0, 64 * PAGE, 1);
    let mut send = |at: usize| {
        let held = twins
            .cache
            .register(large.at(at * PAGE), 4 * PAGE, Use::Read);
        twins.cache.release(held.expect("registered").hold);
        twins.cache.kept()
    };
    assert_eq!((send(0), send(20), send(40)), (1, 2, 3));
    large.unmap(40 * PAGE, 4 * PAGE);
    assert_eq!((send(0), send(20), send(50)), (2, 2, 3));
    large.unmap(0, 4 * PAGE);
    assert_eq!((send(20), send(50)), (2, 2));
    large.map(40 * PAGE, 4 * PAGE);
    assert_eq!((send(40), send(20), send(50)), (3, 3, 3));
    large.map(40 * PAGE, 4 * PAGE);
    assert_eq!((send(40), send(20), send(50)), (3, 3, 3));
}

#[test]
fn advice_and_protection_over_all_of_it() {
    twins!(twins);
    twins.map(0, 16);
    twins.send(4, 4);
    twins.both(|block| {
        for advice in [
            libc::MADV_DONTFORK,
            libc::MADV_DOFORK,
            libc::MADV_DONTNEED,
            libc::MADV_DONTDUMP,
            libc::MADV_DODUMP,
        ] {
            block.advise(0, 16 * PAGE, advice);
        }
        block.protect(0, 16 * PAGE, libc::PROT_READ);
        block.protect(0, 16 * PAGE, RW);
    });
    twins.moves((0, 16), 20, MOVE, 100);
}
