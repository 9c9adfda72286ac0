//! All links of a rank behind one face. The transport of a pair is chosen here, once, and each direction for itself:
//! whoever sends chooses, whoever receives listens on everything it opened. Order per pair follows, because all that a
//! rank sends to a peer goes one way.

mod boards;
mod open;
mod poll;
mod sleep;

use crate::base::config::Config;
use crate::base::error::Result;
use crate::base::id::PeerId;
use crate::fail;
use crate::transport::own::{self, Own};
use crate::transport::shm::Shm;
use crate::transport::tcp::{self, Tcp};
use crate::transport::verbs::Verbs;
use crate::transport::{choice, sim, Known, Outside, Sent, Sink, Way};
use crate::wire::address::Address;
use crate::wire::frame::Header;
use poll::Turns;
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
    /// This process has registered for the barriers of others ([`crate::transport::shm::fence`]).
    pub fences: bool,
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
    /// Are ranks more than processors, by what rank 0 said? `None`: not asked yet.
    pub(super) crowded: Option<bool>,
    /// Other ranks on this machine, in whatever container; none as long as not everybody is known.
    pub neighbours: u32,
    /// Why transports are lacking here.
    pub(super) without: choice::Without,
    /// Whose turn it is.
    turns: Turns,
    /// Losses found outside of a poll.
    pub(super) losses: Vec<(PeerId, String)>,
}

impl Links {
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
            crowded: None,
            neighbours: 0,
            without: choice::Without::default(),
            turns: Turns::new(),
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
            Route::Tcp => tcp::MAX_PIECE,
            Route::Verbs => self.verbs.as_ref().map_or(0, |v| v.max_payload()),
            Route::Sim => self.sim.as_ref().map_or(0, sim::Endpoint::max_payload),
            Route::Own | Route::Unknown | Route::Lost => own::MAX_PAYLOAD,
        }
    }

    /// The largest payload that had better travel with its header.
    #[inline]
    pub fn max_eager(&mut self, peer: PeerId) -> usize {
        match (self.routes[peer.0 as usize], &mut self.shm) {
            (Route::Shm, Some(shm)) => shm.max_eager(peer),
            (Route::Tcp, _) => match self.is_crowded() {
                true => tcp::CROWDED_EAGER,
                false => tcp::MAX_EAGER,
            },
            _ => self.max_payload(peer),
        }
    }

    /// Are ranks more than processors, by what rank 0 said?
    pub(super) fn is_crowded(&mut self) -> bool {
        if self.crowded.is_none() {
            // Rank 0 may not be known yet.
            let first = self.known.address(PeerId(0));
            self.crowded = first.ok().map(|first| first.crowded);
        }
        self.crowded == Some(true)
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
                self.turns.tcp_speaks();
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

    /// As [`Links::send`], of a payload that lies in one piece: where that pays, it is not copied before it leaves.
    #[inline]
    pub fn send_run(&mut self, peer: PeerId, header: &Header, run: &[u8]) -> Sent {
        match (self.routes[peer.0 as usize], &mut self.tcp) {
            (Route::Tcp, Some(tcp)) => {
                self.turns.tcp_speaks();
                tcp.send_run(peer, header, run)
            }
            _ => self.send(peer, header, |slot| slot.copy_from_slice(run)),
        }
    }

    /// How long the last poll took, in looks at memory: whoever counts empty polls before it yields the processor to the
    /// others counts this, or it would spin for milliseconds on sockets.
    #[inline]
    pub fn effort(&self) -> u32 {
        self.turns.effort
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

    /// Has also everything arrived, as far as links can tell that lose what is under way when they break?
    pub fn settled(&self) -> bool {
        self.idle() && self.tcp.as_ref().is_none_or(Tcp::settled)
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
