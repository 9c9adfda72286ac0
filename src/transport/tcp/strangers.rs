//! Strangers at the door: whatever they say, nothing of it becomes a frame, and the job goes on.

use crate::base::id::PeerId;
use crate::transport::conformance::{config, open};
use crate::transport::{Links, Options, Outside, Sent, Sink};
use crate::wire::address::Address;
use crate::wire::frame::{Header, Kind};
use crate::wire::hello::{self, Hello, Role, HELLO, PROOF};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[derive(Default)]
struct Log {
    frames: Vec<u32>,
    lost: Vec<(u32, String)>,
}

impl Sink for Log {
    fn frame(&mut self, from: PeerId, _: &Header, _: &[u8]) {
        self.frames.push(from.0);
    }

    fn finished(&mut self, token: u64, _: bool) {
        panic!("nothing one-sided was begun, and {token} ended");
    }

    fn lost(&mut self, peer: PeerId, why: &str) {
        self.lost.push((peer.0, why.to_string()));
    }
}

fn two(job: u8, token: u8) -> Vec<Links> {
    let config = config(&[
        ("MAYFLY_TRANSPORT", "tcp"),
        ("MAYFLY_LOG", "error"),
        ("MAYFLY_CONNECT_TIMEOUT", "1"),
    ]);
    (0..2)
        .map(|me| {
            Links::open(Options {
                me: PeerId(me),
                size: 2,
                job: [job; 16],
                token: [token; 32],
                config: &config,
                fences: false,
                outside: Outside::default(),
            })
            .expect("links")
        })
        .collect()
}

/// Introduces rank 0 to a rank 1 without keys, which a test can play: its proofs are made of the token alone.
fn acquaint(links: &mut Links, other: &Links) {
    let mut bare = Address::decode(&other.address()).expect("an address");
    bare.key = None;
    let addresses = vec![links.address(), bare.encode()];
    links.introduce(addresses).expect("introduced");
}

fn door(links: &Links) -> TcpStream {
    let address = Address::decode(&links.address()).expect("an address");
    let stream = TcpStream::connect(("127.0.0.1", address.port)).expect("a door");
    stream.set_nonblocking(true).expect("non-blocking");
    stream
}

/// Polls until the stranger sees its connection end.
fn shown_out(links: &mut Links, log: &mut Log, stream: &mut TcpStream) {
    let mut bytes = [0; 256];
    loop {
        links.poll(log);
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => (),
            Err(e) if e.kind() == ErrorKind::WouldBlock => (),
            Err(_) => return,
        }
    }
}

#[test]
fn nonsense_is_turned_away_and_the_job_goes_on() {
    let [mut first, second] = <[Links; 2]>::try_from(two(1, 2)).ok().expect("two");
    acquaint(&mut first, &second);
    let mut links = [first, second];
    let mut log = Log::default();
    let mine = Hello {
        role: hello::Role::Dialler,
        path: hello::Path::Private,
        sealed: false,
        job: [1; 16],
        from: 1,
        to: 0,
        nonce: [7; 16],
    };
    let other_job = Hello {
        role: hello::Role::Dialler,
        path: hello::Path::Private,
        sealed: false,
        job: [9; 16],
        ..mine
    };
    let beyond = Hello { from: 2, ..mine };
    let itself = Hello { from: 0, ..mine };
    let astray = Hello { to: 1, ..mine };
    let mut forged = mine.encode().to_vec();
    forged.extend_from_slice(&[0; PROOF]);
    // A frame right behind a proof that does not hold is not read.
    forged.extend_from_slice(&Header::new(Kind::Eager).encode());
    let mut said: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0; 1000],
        Header::new(Kind::Eager).encode().to_vec(),
        other_job.encode().to_vec(),
        beyond.encode().to_vec(),
        itself.encode().to_vec(),
        astray.encode().to_vec(),
        forged,
    ];
    let mut state = 99u64;
    for length in [1, 47, 48, 80, 5000] {
        said.push(
            (0..length)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 56) as u8 | 0x80
                })
                .collect(),
        );
    }
    for words in &said {
        let mut stranger = door(&links[0]);
        stranger.write_all(words).expect("said");
        shown_out(&mut links[0], &mut log, &mut stranger);
    }
    assert!(log.frames.is_empty() && log.lost.is_empty());
    meet(&mut links, &mut log);
}

/// Rank 1 sends to rank 0.
fn meet(links: &mut [Links], log: &mut Log) {
    let addresses: Vec<Vec<u8>> = links.iter().map(Links::address).collect();
    for l in links.iter_mut() {
        l.introduce(addresses.clone()).expect("introduced");
    }
    assert_eq!(
        links[1].send(PeerId(0), &Header::new(Kind::Eager), |_| ()),
        Sent::Done
    );
    while log.frames.is_empty() && log.lost.is_empty() {
        for l in links.iter_mut() {
            l.poll(log);
        }
    }
}

