//! One job: its members and its fences.

use super::{Connection, Effect, Event, Guest, Plan, Time, FENCES_MAX, TABLE_MAX};
use crate::rendezvous::message::{
    tree_children, tree_parent, ToMember, ToService, NOTE_MAX, OBSERVER,
};
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Here,
    Finished,
    Gone,
}

pub(super) struct Member {
    pub(super) connection: Connection,
    pub(super) epoch: u32,
    pub(super) pid: u32,
    pub(super) expires: Option<Time>,
    pub(super) standing: Standing,
}

pub(super) enum State {
    Running,
    Over,
    Aborted { rank: u32, code: i32, text: String },
}

pub(super) struct Job {
    pub(super) plan: Plan,
    pub(super) state: State,
    pub(super) members: BTreeMap<u32, Member>,
    pub(super) observers: Vec<Connection>,
    pub(super) fences: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    pub(super) join_by: Option<Time>,
    pub(super) forget_at: Option<Time>,
    /// Somebody has passed a fence: the world is fixed.
    pub(super) started: bool,
}

impl Job {
    /// Lets a member in or turns it away; gives the connection of an earlier attempt that it displaces.
    pub(super) fn join(
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
            out.push(Effect::send(vec![from], ToMember::Refused { text }));
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
            out.push(Effect::send(vec![from], welcome));
            return None;
        }
        let displaced = earlier.map(|earlier| earlier.connection);
        if let Some(old) = displaced {
            let text = format!("a later attempt of rank {rank} has joined");
            out.push(Effect::send(vec![old], ToMember::Refused { text }));
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
        out.push(Effect::send(vec![from], welcome));
        displaced
    }

    /// This rank will never join.
    pub(super) fn rule_out(&mut self, rank: u32) {
        let member = Member {
            connection: Connection(0),
            epoch: u32::MAX,
            pid: 0,
            expires: None,
            standing: Standing::Here,
        };
        self.members.insert(rank, member);
    }

    pub(super) fn fence(
        &mut self,
        rank: u32,
        name: String,
        blob: Vec<u8>,
        tree: bool,
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
            self.started = true;
            if tree {
                self.branches(&name, &parts, out);
                return Ok(());
            }
            let blobs = parts.into_values().collect();
            let everybody = self.members.values().map(|m| m.connection).collect();
            out.push(Effect::send(everybody, ToMember::Table { name, blobs }));
        }
        Ok(())
    }

    fn branches(&self, name: &str, parts: &BTreeMap<u32, Vec<u8>>, out: &mut Vec<Effect>) {
        let size = self.plan.size;
        for (&rank, member) in &self.members {
            let ranks: Vec<u32> = match tree_parent(rank) {
                None => (0..size).collect(),
                Some(parent) => std::iter::once(parent)
                    .chain(tree_children(rank, size))
                    .collect(),
            };
            let blobs = ranks
                .into_iter()
                .map(|r| (r, parts.get(&r).cloned().unwrap_or_default()))
                .collect();
            let name = name.to_string();
            let branch = ToMember::Branch { name, blobs };
            out.push(Effect::send(vec![member.connection], branch));
        }
    }

    pub(super) fn note(
        &mut self,
        rank: u32,
        from: Connection,
        to: u32,
        blob: Vec<u8>,
        out: &mut Vec<Effect>,
    ) {
        let here = self
            .members
            .get(&to)
            .filter(|m| m.standing == Standing::Here);
        match here {
            Some(_) if blob.len() > NOTE_MAX => {
                let text = format!("{} bytes are more than {NOTE_MAX}", blob.len());
                out.push(Effect::send(vec![from], ToMember::Undelivered { to, text }));
            }
            Some(member) => {
                let note = ToMember::Note { from: rank, blob };
                out.push(Effect::send(vec![member.connection], note));
            }
            None => {
                let text = format!("rank {to} is not in the job");
                out.push(Effect::send(vec![from], ToMember::Undelivered { to, text }));
            }
        }
    }

    pub(super) fn finished(
        &mut self,
        now: Time,
        rank: u32,
        from: Connection,
        out: &mut Vec<Effect>,
    ) {
        out.push(Effect::send(vec![from], ToMember::Goodbye));
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
            out.push(Effect::send(self.observers.clone(), ToMember::Over));
        }
    }

    /// A member is gone. When somebody else still counts on it, the job ends.
    pub(super) fn lost(&mut self, now: Time, rank: u32, why: &str, out: &mut Vec<Effect>) {
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
            out.push(Effect::send(self.observers.clone(), ToMember::Over));
        }
    }

    pub(super) fn end(
        &mut self,
        now: Time,
        rank: u32,
        code: i32,
        text: String,
        out: &mut Vec<Effect>,
    ) {
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
        out.push(Effect::send(told, ToMember::Aborted { rank, code, text }));
    }

    /// "2 of 4 ranks joined in time; missing: 1, 3".
    pub(super) fn missing(&self) -> String {
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
