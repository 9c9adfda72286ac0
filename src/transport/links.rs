//! All links of a rank behind one face. The transport of a pair is chosen here, once, and each direction for itself:
//! whoever sends chooses, whoever receives listens on everything it opened. Order per pair follows, because all that a
//! rank sends to a peer goes one way.

use crate::base::config::Config;
use crate::base::error::Result;
use crate::base::id::PeerId;
use crate::transport::own::{self, Own};
use crate::transport::shm::{wake, Shm};
use crate::transport::tcp::{self, Keys, Tcp};
use crate::transport::verbs::Verbs;
use crate::transport::{choice, os, sim, Known, Outside, Sent, Sink, Way};
use crate::wire::address::{Address, Segment};
use crate::wire::frame::Header;
use crate::{fail, info};
use std::sync::Arc;
use std::time::Duration;

/// Who opens links, and with what settings.
pub struct Options<'a> {
    pub me: PeerId,
    /// Ranks of the job.
    pub size: u32,
    /// The job; ranks of different jobs never link.
    pub job: [u8; 16],
    /// The job's secret; peers prove that they know it.
    pub token: [u8; 32],
    pub config: &'a Config,
    /// How to reach peers outside of this network.
    pub outside: Outside,
}

/// How frames to a peer go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// Not chosen yet.
    Unknown,
    Own,
    Shm,
    Tcp,
    Verbs,
    Sim,
    Lost,
}

/// Polls of shared memory for one of TCP while TCP is quiet: a system call costs more than many looks at memory.
const QUIET: u32 = 64;
/// Polls after which TCP counts as quiet again.
const LOUD: u32 = 512;
/// Looks at memory that a poll with system calls is worth.
const CALLS: u32 = 4;
/// How long `close` may flush.
const FLUSH: Duration = Duration::from_secs(2);

/// All links of one rank.
pub struct Links {
    pub(super) me: PeerId,
    pub(super) routes: Vec<Route>,
    /// Peers whose end is no loss any more.
    forgotten: Vec<bool>,
    pub(super) own: Own,
    pub(super) shm: Option<Shm>,
    pub(super) tcp: Option<Tcp>,
    pub(super) verbs: Option<Box<Verbs>>,
    pub(super) sim: Option<sim::Endpoint>,
    /// Those who came by TCP while their addresses were not known.
    pub(super) early: Vec<PeerId>,
    /// The addresses of those who were introduced.
    pub(super) known: Known,
    /// This rank's.
    pub(super) mine: Option<Address>,
    /// Why there is no shared memory or no TCP here.
    pub(super) without: choice::Without,
    /// Polls until TCP's turn, and until it counts as quiet.
    wait_tcp: u32,
    loud_tcp: u32,
    /// What the last poll was worth.
    effort: u32,
    /// Losses found outside of a poll.
    pub(super) losses: Vec<(PeerId, String)>,
}

