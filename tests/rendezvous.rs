//! The service as strangers and members meet it.

mod common;

use common::http::{ask, connect, get, request};
use mayfly::rendezvous::client::{response_head, End, Entry, Member};
use mayfly::rendezvous::message::secrets::member_pass;
use mayfly::rendezvous::message::{hex, Frame as _, Role, ToMember, ToService, TO_SERVICE_MAX};
use mayfly::rendezvous::registry::{Event, Plan};
use mayfly::rendezvous::server::{JobCreated, JobStatus, Options, Service};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{channel, Receiver};
use std::time::Duration;

const JOB: [u8; 16] = [1; 16];
const SECRET: [u8; 32] = [2; 32];

fn plan(job: u8, size: u32, lease: u64) -> Plan {
    Plan {
        lease,
        ..Plan::new([job; 16], [job + 1; 32], size)
    }
}

/// A service with [`JOB`] in it, and what happens there.
fn service(size: u32, lease: u64) -> (Service, Receiver<Event>) {
    let (sender, events) = channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options {
        operator_key: Some("operator".into()),
        ..Options::default()
    };
    let on_event = Box::new(move |_: &[u8; 16], event: &Event| drop(sender.send(event.clone())));
    let service = Service::start(listener, options, on_event).unwrap();
    service.create(plan(1, size, lease)).unwrap();
    (service, events)
}

fn join(
    service: &Service,
    secret: &[u8; 32],
    rank: u32,
    size: u32,
) -> std::io::Result<(Member, Receiver<End>)> {
    let pass = member_pass(secret, rank, 0);
    let (sender, ends) = channel();
    let address = service.address().to_string();
    let entry = Entry {
        service: &address,
        job: &JOB,
        pass: &pass,
        rank,
        size,
        epoch: 0,
        patience: Duration::from_secs(5),
    };
    let member = Member::join(&entry, Box::new(move |end| drop(sender.send(end))), None)?;
    Ok((member, ends))
}

/// A member's connection, upgraded but without the client: for saying what no client would.
fn upgraded(service: &Service, rank: u32) -> TcpStream {
    let mut stream = connect(service.address());
    let role = Role::Member { rank, epoch: 0 };
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: mayfly\r\n\
         Authorization: Bearer {}\r\n\r\n",
        role.path(&JOB),
        hex(&role.pass(&SECRET))
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(response_head(&mut stream).unwrap().0, 101);
    stream
}

fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(Duration::from_secs(20)).unwrap()
}

#[test]
fn members_exchange_blobs_and_leave() {
    let (service, events) = service(3, 10_000);
    std::thread::scope(|scope| {
        for rank in 0..3 {
            let service = &service;
            scope.spawn(move || {
                let (mut member, ends) = join(service, &SECRET, rank, 3).unwrap();
                for round in 0..20u8 {
                    let blobs = member.fence("x", &[round, rank as u8]).unwrap();
                    assert_eq!(blobs, (0..3).map(|r| vec![round, r]).collect::<Vec<_>>());
                }
                let large = member.fence("large", &vec![rank as u8; 200_000]).unwrap();
                assert!((0..3).all(|r| large[r] == vec![r as u8; 200_000]));
                assert!(member.fence("x", &vec![0; 1 << 20]).is_err());
                member.finish();
                assert_eq!(member.end(), Some(End::Goodbye));
                assert!(ends.try_recv().is_err(), "an orderly end is no news");
            });
        }
    });
    let all: Vec<Event> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    assert_eq!(
        all.iter()
            .filter(|e| matches!(e, Event::Joined { .. }))
            .count(),
        3
    );
    assert_eq!(
        all.iter()
            .filter(|e| matches!(e, Event::Finished { .. }))
            .count(),
        3
    );
    assert_eq!(all.last(), Some(&Event::Over));
}

#[test]
fn without_the_token_nobody_comes_in() {
    let (service, events) = service(1, 0);
    let text = |result: std::io::Result<(Member, Receiver<End>)>| result.err().unwrap().to_string();
    assert!(text(join(&service, &[3; 32], 0, 1)).contains("refused this rank's pass"));
    // The token of another job on the same service.
    service.create(plan(5, 1, 0)).unwrap();
    assert!(text(join(&service, &[6; 32], 0, 1)).contains("refused this rank's pass"));
    let path = format!("/v1/jobs/{}", hex(&JOB));
    assert_eq!(ask(service.address(), &get(&path, "")).0, 401);
    assert_eq!(ask(service.address(), &get(&path, &hex(&[2; 31]))).0, 401);
    assert_eq!(
        ask(service.address(), &get("/v1/jobs/0000", &hex(&SECRET))).0,
        404
    );
    assert_eq!(
        ask(
            service.address(),
            &get("/v1/jobs/0000/member/0/0", &hex(&SECRET))
        )
        .0,
        426
    );
    assert!(events.try_recv().is_err());
    assert!(join(&service, &SECRET, 0, 1).is_ok());
}

