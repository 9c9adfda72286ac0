//! What the service knows, as a pure state machine: jobs, their members, fences, leases. Time is a number of
//! milliseconds that the caller passes in; what is to be done comes back as effects.

use crate::rendezvous::message::{same_secret, ToMember, ToService, OBSERVER, SIZE_MAX};
use std::collections::{BTreeMap, HashMap};

/// A job's name.
pub type JobId = [u8; 16];
/// Milliseconds since some beginning.
pub type Time = u64;

/// How many fences of one job may be incomplete at once.
const FENCES_MAX: usize = 64;
/// The sum of the blobs in one fence, bytes; a table must fit into a frame.
const TABLE_MAX: usize = crate::rendezvous::message::TO_MEMBER_MAX / 2;
/// How long a connection may stay silent before it joins.
const JOIN_SOON: Time = 10_000;

/// A member's connection, numbered by the registry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Connection(pub u64);

/// What makes a job.
#[derive(Clone)]
pub struct Plan {
    pub job: JobId,
    pub token: [u8; 32],
    pub size: u32,
    /// Everybody must have joined this long after the creation; 0: whenever.
    pub join_within: Time,
    /// A member that is silent for so long is lost; 0: only its connection's end tells.
    pub lease: Time,
    /// How long the job is remembered after its end.
    pub keep: Time,
}

/// What the caller has to do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Tell the job's owner.
    Tell(JobId, Event),
    Send(Vec<Connection>, ToMember),
    /// Close after what was sent.
    Close(Connection),
}

/// What happened in a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Joined {
        rank: u32,
        pid: u32,
        host: String,
    },
    Refused {
        why: String,
    },
    /// A member went away without having finished.
    Lost {
        rank: u32,
        why: String,
    },
    /// The job ended before its time; [`OBSERVER`]: by the service or its owner.
    Aborted {
        rank: u32,
        code: i32,
        text: String,
    },
    Finished {
        rank: u32,
    },
    /// All members have finished.
    Over,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    UnknownJob,
    WrongToken,
}

/// A job in a few words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    pub size: u32,
    pub joined: u32,
    pub finished: u32,
    /// `Err`: aborted, by which rank, with which code and text.
    pub over: Option<Result<(), (u32, i32, String)>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Here,
    Finished,
    Gone,
}

struct Member {
    connection: Connection,
    epoch: u32,
    pid: u32,
    expires: Option<Time>,
    standing: Standing,
}

enum State {
    Running,
    Over,
    Aborted { rank: u32, code: i32, text: String },
}

struct Job {
    plan: Plan,
    state: State,
    members: BTreeMap<u32, Member>,
    observers: Vec<Connection>,
    fences: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    join_by: Option<Time>,
    forget_at: Option<Time>,
    /// Somebody has passed a fence: the world is fixed.
    started: bool,
}

struct Guest {
    job: JobId,
    rank: Option<u32>,
    join_by: Option<Time>,
}

/// All jobs of a service.
#[derive(Default)]
pub struct Registry {
    jobs: HashMap<JobId, Job>,
    guests: BTreeMap<Connection, Guest>,
    last: u64,
}

