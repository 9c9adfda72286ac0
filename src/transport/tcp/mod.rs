//! TCP: non-blocking sockets, one listener, connections on first use.
//!
//! Order of a pair: all that a rank sends to a peer goes through one connection, chosen at its first send: one whose
//! greeting is complete, if there is any, else one that this rank makes. Two ranks that dial each other at once have two
//! connections, each used in one direction; frames of one sender never travel on both. When a rank has many connections,
//! those that idle are given up (`rest`), and made again when needed; so is one when there is a better one.
//!
//! A peer is reached at its private addresses (`dial`); when that fails, both meet (`meet`): they punch, connecting to
//! each other through what stands between, and go to a relay. What leaves the network is encrypted (`seal`). What goes
//! through a relay outlives it (`lane`, `mend`).

#[cfg(test)]
mod crowd;
#[cfg(test)]
mod cuts;
mod dial;
mod direct;
mod door;
mod greet;
mod lane;
mod link;
mod meet;
#[cfg(test)]
mod meetings;
mod mend;
pub mod net;
mod observe;
#[cfg(test)]
mod placed;
mod poll;
mod punch;
#[cfg(test)]
mod random;
mod rest;
mod seal;
#[cfg(test)]
mod strangers;
mod vigil;
mod ways;

use crate::base::config::Encrypt;
use crate::base::id::PeerId;
use crate::transport::os::Fd;
use crate::transport::{Mailbox, Options, Sent};
use crate::wire::address::Address;
use crate::wire::frame::{Header, Kind, HEADER};
use dial::Dial;
use lane::Lane;
use link::{Link, Pool, Queue};
pub use link::{CROWDED_EAGER, MAX_EAGER, MAX_PAYLOAD, MAX_PIECE};
use meet::Meeting;
use mend::Mend;
use net::Epoll;
pub use seal::Keys;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vigil::Vigil;
use ways::Ways;

const NONE: u32 = u32::MAX;
/// What epoll calls the listener and the wake socket; connections are numbers below.
const LISTENER: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;
const BELL: u64 = u64::MAX - 2;

/// A peer, as TCP sees it.
#[derive(Default)]
struct Peer {
    /// Its address is known.
    introduced: bool,
    targets: Vec<SocketAddr>,
    /// Its listener's port, and how a relay sees it.
    port: u16,
    public: Option<SocketAddr>,
    symmetric: bool,
    punches: bool,
    relays: bool,
    key: Option<[u8; 32]>,
    /// The key of the pair's proofs, once needed.
    proof: Option<[u8; 32]>,
    /// The connection that frames to it take.
    out: u32,
    /// All connections whose greeting is complete.
    ready: Vec<u32>,
    dial: Option<Box<Dial>>,
    meeting: Option<Box<Meeting>>,
    /// What outlives relayed connections, while there is none.
    lane: Option<Box<Lane>>,
    /// The relayed connection broke, and another is sought.
    mend: Option<Box<Mend>>,
    /// It called before it was introduced.
    called: Option<u32>,
    goodbye: bool,
    gone: bool,
}

/// All links of a rank by TCP.
pub struct Tcp {
    me: u32,
    job: [u8; 16],
    token: [u8; 32],
    patience: Duration,
    encrypt: Encrypt,
    keys: Option<Arc<Keys>>,
    listener: Fd,
    /// The one address that is listened on.
    only: Option<IpAddr>,
    port: u16,
    ips: Vec<IpAddr>,
    /// How peers outside of this network are reached.
    ways: Ways,
    mailbox: Option<Mailbox>,
    epoll: Epoll,
    links: Vec<Option<Box<Link>>>,
    next_id: u32,
    peers: Vec<Peer>,
    pool: Pool,
    /// Connections with output.
    pending: Vec<u32>,
    /// Peers that are being dialled.
    dialling: Vec<u32>,
    /// Peers that are being met.
    meetings: Vec<u32>,
    /// Peers are called because relayed connections broke: the search for a relay.
    vigil: Option<Box<Vigil>>,
    /// How often one was found.
    pub(super) seen_relays: u32,
    /// Connections whose writing failed.
    failed: Vec<u32>,
    /// Connections that are not Ready.
    greeting: usize,
    /// All connections, and how many there should be at most.
    open: usize,
    pub(super) budget: usize,
    /// When the last one ended, and for how long none may before peers that are not reached for want of room are lost.
    freed: Instant,
    pub(super) standstill: Duration,
    /// When a meeting's ways begin: punching, relay.
    pub(super) heads: [Duration; 2],
    /// How long both go round relays that fail.
    pub(super) relay_limit: Duration,
    strangers: u32,
    /// When connections were last looked at whose machine may have gone.
    looked: Instant,
    /// It was said that descriptors are lacking.
    complained: bool,
    /// Accepting rests until then.
    rests: Option<Instant>,
    /// The connection that brought something last, and how often it brought nothing since.
    hot: u32,
    misses: u32,
    turn: u32,
    /// For what should differ between ranks.
    dice: u64,
    pub(super) losses: Vec<(PeerId, String)>,
    /// Peers that came before this rank had to know them: whoever polls introduces them.
    pub(super) wanted: Vec<PeerId>,
}

