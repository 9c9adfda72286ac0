//! Shared memory: each rank owns a segment with a ring for each sender. A sender maps the receiver's segment and writes
//! records; no system call is made unless somebody sleeps.

pub mod board;
mod cores;
pub mod fence;
pub mod fetch;
mod lines;
mod ring;
mod segment;
mod share;
pub mod wake;

use crate::base::config::Config;
use crate::base::id::PeerId;
use crate::transport::{os, Options, Sent, Sink};
use crate::wire::address::{Address, Segment as At};
use crate::wire::frame::{Header, Kind};
use crate::{debug, info};
use ring::{Consumer, Found, Producer};
use segment::{Layout, Map, Owner, Segment};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use wake::{Name, Waker};

/// Records taken from one ring in one poll.
const BURST: usize = 16;
/// From here on a message is copied once, if it can be, bytes.
const SINGLE_COPY: usize = 12 << 10;
/// How often a sleeper looks whether its peers still live.
const WATCH: Duration = Duration::from_millis(100);
/// The longest sleep. Tests sleep for good, so that a missed waking cannot hide.
const NAP: Duration = if cfg!(test) {
    Duration::from_secs(3600)
} else {
    WATCH
};
/// How long a rank sleeps that somebody cannot wake.
const BLIND: Duration = Duration::from_millis(1);
/// Processes looked at in one watch.
const WATCHED: usize = 32;

/// A peer whose segment is mapped.
struct Peer {
    producer: Producer,
    map: Map,
    name: Name,
    pid: u32,
    /// When its process started; 0: it cannot be seen, so its end is not noticed here.
    start: u64,
    probe: u64,
    /// Whether its memory can be fetched, once tried.
    fetch: Option<bool>,
    /// The largest payload that had better go by the ring; 0: not known yet.
    eager: usize,
    /// Messages in turn that it was invited to copy in vain.
    in_vain: u32,
    /// It knows that this rank sends.
    active: bool,
    /// Its ring was full at the last send.
    busy: bool,
    /// It said goodbye: its end is no loss.
    goodbye: bool,
    /// Its process ended, or it is not to be trusted: looked at no more.
    gone: bool,
}

impl Peer {
    /// Is the process there that was there at first?
    fn lives(&self) -> bool {
        matches!(os::process(self.pid), Some((start, true)) if start == self.start)
    }
}

/// A sender that has sent.
struct Inbound {
    from: u32,
    ring: Consumer,
}

/// All links of a rank by shared memory.
pub struct Shm {
    me: u32,
    job: [u8; 16],
    segment: Segment,
    peers: Vec<Option<Box<Peer>>>,
    inbound: Vec<Inbound>,
    activations: u32,
    waker: Option<Waker>,
    cma: bool,
    /// This process passes the barriers of others, and makes them.
    fences: bool,
    /// Messages from here on both ranks copy, bytes.
    large: usize,
    /// The peer to whose ring something was written last, while pauses are of use to it.
    fresh: Option<u32>,
    /// Peers whose ring was full.
    busy: Vec<u32>,
    boards: board::Own,
    /// Processes that ended; reported when their rings are empty.
    dying: Vec<u32>,
    watched: Instant,
    /// Somebody was woken up who perhaps waits for this rank's processor now.
    woke: bool,
    /// When this rank left a processor to another one.
    moved: Option<Instant>,
    next_watched: usize,
    pub(super) losses: Vec<(PeerId, String)>,
}

