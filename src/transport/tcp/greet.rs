//! Who is at the other end: no frame is read before that is proven.

use crate::transport::tcp::dial::all_sent;
use crate::transport::tcp::link::{Link, Stage};
use crate::transport::tcp::{net, Tcp, NONE};
use crate::wire::frame::HEADER;
use crate::wire::hello::{self, Hello, Role, HELLO, PROOF, WELCOME};
use std::io;
use std::time::Instant;

/// Nothing strange: a rank that dials takes the other's connection where that is there first, and drops its own.
const HUNG_UP: &str = "it hung up while greeting";

impl Tcp {
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
                Stage::Knocking => self.enter(at),
                Stage::Ready => return true,
            };
            match step {
                Ok(true) => (),
                // More bytes are needed.
                Ok(false) => return false,
                Err(why) => {
                    if matches!(before, Stage::Greeting | Stage::Knocking) {
                        let Some(link) = self.remove(at) else {
                            return false;
                        };
                        let error = io::Error::new(io::ErrorKind::PermissionDenied, why);
                        self.failed_attempt(link.peer, at, &error);
                    } else if why == HUNG_UP {
                        self.remove(at);
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
        link.since = Instant::now();
        let mut said = [0; HELLO + PROOF];
        said[..HELLO].copy_from_slice(&link.ours.encode());
        said[HELLO..].copy_from_slice(&hello::proof(
            &self.token,
            Role::Listener,
            &theirs,
            &link.ours,
        ));
        all_sent(net::send(&link.fd, &said), said.len()).map_err(|_| HUNG_UP)?;
        link.stage = Stage::Proving;
        Ok(true)
    }

    /// Listener: the dialler's proof.
    fn prove(&mut self, at: u32) -> Result<bool, &'static str> {
        let Some(link) = &self.links[at as usize] else {
            return Ok(false);
        };
        let (Some(theirs), Some(said)) = (link.theirs, link.input.bytes().get(..PROOF)) else {
            return Ok(false);
        };
        if !hello::holds(&self.token, Role::Dialler, &theirs, &link.ours, said) {
            return Err("it does not know the job's token");
        }
        let p = &self.peers[theirs.from as usize];
        let (out, inbound) = (p.out, p.inbound);
        let rests = |at: u32| {
            let link = self.links.get(at as usize).and_then(Option::as_deref);
            link.is_some_and(Link::rests)
        };
        if [out, inbound].into_iter().any(rests) {
            // What the peer sent on its last connection must be read first; `rest::put_to_rest` comes back to this.
            return Ok(false);
        }
        if p.gone || p.inbound != NONE {
            return Err("its rank is linked already, or gone");
        }
        let Some(link) = &mut self.links[at as usize] else {
            return Ok(false);
        };
        all_sent(net::send(&link.fd, &[WELCOME]), 1).map_err(|_| HUNG_UP)?;
        let p = &mut self.peers[theirs.from as usize];
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
        all_sent(net::send(&link.fd, &proof), PROOF).map_err(|_| HUNG_UP)?;
        link.input.consume(HELLO + PROOF, &mut self.pool);
        link.stage = Stage::Knocking;
        Ok(true)
    }

    /// Dialler: the listener's welcome.
    fn enter(&mut self, at: u32) -> Result<bool, &'static str> {
        let Some(link) = &mut self.links[at as usize] else {
            return Ok(false);
        };
        match link.input.bytes().first() {
            None => return Ok(false),
            Some(&WELCOME) => (),
            Some(_) => return Err("it does not keep to the greeting"),
        }
        link.input.consume(1, &mut self.pool);
        link.frame = HEADER;
        link.stage = Stage::Ready;
        self.greeting -= 1;
        let peer = link.peer;
        self.reached(peer, at);
        Ok(true)
    }

    /// A connection ended before its greeting did.
    pub(super) fn ungreeted(&mut self, link: &Link, why: &str) {
        if matches!(
            link.stage,
            Stage::Connecting | Stage::Greeting | Stage::Knocking
        ) {
            let error = io::Error::other(format!("{why} while greeting"));
            let at = self.peers[link.peer as usize]
                .dial
                .as_ref()
                .map_or(NONE, |d| d.link());
            self.failed_attempt(link.peer, at, &error);
        } else if link.theirs.is_none() && !link.input.is_empty() {
            self.stranger(&link.at, HUNG_UP);
        }
    }
}
