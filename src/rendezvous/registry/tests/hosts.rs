//! Hosts and owners.

use super::*;
use crate::rendezvous::message::{Errand, ToHost, ToOwner};

/// A job with hosts, `per` ranks each.
fn hosted(size: u32, per: u32, change: impl FnOnce(&mut Plan)) -> Registry {
    let mut registry = Registry::default();
    let mut plan = Plan {
        per_instance: per,
        task: Some(b"{}".to_vec()),
        keep: 1000,
        ..Plan::new(JOB, SECRET, size)
    };
    change(&mut plan);
    registry.create(0, plan).unwrap();
    registry
}

fn begin_frame() -> FromHost {
    FromHost::Begin {
        host: "box".into(),
        platform: "lambda".into(),
        cores: 1,
        memory_mib: 2,
        left_ms: 3,
    }
}

fn knock(
    registry: &mut Registry,
    now: Time,
    instance: u32,
    attempt: u32,
) -> (Connection, Vec<Effect>) {
    let role = Role::Host { instance, attempt };
    let connection = registry.open(now, &JOB, role, &role.pass(&SECRET)).unwrap();
    let mut out = Vec::new();
    registry.receive(now, connection, begin_frame(), &mut out);
    (connection, out)
}

fn errand(out: &[Effect]) -> Option<Errand> {
    out.iter().find_map(|effect| match effect {
        Effect::Send(_, Outgoing::Host(ToHost::Welcome { errand, .. })) => Some(errand.clone()),
        _ => None,
    })
}

fn begin(registry: &mut Registry, instance: u32, attempt: u32) -> Connection {
    let (connection, out) = knock(registry, 0, instance, attempt);
    assert!(errand(&out).is_some(), "{out:?}");
    connection
}

fn refused(out: &[Effect]) -> Option<&str> {
    out.iter().find_map(|effect| match effect {
        Effect::Send(_, Outgoing::Host(ToHost::Refused { text })) => Some(text.as_str()),
        _ => None,
    })
}

fn own(registry: &mut Registry, now: Time) -> (Connection, Vec<Effect>) {
    let connection = registry.open(now, &JOB, Role::Owner, &SECRET).unwrap();
    let mut out = Vec::new();
    registry.receive(now, connection, FromOwner::Renew, &mut out);
    (connection, out)
}

fn host_says(registry: &mut Registry, now: Time, from: Connection, frame: FromHost) -> Vec<Effect> {
    let mut out = Vec::new();
    registry.receive(now, from, frame, &mut out);
    out
}

fn owner_says(
    registry: &mut Registry,
    now: Time,
    from: Connection,
    frame: FromOwner,
) -> Vec<Effect> {
    let mut out = Vec::new();
    registry.receive(now, from, frame, &mut out);
    out
}

/// Rank, code and text of the job's end.
fn ending(out: &[Effect]) -> Option<(u32, i32, &str)> {
    out.iter().find_map(|effect| match effect {
        Effect::Tell(_, _, Event::Aborted { rank, code, text }) => Some((*rank, *code, &text[..])),
        _ => None,
    })
}

fn started(registry: &mut Registry, host: Connection, ranks: std::ops::Range<u32>) {
    for rank in ranks {
        let out = host_says(registry, 0, host, FromHost::Started { rank, pid: rank });
        assert_eq!(
            out,
            [Effect::Tell(JOB, None, Event::Started { rank, pid: rank })]
        );
    }
}

fn exited(rank: u32, code: i32, signal: i32) -> FromHost {
    FromHost::Exited { rank, code, signal }
}

