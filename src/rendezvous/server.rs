//! The service itself: HTTP/1.1 on tokio, in a thread of its own.
//!
//! `POST /v1/jobs` (operator's key) opens a job; `GET /v1/jobs/ID` (job's token) tells how it stands;
//! `GET /v1/jobs/ID/member` with `Upgrade: mayfly` (job's token) becomes a member's connection; `GET /healthz`.

use crate::base::os;
use crate::base::trace;
use crate::rendezvous::message::{self, hex, same_secret, unhex, ToService};
use crate::rendezvous::registry::{
    Connection, Effect, Event, JobId, Plan, Refusal, Registry, Time,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

/// What `POST /v1/jobs` takes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    pub size: u32,
    /// Seconds until everybody must have joined; 0: no limit.
    #[serde(default)]
    pub join_within_s: u32,
    /// Seconds that a member may be silent; 0: no limit.
    #[serde(default = "default_lease")]
    pub lease_s: u32,
}

fn default_lease() -> u32 {
    10
}

/// What `POST /v1/jobs` answers.
#[derive(Serialize, Deserialize)]
pub struct JobCreated {
    /// 16 bytes in hexadecimal.
    pub job: String,
    /// 32 bytes in hexadecimal; a secret.
    pub token: String,
}

/// What `GET /v1/jobs/ID` answers.
#[derive(Serialize, Deserialize)]
pub struct JobStatus {
    pub size: u32,
    pub joined: u32,
    pub finished: u32,
    /// `running`, `over` or `aborted`.
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Service {
    /// Serves on this listener until dropped.
    pub fn start(
        listener: TcpListener,
        options: Options,
        on_event: OnEvent,
    ) -> io::Result<Service> {
        listener.set_nonblocking(true)?;
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
                    let bytes = Bytes::from(frame.encode());
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

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        slot: &UpgradeSlot,
    ) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_string();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match (request.method(), &parts[..]) {
            (&Method::GET, ["healthz"]) => plain(StatusCode::OK, "ok\n"),
            (&Method::POST, ["v1", "jobs"]) => self.answer_create(request, peer).await,
            (&Method::GET, ["v1", "jobs", job]) => self.answer_status(&request, peer, job),
            (&Method::GET, ["v1", "jobs", job, "member"]) => {
                let job = job.to_string();
                self.answer_member(request, peer, &job, slot)
            }
            _ => plain(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    fn refuse(&self, refusal: Refusal, peer: SocketAddr) -> Response<Full<Bytes>> {
        match refusal {
            Refusal::UnknownJob => {
                trace::line(&format!(
                    "rendezvous: refused {peer}: it asks for an unknown job"
                ));
                plain(StatusCode::NOT_FOUND, "unknown job\n")
            }
            Refusal::WrongToken => {
                trace::line(&format!("rendezvous: refused {peer}: wrong token"));
                plain(StatusCode::UNAUTHORIZED, "wrong token\n")
            }
        }
    }

    async fn answer_create(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let allowed = match &self.options.operator_key {
            Some(key) => same_secret(bearer(&request).as_bytes(), key.as_bytes()),
            None => false,
        };
        if !allowed {
            trace::line(&format!("rendezvous: refused {peer}: wrong operator's key"));
            return plain(StatusCode::UNAUTHORIZED, "wrong key\n");
        }
        let body = Limited::new(request.into_body(), 16 * 1024).collect();
        let body = match tokio::time::timeout(REQUEST, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => {
                return plain(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "the body is too large or broken\n",
                )
            }
            Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the body does not come\n"),
        };
        let wanted: JobRequest = match serde_json::from_slice(&body) {
            Ok(wanted) => wanted,
            Err(e) => return plain(StatusCode::BAD_REQUEST, &format!("{e}\n")),
        };
        let (mut job, mut token) = ([0; 16], [0; 32]);
        if os::random(&mut job).and(os::random(&mut token)).is_err() {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "no random numbers\n");
        }
        let plan = Plan {
            job,
            token,
            size: wanted.size,
            join_within: Time::from(wanted.join_within_s) * 1000,
            lease: Time::from(wanted.lease_s.min(3600)) * 1000,
            keep: 60_000,
        };
        let created = {
            let mut core = self.core();
            if core.registry.jobs() >= JOBS {
                return plain(StatusCode::SERVICE_UNAVAILABLE, "too many jobs\n");
            }
            core.registry.create(self.now(), plan)
        };
        self.changed.notify_one();
        match created {
            Err(why) => plain(StatusCode::BAD_REQUEST, &format!("{why}\n")),
            Ok(()) => json(
                StatusCode::CREATED,
                &JobCreated {
                    job: hex(&job),
                    token: hex(&token),
                },
            ),
        }
    }

    fn answer_status(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
        job: &str,
    ) -> Response<Full<Bytes>> {
        let token = unhex::<32>(bearer(request)).unwrap_or_default();
        let summary = match unhex::<16>(job) {
            None => Err(Refusal::UnknownJob),
            Some(job) => self.core().registry.summary(&job, &token),
        };
        let summary = match summary {
            Ok(summary) => summary,
            Err(refusal) => return self.refuse(refusal, peer),
        };
        let (state, code, text) = match summary.over {
            None => ("running", None, None),
            Some(Ok(())) => ("over", None, None),
            Some(Err((_, code, text))) => ("aborted", Some(code), Some(text)),
        };
        json(
            StatusCode::OK,
            &JobStatus {
                size: summary.size,
                joined: summary.joined,
                finished: summary.finished,
                state: state.into(),
                code,
                text,
            },
        )
    }

    fn answer_member(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        job: &str,
        slot: &UpgradeSlot,
    ) -> Response<Full<Bytes>> {
        let wants = request
            .headers()
            .get(UPGRADE)
            .is_some_and(|v| v == "mayfly");
        if !wants {
            return plain(StatusCode::UPGRADE_REQUIRED, "Upgrade: mayfly\n");
        }
        let token = unhex::<32>(bearer(&request)).unwrap_or_default();
        let mut core = self.core();
        let opened = match unhex::<16>(job) {
            None => Err(Refusal::UnknownJob),
            Some(job) => core.registry.open(self.now(), &job, &token),
        };
        let connection = match opened {
            Ok(connection) => connection,
            Err(refusal) => return self.refuse(refusal, peer),
        };
        let (sender, queue) = mpsc::channel(QUEUE);
        core.outgoing.insert(connection, sender);
        drop(core);
        self.changed.notify_one();
        let upgrade = hyper::upgrade::on(&mut request);
        *slot.lock().unwrap_or_else(|p| p.into_inner()) = Some((connection, queue, upgrade));
        let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, "");
        let headers = response.headers_mut();
        headers.insert(
            CONNECTION,
            hyper::header::HeaderValue::from_static("Upgrade"),
        );
        headers.insert(UPGRADE, hyper::header::HeaderValue::from_static("mayfly"));
        response
    }

    /// A member's connection after its upgrade.
    async fn member(
        &self,
        connection: Connection,
        mut queue: mpsc::Receiver<Bytes>,
        upgrade: hyper::upgrade::OnUpgrade,
    ) {
        let upgraded = match tokio::time::timeout(REQUEST, upgrade).await {
            Ok(Ok(upgraded)) => upgraded,
            _ => return self.gone(connection, "the connection never came about"),
        };
        let (mut reading, mut writing) = tokio::io::split(TokioIo::new(upgraded));
        let (written, mut all_written) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let _until_the_end = written;
            while let Some(bytes) = queue.recv().await {
                match tokio::time::timeout(WRITE, writing.write_all(&bytes)).await {
                    Ok(Ok(())) => {}
                    _ => return,
                }
            }
            let _ = writing.shutdown().await;
        });
        let closed = async {
            let _ = (&mut all_written).await;
            tokio::time::sleep(LINGER).await;
        };
        let why = tokio::select! {
            why = self.read(connection, &mut reading) => why,
            _ = closed => "it did not take what was sent".into(),
        };
        self.gone(connection, &why);
    }

    fn gone(&self, connection: Connection, why: &str) {
        let now = self.now();
        self.act(|registry, out| {
            registry.closed(now, connection, why, out);
            out.push(Effect::Close(connection));
        });
    }

    /// Takes frames until there are no more; says why.
    async fn read(
        &self,
        connection: Connection,
        reading: &mut (impl AsyncReadExt + Unpin),
    ) -> String {
        loop {
            let mut prefix = [0; 4];
            if let Err(e) = reading.read_exact(&mut prefix).await {
                return match e.kind() {
                    io::ErrorKind::UnexpectedEof => "its connection ended".into(),
                    _ => format!("its connection broke: {e}"),
                };
            }
            let length = match message::body_length(prefix, message::TO_SERVICE_MAX) {
                Ok(length) => length,
                Err(malformed) => return malformed.to_string(),
            };
            let mut body = vec![0; length];
            if let Err(e) = reading.read_exact(&mut body).await {
                return format!("its connection ended within a frame: {e}");
            }
            match ToService::decode(&body) {
                Err(malformed) => return malformed.to_string(),
                Ok(frame) => {
                    let now = self.now();
                    self.act(|registry, out| registry.receive(now, connection, frame, out));
                }
            }
        }
    }
}

type UpgradeSlot =
    Arc<Mutex<Option<(Connection, mpsc::Receiver<Bytes>, hyper::upgrade::OnUpgrade)>>>;

fn bearer(request: &Request<Incoming>) -> &str {
    let value = request.headers().get(AUTHORIZATION);
    value
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "))
        .unwrap_or("")
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_string())));
    *response.status_mut() = status;
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string(value) {
        Ok(text) => {
            let mut response = plain(status, &(text + "\n"));
            let kind = hyper::header::HeaderValue::from_static("application/json");
            response
                .headers_mut()
                .insert(hyper::header::CONTENT_TYPE, kind);
            response
        }
        Err(e) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{e}\n")),
    }
}
