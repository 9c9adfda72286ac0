//! Standard input and output where somebody is slow.

use crate::common::eventually;
use crate::instance::Instance;
use crate::meeting::{shell, Meeting};
use mayfly::platform::start::Place;
use mayfly::rendezvous::dial;
use mayfly::rendezvous::message::{Errand, Event, Frame, FromOwner, ToHost};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

fn one(name: &str, meeting: &Meeting) -> Instance {
    let text = meeting.common().to_json();
    Instance::start(name, &[], &[("MAYFLY_START", &text), ("MAYFLY_INDEX", "0")])
}

#[test]
fn input_reaches_the_rank_that_reads_it() {
    let meeting = Meeting::of(&shell(2, "sleep 0.3; cat; echo end of $PMI_RANK"));
    let place = meeting.place.rendezvous().unwrap();
    let (job, secret) = (meeting.place.job, meeting.secret);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let text: String = (0..40_000).map(|i| format!("line {i}\n")).collect();
    let _host = one("input", &meeting);
    // What comes before its host has nobody to go to.
    meeting.wait("a start", |events| {
        events
            .iter()
            .any(|e| matches!(e, Event::Started { rank: 0, .. }))
    });
    runtime.block_on(async {
        let patience = Duration::from_secs(10);
        let link = dial::owner(&place, &job, &secret, patience).await.unwrap();
        let pieces = text.as_bytes().chunks(60_000);
        for piece in pieces.chain([b"".as_slice()]) {
            let input = FromOwner::Input {
                rank: 0,
                bytes: piece.to_vec(),
            };
            link.speaker.say(&input).await.unwrap();
        }
        for _ in 0..1000 {
            if meeting.exits().len() < 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    assert_eq!(meeting.exits(), [(0, 0, 0), (1, 0, 0)]);
    assert!(meeting.written(0, 1) == text + "end of 0\n");
    assert_eq!(meeting.written(1, 1), "end of 1\n");
}

/// A rendezvous that lets a host in and then reads nothing.
fn deaf(task: Vec<u8>) -> (Place, std::thread::JoinHandle<std::net::TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place {
        rendezvous: format!("http://{}", listener.local_addr().unwrap()),
        pin: None,
        job: [1; 16],
    };
    let errand = Errand {
        first_rank: 0,
        ranks: 1,
        size: 1,
        per_instance: 1,
        epoch: 0,
        mesh: [0; 32],
        passes: vec![[0; 32]],
        relays: Vec::new(),
        relay_expiry: 0,
        relay_grant: [0; 32],
        task,
    };
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: mayfly\r\n\r\n";
        stream.write_all(answer).unwrap();
        stream
            .write_all(&ToHost::Welcome { lease: 0, errand }.encode())
            .unwrap();
        stream
    });
    (place, serving)
}

#[test]
fn while_nobody_takes_output_the_ranks_wait_and_memory_stays_bounded() {
    let folder = crate::common::Folder::new("deaf");
    let file = folder.path("written");
    // How far it has got stands in a file.
    let script = format!("i=0; while :; do printf %065536d 0; i=$((i+1)); echo $i > {file}; done");
    let (place, serving) = deaf(shell(1, &script).to_json());
    let start = mayfly::platform::start::Common {
        place,
        hosts_key: [0; 32],
    };
    let text = start.to_json();
    let mut host = Instance::start(
        "deaf",
        &[],
        &[("MAYFLY_START", &text), ("MAYFLY_INDEX", "0")],
    );
    let mut stream = serving.join().unwrap();
    let written = || std::fs::read_to_string(&file).unwrap_or_default();
    assert!(eventually(|| !written().is_empty()), "{}", host.err());
    // Until it stands still.
    let still = || {
        let before = written();
        std::thread::sleep(Duration::from_millis(500));
        !before.is_empty() && before == written()
    };
    assert!(eventually(still), "it goes on writing");
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.child.id())).unwrap();
    let peak = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches("kB").trim().parse().unwrap();
    assert!(kilobytes < 64 * 1024, "{kilobytes} kB");
    // It still hears that it is to stop.
    let text = "enough".to_string();
    stream
        .write_all(
            &ToHost::Stop {
                text,
                grace_ms: 100,
            }
            .encode(),
        )
        .unwrap();
    assert_eq!(host.status(), 1);
    assert!(host.err().contains("enough"), "{}", host.err());
    assert_eq!(host.files(), 0);
}

#[test]
fn nonsense_from_the_rendezvous_ends_the_ranks() {
    let (place, serving) = deaf(shell(1, "sleep 60").to_json());
    let start = mayfly::platform::start::Common {
        place,
        hosts_key: [0; 32],
    };
    let text = start.to_json();
    let mut host = Instance::start(
        "nonsense",
        &[],
        &[("MAYFLY_START", &text), ("MAYFLY_INDEX", "0")],
    );
    let mut stream = serving.join().unwrap();
    stream.write_all(b"\xff\xff\xff\xff nonsense").unwrap();
    assert_eq!(host.status(), 1);
    assert!(host.err().contains("larger than allowed"), "{}", host.err());
    // A task that is none.
    let (place, serving) = deaf(b"{}".to_vec());
    let text = mayfly::platform::start::Common {
        place,
        hosts_key: [0; 32],
    }
    .to_json();
    let mut host = Instance::start(
        "taskless",
        &[],
        &[("MAYFLY_START", &text), ("MAYFLY_INDEX", "0")],
    );
    drop(serving.join().unwrap());
    assert_eq!(host.status(), 1);
    assert!(host.err().contains("the task"), "{}", host.err());
}
