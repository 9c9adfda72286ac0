//! Who failed first, and what is said of it: events in, a verdict out. Pure; time is an argument.

use crate::base::span;
use crate::platform::launch::os::signal_name;
use crate::rendezvous::message::{exit_status, Event};
use std::time::{Duration, Instant};

/// When a rank has ended badly: how long the service, which sees causes, may take to say why the job ends.
const TO_BLAME: Duration = Duration::from_millis(600);

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

/// A rank has ended badly, and the service has not ended the job for it yet.
struct Suspect {
    verdict: Verdict,
    until: Instant,
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
                if (*code, *signal) != (0, 0) && self.verdict.is_none() {
                    let (status, how) = match *signal {
                        0 => (exit_status(*code), format!("exited with code {code}")),
                        n => {
                            let name = signal_name(n);
                            (128 + n, format!("was killed by signal {n} ({name})"))
                        }
                    };
                    let verdict = Verdict {
                        status,
                        text: Some(format!("{} {how}", self.name(*rank))),
                        told: false,
                    };
                    let until = now + TO_BLAME;
                    self.suspect.get_or_insert(Suspect { verdict, until });
                }
            }
            Event::Aborted { code, text, .. } => {
                self.suspect = None;
                self.verdict.get_or_insert(Verdict {
                    status: exit_status(*code),
                    text: Some(text.clone()),
                    told: true,
                });
            }
            _ => {}
        }
    }

    /// When [`Standing::settle`] next has something to do.
    pub fn next(&self) -> Option<Instant> {
        self.suspect.as_ref().map(|s| s.until)
    }

    /// Turns a suspicion into a verdict when its time has come.
    pub fn settle(&mut self, now: Instant) {
        if let Some(suspect) = self.suspect.take_if(|s| s.until <= now) {
            self.verdict.get_or_insert(suspect.verdict);
        }
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
    let spans = span::spans(numbers);
    let more = if spans.len() > MOST { ", ..." } else { "" };
    span::list(&spans[..spans.len().min(MOST)]) + more
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

    fn exited(rank: u32, code: i32, signal: i32) -> Event {
        Event::Exited { rank, code, signal }
    }

    #[test]
    fn the_services_word_counts_and_the_first_one() {
        let now = Instant::now();
        let mut job = Standing::new(2, 1);
        job.take(&exited(1, 7, 0), now);
        assert_eq!((job.verdict(), job.next()), (None, Some(now + TO_BLAME)));
        let aborted = Event::Aborted {
            rank: 0,
            code: 137,
            text: "rank 0 was killed".into(),
        };
        job.take(&aborted, now);
        let expected = Verdict {
            status: 137,
            text: Some("rank 0 was killed".into()),
            told: true,
        };
        assert_eq!((job.verdict(), job.next()), (Some(&expected), None));
        // What comes later changes nothing.
        job.decide(124, None);
        job.take(&exited(0, 3, 0), now);
        job.settle(now + TO_BLAME);
        assert_eq!(job.verdict(), Some(&expected));
    }

    #[test]
    fn a_rank_that_ended_badly_counts_when_the_service_says_nothing() {
        let now = Instant::now();
        let mut job = Standing::new(4, 2);
        job.take(&arrived(1), now);
        job.take(&Event::Started { rank: 3, pid: 12 }, now);
        job.take(&exited(3, 0, 9), now);
        job.take(&exited(0, 5, 0), now);
        job.settle(now);
        assert_eq!(job.verdict(), None);
        job.settle(now + TO_BLAME);
        let verdict = job.verdict().unwrap();
        assert_eq!((verdict.status, verdict.told), (137, false));
        let text = "rank 3 (pid 12 on h1) was killed by signal 9 (SIGKILL)";
        assert_eq!(verdict.text.as_deref(), Some(text));
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
