//! How ranks meet that cannot dial each other, what they say when they cannot, and who is turned away.

use crate::base::id::PeerId;
use crate::transport::conformance::{config, open_with};
use crate::transport::station::Station;
use crate::transport::{Known, Links, Outside, Sent, Sink};
use crate::wire::address::Address;
use crate::wire::frame::{Header, Kind};
use crate::wire::hello::Path;
use crate::wire::note::{Note, NOTE};
use std::time::Duration;

type Settings = &'static [(&'static str, &'static str)];

const RELAY: Settings = &[("MAYFLY_TRANSPORT", "tcp"), ("MAYFLY_PATHS", "relay")];
const BOTH: Settings = &[("MAYFLY_TRANSPORT", "tcp"), ("MAYFLY_PATHS", "punch,relay")];

#[derive(Default)]
struct Log {
    frames: Vec<(u32, u64)>,
    lost: Vec<(u32, String)>,
}

impl Sink for Log {
    fn frame(&mut self, from: PeerId, header: &Header, _: &[u8]) {
        self.frames.push((from.0, header.cookie));
    }

    fn finished(&mut self, token: u64, _: bool) {
        panic!("nothing one-sided was begun, and {token} ended");
    }

    fn lost(&mut self, peer: PeerId, why: &str) {
        self.lost.push((peer.0, why.to_string()));
    }
}

fn opened(station: &Station, settings: Settings) -> [Links; 2] {
    [0, 1].map(|me| open_with(me, 2, &config(settings), station.outside(me, &[3; 16])))
}

fn introduced(links: &mut [Links; 2], change: impl Fn(&mut Address)) {
    let addresses: Vec<Vec<u8>> = links
        .iter()
        .map(|l| {
            let mut address = Address::decode(&l.address()).expect("an address");
            change(&mut address);
            address.encode()
        })
        .collect();
    for l in links {
        l.introduce(addresses.clone()).expect("introduced");
    }
}

fn post(links: &mut Links, to: u32, number: u64) -> Sent {
    let mut header = Header::new(Kind::Eager);
    header.cookie = number;
    links.send(PeerId(to), &header, |_| ())
}

/// Polls all until it is so.
fn until(links: &mut [Links], logs: &mut [Log], done: impl Fn(&[Links], &[Log]) -> bool) {
    while !done(links, logs) {
        for (l, log) in links.iter_mut().zip(logs.iter_mut()) {
            if !l.poll(log) {
                l.sleep(Duration::from_millis(1));
            }
        }
    }
}

fn paths(links: &Links, peer: u32) -> Vec<Path> {
    links.tcp.as_ref().expect("tcp").paths(peer)
}

#[test]
fn a_relayed_pair_punches_later_and_nothing_is_lost_or_reordered() {
    // Slowly: as on a machine where each rank looks seldom.
    for (early, slowly) in [(true, false), (false, false), (true, true)] {
        let station = Station::new(2);
        let mut links = opened(&station, BOTH);
        introduced(&mut links, |_| ());
        for l in &mut links {
            let tcp = l.tcp.as_mut().expect("tcp");
            let never = Duration::from_secs(36_000);
            tcp.heads = [if early { Duration::ZERO } else { never }, Duration::ZERO];
        }
        let mut logs = [Log::default(), Log::default()];
        let mut sent = [0u64; 2];
        let mut relayed = false;
        let punched =
            |links: &[Links]| (0..2).all(|me| paths(&links[me], 1 - me as u32) == [Path::Punched]);
        let mut after = 0;
        while after < 200 {
            for me in 0..2 {
                if post(&mut links[me], 1 - me as u32, sent[me]) == Sent::Done {
                    sent[me] += 1;
                }
                links[me].poll(&mut logs[me]);
                relayed |= paths(&links[me], 1 - me as u32).contains(&Path::Relayed);
            }
            if slowly && after == 0 {
                std::thread::sleep(Duration::from_millis(30));
            }
            if relayed && sent[0] > 100 && sent[1] > 100 {
                for (me, l) in (0..).zip(&mut links) {
                    l.tcp.as_mut().expect("tcp").punch_now(1 - me);
                }
            }
            after += u64::from(punched(&links));
        }
        assert!(relayed || early);
        until(&mut links, &mut logs, |_, logs| {
            (0..2).all(|me| logs[me].frames.len() as u64 == sent[1 - me])
        });
        for (me, log) in logs.iter().enumerate() {
            let other = 1 - me as u32;
            assert!((0..).zip(&log.frames).all(|(n, f)| *f == (other, n)));
            assert!(log.lost.is_empty(), "{:?}", log.lost);
        }
    }
}

