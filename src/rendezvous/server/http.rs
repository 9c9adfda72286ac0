//! What is answered to HTTP requests.

use super::{Inner, UpgradeSlot, JOBS, QUEUE, REQUEST};
use crate::base::{os, trace};
use crate::rendezvous::message::{hex, same_secret, unhex, Role};
use crate::rendezvous::registry::{Plan, Refusal, Time};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use tokio::sync::mpsc;

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
    /// 32 bytes in hexadecimal.
    pub secret: String,
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

impl Inner {
    pub(super) async fn answer(
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
            (&Method::GET, ["v1", "jobs", job, role @ ..]) => match Role::from_path(role) {
                Some(role) => {
                    let job = job.to_string();
                    self.answer_role(request, peer, &job, role, slot)
                }
                None => plain(StatusCode::NOT_FOUND, "not found\n"),
            },
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
        let (mut job, mut secret) = ([0; 16], [0; 32]);
        if os::random(&mut job).and(os::random(&mut secret)).is_err() {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "no random numbers\n");
        }
        let plan = Plan {
            join_within: Time::from(wanted.join_within_s) * 1000,
            lease: Time::from(wanted.lease_s.min(3600)) * 1000,
            ..Plan::new(job, secret, wanted.size)
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
                    secret: hex(&secret),
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

    fn answer_role(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        job: &str,
        role: Role,
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
            Some(job) => core.registry.open(self.now(), &job, role, &token),
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
}

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
