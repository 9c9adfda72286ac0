//! Starting a job's ranks and staying with them until the last one is gone.

mod attendance;
mod birth;
pub(super) mod environment;
pub(super) mod guard;
mod input;
pub(super) mod os;
pub(super) mod output;
pub(super) mod planned;
pub(super) mod program;
mod service;
pub(super) mod spawn;
mod supervise;

pub use os::{hold_signals, raise_descriptors};
pub use program::{library_folder, locate_program};

use crate::rendezvous::place::Place;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What is to be started.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The `:`-separated parts of the command line.
    pub parts: Vec<Part>,
    /// Every line of output begins with its rank.
    pub tag: bool,
    /// The job must end within this time.
    pub timeout: Option<Duration>,
    pub stdin: Stdin,
    /// Files for the ranks' output instead of our own; `%r` is the rank.
    pub stdout_pattern: Option<OsString>,
    pub stderr_pattern: Option<OsString>,
    /// MPI_UNIVERSE_SIZE; `None`: the number of ranks.
    pub universe: Option<u32>,
    /// A standalone rendezvous; `None`: one of our own.
    pub rendezvous: Option<Standalone>,
}

/// Ranks that run the same command.
#[derive(Clone, Debug, Default)]
pub struct Part {
    pub program: OsString,
    pub arguments: Vec<OsString>,
    pub ranks: u32,
    /// Variables to set, in this order.
    pub set: Vec<(OsString, OsString)>,
    /// What of our own environment the ranks see.
    pub inherit: Inherit,
    pub folder: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Inherit {
    #[default]
    All,
    /// These variables only.
    Some(Vec<OsString>),
}

/// Who reads what we read on standard input; the others read nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// Rank 0.
    #[default]
    First,
    Rank(u32),
    All,
    None,
}

/// A rendezvous that runs elsewhere (`mayfly serve`).
#[derive(Clone, Debug)]
pub struct Standalone {
    pub place: Place,
    /// What lets us open a job there.
    pub operator_key: String,
}

/// Waits for a signal that asks this process to end, after [`hold_signals`]; gives its number.
pub fn wait_for_end() -> i32 {
    loop {
        match os::next_signal() {
            libc::SIGCHLD => {}
            signal => return signal,
        }
    }
}

/// Why nothing was started: a line for people and the exit status.
#[derive(Debug)]
pub struct Refusal {
    pub text: String,
    pub status: i32,
}

impl Refusal {
    pub(super) fn new(status: i32, text: impl Into<String>) -> Refusal {
        Refusal {
            text: text.into(),
            status,
        }
    }
}

/// Starts the job and returns its exit status when everything has ended. Called once in a process, from its main
/// thread, before there are others.
pub fn run(plan: &Plan) -> Result<i32, Refusal> {
    let size: u64 = plan.parts.iter().map(|part| u64::from(part.ranks)).sum();
    if size == 0 || size > u64::from(crate::rendezvous::message::SIZE_MAX) {
        return Err(Refusal::new(
            2,
            format!("{size} ranks cannot be started; 1 to 65536 can"),
        ));
    }
    // Everything that can be known to be wrong is said before anything is started.
    let mut programs = Vec::new();
    for part in &plan.parts {
        programs.push(program::Program::find(part)?);
    }
    // Forks while this process has only one thread.
    let guard =
        guard::Guard::start(None).map_err(|e| Refusal::new(1, format!("cannot start: {e}")))?;
    supervise::supervise(plan, &programs, size as u32, guard)
}
