//! The job at the rendezvous: at one of our own, or at a standalone one.

use super::attendance::Attendance;
use super::{Refusal, Standalone};
use crate::base::os;
use crate::rendezvous::client::{connect, response_head};
use crate::rendezvous::message::unhex;
use crate::rendezvous::place::Place;
use crate::rendezvous::registry::{Event, Plan};
use crate::rendezvous::server::{self, JobCreated, JobRequest};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

/// What every ticket of the job says.
pub struct Invitation {
    pub job: [u8; 16],
    /// The job's; passes and the mesh key come from it.
    pub secret: [u8; 32],
    pub address: String,
}

/// Our hold on the job.
pub enum Service {
    Own(server::Service, [u8; 16]),
    Standalone(Attendance),
}

impl Service {
    /// Opens a job of this size. `tell` is called with what happens in it, from other threads.
    pub fn open(
        size: u32,
        standalone: Option<&Standalone>,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<(Service, Invitation), Refusal> {
        match standalone {
            None => Service::own(size, tell),
            Some(standalone) => Service::elsewhere(size, standalone, tell),
        }
    }

    fn own(
        size: u32,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<(Service, Invitation), Refusal> {
        let refusal =
            |e: std::io::Error| Refusal::new(1, format!("the rendezvous cannot start: {e}"));
        let (mut job, mut secret) = ([0; 16], [0; 32]);
        os::random(&mut job)
            .and_then(|()| os::random(&mut secret))
            .map_err(refusal)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(refusal)?;
        let on_event = Box::new(move |_: &[u8; 16], event: &Event| tell(event.clone()));
        let service = server::Service::start(listener, server::Options::default(), on_event)
            .map_err(refusal)?;
        let plan = Plan {
            // We see for ourselves whether a rank of ours is alive, and a debugger may stop it for hours.
            join_within: 0,
            lease: 0,
            keep: u64::MAX / 2,
            ..Plan::new(job, secret, size)
        };
        service.create(plan).map_err(|why| Refusal::new(1, why))?;
        let address = service.address().to_string();
        Ok((
            Service::Own(service, job),
            Invitation {
                job,
                secret,
                address,
            },
        ))
    }

    fn elsewhere(
        size: u32,
        standalone: &Standalone,
        tell: impl Fn(Event) + Send + 'static,
    ) -> Result<(Service, Invitation), Refusal> {
        let address = standalone.address.clone();
        let refusal =
            |e: std::io::Error| Refusal::new(1, format!("the rendezvous at {address}: {e}"));
        let (job, secret) = create(size, standalone).map_err(refusal)?;
        let place = Place::parse(&address).map_err(|why| Refusal::new(1, why))?;
        let attendance = Attendance::begin(&place, &job, &secret, tell)
            .map_err(|e| Refusal::new(1, e.to_string()))?;
        Ok((
            Service::Standalone(attendance),
            Invitation {
                job,
                secret,
                address,
            },
        ))
    }

    /// Are we told of everything that happens, and before its consequences?
    pub fn sees_all(&self) -> bool {
        matches!(self, Service::Own(..))
    }

    /// Ends the job.
    pub fn abort(&mut self, code: i32, text: &str) {
        match self {
            Service::Own(service, job) => service.abort(job, code, text),
            Service::Standalone(attendance) => attendance.stop(code, text),
        }
    }

    /// This rank's process has ended.
    pub fn departed(&self, rank: u32) {
        if let Service::Own(service, job) = self {
            service.departed(job, rank);
        }
    }
}

/// `POST /v1/jobs`.
fn create(size: u32, at: &Standalone) -> std::io::Result<([u8; 16], [u8; 32])> {
    let wrong = |text: String| std::io::Error::other(text);
    let request = JobRequest {
        owned: true,
        ..JobRequest::new(size)
    };
    let body = serde_json::to_string(&request).map_err(std::io::Error::other)?;
    let mut stream = connect(&at.address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "POST /v1/jobs HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        at.address,
        at.operator_key,
        body.len()
    )?;
    let (status, _) = response_head(&mut stream)?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    match status {
        201 => {}
        401 => return Err(wrong("it refuses our operator's key".into())),
        other => {
            return Err(wrong(format!(
                "it answers with HTTP status {other}: {}",
                answer.trim()
            )))
        }
    }
    let created: JobCreated = serde_json::from_str(&answer).map_err(std::io::Error::other)?;
    match (unhex(&created.job), unhex(&created.secret)) {
        (Some(job), Some(secret)) => Ok((job, secret)),
        _ => Err(wrong("its answer is not understood".into())),
    }
}
