//! From the first start to the last instance's end.

use super::input;
use super::meeting::{Job, Opening};
use super::output::{Output, Settings};
use super::progress::Progress;
use super::starts::{Report, Starts};
use super::verdict::Standing;
use super::Plan;
use crate::platform::launch::os;
use crate::platform::launch::output::Drained;
use crate::platform::launch::Refusal;
use crate::platform::on::price::{self, Prices, Usage};
use crate::platform::on::{Platform, Ready, Wish};
use crate::platform::task::{Stdin, Task};
use crate::rendezvous::dial::{Listener, Owner, Speaker};
use crate::rendezvous::message::{Event, FromOwner, ToOwner, OBSERVER};
use std::ffi::c_int;
use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long the questions before a launch may take in all.
const PREFLIGHT: Duration = Duration::from_secs(60);
/// How long a silent owner or instance is waited for by the rendezvous.
const LEASE: Duration = Duration::from_secs(10);
/// What a start's JSON needs besides the rendezvous's address.
const LETTER: usize = 320;
/// After a failure, how long instances may take to end and tell what they took; after a success.
const TO_END: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// How long the platform may take to hear that the job is over.
const TO_STOP: Duration = Duration::from_secs(3);
/// The last words with the rendezvous.
const TO_PART: Duration = Duration::from_secs(1);
/// After a failed job, how long its output may take to get out.
const TO_DRAIN: Duration = Duration::from_secs(1);

enum Message {
    Event(Event),
    Report(Report),
    Signal(c_int),
    Drained(Drained),
    /// The rendezvous is gone.
    Lost(String),
}

/// Runs the job; gives its exit status.
pub fn supervise(plan: &Plan, task: Task, size: u32) -> Result<i32, Refusal> {
    os::hold_signals();
    os::raise_descriptors();
    let cannot = |e: std::io::Error| Refusal::new(1, format!("cannot start: {e}"));
    let (inbox, messages) = mpsc::unbounded_channel();
    let signals = inbox.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || loop {
            match os::next_signal() {
                libc::SIGCHLD => {}
                signal if signals.send(Message::Signal(signal)).is_err() => return,
                _ => {}
            }
        })
        .map_err(cannot)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(cannot)?;
    let status = runtime.block_on(launch(plan, task, size, inbox, messages));
    // Whatever still waits for an answer of the platform is not waited for.
    runtime.shutdown_background();
    status
}

type Inbox = mpsc::UnboundedReceiver<Message>;
type Sender = mpsc::UnboundedSender<Message>;

async fn launch(
    plan: &Plan,
    task: Task,
    size: u32,
    sender: Sender,
    mut inbox: Inbox,
) -> Result<i32, Refusal> {
    let platform = plan.target.open();
    let platform: Arc<dyn Platform> = Arc::from(platform.map_err(|text| Refusal::new(2, text))?);
    let wish = Wish {
        name: short_name(&task),
        ranks: size,
        per_instance: plan.per_instance,
        instances: size.div_ceil(plan.per_instance),
        timeout: plan.command.timeout,
        letter: LETTER + plan.meeting.length(),
    };
    if plan.dry_run {
        let text = platform.describe(&wish);
        let text = text.map_err(|why| Refusal::new(1, why))?;
        let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
        return Ok(0);
    }
    let prices = match plan.price {
        true => Some(Prices::load(plan.prices.as_deref()).map_err(|t| Refusal::new(2, t))?),
        false => None,
    };
    let name = platform.name();
    let refuse = |why: String| Refusal::new(1, format!("{name}: {why}"));
    let asking = tokio::time::timeout(PREFLIGHT, platform.preflight(&wish));
    let ready = match interruptible(asking, &mut inbox).await? {
        Ok(ready) => ready.map_err(refuse)?,
        Err(_) => return Err(refuse("does not answer our questions".into())),
    };
    for notice in &ready.notices {
        crate::warning!("{name}: {notice}");
    }
    if let Some(prices) = &prices {
        quote(prices, platform.as_ref(), &wish, &ready);
    }
    let join_within = plan.join_within.unwrap_or(ready.join_within);
    let opening = Opening {
        name: wish.name.clone(),
        size,
        per_instance: plan.per_instance,
        join_within,
        lease: LEASE,
        task: serde_json::from_slice(&task.to_json()).unwrap_or_default(),
    };
    let began = Instant::now();
    let job = interruptible(plan.meeting.open(&opening), &mut inbox).await??;
    let deadline = began + join_within;
    let mut supervisor = Supervisor::begin(plan, &task, wish, platform, job, sender, deadline)?;
    supervisor.began = began;
    let status = supervisor.stay(&mut inbox).await;
    if let Some(prices) = &prices {
        supervisor.bill(prices, &ready);
    }
    Ok(status)
}