impl Shm {
    /// Makes this rank's segment. `socket`: it may have to sleep among sockets.
    ///
    /// # Errors
    /// One line that says what was tried and why it failed.
    pub fn open(options: &Options, nonce: [u8; 16], socket: bool) -> Result<Shm, String> {
        let owner = Owner {
            rank: options.me.0,
            nonce,
            job: options.job,
        };
        let segment = make(options.config, options.size, owner)?;
        let waker = if socket {
            let waker = Waker::new(Some(&Name::of(&nonce)))
                .map_err(|e| format!("no socket to be woken by: {e}"))?;
            segment.map.head().socket.0.store(1, Ordering::Release);
            Some(waker)
        } else {
            None
        };
        if options.config.cma {
            fetch::allow();
        }
        let fences = options.fences;
        segment
            .map
            .head()
            .fences
            .0
            .store(u32::from(fences), Ordering::Release);
        Ok(Shm {
            me: options.me.0,
            job: options.job,
            segment,
            peers: (0..options.size).map(|_| None).collect(),
            inbound: Vec::new(),
            activations: 0,
            waker,
            cma: options.config.cma,
            fences,
            large: share::large(),
            fresh: None,
            busy: Vec::new(),
            boards: board::Own::default(),
            dying: Vec::new(),
            watched: Instant::now(),
            woke: false,
            moved: None,
            next_watched: 0,
            losses: Vec::new(),
        })
    }

    /// How others open the segment.
    pub fn at(&self) -> At {
        self.segment.at()
    }

    /// Where the nonce lies in this process.
    pub fn probe(&self) -> u64 {
        std::ptr::from_ref(&self.segment.map.head().nonce) as u64
    }

    /// What epoll watches for this transport.
    pub fn wake_fd(&self) -> Option<i32> {
        self.waker.as_ref().map(Waker::fd)
    }

    /// Maps a peer's segment and proves that it is its own; the error says why it cannot be.
    pub fn attach(&mut self, address: &Address) -> Result<(), String> {
        let at = address.rank as usize;
        if self.peers[at].is_some() {
            return Ok(());
        }
        let owner = Owner {
            rank: address.rank,
            nonce: address.nonce,
            job: self.job,
        };
        let map = segment::attach(
            &address.segment,
            address.pid,
            self.peers.len() as u32,
            owner,
        )?;
        let name = Name::of(&address.nonce);
        let head = map.head();
        if head.socket.0.load(Ordering::Acquire) == 1 {
            if self.waker.is_none() {
                self.waker = Waker::new(None).ok();
            }
            if !self.waker.as_ref().is_some_and(|w| w.poke(&name)) {
                head.unwakeable.0.store(1, Ordering::SeqCst);
                debug!(
                    "rank {} cannot be woken by a socket from here",
                    address.rank
                );
            }
        }
        self.segment
            .map
            .mute(address.rank)
            .store(0, Ordering::Relaxed);
        let seen = os::process(address.pid);
        // SAFETY: ring and control of this rank in the peer's segment are there for this rank alone, and stay mapped
        // as long as `map`, which lives beside the producer.
        let producer =
            unsafe { Producer::new(map.ring(self.me), map.control(self.me), map.layout.ring) };
        let light = self.fences && head.fences.0.load(Ordering::Acquire) == 1;
        self.peers[at] = Some(Box::new(Peer {
            producer: producer.without_fence(light),
            name,
            pid: address.pid,
            start: match seen {
                Some((start, true)) if start == address.start => start,
                _ => 0,
            },
            probe: address.probe,
            fetch: None,
            eager: 0,
            in_vain: 0,
            active: false,
            busy: false,
            goodbye: false,
            gone: false,
            map,
        }));
        Ok(())
    }

    /// Is the peer's segment mapped?
    #[inline]
    pub fn has(&self, peer: PeerId) -> bool {
        self.peers[peer.0 as usize].is_some()
    }

    pub fn max_payload(&self, peer: PeerId) -> usize {
        self.peers[peer.0 as usize]
            .as_ref()
            .map_or(0, |p| ring::max_payload(p.map.layout.ring))
    }

    /// The largest payload that had better go by the ring: beyond it one copy straight from process to process is quicker
    /// than two, where there can be one.
    #[inline]
    pub fn max_eager(&mut self, peer: PeerId) -> usize {
        match &self.peers[peer.0 as usize] {
            Some(p) if p.eager != 0 => p.eager,
            _ => self.find_eager(peer),
        }
    }

