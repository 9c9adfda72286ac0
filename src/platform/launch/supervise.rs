//! From the first rank's start to the last one's end: who failed first, what to say, and that nobody is left behind.

mod blame;

use super::environment;
use super::guard::Guard;
use super::input::Input;
use super::os;
use super::output::{Drained, Pump, Target};
use super::planned::Planned;
use super::program::Program;
use super::service::Service;
use super::spawn::Nursery;
use super::{Plan, Refusal};
use crate::base::trace;
use crate::rendezvous::registry::Event;
use std::collections::HashMap;
use std::ffi::c_int;
use std::io::IsTerminal;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// After a failure: from SIGTERM to SIGKILL.
const AFTER_FAILURE: Duration = Duration::from_millis(400);
/// After a Ctrl-C or SIGTERM of the user's, who may want programs to save something.
const AFTER_SIGNAL: Duration = Duration::from_millis(900);
/// How long a rank whose connection ended may take to die, so that we can say of what.
const TO_DIE: Duration = Duration::from_millis(500);
/// How long an abort may turn out to be the consequence of another rank's death.
const TO_BLAME: Duration = Duration::from_millis(40);
/// After the end of a failed job, how long its output may take to get out.
const TO_DRAIN: Duration = Duration::from_secs(2);

enum Message {
    Signal(c_int),
    Job(Event),
    Drained(Drained),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Exited(c_int),
    Killed(c_int),
}

impl Status {
    fn of(wait: c_int) -> Status {
        if libc::WIFSIGNALED(wait) {
            Status::Killed(libc::WTERMSIG(wait))
        } else {
            Status::Exited(libc::WEXITSTATUS(wait))
        }
    }

    fn code(self) -> i32 {
        match self {
            Status::Exited(code) => code,
            Status::Killed(signal) => 128 + signal,
        }
    }
}

#[derive(Clone)]
struct Rank {
    pid: i32,
    status: Option<Status>,
    joined: bool,
    finished: bool,
    /// Its process group may still have members.
    group: bool,
}

/// Something happened that has a cause which we may not have seen yet.
struct Suspicion {
    rank: u32,
    until: Instant,
    /// An abort's code; `None`: its connection ended.
    abort: Option<i32>,
    /// What the service says of it.
    said: Option<String>,
    /// The service has ended the job for it.
    fatal: bool,
    /// Its exit may be the consequence of something that we have not been told yet.
    wait: bool,
}

struct Supervisor<'a> {
    plan: &'a Plan,
    ranks: Vec<Rank>,
    rank_of: HashMap<i32, u32>,
    running: usize,
    service: Service,
    guard: Guard,
    suspicion: Option<Suspicion>,
    /// The job's exit status, once something has decided it.
    verdict: Option<i32>,
    /// What a rank that had finished its part of MPI returned, when it was not 0.
    late: Option<i32>,
    kill_at: Option<Instant>,
    signals: u32,
    /// Pumps that have not ended.
    draining: usize,
}

/// Starts all ranks and stays until everything has ended; gives the exit status.
pub fn supervise(
    plan: &Plan,
    programs: &[Program],
    size: u32,
    guard: Guard,
) -> Result<i32, Refusal> {
    os::adopt_orphans();
    os::hold_signals();
    let descriptors = os::raise_descriptors();
    // Two pipes and a connection a rank, a ticket's pipe and what the runtime needs; two connections in front of TLS.
    let each = match &plan.rendezvous {
        Some(there) if there.place.tls => 4,
        _ => 3,
    };
    let needed = u64::from(size) * each + 40;
    if descriptors.rlim_max < needed {
        let text = format!(
            "{size} ranks need {needed} descriptors, but only {} are allowed (ulimit -Hn)",
            descriptors.rlim_max
        );
        return Err(Refusal::new(1, text));
    }
    let (sender, inbox) = channel();
    let cannot = |e: std::io::Error| Refusal::new(1, format!("cannot start: {e}"));
    let nursery = Nursery::new(descriptors).map_err(cannot)?;
    let for_events = sender.clone();
    let tell = move |event| drop(for_events.send(Message::Job(event)));
    let (service, invitation) = Service::open(size, plan.rendezvous.as_ref(), tell)?;
    let for_signals = sender.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || while for_signals.send(Message::Signal(os::next_signal())).is_ok() {})
        .map_err(cannot)?;
    let planned = Planned {
        plan,
        invitation: &invitation,
        size,
        nursery,
    };
    let mut supervisor = Supervisor {
        plan,
        ranks: Vec::new(),
        rank_of: HashMap::new(),
        running: 0,
        service,
        guard,
        suspicion: None,
        verdict: None,
        late: None,
        kill_at: None,
        signals: 0,
        draining: 0,
    };
    let pumps = match supervisor.start(&planned, programs, &sender) {
        Ok(pumps) => pumps,
        Err(refusal) => {
            supervisor.signal_all(libc::SIGKILL);
            supervisor.clean_up();
            return Err(refusal);
        }
    };
    Ok(supervisor.stay(&inbox, pumps))
}

