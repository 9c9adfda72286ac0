//! Doing what the registry asks for.

use super::metrics::Metrics;
use super::outbox::Crowd;
use super::{Core, Inner};
use crate::rendezvous::message::ToHost;
use crate::rendezvous::message::ToMember;
use crate::rendezvous::registry::{Connection, Effect, Event, Outgoing, Registry};
use hyper::body::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// What whoever brought a frame has to do before the next one.
#[derive(Default)]
pub(super) struct Verdict {
    /// Wait so long.
    pub(super) pause: Duration,
    /// Wait until somebody has taken what we sent.
    pub(super) crowd: Option<Arc<Crowd>>,
}

impl Inner {
    /// Lets the registry act and does what it asks for.
    pub(super) fn act(&self, f: impl FnOnce(&mut Registry, &mut Vec<Effect>)) -> Verdict {
        let mut effects = Vec::new();
        let mut verdict = Verdict::default();
        let mut core = self.core();
        let before = core.registry.next_deadline();
        f(&mut core.registry, &mut effects);
        for effect in effects {
            match effect {
                Effect::Tell(job, owner, event) => {
                    self.log(&job, &event);
                    self.metrics.event(&event);
                    core.ledger.event(&job, &event);
                    (self.on_event)(&job, &event);
                    if let Some(owner) = owner {
                        let bulk = matches!(event, Event::Output { .. } | Event::Log { .. });
                        let bytes = Bytes::from(event.frame());
                        self.count(1, bytes.len());
                        core.put(owner, bytes, bulk, &mut verdict);
                    }
                }
                Effect::Send(to, frame) => {
                    let bulk = matches!(
                        frame,
                        Outgoing::Host(ToHost::Input { .. })
                            | Outgoing::Member(ToMember::Note { .. })
                    );
                    let bytes = Bytes::from(frame.encode());
                    self.count(to.len(), bytes.len());
                    for connection in to {
                        core.put(connection, bytes.clone(), bulk, &mut verdict);
                    }
                }
                // Without its outbox the writing task ends after what is queued.
                Effect::Close(connection) => {
                    core.outgoing.remove(&connection);
                }
                Effect::Pause(_, time) => verdict.pause = Duration::from_millis(time),
            }
        }
        let after = core.registry.next_deadline();
        drop(core);
        // Most frames change nothing of that.
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.changed.notify_one();
        }
        verdict
    }

    fn count(&self, frames: usize, bytes: usize) {
        Metrics::add(&self.metrics.frames_out, frames as u64);
        Metrics::add(&self.metrics.bytes_out, (frames * bytes) as u64);
    }
}

impl Core {
    fn put(&mut self, to: Connection, bytes: Bytes, bulk: bool, verdict: &mut Verdict) {
        let Some(outbox) = self.outgoing.get(&to) else {
            return;
        };
        if !outbox.put(bytes) {
            self.outgoing.remove(&to);
        } else if bulk && verdict.crowd.is_none() {
            verdict.crowd = outbox.crowd();
        }
    }
}
