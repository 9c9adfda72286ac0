//! The job at the rendezvous: at one of our own, or at a standalone one.

use super::attendance::Attendance;
use super::{Refusal, Standalone};
use crate::base::os;
use crate::rendezvous::registry::{Event, Plan};
use crate::rendezvous::server;
use std::net::TcpListener;

/// What every ticket of the job says.
pub struct Invitation {
    pub job: [u8; 16],
    /// The job's; passes and the mesh key come from it.
    pub secret: [u8; 32],
    /// `host:port`, in plain TCP.
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
        let (attendance, invitation) =
            Attendance::begin(size, standalone, tell).map_err(|why| Refusal::new(1, why))?;
        Ok((Service::Standalone(attendance), invitation))
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
