//! One-sided calls: bytes that are right, ends told once and before a loss, frames behind a put, counting together.

use super::*;
use crate::transport::{Access, Atomic, Begun, Way};
use std::sync::Mutex;

/// Does it have one-sided calls between two ranks? TCP has none.
fn has_calls(over: Over) -> bool {
    match over {
        Over::Verbs(_, rndv) => rndv != "pieces",
        _ => matches!(over, Over::Sim(_) | Over::Memfd | Over::File),
    }
}

/// May all ranks count in one word together, and how many of so many do?
fn counters(over: Over, ranks: u32) -> u64 {
    match over {
        Over::Sim(_) => u64::from(ranks),
        // A device counts apart from the processor, so the owner does not.
        Over::Verbs(_, rndv) if rndv != "pieces" => u64::from(ranks - 1),
        _ => 1,
    }
}

/// Begins a call; false when the transport does not do that. (The simulation refuses now and then.)
fn begin(
    over: Over,
    links: &mut Links,
    checker: &mut Checker,
    mut call: impl FnMut(&mut Links) -> Begun,
) -> bool {
    let mut refused = 0;
    loop {
        match call(links) {
            Begun::Yes => return true,
            Begun::Busy => drop(links.poll(checker)),
            Begun::No if matches!(over, Over::Sim(_)) && refused < 50 => refused += 1,
            Begun::No => return false,
        }
    }
}

fn until(links: &mut Links, checker: &mut Checker, done: impl Fn(&Checker) -> bool) {
    while !done(checker) {
        if !links.poll(checker) {
            links.sleep(LONG);
        }
    }
}

/// A rank's memory, shown to the others by address and key for each of them.
struct Shown {
    places: Mutex<Vec<Vec<(u64, u32)>>>,
}

impl Shown {
    fn new(ranks: u32) -> Shown {
        Shown {
            places: Mutex::new(vec![vec![(0, 0); ranks as usize]; ranks as usize]),
        }
    }

    /// Exposes; false when there is no exposing. All must call it.
    fn show(
        &self,
        over: Over,
        links: &mut Links,
        barrier: &Barrier,
        memory: &mut [u8],
        access: Access,
    ) -> Vec<crate::transport::Hold> {
        let me = links.me.0 as usize;
        let peers = links.routes.len();
        let mut holds = Vec::new();
        for peer in 0..peers as u32 {
            let (address, length) = (memory.as_mut_ptr(), memory.len());
            let mut tries = if matches!(over, Over::Sim(_)) { 50 } else { 1 };
            let exposed = loop {
                tries -= 1;
                let exposed = links.expose(PeerId(peer), address, length, access);
                if exposed.is_some() || tries == 0 {
                    break exposed;
                }
            };
            if let Some(exposed) = exposed {
                let place = (address as u64, exposed.key);
                self.places.lock().expect("whole")[me][peer as usize] = place;
                holds.push(exposed.hold);
            }
        }
        barrier.wait();
        holds
    }

    fn of(&self, owner: u32, me: u32) -> (u64, u32) {
        self.places.lock().expect("whole")[owner as usize][me as usize]
    }
}

const ROOM: usize = 200_000;