#[test]
fn behind_a_symmetric_translator_it_is_the_relay_at_once() {
    let station = Station::new(2);
    let mut links = opened(&station, BOTH);
    introduced(&mut links, |a| a.symmetric |= a.rank == 1);
    links[1].tcp.as_mut().expect("tcp").symmetric();
    for l in &mut links {
        // Would wait for ever if the relay were a second choice.
        l.tcp.as_mut().expect("tcp").heads = [Duration::ZERO, Duration::from_secs(3600)];
    }
    let mut logs = [Log::default(), Log::default()];
    assert_eq!(post(&mut links[0], 1, 7), Sent::Done);
    until(&mut links, &mut logs, |_, logs| !logs[1].frames.is_empty());
    assert_eq!(logs[1].frames, [(0, 7)]);
    assert_eq!(paths(&links[1], 0), [Path::Relayed]);
}

#[test]
fn who_is_reached_in_no_way_is_lost_with_all_that_was_tried() {
    let station = Station::new(2);
    let mut links = opened(&station, &[("MAYFLY_TRANSPORT", "tcp")]);
    // Its port is nobody's.
    introduced(&mut links, |a| {
        a.port = 1;
        a.symmetric = true;
    });
    station.kill();
    links[0].tcp.as_mut().expect("tcp").relay_limit = Duration::ZERO;
    let mut logs = [Log::default(), Log::default()];
    assert_eq!(post(&mut links[0], 1, 7), Sent::Done);
    until(&mut links, &mut logs, |_, logs| !logs[0].lost.is_empty());
    let why = &logs[0].lost[0].1;
    let first = station.relay.split(',').next().expect("a port");
    assert!(why.contains("127.0.0.1:1: Connection refused"), "{why}");
    assert!(why.contains(&format!("relay {first}: ")), "{why}");
    assert_eq!(post(&mut links[0], 1, 8), Sent::Lost);
}

#[test]
fn a_rank_that_knows_the_token_cannot_pass_for_another() {
    for settings in [
        &[
            ("MAYFLY_TRANSPORT", "tcp"),
            ("MAYFLY_ENCRYPT", "never"),
            ("MAYFLY_CONNECT_TIMEOUT", "1"),
        ],
        &[
            ("MAYFLY_TRANSPORT", "tcp"),
            ("MAYFLY_ENCRYPT", "always"),
            ("MAYFLY_CONNECT_TIMEOUT", "1"),
        ],
    ] {
        let open = |me| open_with(me, 2, &config(settings), Outside::default());
        let (mut target, honest, mut liar) = (open(0), open(1), open(1));
        let addresses = vec![target.address(), honest.address()];
        target.introduce(addresses).expect("introduced");
        let addresses = vec![target.address(), liar.address()];
        liar.introduce(addresses).expect("introduced");
        assert_eq!(post(&mut liar, 0, 1), Sent::Done);
        let mut all = [target, liar];
        let mut logs = [Log::default(), Log::default()];
        until(&mut all, &mut logs, |_, logs| !logs[1].lost.is_empty());
        assert!(logs[0].frames.is_empty() && logs[0].lost.is_empty());
    }
}

#[test]
fn who_must_encrypt_takes_nothing_open() {
    let settings: [Settings; 2] = [
        &[
            ("MAYFLY_TRANSPORT", "tcp"),
            ("MAYFLY_ENCRYPT", "always"),
            ("MAYFLY_CONNECT_TIMEOUT", "1"),
        ],
        &[
            ("MAYFLY_TRANSPORT", "tcp"),
            ("MAYFLY_ENCRYPT", "never"),
            ("MAYFLY_CONNECT_TIMEOUT", "1"),
        ],
    ];
    let mut links = [0, 1].map(|me| {
        let settings = config(settings[me as usize]);
        open_with(me, 2, &settings, Outside::default())
    });
    introduced(&mut links, |_| ());
    let mut logs = [Log::default(), Log::default()];
    assert_eq!(post(&mut links[1], 0, 1), Sent::Done);
    until(&mut links, &mut logs, |_, logs| !logs[1].lost.is_empty());
    assert!(logs[0].frames.is_empty());
}