impl Registry {
    /// Opens a job. An error when the id is taken or the size is not in 1..=[`SIZE_MAX`].
    pub fn create(&mut self, now: Time, plan: Plan) -> Result<(), &'static str> {
        if plan.size == 0 || plan.size > SIZE_MAX {
            return Err("a job has 1 to 65536 ranks");
        }
        if self.jobs.contains_key(&plan.job) {
            return Err("this job exists");
        }
        let join_by = (plan.join_within > 0).then(|| now + plan.join_within);
        self.jobs.insert(
            plan.job,
            Job {
                plan,
                state: State::Running,
                members: BTreeMap::new(),
                observers: Vec::new(),
                fences: BTreeMap::new(),
                join_by,
                forget_at: None,
                started: false,
            },
        );
        Ok(())
    }

    /// How many jobs are known.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    fn check(&self, job: &JobId, token: &[u8]) -> Result<&Job, Refusal> {
        let job = self.jobs.get(job).ok_or(Refusal::UnknownJob)?;
        if same_secret(&job.plan.token, token) {
            Ok(job)
        } else {
            Err(Refusal::WrongToken)
        }
    }

    /// How the job stands, for those who know its token.
    pub fn summary(&self, job: &JobId, token: &[u8]) -> Result<Summary, Refusal> {
        let job = self.check(job, token)?;
        let finished = job
            .members
            .values()
            .filter(|m| m.standing == Standing::Finished)
            .count();
        Ok(Summary {
            size: job.plan.size,
            joined: job.members.len() as u32,
            finished: finished as u32,
            over: match &job.state {
                State::Running => None,
                State::Over => Some(Ok(())),
                State::Aborted { rank, code, text } => Some(Err((*rank, *code, text.clone()))),
            },
        })
    }

    /// A new connection that shows a token.
    pub fn open(&mut self, now: Time, job: &JobId, token: &[u8]) -> Result<Connection, Refusal> {
        self.check(job, token)?;
        self.last += 1;
        let connection = Connection(self.last);
        let guest = Guest {
            job: *job,
            rank: None,
            join_by: Some(now + JOIN_SOON),
        };
        self.guests.insert(connection, guest);
        Ok(connection)
    }

    /// A frame has come.
    pub fn receive(
        &mut self,
        now: Time,
        from: Connection,
        frame: ToService,
        out: &mut Vec<Effect>,
    ) {
        let Some(guest) = self.guests.get_mut(&from) else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&guest.job) else {
            out.push(Effect::Close(from));
            return;
        };
        let rank = match (guest.rank, &frame) {
            (None, ToService::Join { .. }) => {
                guest.join_by = None;
                if let Some(displaced) = job.join(now, from, guest, frame, out) {
                    self.guests.remove(&displaced);
                }
                return;
            }
            (None, _) => return self.misbehaved(now, from, "its first frame is no Join", out),
            (Some(_), ToService::Join { .. }) => {
                return self.misbehaved(now, from, "it joins twice", out)
            }
            (Some(rank), _) => rank,
        };
        if let Some(member) = job.members.get_mut(&rank) {
            member.expires = (job.plan.lease > 0).then(|| now + job.plan.lease);
        }
        let fault = match frame {
            ToService::Join { .. } => None,
            ToService::Renew => {
                out.push(Effect::Send(vec![from], ToMember::Alive));
                None
            }
            ToService::Fence { name, blob } => job.fence(rank, name, blob, out).err(),
            ToService::Abort { code, text } => {
                job.end(now, rank, code, text, out);
                None
            }
            ToService::Finished => {
                job.finished(now, rank, from, out);
                None
            }
        };
        if let Some(why) = fault {
            self.misbehaved(now, from, why, out);
        }
    }

    /// The connection ended, or its bytes were no frames.
    pub fn closed(&mut self, now: Time, connection: Connection, why: &str, out: &mut Vec<Effect>) {
        let Some(guest) = self.guests.remove(&connection) else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&guest.job) else {
            return;
        };
        match guest.rank {
            None => {}
            Some(OBSERVER) => job.observers.retain(|&c| c != connection),
            Some(rank) => job.lost(now, rank, why, out),
        }
    }

    /// Whatever is due by now: join deadlines, leases, forgetting.
    pub fn tick(&mut self, now: Time, out: &mut Vec<Effect>) {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        for job in self.jobs.values_mut() {
            if due(job.join_by) {
                job.join_by = None;
                let text = job.missing();
                job.end(now, OBSERVER, 1, text, out);
            }
            let silent = job.members.iter().filter(|(_, m)| due(m.expires));
            let silent: Vec<u32> = silent.map(|(&rank, _)| rank).collect();
            for rank in silent {
                if let Some(member) = job.members.get(&rank) {
                    out.push(Effect::Close(member.connection));
                    self.guests.remove(&member.connection);
                }
                job.lost(now, rank, "its lease ran out", out);
            }
        }
        let late = self.guests.iter().filter(|(_, guest)| due(guest.join_by));
        let late: Vec<Connection> = late.map(|(&connection, _)| connection).collect();
        for connection in late {
            self.misbehaved(now, connection, "it does not join", out);
        }
        self.jobs.retain(|_, job| !due(job.forget_at));
    }

    /// When [`Registry::tick`] next has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        let of_jobs = self.jobs.values().flat_map(|job| {
            let leases = job.members.values().filter_map(|m| m.expires).min();
            [job.join_by, job.forget_at, leases]
        });
        let of_guests = self.guests.values().map(|guest| guest.join_by);
        of_jobs.chain(of_guests).flatten().min()
    }

    /// The job's owner ends it.
    pub fn abort(&mut self, now: Time, job: &JobId, code: i32, text: &str, out: &mut Vec<Effect>) {
        if let Some(job) = self.jobs.get_mut(job) {
            job.end(now, OBSERVER, code, text.into(), out);
        }
    }

    /// The job's owner knows that this rank will never join (again): those who wait for it wait in vain.
    pub fn departed(&mut self, now: Time, job: &JobId, rank: u32, out: &mut Vec<Effect>) {
        let Some(job) = self.jobs.get_mut(job) else {
            return;
        };
        if job.members.contains_key(&rank) {
            return job.lost(now, rank, "its process ended", out);
        }
        let member = Member {
            connection: Connection(0),
            epoch: u32::MAX,
            pid: 0,
            expires: None,
            standing: Standing::Here,
        };
        job.members.insert(rank, member);
        job.lost(now, rank, "it ended without joining", out);
    }

    fn misbehaved(
        &mut self,
        now: Time,
        connection: Connection,
        why: &'static str,
        out: &mut Vec<Effect>,
    ) {
        let refusal = ToMember::Refused { text: why.into() };
        out.push(Effect::Send(vec![connection], refusal));
        out.push(Effect::Close(connection));
        self.closed(now, connection, why, out);
    }
}

