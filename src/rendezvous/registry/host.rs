//! Instances: their hosts, and the processes that run there.

use super::job::{ranges, Job, Standing, State};
use super::{Connection, Effect, Event, Time};
use crate::rendezvous::message::{secrets, Errand, FromHost, Role, ToHost, ToMember, OBSERVER};
use std::ops::Range;

/// An instance whose host has begun.
pub(super) struct Instance {
    /// `None`: it has left, or is lost.
    pub(super) connection: Option<Connection>,
    attempt: u32,
    host: String,
    platform: String,
    /// By rank, from its first one.
    processes: Vec<Process>,
}

#[derive(Clone, Copy, Default)]
struct Process {
    started: Option<Time>,
    exited: bool,
}

impl Job {
    /// The ranks of an instance.
    fn ranks(&self, instance: u32) -> Range<u32> {
        let per = u64::from(self.plan.per_instance);
        let size = u64::from(self.plan.size);
        let first = (u64::from(instance) * per).min(size);
        first as u32..(first + per).min(size) as u32
    }

    fn instance_of(&self, rank: u32) -> Option<(u32, &Instance)> {
        let number = rank / self.plan.per_instance;
        let instance = self.instances.get(number as usize)?.as_ref()?;
        Some((number, instance))
    }

    fn process(&mut self, instance: u32, rank: u32) -> Result<&mut Process, &'static str> {
        let ranks = self.ranks(instance);
        if !ranks.contains(&rank) {
            return Err("it speaks of a rank that it does not run");
        }
        match self.instances.get_mut(instance as usize) {
            Some(Some(instance)) => Ok(&mut instance.processes[(rank - ranks.start) as usize]),
            _ => Err("it has not begun"),
        }
    }

    /// The connections of all hosts.
    pub(super) fn hosts(&self) -> Vec<Connection> {
        let begun = self.instances.iter().flatten();
        begun.filter_map(|instance| instance.connection).collect()
    }

    /// Does a host here run this attempt of this rank?
    pub(super) fn runs(&self, rank: u32, epoch: u32) -> bool {
        self.instance_of(rank)
            .is_some_and(|(_, instance)| instance.attempt == epoch && instance.connection.is_some())
    }

    /// Can the rank's host still say what became of its process?
    pub(super) fn may_report(&self, rank: u32) -> bool {
        self.instance_of(rank).is_some_and(|(number, instance)| {
            let process = rank - self.ranks(number).start;
            instance.connection.is_some() && !instance.processes[process as usize].exited
        })
    }

    /// " (instance 3 on ip-10-0-0-7, lambda)"; nothing in a job without hosts.
    pub(super) fn where_it_ran(&self, rank: u32) -> String {
        match self.instance_of(rank) {
            Some((number, at)) => format!(" (instance {number} on {}, {})", at.host, at.platform),
            None => String::new(),
        }
    }

    /// Lets a host begin or turns it away; true: it has begun.
    pub(super) fn begin(
        &mut self,
        from: Connection,
        (number, attempt): (u32, u32),
        frame: FromHost,
        out: &mut Vec<Effect>,
    ) -> bool {
        let FromHost::Begin { host, platform, .. } = frame else {
            return false;
        };
        if let Some(text) = self.no_beginning(number, attempt) {
            let why = format!("attempt {attempt} of instance {number} on {host}: {text}");
            let role = Role::Host {
                instance: number,
                attempt,
            };
            self.turn_away(from, role, text, why, out);
            return false;
        }
        self.displace(number, out);
        let ranks = self.ranks(number);
        let lease = self.plan.lease as u32;
        let errand = self.errand(ranks.clone(), attempt);
        let new = Instance {
            connection: Some(from),
            attempt,
            host: host.clone(),
            platform: platform.clone(),
            processes: vec![Process::default(); ranks.len()],
        };
        if self.instances[number as usize].replace(new).is_none() {
            self.arrived += 1;
        }
        if self.arrived as usize == self.instances.len() {
            self.join_by = None;
        }
        let arrived = Event::HostArrived {
            instance: number,
            attempt,
            host,
            platform,
        };
        self.tell(arrived, out);
        out.push(Effect::send(vec![from], ToHost::Welcome { lease, errand }));
        true
    }

    fn errand(&self, ranks: Range<u32>, attempt: u32) -> Errand {
        let plan = &self.plan;
        let pass = |rank| secrets::member_pass(&plan.secret, rank, attempt);
        Errand {
            first_rank: ranks.start,
            ranks: ranks.len() as u32,
            size: plan.size,
            per_instance: plan.per_instance,
            epoch: attempt,
            mesh: secrets::mesh(&plan.secret),
            passes: ranks.map(pass).collect(),
            relays: plan.relays.clone(),
            relay_expiry: plan.relay_expiry,
            relay_grant: plan.relay_grant,
            task: plan.task.clone().unwrap_or_default(),
        }
    }

    /// Why this attempt of this instance may not begin.
    fn no_beginning(&self, number: u32, attempt: u32) -> Option<String> {
        match &self.state {
            State::Over => return Some("the job is over".into()),
            State::Aborted { text, .. } => return Some(format!("the job has been ended: {text}")),
            State::Running => {}
        }
        if !self.hosted() {
            return Some("this job has no task for hosts".into());
        }
        let Some(slot) = self.instances.get(number as usize) else {
            let count = self.instances.len();
            return Some(format!("instance {number} is not in 0..{count}"));
        };
        let earlier = slot.as_ref()?;
        let (was, host) = (earlier.attempt, &earlier.host);
        if attempt <= was {
            return Some(format!(
                "instance {number} has already begun (attempt {was} on {host})"
            ));
        }
        if self.begun.is_some() {
            return Some(format!(
                "the job has begun; instance {number} cannot begin anew"
            ));
        }
        if earlier.connection.is_none() || earlier.processes.iter().any(|p| p.exited) {
            return Some(format!(
                "instance {number} has already run (attempt {was} on {host})"
            ));
        }
        None
    }

    /// An earlier attempt of this instance, and its ranks, have to go.
    fn displace(&mut self, number: u32, out: &mut Vec<Effect>) {
        let earlier = self.instances[number as usize].as_mut();
        let Some(host) = earlier.and_then(|earlier| earlier.connection.take()) else {
            return;
        };
        let text = format!("a later attempt of instance {number} has begun");
        for rank in self.ranks(number) {
            if self.suspect.as_ref().is_some_and(|s| s.rank == rank) {
                self.suspect = None;
            }
            if let Some(member) = self.remove(rank) {
                let text = text.clone();
                out.push(Effect::send(vec![member], ToMember::Refused { text }));
                out.push(Effect::Close(member));
            }
        }
        out.push(Effect::send(vec![host], ToHost::Refused { text }));
        out.push(Effect::Close(host));
    }

    /// What a host says once it has begun.
    pub(super) fn host_says(
        &mut self,
        now: Time,
        (number, from): (u32, Connection),
        frame: FromHost,
        out: &mut Vec<Effect>,
    ) -> Result<(), &'static str> {
        match frame {
            FromHost::Begin { .. } => return Err("it begins twice"),
            FromHost::Renew => out.push(Effect::send(vec![from], ToHost::Alive)),
            FromHost::Started { rank, pid } => {
                self.process(number, rank)?.started = Some(now);
                self.tell(Event::Started { rank, pid }, out);
            }
            FromHost::Output {
                rank,
                stream,
                bytes,
            } => {
                self.process(number, rank)?;
                let output = Event::Output {
                    rank,
                    stream,
                    bytes,
                };
                self.tell(output, out);
            }
            FromHost::Exited { rank, code, signal } => {
                let process = self.process(number, rank)?;
                if std::mem::replace(&mut process.exited, true) {
                    return Err("a process of its ends twice");
                }
                self.ended += 1;
                self.tell(Event::Exited { rank, code, signal }, out);
                self.exited(now, rank, code, signal, out);
                self.try_over(now, out);
            }
            FromHost::Usage {
                init_ms,
                run_ms,
                memory_mib,
            } => {
                let usage = Event::Usage {
                    instance: number,
                    init_ms,
                    run_ms,
                    memory_mib,
                };
                self.tell(usage, out);
            }
            FromHost::Log { text } => {
                let instance = number;
                self.tell(Event::Log { instance, text }, out);
            }
            FromHost::Done => {
                if self.running() && !self.all_exited(number) {
                    return Err("it leaves before its ranks have ended");
                }
                if let Some(Some(instance)) = self.instances.get_mut(number as usize) {
                    instance.connection = None;
                }
                self.tell(Event::HostDone { instance: number }, out);
                out.push(Effect::send(vec![from], ToHost::Goodbye));
                out.push(Effect::Close(from));
            }
        }
        Ok(())
    }

    fn all_exited(&self, number: u32) -> bool {
        match self.instances.get(number as usize) {
            Some(Some(instance)) => instance.processes.iter().all(|p| p.exited),
            _ => false,
        }
    }

    /// What the end of a rank's process means for the others.
    fn exited(&mut self, now: Time, rank: u32, code: i32, signal: i32, out: &mut Vec<Effect>) {
        if !self.running() || self.standing(rank) == Some(Standing::Finished) {
            return;
        }
        let suspect = self.suspect.as_ref().map(|s| s.rank);
        if suspect == Some(rank) {
            self.suspect = None;
        }
        let place = self.where_it_ran(rank);
        if signal != 0 {
            let name = signal_name(signal);
            let text = format!("rank {rank} was killed by {name}{place}");
            self.end(now, rank, 128 + signal, text, out);
        } else if code == 0 && self.standing(rank) == Some(Standing::Here) {
            // Its farewell may be on another way here.
            self.suspect(now, rank, "its process ended");
        } else if code == 0 {
            self.departed(now, rank, out);
        } else if suspect.is_none_or(|suspect| suspect == rank) {
            let text = format!("rank {rank} exited with code {code}{place}");
            self.end(now, rank, code, text, out);
        }
        // Otherwise somebody else was lost before: that will be the reason.
    }

    /// A host's connection is gone.
    pub(super) fn host_lost(
        &mut self,
        now: Time,
        (number, from): (u32, Connection),
        why: &str,
        out: &mut Vec<Effect>,
    ) {
        let doing = self.doing(now, number);
        let ranks: Vec<u32> = self.ranks(number).collect();
        let done = self.all_exited(number);
        let Some(Some(instance)) = self.instances.get_mut(number as usize) else {
            return;
        };
        if instance.connection != Some(from) {
            return;
        }
        instance.connection = None;
        let (host, platform) = (&instance.host, &instance.platform);
        let s = if ranks.len() == 1 { "" } else { "s" };
        let text = format!(
            "instance {number} ({host}, {platform}; rank{s} {}) was lost: {why}; {doing}",
            ranges(&ranks)
        );
        let instance = number;
        let why = why.to_string();
        self.tell(Event::HostLost { instance, why }, out);
        if !done {
            self.end(now, OBSERVER, 1, text, out);
        }
    }

    /// Hosts that do not end.
    pub(super) fn drop_hosts(&mut self, out: &mut Vec<Effect>) {
        for number in 0..self.instances.len() {
            let Some(instance) = &mut self.instances[number] else {
                continue;
            };
            if let Some(connection) = instance.connection.take() {
                let why = "it did not end its ranks in time".to_string();
                let instance = number as u32;
                self.tell(Event::HostLost { instance, why }, out);
                out.push(Effect::Close(connection));
            }
        }
    }

    /// What an instance was doing, for people.
    fn doing(&self, now: Time, number: u32) -> String {
        let Some(Some(instance)) = self.instances.get(number as usize) else {
            return String::new();
        };
        let ranks = || self.ranks(number);
        let Some(started) = instance.processes.iter().filter_map(|p| p.started).max() else {
            return "it was starting its ranks".into();
        };
        if self.all_exited(number) {
            return "its ranks had ended".into();
        }
        if ranks().any(|rank| self.standing(rank) == Some(Standing::Finished)) {
            return "its ranks were ending (after MPI_Finalize)".into();
        }
        if self.begun.is_none() && ranks().any(|rank| self.standing(rank).is_some()) {
            return "its ranks were waiting for the others (in MPI_Init)".into();
        }
        let seconds = (now - started) as f64 / 1000.0;
        format!("its ranks had been running for {seconds:.1} s")
    }

    /// For a rank's standard input.
    pub(super) fn input(&mut self, rank: u32, bytes: Vec<u8>, out: &mut Vec<Effect>) {
        let host = self.instance_of(rank).and_then(|(_, at)| at.connection);
        if let Some(host) = host {
            out.push(Effect::send(vec![host], ToHost::Input { rank, bytes }));
        }
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}
