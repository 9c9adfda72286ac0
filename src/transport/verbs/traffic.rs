//! All that goes on between this rank and the peers with whom it has a queue pair: one shared receive queue, one
//! completion queue for what comes and one for what went.

use crate::base::id::PeerId;
use crate::transport::verbs::buffers::{Receives, Sends};
use crate::transport::verbs::credit;
use crate::transport::verbs::frame::FRONT;
use crate::transport::verbs::lane::{Inward, RINGS};
use crate::transport::verbs::link::{Link, Stage};
use crate::transport::verbs::memory::{Cache, Terms as Bounds};
use crate::transport::verbs::onesided::Operations;
use crate::transport::verbs::peer::{Hall, Local, Terms, ATOMICS, READS, WRITES};
use crate::transport::verbs::queue::Hold;
use crate::transport::verbs::sys::{Access, Caps, Channel, Completion, Context, Cq, Pd, Qp, State};
use crate::transport::verbs::users::Domain;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of a receive buffer, and of a send buffer.
const BUFFER: usize = 16 << 10;
/// Requests under way per queue pair.
const DEPTH: u32 = 64;
/// Requests of a queue pair that frames leave to credit and to the end.
pub const SPARE: u32 = 2;
/// Send buffers of a rank at most.
const SENDS: usize = 1024;
/// Receive buffers that all peers together may have at first; a peer has from [`credit::LEAST`] to [`GRANT`].
const RECEIVES: usize = 1024;
const GRANT: usize = 32;
/// Receive buffers of a rank at most.
const MOST: usize = 16 << 10;
/// Bytes that are asked to go inline; fewer where the device refuses.
const INLINE: [u32; 4] = [400, 220, 128, 0];
/// Numbers of queue pairs have 24 bits.
const NONE: u32 = u32::MAX;
/// Completions taken at a time.
pub const BATCH: usize = 16;

/// What traffic is made on.
pub struct Ground {
    pub pd: Arc<Pd>,
    pub channel: Arc<Channel>,
    pub port: u8,
    /// The device's limits.
    pub requests: u32,
    pub shared_requests: u32,
    pub completions: u32,
    /// Registrations of all processes.
    pub regions: u32,
    /// Bytes that a read or a write moves at most.
    pub part: usize,
    /// Are there rings?
    pub rings: bool,
    /// Does registered memory stay right when the program forks?
    pub fork_safe: bool,
    /// Can peers read and write this rank's memory, and do atomics on it?
    pub reads: bool,
    pub writes: bool,
    pub atomics: bool,
}

impl Ground {
    /// What peers may do by their queue pairs, and with what is registered for them.
    fn access(&self) -> Access {
        let abilities = [
            (self.reads, Access::READ),
            (self.writes, Access::WRITE),
            (self.atomics, Access::ATOMIC),
        ];
        let granted = abilities.iter().filter(|(can, _)| *can);
        granted.fold(Access::LOCAL, |all, (_, one)| all.and(*one))
    }
}

/// See the file's head.
pub struct Traffic {
    pub me: u32,
    pub ground: Ground,
    depth: u32,
    grant: u32,
    // Queue pairs go before what they use.
    pub links: Vec<Option<Box<Link>>>,
    /// Peers whose links are over for good.
    pub gone: Vec<bool>,
    /// Queue pairs' numbers.
    pub pairs: HashMap<u32, u32>,
    /// The queue pair of which something came last, and its peer; no pair has the number [`NONE`].
    pub latest: (u32, u32),
    pub came: Arc<Cq>,
    pub went: Arc<Cq>,
    pub receives: Receives,
    pub sends: Sends,
    pub memory: Cache<Domain>,
    pub operations: Operations,
    /// What requests held that are over, on its way to be released.
    pub over: Vec<Hold>,
    /// Completions of sends that will come, and how many may.
    pub asked: u32,
    pub askable: u32,
    /// Room to poll into.
    pub room: Box<[Completion; BATCH]>,
    /// Polls, and looks at the queue of what comes since it last brought anything.
    pub turn: u32,
    pub lull: u32,
    /// Taken while the rank went to sleep.
    pub stash: Vec<Completion>,
    /// Peers for whom there is a ring here, and naps since anything came.
    pub ringing: Vec<u32>,
    pub naps: u32,
    /// Peers that are owed credit.
    pub due: Vec<u32>,
    /// Peers from whom something came before their connection was known to stand.
    pub heard: Vec<u32>,
    /// Peers whose links broke, and why.
    pub broken: Vec<(u32, String)>,
    /// Peers that wait for room in queues here.
    pub stuck: bool,
    pub losses: Vec<(PeerId, String)>,
}

