//! What people are shown of each job: since when, its instances, its last words, and what its ranks wrote.

use crate::rendezvous::message::{Event, OBSERVER, STDERR};
use crate::rendezvous::registry::JobId;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

/// A line of output is cut here, bytes.
const LINE: usize = 8_192;

#[derive(Default)]
pub struct Ledger(HashMap<JobId, Record>);

pub struct Record {
    pub opened: Instant,
    /// Instances that are here.
    pub hosts: u32,
    log: Log,
}

/// The last lines of a job, up to a number of bytes.
struct Log {
    keep: usize,
    /// Bytes ever written.
    end: u64,
    bytes: VecDeque<u8>,
    /// By rank and stream: what was written since its last line's end.
    begun: BTreeMap<(u32, u8), Vec<u8>>,
}

/// A piece of a job's log.
#[derive(PartialEq, Eq, Debug)]
pub struct Piece {
    /// Bytes between what was asked for and what was still there.
    pub lost: u64,
    pub bytes: Vec<u8>,
    /// Where the next piece begins.
    pub next: u64,
}

impl Ledger {
    /// A new job, of whose log so many bytes are kept.
    pub fn open(&mut self, job: JobId, keep: usize) {
        let log = Log {
            keep,
            end: 0,
            bytes: VecDeque::new(),
            begun: BTreeMap::new(),
        };
        let opened = Instant::now();
        self.0.insert(
            job,
            Record {
                opened,
                hosts: 0,
                log,
            },
        );
    }

    pub fn get(&self, job: &JobId) -> Option<&Record> {
        self.0.get(job)
    }

    /// Instances that are here, of all jobs.
    pub fn hosts(&self) -> u64 {
        self.0.values().map(|record| u64::from(record.hosts)).sum()
    }

    pub fn retain(&mut self, keep: impl Fn(&JobId) -> bool) {
        self.0.retain(|job, _| keep(job));
    }

    pub fn event(&mut self, job: &JobId, event: &Event) {
        let Some(record) = self.0.get_mut(job) else {
            return;
        };
        let log = &mut record.log;
        match event {
            Event::HostArrived { .. } => record.hosts += 1,
            Event::HostDone { .. } => record.hosts = record.hosts.saturating_sub(1),
            Event::HostLost { instance, why } => {
                record.hosts = record.hosts.saturating_sub(1);
                log.say(&format!("mayfly: instance {instance} was lost: {why}"));
            }
            Event::Output {
                rank,
                stream,
                bytes,
            } => log.output(*rank, *stream, bytes),
            Event::Exited { rank, code, signal } => {
                log.flush(*rank);
                match (code, signal) {
                    (0, 0) => {}
                    (code, 0) => log.say(&format!("mayfly: rank {rank} ended with status {code}")),
                    (_, signal) => {
                        log.say(&format!("mayfly: rank {rank} was ended by signal {signal}"))
                    }
                }
            }
            Event::Lost { rank, why } => log.say(&format!("mayfly: rank {rank} was lost: {why}")),
            Event::Aborted { code, text, .. } => {
                log.flush_all();
                log.say(&format!(
                    "mayfly: the job was ended with code {code}: {text}"
                ));
            }
            Event::Log {
                instance: OBSERVER,
                text,
            } => log.say(&format!("mayfly: {text}")),
            Event::Log { instance, text } => {
                log.say(&format!("mayfly: instance {instance}: {text}"))
            }
            Event::Over => {
                log.flush_all();
                log.say("mayfly: the job is over");
            }
            Event::Joined { .. }
            | Event::Refused { .. }
            | Event::Finished { .. }
            | Event::Started { .. }
            | Event::Usage { .. } => {}
        }
    }
}

impl Record {
    /// The log from this byte on, as much as is kept.
    pub fn piece(&self, from: u64) -> Piece {
        let log = &self.log;
        let first = log.end - log.bytes.len() as u64;
        let begin = from.clamp(first, log.end);
        let skip = (begin - first) as usize;
        Piece {
            lost: begin.saturating_sub(from),
            bytes: log.bytes.iter().skip(skip).copied().collect(),
            next: log.end,
        }
    }
}

impl Log {
    fn output(&mut self, rank: u32, stream: u8, bytes: &[u8]) {
        if self.keep == 0 {
            return;
        }
        let mut rest = self.begun.remove(&(rank, stream)).unwrap_or_default();
        for part in bytes.split_inclusive(|&b| b == b'\n') {
            rest.extend_from_slice(part);
            if rest.ends_with(b"\n") || rest.len() >= LINE {
                self.line(rank, stream, &rest);
                rest.clear();
            }
        }
        if !rest.is_empty() {
            self.begun.insert((rank, stream), rest);
        }
    }

