//! The service itself: HTTP/1.1 on tokio, in a thread of its own.
//!
//! `POST /v1/jobs` (operator's key) opens a job, `GET /v1/jobs` (the same) lists them; `GET /v1/jobs/ID` (operator's key or
//! the job's secret) tells how it stands, `GET .../log` what its ranks said, `DELETE` ends it;
//! `GET /v1/jobs/ID/member/RANK/EPOCH`, `/host/INSTANCE/ATTEMPT` and `/owner` with `Upgrade: mayfly` (each with its
//! pass) become a role's connection; `GET /healthz`; `GET /metrics` for Prometheus.

mod act;
mod http;
mod jobs;
mod ledger;
pub mod limits;
mod link;
mod listen;
mod metrics;
mod outbox;
pub mod page;

pub use jobs::{JobCreated, JobRequest, JobStatus, JOB_STATE, LOG_LOST, LOG_NEXT};
pub use listen::widen;

use crate::base::os;
use crate::base::trace;
use crate::rendezvous::message::{self, hex};
use crate::rendezvous::registry::{Connection, Event, JobId, Plan, Registry, Time};
use crate::rendezvous::relay::Relay;
use crate::rendezvous::tls::Identity;
use crate::wire::relay;
use ledger::Ledger;
use limits::{Gate, Hushed, Limits};
use metrics::Metrics;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{oneshot, Notify};

/// A request's head, or its body, must be complete within this time.
const REQUEST: Duration = Duration::from_secs(10);
/// A frame must have gone out within this time.
const WRITE: Duration = Duration::from_secs(30);
/// How long a connection that we closed may linger.
const LINGER: Duration = Duration::from_secs(5);
/// Jobs at a time.
const JOBS: usize = 4_096;

/// How long a job's grant for the relays holds.
const GRANT: Duration = Duration::from_secs(24 * 3600);

/// How a service behaves.
#[derive(Default)]
pub struct Options {
    /// What `POST /v1/jobs` must show; `None`: jobs are opened only through [`Service::create`].
    pub operator_key: Option<String>,
    /// Logs every join and end.
    pub verbose: bool,
    /// Speaks TLS with this certificate, and nothing else; `None`: plain TCP.
    pub tls: Option<Identity>,
    /// What ranks are told of relays.
    pub relays: Relays,
    /// A relay in this process, for the metrics.
    pub relay: Option<Arc<Relay>>,
    /// `None`: [`Limits::by_descriptors`], half of them beside a relay.
    pub limits: Option<Limits>,
}

/// Relays that the jobs of a service may use.
#[derive(Clone, Default)]
pub struct Relays {
    /// `host:port,host:port` each: its two ports.
    pub places: Vec<String>,
    /// The relays' key.
    pub key: [u8; 32],
}

