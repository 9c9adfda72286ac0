//! Few descriptors and many peers, from seeds: ranks that send to each other at random, that now and then do not look for
//! a long while, and that may keep so few connections that most are given up again and again. Everything arrives, once
//! and in order, and nobody is lost.

use crate::base::id::PeerId;
use crate::transport::conformance::{config, open};
use crate::transport::tcp::random::Random;
use crate::transport::{Links, Sent, Sink};
use crate::wire::frame::{Header, Kind};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// After which a test is given up, with what it knows.
const LIMIT: Duration = Duration::from_secs(60);

/// What one rank received: the next number wanted of each sender.
struct Got {
    me: u32,
    next: Vec<u32>,
    all: usize,
}

impl Sink for Got {
    fn frame(&mut self, from: PeerId, header: &Header, payload: &[u8]) {
        let (from, number) = (from.0 as usize, header.request);
        assert_eq!(number, self.next[from], "order from {from} to {}", self.me);
        let right = |(at, byte): (usize, &u8)| *byte == (at as u32 ^ number ^ from as u32) as u8;
        assert!(payload.iter().enumerate().all(right), "bytes from {from}");
        self.next[from] += 1;
        self.all += 1;
    }

    fn finished(&mut self, token: u64, _: bool) {
        panic!("nothing one-sided was begun, and {token} ended");
    }

    fn lost(&mut self, peer: PeerId, why: &str) {
        panic!("rank {} lost rank {}: {why}", self.me, peer.0);
    }
}

fn trial(seed: u64) {
    let mut random = Random(seed);
    let ranks = 2 + random.below(9);
    let config = match random.below(4) {
        0 => config(&[
            ("MAYFLY_TRANSPORT", "tcp"),
            ("MAYFLY_LOG", "error"),
            ("MAYFLY_ENCRYPT", "always"),
        ]),
        _ => config(&[("MAYFLY_TRANSPORT", "tcp"), ("MAYFLY_LOG", "error")]),
    };
    let mut links: Vec<Links> = (0..ranks as u32)
        .map(|me| open(me, ranks as u32, &config))
        .collect();
    let addresses: Vec<Vec<u8>> = links.iter().map(Links::address).collect();
    for l in &mut links {
        l.introduce(addresses.clone()).expect("introduced");
        if let Some(tcp) = &mut l.tcp {
            tcp.budget = 1 + random.below(3);
        }
    }
    let mut got: Vec<Got> = (0..ranks as u32)
        .map(|me| Got {
            me,
            next: vec![0; ranks],
            all: 0,
        })
        .collect();
    // Bursts to one peer, single messages, a hub: by seed.
    let hub = random.below(ranks);
    let mut waiting: Vec<VecDeque<(u32, u32, u32)>> = vec![VecDeque::new(); ranks];
    let mut sent = vec![vec![0u32; ranks]; ranks];
    let messages = 300;
    for _ in 0..messages {
        let from = random.below(ranks);
        let to = match random.below(3) {
            0 if from != hub => hub,
            _ => (from + 1 + random.below(ranks - 1)) % ranks,
        };
        let length = match random.below(12) {
            0 => 60_000,
            n => n * 37,
        };
        waiting[from].push_back((to as u32, sent[from][to], length as u32));
        sent[from][to] += 1;
    }
    let mut idle = vec![0usize; ranks];
    let begun = Instant::now();
    while got.iter().map(|g| g.all).sum::<usize>() < messages {
        let me = random.below(ranks);
        if idle[me] > 0 {
            // It computes.
            idle[me] -= 1;
            continue;
        }
        if random.below(200) == 0 {
            idle[me] = random.below(300);
        }
        for _ in 0..=random.below(4) {
            let Some(&(to, number, length)) = waiting[me].front() else {
                break;
            };
            let header = Header {
                length,
                request: number,
                ..Header::new(Kind::Eager)
            };
            let fill = |room: &mut [u8]| {
                for (at, byte) in room.iter_mut().enumerate() {
                    *byte = (at as u32 ^ number ^ me as u32) as u8;
                }
            };
            match links[me].send(PeerId(to), &header, fill) {
                Sent::Done => drop(waiting[me].pop_front()),
                Sent::Busy => break,
                Sent::Lost => panic!("seed {seed}: rank {me} lost rank {to}"),
            }
        }
        links[me].poll(&mut got[me]);
        if begun.elapsed() > LIMIT {
            let left: Vec<usize> = waiting.iter().map(VecDeque::len).collect();
            let had: Vec<usize> = got.iter().map(|g| g.all).collect();
            let states: Vec<String> = links
                .iter()
                .filter_map(|l| Some(l.tcp.as_ref()?.state()))
                .collect();
            panic!(
                "seed {seed}: {ranks} ranks stand still; to send {left:?}, received {had:?}\n{}",
                states.join("\n")
            );
        }
    }
    assert!(got.iter().all(|g| {
        let me = g.me as usize;
        (0..ranks).all(|from| g.next[from] == sent[from][me])
    }));
}