    #[cold]
    fn find_eager(&mut self, peer: PeerId) -> usize {
        let most = self.max_payload(peer);
        let eager = match self.can_fetch(peer) {
            true => most.min(SINGLE_COPY),
            false => most,
        };
        if let Some(p) = &mut self.peers[peer.0 as usize] {
            p.eager = eager;
        }
        eager
    }

    /// Can this rank read the peer's memory?
    pub fn can_fetch(&mut self, peer: PeerId) -> bool {
        let (cma, me) = (self.cma, self.me);
        let Some(p) = &mut self.peers[peer.0 as usize] else {
            return false;
        };
        if let Some(known) = p.fetch {
            return known;
        }
        let found = if cma {
            fetch::probe(p.pid, p.probe, &p.map.head().nonce)
        } else {
            Err("MAYFLY_CMA=0".to_string())
        };
        if let Err(why) = &found {
            info!(
                "rank {me} does not read the memory of rank {}: {why}",
                peer.0
            );
        }
        p.fetch = Some(found.is_ok());
        found.is_ok()
    }

    pub fn fetch(
        &mut self,
        peer: PeerId,
        remote: u64,
        into: *mut u8,
        length: usize,
    ) -> crate::base::error::Result<()> {
        match &self.peers[peer.0 as usize] {
            Some(p) => fetch::fetch(peer.0, p.pid, remote, into, length),
            None => crate::fail!(Other, "rank {} has no link to rank {}", self.me, peer.0),
        }
    }

    /// Writes to the peer's memory; asks as [`Shm::can_fetch`] does.
    pub fn store(
        &mut self,
        peer: PeerId,
        from: *const u8,
        remote: u64,
        length: usize,
    ) -> crate::base::error::Result<()> {
        match &self.peers[peer.0 as usize] {
            Some(p) => fetch::store(peer.0, p.pid, from, remote, length),
            None => crate::fail!(Other, "rank {} has no link to rank {}", self.me, peer.0),
        }
    }

    #[inline]
    pub fn send(&mut self, peer: PeerId, header: &Header, fill: impl FnOnce(&mut [u8])) -> Sent {
        let Some(p) = &mut self.peers[peer.0 as usize] else {
            return Sent::Lost;
        };
        if !p.producer.send(header, fill) {
            // Who waits for room has no pause.
            self.fresh = None;
            if !p.busy {
                p.busy = true;
                self.busy.push(peer.0);
            }
            return Sent::Busy;
        }
        if header.length as usize > ring::BESIDE {
            self.fresh = Some(peer.0);
        }
        if !p.active {
            p.active = true;
            p.map.active(self.me).store(1, Ordering::Release);
            // Release: the flag is seen by whoever sees the count.
            p.map.head().activations.0.fetch_add(1, Ordering::SeqCst);
        }
        // In one order with the record's word: see Producer::send.
        if p.map.head().sleeping.0.load(Ordering::SeqCst) != 0 {
            wake::wake(p.map.head(), &p.name, &mut self.waker);
            self.woke = true;
        }
        Sent::Done
    }

    #[inline]
    pub fn poll(&mut self, sink: &mut impl Sink) -> bool {
        let count = &self.segment.map.head().activations.0;
        if count.load(Ordering::Relaxed) != self.activations {
            self.activate();
        }
        let mut moved = false;
        let mut at = 0;
        // The list may shrink meanwhile.
        while at < self.inbound.len() {
            if self.inbound[at].ring.ready() {
                moved = true;
                self.drain(at, sink);
            }
            at += 1;
        }
        if let Some(to) = self.fresh.filter(|_| !moved) {
            let p = &mut self.peers[to as usize];
            if p.as_mut().is_none_or(|p| p.producer.pause()) {
                self.fresh = None;
            }
        }
        if !self.dying.is_empty() {
            self.bury();
        }
        moved
    }

