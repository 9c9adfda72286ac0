//! What only real processes show: ends by SIGKILL, limits of a process. A test starts itself again in a child, which
//! finds its part in the environment.

use crate::base::id::PeerId;
use crate::transport::conformance::{config, open};
use crate::transport::{Links, Sent, Sink};
use crate::wire::frame::{Header, Kind};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ROLE: &str = "MAYFLY_TEST_ROLE";
const FOLDER: &str = "MAYFLY_TEST_FOLDER";

/// This test's part in a child process, and the folder of the test.
fn role() -> Option<(String, PathBuf)> {
    let folder = std::env::var(FOLDER).ok()?;
    Some((std::env::var(ROLE).ok()?, PathBuf::from(folder)))
}

/// A folder for the processes of one test.
struct Stage {
    folder: PathBuf,
    test: &'static str,
}

impl Stage {
    fn new(test: &'static str) -> Stage {
        let name = test.rsplit("::").next().unwrap_or(test);
        let folder = std::env::temp_dir().join(format!("mayfly-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Stage { folder, test }
    }

    fn start(&self, role: &str) -> Child {
        Command::new(std::env::current_exe().expect("this program"))
            .args([self.test, "--exact", "--nocapture"])
            .env(ROLE, role)
            .env(FOLDER, &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(
                std::fs::File::create(self.folder.join(format!("{role}.err"))).expect("a file"),
            ))
            .spawn()
            .expect("a child")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Hands a rank's address to the others through the folder.
fn publish(folder: &std::path::Path, rank: u32, address: &[u8]) {
    let part = folder.join(format!("{rank}.part"));
    std::fs::write(&part, address).expect("written");
    std::fs::rename(part, folder.join(rank.to_string())).expect("renamed");
}

/// Waits for everybody's address.
fn gather(folder: &std::path::Path, ranks: u32) -> Vec<Vec<u8>> {
    let read = |rank: u32| loop {
        match std::fs::read(folder.join(rank.to_string())) {
            Ok(bytes) => return bytes,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    (0..ranks).map(read).collect()
}

#[derive(Default)]
struct Log {
    frames: u64,
    goodbyes: u64,
    lost: Vec<(u32, String)>,
}

impl Sink for Log {
    fn frame(&mut self, _: PeerId, header: &Header, _: &[u8]) {
        if header.kind == Kind::Goodbye {
            self.goodbyes += 1;
        } else {
            self.frames += 1;
        }
    }

    fn finished(&mut self, token: u64, _: bool) {
        panic!("nothing one-sided was begun, and {token} ended");
    }

    fn lost(&mut self, peer: PeerId, why: &str) {
        self.lost.push((peer.0, why.to_string()));
    }
}

fn send(links: &mut Links, log: &mut Log, to: u32, kind: Kind) {
    while links.send(PeerId(to), &Header::new(kind), |_| ()) == Sent::Busy {
        links.poll(log);
    }
}

fn until(links: &mut Links, log: &mut Log, done: impl Fn(&Log) -> bool) {
    while !done(log) {
        if !links.poll(log) {
            links.sleep(Duration::from_millis(50));
        }
    }
}

fn settings(name: &str) -> crate::base::config::Config {
    match name {
        "shm" => config(&[("MAYFLY_TRANSPORT", "shm")]),
        "file" => config(&[("MAYFLY_TRANSPORT", "shm"), ("MAYFLY_SHM", "file")]),
        "tcp" => config(&[("MAYFLY_TRANSPORT", "tcp")]),
        _ => config(&[]),
    }
}

#[test]
fn a_killed_process_is_lost() {
    if let Some((name, folder)) = role() {
        let mut links = open(1, 2, &settings(&name));
        publish(&folder, 1, &links.address());
        links.introduce(gather(&folder, 2)).expect("introduced");
        let mut log = Log::default();
        send(&mut links, &mut log, 0, Kind::Eager);
        until(&mut links, &mut log, |_| false);
    }
    for name in ["shm", "file", "tcp", "both"] {
        let stage = Stage::new("transport::processes::a_killed_process_is_lost");
        let mut child = stage.start(name);
        let mut links = open(0, 2, &settings(name));
        publish(&stage.folder, 0, &links.address());
        links
            .introduce(gather(&stage.folder, 2))
            .expect("introduced");
        let mut log = Log::default();
        until(&mut links, &mut log, |log| log.frames == 1);
        assert!(log.lost.is_empty());
        child.kill().expect("killed");
        // Nobody waits for the child yet: a process that is dead and not buried is dead.
        until(&mut links, &mut log, |log| !log.lost.is_empty());
        assert_eq!(log.lost.len(), 1, "{name}");
        assert_eq!(log.lost[0].0, 1);
        assert_eq!(
            links.send(PeerId(1), &Header::new(Kind::Eager), |_| ()),
            Sent::Lost
        );
        child.wait().expect("buried");
    }
}

#[test]
fn a_process_that_closed_is_no_loss() {
    if role().is_some() {
        let (_, folder) = role().expect("a role");
        let mut links = open(1, 2, &settings("shm"));
        publish(&folder, 1, &links.address());
        links.introduce(gather(&folder, 2)).expect("introduced");
        let mut log = Log::default();
        send(&mut links, &mut log, 0, Kind::Eager);
        until(&mut links, &mut log, |log| log.frames == 1);
        links.close();
        return;
    }
    let stage = Stage::new("transport::processes::a_process_that_closed_is_no_loss");
    let mut child = stage.start("closes");
    let mut links = open(0, 2, &settings("shm"));
    publish(&stage.folder, 0, &links.address());
    let addresses = gather(&stage.folder, 2);
    links.introduce(addresses).expect("introduced");
    let mut log = Log::default();
    until(&mut links, &mut log, |log| log.frames == 1);
    send(&mut links, &mut log, 1, Kind::Eager);
    child.wait().expect("its end");
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(400) {
        links.sleep(Duration::from_millis(50));
        links.poll(&mut log);
    }
    assert!(log.lost.is_empty(), "{:?}", log.lost);
}

#[test]
fn processes_meet_by_every_transport() {
    const RANKS: u32 = 3;
    let part = |name: &str, me: u32, folder: &std::path::Path| {
        let mut links = open(me, RANKS, &settings(name));
        publish(folder, me, &links.address());
        links.introduce(gather(folder, RANKS)).expect("introduced");
        let mut log = Log::default();
        for to in (0..RANKS).filter(|to| *to != me) {
            let expected = if name == "tcp" { "tcp" } else { "shm" };
            assert_eq!(links.transport_of(PeerId(to)), expected);
            send(&mut links, &mut log, to, Kind::Eager);
        }
        until(&mut links, &mut log, |log| log.frames == 2);
        for to in (0..RANKS).filter(|to| *to != me) {
            send(&mut links, &mut log, to, Kind::Goodbye);
        }
        until(&mut links, &mut log, |log| log.goodbyes == 2);
        while !links.idle() {
            links.poll(&mut log);
        }
        links.close();
        assert!(log.lost.is_empty(), "{:?}", log.lost);
    };
    if let Some((role, folder)) = role() {
        let (name, me) = role.split_once('-').expect("transport and rank");
        part(name, me.parse().expect("a rank"), &folder);
        return;
    }
    for name in ["shm", "file", "tcp", "both"] {
        let stage = Stage::new("transport::processes::processes_meet_by_every_transport");
        let children: Vec<Child> = (1..RANKS)
            .map(|me| stage.start(&format!("{name}-{me}")))
            .collect();
        part(name, 0, &stage.folder);
        for mut child in children {
            assert!(child.wait().expect("its end").success(), "{name}");
        }
    }
}

#[test]
fn few_descriptors_are_an_error_that_names_them_or_no_problem() {
    const RANKS: u32 = 4;
    if let Some((role, folder)) = role() {
        // SAFETY: the structure is plain integers; the limit is this child's own.
        unsafe {
            let limit = libc::rlimit {
                rlim_cur: 64,
                rlim_max: 64,
            };
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        }
        if role == "none" {
            // Every descriptor is taken: opening links says so.
            let mut taken = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                taken.push(file);
            }
            let config = settings("both");
            let error = Links::open(crate::transport::Options {
                me: PeerId(0),
                size: 2,
                job: [0; 16],
                token: [0; 32],
                config: &config,
                fences: false,
                outside: crate::transport::Outside::default(),
            })
            .err()
            .expect("no descriptors");
            drop(taken);
            assert!(error.detail.contains("Too many open files"), "{error}");
            return;
        }
        let me: u32 = role.parse().expect("a rank");
        let mut links = open(me, RANKS, &settings("tcp"));
        publish(&folder, me, &links.address());
        links.introduce(gather(&folder, RANKS)).expect("introduced");
        let mut log = Log::default();
        for to in 0..RANKS {
            send(&mut links, &mut log, to, Kind::Goodbye);
        }
        until(&mut links, &mut log, |log| log.goodbyes == u64::from(RANKS));
        while !links.idle() {
            links.poll(&mut log);
        }
        links.close();
        assert!(log.lost.is_empty(), "{:?}", log.lost);
        return;
    }
    let stage = Stage::new(
        "transport::processes::few_descriptors_are_an_error_that_names_them_or_no_problem",
    );
    let mut children: Vec<Child> = (0..RANKS).map(|me| stage.start(&me.to_string())).collect();
    children.push(stage.start("none"));
    for mut child in children {
        assert!(child.wait().expect("its end").success());
    }
}

#[test]
fn no_space_for_the_segment_falls_back_to_tcp_with_a_reason() {
    if role().is_some() {
        // SAFETY: the structure is plain integers; the limit is this child's own.
        unsafe {
            let limit = libc::rlimit {
                rlim_cur: 4096,
                rlim_max: 4096,
            };
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
        }
        let mut links: Vec<Links> = (0..2).map(|me| open(me, 2, &settings("both"))).collect();
        let addresses: Vec<Vec<u8>> = links.iter().map(Links::address).collect();
        links[0].introduce(addresses).expect("introduced");
        assert_eq!(links[0].transport_of(PeerId(1)), "tcp");
        let shm = settings("shm");
        let error = Links::open(crate::transport::Options {
            me: PeerId(0),
            size: 2,
            job: [0; 16],
            token: [0; 32],
            config: &shm,
            fences: false,
            outside: crate::transport::Outside::default(),
        })
        .err()
        .expect("no space");
        assert!(error.detail.contains("memfd: File too large"), "{error}");
        assert!(error.detail.contains("forbids"), "{error}");
        return;
    }
    let stage = Stage::new(
        "transport::processes::no_space_for_the_segment_falls_back_to_tcp_with_a_reason",
    );
    let status = stage.start("full").wait().expect("its end");
    assert!(status.success());
}
