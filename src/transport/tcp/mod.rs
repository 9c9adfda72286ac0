//! TCP: non-blocking sockets, one listener, connections on first use.
//!
//! Order of a pair: all that a rank sends to a peer goes through one connection, chosen at its first send for good:
//! the one that the peer has made, if its greeting is complete, else one that this rank makes. Two ranks that dial each
//! other at once have two connections, each used in one direction; frames of one sender never travel on both. When a
//! rank has many connections, those that idle are given up (`rest`), and made again when needed.

mod dial;
mod door;
mod greet;
mod link;
pub mod net;
mod rest;
#[cfg(test)]
mod strangers;

use crate::base::id::PeerId;
use crate::transport::os::Fd;
use crate::transport::{Options, Sent, Sink};
use crate::wire::frame::{Header, Kind, HEADER};
use dial::Dial;
pub use link::MAX_PAYLOAD;
use link::{Link, Pool, Queue, Stage};
use net::{Epoll, Event};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

const NONE: u32 = u32::MAX;
/// What epoll calls the listener and the wake socket; connections are numbers below.
const LISTENER: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;
/// Empty reads after which a connection is not tried before epoll any more.
const COOL: u32 = 256;

/// A peer, as TCP sees it.
struct Peer {
    targets: Vec<SocketAddr>,
    /// The connection that frames to it take.
    out: u32,
    /// The connection that it made.
    inbound: u32,
    dial: Option<Box<Dial>>,
    goodbye: bool,
    gone: bool,
}

/// All links of a rank by TCP.
pub struct Tcp {
    me: u32,
    job: [u8; 16],
    token: [u8; 32],
    patience: Duration,
    listener: Fd,
    port: u16,
    ips: Vec<IpAddr>,
    epoll: Epoll,
    links: Vec<Option<Box<Link>>>,
    next_id: u32,
    peers: Vec<Peer>,
    pool: Pool,
    /// Connections with output.
    pending: Vec<u32>,
    /// Peers that are being dialled.
    dialling: Vec<u32>,
    /// Connections whose writing failed.
    failed: Vec<u32>,
    /// Connections that are not Ready.
    greeting: usize,
    /// All connections, and how many there should be at most.
    open: usize,
    pub(super) budget: usize,
    strangers: u32,
    /// It was said that descriptors are lacking.
    complained: bool,
    /// Accepting rests until then.
    rests: Option<Instant>,
    /// The connection that brought something last, and how often it brought nothing since.
    hot: u32,
    misses: u32,
    turn: u32,
    pub(super) losses: Vec<(PeerId, String)>,
}

