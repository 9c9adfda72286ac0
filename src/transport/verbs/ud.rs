//! Datagrams: the unreliable queue pair that a rank's address names, on which hellos come and go. Its receive buffers are
//! few and never missed: a datagram that finds none is lost, and its sender repeats it.

use crate::transport::verbs::buffers::Region;
use crate::transport::verbs::sys::{
    words, Access, Ah, Caps, Channel, Completion, Cq, Global, Operation, Pd, Qp, Receive, Route,
    Work,
};
use crate::wire::verbs_address::{Fabric, VerbsAddress};
use crate::wire::verbs_hello::HELLO;
use std::collections::HashMap;
use std::sync::Arc;

/// The global header in front of each datagram, written or left out.
const HEADER: usize = 40;
/// From one receive buffer to the next.
const STRIDE: usize = 192;
const RECEIVES: usize = 256;
const SENDS: usize = 32;
/// Completions taken at a time.
const BATCH: usize = 16;
/// Ways to peers that are remembered.
const WAYS: usize = 32;

/// This rank's port.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    pub number: u8,
    pub fabric: Fabric,
    pub lid: u16,
    pub gid: [u8; 16],
    /// The GID's line in the port's table.
    pub index: u8,
    /// The largest packet, as verbs number it.
    pub mtu: u8,
}

impl Port {
    /// The way to a peer's port.
    pub fn route(&self, to: &VerbsAddress) -> Route {
        let subnet = self.fabric == Fabric::Infiniband && self.gid[..8] == to.gid[..8];
        let global = Global {
            gid: to.gid,
            from_index: self.index,
            hops: 64,
            class: 0,
        };
        Route {
            port: self.number,
            lid: to.lid,
            level: 0,
            global: (!subnet).then_some(global),
        }
    }
}

/// The queue pair and what it uses. The order is that of the end: the pair goes before its memory.
pub struct Ud {
    /// By address and LID: ranks of one machine share one. The first is made at the start, lest a peer is not told that
    /// the device has no more of anything.
    ways: HashMap<([u8; 16], u16), Ah>,
    qp: Qp,
    cq: Arc<Cq>,
    pd: Arc<Pd>,
    port: Port,
    key: u32,
    memory: Region,
    free: Vec<u32>,
    /// Completions that were taken while arming.
    stash: Vec<Completion>,
    /// Why it does not work any more.
    pub broken: Option<String>,
}

impl Ud {
    /// # Errors
    /// One line: what the device refuses.
    pub fn open(pd: &Arc<Pd>, channel: &Arc<Channel>, port: Port) -> Result<Ud, String> {
        let memory = Region::new(pd, (RECEIVES + SENDS) * STRIDE, Access::LOCAL)?;
        let cq = Cq::new(pd.context(), (RECEIVES + SENDS) as u32, Some(channel))?;
        let caps = Caps {
            sends: SENDS as u32,
            pieces: 1,
            inline: 0,
            receives: RECEIVES as u32,
        };
        let qp = Qp::datagram(pd, &cq, &cq, caps)?;
        let mut random = [0; 8];
        let _ = crate::base::os::random(&mut random);
        let (one, other) = random.split_at(4);
        let number = |four: &[u8]| u32::from_le_bytes(std::array::from_fn(|i| four[i]));
        // Keys with the highest bit set are the kernel's.
        let key = number(one) & 0x7fff_ffff;
        qp.open(port.number, key, number(other))?;
        let mut ud = Ud {
            ways: HashMap::new(),
            qp,
            cq,
            pd: pd.clone(),
            port,
            key,
            memory,
            free: (0..SENDS as u32).collect(),
            stash: Vec::new(),
            broken: None,
        };
        let all: Vec<u32> = (0..RECEIVES as u32).collect();
        ud.post(&all)?;
        let own = ud.address(0);
        let way = Ah::new(pd, &port.route(&own))?;
        ud.ways.insert((own.gid, own.lid), way);
        Ok(ud)
    }

    /// How others reach it. `modes`: what the transport can do.
    pub fn address(&self, modes: u8) -> VerbsAddress {
        VerbsAddress {
            fabric: self.port.fabric,
            mtu: self.port.mtu,
            modes,
            lid: self.port.lid,
            gid: self.port.gid,
            queue_pair: self.qp.number(),
            queue_key: self.key,
        }
    }

    fn post(&mut self, numbers: &[u32]) -> Result<(), String> {
        let requests: Vec<Receive> = numbers
            .iter()
            .map(|n| Receive {
                id: u64::from(*n),
                address: self.memory.at(*n as usize * STRIDE) as u64,
                length: STRIDE as u32,
                lkey: self.memory.key(),
            })
            .collect();
        // SAFETY: the memory lives longer than the queue pair, and a posted buffer is not read before it comes back.
        let posted = unsafe { self.qp.post_receives(&requests) };
        posted.map_err(|(_, error)| error.to_string())
    }

