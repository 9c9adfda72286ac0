//! Many ranks in few descriptors: when there are more connections than the budget, one that idles is given up.
//!
//! Each side ends its frames with a *rest*; a side that has sent its own and read the other's ends its direction of the
//! connection. Order holds: until the other's end is seen, which says that it has read all, this side sends nothing to
//! that peer, on whatever connection.
//!
//! Peers answer when they call MPI next. When none has for a while, the budget is exceeded, up to all descriptors that
//! were there; when these do not do either, whoever cannot be reached counts as lost.

use crate::transport::tcp::link::{Link, Stage};
use crate::transport::tcp::{net, Tcp, NONE};
use crate::wire::frame::HEADER;
use std::time::{Duration, Instant};

/// The first byte of a rest; no kind of frame has this number. The others are 0.
const REST: u8 = 0xfe;
/// For so long may peers keep all descriptors without a call of MPI: as long as functions live.
pub const STANDSTILL: Duration = Duration::from_secs(900);

/// Is it a rest?
pub fn is(header: &[u8; HEADER]) -> bool {
    header[0] == REST && header[1..].iter().all(|b| *b == 0)
}

/// Half of the descriptors that are left: the program may want the others.
pub fn budget() -> usize {
    // SAFETY: the structure is plain integers and the call fills it.
    let most = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 256;
        }
        usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
    };
    let used = std::fs::read_dir("/proc/self/fd").map_or(16, Iterator::count);
    (most.saturating_sub(used) / 2).max(4)
}

impl Tcp {
    /// Connections that are not being given up. Those that are may stay for long: their peers answer when they call
    /// MPI next, and nobody else has to wait for that.
    pub(super) fn working(&self) -> usize {
        if self.open <= self.budget / 2 {
            return self.open;
        }
        self.links.iter().flatten().filter(|l| !l.rests()).count()
    }

    /// Are there so many connections, whether being given up or not, that the program might lack descriptors?
    pub(super) fn is_full(&self) -> bool {
        self.open >= self.budget + self.budget * 7 / 8 + 2
    }

    /// Has no connection ended for so long that waiting for one makes no sense?
    pub(super) fn stands(&self, since: Instant, now: Instant) -> bool {
        now >= self.freed.max(since) + self.patience
    }

    /// Does this rank have all descriptors that were there?
    pub(super) fn is_spent(&self) -> bool {
        self.open >= 2 * self.budget + 4
    }

    /// Gives up the connection that idles longest, if one idles.
    #[cold]
    pub(super) fn relax(&mut self) {
        let idles = |l: &Link| {
            l.stage == Stage::Ready
                && !l.rests()
                && !l.tired
                && l.broken.is_none()
                && l.input.is_empty()
                && l.inside.is_none()
                && l.sent()
        };
        let turn = self.turn;
        let oldest = (0..)
            .zip(&self.links)
            .filter_map(|(at, l)| Some((at, l.as_deref().filter(|l| idles(l))?)))
            .max_by_key(|(_, l)| turn.wrapping_sub(l.used));
        if let Some((at, _)) = oldest {
            self.say_rest(at);
        }
    }

    /// Ends the worse connections to a peer that has a better one. One side does: the other sends on until it hears.
    pub(super) fn settle(&mut self, peer: u32) {
        if self.me > peer {
            return;
        }
        let Some(best) = self.best(peer) else { return };
        let path = |at: u32| {
            let link = self.links[at as usize].as_deref();
            link.map(|l| l.path)
        };
        let best = path(best);
        let worse: Vec<u32> = self.peers[peer as usize]
            .ready
            .iter()
            .copied()
            .filter(|at| path(*at) > best)
            .collect();
        for at in worse {
            if let Some(link) = &mut self.links[at as usize] {
                if !link.rests() && link.broken.is_none() {
                    link.tired = true;
                    self.say_rest(at);
                }
            }
        }
    }

    fn say_rest(&mut self, at: u32) {
        let Some(link) = &mut self.links[at as usize] else {
            return;
        };
        // No room: when there is, `rested` is called again.
        let Some(room) = link.room(HEADER, &mut self.pool) else {
            return;
        };
        room.fill(0);
        room[0] = REST;
        link.commit(HEADER);
        link.rest_sent = true;
        if !link.pending {
            link.pending = true;
            self.pending.push(at);
        }
    }

    /// A rest came, or all output of a connection that is given up has left: answers it, or ends this direction.
    pub(super) fn rested(&mut self, at: u32) {
        let Some(link) = &mut self.links[at as usize] else {
            return;
        };
        if !link.rest_sent {
            self.say_rest(at);
        } else if link.rest_came && link.settled() && !link.finished {
            net::finish(&link.fd);
            link.finished = true;
        }
    }

    /// A connection that was given up is over, if it is one.
    pub(super) fn put_to_rest(&mut self, at: u32) -> bool {
        let peer = match self.links.get(at as usize) {
            Some(Some(link)) if link.finished => link.peer as usize,
            _ => return false,
        };
        self.remove(at);
        let p = &mut self.peers[peer];
        if p.out == at {
            p.out = NONE;
        }
        p.ready.retain(|r| *r != at);
        // The peer may have dialled again meanwhile.
        for at in 0..self.links.len() as u32 {
            let waits = self.links[at as usize].as_deref().is_some_and(|l| {
                l.stage == Stage::Proving && l.theirs.is_some_and(|t| t.from as usize == peer)
            });
            if waits {
                self.greet(at);
            }
        }
        true
    }
}
