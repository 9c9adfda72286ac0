//! Relays that break, from seeds: pairs are cut at random bytes, of greetings, counts and frames alike. Everything
//! arrives, once and in order, and nobody is lost while some relay is left.

use crate::base::id::PeerId;
use crate::transport::conformance::{config, open_with};
use crate::transport::station::{bound, Station};
use crate::transport::tcp::random::Random;
use crate::transport::{Links, Sent, Sink};
use crate::wire::frame::{Header, Kind};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// What one of two ranks received.
#[derive(Default)]
struct Got {
    next: u32,
    lost: Option<String>,
}

impl Sink for Got {
    fn frame(&mut self, _: PeerId, header: &Header, payload: &[u8]) {
        assert_eq!(header.request, self.next, "lost, doubled or out of order");
        let right = |(at, byte): (usize, &u8)| *byte == (at as u32 ^ self.next) as u8;
        assert!(payload.iter().enumerate().all(right), "other bytes");
        self.next += 1;
    }

    fn finished(&mut self, token: u64, _: bool) {
        panic!("nothing one-sided was begun, and {token} ended");
    }

    fn lost(&mut self, _: PeerId, why: &str) {
        self.lost = Some(why.to_string());
    }
}

/// Two ranks that can meet at relays only.
struct Pair {
    links: [Links; 2],
    got: [Got; 2],
    sent: [u32; 2],
    begun: Instant,
}

impl Pair {
    fn new(station: &Station, sealed: bool) -> Pair {
        let settings = config(match sealed {
            true => &[
                ("MAYFLY_TRANSPORT", "tcp"),
                ("MAYFLY_PATHS", "relay"),
                ("MAYFLY_LOG", "error"),
            ],
            false => &[
                ("MAYFLY_TRANSPORT", "tcp"),
                ("MAYFLY_PATHS", "relay"),
                ("MAYFLY_LOG", "error"),
                ("MAYFLY_ENCRYPT", "never"),
            ],
        });
        let mut links = [0, 1].map(|me| open_with(me, 2, &settings, station.outside(me, &[3; 16])));
        let addresses: Vec<Vec<u8>> = links.iter().map(Links::address).collect();
        for l in &mut links {
            l.introduce(addresses.clone()).expect("introduced");
        }
        Pair {
            links,
            got: Default::default(),
            sent: [0; 2],
            begun: Instant::now(),
        }
    }

    fn send(&mut self, me: usize, length: usize) -> Sent {
        let number = self.sent[me];
        let header = Header {
            length: length as u32,
            request: number,
            ..Header::new(Kind::Eager)
        };
        let fill = |room: &mut [u8]| {
            for (at, byte) in room.iter_mut().enumerate() {
                *byte = (at as u32 ^ number) as u8;
            }
        };
        let sent = self.links[me].send(PeerId(1 - me as u32), &header, fill);
        self.sent[me] += u32::from(sent == Sent::Done);
        sent
    }

    fn poll(&mut self, me: usize) {
        if !self.links[me].poll(&mut self.got[me]) {
            self.links[me].sleep(Duration::from_micros(200));
        }
        let state = || self.links[me].tcp.as_ref().expect("tcp").state();
        assert!(self.begun.elapsed() < LIMIT, "it stands: {}", state());
    }

    fn lost(&self) -> bool {
        self.got.iter().any(|got| got.lost.is_some())
    }

    /// Polls both until all that was sent has come.
    fn finish(&mut self) {
        while (0..2).any(|me| self.got[me].next < self.sent[1 - me]) {
            for me in 0..2 {
                self.poll(me);
            }
            assert!(!self.lost(), "{:?}", self.got[0].lost);
        }
    }
}

fn trial(seed: u64, cuts: u64) {
    let mut random = Random(seed);
    let station = Station::with_relays(2, 1 + random.below(2));
    let mut pair = Pair::new(&station, random.below(2) == 0);
    let mut seen = u64::MAX;
    while station.cuts() < cuts {
        if station.cuts() != seen {
            // A cut takes a while: the limit is that of standing still.
            pair.begun = Instant::now();
            let most = [200, 3_000, 400_000][random.below(3)];
            seen = station.cut_after(random.below(most) as u64);
        }
        let me = random.below(2);
        for _ in 0..random.below(4) {
            let length = match random.below(20) {
                0 => 60_000,
                n => n * 37,
            };
            pair.send(me, length);
        }
        pair.poll(me);
        assert!(!pair.lost(), "seed {seed}: {:?}", pair.got.map(|g| g.lost));
    }
    station.cut_after(u64::MAX / 2);
    pair.finish();
    assert!(pair.sent.iter().all(|sent| *sent > 0));
}