    /// Takes what came to `hellos`, and what has left; true when there was anything.
    pub fn poll(&mut self, hellos: &mut Vec<[u8; HELLO]>) -> bool {
        if self.broken.is_some() {
            return false;
        }
        let mut done = std::mem::take(&mut self.stash);
        let mut room = [Completion::EMPTY; BATCH];
        match self.cq.poll(&mut room) {
            Ok(more) => done.extend_from_slice(more),
            Err(error) => self.broken = Some(error.to_string()),
        }
        if done.is_empty() {
            return self.broken.is_some();
        }
        let mut again = Vec::with_capacity(done.len());
        for one in &done {
            self.take(one, &mut again, hellos);
        }
        if self.broken.is_none() && !again.is_empty() {
            self.broken = self.post(&again).err();
        }
        true
    }

    fn take(&mut self, done: &Completion, again: &mut Vec<u32>, hellos: &mut Vec<[u8; HELLO]>) {
        let number = done.id() as u32;
        if number >= RECEIVES as u32 {
            self.free.push(number - RECEIVES as u32);
            if !done.fine() {
                self.broken = Some(format!("a hello was not sent: {}", words(done.status())));
            }
            return;
        }
        if !done.fine() {
            // One that does not fit is a stranger's.
            match done.status() {
                1 => again.push(number),
                status => self.broken = Some(format!("hellos do not come: {}", words(status))),
            }
            return;
        }
        if done.operation() == Operation::Received && done.length() == HEADER + HELLO {
            let at = self.memory.at(number as usize * STRIDE + HEADER);
            let mut hello = [0; HELLO];
            // SAFETY: the device is done with the buffer, and it is longer than that.
            unsafe { std::ptr::copy_nonoverlapping(at, hello.as_mut_ptr(), HELLO) };
            hellos.push(hello);
        }
        again.push(number);
    }

    /// Sends a hello. It may be lost, here already when many are under way.
    ///
    /// # Errors
    /// One line: there is no way to that port, or the device has failed.
    pub fn send(&mut self, to: &VerbsAddress, hello: &[u8; HELLO]) -> Result<(), String> {
        if let Some(why) = &self.broken {
            return Err(why.clone());
        }
        let way = (to.gid, to.lid);
        if !self.ways.contains_key(&way) {
            // A way must live until what was sent by it has left.
            if self.ways.len() >= WAYS && self.free.len() == SENDS {
                self.ways.clear();
            }
            let route = self.port.route(to);
            let ah = match Ah::new(&self.pd, &route) {
                // The device may have too few for all.
                Err(_) if !self.ways.is_empty() && self.free.len() == SENDS => {
                    self.ways.clear();
                    Ah::new(&self.pd, &route)?
                }
                made => made?,
            };
            self.ways.insert(way, ah);
        }
        let (Some(ah), Some(number)) = (self.ways.get(&way), self.free.pop()) else {
            return Ok(());
        };
        let slot = RECEIVES as u32 + number;
        let at = self.memory.at(slot as usize * STRIDE);
        // SAFETY: the slot is free, so nobody else uses it, and longer than that.
        unsafe { std::ptr::copy_nonoverlapping(hello.as_ptr(), at, HELLO) };
        let work = Work::send(u64::from(slot))
            .piece(at as u64, HELLO, self.memory.key())
            .to(ah, to.queue_pair, to.queue_key)
            .signaled();
        // SAFETY: the slot is not touched until its completion.
        if let Err(refused) = unsafe { self.qp.post(&mut [work]) } {
            self.free.push(number);
            return Err(refused.error.to_string());
        }
        Ok(())
    }

    /// From now on the channel tells of what comes; false: something is there already.
    ///
    /// # Errors
    /// The device's.
    pub fn arm(&mut self) -> Result<bool, String> {
        if self.broken.is_some() {
            return Ok(true);
        }
        self.cq.arm(false)?;
        let mut room = [Completion::EMPTY; BATCH];
        let came = self.cq.poll(&mut room)?;
        self.stash.extend_from_slice(came);
        Ok(self.stash.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::verbs_address::tests::example;

    fn port(fabric: Fabric) -> Port {
        Port {
            number: 2,
            fabric,
            lid: 5,
            gid: example(1).gid,
            index: 3,
            mtu: 3,
        }
    }

    #[test]
    fn within_an_infiniband_subnet_the_lid_is_enough() {
        let to = VerbsAddress {
            lid: 9,
            ..example(2)
        };
        let route = port(Fabric::RoceV2).route(&to);
        let global = route.global.expect("by GID");
        assert_eq!((global.gid, global.from_index), (to.gid, 3));
        let route = port(Fabric::Infiniband).route(&to);
        assert_eq!((route.lid, route.port, route.global), (9, 2, None));
        let mut far = to;
        far.gid[..8].copy_from_slice(&[7; 8]);
        assert!(port(Fabric::Infiniband).route(&far).global.is_some());
    }
}
