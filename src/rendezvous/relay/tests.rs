use super::*;
use crate::wire::relay::{grant, nonce, seen, GREETING, OBSERVED};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

const KEY: [u8; 32] = [7; 32];
const JOB: [u8; 16] = [1; 16];
const FOREVER: u64 = u64::MAX;

fn relay(change: impl FnOnce(&mut Options)) -> Relay {
    let mut options = Options::new(KEY);
    change(&mut options);
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    Relay::start([listen(), listen()], options).unwrap()
}

/// A connection whose greeting has been read.
fn greeted(relay: &Relay) -> (TcpStream, [u8; 16]) {
    let mut stream = TcpStream::connect(relay.addresses()[0]).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut said = [0; GREETING];
    stream.read_exact(&mut said).unwrap();
    (stream, nonce(&said).unwrap())
}

fn request(op: Op, from: u32, to: u32) -> Request {
    Request {
        op,
        job: JOB,
        expiry: FOREVER,
        from,
        to,
    }
}

fn ask(relay: &Relay, request: Request, key: &[u8; 32]) -> TcpStream {
    let (mut stream, nonce) = greeted(relay);
    let granted = grant(key, &request.job, request.expiry);
    stream.write_all(&request.encode(&granted, &nonce)).unwrap();
    stream
}

fn status(stream: &mut TcpStream) -> Status {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    Status::decode(byte[0]).unwrap()
}

fn ended(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0) | Err(_))
}

/// Both ends of a link.
fn pair(relay: &Relay, dialler: u32, listener: u32) -> (TcpStream, TcpStream) {
    let mut one = ask(relay, request(Op::Dial, dialler, listener), &KEY);
    let mut other = ask(relay, request(Op::Listen, listener, dialler), &KEY);
    assert_eq!(
        (status(&mut one), status(&mut other)),
        (Status::Ok, Status::Ok)
    );
    (one, other)
}

