//! On which processor a rank runs. Two that talk and share one leave the other idle until the kernel notices, which may take
//! longer than the program: a rank that yields again and again looks as good where it is as elsewhere.

/// The processor that the calling thread runs on.
pub fn current() -> Option<u32> {
    // SAFETY: no memory is involved.
    u32::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// Moves the calling thread from this processor to one that is not taken, among those that it may use; afterwards it may use
/// the same as before. False: it stays where it is.
pub fn leave(core: u32, taken: &[u32]) -> bool {
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
