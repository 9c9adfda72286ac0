//! Who is at the other end: no frame is read before that is proven, and a stranger costs little.

use crate::transport::os::{self, Fd};
use crate::transport::tcp::dial::all_sent;
use crate::transport::tcp::link::{Link, Queue, Stage};
use crate::transport::tcp::{net, Tcp, NONE};
use crate::warning;
use crate::wire::frame::HEADER;
use crate::wire::hello::{self, Hello, Role, HELLO, PROOF};
use std::io;
use std::time::{Duration, Instant};

/// How long a greeting may take.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Accepted connections that have not proven themselves.
const STRANGERS: usize = 64;
/// Lines about strangers before silence.
const LINES: u32 = 20;

impl Tcp {
    /// A connection was accepted.
    pub(super) fn welcome(&mut self, fd: Fd, from: String) {
        let unproven = |l: &Link| matches!(l.stage, Stage::Accepted | Stage::Proving);
        let links = || self.links.iter().enumerate();
        let waiting = links().filter(|(_, l)| l.as_deref().is_some_and(unproven));
        if waiting.count() >= STRANGERS {
            let oldest = links()
                .filter_map(|(at, l)| l.as_deref().filter(|l| unproven(l)).map(|l| (l.since, at)))
                .min();
            if let Some((_, at)) = oldest {
                self.turn_away(at as u32, "too many connections wait to be greeted");
            }
        }
        let link = Link {
            fd,
            id: 0,
            stage: Stage::Accepted,
            peer: NONE,
            at: from,
            since: Instant::now(),
            ours: Hello {
                job: self.job,
                from: self.me,
                to: 0,
                nonce: os::nonce(),
            },
            theirs: None,
            input: Queue::default(),
            output: Queue::default(),
            frame: 0,
            pending: false,
            writes: false,
            broken: None,
        };
        // An error is a descriptor that epoll refuses: the connection is dropped, the other end will say so.
        let _ = self.insert(link, false);
    }

    fn turn_away(&mut self, at: u32, why: &str) {
        if let Some(link) = self.remove(at) {
            self.stranger(&link.at, why);
        }
    }

    fn stranger(&mut self, from: &str, why: &str) {
        self.strangers += 1;
        if self.strangers <= LINES {
            warning!("a stranger at {from} was turned away: {why}");
        }
        if self.strangers == LINES {
            warning!("more strangers are turned away in silence");
        }
    }

    /// The greeting goes on with the bytes that came; true when frames may follow.
    pub(super) fn greet(&mut self, at: u32) -> bool {
        loop {
            let Some(link) = &mut self.links[at as usize] else {
                return false;
            };
            let before = link.stage;
            let step = match before {
                Stage::Connecting => Ok(false),
                Stage::Accepted => self.answer(at),
                Stage::Proving => self.prove(at),
                Stage::Greeting => self.finish(at),
                Stage::Ready => return true,
            };
            match step {
                Ok(true) => (),
                // More bytes are needed.
                Ok(false) => return false,
                Err(why) => {
                    if before == Stage::Greeting {
                        let Some(link) = self.remove(at) else {
                            return false;
                        };
                        let error = io::Error::new(io::ErrorKind::PermissionDenied, why);
                        self.failed_attempt(link.peer, at, &error);
                    } else {
                        self.turn_away(at, why);
                    }
                    return false;
                }
            }
        }
    }

