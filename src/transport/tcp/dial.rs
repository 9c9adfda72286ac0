//! Making connections: one address after the other, again after a while when all refuse, until patience ends.

use crate::base::id::PeerId;
use crate::debug;
use crate::transport::os;
use crate::transport::tcp::door::explain;
use crate::transport::tcp::link::{Link, Queue, Stage};
use crate::transport::tcp::{data, net, Tcp, NONE};
use crate::wire::hello::Hello;
use std::io;
use std::time::{Duration, Instant};

/// How long one address is tried while there are others.
const ATTEMPT: Duration = Duration::from_secs(2);
/// The first pause after all addresses failed; it doubles, up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);
/// How long a dial waits for its turn when there are many connections.
const CROWDED: Duration = Duration::from_millis(1);
/// A peer answers a greeting when it next calls MPI, however long it computes.
const COMPUTING: Duration = Duration::from_secs(86_400);
/// So often may all addresses fail in any way.
const ROUNDS: u32 = 100;
/// So often may all addresses refuse: somebody who announced a port listens on it or is dead.
const REFUSALS: u32 = 5;

/// An effort to reach a peer.
pub struct Dial {
    /// Frames for it.
    pub output: Queue,
    /// The address to try next.
    next: usize,
    /// The attempt under way.
    link: u32,
    /// The attempt under way is given up, or the pause ends.
    until: Instant,
    /// All is given up.
    deadline: Instant,
    rounds: u32,
    /// All attempts of this round were refused, by the machine or by whoever listens there.
    refused: bool,
    /// The attempt under way has a connection.
    connected: bool,
    /// What each address said last.
    errors: Vec<Option<String>>,
}

impl Dial {
    /// The connection that is being tried.
    pub fn link(&self) -> u32 {
        self.link
    }

    pub fn until(&self) -> Instant {
        self.until
    }
}

impl Tcp {
    /// Begins to dial a peer.
    pub(super) fn dial(&mut self, peer: u32) {
        let now = Instant::now();
        let p = &mut self.peers[peer as usize];
        p.dial = Some(Box::new(Dial {
            output: Queue::default(),
            next: 0,
            link: NONE,
            until: now,
            deadline: now + self.patience,
            rounds: 0,
            refused: true,
            connected: false,
            errors: vec![None; p.targets.len()],
        }));
        self.dialling.push(peer);
        self.attempt(peer, now);
    }

    /// Tries addresses until one is under way or all failed at once.
    fn attempt(&mut self, peer: u32, now: Instant) {
        let full = self.working() >= self.budget;
        loop {
            let p = &mut self.peers[peer as usize];
            let Some(dial) = &mut p.dial else { return };
            if dial.link != NONE {
                return;
            }
            if now >= dial.deadline {
                self.give_up(peer);
                return;
            }
            let Some(&target) = p.targets.get(dial.next) else {
                self.round(peer, now);
                return;
            };
            if full {
                // Not the peer's fault, so patience begins again.
                dial.until = now + CROWDED;
                dial.deadline = now + self.patience;
                self.relax();
                return;
            }
            let many = p.targets.len() > 1;
            dial.until = if many {
                dial.deadline.min(now + ATTEMPT)
            } else {
                dial.deadline
            };
            let made = net::connect(target).and_then(|fd| {
                let ours = Hello {
                    job: self.job,
                    from: self.me,
                    to: peer,
                    nonce: os::nonce(),
                };
                let link = Link::new(fd, Stage::Connecting, target.to_string(), ours);
                self.insert(link, true)
            });
            match made {
                Ok(at) => {
                    if let Some(dial) = &mut self.peers[peer as usize].dial {
                        dial.link = at;
                    }
                    return;
                }
                Err(error) => {
                    if error.raw_os_error() == Some(libc::EMFILE) {
                        self.relax();
                    }
                    self.refuse(peer, &error);
                }
            }
        }
    }