    /// A rank has ended: its last line may have no end.
    fn flush(&mut self, rank: u32) {
        for stream in [1, 2] {
            if let Some(rest) = self.begun.remove(&(rank, stream)) {
                self.line(rank, stream, &rest);
            }
        }
    }

    /// The same of all ranks.
    fn flush_all(&mut self) {
        for ((rank, stream), rest) in std::mem::take(&mut self.begun) {
            self.line(rank, stream, &rest);
        }
    }

    fn line(&mut self, rank: u32, stream: u8, line: &[u8]) {
        let mark = if stream == STDERR { "!" } else { "" };
        let mut whole = format!("[{rank}]{mark} ").into_bytes();
        whole.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        whole.push(b'\n');
        self.append(&whole);
    }

    fn say(&mut self, line: &str) {
        self.append(line.replace('\n', " ").as_bytes());
        self.append(b"\n");
    }

    fn append(&mut self, bytes: &[u8]) {
        self.end += bytes.len() as u64;
        self.bytes.extend(bytes);
        let surplus = self.bytes.len().saturating_sub(self.keep);
        if surplus > 0 {
            let line_end = self
                .bytes
                .iter()
                .skip(surplus - 1)
                .position(|&b| b == b'\n');
            let whole = line_end.map_or(self.bytes.len(), |at| surplus + at);
            self.bytes.drain(..whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = [1; 16];

    fn output(rank: u32, stream: u8, text: &str) -> Event {
        let bytes = text.as_bytes().to_vec();
        Event::Output {
            rank,
            stream,
            bytes,
        }
    }

    fn text(ledger: &Ledger, from: u64) -> (u64, String, u64) {
        let piece = ledger.get(&JOB).unwrap().piece(from);
        (
            piece.lost,
            String::from_utf8(piece.bytes).unwrap(),
            piece.next,
        )
    }

    #[test]
    fn lines_of_ranks_never_mix_and_can_be_followed() {
        let mut ledger = Ledger::default();
        ledger.open(JOB, 1_000);
        for event in [
            output(0, 1, "half a "),
            output(1, 2, "trouble\nmore"),
            output(0, 1, "line\n"),
        ] {
            ledger.event(&JOB, &event);
        }
        let (lost, first, next) = text(&ledger, 0);
        assert_eq!(
            (lost, first.as_str()),
            (0, "[1]! trouble\n[0] half a line\n")
        );
        let (code, signal) = (3, 0);
        ledger.event(
            &JOB,
            &Event::Exited {
                rank: 1,
                code,
                signal,
            },
        );
        assert_eq!(
            text(&ledger, next).1,
            "[1]! more\nmayfly: rank 1 ended with status 3\n"
        );
        assert_eq!(text(&ledger, u64::MAX).1, "");
    }

    #[test]
    fn only_the_last_bytes_are_kept_and_what_is_missing_is_counted() {
        let mut ledger = Ledger::default();
        ledger.open(JOB, 20);
        for n in 0..100 {
            ledger.event(&JOB, &output(0, 1, &format!("{n:04}\n")));
        }
        // Nine bytes a line, and no half lines.
        let kept = "[0] 0098\n[0] 0099\n".to_string();
        assert_eq!(text(&ledger, 0), (882, kept, 900));
        // A line without end is cut, so that a rank costs at most so much.
        ledger.event(&JOB, &output(0, 1, &"x".repeat(LINE * 3 / 2)));
        let begun = &ledger.get(&JOB).unwrap().log.begun;
        assert!(begun.values().all(|rest| rest.len() < LINE));
        ledger.retain(|_| false);
        assert!(ledger.get(&JOB).is_none());
    }

    #[test]
    fn instances_are_counted() {
        let mut ledger = Ledger::default();
        ledger.open(JOB, 0);
        let (host, platform) = ("h".to_string(), "p".to_string());
        for instance in 0..2 {
            let (host, platform) = (host.clone(), platform.clone());
            let event = Event::HostArrived {
                instance,
                attempt: 0,
                host,
                platform,
            };
            ledger.event(&JOB, &event);
        }
        ledger.event(&JOB, &Event::HostDone { instance: 1 });
        assert_eq!(ledger.get(&JOB).unwrap().hosts, 1);
        assert_eq!(ledger.hosts(), 1);
        ledger.event(&[9; 16], &Event::Over);
    }
}
