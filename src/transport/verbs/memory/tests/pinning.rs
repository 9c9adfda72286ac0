//! A device without a device: io_uring's registered buffers are pinned as a verbs device pins memory (for long, for
//! writing), and its fixed reads and writes go to the pages, not to the addresses.

use super::super::{Held, Refused, Region, Registrar, Rights};
use super::block::{memfd, RW};
use super::Device;
use crate::transport::os::{check, errno, Fd};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Buffers registered at a time.
const BUFFERS: usize = 4096;
/// The largest transfer.
const SCRATCH: usize = 4 << 20;

pub struct Pinning {
    ring: Fd,
    scratch: Fd,
    /// The rings' memory: head and tail of both, the entries.
    submissions: usize,
    completions: usize,
    entries: usize,
    offsets: Offsets,
    free: RefCell<Vec<u32>>,
    /// A child of a fork must leave its parent's buffers alone.
    owner: u32,
    /// Registrations that are to fail with this number.
    pub fail: Cell<i32>,
    /// As if the memory could not be written.
    pub only_read: Cell<bool>,
    /// How often memory was registered.
    pub registered: Cell<usize>,
}

#[derive(Clone, Copy)]
struct Offsets {
    sq_tail: usize,
    sq_mask: usize,
    sq_array: usize,
    cq_head: usize,
    cq_tail: usize,
    cq_mask: usize,
    cqes: usize,
}

impl Pinning {
    /// `None`: this system forbids io_uring.
    pub fn open() -> Option<Rc<Pinning>> {
        let mut params = [0u32; 30];
        // SAFETY: 120 bytes are the size of struct io_uring_params.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 8, params.as_mut_ptr()) } as i32;
        let ring = Fd(check(fd).ok()?);
        let map = |length: usize, offset: i64| {
            let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
            // SAFETY: the ring's memory, at new addresses.
            let got =
                unsafe { libc::mmap(std::ptr::null_mut(), length, RW, flags, ring.0, offset) };
            (got != libc::MAP_FAILED).then_some(got as usize)
        };
        let submissions = map(4096, 0)?;
        let completions = map(4096, 0x800_0000)?;
        let entries = map(4096, 0x1000_0000)?;
        let at = |word: usize| params[word] as usize;
        let offsets = Offsets {
            sq_tail: at(11),
            sq_mask: at(12),
            sq_array: at(16),
            cq_head: at(20),
            cq_tail: at(21),
            cq_mask: at(22),
            cqes: at(25),
        };
        // An empty table (struct io_uring_rsrc_register, sparse).
        let mut table = [0u64; 4];
        table[0] = BUFFERS as u64 | 1 << 32;
        // SAFETY: the structure is as long as is said.
        let answer =
            unsafe { libc::syscall(libc::SYS_io_uring_register, ring.0, 15, &table, 32) } as i32;
        check(answer).ok()?;
        Some(Rc::new(Pinning {
            ring,
            scratch: memfd(SCRATCH),
            submissions,
            completions,
            entries,
            offsets,
            owner: std::process::id(),
            free: RefCell::new((0..BUFFERS as u32).rev().collect()),
            fail: Cell::new(0),
            only_read: Cell::new(false),
            registered: Cell::new(0),
        }))
    }

    /// Puts a buffer into the table, or nothing.
    fn update(&self, slot: u32, address: usize, length: usize) -> Result<(), i32> {
        let buffer = [address, length];
        // struct io_uring_rsrc_update2: offset, 0, data, tags, number, 0.
        let update = [u64::from(slot), (&raw const buffer) as u64, 0, 1u64];
        // SAFETY: both structures live as long as the call.
        let answer =
            unsafe { libc::syscall(libc::SYS_io_uring_register, self.ring.0, 16, &update, 32) };
        if answer < 0 {
            Err(errno())
        } else {
            Ok(())
        }
    }

