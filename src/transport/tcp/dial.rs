//! Making connections: one address after the other, again after a while when all refuse, until patience ends. When
//! these do not answer soon and there are other ways, both sides meet (`meet`), whichever succeeds first.

use crate::base::id::PeerId;
use crate::debug;
use crate::transport::tcp::door::explain;
use crate::transport::tcp::link::{Effort, Link, Queue, Stage};
use crate::transport::tcp::{data, net, Tcp, NONE};
use std::io;
use std::time::{Duration, Instant};

/// How long one address is tried while there are others.
const ATTEMPT: Duration = Duration::from_secs(2);
/// The first pause after all addresses failed; it doubles, up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);
/// How long a dial waits for its turn when there are many connections.
const CROWDED: Duration = Duration::from_millis(1);
/// The same when there are no descriptors.
const LACKING: Duration = Duration::from_millis(10);
/// What these addresses may take before both meet; the shorter when both are seen behind different translators.
const START: Duration = Duration::from_millis(250);
const SHORT_START: Duration = Duration::from_millis(25);
/// The same when somebody accepted there: most likely the peer, which computes.
const LONG_START: Duration = Duration::from_secs(5);
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
    /// Since when the attempt under way has a connection.
    connected: Option<Instant>,
    begun: Instant,
    /// Both meet from then on; `None`: they do, or cannot.
    head: Option<Instant>,
    /// These addresses are given up.
    spent: bool,
    /// Meeting is given up, with what was said.
    unmet: Option<String>,
    /// What each address said last.
    errors: Vec<Option<String>>,
}

