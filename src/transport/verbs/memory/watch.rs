//! What the program does to its mappings, told by the kernel: userfaultfd's events.
//!
//! Watched memory is registered with a userfaultfd for write protection, of which none is ever set: no page fault comes here. What
//! comes are the events of munmap, mremap, madvise, brk and of mappings put over others; whoever made the call waits in the
//! kernel until its event was read. A thread of ours reads them. It must never wait for anything that a waiting caller may hold
//! (the allocator's locks above all: free() may be the caller), so it allocates nothing, frees nothing, takes no lock: it puts
//! ranges into a ring, and who next asks for a registration forgets what they touch. Two things make that asking safe:
//! - The thread says that it reads before it does. Once a caller has been let go, its event is in the ring, or the flag is up.
//! - A page that one thread is unmapping may be mapped anew by another *before* the event is read. The kernel knows of such
//!   calls (its own UFFDIO ioctls answer EAGAIN meanwhile); [`Watch::settled`] asks it.
//!
//! A child of a fork has the descriptor but no thread, and its memory is not watched.

use super::mappings::Mappings;
use super::ring::Ring;
use crate::base::os::without_signals;
use crate::transport::os::{check, errno, Fd};
use std::io;
use std::sync::atomic::{fence, AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

/// What an event was about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// These addresses no longer mean what they meant.
    Gone(usize, usize),
    /// Watched memory came to these addresses.
    Came(usize, usize),
    /// There were more changes than were kept: anything may have changed.
    Anything,
}

/// May what is known be relied upon?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// Every change so far is in the ring.
    Yes,
    /// Some thread is changing mappings just now.
    NotYet,
    /// The descriptor is gone (somebody closed it): nothing is told any more.
    Never,
}

/// A userfaultfd and the thread that reads it.
pub struct Watch {
    fd: Arc<Fd>,
    wake: Arc<Fd>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    maps: Mappings,
    /// The process that it belongs to.
    owner: u32,
}

struct Shared {
    /// The thread is between the decision to read and having put into the ring what it read.
    reading: AtomicBool,
    stop: AtomicBool,
    /// The thread will not touch the descriptors again.
    done: AtomicBool,
    ring: Ring,
}

