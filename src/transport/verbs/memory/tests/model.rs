//! A random program over its own memory and a device, and a checker: for every page it is known which page stands behind the
//! address, what is in it, and which pages a registration in use must show.

use super::super::{Cache, Held, Registrar, Terms, Use};
use super::block::{in_child, is_stamped, memfd, stamp, Block, PAGE, RW};
use super::Device;
use crate::transport::os::Fd;
use std::cell::Cell;
use std::rc::Rc;

mod whole;

/// Pages of the program; addresses that the system hands out to nobody by itself.
const PAGES: usize = 48;
const FAR: usize = 0x1000_0000_0000;
/// Here the same is mapped, of which nothing is ever registered.
const TWIN: usize = 0x1600_0000_0000;

/// A page of memory, wherever it is mapped and whether or not.
struct Page {
    /// All its words; `None`: the kernel may have thrown it away.
    content: Cell<Option<u64>>,
    /// Of the shared file, at this page of it.
    shared: Option<usize>,
}

struct Operation {
    held: Held,
    first: usize,
    pages: Vec<Rc<Page>>,
}

pub struct Model<D: Device + Registrar> {
    random: u64,
    block: Block,
    twin: Block,
    file: Fd,
    pages: Vec<Option<Rc<Page>>>,
    cache: Cache<D>,
    device: D,
    under_way: Vec<Operation>,
    stamp: u64,
    pub hits: usize,
    pub looks: usize,
    /// Calls that were compared with what they do to memory of which nothing is registered.
    pub compared: usize,
    /// Bytes registered at most.
    bound: u64,
}

impl<D: Device + Registrar + Clone> Model<D> {
    pub fn new(device: D, terms: Terms, seed: u64) -> Model<D> {
        Model {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            block: Block::far(FAR, PAGES * PAGE),
            twin: Block::far(TWIN, PAGES * PAGE),
            file: memfd(PAGES * PAGE),
            pages: vec![None; PAGES],
            cache: Cache::new(device.clone(), terms),
            device,
            under_way: Vec::new(),
            stamp: 0,
            hits: 0,
            looks: 0,
            compared: 0,
            bound: terms.pinned,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 33) as usize % bound
    }

    /// A few pages in a row, somewhere.
    fn some(&mut self) -> (usize, usize) {
        let count = 1 + self.below(6);
        (self.below(PAGES - count + 1), count)
    }