#[test]
fn jobs_are_opened_with_the_operators_key_only() {
    let (service, _) = service(1, 0);
    let create =
        |key: &str, body: &str| ask(service.address(), &request("POST", "/v1/jobs", key, body));
    assert_eq!(create("", r#"{"size":2}"#).0, 401);
    assert_eq!(create("operatoR", r#"{"size":2}"#).0, 401);
    assert_eq!(create("operator", r#"{"size":0}"#).0, 400);
    assert_eq!(create("operator", r#"{"size":-1}"#).0, 400);
    assert_eq!(create("operator", r#"{"size":2,"extra":1}"#).0, 400);
    assert_eq!(create("operator", "nonsense").0, 400);
    assert_eq!(create("operator", &" ".repeat(2 << 20)).0, 413);
    let (status, _, body) = create("operator", r#"{"size":2,"lease_s":5}"#);
    assert_eq!(status, 201, "{body}");
    let created: JobCreated = serde_json::from_str(&body).unwrap();
    let path = format!("/v1/jobs/{}", created.job);
    let (status, _, body) = ask(service.address(), &get(&path, &created.secret));
    let known: JobStatus = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, known.size, known.joined, known.state.as_str()),
        (200, 2, 0, "running")
    );
    let (status, _, body) = ask(service.address(), &get("/healthz", ""));
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    assert_eq!(ask(service.address(), &get("/elsewhere", "")).0, 404);
}

#[test]
fn nonsense_on_the_port_harms_nobody() {
    let (service, _) = service(2, 0);
    let (zero, _ends) = join(&service, &SECRET, 0, 2).unwrap();
    let mut seed = 88172645463325252u64;
    for round in 0..40 {
        let mut stream = connect(service.address());
        let bytes: Vec<u8> = (0..300 * round)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed as u8
            })
            .collect();
        let _ = stream.write_all(&bytes);
    }
    // A head without end, and one with too many lines.
    let mut endless = connect(service.address());
    let _ = endless.write_all(&[b"GET /".as_slice(), &[b'a'; 100_000]].concat());
    let mut many = connect(service.address());
    let _ = many.write_all(b"GET / HTTP/1.1\r\n");
    let _ = many.write_all(&b"a: b\r\n".repeat(10_000));
    let (one, _ends) = join(&service, &SECRET, 1, 2).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| zero.fence("x", b"0").unwrap());
        assert_eq!(one.fence("x", b"1").unwrap(), [b"0", b"1"]);
    });
}

#[test]
fn a_member_that_breaks_the_rules_is_lost_and_the_others_hear_of_it() {
    let join = |rank| {
        let host = "h".into();
        let (size, epoch, pid) = (2, 0, 1);
        ToService::Join {
            rank,
            size,
            epoch,
            pid,
            host,
        }
        .encode()
    };
    let oversized = (TO_SERVICE_MAX as u32 + 1).to_le_bytes().to_vec();
    let unknown_kind = [1, 0, 0, 0, 99].to_vec();
    let cut_short = ToService::Renew.encode()[..3].to_vec();
    for (what, bytes) in [
        ("oversized", oversized),
        ("unknown kind", unknown_kind),
        ("empty", vec![0; 4]),
        ("joins twice", join(1)),
        ("cut short", cut_short),
    ] {
        let (service, events) = service(2, 0);
        let (_other, ends) = self::join(&service, &SECRET, 0, 2).unwrap();
        let mut bad = upgraded(&service, 1);
        bad.write_all(&join(1)).unwrap();
        bad.write_all(&bytes).unwrap();
        if what == "cut short" {
            bad.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let end = ends.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(
            matches!(end, End::Aborted { rank: 1, .. }),
            "{what}: {end:?}"
        );
        assert!(matches!(next(&events), Event::Joined { rank: 0, .. }));
        assert!(matches!(next(&events), Event::Joined { rank: 1, .. }));
        assert!(
            matches!(next(&events), Event::Lost { rank: 1, .. }),
            "{what}"
        );
    }
    // Whoever does not begin with a Join is told and closed.
    let (service, _) = service(2, 0);
    let mut bad = upgraded(&service, 1);
    bad.write_all(&ToService::Renew.encode()).unwrap();
    let mut answer = Vec::new();
    bad.read_to_end(&mut answer).unwrap();
    assert!(matches!(
        ToMember::decode(&answer[4..]),
        Ok(ToMember::Refused { .. })
    ));
}

#[test]
fn an_abort_reaches_the_others_and_its_author_gets_away() {
    let (service, events) = service(2, 0);
    let (mut one, silence) = join(&service, &SECRET, 1, 2).unwrap();
    let (zero, ends) = join(&service, &SECRET, 0, 2).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| zero.fence("x", b"").unwrap_err().to_string());
        one.abort(7, "enough");
        assert!(waiting.join().unwrap().contains("enough"));
    });
    let expected = End::Aborted {
        rank: 1,
        code: 7,
        text: "enough".into(),
    };
    assert_eq!(
        ends.recv_timeout(Duration::from_secs(20)).unwrap(),
        expected
    );
    assert!(silence.try_recv().is_err());
    assert!(matches!(next(&events), Event::Joined { .. }));
    assert!(matches!(next(&events), Event::Joined { .. }));
    assert!(matches!(
        next(&events),
        Event::Aborted {
            rank: 1,
            code: 7,
            ..
        }
    ));
}

#[test]
fn a_lease_is_renewed_by_itself_and_a_silent_member_is_lost() {
    let (service, _events) = service(2, 2000);
    let (_zero, ends) = join(&service, &SECRET, 0, 2).unwrap();
    assert!(
        ends.recv_timeout(Duration::from_millis(3000)).is_err(),
        "it is alive all the time"
    );
    let mut silent = upgraded(&service, 1);
    let (rank, size, epoch, pid, host) = (1, 2, 0, 1, "h".into());
    silent
        .write_all(
            &ToService::Join {
                rank,
                size,
                epoch,
                pid,
                host,
            }
            .encode(),
        )
        .unwrap();
    let end = ends.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(
        matches!(&end, End::Aborted { rank: 1, text, .. } if text.contains("lease")),
        "{end:?}"
    );
}

#[test]
fn the_services_end_is_noticed() {
    let (service, _events) = service(2, 0);
    let (_zero, ends) = join(&service, &SECRET, 0, 2).unwrap();
    drop(service);
    let end = ends.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(matches!(end, End::Lost(_)), "{end:?}");
}
