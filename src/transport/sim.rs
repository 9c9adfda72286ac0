//! A simulated network in one process: seeded delays, seeded refusals, peers that vanish. Time is a count of polls,
//! so that a run is repeatable: same seed and same calls, same deliveries.

mod onesided;
mod share;

use crate::base::id::PeerId;
use crate::transport::{Sent, Sink, Way};
use crate::wire::frame::Header;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a simulated network is like.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub ranks: u32,
    pub seed: u64,
    /// A frame takes from 0 to this many ticks; a poll or a sleep of anybody is a tick.
    pub delay: u32,
    /// Of 1000 sends so many answer Busy for no reason.
    pub busy: u32,
    /// Frames under way per ordered pair before a send answers Busy.
    pub capacity: usize,
    /// Largest payload of a frame, bytes.
    pub max_payload: usize,
    /// How large messages go; `None`: by pair.
    pub way: Option<Way>,
    /// Of 1000 one-sided calls and exposures so many are refused for good.
    pub refuse: u32,
}

impl Settings {
    /// A network without delay or refusals.
    pub fn calm(ranks: u32) -> Settings {
        Settings {
            ranks,
            seed: 1,
            delay: 0,
            busy: 0,
            capacity: 64,
            max_payload: 8192,
            way: Some(Way::Fetch),
            refuse: 0,
        }
    }

    /// A network at its worst, by seed.
    pub fn rough(ranks: u32, seed: u64) -> Settings {
        Settings {
            ranks,
            seed,
            delay: 20,
            busy: 150,
            capacity: 5,
            max_payload: 1024,
            way: None,
            refuse: 100,
        }
    }
}

struct Flight {
    due: u64,
    what: What,
}

enum What {
    Frame(Header, Vec<u8>),
    Put(onesided::Put),
}

struct Net {
    settings: Settings,
    random: u64,
    tick: u64,
    /// By receiver, then sender.
    queues: Vec<VecDeque<Flight>>,
    dead: Vec<bool>,
    /// Of each dead, the only one who sees that it is; `None`: everybody.
    witness: Vec<Option<u32>>,
    /// By receiver, then sender: nothing passes any more.
    parted: Vec<bool>,
    /// By key.
    exposed: HashMap<u32, onesided::Exposure>,
    /// By receiver and sender.
    shared: HashMap<(u32, u32), share::Shared>,
    /// Of keys and puts.
    serial: u64,
    /// Puts that arrived and were not finished yet.
    landed: Vec<u64>,
}

impl Net {
    /// splitmix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn at(&self, to: u32, from: u32) -> usize {
        to as usize * self.settings.ranks as usize + from as usize
    }

    fn queue(&mut self, to: u32, from: u32) -> &mut VecDeque<Flight> {
        let at = self.at(to, from);
        &mut self.queues[at]
    }

    /// True so many times of 1000.
    fn chance(&mut self, of_1000: u32) -> bool {
        of_1000 > 0 && self.random() % 1000 < u64::from(of_1000)
    }

    /// When what leaves now arrives.
    fn later(&mut self) -> u64 {
        let delay = u64::from(self.settings.delay);
        self.tick + self.random() % (delay + 1)
    }
}

/// The hand on the network: a test kills peers with it.
#[derive(Clone)]
pub struct Sim {
    net: Arc<Mutex<Net>>,
}

impl Sim {
    /// A network and the endpoint of each of its ranks.
    pub fn new(settings: Settings) -> (Sim, Vec<Endpoint>) {
        let ranks = settings.ranks as usize;
        let net = Arc::new(Mutex::new(Net {
            settings,
            random: settings.seed,
            tick: 0,
            queues: (0..ranks * ranks).map(|_| VecDeque::new()).collect(),
            dead: vec![false; ranks],
            witness: vec![None; ranks],
            parted: vec![false; ranks * ranks],
            exposed: HashMap::new(),
            shared: HashMap::new(),
            serial: 0,
            landed: Vec::new(),
        }));
        let endpoints = (0..settings.ranks)
            .map(|me| Endpoint {
                me,
                net: net.clone(),
                reported: vec![false; ranks],
                losses: Vec::new(),
                spare: Vec::new(),
                arrived: Vec::new(),
                calls: Vec::new(),
            })
            .collect();
        (Sim { net }, endpoints)
    }

    /// The peer vanishes: what it sent still arrives, up to the first put, then the others hear of the loss.
    pub fn kill(&self, peer: PeerId) {
        let mut net = lock(&self.net);
        net.dead[peer.0 as usize] = true;
        for from in 0..net.settings.ranks {
            net.queue(peer.0, from).clear();
        }
        net.withdraw(peer.0);
    }

