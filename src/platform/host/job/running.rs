//! The ranks while they run.

use super::{by_platform, Assignment, TO_DRAIN};
use crate::platform::host::answer::{End, Outcome, Trouble};
use crate::platform::host::clock::Limit;
use crate::platform::host::input::Input;
use crate::platform::host::prepare::Prepared;
use crate::platform::host::streams;
use crate::platform::host::{ended, Ending};
use crate::platform::launch::guard::Guard;
use crate::platform::launch::os;
use crate::platform::launch::spawn::{Brood, Nursery, Rank as Newborn, Stillborn};
use crate::platform::start::Start;
use crate::platform::task::Task;
use crate::rendezvous::dial::{Host as Role, Listener, Speaker};
use crate::rendezvous::message::{FromHost, Ticket, ToHost, STDERR, STDOUT};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::signal::unix::Signal;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

/// From SIGTERM to SIGKILL when the rendezvous is lost.
const AFTER_LOSS: Duration = Duration::from_secs(1);
/// When the platform ends us; it gives ten seconds at most.
const AFTER_SIGNAL: Duration = Duration::from_secs(5);
/// The longest grace that a launcher may ask for.
const GRACE_MAX: Duration = Duration::from_secs(30);
/// How long a line of ours may wait behind the ranks' output.
const LINE: Duration = Duration::from_millis(200);

/// How a job ended on this host.
pub struct Verdict {
    ends: Vec<End>,
    /// Why it was ended from outside.
    why: Option<String>,
    /// Why a rank could not be started.
    unfit: Option<String>,
    /// The rendezvous no longer listens.
    pub lost: bool,
    pub memory_mib: u32,
}

impl Verdict {
    pub fn unfit(text: String) -> Verdict {
        Verdict {
            ends: Vec::new(),
            why: None,
            unfit: Some(text),
            lost: false,
            memory_mib: 0,
        }
    }

    pub fn result(self, start: &Start) -> Result<Outcome, Trouble> {
        match (self.unfit, self.why) {
            (Some(text), _) => Err(Trouble::Unfit(text)),
            (None, Some(text)) => {
                let failed = |end: &&End| end.code != 0;
                let status = self.ends.iter().find(failed).map_or(1, End::status);
                Err(Trouble::Ended(text, status))
            }
            (None, None) => Ok(Outcome {
                instance: start.instance,
                attempt: start.attempt,
                ends: self.ends,
            }),
        }
    }
}

/// What follows is a lost connection, which alone would explain nothing.
const MOVES: &str = "the platform moves this instance to another machine (SIGTSTP): its connections will break, and with \
                     them the job; tasks of less than an hour are not moved";

