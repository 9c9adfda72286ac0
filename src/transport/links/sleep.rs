//! Sleeping until any of the links has something.

use super::Links;
use crate::transport::shm::wake;
use crate::transport::tcp::Tcp;
use std::time::Duration;

impl Links {
    /// Blocks until something may have arrived, a peer that was Busy may have room, or `limit` has passed. It may
    /// return early.
    pub fn sleep(&mut self, limit: Duration) {
        if !self.own.is_empty() || !self.losses.is_empty() {
            return;
        }
        if let Some(sim) = &mut self.sim {
            sim.sleep();
            return;
        }
        let tcp_used = self.tcp.as_ref().is_some_and(Tcp::used);
        let verbs_used = self.verbs.as_ref().is_some_and(|v| v.used());
        let alone = self.tcp.is_none() && self.verbs.is_none();
        match &mut self.shm {
            // Everybody who may send has mapped the segment, so nobody will come in another way.
            Some(shm) if alone || (shm.complete() && !tcp_used && !verbs_used) => {
                shm.sleep(limit);
                self.glance_at_device();
            }
            _ => self.sleep_on_all(limit),
        }
    }

    /// Was a peer of this machine woken up since the last question?
    #[inline]
    pub fn has_woken(&mut self) -> bool {
        self.shm.as_mut().is_some_and(|shm| shm.has_woken())
    }

    /// Does a peer of this machine wait on the same processor as this rank?
    pub fn shares_core(&mut self) -> bool {
        self.shm.as_mut().is_some_and(|shm| shm.shares_core())
    }

    /// A device that nobody uses does not wake this rank up when it is gone; but its removal may wait for all who have it
    /// open.
    fn glance_at_device(&mut self) {
        if self.verbs.as_mut().is_some_and(|verbs| verbs.glance()) {
            self.turns.all_at_once();
        }
    }

    /// All that may end the sleep is watched in one place: by verbs when they are there, else by TCP.
    fn sleep_on_all(&mut self, mut limit: Duration) {
        let Links {
            shm, tcp, verbs, ..
        } = self;
        let mut quiet = true;
        if let Some(verbs) = verbs {
            limit = verbs.nap(limit);
            quiet = verbs.arm();
        }
        if let Some(shm) = shm {
            limit = shm.nap(wake::SOCKET, limit);
            quiet = shm.doze(wake::SOCKET) && quiet;
        }
        match (verbs.as_mut(), tcp.as_mut()) {
            (Some(verbs), mut tcp) => {
                if let Some(tcp) = &mut tcp {
                    quiet = tcp.lie_down(&mut limit) && quiet;
                }
                if quiet {
                    verbs.wait(limit);
                }
                verbs.rise();
                if let Some(tcp) = tcp {
                    tcp.get_up();
                }
            }
            (None, Some(tcp)) if quiet => tcp.wait(limit),
            (None, None) => std::thread::sleep(limit),
            _ => (),
        }
        if let Some(shm) = shm {
            shm.awake();
            shm.drain_wake();
            shm.watch();
        }
        self.turns.all_at_once();
    }
}