#[test]
fn few_descriptors_lose_nothing() {
    for seed in 1..=40 {
        trial(seed);
    }
}

/// Ranks of which only rank 0 calls MPI: it has sent a frame to each of the others.
fn deaf(ranks: u32, budget: usize) -> (Vec<Links>, Vec<Got>) {
    let config = config(&[
        ("MAYFLY_TRANSPORT", "tcp"),
        ("MAYFLY_LOG", "error"),
        ("MAYFLY_CONNECT_TIMEOUT", "1"),
    ]);
    let mut links: Vec<Links> = (0..ranks).map(|me| open(me, ranks, &config)).collect();
    let addresses: Vec<Vec<u8>> = links.iter().map(Links::address).collect();
    for l in &mut links {
        l.introduce(addresses.clone()).expect("introduced");
    }
    if let Some(tcp) = &mut links[0].tcp {
        tcp.budget = budget;
    }
    let got = |me| Got {
        me,
        next: vec![0; ranks as usize],
        all: 0,
    };
    for to in 1..ranks {
        let sent = links[0].send(PeerId(to), &Header::new(Kind::Eager), |_| ());
        assert_eq!(sent, Sent::Done);
    }
    (links, (0..ranks).map(got).collect())
}

#[test]
fn peers_that_never_answer_do_not_stop_a_rank_at_its_budget() {
    let (mut links, mut got) = deaf(12, 6);
    let begun = Instant::now();
    let open = |links: &[Links]| links[0].tcp.as_ref().map_or(0, |tcp| tcp.open_now());
    while open(&links) < 11 {
        links[0].poll(&mut got[0]);
        links[0].sleep(Duration::from_millis(5));
        assert!(begun.elapsed() < LIMIT, "{} of 11", open(&links));
    }
    // They look at last.
    while got.iter().map(|g| g.all).sum::<usize>() < 11 {
        for (l, got) in links.iter_mut().zip(&mut got) {
            l.poll(got);
        }
    }
}

#[derive(Default)]
struct Lost(Vec<(u32, String)>);

impl Sink for Lost {
    fn frame(&mut self, _: PeerId, _: &Header, _: &[u8]) {
        unreachable!("nobody sends");
    }

    fn lost(&mut self, peer: PeerId, why: &str) {
        self.0.push((peer.0, why.to_string()));
    }

    fn finished(&mut self, token: u64, _: bool) {
        panic!("nothing one-sided was begun, and {token} ended");
    }
}

#[test]
fn beyond_all_descriptors_peers_are_lost_with_the_reason() {
    let (mut links, _) = deaf(12, 2);
    let tcp = links[0].tcp.as_mut().expect("tcp");
    tcp.standstill = Duration::from_secs(2);
    let mut lost = Lost::default();
    let begun = Instant::now();
    // Eight descriptors, eleven peers.
    while lost.0.len() < 3 {
        links[0].poll(&mut lost);
        links[0].sleep(Duration::from_millis(5));
        assert!(begun.elapsed() < LIMIT, "{:?}", lost.0);
    }
    for (peer, why) in &lost.0 {
        let said = why.contains("this rank has 8 connections") && why.contains("ulimit -n");
        assert!(said, "rank {peer}: {why}");
    }
}
