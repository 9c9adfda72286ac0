//! One-sided calls over the simulated network. Each is done as late as a device may do it: a put's bytes are read when
//! it arrives, a get's when it ends. Who touches memory that is not exposed to it loses the peer, as with a device.

use super::{lock, Endpoint, Flight, Net, What};
use crate::base::id::PeerId;
use crate::transport::onesided::{Hold, Keeper};
use crate::transport::{Access, Atomic, Begun, Exposed, Sink, Way};

/// Memory that a rank exposed to one peer.
pub(super) struct Exposure {
    owner: u32,
    peer: u32,
    start: u64,
    length: usize,
    access: Access,
}

/// A call under way, at the rank that made it.
pub(super) struct Call {
    peer: u32,
    token: u64,
    remote: u64,
    key: u32,
    /// Not before this tick.
    due: u64,
    what: Wanted,
}

enum Wanted {
    Get {
        into: *mut u8,
        length: usize,
    },
    Atomic {
        what: Atomic,
        into: *mut u64,
    },
    /// Its bytes are on their way; once there, this says how that ended.
    Put {
        serial: u64,
    },
}

/// A put on its way.
pub(super) struct Put {
    from: *const u8,
    remote: u64,
    key: u32,
    length: usize,
    serial: u64,
}

// SAFETY: the pointers are a program's, which promised that the memory stays until the call has ended; an endpoint that
// goes takes its puts off the network.
unsafe impl Send for Put {}
// SAFETY: as above; the calls stay with the endpoint that made them.
unsafe impl Send for Call {}

impl Net {
    /// Is it dead, and does this one see that?
    fn seen_dead(&self, peer: u32, me: u32) -> bool {
        self.dead[peer as usize] && self.witness[peer as usize].is_none_or(|w| w == me)
    }

    /// May `from` do this to that memory of `to`?
    fn allows(&self, from: u32, to: u32, key: u32, at: u64, length: usize, access: Access) -> bool {
        let Some(e) = self.exposed.get(&key) else {
            return false;
        };
        let inside =
            at >= e.start && length as u64 <= (e.start + e.length as u64).saturating_sub(at);
        let may = e.access == access || e.access == Access::Atomic;
        e.owner == to && e.peer == from && inside && may
    }

    /// Ends the connection of two ranks: what is on its way is lost.
    pub(super) fn part(&mut self, a: u32, b: u32) {
        for (to, from) in [(a, b), (b, a)] {
            self.queue(to, from).clear();
            let at = self.at(to, from);
            self.parted[at] = true;
        }
    }

    /// A rank's puts leave the network, and what was sent behind them.
    pub(super) fn withdraw(&mut self, from: u32) {
        for to in 0..self.settings.ranks {
            let queue = self.queue(to, from);
            let first = queue.iter().position(|f| matches!(f.what, What::Put(_)));
            queue.truncate(first.unwrap_or(queue.len()));
        }
    }

    /// A put arrives.
    pub(super) fn land(&mut self, from: u32, to: u32, put: &Put) {
        let fine = self.allows(from, to, put.key, put.remote, put.length, Access::Write);
        if fine {
            // SAFETY: the sender's bytes stay until its token is finished, the receiver's until they are concealed.
            unsafe { std::ptr::copy(put.from, put.remote as *mut u8, put.length) };
            self.landed.push(put.serial);
        } else {
            self.part(from, to);
        }
    }
}

impl Endpoint {
    pub fn way(&self, peer: PeerId) -> Way {
        let settings = lock(&self.net).settings;
        settings.way.unwrap_or_else(|| {
            const WAYS: [Way; 4] = [Way::Fetch, Way::Get, Way::Put, Way::Pieces];
            let pair = settings.seed + u64::from(self.me) * 3 + u64::from(peer.0);
            WAYS[(pair % 4) as usize]
        })
    }

    /// Memory exposed and not concealed.
    #[cfg(test)]
    pub fn exposed(&self) -> usize {
        let net = lock(&self.net);
        net.exposed.values().filter(|e| e.owner == self.me).count()
    }

    /// The answer when the call is not made.
    fn refusal(&self, net: &mut Net, peer: PeerId) -> Option<Begun> {
        let (busy, refuse) = (net.settings.busy, net.settings.refuse);
        let gone = net.seen_dead(peer.0, self.me) || net.dead[self.me as usize];
        if gone || net.parted[net.at(peer.0, self.me)] || net.chance(refuse) {
            return Some(Begun::No);
        }
        net.chance(busy).then_some(Begun::Busy)
    }

    pub fn expose(
        &mut self,
        peer: PeerId,
        address: *mut u8,
        length: usize,
        access: Access,
    ) -> Option<Exposed> {
        let mut net = lock(&self.net);
        let refuse = net.settings.refuse;
        if net.settings.way == Some(Way::Pieces) || net.chance(refuse) {
            return None;
        }
        net.serial += 1;
        let key = net.serial as u32;
        let exposure = Exposure {
            owner: self.me,
            peer: peer.0,
            start: address as u64,
            length,
            access,
        };
        net.exposed.insert(key, exposure);
        Some(Exposed {
            key,
            hold: Hold(Keeper::Sim(key)),
        })
    }