/// Everybody puts into everybody's memory, its own too, a part each; a frame follows, on which the bytes are looked at.
/// Then they are read back.
#[test]
fn puts_and_gets_move_the_right_bytes() {
    // Of mixed ones each pair is one of the others.
    for over in all().into_iter().filter(|o| !matches!(o, Over::Mixed)) {
        const RANKS: u32 = 3;
        const ROUNDS: u64 = 10;
        let shown = Shown::new(RANKS);
        run(over, RANKS, |me, links, barrier| {
            struct Looker<'a> {
                checker: Checker,
                memory: &'a [u8],
            }
            impl Sink for Looker<'_> {
                fn frame(&mut self, from: PeerId, header: &Header, payload: &[u8]) {
                    let part = &self.memory[from.0 as usize * ROOM..][..header.total as usize];
                    let number = header.cookie;
                    for (at, b) in part.iter().enumerate().step_by(7) {
                        let right = byte(from.0, self.checker.me, number, at);
                        assert_eq!(*b, right, "{at} of {number} from {}", from.0);
                    }
                    self.checker.frame(from, header, payload);
                }
                fn finished(&mut self, token: u64, fine: bool) {
                    self.checker.finished(token, fine);
                }
                fn lost(&mut self, peer: PeerId, why: &str) {
                    self.checker.lost(peer, why);
                }
            }
            let mut memory = vec![0u8; ROOM * RANKS as usize];
            let holds = shown.show(over, links, barrier, &mut memory, Access::Atomic);
            // Two between processes: the kernel does not count.
            let holds = match holds.len() {
                1 => [
                    holds,
                    shown.show(over, links, barrier, &mut memory, Access::Write),
                ]
                .concat(),
                _ => {
                    barrier.wait();
                    holds
                }
            };
            if !has_calls(over) {
                assert_eq!(holds.len(), 2, "one's own memory alone");
                assert_eq!(links.way(PeerId((me + 1) % RANKS)), Way::Pieces);
                let (remote, key) = shown.of(me, me);
                let other = PeerId((me + 1) % RANKS);
                let from = memory.as_ptr();
                assert_eq!(links.put(other, from, remote, key, 8, 1), Begun::No);
                return;
            }
            // SAFETY: nobody frees it before the end of this block, where all are done.
            let seen = unsafe { std::slice::from_raw_parts(memory.as_ptr(), memory.len()) };
            let mut looker = Looker {
                checker: Checker::new(me, RANKS),
                memory: seen,
            };
            let mut out = vec![vec![0u8; ROOM]; RANKS as usize];
            let mut back = vec![0u8; ROOM];
            let mut token = 0;
            for number in 0..ROUNDS {
                for to in 0..RANKS {
                    let (remote, key) = shown.of(to, me);
                    let remote = remote + u64::from(me) * ROOM as u64;
                    let long = length(me, to, number, ROOM);
                    let from = &mut out[to as usize];
                    for (at, b) in from[..long].iter_mut().enumerate() {
                        *b = byte(me, to, number, at);
                    }
                    let call = |links: &mut Links| {
                        links.put(PeerId(to), from.as_ptr(), remote, key, long, token)
                    };
                    while call(links) != Begun::Yes {
                        links.poll(&mut looker);
                    }
                    token += 1;
                    let mut header = Header::new(Kind::Eager);
                    header.cookie = number;
                    header.source = me;
                    header.tag = to as i32;
                    header.total = long as u64;
                    while links.send(PeerId(to), &header, |_| ()) != Sent::Done {
                        links.poll(&mut looker);
                    }
                    while looker.checker.finished.len() < token as usize {
                        links.poll(&mut looker);
                    }
                    let mut call = |links: &mut Links| {
                        links.get(PeerId(to), back.as_mut_ptr(), remote, key, long, token)
                    };
                    while call(links) != Begun::Yes {
                        links.poll(&mut looker);
                    }
                    token += 1;
                    while looker.checker.finished.len() < token as usize {
                        if !links.poll(&mut looker) {
                            links.sleep(LONG);
                        }
                    }
                    assert!(back[..long] == from[..long], "{number} from {to} to {me}");
                }
                // The next round overwrites what this one's frames are about.
                while looker.checker.total() < (number + 1) * u64::from(RANKS) {
                    if !links.poll(&mut looker) {
                        links.sleep(LONG);
                    }
                }
                barrier.wait();
            }
            assert!(looker.checker.finished.iter().all(|&(_, fine)| fine));
            barrier.wait();
            holds.into_iter().for_each(|hold| links.conceal(hold));
        });
    }
}

