//! Sleeping until the device has something: by the completion channel, in an epoll of our own among other descriptors.

use crate::transport::os::{check, Fd};
use crate::transport::verbs::traffic::Traffic;
use std::io;
use std::time::Duration;

/// Whose a descriptor is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// The completion channel.
    Channel,
    /// The device's own news.
    Device,
    /// Another transport.
    Other,
}

/// Who ended a sleep.
#[derive(Clone, Copy, Default, Debug)]
pub struct Woken {
    pub channel: bool,
    pub device: bool,
}

/// Descriptors of which any ends a sleep.
pub struct Bed {
    epoll: Fd,
}

impl Bed {
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Bed> {
        // SAFETY: no memory is involved.
        let epoll = Fd(check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?);
        Ok(Bed { epoll })
    }

    /// This descriptor ends sleeps too, whenever it is readable.
    ///
    /// # Errors
    /// The system's.
    pub fn watch(&self, fd: i32, who: Who) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: who as u64,
        };
        // SAFETY: the event lives through the call.
        check(unsafe { libc::epoll_ctl(self.epoll.0, libc::EPOLL_CTL_ADD, fd, &mut event) })?;
        Ok(())
    }

    /// Sleeps at most this long.
    pub fn wait(&self, limit: Duration) -> Woken {
        let milliseconds = limit.as_nanos().div_ceil(1_000_000).min(3_600_000) as i32;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 4];
        // SAFETY: the events' length is theirs.
        let count = unsafe { libc::epoll_wait(self.epoll.0, events.as_mut_ptr(), 4, milliseconds) };
        let mut woken = Woken::default();
        for event in &events[..count.max(0) as usize] {
            woken.channel |= event.u64 == Who::Channel as u64;
            woken.device |= event.u64 == Who::Device as u64;
        }
        woken
    }
}

impl Traffic {
    /// From now on the channel tells of what comes (and of what has left, when somebody waits for that); false: there
    /// is something already, so nobody should sleep.
    pub fn arm(&mut self) -> bool {
        if !self.stash.is_empty()
            || !self.broken.is_empty()
            || !self.losses.is_empty()
            || !self.heard.is_empty()
            || self.operations.has_news()
            || self.operations.press()
        {
            return false;
        }
        if !self.ringing.is_empty() && (!self.fall_asleep() || self.rings_stir()) {
            return false;
        }
        let armed = self.came.arm(false).and_then(|()| match self.asked {
            0 => Ok(()),
            _ => self.went.arm(false),
        });
        if let Err(error) = armed {
            self.fail_all(&error.to_string());
            return false;
        }
        // What came before the queues were armed makes no event.
        let quiet = match self.came.poll(&mut self.room[..]) {
            Ok(done) => {
                self.stash.extend_from_slice(done);
                done.is_empty()
            }
            Err(_) => false,
        };
        quiet && (self.asked == 0 || !self.reap())
    }

    /// After a sleep: events that came are taken.
    pub fn rise(&mut self) {
        if let Err(error) = self.ground.channel.drain() {
            self.fail_all(&error.to_string());
        }
    }
}
