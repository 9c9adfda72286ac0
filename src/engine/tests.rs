//! Seeded simulations: several ranks in one process over the simulated network, against what MPI promises.

mod blocking;
mod device;
mod misfortune;
mod transfers;

use super::data::stripes::Memory;
use super::*;
use crate::transport::sim::{Settings, Sim};
use crate::transport::Way;

/// How large messages may go; `None`: by pair.
const WAYS: [Option<Way>; 5] = [
    Some(Way::Fetch),
    Some(Way::Get),
    Some(Way::Put),
    Some(Way::Pieces),
    None,
];

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

fn engines(settings: Settings) -> Vec<Engine> {
    engines_and_sim(settings).0
}

/// Their one-sided calls are small ones.
fn engines_and_sim(settings: Settings) -> (Vec<Engine>, Sim) {
    let ranks = settings.ranks;
    let (sim, links) = Links::simulated(settings);
    let engine = |(me, links)| {
        let mut engine = Engine::new(links, PeerId(me), ranks, 0);
        engine.core.transfers.least = 0;
        engine.core.transfers.stretch = 1500;
        engine
    };
    ((0..).zip(links).map(engine).collect(), sim)
}

fn data(bytes: &mut [u8]) -> Data {
    Data::dense(bytes.as_mut_ptr(), bytes.len())
}

/// Runs everybody until `done` or too many turns.
fn drive(engines: &mut [Engine], mut done: impl FnMut(&mut [Engine]) -> bool) {
    for _ in 0..2_000_000 {
        if done(engines) {
            return;
        }
        for engine in engines.iter_mut() {
            engine.progress();
        }
        // A device in software needs a processor too.
        if engines[0].links.effort() > 4 {
            std::thread::yield_now();
        }
    }
    panic!("no end in sight");
}

fn finish(engines: &mut [Engine], rank: usize, started: Started) -> Outcome {
    match started {
        Started::Done(outcome) => outcome,
        Started::Pending(ticket) => {
            let mut outcome = None;
            drive(engines, |engines| {
                outcome = engines[rank].test(ticket);
                outcome.is_some()
            });
            outcome.expect("drive ends with an outcome")
        }
    }
}

fn finish_blocking(engines: &mut [Engine], rank: usize) -> Outcome {
    let mut outcome = None;
    drive(engines, |engines| {
        outcome = engines[rank].unblock();
        outcome.is_some()
    });
    outcome.expect("drive ends with an outcome")
}

/// One rank's work in the random exchange: it sends numbered messages to everybody and receives as many, with exact
/// patterns and with wildcards; per pair and tag the numbers must come in order, and the bytes must be right.
fn exchange(settings: Settings, messages: usize, biggest: u64) {
    exchange_among(engines(settings), settings.seed, messages, biggest);
}

