//! Latency and bandwidth of the links alone, between two processes pinned to the first two cores:
//! `cargo run --release --no-default-features --example pingpong [shm|tcp|verbs] [spin|yield|sleep] [batches]`.

use mayfly::base::config::Config;
use mayfly::base::id::PeerId;
use mayfly::transport::{Links, Options, Sent, Sink};
use mayfly::wire::frame::{Header, Kind};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

struct Count {
    frames: u64,
    bytes: u64,
}

impl Sink for Count {
    fn frame(&mut self, _: PeerId, _: &Header, payload: &[u8]) {
        self.frames += 1;
        self.bytes += payload.len() as u64;
    }

    fn finished(&mut self, _: u64, _: bool) {}

    fn lost(&mut self, peer: PeerId, why: &str) {
        panic!("rank {} is lost: {why}", peer.0);
    }
}

fn pin(core: usize) {
    // SAFETY: the set is plain bits, filled before it is used.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

fn send(links: &mut Links, count: &mut Count, to: PeerId, length: usize) {
    let mut header = Header::new(Kind::Eager);
    header.length = length as u32;
    while links.send(to, &header, |p| p.fill(1)) != Sent::Done {
        links.poll(count);
    }
}

/// What is done when there is nothing to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Idle {
    Spin,
    Yield,
    Sleep,
}

/// Looks at memory before the processor is yielded.
const SPINS: u32 = 20_000;

fn receive(links: &mut Links, count: &mut Count, until: u64, idle: Idle) {
    let mut spun = 0;
    while count.frames < until {
        if links.poll(count) {
            spun = 0;
        } else {
            match idle {
                Idle::Spin => (),
                // As a rank that waits in MPI does.
                Idle::Yield if spun < SPINS => spun += links.effort(),
                Idle::Yield => std::thread::yield_now(),
                Idle::Sleep => links.sleep(Duration::from_secs(1)),
            }
        }
    }
}

fn rank(me: u32, links: &mut Links, idle: Idle) {
    let other = PeerId(1 - me);
    let mut count = Count {
        frames: 0,
        bytes: 0,
    };
    for length in [0, 8, 1024, 8192] {
        // Other work may share the cores: the best of many short batches says what the links can do.
        let batches = std::env::args().nth(3).and_then(|n| n.parse().ok());
        let (batches, batch): (u64, u64) = (batches.unwrap_or(400), 50);
        let mut best = f64::MAX;
        let mut all = Vec::with_capacity((batches * batch) as usize);
        let first = count.frames;
        for at in 0..batches {
            let start = Instant::now();
            for round in at * batch..(at + 1) * batch {
                let begun = Instant::now();
                if me == 0 {
                    send(links, &mut count, other, length);
                    receive(links, &mut count, first + round + 1, idle);
                } else {
                    receive(links, &mut count, first + round + 1, idle);
                    send(links, &mut count, other, length);
                }
                all.push(begun.elapsed());
            }
            best = best.min(start.elapsed().as_nanos() as f64 / batch as f64 / 2000.0);
        }
        if me == 0 {
            all.sort_unstable();
            let typical = all[all.len() / 2].as_nanos() as f64 / 2000.0;
            println!("{length:>8} bytes: {best:.3} us one way, {typical:.3} typically");
        }
    }
    let length = links.max_payload(other);
    let bytes = if links.transport_of(other) == "verbs" {
        64 << 20
    } else {
        256 << 20
    };
    let frames = bytes / length as u64;
    let first = count.frames;
    let start = Instant::now();
    if me == 0 {
        for _ in 0..frames {
            send(links, &mut count, other, length);
        }
        receive(links, &mut count, first + 1, idle);
        let rate = (frames * length as u64) as f64 / start.elapsed().as_secs_f64() / 1e9;
        println!("{length:>8} bytes: {rate:.2} GB/s");
    } else {
        receive(links, &mut count, first + frames, idle);
        let goodbye = Header::new(Kind::Goodbye);
        while links.send(other, &goodbye, |_| ()) != Sent::Done {
            links.poll(&mut count);
        }
        while !links.idle() {
            links.poll(&mut count);
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let transport = args.get(1).cloned().unwrap_or("shm".to_string());
    let how = args.get(2).cloned().unwrap_or("spin".to_string());
    let idle = match how.as_str() {
        "sleep" => Idle::Sleep,
        "yield" => Idle::Yield,
        _ => Idle::Spin,
    };
    let batches = args.get(3).cloned().unwrap_or("400".to_string());
    let me = u32::from(args.get(4).is_some());
    let config = Config::from_lookup(|name| match name {
        "MAYFLY_TRANSPORT" if transport != "both" => Some(transport.clone()),
        "MAYFLY_TRANSPORT" => None,
        _ => std::env::var(name).ok(),
    });
    let mut links = Links::open(Options {
        me: PeerId(me),
        size: 2,
        job: [1; 16],
        token: [2; 32],
        config: &config,
        fences: mayfly::transport::shm::fence::register(),
        outside: mayfly::transport::Outside::default(),
    })
    .expect("links");
    let mine = links.address();
    let line = mine.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let read = |line: String| -> Vec<u8> {
        (0..line.trim().len() / 2)
            .map(|i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).expect("hexadecimal"))
            .collect()
    };
    pin(me as usize);
    if me == 1 {
        let mut theirs = String::new();
        std::io::stdin().read_line(&mut theirs).expect("an address");
        println!("{line}");
        links
            .introduce(vec![read(theirs), mine])
            .expect("introduced");
        rank(1, &mut links, idle);
    } else {
        let mut child = Command::new(std::env::current_exe().expect("path"))
            .args([transport.as_str(), how.as_str(), &batches, "1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the other process");
        writeln!(child.stdin.take().expect("stdin"), "{line}").expect("written");
        let mut theirs = String::new();
        BufReader::new(child.stdout.take().expect("stdout"))
            .read_line(&mut theirs)
            .expect("an address");
        links
            .introduce(vec![mine, read(theirs)])
            .expect("introduced");
        println!("{} {how}", links.transport_of(PeerId(1)));
        rank(0, &mut links, idle);
        child.wait().expect("its end");
    }
    links.close();
}