/// Everybody counts in the first rank's words, in both manners; each old value is seen by one alone.
#[test]
fn atomics_add_up() {
    for over in all() {
        const RANKS: u32 = 4;
        const ROUNDS: u64 = 60;
        let shown = Shown::new(RANKS);
        let olds: Mutex<Vec<u64>> = Mutex::new(Vec::new());
        run(over, RANKS, |me, links, barrier| {
            let mut checker = Checker::new(me, RANKS);
            let mut words = vec![0u64; 2];
            // SAFETY: the words' own bytes.
            let bytes = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 16) };
            let holds = shown.show(over, links, barrier, bytes, Access::Atomic);
            let (remote, key) = shown.of(0, me);
            let mut old = 0u64;
            let mut ended = 0;
            let mut can = true;
            let mut call = |links: &mut Links, what: Atomic, at: u64, can: &mut bool| {
                let into: *mut u64 = &mut old;
                *can = begin(over, links, &mut checker, |links| {
                    links.atomic(PeerId(0), what, remote + at, key, into, ended)
                });
                if *can {
                    ended += 1;
                    until(links, &mut checker, |c| c.finished.len() as u64 == ended);
                    assert_eq!(checker.finished.last(), Some(&(ended - 1, true)));
                }
                // SAFETY: it is `old`, which the call has ended writing to.
                unsafe { into.read() }
            };
            // The kernel counts for nobody else; a rank counts in its own memory.
            let capable = match counters(over, RANKS) {
                1 => me == 0,
                all => u64::from(RANKS) == all || me != 0,
            };
            let rounds = if capable || me != 0 { ROUNDS } else { 0 };
            for round in 0..rounds {
                let seen = call(links, Atomic::FetchAdd(3), 0, &mut can);
                if !can {
                    break;
                }
                olds.lock().expect("whole").push(seen);
                let mut guess = round;
                loop {
                    let swap = Atomic::CompareSwap {
                        compare: guess,
                        swap: guess + 1,
                    };
                    let seen = call(links, swap, 8, &mut can);
                    if seen == guess {
                        break;
                    }
                    guess = seen;
                }
            }
            assert!(can == capable || rounds == 0, "{over:?}");
            if can {
                let (what, into) = (Atomic::FetchAdd(1), &mut old as *mut u64);
                let odd = links.atomic(PeerId(0), what, remote + 4, key, into, 1);
                assert_eq!(odd, Begun::No);
            }
            while barrier_with(links, &mut checker, barrier, &olds, over, RANKS, ROUNDS) {}
            if me == 0 {
                let counted = ROUNDS * counters(over, RANKS);
                // SAFETY: all are done with them.
                let words = unsafe { [words.as_ptr().read(), words.as_ptr().add(1).read()] };
                assert_eq!(words, [counted * 3, counted]);
                let mut olds = olds.lock().expect("whole").clone();
                olds.sort_unstable();
                assert!((0..counted).map(|n| n * 3).eq(olds), "each value once");
            }
            barrier.wait();
            holds.into_iter().for_each(|hold| links.conceal(hold));
        });
    }
}

#[test]
fn a_loss_ends_what_is_under_way_first() {
    for seed in 0..20 {
        let mut settings = Settings::rough(2, seed);
        (settings.refuse, settings.delay) = (0, 50);
        let (sim, mut links) = Links::simulated(settings);
        let mut checker = Checker::new(0, 2);
        let mut there = vec![7u8; 4096];
        let mut here = vec![0u8; 4096];
        let (at, length) = (there.as_mut_ptr(), there.len());
        let exposed = links[1].expose(PeerId(0), at, length, Access::Atomic);
        let key = exposed.expect("exposed").key;
        let mut old = 0u64;
        let (remote, peer, over) = (at as u64, PeerId(1), Over::Sim(seed));
        let (into, word): (*mut u8, *mut u64) = (here.as_mut_ptr(), &mut old);
        let (add, link) = (Atomic::FetchAdd(1), &mut links[0]);
        assert!(begin(over, link, &mut checker, |l| l
            .get(peer, into, remote, key, 4096, 0)));
        assert!(begin(over, link, &mut checker, |l| l
            .put(peer, into, remote, key, 4096, 1)));
        assert!(begin(over, link, &mut checker, |l| l
            .atomic(peer, add, remote, key, word, 2)));
        let given_up = seed % 2 == 1;
        if given_up {
            link.give_up(peer);
        } else {
            sim.kill(peer);
        }
        while checker.finished.len() < 3 || (checker.lost.is_empty() && !given_up) {
            link.poll(&mut checker);
        }
        assert!(checker.lost.len() < 2 && checker.ended_before_loss.is_none_or(|n| n == 3));
        for _ in 0..100 {
            link.poll(&mut checker);
        }
        assert_eq!(checker.finished.len(), 3);
        // What ended before was fine; what did not, never touches anything again.
        let before = there.clone();
        here.fill(9);
        if given_up {
            assert_eq!(post(link, 0, 1, 0, 8), Sent::Lost);
            let mut other = Checker::new(1, 2);
            while other.lost.is_empty() {
                links[1].poll(&mut other);
            }
        }
        assert_eq!(there, before);
        assert!(here.iter().all(|&b| b == 9));
    }
}

