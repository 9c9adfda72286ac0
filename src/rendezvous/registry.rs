//! What the service knows, as a pure state machine: jobs, their members, fences, leases. Time is a number of
//! milliseconds that the caller passes in; what is to be done comes back as effects.

mod job;

use job::{Job, Standing, State};

use crate::rendezvous::message::{
    same_secret, FromHost, FromOwner, Role, ToHost, ToMember, ToOwner, ToService, OBSERVER,
    SIZE_MAX,
};
use std::collections::{BTreeMap, HashMap};

pub use crate::rendezvous::message::Event;

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
    /// Known to the service and the owner only; everybody's passes come from it.
    pub secret: [u8; 32],
    /// For people.
    pub name: String,
    pub size: u32,
    /// Ranks of one instance, except that the last one may have fewer.
    pub per_instance: u32,
    /// Everybody must have joined (in a job with a task: every instance's host must have begun) this long after the
    /// creation; 0: whenever.
    pub join_within: Time,
    /// Whoever is silent for so long is lost; 0: only its connection's end tells.
    pub lease: Time,
    /// How long the job is remembered after its end.
    pub keep: Time,
    /// How much of the ranks' output is kept, bytes.
    pub keep_log: usize,
    /// An owner connects and stays; when it is gone, so is the job.
    pub owned: bool,
    /// What hosts are to do; `None`: the ranks come by themselves.
    pub task: Option<Vec<u8>>,
    /// For the ranks: `host:port,host:port` each.
    pub relays: Vec<String>,
    /// Seconds since 1970.
    pub relay_expiry: u64,
    pub relay_grant: [u8; 32],
}

impl Plan {
    /// A job without time limits, whose ranks come by themselves, watched by whoever runs this service.
    pub fn new(job: JobId, secret: [u8; 32], size: u32) -> Plan {
        Plan {
            job,
            secret,
            name: String::new(),
            size,
            per_instance: 1,
            join_within: 0,
            lease: 0,
            keep: 60_000,
            keep_log: 0,
            owned: false,
            task: None,
            relays: Vec::new(),
            relay_expiry: 0,
            relay_grant: [0; 32],
        }
    }
}

/// A frame that has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    Member(ToService),
    Host(FromHost),
    Owner(FromOwner),
}

/// A frame to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outgoing {
    Member(ToMember),
    Host(ToHost),
    Owner(ToOwner),
}

impl From<ToService> for Incoming {
    fn from(frame: ToService) -> Incoming {
        Incoming::Member(frame)
    }
}

impl From<FromHost> for Incoming {
    fn from(frame: FromHost) -> Incoming {
        Incoming::Host(frame)
    }
}

impl From<FromOwner> for Incoming {
    fn from(frame: FromOwner) -> Incoming {
        Incoming::Owner(frame)
    }
}

impl From<ToMember> for Outgoing {
    fn from(frame: ToMember) -> Outgoing {
        Outgoing::Member(frame)
    }
}

impl From<ToHost> for Outgoing {
    fn from(frame: ToHost) -> Outgoing {
        Outgoing::Host(frame)
    }
}

impl From<ToOwner> for Outgoing {
    fn from(frame: ToOwner) -> Outgoing {
        Outgoing::Owner(frame)
    }
}

/// What the caller has to do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Tell the job's owner.
    Tell(JobId, Event),
    Send(Vec<Connection>, Outgoing),
    /// Close after what was sent.
    Close(Connection),
}

impl Effect {
    fn send(to: Vec<Connection>, frame: impl Into<Outgoing>) -> Effect {
        Effect::Send(to, frame.into())
    }
}

/// Why a connection is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    UnknownJob,
    /// The pass is not this role's.
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

struct Guest {
    job: JobId,
    role: Role,
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
        if same_secret(&job.plan.secret, token) {
            Ok(job)
        } else {
            Err(Refusal::WrongToken)
        }
    }

    /// How the job stands, for those who know its token.
    pub fn summary(&self, job: &JobId, token: &[u8]) -> Result<Summary, Refusal> {
        self.check(job, token).map(Registry::describe)
    }

    /// Is the job known (still)?
    pub fn knows(&self, job: &JobId) -> bool {
        self.jobs.contains_key(job)
    }

    /// All jobs, for the operator.
    pub fn overview(&self) -> impl Iterator<Item = (&Plan, Summary)> {
        let jobs = self.jobs.values();
        jobs.map(|job| (&job.plan, Registry::describe(job)))
    }

    fn describe(job: &Job) -> Summary {
        let finished = job
            .members
            .values()
            .filter(|m| m.standing == Standing::Finished)
            .count();
        Summary {
            size: job.plan.size,
            joined: job.members.len() as u32,
            finished: finished as u32,
            over: match &job.state {
                State::Running => None,
                State::Over => Some(Ok(())),
                State::Aborted { rank, code, text } => Some(Err((*rank, *code, text.clone()))),
            },
        }
    }

    /// A new connection of this role that shows a pass.
    pub fn open(
        &mut self,
        now: Time,
        job: &JobId,
        role: Role,
        pass: &[u8],
    ) -> Result<Connection, Refusal> {
        let known = self.jobs.get(job).ok_or(Refusal::UnknownJob)?;
        if !same_secret(&role.pass(&known.plan.secret), pass) {
            return Err(Refusal::WrongToken);
        }
        self.last += 1;
        let connection = Connection(self.last);
        let guest = Guest {
            job: *job,
            role,
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
        frame: impl Into<Incoming>,
        out: &mut Vec<Effect>,
    ) {
        let Incoming::Member(frame) = frame.into() else {
            return self.misbehaved(now, from, "hosts and owners are not served yet", out);
        };
        let Some(guest) = self.guests.get_mut(&from) else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&guest.job) else {
            out.push(Effect::Close(from));
            return;
        };
        let rank = match (guest.rank, &frame) {
            (None, &ToService::Join { rank, epoch, .. })
                if guest.role != (Role::Member { rank, epoch }) =>
            {
                return self.misbehaved(now, from, "its pass is for another rank or attempt", out)
            }
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
                out.push(Effect::send(vec![from], ToMember::Alive));
                None
            }
            ToService::Fence { name, blob } => job.fence(rank, name, blob, false, out).err(),
            ToService::TreeFence { name, blob } => job.fence(rank, name, blob, true, out).err(),
            ToService::Note { to, blob } => {
                job.note(rank, from, to, blob, out);
                None
            }
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
        job.rule_out(rank);
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
        out.push(Effect::send(vec![connection], refusal));
        out.push(Effect::Close(connection));
        self.closed(now, connection, why, out);
    }
}

#[cfg(test)]
mod tests;
