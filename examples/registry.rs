//! The rendezvous' registry alone, without sockets: ten thousand members join, exchange addresses down the tree, fence
//! and leave; every frame is encoded and decoded as on the wire. `registry [MEMBERS [BLOB-BYTES]]` prints how long it
//! took and the most memory that the process had; fails above 10 s or 500 MiB.

use mayfly::rendezvous::message::{Frame, Role, ToService};
use mayfly::rendezvous::registry::{Connection, Effect, Event, Incoming, Plan, Registry};
use std::time::Instant;

const JOB: [u8; 16] = [1; 16];
const SECRET: [u8; 32] = [2; 32];

/// What a service would have done.
#[derive(Default)]
struct Done {
    frames: u64,
    bytes: u64,
    over: bool,
}

impl Done {
    fn take(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Send(to, frame) => {
                    self.frames += to.len() as u64;
                    self.bytes += (frame.encode().len() * to.len()) as u64;
                }
                Effect::Tell(_, _, Event::Over) => self.over = true,
                _ => {}
            }
        }
    }
}

fn main() {
    let number = |at: usize, or: u32| {
        let argument = std::env::args().nth(at);
        argument.and_then(|n| n.parse().ok()).unwrap_or(or)
    };
    let (size, blob) = (number(1, 10_000), number(2, 200) as usize);
    let began = Instant::now();
    let now = || began.elapsed().as_millis() as u64;
    let mut registry = Registry::default();
    let plan = Plan {
        join_within: 60_000,
        lease: 10_000,
        ..Plan::new(JOB, SECRET, size)
    };
    registry.create(0, plan).expect("a job");
    let (mut out, mut done) = (Vec::new(), Done::default());
    let mut say = |registry: &mut Registry, from: Connection, frame: ToService| {
        let bytes = frame.encode();
        let role = Role::Member { rank: 0, epoch: 0 };
        let frame = Incoming::decode(role, &bytes[4..]).expect("a frame");
        registry.receive(now(), from, frame, &mut out);
        registry.tick(now(), &mut out);
        done.take(&mut out);
    };
    let members: Vec<Connection> = (0..size)
        .map(|rank| {
            let role = Role::Member { rank, epoch: 0 };
            let opened = registry.open(now(), &JOB, role, &role.pass(&SECRET));
            let member = opened.expect("the right pass");
            let join = ToService::Join {
                rank,
                size,
                epoch: 0,
                pid: rank,
                host: "instance".into(),
            };
            say(&mut registry, member, join);
            member
        })
        .collect();
    let frames: [&dyn Fn() -> ToService; 4] = [
        &|| ToService::TreeFence {
            name: "addresses".into(),
            blob: vec![7; blob],
        },
        &|| ToService::Renew,
        &|| ToService::Fence {
            name: "fence".into(),
            blob: Vec::new(),
        },
        &|| ToService::Finished,
    ];
    for frame in frames {
        for &member in &members {
            say(&mut registry, member, frame());
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|kib| kib.trim().strip_suffix(" kB")?.parse().ok());
    let mib = peak.unwrap_or(0_u64) / 1024;
    println!(
        "the registry alone: {size} members joined, exchanged, renewed, fenced and left in {seconds:.2} s; \
         {} frames of {} MiB out; at most {mib} MiB of memory",
        done.frames,
        done.bytes >> 20
    );
    let wrong = !done.over || seconds > 10.0 || mib > 500;
    std::process::exit(i32::from(wrong));
}