/// Memory that is not exposed, not to this peer, not for this, or no longer: never touched, and the peers part.
#[test]
fn nobody_reaches_what_is_not_exposed() {
    for case in 0..5 {
        let mut settings = Settings::calm(3);
        settings.way = Some(Way::Get);
        let (_sim, mut links) = Links::simulated(settings);
        let mut there = vec![7u8; 100];
        let mut here = vec![0u8; 100];
        let (to, access) = (PeerId(u32::from(case == 1) * 2), Access::Write);
        let exposed = links[1].expose(to, there.as_mut_ptr(), 100, access);
        let exposed = exposed.expect("exposed");
        let (mut key, mut at) = (exposed.key, there.as_ptr() as u64);
        let mut checker = Checker::new(0, 3);
        match case {
            0 => key += 1,
            2 => at += 1,
            3 => links[1].conceal(exposed.hold),
            _ => (),
        }
        let begun = if case == 4 {
            links[0].get(PeerId(1), here.as_mut_ptr(), at, key, 100, 5)
        } else {
            links[0].put(PeerId(1), here.as_ptr(), at, key, 100, 5)
        };
        assert_eq!(begun, Begun::Yes);
        let mut other = Checker::new(1, 3);
        for _ in 0..10 {
            links[0].poll(&mut checker);
            links[1].poll(&mut other);
        }
        assert_eq!(checker.finished, [(5, false)]);
        assert_eq!((checker.lost.len(), other.lost.len()), (1, 1), "{case}");
        assert!(there.iter().all(|&b| b == 7) && here.iter().all(|&b| b == 0));
    }
}

/// Keeps polling while others still count in this rank's memory; then all meet.
fn barrier_with(
    links: &mut Links,
    checker: &mut Checker,
    barrier: &Barrier,
    olds: &Mutex<Vec<u64>>,
    over: Over,
    ranks: u32,
    rounds: u64,
) -> bool {
    let all = rounds * counters(over, ranks);
    if (olds.lock().expect("whole").len() as u64) < all {
        links.poll(checker);
        std::thread::yield_now();
        return true;
    }
    barrier.wait();
    false
}

/// On a device alone: a peer that ends without a word (its queue pair is no more) is found by a probe, and before that
/// nothing is said of it. What was under way ends first.
#[test]
fn a_silent_end_is_found_by_a_probe() {
    for over in all().into_iter().filter(|o| matches!(o, Over::Verbs(..))) {
        for under_way in [false, true] {
            let (mut both, _station) = cluster(over, 2);
            let mut other = both.pop().expect("two");
            let mut links = both.pop().expect("two");
            let (mut mine, mut theirs) = (Checker::new(0, 2), Checker::new(1, 2));
            let mut there = vec![7u8; 4096];
            let mut here = vec![0u8; 4096];
            let length = there.len();
            let exposed = other.expose(PeerId(0), there.as_mut_ptr(), length, Access::Read);
            let at = there.as_ptr() as u64;
            for number in 0..2 {
                while post(&mut links, 0, 1, number, 8) != Sent::Done {
                    links.poll(&mut mine);
                    other.poll(&mut theirs);
                }
                while theirs.next[0] <= number {
                    links.poll(&mut mine);
                    other.poll(&mut theirs);
                }
            }
            drop(other);
            if let (true, true, Some(exposed)) = (under_way, has_calls(over), exposed) {
                let into = here.as_mut_ptr();
                let begun = links.get(PeerId(1), into, at, exposed.key, length, 5);
                assert_eq!(begun, Begun::Yes);
            }
            let begin = std::time::Instant::now();
            while mine.lost.is_empty() {
                links.probe(PeerId(1));
                links.poll(&mut mine);
                links.sleep(Duration::from_millis(50));
                assert!(begin.elapsed() < Duration::from_secs(20), "never found");
            }
            let ended = mine.finished.iter().all(|f| !f.1);
            assert!(ended && mine.ended_before_loss == Some(mine.finished.len()));
            drop(there);
        }
    }
}