    /// The address tried last did not do.
    fn refuse(&mut self, peer: u32, error: &io::Error) {
        if let Some(dial) = &mut self.peers[peer as usize].dial {
            dial.refused &= matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::PermissionDenied
            );
            let said = &mut dial.errors[dial.next];
            // The end of patience says less than what was heard before.
            if said.is_none() || error.kind() != io::ErrorKind::TimedOut {
                *said = Some(explain(error));
            }
            dial.next += 1;
            dial.link = NONE;
        }
    }

    /// All addresses failed: later once more, or the peer is lost.
    fn round(&mut self, peer: u32, now: Instant) {
        let p = &mut self.peers[peer as usize];
        let Some(dial) = &mut p.dial else { return };
        dial.rounds += 1;
        let refused = dial.refused && dial.rounds >= REFUSALS;
        if now >= dial.deadline || refused || dial.rounds >= ROUNDS {
            self.give_up(peer);
            return;
        }
        let pause = LONGEST.min(PAUSE * 2u32.pow(dial.rounds.min(10) - 1));
        dial.until = dial.deadline.min(now + pause);
        dial.next = 0;
        dial.refused = true;
    }

    /// The peer's own connection is there first, or this rank's was sent away: the peer's does as well, for no frame
    /// was sent yet. Not while this rank's proof is under way: the peer may have welcomed it already. So never do both
    /// sides drop their own for the other's.
    pub(super) fn adopt(&mut self, peer: u32) -> bool {
        let p = &mut self.peers[peer as usize];
        let at = p.inbound;
        let stage = |at: u32| {
            let link = self.links.get(at as usize).and_then(Option::as_deref);
            link.map(|l| (l.stage, l.rests()))
        };
        if !matches!(stage(at), Some((Stage::Ready, false))) {
            return false;
        }
        let Some(dial) = &p.dial else { return false };
        if matches!(stage(dial.link), Some((Stage::Knocking, _))) {
            return false;
        }
        let Some(mut dial) = p.dial.take() else {
            return false;
        };
        p.out = at;
        self.dialling.retain(|d| *d != peer);
        if dial.link != NONE {
            self.remove(dial.link);
        }
        self.hand_over(at, &mut dial.output);
        true
    }

    fn give_up(&mut self, peer: u32) {
        let p = &mut self.peers[peer as usize];
        let Some(dial) = p.dial.take() else { return };
        self.dialling.retain(|d| *d != peer);
        p.gone = true;
        if !p.goodbye {
            p.goodbye = true;
            let said: Vec<String> = p
                .targets
                .iter()
                .zip(&dial.errors)
                .map(|(target, error)| {
                    let error = error.as_deref().unwrap_or("not tried");
                    format!("{target}: {error}")
                })
                .collect();
            self.losses.push((
                PeerId(peer),
                format!("rank {} cannot connect to it: {}", self.me, said.join("; ")),
            ));
        }
    }

    /// The queued frames go out on this connection.
    fn hand_over(&mut self, at: u32, output: &mut Queue) {
        if let Some(link) = &mut self.links[at as usize] {
            debug_assert!(link.output.is_empty(), "nothing was sent here before");
            std::mem::swap(&mut link.output, output);
            if !link.output.is_empty() && !link.pending {
                link.pending = true;
                self.pending.push(at);
            }
        }
        self.flush();
    }

    /// epoll says that an attempt is decided.
    pub(super) fn connected(&mut self, at: u32) {
        let Some(link) = &mut self.links[at as usize] else {
            return;
        };
        let peer = link.peer;
        let hello = link.ours.encode();
        let greeted = net::outcome(&link.fd)
            .and_then(|()| all_sent(net::send(&link.fd, &hello), hello.len()));
        match greeted {
            Ok(()) => {
                link.stage = Stage::Greeting;
                link.writes = false;
                let _ = self.epoll.change(link.fd.0, data(at, link.id), true, false);
                if let Some(dial) = &mut self.peers[peer as usize].dial {
                    dial.connected = true;
                    dial.until = Instant::now() + COMPUTING;
                }
            }
            Err(error) => {
                self.remove(at);
                self.failed_attempt(peer, at, &error);
            }
        }
    }

    /// The greeting of a dialled connection is complete.
    pub(super) fn reached(&mut self, peer: u32, at: u32) {
        let p = &mut self.peers[peer as usize];
        self.dialling.retain(|d| *d != peer);
        if let Some(mut dial) = p.dial.take() {
            p.out = at;
            self.hand_over(at, &mut dial.output);
        }
    }

    /// An attempt came to nothing, at whatever stage.
    pub(super) fn failed_attempt(&mut self, peer: u32, at: u32, error: &io::Error) {
        match &self.peers[peer as usize].dial {
            Some(dial) if dial.link == at => (),
            _ => return,
        }
        debug!("rank {peer} was not reached: {error}");
        let now = Instant::now();
        if let Some(dial) = &mut self.peers[peer as usize].dial {
            if std::mem::take(&mut dial.connected) {
                // The wait for an answer was the peer's.
                dial.deadline = now + self.patience;
            }
        }
        self.refuse(peer, error);
        if !self.adopt(peer) {
            self.attempt(peer, now);
        }
    }

    /// Attempts that take too long end, pauses that are over too.
    pub(super) fn redial(&mut self, now: Instant) {
        for i in (0..self.dialling.len()).rev() {
            let Some(&peer) = self.dialling.get(i) else {
                continue;
            };
            let Some(dial) = &self.peers[peer as usize].dial else {
                continue;
            };
            if now < dial.until {
                continue;
            }
            let at = dial.link;
            if at == NONE {
                self.attempt(peer, now);
            } else {
                self.remove(at);
                let error = io::Error::from(io::ErrorKind::TimedOut);
                self.failed_attempt(peer, at, &error);
            }
        }
    }
}

/// A greeting fits in an empty socket buffer, or something is wrong with the connection.
pub fn all_sent(sent: io::Result<usize>, length: usize) -> io::Result<()> {
    match sent {
        Ok(n) if n == length => Ok(()),
        Ok(_) => Err(io::Error::from(io::ErrorKind::WriteZero)),
        Err(error) => Err(error),
    }
}