impl Traffic {
    /// # Errors
    /// One line: what the device cannot do.
    pub fn new(me: u32, size: u32, ground: Ground) -> Result<Traffic, String> {
        let peers = size.saturating_sub(1).max(1) as usize;
        let most = MOST
            .min(ground.shared_requests as usize)
            .min(ground.completions as usize);
        let grant = (RECEIVES / peers).clamp(credit::LEAST as usize, GRANT);
        let depth = DEPTH.min(ground.requests);
        if most < credit::LEAST as usize * peers.min(8) || depth < 8 {
            return Err(format!(
                "the device holds {most} shared receives and {depth} requests a queue pair, which is too little for {size} ranks"
            ));
        }
        // Each queue pair may fail with all it has under way, and a completion must not get lost.
        let wanted = (peers * depth as usize).clamp(256, 64 << 10) as u32;
        let context: &Arc<Context> = ground.pd.context();
        let came = Cq::new(context, most as u32, Some(&ground.channel))?;
        let went = Cq::new(
            context,
            wanted.min(ground.completions),
            Some(&ground.channel),
        )?;
        let receives = Receives::new(&ground.pd, most, BUFFER)?;
        let sends = Sends::new(&ground.pd, SENDS, BUFFER);
        Ok(Traffic {
            me,
            depth,
            grant: grant as u32,
            links: (0..size).map(|_| None).collect(),
            gone: vec![false; size as usize],
            pairs: HashMap::new(),
            latest: (NONE, 0),
            askable: went.capacity() as u32 * 3 / 4,
            came,
            went,
            receives,
            sends,
            memory: Cache::new(
                Domain {
                    pd: ground.pd.clone(),
                    all: ground.access(),
                },
                Bounds::here(ground.fork_safe, ground.regions),
            ),
            operations: Operations::new(ground.part),
            over: Vec::new(),
            asked: 0,
            room: Box::new([Completion::EMPTY; BATCH]),
            turn: 0,
            lull: 0,
            stash: Vec::new(),
            ringing: Vec::new(),
            naps: 0,
            due: Vec::new(),
            heard: Vec::new(),
            broken: Vec::new(),
            stuck: false,
            losses: Vec::new(),
            ground,
        })
    }

    /// The largest payload of a frame, bytes.
    pub fn max_payload() -> usize {
        BUFFER - FRONT
    }

    fn pair(&self) -> Result<Qp, String> {
        let mut refused = None;
        for inline in INLINE {
            let caps = Caps {
                sends: self.depth,
                pieces: 1,
                inline,
                receives: 0,
            };
            let queue = self.receives.queue();
            match Qp::reliable(&self.ground.pd, &self.went, &self.came, queue, caps) {
                Ok(qp) => {
                    qp.init(self.ground.port, self.ground.access())?;
                    return Ok(qp);
                }
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.map_or(String::new(), String::from))
    }

    fn make(&mut self, peer: u32) -> Result<Local, String> {
        self.sends.ensure()?;
        self.receives.promise(self.grant as usize)?;
        let qp = match self.pair() {
            Ok(qp) => qp,
            Err(why) => {
                self.receives.release(self.grant as usize);
                return Err(why);
            }
        };
        let mut random = [0; 4];
        let _ = crate::base::os::random(&mut random);
        let can = |able: bool, what: u32| if able { what } else { 0 };
        let wanted = self.ground.rings && self.ringing.len() < RINGS;
        // Without a ring it is sent messages.
        let inward = wanted
            .then(|| Inward::new(&self.ground.pd))
            .and_then(Result::ok);
        let mut local = Local {
            qpn: qp.number(),
            psn: u32::from_le_bytes(random) & 0xff_ffff,
            terms: Terms {
                credits: self.grant,
                buffer: BUFFER as u32,
                abilities: can(self.ground.reads, READS)
                    | can(self.ground.writes, WRITES)
                    | can(self.ground.atomics, ATOMICS),
                ..Terms::default()
            },
        };
        if let Some(inward) = &inward {
            inward.offer(&mut local.terms);
            self.ringing.push(peer);
        }
        self.pairs.insert(local.qpn, peer);
        let mut link = Box::new(Link::new(qp, local, self.depth));
        link.inward = inward;
        self.links[peer as usize] = Some(link);
        Ok(local)
    }

    /// Lets go of a peer's queue pair and of all that it held. Nothing of it reaches memory of this rank after that.
    pub fn remove(&mut self, peer: u32) {
        let Some(link) = self.links[peer as usize].take() else {
            return;
        };
        let Link {
            qp,
            local,
            mut queue,
            ..
        } = *link;
        drop(qp);
        self.end_operations(peer);
        self.ringing.retain(|p| *p != peer);
        self.pairs.remove(&local.qpn);
        if self.latest.0 == local.qpn {
            self.latest.0 = NONE;
        }
        self.receives.release(local.terms.credits as usize);
        self.asked -= queue.asked();
        queue.abandon(|hold| self.release(hold));
    }
}

impl Hall for Traffic {
    fn prepare(&mut self, peer: u32) -> Result<Local, String> {
        match &self.links[peer as usize] {
            Some(link) => Ok(link.local),
            None => self.make(peer),
        }
    }

    fn fresh(&mut self, peer: u32) -> Result<&Qp, String> {
        let access = self.ground.access();
        let Some(link) = &self.links[peer as usize] else {
            return Err("there is no queue pair".to_string());
        };
        if link.qp.state()? != State::Init {
            link.qp.reset()?;
            link.qp.init(self.ground.port, access)?;
        }
        Ok(&link.qp)
    }

    fn connected(&mut self, peer: u32, theirs: &Terms) {
        if let Some(link) = &mut self.links[peer as usize] {
            if link.stage == Stage::Prepared {
                link.stage = Stage::Connected;
                link.theirs = *theirs;
                link.credit.hear(theirs.credits);
                self.open_lane(peer);
            }
        }
    }

    fn failed(&mut self, peer: u32, why: String) {
        crate::debug!("rank {} has no verbs to rank {peer}: {why}", self.me);
        self.remove(peer);
    }
}
