//! Ranks that have joined.

use super::job::{Job, Standing, State, Suspect};
use super::{Connection, Effect, Event, Outgoing, Time};
use crate::rendezvous::message::{Role, ToMember, ToService, NOTE_MAX};

/// What one note takes of its sender's time, microseconds: two thousand a second in the long run.
const NOTE_COST: u64 = 500;
/// How far a sender may be ahead of that, microseconds: four thousand notes at once.
const NOTE_CREDIT: u64 = 2_000_000;
/// How long a host may take to say what became of a rank whose connection has ended.
const TO_REPORT: Time = 1_500;

pub(super) struct Member {
    pub(super) connection: Connection,
    pub(super) epoch: u32,
    pub(super) pid: u32,
    pub(super) standing: Standing,
    /// Until when its notes have used up its time, microseconds.
    notes: u64,
}

impl Job {
    /// Lets a member in or turns it away; true: it is in.
    pub(super) fn join(
        &mut self,
        from: Connection,
        frame: ToService,
        out: &mut Vec<Effect>,
    ) -> bool {
        let ToService::Join {
            rank,
            size,
            epoch,
            pid,
            host,
        } = frame
        else {
            return false;
        };
        if let Some(text) = self.refusal(rank, size, epoch) {
            let why = format!("process {pid} on {host}, as rank {rank}: {text}");
            self.turn_away(from, Role::Member { rank, epoch }, text, why, out);
            return false;
        }
        if let Some(earlier) = self.remove(rank) {
            let text = format!("a later attempt of rank {rank} has joined");
            out.push(Effect::send(vec![earlier], ToMember::Refused { text }));
            out.push(Effect::Close(earlier));
        }
        self.members[rank as usize] = Some(Member {
            connection: from,
            epoch,
            pid,
            standing: Standing::Here,
            notes: 0,
        });
        self.standings[Standing::Here as usize] += 1;
        if !self.hosted() && self.joined() == self.plan.size {
            self.join_by = None;
        }
        self.tell(Event::Joined { rank, pid, host }, out);
        let lease = self.plan.lease as u32;
        out.push(Effect::send(vec![from], ToMember::Welcome { lease }));
        true
    }

    pub(super) fn turn_away(
        &mut self,
        from: Connection,
        role: Role,
        text: String,
        why: String,
        out: &mut Vec<Effect>,
    ) {
        self.tell(Event::Refused { why }, out);
        out.push(Effect::Send(vec![from], Outgoing::refused(role, text)));
        out.push(Effect::Close(from));
    }

    fn refusal(&self, rank: u32, size: u32, epoch: u32) -> Option<String> {
        match &self.state {
            State::Over => return Some("the job is over".into()),
            State::Aborted { text, .. } => return Some(format!("the job has been ended: {text}")),
            State::Running => {}
        }
        let right = self.plan.size;
        if size != right {
            return Some(format!("the job has {right} ranks, not {size}"));
        }
        if rank >= size {
            return Some(format!("rank {rank} is not in 0..{size}"));
        }
        let earlier = self.members[rank as usize].as_ref();
        if let Some(earlier) = earlier {
            if earlier.standing == Standing::Finished {
                return Some(format!("rank {rank} has already joined and finished"));
            }
            if epoch <= earlier.epoch {
                let pid = earlier.pid;
                return Some(format!("rank {rank} has already joined (process {pid})"));
            }
            if self.begun.is_some() {
                return Some(format!("the job has begun; rank {rank} cannot join anew"));
            }
        }
        if self.hosted() && !self.runs(rank, epoch) {
            return Some(format!("no host runs attempt {epoch} of rank {rank}"));
        }
        let own = u32::from(earlier.is_some_and(|m| m.standing == Standing::Gone));
        if self.count(Standing::Gone) > own {
            let is = |standing| standing == Some(Standing::Gone);
            let gone = (0..size).find(|&r| r != rank && is(self.standing(r)));
            let gone = gone.unwrap_or_default();
            return Some(format!(
                "rank {gone} has ended, so that the job cannot be complete"
            ));
        }
        None
    }

    /// As if this rank had never joined. Gives the connection that it had.
    pub(super) fn remove(&mut self, rank: u32) -> Option<Connection> {
        let member = self.members[rank as usize].take()?;
        self.standings[member.standing as usize] -= 1;
        for fence in self.fences.values_mut() {
            fence.withdraw(rank);
        }
        (member.standing == Standing::Here).then_some(member.connection)
    }

    fn stand(&mut self, rank: u32, standing: Standing) {
        if let Some(Some(member)) = self.members.get_mut(rank as usize) {
            self.standings[member.standing as usize] -= 1;
            member.standing = standing;
            self.standings[standing as usize] += 1;
        }
    }

    /// This rank will never join.
    fn rule_out(&mut self, rank: u32) {
        self.members[rank as usize] = Some(Member {
            connection: Connection(0),
            epoch: u32::MAX,
            pid: 0,
            standing: Standing::Gone,
            notes: 0,
        });
        self.standings[Standing::Gone as usize] += 1;
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
        if self.standing(rank) != Some(Standing::Here) {
            return;
        }
        self.stand(rank, Standing::Finished);
        if self.suspect.as_ref().is_some_and(|s| s.rank == rank) {
            self.suspect = None;
        }
        if !self.running() {
            return;
        }
        self.tell(Event::Finished { rank }, out);
        if let Some((name, _)) = self.fences.iter().find(|(_, fence)| !fence.has(rank)) {
            let text = format!(
                "rank {rank} has left the job, but others wait for it to exchange {name:?}"
            );
            return self.end(now, rank, 1, text, out);
        }
        self.try_over(now, out);
    }

