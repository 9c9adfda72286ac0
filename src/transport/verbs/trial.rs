//! Traffic between two ends on a real device, connected by hand. Only where `MAYFLY_TEST_VERBS` says that there is one.

use crate::base::id::PeerId;
use crate::transport::verbs::peer::{Hall, Local};
use crate::transport::verbs::sys::{Channel, Global, Library, Pd, Peering, Qp, Route, Sending};
use crate::transport::verbs::traffic::{Ground, Traffic};
use crate::transport::{Sent, Sink};
use crate::wire::frame::{Header, Kind};
use std::time::Instant;

/// Is there a device to try?
fn is_here() -> bool {
    std::env::var_os("MAYFLY_TEST_VERBS").is_some()
}

struct End {
    traffic: Traffic,
    gid: [u8; 16],
    index: u8,
}

fn end(me: u32, rings: bool) -> End {
    let library = Library::open().expect("libibverbs").expect("a device");
    let devices = library.devices().expect("a list");
    let name = devices.names()[0].to_string();
    let context = devices.open(&name).expect("it opens");
    let entry = *context.gids(1).expect("gids").last().expect("a gid");
    let what = context.attributes().expect("attributes");
    let ground = Ground {
        pd: Pd::new(&context).expect("a domain"),
        channel: Channel::new(&context).expect("a channel"),
        port: 1,
        requests: what.max_qp_wr as u32,
        shared_requests: what.max_srq_wr as u32,
        completions: what.max_cqe as u32,
        regions: what.max_mr as u32,
        rings,
        part: 1 << 20,
        fork_safe: true,
        reads: true,
        writes: true,
        atomics: true,
    };
    End {
        traffic: Traffic::new(me, 2, ground).expect("traffic"),
        gid: entry.gid,
        index: entry.index,
    }
}

fn connect(qp: &Qp, mine: &Local, theirs: &Local, gid: [u8; 16], index: u8) {
    qp.receive_from(&Peering {
        route: Route {
            port: 1,
            lid: 0,
            level: 0,
            global: Some(Global {
                gid,
                from_index: index,
                hops: 64,
                class: 0,
            }),
        },
        pair: theirs.qpn,
        first: theirs.psn,
        mtu: 3,
        reads: 16,
        not_ready: 12,
    })
    .expect("it receives");
    qp.send_to(&Sending {
        first: mine.psn,
        timeout: 16,
        retries: 7,
        not_ready_retries: 7,
        reads: 16,
    })
    .expect("it sends");
}

fn pair(rings: bool) -> [Traffic; 2] {
    let mut ends = [end(0, rings), end(1, rings)];
    let locals = [0, 1].map(|me: u32| ends[me as usize].traffic.prepare(1 - me).expect("prepared"));
    for me in 0..2 {
        let other = 1 - me;
        let qp = ends[me].traffic.fresh(other as u32).expect("a pair");
        connect(
            qp,
            &locals[me],
            &locals[other],
            ends[other].gid,
            ends[me].index,
        );
    }
    for (end, other) in ends.iter_mut().zip([1u32, 0]) {
        end.traffic.connected(other, &locals[other as usize].terms);
    }
    ends.map(|end| end.traffic)
}

#[derive(Default)]
struct Count {
    frames: u64,
    bytes: u64,
    lost: Vec<String>,
}

impl Sink for Count {
    fn frame(&mut self, _: PeerId, header: &Header, payload: &[u8]) {
        assert_eq!(header.cookie, self.frames);
        assert!(payload
            .iter()
            .enumerate()
            .all(|(i, b)| *b == (i as u64 ^ header.cookie) as u8));
        self.frames += 1;
        self.bytes += payload.len() as u64;
    }
    fn finished(&mut self, _: u64, _: bool) {}
    fn lost(&mut self, _: PeerId, why: &str) {
        self.lost.push(why.to_string());
    }
}

fn send(traffic: &mut Traffic, to: u32, number: u64, length: usize) -> Sent {
    let mut header = Header::new(Kind::Eager);
    header.length = length as u32;
    header.cookie = number;
    traffic.send(to, &header, |payload| {
        for (i, b) in payload.iter_mut().enumerate() {
            *b = (i as u64 ^ number) as u8;
        }
    })
}

#[test]
fn frames_of_all_sizes_pass_both_ways_at_once() {
    if !is_here() {
        return;
    }
    for rings in [false, true] {
        storm(rings);
    }
}

fn storm(rings: bool) {
    let mut ends = pair(rings);
    let mut got = [Count::default(), Count::default()];
    let mut sent = [0u64; 2];
    let (mut busy, mut refused) = (0, 0);
    const COUNT: u64 = 2000;
    while got.iter().any(|g| g.frames < COUNT) {
        for me in 0..2 {
            if sent[me] < COUNT {
                let length = match sent[me] % 7 {
                    0 => Traffic::max_payload(),
                    1 => 0,
                    n => (n * 97) as usize,
                };
                match send(&mut ends[me], 1 - me as u32, sent[me], length) {
                    Sent::Done => sent[me] += 1,
                    Sent::Busy => busy += 1,
                    Sent::Lost => panic!("lost: {:?}", ends[me].losses),
                }
            }
            if sent[me].is_multiple_of(99) || sent[me] == COUNT || busy > refused {
                refused = busy;
                ends[me].poll(&mut got[me]);
            }
        }
    }
    assert!(busy > 0 && got.iter().all(|g| g.lost.is_empty()));
}

/// No check, but figures.
#[test]
fn small_frames_are_fast() {
    if !is_here() {
        return;
    }
    for rings in [false, true] {
        let best = latency(rings);
        println!("half a round trip of 8 bytes in one thread, rings {rings}: {best} ns");
    }
}

fn latency(rings: bool) -> u128 {
    let mut ends = pair(rings);
    let mut got = [Count::default(), Count::default()];
    const COUNT: u64 = 1000;
    let mut best = u128::MAX;
    for round in 0..COUNT {
        let begin = Instant::now();
        assert_eq!(send(&mut ends[0], 1, round, 8), Sent::Done);
        while got[1].frames == round {
            ends[1].poll(&mut got[1]);
        }
        assert_eq!(send(&mut ends[1], 0, round, 8), Sent::Done);
        while got[0].frames == round {
            ends[0].poll(&mut got[0]);
        }
        best = best.min(begin.elapsed().as_nanos() / 2);
    }
    best
}
