//! One rule a test.

use super::super::{Cache, Held, Use};
use super::block::{Block, PAGE};
use super::pinning::Pinning;
use super::{alone, device, terms, Device};
use crate::transport::verbs::memory::Terms;
use std::rc::Rc;

struct Scene {
    cache: Cache<Rc<Pinning>>,
    device: Rc<Pinning>,
    block: Block,
}

impl Scene {
    fn new(terms: Terms) -> Option<Scene> {
        let device = device()?;
        let block = Block::alone(64 * PAGE);
        block.fill(0, 64 * PAGE, 1);
        Some(Scene {
            cache: Cache::new(device.clone(), terms),
            device,
            block,
        })
    }

    fn register(&mut self, offset: usize, length: usize) -> Held {
        self.try_register(offset, length).expect("registered")
    }

    fn try_register(&mut self, offset: usize, length: usize) -> Result<Held, String> {
        let address = self.block.at(offset);
        self.cache.register(address, length, Use::Change)
    }

    /// Registered and released: how many registrations that took.
    fn touch(&mut self, offset: usize, length: usize) -> usize {
        let before = self.device.registered.get();
        let held = self.register(offset, length);
        self.cache.release(held.hold);
        self.device.registered.get() - before
    }

    fn sees(&self, held: &Held, offset: usize) -> u64 {
        let mut word = [0; 8];
        self.device
            .read(held, self.block.address() + offset, &mut word);
        u64::from_ne_bytes(word)
    }
}

macro_rules! scene {
    ($scene:ident, $terms:expr) => {
        let _alone = alone();
        let Some(mut $scene) = Scene::new($terms) else {
            return;
        };
    };
}

#[test]
fn a_part_of_what_is_registered_is_found() {
    scene!(scene, terms());
    assert_eq!(scene.touch(0, 16 * PAGE), 1);
    for (offset, length) in [
        (0, 1),
        (100, 9000),
        (15 * PAGE, PAGE),
        (0, 16 * PAGE),
        (7, 0),
    ] {
        assert_eq!(scene.touch(offset, length), 0, "{offset} {length}");
    }
    // Two buffers that share a page: the second begins on one that is known, and needs one more.
    assert_eq!(scene.touch(16 * PAGE - 100, 200), 1);
    assert_eq!(scene.touch(16 * PAGE, 100), 0);
    assert_eq!(scene.cache.kept(), 2);
    // Two that touch but share none are two.
    assert_eq!(scene.touch(20 * PAGE, PAGE), 1);
    assert_eq!(scene.touch(21 * PAGE, PAGE), 1);
    assert_eq!(scene.touch(20 * PAGE, 2 * PAGE), 1);
    // The larger one took their places.
    assert_eq!(scene.cache.kept(), 3);
    assert_eq!(scene.cache.pinned(), 20 * PAGE as u64);
    assert_eq!(scene.touch(21 * PAGE, PAGE), 0);
}

#[test]
fn one_in_use_outlives_its_place() {
    scene!(scene, terms());
    let inner = scene.register(4 * PAGE, PAGE);
    let outer = scene.register(0, 8 * PAGE);
    assert_eq!(scene.cache.kept(), 1);
    assert_eq!(scene.cache.pinned(), 9 * PAGE as u64);
    assert_eq!(scene.sees(&inner, 4 * PAGE), 1);
    scene.cache.release(inner.hold);
    assert_eq!(scene.cache.pinned(), 8 * PAGE as u64);
    // Released once more it names nothing, even when its place is taken.
    let next = scene.register(20 * PAGE, PAGE);
    scene.cache.release(inner.hold);
    assert_eq!(scene.sees(&next, 20 * PAGE), 1);
    scene.cache.release(outer.hold);
    scene.cache.release(outer.hold);
    assert_eq!(scene.cache.pinned(), 9 * PAGE as u64);
}

#[test]
fn the_longest_unused_makes_room_and_what_is_in_use_stays() {
    let bound = 8 * PAGE as u64;
    scene!(
        scene,
        Terms {
            pinned: bound,
            ..terms()
        }
    );
    for at in 0..4 {
        assert_eq!(scene.touch(at * 4 * PAGE, 2 * PAGE), 1);
    }
    assert_eq!(scene.cache.pinned(), bound);
    assert_eq!(scene.touch(0, PAGE), 0);
    let held = scene.register(4 * PAGE, PAGE);
    assert_eq!(scene.touch(40 * PAGE, 2 * PAGE), 1);
    assert_eq!(scene.touch(0, PAGE), 0, "used last");
    assert_eq!(scene.touch(12 * PAGE, PAGE), 0, "used later than the third");
    assert_eq!(scene.touch(8 * PAGE, 2 * PAGE), 1, "was the longest unused");
    // What is too large even for an empty cache empties nothing.
    let kept = scene.cache.kept();
    let why = scene.try_register(20 * PAGE, 7 * PAGE).unwrap_err();
    assert!(why.contains("MAYFLY_VERBS_PINNED"), "{why}");
    assert_eq!(scene.cache.kept(), kept);
    // All that is not in use makes room.
    let large = scene.register(20 * PAGE, 6 * PAGE);
    assert_eq!((scene.cache.kept(), scene.cache.pinned()), (2, bound));
    assert_eq!(scene.sees(&held, 4 * PAGE), 1);
    scene.cache.release(held.hold);
    scene.cache.release(large.hold);
}

