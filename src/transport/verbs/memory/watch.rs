//! What the program does to its mappings, told by the kernel: userfaultfd's events.
//!
//! Watched memory is registered with a userfaultfd for write protection, of which none is ever set: no page fault comes here. What
//! comes are the events of munmap, mremap, madvise, brk and of mappings put over others; whoever made the call waits in the
//! kernel until its event was read. A thread of ours reads them. It must never wait for anything that a waiting caller may hold
//! (the allocator's locks above all: free() may be the caller), so it allocates nothing, frees nothing, waits for no lock: it sets
//! right what is watched (`mend`), puts ranges into a ring, and who next asks for a registration forgets what they touch. Two
//! things make that asking safe:
//! - The thread says that it reads before it does. Once a caller has been let go, its event is in the ring, or the flag is up.
//! - A page that one thread is unmapping may be mapped anew by another *before* the event is read. The kernel knows of such
//!   calls (its own UFFDIO ioctls answer EAGAIN meanwhile); [`Watch::settled`] asks it.
//!
//! A child of a fork has the descriptor but no thread, and its memory is not watched.

use super::mappings::Mappings;
use super::mend::Mender;
use super::ring::Ring;
use super::runs::Runs;
use super::uffd::{Event, Settled, Uffd};
use crate::base::os::without_signals;
use crate::transport::os::{check, Fd};
use std::io;
use std::sync::atomic::{fence, AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

/// What an event was about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// These addresses no longer mean what they meant, or are not watched any more.
    Gone(usize, usize),
    /// There were more changes than were kept: anything may have changed.
    Anything,
}

/// A userfaultfd and the thread that reads it.
pub struct Watch {
    uffd: Arc<Uffd>,
    wake: Arc<Fd>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Mender>>,
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
    runs: Runs,
}

impl Watch {
    /// # Errors
    /// The system has no userfaultfd, does not let us have it, or it cannot do what we need.
    pub fn start() -> io::Result<Watch> {
        let uffd = Arc::new(Uffd::open()?);
        let maps = Mappings::open()?;
        let mender = Mender::new()?;
        // SAFETY: eventfd has no preconditions.
        let wake = Arc::new(Fd(check(unsafe {
            libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)
        })?));
        let shared = Arc::new(Shared {
            reading: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            done: AtomicBool::new(false),
            ring: Ring::new(),
            runs: Runs::new(),
        });
        let theirs = (uffd.clone(), wake.clone(), shared.clone());
        let thread = without_signals(|| {
            std::thread::Builder::new()
                .name("mayfly-memory".into())
                .stack_size(64 << 10)
                .spawn(move || {
                    let mut mender = mender;
                    listen(&theirs.0, theirs.1 .0, &theirs.2, &mut mender);
                    mender
                })
        })?;
        Ok(Watch {
            uffd,
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

    /// Watches memory from `start` to `end`, and all of the run that it lies in; what was watched stays so. False: not all of it is
    /// memory whose changes are all told.
    ///
    /// # Errors
    /// `ENOSPC`: no more runs are watched at a time; `ENOMEM`: no room for more mappings; `EBUSY`: the program watches it itself.
    pub fn add(&mut self, start: usize, end: usize) -> io::Result<bool> {
        let runs = &self.shared.runs;
        let added = match runs.having(start, end) {
            Some(run) => self.uffd.add(run.0, run.1),
            None => {
                // Files and shared memory are told from ours without a look at everything.
                if !self.maps.own(start, end)? {
                    return Ok(false);
                }
                let Some(run) = self.maps.run(start, end)? else {
                    return Ok(false);
                };
                match self.add_run(run) {
                    // Something beside it cannot be watched.
                    Err(error)
                        if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EINVAL)) =>
                    {
                        let mappings = self.maps.mappings(start, end)?;
                        self.add_run(mappings)
                    }
                    done => done,
                }
            }
        };
        added?;
        // Mapped over in that moment?
        self.maps.own(start, end)
    }

    fn add_run(&self, run: (usize, usize)) -> io::Result<()> {
        // Known to the thread before anything of it is told.
        if !self.shared.runs.put(run.0, run.1) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.uffd
            .add(run.0, run.1)
            .inspect_err(|_| self.shared.runs.take(run))
    }

    /// Watches nothing any more. Costs a look at all pages: nothing to be done for one run that is not needed just now.
    pub fn leave(&mut self) {
        let runs = &self.shared.runs;
        runs.take_all(0, usize::MAX);
        // The thread may be about to watch some anew.
        while self.shared.reading.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        runs.take_all(0, usize::MAX);
        let all = (0, usize::MAX);
        self.uffd.leave(&mut self.maps, all, |_, _| {});
    }

    /// Has every change that any thread made so far been told? Costs a system call that does nothing.
    #[inline]
    pub fn settled(&self) -> Settled {
        match self.uffd.ask() {
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
        crate::base::os::close(self.uffd.0 .0);
    }

    /// The descriptor is not ours any more ([`Settled::Never`]): neither it nor the thread is touched again.
    pub fn abandon(mut self) {
        // When it wakes, the number may be that of another userfaultfd, whose events are not its.
        self.shared.stop.store(true, Ordering::SeqCst);
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
        self.leave();
        self.shared.stop.store(true, Ordering::SeqCst);
        let one = 1u64;
        // SAFETY: eight bytes of a live number.
        unsafe { libc::write(self.wake.0, (&raw const one).cast(), 8) };
        while !self.shared.done.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        // What was kept for the thread may be watched after all (memory grown in place meanwhile): the descriptor goes first.
        self.uffd = Arc::new(Uffd(Fd(-1)));
        let _ = thread.join();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.close();
    }
}

/// The thread: sleeps until there are events or the end.
fn listen(uffd: &Uffd, wake: i32, shared: &Shared, mender: &mut Mender) {
    let mut polled = [uffd.0 .0, wake].map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    loop {
        // SAFETY: two entries, as the array has.
        unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) };
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        // A program may close descriptors that it does not know, and the number may name a file of its own by now.
        if uffd.ask() == Settled::Never {
            break;
        }
        shared.reading.store(true, Ordering::SeqCst);
        // Who made the change goes on when it is read.
        mender.mend(uffd, &shared.runs, &shared.ring);
        match uffd.next() {
            Some(Event::Gone(start, end)) => shared.ring.put(Change::Gone(start, end)),
            Some(Event::Moved { from, to, length }) => {
                let end = from.saturating_add(length);
                shared.ring.put(Change::Gone(from, end));
                // The caller waits for another event, that of the addresses which it left.
                mender.moved(to, uffd, &shared.runs, &shared.ring);
            }
            None => {}
        }
        shared.reading.store(false, Ordering::SeqCst);
    }
    shared.done.store(true, Ordering::SeqCst);
}
