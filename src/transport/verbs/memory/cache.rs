//! Registrations in use, and those kept for the next use.

use super::live::Live;
use super::uffd::Settled;
use super::watch::{Change, Watch};
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

/// How often a registration waits for a thread that is just changing mappings, before it goes on without what is kept.
const PATIENCE: usize = 50;

/// The registrations of a rank.
///
/// Kept registrations are those whose pages are certainly still behind their addresses. One of which that ends while it is in
/// use stays registered until it is released (the device may be working there), but nobody finds it again.
pub struct Cache<R: Registrar> {
    registrar: R,
    terms: Terms,
    page: usize,
    entries: Vec<Option<Entry<R::Region>>>,
    free: Vec<u32>,
    /// Those that may be used again.
    live: Live,
    /// The longest and the most recently unused of the live ones that nobody uses, a chain.
    oldest: u32,
    newest: u32,
    /// Bytes registered, and those of them that nobody uses.
    pinned: u64,
    idle: u64,
    watch: Watching,
    /// Counts registrations, so that a hold never names another's.
    count: u32,
    said: bool,
}

struct Entry<T> {
    region: T,
    start: usize,
    end: usize,
    live: bool,
    uses: u32,
    count: u32,
    /// In the chain of the unused.
    older: u32,
    newer: u32,
}

/// No entry.
const NONE: u32 = u32::MAX;

enum Watching {
    /// No registration has been asked for.
    NotYet,
    On(Watch),
    /// Nothing can be kept.
    Off,
}