#[test]
fn there_is_a_bound_of_registrations_too() {
    scene!(scene, Terms { kept: 4, ..terms() });
    for at in 0..20 {
        assert_eq!(scene.touch(at * 2 * PAGE, PAGE), 1);
        assert_eq!(scene.cache.kept(), (at + 1).min(4));
    }
    let held: Vec<Held> = (0..8)
        .map(|at| scene.register(at * 2 * PAGE, PAGE))
        .collect();
    assert_eq!(scene.cache.kept(), 4);
    for (at, held) in held.iter().enumerate() {
        assert_eq!(scene.sees(held, at * 2 * PAGE), 1);
        scene.cache.release(held.hold);
    }
    assert_eq!(scene.cache.pinned(), 4 * PAGE as u64);
}

#[test]
fn where_the_system_has_no_room_the_unused_makes_some() {
    scene!(scene, terms());
    for at in 0..8 {
        scene.touch(at * 2 * PAGE, PAGE);
    }
    scene.device.fail.set(libc::ENOMEM);
    let why = scene.try_register(40 * PAGE, PAGE).unwrap_err();
    assert!(why.contains("cannot be registered"), "{why}");
    assert_eq!((scene.cache.kept(), scene.cache.pinned()), (0, 0));
    scene.device.fail.set(0);
    assert_eq!(scene.touch(40 * PAGE, PAGE), 1);
}

#[test]
fn memory_that_may_only_be_read_is_registered_for_once() {
    scene!(scene, terms());
    // Of memory that is not writable the device says so; here it is told to.
    scene.device.only_read.set(true);
    let why = scene.try_register(0, PAGE).unwrap_err();
    assert!(why.contains("refused with 14"), "{why}");
    let address = scene.block.at(0);
    let held = scene.cache.register(address, PAGE, Use::Read).unwrap();
    assert_eq!(scene.sees(&held, 0), 1);
    assert_eq!(scene.cache.kept(), 0);
    scene.cache.release(held.hold);
    assert_eq!(scene.cache.pinned(), 0);
}

#[test]
fn a_device_that_forgets_at_a_fork_gets_no_users_memory() {
    scene!(
        scene,
        Terms {
            fork_safe: false,
            ..terms()
        }
    );
    let why = scene.try_register(0, PAGE).unwrap_err();
    assert!(why.contains("forks"), "{why}");
}

#[test]
fn addresses_that_are_none_are_refused() {
    scene!(scene, terms());
    let why = scene.cache.register(usize::MAX as *const u8, 2, Use::Read);
    assert!(why.unwrap_err().contains("address space"));
    let why = scene.cache.register(std::ptr::null(), 64, Use::Read);
    assert!(why.is_err());
    assert_eq!((scene.cache.kept(), scene.cache.pinned()), (0, 0));
}

#[test]
fn closing_gives_all_back_and_watches_nothing() {
    scene!(scene, terms());
    let held = scene.register(0, PAGE);
    scene.touch(4 * PAGE, PAGE);
    // Memory that grows where it is takes its watch along, of which nobody is told.
    scene.block.unmap(5 * PAGE, PAGE);
    scene.block.resize(4 * PAGE, PAGE, 2 * PAGE);
    // A child keeps the descriptor over the end, as one of a worker pool would.
    // SAFETY: the child only sleeps and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe {
            libc::pause();
            libc::_exit(0);
        }
    }
    scene.cache.close();
    assert_eq!(scene.cache.pinned(), 0);
    scene.cache.release(held.hold);
    // These would wait for ever for somebody to read of them.
    scene.block.unmap(0, 16 * PAGE);
    // SAFETY: the child is ours.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    assert_eq!(scene.touch(20 * PAGE, PAGE), 1, "it begins anew");
}

#[test]
fn a_child_of_a_fork_may_drop_it() {
    scene!(scene, terms());
    let held = scene.register(0, PAGE);
    let cache = std::mem::replace(&mut scene.cache, Cache::new(scene.device.clone(), terms()));
    // SAFETY: the child drops the cache, which must neither wait for a thread that it does not have nor end its parent's watch.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(cache);
        // SAFETY: as above.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: the child is ours.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0);
    scene.cache = cache;
    scene.block.map(0, PAGE);
    scene.block.fill(0, PAGE, 2);
    let next = scene.register(0, PAGE);
    assert_eq!(scene.sees(&next, 0), 2, "the parent's watch lives");
    assert_eq!(scene.sees(&held, 0), 1, "and so does what was in use");
}