impl Tcp {
    /// Opens the listener. `keys`: this rank's, if it has some.
    ///
    /// # Errors
    /// One line that says what failed.
    pub fn open(options: &mut Options, keys: Option<Arc<Keys>>) -> Result<Tcp, String> {
        let (mut ips, only) = net::announce(&options.config.interface)?;
        let (listener, port) = net::listen(only).map_err(|e| format!("cannot listen: {e}"))?;
        if only.is_none() {
            ips.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        let epoll = Epoll::new().map_err(|e| format!("epoll_create1: {e}"))?;
        epoll
            .add(listener.0, LISTENER, true, false)
            .map_err(|e| format!("epoll_ctl: {e}"))?;
        let mailbox = options.outside.mailbox.take();
        if let Some(mailbox) = &mailbox {
            epoll
                .add(mailbox.bell(), BELL, true, false)
                .map_err(|e| format!("epoll_ctl: {e}"))?;
        }
        let ways = Ways::find(options, only, port)?;
        let peer = |_| Peer {
            out: NONE,
            ..Peer::default()
        };
        Ok(Tcp {
            me: options.me.0,
            job: options.job,
            token: options.token,
            patience: options.config.connect_timeout,
            encrypt: options.config.encrypt,
            keys,
            listener,
            only,
            port,
            ips,
            ways,
            mailbox,
            epoll,
            links: Vec::new(),
            next_id: 0,
            peers: (0..options.size).map(peer).collect(),
            pool: Pool::default(),
            pending: Vec::new(),
            dialling: Vec::new(),
            meetings: Vec::new(),
            vigil: None,
            seen_relays: 0,
            failed: Vec::new(),
            greeting: 0,
            open: 0,
            budget: rest::budget(),
            freed: Instant::now(),
            standstill: rest::STANDSTILL,
            heads: meet::HEADS,
            relay_limit: meet::RELAYS,
            strangers: 0,
            looked: Instant::now(),
            complained: false,
            rests: None,
            hot: NONE,
            misses: 0,
            turn: 0,
            dice: u64::from_le_bytes(std::array::from_fn(|i| crate::transport::os::nonce()[i])) | 1,
            losses: Vec::new(),
            wanted: Vec::new(),
        })
    }

    /// Writes where and how this rank is reached.
    pub fn describe(&self, address: &mut Address) {
        address.port = self.port;
        if self.ways.direct {
            address.ips = self.ips.clone();
        }
        address.public = self.ways.public;
        address.symmetric = self.ways.symmetric;
        address.punches = self.ways.punches();
        address.relays = self.ways.relays();
    }

    /// This descriptor ends waits too.
    pub fn watch(&self, fd: i32) -> io::Result<()> {
        self.epoll.add(fd, WAKE, true, false)
    }

    /// Is there, or will there be, any connection?
    pub fn used(&self) -> bool {
        !self.dialling.is_empty()
            || !self.meetings.is_empty()
            || self.links.iter().any(Option::is_some)
    }

    /// Each connection's peer, stage and how far it is given up, for a test that stands still.
    #[cfg(test)]
    pub(super) fn state(&self) -> String {
        let link = |(at, l): (usize, &Option<Box<Link>>)| {
            let l = l.as_deref()?;
            let rest = (l.rest_sent, l.rest_came, l.finished, l.tired);
            Some(format!(
                "{at}: {} {:?} {rest:?} out {}",
                l.peer,
                l.stage,
                l.output.bytes().len()
            ))
        };
        let all: Vec<String> = self.links.iter().enumerate().filter_map(link).collect();
        format!(
            "rank {} (budget {}, dials {:?}): {}",
            self.me,
            self.budget,
            self.dialling,
            all.join("; ")
        )
    }

    /// As if relays saw it so.
    #[cfg(test)]
    pub(super) fn symmetric(&mut self) {
        self.ways.symmetric = true;
    }

    /// All connections.
    #[cfg(test)]
    pub(super) fn open_now(&self) -> usize {
        self.open
    }

    /// The paths of the connections to a peer.
    #[cfg(test)]
    pub(super) fn paths(&self, peer: u32) -> Vec<crate::wire::hello::Path> {
        let ready = self.peers[peer as usize].ready.iter();
        ready
            .filter_map(|at| Some(self.links[*at as usize].as_deref()?.path))
            .collect()
    }

    /// Has all output left for the kernel?
    pub fn idle(&self) -> bool {
        self.pending.is_empty() && self.dialling.is_empty()
    }

    #[inline(never)]
    pub fn send(&mut self, peer: PeerId, header: &Header, fill: impl FnOnce(&mut [u8])) -> Sent {
        let total = HEADER + header.length as usize;
        assert!(total <= HEADER + MAX_PAYLOAD, "payload beyond the limit");
        let mut at = self.peers[peer.0 as usize].out;
        if at == NONE {
            if self.peers[peer.0 as usize].mend.is_some() {
                return self.keep(peer.0, header, fill);
            }
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
                Some(link) if link.broken.is_some() && link.lane.is_none() => return Sent::Lost,
                Some(link) if link.rests() => return Sent::Busy,
                Some(link) => link,
                None => return Sent::Lost,
            },
        };
        let Some(room) = link.room(total, &mut self.pool) else {
            return Sent::Busy;
        };
        write(room, header, fill);
        link.commit(total);
        link.brief |= header.kind == Kind::Clear;
        link.used = self.turn;
        if link.broken.is_some() {
            return Sent::Done;
        }
        if let Err(error) = link.flush(&mut self.pool) {
            link.broken = Some(error.to_string());
            self.failed.push(at);
        } else if !link.pending && !link.sent() {
            link.pending = true;
            self.pending.push(at);
        }
        Sent::Done
    }