fn exchange_among(mut engines: Vec<Engine>, seed: u64, messages: usize, biggest: u64) {
    let ranks = engines.len();
    let mut random = Random(seed);
    let byte = |from: usize, to: usize, n: usize, i: usize| (from * 31 + to * 17 + n * 7 + i) as u8;
    struct Receive {
        started: Option<Started>,
        /// Of one that blocked, and is over.
        outcome: Option<Outcome>,
        buffer: Memory,
        pattern: Pattern,
    }
    let mut buffers: Vec<Memory> = Vec::new();
    let mut sends: Vec<(usize, Started)> = Vec::new();
    let mut receives: Vec<Vec<Receive>> = (0..ranks).map(|_| Vec::new()).collect();
    let mut planned = vec![vec![0usize; ranks]; ranks];
    // First who sends what; all with tag = parity of the number, header in the first 8 bytes.
    let mut plan: Vec<(usize, usize, usize)> = Vec::new();
    for _ in 0..messages {
        let (from, to) = (
            random.below(ranks as u64) as usize,
            random.below(ranks as u64) as usize,
        );
        let n = planned[from][to];
        planned[from][to] += 1;
        plan.push((from, to, n));
    }
    for to in 0..ranks {
        let expected: usize = (0..ranks).map(|from| planned[from][to]).sum();
        let wild = random.below(2) == 0;
        if wild {
            for _ in 0..expected {
                let pattern = Pattern {
                    source: None,
                    tag: None,
                };
                receives[to].push(Receive {
                    started: None,
                    outcome: None,
                    buffer: Memory::new(16 + biggest as usize, random.below(4) > 0),
                    pattern,
                });
            }
        } else {
            for (from, row) in planned.iter().enumerate() {
                for n in 0..row[to] {
                    let pattern = Pattern {
                        source: Some(from as u32),
                        tag: Some(n as i32 % 2),
                    };
                    receives[to].push(Receive {
                        started: None,
                        outcome: None,
                        buffer: Memory::new(16 + biggest as usize, random.below(4) > 0),
                        pattern,
                    });
                }
            }
        }
    }
    let mut next_send = 0;
    let mut next_receive = vec![0; ranks];
    // Each rank's blocking receive, when it has one: it began before all that came after it.
    let mut blocked: Vec<Option<usize>> = vec![None; ranks];
    while next_send < plan.len() || (0..ranks).any(|r| next_receive[r] < receives[r].len()) {
        if next_send < plan.len() && random.below(2) == 0 {
            let (from, to, n) = plan[next_send];
            next_send += 1;
            let size = if random.below(4) == 0 {
                random.below(biggest)
            } else {
                random.below(64)
            } as usize;
            let mut memory = Memory::new(12 + size, random.below(4) > 0);
            let head = [(n as u32).to_le_bytes(), (size as u32).to_le_bytes()].concat();
            (0..8).for_each(|i| *memory.at(i) = head[i]);
            (0..size).for_each(|i| *memory.at(12 + i) = byte(from, to, n, i));
            buffers.push(memory);
            let buffer = buffers.last_mut().expect("just pushed");
            let synchronous = random.below(5) == 0;
            let started = engines[from].send(
                buffer.data(),
                PeerId(to as u32),
                8,
                from as u32,
                n as i32 % 2,
                synchronous,
                random.below(2) == 0,
            );
            sends.push((from, started));
        } else {
            let rank = random.below(ranks as u64) as usize;
            if next_receive[rank] < receives[rank].len() {
                let at = next_receive[rank];
                next_receive[rank] += 1;
                let receive = &mut receives[rank][at];
                let (from, data) = (receive.pattern.source.map(PeerId), receive.buffer.data());
                let (engine, run) = (&mut engines[rank], data.address().zip(Some(data.bytes)));
                if run.is_some_and(|run| engine.block(run, 8, receive.pattern, from)) {
                    assert_eq!(blocked[rank].replace(at), None);
                } else {
                    receive.started = Some(engine.receive(data, 8, receive.pattern, from));
                }
            }
        }
        if random.below(3) == 0 {
            let rank = random.below(ranks as u64) as usize;
            engines[rank].progress();
            if let Some(outcome) = engines[rank].unblock() {
                let at = blocked[rank].take().expect("one blocked");
                receives[rank][at].outcome = Some(outcome);
            }
        }
    }
    for (rank, started) in sends {
        assert_eq!(finish(&mut engines, rank, started).end, End::Fine);
    }
    for (to, list) in receives.iter_mut().enumerate() {
        let mut last = vec![[None::<u32>; 2]; ranks];
        for receive in list {
            let outcome = match (receive.outcome, receive.started) {
                (Some(outcome), _) => outcome,
                (None, Some(started)) => finish(&mut engines, to, started),
                (None, None) => finish_blocking(&mut engines, to),
            };
            assert_eq!(outcome.end, End::Fine);
            let from = outcome.source as usize;
            let mut word =
                |at| u32::from_le_bytes([0usize, 1, 2, 3].map(|i| *receive.buffer.at(at + i)));
            let (n, size) = (word(0), word(4) as usize);
            assert_eq!(outcome.bytes as usize, size + 12);
            assert_eq!(outcome.tag, n as i32 % 2);
            let before = &mut last[from][(n % 2) as usize];
            assert!(
                before.is_none_or(|b| b < n),
                "messages of a pair overtook each other"
            );
            *before = Some(n);
            assert!((0..size).all(|i| *receive.buffer.at(12 + i) == byte(from, to, n as usize, i)));
        }
    }
    settle(&mut engines);
}