#[test]
fn each_instance_gets_its_ranks_and_their_passes() {
    let mut registry = hosted(5, 2, |plan| {
        plan.lease = 7_000;
        plan.relays = vec!["r:1,r:2".into()];
        plan.relay_expiry = 99;
    });
    let (_, out) = knock(&mut registry, 0, 2, 4);
    let errand = errand(&out).unwrap();
    let pass = Role::Member { rank: 4, epoch: 4 }.pass(&SECRET);
    assert_eq!((errand.first_rank, errand.ranks, errand.size), (4, 1, 5));
    assert_eq!((errand.per_instance, errand.epoch), (2, 4));
    assert_eq!(errand.passes, [pass]);
    assert_eq!(
        errand.mesh,
        crate::rendezvous::message::secrets::mesh(&SECRET)
    );
    assert_eq!((errand.relays.len(), errand.relay_expiry), (1, 99));
    assert_eq!(errand.task, b"{}");
    let arrived = Event::HostArrived {
        instance: 2,
        attempt: 4,
        host: "box".into(),
        platform: "lambda".into(),
    };
    assert_eq!(out[0], Effect::Tell(JOB, None, arrived));
    let (_, out) = knock(&mut registry, 0, 0, 0);
    assert_eq!(self::errand(&out).unwrap().passes.len(), 2);
    let (_, out) = knock(&mut registry, 0, 3, 0);
    assert!(refused(&out).unwrap().contains("not in 0..3"));
    // A job without a task has no hosts.
    let mut plain = super::registry(2, 0, 0);
    let (_, out) = knock(&mut plain, 0, 0, 0);
    assert!(refused(&out).unwrap().contains("no task"));
}

#[test]
fn duplicates_and_replays_are_refused_and_a_later_attempt_displaces() {
    let mut registry = hosted(4, 2, |_| ());
    let first = begin(&mut registry, 0, 1);
    let zero = enter_as(&mut registry, 0, 4, 1);
    for attempt in [0, 1] {
        let (second, out) = knock(&mut registry, 0, 0, attempt);
        assert!(refused(&out).unwrap().contains("already begun (attempt 1"));
        assert!(out.contains(&Effect::Close(second)) && !out.contains(&Effect::Close(first)));
        assert!(matches!(&out[0], Effect::Tell(_, _, Event::Refused { .. })));
    }
    let (second, out) = knock(&mut registry, 0, 0, 2);
    assert!(errand(&out).is_some());
    assert!(out.contains(&Effect::Close(first)) && out.contains(&Effect::Close(zero)));
    assert_eq!(ending(&out), None);
    // What is left of the first attempt has no say.
    assert_eq!(host_says(&mut registry, 0, first, exited(0, 1, 0)), []);
    let late = open(&mut registry, 0, 1, 1).unwrap();
    let out = say(&mut registry, 0, late, join(1, 4, 1));
    assert!(refusal(&out).unwrap().contains("no host runs attempt 1"));
    // Once the job has begun, nobody is displaced.
    let other = begin(&mut registry, 1, 0);
    let members: Vec<_> = [(0, 2), (1, 2), (2, 0), (3, 0)]
        .map(|(rank, epoch)| enter_as(&mut registry, rank, 4, epoch))
        .into();
    for &member in &members {
        say(&mut registry, 0, member, fence(b""));
    }
    let (_, out) = knock(&mut registry, 0, 0, 3);
    assert!(refused(&out).unwrap().contains("has begun"));
    let mut out = Vec::new();
    registry.closed(0, second, "it broke", &mut out);
    registry.closed(0, other, "it broke", &mut out);
    assert!(ending(&out)
        .unwrap()
        .2
        .starts_with("instance 0 (box, lambda; ranks 0-1) was lost"));
}

#[test]
fn all_is_forwarded_and_the_owner_speaks_to_the_ranks() {
    let mut registry = hosted(2, 1, |plan| plan.owned = true);
    let zero = begin(&mut registry, 0, 0);
    started(&mut registry, zero, 0..1);
    // What happened before the owner came is told then.
    let (owner, out) = own(&mut registry, 5);
    assert_eq!(
        out[0],
        Effect::send(vec![owner], ToOwner::Welcome { lease: 0 })
    );
    assert_eq!(out.len(), 3, "{out:?}");
    let one = begin(&mut registry, 1, 0);
    let output = |rank| FromHost::Output {
        rank,
        stream: 2,
        bytes: b"x".to_vec(),
    };
    let told = Event::Output {
        rank: 1,
        stream: 2,
        bytes: b"x".to_vec(),
    };
    let out = host_says(&mut registry, 5, one, output(1));
    assert_eq!(out, [Effect::Tell(JOB, Some(owner), told)]);
    let input = |rank| FromOwner::Input {
        rank,
        bytes: b"in".to_vec(),
    };
    let out = owner_says(&mut registry, 5, owner, input(1));
    let bytes = b"in".to_vec();
    assert_eq!(
        out,
        [Effect::send(vec![one], ToHost::Input { rank: 1, bytes })]
    );
    assert_eq!(owner_says(&mut registry, 5, owner, input(9)), []);
    // A host speaks of its own ranks only.
    let out = host_says(&mut registry, 5, one, output(0));
    assert!(refused(&out).unwrap().contains("does not run"));
    let stop = ToHost::Stop {
        text: ending(&out).unwrap().2.to_string(),
        grace_ms: 900,
    };
    assert!(out.contains(&Effect::send(vec![zero], stop)), "{out:?}");
}

