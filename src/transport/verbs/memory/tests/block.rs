//! Memory that a test maps as it likes.

use crate::transport::os::{check, Fd};

pub const PAGE: usize = 4096;
pub const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
const ANONYMOUS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// A range of addresses; all of it is unmapped in the end.
pub struct Block {
    address: usize,
    length: usize,
}

impl Block {
    /// Private anonymous memory.
    pub fn new(length: usize) -> Block {
        Block {
            address: map(0, length, ANONYMOUS, -1),
            length,
        }
    }

    /// Private anonymous memory that lies alone, so that what other threads map and unmap is nothing to it.
    pub fn alone(length: usize) -> Block {
        let block = Block::far(0x1200_0000_0000, length);
        block.map(0, length);
        block
    }

    /// Nothing but addresses, far below all that the system hands out by itself, so that holes stay holes.
    pub fn far(address: usize, length: usize) -> Block {
        let got = map(address, length, ANONYMOUS | libc::MAP_FIXED_NOREPLACE, -1);
        assert_eq!(got, address);
        let block = Block { address, length };
        block.unmap(0, length);
        block
    }

    pub fn address(&self) -> usize {
        self.address
    }

    pub fn at(&self, offset: usize) -> *mut u8 {
        (self.address + offset) as *mut u8
    }

    pub fn fill(&self, offset: usize, length: usize, with: u64) {
        // SAFETY: the test has mapped these pages and nobody else uses them.
        stamp(
            unsafe { std::slice::from_raw_parts_mut(self.at(offset), length) },
            with,
        );
    }

    pub fn copy_out(&self, into: &mut [u8]) {
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(self.at(0), into.as_mut_ptr(), into.len()) };
    }

    pub fn copy_in(&self, from: &[u8]) {
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.at(0), from.len()) };
    }

    pub fn word(&self, offset: usize) -> u64 {
        // SAFETY: as above.
        unsafe { self.at(offset).cast::<u64>().read_volatile() }
    }

    pub fn map(&self, offset: usize, length: usize) {
        map(
            self.address + offset,
            length,
            ANONYMOUS | libc::MAP_FIXED,
            -1,
        );
    }

    /// The file from its beginning.
    pub fn map_shared(&self, offset: usize, length: usize, file: &Fd, from: usize) {
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        let address = (self.address + offset) as *mut libc::c_void;
        // SAFETY: the addresses are this block's own.
        let got = unsafe { libc::mmap(address, length, RW, flags, file.0, from as i64) };
        assert_eq!(got, address);
    }

    pub fn cover_with_memfd(&self, offset: usize, length: usize) {
        self.map_shared(offset, length, &memfd(length), 0);
    }

    pub fn unmap(&self, offset: usize, length: usize) {
        // SAFETY: the addresses are this block's own, and no reference goes there.
        check(unsafe { libc::munmap(self.at(offset).cast(), length) }).unwrap();
    }

    pub fn advise(&self, offset: usize, length: usize, advice: i32) {
        // SAFETY: as above.
        check(unsafe { libc::madvise(self.at(offset).cast(), length, advice) }).unwrap();
    }

    pub fn protect(&self, offset: usize, length: usize, protection: i32) {
        // SAFETY: as above.
        check(unsafe { libc::mprotect(self.at(offset).cast(), length, protection) }).unwrap();
    }

    /// Moves pages within the block.
    pub fn remap(&self, from: usize, length: usize, to: usize, new: usize, flags: i32) {
        let flags = flags | libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let done = self.try_remap(from, length, new, flags, to);
        assert_eq!(done.map_err(|error| error.to_string()), Ok(()));
    }

    /// As a program may call it; `to` counts where the flags say so.
    pub fn try_remap(
        &self,
        from: usize,
        length: usize,
        new: usize,
        flags: i32,
        to: usize,
    ) -> std::io::Result<()> {
        // SAFETY: as above.
        let got = unsafe {
            libc::mremap(
                self.at(from).cast(),
                length,
                new,
                flags,
                self.at(to).cast::<libc::c_void>(),
            )
        };
        if got == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        let there = if flags & libc::MREMAP_FIXED != 0 {
            to
        } else {
            from
        };
        assert_eq!(got, self.at(there).cast());
        Ok(())
    }

    /// Grows or shrinks a mapping where it is.
    pub fn resize(&self, offset: usize, old: usize, new: usize) {
        let done = self.try_remap(offset, old, new, 0, 0);
        assert_eq!(done.map_err(|error| error.to_string()), Ok(()));
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.unmap(0, self.length);
    }
}

/// The same eight bytes everywhere, copied rather than counted: fast without optimization too.
pub fn stamp(bytes: &mut [u8], with: u64) {
    bytes[..8].copy_from_slice(&with.to_ne_bytes());
    let mut done = 8;
    while done < bytes.len() {
        let next = done.min(bytes.len() - done);
        bytes.copy_within(..next, done);
        done += next;
    }
}

/// Whether they are such.
pub fn is_stamped(bytes: &[u8], with: u64) -> bool {
    bytes[..8] == with.to_ne_bytes() && bytes[8..] == bytes[..bytes.len() - 8]
}

pub fn memfd(length: usize) -> Fd {
    // SAFETY: the name ends with a zero; the descriptor is new.
    unsafe {
        let fd = Fd(check(libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC)).unwrap());
        check(libc::ftruncate(fd.0, length as i64)).unwrap();
        fd
    }
}

fn map(address: usize, length: usize, flags: i32, fd: i32) -> usize {
    // SAFETY: either the system chooses the addresses, or they are a block's own.
    let got = unsafe { libc::mmap(address as *mut libc::c_void, length, RW, flags, fd, 0) };
    assert_ne!(got, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    got as usize
}

/// Runs `f` in a child that a fork makes and says whether it held; `f` must not allocate.
pub fn in_child(f: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child only does what `f` does, and ends.
    unsafe {
        let child = check(libc::fork()).unwrap();
        if child == 0 {
            libc::_exit(i32::from(!f()));
        }
        let mut status = 0;
        check(libc::waitpid(child, &mut status, 0)).unwrap();
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }
}