impl Tcp {
    /// Opens the listener.
    ///
    /// # Errors
    /// One line that says what failed.
    pub fn open(options: &Options) -> Result<Tcp, String> {
        let (mut ips, only) = net::announce(&options.config.interface)?;
        let (listener, port) = net::listen(only).map_err(|e| format!("cannot listen: {e}"))?;
        if only.is_none() {
            ips.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        let epoll = Epoll::new().map_err(|e| format!("epoll_create1: {e}"))?;
        epoll
            .add(listener.0, LISTENER, true, false)
            .map_err(|e| format!("epoll_ctl: {e}"))?;
        let peer = |_| Peer {
            targets: Vec::new(),
            out: NONE,
            inbound: NONE,
            dial: None,
            goodbye: false,
            gone: false,
        };
        Ok(Tcp {
            me: options.me.0,
            job: options.job,
            token: options.token,
            patience: options.config.connect_timeout,
            listener,
            port,
            ips,
            epoll,
            links: Vec::new(),
            next_id: 0,
            peers: (0..options.size).map(peer).collect(),
            pool: Pool::default(),
            pending: Vec::new(),
            dialling: Vec::new(),
            failed: Vec::new(),
            greeting: 0,
            open: 0,
            budget: rest::budget(),
            strangers: 0,
            complained: false,
            rests: None,
            hot: NONE,
            misses: 0,
            turn: 0,
            losses: Vec::new(),
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn ips(&self) -> &[IpAddr] {
        &self.ips
    }

    /// This descriptor ends waits too.
    pub fn watch(&self, fd: i32) -> io::Result<()> {
        self.epoll.add(fd, WAKE, true, false)
    }

    /// Where a peer listens. `near`: it shares this machine's loopback (`None`: nobody knows).
    ///
    /// # Errors
    /// One line when no address can be tried.
    pub fn introduce(
        &mut self,
        peer: PeerId,
        ips: &[IpAddr],
        port: u16,
        near: Option<bool>,
    ) -> Result<(), String> {
        if port == 0 {
            return Err("it does not listen".to_string());
        }
        let (loopback, outer): (Vec<IpAddr>, Vec<IpAddr>) =
            ips.iter().partition(|ip| ip.is_loopback());
        let order: Vec<IpAddr> = match near {
            Some(true) => loopback.into_iter().chain(outer).collect(),
            Some(false) => outer,
            None => outer.into_iter().chain(loopback).collect(),
        };
        if order.is_empty() {
            return Err("it has only loopback addresses".to_string());
        }
        self.peers[peer.0 as usize].targets = order
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect();
        Ok(())
    }

    /// Is there, or will there be, any connection?
    pub fn used(&self) -> bool {
        !self.dialling.is_empty() || self.links.iter().any(Option::is_some)
    }

    /// Has all output left for the kernel?
    pub fn idle(&self) -> bool {
        self.pending.is_empty() && self.dialling.is_empty()
    }

    #[inline]
    pub fn send(&mut self, peer: PeerId, header: &Header, fill: impl FnOnce(&mut [u8])) -> Sent {
        let total = HEADER + header.length as usize;
        assert!(total <= HEADER + MAX_PAYLOAD, "payload beyond the limit");
        let mut at = self.peers[peer.0 as usize].out;
        if at == NONE {
            if !self.first(peer.0) {
                return Sent::Lost;
            }
            at = self.peers[peer.0 as usize].out;
        }
        let link = match (&mut self.peers[peer.0 as usize].dial, at) {
            // Frames wait for the connection.
            (Some(dial), NONE) => {
                return put(&mut dial.output, &mut self.pool, header, fill);
            }
            (None, NONE) => return Sent::Lost,
            _ => match &mut self.links[at as usize] {
                Some(link) if link.broken.is_some() => return Sent::Lost,
                Some(link) if link.rests() => return Sent::Busy,
                Some(link) => link,
                None => return Sent::Lost,
            },
        };
        if put(&mut link.output, &mut self.pool, header, fill) == Sent::Busy {
            return Sent::Busy;
        }
        link.used = self.turn;
        if let Err(error) = link.flush(&mut self.pool) {
            link.broken = Some(error.to_string());
            self.failed.push(at);
        } else if !link.output.is_empty() && !link.pending {
            link.pending = true;
            self.pending.push(at);
        }
        Sent::Done
    }

    /// A peer without a connection to send on: takes the one it made, or dials. False when it is gone.
    #[cold]
    fn first(&mut self, peer: u32) -> bool {
        let p = &mut self.peers[peer as usize];
        if p.gone {
            return false;
        }
        if p.dial.is_none() {
            if p.inbound != NONE {
                p.out = p.inbound;
            } else {
                self.dial(peer);
            }
        }
        true
    }

    /// Hands what arrived to `sink`; true when anything moved.
    pub fn poll(&mut self, sink: &mut impl Sink) -> bool {
        self.turn = self.turn.wrapping_add(1);
        let mut moved = false;
        if !self.pending.is_empty() {
            moved |= self.flush();
        }
        // Whoever brought something last is asked first: one system call instead of two. The others' turn comes by
        // epoll, which costs the same for one connection as for a thousand.
        if self.hot != NONE {
            if self.read(self.hot, sink) {
                self.misses = 0;
                moved = true;
            } else {
                self.misses += 1;
                if self.misses > COOL {
                    self.hot = NONE;
                }
            }
        }
        if self.hot == NONE || self.turn.is_multiple_of(4) {
            moved |= self.look(sink);
        }
        if self.open > self.budget && self.turn.is_multiple_of(32) {
            self.relax();
        }
        if !(self.failed.is_empty() && self.dialling.is_empty())
            || self.greeting > 0
            || self.rests.is_some()
        {
            self.tick(sink);
        }
        moved
    }

    /// Handles what epoll tells.
    fn look(&mut self, sink: &mut impl Sink) -> bool {
        let mut events = [Event { events: 0, u64: 0 }; 64];
        let count = self.epoll.wait(&mut events, 0).len();
        let mut moved = false;
        for event in &events[..count] {
            match event.u64 {
                LISTENER => self.accept(),
                WAKE => (),
                data => {
                    let at = data as u32;
                    let id = (data >> 32) as u32;
                    let stage = match self.links.get(at as usize) {
                        Some(Some(link)) if link.id == id => link.stage,
                        _ => continue,
                    };
                    if stage == Stage::Connecting {
                        self.connected(at);
                        continue;
                    }
                    if event.events & !(libc::EPOLLOUT as u32) != 0 && self.read(at, sink) {
                        moved = true;
                        if self.links[at as usize].is_some() {
                            self.hot = at;
                            self.misses = 0;
                        }
                    }
                }
            }
        }
        moved
    }

    /// Sends what waits, as far as it goes.
    fn flush(&mut self) -> bool {
        let mut moved = false;
        let mut i = 0;
        while i < self.pending.len() {
            let at = self.pending[i];
            let Some(link) = &mut self.links[at as usize] else {
                self.pending.swap_remove(i);
                continue;
            };
            let before = link.output.bytes().len();
            if let Err(error) = link.flush(&mut self.pool) {
                link.broken = Some(error.to_string());
                link.pending = false;
                self.failed.push(at);
                self.pending.swap_remove(i);
                continue;
            }
            let after = link.output.bytes().len();
            moved |= after < before;
            if after == 0 {
                link.pending = false;
                if link.writes {
                    link.writes = false;
                    let _ = self.epoll.change(link.fd.0, data(at, link.id), true, false);
                }
                self.pending.swap_remove(i);
                if link.rests() {
                    self.rested(at);
                }
            } else {
                i += 1;
            }
        }
        moved
    }

    /// Reads once from a connection; false when there was nothing.
    fn read(&mut self, at: u32, sink: &mut impl Sink) -> bool {
        let Some(link) = &mut self.links[at as usize] else {
            return false;
        };
        let rest = link.input.rest(link.frame, &mut self.pool);
        match net::receive(&link.fd, rest) {
            Ok(0) => {
                self.ended(at, "it closed the connection", sink);
                true
            }
            Ok(n) => {
                link.input.commit(n);
                if link.stage == Stage::Ready || self.greet(at) {
                    self.frames(at, sink);
                }
                true
            }
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                link.input.consume(0, &mut self.pool);
                false
            }
            Err(e) => {
                self.ended(at, &e.to_string(), sink);
                true
            }
        }
    }

    /// Hands the whole frames among the bytes to the sink.
    fn frames(&mut self, at: u32, sink: &mut impl Sink) {
        let Some(link) = &mut self.links[at as usize] else {
            return;
        };
        let bytes = link.input.bytes();
        let mut done = 0;
        let mut nonsense = false;
        let mut rest = false;
        link.frame = HEADER;
        while let Some(head) = bytes[done..].first_chunk::<HEADER>() {
            let Some(header) = Header::decode(head).filter(|h| h.length as usize <= MAX_PAYLOAD)
            else {
                // Nothing comes after a rest.
                rest = rest::is(head) && bytes.len() == done + HEADER;
                nonsense = !rest;
                done += HEADER;
                break;
            };
            let total = HEADER + header.length as usize;
            let Some(frame) = bytes.get(done..done + total) else {
                link.frame = total;
                break;
            };
            if header.kind == Kind::Goodbye {
                self.peers[link.peer as usize].goodbye = true;
            }
            sink.frame(PeerId(link.peer), &header, &frame[HEADER..]);
            done += total;
        }
        link.input.consume(done, &mut self.pool);
        link.used = self.turn;
        if nonsense {
            self.ended(at, "it sent what is no frame", sink);
        } else if rest {
            link.rest_came = true;
            self.rested(at);
        }
    }

    /// A connection is over. What the peer still has under way on its other one is read before it counts as lost.
    fn ended(&mut self, at: u32, why: &str, sink: &mut impl Sink) {
        if self.put_to_rest(at) {
            return;
        }
        let Some(link) = self.remove(at) else { return };
        if link.stage != Stage::Ready {
            self.ungreeted(&link, why);
            return;
        }
        let p = &mut self.peers[link.peer as usize];
        for slot in [&mut p.out, &mut p.inbound] {
            if *slot == at {
                *slot = NONE;
            }
        }
        let other = [p.out, p.inbound].into_iter().find(|o| *o != NONE);
        p.gone = true;
        if let Some(other) = other {
            for _ in 0..4096 {
                if !self.read(other, sink) {
                    break;
                }
            }
            self.remove(other);
        }
        if let Some(dial) = self.peers[link.peer as usize].dial.take() {
            self.dialling.retain(|d| *d != link.peer);
            if dial.link() != NONE {
                self.remove(dial.link());
            }
        }
        let p = &mut self.peers[link.peer as usize];
        p.out = NONE;
        p.inbound = NONE;
        if !p.goodbye {
            let why = link.broken.as_deref().unwrap_or(why);
            self.losses
                .push((PeerId(link.peer), format!("{} ({})", why, link.at)));
            // Said once, whichever connection ends first.
            self.peers[link.peer as usize].goodbye = true;
        }
    }

    /// Puts a connection in its place.
    fn insert(&mut self, mut link: Link, write: bool) -> io::Result<u32> {
        let at = match self.links.iter().position(Option::is_none) {
            Some(at) => at,
            None => {
                self.links.push(None);
                self.links.len() - 1
            }
        };
        self.next_id = self.next_id.wrapping_add(1) & 0x7fff_ffff;
        link.id = self.next_id;
        link.used = self.turn;
        self.epoll
            .add(link.fd.0, data(at as u32, link.id), !write, write)?;
        self.greeting += 1;
        self.open += 1;
        self.links[at] = Some(Box::new(link));
        if self.open > self.budget {
            self.relax();
        }
        Ok(at as u32)
    }

    /// Closes a connection.
    fn remove(&mut self, at: u32) -> Option<Box<Link>> {
        let link = self.links[at as usize].take()?;
        self.epoll.remove(link.fd.0);
        self.open -= 1;
        if link.stage != Stage::Ready {
            self.greeting -= 1;
        }
        self.pending.retain(|p| *p != at);
        self.failed.retain(|f| *f != at);
        if self.hot == at {
            self.hot = NONE;
        }
        Some(link)
    }

    /// What time brings: connections whose writing failed, attempts and greetings that take too long.
    fn tick(&mut self, sink: &mut impl Sink) {
        for at in std::mem::take(&mut self.failed) {
            // Its last words first; the end of them is the end of the connection.
            for _ in 0..4096 {
                if self.links[at as usize].is_none() || !self.read(at, sink) {
                    break;
                }
            }
            if self.links[at as usize].is_some() {
                self.ended(at, "writing to it failed", sink);
            }
        }
        if self.greeting == 0 && self.dialling.is_empty() && self.rests.is_none() {
            return;
        }
        let now = Instant::now();
        if self.rests.is_some_and(|until| now >= until) {
            self.rests = None;
            let _ = self.epoll.add(self.listener.0, LISTENER, true, false);
        }
        self.late(now, sink);
        self.redial(now);
    }

    /// Waits until something can be read, or written where it must, or `limit` has passed.
    pub fn wait(&mut self, limit: Duration) {
        if !self.failed.is_empty() || !self.losses.is_empty() {
            return;
        }
        for &at in &self.pending {
            if let Some(link) = &mut self.links[at as usize] {
                if !link.writes {
                    link.writes = true;
                    let _ = self.epoll.change(link.fd.0, data(at, link.id), true, true);
                }
            }
        }
        let mut limit = limit;
        if let Some(next) = self.next_tick() {
            limit = limit.min(next.saturating_duration_since(Instant::now()));
        }
        let milliseconds = limit.as_nanos().div_ceil(1_000_000).min(3_600_000) as i32;
        let mut events = [Event { events: 0, u64: 0 }; 4];
        self.epoll.wait(&mut events, milliseconds);
        // The next poll looks at all, not at the favourite.
        self.turn = 3;
    }

    /// When [`Tcp::tick`] has something to do by the clock.
    fn next_tick(&self) -> Option<Instant> {
        let mut next = self.rests;
        let mut sooner = |t: Instant| next = Some(next.map_or(t, |n| n.min(t)));
        for &peer in &self.dialling {
            if let Some(dial) = &self.peers[peer as usize].dial {
                sooner(dial.until());
            }
        }
        if self.greeting > 0 {
            for link in self.links.iter().flatten() {
                if matches!(link.stage, Stage::Accepted | Stage::Proving) {
                    sooner(link.since + door::PATIENCE);
                }
            }
        }
        next
    }

    /// Flushes for at most this long and closes all.
    pub fn close(&mut self, limit: Duration) {
        struct Deaf;
        impl Sink for Deaf {
            fn frame(&mut self, _: PeerId, _: &Header, _: &[u8]) {}
            fn lost(&mut self, _: PeerId, _: &str) {}
        }
        let end = Instant::now() + limit;
        while !self.idle() && Instant::now() < end {
            self.wait(Duration::from_millis(20));
            self.poll(&mut Deaf);
        }
        for at in 0..self.links.len() as u32 {
            if let Some(link) = &self.links[at as usize] {
                net::finish(&link.fd);
            }
            // Unread bytes would turn the close into a reset, which may overtake what was sent last.
            for _ in 0..64 {
                if self.links[at as usize].is_none() || !self.read(at, &mut Deaf) {
                    break;
                }
            }
        }
        self.links.clear();
        self.open = 0;
        self.pending.clear();
        self.dialling.clear();
        self.greeting = 0;
        for p in &mut self.peers {
            p.out = NONE;
            p.inbound = NONE;
            p.dial = None;
            p.gone = true;
        }
    }
}

/// Writes a frame behind the others.
#[inline]
fn put(output: &mut Queue, pool: &mut Pool, header: &Header, fill: impl FnOnce(&mut [u8])) -> Sent {
    let total = HEADER + header.length as usize;
    let Some(room) = output.room(total, pool) else {
        return Sent::Busy;
    };
    room[..HEADER].copy_from_slice(&header.encode());
    fill(&mut room[HEADER..]);
    output.commit(total);
    Sent::Done
}

/// What epoll calls a connection.
fn data(at: u32, id: u32) -> u64 {
    u64::from(at) | u64::from(id) << 32
}
