//! A member is killed in the middle: every survivor's call ends soon, with an error or with the right result, whatever
//! the others do after theirs; also where only one of them sees the death.

use super::net::Random;
use crate::base::constant::handle;
use crate::base::error::Class;
use crate::base::id::PeerId;
use crate::engine::Engine;
use crate::mpi::collective;
use crate::mpi::progress::Flight;
use crate::mpi::World;
use crate::transport::sim::Settings;
use crate::transport::Links;

/// Calls of each rank.
const CALLS: usize = 5;
/// Turns without any call's end, after which waiting ranks ask around as `Runtime::until` makes them.
const QUIET: usize = 3000;

struct Rank {
    world: World,
    input: Vec<i32>,
    output: Vec<i32>,
    call: usize,
    flight: Option<Box<Flight>>,
    /// After an error: does it go on calling?
    stubborn: bool,
    errors: usize,
}

fn value(rank: usize, call: usize, at: usize) -> i32 {
    (rank * 1009 + call * 31 + at % 97) as i32
}

/// What everybody calls as the `call`-th, and with how many elements.
fn kind(seed: u64, call: usize) -> (usize, usize) {
    let mut random = Random::new(seed * 131 + call as u64);
    let count = *random.pick(&[1, 7, 300, 5000]);
    (random.below(4), count)
}

impl Rank {
    fn start(&mut self, me: usize, ranks: usize, seed: u64) {
        let (kind, count) = kind(seed, self.call);
        self.input = (0..count * ranks)
            .map(|at| value(me, self.call, at))
            .collect();
        self.output = vec![0; count * ranks];
        let (input, output) = (
            self.input.as_mut_ptr().cast::<u8>(),
            self.output.as_mut_ptr().cast::<u8>(),
        );
        let (n, int, root) = (count as i64, handle::INT, (self.call % ranks) as i32);
        let flight = self
            .world
            .collective(handle::COMM_WORLD, false, |call| match kind {
                0 => collective::allreduce(call, input, output, n, int, handle::SUM),
                1 => collective::bcast(call, input, n, int, root),
                2 => collective::alltoall(call, input, n, int, output, n, int),
                _ => collective::barrier(call),
            });
        self.flight = Some(flight.expect("a schedule"));
    }

    fn check(&self, me: usize, ranks: usize, seed: u64) {
        let (kind, count) = kind(seed, self.call);
        for at in 0..count {
            match kind {
                0 => {
                    let sum: i32 = (0..ranks).map(|r| value(r, self.call, at)).sum();
                    assert_eq!(self.output[at], sum, "seed {seed}");
                }
                1 => {
                    let root = self.call % ranks;
                    assert_eq!(self.input[at], value(root, self.call, at), "seed {seed}");
                }
                2 => {
                    for from in 0..ranks {
                        let sent = value(from, self.call, me * count + at);
                        assert_eq!(self.output[from * count + at], sent, "seed {seed}");
                    }
                }
                _ => (),
            }
        }
    }
}

/// Gives how many calls failed.
fn trial(seed: u64) -> usize {
    let mut random = Random::new(seed);
    let ranks = 2 + random.below(9);
    let settings = match random.below(2) {
        0 => Settings::calm(ranks as u32),
        _ => Settings::rough(ranks as u32, seed),
    };
    let (sim, links) = Links::simulated(settings);
    let mut all: Vec<Rank> = links
        .into_iter()
        .enumerate()
        .map(|(me, links)| {
            let mut world = World::new();
            let engine = Engine::new(links, PeerId(me as u32), ranks as u32, 0);
            world.begin(engine, ranks as u32, 0, None);
            Rank {
                world,
                input: Vec::new(),
                output: Vec::new(),
                call: 0,
                flight: None,
                stubborn: random.below(2) == 0,
                errors: 0,
            }
        })
        .collect();
    let victim = random.below(ranks);
    let witness = (victim + 1 + random.below(ranks - 1)) % ranks;
    let unseen = random.below(2) == 0;
    let mut dies_in = random.below(60 * ranks * ranks);
    let mut dead = false;
    let over = |rank: &Rank| rank.call == CALLS || (rank.errors > 0 && !rank.stubborn);
    let mut quiet = 0;
    while !(0..ranks).all(|r| (dead && r == victim) || over(&all[r])) {
        if dies_in == 0 && !dead {
            dead = true;
            if unseen {
                sim.kill_before(PeerId(victim as u32), PeerId(witness as u32));
            } else {
                sim.kill(PeerId(victim as u32));
            }
        }
        dies_in = dies_in.saturating_sub(1);
        let me = random.below(ranks);
        if dead && me == victim {
            continue;
        }
        quiet += 1;
        assert!(
            quiet < 4 * QUIET * ranks,
            "seed {seed}: somebody waits for ever"
        );
        let rank = &mut all[me];
        if quiet % (QUIET * ranks) < ranks * ranks {
            if let (true, Some(engine)) = (quiet > QUIET, &mut rank.world.engine) {
                engine.inquire(false);
            }
        }
        rank.world.progress();
        if over(rank) {
            continue;
        }
        if rank.flight.is_none() {
            rank.start(me, ranks, seed);
        }
        let Some(mut flight) = rank.flight.take() else {
            continue;
        };
        match rank.world.fly(&mut flight) {
            None => {
                rank.flight = Some(flight);
                continue;
            }
            Some(Ok(_)) => rank.check(me, ranks, seed),
            Some(Err(error)) => {
                assert_eq!(error.class, Class::ProcAborted, "{error}");
                assert!(dead, "seed {seed}: {error}");
                rank.errors += 1;
            }
        }
        rank.call += 1;
        quiet = 0;
    }
    all.iter().map(|rank| rank.errors).sum()
}

#[test]
fn no_call_waits_for_ever_after_a_loss() {
    let mut failed = 0;
    for seed in 1..=300 {
        failed += trial(seed);
    }
    assert!(
        failed > 300,
        "{failed} calls failed: the deaths come too late"
    );
}
