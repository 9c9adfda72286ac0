use super::*;
use crate::rendezvous::message::ToMember;
use std::collections::{BTreeMap, BTreeSet};

mod hosts;
mod many;
mod notes;
mod random;

const JOB: JobId = [7; 16];
const SECRET: [u8; 32] = [9; 32];

fn registry(size: u32, join_within: Time, lease: Time) -> Registry {
    let mut registry = Registry::default();
    let plan = Plan {
        join_within,
        lease,
        keep: 1000,
        ..Plan::new(JOB, SECRET, size)
    };
    registry.create(0, plan).unwrap();
    registry
}

fn join(rank: u32, size: u32, epoch: u32) -> ToService {
    ToService::Join {
        rank,
        size,
        epoch,
        pid: rank.wrapping_add(100),
        host: "here".into(),
    }
}

fn fence(blob: &[u8]) -> ToService {
    ToService::Fence {
        name: "x".into(),
        blob: blob.into(),
    }
}

/// Looks every so often, as a service does.
fn watch(registry: &mut Registry, times: std::ops::RangeInclusive<Time>, out: &mut Vec<Effect>) {
    for now in times.clone().step_by(500) {
        registry.tick(now, out);
    }
    registry.tick(*times.end(), out);
}

fn say(registry: &mut Registry, now: Time, from: Connection, frame: ToService) -> Vec<Effect> {
    let mut out = Vec::new();
    registry.receive(now, from, frame, &mut out);
    out
}

/// Opens a connection with the pass of this rank and epoch.
fn open(registry: &mut Registry, now: Time, rank: u32, epoch: u32) -> Result<Connection, Refusal> {
    let role = Role::Member { rank, epoch };
    registry.open(now, &JOB, role, &role.pass(&SECRET))
}

/// Opens a connection and joins; panics unless welcomed.
fn enter(registry: &mut Registry, now: Time, rank: u32, size: u32) -> Connection {
    enter_at(registry, now, rank, size, 0)
}

fn enter_as(registry: &mut Registry, rank: u32, size: u32, epoch: u32) -> Connection {
    enter_at(registry, 0, rank, size, epoch)
}

fn enter_at(registry: &mut Registry, now: Time, rank: u32, size: u32, epoch: u32) -> Connection {
    let connection = open(registry, now, rank, epoch).unwrap();
    let out = say(registry, now, connection, join(rank, size, epoch));
    let welcomed = |e: &Effect| matches!(e, Effect::Send(to, Outgoing::Member(ToMember::Welcome { .. })) if to[..] == [connection]);
    assert!(out.iter().any(welcomed), "{out:?}");
    connection
}

fn refusal(out: &[Effect]) -> Option<&str> {
    out.iter().find_map(|effect| match effect {
        Effect::Send(_, Outgoing::Member(ToMember::Refused { text })) => Some(text.as_str()),
        _ => None,
    })
}

fn aborted(out: &[Effect]) -> Option<(u32, i32, Vec<Connection>)> {
    out.iter().find_map(|effect| match effect {
        Effect::Send(to, Outgoing::Member(ToMember::Aborted { rank, code, .. })) => {
            Some((*rank, *code, to.clone()))
        }
        _ => None,
    })
}

#[test]
fn only_the_right_pass_opens_a_connection() {
    let mut registry = registry(2, 0, 0);
    let role = |rank, epoch| Role::Member { rank, epoch };
    let pass = role(1, 3).pass(&SECRET);
    for wrong in [role(0, 3), role(1, 2), Role::Owner] {
        let refused = registry.open(0, &JOB, wrong, &pass);
        assert_eq!(refused, Err(Refusal::WrongToken), "{wrong:?}");
    }
    let host = Role::Host {
        instance: 1,
        attempt: 3,
    };
    for (role, pass) in [(role(1, 3), &[][..]), (role(1, 3), &SECRET), (host, &pass)] {
        assert_eq!(registry.open(0, &JOB, role, pass), Err(Refusal::WrongToken));
    }
    let unknown = registry.open(0, &[8; 16], role(1, 3), &pass);
    assert_eq!(unknown, Err(Refusal::UnknownJob));
    // The pass of one rank does not let it join as another.
    let connection = registry.open(0, &JOB, role(1, 3), &pass).unwrap();
    for frame in [join(0, 2, 3), join(1, 2, 4)] {
        let mut out = Vec::new();
        registry.receive(0, connection, frame, &mut out);
        assert!(
            refusal(&out).is_some_and(|t| t.contains("another rank or attempt")) || out.is_empty()
        );
    }
    let connection = registry.open(0, &JOB, role(1, 3), &pass).unwrap();
    assert!(refusal(&say(&mut registry, 0, connection, join(1, 2, 3))).is_none());
    assert_eq!(registry.summary(&JOB, &[1; 32]), Err(Refusal::WrongToken));
}

