//! Late answers, nonsense, peers that leave.

use super::*;
use crate::engine::peer::ENVELOPE;

fn exact(source: u32, tag: i32) -> Pattern {
    Pattern {
        source: Some(source),
        tag: Some(tag),
    }
}

fn pending(started: Started) -> Ticket {
    match started {
        Started::Pending(ticket) => ticket,
        Started::Done(_) => panic!("it has no ticket"),
    }
}

#[test]
fn a_ticket_is_not_its_successor() {
    let mut operations = Operations::default();
    let blank = || receiving(Data::empty(), 8, None);
    let first = operations.insert(blank());
    operations.remove(first);
    let second = operations.insert(blank());
    assert_ne!(first, second);
    assert!(operations.get(first).is_none() && operations.get_mut(first).is_none());
    operations.remove(first);
    assert!(operations.get(second).is_some());
    assert_eq!(operations.tickets(), [second]);
    operations.remove(second);
    assert!(operations.is_empty());
    assert!(operations
        .get(Ticket(crate::engine::operation::FORGOTTEN))
        .is_none());
}

/// To ask twice is to ask once: a second answer would say of a message that was taken back that it was matched.
#[test]
fn a_send_cancelled_twice_is_cancelled() {
    for size in [10usize, 900_000] {
        let mut engines = engines(Settings::calm(2));
        let mut bytes = vec![1u8; size];
        let ticket = pending(engines[0].send(data(&mut bytes), PeerId(1), 8, 0, 1, false, true));
        engines[0].cancel(ticket);
        engines[0].cancel(ticket);
        drive(&mut engines, |e| e[0].peek(ticket).is_some());
        engines[0].cancel(ticket);
        for _ in 0..10 {
            engines[0].progress();
            engines[1].progress();
        }
        assert_eq!(engines[0].test(ticket).map(|o| o.end), Some(End::Cancelled));
        settle(&mut engines);
    }
}

/// The answer to a cancellation comes after the operation's end; the slot is already another's.
#[test]
fn what_has_left_can_be_recalled_until_it_is_matched() {
    let mut engines = engines(Settings::calm(2));
    let mut bytes = [3u8; 8];
    let run = (bytes.as_mut_ptr(), bytes.len());
    let send = |engine: &mut Engine| {
        let serial = engine.send_at_once(run, PeerId(1), 8, 0, 1, true);
        serial.expect("there is room")
    };
    let kept = send(&mut engines[0]);
    let recalled = send(&mut engines[0]);
    assert_ne!(kept, recalled);
    drive(&mut engines, |e| e[1].probe(8, exact(0, 1)).is_some());
    let ticket = engines[0].recall(PeerId(1), 8, recalled);
    assert_eq!(
        finish(&mut engines, 0, Started::Pending(ticket)).end,
        End::Cancelled
    );
    // The other is still there, and cannot be had back once it was matched.
    let mut room = [0u8; 8];
    let received = engines[1].receive(data(&mut room), 8, exact(0, 1), Some(PeerId(0)));
    assert_eq!(finish(&mut engines, 1, received).end, End::Fine);
    assert_eq!(room, [3; 8]);
    assert!(engines[1].probe(8, exact(0, 1)).is_none());
    let ticket = engines[0].recall(PeerId(1), 8, kept);
    assert_eq!(
        finish(&mut engines, 0, Started::Pending(ticket)).end,
        End::Fine
    );
    settle(&mut engines);
}

#[test]
fn late_answers_hit_nobody() {
    let mut engines = engines(Settings::calm(2));
    let mut bytes = vec![1u8; 10];
    let mut room = vec![0u8; 10];
    let first = pending(engines[0].send(data(&mut bytes), PeerId(1), 8, 0, 1, true, true));
    let received = engines[1].receive(data(&mut room), 8, exact(0, 1), Some(PeerId(0)));
    engines[0].cancel(first);
    assert_eq!(finish(&mut engines, 1, received).end, End::Fine);
    drive(&mut engines[..1], |e| e[0].peek(first).is_some());
    assert_eq!(engines[0].test(first).map(|o| o.end), Some(End::Fine));
    let second = pending(engines[0].send(data(&mut bytes), PeerId(1), 8, 0, 2, true, true));
    for kind in [Kind::Done, Kind::Cancelled, Kind::Clear] {
        let late = Header {
            request: first.0,
            total: 1,
            ..Header::new(kind)
        };
        engines[0].core.frame(PeerId(1), &late, &[]);
    }
    assert_eq!(engines[0].peek(second), None);
    let received = engines[1].receive(data(&mut room), 8, exact(0, 2), Some(PeerId(0)));
    assert_eq!(finish(&mut engines, 1, received).end, End::Fine);
    assert_eq!(
        finish(&mut engines, 0, Started::Pending(second)).end,
        End::Fine
    );
    settle(&mut engines);
}

