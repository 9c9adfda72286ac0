//! What a program can do to its mappings, one call a test: the device must see what the program sees.

use super::super::uffd::{Event, Uffd};
use super::super::{Cache, Held, Use};
use super::block::{in_child, Block, PAGE, RW};
use super::pinning::Pinning;
use super::{alone, device, terms, Device};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

const PAGES: usize = 16;

struct Scene {
    cache: Cache<Rc<Pinning>>,
    device: Rc<Pinning>,
    block: Block,
}

impl Scene {
    fn new() -> Option<Scene> {
        let device = device()?;
        let block = Block::alone(PAGES * PAGE);
        block.fill(0, PAGES * PAGE, 1);
        Some(Scene {
            cache: Cache::new(device.clone(), terms()),
            device,
            block,
        })
    }

    fn register(&mut self, offset: usize, length: usize) -> Held {
        let address = self.block.at(offset);
        let held = self.cache.register(address, length, Use::Change);
        held.expect("registered")
    }

    fn sees(&self, held: &Held, offset: usize) -> u64 {
        word(&self.device, held, self.block.address() + offset)
    }

    /// Registers all, has `change` done, writes other contents to the fifth page and looks at it through a new registration, and
    /// through one that was in use all the time. Answers whether that was found anew.
    fn after(&mut self, change: impl FnOnce(&Block)) -> bool {
        let all = PAGES * PAGE;
        let before = self.register(0, all);
        self.cache.release(before.hold);
        let during = self.register(0, all);
        let count = self.device.registered.get();
        change(&self.block);
        let last = self.block.word(5 * PAGE);
        self.block.fill(5 * PAGE, PAGE, 2);
        let after = self.register(4 * PAGE, 2 * PAGE);
        assert_eq!(self.sees(&after, 5 * PAGE), 2);
        self.cache.release(after.hold);
        let anew = self.device.registered.get() != count;
        // The page that went is what the operation has still; one that stayed is the program's.
        let old = if anew { last.max(1) } else { 2 };
        assert_eq!(self.sees(&during, 5 * PAGE), old);
        self.cache.release(during.hold);
        let last = self.register(0, all);
        assert_eq!(self.sees(&last, 5 * PAGE), 2);
        self.cache.release(last.hold);
        anew
    }
}

fn word(device: &Rc<Pinning>, held: &Held, address: usize) -> u64 {
    let mut word = [0; 8];
    device.read(held, address, &mut word);
    u64::from_ne_bytes(word)
}

/// Does anybody watch these pages? For then nobody else may.
fn watched(start: usize, end: usize) -> bool {
    let uffd = Uffd::open().unwrap();
    let added = uffd.add(start, end);
    added.is_err() || !uffd.remove(start, end)
}

macro_rules! scene {
    ($scene:ident) => {
        let _alone = alone();
        let Some(mut $scene) = Scene::new() else {
            return;
        };
    };
}

#[test]
fn unmapped_and_mapped_again_at_the_same_address() {
    scene!(scene);
    assert!(scene.after(|block| {
        block.unmap(4 * PAGE, 2 * PAGE);
        block.map(4 * PAGE, 2 * PAGE);
    }));
}

#[test]
fn mapped_over() {
    scene!(scene);
    assert!(scene.after(|block| block.map(5 * PAGE, PAGE)));
}

#[test]
fn moved_away_and_something_else_moved_there() {
    scene!(scene);
    let other = Block::new(2 * PAGE);
    assert!(scene.after(|block| {
        block.remap(4 * PAGE, 2 * PAGE, 8 * PAGE, 2 * PAGE, 0);
        block.map(4 * PAGE, 2 * PAGE);
        other.fill(0, 2 * PAGE, 3);
    }));
}

#[test]
fn moved_away_by_a_call_that_leaves_an_empty_mapping() {
    scene!(scene);
    assert!(scene.after(|block| {
        block.remap(
            4 * PAGE,
            2 * PAGE,
            8 * PAGE,
            2 * PAGE,
            libc::MREMAP_DONTUNMAP,
        );
        assert_eq!(block.word(5 * PAGE), 0);
    }));
}

#[test]
fn memory_that_was_moved_is_not_watched_where_it_came_to() {
    scene!(scene);
    let other = Block::far(0x1300_0000_0000, 16 * PAGE);
    let held = scene.register(0, PAGES * PAGE);
    scene.cache.release(held.hold);
    let to = other.address() - scene.block.address();
    // Larger there, so that more is watched than the event tells of.
    scene.block.remap(0, 4 * PAGE, to, 8 * PAGE, 0);
    assert!(!watched(other.address(), other.address() + 8 * PAGE));
    // With a hole it is not watched any more, until it is registered again.
    let start = scene.block.address();
    assert!(!watched(start + 4 * PAGE, start + 16 * PAGE));
    let held = scene.register(12 * PAGE, PAGE);
    scene.cache.release(held.hold);
    assert!(watched(start + 4 * PAGE, start + 5 * PAGE));
}

