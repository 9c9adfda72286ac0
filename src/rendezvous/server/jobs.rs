//! The jobs as HTTP shows them: opened, listed, looked at, read, ended.

use super::http::{bearer, json, plain, Answer};
use super::listen::Slot;
use super::{Inner, JOBS};
use crate::base::os;
use crate::rendezvous::message::{hex, same_secret, unhex, OBSERVER, TASK_MAX};
use crate::rendezvous::registry::{JobId, Plan, Refusal, Summary, Time};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A request's body without its task, bytes.
const BODY: usize = 16 * 1024;
/// What is still read of a body that is too large, bytes.
const DISCARD: usize = 16 << 20;
/// The most that is kept of a job's output, bytes.
const LOG_MAX: usize = 16 << 20;

/// Takes what comes of a body that is refused, within bounds: closing on unread bytes would reset the connection, and
/// the sender might never read why.
async fn discard(mut body: Incoming) {
    let taking = async {
        let mut left = DISCARD;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len()));
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), taking).await;
}

/// What `POST /v1/jobs` takes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    pub size: u32,
    /// Ranks of one instance.
    #[serde(default = "default_per_instance")]
    pub per_instance: u32,
    /// Seconds until everybody must have joined; 0: no limit.
    #[serde(default)]
    pub join_within_s: u32,
    /// Seconds that a member may be silent; 0: no limit.
    #[serde(default = "default_lease")]
    pub lease_s: u32,
    /// Bytes of the ranks' output that are kept for `mayfly logs`.
    #[serde(default = "default_log")]
    pub keep_log: usize,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// An owner will connect and stay; when it is gone, so is the job. With a task it is so anyway.
    #[serde(default)]
    pub owned: bool,
    /// What hosts are to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<serde_json::Value>,
}

fn default_per_instance() -> u32 {
    1
}

fn default_lease() -> u32 {
    10
}

fn default_log() -> usize {
    256 * 1024
}

impl JobRequest {
    /// With the defaults.
    pub fn new(size: u32) -> JobRequest {
        JobRequest {
            size,
            per_instance: default_per_instance(),
            lease_s: default_lease(),
            keep_log: default_log(),
            ..JobRequest::default()
        }
    }
}

/// What `POST /v1/jobs` answers.
#[derive(Serialize, Deserialize)]
pub struct JobCreated {
    /// 16 bytes in hexadecimal.
    pub job: String,
    /// 32 bytes in hexadecimal.
    pub secret: String,
    /// `host:port,host:port` each.
    #[serde(default)]
    pub relays: Vec<String>,
    /// Until when they may be used, seconds since 1970; 0: there are none.
    #[serde(default)]
    pub relay_expiry: u64,
}

/// How a job stands: what `GET /v1/jobs/ID` answers, and `GET /v1/jobs` a list of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobStatus {
    pub job: String,
    pub name: String,
    pub size: u32,
    pub per_instance: u32,
    /// Ranks that have joined, ever.
    pub joined: u32,
    pub finished: u32,
    /// Instances that are here.
    pub hosts: u32,
    /// Seconds since it was opened.
    pub age_s: u64,
    /// `running`, `over` or `aborted`.
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Nobody guesses a key of so many characters.
const GUESSABLE: usize = 32;

/// Headers of a piece of a log: where the next one begins, how many bytes before it are gone, the job's state.
pub const LOG_NEXT: &str = "mayfly-log-next";
pub const LOG_LOST: &str = "mayfly-log-lost";
pub const JOB_STATE: &str = "mayfly-job-state";

/// Why somebody is not let in.
enum Denied {
    Pass(Refusal),
    WrongKey,
    TooOften,
}

fn state(summary: &Summary) -> &'static str {
    match summary.over {
        None => "running",
        Some(Ok(())) => "over",
        Some(Err(_)) => "aborted",
    }
}

impl Inner {
    /// Does the request show the operator's key?
    fn is_operator(&self, request: &Request<Incoming>) -> bool {
        match &self.options.operator_key {
            Some(key) => same_secret(bearer(request).as_bytes(), key.as_bytes()),
            None => false,
        }
    }

    /// Has this source shown too many wrong keys to be listened to? Only when the key is short enough to be guessed.
    fn guesses(&self, peer: SocketAddr) -> bool {
        let key = self.options.operator_key.as_deref().unwrap_or_default();
        key.len() < GUESSABLE && self.gate.guessing(peer.ip(), Instant::now())
    }