fn eventually(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_rank_learns_where_it_is_seen_from() {
    let relay = relay(|_| {});
    let mut stream = ask(&relay, request(Op::Observe, 3, 3), &KEY);
    assert_eq!(status(&mut stream), Status::Ok);
    let mut answer = [0; OBSERVED];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(seen(&answer), stream.local_addr().unwrap());
    assert_eq!(relay.figures().observed, 1);
    assert_eq!(relay.figures().connections, 1, "the connection stays");
    drop(stream);
    eventually(|| relay.figures().connections == 0);
}

#[test]
fn two_ranks_are_joined_whoever_comes_first_and_much_goes_through() {
    let relay = relay(|_| {});
    let mut first = ask(&relay, request(Op::Listen, 5, 2), &KEY);
    let _other_pair = ask(&relay, request(Op::Dial, 2, 6), &KEY);
    let mut second = ask(&relay, request(Op::Dial, 2, 5), &KEY);
    assert_eq!(
        (status(&mut first), status(&mut second)),
        (Status::Ok, Status::Ok)
    );
    let bytes: Vec<u8> = (0..3_000_000u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    std::thread::scope(|scope| {
        for (mut writing, mut reading) in [
            (first.try_clone().unwrap(), second.try_clone().unwrap()),
            (second.try_clone().unwrap(), first.try_clone().unwrap()),
        ] {
            let bytes = &bytes;
            scope.spawn(move || {
                writing.write_all(bytes).unwrap();
                writing.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(move || {
                let mut came = Vec::new();
                reading.read_to_end(&mut came).unwrap();
                assert!(came == *bytes);
            });
        }
    });
    eventually(|| relay.figures().pairs == 0);
    let figures = relay.figures();
    assert_eq!(
        (figures.pairs_ever, figures.bytes),
        (1, 2 * bytes.len() as u64)
    );
    assert_eq!(figures.waiting, 1);
}

#[test]
fn who_does_not_take_what_comes_slows_the_other_down_and_costs_no_memory() {
    let relay = relay(|_| {});
    let (mut one, mut other) = pair(&relay, 0, 1);
    one.set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let piece = vec![1u8; 1 << 20];
    // The system's buffers take some megabytes on each side; then nothing moves.
    let mut sent = 0;
    while sent < 64 << 20 {
        match one.write(&piece) {
            Ok(n) => sent += n,
            Err(_) => break,
        }
    }
    assert!(sent < 64 << 20, "all was taken although nobody read");
    let mut taken = 0;
    let mut buffer = vec![0; 1 << 20];
    one.shutdown(Shutdown::Write).unwrap();
    while taken < sent {
        taken += other.read(&mut buffer).unwrap();
    }
    assert_eq!(taken, sent);
    assert!(ended(&mut other));
}

#[test]
fn strangers_are_refused() {
    let relay = relay(|_| {});
    let dial = request(Op::Dial, 0, 1);
    let mut wrong = ask(&relay, dial, &[8; 32]);
    assert_eq!(status(&mut wrong), Status::WrongGrant);
    assert!(ended(&mut wrong));
    let mut old = ask(&relay, Request { expiry: 1, ..dial }, &KEY);
    assert_eq!(status(&mut old), Status::Expired);
    // A grant of the past with another date.
    let (mut stretched, nonce) = greeted(&relay);
    let bytes = dial.encode(&grant(&KEY, &JOB, 1), &nonce);
    stretched.write_all(&bytes).unwrap();
    assert_eq!(status(&mut stretched), Status::WrongGrant);
    // What another connection said.
    let (mut replay, _) = greeted(&relay);
    let granted = grant(&KEY, &JOB, FOREVER);
    replay.write_all(&dial.encode(&granted, &nonce)).unwrap();
    assert_eq!(status(&mut replay), Status::WrongGrant);
    // The grant of another job.
    let (mut other, nonce) = greeted(&relay);
    let granted = grant(&KEY, &[2; 16], FOREVER);
    other.write_all(&dial.encode(&granted, &nonce)).unwrap();
    assert_eq!(status(&mut other), Status::WrongGrant);
    let mut itself = ask(&relay, request(Op::Dial, 1, 1), &KEY);
    assert_eq!(status(&mut itself), Status::Malformed);
    let (mut garbage, _) = greeted(&relay);
    garbage.write_all(&[b'G'; REQUEST]).unwrap();
    assert_eq!(status(&mut garbage), Status::Malformed);
    let figures = relay.figures();
    assert_eq!(figures.refused[Status::WrongGrant as usize], 4);
    assert_eq!(figures.refused[Status::Expired as usize], 1);
    assert_eq!(figures.refused[Status::Malformed as usize], 2);
    // And a pair still comes about.
    pair(&relay, 0, 1);
}

#[test]
fn jobs_do_not_mix() {
    let relay = relay(|o| o.wait = Duration::from_millis(200));
    let mut one = ask(&relay, request(Op::Dial, 0, 1), &KEY);
    let other = Request {
        job: [2; 16],
        ..request(Op::Listen, 1, 0)
    };
    let mut other = ask(&relay, other, &KEY);
    let mut same_side = ask(&relay, request(Op::Dial, 1, 0), &KEY);
    assert_eq!(status(&mut one), Status::Alone);
    assert_eq!(status(&mut other), Status::Alone);
    assert_eq!(status(&mut same_side), Status::Alone);
    assert_eq!(relay.figures().waiting, 0);
}

#[test]
fn one_that_comes_again_takes_its_own_place() {
    let relay = relay(|_| {});
    let mut early = ask(&relay, request(Op::Dial, 0, 1), &KEY);
    eventually(|| relay.figures().waiting == 1);
    let mut again = ask(&relay, request(Op::Dial, 0, 1), &KEY);
    assert_eq!(status(&mut early), Status::Displaced);
    let mut other = ask(&relay, request(Op::Listen, 1, 0), &KEY);
    assert_eq!(
        (status(&mut again), status(&mut other)),
        (Status::Ok, Status::Ok)
    );
    again.write_all(b"x").unwrap();
    let mut byte = [0];
    other.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"x");
}

#[test]
fn one_that_leaves_while_it_waits_is_forgotten_and_one_killed_mid_way_ends_the_link() {
    let relay = relay(|_| {});
    let gone = ask(&relay, request(Op::Dial, 0, 1), &KEY);
    eventually(|| relay.figures().waiting == 1);
    drop(gone);
    eventually(|| relay.figures().waiting == 0);
    let (mut one, other) = pair(&relay, 0, 1);
    one.write_all(b"half a mess").unwrap();
    // With something unread this is a reset, as when a process is killed.
    drop(other);
    assert!(ended(&mut one));
    drop(one);
    eventually(|| relay.figures().pairs == 0 && relay.figures().connections == 0);
}

#[test]
fn connections_that_wait_and_strangers_are_bounded() {
    let relay = relay(|o| {
        o.waiting = 2;
        o.limits.strangers = 3;
    });
    let _two = [(0, 1), (0, 2)].map(|(a, b)| ask(&relay, request(Op::Dial, a, b), &KEY));
    eventually(|| relay.figures().waiting == 2);
    let mut third = ask(&relay, request(Op::Dial, 0, 3), &KEY);
    assert_eq!(status(&mut third), Status::Busy);
    drop(third);
    eventually(|| relay.figures().connections == 2);
    let _silent = [0; 3].map(|_| greeted(&relay));
    let mut fourth = TcpStream::connect(relay.addresses()[1]).unwrap();
    assert!(ended(&mut fourth), "it is closed without a greeting");
}

#[test]
fn a_link_on_which_nothing_moves_is_closed_and_the_end_is_told() {
    let relay_of_the_idle = relay(|o| o.idle = Duration::from_millis(100));
    let (mut one, mut other) = pair(&relay_of_the_idle, 0, 1);
    assert!(ended(&mut one) && ended(&mut other));
    let relay = relay(|_| {});
    let mut waits = ask(&relay, request(Op::Dial, 0, 1), &KEY);
    let (mut one, _other) = pair(&relay, 2, 3);
    eventually(|| relay.figures().waiting == 1);
    drop(relay);
    assert_eq!(status(&mut waits), Status::Closing);
    assert!(ended(&mut one));
}

#[test]
fn a_job_has_no_more_pairs_than_it_may_and_others_are_not_held_responsible() {
    let relay = relay(|o| o.job.pairs = 1);
    let (one, other) = pair(&relay, 0, 1);
    let mut second = ask(&relay, request(Op::Dial, 0, 2), &KEY);
    assert_eq!(status(&mut second), Status::JobFull);
    assert!(ended(&mut second));
    let elsewhere = Request {
        job: [2; 16],
        ..request(Op::Dial, 0, 2)
    };
    let _waits = ask(&relay, elsewhere, &KEY);
    eventually(|| relay.figures().jobs == 2);
    let figures = relay.figures();
    assert_eq!((figures.pairs, figures.job_pairs), (1, 1));
    assert_eq!(figures.refused[Status::JobFull as usize], 1);
    // A place is free again when its pair has ended.
    drop((one, other));
    eventually(|| relay.figures().jobs == 1);
    let _pair = pair(&relay, 0, 2);
}

#[test]
fn a_job_carries_no_more_than_its_rate() {
    let relay = relay(|o| o.job.rate = 4_000_000);
    let (mut one, mut other) = pair(&relay, 0, 1);
    let begin = Instant::now();
    let sender = std::thread::spawn(move || one.write_all(&[5; 3_000_000]));
    let mut came = vec![0; 3_000_000];
    other.read_exact(&mut came).unwrap();
    assert!(sender.join().unwrap().is_ok());
    // All but what a pause allows at once, and the last piece.
    assert!(begin.elapsed() > Duration::from_millis(450));
    assert!(relay.figures().paced > 0);
}
