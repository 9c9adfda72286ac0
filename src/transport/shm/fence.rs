//! Who publishes must look whether the reader sleeps after the record is visible, and who falls asleep must look for
//! records after its sleep is: each a store, then a load of the other's word. A processor may do the load first unless a
//! fence stands between, and a fence costs as much as all the rest of a small message. So the sleeper, who has time, makes
//! one for all: `membarrier` has every thread of the registered processes that runs just now pass a full barrier
//! (membarrier(2), MEMBARRIER_CMD_GLOBAL_EXPEDITED, Linux 4.16). Where it cannot, senders keep their fence.

const QUERY: i32 = 0;
const EVERYWHERE: i32 = 1 << 1;
const REGISTER: i32 = 1 << 2;

fn membarrier(command: i32) -> i64 {
    // SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
}

/// From now on this process passes the barriers that others ask for, if it can; false: it does not. For the beginning: where
/// a process has several threads already, the kernel takes ten milliseconds for it, and senders had better keep their fence.
pub fn register() -> bool {
    let known = membarrier(QUERY);
    let both = i64::from(EVERYWHERE | REGISTER);
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    (alone || cfg!(test)) && known >= 0 && known & both == both && membarrier(REGISTER) == 0
}

/// A full barrier in every registered process. Only after [`register`] has succeeded.
pub fn everywhere() {
    membarrier(EVERYWHERE);
}
