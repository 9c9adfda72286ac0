//! Few descriptors and many peers, from seeds: ranks that send to each other at random, that now and then do not look for
//! a long while, and that may keep so few connections that most are given up again and again. Everything arrives, once
//! and in order, and nobody is lost.

use crate::base::id::PeerId;
use crate::transport::conformance::{config, open};
use crate::transport::{Links, Sent, Sink};
use crate::wire::frame::{Header, Kind};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// After which a test is given up, with what it knows.
const LIMIT: Duration = Duration::from_secs(60);

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

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
