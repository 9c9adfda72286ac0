//! How much memory may be pinned, and by what that is limited.

use crate::base::config::config;

/// Under which terms a cache works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// At most so many bytes are registered at a time.
    pub pinned: u64,
    /// `RLIMIT_MEMLOCK` in bytes, when it is what makes `pinned` small: for the line that says so.
    pub memlock: Option<u64>,
    /// At most so many registrations are kept: the device has a number for all processes.
    pub kept: usize,
    /// Does registered memory stay right when the program forks? Otherwise users' memory is not registered at all.
    pub fork_safe: bool,
}

impl Terms {
    /// The terms of this process: `MAYFLY_VERBS_PINNED`, else half of `RLIMIT_MEMLOCK` and at most a quarter of the machine's memory.
    /// `regions`: how many registrations the device can have.
    pub fn here(fork_safe: bool, regions: u32) -> Terms {
        let memlock = (!may_lock_all()).then(memlock).flatten();
        Terms::of(config().verbs_pinned, memlock, memory(), regions, fork_safe)
    }

    fn of(
        asked: Option<u64>,
        memlock: Option<u64>,
        memory: u64,
        regions: u32,
        fork_safe: bool,
    ) -> Terms {
        let quarter = memory / 4;
        let half = memlock.map(|limit| limit / 2);
        let pinned = asked.unwrap_or(half.map_or(quarter, |half| half.min(quarter)));
        Terms {
            pinned,
            memlock: memlock.filter(|limit| asked.is_none() && limit / 2 < quarter),
            kept: (regions / 16).clamp(16, 4096) as usize,
            fork_safe,
        }
    }

    /// Why `length` bytes more are too many, and what helps.
    pub(super) fn too_small(&self, length: u64) -> String {
        let pinned = self.pinned;
        match self.memlock {
            Some(limit) => format!("{length} bytes cannot be registered with the device: RLIMIT_MEMLOCK is {limit} bytes, of which users' memory may take {pinned}; large messages go in pieces (ulimit -l unlimited helps, or MAYFLY_VERBS_PINNED)"),
            None => format!("{length} bytes cannot be registered with the device: users' memory may take {pinned} bytes; large messages go in pieces (MAYFLY_VERBS_PINNED sets the bound)"),
        }
    }
}

/// `RLIMIT_MEMLOCK`, bytes; `None`: no limit.
fn memlock() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit fills the structure that it is given.
    let answer = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    (answer == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Has this process CAP_IPC_LOCK, so that the kernel does not count?
fn may_lock_all() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return false;
    };
    status.lines().any(|line| {
        let mask = line.strip_prefix("CapEff:").map(str::trim);
        mask.and_then(|m| u64::from_str_radix(m, 16).ok())
            .is_some_and(|m| m >> CAP_IPC_LOCK & 1 == 1)
    })
}

/// Of linux/capability.h.
const CAP_IPC_LOCK: u32 = 14;

/// The machine's memory, bytes.
fn memory() -> u64 {
    // SAFETY: sysconf has no preconditions.
    let (pages, size) = unsafe {
        (
            libc::sysconf(libc::_SC_PHYS_PAGES),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    pages.max(0) as u64 * size.max(0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_what_was_asked_for_or_half_of_the_limit_or_a_quarter_of_memory() {
        let gib = 1 << 30;
        let of = |asked, memlock| Terms::of(asked, memlock, 8 * gib, 65530, true);
        assert_eq!(of(None, None).pinned, 2 * gib);
        assert_eq!(of(None, Some(64 << 10)).pinned, 32 << 10);
        assert_eq!(of(None, Some(6 * gib)).pinned, 2 * gib);
        assert_eq!(of(Some(5), Some(64 << 10)).pinned, 5);
        // The limit is named only where it is what is in the way.
        assert_eq!(of(None, Some(64 << 10)).memlock, Some(64 << 10));
        assert_eq!(of(None, Some(6 * gib)).memlock, None);
        assert_eq!(of(Some(5), Some(64 << 10)).memlock, None);
        assert!(of(None, Some(64 << 10))
            .too_small(70000)
            .contains("RLIMIT_MEMLOCK is 65536"));
        assert!(of(Some(5), None)
            .too_small(70000)
            .contains("MAYFLY_VERBS_PINNED"));
        // A device with a small table is not eaten up.
        assert_eq!(of(None, None).kept, 4095);
        assert_eq!(Terms::of(None, None, gib, 400, true).kept, 25);
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(memory() > 1 << 20);
        assert!(Terms::here(true, 1 << 20).pinned > 0);
        assert_eq!(Terms::here(true, 800).kept, 50);
    }
}