#[test]
fn two_jobs_do_not_mix() {
    let mut registry = registry(1, 0, 0);
    let other = Plan::new([1; 16], [2; 32], 1);
    registry.create(0, other.clone()).unwrap();
    assert!(registry.create(0, other).is_err(), "taken");
    let role = Role::Member { rank: 0, epoch: 0 };
    let refused = registry.open(0, &[1; 16], role, &role.pass(&SECRET));
    assert_eq!(refused, Err(Refusal::WrongToken));
    let a = enter(&mut registry, 0, 0, 1);
    let out = say(&mut registry, 0, a, fence(b"a"));
    let table = ToMember::Table {
        name: "x".into(),
        blobs: vec![b"a".to_vec()],
    };
    assert_eq!(out, [Effect::send(vec![a], table)]);
}

#[test]
fn wrong_ranks_sizes_and_duplicates_are_refused() {
    let mut registry = registry(2, 0, 0);
    let first = enter(&mut registry, 0, 1, 2);
    for (frame, expected) in [
        (join(2, 2, 0), "not in 0..2"),
        (join(0, 3, 0), "has 2 ranks, not 3"),
        (join(1, 2, 0), "already joined"),
    ] {
        let ToService::Join { rank, epoch, .. } = frame else {
            panic!("no Join");
        };
        let connection = open(&mut registry, 0, rank, epoch).unwrap();
        let out = say(&mut registry, 0, connection, frame);
        assert!(
            refusal(&out).is_some_and(|t| t.contains(expected)),
            "{out:?}"
        );
        assert!(out.contains(&Effect::Close(connection)));
        assert!(!out.contains(&Effect::Close(first)));
    }
    // Whoever does not begin with a Join, or joins twice, is thrown out.
    let connection = open(&mut registry, 0, 0, 0).unwrap();
    assert!(refusal(&say(&mut registry, 0, connection, ToService::Renew)).is_some());
    assert!(refusal(&say(&mut registry, 0, first, join(1, 2, 0))).is_some());
}

#[test]
fn a_later_attempt_displaces_an_earlier_one_until_the_job_has_begun() {
    let mut registry = registry(2, 0, 0);
    let old = enter(&mut registry, 0, 0, 2);
    say(&mut registry, 0, old, fence(b"old"));
    let new = open(&mut registry, 0, 0, 1).unwrap();
    let out = say(&mut registry, 0, new, join(0, 2, 1));
    assert!(out.contains(&Effect::Close(old)));
    // The displaced one has no say any more, and its end means nothing.
    assert_eq!(say(&mut registry, 0, old, fence(b"old")), []);
    let mut out = Vec::new();
    registry.closed(0, old, "gone", &mut out);
    assert_eq!(out, []);
    let other = enter(&mut registry, 0, 1, 2);
    say(&mut registry, 0, other, fence(b"b"));
    let out = say(&mut registry, 0, new, fence(b"a"));
    let table = ToMember::Table {
        name: "x".into(),
        blobs: vec![b"a".to_vec(), b"b".to_vec()],
    };
    assert_eq!(out, [Effect::send(vec![new, other], table)]);
    let late = open(&mut registry, 0, 0, 2).unwrap();
    assert!(refusal(&say(&mut registry, 0, late, join(0, 2, 2)))
        .is_some_and(|t| t.contains("has begun")));
}

#[test]
fn a_fence_is_complete_when_all_are_there_and_can_be_repeated() {
    let mut registry = registry(3, 0, 0);
    let members: Vec<_> = (0..3)
        .map(|rank| enter(&mut registry, 0, rank, 3))
        .collect();
    for round in 0..3u8 {
        assert_eq!(say(&mut registry, 0, members[2], fence(&[round, 2])), []);
        assert_eq!(say(&mut registry, 0, members[0], fence(&[round, 0])), []);
        let out = say(&mut registry, 0, members[1], fence(&[round, 1]));
        let table = ToMember::Table {
            name: "x".into(),
            blobs: (0..3).map(|rank| vec![round, rank]).collect(),
        };
        assert_eq!(out, [Effect::send(members.clone(), table)]);
    }
    say(&mut registry, 0, members[0], fence(b""));
    let out = say(&mut registry, 0, members[0], fence(b""));
    assert!(refusal(&out).is_some_and(|t| t.contains("same fence twice")));
    assert!(aborted(&out).is_some(), "the others must not wait for it");
}

