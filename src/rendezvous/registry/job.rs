//! One job: who is in it, how it ends, what its owner is told.

use super::backlog::Backlog;
use super::fence::Fence;
use super::host::Instance;
use super::member::Member;
use super::{Connection, Effect, Event, Plan, Summary, Time};
use crate::base::span;
use crate::rendezvous::message::{ToHost, ToMember, ToOwner, OBSERVER};
use std::collections::BTreeMap;

/// From SIGTERM to SIGKILL, for ranks whose job has been ended.
const GRACE: u32 = 900;
/// How long hosts may take to end their ranks and say so.
const TO_STOP: Time = 30_000;
/// How long an owner may take to come for the first time.
const OWNER_SOON: Time = 60_000;
/// How long an owner may be away, when there are no leases.
const OWNER_AWAY: Time = 10_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Here,
    Finished,
    Gone,
}

pub(super) enum State {
    Running,
    Over,
    Aborted { rank: u32, code: i32, text: String },
}

/// A rank whose connection has ended, and whose host has not said yet what became of it; or the other way round.
pub(super) struct Suspect {
    pub(super) rank: u32,
    pub(super) why: String,
    pub(super) until: Time,
}

pub(super) struct Job {
    pub(super) plan: Plan,
    pub(super) created: Time,
    pub(super) state: State,
    /// By rank.
    pub(super) members: Vec<Option<Member>>,
    /// How many members are [`Standing::Here`], `Finished`, `Gone`.
    pub(super) standings: [u32; 3],
    pub(super) fences: BTreeMap<String, Fence>,
    /// By number; none in a job without a task.
    pub(super) instances: Vec<Option<Instance>>,
    /// How many of them have begun.
    pub(super) arrived: u32,
    /// How many ranks' processes have ended, as their hosts say.
    pub(super) ended: u32,
    pub(super) suspect: Option<Suspect>,
    /// When the first fence was passed: since then the world is fixed.
    pub(super) begun: Option<Time>,
    pub(super) owner: Option<Connection>,
    pub(super) backlog: Backlog,
    pub(super) join_by: Option<Time>,
    /// The owner must be (back) here by then.
    pub(super) owner_by: Option<Time>,
    /// The hosts must have left by then.
    pub(super) stop_by: Option<Time>,
    pub(super) forget_at: Option<Time>,
    /// What of this job's stands in the agenda.
    pub(super) scheduled: Time,
}

impl Job {
    pub(super) fn new(now: Time, plan: Plan) -> Job {
        let hosted = plan.task.is_some();
        let instances = plan.size.div_ceil(plan.per_instance.max(1));
        Job {
            created: now,
            state: State::Running,
            members: (0..plan.size).map(|_| None).collect(),
            standings: [0; 3],
            fences: BTreeMap::new(),
            instances: (0..instances).filter(|_| hosted).map(|_| None).collect(),
            arrived: 0,
            ended: 0,
            suspect: None,
            begun: None,
            owner: None,
            backlog: Backlog::default(),
            join_by: (plan.join_within > 0).then(|| now + plan.join_within),
            owner_by: plan.owned.then(|| now + plan.lease.max(OWNER_SOON)),
            stop_by: None,
            forget_at: None,
            scheduled: Time::MAX,
            plan,
        }
    }

    pub(super) fn running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    pub(super) fn hosted(&self) -> bool {
        self.plan.task.is_some()
    }

    pub(super) fn count(&self, standing: Standing) -> u32 {
        self.standings[standing as usize]
    }

    pub(super) fn joined(&self) -> u32 {
        self.standings.iter().sum()
    }

    pub(super) fn standing(&self, rank: u32) -> Option<Standing> {
        let member = self.members.get(rank as usize)?;
        member.as_ref().map(|m| m.standing)
    }

    /// The lowest rank of this standing.
    pub(super) fn first(&self, standing: Standing) -> Option<u32> {
        if self.count(standing) == 0 {
            return None;
        }
        let is = |m: &Option<Member>| m.as_ref().is_some_and(|m| m.standing == standing);
        self.members.iter().position(is).map(|rank| rank as u32)
    }

    /// Of all members that are here.
    pub(super) fn connections(&self) -> Vec<Connection> {
        let here = self.members.iter().flatten();
        here.filter(|m| m.standing == Standing::Here)
            .map(|m| m.connection)
            .collect()
    }

    /// To the owner, and whoever runs this service.
    pub(super) fn tell(&mut self, event: Event, out: &mut Vec<Effect>) {
        if self.owner.is_none() && self.owner_by.is_some() {
            self.backlog.add(&event);
        }
        out.push(Effect::Tell(self.plan.job, self.owner, event));
    }

    /// Is it over by now?
    pub(super) fn try_over(&mut self, now: Time, out: &mut Vec<Effect>) {
        let all = match self.hosted() {
            true => self.ended == self.plan.size && self.suspect.is_none(),
            false => self.joined() == self.plan.size && self.count(Standing::Here) == 0,
        };
        if self.running() && all {
            self.state = State::Over;
            self.conclude(now);
            self.tell(Event::Over, out);
        }
    }

    /// The job ends before its time.
    pub(super) fn end(
        &mut self,
        now: Time,
        rank: u32,
        code: i32,
        text: String,
        out: &mut Vec<Effect>,
    ) {
        if !self.running() {
            return;
        }
        self.state = State::Aborted {
            rank,
            code,
            text: text.clone(),
        };
        self.conclude(now);
        // The owner first: it may then tell the cause from its consequences.
        let event = Event::Aborted {
            rank,
            code,
            text: text.clone(),
        };
        self.tell(event, out);
        let told = self.connections();
        if !told.is_empty() {
            let text = text.clone();
            out.push(Effect::send(told, ToMember::Aborted { rank, code, text }));
        }
        let hosts = self.hosts();
        if !hosts.is_empty() {
            self.stop_by = Some(now + TO_STOP);
            let grace_ms = GRACE;
            out.push(Effect::send(hosts, ToHost::Stop { text, grace_ms }));
        }
    }

