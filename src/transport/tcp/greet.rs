//! Who is at the other end: no frame is read before that is proven.

use crate::base::id::PeerId;
use crate::info;
use crate::transport::os;
use crate::transport::tcp::lane::{Count, RECORD};
use crate::transport::tcp::link::{Effort, Link, Stage};
use crate::transport::tcp::seal::{self, Seal, FIRST, SECOND};
use crate::transport::tcp::{net, Tcp};
use crate::wire::frame::HEADER;
use crate::wire::hello::{self, Hello, Path, Role, HELLO, PROOF, WELCOME};
use crate::wire::relay::{self, Op, Status, GREETING};
use std::io;
use std::time::Instant;

/// Nothing strange: a rank that dials takes the other's connection where that is there first, and drops its own.
const HUNG_UP: &str = "it hung up while greeting";
const TOKEN: &str = "it does not know the job's token, or is not the rank that it says";
const OPEN: &str = "it does not encrypt, and MAYFLY_ENCRYPT demands it here";
/// What a relay says when the other rank did not come: no fault of the relay's.
pub const ALONE: &str = "the other rank did not come";

impl Tcp {
    /// This rank's words to a peer that it goes to.
    pub(super) fn hello(&self, peer: u32, path: Path) -> Hello {
        let keys = self.keys.is_some() && self.peers[peer as usize].key.is_some();
        Hello {
            role: Role::Dialler,
            path,
            sealed: self.seals(path) && keys,
            job: self.job,
            from: self.me,
            to: peer,
            nonce: os::nonce(),
        }
    }

    /// The key of a pair's proofs.
    fn proof_key(&mut self, peer: u32) -> [u8; 32] {
        let p = &mut self.peers[peer as usize];
        if let Some(key) = p.proof {
            return key;
        }
        let agreed = match (&self.keys, &p.key) {
            (Some(keys), Some(theirs)) => keys.agree(theirs),
            _ => None,
        };
        let key = agreed.map_or(self.token, |agreed| hello::pair_key(&self.token, &agreed));
        p.proof = Some(key);
        key
    }

