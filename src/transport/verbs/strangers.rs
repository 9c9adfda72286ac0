//! Who meets on a real device, and who does not. Only where `MAYFLY_TEST_VERBS` says that there is one.

use crate::base::id::PeerId;
use crate::transport::{Links, Options, Outside, Sent, Sink};
use crate::wire::address::Address;
use crate::wire::frame::{Header, Kind};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Log {
    frames: Vec<u32>,
    lost: Vec<(u32, String)>,
}

impl Sink for Log {
    fn frame(&mut self, from: PeerId, _: &Header, _: &[u8]) {
        self.frames.push(from.0);
    }

    fn finished(&mut self, token: u64, _: bool) {
        panic!("nothing one-sided was begun, and {token} ended");
    }

    fn lost(&mut self, peer: PeerId, why: &str) {
        self.lost.push((peer.0, why.to_string()));
    }
}

fn is_here() -> bool {
    std::env::var_os("MAYFLY_TEST_VERBS").is_some()
}

fn open(me: u32, size: u32, job: u8, token: u8, transport: &str, timeout: &str) -> Links {
    let config = crate::base::config::Config::from_lookup(|name| match name {
        "MAYFLY_TRANSPORT" => Some(transport.to_string()),
        "MAYFLY_CONNECT_TIMEOUT" => Some(timeout.to_string()),
        _ => None,
    });
    Links::open(Options {
        me: PeerId(me),
        size,
        job: [job; 16],
        token: [token; 32],
        config: &config,
        fences: false,
        outside: Outside::default(),
    })
    .expect("links")
}

fn introduce(all: &mut [Links]) {
    let addresses: Vec<Vec<u8>> = all.iter().map(Links::address).collect();
    for links in all {
        links.introduce(addresses.clone()).expect("introduced");
    }
}

/// Each sends to all others what it can, until all is said or lost.
fn talk(all: &mut [Links]) -> Vec<Log> {
    let size = all.len();
    let mut logs: Vec<Log> = all.iter().map(|_| Log::default()).collect();
    let mut sent = vec![vec![false; size]; size];
    let done = |logs: &[Log]| {
        logs.iter()
            .all(|l| l.frames.len() + l.lost.len() >= size - 1)
    };
    while !done(&logs) {
        for me in 0..size {
            for to in (0..size).filter(|to| *to != me) {
                if !sent[me][to] {
                    let header = Header::new(Kind::Eager);
                    let answer = all[me].send(PeerId(to as u32), &header, |_| ());
                    sent[me][to] = answer != Sent::Busy;
                }
            }
            all[me].poll(&mut logs[me]);
        }
    }
    logs
}

#[test]
fn a_rank_of_another_token_or_job_is_refused_and_the_others_talk_on() {
    if !is_here() {
        return;
    }
    for (job, token) in [(1, 8), (2, 7)] {
        let mut all = vec![
            open(0, 3, 1, 7, "verbs", "2"),
            open(1, 3, 1, 7, "verbs", "2"),
            open(2, 3, job, token, "verbs", "2"),
        ];
        introduce(&mut all);
        let begun = Instant::now();
        let logs = talk(&mut all);
        assert!(begun.elapsed() >= Duration::from_secs(2));
        assert_eq!((&logs[0].frames, &logs[1].frames), (&vec![1], &vec![0]));
        assert!(logs[2].frames.is_empty());
        for log in &logs[..2] {
            assert_eq!(log.lost.len(), 1);
            let (peer, why) = &log.lost[0];
            assert!(*peer == 2 && why.contains("did not answer within"), "{why}");
        }
    }
}

#[test]
fn where_tcp_stands_by_it_takes_over_and_only_before_the_first_frame() {
    if !is_here() {
        return;
    }
    let mut all = [0, 1].map(|me| open(me, 2, 1, 7, "verbs,tcp", "30"));
    // Somewhere else on the fabric, where nobody listens.
    let mut addresses: Vec<Vec<u8>> = all.iter().map(Links::address).collect();
    let mut astray = Address::decode(&addresses[1]).expect("an address");
    let verbs = astray.verbs.as_mut().expect("verbs");
    verbs.queue_key ^= 1;
    all[1].introduce(addresses.clone()).expect("introduced");
    addresses[1] = astray.encode();
    all[0].introduce(addresses).expect("introduced");
    assert_eq!(all[0].transport_of(PeerId(1)), "verbs");
    let mut logs = [Log::default(), Log::default()];
    let begun = Instant::now();
    let header = Header::new(Kind::Eager);
    while all[0].send(PeerId(1), &header, |_| ()) == Sent::Busy {
        all[0].poll(&mut logs[0]);
    }
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(all[0].transport_of(PeerId(1)), "tcp");
    while logs[1].frames.is_empty() {
        all[0].poll(&mut logs[0]);
        all[1].poll(&mut logs[1]);
    }
    assert!(logs.iter().all(|l| l.lost.is_empty()));
}

#[test]
fn all_pairs_of_many_meet() {
    if !is_here() {
        return;
    }
    for size in [8, 24] {
        let mut all: Vec<Links> = (0..size)
            .map(|me| open(me, size, 1, 7, "verbs", "100"))
            .collect();
        introduce(&mut all);
        let begun = Instant::now();
        let logs = talk(&mut all);
        assert!(logs.iter().all(|l| l.lost.is_empty()));
        let pairs = size * (size - 1) / 2;
        println!("{pairs} pairs in one thread: {:?}", begun.elapsed());
    }
}
