//! What the service counts, in the text format of Prometheus (version 0.0.4).

use super::{Core, Inner};
use crate::rendezvous::message::Event;
use crate::rendezvous::relay::Relay;
use crate::wire::relay::Status;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why somebody was turned away; the label `cause`.
const CAUSES: [&str; 15] = [
    "unknown_job",
    "wrong_pass",
    "wrong_key",
    "duplicate",
    "too_many",
    "room",
    "too_fast",
    "too_often",
    "slow",
    "oversized",
    "not_http",
    "cut_off",
    "tls",
    "plain_to_tls",
    "tls_to_plain",
];

#[derive(Default)]
pub struct Metrics {
    pub jobs_opened: AtomicU64,
    pub jobs_aborted: AtomicU64,
    pub requests: AtomicU64,
    pub frames_in: AtomicU64,
    pub frames_out: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    members: AtomicU64,
    hosts: AtomicU64,
    lost: AtomicU64,
    refused: [AtomicU64; CAUSES.len()],
}

impl Metrics {
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub fn refused(&self, cause: &str) {
        if let Some(at) = CAUSES.iter().position(|known| *known == cause) {
            Metrics::add(&self.refused[at], 1);
        }
    }

    pub fn event(&self, event: &Event) {
        match event {
            Event::Joined { .. } => Metrics::add(&self.members, 1),
            Event::HostArrived { .. } => Metrics::add(&self.hosts, 1),
            Event::Lost { .. } | Event::HostLost { .. } => Metrics::add(&self.lost, 1),
            Event::Refused { .. } => self.refused("duplicate"),
            Event::Aborted { .. } => Metrics::add(&self.jobs_aborted, 1),
            _ => {}
        }
    }
}

/// The page as it grows.
#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(
            self.0,
            "# HELP mayfly_{name} {help}\n# TYPE mayfly_{name} {kind}\n"
        );
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "mayfly_{name} {value}");
    }

    fn labelled(&mut self, name: &str, label: &str, value: u64) {
        let _ = writeln!(self.0, "mayfly_{name}{{{label}}} {value}");
    }
}