/// Lets what is on its way arrive; then nothing is left, and of the memory that each lent each other nothing is lost.
fn settle(engines: &mut [Engine]) {
    for _ in 0..2_000 {
        engines.iter_mut().for_each(|engine| {
            engine.progress();
        });
    }
    for (me, engine) in engines.iter().enumerate() {
        assert!(engine.is_idle() && engine.core.operations.is_empty());
        assert!(engine.core.transfers.is_empty() && engine.links.exposed() == 0);
        assert!(engine.core.lost.is_empty());
        for (other, peer) in engine.core.peers.iter().enumerate() {
            let owed = engines[other].core.peers[me].owed;
            assert_eq!(peer.credit + owed, engine.core.window, "{me} to {other}");
        }
    }
}

#[test]
fn random_exchanges_are_ordered_and_whole() {
    for seed in 0..60 {
        let mut settings = Settings::rough(2 + (seed % 4) as u32, seed);
        settings.way = WAYS[seed as usize % WAYS.len()];
        exchange(settings, 200, 20_000);
    }
}

#[test]
fn large_messages_go_every_way() {
    for way in WAYS {
        let mut settings = Settings::calm(2);
        settings.way = way;
        exchange(settings, 12, 1_000_000);
    }
}

#[test]
fn unexpected_memory_is_bounded() {
    let mut engines = engines(Settings::calm(2));
    let mut bytes = vec![7u8; 4096];
    let mut tickets = Vec::new();
    for _ in 0..5_000 {
        if let Started::Pending(ticket) =
            engines[0].send(data(&mut bytes), PeerId(1), 8, 0, 0, false, false)
        {
            tickets.push(ticket);
        }
        engines[1].progress();
    }
    // 20 MB were offered; what is over the window was only announced.
    assert!(
        tickets.len() > 4_000,
        "{} of 5000 sends wait",
        tickets.len()
    );
    let mut room = vec![0u8; 4096];
    for _ in 0..5_000 {
        let pattern = Pattern {
            source: Some(0),
            tag: Some(0),
        };
        let started = engines[1].receive(data(&mut room), 8, pattern, Some(PeerId(0)));
        assert_eq!(finish(&mut engines, 1, started).bytes, 4096);
    }
    for ticket in tickets {
        assert_eq!(
            finish(&mut engines, 0, Started::Pending(ticket)).end,
            End::Fine
        );
    }
}

#[test]
fn too_long_a_message_fails_the_receive_alone() {
    for (size, way) in [100usize, 900_000]
        .into_iter()
        .flat_map(|s| WAYS.map(|w| (s, w)))
    {
        let mut settings = Settings::calm(2);
        settings.way = way;
        let mut engines = engines(settings);
        let mut bytes = vec![1u8; size];
        let sent = engines[0].send(data(&mut bytes), PeerId(1), 8, 0, 5, false, false);
        let mut room = [0u8; 60];
        let pattern = Pattern {
            source: None,
            tag: Some(5),
        };
        let received = engines[1].receive(data(&mut room[..50]), 8, pattern, None);
        let outcome = finish(&mut engines, 1, received);
        assert_eq!(
            (outcome.end, outcome.bytes),
            (End::Truncated(size as u64), 50)
        );
        assert_eq!(room.iter().filter(|&&b| b == 1).count(), 50);
        assert_eq!(finish(&mut engines, 0, sent).end, End::Fine);
        settle(&mut engines);
    }
}