    /// A peer without a connection to send on: takes one that is there, or dials. False when it is gone.
    #[cold]
    fn first(&mut self, peer: u32) -> bool {
        let p = &self.peers[peer as usize];
        if p.gone {
            return false;
        }
        if p.dial.is_none() {
            // One that is being given up must be read to its end first, before another is made.
            match self.best(peer).or(p.ready.first().copied()) {
                Some(at) => self.peers[peer as usize].out = at,
                None => self.dial(peer),
            }
        }
        true
    }

    /// The best connection to a peer that is not being given up.
    fn best(&self, peer: u32) -> Option<u32> {
        let ready = self.peers[peer as usize].ready.iter().copied();
        ready
            .filter_map(|at| Some((at, self.links[at as usize].as_deref()?)))
            .filter(|(_, l)| !l.rests() && l.broken.is_none())
            .min_by_key(|(_, l)| l.path)
            .map(|(at, _)| at)
    }
}

/// Writes a frame behind the others.
#[inline]
fn put(output: &mut Queue, pool: &mut Pool, header: &Header, fill: impl FnOnce(&mut [u8])) -> Sent {
    let total = HEADER + header.length as usize;
    let Some(room) = output.room(total, pool) else {
        return Sent::Busy;
    };
    write(room, header, fill);
    output.commit(total);
    Sent::Done
}

#[inline]
fn write(room: &mut [u8], header: &Header, fill: impl FnOnce(&mut [u8])) {
    room[..HEADER].copy_from_slice(&header.encode());
    fill(&mut room[HEADER..]);
}

/// What epoll calls a connection.
fn data(at: u32, id: u32) -> u64 {
    u64::from(at) | u64::from(id) << 32
}