    #[inline]
    fn drain(&mut self, at: usize, sink: &mut impl Sink) {
        let inbound = &mut self.inbound[at];
        let from = inbound.from;
        let mut goodbye = false;
        let found = inbound.ring.drain(BURST, |header, payload| {
            goodbye |= header.kind == Kind::Goodbye;
            sink.frame(PeerId(from), header, payload);
        });
        if goodbye {
            if let Some(p) = &mut self.peers[from as usize] {
                p.goodbye = true;
            }
        }
        match found {
            Found::Fine => (),
            Found::Wake => {
                // A sender that cannot be reached was told, and takes short naps.
                if let Some(p) = &self.peers[from as usize] {
                    wake::wake(p.map.head(), &p.name, &mut self.waker);
                }
            }
            Found::Nonsense => {
                self.inbound.remove(at);
                // Its flag stays at "taken up", so nothing is read from it again.
                self.losses.push((
                    PeerId(from),
                    "its ring in shared memory holds nonsense".to_string(),
                ));
                if let Some(p) = &mut self.peers[from as usize] {
                    p.gone = true;
                }
            }
        }
    }

    /// Somebody sends for the first time.
    #[cold]
    fn activate(&mut self) {
        let map = &self.segment.map;
        // Acquire pairs with the sender's increment: its flag is seen.
        self.activations = map.head().activations.0.load(Ordering::Acquire);
        for from in 0..map.layout.ranks {
            let flag = map.active(from);
            // 2: taken up.
            if flag.load(Ordering::Acquire) == 1 {
                flag.store(2, Ordering::Relaxed);
                let mute = u32::from(self.peers[from as usize].is_none());
                map.mute(from).store(mute, Ordering::Relaxed);
                // SAFETY: the ring and control of that sender in the own segment, which lives as long as self; this is
                // its only consumer, for the flag is 1 only once.
                let ring =
                    unsafe { Consumer::new(map.ring(from), map.control(from), map.layout.ring) };
                self.inbound.push(Inbound { from, ring });
            }
        }
    }

    /// Can everything that will ever arrive come through the segment?
    pub fn complete(&self) -> bool {
        self.segment.map.head().attached.0.load(Ordering::Relaxed) as usize + 1 == self.peers.len()
    }

    /// The end of this rank is no loss from now on.
    pub fn close(&self) {
        let head = self.segment.map.head();
        head.closed.0.store(1, Ordering::SeqCst);
    }

    /// So many peers are on this machine.
    pub fn expect(&mut self, local: u32) {
        self.segment.expect(local);
    }

    /// Announces sleep and looks once more; false: there is something to do. Must be followed by [`Shm::awake`].
    pub fn doze(&mut self, how: u32) -> bool {
        let head = self.segment.map.head();
        // From here on senders wake. All in one order with their publishing: either they see the announcement, or the
        // looks below see what they published.
        head.core.0.store(0, Ordering::Relaxed);
        head.awaits.0.store(self.awaited_rank(), Ordering::SeqCst);
        head.sleeping.0.store(how, Ordering::SeqCst);
        self.want();
        if self.fences {
            fence::everywhere();
        }
        let mut quiet = head.activations.0.load(Ordering::SeqCst) == self.activations
            && self.dying.is_empty()
            && self.losses.is_empty();
        quiet &= !self.inbound.iter().any(|i| i.ring.ready_in_order());
        quiet &= !self.is_awaited_there();
        for &peer in &self.busy {
            if let Some(p) = &mut self.peers[peer as usize] {
                quiet &= p.producer.want();
            }
        }
        quiet
    }

    /// Ends the announcement.
    pub fn awake(&mut self) {
        let head = self.segment.map.head();
        head.sleeping.0.store(0, Ordering::Relaxed);
        for peer in std::mem::take(&mut self.busy) {
            if let Some(p) = &mut self.peers[peer as usize] {
                p.producer.unwant();
                p.busy = false;
            }
        }
    }

