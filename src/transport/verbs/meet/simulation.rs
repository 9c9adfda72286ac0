//! Meetings over a simulated network that loses, doubles, delays, reorders, and lets somebody forge and repeat what was
//! said; by seed.

use super::*;
use crate::wire::address::Segment;
use crate::wire::verbs_address::Fabric;
use std::collections::{BTreeSet, VecDeque};

const TOKEN: [u8; 32] = [4; 32];
const JOB: [u8; 16] = [3; 16];

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn permille(&mut self, chance: u64) -> bool {
        self.roll(1000) < chance
    }
}

/// A reliable queue pair of the simulated device.
#[derive(Clone, Copy)]
struct Pair {
    ours: Ours,
    /// What it receives from: number and first packet.
    target: Option<(u32, u32)>,
}

#[derive(Clone, Copy)]
struct Net {
    loss: u64,
    double: u64,
    /// A datagram takes up to so many milliseconds.
    delay: u64,
    /// Of 1000 attempts to make or connect a queue pair so many fail.
    faults: u64,
    /// No datagram passes between ranks whose numbers differ in this bit.
    wall: u32,
}

struct World {
    dice: Dice,
    now: Instant,
    net: Net,
    /// Due, to, what.
    flying: Vec<(Instant, u32, [u8; HELLO])>,
    /// All that was ever said.
    tape: Vec<(u32, [u8; HELLO])>,
    next_number: u32,
    pairs: HashMap<(u32, u32), Pair>,
    connected: BTreeSet<(u32, u32)>,
    refused: Vec<(u32, u32, String)>,
    unheard: Vec<(u32, u32)>,
}

impl World {
    /// Is there a queue pair at `to` that receives from this one?
    fn receives(&self, from: u32, to: u32) -> bool {
        let (Some(one), Some(other)) = (self.pairs.get(&(from, to)), self.pairs.get(&(to, from)))
        else {
            return false;
        };
        let end = |p: &Pair| Some((p.ours.queue_pair, p.ours.first_packet));
        one.target == end(other) && other.target == end(one)
    }
}

/// The world as one rank reaches it.
struct Side<'a> {
    me: u32,
    world: &'a mut World,
}

impl Ends for Side<'_> {
    fn prepare(&mut self, peer: u32) -> Result<Ours, String> {
        let world = &mut *self.world;
        if let Some(pair) = world.pairs.get(&(self.me, peer)) {
            return Ok(pair.ours);
        }
        if world.dice.permille(world.net.faults) {
            return Err("no memory".to_string());
        }
        world.next_number += 1;
        let ours = Ours {
            queue_pair: world.next_number,
            first_packet: world.dice.roll(1 << 24) as u32,
            terms: [self.me as u8; TERMS],
        };
        let target = None;
        world.pairs.insert((self.me, peer), Pair { ours, target });
        Ok(ours)
    }

    fn connect(&mut self, peer: u32, at: &VerbsAddress, theirs: &Offer) -> Result<(), String> {
        assert_eq!(at.queue_pair, peer);
        let world = &mut *self.world;
        assert!(
            !world.connected.contains(&(self.me, peer)),
            "a connected queue pair is left alone"
        );
        if world.dice.permille(world.net.faults) {
            return Err("unreachable".to_string());
        }
        assert_eq!(theirs.terms, [peer as u8; TERMS]);
        let pair = world.pairs.get_mut(&(self.me, peer)).expect("prepared");
        pair.target = Some((theirs.queue_pair, theirs.first_packet));
        Ok(())
    }

    fn connected(&mut self, peer: u32, theirs: &Offer) {
        assert_eq!(theirs.terms, [peer as u8; TERMS]);
        assert!(self.world.connected.insert((self.me, peer)), "said once");
        assert!(
            self.world.receives(self.me, peer),
            "{} may send, but {peer} does not receive",
            self.me
        );
    }

    fn failed(&mut self, peer: u32, why: String) {
        let world = &mut *self.world;
        assert!(!world.connected.contains(&(self.me, peer)));
        assert!(
            !world.connected.contains(&(peer, self.me)),
            "{} gives up what {peer} may send to: {why}",
            self.me
        );
        world.pairs.remove(&(self.me, peer));
        world.refused.push((self.me, peer, why));
    }

    fn unheard(&mut self, peer: u32, _: String) {
        assert!(!self.world.connected.contains(&(self.me, peer)));
        self.world.unheard.push((self.me, peer));
    }

    fn post(&mut self, peer: u32, to: &VerbsAddress, hello: &[u8; HELLO]) -> Result<(), String> {
        assert_eq!(to.queue_pair, peer);
        let world = &mut *self.world;
        world.tape.push((peer, *hello));
        let copies = 1 + u64::from(world.dice.permille(world.net.double));
        for _ in 0..copies {
            let wall = (self.me ^ peer) & world.net.wall != 0;
            if wall || world.dice.permille(world.net.loss) {
                continue;
            }
            let due =
                world.now + Duration::from_micros(world.dice.roll(world.net.delay * 1000 + 1));
            world.flying.push((due, peer, *hello));
        }
        Ok(())
    }
}