/// A program's name without its folder.
fn short_name(task: &Task) -> String {
    let program = task.parts.first().map_or("", |part| part.program.as_str());
    program.rsplit('/').next().unwrap_or(program).to_string()
}

/// Before there is a job, a signal just ends us.
async fn interruptible<T>(work: impl Future<Output = T>, inbox: &mut Inbox) -> Result<T, Refusal> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            message = inbox.recv() => if let Some(Message::Signal(signal)) = message {
                let text = format!("{}: nothing was started", os::signal_name(signal));
                return Err(Refusal::new(128 + signal, text));
            },
        }
    }
}

fn quote(prices: &Prices, platform: &dyn Platform, wish: &Wish, ready: &Ready) {
    let lines = match platform.tariff().and_then(|name| prices.tariff(name)) {
        Some((tariff, as_of)) => price::estimate(tariff, as_of, wish, ready),
        None => vec![format!("price: not known for {}", platform.name())],
    };
    for line in lines {
        crate::base::trace::line(&line);
    }
}

struct Supervisor<'a> {
    plan: &'a Plan,
    wish: Wish,
    platform: Arc<dyn Platform>,
    standing: Standing,
    speaker: Speaker<Owner>,
    starts: Option<Starts>,
    progress: Progress,
    readers: Vec<u32>,
    ready_readers: usize,
    usages: Vec<Option<Usage>>,
    began: Instant,
    signals: u32,
    /// The output has all been written, or cannot be.
    drained: bool,
    /// The rendezvous has nothing more to say.
    parted: bool,
    /// The latest reason why an instance did not come.
    trouble: Option<String>,
    /// Dropped last: while it serves, instances learn how the job ended.
    service: Option<crate::rendezvous::server::Service>,
}

