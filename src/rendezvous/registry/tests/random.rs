//! Everybody does anything in any order.

use super::*;

/// Members that do anything in any order: whatever happens, the promises hold.
#[test]
fn promises_hold_under_random_behaviour() {
    let mut happened = (0, 0);
    for seed in 1..=300_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let size = 1 + random(5) as u32;
        let mut registry = registry(size, random(3) * 400, random(2) * 300);
        let mut open: BTreeSet<Connection> = BTreeSet::new();
        let mut rank_of: BTreeMap<Connection, u32> = BTreeMap::new();
        let mut left: BTreeSet<u32> = BTreeSet::new();
        let (mut ends, mut tables, mut now) = (0, 0, 0);
        for _ in 0..200 {
            now += random(40);
            let mut out = Vec::new();
            let pick = |n: u64| open.iter().nth(n as usize % open.len().max(1)).copied();
            match (random(9), pick(random(1 << 20))) {
                (0 | 1, _) | (_, None) => {
                    let (rank, epoch) = (random(u64::from(size) + 1) as u32, random(2) as u32);
                    if let Ok(c) = self::open(&mut registry, now, rank, epoch) {
                        open.insert(c);
                        registry.receive(now, c, join(rank, size, epoch), &mut out);
                        rank_of.insert(c, rank);
                    }
                }
                (2..=5, Some(c)) => registry.receive(now, c, fence(&[rank_of[&c] as u8]), &mut out),
                (6, Some(c)) if random(4) == 0 => {
                    left.insert(rank_of[&c]);
                    registry.receive(now, c, ToService::Finished, &mut out)
                }
                (7, Some(c)) if random(8) == 0 => {
                    open.remove(&c);
                    left.insert(rank_of[&c]);
                    registry.closed(now, c, "it broke", &mut out);
                }
                (8, Some(c)) if random(20) == 0 => {
                    let text = String::new();
                    registry.receive(now, c, ToService::Abort { code: 3, text }, &mut out);
                }
                (_, Some(c)) => registry.receive(now, c, ToService::Renew, &mut out),
            }
            registry.tick(now, &mut out);
            for effect in out {
                match effect {
                    Effect::Send(to, frame) => {
                        let unique: BTreeSet<_> = to.iter().collect();
                        assert_eq!(unique.len(), to.len(), "seed {seed}: told twice");
                        if let Outgoing::Member(ToMember::Table { blobs, .. }) = frame {
                            tables += 1;
                            assert_eq!(ends, 0, "seed {seed}: an exchange after the end");
                            let expected: Vec<Vec<u8>> = (0..size).map(|r| vec![r as u8]).collect();
                            assert_eq!(blobs, expected, "seed {seed}");
                            let mut ranks: BTreeSet<u32> = to.iter().map(|c| rank_of[c]).collect();
                            ranks.extend(&left);
                            assert_eq!(
                                ranks.len() as u32,
                                size,
                                "seed {seed}: a table must reach all ranks"
                            );
                        }
                    }
                    Effect::Close(c) => {
                        open.remove(&c);
                    }
                    Effect::Tell(_, _, Event::Over | Event::Aborted { .. }) => ends += 1,
                    Effect::Tell(..) | Effect::Pause(..) => {}
                }
            }
            assert!(ends <= 1, "seed {seed}: a job ends once");
            assert!(
                registry.next_deadline().is_none_or(|at| at > now),
                "seed {seed}: overdue"
            );
        }
        happened = (happened.0 + tables, happened.1 + ends);
    }
    assert!(
        happened.0 > 100 && happened.1 > 50,
        "too little happened: {happened:?}"
    );
}
