//! A connection that speaks in frames, of a member, a host or an owner.

use super::act::Verdict;
use super::metrics::Metrics;
use super::outbox::{Crowd, Outlet};
use super::{Inner, LINGER, REQUEST, WRITE};
use crate::rendezvous::message::{self, Role};
use crate::rendezvous::registry::{Connection, Effect, Incoming};
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::sync::oneshot;

/// Whoever has to wait is told that often that we are here.
const EXCUSE: Duration = Duration::from_millis(500);
/// A launcher's user may look at one page of output for long; whether it lives, its lease tells.
const PAGE: Duration = Duration::from_secs(3600);
/// Most frames are smaller.
const FRAME: usize = 1024;

/// A connection that was let in, before its first frame.
pub(super) struct Entrance {
    pub(super) connection: Connection,
    pub(super) role: Role,
    pub(super) outlet: Outlet,
    pub(super) upgrade: hyper::upgrade::OnUpgrade,
}

impl Inner {
    /// From the upgrade to the end.
    pub(super) async fn link(&self, entrance: Entrance) {
        let Entrance {
            connection, role, ..
        } = entrance;
        let upgraded = match tokio::time::timeout(REQUEST, entrance.upgrade).await {
            Ok(Ok(upgraded)) => upgraded,
            _ => return self.gone(connection, "the connection never came about"),
        };
        let (reading, writing) = tokio::io::split(TokioIo::new(upgraded));
        let mut reading = BufReader::with_capacity(FRAME, reading);
        let crowd = entrance.outlet.crowd();
        let (written, mut all_written) = oneshot::channel::<()>();
        let patience = match role {
            Role::Owner => PAGE,
            _ => WRITE,
        };
        tokio::spawn(async move {
            let _until_the_end = written;
            entrance.outlet.write(writing, patience).await;
        });
        let closed = async {
            let _ = (&mut all_written).await;
            tokio::time::sleep(LINGER).await;
        };
        let why = tokio::select! {
            why = self.read((connection, role), &mut reading, &crowd) => why,
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
        (connection, role): (Connection, Role),
        reading: &mut (impl AsyncReadExt + Unpin),
        own: &Crowd,
    ) -> String {
        let mut body = Vec::new();
        loop {
            let mut prefix = [0; 4];
            if let Err(e) = reading.read_exact(&mut prefix).await {
                return match e.kind() {
                    io::ErrorKind::UnexpectedEof => "its connection ended".into(),
                    _ => format!("its connection broke: {e}"),
                };
            }
            let length = match message::body_length(prefix, Incoming::limit(role)) {
                Ok(length) => length,
                Err(malformed) => return malformed.to_string(),
            };
            body.clear();
            body.shrink_to(FRAME);
            // Grows with what really comes, whatever length was announced.
            let whole = reading.take(length as u64).read_to_end(&mut body).await;
            match whole {
                Ok(n) if n == length => {}
                Ok(_) => return "its connection ended within a frame".into(),
                Err(e) => return format!("its connection broke within a frame: {e}"),
            }
            own.heard();
            Metrics::add(&self.metrics.frames_in, 1);
            Metrics::add(&self.metrics.bytes_in, (4 + length) as u64);
            match Incoming::decode(role, &body) {
                Err(malformed) => return malformed.to_string(),
                Ok(frame) => {
                    let now = self.now();
                    let verdict =
                        self.act(|registry, out| registry.receive(now, connection, frame, out));
                    self.hold_back(connection, verdict).await;
                }
            }
        }
    }

    /// Whoever says more than others can take has to wait; that is no silence of its own.
    async fn hold_back(&self, connection: Connection, verdict: Verdict) {
        let excuse = || {
            let now = self.now();
            self.act(|registry, out| registry.excuse(now, connection, out));
        };
        let mut left = verdict.pause;
        while !left.is_zero() {
            let pause = left.min(EXCUSE);
            tokio::time::sleep(pause).await;
            left -= pause;
            if !left.is_zero() {
                excuse();
            }
        }
        if let Some(crowd) = verdict.crowd {
            while !crowd.cleared(EXCUSE).await {
                excuse();
            }
        }
    }
}
