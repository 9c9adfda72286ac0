//! Memory made known to the device.

use super::layout as c;
use super::{Context, Error};
use std::sync::Arc;

/// A protection domain: what belongs together.
pub struct Pd {
    pub(super) raw: *mut c::Pd,
    pub(super) context: Arc<Context>,
}

// SAFETY: libibverbs may be called from any thread; it locks what it shares.
unsafe impl Send for Pd {}
// SAFETY: as above.
unsafe impl Sync for Pd {}

impl Pd {
    pub fn new(context: &Arc<Context>) -> Result<Arc<Pd>, Error> {
        // SAFETY: the context is open.
        let raw = unsafe { (context.library.calls.alloc_pd)(context.raw) };
        if raw.is_null() {
            return Err(Error::last("ibv_alloc_pd", context.name()));
        }
        Ok(Arc::new(Pd {
            raw,
            context: context.clone(),
        }))
    }

    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

impl Drop for Pd {
    fn drop(&mut self) {
        if self.context.ours() {
            // SAFETY: ours; what was made from it held us.
            unsafe { (self.context.library.calls.dealloc_pd)(self.raw) };
        }
    }
}

/// What a registration permits; reading by this rank's own device always is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Access(pub u32);

impl Access {
    /// The source of sends and writes.
    pub const NONE: Access = Access(0);
    /// This rank's device may write: receives, what a get brings, what an atomic answers.
    pub const LOCAL: Access = Access(1);
    /// Peers may write (which needs LOCAL, contained).
    pub const WRITE: Access = Access(1 | 2);
    /// Peers may read.
    pub const READ: Access = Access(4);
    /// Peers may do atomics (which needs LOCAL, contained).
    pub const ATOMIC: Access = Access(1 | 8);
    /// Everything.
    pub const ALL: Access = Access(1 | 2 | 4 | 8);

    pub const fn and(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    /// Does it permit all of the other?
    pub const fn covers(self, other: Access) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A registration, given back when dropped.
pub struct Mr {
    raw: *mut c::Mr,
    pd: Arc<Pd>,
    lkey: u32,
    rkey: u32,
}

// SAFETY: libibverbs may be called from any thread; it locks what it shares.
unsafe impl Send for Mr {}
// SAFETY: as above.
unsafe impl Sync for Mr {}

impl Mr {
    /// Pins `length` bytes and makes them known to the device.
    /// Errors: `ENOMEM` (RLIMIT_MEMLOCK, or the device has no room), `EFAULT` and `EACCES` (not mapped, not writable).
    ///
    /// # Safety
    /// While the registration lives, the device may read the memory, and write it when `access` says so.
    pub unsafe fn register(
        pd: &Arc<Pd>,
        address: *mut u8,
        length: usize,
        access: Access,
    ) -> Result<Mr, Error> {
        let context = &pd.context;
        // SAFETY: the domain is alive, and the caller answers for the memory.
        let raw = unsafe {
            (context.library.calls.reg_mr)(pd.raw, address.cast(), length, access.0 as i32)
        };
        if raw.is_null() {
            return Err(Error::last("ibv_reg_mr", context.name()));
        }
        // SAFETY: the registration is ours.
        let (lkey, rkey) = unsafe { ((*raw).lkey, (*raw).rkey) };
        Ok(Mr {
            raw,
            pd: pd.clone(),
            lkey,
            rkey,
        })
    }

    /// Names the memory in work of this rank.
    pub fn lkey(&self) -> u32 {
        self.lkey
    }

    /// Names the memory in work of peers.
    pub fn rkey(&self) -> u32 {
        self.rkey
    }
}

impl Drop for Mr {
    fn drop(&mut self) {
        if self.pd.context.ours() {
            // SAFETY: ours.
            unsafe { (self.pd.context.library.calls.dereg_mr)(self.raw) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_by_peers_contains_writing_by_the_device() {
        assert!(Access::WRITE.covers(Access::LOCAL) && Access::ATOMIC.covers(Access::LOCAL));
        assert!(!Access::READ.covers(Access::LOCAL) && Access::READ.covers(Access::NONE));
        assert!(Access::ALL.covers(Access::READ.and(Access::WRITE).and(Access::ATOMIC)));
    }
}
