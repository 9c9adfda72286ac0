//! What the service knows, as a pure state machine: jobs, their members, hosts and owners, fences, leases. Time is a
//! number of milliseconds that the caller passes in; what is to be done comes back as effects.
//!
//! No frame costs more than what it has to send: leases are renewed without touching what orders them, and nothing is
//! searched for in everything there is.

mod backlog;
mod clock;
mod fence;
mod host;
mod job;
mod member;
mod plan;

use clock::{Agenda, Clock, Who};
use job::Job;

use crate::rendezvous::message::{
    same_secret, FromHost, FromOwner, Role, ToService, OBSERVER, SIZE_MAX, TASK_MAX,
};
use std::collections::HashMap;

pub use crate::rendezvous::message::Event;
pub use plan::{Connection, Effect, Incoming, JobId, Outgoing, Plan, Refusal, Summary, Time};

/// How long a connection may stay silent before it says who it is.
const JOIN_SOON: Time = 30_000;

struct Guest {
    job: JobId,
    role: Role,
    /// It has said who it is and was let in.
    entered: bool,
    /// It must have said something by then.
    expires: Time,
    /// What of this guest stands in the agenda.
    scheduled: Time,
}

/// All jobs of a service.
#[derive(Default)]
pub struct Registry {
    jobs: HashMap<JobId, Job>,
    guests: HashMap<Connection, Guest>,
    agenda: Agenda,
    clock: Clock,
    last: u64,
}

