//! One suite that every transport passes: order of a pair, whole payloads of all sizes, back-pressure, both directions
//! at once, many peers, fetching, sleeping without missing a waking, ends with and without goodbye, one-sided calls.

mod boards;
mod onesided;

use crate::base::config::Config;
use crate::base::id::PeerId;
use crate::transport::sim::Settings;
use crate::transport::station::Station;
use crate::transport::{Links, Options, Outside, Sent, Sink, SMALLEST};
use crate::wire::frame::{Header, Kind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Barrier;
use std::time::Duration;

/// A sleep that only an arrival ends, if nothing is wrong.
const LONG: Duration = Duration::from_secs(3600);

/// What links are made of.
#[derive(Clone, Copy, Debug)]
enum Over {
    Sim(u64),
    Memfd,
    File,
    Tcp,
    /// TCP with fewer connections than peers.
    Few,
    /// TCP, encrypted.
    Sealed,
    /// Everything through a relay.
    Relayed,
    /// Punched; nothing stands between.
    Punched,
    /// Through a relay at first, then punched.
    Upgraded,
    /// Odd ranks have TCP only, the others both.
    Mixed,
    /// RDMA: how small and how large messages go.
    Verbs(&'static str, &'static str),
}

/// What to try: all that needs no device, or, where `MAYFLY_TEST_VERBS` says that there is one, all that does.
fn all() -> Vec<Over> {
    if std::env::var_os("MAYFLY_TEST_VERBS").is_some() {
        return ["send", "ring"]
            .into_iter()
            .flat_map(|eager| ["get", "put", "pieces"].map(|rndv| Over::Verbs(eager, rndv)))
            .collect();
    }
    vec![
        Over::Sim(0),
        Over::Sim(1),
        Over::Sim(2),
        Over::Memfd,
        Over::File,
        Over::Tcp,
        Over::Few,
        Over::Sealed,
        Over::Relayed,
        Over::Punched,
        Over::Upgraded,
        Over::Mixed,
    ]
}

pub fn config(over: &'static [(&'static str, &'static str)]) -> Config {
    Config::from_lookup(|name| {
        let found = over.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value.to_string())
    })
}

/// Opened and not introduced.
pub fn open(me: u32, size: u32, config: &Config) -> Links {
    open_with(me, size, config, Outside::default())
}

pub fn open_with(me: u32, size: u32, config: &Config, outside: Outside) -> Links {
    Links::open(Options {
        me: PeerId(me),
        size,
        job: [3; 16],
        token: [4; 32],
        config,
        fences: crate::transport::shm::fence::register(),
        outside,
    })
    .expect("links open")
}

/// The links, and what must live as long.
fn cluster(over: Over, ranks: u32) -> (Vec<Links>, Station) {
    let station = Station::new(ranks);
    (links(over, ranks, &station), station)
}

fn links(over: Over, ranks: u32, station: &Station) -> Vec<Links> {
    if let Over::Sim(seed) = over {
        let settings = match seed {
            0 => Settings::calm(ranks),
            seed => Settings::rough(ranks, seed),
        };
        return Links::simulated(settings).1;
    }
    let mut links: Vec<Links> = (0..ranks)
        .map(|me| {
            let config = match over {
                Over::Memfd => config(&[("MAYFLY_TRANSPORT", "shm")]),
                Over::File => config(&[("MAYFLY_TRANSPORT", "shm"), ("MAYFLY_SHM", "file")]),
                Over::Sealed => {
                    config(&[("MAYFLY_TRANSPORT", "tcp"), ("MAYFLY_ENCRYPT", "always")])
                }
                Over::Relayed => config(&[("MAYFLY_TRANSPORT", "tcp"), ("MAYFLY_PATHS", "relay")]),
                Over::Punched => config(&[("MAYFLY_TRANSPORT", "tcp"), ("MAYFLY_PATHS", "punch")]),
                Over::Upgraded => {
                    config(&[("MAYFLY_TRANSPORT", "tcp"), ("MAYFLY_PATHS", "punch,relay")])
                }
                Over::Verbs(eager, rndv) => verbs(eager, rndv),
                Over::Mixed if me % 2 == 0 => config(&[]),
                _ => config(&[("MAYFLY_TRANSPORT", "tcp")]),
            };
            let outside = match over {
                Over::Relayed | Over::Punched | Over::Upgraded => station.outside(me, &[3; 16]),
                _ => Outside::default(),
            };
            open_with(me, ranks, &config, outside)
        })
        .collect();
    let addresses: Vec<Vec<u8>> = links.iter().map(Links::address).collect();
    for l in &mut links {
        l.introduce(addresses.clone()).expect("introduced");
        if let (Over::Few, Some(tcp)) = (over, &mut l.tcp) {
            tcp.budget = 1;
        }
        if let (Over::Upgraded, Some(tcp)) = (over, &mut l.tcp) {
            tcp.heads = [Duration::from_millis(20), Duration::ZERO];
        }
    }
    links
}

