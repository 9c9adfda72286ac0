//! Everybody does anything in any order.

use super::*;
use crate::rendezvous::message::{ToHost, ToOwner};

/// Members that do anything in any order: whatever happens, the promises hold.
#[test]
fn promises_hold_under_random_behaviour() {
    let mut happened = (0, 0);
    for seed in 1..=300_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let size = 1 + random(5) as u32;
        let mut registry = registry(size, random(3) * 400, random(2) * 300);
        let mut open: BTreeSet<Connection> = BTreeSet::new();
        let mut rank_of: BTreeMap<Connection, u32> = BTreeMap::new();
        let mut left: BTreeSet<u32> = BTreeSet::new();
        let (mut ends, mut tables, mut now) = (0, 0, 0);
        for _ in 0..200 {
            now += random(40);
            let mut out = Vec::new();
            let pick = |n: u64| open.iter().nth(n as usize % open.len().max(1)).copied();
            match (random(9), pick(random(1 << 20))) {
                (0 | 1, _) | (_, None) => {
                    let (rank, epoch) = (random(u64::from(size) + 1) as u32, random(2) as u32);
                    if let Ok(c) = self::open(&mut registry, now, rank, epoch) {
                        open.insert(c);
                        registry.receive(now, c, join(rank, size, epoch), &mut out);
                        rank_of.insert(c, rank);
                    }
                }
                (2..=5, Some(c)) => registry.receive(now, c, fence(&[rank_of[&c] as u8]), &mut out),
                (6, Some(c)) if random(4) == 0 => {
                    left.insert(rank_of[&c]);
                    registry.receive(now, c, ToService::Finished, &mut out)
                }
                (7, Some(c)) if random(8) == 0 => {
                    open.remove(&c);
                    left.insert(rank_of[&c]);
                    registry.closed(now, c, "it broke", &mut out);
                }
                (8, Some(c)) if random(20) == 0 => {
                    let text = String::new();
                    registry.receive(now, c, ToService::Abort { code: 3, text }, &mut out);
                }
                (_, Some(c)) => registry.receive(now, c, ToService::Renew, &mut out),
            }
            registry.tick(now, &mut out);
            for effect in out {
                match effect {
                    Effect::Send(to, frame) => {
                        let unique: BTreeSet<_> = to.iter().collect();
                        assert_eq!(unique.len(), to.len(), "seed {seed}: told twice");
                        if let Outgoing::Member(ToMember::Table { blobs, .. }) = frame {
                            tables += 1;
                            assert_eq!(ends, 0, "seed {seed}: an exchange after the end");
                            let expected: Vec<Vec<u8>> = (0..size).map(|r| vec![r as u8]).collect();
                            assert_eq!(blobs, expected, "seed {seed}");
                            let mut ranks: BTreeSet<u32> = to.iter().map(|c| rank_of[c]).collect();
                            ranks.extend(&left);
                            assert_eq!(
                                ranks.len() as u32,
                                size,
                                "seed {seed}: a table must reach all ranks"
                            );
                        }
                    }
                    Effect::Close(c) => {
                        open.remove(&c);
                    }
                    Effect::Tell(_, _, Event::Over | Event::Aborted { .. }) => ends += 1,
                    Effect::Tell(..) | Effect::Pause(..) => {}
                }
            }
            assert!(ends <= 1, "seed {seed}: a job ends once");
            assert!(
                registry.next_deadline().is_none_or(|at| at > now),
                "seed {seed}: overdue"
            );
        }
        happened = (happened.0 + tables, happened.1 + ends);
    }
    assert!(
        happened.0 > 100 && happened.1 > 50,
        "too little happened: {happened:?}"
    );
}

/// What the world knows of a job with hosts.
struct World {
    registry: Registry,
    size: u32,
    per: u32,
    now: Time,
    /// Connections that neither side has closed, and whose they are.
    open: BTreeMap<Connection, Role>,
    /// Those that were welcomed.
    entered: BTreeSet<Connection>,
    ends: u32,
    welcomes: u32,
    displaced: u32,
}

