//! One start, from the rendezvous' errand to the last rank's end.

mod running;

use super::answer::{Outcome, Trouble};
use super::clock::{now_ms, Limit};
use super::prepare::{self, Ground};
use super::scratch::Scratch;
use super::{ended, machine, Host, Situation};
use crate::base::os as base;
use crate::platform::launch::os;
use crate::platform::start::Start;
use crate::platform::task::Task;
use crate::rendezvous::dial::{self, Link, Speaker};
use crate::rendezvous::forward::Forwarder;
use crate::rendezvous::message::{Errand, FromHost, ToHost};
use running::{Running, Verdict};
use std::io;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long the rendezvous may be out of reach: some platforms' networks need a minute.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long our last words may take.
const FAREWELL: Duration = Duration::from_secs(3);
/// What is left in pipes when nobody writes any more.
const TO_DRAIN: Duration = Duration::from_secs(2);

/// What is known once the rendezvous has let us in.
struct Assignment<'a> {
    start: &'a Start,
    situation: &'a Situation,
    errand: Errand,
    /// Where the ranks find the rendezvous: `host:port`.
    service: String,
    deadline_ms: u64,
}

impl Host {
    /// Runs a start. `accepted` is called when the rendezvous has let this instance in: from then on what happens is the
    /// launcher's to know from there.
    pub async fn run(
        &mut self,
        start: &Start,
        situation: &Situation,
        accepted: impl FnOnce(),
    ) -> Result<Outcome, Trouble> {
        let began = Instant::now();
        let place = start.place.rendezvous().map_err(Trouble::Malformed)?;
        self.trust.check(&place)?;
        let init = match self.jobs {
            0 => self.since.elapsed(),
            _ => Duration::ZERO,
        };
        let left_ms = situation.deadline_ms.saturating_sub(now_ms());
        let begin = FromHost::Begin {
            host: base::host_name(),
            platform: situation.platform.to_string(),
            cores: machine::cores(),
            memory_mib: machine::memory_mib(),
            left_ms,
        };
        let numbers = (start.instance, start.attempt);
        let patience = match situation.deadline_ms {
            0 => PATIENCE,
            _ => PATIENCE.min(Duration::from_millis(left_ms)),
        };
        let job = &start.place.job;
        let entering = dial::host(&place, job, numbers, &start.pass, &begin, patience);
        let mut ending = self.ending.clone();
        let (mut link, errand) = tokio::select! {
            entered = entering => entered.map_err(why_not_in)?,
            signal = ended(&mut ending) => return Err(Trouble::Ended(by_platform(signal), 1)),
        };
        accepted();
        self.jobs += 1;
        let (verdict, forwarder) = match Forwarder::of(&place).await {
            Err(e) => (Verdict::unfit(format!("cannot listen: {e}")), None),
            Ok(forwarder) => {
                let assignment = Assignment {
                    start,
                    situation,
                    errand,
                    service: forwarder.address().to_string(),
                    deadline_ms: situation.deadline_ms,
                };
                (self.work(&assignment, &mut link).await, Some(forwarder))
            }
        };
        let usage = FromHost::Usage {
            init_ms: init.as_millis() as u64,
            run_ms: began.elapsed().as_millis() as u64,
            memory_mib: verdict.memory_mib,
        };
        if !verdict.lost {
            // Whether these words arrive changes nothing for the platform.
            let _ = timeout(FAREWELL, farewell(&mut link, usage)).await;
        }
        if let Some(forwarder) = forwarder {
            forwarder.close().await;
        }
        verdict.result(start)
    }

    /// Starts the ranks, stays with them and leaves nothing of them.
    async fn work(&mut self, assignment: &Assignment<'_>, link: &mut Link<dial::Host>) -> Verdict {
        let errand = &assignment.errand;
        let speaker = link.speaker.clone();
        let fail = |status: i32, text: String| async move {
            give_up(&speaker, errand.first_rank, status, &text).await;
            Verdict::unfit(text)
        };
        let task = match Task::from_json(&errand.task, errand.size) {
            Ok(task) => task,
            Err(text) => return fail(1, text).await,
        };
        let base = self.scratch();
        let unwritable = |e: io::Error| {
            format!(
                "{} cannot be written to ({e}); ranks need a place for their files",
                base.display()
            )
        };
        let package = self.package.as_ref();
        let work = match package.map(|p| p.working_folder(&base)).transpose() {
            Ok(work) => work,
            Err(e) => return fail(1, unwritable(e)).await,
        };
        let scratch = match Scratch::new(&base) {
            Ok(scratch) => scratch,
            Err(e) => return fail(1, unwritable(e)).await,
        };
        let ground = Ground {
            work: work.as_ref().map(|work| work.path().to_path_buf()),
            scratch: Some(scratch.path().to_path_buf()),
            deadline_ms: assignment.deadline_ms,
        };
        let ranks = errand.first_rank..errand.first_rank + errand.ranks;
        // Reads programs and their libraries, which on a cold disk takes longer than a lease.
        let preparing = {
            let (task, situation) = (task.clone(), assignment.situation.clone());
            let package = self.package.clone();
            move || prepare::all(&task, ranks, package.as_ref(), &ground, &situation)
        };
        let prepared = match tokio::task::spawn_blocking(preparing).await {
            Ok(Ok(prepared)) => prepared,
            Ok(Err((status, text))) => return fail(status, text).await,
            Err(e) => return fail(1, format!("a defect of Mayfly: {e}")).await,
        };
        let limit = Limit::new(assignment.deadline_ms, now_ms(), Instant::now());
        let mut running = Running::new(&self.guard, scratch.path(), link.speaker.clone(), limit);
        running
            .start(&self.nursery, assignment, &task, &prepared)
            .await;
        let mut ending = self.ending.clone();
        running
            .stay(
                &mut link.listener,
                &mut self.children,
                &mut self.moving,
                &mut ending,
            )
            .await;
        // Everything that is left of the ranks, before its output can be said to be complete.
        running.end_groups();
        os::end_children(self.guard.pid);
        running.finish().await
    }
}

fn by_platform(signal: i32) -> String {
    format!(
        "the platform ends this instance ({})",
        os::signal_name(signal)
    )
}

/// Why the rendezvous did not let us in.
fn why_not_in(e: io::Error) -> Trouble {
    let text = e.to_string();
    match e.kind() {
        io::ErrorKind::InvalidData if text.contains("refuses this pass") => {
            Trouble::Forbidden(text)
        }
        io::ErrorKind::InvalidData => Trouble::Refused(text),
        _ => Trouble::Unreachable(text),
    }
}

/// Says that nothing can be run here: the job ends with this status.
async fn give_up(speaker: &Speaker<dial::Host>, rank: u32, status: i32, text: &str) {
    for frame in [
        FromHost::Log { text: text.into() },
        FromHost::Exited {
            rank,
            code: status,
            signal: 0,
        },
    ] {
        let _ = timeout(FAREWELL, speaker.say(&frame)).await;
    }
}

async fn farewell(link: &mut Link<dial::Host>, usage: FromHost) -> io::Result<()> {
    link.speaker.say(&usage).await?;
    link.speaker.say(&FromHost::Done).await?;
    while link.listener.next().await? != ToHost::Goodbye {}
    Ok(())
}
