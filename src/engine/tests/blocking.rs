//! The receive that stands beside the queues.

use super::*;

const ANY: Pattern = Pattern {
    source: None,
    tag: None,
};

fn send(engine: &mut Engine, byte: u8, length: usize, tag: i32) -> Started {
    // Lives until the test ends: large ones are read later.
    let bytes = Box::leak(vec![byte; length].into_boxed_slice());
    engine.send(data(bytes), PeerId(0), 8, 1, tag, false, false)
}

fn block(engine: &mut Engine, room: &mut [u8], pattern: Pattern) -> bool {
    let from = pattern.source.map(PeerId);
    engine.block((room.as_mut_ptr(), room.len()), 8, pattern, from)
}

#[test]
fn it_is_older_than_what_is_posted_after_it() {
    let mut engines = engines(Settings::calm(2));
    let (mut first, mut second) = ([0u8; 4], [0u8; 4]);
    assert!(block(&mut engines[0], &mut first, ANY));
    let later = engines[0].receive(data(&mut second), 8, ANY, None);
    // There is one at a time, and none where something is posted.
    assert!(!block(&mut engines[0], &mut [0; 4], ANY));
    for byte in [1, 2] {
        send(&mut engines[1], byte, 4, 0);
    }
    assert_eq!(finish(&mut engines, 0, later).end, End::Fine);
    assert_eq!(finish_blocking(&mut engines, 0).end, End::Fine);
    assert_eq!((first, second), ([1; 4], [2; 4]));
    assert_eq!(engines[0].unblock(), None);
    settle(&mut engines);
}

#[test]
fn it_takes_no_message_of_another_pattern_or_context() {
    let mut engines = engines(Settings::calm(2));
    let mut room = [0u8; 4];
    let pattern = Pattern {
        source: Some(1),
        tag: Some(3),
    };
    assert!(block(&mut engines[0], &mut room, pattern));
    send(&mut engines[1], 1, 4, 2);
    let mut other = [5u8; 4];
    engines[1].send(data(&mut other), PeerId(0), 9, 1, 3, false, false);
    drive(&mut engines, |e| {
        e[0].probe(8, ANY).is_some() && e[0].probe(9, ANY).is_some()
    });
    assert_eq!(engines[0].unblock(), None);
    send(&mut engines[1], 7, 4, 3);
    assert_eq!(finish_blocking(&mut engines, 0).tag, 3);
    assert_eq!(room, [7; 4]);
    // What waits there already goes before.
    assert!(!block(&mut engines[0], &mut room, ANY));
}

#[test]
fn announced_and_too_long_messages_reach_it() {
    for (length, end) in [
        (60, End::Truncated(60)),
        (900_000, End::Truncated(900_000)),
        (50, End::Fine),
    ] {
        let mut engines = engines(Settings::calm(2));
        let mut room = [0u8; 60];
        assert!(block(&mut engines[0], &mut room[..50], ANY));
        let sent = send(&mut engines[1], 1, length, 0);
        let outcome = finish_blocking(&mut engines, 0);
        assert_eq!((outcome.end, outcome.bytes), (end, 50));
        assert_eq!(room.iter().filter(|&&b| b == 1).count(), 50);
        finish(&mut engines, 1, sent);
        settle(&mut engines);
    }
}

#[test]
fn it_ends_with_the_peer_it_waits_for() {
    let (sim, links) = Links::simulated(Settings::calm(2));
    let mut engines: Vec<Engine> = (0..)
        .zip(links)
        .map(|(me, l)| Engine::new(l, PeerId(me), 2, 0))
        .collect();
    let pattern = Pattern {
        source: Some(1),
        tag: None,
    };
    let mut room = [0u8; 4];
    assert!(block(&mut engines[0], &mut room, pattern));
    sim.kill(PeerId(1));
    assert_eq!(finish_blocking(&mut engines, 0).end, End::Lost(PeerId(1)));
    assert!(!block(&mut engines[0], &mut room, pattern));
}
