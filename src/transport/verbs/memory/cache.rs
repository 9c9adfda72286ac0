//! Registrations in use, and those kept for the next use.

use super::{Refused, Region, Registrar, Rights, Terms, Use};
use crate::info;

/// A registration in use: keys for work requests, and what to release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    pub lkey: u32,
    pub rkey: u32,
    pub hold: Hold,
}

/// Names a use of a registration; good until it is released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hold(pub u64);

/// The registrations of a rank.
pub struct Cache<R: Registrar> {
    registrar: R,
    terms: Terms,
    page: usize,
    slots: Vec<Option<(R::Region, usize)>>,
    free: Vec<usize>,
    pinned: u64,
    said: bool,
}

impl<R: Registrar> Cache<R> {
    pub fn new(registrar: R, terms: Terms) -> Cache<R> {
        // SAFETY: sysconf has no preconditions.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        Cache {
            registrar,
            terms,
            page: page.max(4096) as usize,
            slots: Vec::new(),
            free: Vec::new(),
            pinned: 0,
            said: false,
        }
    }

    /// Makes `length` bytes at `address` known to the device until the hold is released.
    ///
    /// # Errors
    /// The memory cannot be registered: a limit, a device that refuses, memory that is not there. The message goes in pieces then.
    pub fn register(
        &mut self,
        address: *const u8,
        length: usize,
        purpose: Use,
    ) -> Result<Held, String> {
        if !self.terms.fork_safe {
            return Err(self.say("this kernel or device does not keep registered memory right when a program forks, so users' memory is not registered; large messages go in pieces".into()));
        }
        let start = address as usize / self.page * self.page;
        let end = (address as usize)
            .checked_add(length.max(1))
            .and_then(|end| end.checked_next_multiple_of(self.page));
        let Some(size) = end.map(|end| end - start) else {
            return Err(format!(
                "{length} bytes at {address:p} are not in the address space"
            ));
        };
        if self.pinned + size as u64 > self.terms.pinned {
            let text = self.terms.too_small(size as u64);
            return Err(self.say(text));
        }
        let region = self
            .registrar
            .register(start, size, Rights::All)
            .or_else(|refused| match purpose {
                Use::Read => self.registrar.register(start, size, Rights::Read),
                Use::Change => Err(refused),
            });
        let region = match region {
            Ok(region) => region,
            Err(Refused { text, .. }) => return Err(self.say(text)),
        };
        let (lkey, rkey) = (region.lkey(), region.rkey());
        self.pinned += size as u64;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some((region, size));
        Ok(Held {
            lkey,
            rkey,
            hold: Hold(slot as u64),
        })
    }

    /// The use is over; the memory may be the program's alone again.
    pub fn release(&mut self, hold: Hold) {
        if let Some((_, size)) = self.slots[hold.0 as usize].take() {
            self.pinned -= size as u64;
            self.free.push(hold.0 as usize);
        }
    }

    /// Gives back what the program has unmapped; to be called when messages are looked for. Nothing to do costs a load.
    #[inline]
    pub fn tidy(&mut self) {}

    /// Gives everything back, also what is in use; the device must not be working any more.
    pub fn close(&mut self) {
        self.slots.clear();
        self.free.clear();
        self.pinned = 0;
    }

    /// Bytes registered now.
    pub fn pinned(&self) -> u64 {
        self.pinned
    }

    /// The first reason why memory is not registered is told; the others are for the caller alone.
    fn say(&mut self, why: String) -> String {
        if !std::mem::replace(&mut self.said, true) {
            info!("verbs: {why}");
        }
        why
    }
}
