//! A job of ours at a rendezvous elsewhere: we are its owner, on a thread of its own.

use super::service::Invitation;
use super::Standalone;
use crate::base::os;
use crate::rendezvous::dial::{self, Link, Owner};
use crate::rendezvous::forward::Forwarder;
use crate::rendezvous::message::{Event, FromOwner, ToOwner, OBSERVER};
use crate::rendezvous::operator::Operator;
use crate::rendezvous::server::JobRequest;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a service that has just opened our job may take to let us in.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long our last words may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Our presence; dropped, it leaves.
pub struct Attendance {
    words: Option<mpsc::UnboundedSender<FromOwner>>,
    thread: Option<JoinHandle<()>>,
}

impl Attendance {
    /// Opens a job of this size and becomes its owner. `tell` is called with how the job ends, from another thread.
    pub fn begin(
        size: u32,
        there: &Standalone,
        tell: impl Fn(Event) + Send + 'static,
    ) -> Result<(Attendance, Invitation), String> {
        let cannot = |e: io::Error| format!("cannot start: {e}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(cannot)?;
        let (link, forwarder, job, secret) = runtime.block_on(enter(size, there))?;
        let invitation = Invitation {
            job,
            secret,
            address: forwarder.address().to_string(),
        };
        let (words, said) = mpsc::unbounded_channel();
        let attending = async move {
            attend(link, said, tell).await;
            forwarder.close().await;
        };
        let thread = os::without_signals(|| {
            std::thread::Builder::new()
                .name("owner".into())
                .spawn(move || runtime.block_on(attending))
        });
        let attendance = Attendance {
            words: Some(words),
            thread: Some(thread.map_err(cannot)?),
        };
        Ok((attendance, invitation))
    }

    /// Ends the job.
    pub fn stop(&self, code: i32, text: &str) {
        let text = text.to_string();
        if let Some(words) = &self.words {
            let _ = words.send(FromOwner::Stop { code, text });
        }
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.words = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The job's number and its secret are the last two.
async fn enter(
    size: u32,
    there: &Standalone,
) -> Result<(Link<Owner>, Forwarder, [u8; 16], [u8; 32]), String> {
    let place = &there.place;
    let request = JobRequest {
        owned: true,
        ..JobRequest::new(size)
    };
    let operator = Operator::new(place.clone(), there.operator_key.clone())?;
    let (job, secret) = operator.open(&request).await?;
    let link = dial::owner(place, &job, &secret, PATIENCE);
    let link = link.await.map_err(|e| e.to_string())?;
    let forwarder = Forwarder::of(place).await;
    let forwarder = forwarder.map_err(|e| format!("cannot listen on 127.0.0.1: {e}"))?;
    Ok((link, forwarder, job, secret))
}

async fn attend(
    mut link: Link<Owner>,
    mut said: mpsc::UnboundedReceiver<FromOwner>,
    tell: impl Fn(Event),
) {
    loop {
        tokio::select! {
            frame = link.listener.next() => match frame {
                // What else happens here, we see for ourselves.
                Ok(ToOwner::Event(event @ Event::Aborted { .. })) => tell(event),
                Ok(ToOwner::Goodbye) => return,
                Ok(ToOwner::Refused { text }) => return tell(lost(&text)),
                Ok(_) => {}
                Err(e) => return tell(lost(&e.to_string())),
            },
            word = said.recv() => match word {
                Some(word) => {
                    let _ = link.speaker.say_now(&word).await;
                }
                None => break,
            },
        }
    }
    let farewell = async {
        link.speaker.say_now(&FromOwner::Done).await?;
        while link.listener.next().await? != ToOwner::Goodbye {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

fn lost(why: &str) -> Event {
    Event::Aborted {
        rank: OBSERVER,
        code: 1,
        text: format!("the connection to the rendezvous is lost: {why}"),
    }
}
