//! Whose fault it is, and what is said about it.

use super::{Rank, Status, Supervisor, Suspicion, AFTER_FAILURE, TO_BLAME, TO_DIE};
use crate::base::trace;
use crate::platform::launch::os;
use crate::rendezvous::message::{exit_status, OBSERVER};
use crate::rendezvous::registry::Event;
use std::time::Instant;

impl Supervisor<'_> {
    pub(super) fn ended(&mut self, rank: u32, status: Status) {
        let finished = self.ranks[rank as usize].finished;
        if self.verdict.is_some() || self.suspicion.is_some() {
            return;
        }
        if finished {
            if status != Status::Exited(0) {
                self.late.get_or_insert(status.code());
                if matches!(status, Status::Killed(_)) {
                    trace::line(&format!("{} after MPI_Finalize", self.fate(rank)));
                }
            }
            return;
        }
        if status == Status::Exited(0) {
            // The service may not have noticed: a child of the rank's may still hold its connection.
            self.service.departed(rank);
            return;
        }
        if self.service.sees_all() || matches!(status, Status::Killed(_)) {
            self.blame(rank, "");
        } else {
            self.suspicion = Some(Suspicion {
                rank,
                until: Instant::now() + 3 * TO_BLAME,
                abort: None,
                said: None,
                fatal: true,
                wait: true,
            });
        }
    }

    /// Something happened at the rendezvous.
    pub(super) fn job(&mut self, event: Event) {
        match event {
            Event::Joined { rank, .. } => self.ranks[rank as usize].joined = true,
            Event::Finished { rank } => self.ranks[rank as usize].finished = true,
            // No hosts run in a job of this machine.
            Event::Refused { .. }
            | Event::Over
            | Event::HostArrived { .. }
            | Event::HostLost { .. }
            | Event::HostDone { .. }
            | Event::Started { .. }
            | Event::Output { .. }
            | Event::Exited { .. }
            | Event::Usage { .. }
            | Event::Log { .. } => {}
            Event::Lost { rank, .. } => {
                if self.verdict.is_none() && self.ranks[rank as usize].joined {
                    self.suspicion.get_or_insert(Suspicion {
                        rank,
                        until: Instant::now() + TO_DIE,
                        abort: None,
                        said: None,
                        fatal: false,
                        wait: false,
                    });
                }
            }
            Event::Aborted { .. } if self.verdict.is_some() => {}
            Event::Aborted {
                rank: OBSERVER,
                text,
                ..
            } => self.fail(1, &text),
            // A rank that the rendezvous gave up (its lease ran out) says nothing itself.
            Event::Aborted { rank, text, .. }
                if !self.service.sees_all()
                    && text.starts_with(&format!("rank {rank} was lost")) =>
            {
                self.suspicion = Some(Suspicion {
                    rank,
                    until: Instant::now() + TO_DIE,
                    abort: None,
                    said: Some(text),
                    fatal: true,
                    wait: false,
                });
            }
            Event::Aborted { rank, code, .. } => match &mut self.suspicion {
                Some(suspicion) if suspicion.rank == rank && suspicion.abort.is_none() => {
                    suspicion.fatal = true
                }
                _ if self.service.sees_all() && !self.ranks[rank as usize].joined => {
                    let text = format!(
                        "{} without calling MPI_Init, where others wait for it",
                        self.fate(rank)
                    );
                    self.fail(1, &text);
                }
                _ => {
                    self.suspicion = Some(Suspicion {
                        rank,
                        until: Instant::now() + TO_BLAME,
                        abort: Some(code),
                        said: None,
                        fatal: true,
                        wait: false,
                    });
                }
            },
        }
    }

    /// Turns a suspicion into a verdict as soon as that can be done.
    pub(super) fn settle(&mut self) {
        let Some(suspicion) = &self.suspicion else {
            return;
        };
        if self.verdict.is_some() {
            self.suspicion = None;
            return;
        }
        let rank = suspicion.rank;
        let overdue = suspicion.until <= Instant::now();
        let status = self.ranks[rank as usize].status;
        // Whoever was killed by a signal is a better explanation than whoever noticed.
        let killed = |r: &Rank| !r.finished && matches!(r.status, Some(Status::Killed(_)));
        if let Some(victim) = self.ranks.iter().position(killed) {
            return self.blame(victim as u32, "");
        }
        match (&suspicion.abort, status) {
            (Some(_), None) if !overdue => {}
            // The rank itself says why, on its standard error.
            (Some(code), _) => {
                let text = format!("{} aborted the job with code {code}", self.name(rank));
                self.decide(exit_status(*code), Some(&text), true);
            }
            (None, None) if !overdue => {}
            (None, Some(_)) if suspicion.wait && !overdue => {}
            (None, None) => {
                let text = suspicion.said.clone().unwrap_or_else(|| {
                    let name = self.name(rank);
                    format!("{name} has closed its connection to the others")
                });
                self.fail(1, &text);
            }
            (None, Some(Status::Exited(0))) => {
                let fatal = suspicion.fatal;
                self.suspicion = None;
                let waits = |r: &Rank| r.status.is_none() && !r.finished;
                if fatal || self.ranks.iter().any(waits) {
                    self.blame(rank, " without calling MPI_Finalize");
                }
            }
            (None, Some(_)) => self.blame(rank, ""),
        }
    }

    /// This rank's end is the job's end.
    fn blame(&mut self, rank: u32, how: &str) {
        let status = self.ranks[rank as usize].status;
        let code = match status.map_or(1, Status::code) {
            0 => 1,
            code => code,
        };
        let quiet = self.ranks.len() == 1 && matches!(status, Some(Status::Exited(c)) if c != 0);
        let text = format!("{}{how}", self.fate(rank));
        self.decide(code, if quiet { None } else { Some(&text) }, true);
    }

    pub(super) fn fail(&mut self, code: i32, text: &str) {
        self.decide(code, Some(text), false);
    }

    pub(super) fn decide(&mut self, code: i32, text: Option<&str>, others: bool) {
        if self.verdict.is_some() {
            return;
        }
        self.verdict = Some(code);
        self.suspicion = None;
        if let Some(text) = text {
            let tail = if others && self.running > 0 {
                "; ending the other ranks"
            } else {
                ""
            };
            trace::line(&format!("{text}{tail}"));
        }
        if self.running > 0 {
            self.service
                .abort(code, text.unwrap_or("the job has ended"));
            self.end(AFTER_FAILURE);
        }
    }

    /// `rank 3 (pid 1234)`.
    fn name(&self, rank: u32) -> String {
        format!("rank {rank} (pid {})", self.ranks[rank as usize].pid)
    }

    /// `rank 3 (pid 1234) was killed by signal 9 (SIGKILL)`.
    fn fate(&self, rank: u32) -> String {
        let name = self.name(rank);
        match self.ranks[rank as usize].status {
            None => format!("{name} ended"),
            Some(Status::Exited(0)) => format!("{name} ended"),
            Some(Status::Exited(code)) => format!("{name} exited with code {code}"),
            Some(Status::Killed(signal)) => {
                format!(
                    "{name} was killed by signal {signal} ({})",
                    os::signal_name(signal)
                )
            }
        }
    }
}