/// Are our standard output and error the same file, so that the two pumps must take turns?
fn same_file() -> bool {
    let identity = |fd: c_int| {
        let meta = std::fs::metadata(format!("/proc/self/fd/{fd}")).ok()?;
        Some((meta.dev(), meta.ino()))
    };
    identity(1) == identity(2)
}

impl Supervisor<'_> {
    fn start(
        &mut self,
        planned: &Planned,
        programs: &[Program],
        sender: &Sender<Message>,
    ) -> Result<Vec<Pump>, Refusal> {
        let cannot = |e: std::io::Error| Refusal::new(1, format!("cannot start: {e}"));
        let mut input = Input::new(self.plan.stdin);
        let mut outputs: Vec<(u32, OwnedFd)> = Vec::new();
        let mut errors: Vec<(u32, OwnedFd)> = Vec::new();
        let mut brood = planned.nursery.brood().map_err(cannot)?;
        let mut rank = 0;
        // By rank.
        let mut appnums = Vec::new();
        for (appnum, (part, program)) in self.plan.parts.iter().zip(programs).enumerate() {
            let environment = environment::common(part, program, std::env::vars_os());
            for _ in 0..part.ranks {
                let stdin = input.of(rank).map_err(cannot)?;
                let what = (program, &environment);
                let born = planned.start(&mut brood, rank, appnum, what, stdin)?;
                appnums.push(appnum);
                self.guard.watch(born.pid);
                self.rank_of.insert(born.pid, rank);
                self.running += 1;
                self.ranks.push(Rank {
                    pid: born.pid,
                    status: None,
                    joined: false,
                    finished: false,
                    group: true,
                });
                outputs.extend(born.stdout.map(|fd| (rank, fd)));
                errors.extend(born.stderr.map(|fd| (rank, fd)));
                rank += 1;
            }
        }
        let stillborn = brood.grown().map_err(cannot)?;
        for gone in &stillborn {
            let entry = &mut self.ranks[gone.rank as usize];
            entry.status = Some(Status::Exited(127));
            entry.group = false;
            self.guard.forget(entry.pid);
        }
        if let Some(first) = stillborn.first() {
            return Err(planned.refusal(appnums[first.rank as usize], first));
        }
        input.start().map_err(cannot)?;
        let turn = Arc::new(Mutex::new(()));
        let shared = same_file();
        let mut pumps = Vec::new();
        for (fd, sources) in [(1, outputs), (2, errors)] {
            let target = Target {
                fd,
                tag: self.plan.tag,
                interactive: fd == 1
                    && std::io::stdout().is_terminal()
                    && std::io::stdin().is_terminal(),
                turn: if shared { turn.clone() } else { Arc::default() },
            };
            let sender = sender.clone();
            let done = move |drained| drop(sender.send(Message::Drained(drained)));
            pumps.push(Pump::start(sources, target, done).map_err(cannot)?);
            self.draining += 1;
        }
        Ok(pumps)
    }

    /// The loop.
    fn stay(&mut self, inbox: &Receiver<Message>, mut pumps: Vec<Pump>) -> i32 {
        let ends_at = self.plan.timeout.map(|timeout| Instant::now() + timeout);
        while self.running > 0 || self.suspicion.is_some() {
            let suspicion = self.suspicion.as_ref().map(|s| s.until);
            let timeout = ends_at.filter(|_| self.verdict.is_none());
            let next = [self.kill_at, suspicion, timeout]
                .into_iter()
                .flatten()
                .min();
            match self.receive(inbox, next) {
                Some(Message::Signal(libc::SIGCHLD)) => self.children(inbox),
                Some(Message::Signal(signal)) => self.interrupted(signal),
                Some(Message::Job(event)) => self.job(event),
                Some(Message::Drained(drained)) => self.drained(drained),
                None => {}
            }
            self.settle();
            let now = Instant::now();
            if self.kill_at.is_some_and(|at| at <= now) {
                self.kill_at = None;
                self.signal_all(libc::SIGKILL);
            }
            if timeout.is_some_and(|at| at <= now) && self.verdict.is_none() {
                let limit = self.plan.timeout.unwrap_or_default().as_secs_f64();
                self.fail(
                    124,
                    &format!("the job did not end within {limit} s (--timeout); ending it"),
                );
            }
        }
        self.clean_up();
        for pump in &mut pumps {
            pump.finish();
        }
        let failed = self.verdict.is_some();
        let limit = failed.then(|| Instant::now() + TO_DRAIN);
        while self.draining > 0 {
            match self.receive(inbox, limit) {
                Some(Message::Drained(drained)) => self.drained(drained),
                Some(Message::Signal(libc::SIGCHLD)) | Some(Message::Job(_)) => {}
                Some(Message::Signal(signal)) => return 128 + signal,
                None if failed => break,
                None => {}
            }
        }
        self.verdict.or(self.late).unwrap_or(0)
    }

    fn receive(&self, inbox: &Receiver<Message>, until: Option<Instant>) -> Option<Message> {
        match until {
            None => inbox.recv().ok(),
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                inbox.recv_timeout(left).ok()
            }
        }
    }

    /// Takes in the children that have ended.
    fn children(&mut self, inbox: &Receiver<Message>) {
        let mut ended = Vec::new();
        while let Some(end) = os::reap() {
            if let Some(&rank) = self.rank_of.get(&end.pid) {
                ended.push((rank, Status::of(end.wait)));
            }
        }
        for &(rank, status) in &ended {
            let entry = &mut self.ranks[rank as usize];
            entry.status = Some(status);
            self.running -= 1;
            // The number of an empty group may soon belong to somebody else.
            if !os::group_exists(entry.pid) {
                entry.group = false;
                self.guard.forget(entry.pid);
            }
        }
        // Causes come before consequences in the inbox: a rank that ended because it was told so is not to be blamed.
        let waiting: Vec<Message> = inbox.try_iter().collect();
        let mut later = Vec::new();
        for message in waiting {
            match message {
                Message::Job(event) => self.job(event),
                other => later.push(other),
            }
        }
        for (rank, status) in ended {
            self.ended(rank, status);
        }
        for message in later {
            match message {
                Message::Signal(libc::SIGCHLD) => self.children(inbox),
                Message::Signal(signal) => self.interrupted(signal),
                Message::Drained(drained) => self.drained(drained),
                Message::Job(event) => self.job(event),
            }
        }
    }

    /// A signal for us ends everything: the first one politely, the second at once.
    fn interrupted(&mut self, signal: c_int) {
        self.signals += 1;
        if self.signals > 1 {
            self.verdict = Some(128 + signal);
            return self.signal_all(libc::SIGKILL);
        }
        if self.verdict.is_none() {
            self.verdict = Some(128 + signal);
            let ranks = if self.running == 1 { "rank" } else { "ranks" };
            let name = os::signal_name(signal);
            trace::line(&format!("{name}: ending {} {ranks}", self.running));
        }
        self.end(AFTER_SIGNAL);
    }

    fn drained(&mut self, drained: Drained) {
        self.draining -= 1;
        match drained {
            Drained::Yes => {}
            Drained::Closed if self.verdict.is_none() => {
                // As any program's that writes to a closed pipe.
                self.decide(128 + libc::SIGPIPE, None, false);
            }
            Drained::Failed(e) => {
                self.fail(1, &format!("the ranks' output cannot be written: {e}"))
            }
            Drained::Closed => {}
        }
    }

    /// Asks all ranks to end, and sees to it after `grace`.
    fn end(&mut self, grace: Duration) {
        if self.kill_at.is_none() {
            self.kill_at = Some(Instant::now() + grace);
            self.signal_all(libc::SIGTERM);
            // A stopped process takes no SIGTERM.
            self.signal_all(libc::SIGCONT);
        }
    }

    fn signal_all(&self, signal: c_int) {
        for rank in self.ranks.iter().filter(|rank| rank.status.is_none()) {
            os::kill(-rank.pid, signal);
        }
    }

    /// Ends whatever the ranks have left behind.
    fn clean_up(&mut self) {
        for rank in &mut self.ranks {
            if rank.group {
                os::kill(-rank.pid, libc::SIGKILL);
                rank.group = false;
                self.guard.forget(rank.pid);
            }
        }
        os::end_children(self.guard.pid);
    }
}
