//! A job of ours at a rendezvous elsewhere: we are its owner, on a thread of its own.

use crate::base::os;
use crate::rendezvous::dial::{self, Link, Owner};
use crate::rendezvous::message::{Event, FromOwner, ToOwner, OBSERVER};
use crate::rendezvous::place::Place;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long our last words may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Our presence; dropped, it leaves.
pub struct Attendance {
    words: Option<mpsc::UnboundedSender<FromOwner>>,
    thread: Option<JoinHandle<()>>,
}

impl Attendance {
    /// Becomes the job's owner. `tell` is called with how the job ends, from another thread.
    pub fn begin(
        place: &Place,
        job: &[u8; 16],
        secret: &[u8; 32],
        tell: impl Fn(Event) + Send + 'static,
    ) -> io::Result<Attendance> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let link = dial::owner(place, job, secret, Duration::from_secs(5));
        let link = runtime.block_on(link)?;
        let (words, said) = mpsc::unbounded_channel();
        let thread = os::without_signals(|| {
            std::thread::Builder::new()
                .name("owner".into())
                .spawn(move || runtime.block_on(attend(link, said, tell)))
        })?;
        Ok(Attendance {
            words: Some(words),
            thread: Some(thread),
        })
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