    fn operator(&self, request: &Request<Incoming>, peer: SocketAddr) -> Result<(), Denied> {
        if self.guesses(peer) {
            Err(Denied::TooOften)
        } else if self.is_operator(request) {
            Ok(())
        } else {
            Err(Denied::WrongKey)
        }
    }

    /// The job, for those who know its secret and for the operator.
    fn known(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
        job: &str,
    ) -> Result<(JobId, Summary), Denied> {
        let id = unhex::<16>(job).ok_or(Denied::Pass(Refusal::UnknownJob))?;
        let shown = unhex::<32>(bearer(request)).unwrap_or_default();
        let core = self.core();
        match core.registry.summary(&id, &shown) {
            Ok(summary) => Ok((id, summary)),
            Err(Refusal::WrongToken) => {
                let allowed = !self.guesses(peer) && self.is_operator(request);
                let mut jobs = core.registry.overview();
                jobs.find(|(plan, _)| plan.job == id && allowed)
                    .map(|(_, summary)| (id, summary))
                    .ok_or(Denied::Pass(Refusal::WrongToken))
            }
            Err(refusal) => Err(Denied::Pass(refusal)),
        }
    }

    fn deny(&self, denied: Denied, peer: SocketAddr) -> Answer {
        match denied {
            Denied::Pass(refusal) => self.refuse(refusal, peer),
            Denied::TooOften => self.too_often(peer),
            Denied::WrongKey => {
                self.metrics.refused("wrong_key");
                let now = Instant::now();
                self.gate.guessed(peer.ip(), now);
                self.hushed.line("wrong_key", now, || {
                    format!("rendezvous: refused {peer}: wrong operator's key")
                });
                plain(StatusCode::UNAUTHORIZED, "wrong key\n")
            }
        }
    }

    pub(super) async fn answer_create(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        slot: &Slot,
    ) -> Answer {
        if let Err(denied) = self.operator(&request, peer) {
            return self.deny(denied, peer);
        }
        // What the operator sends may be large, and take its time.
        slot.place.proven();
        let most = TASK_MAX + BODY;
        let mut sent = request.into_body();
        if sent.size_hint().lower() > most as u64 {
            discard(sent).await;
            return self.oversized();
        }
        let body = Limited::new(&mut sent, most).collect();
        let body = match tokio::time::timeout(self.gate.patience(), body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => {
                discard(sent).await;
                return self.oversized();
            }
            Err(_) => {
                self.metrics.refused("slow");
                return plain(StatusCode::REQUEST_TIMEOUT, "the body does not come\n");
            }
        };
        let wanted: JobRequest = match serde_json::from_slice(&body) {
            Ok(wanted) => wanted,
            Err(e) => return plain(StatusCode::BAD_REQUEST, &format!("{e}\n")),
        };
        match self.plan(wanted) {
            Err((status, why)) => plain(status, &format!("{why}\n")),
            Ok(plan) => {
                let created = JobCreated {
                    job: hex(&plan.job),
                    secret: hex(&plan.secret),
                    relays: plan.relays.clone(),
                    relay_expiry: plan.relay_expiry,
                };
                match self.create(plan) {
                    Err(why) => plain(StatusCode::BAD_REQUEST, &format!("{why}\n")),
                    Ok(()) => json(StatusCode::CREATED, &created),
                }
            }
        }
    }

    fn oversized(&self) -> Answer {
        self.metrics.refused("oversized");
        let text = "the body is too large or broken\n";
        plain(StatusCode::PAYLOAD_TOO_LARGE, text)
    }

