//! How much strangers may cost: connections in all and from one source, arrivals and failures per second, log lines.
//!
//! A source is an IPv4 address or an IPv6 network of 64 bits. Many ranks may stand behind one address translator, so
//! that the limits per source bite on those who have not proven anything, hardly on members. When all places are taken,
//! the stranger that has been here longest makes room: whoever says nothing keeps nobody out.

use crate::base::trace;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Sources that are remembered; beyond, those that cost nothing at the moment are forgotten.
const SOURCES: usize = 16_384;
/// For so long a stranger may keep its place when there is no other: what a handshake from far away takes.
const HASTE: Duration = Duration::from_secs(1);
/// Log lines of one kind in each [`WINDOW`].
const LINES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);

/// So much at once, and so much a second in the long run.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub burst: u32,
    pub per_second: f64,
}

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time from one source, of those that have proven nothing yet.
    pub strangers: usize,
    /// New connections of one source.
    pub arrivals: Rate,
    /// Wrong passes of one source that are answered one by one.
    pub failures: Rate,
    /// Wrong operator's keys of one source; beyond, none of its keys is looked at.
    pub guesses: Rate,
    /// A handshake, a request's head and its body must each be complete within this time.
    pub patience: Duration,
}

impl Limits {
    /// As many as there may be descriptors, within reason. All ranks of a large job may come from one address at once.
    pub fn by_descriptors() -> Limits {
        let connections = descriptors().saturating_sub(128).clamp(64, 65_536);
        Limits {
            connections,
            strangers: (connections / 2).max(connections.min(2_048)),
            arrivals: Rate {
                burst: 20_000,
                per_second: 500.0,
            },
            failures: Rate {
                burst: 20,
                per_second: 1.0,
            },
            guesses: Rate {
                burst: 10,
                per_second: 0.2,
            },
            patience: Duration::from_secs(10),
        }
    }

    /// For one of two that share a process, and so its descriptors.
    pub fn halved(self) -> Limits {
        let connections = self.connections / 2;
        Limits {
            connections,
            strangers: self.strangers.min(connections),
            ..self
        }
    }
}

/// How many descriptors this process may open; 1,024 when nobody says.
fn descriptors() -> usize {
    let text = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    soft.and_then(|soft| soft.parse().ok()).unwrap_or(1_024)
}

/// Why somebody is turned away before anything was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TooMany {
    Connections,
    FromThisSource,
    TooFast,
}

impl TooMany {
    pub fn text(self) -> &'static str {
        match self {
            TooMany::Connections => "too many connections are open",
            TooMany::FromThisSource => "too many of its connections have proven nothing",
            TooMany::TooFast => "it opens connections too fast",
        }
    }
}

/// Counts connections and failures.
pub struct Gate {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those that must make room not counted.
    open: usize,
    /// Who has proven nothing yet, by age.
    strangers: BTreeMap<u64, Stranger>,
    next: u64,
    sources: HashMap<IpAddr, Source>,
}

struct Stranger {
    source: IpAddr,
    since: Instant,
    /// Its place goes to another.
    out: Arc<Notify>,
}

struct Source {
    strangers: usize,
    arrivals: Bucket,
    failures: Bucket,
    guesses: Bucket,
}

/// What is left of a [`Rate`].
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Bucket {
        Bucket {
            left: f64::from(rate.burst),
            at: now,
        }
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * rate.per_second).min(f64::from(rate.burst));
        self.at = self.at.max(now);
    }

    /// Takes one; false when there is none.
    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.refill(rate, now);
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

impl Gate {
    pub fn new(limits: Limits) -> Arc<Gate> {
        Arc::new(Gate {
            limits,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|p| p.into_inner())
    }

    /// See [`Limits::patience`].
    pub fn patience(&self) -> Duration {
        self.limits.patience
    }

    /// Connections that hold a place.
    pub fn open(&self) -> usize {
        self.state().open
    }

    /// A new connection. Its place is free again when it is dropped.
    pub fn admit(self: &Arc<Gate>, ip: IpAddr, now: Instant) -> Result<Place, TooMany> {
        let from = source(ip);
        let mut state = self.state();
        let entry = state.source(from, &self.limits, now);
        if !entry.arrivals.take(self.limits.arrivals, now) {
            return Err(TooMany::TooFast);
        }
        if entry.strangers >= self.limits.strangers && !state.make_room(Some(from), now) {
            return Err(TooMany::FromThisSource);
        }
        if state.open >= self.limits.connections && !state.make_room(None, now) {
            return Err(TooMany::Connections);
        }
        let number = state.next;
        let out = Arc::<Notify>::default();
        let stranger = Stranger {
            source: from,
            since: now,
            out: out.clone(),
        };
        state.strangers.insert(number, stranger);
        state.source(from, &self.limits, now).strangers += 1;
        (state.open, state.next) = (state.open + 1, number + 1);
        Ok(Place {
            gate: self.clone(),
            number,
            proven: AtomicBool::new(false),
            out,
        })
    }

    /// Somebody there showed a wrong pass. False: they do so too often.
    pub fn failed(&self, ip: IpAddr, now: Instant) -> bool {
        let mut state = self.state();
        let entry = state.source(source(ip), &self.limits, now);
        entry.failures.take(self.limits.failures, now)
    }

    /// Somebody there showed a wrong operator's key.
    pub fn guessed(&self, ip: IpAddr, now: Instant) {
        let mut state = self.state();
        let entry = state.source(source(ip), &self.limits, now);
        entry.guesses.take(self.limits.guesses, now);
    }

    /// Have they shown too many wrong keys to be listened to?
    pub fn guessing(&self, ip: IpAddr, now: Instant) -> bool {
        let mut state = self.state();
        let entry = state.source(source(ip), &self.limits, now);
        entry.guesses.refill(self.limits.guesses, now);
        entry.guesses.left < 1.0
    }
}

impl State {
    /// The stranger of this number, if it is one still, is none any more.
    fn known(&mut self, number: u64) -> Option<Stranger> {
        let stranger = self.strangers.remove(&number)?;
        if let Some(source) = self.sources.get_mut(&stranger.source) {
            source.strangers = source.strangers.saturating_sub(1);
        }
        Some(stranger)
    }

