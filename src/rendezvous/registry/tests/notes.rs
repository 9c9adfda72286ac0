//! Notes, tree fences, and who leaves while others wait.

use super::*;
use crate::rendezvous::message::{tree_children, tree_parent, NOTE_MAX};

fn note(to: u32, blob: &[u8]) -> ToService {
    let blob = blob.to_vec();
    ToService::Note { to, blob }
}

fn undelivered(out: &[Effect]) -> Option<&str> {
    out.iter().find_map(|effect| match effect {
        Effect::Send(_, Outgoing::Member(ToMember::Undelivered { text, .. })) => Some(&text[..]),
        _ => None,
    })
}

#[test]
fn notes_arrive_or_come_back() {
    let mut registry = registry(3, 0, 0);
    let (zero, one) = (enter(&mut registry, 0, 0, 3), enter(&mut registry, 0, 1, 3));
    let out = say(&mut registry, 0, zero, note(1, b"hi"));
    let arrived = ToMember::Note {
        from: 0,
        blob: b"hi".to_vec(),
    };
    assert_eq!(out, [Effect::send(vec![one], arrived)]);
    for (to, blob, expected) in [
        (2, vec![], "has not joined"),
        (9, vec![], "has not joined"),
        (1, vec![0; NOTE_MAX + 1], "more than 4096"),
    ] {
        let out = say(&mut registry, 0, zero, note(to, &blob));
        assert!(undelivered(&out).unwrap().contains(expected), "{out:?}");
    }
    say(&mut registry, 0, one, ToService::Finished);
    let out = say(&mut registry, 0, zero, note(1, b"hi"));
    assert!(undelivered(&out).unwrap().contains("has left"));
    assert_eq!(aborted(&out), None);
}

#[test]
fn who_writes_too_many_notes_has_to_wait_but_loses_none() {
    let mut registry = registry(2, 0, 3_000);
    let (zero, _) = (enter(&mut registry, 0, 0, 2), enter(&mut registry, 0, 1, 2));
    let (mut paused, mut delivered) = (0, 0);
    for _ in 0..10_000 {
        // A caller that does not heed the pauses: they add up.
        for effect in say(&mut registry, 0, zero, note(1, b"x")) {
            match effect {
                Effect::Pause(c, time) => {
                    assert_eq!(c, zero);
                    paused = paused.max(time);
                }
                Effect::Send(_, Outgoing::Member(ToMember::Note { .. })) => delivered += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(delivered, 10_000);
    assert_eq!(
        paused, 3_000,
        "10,000 notes at 2,000 a second, 4,000 of them at once"
    );
}

#[test]
fn a_tree_fence_gives_each_what_it_needs() {
    let size = 20;
    let mut registry = registry(size, 0, 0);
    let members: Vec<_> = (0..size)
        .map(|r| enter(&mut registry, 0, r, size))
        .collect();
    let part = |rank: u32| ToService::TreeFence {
        name: "world".into(),
        blob: vec![rank as u8; rank as usize],
    };
    for rank in 1..size {
        assert_eq!(
            say(&mut registry, 0, members[rank as usize], part(rank)),
            []
        );
    }
    let out = say(&mut registry, 0, members[0], part(0));
    assert_eq!(out.len(), size as usize);
    for (effect, rank) in out.iter().zip(0..) {
        let Effect::Send(to, Outgoing::Member(ToMember::Branch { name, blobs })) = effect else {
            panic!("{effect:?}");
        };
        assert_eq!(
            (&to[..], &name[..]),
            (&members[rank as usize..][..1], "world")
        );
        let ranks: Vec<u32> = blobs.iter().map(|(r, _)| *r).collect();
        let expected: Vec<u32> = match tree_parent(rank) {
            None => (0..size).collect(),
            Some(parent) => std::iter::once(parent)
                .chain(tree_children(rank, size))
                .collect(),
        };
        assert_eq!(ranks, expected);
        assert!(blobs
            .iter()
            .all(|(r, blob)| *blob == vec![*r as u8; *r as usize]));
    }
    // A table and a tree of one name do not mix.
    say(&mut registry, 0, members[0], part(0));
    let table = ToService::Fence {
        name: "world".into(),
        blob: vec![],
    };
    let out = say(&mut registry, 0, members[1], table);
    assert!(refusal(&out).is_some_and(|t| t.contains("tree")));
}

#[test]
fn nobody_waits_in_a_fence_for_a_rank_that_has_left() {
    // It leaves while others wait.
    let mut registry = self::registry(3, 0, 0);
    let members: Vec<_> = (0..3).map(|r| enter(&mut registry, 0, r, 3)).collect();
    say(&mut registry, 0, members[0], fence(b""));
    let out = say(&mut registry, 0, members[1], ToService::Finished);
    assert_eq!(aborted(&out), Some((1, 1, vec![members[0], members[2]])));
    // It has left before.
    let mut registry = self::registry(3, 0, 0);
    let members: Vec<_> = (0..3).map(|r| enter(&mut registry, 0, r, 3)).collect();
    say(&mut registry, 0, members[1], ToService::Finished);
    let out = say(&mut registry, 0, members[0], fence(b""));
    assert_eq!(aborted(&out), Some((0, 1, vec![members[0], members[2]])));
}

#[test]
fn whoever_is_kept_waiting_by_the_service_is_not_silent() {
    let mut registry = registry(2, 0, 1_000);
    let (zero, one) = (enter(&mut registry, 0, 0, 2), enter(&mut registry, 0, 1, 2));
    let mut out = Vec::new();
    for now in (0..5_000).step_by(250) {
        registry.excuse(now, zero, &mut out);
        registry.receive(now, one, ToService::Renew, &mut out);
        registry.tick(now, &mut out);
    }
    assert_eq!(aborted(&out), None);
    assert!(out.contains(&Effect::send(vec![zero], ToMember::Alive)));
    watch(&mut registry, 5_000..=6_500, &mut out);
    assert!(aborted(&out).is_some());
}
