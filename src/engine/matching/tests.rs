//! Pairing against a plain list, and what is easily got wrong.

use super::*;

fn any() -> Pattern {
    Pattern {
        source: None,
        tag: None,
    }
}

fn exact(source: u32, tag: i32) -> Pattern {
    Pattern {
        source: Some(source),
        tag: Some(tag),
    }
}

#[test]
fn the_oldest_receive_wins_whatever_its_pattern() {
    let mut c: Context<u32, u32> = Context::default();
    c.post(exact(1, 7), 10);
    c.post(
        Pattern {
            source: None,
            tag: Some(7),
        },
        11,
    );
    c.post(any(), 12);
    c.post(exact(2, 7), 13);
    assert_eq!(c.match_message(2, 7), Some(11));
    assert_eq!(c.match_message(2, 7), Some(12));
    assert_eq!(c.match_message(2, 7), Some(13));
    assert_eq!(c.match_message(2, 7), None);
    assert_eq!(c.match_message(1, 7), Some(10));
    assert!(c.is_empty());
}

#[test]
fn a_withdrawn_receive_matches_nothing_and_only_once() {
    let mut c: Context<u32, u32> = Context::default();
    let a = c.post(exact(0, 0), 1);
    let b = c.post(exact(0, 0), 2);
    assert_eq!(c.withdraw(a, exact(0, 0)), Some(1));
    assert_eq!(c.withdraw(a, exact(0, 0)), None);
    assert_eq!(c.match_message(0, 0), Some(2));
    assert_eq!(c.withdraw(b, exact(0, 0)), None);
}

#[test]
fn from_the_middle_of_a_row_anything_can_be_taken() {
    let mut c: Context<u32, u32> = Context::default();
    let posted: Vec<Posted> = (0..4).map(|n| c.post(exact(0, 0), n)).collect();
    assert_eq!(c.withdraw(posted[2], exact(0, 0)), Some(2));
    c.post(exact(0, 0), 4);
    c.post(any(), 5);
    let matched: Vec<u32> = std::iter::from_fn(|| c.match_message(0, 0)).collect();
    assert_eq!(matched, [0, 1, 3, 4, 5]);
    (0..4).for_each(|n| c.keep(0, 0, n));
    assert_eq!(c.take_where(|n| *n == 1), Some(1));
    c.keep(0, 1, 4);
    let taken: Vec<u32> = std::iter::from_fn(|| Some(c.take(any())?.2)).collect();
    assert_eq!(taken, [0, 2, 3, 4]);
    assert!(c.is_empty());
}

#[test]
fn contexts_are_kept_apart_and_forgotten_when_empty() {
    let mut all: Contexts<u32, u32> = Contexts::default();
    assert!(all.get_mut(8).is_none());
    all.of(8).keep(1, 1, 10);
    all.of(u64::MAX).keep(1, 1, 20);
    all.of(16).post(exact(1, 1), 30);
    all.forget(8);
    assert_eq!(all.of(8).take(any()), Some((1, 1, 10)));
    all.forget(8);
    assert!(all.get_mut(8).is_none());
    // The place is used again, with empty queues.
    assert_eq!(all.of(24).take(any()), None);
    assert_eq!(all.queues.len(), 3);
    assert_eq!(all.of(u64::MAX).take(any()), Some((1, 1, 20)));
    assert_eq!(all.of(16).match_message(1, 1), Some(30));
}

/// More bins than are kept when they are empty: they come and go.
#[test]
fn bins_are_used_again() {
    let mut c: Context<u32, u32> = Context::default();
    for round in 0..3 {
        for tag in 0..500 {
            c.post(exact(0, tag), tag as u32 + round);
            c.keep(1, tag, tag as u32);
        }
        for tag in (0..500).rev() {
            assert_eq!(c.match_message(0, tag), Some(tag as u32 + round));
            assert_eq!(c.take(exact(1, tag)), Some((1, tag, tag as u32)));
        }
    }
    assert!(c.is_empty());
    assert!(c.posted.ends.len() <= 500 && c.unexpected.ends.len() <= 500);
}

/// Against a plain list, with random patterns and a seed.
#[test]
fn agrees_with_a_plain_list() {
    let mut seed = 12345u64;
    let mut random = move |n: u64| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) % n
    };
    for round in 0..200 {
        let mut c: Context<u64, u64> = Context::default();
        let mut posted: Vec<(Pattern, u64)> = Vec::new();
        let mut waiting: Vec<(u32, i32, u64)> = Vec::new();
        let wild_chance = if round % 2 == 0 { 4 } else { 1000 };
        for id in 0..200u64 {
            let source = random(3) as u32;
            let tag = random(3) as i32;
            let pattern = Pattern {
                source: if random(wild_chance) == 0 {
                    None
                } else {
                    Some(source)
                },
                tag: if random(wild_chance) == 0 {
                    None
                } else {
                    Some(tag)
                },
            };
            let fits = |p: &Pattern, s: u32, t: i32| {
                p.source.is_none_or(|x| x == s) && p.tag.is_none_or(|x| x == t)
            };
            if random(2) == 0 {
                let expected = posted.iter().position(|(p, _)| fits(p, source, tag));
                let got = c.match_message(source, tag);
                assert_eq!(got, expected.map(|i| posted.remove(i).1));
                if got.is_none() {
                    c.keep(source, tag, id);
                    waiting.push((source, tag, id));
                }
            } else {
                let expected = waiting.iter().position(|w| fits(&pattern, w.0, w.1));
                assert_eq!(
                    c.peek(pattern).map(|(s, t, m)| (s, t, *m)),
                    expected.map(|i| waiting[i])
                );
                let got = c.take(pattern);
                assert_eq!(got, expected.map(|i| waiting.remove(i)));
                if got.is_none() {
                    c.post(pattern, id);
                    posted.push((pattern, id));
                }
            }
        }
    }
}