    /// A member's connection is gone. When somebody else still counts on it, the job ends.
    pub(super) fn lost(&mut self, now: Time, rank: u32, why: &str, out: &mut Vec<Effect>) {
        if self.standing(rank) != Some(Standing::Here) {
            return;
        }
        self.stand(rank, Standing::Gone);
        if !self.running() {
            return;
        }
        let lost = Event::Lost {
            rank,
            why: why.into(),
        };
        self.tell(lost, out);
        if self.may_report(rank) {
            return self.suspect(now, rank, why);
        }
        let text = format!("rank {rank} was lost: {why}");
        self.bereave(now, rank, text, out);
    }

    /// Those who are here, if any, have lost this rank.
    pub(super) fn bereave(&mut self, now: Time, rank: u32, text: String, out: &mut Vec<Effect>) {
        if self.count(Standing::Here) > 0 {
            self.end(now, rank, 1, text, out);
        } else {
            self.try_over(now, out);
        }
    }

    /// Something is wrong with this rank; more will be known soon.
    pub(super) fn suspect(&mut self, now: Time, rank: u32, why: &str) {
        let until = now + TO_REPORT;
        let why = why.into();
        self.suspect.get_or_insert(Suspect { rank, why, until });
    }

    /// Nobody has said more about the suspect.
    pub(super) fn condemn(&mut self, now: Time, out: &mut Vec<Effect>) {
        if let Some(Suspect { rank, why, .. }) = self.suspect.take() {
            if self.standing(rank) == Some(Standing::Here) {
                self.stand(rank, Standing::Gone);
                let why = why.clone();
                self.tell(Event::Lost { rank, why }, out);
            }
            let text = format!("rank {rank} was lost: {why}{}", self.where_it_ran(rank));
            self.bereave(now, rank, text, out);
        }
    }

    /// This rank's process ended, as if all were well, but it has not said that it needs no one any more.
    pub(super) fn departed(&mut self, now: Time, rank: u32, out: &mut Vec<Effect>) {
        let place = self.where_it_ran(rank);
        match self.standing(rank) {
            Some(Standing::Finished) => {}
            Some(Standing::Here) => {
                self.stand(rank, Standing::Gone);
                if self.running() {
                    let why = "its process ended".to_string();
                    self.tell(Event::Lost { rank, why }, out);
                    let text = format!("rank {rank} was lost: its process ended{place}");
                    self.bereave(now, rank, text, out);
                }
            }
            Some(Standing::Gone) => {
                let text =
                    format!("rank {rank} was lost: its process ended without a farewell{place}");
                self.bereave(now, rank, text, out);
            }
            None if rank < self.plan.size && self.running() => {
                self.rule_out(rank);
                // With a host's word for it, that is an end like any other, unless somebody is waiting.
                if !self.hosted() || self.count(Standing::Here) > 0 {
                    let why = "it ended without joining".to_string();
                    self.tell(Event::Lost { rank, why }, out);
                }
                let text = format!("rank {rank} was lost: it ended without joining{place}");
                self.bereave(now, rank, text, out);
            }
            None => {}
        }
    }

    /// A member wants the job to end.
    pub(super) fn aborted(
        &mut self,
        now: Time,
        rank: u32,
        code: i32,
        text: String,
        out: &mut Vec<Effect>,
    ) {
        // Whoever was lost before is a better reason than whoever noticed; its host is about to tell more.
        if self.suspect.as_ref().is_none_or(|s| s.rank == rank) {
            self.end(now, rank, code, text, out);
        }
    }

    /// Passes a note on.
    pub(super) fn note(
        &mut self,
        now: Time,
        (rank, from): (u32, Connection),
        to: u32,
        blob: Vec<u8>,
        out: &mut Vec<Effect>,
    ) {
        if let Some(Some(sender)) = self.members.get_mut(rank as usize) {
            sender.notes = sender.notes.max(now * 1000) + NOTE_COST;
            let ahead = sender.notes.saturating_sub(now * 1000 + NOTE_CREDIT);
            if ahead > 0 {
                out.push(Effect::Pause(from, ahead.div_ceil(1000)));
            }
        }
        let trouble = match self.standing(to) {
            _ if blob.len() > NOTE_MAX => format!("{} bytes are more than {NOTE_MAX}", blob.len()),
            Some(Standing::Here) => {
                if let Some(Some(member)) = self.members.get(to as usize) {
                    let note = ToMember::Note { from: rank, blob };
                    out.push(Effect::send(vec![member.connection], note));
                }
                return;
            }
            Some(_) => format!("rank {to} has left the job"),
            None => format!("rank {to} has not joined"),
        };
        let text = trouble;
        out.push(Effect::send(vec![from], ToMember::Undelivered { to, text }));
    }
}