    /// The oldest stranger, of this source if one is given, loses its place. False: none is old enough.
    fn make_room(&mut self, of: Option<IpAddr>, now: Instant) -> bool {
        let mut strangers = self.strangers.iter();
        let oldest = strangers.find(|(_, s)| of.is_none_or(|of| s.source == of));
        let late = |s: &Stranger| now.saturating_duration_since(s.since) >= HASTE;
        let Some(number) = oldest.filter(|(_, s)| late(s)).map(|(number, _)| *number) else {
            return false;
        };
        if let Some(stranger) = self.known(number) {
            self.open = self.open.saturating_sub(1);
            stranger.out.notify_one();
        }
        true
    }

    fn source(&mut self, from: IpAddr, limits: &Limits, now: Instant) -> &mut Source {
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&from) {
            self.sources.retain(|_, source| {
                source.arrivals.refill(limits.arrivals, now);
                source.failures.refill(limits.failures, now);
                source.guesses.refill(limits.guesses, now);
                let rested = source.arrivals.left >= f64::from(limits.arrivals.burst)
                    && source.failures.left >= f64::from(limits.failures.burst)
                    && source.guesses.left >= f64::from(limits.guesses.burst);
                source.strangers > 0 || !rested
            });
        }
        self.sources.entry(from).or_insert_with(|| Source {
            strangers: 0,
            arrivals: Bucket::full(limits.arrivals, now),
            failures: Bucket::full(limits.failures, now),
            guesses: Bucket::full(limits.guesses, now),
        })
    }
}

/// One connection's place.
pub struct Place {
    gate: Arc<Gate>,
    number: u64,
    proven: AtomicBool,
    out: Arc<Notify>,
}

impl Place {
    /// Whoever is there has shown a right pass.
    pub fn proven(&self) {
        if self.gate.state().known(self.number).is_some() {
            self.proven.store(true, Ordering::Relaxed);
        }
    }

    /// Ends when the place has gone to another, for nothing was proven here.
    pub async fn lost(&self) {
        self.out.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        // Who had to make room is not counted any more.
        if state.known(self.number).is_some() || self.proven.load(Ordering::Relaxed) {
            state.open = state.open.saturating_sub(1);
        }
    }
}

/// Log lines about strangers, a few of each kind at a time.
#[derive(Default)]
pub struct Hushed {
    kinds: Mutex<HashMap<&'static str, Kind>>,
}

struct Kind {
    since: Instant,
    said: u32,
    kept: u64,
}

impl Hushed {
    /// Writes the line, or counts it towards the next one of its kind.
    pub fn line(&self, kind: &'static str, now: Instant, text: impl FnOnce() -> String) {
        if let Some(more) = self.allows(kind, now) {
            let text = text();
            match more {
                0 => trace::line(&text),
                more => trace::line(&format!("{text} (and {more} more like it)")),
            }
        }
    }