/// MAYFLY_CUTS: how many each seed has.
#[test]
fn pairs_that_are_cut_anywhere_lose_nothing() {
    let cuts = std::env::var("MAYFLY_CUTS").ok();
    let cuts = cuts.and_then(|cuts| cuts.parse().ok()).unwrap_or(6);
    for seed in 1..=4 {
        trial(seed, cuts);
    }
}

/// Both have heard of each other through the first relay of the pair.
fn linked(station: &Station) -> Pair {
    let mut pair = Pair::new(station, true);
    for me in 0..2 {
        assert_eq!(pair.send(me, 100), Sent::Done);
    }
    pair.finish();
    pair
}

#[test]
fn a_relay_that_dies_is_replaced_by_another_or_by_itself_started_again() {
    let mut station = Station::with_relays(2, 2);
    let mut pair = linked(&station);
    // Pairs go to the relay of their number.
    station.kill_one(1);
    for me in 0..2 {
        assert_eq!(pair.send(me, 60_000), Sent::Done);
    }
    pair.finish();
    station.restart_one(1);
    station.kill_one(0);
    for me in 0..2 {
        assert_eq!(pair.send(me, 60_000), Sent::Done);
    }
    pair.finish();
    station.kill_one(1);
    let mut polls = 0;
    // Nobody is there for a while, and what is sent waits, up to a bound.
    while polls < 50 {
        while pair.send(0, 60_000) == Sent::Done {}
        for me in 0..2 {
            pair.poll(me);
        }
        polls += 1;
    }
    assert!((10..40).contains(&pair.sent[0]), "{}", pair.sent[0]);
    station.restart_one(0);
    pair.finish();
    assert!(!pair.lost());
}

#[test]
fn a_pair_that_does_not_come_back_is_lost_and_says_what_was_tried() {
    let station = Station::new(2);
    let mut pair = linked(&station);
    for l in &mut pair.links {
        l.tcp.as_mut().expect("tcp").relay_limit = Duration::from_millis(1);
    }
    station.kill();
    while pair.got.iter().any(|got| got.lost.is_none()) {
        for me in 0..2 {
            pair.poll(me);
        }
    }
    let first = station.relay.split(',').next().expect("a port");
    let tried = |why: &&String| why.contains("refused") && why.matches(first).count() > 1;
    let said: Vec<&String> = pair
        .got
        .iter()
        .filter_map(|got| got.lost.as_ref())
        .collect();
    assert!(said.iter().any(tried), "{said:?}");
    assert_eq!(pair.send(0, 1), Sent::Lost);
}

#[test]
fn what_was_tried_in_earlier_rounds_counts_whatever_it_came_to() {
    let station = Station::new(2);
    let mut pair = linked(&station);
    for l in &mut pair.links {
        // More than one round of attempts, less than two.
        l.tcp.as_mut().expect("tcp").relay_limit = Duration::from_millis(1200);
    }
    station.kill();
    // Connections come about, and nobody speaks.
    let place = station.relay.split(',').next().expect("a port");
    let rude = bound(place.parse().expect("an address"));
    std::thread::spawn(move || loop {
        drop(rude.accept());
    });
    while pair.got.iter().any(|got| got.lost.is_none()) {
        for me in 0..2 {
            pair.poll(me);
        }
    }
}

#[test]
fn who_says_goodbye_is_not_sought() {
    let station = Station::new(2);
    let mut pair = linked(&station);
    let bye = Header::new(Kind::Goodbye);
    assert_eq!(pair.links[0].send(PeerId(1), &bye, |_| ()), Sent::Done);
    pair.got[1].next = 0;
    // The end waits for the count of what was said last.
    let [first, second] = &mut pair.links;
    let got = &mut pair.got[1];
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| first.close());
        while got.next == 0 || !closing.is_finished() {
            second.poll(got);
        }
    });
    for _ in 0..100 {
        second.poll(got);
        second.sleep(Duration::from_micros(100));
    }
    assert!(got.lost.is_none(), "{:?}", got.lost);
    let tcp = second.tcp.as_ref().expect("tcp");
    assert!(!tcp.used(), "{}", tcp.state());
}