impl Watch {
    /// # Errors
    /// The system has no userfaultfd, does not let us have it, or it cannot do what we need.
    pub fn start() -> io::Result<Watch> {
        let fd = Arc::new(descriptor()?);
        let mut api = Api {
            api: 0xaa,
            features: WANTED,
            ioctls: 0,
        };
        // SAFETY: the structure is the kernel's.
        check(unsafe { libc::ioctl(fd.0, UFFDIO_API, &mut api) })?;
        let maps = Mappings::open()?;
        // SAFETY: eventfd has no preconditions.
        let wake = Arc::new(Fd(check(unsafe {
            libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)
        })?));
        let shared = Arc::new(Shared {
            reading: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            done: AtomicBool::new(false),
            ring: Ring::new(),
        });
        let theirs = (fd.clone(), wake.clone(), shared.clone());
        let thread = without_signals(|| {
            std::thread::Builder::new()
                .name("mayfly-memory".into())
                .stack_size(64 << 10)
                .spawn(move || listen(theirs.0 .0, theirs.1 .0, &theirs.2))
        })?;
        Ok(Watch {
            fd,
            wake,
            shared,
            thread: Some(thread),
            maps,
            owner: std::process::id(),
        })
    }

    /// Whether this is the process that watches, not a child of it.
    pub fn ours(&self) -> bool {
        self.owner == std::process::id()
    }

    /// Watches whole pages from `start` to `end`; what was watched stays so.
    ///
    /// # Errors
    /// `EINVAL`: a file is mapped in there (nothing is watched then); `EBUSY`: the program watches it itself; `ENOMEM`: no room for
    /// more mappings.
    pub fn add(&self, start: usize, end: usize) -> io::Result<()> {
        let mut register = Register {
            range: Range::new(start, end),
            mode: MODE_WP,
            ioctls: 0,
        };
        // SAFETY: the structure is the kernel's. Nothing of the memory changes: no page is protected.
        check(unsafe { libc::ioctl(self.fd.0, UFFDIO_REGISTER, &mut register) }).map(drop)
    }

    /// Watches these pages no longer; what is not watched or not mapped among them does not matter.
    pub fn remove(&mut self, start: usize, end: usize) {
        if self.unregister(start, end) {
            return;
        }
        // One mapping that cannot be watched stops all: piece by piece then.
        let mut parts = Vec::new();
        let _ = self.maps.each(start, end, |m| {
            parts.push((m.start.max(start), m.end.min(end)))
        });
        for (start, end) in parts {
            self.unregister(start, end);
        }
    }

    fn unregister(&self, start: usize, end: usize) -> bool {
        let mut range = Range::new(start, end);
        // SAFETY: the structure is the kernel's; the memory itself is not changed.
        unsafe { libc::ioctl(self.fd.0, UFFDIO_UNREGISTER, &mut range) == 0 }
    }

    /// Is all between `start` and `end` memory whose changes are all told?
    pub fn covers(&mut self, start: usize, end: usize) -> bool {
        self.maps.own(start, end).unwrap_or(false)
    }

    /// Has every change that any thread made so far been told? Costs a system call that does nothing.
    #[inline]
    pub fn settled(&self) -> Settled {
        match ask(self.fd.0) {
            Settled::Yes => {}
            other => return other,
        }
        // The flag is looked at after the kernel was.
        fence(Ordering::SeqCst);
        if self.shared.reading.load(Ordering::Acquire) {
            return Settled::NotYet;
        }
        Settled::Yes
    }

    /// Is there anything to take?
    #[inline]
    pub fn pending(&self) -> bool {
        !self.shared.ring.is_empty()
    }

    /// The next change.
    pub fn take(&self) -> Option<Change> {
        self.shared.ring.take()
    }

    #[cfg(test)]
    pub fn close_descriptor_for_a_test(&self) {
        crate::base::os::close(self.fd.0);
    }

    /// The descriptor is not ours any more ([`Settled::Never`]): neither it nor the thread is touched again.
    pub fn abandon(mut self) {
        std::mem::forget(self.thread.take());
        std::mem::forget(self);
    }

    /// Watches nothing any more, wherever memory was moved to, and ends the thread.
    ///
    /// A child that a fork made may hold the descriptor, so that closing it would end nothing; and whoever unmapped memory that is
    /// still watched would wait for ever. Hence all mappings are gone through.
    pub fn close(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if !self.ours() {
            // The thread is the parent's; to wait for it here would be to wait for ever.
            std::mem::forget(thread);
            return;
        }
        let mut parts = Vec::new();
        let _ = self.maps.each(0, usize::MAX, |m| {
            if m.own {
                parts.push((m.start, m.end));
            }
        });
        for (start, end) in parts {
            // Only what is ours or nobody's can be watched, so that no watch of the program's own is taken away.
            if self.add(start, end).is_ok() {
                self.unregister(start, end);
            }
        }
        self.shared.stop.store(true, Ordering::SeqCst);
        let one = 1u64;
        // SAFETY: eight bytes of a live number.
        unsafe { libc::write(self.wake.0, (&raw const one).cast(), 8) };
        while !self.shared.done.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        // What the thread's end frees may be watched after all (memory grown in place meanwhile): the descriptor goes first.
        self.fd = self.wake.clone();
        let _ = thread.join();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the kernel says of changes under way.
#[inline]
fn ask(fd: i32) -> Settled {
    // A request without any memory is invalid, but before that is said it is looked whether mappings are being changed.
    let mut nothing = Protect {
        range: Range::new(0, 0),
        mode: 0,
    };
    // SAFETY: the structure is the kernel's and names no memory.
    let answer = unsafe { libc::ioctl(fd, UFFDIO_WRITEPROTECT, &mut nothing) };
    match if answer == 0 { 0 } else { errno() } {
        libc::EINVAL => Settled::Yes,
        libc::EAGAIN => Settled::NotYet,
        _ => Settled::Never,
    }
}

/// The thread: sleeps until there are events or the end.
fn listen(fd: i32, wake: i32, shared: &Shared) {
    let mut polled = [fd, wake].map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    let mut messages = [Message::default(); 16];
    loop {
        // SAFETY: two entries, as the array has.
        unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) };
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        // A program may close descriptors that it does not know, and the number may name a file of its own by now.
        if ask(fd) == Settled::Never {
            break;
        }
        shared.reading.store(true, Ordering::SeqCst);
        let size = std::mem::size_of_val(&messages);
        // SAFETY: pointer and size are those of the array; the kernel writes whole messages.
        let n = unsafe { libc::read(fd, messages.as_mut_ptr().cast(), size) };
        for message in &messages[..n.max(0) as usize / std::mem::size_of::<Message>()] {
            let [a, b, c] = message.words.map(|word| word as usize);
            match message.event {
                EVENT_REMAP => {
                    shared.ring.put(Change::Gone(a, a.saturating_add(c)));
                    shared.ring.put(Change::Came(b, b.saturating_add(c)));
                }
                EVENT_REMOVE | EVENT_UNMAP => shared.ring.put(Change::Gone(a, b)),
                _ => {}
            }
        }
        shared.reading.store(false, Ordering::SeqCst);
    }
    shared.done.store(true, Ordering::SeqCst);
}