    /// A fixed read (4) or write (5) of the scratch file.
    fn transfer(&self, opcode: u8, slot: u32, address: usize, length: usize) {
        let word = |base: usize, offset: usize| (base + offset) as *mut u32;
        let o = &self.offsets;
        // SAFETY: offsets and layout are the kernel's (struct io_uring_sqe, io_uring_cqe); one entry is under way at a time.
        let answer = unsafe {
            let mask = *word(self.submissions, o.sq_mask);
            let tail = *word(self.submissions, o.sq_tail);
            let at = tail & mask;
            let entry = (self.entries + at as usize * 64) as *mut u8;
            entry.write_bytes(0, 64);
            *entry = opcode;
            *entry.add(4).cast::<i32>() = self.scratch.0;
            *entry.add(16).cast::<u64>() = address as u64;
            *entry.add(24).cast::<u32>() = length as u32;
            *entry.add(40).cast::<u16>() = slot as u16;
            *word(self.submissions, o.sq_array).add(at as usize) = at;
            word(self.submissions, o.sq_tail).write_volatile(tail.wrapping_add(1));
            let n = libc::syscall(
                libc::SYS_io_uring_enter,
                self.ring.0,
                1,
                1,
                1,
                std::ptr::null::<u8>(),
                0,
            );
            assert_eq!(n, 1, "{}", std::io::Error::last_os_error());
            let head = *word(self.completions, o.cq_head);
            assert_ne!(head, word(self.completions, o.cq_tail).read_volatile());
            let mask = *word(self.completions, o.cq_mask);
            let done = (self.completions + o.cqes + (head & mask) as usize * 16) as *const u8;
            let answer = *done.add(8).cast::<i32>();
            word(self.completions, o.cq_head).write_volatile(head.wrapping_add(1));
            answer
        };
        assert_eq!(answer, length as i32, "the device failed: {}", -answer);
    }
}

impl Drop for Pinning {
    fn drop(&mut self) {
        for address in [self.submissions, self.completions, self.entries] {
            // SAFETY: mapped by us, and used no more.
            unsafe { libc::munmap(address as *mut libc::c_void, 4096) };
        }
    }
}

pub struct Pinned {
    device: Rc<Pinning>,
    slot: u32,
}

impl Region for Pinned {
    fn lkey(&self) -> u32 {
        self.slot
    }

    fn rkey(&self) -> u32 {
        self.slot
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.device.owner != std::process::id() {
            return;
        }
        self.device.update(self.slot, 0, 0).expect("given back");
        self.device.free.borrow_mut().push(self.slot);
    }
}

impl Registrar for Rc<Pinning> {
    type Region = Pinned;

    fn register(&self, address: usize, length: usize, rights: Rights) -> Result<Pinned, Refused> {
        let refused = |errno| Refused {
            errno,
            text: format!("refused with {errno}"),
        };
        let slot = self.free.borrow_mut().pop();
        let slot = slot.ok_or(refused(libc::ENOMEM))?;
        let only_read = self.only_read.get() && rights == Rights::All;
        let answer = match self.fail.get() {
            0 if only_read => Err(libc::EFAULT),
            0 => self.update(slot, address, length),
            errno => Err(errno),
        };
        if let Err(errno) = answer {
            self.free.borrow_mut().push(slot);
            return Err(refused(errno));
        }
        self.registered.set(self.registered.get() + 1);
        Ok(Pinned {
            device: self.clone(),
            slot,
        })
    }
}

impl Device for Rc<Pinning> {
    fn read(&self, held: &Held, address: usize, into: &mut [u8]) {
        self.transfer(5, held.lkey, address, into.len());
        // SAFETY: pointer and length are those of a live slice.
        let n = unsafe { libc::pread(self.scratch.0, into.as_mut_ptr().cast(), into.len(), 0) };
        assert_eq!(n, into.len() as isize);
    }

    fn write(&self, held: &Held, address: usize, from: &[u8]) {
        // SAFETY: as above.
        let n = unsafe { libc::pwrite(self.scratch.0, from.as_ptr().cast(), from.len(), 0) };
        assert_eq!(n, from.len() as isize);
        self.transfer(4, held.lkey, address, from.len());
    }
}