fn verbs(eager: &'static str, rndv: &'static str) -> Config {
    Config::from_lookup(|name| {
        let value = match name {
            "MAYFLY_TRANSPORT" => "verbs",
            "MAYFLY_VERBS_EAGER" => eager,
            "MAYFLY_VERBS_RNDV" => rndv,
            _ => return None,
        };
        Some(value.to_string())
    })
}

struct Deaf;

impl Sink for Deaf {
    fn frame(&mut self, _: PeerId, _: &Header, _: &[u8]) {}
    fn finished(&mut self, _: u64, _: bool) {}
    fn lost(&mut self, _: PeerId, _: &str) {}
}

/// Runs `rank` for each of the ranks, each in a thread of its own.
fn run(over: Over, ranks: u32, rank: impl Fn(u32, &mut Links, &Barrier) + Sync) {
    let barrier = Barrier::new(ranks as usize);
    let left = AtomicU32::new(ranks);
    let (all, _station) = cluster(over, ranks);
    std::thread::scope(|scope| {
        for (me, mut links) in all.into_iter().enumerate() {
            let (rank, barrier, left) = (&rank, &barrier, &left);
            scope.spawn(move || {
                rank(me as u32, &mut links, barrier);
                // Whoever is done looks on, as a rank in MPI_Finalize does: others may wait for it to give up a
                // connection.
                left.fetch_sub(1, Ordering::SeqCst);
                while left.load(Ordering::SeqCst) > 0 {
                    links.poll(&mut Deaf);
                    std::thread::sleep(Duration::from_micros(100));
                }
                links.close();
            });
        }
    });
}

/// What the payload of a pair's frame must be.
fn byte(from: u32, to: u32, number: u64, at: usize) -> u8 {
    let mut z = u64::from(from) << 40 ^ u64::from(to) << 32 ^ number << 8 ^ (at as u64 >> 3);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z >> (8 * (at % 8))) as u8
}

/// How long it must be: nothing, 8 bytes, the most, anything.
fn length(from: u32, to: u32, number: u64, most: usize) -> usize {
    let mut z = u64::from(from) << 20 ^ u64::from(to) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    match z % 8 {
        0 => 0,
        1 => most,
        2..=4 => 8,
        _ => (z >> 8) as usize % (most + 1),
    }
}

/// Checks every frame.
struct Checker {
    me: u32,
    next: Vec<u64>,
    goodbyes: u32,
    lost: Vec<(u32, String)>,
    /// Tokens, and whether they ended well.
    finished: Vec<(u64, bool)>,
    /// How many had ended at the first loss.
    ended_before_loss: Option<usize>,
}

impl Checker {
    fn new(me: u32, ranks: u32) -> Checker {
        Checker {
            me,
            next: vec![0; ranks as usize],
            goodbyes: 0,
            lost: Vec::new(),
            finished: Vec::new(),
            ended_before_loss: None,
        }
    }

    fn total(&self) -> u64 {
        self.next.iter().sum()
    }
}

impl Sink for Checker {
    fn frame(&mut self, from: PeerId, header: &Header, payload: &[u8]) {
        assert_eq!(header.length as usize, payload.len());
        if header.kind == Kind::Goodbye {
            self.goodbyes += 1;
            return;
        }
        let number = self.next[from.0 as usize];
        assert_eq!(header.cookie, number, "order of {} -> {}", from.0, self.me);
        assert_eq!((header.source, header.tag), (from.0, self.me as i32));
        for (at, b) in payload.iter().enumerate() {
            assert_eq!(*b, byte(from.0, self.me, number, at), "{at} of {number}");
        }
        self.next[from.0 as usize] += 1;
    }

    fn finished(&mut self, token: u64, fine: bool) {
        assert!(!self.finished.iter().any(|f| f.0 == token), "ended twice");
        self.finished.push((token, fine));
    }

    fn lost(&mut self, peer: PeerId, why: &str) {
        self.ended_before_loss.get_or_insert(self.finished.len());
        self.lost.push((peer.0, why.to_string()));
    }
}

fn post(links: &mut Links, me: u32, to: u32, number: u64, length: usize) -> Sent {
    let mut header = Header::new(Kind::Eager);
    header.length = length as u32;
    header.cookie = number;
    header.source = me;
    header.tag = to as i32;
    links.send(PeerId(to), &header, |payload| {
        assert_eq!(payload.len(), length);
        for (at, b) in payload.iter_mut().enumerate() {
            *b = byte(me, to, number, at);
        }
    })
}