impl Job {
    /// Lets a member in or turns it away; gives the connection of an earlier attempt that it displaces.
    fn join(
        &mut self,
        now: Time,
        from: Connection,
        guest: &mut Guest,
        frame: ToService,
        out: &mut Vec<Effect>,
    ) -> Option<Connection> {
        let ToService::Join {
            rank,
            size,
            epoch,
            pid,
            host,
        } = frame
        else {
            return None;
        };
        let earlier = self.members.get(&rank);
        let ended = self
            .members
            .iter()
            .find(|(&r, m)| r != rank && m.standing == Standing::Gone);
        let refusal = match &self.state {
            State::Over => Some("the job is over".to_string()),
            State::Aborted { text, .. } => Some(format!("the job has been ended: {text}")),
            State::Running if rank == OBSERVER => None,
            State::Running if size != self.plan.size => {
                Some(format!("the job has {} ranks, not {size}", self.plan.size))
            }
            State::Running if rank >= size => Some(format!("rank {rank} is not in 0..{size}")),
            State::Running => earlier.and_then(|earlier| match earlier.standing {
                Standing::Finished => Some(format!("rank {rank} has already joined and finished")),
                _ if epoch <= earlier.epoch => Some(format!(
                    "rank {rank} has already joined (process {})",
                    earlier.pid
                )),
                _ if self.started => {
                    Some(format!("the job has begun; rank {rank} cannot join anew"))
                }
                _ => None,
            }),
        }
        .or_else(|| {
            ended.map(|(rank, _)| {
                format!("rank {rank} has ended, so that the job cannot be complete")
            })
        });
        if let Some(text) = refusal {
            let why = format!("process {pid} on {host}, as rank {rank}: {text}");
            out.push(Effect::Tell(self.plan.job, Event::Refused { why }));
            out.push(Effect::Send(vec![from], ToMember::Refused { text }));
            out.push(Effect::Close(from));
            return None;
        }
        guest.rank = Some(rank);
        let lease = self.plan.lease;
        let welcome = ToMember::Welcome {
            lease: if rank == OBSERVER { 0 } else { lease as u32 },
        };
        if rank == OBSERVER {
            self.observers.push(from);
            out.push(Effect::Send(vec![from], welcome));
            return None;
        }
        let displaced = earlier.map(|earlier| earlier.connection);
        if let Some(old) = displaced {
            let text = format!("a later attempt of rank {rank} has joined");
            out.push(Effect::Send(vec![old], ToMember::Refused { text }));
            out.push(Effect::Close(old));
            for parts in self.fences.values_mut() {
                parts.remove(&rank);
            }
        }
        let member = Member {
            connection: from,
            epoch,
            pid,
            expires: (lease > 0).then(|| now + lease),
            standing: Standing::Here,
        };
        self.members.insert(rank, member);
        if self.members.len() as u32 == self.plan.size {
            self.join_by = None;
        }
        out.push(Effect::Tell(
            self.plan.job,
            Event::Joined { rank, pid, host },
        ));
        out.push(Effect::Send(vec![from], welcome));
        displaced
    }