impl Relays {
    /// Fills in what a job's ranks need.
    pub fn grant(&self, plan: &mut Plan) {
        if self.places.is_empty() {
            return;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        plan.relays = self.places.clone();
        plan.relay_expiry = (now.unwrap_or_default() + GRANT).as_secs();
        plan.relay_grant = relay::grant(&self.key, &plan.job, plan.relay_expiry);
    }
}

/// Called for every event of every job, in order, on the service's thread; it must be quick.
pub type OnEvent = Box<dyn Fn(&JobId, &Event) + Send + Sync>;

/// A running service; dropped, it stops.
pub struct Service {
    inner: Arc<Inner>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Inner {
    core: Mutex<Core>,
    changed: Notify,
    began: Instant,
    options: Options,
    on_event: OnEvent,
    gate: Arc<Gate>,
    hushed: Hushed,
    metrics: Metrics,
    /// No more jobs are taken.
    closing: AtomicBool,
}

#[derive(Default)]
struct Core {
    registry: Registry,
    outgoing: HashMap<Connection, outbox::Outbox>,
    ledger: Ledger,
}

impl Service {
    /// Serves on this listener until dropped.
    pub fn start(
        listener: TcpListener,
        options: Options,
        on_event: OnEvent,
    ) -> io::Result<Service> {
        listener.set_nonblocking(true)?;
        widen(&listener);
        let address = listener.local_addr()?;
        let inner = Arc::new(Inner {
            core: Mutex::default(),
            changed: Notify::new(),
            began: Instant::now(),
            gate: Gate::new(options.limits.unwrap_or_else(|| match options.relay {
                Some(_) => Limits::by_descriptors().halved(),
                None => Limits::by_descriptors(),
            })),
            options,
            on_event,
            hushed: Hushed::default(),
            metrics: Metrics::default(),
            closing: AtomicBool::new(false),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let for_thread = inner.clone();
        let thread = os::without_signals(|| {
            std::thread::Builder::new()
                .name("rendezvous".into())
                .spawn(move || {
                    runtime.block_on(async move {
                        tokio::select! {
                            _ = for_thread.clone().serve(listener) => {}
                            _ = for_thread.keep_time() => {}
                            _ = stopped => {}
                        }
                    });
                    runtime.shutdown_background();
                })
        })?;
        Ok(Service {
            inner,
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a job.
    pub fn create(&self, plan: Plan) -> Result<(), &'static str> {
        self.inner.create(plan)
    }

    /// Takes no more jobs; those that run go on.
    pub fn close(&self) {
        self.inner.closing.store(true, Ordering::Relaxed);
    }

    /// The jobs that have not ended.
    pub fn running(&self) -> Vec<JobId> {
        let core = self.inner.core();
        let jobs = core.registry.overview();
        jobs.filter(|(_, summary)| summary.over.is_none())
            .map(|(plan, _)| plan.job)
            .collect()
    }

    /// Tells all running jobs.
    pub fn announce(&self, text: &str) {
        self.inner.act(|registry, out| registry.announce(text, out));
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.inner.gate.open()
    }

    /// Ends a job.
    pub fn abort(&self, job: &JobId, code: i32, text: &str) {
        let now = self.inner.now();
        self.inner
            .act(|registry, out| registry.abort(now, job, code, text, out));
    }

    /// For a rank's standard input, by way of its host; no bytes: its end.
    pub fn input(&self, job: &JobId, rank: u32, bytes: &[u8]) {
        let now = self.inner.now();
        self.inner
            .act(|registry, out| registry.input(now, job, rank, bytes, out));
    }

    /// This rank's process is known to have ended.
    pub fn departed(&self, job: &JobId, rank: u32) {
        let now = self.inner.now();
        self.inner
            .act(|registry, out| registry.departed(now, job, rank, out));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn now(&self) -> Time {
        self.began.elapsed().as_millis() as Time
    }

    fn create(&self, plan: Plan) -> Result<(), &'static str> {
        let mut core = self.core();
        let (job, keep_log) = (plan.job, plan.keep_log);
        let created = core.registry.create(self.now(), plan);
        if created.is_ok() {
            core.ledger.open(job, keep_log);
            Metrics::add(&self.metrics.jobs_opened, 1);
        }
        drop(core);
        self.changed.notify_one();
        created
    }

    fn log(&self, job: &JobId, event: &Event) {
        let job = &hex(job)[..8];
        match event {
            _ if !self.options.verbose => {}
            Event::Refused { why } => trace::line(&format!("rendezvous: job {job}: refused {why}")),
            Event::Joined { rank, pid, host } => trace::line(&format!(
                "rendezvous: job {job}: rank {rank} joined (process {pid} on {host})"
            )),
            Event::Lost { rank, why } => trace::line(&format!(
                "rendezvous: job {job}: rank {rank} was lost: {why}"
            )),
            Event::Aborted { rank, code, text } => {
                let by = match *rank {
                    message::OBSERVER => "its owner or the service".to_string(),
                    rank => format!("rank {rank}"),
                };
                trace::line(&format!(
                    "rendezvous: job {job}: ended by {by} with code {code}: {text}"
                ))
            }
            Event::Finished { .. } => {}
            Event::Over => trace::line(&format!("rendezvous: job {job}: over")),
            Event::HostArrived {
                instance,
                attempt,
                host,
                platform,
            } => trace::line(&format!(
                "rendezvous: job {job}: instance {instance}, attempt {attempt}, arrived ({host}, {platform})"
            )),
            Event::HostLost { instance, why } => trace::line(&format!(
                "rendezvous: job {job}: instance {instance} was lost: {why}"
            )),
            Event::HostDone { .. }
            | Event::Started { .. }
            | Event::Output { .. }
            | Event::Exited { .. }
            | Event::Usage { .. }
            | Event::Log { .. } => {}
        }
    }

    async fn keep_time(self: Arc<Self>) {
        loop {
            let deadline = self.core().registry.next_deadline();
            let until = async {
                match deadline {
                    Some(at) => {
                        tokio::time::sleep(Duration::from_millis(at.saturating_sub(self.now()) + 1))
                            .await
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = until => {
                    let now = self.now();
                    self.act(|registry, out| registry.tick(now, out));
                    let mut core = self.core();
                    let Core { registry, ledger, .. } = &mut *core;
                    ledger.retain(|job| registry.knows(job));
                }
                _ = self.changed.notified() => {}
            }
        }
    }
}
