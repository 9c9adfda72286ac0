//! The rendezvous' port as strangers find it: the wrong language, slowness, excess, wrong passes, and that none of it
//! keeps a member out.

mod common;

use common::eventually;
use common::http::{answer, ask, connect, get};
use mayfly::rendezvous::client::{response_head, Entry, Member};
use mayfly::rendezvous::message::{hex, secrets};
use mayfly::rendezvous::registry::Plan;
use mayfly::rendezvous::server::limits::{Limits, Rate};
use mayfly::rendezvous::server::{Options, Service};
use mayfly::rendezvous::tls::Identity;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const KEY: &str = "a short key";
const JOB: [u8; 16] = [1; 16];
const SECRET: [u8; 32] = [2; 32];

fn limits() -> Limits {
    Limits {
        connections: 4_000,
        strangers: 3_000,
        arrivals: Rate {
            burst: 4_000,
            per_second: 1_000.0,
        },
        failures: Rate {
            burst: 5,
            per_second: 0.001,
        },
        guesses: Rate {
            burst: 3,
            per_second: 0.001,
        },
        patience: Duration::from_secs(2),
    }
}

/// A service in this process with [`JOB`] in it.
fn service(change: impl FnOnce(&mut Options)) -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = Options {
        operator_key: Some(KEY.into()),
        limits: Some(limits()),
        ..Options::default()
    };
    change(&mut options);
    let service = Service::start(listener, options, Box::new(|_, _| {})).unwrap();
    service.create(Plan::new(JOB, SECRET, 2)).unwrap();
    service
}

fn figure(address: SocketAddr, name: &str) -> u64 {
    let (_, _, page) = ask(address, &get("/metrics", ""));
    let line = page
        .lines()
        .find(|line| line.strip_prefix(name).is_some_and(|l| l.starts_with(' ')));
    let value = line.and_then(|line| line.rsplit(' ').next()).unwrap();
    value.parse().unwrap()
}

fn join(address: &str, rank: u32, pass: &[u8; 32]) -> std::io::Result<Member> {
    let entry = Entry {
        service: address,
        job: &JOB,
        pass,
        rank,
        size: 2,
        epoch: 0,
        patience: Duration::from_secs(5),
    };
    Member::join(&entry, Box::new(|_| {}), None)
}

fn pass(rank: u32) -> [u8; 32] {
    secrets::member_pass(&SECRET, rank, 0)
}

#[test]
fn who_speaks_the_wrong_language_is_told() {
    let plain = service(|_| {});
    // The first bytes of a TLS 1.3 client.
    let mut stream = connect(plain.address());
    stream
        .write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc])
        .unwrap();
    let mut alert = Vec::new();
    stream.read_to_end(&mut alert).unwrap();
    assert_eq!(alert, [0x15, 3, 3, 0, 2, 2, 40]);
    let identity = Identity::fresh(&["localhost".into()]).unwrap();
    let tls = service(|o| o.tls = Some(identity));
    let (status, _, body) = ask(tls.address(), &get("/healthz", ""));
    assert_eq!(status, 400);
    assert!(body.contains("https://"), "{body}");
    // Nonsense that begins like TLS.
    let mut stream = connect(tls.address());
    stream
        .write_all(&[[0x16; 1].as_slice(), &[0xff; 3_000]].concat())
        .unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 100, "an alert at most");
    let cause = |cause: &str| format!("mayfly_refusals_total{{cause=\"{cause}\"}}");
    assert_eq!(figure(plain.address(), &cause("tls_to_plain")), 1);
}

#[test]
fn slow_and_oversized_requests_end() {
    let service = service(|_| {});
    let begin = Instant::now();
    // One says nothing, one half a head, one its head letter by letter, one keeps its body for itself.
    // One has had an answer and keeps its connection.
    let mut kept = connect(service.address());
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    assert_eq!(response_head(&mut kept).unwrap().0, 200);
    let silent = connect(service.address());
    let mut half = connect(service.address());
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost:").unwrap();
    let mut body = connect(service.address());
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 100\r\n\r\n{{"
    );
    body.write_all(head.as_bytes()).unwrap();
    let mut dribbling = connect(service.address());
    dribbling
        .write_all(b"GET /healthz HTTP/1.1\r\nX: ")
        .unwrap();
    dribbling.set_nodelay(true).unwrap();
    while dribbling.write_all(b"x").is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(15), "for ever");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(answer(&mut body).0, 408);
    for mut stream in [kept, silent, half] {
        let ended = stream.read_to_end(&mut Vec::new());
        let slow = |e: &std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!ended.is_err_and(|e| slow(&e)));
    }
    assert!(begin.elapsed() < Duration::from_secs(15));
    // A head of a megabyte is not read to its end.
    let mut large = connect(service.address());
    let _ = large.write_all(b"GET /healthz HTTP/1.1\r\nX: ");
    let _ = large.write_all(&vec![b'x'; 1 << 20]);
    let mut said = Vec::new();
    let _ = large.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP/1.1 200"));
    // An announced body that is too large; a stranger's is not even looked at.
    let announced = |key: &str| {
        format!(
            "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
             Content-Length: 10000000000\r\n\r\n"
        )
    };
    assert_eq!(ask(service.address(), &announced("guess")).0, 401);
    assert_eq!(ask(service.address(), &announced(KEY)).0, 413);
    assert_eq!(ask(service.address(), &get("/healthz", "")).0, 200);
}