    /// Forgets the wakings that came by socket.
    pub fn drain_wake(&self) {
        if let Some(waker) = &self.waker {
            waker.drain();
        }
    }

    /// The longest that a sleep of this kind may take.
    pub fn nap(&self, how: u32, limit: Duration) -> Duration {
        let unheard = |peer: &u32| {
            let peer = self.peers[*peer as usize].as_ref();
            peer.is_some_and(|p| p.producer.unheard())
        };
        let unwakeable = self.segment.map.head().unwakeable.0.load(Ordering::Relaxed) != 0;
        let blind = (how == wake::SOCKET && unwakeable) || self.busy.iter().any(unheard);
        limit.min(if blind { BLIND } else { NAP })
    }

    /// Sleeps on the segment's word alone.
    pub fn sleep(&mut self, limit: Duration) {
        let limit = self.nap(wake::FUTEX, limit);
        if self.doze(wake::FUTEX) {
            let word: &AtomicU32 = &self.segment.map.head().sleeping.0;
            wake::wait(word, limit);
        }
        self.awake();
        self.watch();
    }

    /// Is this peer's process known to have ended?
    #[cold]
    fn has_ended(&self, peer: u32) -> bool {
        let peer = self.peers[peer as usize].as_ref();
        peer.is_some_and(|p| p.start != 0 && !p.lives())
    }

    /// Looks, now and then, whether the processes of some peers still live.
    pub fn watch(&mut self) {
        let now = Instant::now();
        if now - self.watched < WATCH {
            return;
        }
        self.watched = now;
        let ranks = self.peers.len();
        let mut looked = 0;
        for _ in 0..ranks {
            let rank = self.next_watched % ranks;
            self.next_watched = rank + 1;
            let Some(p) = &mut self.peers[rank] else {
                continue;
            };
            if p.gone || p.goodbye || p.start == 0 {
                continue;
            }
            if !p.lives() {
                p.gone = true;
                self.dying.push(rank as u32);
            }
            looked += 1;
            if looked == WATCHED {
                break;
            }
        }
    }

    /// Reports those who ended, when all they had sent has been read.
    #[cold]
    fn bury(&mut self) {
        for rank in std::mem::take(&mut self.dying) {
            let unread = self
                .inbound
                .iter()
                .any(|i| i.from == rank && i.ring.ready());
            if unread {
                self.dying.push(rank);
            } else if let Some(p) = self.peers[rank as usize].as_ref().filter(|p| {
                // Ranks that never spoke say no goodbye.
                !p.goodbye && p.map.head().closed.0.load(Ordering::SeqCst) == 0
            }) {
                self.losses
                    .push((PeerId(rank), format!("its process {} ended", p.pid)));
            }
        }
    }
}

/// The first kind of segment that works.
fn make(config: &Config, ranks: u32, owner: Owner) -> Result<Segment, String> {
    let mut tried = Vec::new();
    if matches!(config.shm.as_str(), "" | "memfd") && config.shm_dir.is_none() {
        match Segment::anonymous(Layout::of(ranks, config.boards), owner) {
            Ok(segment) if segment.reachable() => return Ok(segment),
            Ok(_) => tried.push("memfd: /proc does not show it to others".to_string()),
            Err(error) => tried.push(format!("memfd: {error}")),
        }
    }
    if config.shm != "memfd" {
        for folder in segment::folders(config.shm_dir.as_deref()) {
            let layout = segment::fitting(&folder, ranks, config.boards);
            match Segment::file(&folder, layout, owner) {
                Ok(segment) => return Ok(segment),
                Err(error) => tried.push(format!(
                    "{folder} ({} KiB for {ranks} ranks): {error}",
                    layout.total() >> 10
                )),
            }
        }
    }
    Err(tried.join("; "))
}