    /// The same, but only one peer sees it by itself, as where links are made on first use.
    pub fn kill_before(&self, peer: PeerId, witness: PeerId) {
        lock(&self.net).witness[peer.0 as usize] = Some(witness.0);
        self.kill(peer);
    }

    /// Ticks so far.
    pub fn tick(&self) -> u64 {
        lock(&self.net).tick
    }
}

fn lock(net: &Arc<Mutex<Net>>) -> MutexGuard<'_, Net> {
    net.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One rank's side of the simulated network.
pub struct Endpoint {
    me: u32,
    net: Arc<Mutex<Net>>,
    reported: Vec<bool>,
    pub(super) losses: Vec<(PeerId, String)>,
    spare: Vec<Vec<u8>>,
    arrived: Vec<(u32, Header, Vec<u8>)>,
    /// One-sided calls under way.
    calls: Vec<onesided::Call>,
}

/// Frames delivered in one poll.
const BURST: usize = 8;

impl Endpoint {
    pub fn me(&self) -> PeerId {
        PeerId(self.me)
    }

    pub fn size(&self) -> u32 {
        lock(&self.net).settings.ranks
    }

    pub fn max_payload(&self) -> usize {
        lock(&self.net).settings.max_payload
    }

    #[inline(never)]
    pub fn send(&mut self, to: PeerId, header: &Header, fill: impl FnOnce(&mut [u8])) -> Sent {
        let mut net = lock(&self.net);
        if net.dead[to.0 as usize] || net.dead[self.me as usize] {
            let unseen = net.witness[to.0 as usize].is_some_and(|w| w != self.me);
            if !unseen {
                return Sent::Lost;
            }
            // Who speaks to the dead learns of it.
            net.witness[to.0 as usize] = None;
            return Sent::Done;
        }
        if net.parted[net.at(to.0, self.me)] {
            return Sent::Lost;
        }
        let (busy, capacity) = (net.settings.busy, net.settings.capacity);
        if net.chance(busy) {
            return Sent::Busy;
        }
        if net.queue(to.0, self.me).len() >= capacity {
            return Sent::Busy;
        }
        let mut payload = self.spare.pop().unwrap_or_default();
        payload.clear();
        payload.resize(header.length as usize, 0);
        fill(&mut payload);
        let due = net.later();
        let header = *header;
        net.queue(to.0, self.me).push_back(Flight {
            due,
            what: What::Frame(header, payload),
        });
        Sent::Done
    }

    #[inline(never)]
    pub fn poll(&mut self, sink: &mut impl Sink) -> bool {
        {
            let mut net = lock(&self.net);
            net.tick += 1;
            let now = net.tick;
            let ranks = net.settings.ranks;
            let first = (net.random() % u64::from(ranks)) as u32;
            for step in 0..ranks {
                let from = (first + step) % ranks;
                // In order: a frame that is due waits for those before it.
                while self.arrived.len() < BURST {
                    let queue = net.queue(self.me, from);
                    match queue.pop_front() {
                        Some(flight) if flight.due > now => {
                            queue.push_front(flight);
                            break;
                        }
                        Some(flight) => match flight.what {
                            What::Frame(header, payload) => {
                                self.arrived.push((from, header, payload));
                            }
                            What::Put(put) => net.land(from, self.me, &put),
                        },
                        None => break,
                    }
                }
                let dead = net.dead[from as usize]
                    && net.witness[from as usize].is_none_or(|w| w == self.me);
                let parted = net.parted[net.at(self.me, from)];
                if (dead || parted)
                    && !self.reported[from as usize]
                    && from != self.me
                    && net.queue(self.me, from).is_empty()
                {
                    self.reported[from as usize] = true;
                    let why = if dead {
                        "the simulation ended it"
                    } else {
                        "the connection ended"
                    };
                    self.losses.push((PeerId(from), why.to_string()));
                }
            }
        }
        let moved = !self.arrived.is_empty();
        for (from, header, payload) in self.arrived.drain(..) {
            sink.frame(PeerId(from), &header, &payload);
            self.spare.push(payload);
        }
        moved | self.end_calls(sink)
    }

    /// A sleep is a jump in time to the next delivery; other threads may run meanwhile.
    pub fn sleep(&mut self) {
        lock(&self.net).tick += 1;
        std::thread::yield_now();
    }
}