/// Everybody sends `count` frames to everybody, itself too, as fast as it goes.
fn storm(over: Over, ranks: u32, count: u64) {
    run(over, ranks, |me, links, _| {
        let mut checker = Checker::new(me, ranks);
        let most: Vec<usize> = (0..ranks).map(|p| links.max_payload(PeerId(p))).collect();
        assert!(most.iter().all(|&most| most >= SMALLEST));
        let mut sent = vec![0u64; ranks as usize];
        while sent.iter().sum::<u64>() < count * u64::from(ranks)
            || checker.total() < count * u64::from(ranks)
            || !links.idle()
        {
            let mut moved = false;
            for to in 0..ranks {
                let number = sent[to as usize];
                if number < count {
                    let length = length(me, to, number, most[to as usize]);
                    match post(links, me, to, number, length) {
                        Sent::Done => {
                            sent[to as usize] += 1;
                            moved = true;
                        }
                        Sent::Busy => (),
                        Sent::Lost => panic!("{me} lost {to}: {:?}", checker.lost),
                    }
                }
            }
            moved |= links.poll(&mut checker);
            if !moved {
                links.sleep(LONG);
            }
        }
        assert!(checker.lost.is_empty(), "{:?}", checker.lost);
    });
}

#[test]
fn storms_pass_whole_and_in_order() {
    for over in all() {
        storm(over, 2, 300);
        storm(over, 5, 40);
    }
    storm(Over::Memfd, 1, 1000);
}

#[test]
fn a_receiver_that_does_not_read_makes_its_sender_busy_and_nothing_is_lost() {
    for over in all() {
        run(over, 2, |me, links, barrier| {
            let mut checker = Checker::new(me, 2);
            let most = links.max_payload(PeerId(1 - me));
            // Two that meet have to look both; then the receiver stops.
            let met = u64::from(matches!(over, Over::Verbs(..)));
            while met == 1 && me == 0 && post(links, 0, 1, 0, most) != Sent::Done {
                links.poll(&mut checker);
            }
            while met == 1 && me == 1 && checker.next[0] == 0 {
                links.poll(&mut checker);
            }
            if me == 0 {
                let mut sent = met;
                let mut refused = 0;
                // Sockets of the kernel hold some megabytes before they push back.
                while refused < 100 {
                    match post(links, 0, 1, sent, most) {
                        Sent::Done => sent += 1,
                        Sent::Busy => refused += 1,
                        Sent::Lost => panic!("lost"),
                    }
                    assert!(sent < 100_000, "something bounds what is under way");
                    // Nothing arrives, but what is refused must be retried after a poll.
                    links.poll(&mut checker);
                }
                barrier.wait();
                // The receiver reads now: a sleeping sender is woken when there is room.
                let end = sent + 50;
                while sent < end || !links.idle() {
                    if sent == end || post(links, 0, 1, sent, most) != Sent::Done {
                        if !links.poll(&mut checker) {
                            links.sleep(LONG);
                        }
                    } else {
                        sent += 1;
                    }
                }
                let mut last = Header::new(Kind::Goodbye);
                last.total = sent;
                while links.send(PeerId(1), &last, |_| ()) != Sent::Done || !links.idle() {
                    links.poll(&mut checker);
                }
            } else {
                barrier.wait();
                while checker.goodbyes == 0 {
                    if !links.poll(&mut checker) {
                        links.sleep(LONG);
                    }
                }
                assert!(checker.next[0] > 50);
            }
            assert!(checker.lost.is_empty(), "{:?}", checker.lost);
        });
    }
}

#[test]
fn no_waking_is_missed() {
    for over in all() {
        // Each waits for the other at once and without polling twice; a missed waking would hang. A device in software
        // takes milliseconds for each where processors are few.
        let rounds = match over {
            Over::Verbs(..) => 300,
            _ => 3000,
        };
        run(over, 2, |me, links, _| {
            let mut checker = Checker::new(me, 2);
            let other = 1 - me;
            for number in 0..rounds {
                if me == 1 {
                    while checker.next[0] <= number {
                        links.poll(&mut checker);
                        if checker.next[0] <= number {
                            links.sleep(LONG);
                        }
                    }
                }
                while post(links, me, other, number, 8) == Sent::Busy {
                    links.poll(&mut checker);
                }
                if me == 0 {
                    while checker.next[1] <= number {
                        links.poll(&mut checker);
                        if checker.next[1] <= number {
                            links.sleep(LONG);
                        }
                    }
                }
            }
            while !links.idle() {
                links.poll(&mut checker);
            }
        });
    }
}