struct Sim {
    world: World,
    ranks: Vec<Meet>,
    /// Until then a rank does not look.
    computes: Vec<Instant>,
    inbox: Vec<VecDeque<[u8; HELLO]>>,
}

fn address(rank: u32) -> Address {
    Address {
        rank,
        // Two ranks a machine.
        boot: [1 + rank as u8 / 2; 16],
        pid_namespace: 0,
        net_namespace: 0,
        pid: 1,
        start: 0,
        nonce: [0; 16],
        probe: 0,
        segment: Segment::None,
        port: 0,
        ips: Vec::new(),
        public: None,
        symmetric: false,
        punches: false,
        relays: false,
        near: false,
        crowded: false,
        limits: Vec::new(),
        key: None,
        verbs: Some(VerbsAddress {
            fabric: Fabric::RoceV2,
            mtu: 3,
            modes: 0,
            lid: 0,
            gid: [rank as u8; 16],
            queue_pair: rank,
            queue_key: 1,
        }),
    }
}

impl Sim {
    fn new(seed: u64, ranks: u32, net: Net, spare: bool) -> Sim {
        let now = Instant::now();
        let meet = |me| {
            let mut meet = Meet::new(Settings {
                me,
                job: JOB,
                token: TOKEN,
                keys: None,
                mtu: 3,
                reads: 4,
                patience: Duration::from_secs(30),
                spare,
            });
            for peer in (0..ranks).filter(|p| *p != me) {
                meet.introduce(peer, &address(peer));
            }
            meet
        };
        Sim {
            ranks: (0..ranks).map(meet).collect(),
            computes: vec![now; ranks as usize],
            inbox: vec![VecDeque::new(); ranks as usize],
            world: World {
                dice: Dice(seed),
                now,
                net,
                flying: Vec::new(),
                tape: Vec::new(),
                next_number: 100,
                pairs: HashMap::new(),
                connected: BTreeSet::new(),
                refused: Vec::new(),
                unheard: Vec::new(),
            },
        }
    }

    fn want(&mut self, me: u32, peer: u32) {
        let now = self.world.now;
        let world = &mut self.world;
        self.ranks[me as usize].want(peer, now, &mut Side { me, world });
    }

    /// A millisecond: what is due arrives, who looks takes it.
    fn step(&mut self) {
        self.world.now += ms(1);
        let now = self.world.now;
        let (due, later): (Vec<_>, Vec<_>) = self.world.flying.drain(..).partition(|f| f.0 <= now);
        self.world.flying = later;
        let mut due = due;
        due.sort_by_key(|f| f.0);
        for (_, to, bytes) in due {
            self.inbox[to as usize].push_back(bytes);
        }
        for me in 0..self.ranks.len() as u32 {
            let at = me as usize;
            if self.computes[at] > now {
                continue;
            }
            let world = &mut self.world;
            while let Some(bytes) = self.inbox[at].pop_front() {
                self.ranks[at].came(&bytes, &mut Side { me, world });
            }
            if self.ranks[at].next_tick().is_some_and(|t| t <= now) {
                self.ranks[at].tick(now, &mut Side { me, world });
            }
        }
    }

