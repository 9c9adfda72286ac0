//! A rendezvous with one job, and what happened in it.

use crate::common::eventually;
use mayfly::platform::start::{Common, Place, Start};
use mayfly::platform::task::{Part, Stdin, Task};
use mayfly::rendezvous::message::{hex, secrets, Event, Role};
use mayfly::rendezvous::registry::Plan;
use mayfly::rendezvous::server::{Options, Service};
use mayfly::rendezvous::tls::Identity;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

pub struct Meeting {
    pub service: Option<Service>,
    pub place: Place,
    pub secret: [u8; 32],
    events: Arc<Mutex<Vec<Event>>>,
}

/// A job of `size` ranks that run this shell script.
pub fn shell(size: u32, script: &str) -> Task {
    program(size, "/bin/sh", &["-c", script])
}

pub fn program(size: u32, program: &str, arguments: &[&str]) -> Task {
    let part = Part {
        ranks: size,
        program: program.into(),
        arguments: arguments.iter().map(|a| a.to_string()).collect(),
        ..Part::default()
    };
    Task {
        parts: vec![part],
        stdin: Stdin::Rank(0),
        ..Task::default()
    }
}

impl Meeting {
    /// One instance with all ranks.
    pub fn of(task: &Task) -> Meeting {
        let size = task.parts.iter().map(|part| part.ranks).sum();
        Meeting::new(task, size, false)
    }

    pub fn new(task: &Task, per_instance: u32, tls: bool) -> Meeting {
        let events = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut options = Options::default();
        let mut pin = None;
        if tls {
            let identity = Identity::fresh(&["localhost".into()]).unwrap();
            pin = Some(identity.pin());
            options.tls = Some(identity);
        }
        let seen = events.clone();
        let on_event = move |_: &[u8; 16], event: &Event| seen.lock().unwrap().push(event.clone());
        let service = Service::start(listener, options, Box::new(on_event)).unwrap();
        let (mut job, mut secret) = ([0; 16], [0; 32]);
        mayfly::base::os::random(&mut job).unwrap();
        mayfly::base::os::random(&mut secret).unwrap();
        let size = task.parts.iter().map(|part| part.ranks).sum();
        let mut plan = Plan::new(job, secret, size);
        plan.per_instance = per_instance;
        plan.task = Some(task.to_json());
        plan.lease = 5_000;
        service.create(plan).unwrap();
        let scheme = if tls { "https" } else { "http" };
        let rendezvous = format!("{scheme}://localhost:{}", service.address().port());
        Meeting {
            place: Place {
                rendezvous,
                pin,
                job,
            },
            service: Some(service),
            secret,
            events,
        }
    }

    pub fn start(&self, instance: u32, attempt: u32) -> Start {
        Start {
            place: self.place.clone(),
            instance,
            attempt,
            pass: Role::Host { instance, attempt }.pass(&self.secret),
        }
    }

    pub fn json(&self) -> String {
        self.start(0, 0).to_json()
    }

    pub fn common(&self) -> Common {
        Common {
            place: self.place.clone(),
            hosts_key: secrets::hosts_key(&self.secret),
        }
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// What a rank wrote to a stream.
    pub fn written(&self, rank: u32, stream: u8) -> String {
        let mut all = Vec::new();
        for event in self.events() {
            match event {
                Event::Output {
                    rank: r,
                    stream: s,
                    bytes,
                } if (r, s) == (rank, stream) => all.extend(bytes),
                _ => {}
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    pub fn exits(&self) -> Vec<(u32, i32, i32)> {
        let mut exits: Vec<_> = self
            .events()
            .into_iter()
            .filter_map(|event| match event {
                Event::Exited { rank, code, signal } => Some((rank, code, signal)),
                _ => None,
            })
            .collect();
        exits.sort_unstable();
        exits
    }

    #[track_caller]
    pub fn wait(&self, what: &str, condition: impl Fn(&[Event]) -> bool) {
        let there = eventually(|| condition(&self.events()));
        assert!(there, "{what}: {:?}", self.events());
    }

    #[track_caller]
    pub fn wait_for_output(&self, rank: u32, text: &str) {
        let there = eventually(|| self.written(rank, 1).contains(text));
        assert!(there, "{text:?}: {:?}", self.events());
    }

    /// None of the job's secrets stands here.
    #[track_caller]
    pub fn keeps_secrets(&self, text: &str) {
        let pass = self.start(0, 0).pass;
        let key = secrets::hosts_key(&self.secret);
        for secret in [self.secret, pass, key, secrets::mesh(&self.secret)] {
            assert!(!text.contains(&hex(&secret)), "a secret in {text}");
        }
    }
}
