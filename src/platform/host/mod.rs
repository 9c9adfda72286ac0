//! The host: the process in an instance that runs ranks of unmodified programs as its children. A platform hands it a
//! start; everything else it learns from the rendezvous. It outlives its job, since platforms keep instances warm, and
//! nothing of one job is left for the next.

pub mod answer;
mod clock;
mod code;
mod contract;
mod http;
mod index;
mod input;
mod job;
mod lambda;
pub mod letter;
mod machine;
pub mod openwhisk;
mod prepare;
mod scratch;
mod streams;
mod trust;

pub use contract::Contract;

use crate::base::trace;
use crate::platform::launch::guard::Guard;
use crate::platform::launch::os;
use crate::platform::launch::spawn::Nursery;
use crate::platform::package::Package;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::signal::unix::{signal, Signal, SignalKind};
use tokio::sync::watch;
use trust::Trust;

/// How an instance is to behave; what is not said is found out from its environment.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `None`: what the environment looks like.
    pub contract: Option<Contract>,
    /// Where to listen, for contracts that push: `ADDRESS:PORT`.
    pub listen: Option<String>,
    /// How long the platform lets one start run, where it does not say so itself.
    pub limit: Option<Duration>,
}

impl Options {
    /// 0: none.
    fn limit_ms(&self) -> u64 {
        self.limit.map_or(0, |limit| limit.as_millis() as u64)
    }
}

/// What the platform tells of one start.
#[derive(Clone, Debug, Default)]
pub struct Situation {
    /// For people: `lambda`, `kubernetes`.
    pub platform: &'static str,
    /// When the platform ends this start, milliseconds since 1970; 0: not known.
    pub deadline_ms: u64,
    /// Variables for the ranks.
    pub variables: Vec<(String, String)>,
}

/// An instance, warm from its first start on.
pub struct Host {
    guard: Guard,
    nursery: Nursery,
    package: Option<Package>,
    /// Where jobs have their folders; goes away with us, however we end.
    base: Option<PathBuf>,
    children: Signal,
    /// Since when this process has been running.
    since: Instant,
    /// Jobs so far.
    jobs: u64,
    ending: Ending,
    trust: Trust,
    /// Comes ten seconds before the platform stops us and takes us elsewhere; `None`: this one does not.
    moving: Option<Signal>,
}

/// Becomes the number of the signal by which the platform asks this process to end.
pub type Ending = watch::Receiver<i32>;

/// Serves starts until the platform ends us; gives the exit status. Called once, from the main thread of a process that
/// has no other.
pub fn run(options: Options) -> i32 {
    let since = Instant::now();
    match start(options, since) {
        Ok(status) => status,
        Err(text) => {
            trace::line(&text);
            1
        }
    }
}

fn start(options: Options, since: Instant) -> Result<i32, String> {
    let contract = match options.contract {
        Some(contract) => contract,
        None => Contract::detect(|name| std::env::var(name).ok()),
    };
    let cannot = |e: std::io::Error| format!("the host cannot start: {e}");
    let trust = Trust::parse(std::env::var(trust::VARIABLE).ok().as_deref())?;
    // Where nothing can be written to, a start is told so when it comes.
    let base = scratch::base(&std::env::temp_dir()).ok();
    // Forks while there is one thread.
    let guard = Guard::start(base.as_deref()).map_err(cannot)?;
    os::adopt_orphans();
    // A thread that looks up a name must not sit there, counting time, while the instance is frozen.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_millis(1))
        .build()
        .map_err(cannot)?;
    runtime.block_on(async {
        let ending = ending().map_err(cannot)?;
        // Cloud Run's jobs of more than an hour. Anywhere else the signal keeps its meaning.
        let moves = std::env::var_os("CLOUD_RUN_TASK_INDEX").is_some();
        let moving = moves.then(|| signal(SignalKind::from_raw(libc::SIGTSTP)));
        let host = Host {
            moving: moving.transpose().map_err(cannot)?,
            guard,
            nursery: Nursery::new(os::raise_descriptors()).map_err(cannot)?,
            package: None,
            base,
            children: signal(SignalKind::child()).map_err(cannot)?,
            since,
            jobs: 0,
            ending: ending.clone(),
            trust,
        };
        // A broken package is the platform's to know, in its own way.
        let (host, fault) = match Package::of_this_command() {
            Ok(package) => (Host { package, ..host }, None),
            Err(text) => (host, Some(text)),
        };
        match contract {
            Contract::Lambda => lambda::serve(host, ending, fault).await,
            Contract::Index => index::once(host, fault, options.limit_ms()).await,
            push => http::serve(host, ending, fault, push, &options).await,
        }
    })
}

/// Listens for the signals that end this process.
fn ending() -> std::io::Result<Ending> {
    let (tell, ending) = watch::channel(0);
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        let mut signals = signal(kind)?;
        let tell = tell.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = tell.send(kind.as_raw_value());
            }
        });
    }
    Ok(ending)
}

/// Resolves when the platform asks us to end; gives the signal's number.
async fn ended(ending: &mut Ending) -> i32 {
    match ending.wait_for(|signal| *signal != 0).await {
        Ok(signal) => *signal,
        Err(_) => libc::SIGTERM,
    }
}

impl Host {
    /// The place for what a job writes, made again when somebody has tidied it away.
    fn scratch(&self) -> PathBuf {
        match &self.base {
            Some(base) => {
                let _ = scratch::make(base);
                base.clone()
            }
            None => std::env::temp_dir(),
        }
    }
}