    /// Somebody sends again what was said before, or changes it.
    fn meddle(&mut self) {
        let world = &mut self.world;
        if world.tape.is_empty() {
            return;
        }
        let (to, mut bytes) = world.tape[world.dice.roll(world.tape.len() as u64) as usize];
        if world.dice.permille(500) {
            bytes[world.dice.roll(HELLO as u64) as usize] ^= 1 << world.dice.roll(8);
        }
        self.inbox[to as usize].push_back(bytes);
    }

    fn both(&self, a: u32, b: u32) -> bool {
        let connected = &self.world.connected;
        connected.contains(&(a, b)) && connected.contains(&(b, a))
    }
}

const CALM: Net = Net {
    loss: 0,
    double: 0,
    delay: 0,
    faults: 0,
    wall: 0,
};

#[test]
fn three_datagrams_connect_both() {
    let mut sim = Sim::new(1, 2, CALM, false);
    sim.want(0, 1);
    for _ in 0..3 {
        sim.step();
    }
    assert!(sim.both(0, 1));
    assert_eq!(sim.world.tape.len(), 3);
    for _ in 0..500 {
        sim.step();
    }
    assert_eq!(sim.world.tape.len(), 3, "nothing is said behind that");
    assert_eq!(sim.ranks[0].next_tick(), None);
}

#[test]
fn both_may_call_at_once() {
    let mut sim = Sim::new(1, 2, CALM, false);
    sim.want(0, 1);
    sim.want(1, 0);
    for _ in 0..5 {
        sim.step();
    }
    assert!(sim.both(0, 1));
    assert!(sim.world.tape.len() <= 6);
}

#[test]
fn all_connect_over_a_bad_network_whoever_meddles() {
    for seed in 0..24 {
        let net = Net {
            loss: 50 * (seed % 12),
            double: 300,
            delay: 1 + 7 * (seed % 9),
            ..CALM
        };
        let mut sim = Sim::new(seed, 6, net, false);
        for step in 0..6000 {
            if step < 300 && sim.world.dice.permille(300) {
                let (a, b) = (sim.world.dice.roll(6) as u32, sim.world.dice.roll(6) as u32);
                if a != b {
                    sim.want(a, b);
                }
            }
            if step % 97 == 0 {
                let who = sim.world.dice.roll(6) as usize;
                sim.computes[who] = sim.world.now + ms(sim.world.dice.roll(80));
            }
            if sim.world.dice.permille(200) {
                sim.meddle();
            }
            sim.step();
        }
        // Whoever asked is answered in the end.
        assert!(sim.world.refused.is_empty() && sim.world.unheard.is_empty());
        for rank in &sim.ranks {
            assert!(rank.asked.is_empty(), "seed {seed}");
        }
        let connected = sim.world.connected.len();
        assert!(connected >= 20, "seed {seed}: {connected}");
        assert!(sim.ranks.iter().any(|r| r.strange.forged > 0));
        assert!(sim.ranks.iter().any(|r| r.strange.foreign > 0));
    }
}

/// Queue pairs cannot be made now and then, ranks are silent for longer than the others' patience: what is given up is
/// made again, and nobody is ever told that it may send where nobody receives (the world asserts it).
#[test]
fn what_is_given_up_and_made_again_never_leaves_one_side_alone() {
    let (mut connected, mut refused, mut unheard) = (0, 0, 0);
    for seed in 0..70 {
        let net = Net {
            loss: 100 + 40 * (seed % 16),
            double: 200,
            delay: 1 + 40 * (seed % 7),
            faults: 60 * (seed % 4),
            wall: 0,
        };
        let mut sim = Sim::new(seed, 4, net, true);
        for rank in &mut sim.ranks {
            rank.settings.patience = ms(400);
        }
        for step in 0..4000 {
            if step % 10 == 0 {
                let (a, b) = (sim.world.dice.roll(4) as u32, sim.world.dice.roll(4) as u32);
                if a != b {
                    sim.want(a, b);
                }
            }
            if step % 201 == 0 {
                let who = sim.world.dice.roll(4) as usize;
                sim.computes[who] = sim.world.now + ms(sim.world.dice.roll(1500));
            }
            if sim.world.dice.permille(100) {
                sim.meddle();
            }
            sim.step();
        }
        for (a, b) in sim.world.connected.clone() {
            assert!(sim.world.receives(a, b), "seed {seed}");
        }
        connected += sim.world.connected.len();
        refused += sim.world.refused.len();
        unheard += sim.world.unheard.len();
    }
    assert!(connected > 200, "{connected}");
    assert!(refused > 20 && unheard > 2, "{refused} {unheard}");
}