#[test]
fn a_job_is_over_when_all_processes_have_ended_well() {
    let mut registry = hosted(2, 2, |_| ());
    let host = begin(&mut registry, 0, 0);
    let members: Vec<_> = (0..2).map(|r| enter_as(&mut registry, r, 2, 0)).collect();
    for &member in &members {
        let out = say(&mut registry, 0, member, ToService::Finished);
        assert!(out.contains(&Effect::Close(member)));
        assert!(!out.contains(&Effect::Tell(JOB, None, Event::Over)));
    }
    // Too early to leave.
    let out = host_says(&mut registry, 0, host, exited(0, 0, 0));
    assert!(!out.contains(&Effect::Tell(JOB, None, Event::Over)));
    // After MPI_Finalize a status is for the owner to judge.
    let out = host_says(&mut registry, 0, host, exited(1, 3, 0));
    assert_eq!(out[1], Effect::Tell(JOB, None, Event::Over));
    let out = host_says(&mut registry, 0, host, FromHost::Done);
    assert_eq!(
        out[0],
        Effect::Tell(JOB, None, Event::HostDone { instance: 0 })
    );
    assert_eq!(
        out[1..],
        [
            Effect::send(vec![host], ToHost::Goodbye),
            Effect::Close(host)
        ]
    );
    let mut out = Vec::new();
    watch(&mut registry, 0..=1000, &mut out);
    assert_eq!((registry.jobs(), out.len()), (0, 0));
}

#[test]
fn programs_without_mpi_are_over_too_but_not_when_others_wait_for_them() {
    let mut registry = hosted(2, 1, |_| ());
    let hosts = [begin(&mut registry, 0, 0), begin(&mut registry, 1, 0)];
    for (rank, &host) in (0..).zip(&hosts) {
        let out = host_says(&mut registry, 0, host, exited(rank, 0, 0));
        let over = out.contains(&Effect::Tell(JOB, None, Event::Over));
        assert_eq!((over, ending(&out)), (rank == 1, None));
    }
    let mut registry = hosted(2, 1, |_| ());
    let hosts = [begin(&mut registry, 0, 0), begin(&mut registry, 1, 0)];
    enter_as(&mut registry, 0, 2, 0);
    let out = host_says(&mut registry, 0, hosts[1], exited(1, 0, 0));
    let text = ending(&out).unwrap().2;
    assert!(
        text.contains("rank 1 was lost: it ended without joining (instance 1"),
        "{text}"
    );
}

#[test]
fn a_rank_that_dies_is_named_with_its_signal_or_code() {
    for (code, signal, status, expected) in [
        (
            0,
            11,
            139,
            "rank 1 was killed by signal 11 (SIGSEGV) (instance 0 on box, lambda)",
        ),
        (
            7,
            0,
            7,
            "rank 1 exited with code 7 (instance 0 on box, lambda)",
        ),
    ] {
        // Its connection ends first, and another rank complains about that.
        let mut registry = hosted(2, 2, |_| ());
        let host = begin(&mut registry, 0, 0);
        let (zero, one) = (
            enter_as(&mut registry, 0, 2, 0),
            enter_as(&mut registry, 1, 2, 0),
        );
        let mut out = Vec::new();
        registry.closed(0, one, "its connection ended", &mut out);
        assert_eq!(ending(&out), None, "its host will say why");
        let abort = ToService::Abort {
            code: 5,
            text: "link lost".into(),
        };
        assert_eq!(ending(&say(&mut registry, 1, zero, abort)), None);
        let out = host_says(&mut registry, 2, host, exited(0, 5, 0));
        assert_eq!(ending(&out), None);
        let out = host_says(&mut registry, 3, host, exited(1, code, signal));
        assert_eq!(ending(&out), Some((1, status, expected)));
    }
    // A host that says nothing in time.
    let mut registry = hosted(2, 2, |_| ());
    begin(&mut registry, 0, 0);
    enter_as(&mut registry, 0, 2, 0);
    let one = enter_as(&mut registry, 1, 2, 0);
    let mut out = Vec::new();
    registry.closed(0, one, "its connection ended", &mut out);
    watch(&mut registry, 0..=2000, &mut out);
    let text = "rank 1 was lost: its connection ended (instance 0 on box, lambda)";
    assert_eq!(ending(&out), Some((1, 1, text)));
}