    fn fence(
        &mut self,
        rank: u32,
        name: String,
        blob: Vec<u8>,
        out: &mut Vec<Effect>,
    ) -> Result<(), &'static str> {
        let running = matches!(self.state, State::Running);
        let here = self
            .members
            .get(&rank)
            .is_some_and(|m| m.standing == Standing::Here);
        if !running {
            return Ok(());
        }
        if !here {
            return Err("it takes part in a fence after its end");
        }
        if !self.fences.contains_key(&name) && self.fences.len() >= FENCES_MAX {
            return Err("too many fences are open");
        }
        let parts = self.fences.entry(name.clone()).or_default();
        if parts.contains_key(&rank) {
            return Err("it enters the same fence twice");
        }
        if parts.values().map(Vec::len).sum::<usize>() + blob.len() > TABLE_MAX {
            return Err("the blobs of a fence are too large together");
        }
        parts.insert(rank, blob);
        if parts.len() as u32 == self.plan.size {
            let parts = self.fences.remove(&name).unwrap_or_default();
            let blobs = parts.into_values().collect();
            self.started = true;
            let everybody = self.members.values().map(|m| m.connection).collect();
            out.push(Effect::Send(everybody, ToMember::Table { name, blobs }));
        }
        Ok(())
    }

    fn finished(&mut self, now: Time, rank: u32, from: Connection, out: &mut Vec<Effect>) {
        out.push(Effect::Send(vec![from], ToMember::Goodbye));
        out.push(Effect::Close(from));
        let Some(member) = self.members.get_mut(&rank) else {
            return;
        };
        if member.standing != Standing::Here {
            return;
        }
        member.standing = Standing::Finished;
        member.expires = None;
        if !matches!(self.state, State::Running) {
            return;
        }
        out.push(Effect::Tell(self.plan.job, Event::Finished { rank }));
        let all = self.members.len() as u32 == self.plan.size;
        if all && self.members.values().all(|m| m.standing != Standing::Here) {
            self.state = State::Over;
            self.forget_at = Some(now + self.plan.keep);
            out.push(Effect::Tell(self.plan.job, Event::Over));
            out.push(Effect::Send(self.observers.clone(), ToMember::Over));
        }
    }

    /// A member is gone. When somebody else still counts on it, the job ends.
    fn lost(&mut self, now: Time, rank: u32, why: &str, out: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&rank) else {
            return;
        };
        member.expires = None;
        if member.standing != Standing::Here {
            return;
        }
        member.standing = Standing::Gone;
        if !matches!(self.state, State::Running) {
            return;
        }
        let lost = Event::Lost {
            rank,
            why: why.into(),
        };
        out.push(Effect::Tell(self.plan.job, lost));
        let others = self.members.values().any(|m| m.standing == Standing::Here);
        let never_complete = (self.members.len() as u32) < self.plan.size;
        if others {
            self.end(now, rank, 1, format!("rank {rank} was lost: {why}"), out);
        } else if !never_complete {
            // All the others have finished, so that nobody misses it.
            self.state = State::Over;
            self.forget_at = Some(now + self.plan.keep);
            out.push(Effect::Tell(self.plan.job, Event::Over));
            out.push(Effect::Send(self.observers.clone(), ToMember::Over));
        }
    }

    fn end(&mut self, now: Time, rank: u32, code: i32, text: String, out: &mut Vec<Effect>) {
        if !matches!(self.state, State::Running) {
            return;
        }
        self.state = State::Aborted {
            rank,
            code,
            text: text.clone(),
        };
        self.fences.clear();
        self.join_by = None;
        self.forget_at = Some(now + self.plan.keep);
        // The owner first: it may then tell the cause from its consequences.
        let event = Event::Aborted {
            rank,
            code,
            text: text.clone(),
        };
        out.push(Effect::Tell(self.plan.job, event));
        let here = self
            .members
            .values_mut()
            .filter(|m| m.standing == Standing::Here);
        let mut told: Vec<Connection> = here.map(|m| m.connection).collect();
        told.extend(&self.observers);
        for member in self.members.values_mut() {
            member.expires = None;
        }
        out.push(Effect::Send(told, ToMember::Aborted { rank, code, text }));
    }

    /// "2 of 4 ranks joined in time; missing: 1, 3".
    fn missing(&self) -> String {
        let missing: Vec<u32> = (0..self.plan.size)
            .filter(|r| !self.members.contains_key(r))
            .collect();
        let mut shown: Vec<String> = missing.iter().take(16).map(u32::to_string).collect();
        if missing.len() > shown.len() {
            shown.push(format!("{} more", missing.len() - shown.len()));
        }
        format!(
            "{} of {} ranks joined in time; missing: {}",
            self.members.len(),
            self.plan.size,
            shown.join(", ")
        )
    }
}

#[cfg(test)]
mod tests;