#[test]
fn silent_strangers_in_masses_do_not_shut_the_door() {
    let mut links = two(1, 2);
    let mut log = Log::default();
    let mut strangers: Vec<TcpStream> = Vec::new();
    for _ in 0..100 {
        strangers.push(door(&links[0]));
        links[0].poll(&mut log);
    }
    meet(&mut links, &mut log);
    assert_eq!(log.frames, [1]);
    // The first ones had to make room for the last ones.
    shown_out(&mut links[0], &mut log, &mut strangers[0]);
}

#[test]
fn a_stranger_who_knows_no_token_learns_none() {
    let [mut first, second] = <[Links; 2]>::try_from(two(1, 2)).ok().expect("two");
    acquaint(&mut first, &second);
    let mut links = [first, second];
    let mut log = Log::default();
    let mine = Hello {
        role: hello::Role::Dialler,
        path: hello::Path::Private,
        sealed: false,
        job: [1; 16],
        from: 1,
        to: 0,
        nonce: [7; 16],
    };
    let mut stranger = door(&links[0]);
    stranger.write_all(&mine.encode()).expect("said");
    let mut answer = Vec::new();
    while answer.len() < HELLO + PROOF {
        links[0].poll(&mut log);
        let mut bytes = [0; 256];
        if let Ok(n) = stranger.read(&mut bytes) {
            answer.extend_from_slice(&bytes[..n]);
        }
    }
    let theirs = Hello::decode(answer.first_chunk().expect("a hello")).expect("a hello");
    assert_ne!(theirs.nonce, mine.nonce);
    assert!(hello::holds(
        &[2; 32],
        Role::Listener,
        &mine,
        &theirs,
        &answer[HELLO..]
    ));
    // The listener's own proof, sent back, is not the dialler's.
    stranger.write_all(&answer[HELLO..]).expect("said");
    shown_out(&mut links[0], &mut log, &mut stranger);
    assert!(log.frames.is_empty());
}

#[test]
fn ranks_of_another_token_are_lost_to_each_other_and_both_say_why() {
    let mut links = vec![two(1, 2).remove(0), two(1, 3).remove(1)];
    let mut log = Log::default();
    meet(&mut links, &mut log);
    assert!(log.frames.is_empty());
    assert_eq!(log.lost.len(), 1);
    assert!(log.lost[0].1.contains("token"), "{:?}", log.lost);
}

#[test]
fn a_rank_that_is_not_there_is_lost_with_its_address_and_the_error() {
    let mut links = two(1, 2);
    let mut log = Log::default();
    let addresses: Vec<Vec<u8>> = links.iter().map(Links::address).collect();
    links[1].introduce(addresses).expect("introduced");
    drop(links.remove(0));
    let begun = Instant::now();
    assert_eq!(
        links[0].send(PeerId(0), &Header::new(Kind::Eager), |_| ()),
        Sent::Done,
        "dialling takes its time"
    );
    assert!(!links[0].idle());
    while log.lost.is_empty() {
        if !links[0].poll(&mut log) {
            links[0].sleep(Duration::from_secs(10));
        }
    }
    let (rank, why) = &log.lost[0];
    assert_eq!(*rank, 0);
    assert!(
        why.contains("127.0.0.1:") && why.contains("refused"),
        "{why}"
    );
    assert!(links[0].idle());
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "sleeping ends with the effort"
    );
}

#[test]
fn a_peer_that_breaks_off_in_the_middle_of_a_frame_is_lost() {
    let config = config(&[("MAYFLY_TRANSPORT", "tcp"), ("MAYFLY_LOG", "error")]);
    let mut links = open(0, 2, &config);
    acquaint(&mut links, &open(1, 2, &config));
    let mut log = Log::default();
    let mut peer = door(&links);
    let mine = Hello {
        role: hello::Role::Dialler,
        path: hello::Path::Private,
        sealed: false,
        job: [3; 16],
        from: 1,
        to: 0,
        nonce: [7; 16],
    };
    peer.write_all(&mine.encode()).expect("said");
    let mut answer = Vec::new();
    while answer.len() < HELLO + PROOF {
        links.poll(&mut log);
        let mut bytes = [0; 256];
        if let Ok(n) = peer.read(&mut bytes) {
            answer.extend_from_slice(&bytes[..n]);
        }
    }
    let theirs = Hello::decode(answer.first_chunk().expect("a hello")).expect("a hello");
    let proof = hello::proof(&[4; 32], Role::Dialler, &mine, &theirs);
    peer.write_all(&proof).expect("said");
    let mut welcome = [0];
    while peer.read(&mut welcome).is_err() {
        links.poll(&mut log);
    }
    assert_eq!(welcome, [hello::WELCOME]);
    let mut header = Header::new(Kind::Eager);
    peer.write_all(&header.encode()).expect("said");
    header.length = 1000;
    peer.write_all(&header.encode()).expect("said");
    peer.write_all(&[0; 999]).expect("said");
    while log.frames.is_empty() {
        links.poll(&mut log);
    }
    drop(peer);
    while log.lost.is_empty() {
        links.poll(&mut log);
    }
    assert_eq!((log.frames, log.lost[0].0), (vec![1], 1));
}