impl<'a> Supervisor<'a> {
    fn begin(
        plan: &'a Plan,
        task: &Task,
        wish: Wish,
        platform: Arc<dyn Platform>,
        job: Job,
        sender: Sender,
        deadline: Instant,
    ) -> Result<Supervisor<'a>, Refusal> {
        let progress = Progress::new(wish.instances, &platform.name());
        let settings = Settings {
            size: wish.ranks,
            tag: plan.command.tag,
            stdout_pattern: plan.command.stdout_pattern.clone(),
            stderr_pattern: plan.command.stderr_pattern.clone(),
        };
        let for_output = sender.clone();
        let done = move |drained| drop(for_output.send(Message::Drained(drained)));
        let output = Output::start(settings, progress.clone(), done)
            .map_err(|e| Refusal::new(1, format!("cannot start: {e}")))?;
        let (reports, mut reported) = mpsc::unbounded_channel();
        let deadline = tokio::time::Instant::from_std(deadline);
        let starts = Starts::begin(platform.clone(), job.common, &wish, deadline, reports);
        let for_reports = sender.clone();
        tokio::spawn(async move {
            while let Some(report) = reported.recv().await {
                if for_reports.send(Message::Report(report)).is_err() {
                    return;
                }
            }
        });
        tokio::spawn(listen(job.link.listener, output, sender));
        let size = wish.ranks;
        Ok(Supervisor {
            plan,
            standing: Standing::new(size, wish.per_instance),
            usages: vec![None; wish.instances as usize],
            wish,
            platform,
            speaker: job.link.speaker,
            starts: Some(starts),
            progress,
            readers: match task.stdin {
                Stdin::None => Vec::new(),
                Stdin::Rank(rank) => vec![rank],
                Stdin::All => (0..size).collect(),
            },
            began: Instant::now(),
            ready_readers: 0,
            signals: 0,
            drained: false,
            parted: false,
            trouble: None,
            service: job.service,
        })
    }

    /// The loop, and what follows it; gives the exit status.
    async fn stay(&mut self, inbox: &mut Inbox) -> i32 {
        let ends_at = self.plan.command.timeout.map(|limit| self.began + limit);
        while self.standing.verdict().is_none()
            && !(self.standing.all_exited() && self.standing.next().is_none())
        {
            let next = [ends_at, self.standing.next(), self.progress.due()];
            let next = next.into_iter().flatten().min();
            self.step(inbox, next).await;
            let now = Instant::now();
            self.standing.settle(now);
            self.progress.tick(now, || self.standing.missing());
            if ends_at.is_some_and(|at| at <= now) {
                let limit = self.plan.command.timeout.unwrap_or_default();
                let text = format!(
                    "the job did not end within {} s (--timeout); ending it",
                    limit.as_secs_f64()
                );
                self.standing.decide(124, Some(text));
            }
        }
        self.progress.end();
        self.announce().await;
        self.part(inbox).await;
        self.standing.verdict().map_or(0, |verdict| verdict.status)
    }

    /// Waits for one message and takes it in.
    async fn step(&mut self, inbox: &mut Inbox, until: Option<Instant>) {
        let message = match until {
            None => inbox.recv().await,
            Some(at) => {
                let at = tokio::time::Instant::from_std(at);
                tokio::time::timeout_at(at, inbox.recv())
                    .await
                    .unwrap_or_default()
            }
        };
        match message {
            Some(Message::Event(event)) => self.event(event),
            Some(Message::Report(report)) => self.report(report),
            Some(Message::Signal(signal)) => self.interrupted(signal),
            Some(Message::Drained(drained)) => self.drained(drained),
            Some(Message::Lost(why)) => {
                self.parted = true;
                if !self.standing.all_exited() {
                    let text = format!("the connection to the rendezvous is lost: {why}");
                    self.standing.decide(1, Some(text));
                }
            }
            None => {}
        }
    }

    fn event(&mut self, event: Event) {
        self.standing.take(&event, Instant::now());
        match event {
            Event::HostArrived { instance, .. } => {
                if let Some(starts) = &self.starts {
                    starts.arrived(instance);
                }
                self.progress.arrived(self.standing.arrived());
                if self.standing.arrived() == self.wish.instances {
                    let after = self.began.elapsed().as_secs_f64();
                    crate::info!("all instances arrived after {after:.2} s");
                }
            }
            Event::Started { rank, .. } => self.feed(rank),
            Event::Usage {
                instance,
                init_ms,
                run_ms,
                memory_mib,
            } => {
                if let Some(entry) = self.usages.get_mut(instance as usize) {
                    *entry = Some(Usage {
                        ms: init_ms + run_ms,
                        memory_mib,
                    });
                }
            }
            Event::Log {
                instance: OBSERVER,
                text,
            } => self.progress.line(&text),
            Event::Log { instance, text } => {
                self.progress.line(&format!("instance {instance}: {text}"));
            }
            Event::Refused { why } => crate::info!("turned away: {why}"),
            _ => {}
        }
    }

    /// Once every rank that reads our standard input runs, it gets it.
    fn feed(&mut self, started: u32) {
        if !self.readers.contains(&started) {
            return;
        }
        self.ready_readers += 1;
        if self.ready_readers == self.readers.len() {
            let readers = self.readers.clone();
            if let Err(e) = input::start(readers, self.speaker.clone()) {
                let text = format!("standard input cannot be read: {e}");
                self.standing.decide(1, Some(text));
            }
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Trying {
                instance,
                attempt,
                why,
            } => {
                crate::info!("instance {instance}, attempt {attempt}: {why}; trying again");
                self.progress.trouble(format!("trying again, as {why}"));
                self.trouble = Some(why);
            }
            Report::Failed { instance, why } => {
                let (first, end) = self.standing.ranks_of(instance);
                let ranks = match end - first {
                    1 => format!("rank {first}"),
                    _ => format!("ranks {first}-{}", end - 1),
                };
                let text = format!("instance {instance} ({ranks}) cannot be started: {why}");
                self.standing.decide(1, Some(text));
            }
            Report::AllFailed { why } => self.standing.decide(1, Some(why)),
        }
    }

    /// The first signal ends the job, the second one does not wait for anything.
    fn interrupted(&mut self, signal: c_int) {
        self.signals += 1;
        if self.standing.verdict().is_none() {
            let n = self.wish.ranks;
            let ranks = if n == 1 { "rank" } else { "ranks" };
            let text = format!("{}: ending {n} {ranks}", os::signal_name(signal));
            self.standing.decide(128 + signal, Some(text));
        }
    }

    fn drained(&mut self, drained: Drained) {
        self.drained = true;
        match drained {
            Drained::Yes => {}
            // As any program's that writes to a closed pipe.
            Drained::Closed => self.standing.decide(128 + libc::SIGPIPE, None),
            Drained::Failed(e) => {
                let text = format!("the ranks' output cannot be written: {e}");
                self.standing.decide(1, Some(text));
            }
        }
    }

    /// Says what the verdict is, to our user and to the rendezvous.
    async fn announce(&mut self) {
        let Some(verdict) = self.standing.verdict().cloned() else {
            return;
        };
        if let Some(text) = &verdict.text {
            let mut line = text.clone();
            // The service knows who is missing; the platform told us why.
            if self.standing.arrived() < self.wish.instances && verdict.told {
                if let Some(why) = &self.trouble {
                    line += &format!("; the last trouble was: {why}");
                }
            }
            self.progress.line(&line);
        }
        if !verdict.told && !self.parted {
            let stop = FromOwner::Stop {
                code: verdict.status,
                text: verdict
                    .text
                    .unwrap_or_else(|| "its launcher has ended".into()),
            };
            // On its way before requests end, which instances may notice as well.
            let _ = tokio::time::timeout(TO_PART, self.speaker.say_now(&stop)).await;
        }
    }

    /// Lets the instances tell what they took, tells the platform, and takes leave of the rendezvous.
    async fn part(&mut self, inbox: &mut Inbox) {
        let failed = self.standing.verdict().is_some();
        // No further starts; requests that only wait for an answer end here.
        if failed {
            self.starts = None;
        }
        self.wait_for_ends(inbox, if failed { TO_END.0 } else { TO_END.1 })
            .await;
        let platform = self.platform.clone();
        let stopping = tokio::spawn(async move {
            tokio::time::timeout(TO_STOP, platform.stop())
                .await
                .unwrap_or_else(|_| Err("does not answer".into()))
        });
        self.wait_for_ends(inbox, TO_END.0).await;
        if self.signals < 2 && !self.parted {
            let _ = tokio::time::timeout(TO_PART, self.speaker.say_now(&FromOwner::Done)).await;
        }
        let limit = Instant::now() + TO_PART;
        while !self.parted && self.signals < 2 && Instant::now() < limit {
            self.step(inbox, Some(limit)).await;
        }
        self.starts = None;
        if let Ok(Err(why)) = stopping.await {
            let name = self.platform.name();
            self.progress
                .line(&format!("{name}: could not be told to stop: {why}"));
        }
        // The output ends when its task has gone, which is when the connection is closed.
        let limit = failed.then(|| Instant::now() + TO_DRAIN);
        while !self.drained && self.signals < 2 {
            if limit.is_some_and(|limit| limit <= Instant::now()) {
                break;
            }
            self.step(inbox, limit).await;
        }
        self.service = None;
    }

    /// Until every instance that began has said its last.
    async fn wait_for_ends(&mut self, inbox: &mut Inbox, within: Duration) {
        let limit = Instant::now() + within;
        while !self.standing.all_done()
            && !self.parted
            && self.signals < 2
            && Instant::now() < limit
        {
            self.step(inbox, Some(limit)).await;
        }
    }

    fn bill(&self, prices: &Prices, ready: &Ready) {
        let tariff = self.platform.tariff().and_then(|name| prices.tariff(name));
        let Some((tariff, as_of)) = tariff else {
            return;
        };
        let usages: Vec<Usage> = self.usages.iter().flatten().copied().collect();
        let missing = self.usages.len() - usages.len();
        for line in price::bill(tariff, as_of, ready, &usages, missing) {
            crate::base::trace::line(&line);
        }
    }
}

/// Reads from the rendezvous until it ends. Output goes its own way, in order with what is told about its rank.
async fn listen(mut listener: Listener<Owner>, output: Output, sender: Sender) {
    loop {
        let message = match listener.next().await {
            Ok(ToOwner::Event(Event::Output {
                rank,
                stream,
                bytes,
            })) => {
                output.give(rank, stream, bytes).await;
                continue;
            }
            Ok(ToOwner::Event(event)) => {
                if let Event::Exited { rank, .. } = &event {
                    output.close(*rank).await;
                }
                Message::Event(event)
            }
            Ok(ToOwner::Refused { text }) => Message::Lost(text),
            Ok(ToOwner::Goodbye) => Message::Lost("it has taken leave".into()),
            Ok(_) => continue,
            Err(e) => Message::Lost(e.to_string()),
        };
        let last = matches!(message, Message::Lost(_));
        if sender.send(message).is_err() || last {
            return;
        }
    }
}
