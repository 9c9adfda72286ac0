//! On which processor a rank runs. Two that talk and share one leave the other idle until the kernel notices, which may take
//! longer than the program: a rank that yields again and again looks as good where it is as elsewhere.

use super::{Peer, Shm};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often a rank may look for a processor of its own.
const MOVES: Duration = Duration::from_millis(5);

/// The processor that the calling thread runs on.
fn current() -> Option<u32> {
    // SAFETY: no memory is involved.
    u32::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// Moves the calling thread from this processor to one that is not taken, among those that it may use; afterwards it may use
/// the same as before. False: it stays where it is.
fn leave(core: u32, taken: &[u32]) -> bool {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: a set of processors is plain bits; all zeros is the empty one.
    let (mut allowed, mut one): (libc::cpu_set_t, libc::cpu_set_t) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    // SAFETY: the set lives through the call, and its size is the one given.
    if unsafe { libc::sched_getaffinity(0, size, &mut allowed) } != 0 {
        return false;
    }
    // SAFETY: the macros' functions read and write the sets within their size.
    let free = (0..libc::CPU_SETSIZE as u32).find(|&c| {
        c != core && !taken.contains(&c) && unsafe { libc::CPU_ISSET(c as usize, &allowed) }
    });
    let Some(free) = free else { return false };
    // SAFETY: as above.
    unsafe {
        libc::CPU_SET(free as usize, &mut one);
        if libc::sched_setaffinity(0, size, &one) != 0 {
            return false;
        }
        // Who may use all shall also use what comes later; and should the rest have changed meanwhile, the kernel takes of
        // all what it allows.
        let all: libc::cpu_set_t = std::mem::transmute([0xffu8; size_of::<libc::cpu_set_t>()]);
        let online = libc::sysconf(libc::_SC_NPROCESSORS_ONLN);
        let free = i64::from(libc::CPU_COUNT(&allowed)) >= online;
        let back = if free { &all } else { &allowed };
        if libc::sched_setaffinity(0, size, back) != 0 {
            libc::sched_setaffinity(0, size, &all);
        }
    }
    true
}

impl Shm {
    /// Was anybody woken up since the last question? The kernel may have put it on this rank's processor, where it runs once
    /// this rank yields or the kernel finds it another one, which takes most of a millisecond.
    #[inline]
    pub fn has_woken(&mut self) -> bool {
        std::mem::take(&mut self.woke)
    }

    /// Says on which processor this rank waits. Does one of those to whom it talks wait on the same? Then whoever spins
    /// keeps the other from sending what it waits for. Of two such the one of the higher rank goes elsewhere, if it may.
    #[cold]
    pub fn shares_core(&mut self) -> bool {
        let claim = |shm: &Shm| {
            let core = current();
            let number = core.map_or(0, |core| core + 1);
            shm.segment
                .map
                .head()
                .core
                .0
                .store(number, Ordering::Relaxed);
            core
        };
        let Some(core) = claim(self) else {
            return false;
        };
        let place = |p: &Peer| match p.gone || p.goodbye {
            true => None,
            false => p.map.head().core.0.load(Ordering::Relaxed).checked_sub(1),
        };
        let others = || {
            self.peers
                .iter()
                .zip(0..)
                .filter_map(|(p, rank)| Some((place(p.as_deref()?)?, rank)))
        };
        let Some((_, rank)) = others().find(|&(other, _)| other == core) else {
            return false;
        };
        let now = Instant::now();
        if rank > self.me || self.moved.is_some_and(|before| now - before < MOVES) {
            return true;
        }
        let taken: Vec<u32> = others().map(|(core, _)| core).collect();
        self.moved = Some(now);
        let moved = leave(core, &taken);
        claim(self);
        !moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_may_come_back() {
        let before = std::thread::available_parallelism().unwrap();
        let here = current().unwrap();
        let moved = leave(here, &[]);
        assert_eq!(std::thread::available_parallelism().unwrap(), before);
        assert!(moved || before.get() == 1);
        // Where all are taken, it stays.
        assert!(!leave(here, &(0..1024).collect::<Vec<u32>>()));
    }
}