/// A userfaultfd, by the system call or (where that is forbidden) by its device.
fn descriptor() -> io::Result<Fd> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    // The program's own faults are all there could be, so an unprivileged process may have it; kernels before 5.11 do not know the flag.
    let mut failure = None;
    for flags in [flags | USER_MODE_ONLY, flags] {
        // SAFETY: the call takes flags alone.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) } as i32;
        match check(fd) {
            Ok(fd) => return Ok(Fd(fd)),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    // SAFETY: the path ends with a zero.
    let device =
        unsafe { libc::open(c"/dev/userfaultfd".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if device >= 0 {
        let device = Fd(device);
        // SAFETY: the ioctl takes flags alone.
        let fd = unsafe { libc::ioctl(device.0, USERFAULTFD_IOC_NEW, flags) };
        if fd >= 0 {
            return Ok(Fd(fd));
        }
    }
    Err(failure.unwrap_or_else(io::Error::last_os_error))
}

// Of linux/userfaultfd.h.

const USER_MODE_ONLY: i32 = 1;
const USERFAULTFD_IOC_NEW: libc::c_ulong = 0xaa00;
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_UNREGISTER: libc::c_ulong = 0x8010_aa01;
const UFFDIO_WRITEPROTECT: libc::c_ulong = 0xc018_aa06;
const MODE_WP: u64 = 1 << 1;
const EVENT_REMAP: u8 = 0x14;
const EVENT_REMOVE: u8 = 0x15;
const EVENT_UNMAP: u8 = 0x16;
/// Write protection, and the events of mremap, madvise and munmap (bits 0, 2, 3, 6).
const WANTED: u64 = 1 | 1 << 2 | 1 << 3 | 1 << 6;

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Range {
    start: u64,
    length: u64,
}

impl Range {
    fn new(start: usize, end: usize) -> Range {
        Range {
            start: start as u64,
            length: (end - start) as u64,
        }
    }
}

#[repr(C)]
struct Protect {
    range: Range,
    mode: u64,
}

#[repr(C)]
struct Register {
    range: Range,
    mode: u64,
    ioctls: u64,
}

/// An event; the words are start and end, or from, to and length.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Message {
    event: u8,
    reserved: [u8; 7],
    words: [u64; 3],
}
