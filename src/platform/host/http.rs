//! Platforms that push: one request is one start, on a port of ours. The answer begins when the rendezvous has let the
//! instance in, and ends with the ranks: in between it carries a byte of white space now and then, so that no proxy
//! believes us dead, and at its end one JSON object, so that the whole is JSON. Exit codes stand in there; the status has
//! long been sent.
//!
//! Sources: Knative's runtime contract, Cloud Run's container contract, OpenFaaS' of-watchdog (health paths, 429 beyond
//! max_inflight), Fission's environment interface v2, Nuclio's health ports, Azure's custom handlers, Apache OpenWhisk's
//! actions-new.

mod reply;

use super::answer::{Outcome, Trouble};
use super::clock::{now_ms, plausible};
use super::code;
use super::contract::Contract;
use super::letter::{self, LETTER_MAX};
use super::openwhisk::{self, Whisk};
use super::{ended, Ending, Host, Options, Situation};
use crate::base::trace;
use crate::platform::package::Package;
use crate::platform::start::Start;
use crate::rendezvous::server::limits::{Gate, Limits, Place, Rate};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use reply::{refusal, text, Reply};
use serde_json::Value;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex as Lock};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, Mutex, OwnedMutexGuard};
use tokio::task::JoinSet;

/// How long a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Between two signs of life in an answer; proxies give up after a minute or more.
const SIGN: Duration = Duration::from_secs(10);
/// After the platform's signal and the last rank's end, how long answers may take to leave.
const LEAVING: Duration = Duration::from_secs(2);
/// Connections at a time. When there are more, the one that has been here longest without a start makes room.
const CONNECTIONS: usize = 128;
/// Where Kubernetes, OpenFaaS, Nuclio and people look whether we live.
const HEALTH: [&str; 9] = [
    "/",
    "/health",
    "/healthz",
    "/livez",
    "/readyz",
    "/live",
    "/ready",
    "/_/health",
    "/_/ready",
];

type Body = reply::Body;
type Response = hyper::Response<Body>;

/// What all requests share.
struct Front {
    host: Arc<Mutex<Host>>,
    contract: Contract,
    platform: &'static str,
    limit_ms: u64,
    /// What makes this instance useless.
    fault: Lock<Option<String>>,
    /// /init or /v2/specialize has been called.
    initialized: Lock<Option<Whisk>>,
}

/// Serves requests until the platform ends us; gives the exit status.
pub async fn serve(
    host: Host,
    mut ending: Ending,
    fault: Option<String>,
    contract: Contract,
    options: &Options,
) -> Result<i32, String> {
    let get = |name: &str| std::env::var(name).ok();
    let mut listeners = vec![listen(contract, options.listen.as_deref()).await?];
    if contract == Contract::Nuclio {
        listeners.extend(TcpListener::bind(("0.0.0.0", 8082)).await);
    }
    if let Ok(address) = listeners[0].local_addr() {
        let whose = match host.trust.is_blind() {
            true => {
                " from whoever the platform lets through (MAYFLY_TRUST can name the rendezvous)"
            }
            false => "",
        };
        trace::line(&format!("waiting for starts at http://{address}{whose}"));
    }
    if let Some(text) = &fault {
        trace::line(text);
    }
    let front = Arc::new(Front {
        host: Arc::new(Mutex::new(host)),
        contract,
        platform: contract.platform(get),
        limit_ms: options.limit_ms(),
        fault: Lock::new(fault),
        initialized: Lock::new(None),
    });
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, front.clone(), ending.clone()));
    }
    let signal = ended(&mut ending).await;
    let busy = front.host.try_lock().is_err();
    // A running start ends its ranks by itself, and then gives the host back.
    drop(front.host.lock().await);
    let left = async { while accepting.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LEAVING, left).await;
    Ok(if busy { 128 + signal } else { 0 })
}

async fn listen(contract: Contract, wanted: Option<&str>) -> Result<TcpListener, String> {
    let port = contract.port(|name| std::env::var(name).ok());
    let listener = match wanted {
        Some(address) => TcpListener::bind(address).await,
        // Both families where there are both.
        None => match TcpListener::bind(("::", port.clone()?)).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind(("0.0.0.0", port.clone()?)).await,
        },
    };
    let shown = wanted.map_or_else(|| format!("port {}", port.unwrap_or(0)), str::to_string);
    listener.map_err(|e| format!("cannot listen on {shown}: {e}"))
}