#[test]
fn cancelling_what_went_to_a_lost_peer_does_not_wait_for_its_answer() {
    let (sim, links) = Links::simulated(Settings::calm(2));
    let mut links = links.into_iter();
    let mut engine = Engine::new(links.next().expect("two"), PeerId(0), 2, 0);
    let mut bytes = vec![1u8; 10];
    let sent: Vec<Ticket> = (0..2)
        .map(|_| pending(engine.send(data(&mut bytes), PeerId(1), 8, 0, 1, false, true)))
        .collect();
    engine.cancel(sent[0]);
    assert_eq!(engine.peek(sent[0]), None);
    sim.kill(PeerId(1));
    engine.progress();
    engine.progress();
    assert_eq!(engine.core.lost, [PeerId(1)]);
    engine.cancel(sent[1]);
    for ticket in sent {
        assert_eq!(engine.test(ticket).map(|o| o.end), Some(End::Fine));
    }
    let late = pending(engine.send(data(&mut bytes[..0]), PeerId(1), 8, 0, 1, false, false));
    assert_eq!(engine.test(late).map(|o| o.end), Some(End::Lost(PeerId(1))));
}

#[test]
fn nothing_waits_for_a_peer_that_said_goodbye() {
    let mut engines = engines(Settings::calm(3));
    let mut word = [3u8; 4];
    let (mut a, mut b, mut c) = ([0u8; 4], [0u8; 4], [0u8; 4]);
    let any = Pattern {
        source: None,
        tag: None,
    };
    let hopeless = engines[0].receive(data(&mut a), 8, exact(1, 5), Some(PeerId(1)));
    let wild = engines[0].receive(data(&mut b), 16, any, None);
    engines[1].send(data(&mut word), PeerId(0), 8, 1, 0, false, false);
    engines[1].goodbye();
    assert_eq!(finish(&mut engines, 0, hopeless).end, End::Lost(PeerId(1)));
    assert!(engines[0].core.lost.is_empty());
    // What it had sent is there, nothing else will be.
    let kept = engines[0].receive(data(&mut c), 8, exact(1, 0), Some(PeerId(1)));
    assert_eq!(finish(&mut engines, 0, kept).end, End::Fine);
    let late = engines[0].receive(data(&mut c), 8, exact(1, 0), Some(PeerId(1)));
    assert_eq!(finish(&mut engines, 0, late).end, End::Lost(PeerId(1)));
    let to_it = engines[0].send(data(&mut word), PeerId(1), 8, 0, 0, false, false);
    assert_eq!(finish(&mut engines, 0, to_it).end, End::Lost(PeerId(1)));
    engines[2].send(data(&mut word), PeerId(0), 16, 2, 0, false, false);
    assert_eq!(finish(&mut engines, 0, wild).source, 2);
}

#[test]
fn nobody_lends_more_than_the_window() {
    let mut engines = engines(Settings::calm(2));
    let generous = Header {
        total: u64::MAX,
        ..Header::new(Kind::Credit)
    };
    engines[0].core.frame(PeerId(1), &generous, &[]);
    assert_eq!(engines[0].core.peers[1].credit, engines[0].core.window);
    let mut bytes = [0u8; 100];
    engines[0].send(data(&mut bytes), PeerId(1), 8, 0, 0, false, false);
    engines[0].core.frame(
        PeerId(1),
        &Header {
            total: 64,
            ..generous
        },
        &[],
    );
    let left = engines[0].core.window - 100 - ENVELOPE + 64;
    assert_eq!(engines[0].core.peers[1].credit, left);
}