#[test]
fn a_peer_that_comes_before_it_is_known_waits_until_it_is() {
    for settings in [RELAY, &[("MAYFLY_TRANSPORT", "tcp")]] {
        let station = Station::new(2);
        let mut links = opened(&station, settings);
        let addresses: Vec<Vec<u8>> = links.iter().map(Links::address).collect();
        links[1].introduce(addresses.clone()).expect("introduced");
        links[0].introduce_few(&[]).expect("nobody");
        let mut logs = [Log::default(), Log::default()];
        assert_eq!(post(&mut links[1], 0, 1), Sent::Done);
        for _ in 0..200 {
            for (l, log) in links.iter_mut().zip(&mut logs) {
                l.poll(log);
                l.sleep(Duration::from_micros(100));
            }
        }
        assert!(logs[0].frames.is_empty());
        let mut known = Known::none_of(2);
        for (rank, address) in (0..).zip(&addresses) {
            known.add(rank, address);
        }
        links[0].introduce_all(known).expect("introduced");
        until(&mut links, &mut logs, |_, logs| !logs[0].frames.is_empty());
        assert_eq!(logs[0].frames, [(1, 1)]);
    }
}

#[test]
fn who_was_given_up_is_told_so() {
    let station = Station::new(2);
    let mut links = opened(&station, RELAY);
    introduced(&mut links, |_| ());
    let mut logs = [Log::default(), Log::default()];
    assert_eq!(post(&mut links[1], 0, 1), Sent::Done);
    until(&mut links, &mut logs, |_, logs| !logs[0].frames.is_empty());
    // Rank 0 loses its links and with them the peer; rank 1 begins anew.
    links[0].tcp.as_mut().expect("tcp").close(Duration::ZERO);
    let mut fresh = open_with(1, 2, &config(RELAY), station.outside(1, &[3; 16]));
    let addresses = vec![links[0].address(), fresh.address()];
    fresh.introduce(addresses).expect("introduced");
    std::mem::swap(&mut links[1], &mut fresh);
    logs[1] = Log::default();
    assert_eq!(post(&mut links[1], 0, 2), Sent::Done);
    until(&mut links, &mut logs, |_, logs| !logs[1].lost.is_empty());
    let why = &logs[1].lost[0].1;
    assert!(why.contains("it has given this rank up"), "{why}");
}

#[test]
fn notes_of_nonsense_or_of_an_enemy_do_no_harm() {
    let station = Station::new(2);
    let mut links = opened(&station, BOTH);
    introduced(&mut links, |_| ());
    let mut logs = [Log::default(), Log::default()];
    let mut state = 11u64;
    for round in 0..3000u32 {
        let mut note = match round % 4 {
            3 => Note::Refusal(round / 100).encode().to_vec(),
            0 => Note::Call(round / 100).encode().to_vec(),
            1 => Note::Answer(round / 100).encode().to_vec(),
            _ => vec![0; NOTE],
        };
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        if round % 5 == 0 {
            note[(state >> 40) as usize % NOTE] = (state >> 50) as u8;
        }
        note.truncate((state >> 33) as usize % 40);
        station.note(round % 4, round % 2, &note);
        if round % 16 == 0 {
            for (l, log) in links.iter_mut().zip(&mut logs) {
                l.poll(log);
            }
        }
    }
    for me in 0..2 {
        while post(&mut links[me], 1 - me as u32, 5) == Sent::Busy {
            links[me].poll(&mut logs[me]);
        }
    }
    until(&mut links, &mut logs, |_, logs| {
        logs.iter().all(|log| !log.frames.is_empty())
    });
    assert!(logs.iter().all(|log| log.lost.is_empty()));
}