#[test]
fn discarded() {
    scene!(scene);
    assert!(scene.after(|block| block.advise(5 * PAGE, PAGE, libc::MADV_DONTNEED)));
    assert!(scene.after(|block| block.advise(5 * PAGE, PAGE, libc::MADV_FREE)));
}

#[test]
fn protected_and_freed_of_it_nothing_has_changed() {
    scene!(scene);
    assert!(!scene.after(|block| {
        block.protect(0, 8 * PAGE, libc::PROT_NONE);
        block.protect(0, 8 * PAGE, RW);
    }));
}

#[test]
fn paged_out_or_merged_memory_stays_where_the_device_sees_it() {
    scene!(scene);
    // Advice that would move pages which nobody has pinned; what the system does not know it refuses.
    assert!(!scene.after(|block| {
        for advice in [
            libc::MADV_PAGEOUT,
            libc::MADV_COLD,
            libc::MADV_MERGEABLE,
            libc::MADV_HUGEPAGE,
        ] {
            // SAFETY: the addresses are this block's own.
            unsafe { libc::madvise(block.at(0).cast(), PAGES * PAGE, advice) };
        }
    }));
}

#[test]
fn a_fork_changes_nothing_for_the_parent() {
    scene!(scene);
    assert!(!scene.after(|block| {
        assert!(in_child(|| {
            block.fill(0, PAGES * PAGE, 7);
            block.unmap(0, 4 * PAGE);
            block.word(5 * PAGE) == 7
        }));
    }));
    // While a child lives, its parent's pages are its own.
    // SAFETY: the child only sleeps and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe {
            libc::pause();
            libc::_exit(0);
        }
    }
    assert!(!scene.after(|block| block.fill(5 * PAGE, PAGE, 9)));
    // SAFETY: the child is ours.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
}

#[test]
fn the_heaps_end_goes_back_and_comes_again() {
    scene!(scene);
    // The first arena's end, which this thread's allocations do not touch.
    // SAFETY: the break is put back to where it was; what stands above it is ours.
    unsafe {
        let end = libc::sbrk(0) as usize;
        let grown = end.next_multiple_of(PAGE) + 8 * PAGE;
        assert_ne!(libc::sbrk((grown - end) as isize) as isize, -1);
        let buffer = (grown - 4 * PAGE) as *mut u64;
        buffer.write_volatile(1);
        let held = scene.cache.register(buffer.cast(), 2 * PAGE, Use::Read);
        let held = held.expect("registered");
        assert_eq!(word(&scene.device, &held, buffer as usize), 1);
        scene.cache.release(held.hold);
        assert_eq!(scene.cache.kept(), 1);
        libc::sbrk(-(6 * PAGE as isize));
        libc::sbrk(6 * PAGE as isize);
        assert_eq!(buffer.read_volatile(), 0);
        buffer.write_volatile(2);
        let held = scene.cache.register(buffer.cast(), 2 * PAGE, Use::Read);
        let held = held.expect("registered");
        assert_eq!(word(&scene.device, &held, buffer as usize), 2);
        libc::sbrk(-((grown - end) as isize));
    }
}

#[test]
fn what_the_program_unmaps_is_given_back_without_a_registration() {
    scene!(scene);
    let held = scene.register(0, 4 * PAGE);
    scene.cache.release(held.hold);
    assert_eq!(scene.cache.pinned(), 4 * PAGE as u64);
    scene.cache.tidy();
    assert_eq!(scene.cache.kept(), 1);
    scene.block.unmap(0, PAGE);
    // The call has returned, so its event was read; it may be a moment until it is in the ring.
    while scene.cache.kept() != 0 {
        scene.cache.tidy();
        std::thread::yield_now();
    }
    assert_eq!(scene.cache.pinned(), 0);
}

#[test]
fn memory_of_files_is_registered_for_once() {
    scene!(scene);
    scene.block.cover_with_memfd(4 * PAGE, 4 * PAGE);
    for (offset, length) in [(4, 4), (5, 1), (3, 2), (7, 2), (0, PAGES)] {
        let held = scene.register(offset * PAGE, length * PAGE);
        assert_eq!(scene.cache.kept(), 0, "{offset} {length}");
        scene.cache.release(held.hold);
        assert_eq!(scene.cache.pinned(), 0);
    }
    let held = scene.register(0, 4 * PAGE);
    scene.cache.release(held.hold);
    assert_eq!(scene.cache.kept(), 1);
    // What is not kept leaves what is.
    let held = scene.register(3 * PAGE, 2 * PAGE);
    scene.cache.release(held.hold);
    let count = scene.device.registered.get();
    scene.block.map(3 * PAGE, PAGE);
    scene.block.fill(3 * PAGE, PAGE, 5);
    let held = scene.register(0, 4 * PAGE);
    assert_eq!(scene.sees(&held, 3 * PAGE), 5);
    assert_eq!(scene.device.registered.get(), count + 1);
}

