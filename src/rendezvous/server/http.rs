//! What is answered to HTTP requests.

use super::link::Entrance;
use super::listen::Slot;
use super::metrics::Metrics;
use super::outbox::outbox;
use super::Inner;
use crate::rendezvous::message::{unhex, Role};
use crate::rendezvous::registry::Refusal;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderValue, AUTHORIZATION, CONNECTION, CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use std::net::SocketAddr;
use std::time::Instant;

pub(super) type Answer = Response<Full<Bytes>>;

impl Inner {
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        slot: &Slot,
    ) -> Answer {
        Metrics::add(&self.metrics.requests, 1);
        let path = request.uri().path().to_string();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match (request.method(), &parts[..]) {
            (&Method::GET, ["healthz"]) if self.closing() => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "ending\n")
            }
            (&Method::GET, ["healthz"]) => plain(StatusCode::OK, "ok\n"),
            (&Method::GET, ["metrics"]) => self.answer_metrics(),
            (&Method::POST, ["v1", "jobs"]) => self.answer_create(request, peer, slot).await,
            (&Method::GET, ["v1", "jobs"]) => self.answer_list(&request, peer),
            (&Method::GET, ["v1", "jobs", job]) => self.answer_status(&request, peer, job),
            (&Method::DELETE, ["v1", "jobs", job]) => self.answer_end(&request, peer, job),
            (&Method::GET, ["v1", "jobs", job, "log"]) => self.answer_log(&request, peer, job),
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

    fn answer_metrics(&self) -> Answer {
        let mut response = plain(StatusCode::OK, &self.metrics_page());
        let kind = HeaderValue::from_static("text/plain; version=0.0.4");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }

    /// Turns away who has no right pass. After many such a source is told to wait; a right pass is never held up.
    pub(super) fn refuse(&self, refusal: Refusal, peer: SocketAddr) -> Answer {
        let (cause, why, status, text) = match refusal {
            Refusal::UnknownJob => (
                "unknown_job",
                "it asks for a job that is unknown here",
                StatusCode::NOT_FOUND,
                "this job is unknown here: it ended long ago, or the rendezvous was restarted\n",
            ),
            Refusal::WrongToken => (
                "wrong_pass",
                "its pass is wrong",
                StatusCode::UNAUTHORIZED,
                "wrong pass\n",
            ),
        };
        self.metrics.refused(cause);
        let now = Instant::now();
        self.hushed
            .line(cause, now, || format!("rendezvous: refused {peer}: {why}"));
        if self.gate.failed(peer.ip(), now) {
            return plain(status, text);
        }
        self.too_often(peer)
    }

    /// Says that this source has shown too many wrong passes or keys.
    pub(super) fn too_often(&self, peer: SocketAddr) -> Answer {
        self.metrics.refused("too_often");
        self.hushed.line("too_often", Instant::now(), || {
            format!("rendezvous: {peer} has shown too many wrong passes and is told to wait")
        });
        let mut response = plain(
            StatusCode::TOO_MANY_REQUESTS,
            "too many wrong passes or keys from this address\n",
        );
        let soon = HeaderValue::from_static("5");
        response.headers_mut().insert(RETRY_AFTER, soon);
        response
    }

    fn answer_role(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        job: &str,
        role: Role,
        slot: &Slot,
    ) -> Answer {
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
        let (outbox, outlet) = outbox();
        core.outgoing.insert(connection, outbox);
        drop(core);
        self.changed.notify_one();
        let upgrade = hyper::upgrade::on(&mut request);
        slot.place.proven();
        let mut entrance = slot.entrance.lock().unwrap_or_else(|p| p.into_inner());
        *entrance = Some(Entrance {
            connection,
            role,
            outlet,
            upgrade,
        });
        drop(entrance);
        let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, "");
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("mayfly"));
        response
    }
}

pub(super) fn bearer(request: &Request<Incoming>) -> &str {
    let value = request.headers().get(AUTHORIZATION);
    value
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "))
        .unwrap_or("")
}

pub(super) fn plain(status: StatusCode, text: &str) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(text.to_string())));
    *response.status_mut() = status;
    response
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_string(value) {
        Ok(text) => {
            let mut response = plain(status, &(text + "\n"));
            let kind = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(e) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{e}\n")),
    }
}
