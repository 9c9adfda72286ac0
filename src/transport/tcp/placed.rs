//! Pieces that are read to their place, among others, from seeds: cut wherever the kernel cuts them, wanted no more while they
//! come, small frames between them. Every byte is where it belongs, and none elsewhere.

use crate::base::id::PeerId;
use crate::transport::conformance::{config, open};
use crate::transport::tcp::random::Random;
use crate::transport::tcp::MAX_PAYLOAD;
use crate::transport::{Links, Sent, Sink};
use crate::wire::frame::{Header, Kind};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// After which a test is given up.
const LIMIT: Duration = Duration::from_secs(60);
/// Bytes before and behind each place that nobody may touch.
const MARGIN: usize = 64;

fn byte(number: usize, at: usize) -> u8 {
    (number * 31 + at * 7 + at / 251) as u8
}

/// Of each frame its bytes and their place; how many have come, and from how many on nobody wants more.
struct Places {
    memory: Vec<Vec<u8>>,
    come: Vec<usize>,
    limits: Vec<usize>,
    /// How many bytes were read to their place, and how many handed out.
    placed: usize,
    handed: usize,
    small: usize,
    begun: BTreeSet<u32>,
}

impl Sink for Places {
    fn frame(&mut self, _: PeerId, header: &Header, payload: &[u8]) {
        let number = header.answer as usize;
        if payload.len() == 40 {
            assert_eq!(payload, [number as u8; 40]);
            self.small += 1;
            return;
        }
        let from = MARGIN + header.cookie as usize;
        self.memory[number][from..from + payload.len()].copy_from_slice(payload);
        self.come[number] += payload.len();
        self.handed += payload.len();
    }

    fn place(&mut self, _: PeerId, header: &Header) -> Option<*mut u8> {
        let number = header.answer as usize;
        if header.cookie as usize >= self.limits[number] {
            return None;
        }
        let from = MARGIN + header.cookie as usize;
        let place = &mut self.memory[number][from..from + header.length as usize];
        Some(place.as_mut_ptr())
    }

    /// Every second message finds its receive when it begins, the others when they are whole.
    fn begun(&mut self, _: PeerId, header: &Header) -> Option<Header> {
        assert_eq!((header.kind, header.cookie), (Kind::Eager, 0));
        if header.answer % 2 == 1 {
            return None;
        }
        assert!(self.begun.insert(header.answer), "begun twice");
        Some(Header {
            kind: Kind::Piece,
            ..*header
        })
    }

    fn placed(&mut self, _: PeerId, header: &Header, bytes: usize) {
        self.come[header.answer as usize] += bytes;
        self.placed += bytes;
    }

    fn finished(&mut self, token: u64, _: bool) {
        panic!("nothing one-sided was begun, and {token} ended");
    }

    fn lost(&mut self, peer: PeerId, why: &str) {
        panic!("rank {} was lost: {why}", peer.0);
    }
}

/// What rank 0 hears: nothing.
struct Deaf;

impl Sink for Deaf {
    fn frame(&mut self, _: PeerId, _: &Header, _: &[u8]) {}
    fn finished(&mut self, _: u64, _: bool) {}
    fn lost(&mut self, peer: PeerId, why: &str) {
        panic!("rank {} was lost: {why}", peer.0);
    }
}

/// Bytes placed and handed out.
fn trial(seed: u64) -> (usize, usize) {
    let mut random = Random(seed);
    let config = config(&[("MAYFLY_TRANSPORT", "tcp"), ("MAYFLY_LOG", "error")]);
    let mut links: Vec<Links> = (0..2).map(|me| open(me, 2, &config)).collect();
    let addresses: Vec<Vec<u8>> = links.iter().map(Links::address).collect();
    for l in &mut links {
        l.introduce(addresses.clone()).expect("introduced");
    }
    let frames = 80;
    let lengths: Vec<usize> = (0..frames)
        .map(|_| match random.below(4) {
            0 => 40,
            1 => 1 + random.below(20_000),
            2 => MAX_PAYLOAD,
            _ => 1 + random.below(MAX_PAYLOAD),
        })
        .collect();
    let mut places = Places {
        memory: lengths.iter().map(|l| vec![0xee; l + 2 * MARGIN]).collect(),
        come: vec![0; frames],
        limits: (0..frames)
            .map(|n| match random.below(6) {
                0 => random.below(lengths[n]),
                _ => usize::MAX,
            })
            .collect(),
        placed: 0,
        handed: 0,
        small: 0,
        begun: BTreeSet::new(),
    };
    let [mut from, mut to] = <[Links; 2]>::try_from(links).ok().expect("two");
    let (mut next, begun) = (0, Instant::now());
    let (small, large): (Vec<usize>, Vec<usize>) = (0..frames).partition(|&n| lengths[n] == 40);
    let whole = |p: &Places| {
        let all = |&n: &usize| p.come[n] == lengths[n] || p.limits[n] != usize::MAX;
        p.small == small.len() && large.iter().all(all)
    };
    let mut quiet = 0;
    while next < frames || !whole(&places) || quiet < 100 {
        quiet += usize::from(next == frames && whole(&places));
        assert!(
            begun.elapsed() < LIMIT,
            "seed {seed} stands still at {next}"
        );
        for _ in 0..random.below(6) {
            let Some(&length) = lengths.get(next) else {
                break;
            };
            let header = Header {
                length: length as u32,
                answer: next as u32,
                ..Header::new(if length == 40 || next % 3 == 0 {
                    Kind::Eager
                } else {
                    Kind::Piece
                })
            };
            let sent = match length {
                40 => from.send(PeerId(1), &header, |room| room.fill(next as u8)),
                _ => {
                    let mut bytes: Vec<u8> = (0..length).map(|at| byte(next, at)).collect();
                    let sent = from.send_run(PeerId(1), &header, &bytes);
                    // The program's again.
                    bytes.fill(0xdd);
                    sent
                }
            };
            match sent {
                Sent::Done => next += 1,
                Sent::Busy => break,
                Sent::Lost => panic!("seed {seed}: lost"),
            }
        }
        from.poll(&mut Deaf);
        if random.below(3) == 0 {
            to.poll(&mut places);
        }
    }
    for n in large {
        let memory = &places.memory[n];
        let edge = |bytes: &[u8]| bytes.iter().all(|b| *b == 0xee);
        assert!(edge(&memory[..MARGIN]) && edge(&memory[MARGIN + lengths[n]..]));
        // What was not wanted any more either came before or is untouched.
        let right = |(at, b): (usize, &u8)| {
            *b == byte(n, at) || (places.limits[n] != usize::MAX && *b == 0xee)
        };
        let inner = &memory[MARGIN..MARGIN + lengths[n]];
        assert!(
            inner.iter().enumerate().all(right),
            "seed {seed}, frame {n}"
        );
    }
    (places.placed, places.handed)
}

#[test]
fn every_byte_is_where_it_belongs() {
    let all: Vec<(usize, usize)> = (0..8).map(trial).collect();
    assert!(
        all.iter().all(|&(placed, handed)| placed > 0 && handed > 0),
        "{all:?}"
    );
}