#[test]
fn a_farewell_may_come_after_the_end_of_its_process() {
    for finishes in [true, false] {
        let mut registry = hosted(2, 2, |_| ());
        let host = begin(&mut registry, 0, 0);
        let members: Vec<_> = (0..2).map(|r| enter_as(&mut registry, r, 2, 0)).collect();
        let mut out = host_says(&mut registry, 0, host, exited(1, 0, 0));
        assert_eq!(ending(&out), None);
        if finishes {
            say(&mut registry, 0, members[1], ToService::Finished);
        }
        watch(&mut registry, 0..=2_000, &mut out);
        let place = "(instance 0 on box, lambda)";
        let text = format!("rank 1 was lost: its process ended {place}");
        let expected = (!finishes).then_some((1, 1, &text[..]));
        assert_eq!(ending(&out), expected);
    }
}

#[test]
fn a_lost_host_is_named_with_its_ranks_and_what_it_did() {
    let ended = |prepare: &dyn Fn(&mut Registry, Connection)| {
        let mut registry = hosted(4, 2, |_| ());
        let host = begin(&mut registry, 1, 0);
        prepare(&mut registry, host);
        let mut out = Vec::new();
        registry.closed(2500, host, "its connection ended", &mut out);
        let lost = Event::HostLost {
            instance: 1,
            why: "its connection ended".into(),
        };
        assert!(out.contains(&Effect::Tell(JOB, None, lost)));
        ending(&out).map(|(_, _, text)| text.to_string())
    };
    let text = |doing: &str| {
        Some(format!(
            "instance 1 (box, lambda; ranks 2-3) was lost: its connection ended; {doing}"
        ))
    };
    assert_eq!(ended(&|_, _| ()), text("it was starting its ranks"));
    assert_eq!(
        ended(&|registry, host| started(registry, host, 2..4)),
        text("its ranks had been running for 2.5 s")
    );
    assert_eq!(
        ended(&|registry, host| {
            started(registry, host, 2..4);
            enter_as(registry, 2, 4, 0);
        }),
        text("its ranks were waiting for the others (in MPI_Init)")
    );
    // With all its ranks ended well, nobody misses it.
    assert_eq!(
        ended(&|registry, host| {
            for rank in 2..4 {
                host_says(registry, 0, host, exited(rank, 0, 0));
            }
        }),
        None
    );
}

#[test]
fn a_silent_host_is_lost_and_one_that_does_not_stop_is_dropped() {
    let mut registry = hosted(2, 1, |plan| plan.lease = 5_000);
    let (silent, other) = (begin(&mut registry, 0, 0), begin(&mut registry, 1, 0));
    let mut out = Vec::new();
    let mut dropped = None;
    for now in (0..60_000).step_by(500) {
        registry.receive(now, other, FromHost::Renew, &mut out);
        registry.tick(now, &mut out);
        if out.contains(&Effect::Close(silent)) {
            assert!((5_000..6_000).contains(&now), "{now}");
            assert!(ending(&out).unwrap().2.contains("its lease ran out"));
        }
        if out.contains(&Effect::Close(other)) {
            dropped.get_or_insert(now);
        }
        out.clear();
    }
    assert!(
        dropped.is_some_and(|at| (35_000..36_000).contains(&at)),
        "{dropped:?}"
    );
    assert_eq!(registry.jobs(), 0);
}