#[test]
fn a_segment_of_system_v_goes_untold_and_is_not_kept() {
    scene!(scene);
    // SAFETY: the segment is ours and attached where the system likes.
    unsafe {
        let attach = |with: u64| {
            let id = libc::shmget(libc::IPC_PRIVATE, 4 * PAGE, 0o600 | libc::IPC_CREAT);
            assert!(id >= 0);
            let at = libc::shmat(id, std::ptr::null(), 0);
            libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
            assert_ne!(at as isize, -1);
            at.cast::<u64>().write_volatile(with);
            at
        };
        let mut again = 0;
        let mut before = 0;
        for round in 0..20 {
            let at = attach(round);
            let held = scene.cache.register(at.cast(), 4 * PAGE, Use::Change);
            let held = held.expect("registered");
            assert_eq!(word(&scene.device, &held, at as usize), round);
            scene.cache.release(held.hold);
            assert_eq!(scene.cache.kept(), 0);
            libc::shmdt(at);
            again += usize::from(at as usize == before);
            before = at as usize;
        }
        assert!(again > 0, "the same addresses came again");
    }
}

#[test]
fn memory_that_the_program_watches_itself_is_left_to_it() {
    scene!(scene);
    let theirs = Uffd::open().unwrap();
    let start = scene.block.address();
    theirs.add(start, start + 2 * PAGE).unwrap();
    let held = scene.register(0, 4 * PAGE);
    scene.cache.release(held.hold);
    assert_eq!(scene.cache.kept(), 0);
    let held = scene.register(2 * PAGE, 2 * PAGE);
    scene.cache.release(held.hold);
    assert_eq!(scene.cache.kept(), 1);
    scene.cache.close();
    std::thread::scope(|scope| {
        scope.spawn(|| loop {
            if theirs.next() == Some(Event::Gone(start, start + PAGE)) {
                break;
            }
            std::thread::yield_now();
        });
        scene.block.unmap(0, PAGE);
    });
}

#[test]
fn a_program_that_closes_all_descriptors_loses_the_keeping_and_nothing_else() {
    scene!(scene);
    let held = scene.register(0, 4 * PAGE);
    assert_eq!(scene.cache.kept(), 1);
    scene.cache.close_descriptor_for_a_test();
    scene.block.map(0, PAGE);
    scene.block.fill(0, PAGE, 2);
    let other = scene.register(0, 4 * PAGE);
    assert_eq!(scene.cache.kept(), 0);
    assert_eq!(scene.sees(&other, 0), 2);
    assert_eq!(scene.sees(&held, 0), 1);
    scene.cache.release(other.hold);
    scene.cache.release(held.hold);
    assert_eq!(scene.cache.pinned(), 0);
}

#[test]
fn many_changes_between_two_registrations() {
    scene!(scene);
    let held = scene.register(0, PAGES * PAGE);
    scene.cache.release(held.hold);
    for _ in 0..3000 {
        scene.block.advise(0, PAGE, libc::MADV_DONTNEED);
    }
    scene.block.fill(0, PAGE, 3);
    let held = scene.register(0, PAGE);
    assert_eq!(scene.sees(&held, 0), 3);
}

/// One thread unmaps while another is handed the same addresses, before the event of the first was read.
#[test]
fn addresses_that_another_thread_is_giving_up_are_not_found() {
    scene!(scene);
    const ROUNDS: u64 = 3000;
    let length = 16 * PAGE;
    let over = AtomicBool::new(false);
    let (give, take) = mpsc::sync_channel::<Block>(1);
    let (mut again, mut before) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for block in take {
                drop(block);
            }
            over.store(true, Ordering::Release);
        });
        for round in 0..ROUNDS {
            let block = Block::new(length);
            block.fill(0, PAGE, round);
            block.fill(length - PAGE, PAGE, round);
            again += usize::from(block.address() == before);
            before = block.address();
            let held = scene.cache.register(block.at(0), length, Use::Read);
            let held = held.expect("registered");
            let look = |at: usize| word(&scene.device, &held, block.address() + at);
            assert_eq!((look(0), look(length - 8)), (round, round));
            scene.cache.release(held.hold);
            if give.send(block).is_err() {
                break;
            }
        }
        drop(give);
    });
    assert!(over.load(Ordering::Acquire));
    assert!(again > 0, "the same addresses came again");
}