impl World {
    /// Does what a service would do, and checks every promise on the way.
    fn take(&mut self, seed: u64, out: Vec<Effect>) {
        for effect in out {
            match effect {
                Effect::Send(to, frame) => {
                    for c in &to {
                        let role = self.open.get(c);
                        let role =
                            role.unwrap_or_else(|| panic!("seed {seed}: {frame:?} to {c:?}"));
                        let speaks = match frame {
                            Outgoing::Member(_) => matches!(role, Role::Member { .. }),
                            Outgoing::Host(_) => matches!(role, Role::Host { .. }),
                            Outgoing::Owner(_) => *role == Role::Owner,
                        };
                        assert!(speaks, "seed {seed}: {frame:?} to {role:?}");
                    }
                    let refusal = matches!(
                        frame,
                        Outgoing::Member(ToMember::Refused { .. })
                            | Outgoing::Host(ToHost::Refused { .. })
                            | Outgoing::Owner(ToOwner::Refused { .. })
                    );
                    assert!(
                        refusal
                            || to
                                .iter()
                                .all(|c| self.entered.contains(c) || welcome(&frame)),
                        "seed {seed}: {frame:?} to somebody who has not entered"
                    );
                    if welcome(&frame) {
                        self.welcomes += 1;
                        self.entered.insert(to[0]);
                        self.alone(seed, to[0]);
                    }
                    if let Outgoing::Host(ToHost::Welcome { errand, .. }) = frame {
                        for (rank, pass) in (errand.first_rank..).zip(&errand.passes) {
                            let epoch = errand.epoch;
                            assert_eq!(*pass, Role::Member { rank, epoch }.pass(&SECRET));
                            assert!(rank < self.size && errand.ranks <= self.per);
                        }
                    }
                }
                Effect::Close(c) => {
                    let role = self.open.remove(&c);
                    assert!(role.is_some(), "seed {seed}: closed twice");
                    self.displaced += u32::from(self.entered.remove(&c));
                }
                Effect::Tell(_, owner, event) => {
                    if let Some(owner) = owner {
                        assert_eq!(self.open.get(&owner), Some(&Role::Owner), "seed {seed}");
                    }
                    let end = matches!(event, Event::Over | Event::Aborted { .. });
                    self.ends += u32::from(end);
                    assert!(self.ends <= 1, "seed {seed}: a job ends once");
                }
                Effect::Pause(c, _) => assert!(self.open.contains_key(&c)),
            }
        }
        let next = self.registry.next_deadline();
        assert!(next.is_none_or(|at| at > self.now), "seed {seed}: overdue");
    }

    /// Nobody else is here in this one's part.
    fn alone(&self, seed: u64, new: Connection) {
        let part = |role: Role| match role {
            Role::Member { rank, .. } => (0, rank),
            Role::Host { instance, .. } => (1, instance),
            Role::Owner => (2, 0),
        };
        let same = self
            .entered
            .iter()
            .filter(|c| part(self.open[c]) == part(self.open[&new]));
        assert_eq!(same.count(), 1, "seed {seed}: {:?} twice", self.open[&new]);
    }
}

fn welcome(frame: &Outgoing) -> bool {
    matches!(
        frame,
        Outgoing::Member(ToMember::Welcome { .. })
            | Outgoing::Host(ToHost::Welcome { .. })
            | Outgoing::Owner(ToOwner::Welcome { .. })
    )
}