impl Registry {
    /// Opens a job. An error when the id is taken or the plan is not possible.
    pub fn create(&mut self, now: Time, plan: Plan) -> Result<(), &'static str> {
        let now = self.clock.see(now);
        if plan.size == 0 || plan.size > SIZE_MAX {
            return Err("a job has 1 to 65536 ranks");
        }
        if plan.per_instance == 0 {
            return Err("an instance has at least one rank");
        }
        if plan.task.as_ref().is_some_and(|t| t.len() > TASK_MAX) {
            return Err("the task is larger than 1 MiB");
        }
        if self.jobs.contains_key(&plan.job) {
            return Err("this job exists");
        }
        let id = plan.job;
        self.jobs.insert(id, Job::new(now, plan));
        self.arrange(id);
        Ok(())
    }

    /// How many jobs are known.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// How many connections there are, of members, hosts and owners.
    pub fn connections(&self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for guest in self.guests.values() {
            match guest.role {
                Role::Member { .. } => counts.0 += 1,
                Role::Host { .. } => counts.1 += 1,
                Role::Owner => counts.2 += 1,
            }
        }
        counts
    }

    fn check(&self, job: &JobId, secret: &[u8]) -> Result<&Job, Refusal> {
        let job = self.jobs.get(job).ok_or(Refusal::UnknownJob)?;
        if same_secret(&job.plan.secret, secret) {
            Ok(job)
        } else {
            Err(Refusal::WrongToken)
        }
    }

    /// How the job stands, for those who know its secret.
    pub fn summary(&self, job: &JobId, secret: &[u8]) -> Result<Summary, Refusal> {
        let job = self.check(job, secret)?;
        Ok(job.summary(self.clock.now()))
    }

    /// Is the job known (still)?
    pub fn knows(&self, job: &JobId) -> bool {
        self.jobs.contains_key(job)
    }

    /// All jobs, for the operator.
    pub fn overview(&self) -> impl Iterator<Item = (&Plan, Summary)> {
        let now = self.clock.now();
        let jobs = self.jobs.values();
        jobs.map(move |job| (&job.plan, job.summary(now)))
    }

    /// A new connection of this role that shows a pass.
    pub fn open(
        &mut self,
        now: Time,
        job: &JobId,
        role: Role,
        pass: &[u8],
    ) -> Result<Connection, Refusal> {
        let now = self.clock.see(now);
        let known = self.jobs.get(job).ok_or(Refusal::UnknownJob)?;
        if !same_secret(&role.pass(&known.plan.secret), pass) {
            return Err(Refusal::WrongToken);
        }
        self.last += 1;
        let connection = Connection(self.last);
        let expires = now + JOIN_SOON;
        self.agenda.add(expires, Who::Guest(connection));
        let guest = Guest {
            job: *job,
            role,
            entered: false,
            expires,
            scheduled: expires,
        };
        self.guests.insert(connection, guest);
        Ok(connection)
    }

    /// Whose connection it is.
    pub fn role(&self, connection: Connection) -> Option<Role> {
        self.guests.get(&connection).map(|guest| guest.role)
    }

    /// A frame has come.
    pub fn receive(
        &mut self,
        now: Time,
        from: Connection,
        frame: impl Into<Incoming>,
        out: &mut Vec<Effect>,
    ) {
        let now = self.clock.see(now);
        let Some(guest) = self.guests.get_mut(&from) else {
            return;
        };
        let id = guest.job;
        let Some(job) = self.jobs.get_mut(&id) else {
            self.guests.remove(&from);
            out.push(Effect::Close(from));
            return;
        };
        let start = out.len();
        let taken = match guest.entered {
            true => Registry::take(now, job, (from, guest.role), frame.into(), out),
            false => Registry::enter(job, (from, guest.role), frame.into(), out),
        };
        match taken {
            Ok(()) => {
                guest.entered = true;
                let lease = job.plan.lease;
                guest.expires = match lease {
                    0 => Time::MAX,
                    lease => now + lease,
                };
                if guest.expires < guest.scheduled {
                    guest.scheduled = guest.expires;
                    self.agenda.add(guest.expires, Who::Guest(from));
                }
            }
            Err("") => {}
            Err(why) => self.misbehaved(now, from, why, out),
        }
        self.settle(id, start, out);
    }

    /// The first frame of a connection. An empty error: it was turned away.
    fn enter(
        job: &mut Job,
        (from, role): (Connection, Role),
        frame: Incoming,
        out: &mut Vec<Effect>,
    ) -> Result<(), &'static str> {
        let entered = match (role, frame) {
            (pass, Incoming::Member(frame @ ToService::Join { rank, epoch, .. })) => {
                if pass != (Role::Member { rank, epoch }) {
                    return Err("its pass is for another rank or attempt");
                }
                job.join(from, frame, out)
            }
            (Role::Host { instance, attempt }, Incoming::Host(frame @ FromHost::Begin { .. })) => {
                job.begin(from, (instance, attempt), frame, out)
            }
            (Role::Owner, Incoming::Owner(FromOwner::Renew)) => {
                job.own(from, out);
                true
            }
            (Role::Member { .. }, _) => return Err("its first frame is no Join"),
            (Role::Host { .. }, _) => return Err("its first frame is no Begin"),
            (Role::Owner, _) => return Err("its first frame is no Renew"),
        };
        if entered {
            Ok(())
        } else {
            Err("")
        }
    }

    /// A frame from somebody who has entered.
    fn take(
        now: Time,
        job: &mut Job,
        (from, role): (Connection, Role),
        frame: Incoming,
        out: &mut Vec<Effect>,
    ) -> Result<(), &'static str> {
        match (role, frame) {
            (Role::Member { rank, .. }, Incoming::Member(frame)) => match frame {
                ToService::Join { .. } => return Err("it joins twice"),
                ToService::Renew => out.push(Effect::Send(vec![from], Outgoing::alive(role))),
                ToService::Fence { name, blob } => {
                    return job.fence(now, rank, (name, blob, false), out)
                }
                ToService::TreeFence { name, blob } => {
                    return job.fence(now, rank, (name, blob, true), out)
                }
                ToService::Abort { code, text } => job.aborted(now, rank, code, text, out),
                ToService::Finished => job.finished(now, rank, from, out),
                ToService::Note { to, blob } => job.note(now, (rank, from), to, blob, out),
            },
            (Role::Host { instance, .. }, Incoming::Host(frame)) => {
                return job.host_says(now, (instance, from), frame, out)
            }
            (Role::Owner, Incoming::Owner(frame)) => match frame {
                FromOwner::Renew => out.push(Effect::Send(vec![from], Outgoing::alive(role))),
                FromOwner::Input { rank, bytes } => job.input(rank, bytes, out),
                FromOwner::Stop { code, text } => job.end(now, OBSERVER, code, text, out),
                FromOwner::Done => job.owner_done(now, from, out),
            },
            _ => return Err("it speaks as another role"),
        }
        Ok(())
    }

    /// The connection ended, or its bytes were no frames.
    pub fn closed(&mut self, now: Time, connection: Connection, why: &str, out: &mut Vec<Effect>) {
        let now = self.clock.see(now);
        let start = out.len();
        if let Some(id) = self.depart(now, connection, why, out) {
            self.settle(id, start, out);
        }
    }

    /// Somebody has left without a word; gives its job.
    fn depart(
        &mut self,
        now: Time,
        connection: Connection,
        why: &str,
        out: &mut Vec<Effect>,
    ) -> Option<JobId> {
        let guest = self.guests.remove(&connection)?;
        let job = self.jobs.get_mut(&guest.job)?;
        if guest.entered {
            match guest.role {
                Role::Member { rank, .. } => job.lost(now, rank, why, out),
                Role::Host { instance, .. } => job.host_lost(now, (instance, connection), why, out),
                Role::Owner => job.owner_lost(now, connection),
            }
        }
        Some(guest.job)
    }

    /// The caller reads nothing from this connection for a while, for reasons of its own: its silence does not count. Its
    /// other end is told that we are here.
    pub fn excuse(&mut self, now: Time, connection: Connection, out: &mut Vec<Effect>) {
        let now = self.clock.see(now);
        let Some(guest) = self.guests.get_mut(&connection) else {
            return;
        };
        if let Some(job) = self.jobs.get(&guest.job).filter(|_| guest.entered) {
            if job.plan.lease > 0 {
                guest.expires = now + job.plan.lease;
            }
            out.push(Effect::Send(vec![connection], Outgoing::alive(guest.role)));
        }
    }

    /// Whatever is due by now: leases, join deadlines, forgetting.
    pub fn tick(&mut self, now: Time, out: &mut Vec<Effect>) {
        let now = self.clock.see(now);
        while let Some(who) = self.agenda.due(now) {
            let start = out.len();
            match who {
                Who::Job(id) => {
                    let Some(job) = self.jobs.get_mut(&id) else {
                        continue;
                    };
                    job.scheduled = Time::MAX;
                    if job.tick(now, out) {
                        self.forget(id, out);
                    } else {
                        self.settle(id, start, out);
                    }
                }
                Who::Guest(connection) => {
                    let Some(guest) = self.guests.get_mut(&connection) else {
                        continue;
                    };
                    if guest.expires > now {
                        guest.scheduled = guest.expires;
                        if guest.expires < Time::MAX {
                            self.agenda.add(guest.expires, who);
                        }
                    } else if guest.entered {
                        out.push(Effect::Close(connection));
                        if let Some(id) = self.depart(now, connection, "its lease ran out", out) {
                            self.settle(id, start, out);
                        }
                    } else {
                        let id = guest.job;
                        self.misbehaved(now, connection, "it does not join", out);
                        self.settle(id, start, out);
                    }
                }
            }
        }
    }

    /// When [`Registry::tick`] should be called next.
    pub fn next_deadline(&self) -> Option<Time> {
        self.agenda.first().map(|at| self.clock.outside(at))
    }

    fn with_job(
        &mut self,
        now: Time,
        id: &JobId,
        out: &mut Vec<Effect>,
        f: impl FnOnce(&mut Job, Time, &mut Vec<Effect>),
    ) {
        let now = self.clock.see(now);
        let start = out.len();
        if let Some(job) = self.jobs.get_mut(id) {
            f(job, now, out);
            self.settle(*id, start, out);
        }
    }

    /// Whoever runs this service, or its operator, ends the job.
    pub fn abort(&mut self, now: Time, job: &JobId, code: i32, text: &str, out: &mut Vec<Effect>) {
        self.with_job(now, job, out, |job, now, out| {
            job.end(now, OBSERVER, code, text.into(), out)
        });
    }

    /// Tells the owners of all jobs that have not ended.
    pub fn announce(&mut self, text: &str, out: &mut Vec<Effect>) {
        for job in self.jobs.values_mut().filter(|job| job.running()) {
            let (instance, text) = (OBSERVER, text.to_string());
            job.tell(Event::Log { instance, text }, out);
        }
    }

    /// Whoever runs this service knows that this rank will never join (again): those who wait for it wait in vain.
    pub fn departed(&mut self, now: Time, job: &JobId, rank: u32, out: &mut Vec<Effect>) {
        self.with_job(now, job, out, |job, now, out| job.departed(now, rank, out));
    }

    /// Whoever runs this service has something for a rank's standard input; no bytes: its end.
    pub fn input(
        &mut self,
        now: Time,
        job: &JobId,
        rank: u32,
        bytes: &[u8],
        out: &mut Vec<Effect>,
    ) {
        self.with_job(now, job, out, |job, _, out| {
            job.input(rank, bytes.to_vec(), out)
        });
    }

    fn misbehaved(
        &mut self,
        now: Time,
        connection: Connection,
        why: &'static str,
        out: &mut Vec<Effect>,
    ) {
        if let Some(role) = self.role(connection) {
            let refusal = Outgoing::refused(role, why);
            out.push(Effect::Send(vec![connection], refusal));
            out.push(Effect::Close(connection));
            self.depart(now, connection, why, out);
        }
    }

    /// After something has happened in a job: whom it closed is forgotten, whom it paused is excused, what is due is put
    /// down.
    fn settle(&mut self, id: JobId, start: usize, out: &[Effect]) {
        for effect in &out[start..] {
            match effect {
                Effect::Close(connection) => {
                    self.guests.remove(connection);
                }
                Effect::Pause(connection, time) => {
                    if let Some(guest) = self.guests.get_mut(connection) {
                        guest.expires = guest.expires.saturating_add(*time);
                    }
                }
                _ => {}
            }
        }
        self.arrange(id);
    }

    fn arrange(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            let next = job.deadline().unwrap_or(Time::MAX);
            if next < job.scheduled {
                job.scheduled = next;
                self.agenda.add(next, Who::Job(id));
            }
        }
    }

    fn forget(&mut self, id: JobId, out: &mut Vec<Effect>) {
        self.jobs.remove(&id);
        self.guests.retain(|&connection, guest| {
            if guest.job == id {
                out.push(Effect::Close(connection));
            }
            guest.job != id
        });
    }
}

#[cfg(test)]
mod tests;
