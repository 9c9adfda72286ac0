//! Who failed first, and what is said of it: events in, a verdict out. Pure; time is an argument.

use crate::platform::launch::os::signal_name;
use crate::rendezvous::message::{exit_status, Event, OBSERVER};
use std::time::{Duration, Instant};

/// How long a rank that ended the job may take to tell how it died.
const TO_DIE: Duration = Duration::from_millis(600);

/// How the job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Our exit status.
    pub status: i32,
    /// What is said, if anything.
    pub text: Option<String>,
    /// The service has ended the job already.
    pub told: bool,
}

#[derive(Clone, Default)]
struct Rank {
    pid: u32,
    exit: Option<(i32, i32)>,
}

#[derive(Clone, Default)]
struct Instance {
    host: String,
    platform: String,
    arrived: bool,
    done: bool,
}

struct Suspect {
    rank: u32,
    status: i32,
    text: String,
    until: Instant,
    /// The service has said so; otherwise we only saw a rank end badly, and its word is still to come.
    told: bool,
}

/// What is known of the job.
pub struct Standing {
    ranks: Vec<Rank>,
    instances: Vec<Instance>,
    per_instance: u32,
    arrived: u32,
    exited: u32,
    suspect: Option<Suspect>,
    verdict: Option<Verdict>,
}

impl Standing {
    pub fn new(ranks: u32, per_instance: u32) -> Standing {
        let instances = ranks.div_ceil(per_instance);
        Standing {
            ranks: vec![Rank::default(); ranks as usize],
            instances: vec![Instance::default(); instances as usize],
            per_instance,
            arrived: 0,
            exited: 0,
            suspect: None,
            verdict: None,
        }
    }

    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// How many instances have begun.
    pub fn arrived(&self) -> u32 {
        self.arrived
    }

    /// Every rank's process has ended.
    pub fn all_exited(&self) -> bool {
        self.exited as usize == self.ranks.len()
    }

    /// Every instance that has begun has said its last.
    pub fn all_done(&self) -> bool {
        self.instances.iter().all(|i| !i.arrived || i.done)
    }

    /// The first rank of an instance, and one more than its last.
    pub fn ranks_of(&self, instance: u32) -> (u32, u32) {
        let first = instance.saturating_mul(self.per_instance);
        let end = first.saturating_add(self.per_instance);
        (first, end.min(self.ranks.len() as u32))
    }

    /// Which instances have not begun, shortened: `3, 7-9`.
    pub fn missing(&self) -> String {
        let missing = self.instances.iter().enumerate();
        let missing: Vec<u32> = missing
            .filter(|(_, i)| !i.arrived)
            .map(|(k, _)| k as u32)
            .collect();
        ranges(&missing)
    }

    /// Something else than the job itself decides: the first one counts.
    pub fn decide(&mut self, status: i32, text: Option<String>) {
        self.suspect = None;
        self.verdict.get_or_insert(Verdict {
            status,
            text,
            told: false,
        });
    }

    /// Something happened in the job.
    pub fn take(&mut self, event: &Event, now: Instant) {
        match event {
            Event::HostArrived {
                instance,
                host,
                platform,
                ..
            } => {
                if let Some(entry) = self.instances.get_mut(*instance as usize) {
                    self.arrived += u32::from(!entry.arrived);
                    entry.arrived = true;
                    entry.host = host.clone();
                    entry.platform = platform.clone();
                }
            }
            Event::HostLost { instance, .. } | Event::HostDone { instance } => {
                if let Some(entry) = self.instances.get_mut(*instance as usize) {
                    entry.done = true;
                }
            }
            Event::Started { rank, pid } => {
                if let Some(entry) = self.ranks.get_mut(*rank as usize) {
                    entry.pid = *pid;
                }
            }
            Event::Exited { rank, code, signal } => {
                if let Some(entry) = self.ranks.get_mut(*rank as usize) {
                    self.exited += u32::from(entry.exit.is_none());
                    entry.exit.get_or_insert((*code, *signal));
                }
                if (*code, *signal) != (0, 0) && self.verdict.is_none() && self.suspect.is_none() {
                    let (status, how) = match *signal {
                        0 => (exit_status(*code), format!("exited with code {code}")),
                        n => (
                            128 + n,
                            format!("was killed by signal {n} ({})", signal_name(n)),
                        ),
                    };
                    self.suspect = Some(Suspect {
                        rank: *rank,
                        status,
                        text: format!("{} {how}", self.name(*rank)),
                        until: now + TO_DIE,
                        told: false,
                    });
                    return;
                }
            }
            Event::Aborted { rank, code, text } => self.aborted(*rank, *code, text, now),
            _ => {}
        }
        self.settle(now);
    }

    /// The service has ended the job.
    fn aborted(&mut self, rank: u32, code: i32, text: &str, now: Instant) {
        if self.verdict.is_some() || self.suspect.as_ref().is_some_and(|s| s.told) {
            return;
        }
        // What the service itself decided needs no confirmation.
        let wait = if rank == OBSERVER {
            Duration::ZERO
        } else {
            TO_DIE
        };
        self.suspect = Some(Suspect {
            rank,
            status: exit_status(code),
            text: text.to_string(),
            until: now + wait,
            told: true,
        });
    }

    /// When [`Standing::settle`] next has something to do.
    pub fn next(&self) -> Option<Instant> {
        self.suspect.as_ref().map(|s| s.until)
    }

