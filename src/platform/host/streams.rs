//! The ranks' standard streams. Output goes to the rendezvous piece by piece; while that takes no more, nothing is read,
//! and the ranks wait in their writes.

use crate::rendezvous::dial::{Host, Speaker};
use crate::rendezvous::message::{FromHost, OUTPUT_MAX};
use std::future::Future;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Input that a rank has not read yet, bytes. The protocol cannot slow down one rank's input without the others'.
const INPUT_MAX: usize = 32 * 1024 * 1024;
/// A stream of a rank that has ended is empty when nothing comes for so long; somebody else may still hold it open.
const QUIET: Duration = Duration::from_millis(20);

/// Passes on what comes from a rank's pipe, until its end. `exited` becomes true when the rank's process has ended; then
/// `drained` is dropped as soon as everything that the rank itself wrote has been handed on.
pub fn output(
    rank: u32,
    stream: u8,
    from: OwnedFd,
    speaker: Speaker<Host>,
    mut exited: watch::Receiver<bool>,
    drained: oneshot::Sender<()>,
) -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut pipe = pipe::Receiver::from_owned_fd(from)?;
    Ok(async move {
        let tell = drained;
        let mut tell = Some(tell);
        let mut chunk = vec![0; OUTPUT_MAX];
        let mut gone = false;
        loop {
            let read = pipe.read(&mut chunk);
            let got = if gone && tell.is_some() {
                match tokio::time::timeout(QUIET, read).await {
                    Ok(got) => got,
                    Err(_) => {
                        tell = None;
                        continue;
                    }
                }
            } else {
                tokio::select! {
                    biased;
                    got = read => got,
                    changed = exited.changed(), if !gone => {
                        // Without a sender the job is over, and this task is about to be ended.
                        gone = changed.is_err() || *exited.borrow();
                        continue;
                    }
                }
            };
            let Ok(length @ 1..) = got else {
                return;
            };
            let frame = FromHost::Output {
                rank,
                stream,
                bytes: chunk[..length].to_vec(),
            };
            if speaker.say(&frame).await.is_err() {
                return;
            }
        }
    })
}

/// A rank's standard input.
pub struct Input {
    sender: Option<mpsc::UnboundedSender<Vec<u8>>>,
    /// Bytes queued, as far as the writer has not taken them.
    waiting: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Input {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Input {
    pub fn new(to: OwnedFd) -> std::io::Result<Input> {
        let mut pipe = pipe::Sender::from_owned_fd(to)?;
        let (sender, mut queue) = mpsc::unbounded_channel::<Vec<u8>>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let taken = waiting.clone();
        let task = tokio::spawn(async move {
            let mut broken = false;
            while let Some(bytes) = queue.recv().await {
                // A rank that has closed its input does not want the rest.
                broken = broken || pipe.write_all(&bytes).await.is_err();
                taken.fetch_sub(bytes.len(), Relaxed);
            }
        });
        Ok(Input {
            sender: Some(sender),
            waiting,
            task,
        })
    }

    /// Takes the next bytes, none at the end. An error when the rank leaves too much unread.
    pub fn push(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        if bytes.is_empty() {
            self.sender = None;
            return Ok(());
        }
        let waiting = self.waiting.fetch_add(bytes.len(), Relaxed) + bytes.len();
        if waiting > INPUT_MAX {
            return Err(format!(
                "does not read its standard input, of which more than {} MiB wait",
                INPUT_MAX >> 20
            ));
        }
        if let Some(sender) = &self.sender {
            let _ = sender.send(bytes);
        }
        Ok(())
    }
}
