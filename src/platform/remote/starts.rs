//! Bringing the instances: all at once, each tried again as long as that may help and makes sense.
//!
//! Every attempt has a number and a pass of its own, so that what a platform repeats or delivers late is turned away at
//! the rendezvous; an attempt follows only when the one before is known not to have arrived.

use crate::base::os;
use crate::platform::on::{Again, Delivery, Letter, Platform, Wish};
use crate::platform::start::Common;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The first pause before another attempt, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));
/// How long an instance may still turn up at the rendezvous when its request has failed.
const TO_TURN_UP: Duration = Duration::from_millis(1500);
/// And when the platform has answered as if the instance had run.
const AFTER_ANSWER: Duration = Duration::from_secs(4);

/// What the supervisor learns of the starts.
#[derive(Debug, PartialEq)]
pub enum Report {
    /// An attempt failed, another one follows.
    Trying {
        instance: u32,
        attempt: u32,
        why: String,
    },
    /// This instance will not come.
    Failed { instance: u32, why: String },
    /// What brings all instances at once has failed.
    AllFailed { why: String },
}

/// The starts under way; dropped, they end, and so do their requests.
pub struct Starts {
    /// Kept for the drop.
    _tasks: JoinSet<()>,
    arrivals: watch::Sender<Vec<bool>>,
}

/// What an instance's task needs.
#[derive(Clone)]
struct Errand {
    platform: Arc<dyn Platform>,
    common: Arc<Common>,
    arrivals: watch::Receiver<Vec<bool>>,
    deadline: Instant,
    reports: mpsc::UnboundedSender<Report>,
}

impl Starts {
    /// Begins all; `deadline`: after it nothing is tried again.
    pub fn begin(
        platform: Arc<dyn Platform>,
        common: Common,
        wish: &Wish,
        deadline: Instant,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Starts {
        let (arrivals, seen) = watch::channel(vec![false; wish.instances as usize]);
        let errand = Errand {
            platform,
            common: Arc::new(common),
            arrivals: seen,
            deadline,
            reports,
        };
        let mut tasks = JoinSet::new();
        let all = errand.clone();
        let wish = wish.clone();
        tasks.spawn(async move {
            if all.all(&wish).await {
                return;
            }
            let mut each = JoinSet::new();
            for instance in 0..wish.instances {
                let errand = all.clone();
                each.spawn(async move { errand.bring(instance).await });
            }
            while each.join_next().await.is_some() {}
        });
        Starts {
            _tasks: tasks,
            arrivals,
        }
    }

    /// This instance has begun.
    pub fn arrived(&self, instance: u32) {
        self.arrivals.send_modify(|seen| {
            if let Some(entry) = seen.get_mut(instance as usize) {
                *entry = true;
            }
        });
    }
}

impl Errand {
    /// Where the platform brings all at one request: does so. `false`: each is to be brought.
    async fn all(&self, wish: &Wish) -> bool {
        let letter = Letter {
            instance: 0,
            attempt: 0,
            body: self.common.to_json(),
        };
        let mut pause = PAUSE.0;
        loop {
            let Some(answer) = self.platform.start_all(wish, &letter) else {
                return false;
            };
            let Err(failure) = answer.await else {
                return true;
            };
            let why = hide(failure.text, &letter);
            match self.pause(&mut pause, failure.again) {
                Some(pause) => {
                    self.tell(Report::Trying {
                        instance: 0,
                        attempt: 0,
                        why,
                    });
                    tokio::time::sleep(pause).await;
                }
                None => {
                    self.tell(Report::AllFailed { why });
                    return true;
                }
            }
        }
    }

    /// Until one instance has arrived and run, or cannot.
    async fn bring(mut self, instance: u32) {
        let mut pause = PAUSE.0;
        // Of several troubles the first one tells most: what comes after it may be its consequence.
        let mut first: Option<String> = None;
        for attempt in 0.. {
            let letter = Letter {
                instance,
                attempt,
                body: self.common.of(instance, attempt).to_json(),
            };
            let failure = match self.platform.start(&letter).await {
                Ok(Delivery::Accepted) => return,
                Ok(Delivery::Answered(said)) => {
                    if !self.turns_up(instance, AFTER_ANSWER).await {
                        let said = hide(said, &letter);
                        let said = if said.is_empty() {
                            "nothing".into()
                        } else {
                            said
                        };
                        let why = format!(
                            "the platform answered ({said}), but the instance never came to the rendezvous"
                        );
                        self.tell(Report::Failed { instance, why });
                    }
                    return;
                }
                Err(failure) => failure,
            };
            let why = hide(failure.text, &letter);
            let patience = match failure.again {
                Again::Never => TO_TURN_UP,
                _ if failure.doubtful => TO_TURN_UP,
                _ => Duration::ZERO,
            };
            if self.turns_up(instance, patience).await {
                // It runs; the rendezvous will tell how it goes on.
                crate::info!("instance {instance} runs on, although {why}");
                return;
            }
            match self.pause(&mut pause, failure.again) {
                Some(pause) => {
                    first.get_or_insert_with(|| why.clone());
                    self.tell(Report::Trying {
                        instance,
                        attempt,
                        why,
                    });
                    if self.turns_up(instance, pause).await {
                        return;
                    }
                }
                None => {
                    let why = match first {
                        Some(first) if first != why => format!("{why}; the first time: {first}"),
                        _ => why,
                    };
                    return self.tell(Report::Failed { instance, why });
                }
            }
        }
    }

    fn tell(&self, report: Report) {
        let _ = self.reports.send(report);
    }

    /// Does this instance arrive within this time (or has it)?
    async fn turns_up(&mut self, instance: u32, within: Duration) -> bool {
        let arrives = self
            .arrivals
            .wait_for(|seen| seen.get(instance as usize).copied().unwrap_or(true));
        matches!(tokio::time::timeout(within, arrives).await, Ok(Ok(_)))
    }

    /// How long to wait before another attempt; `None`: no further one.
    fn pause(&self, next: &mut Duration, again: Again) -> Option<Duration> {
        let jittered = next.mul_f64(0.5 + 0.5 * chance());
        *next = (*next * 2).min(PAUSE.1);
        let pause = match again {
            Again::Never => return None,
            Again::Soon => jittered,
            // Not all at the same moment.
            Again::After(least) => least + jittered,
        };
        (Instant::now() + pause < self.deadline).then_some(pause)
    }
}

/// Somewhere in 0..1; where randomness fails, in the middle.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    match os::random(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

/// A platform's words without the secret, should it repeat what it was given.
fn hide(text: String, letter: &Letter) -> String {
    let value: serde_json::Value = serde_json::from_str(&letter.body).unwrap_or_default();
    let secrets = ["pass", "hosts_key"];
    let secrets = secrets.iter().filter_map(|name| value.get(name)?.as_str());
    secrets.fold(text, |text, secret| text.replace(secret, "..."))
}

#[cfg(test)]
mod tests;