impl Dial {
    /// The connection that is being tried.
    pub fn link(&self) -> u32 {
        self.link
    }

    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// When the clock has something to say.
    pub fn next_tick(&self) -> Instant {
        self.head.map_or(self.until, |head| head.min(self.until))
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
            connected: None,
            errors: vec![None; p.targets.len()],
            begun: now,
            head: None,
            spent: false,
            unmet: None,
        }));
        self.dialling.push(peer);
        if self.can_meet(peer) {
            let start = if self.far(peer) { SHORT_START } else { START };
            if let Some(dial) = &mut self.peers[peer as usize].dial {
                dial.head = Some(now + start);
            }
        }
        self.attempt(peer, now);
    }

    /// Tries addresses until one is under way or all failed at once.
    fn attempt(&mut self, peer: u32, now: Instant) {
        let begun = self.peers[peer as usize].dial.as_ref().map(|d| d.begun);
        let begun = begun.unwrap_or(now);
        let full = self.working() >= self.budget || self.is_full();
        let full = full && !self.stands(begun, now);
        loop {
            let p = &mut self.peers[peer as usize];
            let Some(dial) = &mut p.dial else { return };
            if dial.link != NONE || dial.spent {
                return;
            }
            if p.targets.is_empty() || now >= dial.deadline {
                self.spend(peer, now);
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
            let path = Tcp::path_to(target);
            let socket = match self.is_spent() {
                true => Err(io::Error::from_raw_os_error(libc::EMFILE)),
                false => net::connect(target),
            };
            let made = socket.and_then(|fd| {
                // Greeting may take long: the peer may compute.
                net::keep_alive(&fd, false);
                let ours = self.hello(peer, path);
                self.insert(Link::new(fd, Effort::Dial, target.to_string(), ours), true)
            });
            match made {
                Ok(at) => {
                    if let Some(dial) = &mut self.peers[peer as usize].dial {
                        dial.link = at;
                    }
                    // On one machine it is there at once. What is said now need not wait until this rank looks again,
                    // which in a crowd takes so long that the other side takes it for a stranger.
                    self.notice(at);
                    return;
                }
                Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                    // Not the peer's fault either. Those that are being given up come back; else the program has all.
                    let since = self.freed.max(begun);
                    let waits = self.is_full() || self.links.iter().flatten().any(|l| l.rests());
                    let comes_back = waits && now < since + self.standstill;
                    let (open, idle) = (self.open, (now - since).as_secs());
                    if let Some(dial) = &mut self.peers[peer as usize].dial {
                        let said = &mut dial.errors[dial.next];
                        let error = explain(&error);
                        *said = Some(format!(
                            "{error}; this rank has {open} connections, of which none ended for {idle} s"
                        ));
                        dial.until = now + LACKING;
                        if comes_back {
                            dial.deadline = now + self.patience;
                        }
                    }
                    self.relax();
                    return;
                }
                Err(error) => self.refuse(peer, &error),
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
            self.spend(peer, now);
            return;
        }
        let pause = LONGEST.min(PAUSE * 2u32.pow(dial.rounds.min(10) - 1));
        dial.until = dial.deadline.min(now + pause);
        dial.next = 0;
        dial.refused = true;
    }

    /// A connection is there: the frames that wait take it, and the attempt under way is dropped, for no frame was sent
    /// on it. Not while this rank's proof is under way: the peer may have welcomed it already. So never do both sides
    /// drop their own for the other's.
    pub(super) fn adopt(&mut self, peer: u32) -> bool {
        let Some(at) = self.best(peer) else {
            return false;
        };
        let p = &mut self.peers[peer as usize];
        let Some(dial) = &p.dial else { return false };
        let tried = dial.link;
        let stage = self.links.get(tried as usize).and_then(Option::as_deref);
        let stage = stage.map(|l| l.stage);
        if stage == Some(Stage::Knocking) {
            return false;
        }
        let Some(mut dial) = p.dial.take() else {
            return false;
        };
        p.out = at;
        self.dialling.retain(|d| *d != peer);
        if stage.is_some_and(|s| s != Stage::Ready) {
            self.remove(tried);
        }
        self.hand_over(at, &mut dial.output);
        true
    }

    /// Its addresses are given up. Where both can meet, that is what is left.
    fn spend(&mut self, peer: u32, now: Instant) {
        let Some(dial) = &mut self.peers[peer as usize].dial else {
            return;
        };
        dial.spent = true;
        dial.until = now + COMPUTING;
        if dial.head.take().is_some() {
            self.call(peer, now);
        } else if dial.unmet.is_some() || self.peers[peer as usize].meeting.is_none() {
            self.give_up(peer);
        }
    }

    /// Meeting came to nothing.
    pub(super) fn unmet(&mut self, peer: u32, why: String) {
        if self.peers[peer as usize].mend.is_some() {
            self.not_mended(peer, &why);
            return;
        }
        let Some(dial) = &mut self.peers[peer as usize].dial else {
            return;
        };
        dial.unmet = Some(why);
        if dial.spent {
            self.give_up(peer);
        }
    }

    fn give_up(&mut self, peer: u32) {
        let p = &mut self.peers[peer as usize];
        let Some(dial) = p.dial.take() else { return };
        self.dialling.retain(|d| *d != peer);
        p.gone = true;
        if !p.goodbye {
            p.goodbye = true;
            let mut said: Vec<String> = p
                .targets
                .iter()
                .zip(&dial.errors)
                .map(|(target, error)| {
                    let error = error.as_deref().unwrap_or("not tried");
                    format!("{target}: {error}")
                })
                .collect();
            said.extend(dial.unmet);
            self.losses.push((
                PeerId(peer),
                format!("rank {} cannot connect to it: {}", self.me, said.join("; ")),
            ));
        }
    }

    /// The queued frames go out on this connection.
    fn hand_over(&mut self, at: u32, output: &mut Queue) {
        if let Some(link) = &mut self.links[at as usize] {
            match &mut link.lane {
                Some(lane) => {
                    lane.append(output.bytes());
                    output.consume(output.bytes().len(), &mut self.pool);
                }
                None => {
                    debug_assert!(link.output.is_empty(), "nothing was sent here before");
                    std::mem::swap(&mut link.output, output);
                }
            }
            if !link.pending && !link.sent() {
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
        let (peer, effort) = (link.peer, link.effort);
        let begun = net::outcome(&link.fd).and_then(|()| {
            link.writes = false;
            self.epoll.change(link.fd.0, data(at, link.id), true, false)
        });
        let begun = begun.and_then(|()| {
            if matches!(effort, Effort::Relay | Effort::Look) {
                // The relay speaks first.
                if let Some(link) = &mut self.links[at as usize] {
                    link.stage = Stage::Asking;
                }
                return Ok(());
            }
            self.say_hello(at).map_err(io::Error::other)
        });
        match begun {
            Ok(()) => {
                if effort != Effort::Dial {
                    return;
                }
                if let Some(dial) = &mut self.peers[peer as usize].dial {
                    let now = Instant::now();
                    dial.connected = Some(now);
                    dial.until = now + COMPUTING;
                    dial.head = dial.head.map(|_| now + LONG_START);
                }
            }
            Err(error) => {
                if let Some(link) = self.remove(at) {
                    self.failed_effort(at, &link, &error);
                }
            }
        }
    }

    /// Looks whether an attempt is decided, before epoll says so: this rank may not have looked for long.
    pub(super) fn notice(&mut self, at: u32) -> bool {
        let link = self.links.get(at as usize).and_then(Option::as_deref);
        let decided = link.is_some_and(|l| l.stage == Stage::Connecting && net::is_decided(&l.fd));
        if decided {
            self.connected(at);
        }
        decided
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
            if let Some(since) = dial.connected.take() {
                // The wait for an answer was the peer's.
                dial.deadline += now - since;
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
            let Some(dial) = &mut self.peers[peer as usize].dial else {
                continue;
            };
            if dial.head.is_some_and(|head| now >= head) {
                dial.head = None;
                self.call(peer, now);
            }
            let Some(dial) = &self.peers[peer as usize].dial else {
                continue;
            };
            if now < dial.until {
                continue;
            }
            let at = dial.link;
            if at == NONE {
                self.attempt(peer, now);
            } else if !self.notice(at) {
                self.remove(at);
                let error = io::Error::from(io::ErrorKind::TimedOut);
                self.failed_attempt(peer, at, &error);
            }
        }
    }
}