    /// Listener: a hello, answered with ours and our proof.
    fn answer(&mut self, at: u32) -> Result<bool, &'static str> {
        let Some(link) = &mut self.links[at as usize] else {
            return Ok(false);
        };
        let bytes = link.input.bytes();
        if !hello::plausible(bytes) {
            return Err("it does not speak Mayfly's protocol");
        }
        let Some(hello) = bytes.first_chunk::<HELLO>() else {
            return Ok(false);
        };
        let theirs = Hello::decode(hello).ok_or("it does not speak Mayfly's protocol")?;
        if theirs.job != self.job {
            return Err("it belongs to another job");
        }
        if theirs.to != self.me {
            return Err("it looks for another rank");
        }
        if theirs.from == self.me || theirs.from as usize >= self.peers.len() {
            return Err("it is no rank of this job");
        }
        link.input.consume(HELLO, &mut self.pool);
        link.ours.to = theirs.from;
        link.theirs = Some(theirs);
        let mut said = [0; HELLO + PROOF];
        said[..HELLO].copy_from_slice(&link.ours.encode());
        said[HELLO..].copy_from_slice(&hello::proof(
            &self.token,
            Role::Listener,
            &theirs,
            &link.ours,
        ));
        all_sent(net::send(&link.fd, &said), said.len()).map_err(|_| "it does not listen")?;
        link.stage = Stage::Proving;
        Ok(true)
    }

    /// Listener: the dialler's proof.
    fn prove(&mut self, at: u32) -> Result<bool, &'static str> {
        let Some(link) = &mut self.links[at as usize] else {
            return Ok(false);
        };
        let (Some(theirs), Some(said)) = (link.theirs, link.input.bytes().get(..PROOF)) else {
            return Ok(false);
        };
        if !hello::holds(&self.token, Role::Dialler, &theirs, &link.ours, said) {
            return Err("it does not know the job's token");
        }
        let p = &mut self.peers[theirs.from as usize];
        if p.gone || p.inbound != NONE {
            return Err("its rank is linked already, or gone");
        }
        link.input.consume(PROOF, &mut self.pool);
        link.peer = theirs.from;
        link.frame = HEADER;
        link.stage = Stage::Ready;
        p.inbound = at;
        self.greeting -= 1;
        self.adopt(theirs.from);
        Ok(true)
    }

    /// Dialler: the listener's hello and proof, answered with our proof.
    fn finish(&mut self, at: u32) -> Result<bool, &'static str> {
        let Some(link) = &mut self.links[at as usize] else {
            return Ok(false);
        };
        let bytes = link.input.bytes();
        if !hello::plausible(bytes) {
            return Err("somebody else listens there");
        }
        let (Some(hello), Some(said)) = (
            bytes.first_chunk::<HELLO>(),
            bytes.get(HELLO..HELLO + PROOF),
        ) else {
            return Ok(false);
        };
        let theirs = Hello::decode(hello).ok_or("somebody else listens there")?;
        let peer = link.peer;
        if theirs.job != self.job || theirs.from != peer || theirs.to != self.me {
            return Err("another rank listens there");
        }
        if !hello::holds(&self.token, Role::Listener, &link.ours, &theirs, said) {
            return Err("it does not know the job's token");
        }
        let proof = hello::proof(&self.token, Role::Dialler, &link.ours, &theirs);
        all_sent(net::send(&link.fd, &proof), PROOF).map_err(|_| "it hung up while greeting")?;
        link.input.consume(HELLO + PROOF, &mut self.pool);
        link.frame = HEADER;
        link.stage = Stage::Ready;
        self.greeting -= 1;
        self.reached(peer, at);
        Ok(true)
    }

    /// A connection ended before its greeting did.
    pub(super) fn ungreeted(&mut self, link: &Link, why: &str) {
        if matches!(link.stage, Stage::Connecting | Stage::Greeting) {
            let error = io::Error::other(format!("{why} while greeting"));
            let at = self.peers[link.peer as usize]
                .dial
                .as_ref()
                .map_or(NONE, |d| d.link());
            self.failed_attempt(link.peer, at, &error);
        } else if link.theirs.is_none() && !link.input.is_empty() {
            self.stranger(&link.at, "it hung up while greeting");
        }
    }

    /// Turns away who takes too long.
    pub(super) fn late(&mut self, now: Instant) {
        if self.greeting == 0 {
            return;
        }
        for at in 0..self.links.len() {
            let late = self.links[at].as_deref().is_some_and(|l| {
                matches!(l.stage, Stage::Accepted | Stage::Proving) && now >= l.since + PATIENCE
            });
            if late {
                self.turn_away(at as u32, "it did not greet in time");
            }
        }
    }
}