impl<R: Registrar> Cache<R> {
    pub fn new(registrar: R, terms: Terms) -> Cache<R> {
        // SAFETY: sysconf has no preconditions.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        Cache {
            registrar,
            terms,
            page: page.max(4096) as usize,
            entries: Vec::new(),
            free: Vec::new(),
            live: Live::default(),
            oldest: NONE,
            newest: NONE,
            pinned: 0,
            idle: 0,
            watch: Watching::NotYet,
            count: 0,
            said: false,
        }
    }

    /// Makes `length` bytes at `address` known to the device until the hold is released. What lies on the same pages becomes known
    /// with them.
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
        let Some(end) = (address as usize)
            .checked_add(length.max(1))
            .and_then(|end| end.checked_next_multiple_of(self.page))
        else {
            return Err(format!(
                "{length} bytes at {address:p} are not in the address space"
            ));
        };
        let keep = self.settle();
        if keep {
            if let Some(at) = self.live.covering(start, end) {
                return Ok(self.hold(at));
            }
        }
        match self.fresh(start, end, purpose, keep) {
            Ok(at) => Ok(self.held(at)),
            Err(why) => Err(self.say(why)),
        }
    }

    /// The use is over; the registration may be kept.
    pub fn release(&mut self, hold: Hold) {
        let at = hold.0 as u32;
        let Some(entry) = self.entry(at) else { return };
        if entry.count != (hold.0 >> 32) as u32 || entry.uses == 0 {
            return;
        }
        entry.uses -= 1;
        if entry.uses == 0 {
            if entry.live {
                self.chain(at);
            } else {
                self.give_back(at);
            }
        }
    }

    /// Gives back what the program has unmapped; to be called when messages are looked for. Nothing to do costs two loads.
    #[inline]
    pub fn tidy(&mut self) {
        if matches!(&self.watch, Watching::On(watch) if watch.pending()) {
            self.catch_up();
        }
    }

    /// Gives everything back, also what is in use: the device must not be working any more.
    pub fn close(&mut self) {
        let ours = match &self.watch {
            Watching::On(watch) => watch.ours(),
            _ => true,
        };
        if ours {
            self.forget(0, usize::MAX);
        }
        // In a child of a fork the regions know that they are the parent's.
        self.entries.clear();
        self.free.clear();
        self.live = Live::default();
        (self.oldest, self.newest) = (NONE, NONE);
        (self.pinned, self.idle) = (0, 0);
        self.watch = Watching::NotYet;
    }

    /// Bytes registered now, in use or kept.
    pub fn pinned(&self) -> u64 {
        self.pinned
    }

    /// Registrations kept for the next use, and those in use that will be.
    pub fn kept(&self) -> usize {
        self.live.len()
    }

    #[cfg(test)]
    pub fn close_descriptor_for_a_test(&self) {
        if let Watching::On(watch) = &self.watch {
            watch.close_descriptor_for_a_test();
        }
    }

    /// Whether what is kept may be used, and what is registered now may be kept. Forgets what has changed.
    fn settle(&mut self) -> bool {
        if matches!(self.watch, Watching::NotYet) {
            self.watch = match Watch::start() {
                Ok(watch) => Watching::On(watch),
                Err(error) => {
                    info!("verbs: no userfaultfd ({error}): what the program unmaps is not told, so that each large message registers its memory anew");
                    Watching::Off
                }
            };
        }
        for attempt in 0.. {
            let Watching::On(watch) = &self.watch else {
                return false;
            };
            match watch.settled() {
                Settled::Yes => break,
                Settled::NotYet if attempt == PATIENCE => return false,
                Settled::NotYet => std::thread::yield_now(),
                Settled::Never => {
                    info!("verbs: the userfaultfd was closed, by this program perhaps: each large message registers its memory anew");
                    self.forget_all();
                    if let Watching::On(watch) = std::mem::replace(&mut self.watch, Watching::Off) {
                        watch.abandon();
                    }
                    return false;
                }
            }
        }
        self.tidy();
        true
    }

    /// Forgets what has changed.
    fn catch_up(&mut self) {
        loop {
            let Watching::On(watch) = &self.watch else {
                return;
            };
            match watch.take() {
                None => return,
                Some(Change::Gone(start, end)) => self.forget(start, end),
                Some(Change::Anything) => self.forget_all(),
            }
        }
    }

    /// Neither keeps nor watches anything of what there is.
    fn start_anew(&mut self) {
        self.forget_all();
        if let Watching::On(watch) = &mut self.watch {
            watch.leave();
        }
    }

    fn forget_all(&mut self) {
        self.forget(0, usize::MAX);
    }

    /// What has a part between the two is not used again.
    fn forget(&mut self, start: usize, end: usize) {
        while let Some(at) = self.live.touching(start, end) {
            self.drop_out(at);
        }
    }

    /// One that nobody finds again: given back at once, or when it is no longer in use.
    fn drop_out(&mut self, at: u32) {
        let Some(entry) = self.entry(at) else { return };
        entry.live = false;
        let (start, idle) = (entry.start, entry.uses == 0);
        self.live.remove(start);
        if idle {
            self.unchain(at);
            self.give_back(at);
        }
    }

    /// A registration that there was not, in its first use.
    fn fresh(&mut self, start: usize, end: usize, purpose: Use, keep: bool) -> Result<u32, String> {
        let size = (end - start) as u64;
        // What is in use cannot make room.
        if size > (self.terms.pinned + self.idle).saturating_sub(self.pinned) {
            return Err(self.terms.too_small(size));
        }
        let mut keep = keep && self.watch_over(start, end);
        let at = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() as u32 - 1
        });
        if keep {
            // What lies wholly in the new one is found in it from now on.
            while let Some(inner) = self.live.within(start, end) {
                self.drop_out(inner);
            }
            // Known already, so that what makes room takes no watch away that both need.
            self.live.insert(start, end, at);
        }
        while self.pinned + size > self.terms.pinned && self.evict() {}
        while self.live.len() > self.terms.kept && self.evict() {}
        let pinned = self.pin(start, end, purpose);
        // Memory that may only be read is registered so for this once; and there is a bound that nothing unused is left to keep.
        let lasting = matches!(pinned, Ok((_, Rights::All))) && self.live.len() <= self.terms.kept;
        if keep && !lasting {
            self.live.remove(start);
            keep = false;
        }
        let region = match pinned {
            Ok((region, _)) => region,
            Err(refused) => {
                self.free.push(at);
                let text = refused.text;
                return Err(match refused.errno {
                    libc::ENOMEM => format!("{text}; {}", self.terms.too_small(size)),
                    _ => text,
                });
            }
        };
        self.count = self.count.wrapping_add(1);
        self.entries[at as usize] = Some(Entry {
            region,
            start,
            end,
            live: keep,
            uses: 1,
            count: self.count,
            older: NONE,
            newer: NONE,
        });
        self.pinned += size;
        Ok(at)
    }

    /// Has the kernel tell what happens there; false: it cannot, or would not tell all.
    fn watch_over(&mut self, start: usize, end: usize) -> bool {
        for _ in 0..2 {
            let Watching::On(watch) = &mut self.watch else {
                return false;
            };
            let error = match watch.add(start, end) {
                Ok(tells_all) => return tells_all,
                Err(error) => error,
            };
            match error.raw_os_error() {
                // No room for more of what is watched, or for more mappings.
                Some(libc::ENOSPC | libc::ENOMEM) => self.start_anew(),
                _ => return false,
            }
        }
        false
    }

    /// Registers; where the system has no room for more, what is unused makes room.
    fn pin(
        &mut self,
        start: usize,
        end: usize,
        purpose: Use,
    ) -> Result<(R::Region, Rights), Refused> {
        loop {
            let refused = match self.registrar.register(start, end - start, Rights::All) {
                Ok(region) => return Ok((region, Rights::All)),
                Err(refused) => refused,
            };
            if refused.errno != libc::ENOMEM {
                if purpose == Use::Change {
                    return Err(refused);
                }
                let region = self.registrar.register(start, end - start, Rights::Read)?;
                return Ok((region, Rights::Read));
            }
            // At least as much as is wanted, and much at a time: each attempt costs.
            let enough = self.idle / 2;
            let before = self.idle;
            if !self.evict() {
                return Err(refused);
            }
            while self.idle > enough && before - self.idle < (end - start) as u64 && self.evict() {}
        }
    }

    /// Gives back the registration that was longest unused; false: there is none.
    fn evict(&mut self) -> bool {
        let oldest = self.oldest;
        if oldest == NONE {
            return false;
        }
        self.drop_out(oldest);
        true
    }

    /// A use more of one that is live.
    fn hold(&mut self, at: u32) -> Held {
        if self.entry(at).is_some_and(|e| e.uses == 0) {
            self.unchain(at);
        }
        if let Some(entry) = self.entry(at) {
            entry.uses += 1;
        }
        self.held(at)
    }

    fn held(&self, at: u32) -> Held {
        let entry = self.entries[at as usize].as_ref().expect("registered");
        Held {
            lkey: entry.region.lkey(),
            rkey: entry.region.rkey(),
            hold: Hold(u64::from(entry.count) << 32 | u64::from(at)),
        }
    }

    fn entry(&mut self, at: u32) -> Option<&mut Entry<R::Region>> {
        self.entries.get_mut(at as usize)?.as_mut()
    }

    /// The device forgets it.
    fn give_back(&mut self, at: u32) {
        if let Some(entry) = self.entries[at as usize].take() {
            self.pinned -= (entry.end - entry.start) as u64;
            self.free.push(at);
        }
    }

    /// To the young end of the unused.
    fn chain(&mut self, at: u32) {
        let newest = std::mem::replace(&mut self.newest, at);
        if let Some(entry) = self.entry(at) {
            (entry.older, entry.newer) = (newest, NONE);
            self.idle += (entry.end - entry.start) as u64;
        }
        match self.entry(newest) {
            Some(before) => before.newer = at,
            None => self.oldest = at,
        }
    }

    /// Out of the unused.
    fn unchain(&mut self, at: u32) {
        let Some(entry) = self.entry(at) else { return };
        let (older, newer) = (entry.older, entry.newer);
        (entry.older, entry.newer) = (NONE, NONE);
        self.idle -= (entry.end - entry.start) as u64;
        match self.entry(older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
        match self.entry(newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }

    /// The first reason why memory is not registered is told; the others are for the caller alone.
    fn say(&mut self, why: String) -> String {
        if !std::mem::replace(&mut self.said, true) {
            info!("verbs: {why}");
        }
        why
    }
}

impl<R: Registrar> Drop for Cache<R> {
    fn drop(&mut self) {
        self.close();
    }
}
