//! The one lock: a flag while one thread at a time calls MPI, a mutex under MPI_THREAD_MULTIPLE.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A value behind the gate.
pub struct Gate<T> {
    value: UnsafeCell<T>,
    /// Do several threads call at once?
    shared: AtomicBool,
    lock: Mutex<()>,
    /// Threads that stand before the lock.
    waiting: AtomicU32,
    /// For so many looks the threads that met here are remembered.
    company: AtomicU32,
    inside: AtomicBool,
}

/// Looks for which a meeting is remembered.
const REMEMBERED: u32 = 1000;

/// How often a thread that polls yields to those who stand before the gate: some microseconds.
const YIELDS: u32 = 50;

// SAFETY: the value is reached only through `enter`, which lets one thread in at a time: by the mutex when threads
// share MPI, and by the program's own promise (MPI-5.0 §11.6: at most one thread calls at a time below
// MPI_THREAD_MULTIPLE) otherwise.
// Raw addresses of user buffers in the value belong to the process, not to a thread.
unsafe impl<T> Sync for Gate<T> {}
// SAFETY: as above: nothing in the value is tied to the thread that made it.
unsafe impl<T> Send for Gate<T> {}

impl<T> Gate<T> {
    pub const fn new(value: T) -> Gate<T> {
        Gate {
            value: UnsafeCell::new(value),
            shared: AtomicBool::new(false),
            lock: Mutex::new(()),
            waiting: AtomicU32::new(0),
            company: AtomicU32::new(0),
            inside: AtomicBool::new(false),
        }
    }

    /// From now on several threads may call at once. Call it while only one does.
    pub fn share(&self) {
        self.shared.store(true, Ordering::Release);
    }

    /// Do several threads call at once?
    #[inline]
    pub fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// Runs `f` alone with the value.
    ///
    /// # Panics
    /// When called inside itself: a callback ran with the gate held, which is a defect of ours.
    #[inline]
    pub fn enter<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let guard = self.is_shared().then(|| self.lock());
        if self.inside.load(Ordering::Relaxed) {
            nested();
        }
        self.inside.store(true, Ordering::Relaxed);
        // SAFETY: see the impl of Sync; `inside` rules out a second borrow in this thread.
        let result = f(unsafe { &mut *self.value.get() });
        self.inside.store(false, Ordering::Relaxed);
        drop(guard);
        result
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        match self.lock.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                self.company.store(REMEMBERED, Ordering::Relaxed);
                let guard = self.lock.lock();
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                guard.unwrap_or_else(PoisonError::into_inner)
            }
        }
    }

    /// As [`Gate::in_company`], and no look is counted.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.company.load(Ordering::Relaxed) > 0
    }

    /// Did two threads meet at the gate of late? Only then is it worth while to leave it open when a thread sleeps:
    /// many programs ask for MPI_THREAD_MULTIPLE and call from one thread.
    pub fn in_company(&self) -> bool {
        let left = self.company.load(Ordering::Relaxed);
        self.company
            .store(left.saturating_sub(1), Ordering::Relaxed);
        left > 0
    }

    /// Lets in those who stand before the gate. For whoever enters again and again: the lock itself knows no turns,
    /// and a thread that must be woken always comes too late.
    #[inline]
    pub fn give_way(&self) {
        let mut left = YIELDS;
        while left > 0 && self.waiting.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
            left -= 1;
        }
    }
}

#[cold]
fn nested() -> ! {
    panic!("MPI was entered twice: either two threads call MPI at once without MPI_THREAD_MULTIPLE, or a defect of Mayfly");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_take_turns() {
        static GATE: Gate<u64> = Gate::new(0);
        GATE.share();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| GATE.enter(|n| *n += 1)));
            }
        });
        assert_eq!(GATE.enter(|n| *n), 40_000);
    }

    /// One enters without end; the other gets in nevertheless, a thousand times.
    #[test]
    fn who_polls_gives_way() {
        static GATE: Gate<u64> = Gate::new(0);
        GATE.share();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    GATE.enter(|_| ());
                    GATE.give_way();
                }
            });
            (0..1000).for_each(|_| GATE.enter(|n| *n += 1));
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(GATE.enter(|n| *n), 1000);
        assert_eq!(GATE.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn company_is_remembered_for_a_while() {
        let gate = Gate::new(());
        gate.share();
        gate.enter(|()| ());
        assert!(!gate.in_company());
        std::thread::scope(|scope| {
            gate.enter(|()| {
                scope.spawn(|| gate.enter(|()| ()));
                while gate.waiting.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
            });
        });
        assert!((0..REMEMBERED).all(|_| gate.in_company()));
        assert!(!gate.in_company());
    }

    #[test]
    #[should_panic(expected = "entered twice")]
    fn nesting_is_found() {
        static GATE: Gate<u64> = Gate::new(0);
        GATE.enter(|_| GATE.enter(|n| *n += 1));
    }
}