    fn stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp << 16 | 0xbeef
    }

    pub fn step(&mut self) {
        let (first, count) = self.some();
        match self.below(100) {
            0..5 => self.map(first, count),
            5..8 => self.map_shared(first, count),
            8..14 => self.unmap(first, count),
            14..19 => self.discard(first, count),
            19..21 => self.discard_lazily(first, count),
            21..25 => self.remap(first, count),
            25..27 => self.resize(first, count),
            27..30 => self.protect(first, count),
            30..45 => self.fill(first, count),
            45 if self.below(4) == 0 => self.fork(),
            45 => self.punch(first, count),
            46 => self.whole(),
            47..50 => self.cache.tidy(),
            50..80 => self.begin(first, count),
            // Programs send what they have sent before.
            80..90 => {
                let favourite = self.below(3) * 8;
                self.begin(favourite, 1 + count % 2);
            }
            _ => self.end(),
        }
        let most = if self.below(8) == 0 { 0 } else { 6 };
        while self.under_way.len() > most {
            self.end();
        }
        assert!(self.cache.pinned() <= self.bound);
    }

    fn map(&mut self, first: usize, count: usize) {
        self.block.map(first * PAGE, count * PAGE);
        self.same_in_twin(first, count);
        self.fresh(first, count);
        self.fill(first, count);
    }

    fn same_in_twin(&self, first: usize, count: usize) {
        self.twin.map(first * PAGE, count * PAGE);
        self.twin.fill(first * PAGE, count * PAGE, 1);
    }

    /// These pages are new.
    fn fresh(&mut self, first: usize, count: usize) {
        for page in &mut self.pages[first..first + count] {
            *page = Some(Rc::new(Page {
                content: Cell::new(Some(0)),
                shared: None,
            }));
        }
    }

    fn map_shared(&mut self, first: usize, count: usize) {
        // The same place of the file, of which nothing of before is left.
        self.cut(first, count);
        let (at, length) = (first * PAGE, count * PAGE);
        self.block.map_shared(at, length, &self.file, at);
        self.twin.map_shared(at, length, &self.file, at);
        for page in first..first + count {
            self.pages[page] = Some(Rc::new(Page {
                content: Cell::new(Some(0)),
                shared: Some(page),
            }));
        }
        self.fill(first, count);
    }

    fn unmap(&mut self, first: usize, count: usize) {
        self.block.unmap(first * PAGE, count * PAGE);
        self.twin.unmap(first * PAGE, count * PAGE);
        self.pages[first..first + count].fill(None);
    }

    fn mapped(&self, first: usize, count: usize) -> bool {
        self.pages[first..first + count].iter().all(Option::is_some)
    }

    /// Mapped, and none of it shared.
    fn private(&self, first: usize, count: usize) -> bool {
        let private = |page: &Option<Rc<Page>>| page.as_ref().is_some_and(|p| p.shared.is_none());
        self.pages[first..first + count].iter().all(private)
    }

    fn discard(&mut self, first: usize, count: usize) {
        if self.mapped(first, count) {
            let (at, length) = (first * PAGE, count * PAGE);
            self.block.advise(at, length, libc::MADV_DONTNEED);
            self.renew(first, count, |page| page.shared.is_none());
        }
    }

    /// The kernel may take the pages now or later, unless they are written.
    fn discard_lazily(&mut self, first: usize, count: usize) {
        if self.private(first, count) {
            let (at, length) = (first * PAGE, count * PAGE);
            self.block.advise(at, length, libc::MADV_FREE);
            for page in self.pages[first..first + count].iter().flatten() {
                page.content.set(None);
            }
            self.renew(first, count, |_| true);
            self.fill(first, count);
        }
    }

    /// New pages full of zeros behind the addresses of these.
    fn renew(&mut self, first: usize, count: usize, which: impl Fn(&Page) -> bool) {
        for page in self.pages[first..first + count].iter_mut().flatten() {
            if which(page) {
                *page = Rc::new(Page {
                    content: Cell::new(Some(0)),
                    shared: page.shared,
                });
            }
        }
    }

    /// Cuts a hole into the shared file.
    fn cut(&mut self, first: usize, count: usize) {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let (at, length) = ((first * PAGE) as i64, (count * PAGE) as i64);
        // SAFETY: the descriptor is ours; what the file's pages are is the model's matter.
        assert_eq!(unsafe { libc::fallocate(self.file.0, mode, at, length) }, 0);
        // Wherever they are mapped: they may have been moved.
        for page in self.pages.iter_mut().flatten() {
            if page
                .shared
                .is_some_and(|at| (first..first + count).contains(&at))
            {
                *page = Rc::new(Page {
                    content: Cell::new(Some(0)),
                    shared: page.shared,
                });
            }
        }
    }

    fn punch(&mut self, first: usize, count: usize) {
        self.cut(first, count);
    }

    fn remap(&mut self, first: usize, count: usize) {
        let to = self.below(PAGES - count + 1);
        if !self.private(first, count) || to.abs_diff(first) < count {
            return;
        }
        // One call moves one mapping: what was pieced together is mapped as one, which also gives it fresh pages.
        if self.below(2) == 0 {
            self.map(first, count);
        } else if !self.one_mapping(first, count) {
            return;
        }
        let stay = self.below(3) == 0;
        let flags = if stay { libc::MREMAP_DONTUNMAP } else { 0 };
        let (from, length) = (first * PAGE, count * PAGE);
        self.block.remap(from, length, to * PAGE, length, flags);
        self.same_in_twin(to, count);
        if !stay {
            self.twin.unmap(from, length);
        }
        self.moved(first, to, count);
        if stay {
            self.fresh(first, count);
        }
    }

    fn moved(&mut self, first: usize, to: usize, count: usize) {
        for i in 0..count {
            self.pages[to + i] = self.pages[first + i].take();
        }
    }

    fn one_mapping(&self, first: usize, count: usize) -> bool {
        let (start, end) = (
            self.block.address() + first * PAGE,
            self.block.address() + (first + count) * PAGE,
        );
        let mut maps = super::super::mappings::Mappings::open().expect("procfs");
        let mut one = false;
        maps.each(start, start + 1, |m| one = m.end >= end).unwrap();
        one
    }

    /// Grows a mapping in place over a hole, or shrinks it.
    fn resize(&mut self, first: usize, count: usize) {
        if count < 3 || !self.private(first, 1) {
            return;
        }
        self.unmap(first + 1, count - 1);
        self.block.resize(first * PAGE, PAGE, count * PAGE);
        self.same_in_twin(first + 1, count - 1);
        self.fresh(first + 1, count - 1);
        if self.below(2) == 0 {
            self.begin(first, count);
        }
        if self.below(2) == 0 && self.one_mapping(first, count) {
            self.block.resize(first * PAGE, count * PAGE, 2 * PAGE);
            self.twin.unmap((first + 2) * PAGE, (count - 2) * PAGE);
            self.pages[first + 2..first + count].fill(None);
        }
    }

    fn protect(&mut self, first: usize, count: usize) {
        if self.mapped(first, count) {
            let (at, length) = (first * PAGE, count * PAGE);
            let kind = [libc::PROT_NONE, libc::PROT_READ][self.below(2)];
            self.block.protect(at, length, kind);
            self.block.protect(at, length, RW);
        }
    }

    /// The program writes.
    fn fill(&mut self, first: usize, count: usize) {
        for at in first..first + count {
            let stamp = self.stamp();
            if let Some(page) = &self.pages[at] {
                page.content.set(Some(stamp));
                self.block.fill(at * PAGE, PAGE, stamp);
            }
        }
    }

    /// A child writes to all that it has and throws half of it away; that is nothing to its parent, and to the device.
    fn fork(&mut self) {
        let (block, pages) = (&self.block, &self.pages);
        let fine = in_child(|| {
            for (at, page) in pages.iter().enumerate() {
                if page.as_ref().is_some_and(|p| p.shared.is_none()) {
                    block.fill(at * PAGE, PAGE, 0xdead);
                    if at % 2 == 0 {
                        // The child's memory is not watched: nobody would read the event.
                        block.unmap(at * PAGE, PAGE);
                    }
                }
            }
            true
        });
        assert!(fine);
        let (first, count) = self.some();
        self.fill(first, count);
    }

    /// An operation of the device begins.
    fn begin(&mut self, first: usize, count: usize) {
        // Not whole pages: the edges of a message lie anywhere.
        let into = self.below(PAGE / 8) * 8;
        let end = count * PAGE - self.below(PAGE / 8) * 8;
        let purpose = [Use::Read, Use::Change][self.below(2)];
        if into >= end {
            return;
        }
        let before = self.cache.pinned();
        let address = self.block.at(first * PAGE + into);
        let held = self.cache.register(address, end - into, purpose);
        if !self.mapped(first, count) {
            assert!(held.is_err(), "a hole was registered");
            return;
        }
        let Ok(held) = held else {
            // Only for want of room may it fail.
            let room = self.bound.saturating_sub(self.in_use());
            assert!(room < (count * PAGE) as u64 * 2, "{}", held.unwrap_err());
            return;
        };
        self.hits += usize::from(self.cache.pinned() == before);
        let pages = self.pages[first..first + count].iter().flatten().cloned();
        let operation = Operation {
            held,
            first,
            pages: pages.collect(),
        };
        self.look(&operation);
        if self.below(4) == 0 {
            self.cache.release(operation.held.hold);
        } else {
            self.under_way.push(operation);
        }
    }

    /// At most so many bytes are in use: registrations are larger than operations where they are found.
    fn in_use(&self) -> u64 {
        (self.under_way.len() * 6 * PAGE) as u64
    }

    /// An operation ends; until then the device saw the pages that there were when it began.
    fn end(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let at = self.below(self.under_way.len());
        let operation = self.under_way.swap_remove(at);
        self.look(&operation);
        if self.below(3) == 0 {
            self.deliver(&operation);
        }
        self.cache.release(operation.held.hold);
    }

    /// What the device sees, and the program.
    fn look(&mut self, operation: &Operation) {
        self.looks += 1;
        let mut seen = [0; 6 * PAGE];
        let seen = &mut seen[..operation.pages.len() * PAGE];
        let address = self.block.address() + operation.first * PAGE;
        self.device.read(&operation.held, address, seen);
        for (i, page) in operation.pages.iter().enumerate() {
            let Some(content) = page.content.get() else {
                continue;
            };
            let seen = &seen[i * PAGE..(i + 1) * PAGE];
            assert!(
                is_stamped(seen, content),
                "page {} must have {content:#x} in all words and begins {:x?}",
                operation.first + i,
                &seen[..8]
            );
        }
        if !self.looks.is_multiple_of(4) {
            return;
        }
        for (at, page) in self.pages.iter().enumerate() {
            if let Some(content) = page.as_ref().and_then(|p| p.content.get()) {
                assert_eq!(self.block.word(at * PAGE), content, "page {at}");
                assert_eq!(self.block.word(at * PAGE + PAGE - 8), content, "page {at}");
            }
        }
    }

    /// The device writes.
    fn deliver(&mut self, operation: &Operation) {
        // A page that the kernel might have taken and did not is the program's still.
        if operation.pages.iter().any(|p| p.content.get().is_none()) {
            return;
        }
        let mut bytes = vec![0; operation.pages.len() * PAGE];
        for (page, bytes) in operation.pages.iter().zip(bytes.chunks_exact_mut(PAGE)) {
            let content = self.stamp();
            stamp(bytes, content);
            page.content.set(Some(content));
        }
        let address = self.block.address() + operation.first * PAGE;
        self.device.write(&operation.held, address, &bytes);
        self.look(operation);
    }
}
