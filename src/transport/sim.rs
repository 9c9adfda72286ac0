//! A simulated network in one process: seeded delays, seeded refusals, peers that vanish. Time is a count of polls,
//! so that a run is repeatable: same seed and same calls, same deliveries.

use crate::base::id::PeerId;
use crate::transport::{Sent, Sink};
use crate::wire::frame::Header;
use std::collections::VecDeque;
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
    /// Whether a rank may fetch from the memory of another.
    pub fetch: bool,
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
            fetch: true,
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
            fetch: seed.is_multiple_of(2),
        }
    }
}

struct Flight {
    due: u64,
    header: Header,
    payload: Vec<u8>,
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

    fn queue(&mut self, to: u32, from: u32) -> &mut VecDeque<Flight> {
        let at = to as usize * self.settings.ranks as usize + from as usize;
        &mut self.queues[at]
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
        }));
        let endpoints = (0..settings.ranks)
            .map(|me| Endpoint {
                me,
                net: net.clone(),
                reported: vec![false; ranks],
                losses: Vec::new(),
                spare: Vec::new(),
                arrived: Vec::new(),
            })
            .collect();
        (Sim { net }, endpoints)
    }

    /// The peer vanishes: what it sent still arrives, then the others hear of the loss.
    pub fn kill(&self, peer: PeerId) {
        let mut net = lock(&self.net);
        net.dead[peer.0 as usize] = true;
        for from in 0..net.settings.ranks {
            net.queue(peer.0, from).clear();
        }
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
    arrived: Vec<(u32, Flight)>,
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

    pub fn can_fetch(&self) -> bool {
        lock(&self.net).settings.fetch
    }

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
        let (busy, delay, capacity) =
            (net.settings.busy, net.settings.delay, net.settings.capacity);
        if busy > 0 && net.random() % 1000 < u64::from(busy) {
            return Sent::Busy;
        }
        if net.queue(to.0, self.me).len() >= capacity {
            return Sent::Busy;
        }
        let mut payload = self.spare.pop().unwrap_or_default();
        payload.clear();
        payload.resize(header.length as usize, 0);
        fill(&mut payload);
        let due = net.tick + net.random() % (u64::from(delay) + 1);
        let header = *header;
        net.queue(to.0, self.me).push_back(Flight {
            due,
            header,
            payload,
        });
        Sent::Done
    }

    pub fn poll(&mut self, sink: &mut impl Sink) -> bool {
        {
            let mut net = lock(&self.net);
            net.tick += 1;
            let now = net.tick;
            let ranks = net.settings.ranks;
            let first = (net.random() % u64::from(ranks)) as u32;
            for step in 0..ranks {
                let from = (first + step) % ranks;
                let queue = net.queue(self.me, from);
                // In order: a frame that is due waits for those before it.
                while self.arrived.len() < BURST && queue.front().is_some_and(|f| f.due <= now) {
                    let flight = queue.pop_front().expect("there is a front");
                    self.arrived.push((from, flight));
                }
                if net.dead[from as usize]
                    && net.witness[from as usize].is_none_or(|w| w == self.me)
                    && !self.reported[from as usize]
                    && from != self.me
                    && net.queue(self.me, from).is_empty()
                {
                    self.reported[from as usize] = true;
                    self.losses
                        .push((PeerId(from), "the simulation ended it".to_string()));
                }
            }
        }
        let moved = !self.arrived.is_empty();
        for (from, flight) in self.arrived.drain(..) {
            sink.frame(PeerId(from), &flight.header, &flight.payload);
            self.spare.push(flight.payload);
        }
        moved
    }

    /// A sleep is a jump in time to the next delivery; other threads may run meanwhile.
    pub fn sleep(&mut self) {
        lock(&self.net).tick += 1;
        std::thread::yield_now();
    }
}