#[test]
fn memory_is_fetched_where_that_is_possible() {
    for over in all() {
        let there: Vec<u8> = (0..300_000).map(|i| byte(0, 1, 7, i)).collect();
        let at = there.as_ptr() as u64;
        let could: Vec<bool> = std::thread::scope(|scope| {
            let there = &there;
            let rank = |mut links: Links| {
                scope.spawn(move || {
                    let other = PeerId(1);
                    let can = links.can_fetch(other);
                    if can {
                        let mut here = vec![0u8; there.len()];
                        links
                            .fetch(other, at, here.as_mut_ptr(), here.len())
                            .expect("fetched");
                        assert_eq!(&here, there);
                    }
                    assert!(links.can_fetch(PeerId(0)), "one's own memory");
                    let mut here = vec![0u8; 100];
                    links
                        .fetch(PeerId(0), at + 5, here.as_mut_ptr(), 100)
                        .expect("fetched");
                    assert_eq!(here, there[5..105]);
                    can
                })
            };
            let (mut links, _station) = cluster(over, 2);
            let second = links.pop();
            let first = links.pop().expect("two ranks");
            let could = rank(first).join().expect("no panic");
            drop(second);
            vec![could]
        });
        if !matches!(over, Over::Sim(_) | Over::Memfd | Over::File) {
            assert!(!could[0]);
        }
    }
}

#[test]
fn a_goodbye_is_no_loss_and_an_end_without_is() {
    let device = all().into_iter().filter(|o| matches!(o, Over::Verbs(..)));
    let device: Vec<(Over, bool)> = device.flat_map(|o| [(o, true), (o, false)]).collect();
    let without = [
        (Over::Tcp, true),
        (Over::Tcp, false),
        (Over::Sealed, true),
        (Over::Sealed, false),
        (Over::Relayed, true),
        (Over::Relayed, false),
        (Over::Punched, false),
        (Over::Memfd, true),
    ];
    let tried = if device.is_empty() {
        without.to_vec()
    } else {
        device
    };
    for (over, polite) in tried {
        run(over, 2, |me, links, _| {
            let mut checker = Checker::new(me, 2);
            if me == 1 {
                while post(links, 1, 0, 0, 100) != Sent::Done {
                    links.poll(&mut checker);
                }
                if polite {
                    let goodbye = Header::new(Kind::Goodbye);
                    while links.send(PeerId(0), &goodbye, |_| ()) != Sent::Done {
                        links.poll(&mut checker);
                    }
                }
                while !links.idle() {
                    links.poll(&mut checker);
                }
                links.close();
            } else {
                // What was sent before the end arrives; then the end is told, or not.
                let done = |c: &Checker| c.next[1] == 1 && (c.goodbyes == 1 || c.lost.len() == 1);
                while !done(&checker) {
                    links.poll(&mut checker);
                }
                for _ in 0..2000 {
                    links.poll(&mut checker);
                }
                assert_eq!(checker.lost.len(), usize::from(!polite), "{over:?}");
                if !polite {
                    assert_eq!(post(links, 0, 1, 0, 8), Sent::Lost);
                    assert_eq!(links.transport_of(PeerId(1)), "none");
                }
            }
        });
    }
    let (sim, mut links) = Links::simulated(Settings::rough(2, 5));
    let mut checker = Checker::new(0, 2);
    while post(&mut links[1], 1, 0, 0, 100) == Sent::Busy {}
    sim.kill(PeerId(1));
    while checker.lost.is_empty() {
        links[0].poll(&mut checker);
    }
    assert_eq!(checker.next[1], 1, "what it had sent arrived before");
    assert_eq!(post(&mut links[0], 0, 1, 0, 8), Sent::Lost);
}

#[test]
fn the_choice_follows_machine_and_settings() {
    let (mut mixed, _station) = cluster(Over::Mixed, 3);
    assert_eq!(mixed[0].transport_of(PeerId(0)), "self");
    assert_eq!(mixed[0].transport_of(PeerId(1)), "tcp");
    assert_eq!(mixed[0].transport_of(PeerId(2)), "shm");
    assert_eq!(mixed[1].transport_of(PeerId(0)), "tcp");

    let shm = config(&[("MAYFLY_TRANSPORT", "shm")]);
    let tcp = config(&[("MAYFLY_TRANSPORT", "tcp")]);
    let mut one = open(0, 2, &shm);
    let other = open(1, 2, &tcp);
    let error = one
        .introduce(vec![one.address(), other.address()])
        .expect_err("nothing in common");
    assert!(error.detail.contains("rank 0") && error.detail.contains("rank 1"));
    assert!(error.detail.contains("MAYFLY_TRANSPORT"), "{error}");

    let mut one = open(0, 2, &shm);
    let error = one
        .introduce(vec![one.address(), b"nonsense".to_vec()])
        .expect_err("no address");
    assert!(error.detail.contains("rank 1"), "{error}");
}