impl Links {
    /// Opens what others connect to: the segment and the listener, as far as `MAYFLY_TRANSPORT` allows. What cannot be
    /// opened is said at level info.
    ///
    /// # Errors
    /// `Arg` when `MAYFLY_TRANSPORT` names an unknown transport, `Other` when none of the allowed ones can be opened.
    pub fn open(mut options: Options) -> Result<Links> {
        let mut links = Links::with(options.me, options.size);
        let allowed = choice::Allowed::of(options.config)?;
        let me = options.me.0;
        let nonce = os::nonce();
        let keys = (options.size > 1).then(Keys::new).flatten().map(Arc::new);
        let public = keys.as_ref().map(|keys| keys.public);
        if options.size > 1 {
            match allowed.tcp.then(|| Tcp::open(&mut options, keys.clone())) {
                Some(Ok(tcp)) => links.tcp = Some(tcp),
                Some(Err(why)) => {
                    info!("rank {me} has no TCP: {why}");
                    links.without.tcp = why;
                }
                None => links.without.tcp = "MAYFLY_TRANSPORT forbids it".to_string(),
            }
            let spare = links.tcp.is_some();
            match allowed.verbs.then(|| Verbs::open(&options, keys, spare)) {
                Some(Ok(Some(verbs))) => links.verbs = Some(Box::new(verbs)),
                // Said only to who asks for it: most machines have none.
                Some(Ok(None)) => links.without.verbs = "there is no RDMA device".to_string(),
                Some(Err(why)) => {
                    info!("rank {me} has no verbs: {why}");
                    links.without.verbs = why;
                }
                None => links.without.verbs = "MAYFLY_TRANSPORT forbids it".to_string(),
            }
            let sockets = links.tcp.is_some() || links.verbs.is_some();
            match allowed.shm.then(|| Shm::open(&options, nonce, sockets)) {
                Some(Ok(shm)) => links.shm = Some(shm),
                Some(Err(why)) => {
                    info!("rank {me} has no shared memory: {why}");
                    links.without.shm = why;
                }
                None => links.without.shm = "MAYFLY_TRANSPORT forbids it".to_string(),
            }
            if let (Some(tcp), Some(shm)) = (&links.tcp, &links.shm) {
                if let Some(Err(error)) = shm.wake_fd().map(|fd| tcp.watch(fd)) {
                    fail!(Other, "rank {me} cannot watch its wake socket: {error}");
                }
            }
            if let Some(verbs) = &links.verbs {
                let others = match (&links.tcp, &links.shm) {
                    (Some(tcp), _) => Some(tcp.events_fd()),
                    (None, Some(shm)) => shm.wake_fd(),
                    (None, None) => None,
                };
                if let Some(Err(error)) = others.map(|fd| verbs.watch(fd)) {
                    fail!(Other, "rank {me} cannot watch its other links: {error}");
                }
            }
            if links.tcp.is_none() && links.shm.is_none() && links.verbs.is_none() {
                fail!(
                    Other,
                    "rank {me} can reach nobody: no shared memory ({}), no verbs ({}), no TCP ({})",
                    links.without.shm,
                    links.without.verbs,
                    links.without.tcp
                );
            }
        }
        let pid = std::process::id();
        let mut mine = Address {
            rank: me,
            boot: crate::base::os::boot(),
            pid_namespace: crate::base::os::namespace("pid"),
            net_namespace: crate::base::os::namespace("net"),
            pid,
            start: os::process(pid).map_or(0, |(start, _)| start),
            nonce,
            probe: links.shm.as_ref().map_or(0, Shm::probe),
            segment: links.shm.as_ref().map_or(Segment::None, Shm::at),
            port: 0,
            ips: Vec::new(),
            public: None,
            symmetric: false,
            punches: false,
            relays: false,
            key: public,
            verbs: None,
        };
        if let Some(tcp) = &links.tcp {
            tcp.describe(&mut mine);
        }
        if let Some(verbs) = &links.verbs {
            verbs.describe(&mut mine);
        }
        links.mine = Some(mine);
        Ok(links)
    }

    /// The endpoints of a simulated network.
    pub fn simulated(settings: sim::Settings) -> (sim::Sim, Vec<Links>) {
        let (sim, endpoints) = sim::Sim::new(settings);
        let links = endpoints
            .into_iter()
            .map(|endpoint| {
                let mut links = Links::with(endpoint.me(), endpoint.size());
                for route in links.routes.iter_mut().filter(|r| **r == Route::Unknown) {
                    *route = Route::Sim;
                }
                links.sim = Some(endpoint);
                links
            })
            .collect();
        (sim, links)
    }

    fn with(me: PeerId, size: u32) -> Links {
        let mut routes = vec![Route::Unknown; size as usize];
        routes[me.0 as usize] = Route::Own;
        Links {
            me,
            routes,
            forgotten: vec![false; size as usize],
            own: Own::new(me),
            shm: None,
            tcp: None,
            verbs: None,
            sim: None,
            early: Vec::new(),
            known: Known::none_of(size),
            mine: None,
            without: choice::Without::default(),
            wait_tcp: 1,
            loud_tcp: 0,
            effort: 1,
            losses: Vec::new(),
        }
    }

    /// What others need to link with this rank; opaque.
    pub fn address(&self) -> Vec<u8> {
        self.mine.as_ref().map_or(Vec::new(), Address::encode)
    }