    /// Dialler: the first words.
    pub(super) fn say_hello(&mut self, at: u32) -> Result<(), &'static str> {
        let Some(link) = &mut self.links[at as usize] else {
            return Err(HUNG_UP);
        };
        if self.encrypt == crate::base::config::Encrypt::Always && !link.ours.sealed {
            return Err("one of the two has no keys, and MAYFLY_ENCRYPT demands encryption");
        }
        let mut said = [0; HELLO + FIRST];
        let words = link.ours.encode();
        said[..HELLO].copy_from_slice(&words);
        let mut length = HELLO;
        let theirs = &self.peers[link.peer as usize].key;
        if let (true, Some(keys), Some(theirs)) = (link.ours.sealed, &self.keys, theirs) {
            let (noise, first) = keys.begin(theirs, &self.token, &words)?;
            said[HELLO..].copy_from_slice(&first);
            length += FIRST;
            link.seal = Seal::Begun(noise);
        }
        all_sent(net::send(&link.fd, &said[..length]), length).map_err(|_| HUNG_UP)?;
        link.stage = Stage::Greeting;
        Ok(())
    }

    /// Says a few bytes, sealed where that has begun.
    fn say(&mut self, at: u32, words: &[u8]) -> Result<(), &'static str> {
        let Some(link) = &mut self.links[at as usize] else {
            return Err(HUNG_UP);
        };
        let Seal::Channel(_) = &link.seal else {
            return all_sent(net::send(&link.fd, words), words.len()).map_err(|_| HUNG_UP);
        };
        let room = link.output.room(words.len(), &mut self.pool);
        room.ok_or(HUNG_UP)?.copy_from_slice(words);
        link.output.commit(words.len());
        let flushed = link.flush(&mut self.pool);
        (flushed.is_ok() && link.sent())
            .then_some(())
            .ok_or(HUNG_UP)
    }

    /// The greeting goes on with the bytes that came; true when frames may follow.
    pub(super) fn greet(&mut self, at: u32) -> bool {
        loop {
            let Some(link) = &mut self.links[at as usize] else {
                return false;
            };
            let step = match link.stage {
                Stage::Connecting => Ok(false),
                Stage::Asking => self.ask(at),
                Stage::Joining => self.join(at),
                Stage::Accepted => self.answer(at),
                Stage::Proving => self.prove(at),
                Stage::Greeting => self.finish(at),
                Stage::Knocking => self.enter(at),
                Stage::Counting => self.resume(at),
                Stage::Ready => return true,
            };
            match step {
                // What came sealed behind this must be opened first.
                Ok(true) if self.just_sealed(at) => return false,
                Ok(true) => (),
                // More bytes are needed.
                Ok(false) => return false,
                Err(why) => {
                    let Some(link) = self.remove(at) else {
                        return false;
                    };
                    if link.effort != Effort::Theirs {
                        let error = io::Error::new(io::ErrorKind::PermissionDenied, why);
                        self.failed_effort(at, &link, &error);
                    } else if why != HUNG_UP {
                        self.stranger(&link.at, why);
                    }
                    return false;
                }
            }
        }
    }

    fn just_sealed(&self, at: u32) -> bool {
        let link = self.links[at as usize].as_deref();
        link.is_some_and(|l| {
            matches!(l.seal, Seal::Channel(_))
                && l.input.is_empty()
                && matches!(l.stage, Stage::Proving | Stage::Knocking)
        })
    }

    /// At a relay: its greeting, answered with what we want.
    fn ask(&mut self, at: u32) -> Result<bool, &'static str> {
        let Some(link) = &mut self.links[at as usize] else {
            return Ok(false);
        };
        let Some(greeting) = link.input.bytes().first_chunk::<GREETING>() else {
            return Ok(false);
        };
        let nonce = relay::nonce(greeting).ok_or("it is no relay")?;
        let looks = link.effort == Effort::Look;
        let (op, to) = match self.me < link.peer {
            _ if looks => (Op::Observe, self.me),
            true => (Op::Dial, link.peer),
            false => (Op::Listen, link.peer),
        };
        let ask = relay::Request {
            op,
            to,
            ..self.ways.ask
        };
        let said = ask.encode(&self.ways.grant, &nonce);
        all_sent(net::send(&link.fd, &said), said.len()).map_err(|_| HUNG_UP)?;
        link.input.consume(GREETING, &mut self.pool);
        link.stage = Stage::Joining;
        if looks {
            return Ok(true);
        }
        let peer = link.peer;
        let stay = self.stay(peer);
        if let Some(meeting) = &mut self.peers[peer as usize].meeting {
            meeting.joins(stay);
        }
        Ok(true)
    }

    /// At a relay: its status. From then on the peer is at the other end.
    fn join(&mut self, at: u32) -> Result<bool, &'static str> {
        let Some(link) = &mut self.links[at as usize] else {
            return Ok(false);
        };
        let Some(&status) = link.input.bytes().first() else {
            return Ok(false);
        };
        match Status::decode(status) {
            Some(Status::Ok) if link.effort == Effort::Look => {
                self.sees_relay(at);
                return Ok(false);
            }
            Some(Status::Ok) => (),
            Some(Status::Alone) => return Err(ALONE),
            Some(other) => return Err(other.text()),
            None => return Err("it refuses, for a reason of a later version"),
        }
        link.input.consume(1, &mut self.pool);
        if self.me < link.peer {
            self.say_hello(at)?;
        } else {
            link.stage = Stage::Accepted;
            link.ours.role = Role::Listener;
        }
        Ok(true)
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
        let Some(words) = bytes.first_chunk::<HELLO>() else {
            return Ok(false);
        };
        let theirs = Hello::decode(words).ok_or("it does not speak Mayfly's protocol")?;
        if theirs.role != Role::Dialler {
            return Err("it answers what nobody asked");
        }
        if theirs.job != self.job {
            return Err("it belongs to another job");
        }
        if theirs.to != self.me {
            return Err("it looks for another rank");
        }
        if theirs.from == self.me || theirs.from as usize >= self.peers.len() {
            return Err("it is no rank of this job");
        }
        if link.effort != Effort::Theirs && (theirs.from, theirs.path) != (link.peer, link.path) {
            return Err("another rank came");
        }
        if !theirs.sealed && self.encrypt != crate::base::config::Encrypt::Never {
            let always = self.encrypt == crate::base::config::Encrypt::Always;
            if always || theirs.path != Path::Private {
                return Err(OPEN);
            }
        }
        let words = *words;
        let length = HELLO + if theirs.sealed { FIRST } else { 0 };
        if bytes.len() < length {
            return Ok(false);
        }
        if !self.peers[theirs.from as usize].introduced {
            // `acquainted` comes back to this.
            self.want(theirs.from);
            return Ok(false);
        }
        let ours = Hello {
            role: Role::Listener,
            path: theirs.path,
            sealed: theirs.sealed,
            to: theirs.from,
            ..link.ours
        };
        let key = self.proof_key(theirs.from);
        let proof = hello::proof(&key, Role::Listener, &theirs, &ours);
        let Some(link) = &mut self.links[at as usize] else {
            return Ok(false);
        };
        let mut said = [0; HELLO + SECOND];
        said[..HELLO].copy_from_slice(&ours.encode());
        let mut channel = None;
        let end = if theirs.sealed {
            let p = &self.peers[theirs.from as usize];
            let (Some(keys), Some(key)) = (&self.keys, &p.key) else {
                return Err("one of the two has no keys");
            };
            let first = &link.input.bytes()[HELLO..length];
            let (made, second) = keys.answer(key, &self.token, &words, first, &proof)?;
            channel = Some(made);
            said[HELLO..].copy_from_slice(&second);
            HELLO + SECOND
        } else {
            said[HELLO..HELLO + PROOF].copy_from_slice(&proof);
            HELLO + PROOF
        };
        all_sent(net::send(&link.fd, &said[..end]), end).map_err(|_| HUNG_UP)?;
        link.input.consume(length, &mut self.pool);
        if let Some(mut channel) = channel {
            channel.came(std::mem::take(&mut link.input));
            link.seal = Seal::Channel(Box::new(channel));
        }
        link.ours = ours;
        link.theirs = Some(theirs);
        link.path = theirs.path;
        link.since = Instant::now();
        link.stage = Stage::Proving;
        Ok(true)
    }

    /// Listener: the dialler's proof.
    fn prove(&mut self, at: u32) -> Result<bool, &'static str> {
        let Some(link) = &self.links[at as usize] else {
            return Ok(false);
        };
        let Some(theirs) = link.theirs else {
            return Ok(false);
        };
        if link.input.bytes().len() < PROOF {
            return Ok(false);
        }
        let key = self.proof_key(theirs.from);
        let Some(link) = &self.links[at as usize] else {
            return Ok(false);
        };
        let said = &link.input.bytes()[..PROOF];
        if !hello::holds(&key, Role::Dialler, &theirs, &link.ours, said) {
            return Err(TOKEN);
        }
        let p = &self.peers[theirs.from as usize];
        let mut known = p
            .ready
            .iter()
            .filter_map(|r| self.links[*r as usize].as_deref());
        let relayed = theirs.path == Path::Relayed;
        if !relayed && known.clone().any(Link::rests) {
            // What the peer sent on its last connection must be read first; `rest::put_to_rest` comes back to this.
            return Ok(false);
        }
        let same = |l: &Link| l.ours.role == Role::Listener && l.path == theirs.path && !relayed;
        if p.gone || known.any(same) {
            return Err("its rank is linked already, or gone");
        }
        self.say(at, &[WELCOME])?;
        let Some(link) = &mut self.links[at as usize] else {
            return Ok(false);
        };
        link.input.consume(PROOF, &mut self.pool);
        link.peer = theirs.from;
        self.entered(at)
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
        let Some(words) = bytes.first_chunk::<HELLO>() else {
            return Ok(false);
        };
        let theirs = Hello::decode(words).ok_or("somebody else listens there")?;
        let peer = link.peer;
        let strange = theirs.job != self.job || theirs.from != peer || theirs.to != self.me;
        if strange || theirs.sealed != link.ours.sealed || theirs.path != link.ours.path {
            return Err("another rank listens there");
        }
        if theirs.role == Role::Dialler {
            return self.both_dial(at, theirs);
        }
        let length = HELLO + if theirs.sealed { SECOND } else { PROOF };
        if bytes.len() < length {
            return Ok(false);
        }
        let mut said = [0; PROOF];
        if let Seal::Begun(noise) = std::mem::take(&mut link.seal) {
            let (mut channel, proof) = seal::finish(noise, &link.input.bytes()[HELLO..length])?;
            said = proof;
            link.input.consume(length, &mut self.pool);
            channel.came(std::mem::take(&mut link.input));
            link.seal = Seal::Channel(Box::new(channel));
        } else {
            said.copy_from_slice(&bytes[HELLO..length]);
            link.input.consume(length, &mut self.pool);
        }
        let ours = link.ours;
        let key = self.proof_key(peer);
        if !hello::holds(&key, Role::Listener, &ours, &theirs, &said) {
            return Err(TOKEN);
        }
        self.say(at, &hello::proof(&key, Role::Dialler, &ours, &theirs))?;
        if let Some(link) = &mut self.links[at as usize] {
            link.stage = Stage::Knocking;
        }
        Ok(true)
    }

    /// Two that punched greet each other on one connection: the lower rank's greeting counts.
    fn both_dial(&mut self, at: u32, theirs: Hello) -> Result<bool, &'static str> {
        let Some(link) = &mut self.links[at as usize] else {
            return Ok(false);
        };
        if link.path != Path::Punched || link.theirs.is_some() {
            return Err("it does not keep to the greeting");
        }
        if self.me > link.peer {
            link.seal = Seal::None;
            link.stage = Stage::Accepted;
            link.ours.nonce = os::nonce();
            return Ok(true);
        }
        let length = HELLO + if theirs.sealed { FIRST } else { 0 };
        if link.input.bytes().len() < length {
            return Ok(false);
        }
        link.input.consume(length, &mut self.pool);
        // Once only.
        link.theirs = Some(theirs);
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
        self.entered(at)
    }

    /// Each knows who the other is.
    fn entered(&mut self, at: u32) -> Result<bool, &'static str> {
        match self.links[at as usize].as_deref() {
            Some(link) if link.path == Path::Relayed => {
                let said = self.supersede(at);
                self.say(at, &said)?;
                self.take_lane(at);
            }
            _ => self.ready(at),
        }
        Ok(true)
    }

    /// On a relayed connection: the peer's count, from which on it gets what was sent.
    fn resume(&mut self, at: u32) -> Result<bool, &'static str> {
        let Some(link) = self.links[at as usize].as_deref_mut() else {
            return Ok(false);
        };
        let Some(said) = link.input.bytes().first_chunk::<RECORD>() else {
            return Ok(false);
        };
        let count = Count::decode(said).ok_or("it does not keep to the greeting")?;
        let lane = link.lane.as_mut().ok_or(HUNG_UP)?;
        lane.resume(count)?;
        link.rest_sent |= count.over;
        link.rest_came |= count.over;
        link.input.consume(RECORD, &mut self.pool);
        self.inherit(at);
        self.ready(at);
        self.go_on(at);
        Ok(true)
    }

    /// The greeting of a connection is complete.
    fn ready(&mut self, at: u32) {
        let Some(link) = &mut self.links[at as usize] else {
            return;
        };
        link.stage = Stage::Ready;
        net::keep_alive(&link.fd, link.path == Path::Relayed);
        link.frame = HEADER;
        self.greeting -= 1;
        let (peer, path) = (link.peer, link.path);
        let p = &mut self.peers[peer as usize];
        p.ready.push(at);
        let begun = match (&p.dial, &p.meeting) {
            (Some(dial), _) => dial.begun(),
            (None, Some(meeting)) => meeting.begun(),
            (None, None) => link.since,
        };
        let sealed = match link.seal {
            Seal::Channel(_) => "encrypted",
            Seal::None | Seal::Begun(_) => "not encrypted",
        };
        let took = begun.elapsed();
        let number = match took.as_millis() {
            0 => format!("{:.1}", took.as_secs_f64() * 1e3),
            whole => whole.to_string(),
        };
        info!(
            "rank {}: rank {peer} by tcp {} in {number} ms ({sealed})",
            self.me,
            path.name()
        );
        self.met(peer, path);
        self.adopt(peer);
        self.settle(peer);
    }

    /// Asks to be introduced to a peer.
    pub(super) fn want(&mut self, peer: u32) {
        if !self.wanted.contains(&PeerId(peer)) {
            self.wanted.push(PeerId(peer));
        }
    }

    /// A peer's address is known now: it may have come before.
    pub(super) fn acquainted(&mut self, peer: u32) {
        for at in 0..self.links.len() as u32 {
            let waits = |l: &Link| {
                let words = l.input.bytes().first_chunk::<HELLO>();
                let hello = words.and_then(Hello::decode);
                l.stage == Stage::Accepted && hello.is_some_and(|h| h.from == peer)
            };
            if self.links[at as usize].as_deref().is_some_and(waits) {
                self.greet(at);
            }
        }
        if let Some(effort) = self.peers[peer as usize].called.take() {
            self.called(peer, effort);
        }
    }

    /// A connection ended before its greeting did.
    pub(super) fn ungreeted(&mut self, at: u32, link: &Link, why: &str) {
        if link.effort != Effort::Theirs {
            let error = match why {
                ALONE => io::Error::new(io::ErrorKind::PermissionDenied, why),
                _ => io::Error::other(format!("{why} while greeting")),
            };
            self.failed_effort(at, link, &error);
        } else if link.theirs.is_none() && !link.input.is_empty() {
            self.stranger(&link.at, HUNG_UP);
        }
    }

    /// What this rank tried came to nothing, at whatever stage; the connection is gone.
    pub(super) fn failed_effort(&mut self, at: u32, link: &Link, error: &io::Error) {
        match link.effort {
            Effort::Dial => self.failed_attempt(link.peer, at, error),
            Effort::Punch | Effort::Relay => {
                self.missed(link.peer, at, link.since.elapsed(), error);
                self.seek(link.peer);
            }
            Effort::Look => self.looked_in_vain(Instant::now(), error),
            Effort::Theirs => (),
        }
    }
}

/// A greeting fits in an empty socket buffer, or something is wrong with the connection.
fn all_sent(sent: io::Result<usize>, length: usize) -> io::Result<()> {
    match sent {
        Ok(n) if n == length => Ok(()),
        Ok(_) => Err(io::Error::from(io::ErrorKind::WriteZero)),
        Err(error) => Err(error),
    }
}