#[test]
fn a_lost_member_ends_the_job_for_those_who_are_left() {
    let mut registry = registry(3, 0, 0);
    let members: Vec<_> = (0..3)
        .map(|rank| enter(&mut registry, 0, rank, 3))
        .collect();
    let out = say(&mut registry, 0, members[0], ToService::Finished);
    assert!(out.contains(&Effect::send(vec![members[0]], ToMember::Goodbye)));
    let mut out = Vec::new();
    registry.closed(0, members[0], "ended", &mut out);
    assert_eq!(out, [], "the end of a finished member means nothing");
    registry.closed(0, members[2], "it broke", &mut out);
    assert!(
        matches!(
            &out[0],
            Effect::Tell(JOB, None, Event::Lost { rank: 2, .. })
        ),
        "{out:?}"
    );
    assert!(
        matches!(
            &out[1],
            Effect::Tell(JOB, None, Event::Aborted { rank: 2, .. })
        ),
        "{out:?}"
    );
    assert_eq!(aborted(&out), Some((2, 1, vec![members[1]])));
    let late = open(&mut registry, 0, 2, 9).unwrap();
    assert!(
        refusal(&say(&mut registry, 0, late, join(2, 3, 9))).is_some_and(|t| t.contains("ended"))
    );
}

#[test]
fn the_last_one_may_leave_without_a_farewell() {
    let mut registry = registry(2, 0, 0);
    let members: Vec<_> = (0..2)
        .map(|rank| enter(&mut registry, 0, rank, 2))
        .collect();
    say(&mut registry, 0, members[0], ToService::Finished);
    let mut out = Vec::new();
    registry.closed(0, members[1], "ended", &mut out);
    assert_eq!(aborted(&out), None);
    assert_eq!(out.last(), Some(&Effect::Tell(JOB, None, Event::Over)));
    assert_eq!(registry.summary(&JOB, &SECRET).unwrap().over, Some(Ok(())));
}

#[test]
fn an_abort_reaches_everybody_once() {
    let mut registry = registry(2, 0, 0);
    let members: Vec<_> = (0..2)
        .map(|rank| enter(&mut registry, 0, rank, 2))
        .collect();
    let abort = |code| ToService::Abort {
        code,
        text: "why".into(),
    };
    let out = say(&mut registry, 0, members[1], abort(5));
    assert_eq!(aborted(&out), Some((1, 5, vec![members[0], members[1]])));
    assert_eq!(say(&mut registry, 0, members[0], abort(6)), []);
    assert_eq!(
        registry.summary(&JOB, &SECRET).unwrap().over,
        Some(Err((1, 5, "why".into())))
    );
}

#[test]
fn who_never_comes_is_named_at_the_deadline() {
    let mut registry = registry(4, 500, 0);
    let one = enter(&mut registry, 0, 1, 4);
    assert_eq!(registry.next_deadline(), Some(500));
    let mut out = Vec::new();
    registry.tick(499, &mut out);
    assert_eq!(out, []);
    registry.tick(500, &mut out);
    let Some(Effect::Send(to, Outgoing::Member(ToMember::Aborted { text, .. }))) = out.last()
    else {
        panic!("{out:?}");
    };
    assert_eq!(
        (to, text.as_str()),
        (
            &vec![one],
            "1 of 4 ranks arrived after 0.5 s, missing: 0, 2-3"
        )
    );
    // The job is forgotten after a while.
    registry.tick(1500, &mut out);
    assert_eq!(registry.jobs(), 0);
    assert_eq!(open(&mut registry, 1500, 0, 0), Err(Refusal::UnknownJob));
}

#[test]
fn a_lease_must_be_renewed() {
    let mut registry = registry(2, 0, 100);
    let members: Vec<_> = (0..2)
        .map(|rank| enter(&mut registry, 0, rank, 2))
        .collect();
    assert_eq!(registry.next_deadline(), Some(100));
    let out = say(&mut registry, 80, members[0], ToService::Renew);
    assert_eq!(out, [Effect::send(vec![members[0]], ToMember::Alive)]);
    let mut out = Vec::new();
    registry.tick(100, &mut out);
    assert_eq!(out[0], Effect::Close(members[1]));
    assert_eq!(aborted(&out), Some((1, 1, vec![members[0]])));
}

#[test]
fn a_silent_stranger_with_the_token_is_closed() {
    let mut registry = registry(2, 0, 0);
    let stranger = open(&mut registry, 0, 0, 0).unwrap();
    let mut out = Vec::new();
    watch(&mut registry, 0..=JOIN_SOON, &mut out);
    assert!(out.contains(&Effect::Close(stranger)));
    assert_eq!(registry.next_deadline(), None);
}

#[test]
fn nobody_waits_for_a_rank_that_will_never_join() {
    let mut registry = registry(2, 0, 0);
    let zero = enter(&mut registry, 0, 0, 2);
    let mut out = Vec::new();
    registry.departed(0, &JOB, 1, &mut out);
    assert_eq!(aborted(&out), Some((1, 1, vec![zero])));
    // The other way round: the one that comes later is turned away.
    let mut registry = self::registry(2, 0, 0);
    let mut out = Vec::new();
    registry.departed(0, &JOB, 1, &mut out);
    assert_eq!(aborted(&out), None);
    let zero = open(&mut registry, 0, 0, 0).unwrap();
    let out = say(&mut registry, 0, zero, join(0, 2, 0));
    assert!(
        refusal(&out).is_some_and(|t| t.contains("rank 1 has ended")),
        "{out:?}"
    );
}