/// Hosts, their ranks and owners come twice, go, die, freeze and say anything: nobody is let in twice, nobody is told
/// anything who is not there, a job ends once, and in the end nothing is left.
#[test]
fn hosts_ranks_and_owners_under_random_behaviour() {
    let (mut over, mut aborted, mut welcomes, mut displaced) = (0, 0, 0, 0);
    for seed in 1..=250_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let (size, per) = (1 + random(6) as u32, 1 + random(3) as u32);
        let instances = size.div_ceil(per);
        let owned = random(3) > 0;
        let plan = Plan {
            per_instance: per,
            task: Some(vec![]),
            join_within: random(2) * 8_000,
            lease: random(2) * 4_000,
            owned,
            ..Plan::new(JOB, SECRET, size)
        };
        let mut world = World {
            registry: Registry::default(),
            size,
            per,
            now: 0,
            open: BTreeMap::new(),
            entered: BTreeSet::new(),
            ends: 0,
            welcomes: 0,
            displaced: 0,
        };
        world.registry.create(0, plan).unwrap();
        // Some worlds are kind, so that jobs also end well.
        let kind = random(2) == 0;
        let mut joined = 0;
        for _ in 0..300 {
            world.now += match random(200) {
                0 => 3_600_000,
                _ => random(300),
            };
            let mut out = Vec::new();
            let nth = random(1 << 20) as usize;
            let picked = world.open.iter().nth(nth % world.open.len().max(1));
            let picked = picked.map(|(&c, &role)| (c, role));
            let now = world.now;
            let knock = |role: Role, world: &mut World, out: &mut Vec<Effect>| {
                let opened = world.registry.open(now, &JOB, role, &role.pass(&SECRET));
                let Ok(connection) = opened else {
                    return;
                };
                world.open.insert(connection, role);
                let first: Incoming = match role {
                    Role::Member { rank, epoch } => join(rank, size, epoch).into(),
                    Role::Host { .. } => FromHost::Begin {
                        host: "h".into(),
                        platform: "p".into(),
                        cores: 1,
                        memory_mib: 1,
                        left_ms: 0,
                    }
                    .into(),
                    Role::Owner => FromOwner::Renew.into(),
                };
                world.registry.receive(now, connection, first, out);
            };
            match (random(12), picked) {
                (0 | 1, _) | (_, None) => {
                    let (instance, attempt) = (random(instances.into()), random(2));
                    let role = Role::Host {
                        instance: instance as u32,
                        attempt: attempt as u32 * u32::from(!kind),
                    };
                    knock(role, &mut world, &mut out);
                }
                (2 | 3, _) => {
                    let (rank, epoch) = (random(size.into()) as u32, random(2) as u32);
                    let epoch = epoch * u32::from(!kind);
                    knock(Role::Member { rank, epoch }, &mut world, &mut out);
                }
                (4, _) if random(4) == 0 => knock(Role::Owner, &mut world, &mut out),
                (5, Some((c, _))) if !kind && random(6) == 0 => {
                    world.open.remove(&c);
                    world.entered.remove(&c);
                    world.registry.closed(now, c, "it broke", &mut out);
                }
                (_, Some((c, role))) => {
                    let frame: Incoming = match role {
                        Role::Member { .. } => match random(8) {
                            0..=2 => fence(b"x").into(),
                            3 if !kind => ToService::Finished.into(),
                            4 if !kind && random(9) == 0 => {
                                let text = String::new();
                                ToService::Abort { code: 3, text }.into()
                            }
                            5 => {
                                let (to, blob) = (random(7) as u32, vec![1]);
                                ToService::Note { to, blob }.into()
                            }
                            _ => ToService::Renew.into(),
                        },
                        Role::Host { instance, .. } => {
                            let rank = instance * per + random(per.into()) as u32;
                            let rank = rank.min(size - 1);
                            match random(9) {
                                0 => FromHost::Started { rank, pid: 1 }.into(),
                                1 => {
                                    let (stream, bytes) = (1, vec![7]);
                                    FromHost::Output {
                                        rank,
                                        stream,
                                        bytes,
                                    }
                                    .into()
                                }
                                2 if joined == 0 || !kind => {
                                    let bad = u64::from(!kind);
                                    let (code, signal) = (
                                        (random(4) * bad / 3) as i32,
                                        (random(9) * bad / 8) as i32,
                                    );
                                    FromHost::Exited { rank, code, signal }.into()
                                }
                                3 if !kind => FromHost::Done.into(),
                                _ => FromHost::Renew.into(),
                            }
                        }
                        Role::Owner => match random(30) {
                            0 if !kind => FromOwner::Done.into(),
                            1 if !kind => {
                                let text = String::new();
                                FromOwner::Stop { code: 2, text }.into()
                            }
                            2..=5 => {
                                let (rank, bytes) = (random(9) as u32, vec![]);
                                FromOwner::Input { rank, bytes }.into()
                            }
                            _ => FromOwner::Renew.into(),
                        },
                    };
                    world.registry.receive(now, c, frame, &mut out);
                }
            }
            joined += u32::from(
                out.iter()
                    .any(|e| matches!(e, Effect::Tell(_, _, Event::Joined { .. }))),
            );
            world.registry.tick(now, &mut out);
            let ended = |e: &Effect| matches!(e, Effect::Tell(_, _, Event::Over));
            over += u32::from(out.iter().any(ended));
            world.take(seed, out);
        }
        aborted += world.ends;
        // Everybody falls silent for good.
        let left: Vec<_> = world.open.keys().copied().collect();
        for c in left {
            let mut out = Vec::new();
            if world.open.remove(&c).is_some() {
                world.entered.remove(&c);
                world.registry.closed(world.now, c, "it broke", &mut out);
                world.take(seed, out);
            }
        }
        if !owned {
            let mut out = Vec::new();
            world.registry.abort(world.now, &JOB, 1, "enough", &mut out);
            world.take(seed, out);
        }
        for _ in 0..400 {
            world.now += 500;
            let mut out = Vec::new();
            world.registry.tick(world.now, &mut out);
            world.take(seed, out);
        }
        assert_eq!(
            world.registry.jobs(),
            0,
            "seed {seed}: it is never forgotten"
        );
        assert_eq!(world.registry.connections(), (0, 0, 0), "seed {seed}");
        assert_eq!(world.registry.next_deadline(), None, "seed {seed}");
        welcomes += world.welcomes;
        displaced += world.displaced;
    }
    assert!(
        over > 8 && aborted > 80 && welcomes > 800 && displaced > 120,
        "too little happened: {over} {aborted} {welcomes} {displaced}"
    );
}
