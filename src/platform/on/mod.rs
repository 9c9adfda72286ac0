//! Platforms outside this machine: what brings instances when asked to (`mayfly run --on NAME`).
//!
//! A platform knows its own requests, limits and errors, nothing of ranks: the remote supervisor hands it one letter an
//! instance and learns from the rendezvous who has arrived.

mod client;
mod file;
mod http;
pub mod kubernetes;
pub mod lambda;
mod openfaas;
mod openwhisk;
pub mod price;
mod target;

pub use client::cause;
pub use target::{Setting, Target};

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What a platform's question takes its time for.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is to be brought up.
#[derive(Clone, Debug)]
pub struct Wish {
    /// A name for people: the program's.
    pub name: String,
    pub ranks: u32,
    pub per_instance: u32,
    /// ⌈ranks / per_instance⌉.
    pub instances: u32,
    /// The user's `--timeout`.
    pub timeout: Option<Duration>,
    /// How large a letter's body gets, bytes.
    pub letter: usize,
}

#[cfg(test)]
impl Wish {
    /// One rank in each instance.
    pub(crate) fn of(instances: u32) -> Wish {
        Wish {
            name: "a".into(),
            ranks: instances,
            per_instance: 1,
            instances,
            timeout: None,
            letter: 500,
        }
    }
}

/// A start, as it is handed over.
pub struct Letter {
    pub instance: u32,
    pub attempt: u32,
    /// The Start as JSON (platform/start.rs). Holds a pass: never to be logged or to stand in argv.
    pub body: String,
}

/// What the platform said of itself before anything was started.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    /// Lines for the user, each a warning.
    pub notices: Vec<String>,
    /// How long the instances' arrival may take, when the user does not say.
    pub join_within: Duration,
    /// How long an instance may run.
    pub limit: Option<Duration>,
    /// An instance's memory, MiB, and virtual CPUs, where they are known; for the price.
    pub memory_mib: Option<f64>,
    pub cpus: Option<f64>,
    /// The processor's architecture, where known: `x86_64` or `arm64`.
    pub architecture: Option<String>,
}

impl Ready {
    /// Nothing known but the patience.
    pub fn new(join_within: Duration) -> Ready {
        Ready {
            notices: Vec::new(),
            join_within,
            limit: None,
            memory_mib: None,
            cpus: None,
            architecture: None,
        }
    }
}

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The platform has taken it and says nothing more.
    Accepted,
    /// The instance has run and the platform has answered: the end of what it said, one line, for the case that the
    /// instance never came to the rendezvous.
    Answered(String),
}

/// Why a letter did not lead to an instance that ran; one line without an end mark, with the platform's own words.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub text: String,
    pub again: Again,
    /// The letter may have been delivered all the same: the answer was lost, not the request.
    pub doubtful: bool,
}

/// May another attempt help?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    Never,
    /// After a pause of the supervisor's choosing.
    Soon,
    /// Not before this time has passed; the platform said so.
    After(Duration),
}

impl Failure {
    /// One that no further attempt mends.
    pub fn last(text: impl Into<String>) -> Failure {
        Failure {
            text: text.into(),
            again: Again::Never,
            doubtful: false,
        }
    }
    /// One that may pass.
    pub fn passing(text: impl Into<String>) -> Failure {
        Failure {
            text: text.into(),
            again: Again::Soon,
            doubtful: false,
        }
    }
}

/// A platform. All futures run on one thread and may be dropped at any time, which ends their requests.
pub trait Platform: Send + Sync {
    /// How the user named it: `lambda:my-fn`.
    fn name(&self) -> String;

    /// The heading of its tariff in prices.toml; `None`: it costs nothing that we know of.
    fn tariff(&self) -> Option<&'static str> {
        None
    }

    /// Asks the platform what would fail, deadlock or wait for ever, before anything is started. An error is one line.
    fn preflight<'a>(&'a self, wish: &'a Wish) -> Answer<'a, Result<Ready, String>>;

    /// Delivers the letter of one instance; retrying is the caller's matter. The answer may come as late as the
    /// instance's end, so nobody waits for it; a failure that shows later than the delivery is an `Err` as well.
    fn start<'a>(&'a self, letter: &'a Letter) -> Answer<'a, Result<Delivery, Failure>>;

    /// For platforms that bring all instances at one request: does so with a letter that holds the hosts' key instead
    /// of one instance's pass, and stays to watch them. `None`: this platform is asked for each by `start`.
    fn start_all<'a>(
        &'a self,
        _wish: &'a Wish,
        _letter: &'a Letter,
    ) -> Option<Answer<'a, Result<Delivery, Failure>>> {
        None
    }

    /// What would be asked of the platform, for `--dry-run`; it holds no secret.
    fn describe(&self, _wish: &Wish) -> Result<String, String> {
        Err(format!("{}: --dry-run has nothing to show", self.name()))
    }

    /// The job is over, well or not: the platform is to end whatever it still bills. Called once; has a few seconds.
    fn stop<'a>(&'a self) -> Answer<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}