    /// The name of the transport that frames to `peer` take: `self`, `shm`, `verbs`, `tcp`, `sim`; `none` when it is lost.
    pub fn transport_of(&mut self, peer: PeerId) -> &'static str {
        match self.route(peer) {
            Route::Own => "self",
            Route::Shm => "shm",
            Route::Tcp => "tcp",
            Route::Verbs => "verbs",
            Route::Sim => "sim",
            Route::Unknown | Route::Lost => "none",
        }
    }

    /// The largest payload of one frame to `peer`, bytes.
    pub fn max_payload(&mut self, peer: PeerId) -> usize {
        match self.route(peer) {
            Route::Shm => self.shm.as_ref().map_or(0, |s| s.max_payload(peer)),
            Route::Tcp => tcp::MAX_PAYLOAD,
            Route::Verbs => self.verbs.as_ref().map_or(0, |v| v.max_payload()),
            Route::Sim => self.sim.as_ref().map_or(0, sim::Endpoint::max_payload),
            Route::Own | Route::Unknown | Route::Lost => own::MAX_PAYLOAD,
        }
    }

    /// Can this rank read `peer`'s memory? Tried once, for real.
    pub fn can_fetch(&mut self, peer: PeerId) -> bool {
        match self.route(peer) {
            Route::Own => true,
            Route::Shm => self.shm.as_mut().is_some_and(|s| s.can_fetch(peer)),
            Route::Sim => self.sim.as_ref().is_some_and(|s| s.way(peer) == Way::Fetch),
            Route::Tcp | Route::Verbs | Route::Unknown | Route::Lost => false,
        }
    }

    /// Reads `length` bytes at `remote` in `peer`'s memory to `into`.
    ///
    /// Not an `unsafe fn`, because the engine, which may write none, calls it with the addresses that an MPI program
    /// gave: the program vouches for them (MPI-5.0 §3.2.2), here as in every copy of its buffers.
    ///
    /// # Errors
    /// `Other` when the kernel refuses; the text names peer and address.
    #[allow(clippy::not_unsafe_ptr_arg_deref)]
    pub fn fetch(&mut self, peer: PeerId, remote: u64, into: *mut u8, length: usize) -> Result<()> {
        match (self.route(peer), &mut self.shm) {
            (Route::Own | Route::Sim, _) => {
                // SAFETY: both are buffers of this process that the program gave for exactly this transfer; overlapping
                // ones, which MPI forbids, still give no undefined behaviour with `copy`.
                unsafe { std::ptr::copy(remote as *const u8, into, length) };
                Ok(())
            }
            (Route::Shm, Some(shm)) => shm.fetch(peer, remote, into, length),
            _ => fail!(
                Other,
                "rank {} cannot read the memory of rank {}",
                self.me.0,
                peer.0
            ),
        }
    }

    /// Sends a frame: `fill` writes all `header.length` bytes of payload, once, where they leave from. It is not
    /// called unless the answer is `Done`.
    #[inline]
    pub fn send(&mut self, peer: PeerId, header: &Header, fill: impl FnOnce(&mut [u8])) -> Sent {
        let route = match self.routes[peer.0 as usize] {
            Route::Unknown => self.choose(peer),
            known => known,
        };
        match (route, &mut self.shm, &mut self.tcp, &mut self.sim) {
            (Route::Shm, Some(shm), _, _) => shm.send(peer, header, fill),
            (Route::Tcp, _, Some(tcp), _) => {
                self.loud_tcp = LOUD;
                tcp.send(peer, header, fill)
            }
            (Route::Verbs, ..) => match &mut self.verbs {
                Some(verbs) => verbs.send(peer, header, fill),
                None => Sent::Lost,
            },
            (Route::Own, _, _, _) => self.own.send(header, fill),
            (Route::Sim, _, _, Some(sim)) => sim.send(peer, header, fill),
            // Not introduced yet.
            (Route::Unknown, ..) => Sent::Busy,
            _ => Sent::Lost,
        }
    }

    /// Hands what arrived to `sink`: a bounded part of it. True when anything arrived or moved.
    #[inline]
    pub fn poll(&mut self, sink: &mut impl Sink) -> bool {
        let mut moved = false;
        self.effort = 1;
        if !self.own.is_empty() {
            moved |= self.own.poll(sink);
        }
        if let Some(shm) = &mut self.shm {
            moved |= shm.poll(sink);
            if !shm.losses.is_empty() {
                self.losses.append(&mut shm.losses);
            }
        }
        // Looks at memory and at completion queues are no system calls, so TCP's turn comes less often beside them.
        self.wait_tcp = match self.shm.is_some() || self.verbs.is_some() {
            true => self.wait_tcp.saturating_sub(1),
            false => 0,
        };
        if let Some(verbs) = &mut self.verbs {
            moved |= verbs.poll(sink);
            self.effort = verbs.effort();
            let news =
                !(verbs.losses.is_empty() && verbs.wanted.is_empty() && verbs.refused.is_empty());
            if news || verbs.is_over().is_some() {
                moved = true;
                self.hear_of_verbs();
            }
        }
        if self.loud_tcp > 0 || self.wait_tcp == 0 {
            moved |= self.poll_tcp(sink);
        }
        if let Some(sim) = &mut self.sim {
            moved |= sim.poll(sink);
            self.losses.append(&mut sim.losses);
        }
        if !self.losses.is_empty() {
            self.report(sink);
            moved = true;
        }
        moved
    }

    /// How long the last poll took, in looks at memory: whoever counts empty polls before it yields the processor to the
    /// others counts this, or it would spin for milliseconds on sockets.
    #[inline]
    pub fn effort(&self) -> u32 {
        self.effort
    }

    fn poll_tcp(&mut self, sink: &mut impl Sink) -> bool {
        let Some(tcp) = &mut self.tcp else {
            self.loud_tcp = 0;
            self.wait_tcp = u32::MAX;
            return false;
        };
        self.effort = self.effort.max(CALLS);
        let moved = tcp.poll(sink);
        self.losses.append(&mut tcp.losses);
        let wanted = !tcp.wanted.is_empty();
        self.loud_tcp = if moved || !tcp.idle() {
            LOUD
        } else {
            self.loud_tcp.saturating_sub(1)
        };
        self.wait_tcp = QUIET;
        if wanted {
            self.present();
        }
        moved
    }

    /// Says each loss once, and none of peers that may go.
    #[cold]
    fn report(&mut self, sink: &mut impl Sink) {
        self.own.finish(sink);
        for (peer, why) in std::mem::take(&mut self.losses) {
            let at = peer.0 as usize;
            if self.routes[at] != Route::Lost {
                self.routes[at] = Route::Lost;
                if !self.forgotten[at] {
                    sink.lost(peer, &why);
                }
            }
        }
    }

    /// Has every byte that `send` took left for the kernel or the peer's ring?
    pub fn idle(&self) -> bool {
        self.tcp.as_ref().is_none_or(Tcp::idle) && self.verbs.as_ref().is_none_or(|v| v.idle())
    }

    /// Blocks until something may have arrived, a peer that was Busy may have room, or `limit` has passed. It may
    /// return early.
    pub fn sleep(&mut self, limit: Duration) {
        if !self.own.is_empty() || !self.losses.is_empty() {
            return;
        }
        if let Some(sim) = &mut self.sim {
            sim.sleep();
            return;
        }
        if self.verbs.is_some() {
            return self.sleep_by_verbs(limit);
        }
        match (&mut self.shm, &mut self.tcp) {
            (Some(shm), None) => shm.sleep(limit),
            // Everybody who may send has mapped the segment, so nobody will come by TCP.
            (Some(shm), Some(tcp)) if shm.complete() && !tcp.used() => shm.sleep(limit),
            (Some(shm), Some(tcp)) => {
                let limit = shm.nap(wake::SOCKET, limit);
                if shm.doze(wake::SOCKET) {
                    tcp.wait(limit);
                }
                shm.awake();
                shm.drain_wake();
                shm.watch();
                self.wait_tcp = 1;
            }
            (None, Some(tcp)) => tcp.wait(limit),
            (None, None) => std::thread::sleep(limit),
        }
    }

    /// Sleeps until any of the links has something, of which verbs watch the others.
    fn sleep_by_verbs(&mut self, limit: Duration) {
        let Links {
            shm, tcp, verbs, ..
        } = self;
        let Some(verbs) = verbs else { return };
        match shm {
            // Everybody who may send has mapped the segment.
            Some(shm)
                if shm.complete() && !verbs.used() && !tcp.as_ref().is_some_and(Tcp::used) =>
            {
                return shm.sleep(limit);
            }
            _ => (),
        }
        let mut limit = verbs.nap(limit);
        let mut quiet = match tcp {
            Some(tcp) => tcp.lie_down(&mut limit),
            None => true,
        };
        if let Some(shm) = shm {
            limit = shm.nap(wake::SOCKET, limit);
            quiet &= shm.doze(wake::SOCKET);
        }
        if quiet && verbs.arm() {
            verbs.wait(limit);
        }
        verbs.rise();
        if let Some(shm) = shm {
            shm.awake();
            shm.drain_wake();
            shm.watch();
        }
        if let Some(tcp) = tcp {
            tcp.get_up();
        }
        self.wait_tcp = 1;
    }

    /// The peer said goodbye, or its end does not matter: it is no loss.
    pub fn forget(&mut self, peer: PeerId) {
        self.forgotten[peer.0 as usize] = true;
    }

    /// Flushes for a short while and closes everything; no loss is reported any more.
    pub fn close(&mut self) {
        if let Some(verbs) = &mut self.verbs {
            verbs.close(FLUSH);
        }
        if let Some(tcp) = &mut self.tcp {
            tcp.close(FLUSH);
        }
        if let Some(shm) = &self.shm {
            shm.close();
        }
        self.shm = None;
        self.tcp = None;
        self.verbs = None;
        self.sim = None;
        for route in &mut self.routes {
            *route = Route::Lost;
        }
    }

    #[inline]
    pub(super) fn route(&mut self, peer: PeerId) -> Route {
        match self.routes[peer.0 as usize] {
            Route::Unknown => self.choose(peer),
            known => known,
        }
    }
}