impl Inner {
    pub(super) fn metrics_page(&self) -> String {
        let mut page = Page::default();
        let (mut running, mut ended, mut joined) = (0, 0, 0);
        let hosts;
        {
            let core = self.core();
            let Core {
                registry, ledger, ..
            } = &*core;
            hosts = ledger.hosts();
            for (_, job) in registry.overview() {
                match job.over {
                    None => {
                        running += 1;
                        joined += u64::from(job.joined.saturating_sub(job.finished));
                    }
                    Some(_) => ended += 1,
                }
            }
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let m = &self.metrics;
        page.head("jobs", "gauge", "Jobs that are remembered.");
        page.labelled("jobs", "state=\"running\"", running);
        page.labelled("jobs", "state=\"ended\"", ended);
        page.one(
            "jobs_opened_total",
            "counter",
            "Jobs opened.",
            read(&m.jobs_opened),
        );
        page.one(
            "jobs_aborted_total",
            "counter",
            "Jobs that ended before their time.",
            read(&m.jobs_aborted),
        );
        page.one(
            "members",
            "gauge",
            "Ranks that are in a running job.",
            joined,
        );
        page.one(
            "members_joined_total",
            "counter",
            "Ranks that have joined.",
            read(&m.members),
        );
        page.one("hosts", "gauge", "Instances that are here.", hosts);
        page.one(
            "hosts_arrived_total",
            "counter",
            "Instances that have come.",
            read(&m.hosts),
        );
        page.one(
            "lost_total",
            "counter",
            "Ranks and instances that were lost.",
            read(&m.lost),
        );
        page.one(
            "connections",
            "gauge",
            "Open connections.",
            self.gate.open() as u64,
        );
        page.one(
            "requests_total",
            "counter",
            "HTTP requests.",
            read(&m.requests),
        );
        page.head(
            "frames_total",
            "counter",
            "Frames of ranks, hosts and owners.",
        );
        page.labelled("frames_total", "direction=\"in\"", read(&m.frames_in));
        page.labelled("frames_total", "direction=\"out\"", read(&m.frames_out));
        page.head("frame_bytes_total", "counter", "Bytes of these frames.");
        page.labelled("frame_bytes_total", "direction=\"in\"", read(&m.bytes_in));
        page.labelled("frame_bytes_total", "direction=\"out\"", read(&m.bytes_out));
        page.head(
            "refusals_total",
            "counter",
            "Who was turned away, by cause.",
        );
        for (cause, count) in CAUSES.iter().zip(&m.refused) {
            page.labelled("refusals_total", &format!("cause=\"{cause}\""), read(count));
        }
        page.one(
            "uptime_seconds",
            "counter",
            "Seconds since the start.",
            self.began.elapsed().as_secs(),
        );
        if let Some(resident) = resident() {
            page.one(
                "resident_memory_bytes",
                "gauge",
                "Memory of this process.",
                resident,
            );
        }
        if let Some(relay) = &self.options.relay {
            relay_figures(&mut page, relay);
        }
        page.0
    }
}

/// The figures of a relay by itself.
pub fn of_relay(relay: &Relay) -> String {
    let mut page = Page::default();
    relay_figures(&mut page, relay);
    page.0
}

fn relay_figures(page: &mut Page, relay: &Relay) {
    let figures = relay.figures();
    page.one(
        "relay_connections",
        "gauge",
        "Open connections of the relay.",
        figures.connections,
    );
    page.one(
        "relay_waiting",
        "gauge",
        "Ranks that wait for their counterpart.",
        figures.waiting,
    );
    page.one(
        "relay_pairs",
        "gauge",
        "Pairs that are joined.",
        figures.pairs,
    );
    page.one(
        "relay_pairs_total",
        "counter",
        "Pairs ever joined.",
        figures.pairs_ever,
    );
    page.one(
        "relay_observed_total",
        "counter",
        "Addresses told.",
        figures.observed,
    );
    page.one(
        "relay_bytes_total",
        "counter",
        "Bytes carried between pairs.",
        figures.bytes,
    );
    page.one(
        "relay_jobs",
        "gauge",
        "Jobs that have pairs or wait for them.",
        figures.jobs,
    );
    page.one(
        "relay_job_pairs_most",
        "gauge",
        "Pairs, joined or half there, of the job that has most.",
        figures.job_pairs,
    );
    page.one(
        "relay_paced_total",
        "counter",
        "How often bytes waited for their job's rate.",
        figures.paced,
    );
    page.head(
        "relay_refusals_total",
        "counter",
        "Who was turned away, by cause.",
    );
    for (status, count) in figures.refused.iter().enumerate().skip(1) {
        if let Some(status) = Status::decode(status as u8) {
            let cause = match status {
                Status::JobFull => "job_full".to_string(),
                other => format!("{other:?}").to_lowercase(),
            };
            page.labelled(
                "relay_refusals_total",
                &format!("cause=\"{cause}\""),
                *count,
            );
        }
    }
}

/// Memory of this process that is in use, bytes.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_counted_and_every_sample_has_its_type() {
        let metrics = Metrics::default();
        for cause in CAUSES {
            metrics.refused(cause);
        }
        metrics.refused("whatever");
        let all = metrics.refused.iter().map(|c| c.load(Ordering::Relaxed));
        assert!(all.eq([1; CAUSES.len()]));
        let mut page = Page::default();
        page.one("a", "gauge", "Help.", 3);
        page.head("b", "counter", "Help.");
        page.labelled("b", "x=\"y\"", 4);
        assert_eq!(
            page.0,
            "# HELP mayfly_a Help.\n# TYPE mayfly_a gauge\nmayfly_a 3\n\
             # HELP mayfly_b Help.\n# TYPE mayfly_b counter\nmayfly_b{x=\"y\"} 4\n"
        );
        assert!(resident().unwrap() > 100_000);
    }
}
