//! The kernel's face: userfaultfd's system calls and structures. No page is ever protected; what is wanted are the events.

use super::mappings::Mappings;
use crate::transport::os::{check, errno, Fd};
use std::io;

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

/// What the kernel tells; whoever did it goes on as soon as it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// These addresses were unmapped, mapped over, or will be emptied.
    Gone(usize, usize),
    /// So many bytes were moved, and are watched where they came to.
    Moved {
        from: usize,
        to: usize,
        length: usize,
    },
}

/// A userfaultfd.
pub struct Uffd(pub Fd);

impl Uffd {
    /// # Errors
    /// The system has none, does not let us have it, or it cannot do what we need.
    pub fn open() -> io::Result<Uffd> {
        let fd = descriptor()?;
        let mut api = Api {
            api: 0xaa,
            features: WANTED,
            ioctls: 0,
        };
        // SAFETY: the structure is the kernel's.
        check(unsafe { libc::ioctl(fd.0, UFFDIO_API, &mut api) })?;
        Ok(Uffd(fd))
    }

    /// Watches whole pages from `start` to `end`; what was watched stays so. A mapping that goes on beyond becomes two, which
    /// the program's own mremap over both would notice: so that whole runs should be named.
    ///
    /// # Errors
    /// `EINVAL`: something in there cannot be watched (nothing is then); `EBUSY`: the program watches it itself; `ENOMEM`: no room
    /// for more mappings.
    pub fn add(&self, start: usize, end: usize) -> io::Result<()> {
        let mut register = Register {
            range: Range::new(start, end),
            mode: MODE_WP,
            ioctls: 0,
        };
        // SAFETY: the structure is the kernel's. Nothing of the memory changes: no page is protected.
        check(unsafe { libc::ioctl(self.0 .0, UFFDIO_REGISTER, &mut register) }).map(drop)
    }

    /// Watches these pages no longer.
    pub fn remove(&self, start: usize, end: usize) -> bool {
        let mut range = Range::new(start, end);
        // SAFETY: the structure is the kernel's; the memory itself is not changed.
        unsafe { libc::ioctl(self.0 .0, UFFDIO_UNREGISTER, &mut range) == 0 }
    }

    /// Watches nothing any more of the runs that have a part between `start` and `end`; tells of each afterwards.
    pub fn leave(
        &self,
        maps: &mut Mappings,
        (start, end): (usize, usize),
        mut left: impl FnMut(usize, usize),
    ) {
        let mut at = start;
        while at < end {
            // Some at a time, for a place that is being read is not asked another thing.
            let mut some = [(0, 0); 16];
            let mut count = 0;
            let read = maps.runs(|from, to| {
                if to > at && from < end && count < some.len() {
                    some[count] = (from, to);
                    count += 1;
                }
            });
            if read.is_err() || count == 0 {
                return;
            }
            for (from, to) in &some[..count] {
                self.leave_run(maps, *from, *to);
                left(*from, *to);
            }
            at = some[count - 1].1;
        }
    }

    /// What the program watches itself is left to it: the kernel would take that away too. And pieces that were put beside become
    /// one mapping with what they touch, as far as they can, when they are watched alike for a moment.
    fn leave_run(&self, maps: &mut Mappings, start: usize, end: usize) {
        if self.add(start, end).is_ok() && self.remove(start, end) {
            return;
        }
        // Something in it cannot be watched, or is not ours: piece by piece. No more than was named, for others go on meanwhile.
        let _ = maps.each(start, end, |m| {
            let (start, end) = (m.start.max(start), m.end.min(end));
            if m.own && self.add(start, end).is_ok() {
                self.remove(start, end);
            }
        });
    }

    /// What the kernel says of changes under way.
    #[inline]
    pub fn ask(&self) -> Settled {
        // A request without any memory is invalid, but before that is said it is looked whether mappings are being changed.
        let mut nothing = Protect {
            range: Range::new(0, 0),
            mode: 0,
        };
        // SAFETY: the structure is the kernel's and names no memory.
        let answer = unsafe { libc::ioctl(self.0 .0, UFFDIO_WRITEPROTECT, &mut nothing) };
        match if answer == 0 { 0 } else { errno() } {
            libc::EINVAL => Settled::Yes,
            libc::EAGAIN => Settled::NotYet,
            _ => Settled::Never,
        }
    }

    /// The event that has waited longest, one alone: what two events belong to may be one call.
    pub fn next(&self) -> Option<Event> {
        let mut message = Message::default();
        let size = std::mem::size_of::<Message>();
        // SAFETY: pointer and size are those of the structure.
        let n = unsafe { libc::read(self.0 .0, (&raw mut message).cast(), size) };
        if n != size as isize {
            return None;
        }
        let [a, b, c] = message.words.map(|word| word as usize);
        match message.event {
            EVENT_REMAP => Some(Event::Moved {
                from: a,
                to: b,
                length: c,
            }),
            EVENT_REMOVE | EVENT_UNMAP => Some(Event::Gone(a, b)),
            _ => None,
        }
    }
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