/// Looks at relays that were answered, of this rank.
fn seen(pair: &Pair, me: usize) -> u32 {
    let tcp = pair.links[me].tcp.as_ref().expect("tcp");
    tcp.seen_relays
}

#[test]
fn who_computes_is_awaited_while_a_relay_is_there() {
    let mut station = Station::new(2);
    let mut pair = linked(&station);
    // Nothing that is waited for here has a limit.
    pair.links[0].tcp.as_mut().expect("tcp").relay_limit = Duration::ZERO;
    station.kill_one(0);
    station.restart_one(0);
    assert_eq!(pair.send(0, 1000), Sent::Done);
    while seen(&pair, 0) < 1 {
        pair.poll(0);
    }
    for _ in 0..1000 {
        pair.poll(0);
    }
    assert!(pair.got[0].lost.is_none(), "{:?}", pair.got[0].lost);
    pair.links[0].tcp.as_mut().expect("tcp").relay_limit = LIMIT;
    pair.finish();
    pair.poll(0);
    assert!(!pair.lost());
    let tcp = pair.links[0].tcp.as_ref().expect("tcp");
    assert!(tcp.vigil.is_none(), "who is back is not sought");
}

#[test]
fn who_computes_while_its_relay_is_gone_for_good_is_lost_and_hears_of_it() {
    let station = Station::new(2);
    let mut pair = linked(&station);
    pair.links[0].tcp.as_mut().expect("tcp").relay_limit = Duration::from_millis(1);
    station.kill();
    assert_eq!(pair.send(0, 1000), Sent::Done);
    while pair.got[0].lost.is_none() {
        pair.poll(0);
    }
    let why = pair.got[0].lost.take().unwrap_or_default();
    let said = ["does not answer, and no relay does: relay", "refused"];
    assert!(said.iter().all(|part| why.contains(part)), "{why}");
    while pair.got[1].lost.is_none() {
        pair.poll(0);
        pair.poll(1);
    }
    let why = pair.got[1].lost.take().unwrap_or_default();
    assert!(why.contains("it has given this rank up"), "{why}");
}

#[test]
fn who_has_left_the_job_is_not_awaited() {
    let station = Station::new(2);
    let mut pair = linked(&station);
    station.leave(1);
    station.kill();
    assert_eq!(pair.send(0, 1000), Sent::Done);
    while pair.got[0].lost.is_none() {
        pair.poll(0);
    }
    let why = pair.got[0].lost.take().unwrap_or_default();
    assert!(why.contains("it has left the job"), "{why}");
    assert_eq!(pair.send(0, 1), Sent::Lost);
}

#[test]
fn what_a_relay_carries_is_settled_when_the_peer_has_counted_it() {
    let station = Station::new(2);
    let mut pair = linked(&station);
    let bye = Header::new(Kind::Goodbye);
    assert_eq!(pair.links[0].send(PeerId(1), &bye, |_| ()), Sent::Done);
    pair.got[1].next = 0;
    for _ in 0..50 {
        pair.poll(0);
        assert!(!pair.links[0].settled());
    }
    while !pair.links[0].settled() {
        pair.poll(1);
        pair.poll(0);
    }
    assert_eq!(pair.got[1].next, 1);
}

/// Ranks compute while their relays break and come back.
fn absences(seed: u64) {
    let mut random = Random(seed);
    let relays = 1 + random.below(2);
    let mut station = Station::with_relays(2, relays);
    let mut pair = Pair::new(&station, random.below(2) == 0);
    let mut dead = None;
    for _ in 0..5 {
        pair.begun = Instant::now();
        if let Some(at) = dead.take() {
            station.restart_one(at);
        }
        let absent = random.below(3);
        for step in 0..300 {
            let me = random.below(2);
            if me == absent {
                continue;
            }
            if step == 60 {
                // Where there is one only, it is back at once.
                let at = random.below(relays);
                station.kill_one(at);
                match relays {
                    1 => station.restart_one(at),
                    _ => dead = Some(at),
                }
            }
            pair.send(me, random.below(2000));
            pair.poll(me);
            assert!(!pair.lost(), "seed {seed}: {:?}", pair.got.map(|g| g.lost));
        }
    }
    pair.begun = Instant::now();
    pair.finish();
}

#[test]
fn ranks_that_compute_while_relays_break_lose_nothing() {
    for seed in 1..=4 {
        absences(seed);
    }
}