/// A peer that has proved who it is and then talks nonsense does not bring this process down, nor write where it was
/// not invited. (It may well end operations that have to do with it.)
#[test]
fn nonsense_frames_do_no_harm() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut settings = Settings::calm(3);
        settings.way = [Way::Pieces, Way::Get, Way::Put].map(Some)[seed as usize % 3];
        let mut engines = engines(settings);
        let mut bytes = vec![5u8; 300_000];
        let mut room = vec![7u8; 300];
        let whole = Data::dense(bytes.as_mut_ptr(), 300_000);
        let mut tickets = Vec::new();
        for round in 0..60u64 {
            let engine = &mut engines[0];
            let size = [10, 300_000][random.below(2) as usize];
            let part = Data::dense(whole.buffer, size);
            let synchronous = random.below(2) == 0;
            let started = match random.below(4) {
                0 => engine.send(part, PeerId(1), 8, 0, 1, synchronous, true),
                1 => engine.send(part, PeerId(2), 8, 0, 1, synchronous, true),
                2 => engine.receive(data(&mut room[100..200]), 8, exact(1, 1), Some(PeerId(1))),
                _ => {
                    let wild = Pattern {
                        source: None,
                        tag: None,
                    };
                    engine.receive(data(&mut room[100..200]), 8, wild, None)
                }
            };
            if let Started::Pending(ticket) = started {
                tickets.push(ticket);
                if random.below(4) == 0 {
                    engine.cancel(ticket);
                }
            }
            let odd = |random: &mut Random| match random.below(5) {
                0 => u64::MAX - random.below(3),
                1 => random.below(1 << 20),
                _ => random.below(120),
            };
            let ticket = match tickets.get(random.below(1 + round) as usize) {
                Some(ticket) => ticket.0,
                None => odd(&mut random) as u32,
            };
            const KINDS: [Kind; 10] = [
                Kind::Placed,
                Kind::Loss,
                Kind::Eager,
                Kind::Ready,
                Kind::Clear,
                Kind::Piece,
                Kind::Done,
                Kind::Credit,
                Kind::Cancel,
                Kind::Cancelled,
            ];
            let kind = KINDS[random.below(10) as usize];
            let payload = vec![9u8; random.below(400) as usize];
            let carries = matches!(kind, Kind::Eager | Kind::Piece);
            let header = Header {
                flags: random.below(4) as u8,
                length: if carries { payload.len() as u32 } else { 0 },
                context: 8 * random.below(3),
                source: odd(&mut random) as u32,
                tag: random.below(3) as i32,
                total: odd(&mut random),
                request: ticket,
                answer: ticket,
                cookie: odd(&mut random),
                ..Header::new(kind)
            };
            let payload = if carries { &payload[..] } else { &[] };
            engine.core.frame(PeerId(1), &header, payload);
            engine.progress();
            if let Some(&ticket) = tickets.get(random.below(30) as usize) {
                engine.test(ticket);
            }
        }
        assert!(room[..100].iter().chain(&room[200..]).all(|&b| b == 7));
        assert!(bytes.iter().all(|&b| b == 5));
    }
}

/// A receive from one who died before anybody had a link to it: the question finds out, and the answer travels on.
#[test]
fn who_waits_for_the_dead_asks_and_learns() {
    let (sim, links) = Links::simulated(Settings::calm(4));
    let mut engines: Vec<Engine> = (0..4)
        .zip(links)
        .map(|(me, links)| Engine::new(links, PeerId(me), 4, 0))
        .collect();
    let (mut a, mut b) = ([0u8; 4], [0u8; 4]);
    let hers = pending(engines[0].receive(data(&mut a), 8, exact(3, 1), Some(PeerId(3))));
    let his = pending(engines[1].receive(data(&mut b), 8, exact(0, 1), Some(PeerId(0))));
    sim.kill_before(PeerId(3), PeerId(2));
    for _ in 0..50 {
        for engine in &mut engines[..2] {
            engine.progress();
        }
    }
    assert_eq!(engines[0].peek(hers), None);
    engines[1].inquire(false);
    drive(&mut engines[..2], |e| e[0].core.peers[1].talked);
    engines[0].inquire(false);
    drive(&mut engines[..2], |e| e[0].peek(hers).is_some());
    assert_eq!(
        engines[0].test(hers).map(|o| o.end),
        Some(End::Lost(PeerId(3)))
    );
    // Rank 1 waits for a living one and goes on waiting, but knows.
    drive(&mut engines[..2], |e| !e[1].core.lost.is_empty());
    assert_eq!(engines[1].core.lost, [PeerId(3)]);
    assert_eq!(engines[1].peek(his), None);
    assert!(engines[2].core.lost.is_empty());
}

