//! The ranks' standard output and error on their way out: it goes to the rendezvous piece by piece; while that takes no more, nothing is read,
//! and the ranks wait in their writes.

use crate::rendezvous::dial::{Host, Speaker};
use crate::rendezvous::message::{FromHost, OUTPUT_MAX};
use std::future::Future;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{oneshot, watch};

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
