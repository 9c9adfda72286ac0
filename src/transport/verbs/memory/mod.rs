//! Users' memory made known to the device: registered when a large message first needs it, kept for the next one, forgotten as
//! soon as the program unmaps, moves or discards it.
//!
//! A registration is a promise about *pages*: the device goes on reading and writing the pages that stood behind the addresses when
//! they were registered. What the program does to its mappings afterwards therefore decides whether a registration may be used
//! again; [`Cache`] learns of it from the kernel (`watch`), and keeps nothing of which it would not learn.
//!
//! To learn of it must not change anything for the program. The kernel joins mappings that are alike, and refuses an mremap over two
//! of them (EFAULT); memory known to userfaultfd is not like memory that is not. So it is not the registered part that is
//! watched, but the whole *run* (`runs`): private anonymous memory as far as it goes without a hole, whatever its protection.
//! Whatever the program does within a run is set right before its call returns (`mend`). What remains of it, for nothing tells of
//! a mapping that comes to addresses where nothing is: put by mmap, brk or mremap *beside* memory that was sent, it is no part
//! of that, and one mremap over both is refused. So it is with what fills a hole in a large run, which is not given up for one
//! (`mend` says why). `MAYFLY_VERBS_PINNED=0` is for who does that.

mod cache;
mod limits;
mod live;
mod mappings;
mod mend;
mod ring;
mod runs;
#[cfg(test)]
mod tests;
mod uffd;
mod watch;

pub use cache::{Cache, Held, Hold};
pub use limits::Terms;

/// What the device may do with registered memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rights {
    /// Everything that the device can do: read and write, here and for peers, atomics.
    All,
    /// Read, here and for peers: all there is for memory that the program itself may only read.
    Read,
}

/// What an operation will do with the memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Only read it.
    Read,
    /// Write it as well (a receive, the target of a put or of an atomic).
    Change,
}

/// Why memory was not registered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The system's number; `ENOMEM` when a limit on pinned memory is in the way.
    pub errno: i32,
    /// Call, device and cause.
    pub text: String,
}

/// Who makes memory known to the device: a protection domain, or a model of one.
pub trait Registrar {
    /// A registration; dropped, the device forgets it.
    type Region: Region;

    /// Pins the pages behind `address` and hands them to the device. `address` and `length` are whole pages.
    fn register(
        &self,
        address: usize,
        length: usize,
        rights: Rights,
    ) -> Result<Self::Region, Refused>;
}

/// A registration's keys.
pub trait Region {
    /// For work requests of this rank.
    fn lkey(&self) -> u32;
    /// For those of peers.
    fn rkey(&self) -> u32;
}