#[test]
fn a_thousand_idle_connections_keep_nobody_out_and_end() {
    let service = service(|_| {});
    let idle: Vec<TcpStream> = (0..1_000).map(|_| connect(service.address())).collect();
    assert!(eventually(|| service.connections() >= 1_000));
    let address = service.address().to_string();
    let mut members = [0, 1].map(|rank| join(&address, rank, &pass(rank)).unwrap());
    std::thread::scope(|scope| {
        for member in &mut members {
            scope.spawn(|| member.fence("x", b"y").unwrap());
        }
    });
    // The strangers go, the members stay.
    assert!(eventually(|| service.connections() == 2));
    for mut stream in idle {
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
    for member in &mut members {
        member.finish();
    }
}

#[test]
fn idle_connections_that_take_all_places_keep_nobody_out() {
    let service = service(|options| {
        let limits = options.limits.as_mut().unwrap();
        (limits.connections, limits.strangers) = (40, 40);
        // None of them ends by itself.
        limits.patience = Duration::from_secs(600);
    });
    let idle: Vec<TcpStream> = (0..100).map(|_| connect(service.address())).collect();
    assert!(eventually(|| service.connections() == 40));
    let address = service.address().to_string();
    let mut members = [0, 1].map(|rank| join(&address, rank, &pass(rank)).unwrap());
    assert!(service.connections() <= 40);
    std::thread::scope(|scope| {
        for member in &mut members {
            scope.spawn(|| member.fence("x", b"y").unwrap());
        }
    });
    drop(idle);
    assert!(eventually(|| service.connections() == 2));
    assert!(figure(service.address(), "mayfly_refusals_total{cause=\"room\"}") >= 2);
    for member in &mut members {
        member.finish();
    }
}

#[test]
fn wrong_passes_are_refused_then_slowed_and_never_hold_up_a_right_one() {
    let service = service(|_| {});
    let address = service.address();
    let path = format!("/v1/jobs/{}", hex(&JOB));
    let statuses: Vec<u16> = (0..10)
        .map(|n| ask(address, &get(&path, &hex(&[n; 32]))).0)
        .collect();
    let refused = statuses.iter().filter(|s| **s == 401).count();
    // Two of them is the secret itself.
    assert_eq!(statuses[2], 200);
    assert_eq!((refused, statuses[9]), (5, 429), "{statuses:?}");
    let (status, head, _) = ask(address, &get("/v1/jobs/00", ""));
    assert_eq!(status, 429);
    assert!(head.contains("retry-after: "), "{head}");
    // That says nothing about the operator; but its key could be guessed, so that it has to wait after wrong ones.
    assert_eq!(ask(address, &get("/v1/jobs", KEY)).0, 200);
    let tries = [0; 4].map(|_| ask(address, &get("/v1/jobs", "guess")).0);
    assert_eq!(tries, [401, 401, 401, 429]);
    assert_eq!(ask(address, &get("/v1/jobs", KEY)).0, 429);
    assert_eq!(ask(address, &get(&path, &hex(&SECRET))).0, 200);
    let text = address.to_string();
    let mut member = join(&text, 0, &pass(0)).unwrap();
    // One's pass does not open another's place, nor its own a second time, nor with another number.
    for (rank, shown) in [
        (1, pass(0)),
        (0, pass(0)),
        (0, secrets::member_pass(&SECRET, 0, 1)),
    ] {
        assert!(join(&text, rank, &shown).is_err(), "{rank}");
    }
    let mut other = join(&text, 1, &pass(1)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| member.fence("x", b"0").unwrap());
        assert_eq!(other.fence("x", b"1").unwrap(), [b"0", b"1"]);
    });
    member.finish();
    other.finish();
    let cause = |cause: &str| format!("mayfly_refusals_total{{cause=\"{cause}\"}}");
    assert!(figure(address, &cause("wrong_pass")) >= 9);
    assert!(figure(address, &cause("too_often")) >= 5);
}

#[test]
fn who_connects_too_often_is_told_to_wait() {
    let service = service(|o| {
        let limits = o.limits.as_mut().unwrap();
        limits.arrivals = Rate {
            burst: 3,
            per_second: 0.001,
        };
    });
    for _ in 0..3 {
        assert_eq!(ask(service.address(), &get("/healthz", "")).0, 200);
    }
    let (status, head, _) = ask(service.address(), &get("/healthz", ""));
    assert_eq!(status, 429);
    assert!(head.contains("retry-after: 5"), "{head}");
}