    pub fn conceal(&mut self, key: u32) {
        let known = lock(&self.net).exposed.remove(&key);
        assert!(
            known.is_some_and(|e| e.owner == self.me),
            "concealed what is not exposed"
        );
    }

    pub fn get(
        &mut self,
        peer: PeerId,
        into: *mut u8,
        remote: u64,
        key: u32,
        length: usize,
        token: u64,
    ) -> Begun {
        self.begin(peer, remote, key, token, Wanted::Get { into, length })
    }

    pub fn atomic(
        &mut self,
        peer: PeerId,
        what: Atomic,
        remote: u64,
        key: u32,
        into: *mut u64,
        token: u64,
    ) -> Begun {
        self.begin(peer, remote, key, token, Wanted::Atomic { what, into })
    }

    fn begin(&mut self, peer: PeerId, remote: u64, key: u32, token: u64, what: Wanted) -> Begun {
        let mut net = lock(&self.net);
        if let Some(refusal) = self.refusal(&mut net, peer) {
            return refusal;
        }
        let due = net.later();
        self.calls.push(Call {
            peer: peer.0,
            token,
            remote,
            key,
            due,
            what,
        });
        Begun::Yes
    }

    pub fn put(
        &mut self,
        peer: PeerId,
        from: *const u8,
        remote: u64,
        key: u32,
        length: usize,
        token: u64,
    ) -> Begun {
        let mut net = lock(&self.net);
        if let Some(refusal) = self.refusal(&mut net, peer) {
            return refusal;
        }
        let capacity = net.settings.capacity;
        if net.queue(peer.0, self.me).len() >= capacity {
            return Begun::Busy;
        }
        net.serial += 1;
        let serial = net.serial;
        let put = Put {
            from,
            remote,
            key,
            length,
            serial,
        };
        let due = net.later();
        if !net.dead[peer.0 as usize] {
            net.queue(peer.0, self.me).push_back(Flight {
                due,
                what: What::Put(put),
            });
        }
        let due = net.later();
        self.calls.push(Call {
            peer: peer.0,
            token,
            remote,
            key,
            due,
            what: Wanted::Put { serial },
        });
        Begun::Yes
    }

    /// Ends the calls that are due, in no order of their begins.
    pub(super) fn end_calls(&mut self, sink: &mut impl Sink) -> bool {
        if self.calls.is_empty() {
            return false;
        }
        let mut over: Vec<(u64, bool)> = Vec::new();
        {
            let mut net = lock(&self.net);
            let turn = net.random() as usize % self.calls.len();
            self.calls.rotate_left(turn);
            let me = self.me;
            self.calls.retain(|call| match call.end(&mut net, me) {
                Some(fine) => {
                    over.push((call.token, fine));
                    false
                }
                None => true,
            });
        }
        for &(token, fine) in &over {
            sink.finished(token, fine);
        }
        !over.is_empty()
    }

    /// See [`crate::transport::Links::probe`].
    pub fn probe(&mut self, peer: PeerId) {
        // Who speaks to the dead learns of it.
        lock(&self.net).witness[peer.0 as usize] = None;
    }

    /// See [`crate::transport::Links::give_up`].
    pub fn give_up(&mut self, peer: PeerId) {
        lock(&self.net).part(self.me, peer.0);
        self.reported[peer.0 as usize] = true;
    }
}

impl Call {
    /// How it ended, if it has.
    fn end(&self, net: &mut Net, me: u32) -> Option<bool> {
        if net.seen_dead(self.peer, me) || net.parted[net.at(self.peer, me)] {
            return Some(false);
        }
        if net.dead[self.peer as usize] || net.dead[me as usize] {
            // Nothing answers, or there is nobody to be answered.
            return None;
        }
        if let Wanted::Put { serial } = self.what {
            let there = net.landed.contains(&serial);
            if there && net.tick >= self.due {
                net.landed.retain(|&s| s != serial);
                return Some(true);
            }
            return None;
        }
        if net.tick < self.due {
            return None;
        }
        let (length, access) = match self.what {
            Wanted::Get { length, .. } => (length, Access::Read),
            _ => (8, Access::Atomic),
        };
        let fine = net.allows(me, self.peer, self.key, self.remote, length, access);
        if !fine {
            net.part(me, self.peer);
            return Some(false);
        }
        // SAFETY: the memory is exposed, hence there, for what its peers do with it; the caller's is there until the
        // token is finished, which is after this. An atomic's address was found to be a multiple of 8.
        unsafe {
            match self.what {
                Wanted::Get { into, length } => {
                    std::ptr::copy(self.remote as *const u8, into, length);
                }
                Wanted::Atomic { what, into } => {
                    into.write_unaligned(what.apply(self.remote as *mut u64));
                }
                Wanted::Put { .. } => (),
            }
        }
        Some(true)
    }
}

impl Drop for Endpoint {
    /// The rank's memory goes with it.
    fn drop(&mut self) {
        let mut net = lock(&self.net);
        net.withdraw(self.me);
        let me = self.me;
        net.exposed.retain(|_, e| e.owner != me);
    }
}
