//! While a peer is called whose relayed connection broke: is any relay there at all?
//!
//! A peer that computes answers when it next calls MPI, however late, and its life is the rendezvous' to watch. Where no
//! relay comes back the pair is over whether the peer lives or not. So the caller looks itself: a peer is lost when all
//! relays have failed for as long as it may take to start one again, and never while one answers.

use crate::transport::tcp::link::{Effort, Link};
use crate::transport::tcp::{net, Tcp, NONE};
use crate::wire::hello::Path;
use std::io;
use std::time::{Duration, Instant};

/// How long a relay may take to answer.
const LOOK: Duration = Duration::from_secs(5);
/// The pause after a look in vain, and after one that was not.
const PAUSE: Duration = Duration::from_millis(250);
const SELDOM: Duration = Duration::from_secs(5);

/// The search for relays.
pub struct Vigil {
    /// The look under way, and at which relay the last one was.
    link: u32,
    relay: String,
    /// When it began, and when it ends; without one, when the next begins.
    begun: Instant,
    until: Instant,
    /// Relays asked so far.
    turn: u32,
    /// Since when all looks failed, how many, and what was heard last.
    dark: Option<Instant>,
    failed: usize,
    said: String,
}

impl Vigil {
    fn new(now: Instant) -> Vigil {
        Vigil {
            link: NONE,
            relay: String::new(),
            begun: now,
            until: now,
            turn: 0,
            dark: None,
            failed: 0,
            said: String::new(),
        }
    }

    /// When the clock has something to say.
    pub fn next_tick(&self) -> Instant {
        self.until
    }
}

impl Tcp {
    /// Is this peer called, and its connection broken?
    fn awaits(&self, peer: u32) -> bool {
        let p = &self.peers[peer as usize];
        p.mend.is_some() && p.meeting.as_ref().is_some_and(|m| m.calls.is_some())
    }

    /// What time brings: a look at the next relay, as long as some peer is called in vain; or the end of hope.
    pub(super) fn keep_vigil(&mut self, now: Instant) {
        let called = self.meetings.iter().copied().find(|p| self.awaits(*p));
        let Some(called) = called else {
            return self.end_vigil();
        };
        let vigil = self.vigil.get_or_insert_with(|| Box::new(Vigil::new(now)));
        if vigil.link != NONE && now >= vigil.until {
            let at = std::mem::replace(&mut vigil.link, NONE);
            self.remove(at);
            self.looked_in_vain(now, &io::Error::from(io::ErrorKind::TimedOut));
        }
        let limit = self.relay_limit;
        let relays = self.ways.relays.len();
        let Some(vigil) = &self.vigil else { return };
        // More than once: a clock that jumps says nothing about relays.
        let all = vigil.failed > relays;
        if all && vigil.dark.is_some_and(|since| now >= since + limit) {
            let why = format!("it does not answer, and no relay does: {}", vigil.said);
            self.end_vigil();
            for peer in self.meetings.clone() {
                if self.awaits(peer) {
                    self.unmet(peer, why.clone());
                }
            }
        } else if vigil.link == NONE && now >= vigil.until {
            self.look_at_relay(called, now);
        }
    }

    fn look_at_relay(&mut self, peer: u32, now: Instant) {
        let ours = self.hello(peer, Path::Relayed);
        let turn = self.vigil.as_ref().map_or(0, |v| v.turn);
        let Some((address, name)) = self.relay_for(peer, turn) else {
            return;
        };
        let made = net::connect(address)
            .and_then(|fd| self.insert(Link::new(fd, Effort::Look, name.clone(), ours), true));
        let Some(vigil) = &mut self.vigil else { return };
        (vigil.begun, vigil.relay) = (now, name);
        match made {
            Ok(at) => {
                vigil.link = at;
                vigil.until = now + LOOK;
            }
            Err(error) => self.looked_in_vain(now, &error),
        }
    }

    /// A relay failed, or refuses; the connection is gone.
    pub(super) fn looked_in_vain(&mut self, now: Instant, error: &io::Error) {
        let Some(vigil) = &mut self.vigil else { return };
        vigil.link = NONE;
        vigil.dark.get_or_insert(vigil.begun);
        vigil.failed += 1;
        vigil.said = format!("{}: {error}", vigil.relay);
        vigil.turn = vigil.turn.wrapping_add(1);
        vigil.until = now + PAUSE;
    }

    /// A relay is there, and would serve this job.
    pub(super) fn sees_relay(&mut self, at: u32) {
        self.remove(at);
        self.seen_relays += 1;
        let Some(vigil) = self.vigil.as_mut().filter(|v| v.link == at) else {
            return;
        };
        vigil.link = NONE;
        vigil.dark = None;
        vigil.failed = 0;
        vigil.until = Instant::now() + SELDOM;
    }

    fn end_vigil(&mut self) {
        if let Some(vigil) = self.vigil.take().filter(|v| v.link != NONE) {
            self.remove(vigil.link);
        }
    }
}