#[test]
fn a_machine_that_nobody_can_reach_costs_its_time_once() {
    let net = Net { wall: 2, ..CALM };
    let mut sim = Sim::new(1, 8, net, true);
    let begun = sim.world.now;
    sim.want(0, 2);
    while sim.world.refused.is_empty() {
        sim.step();
    }
    let took = sim.world.now - begun;
    assert!(took >= PATIENCE && took < PATIENCE + ms(200), "{took:?}");
    assert!(sim.world.refused[0]
        .2
        .contains("did not answer within 2.0 s"));
    // Its neighbour is on the same machine, another machine is not.
    sim.want(0, 3);
    assert_eq!(sim.world.refused.len(), 2);
    sim.want(0, 4);
    sim.step();
    sim.step();
    assert!(sim.world.connected.contains(&(0, 4)));
    // Somebody of the silent machine speaks: it is reachable.
    sim.world.net.wall = 0;
    sim.want(2, 0);
    for _ in 0..5 {
        sim.step();
    }
    assert!(
        sim.both(0, 2),
        "given up, but it may still be met by the other"
    );
}

#[test]
fn where_there_is_no_other_way_and_where_a_machine_was_heard_patience_is_long() {
    let mut alone = Sim::new(1, 4, Net { wall: 2, ..CALM }, false);
    alone.want(0, 2);
    let mut heard = Sim::new(1, 4, CALM, true);
    heard.want(0, 2);
    heard.step();
    heard.step();
    heard.world.net.wall = 1;
    heard.want(0, 3);
    for mut sim in [alone, heard] {
        for _ in 0..29_000 {
            sim.step();
        }
        assert!(sim.world.refused.is_empty());
        for _ in 0..2_000 {
            sim.step();
        }
        assert_eq!(sim.world.refused.len(), 1);
    }
}

#[test]
fn a_refusal_ends_it_at_once() {
    let mut sim = Sim::new(5, 2, CALM, true);
    sim.want(0, 1);
    sim.world.net.faults = 1000;
    sim.step();
    sim.step();
    let said: Vec<&str> = sim.world.refused.iter().map(|r| r.2.as_str()).collect();
    assert_eq!(said, ["no memory", "it has no queue pair to spare"]);
    assert!(sim.world.pairs.is_empty());
    assert_eq!(sim.ranks[0].next_tick(), None);
}

#[test]
fn the_lost_are_not_heard_and_strangers_are_wanted() {
    let mut sim = Sim::new(5, 3, CALM, true);
    sim.ranks[1].forget(0);
    sim.ranks[2].guests.clear();
    sim.want(0, 1);
    sim.want(0, 2);
    sim.step();
    assert!(!sim.world.pairs.contains_key(&(1, 0)));
    assert_eq!(sim.ranks[2].wanted, [0]);
    sim.ranks[2].introduce(0, &address(0));
    for _ in 0..8 {
        sim.step();
    }
    assert!(sim.both(0, 2));
}

#[test]
fn pairs_with_keys_meet_and_whoever_has_only_the_token_does_not() {
    let keys: Vec<Arc<Keys>> = (0..3)
        .map(|_| Arc::new(Keys::new().expect("keys")))
        .collect();
    // Rank 1 with another's keys.
    for (used, meets) in [(1, true), (2, false)] {
        let mut sim = Sim::new(1, 2, CALM, true);
        for (me, peer, own) in [(0, 1, 0), (1, 0, used)] {
            let meet = &mut sim.ranks[me];
            meet.settings.keys = Some(Arc::clone(&keys[own]));
            let guest = meet.guests.get_mut(&(peer as u32)).expect("a guest");
            guest.public = Some(keys[peer].public);
        }
        sim.want(0, 1);
        for _ in 0..200 {
            sim.step();
        }
        assert_eq!(sim.both(0, 1), meets);
        assert_eq!(sim.ranks[1].strange.forged > 0, !meets);
    }
}