    fn conclude(&mut self, now: Time) {
        self.fences.clear();
        self.suspect = None;
        self.join_by = None;
        self.forget_at = Some(now + self.plan.keep);
    }

    /// Whatever is due by now. True: the job may be forgotten.
    pub(super) fn tick(&mut self, now: Time, out: &mut Vec<Effect>) -> bool {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if due(self.join_by) {
            let text = self.missing(now);
            self.end(now, OBSERVER, 1, text, out);
        }
        if due(self.suspect.as_ref().map(|s| s.until)) {
            self.condemn(now, out);
        }
        if due(self.owner_by) {
            // Nobody will ask any more for what we have kept for it.
            self.owner_by = None;
            self.backlog.take();
            self.end(now, OBSERVER, 1, "its launcher is gone".into(), out);
        }
        if due(self.stop_by) {
            self.stop_by = None;
            self.drop_hosts(out);
        }
        if due(self.forget_at) {
            if self.owner.is_none() && self.hosts().is_empty() {
                return true;
            }
            self.forget_at = Some(now + self.plan.keep.max(1_000));
        }
        false
    }

    /// When [`Job::tick`] next has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        let suspect = self.suspect.as_ref().map(|s| s.until);
        let all = [
            self.join_by,
            suspect,
            self.owner_by,
            self.stop_by,
            self.forget_at,
        ];
        all.into_iter().flatten().min()
    }

    /// A connection shows the job's secret: it is the owner from now on.
    pub(super) fn own(&mut self, from: Connection, out: &mut Vec<Effect>) {
        if let Some(earlier) = self.owner.replace(from) {
            let text = "another launcher has taken this job over".into();
            out.push(Effect::send(vec![earlier], ToOwner::Refused { text }));
            out.push(Effect::Close(earlier));
        }
        self.owner_by = None;
        let lease = self.plan.lease as u32;
        out.push(Effect::send(vec![from], ToOwner::Welcome { lease }));
        let (events, dropped) = self.backlog.take();
        for event in events {
            out.push(Effect::send(vec![from], ToOwner::Event(event)));
        }
        if dropped > 0 {
            let text = format!("{dropped} bytes of output were lost while nobody took them");
            let event = Event::Log {
                instance: OBSERVER,
                text,
            };
            out.push(Effect::send(vec![from], ToOwner::Event(event)));
        }
    }

    /// The owner's connection has ended; it may come back for a while.
    pub(super) fn owner_lost(&mut self, now: Time, connection: Connection) {
        if self.owner != Some(connection) {
            return;
        }
        self.owner = None;
        if self.plan.owned {
            // Its end was seen, which is more than silence: half a lease is left to come back, so that a killed launcher's
            // job is over, and nothing billed, within one.
            let away = match self.plan.lease {
                0 => OWNER_AWAY,
                lease => lease / 2,
            };
            self.owner_by = Some(now + away);
        }
    }

    /// The owner has seen all it wants.
    pub(super) fn owner_done(&mut self, now: Time, from: Connection, out: &mut Vec<Effect>) {
        self.end(now, OBSERVER, 1, "its launcher has left".into(), out);
        out.push(Effect::send(vec![from], ToOwner::Goodbye));
        out.push(Effect::Close(from));
        self.owner = None;
    }

    pub(super) fn summary(&self, now: Time) -> Summary {
        Summary {
            name: self.plan.name.clone(),
            size: self.plan.size,
            joined: self.joined(),
            finished: self.count(Standing::Finished),
            instances: self.instances.len() as u32,
            arrived: self.arrived,
            hosts: self.hosts().len() as u32,
            attended: self.owner.is_some(),
            age: now.saturating_sub(self.created),
            over: match &self.state {
                State::Running => None,
                State::Over => Some(Ok(())),
                State::Aborted { rank, code, text } => Some(Err((*rank, *code, text.clone()))),
            },
        }
    }

    /// "2 of 4 ranks arrived after 10 s, missing: 1, 3".
    fn missing(&self, now: Time) -> String {
        let absent = |present: Vec<bool>| -> Vec<u32> {
            let all = present.iter().zip(0..);
            all.filter(|(there, _)| !**there).map(|(_, n)| n).collect()
        };
        let (what, total, missing) = match self.hosted() {
            true => {
                let there = self.instances.iter().map(Option::is_some).collect();
                ("instances", self.instances.len(), absent(there))
            }
            false => {
                let there = self.members.iter().map(Option::is_some).collect();
                ("ranks", self.members.len(), absent(there))
            }
        };
        let waited = (now - self.created) as f64 / 1000.0;
        format!(
            "{} of {total} {what} arrived after {waited} s, missing: {}",
            total - missing.len(),
            ranges(&missing)
        )
    }
}

/// "3, 7-9, 12": ascending numbers in few words.
pub(super) fn ranges(numbers: &[u32]) -> String {
    const SHOWN: usize = 16;
    let spans = span::spans(numbers);
    let (shown, rest) = spans.split_at(spans.len().min(SHOWN));
    let shown = span::list(shown);
    match rest.iter().map(|span| span.count()).sum::<u32>() {
        0 => shown,
        left => format!("{shown}, {left} more"),
    }
}
