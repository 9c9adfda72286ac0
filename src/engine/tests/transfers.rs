//! Large messages by one-sided calls, and what may happen meanwhile.

use super::*;

fn exact(source: u32) -> Pattern {
    Pattern {
        source: Some(source),
        tag: Some(1),
    }
}

fn pending(started: Started) -> Ticket {
    match started {
        Started::Pending(ticket) => ticket,
        Started::Done(_) => panic!("it has no ticket"),
    }
}

/// A network where one-sided calls take a while.
fn slow(ranks: u32, way: Way, seed: u64) -> Settings {
    Settings {
        seed,
        delay: 200,
        way: Some(way),
        ..Settings::calm(ranks)
    }
}

/// A large message of rank 0 to rank 1, both sides started; driven until the data are on their way.
fn under_way(engines: &mut [Engine], out: &mut [u8], room: &mut [u8]) -> [Ticket; 2] {
    let sent = pending(engines[0].send(data(out), PeerId(1), 8, 0, 1, false, true));
    let received = pending(engines[1].receive(data(room), 8, exact(0), Some(PeerId(0))));
    drive(engines, |e| {
        e[..2].iter().any(|e| !e.core.transfers.is_idle())
    });
    [sent, received]
}

#[test]
fn a_hundred_thousand_messages_every_way() {
    for seed in 0..100 {
        let mut settings = Settings::rough(2 + (seed % 3) as u32, seed);
        settings.way = WAYS[seed as usize % WAYS.len()];
        (settings.refuse, settings.capacity) = ([0, 100][seed as usize % 2], 12);
        (settings.busy, settings.delay) = (50, 8);
        exchange(settings, 1000, 5_000);
    }
}

/// Everything is refused: it goes in pieces, whoever found that out.
#[test]
fn what_the_transport_refuses_goes_in_pieces() {
    for way in [Way::Get, Way::Put] {
        for refuse in [1000, 500] {
            let mut settings = Settings::calm(2);
            (settings.way, settings.refuse) = (Some(way), refuse);
            for seed in 0..10 {
                exchange(Settings { seed, ..settings }, 30, 300_000);
            }
        }
    }
}

/// Many small calls, more than may be under way: they end, and nobody has more than its share.
#[test]
fn calls_under_way_are_bounded() {
    for way in [Way::Get, Way::Put] {
        let mut engines = engines(slow(2, way, 7));
        let mut out = vec![3u8; 300_000];
        let mut room = vec![0u8; 300_000];
        let [sent, received] = under_way(&mut engines, &mut out, &mut room);
        drive(&mut engines, |e| {
            for (me, engine) in e.iter().enumerate() {
                assert!(engine.core.peers[1 - me].calls <= 8);
            }
            e[0].peek(sent).is_some() && e[1].peek(received).is_some()
        });
        assert!(room == out);
        for (engine, ticket) in engines.iter_mut().zip([sent, received]) {
            assert_eq!(engine.test(ticket).map(|o| o.end), Some(End::Fine));
        }
        settle(&mut engines);
    }
}

/// A rank goes while data move to or from it: the other's operation ends when nothing touches its memory any more.
#[test]
fn an_operation_ends_after_its_calls() {
    for way in [Way::Get, Way::Put] {
        for (seed, victim) in (0..20).flat_map(|seed| [(seed, 0), (seed, 1)]) {
            let (mut engines, sim) = engines_and_sim(slow(2, way, seed));
            let mut out = vec![3u8; 100_000];
            let mut room = vec![0u8; 100_000];
            let tickets = under_way(&mut engines, &mut out, &mut room);
            for _ in 0..seed * 4 {
                engines.iter_mut().for_each(step);
            }
            sim.kill(PeerId(victim));
            let left = 1 - victim as usize;
            drive(&mut engines[left..=left], |e| {
                e[0].peek(tickets[left]).is_some()
            });
            let end = engines[left].test(tickets[left]).map(|o| o.end);
            assert!(matches!(end, Some(End::Lost(p)) if p.0 == victim) || end == Some(End::Fine));
            room.fill(9);
            for _ in 0..500 {
                engines[left].progress();
            }
            assert!(room.iter().all(|&b| b == 9));
            let engine = &engines[left];
            assert!(engine.core.transfers.is_empty() && engine.is_idle());
            assert_eq!(engine.links.exposed(), 0);
        }
    }
}