    /// Turns a suspicion into a verdict as soon as that can be done.
    pub fn settle(&mut self, now: Instant) {
        let Some(suspect) = &self.suspect else {
            return;
        };
        let exit = self
            .ranks
            .get(suspect.rank as usize)
            .and_then(|rank| rank.exit);
        let verdict = match exit {
            // It was killed: that explains more than that its connection broke.
            Some((_, signal)) if suspect.told && signal != 0 && signal != libc::SIGTERM => {
                Verdict {
                    status: 128 + signal,
                    text: Some(format!(
                        "{} was killed by signal {signal} ({})",
                        self.name(suspect.rank),
                        signal_name(signal)
                    )),
                    told: suspect.told,
                }
            }
            None if now < suspect.until => return,
            Some(_) if !suspect.told && now < suspect.until => return,
            _ => Verdict {
                status: suspect.status,
                text: Some(suspect.text.clone()),
                told: suspect.told,
            },
        };
        self.suspect = None;
        self.verdict.get_or_insert(verdict);
    }

    /// `rank 3 (pid 12 on host-a)`.
    fn name(&self, rank: u32) -> String {
        let pid = self.ranks.get(rank as usize).map_or(0, |r| r.pid);
        let instance = rank / self.per_instance;
        match self.instances.get(instance as usize) {
            Some(entry) if !entry.host.is_empty() => {
                format!("rank {rank} (pid {pid} on {})", entry.host)
            }
            _ => format!("rank {rank} (pid {pid})"),
        }
    }
}

/// `0, 3, 7-9`, cut after some.
pub fn ranges(numbers: &[u32]) -> String {
    const MOST: usize = 12;
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let shown: Vec<String> = runs
        .iter()
        .take(MOST)
        .map(|(first, last)| match last - first {
            0 => first.to_string(),
            _ => format!("{first}-{last}"),
        })
        .collect();
    let more = if runs.len() > MOST { ", ..." } else { "" };
    shown.join(", ") + more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(instance: u32) -> Event {
        Event::HostArrived {
            instance,
            attempt: 0,
            host: format!("h{instance}"),
            platform: "test".into(),
        }
    }

    fn aborted(rank: u32, code: i32) -> Event {
        Event::Aborted {
            rank,
            code,
            text: format!("rank {rank} was lost"),
        }
    }

    #[test]
    fn a_rank_that_was_killed_is_named_with_its_signal() {
        let now = Instant::now();
        let mut job = Standing::new(4, 2);
        job.take(&arrived(1), now);
        job.take(&Event::Started { rank: 3, pid: 12 }, now);
        job.take(&aborted(3, 1), now);
        assert_eq!(job.verdict(), None);
        let exit = Event::Exited {
            rank: 3,
            code: 0,
            signal: 9,
        };
        job.take(&exit, now);
        let verdict = job.verdict().unwrap();
        assert_eq!(verdict.status, 137);
        assert_eq!(
            verdict.text.as_deref(),
            Some("rank 3 (pid 12 on h1) was killed by signal 9 (SIGKILL)")
        );
        // What comes later changes nothing.
        job.take(&aborted(0, 5), now);
        job.decide(124, None);
        assert_eq!(job.verdict().unwrap().status, 137);
    }

    #[test]
    fn the_services_word_counts_when_nothing_explains_more() {
        let now = Instant::now();
        let mut job = Standing::new(2, 1);
        job.take(&aborted(1, 0x107), now);
        assert_eq!(job.next(), Some(now + TO_DIE));
        job.settle(now + TO_DIE);
        let expected = Verdict {
            status: 7,
            text: Some("rank 1 was lost".into()),
            told: true,
        };
        assert_eq!(job.verdict(), Some(&expected));
        let mut job = Standing::new(2, 1);
        job.take(&aborted(OBSERVER, 3), now);
        assert_eq!(job.verdict().unwrap().status, 3);
        // A rank that ended badly, of which the service says nothing.
        let mut job = Standing::new(1, 1);
        job.take(
            &Event::Exited {
                rank: 0,
                code: 3,
                signal: 0,
            },
            now,
        );
        assert!(job.all_exited() && job.verdict().is_none());
        job.settle(now + TO_DIE);
        let verdict = job.verdict().unwrap();
        assert_eq!((verdict.status, verdict.told), (3, false));
        assert_eq!(
            verdict.text.as_deref(),
            Some("rank 0 (pid 0) exited with code 3")
        );
        // Ended by our own SIGTERM: no cause.
        let mut job = Standing::new(2, 1);
        job.take(
            &Event::Exited {
                rank: 0,
                code: 0,
                signal: 15,
            },
            now,
        );
        job.take(&aborted(0, 2), now);
        assert_eq!(job.verdict().unwrap().status, 2);
    }

    #[test]
    fn arrivals_and_ends_are_counted_once() {
        let now = Instant::now();
        let mut job = Standing::new(5, 2);
        assert_eq!((job.missing().as_str(), job.ranks_of(2)), ("0-2", (4, 5)));
        for instance in [0, 0, 2, 77] {
            job.take(&arrived(instance), now);
        }
        assert_eq!((job.arrived(), job.missing().as_str()), (2, "1"));
        assert!(!job.all_done());
        for instance in [0, 2] {
            job.take(&Event::HostDone { instance }, now);
        }
        assert!(job.all_done() && !job.all_exited());
        for rank in [0, 0, 1, 2, 3, 4] {
            job.take(
                &Event::Exited {
                    rank,
                    code: 0,
                    signal: 0,
                },
                now,
            );
        }
        assert!(job.all_exited());
        assert_eq!(ranges(&[]), "");
        let many: Vec<u32> = (0..50).map(|n| n * 2).collect();
        assert!(ranges(&many).ends_with("22, ..."));
    }
}
