//! The service itself: HTTP/1.1 on tokio, in a thread of its own.
//!
//! `POST /v1/jobs` (operator's key) opens a job; `GET /v1/jobs/ID` (job's secret) tells how it stands;
//! `GET /v1/jobs/ID/member/RANK/EPOCH`, `/host/INSTANCE/ATTEMPT` and `/owner` with `Upgrade: mayfly` (each with its
//! pass) become a role's connection; `GET /healthz`.

mod http;
pub mod limits;
mod member;

pub use http::{JobCreated, JobRequest, JobStatus};

use crate::base::os;
use crate::base::trace;
use crate::rendezvous::message::Frame as _;
use crate::rendezvous::message::{self, hex};
use crate::rendezvous::registry::{
    Connection, Effect, Event, JobId, Outgoing, Plan, Registry, Time,
};
use hyper::body::Bytes;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, Notify, Semaphore};

/// A request's head, or its body, must be complete within this time.
const REQUEST: Duration = Duration::from_secs(10);
/// A frame must have gone out within this time.
const WRITE: Duration = Duration::from_secs(30);
/// How long a connection that we closed may linger.
const LINGER: Duration = Duration::from_secs(5);
/// Frames that may wait for a slow member; it takes part in few things at once, so that more are a sign of trouble.
const QUEUE: usize = 256;
/// Connections at a time; further ones are closed at once.
const CONNECTIONS: usize = 16_384;
/// Jobs at a time.
const JOBS: usize = 4_096;

/// How a service behaves.
#[derive(Default)]
pub struct Options {
    /// What `POST /v1/jobs` must show; `None`: jobs are opened only through [`Service::create`].
    pub operator_key: Option<String>,
    /// Logs every join and end.
    pub verbose: bool,
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
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Core {
    registry: Registry,
    outgoing: HashMap<Connection, mpsc::Sender<Bytes>>,
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
            options,
            on_event,
            places: Arc::new(Semaphore::new(CONNECTIONS)),
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
        let mut core = self.inner.core();
        let created = core.registry.create(self.inner.now(), plan);
        drop(core);
        self.inner.changed.notify_one();
        created
    }

    /// Ends a job.
    pub fn abort(&self, job: &JobId, code: i32, text: &str) {
        let now = self.inner.now();
        self.inner
            .act(|registry, out| registry.abort(now, job, code, text, out));
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

    fn now(&self) -> Time {
        self.began.elapsed().as_millis() as Time
    }

    /// Lets the registry act and does what it asks for.
    fn act(&self, f: impl FnOnce(&mut Registry, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        let mut core = self.core();
        f(&mut core.registry, &mut effects);
        for effect in effects {
            match effect {
                Effect::Tell(job, event) => {
                    self.log(&job, &event);
                    (self.on_event)(&job, &event);
                }
                Effect::Send(to, frame) => {
                    let bytes = Bytes::from(match frame {
                        Outgoing::Member(frame) => frame.encode(),
                        Outgoing::Host(frame) => frame.encode(),
                        Outgoing::Owner(frame) => frame.encode(),
                    });
                    for connection in to {
                        let full = match core.outgoing.get(&connection) {
                            Some(queue) => queue.try_send(bytes.clone()).is_err(),
                            None => false,
                        };
                        if full {
                            core.outgoing.remove(&connection);
                        }
                    }
                }
                // Without its sender the writing task ends after what is queued.
                Effect::Close(connection) => {
                    core.outgoing.remove(&connection);
                }
            }
        }
        drop(core);
        self.changed.notify_one();
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
                }
                _ = self.changed.notified() => {}
            }
        }
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(e) => return trace::line(&format!("rendezvous: cannot listen: {e}")),
        };
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Ok(place) = self.places.clone().try_acquire_owned() {
                        let inner = self.clone();
                        tokio::spawn(async move {
                            inner.converse(stream, peer).await;
                            drop(place);
                        });
                    }
                }
                Err(e) => {
                    trace::line(&format!("rendezvous: cannot accept a connection: {e}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// One TCP connection, from its first byte to its last.
    async fn converse(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let member = Arc::new(Mutex::new(None));
        let (inner, slot) = (self.clone(), member.clone());
        let service = hyper::service::service_fn(move |request| {
            let (inner, slot) = (inner.clone(), slot.clone());
            async move { Ok::<_, Infallible>(inner.answer(request, peer, &slot).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
        let upgrade = member.lock().unwrap_or_else(|p| p.into_inner()).take();
        match upgrade {
            Some((connection, queue, upgrade)) => self.member(connection, queue, upgrade).await,
            None => {
                if let Err(e) = served {
                    if self.options.verbose {
                        trace::line(&format!(
                            "rendezvous: {peer} does not speak our language: {e}"
                        ));
                    }
                }
            }
        }
    }
}

/// A burst of a thousand ranks fits into the listener's queue, and connections whose other machine vanished are found
/// out: accepted sockets inherit the keep-alive.
pub(super) fn widen(listener: &TcpListener) {
    let socket = socket2::SockRef::from(listener);
    let alive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(20))
        .with_retries(3);
    // Without either all goes on, only slower.
    let _ = socket.listen(4_096);
    let _ = socket.set_tcp_keepalive(&alive);
}

type UpgradeSlot =
    Arc<Mutex<Option<(Connection, mpsc::Receiver<Bytes>, hyper::upgrade::OnUpgrade)>>>;