#[test]
fn nothing_succeeds_on_a_severed_context_and_senders_hear_why() {
    for size in [10usize, 900_000] {
        let mut engines = engines(Settings::calm(4));
        let mut bytes = vec![1u8; size];
        let mut room = vec![0u8; size];
        let early = engines[0].send(data(&mut bytes), PeerId(1), 9, 0, 1, false, true);
        for _ in 0..10 {
            engines[1].progress();
        }
        engines[1].sever(9, PeerId(3));
        let late = engines[1].receive(data(&mut room), 9, exact(0, 1), Some(PeerId(0)));
        assert_eq!(finish(&mut engines, 1, late).end, End::Lost(PeerId(3)));
        drive(&mut engines, |e| !e[0].core.lost.is_empty());
        engines[0].sever(9, PeerId(3));
        let end = finish(&mut engines, 0, early).end;
        assert_eq!(
            end,
            if size == 10 {
                End::Fine
            } else {
                End::Lost(PeerId(3))
            }
        );
        assert!(room.iter().all(|&b| b == 0));
        // Elsewhere all is well.
        let sent = engines[0].send(data(&mut bytes), PeerId(1), 8, 0, 1, false, true);
        let received = engines[1].receive(data(&mut room), 8, exact(0, 1), Some(PeerId(0)));
        assert_eq!(finish(&mut engines, 1, received).end, End::Fine);
        assert_eq!(finish(&mut engines, 0, sent).end, End::Fine);
    }
}

/// A rank dies in silence while others wait for it, in any manner: whoever goes on looking finds out, also in a job of
/// many, and each look is at a few.
#[test]
fn a_silent_death_is_found_by_looking() {
    let ranks = 200u32;
    for case in 0..4 {
        let mut settings = Settings::calm(ranks);
        settings.way = [Some(Way::Get), Some(Way::Put)][case % 2];
        let (sim, links) = Links::simulated(settings);
        let mut links = links.into_iter();
        let mut engine = Engine::new(links.next().expect("many"), PeerId(0), ranks, 0);
        let mut words = vec![[0u8; 4]; ranks as usize];
        let mut big = vec![0u8; 900_000];
        let mut tickets = Vec::new();
        for peer in 1..ranks {
            engine.core.peers[peer as usize].talked = true;
            if case < 2 {
                let word = &mut words[peer as usize];
                let one = engine.receive(data(word), 8, exact(peer, 1), Some(PeerId(peer)));
                tickets.push(pending(one));
            }
        }
        if case == 2 {
            // To one of them, who never receives.
            tickets.push(pending(engine.send(
                data(&mut big),
                PeerId(150),
                8,
                0,
                1,
                false,
                true,
            )));
        } else if case == 3 {
            let any = Pattern {
                source: None,
                tag: None,
            };
            tickets.push(pending(engine.receive(data(&mut words[0]), 8, any, None)));
        }
        // Somebody else is the only one to see it.
        sim.kill_before(PeerId(150), PeerId(1));
        let mut looks = 0;
        while engine.core.lost.is_empty() {
            engine.inquire(true);
            engine.progress();
            looks += 1;
        }
        assert_eq!(engine.core.lost, [PeerId(150)]);
        match case {
            0 | 1 => assert!((4..=7).contains(&looks), "{looks}"),
            2 => assert!(looks <= 2),
            _ => assert!(looks <= 7),
        }
        let over = tickets.iter().filter(|&&t| engine.peek(t).is_some());
        assert_eq!(over.count(), usize::from(case < 3));
    }
}