#[test]
fn a_send_nobody_matched_can_be_cancelled_and_a_matched_one_not() {
    for (size, way) in [10usize, 900_000]
        .into_iter()
        .flat_map(|s| WAYS.map(|w| (s, w)))
    {
        let mut settings = Settings::calm(2);
        settings.way = way;
        let mut engines = engines(settings);
        let mut bytes = vec![1u8; size];
        let pattern = Pattern {
            source: Some(0),
            tag: Some(1),
        };
        let Started::Pending(first) =
            engines[0].send(data(&mut bytes), PeerId(1), 8, 0, 1, false, true)
        else {
            panic!("tracked sends have tickets");
        };
        drive(&mut engines, |e| e[1].probe(8, pattern).is_some());
        engines[0].cancel(first);
        assert_eq!(
            finish(&mut engines, 0, Started::Pending(first)).end,
            End::Cancelled
        );
        assert!(engines[1].probe(8, pattern).is_none());

        let Started::Pending(second) =
            engines[0].send(data(&mut bytes), PeerId(1), 8, 0, 1, false, true)
        else {
            panic!("tracked sends have tickets");
        };
        let mut room = vec![0u8; size];
        let received = engines[1].receive(data(&mut room), 8, pattern, Some(PeerId(0)));
        for _ in 0..10 {
            engines[1].progress();
        }
        engines[0].cancel(second);
        assert_eq!(finish(&mut engines, 1, received).end, End::Fine);
        assert_eq!(
            finish(&mut engines, 0, Started::Pending(second)).end,
            End::Fine
        );
        settle(&mut engines);
    }
}

#[test]
fn a_posted_receive_can_be_cancelled() {
    let mut engines = engines(Settings::calm(2));
    let mut room = [0u8; 4];
    let pattern = Pattern {
        source: None,
        tag: None,
    };
    let Started::Pending(ticket) = engines[0].receive(data(&mut room), 8, pattern, None) else {
        panic!("nothing was sent");
    };
    engines[0].cancel(ticket);
    assert_eq!(engines[0].test(ticket).map(|o| o.end), Some(End::Cancelled));
    assert_eq!(engines[0].test(ticket), None);
}

#[test]
fn a_lost_peer_ends_what_waits_for_it() {
    let mut settings = Settings::calm(3);
    settings.way = Some(Way::Pieces);
    let (sim, links) = Links::simulated(settings);
    let mut engines: Vec<Engine> = links
        .into_iter()
        .enumerate()
        .map(|(me, l)| Engine::new(l, PeerId(me as u32), 3, 0))
        .collect();
    let mut room = [0u8; 4];
    let exact = Pattern {
        source: Some(2),
        tag: Some(0),
    };
    let from_lost = engines[0].receive(data(&mut room), 8, exact, Some(PeerId(2)));
    let any = Pattern {
        source: None,
        tag: None,
    };
    let wild = engines[0].receive(data(&mut room), 8, any, None);
    let elsewhere = engines[0].receive(data(&mut room), 16, any, None);
    let other = Pattern {
        source: Some(1),
        tag: Some(0),
    };
    let from_other = engines[0].receive(data(&mut room), 8, other, Some(PeerId(1)));
    let mut big = vec![0u8; 900_000];
    let to_lost = engines[0].send(data(&mut big), PeerId(2), 8, 0, 3, false, true);
    engines[0].progress();
    sim.kill(PeerId(2));
    for started in [from_lost, to_lost] {
        assert_eq!(finish(&mut engines, 0, started).end, End::Lost(PeerId(2)));
    }
    // Receives from anybody fail where the lost one could have sent, and only there.
    assert_eq!(engines[0].next_loss(), Some(PeerId(2)));
    assert_eq!(engines[0].next_loss(), None);
    engines[0].bereave(8, PeerId(2));
    assert_eq!(finish(&mut engines, 0, wild).end, End::Lost(PeerId(2)));
    let late = engines[0].receive(data(&mut room), 8, any, None);
    assert_eq!(finish(&mut engines, 0, late).end, End::Lost(PeerId(2)));
    let mut word = [9u8; 4];
    engines[1].send(data(&mut word), PeerId(0), 16, 1, 0, false, false);
    assert_eq!(finish(&mut engines, 0, elsewhere).end, End::Fine);
    engines[1].send(data(&mut word), PeerId(0), 8, 1, 0, false, false);
    assert_eq!(finish(&mut engines, 0, from_other).end, End::Fine);
    let late = engines[0].receive(data(&mut room), 8, exact, Some(PeerId(2)));
    assert_eq!(finish(&mut engines, 0, late).end, End::Lost(PeerId(2)));
}