/// Resolves when the platform is about to move us.
async fn moved(moving: &mut Option<Signal>) {
    match moving {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

struct Rank {
    number: u32,
    pid: i32,
    end: Option<End>,
    exited: watch::Sender<bool>,
    /// Each ends when what the rank wrote to one stream has been handed on.
    drained: Vec<oneshot::Receiver<()>>,
    input: Option<Input>,
    /// Its process group may still have members.
    group: bool,
}

pub struct Running<'a> {
    guard: &'a Guard,
    /// The job's folder for temporary files.
    scratch: &'a Path,
    speaker: Speaker<Role>,
    limit: Option<Limit>,
    warned: bool,
    ranks: Vec<Rank>,
    /// In the order in which they came.
    ends: Vec<End>,
    /// Ends that are being told, each after the rank's output.
    reports: JoinSet<()>,
    /// The ranks' streams.
    streams: JoinSet<()>,
    kill_at: Option<Instant>,
    /// The ranks have been asked to end.
    ended: bool,
    why: Option<String>,
    unfit: Option<String>,
    lost: bool,
    peak_kib: u64,
}

impl<'a> Running<'a> {
    pub fn new(
        guard: &'a Guard,
        scratch: &'a Path,
        speaker: Speaker<Role>,
        limit: Option<Limit>,
    ) -> Running<'a> {
        Running {
            guard,
            scratch,
            speaker,
            limit,
            warned: false,
            ranks: Vec::new(),
            ends: Vec::new(),
            reports: JoinSet::new(),
            streams: JoinSet::new(),
            kill_at: None,
            ended: false,
            why: None,
            unfit: None,
            lost: false,
            peak_kib: 0,
        }
    }

    /// Starts all ranks of the errand. When one cannot be started, the others are ended.
    pub async fn start(
        &mut self,
        nursery: &Nursery,
        assignment: &Assignment<'_>,
        task: &Task,
        prepared: &BTreeMap<usize, Prepared>,
    ) {
        let errand = &assignment.errand;
        let mut brood = match nursery.brood() {
            Ok(brood) => brood,
            Err(e) => {
                let text = format!("no rank can be started: {e}");
                return self.unfit(errand.first_rank, 1, text).await;
            }
        };
        let shown = |rank: u32| {
            let prepared = task.part_of(rank).and_then(|(n, _)| prepared.get(&n));
            prepared.map_or(String::new(), |p| p.program.display().to_string())
        };
        for number in errand.first_rank..errand.first_rank + errand.ranks {
            // Both exist: the task was prepared for these ranks.
            let Some((appnum, _)) = task.part_of(number) else {
                continue;
            };
            let Some(prepared) = prepared.get(&appnum) else {
                continue;
            };
            let ticket = ticket(assignment, task, number, appnum);
            let reads = task.stdin.reads(number);
            if let Err(error) = self.bear(&mut brood, ticket, prepared, reads) {
                let rank = number;
                let (status, text) = Stillborn { rank, error }.tell(&shown(rank));
                return self.unfit(rank, status, text).await;
            }
        }
        match brood.grown() {
            Ok(stillborn) => {
                let gone = |rank: &Rank| stillborn.iter().any(|gone| gone.rank == rank.number);
                for rank in self.ranks.iter().filter(|rank| gone(rank)) {
                    self.guard.forget(rank.pid);
                }
                self.ranks.retain(|rank| !gone(rank));
                for rank in &self.ranks {
                    let (rank, pid) = (rank.number, rank.pid as u32);
                    let _ = self.speaker.say(&FromHost::Started { rank, pid }).await;
                }
                if let Some(first) = stillborn.first() {
                    let (status, text) = first.tell(&shown(first.rank));
                    self.unfit(first.rank, status, text).await;
                }
            }
            Err(e) => {
                let text = format!("whether the ranks have started is not known: {e}");
                self.unfit(errand.first_rank, 1, text).await;
            }
        }
    }

    /// This rank cannot be started, so no other need be.
    async fn unfit(&mut self, rank: u32, status: i32, text: String) {
        super::give_up(&self.speaker, rank, status, &text).await;
        self.unfit = Some(text);
        self.end(Duration::ZERO);
    }

    fn bear(
        &mut self,
        brood: &mut Brood<'_>,
        ticket: Ticket,
        prepared: &Prepared,
        reads: bool,
    ) -> io::Result<()> {
        let (stdin, input) = match reads {
            false => (os::nothing()?, None),
            true => {
                let (read, write) = os::pipe()?;
                (read, Some(Input::new(write, self.scratch)?))
            }
        };
        let (tell, exited) = watch::channel(false);
        let number = ticket.rank;
        let mut drained = Vec::new();
        let mut out = |stream| -> io::Result<OwnedFd> {
            let (read, write) = os::pipe()?;
            let (tell, done) = oneshot::channel();
            let (speaker, exited) = (self.speaker.clone(), exited.clone());
            let passing = streams::output(number, stream, read, speaker, exited, tell)?;
            self.streams.spawn(passing);
            drained.push(done);
            Ok(write)
        };
        let (stdout, stderr) = (out(STDOUT)?, out(STDERR)?);
        let pid = brood.bear(Newborn {
            ticket: &ticket,
            program: &prepared.program,
            name: &prepared.name,
            arguments: &prepared.arguments,
            environment: &prepared.environment,
            folder: prepared.folder.as_deref(),
            stdio: [stdin, stdout, stderr],
        })?;
        self.guard.watch(pid);
        self.ranks.push(Rank {
            number,
            pid,
            end: None,
            exited: tell,
            drained,
            input,
            group: true,
        });
        Ok(())
    }

    /// Until all ranks have ended and everybody knows.
    pub async fn stay(
        &mut self,
        listener: &mut Listener<Role>,
        children: &mut Signal,
        moving: &mut Option<Signal>,
        ending: &mut Ending,
    ) {
        let mut told = false;
        // From when on nobody waits for the output of a job that has been ended.
        let mut give_up: Option<Instant> = None;
        loop {
            if self.ranks.iter().all(|rank| rank.end.is_some()) {
                if self.ended {
                    give_up.get_or_insert_with(|| Instant::now() + TO_DRAIN);
                }
                let waited = give_up.is_some_and(|at| at <= Instant::now());
                if self.reports.is_empty() || self.lost || waited {
                    return;
                }
            }
            let far = Instant::now() + Duration::from_secs(3600);
            let limit = self
                .limit
                .map(|l| if self.warned { l.kill } else { l.warn });
            let times = [self.kill_at, limit, give_up];
            let wake = times.into_iter().flatten().fold(far, Instant::min);
            tokio::select! {
                heard = listener.next(), if !self.lost => match heard {
                    Ok(frame) => self.heard(frame).await,
                    Err(e) => {
                        self.lost = true;
                        self.stop(e.to_string(), AFTER_LOSS);
                    }
                },
                _ = children.recv() => self.reap(),
                Some(_) = self.reports.join_next() => {}
                _ = moved(moving) => self.say(MOVES).await,
                signal = ended(ending), if !told => {
                    told = true;
                    let text = by_platform(signal);
                    self.say(&text).await;
                    self.stop(text, AFTER_SIGNAL);
                }
                () = sleep_until(wake.into()) => self.look_at_the_clock().await,
            }
        }
    }

    async fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = None;
            self.signal_all(libc::SIGKILL);
        }
        let Some(limit) = self.limit else {
            return;
        };
        if !self.warned && limit.warn <= now {
            self.warned = true;
            let left = limit.kill.saturating_duration_since(now).as_secs_f64();
            self.say(&format!(
                "the platform's time limit is near: SIGTERM to the ranks, which end in {left:.1} s"
            ))
            .await;
            self.signal_all(libc::SIGTERM);
        } else if self.warned && limit.kill <= now {
            self.limit = None;
            self.stop("the platform's time limit has come".into(), Duration::ZERO);
        }
    }

    async fn heard(&mut self, frame: ToHost) {
        match frame {
            ToHost::Input { rank, bytes } => {
                let of = |r: &&mut Rank| r.number == rank;
                let input = self
                    .ranks
                    .iter_mut()
                    .find(of)
                    .and_then(|r| r.input.as_mut());
                if let Some(Err(e)) = input.map(|input| input.push(&bytes)) {
                    let text = format!("rank {rank}'s standard input cannot be kept for it: {e}");
                    self.say(&text).await;
                    self.stop(text, Duration::ZERO);
                }
            }
            ToHost::Stop { text, grace_ms } => {
                let grace = Duration::from_millis(grace_ms.into()).min(GRACE_MAX);
                let failed = |rank: &Rank| rank.end.is_some_and(|end| end.status() != 0);
                if self.ranks.iter().any(failed) {
                    // A rank of our own has ended the job: that is this start's outcome, not a disturbance.
                    self.end(grace);
                } else {
                    self.stop(text, grace);
                }
            }
            ToHost::Refused { text } => self.stop(text, AFTER_LOSS),
            // Nothing that belongs here; the service may say more one day.
            ToHost::Welcome { .. } | ToHost::Alive | ToHost::Goodbye => {}
        }
    }

    /// Ends the ranks for this reason; the first one counts.
    fn stop(&mut self, why: String, grace: Duration) {
        self.why.get_or_insert(why);
        self.end(grace);
    }

    /// Asks the ranks to end, and sees to it after `grace`.
    fn end(&mut self, grace: Duration) {
        self.ended = true;
        let at = Instant::now() + grace;
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
        self.signal_all(if grace.is_zero() {
            libc::SIGKILL
        } else {
            libc::SIGTERM
        });
        // A stopped process takes no SIGTERM.
        self.signal_all(libc::SIGCONT);
    }

    fn signal_all(&self, signal: i32) {
        for rank in self.ranks.iter().filter(|rank| rank.end.is_none()) {
            os::kill(-rank.pid, signal);
        }
    }

    /// Takes in the children that have ended.
    fn reap(&mut self) {
        while let Some(ended) = os::reap() {
            let Some(rank) = self
                .ranks
                .iter_mut()
                .find(|r| r.pid == ended.pid && r.end.is_none())
            else {
                continue;
            };
            let killed = libc::WIFSIGNALED(ended.wait);
            let end = End {
                rank: rank.number,
                code: if killed {
                    0
                } else {
                    libc::WEXITSTATUS(ended.wait)
                },
                signal: if killed {
                    libc::WTERMSIG(ended.wait)
                } else {
                    0
                },
            };
            rank.end = Some(end);
            self.ends.push(end);
            rank.input = None;
            self.peak_kib += ended.peak_kib;
            // The number of an empty group may soon belong to somebody else.
            if !os::group_exists(rank.pid) {
                rank.group = false;
                self.guard.forget(rank.pid);
            }
            let _ = rank.exited.send(true);
            let drained = std::mem::take(&mut rank.drained);
            let speaker = self.speaker.clone();
            self.reports.spawn(async move {
                for stream in drained {
                    let _ = stream.await;
                }
                let End { rank, code, signal } = end;
                let _ = speaker.say(&FromHost::Exited { rank, code, signal }).await;
            });
        }
    }

    /// A line of ours for the launcher's user.
    async fn say(&self, text: &str) {
        let frame = FromHost::Log { text: text.into() };
        let _ = timeout(LINE, self.speaker.say(&frame)).await;
    }

    /// Kills what the ranks have left in their process groups.
    pub fn end_groups(&mut self) {
        for rank in self.ranks.iter_mut().filter(|rank| rank.group) {
            os::kill(-rank.pid, libc::SIGKILL);
            rank.group = false;
            self.guard.forget(rank.pid);
        }
    }

    /// Nobody writes any more: what is in the pipes still goes out.
    pub async fn finish(mut self) -> Verdict {
        if !self.lost {
            let drain = async { while self.streams.join_next().await.is_some() {} };
            let _ = timeout(TO_DRAIN, drain).await;
        }
        self.streams.shutdown().await;
        self.reports.shutdown().await;
        Verdict {
            ends: self.ends,
            why: self.why,
            unfit: self.unfit,
            lost: self.lost,
            memory_mib: u32::try_from(self.peak_kib.div_ceil(1024)).unwrap_or(u32::MAX),
        }
    }
}

fn ticket(assignment: &Assignment, task: &Task, rank: u32, appnum: usize) -> Ticket {
    let errand = &assignment.errand;
    let local = rank - errand.first_rank;
    Ticket {
        job: assignment.start.place.job,
        token: errand.mesh,
        pass: errand
            .passes
            .get(local as usize)
            .copied()
            .unwrap_or_default(),
        rank,
        size: errand.size,
        epoch: errand.epoch,
        local_rank: local,
        local_size: errand.ranks,
        appnum: appnum as i32,
        universe: task.universe.unwrap_or(errand.size) as i32,
        service: assignment.service.clone(),
        relays: errand.relays.clone(),
        relay_expiry: errand.relay_expiry,
        relay_grant: errand.relay_grant,
        deadline_ms: assignment.deadline_ms,
    }
}
