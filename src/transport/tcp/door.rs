//! The door: accepting connections, and turning strangers away at little cost.

use crate::transport::os::{self, Fd};
use crate::transport::tcp::link::{Effort, Link, Stage};
use crate::transport::tcp::{net, Tcp};
use crate::transport::Sink;
use crate::wire::hello::{Hello, Path, Role, HELLO};
use crate::{info, warning};
use std::io;
use std::time::{Duration, Instant};

/// How long a greeting may take.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Accepted connections that have not proven themselves.
const STRANGERS: usize = 64;
/// Lines about strangers before silence.
const LINES: u32 = 20;
/// How long accepting rests when there is no room.
const REST: Duration = Duration::from_millis(5);
/// How long a greeting may take then.
const HASTE: Duration = Duration::from_millis(200);

impl Tcp {
    /// Takes the connections that wait.
    pub(super) fn accept(&mut self, sink: &mut impl Sink) {
        for _ in 0..16 {
            // Dialling stops at the budget, so that there is always room to be dialled: two ranks never wait for each
            // other to accept. What is left above belongs to the program.
            if self.is_full() || self.working() >= self.budget + self.budget * 3 / 4 + 2 {
                self.crowded(sink);
                return;
            }
            match net::accept(&self.listener) {
                Ok((fd, from)) => self.welcome(fd, from),
                Err(e) => match e.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        if !self.complained {
                            self.complained = true;
                            warning!("a connection waits and cannot be accepted: {}", explain(&e));
                        }
                        self.crowded(sink);
                        return;
                    }
                    Some(libc::ECONNABORTED | libc::EINTR) => (),
                    _ => return,
                },
            }
        }
    }

    /// There is no room for another connection: makes some, and looks again in a while. The listener stays readable:
    /// watching it meanwhile would be spinning.
    fn crowded(&mut self, sink: &mut impl Sink) {
        self.relax();
        if let Some((at, since)) = self.oldest_unproven() {
            // Its words may wait here because this rank was busy.
            if since.elapsed() > HASTE && !self.read(at, sink) {
                self.turn_away(at, "there is no room and it did not greet yet");
            }
        }
        self.rests = Some(Instant::now() + REST);
        self.epoll.remove(self.listener.0);
    }

    /// The connection that waits longest for its first words.
    fn oldest_unproven(&self) -> Option<(u32, Instant)> {
        (0..)
            .zip(&self.links)
            .filter_map(|(at, l)| Some((at, l.as_deref()?)))
            .filter(|(_, l)| is_stranger(l))
            .map(|(at, l)| (at, l.since))
            .min_by_key(|(_, since)| *since)
    }

    /// A connection was accepted.
    pub(super) fn welcome(&mut self, fd: Fd, from: String) {
        let unproven = |l: &Option<Box<Link>>| l.as_deref().is_some_and(is_stranger);
        let waiting = self.links.iter().filter(|l| unproven(l)).count();
        if waiting >= STRANGERS.max(self.peers.len()) {
            // The oldest had its time; an honest rank will dial again.
            if let Some((at, _)) = self.oldest_unproven() {
                self.turn_away(at, "too many connections wait to be greeted");
            }
        }
        let ours = Hello {
            role: Role::Listener,
            path: Path::Private,
            sealed: false,
            job: self.job,
            from: self.me,
            to: u32::MAX,
            nonce: os::nonce(),
        };
        let link = Link::new(fd, Effort::Theirs, from, ours);
        // An error is a descriptor that epoll refuses: the connection is dropped, the other end will say so.
        let _ = self.insert(link, false);
    }

    pub(super) fn turn_away(&mut self, at: u32, why: &str) {
        if let Some(link) = self.remove(at) {
            // No word of warning: most likely it is one of ours that computes, and it comes again.
            info!("a connection from {} was closed: {why}", link.at);
        }
    }

    pub(super) fn stranger(&mut self, from: &str, why: &str) {
        self.strangers += 1;
        if self.strangers <= LINES {
            warning!("a stranger at {from} was turned away: {why}");
        }
        if self.strangers == LINES {
            warning!("more strangers are turned away in silence");
        }
    }

    /// Turns away who takes too long: not whose words wait here because this rank was busy.
    pub(super) fn late(&mut self, now: Instant, sink: &mut impl Sink) {
        if self.greeting == 0 {
            return;
        }
        for at in 0..self.links.len() {
            let late = |links: &[Option<Box<Link>>]| {
                links[at]
                    .as_deref()
                    .is_some_and(|l| is_timed(l) && now >= l.since + PATIENCE)
            };
            if late(&self.links) {
                self.read(at as u32, sink);
                if late(&self.links) {
                    self.turn_away(at as u32, "it did not greet in time");
                }
            }
        }
    }
}

/// Did it come by itself, and not greet yet?
fn is_stranger(link: &Link) -> bool {
    link.stage == Stage::Accepted && link.effort == Effort::Theirs
}

/// Must its next words come in time? Not where this rank went to it, nor where it waits for this rank to learn who it
/// is.
pub fn is_timed(link: &Link) -> bool {
    link.effort == Effort::Theirs
        && match link.stage {
            Stage::Accepted => link.input.bytes().len() < HELLO,
            stage => stage == Stage::Proving,
        }
}

/// The limit of descriptors, in words for an error about it.
pub fn limit() -> String {
    // SAFETY: the structure is plain integers and the call fills it.
    let most = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur
    };
    format!(" (the limit is {most} descriptors; ulimit -n raises it)")
}

/// Adds the limit to an error about descriptors.
pub fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE) => format!("{error}{}", limit()),
        _ => error.to_string(),
    }
}