/// Until the platform ends us; then until the connections have ended.
async fn accept(listener: TcpListener, front: Arc<Front>, mut ending: Ending) {
    let gate = Gate::new(Limits {
        connections: CONNECTIONS,
        strangers: CONNECTIONS,
        // All come from the platform's few proxies.
        arrivals: Rate {
            burst: u32::MAX,
            per_second: f64::from(u32::MAX),
        },
        ..Limits::by_descriptors()
    });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                // Beyond, more come at once than any platform sends: somebody wants our descriptors.
                Ok((stream, peer)) => if let Ok(place) = gate.admit(peer.ip(), Instant::now()) {
                    connections.spawn(talk(stream, front.clone(), ending.clone(), place));
                },
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
            _ = ended(&mut ending) => break,
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn talk(stream: TcpStream, front: Arc<Front>, mut ending: Ending, place: Place) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let (front, place) = (front.clone(), &place);
        async move { Ok::<_, Infallible>(front.handle(request, place).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVAL)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = place.lost() => return,
        _ = ended(&mut ending) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

fn unpoisoned<T>(lock: &Lock<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Front {
    async fn handle(self: Arc<Front>, request: Request<Incoming>, place: &Place) -> Response {
        let path = request.uri().path().to_string();
        if request.method() == Method::GET || request.method() == Method::HEAD {
            return self.health(&path);
        }
        if request.method() != Method::POST {
            return text(405, "a start comes by POST");
        }
        // Only one request brings more than a start, and only there.
        let code = self.contract == Contract::OpenWhisk && path == "/init";
        let (most, patience) = match code {
            true => (code::REQUEST_MAX, 3 * ARRIVAL),
            false => (LETTER_MAX, ARRIVAL),
        };
        let body = match tokio::time::timeout(patience, limited(request.into_body(), most)).await {
            Err(_) => return text(408, "the request does not arrive"),
            Ok(Err(e)) => return text(400, &format!("the request broke off: {e}")),
            Ok(Ok(Err(_))) if code => return text(413, "the action's code is too large"),
            Ok(Ok(Err(size))) => return refusal(&letter::too_large(size)),
            Ok(Ok(Ok(body))) => body,
        };
        match path.as_str() {
            "/init" => self.initialize(body).await,
            "/run" => self.activate(&body, place).await,
            "/specialize" | "/v2/specialize" => self.specialize(&body).await,
            _ => self.start(&body, place).await,
        }
    }

    fn health(&self, path: &str) -> Response {
        if !HEALTH.contains(&path) {
            return text(
                404,
                "a start comes by POST; whether this instance lives, /healthz tells",
            );
        }
        match unpoisoned(&self.fault).as_ref() {
            Some(fault) => text(503, fault),
            None if path == "/_/ready" && self.host.try_lock().is_err() => text(429, "busy"),
            None => text(200, "ok"),
        }
    }

    /// The host, when nobody else has it.
    fn claim(&self) -> Result<OwnedMutexGuard<Host>, Trouble> {
        if let Some(fault) = unpoisoned(&self.fault).clone() {
            return Err(Trouble::Unfit(fault));
        }
        let free = self.host.clone().try_lock_owned();
        free.map_err(|_| Trouble::Busy)
    }

    fn situation(&self, deadline_ms: u64, variables: Vec<(String, String)>) -> Situation {
        let now = now_ms();
        let deadline_ms = match (deadline_ms, self.limit_ms) {
            (0, 0) => 0,
            (0, limit) => now + limit,
            (deadline, _) => deadline,
        };
        Situation {
            platform: self.platform,
            deadline_ms: plausible(deadline_ms, now),
            variables,
        }
    }

    /// One request, one start.
    async fn start(self: Arc<Front>, body: &Bytes, place: &Place) -> Response {
        let azure = self.contract == Contract::Azure && has_field(body, "Data");
        let shape = if azure { Reply::Azure } else { Reply::Plain };
        let (begun, accepted) = oneshot::channel();
        let claimed = letter::open(body).and_then(|start| Ok((start, self.claim()?)));
        let (start, host) = match claimed {
            Ok(claimed) => claimed,
            Err(trouble) => {
                // Duplicates come often, and are the platform's business.
                crate::info!("{}", trouble.text());
                return shape.refusal(&trouble);
            }
        };
        place.proven();
        let situation = self.situation(0, Vec::new());
        let mut result = run(host, start, situation, begun);
        tokio::select! {
            biased;
            Ok(()) = accepted => shape.stream(result, SIGN),
            ended = &mut result => shape.whole(flat(ended)),
        }
    }

    /// OpenWhisk's /init: once, before the first /run.
    async fn initialize(&self, body: Bytes) -> Response {
        let before = unpoisoned(&self.initialized).is_some();
        let (Ok(mut host), false) = (self.claim_any(), before) else {
            trace::say(openwhisk::TWICE);
            return reply::json(403, &openwhisk::error(openwhisk::TWICE));
        };
        let refused = |text: String| reply::json(502, &openwhisk::error(&text));
        let mut whisk = match Whisk::init(&body) {
            Ok(whisk) => whisk,
            Err(text) => return refused(text),
        };
        drop(body);
        match whisk.code.take() {
            None => {}
            Some(_) if self.contract != Contract::OpenWhisk => {
                return refused("code comes from an OpenWhisk only".into())
            }
            Some(zip) => {
                let base = host.scratch();
                // Health is still asked for meanwhile.
                let unpacking = tokio::task::spawn_blocking(move || code::unpack(&zip, &base));
                match unpacking.await {
                    Ok(Ok(package)) => host.package = Some(package),
                    Ok(Err(text)) => return refused(text),
                    Err(e) => return refused(format!("a defect of Mayfly: {e}")),
                }
                *unpoisoned(&self.fault) = None;
            }
        }
        if let Some(text) = unpoisoned(&self.fault).clone() {
            return refused(text);
        }
        *unpoisoned(&self.initialized) = Some(whisk);
        reply::json(200, &serde_json::json!({"OK": true}))
    }

    /// OpenWhisk's /run: the answer comes at the end, and marks on both streams end the activation's log.
    async fn activate(self: Arc<Front>, body: &Bytes, place: &Place) -> Response {
        let claimed = letter::open(body).and_then(|start| Ok((start, self.claim()?)));
        let (start, host) = match claimed {
            Ok(claimed) => claimed,
            // The marks belong to the activation that runs.
            Err(Trouble::Busy) => return refusal(&Trouble::Busy),
            Err(trouble) => {
                trace::line(trouble.text());
                openwhisk::mark();
                return reply::json(502, &openwhisk::error(trouble.text()));
            }
        };
        place.proven();
        let mut variables = match &*unpoisoned(&self.initialized) {
            Some(whisk) => whisk.variables.clone(),
            None => Vec::new(),
        };
        let activation = openwhisk::activation(body);
        variables.extend(activation.variables);
        let situation = self.situation(activation.deadline_ms, variables);
        let (begun, _) = oneshot::channel();
        let result = flat(run(host, start, situation, begun).await);
        if let Err(trouble) = &result {
            trace::line(trouble.text());
        }
        openwhisk::mark();
        match result {
            Ok(outcome) => reply::json(200, &outcome.to_json()),
            Err(trouble) => reply::json(502, &openwhisk::error(trouble.text())),
        }
    }

    /// Fission's /v2/specialize: the function's package has been put somewhere.
    async fn specialize(&self, body: &Bytes) -> Response {
        let Ok(mut host) = self.claim_any() else {
            return refusal(&Trouble::Busy);
        };
        let mut initialized = unpoisoned(&self.initialized);
        if initialized.is_some() {
            return text(400, "Not a generic container");
        }
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let path = value.get("filepath").and_then(Value::as_str).unwrap_or("");
        if !path.is_empty()
            && Path::new(path)
                .join(crate::platform::package::FILE)
                .is_file()
        {
            match Package::open(Path::new(path)) {
                Ok(package) => host.package = Some(package),
                Err(e) => return text(500, &e),
            }
            *unpoisoned(&self.fault) = None;
        }
        *initialized = Some(Whisk::default());
        text(202, "")
    }

    fn claim_any(&self) -> Result<OwnedMutexGuard<Host>, Trouble> {
        let free = self.host.clone().try_lock_owned();
        free.map_err(|_| Trouble::Busy)
    }
}

/// Runs a start to its end, whether anybody waits for it or not: who asked may be cut off, the job goes on.
fn run(
    mut host: OwnedMutexGuard<Host>,
    start: Start,
    situation: Situation,
    begun: oneshot::Sender<()>,
) -> tokio::task::JoinHandle<Result<Outcome, Trouble>> {
    tokio::spawn(async move {
        let accepted = || {
            // Nobody may be left to hear it.
            let _ = begun.send(());
        };
        let result = host.run(&start, &situation, accepted).await;
        if let Err(trouble) = &result {
            crate::info!("{start:?}: {}", trouble.text());
        }
        result
    })
}

fn flat(
    ended: Result<Result<Outcome, Trouble>, tokio::task::JoinError>,
) -> Result<Outcome, Trouble> {
    ended.unwrap_or_else(|e| Err(Trouble::Unfit(format!("a defect of Mayfly: {e}"))))
}

fn has_field(body: &[u8], name: &str) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|value| value.get(name).is_some())
}

/// The body, or the size at which it was larger than `most`.
async fn limited(mut body: Incoming, most: usize) -> Result<Result<Bytes, usize>, hyper::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > most {
            return Ok(Err(bytes.len()));
        }
    }
    Ok(Ok(bytes.into()))
}
