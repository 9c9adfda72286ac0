//! Users' memory and the device: what the cache of registrations asks of a protection domain.

use crate::transport::verbs::memory::{Refused, Region, Registrar, Rights};
use crate::transport::verbs::sys::{Access, Mr, Pd};
use std::sync::Arc;

/// A protection domain that registers users' memory.
pub struct Domain {
    pub pd: Arc<Pd>,
    /// What the device can do, and nothing that it would refuse (not every one has atomics).
    pub all: Access,
}

impl Registrar for Domain {
    type Region = Mr;

    fn register(&self, address: usize, length: usize, rights: Rights) -> Result<Mr, Refused> {
        let access = match rights {
            Rights::All => self.all,
            Rights::Read => Access::READ,
        };
        // SAFETY: the program gave the memory to an operation that reads or writes it, or to peers, until that is over;
        // the cache keeps no registration for longer than the pages behind it are the program's.
        unsafe { Mr::register(&self.pd, address as *mut u8, length, access) }.map_err(|error| {
            Refused {
                errno: error.errno,
                text: error.to_string(),
            }
        })
    }
}

impl Region for Mr {
    fn lkey(&self) -> u32 {
        Mr::lkey(self)
    }

    fn rkey(&self) -> u32 {
        Mr::rkey(self)
    }
}