/// Others say that a rank is gone; its connection shows nothing. It is given up, which ends what is under way.
#[test]
fn hearsay_ends_what_is_under_way() {
    for way in [Way::Get, Way::Put] {
        for victim in [0u32, 1] {
            let (mut engines, sim) = engines_and_sim(slow(3, way, 5));
            let mut out = vec![3u8; 100_000];
            let mut room = vec![0u8; 100_000];
            let tickets = under_way(&mut engines, &mut out, &mut room);
            sim.kill_before(PeerId(victim), PeerId(2));
            let left = 1 - victim as usize;
            for _ in 0..1000 {
                engines[left].progress();
            }
            assert_eq!(engines[left].peek(tickets[left]), None, "nobody knows yet");
            let word = Header {
                request: victim,
                ..Header::new(Kind::Loss)
            };
            engines[left].core.frame(PeerId(2), &word, &[]);
            drive(&mut engines[left..=left], |e| {
                e[0].peek(tickets[left]).is_some()
            });
            let end = engines[left].test(tickets[left]).map(|o| o.end);
            assert_eq!(end, Some(End::Lost(PeerId(victim))));
            engines[left].progress();
            assert!(engines[left].core.transfers.is_empty());
            assert_eq!(engines[left].links.exposed(), 0);
        }
    }
}

/// Both live on, but nothing succeeds on the context any more: their operations end, and their connection stays whole.
#[test]
fn what_is_severed_ends_without_harm_to_the_connection() {
    for way in [Way::Get, Way::Put] {
        for (seed, first) in (0..40).flat_map(|seed| [(seed, 0), (seed, 1)]) {
            let (mut engines, sim) = engines_and_sim(slow(3, way, seed));
            let mut out = vec![3u8; 60_000];
            let mut room = vec![0u8; 60_000];
            let sent = pending(engines[0].send(data(&mut out), PeerId(1), 8, 0, 1, false, true));
            let received =
                pending(engines[1].receive(data(&mut room), 8, exact(0), Some(PeerId(0))));
            for _ in 0..seed * 15 {
                engines[..2].iter_mut().for_each(step);
            }
            sim.kill(PeerId(2));
            engines[first].sever(8, PeerId(2));
            for _ in 0..seed % 7 * 10 {
                engines[..2].iter_mut().for_each(step);
            }
            engines[1 - first].sever(8, PeerId(2));
            drive(&mut engines[..2], |e| {
                e[0].peek(sent).is_some() && e[1].peek(received).is_some()
            });
            room.fill(9);
            for _ in 0..1000 {
                engines[..2].iter_mut().for_each(step);
            }
            assert!(room.iter().all(|&b| b == 9));
            for (engine, ticket) in engines.iter_mut().zip([sent, received]) {
                let end = engine.test(ticket).map(|o| o.end);
                let severed = Some(End::Lost(PeerId(2)));
                assert!(end == severed || end == Some(End::Fine), "{end:?}");
                assert_eq!(engine.core.lost, [PeerId(2)], "{way:?} {seed} {first}");
                assert!(engine.core.transfers.is_empty() && engine.links.exposed() == 0);
            }
            // Elsewhere all is well.
            let sent = engines[0].send(data(&mut out), PeerId(1), 16, 0, 1, false, true);
            let received = engines[1].receive(data(&mut room), 16, exact(0), Some(PeerId(0)));
            assert_eq!(finish(&mut engines[..2], 1, received).end, End::Fine);
            assert_eq!(finish(&mut engines[..2], 0, sent).end, End::Fine);
        }
    }
}