    fn plan(&self, wanted: JobRequest) -> Result<Plan, (StatusCode, String)> {
        if self.closing() {
            let why = "the rendezvous is about to end and takes no more jobs".into();
            return Err((StatusCode::SERVICE_UNAVAILABLE, why));
        }
        if self.core().registry.jobs() >= JOBS {
            return Err((StatusCode::SERVICE_UNAVAILABLE, "too many jobs".into()));
        }
        let (mut job, mut secret) = ([0; 16], [0; 32]);
        os::random(&mut job)
            .and(os::random(&mut secret))
            .map_err(|e| {
                let why = format!("no random numbers: {e}");
                (StatusCode::INTERNAL_SERVER_ERROR, why)
            })?;
        let task = wanted.task.map(|task| task.to_string().into_bytes());
        if task.as_ref().is_some_and(|task| task.len() > TASK_MAX) {
            let why = format!("the task is larger than {TASK_MAX} bytes");
            return Err((StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        let per_instance = wanted.per_instance;
        if per_instance == 0 || per_instance > wanted.size.max(1) {
            let why = format!("per_instance is {per_instance}, not within 1 and the size");
            return Err((StatusCode::BAD_REQUEST, why));
        }
        let mut plan = Plan {
            name: wanted
                .name
                .chars()
                .filter(|c| !c.is_control())
                .take(128)
                .collect(),
            per_instance,
            join_within: Time::from(wanted.join_within_s) * 1000,
            lease: Time::from(wanted.lease_s.min(3600)) * 1000,
            keep_log: wanted.keep_log.min(LOG_MAX),
            owned: wanted.owned || task.is_some(),
            task,
            ..Plan::new(job, secret, wanted.size)
        };
        self.options.relays.grant(&mut plan);
        Ok(plan)
    }

    fn status(&self, plan: (JobId, String, u32), summary: Summary) -> JobStatus {
        let (job, name, per_instance) = plan;
        let core = self.core();
        let record = core.ledger.get(&job);
        let state = state(&summary).into();
        let (code, text) = match summary.over {
            Some(Err((by, code, text))) => match by {
                OBSERVER => (Some(code), Some(text)),
                rank => (Some(code), Some(format!("rank {rank}: {text}"))),
            },
            _ => (None, None),
        };
        JobStatus {
            job: hex(&job),
            name,
            size: summary.size,
            per_instance,
            joined: summary.joined,
            finished: summary.finished,
            hosts: record.map_or(0, |record| record.hosts),
            age_s: record.map_or(0, |record| record.opened.elapsed().as_secs()),
            state,
            code,
            text,
        }
    }

    pub(super) fn answer_list(&self, request: &Request<Incoming>, peer: SocketAddr) -> Answer {
        if let Err(denied) = self.operator(request, peer) {
            return self.deny(denied, peer);
        }
        let known: Vec<_> = {
            let core = self.core();
            let jobs = core.registry.overview();
            jobs.map(|(plan, summary)| (Inner::named(plan), summary))
                .collect()
        };
        let lines = known.into_iter().map(|(plan, job)| self.status(plan, job));
        let mut lines: Vec<JobStatus> = lines.collect();
        lines.sort_by(|a, b| (a.age_s, &a.job).cmp(&(b.age_s, &b.job)));
        json(StatusCode::OK, &lines)
    }

    fn named(plan: &Plan) -> (JobId, String, u32) {
        (plan.job, plan.name.clone(), plan.per_instance)
    }

    pub(super) fn answer_status(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
        job: &str,
    ) -> Answer {
        let (id, summary) = match self.known(request, peer, job) {
            Ok(known) => known,
            Err(denied) => return self.deny(denied, peer),
        };
        let plan = {
            let core = self.core();
            let mut jobs = core.registry.overview();
            jobs.find(|(plan, _)| plan.job == id)
                .map(|(plan, _)| Inner::named(plan))
        };
        match plan {
            Some(plan) => json(StatusCode::OK, &self.status(plan, summary)),
            None => self.refuse(Refusal::UnknownJob, peer),
        }
    }

    pub(super) fn answer_end(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
        job: &str,
    ) -> Answer {
        match self.known(request, peer, job) {
            Err(denied) => self.deny(denied, peer),
            Ok((_, summary)) if summary.over.is_some() => {
                plain(StatusCode::CONFLICT, "the job has ended already\n")
            }
            Ok((id, _)) => {
                let now = self.now();
                self.act(|registry, out| {
                    registry.abort(
                        now,
                        &id,
                        137,
                        "it was ended from outside (mayfly kill)",
                        out,
                    )
                });
                plain(StatusCode::OK, "ended\n")
            }
        }
    }

    pub(super) fn answer_log(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
        job: &str,
    ) -> Answer {
        let (id, summary) = match self.known(request, peer, job) {
            Ok(known) => known,
            Err(denied) => return self.deny(denied, peer),
        };
        let from = match request.uri().query() {
            None => Some(0),
            Some(query) => query.strip_prefix("from=").and_then(|n| n.parse().ok()),
        };
        let Some(from) = from else {
            return plain(
                StatusCode::BAD_REQUEST,
                "the only parameter is from=BYTES\n",
            );
        };
        let piece = self.core().ledger.get(&id).map(|job| job.piece(from));
        let Some(piece) = piece else {
            return self.refuse(Refusal::UnknownJob, peer);
        };
        let mut response = plain(StatusCode::OK, "");
        let headers = response.headers_mut();
        headers.insert(LOG_NEXT, HeaderValue::from(piece.next));
        headers.insert(LOG_LOST, HeaderValue::from(piece.lost));
        headers.insert(JOB_STATE, HeaderValue::from_static(state(&summary)));
        *response.body_mut() = piece.bytes.into();
        response
    }
}