    /// `Some`: a line of this kind may be written; so many were kept back before it.
    fn allows(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(|p| p.into_inner());
        let entry = kinds.entry(kind).or_insert(Kind {
            since: now,
            said: 0,
            kept: 0,
        });
        if now.saturating_duration_since(entry.since) >= WINDOW {
            (entry.since, entry.said) = (now, 0);
        }
        if entry.said >= LINES {
            entry.kept += 1;
            return None;
        }
        entry.said += 1;
        Some(std::mem::take(&mut entry.kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            connections: 5,
            strangers: 2,
            arrivals: Rate {
                burst: 4,
                per_second: 1.0,
            },
            failures: Rate {
                burst: 2,
                per_second: 0.5,
            },
            guesses: Rate {
                burst: 1,
                per_second: 0.5,
            },
            patience: Duration::from_secs(1),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn strangers_take_few_places_and_members_many() {
        let (gate, now) = (Gate::new(limits()), Instant::now());
        let a = ip("192.0.2.1");
        let first = gate.admit(a, now).unwrap();
        let second = gate.admit(a, now).unwrap();
        assert_eq!(gate.admit(a, now).err(), Some(TooMany::FromThisSource));
        first.proven();
        first.proven();
        let third = gate.admit(a, now).unwrap();
        assert_eq!(gate.open(), 3);
        drop((second, third));
        assert_eq!(gate.admit(a, now).err(), Some(TooMany::TooFast));
        // In the long run one a second; and others are not held responsible.
        let later = now + Duration::from_millis(1_100);
        let _fifth = gate.admit(a, later).unwrap();
        let _others = ["192.0.2.2", "192.0.2.3", "::1"].map(|other| gate.admit(ip(other), now));
        assert_eq!(gate.admit(ip("::2"), now).err(), Some(TooMany::Connections));
    }

    #[test]
    fn the_oldest_stranger_makes_room_and_nobody_else() {
        let (gate, now) = (Gate::new(limits()), Instant::now());
        let other = |n: u8| ip(&format!("192.0.2.{n}"));
        let lost = |place: &Place| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let wait = async {
                tokio::time::timeout(Duration::from_millis(1), place.lost())
                    .await
                    .is_ok()
            };
            runtime.enable_time().build().unwrap().block_on(wait)
        };
        let member = gate.admit(other(1), now).unwrap();
        member.proven();
        let late = now + HASTE;
        let mut strangers: Vec<Place> =
            (2..6).map(|n| gate.admit(other(n), now).unwrap()).collect();
        let sixth = gate.admit(other(6), late - Duration::from_millis(1));
        assert_eq!(sixth.err(), Some(TooMany::Connections));
        let seventh = gate.admit(other(7), late).unwrap();
        assert_eq!(gate.open(), 5);
        assert!(lost(&strangers[0]) && !lost(&strangers[1]) && !lost(&member));
        // A proof that comes too late does not count its connection twice; its end does not uncount it.
        strangers[0].proven();
        strangers.remove(0);
        assert_eq!(gate.open(), 5);
        // A source that has all places of its own makes room itself.
        let again = [gate.admit(other(7), late), gate.admit(other(7), late)];
        assert!(again[0].is_ok());
        assert_eq!(again[1].as_ref().err(), Some(&TooMany::FromThisSource));
        let more = gate.admit(other(7), late + HASTE).unwrap();
        assert!(lost(&seventh) && !lost(&more));
        drop((strangers, again, more, seventh, member));
        assert_eq!(gate.open(), 0);
        assert!(gate.state().strangers.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_a_mapped_address_is_itself() {
        assert_eq!(source(ip("2001:db8::1")), source(ip("2001:db8::2:3:4")));
        assert_ne!(source(ip("2001:db8::1")), source(ip("2001:db8:0:1::1")));
        assert_eq!(source(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }

    #[test]
    fn failures_run_out_and_come_back() {
        let (gate, now) = (Gate::new(limits()), Instant::now());
        let a = ip("192.0.2.1");
        assert!(gate.failed(a, now) && gate.failed(a, now));
        assert!(!gate.failed(a, now));
        let later = now + Duration::from_secs(2);
        assert!(gate.failed(a, later) && !gate.failed(a, later));
        assert!(gate.failed(ip("192.0.2.2"), now));
        // Wrong passes say nothing about keys.
        assert!(!gate.guessing(a, now));
        gate.guessed(a, now);
        assert!(gate.guessing(a, now) && !gate.guessing(a, later));
        assert!(!gate.guessing(ip("192.0.2.2"), now));
    }

    #[test]
    fn the_table_of_sources_is_bounded_by_who_costs_something() {
        let (gate, now) = (Gate::new(limits()), Instant::now());
        let held = gate.admit(ip("192.0.2.1"), now).unwrap();
        for n in 0..SOURCES as u32 * 3 {
            let at = now + Duration::from_secs(u64::from(n));
            drop(gate.admit(IpAddr::V4((n + 1).into()), at));
        }
        let state = gate.state();
        assert!(state.sources.len() <= SOURCES);
        assert!(state.sources.contains_key(&ip("192.0.2.1")));
        drop((state, held));
        assert_eq!(gate.open(), 0);
    }

    #[test]
    fn lines_of_a_kind_are_few_and_the_rest_is_counted() {
        let (hushed, now) = (Hushed::default(), Instant::now());
        let said = (0..100).filter(|_| hushed.allows("a", now).is_some());
        assert_eq!(said.count(), LINES as usize);
        assert_eq!(hushed.allows("b", now), Some(0));
        let later = now + WINDOW;
        assert_eq!(hushed.allows("a", later), Some(100 - u64::from(LINES)));
        assert_eq!(hushed.allows("a", later), Some(0));
    }

    #[test]
    fn there_are_descriptors() {
        assert!(descriptors() >= 64);
        assert!(Limits::by_descriptors().connections >= 64);
    }
}