#[test]
fn instances_that_never_come_are_named() {
    let mut registry = hosted(40, 2, |plan| plan.join_within = 2_000);
    for instance in [0, 1, 2, 4, 5, 6, 10, 11, 12, 13, 14, 15, 16, 17, 18] {
        begin(&mut registry, instance, 0);
    }
    let mut out = Vec::new();
    watch(&mut registry, 0..=2000, &mut out);
    let text = "15 of 20 instances arrived after 2 s, missing: 3, 7-9, 19";
    assert_eq!(ending(&out), Some((OBSERVER, 1, text)));
    // Whoever comes later is told.
    let (_, out) = knock(&mut registry, 2000, 19, 0);
    assert!(refused(&out).unwrap().contains("15 of 20"));
}

#[test]
fn a_job_whose_owner_never_comes_or_goes_ends() {
    let mut registry = hosted(1, 1, |plan| plan.owned = true);
    let mut out = Vec::new();
    watch(&mut registry, 0..=59_500, &mut out);
    assert_eq!(ending(&out), None);
    watch(&mut registry, 60_000..=60_000, &mut out);
    assert_eq!(ending(&out).unwrap().2, "its launcher is gone");

    let mut registry = hosted(1, 1, |plan| {
        plan.owned = true;
        plan.lease = 4_000;
    });
    let host = begin(&mut registry, 0, 0);
    let (owner, _) = own(&mut registry, 0);
    let mut out = Vec::new();
    registry.closed(100, owner, "it broke", &mut out);
    // While it is away, what happens is kept.
    host_says(
        &mut registry,
        200,
        host,
        FromHost::Log { text: "hi".into() },
    );
    let (again, out) = own(&mut registry, 300);
    assert_eq!(out.len(), 2, "{out:?}");
    let (third, out) = own(&mut registry, 400);
    assert!(out.contains(&Effect::Close(again)), "one owner at a time");
    // Silence is as bad as going.
    let mut out = Vec::new();
    for now in (400..20_000).step_by(400) {
        registry.receive(now, host, FromHost::Renew, &mut out);
        registry.tick(now, &mut out);
    }
    assert!(out.contains(&Effect::Close(third)));
    assert_eq!(ending(&out).unwrap().2, "its launcher is gone");
}

#[test]
fn an_owner_stops_its_job_and_leaves() {
    let mut registry = hosted(1, 1, |plan| plan.owned = true);
    let (owner, _) = own(&mut registry, 0);
    let host = begin(&mut registry, 0, 0);
    let stop = FromOwner::Stop {
        code: 130,
        text: "SIGINT".into(),
    };
    let out = owner_says(&mut registry, 0, owner, stop);
    assert_eq!(ending(&out), Some((OBSERVER, 130, "SIGINT")));
    // Stopped before its rank began, the host has nothing to report.
    let out = host_says(&mut registry, 0, host, FromHost::Done);
    assert_eq!(
        out[0],
        Effect::Tell(JOB, Some(owner), Event::HostDone { instance: 0 })
    );
    let out = owner_says(&mut registry, 0, owner, FromOwner::Done);
    assert_eq!(out[1], Effect::Close(owner));
    // Leaving a job that runs ends it.
    let mut registry = hosted(1, 1, |plan| plan.owned = true);
    let (owner, _) = own(&mut registry, 0);
    let out = owner_says(&mut registry, 0, owner, FromOwner::Done);
    assert_eq!(ending(&out).unwrap().2, "its launcher has left");
}

#[test]
fn a_frozen_service_blames_nobody_for_its_own_silence() {
    let mut registry = hosted(1, 1, |plan| {
        plan.lease = 10_000;
        plan.owned = true;
    });
    let (owner, _) = own(&mut registry, 0);
    let host = begin(&mut registry, 0, 0);
    let mut out = Vec::new();
    let mut now = 0;
    for _ in 0..20 {
        // An hour in which nobody here saw anything.
        now += 3_600_000;
        registry.tick(now, &mut out);
        registry.receive(now, host, FromHost::Renew, &mut out);
        registry.receive(now, owner, FromOwner::Renew, &mut out);
    }
    assert_eq!(ending(&out), None);
    assert!(registry.next_deadline().is_some_and(|at| at <= now + 1_000));
}