/// A send that was announced with its memory exposed, and whose receiver never comes.
#[test]
fn an_exposed_send_ends_with_its_receiver() {
    let (mut engines, sim) = engines_and_sim(slow(2, Way::Get, 3));
    let mut out = vec![3u8; 60_000];
    let sent = pending(engines[0].send(data(&mut out), PeerId(1), 8, 0, 1, false, true));
    drive(&mut engines, |e| e[1].probe(8, exact(0)).is_some());
    assert_eq!(engines[0].links.exposed(), 1);
    sim.kill(PeerId(1));
    drive(&mut engines[..1], |e| e[0].peek(sent).is_some());
    assert_eq!(
        engines[0].test(sent).map(|o| o.end),
        Some(End::Lost(PeerId(1)))
    );
    assert_eq!(engines[0].links.exposed(), 0);
}

/// Ranks that exchange whatever they can, one of whom is killed at some time: everything ends, what has ended is left
/// alone, the living do not lose each other, and nothing stays behind.
#[test]
fn a_death_at_any_time_ends_all_and_touches_nothing() {
    for seed in 0..60u64 {
        let mut random = Random(seed);
        let ranks = 3u32;
        let mut settings = Settings::rough(ranks, seed);
        settings.way = WAYS[seed as usize % WAYS.len()];
        (settings.delay, settings.refuse) = (60, 30);
        let (mut engines, sim) = engines_and_sim(settings);
        struct Item {
            rank: usize,
            ticket: Ticket,
            bytes: Vec<u8>,
            over: bool,
        }
        let mut items: Vec<Item> = Vec::new();
        let victim = random.below(u64::from(ranks)) as usize;
        let hidden = random.below(2) == 0;
        let death = random.below(700);
        for turn in 0..2400u64 {
            if turn == death {
                if hidden {
                    let witness = (victim as u32 + 1) % ranks;
                    sim.kill_before(PeerId(victim as u32), PeerId(witness));
                } else {
                    sim.kill(PeerId(victim as u32));
                }
            }
            let dead = turn >= death;
            if turn < 500 && random.below(3) == 0 {
                let (from, to) = (random.below(3) as usize, random.below(3) as usize);
                let length = [8, 3_000, 20_000][random.below(3) as usize];
                let mut bytes = vec![turn as u8; length];
                let mut room = vec![0u8; length];
                let sent = engines[from].send(
                    data(&mut bytes),
                    PeerId(to as u32),
                    8,
                    from as u32,
                    1,
                    false,
                    true,
                );
                let pattern = exact(from as u32);
                let received =
                    engines[to].receive(data(&mut room), 8, pattern, Some(PeerId(from as u32)));
                for (rank, started, bytes) in [(from, sent, bytes), (to, received, room)] {
                    if let Started::Pending(ticket) = started {
                        items.push(Item {
                            rank,
                            ticket,
                            bytes,
                            over: false,
                        });
                    }
                }
            }
            for (me, engine) in engines.iter_mut().enumerate() {
                if me != victim || !dead {
                    engine.progress();
                }
                if turn == 1200 {
                    engine.inquire(seed % 3 > 0);
                }
            }
            for item in items.iter_mut().filter(|i| !i.over && turn % 4 == 0) {
                let end = engines[item.rank].peek(item.ticket).map(|o| o.end);
                if let Some(end) = end {
                    item.over = true;
                    item.bytes.fill(0xee);
                    let lost = End::Lost(PeerId(victim as u32));
                    assert!(end == End::Fine || end == lost, "{end:?} in {seed}");
                }
            }
        }
        for item in items.iter().filter(|i| i.rank != victim) {
            assert!(item.over, "{seed}: something of {} never ended", item.rank);
            assert!(item.bytes.iter().all(|&b| b == 0xee), "{seed}: touched");
        }
        for (me, engine) in engines.iter().enumerate().filter(|(me, _)| *me != victim) {
            assert!(engine.core.lost.iter().all(|p| p.0 as usize == victim));
            assert!(engine.core.transfers.is_empty(), "{seed}: {me}");
            assert_eq!(engine.links.exposed(), 0);
        }
    }
}

fn step(engine: &mut Engine) {
    engine.progress();
}
