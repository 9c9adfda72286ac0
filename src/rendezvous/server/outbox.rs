//! What waits to be written to one connection.

use hyper::body::Bytes;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, Notify};

/// More than this, and whoever feeds it with bulk (output, input, notes) has to wait, bytes.
const CROWDED: usize = 1024 * 1024;
/// Less than this, and they may go on.
const CLEARED: usize = CROWDED / 4;
/// More than this, and its reader is too slow to be served, bytes.
const HOPELESS: usize = 192 * 1024 * 1024;
/// Small frames are written together, up to so many bytes.
const TOGETHER: usize = 32 * 1024;

/// The end that is filled.
pub(super) struct Outbox {
    sender: mpsc::UnboundedSender<Bytes>,
    crowd: Arc<Crowd>,
}

/// The end that is written.
pub(super) struct Outlet {
    queue: mpsc::UnboundedReceiver<Bytes>,
    crowd: Arc<Crowd>,
}

/// How much waits.
#[derive(Default)]
pub(super) struct Crowd {
    bytes: AtomicUsize,
    gone: AtomicBool,
    /// Its reader has said something lately: it is slow, not dead.
    alive: AtomicBool,
    cleared: Notify,
}

pub(super) fn outbox() -> (Outbox, Outlet) {
    let (sender, queue) = mpsc::unbounded_channel();
    let crowd = Arc::<Crowd>::default();
    let outbox = Outbox {
        sender,
        crowd: crowd.clone(),
    };
    (outbox, Outlet { queue, crowd })
}

impl Outbox {
    /// False: its reader is hopeless, or gone.
    pub(super) fn put(&self, bytes: Bytes) -> bool {
        let before = self.crowd.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        before + bytes.len() <= HOPELESS && self.sender.send(bytes).is_ok()
    }

    /// `Some`: whoever fed it has to wait.
    pub(super) fn crowd(&self) -> Option<Arc<Crowd>> {
        let crowded = self.crowd.bytes.load(Ordering::Relaxed) > CROWDED;
        crowded.then(|| self.crowd.clone())
    }
}

impl Crowd {
    /// Its reader has said something.
    pub(super) fn heard(&self) {
        self.alive.store(true, Ordering::Relaxed);
    }

    /// Waits until it has cleared, at most so long; true: it has.
    pub(super) async fn cleared(&self, most: Duration) -> bool {
        let wait = async {
            loop {
                let notified = self.cleared.notified();
                let gone = self.gone.load(Ordering::Relaxed);
                if gone || self.bytes.load(Ordering::Relaxed) < CLEARED {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(most, wait).await.is_ok()
    }
}

impl Outlet {
    pub(super) fn crowd(&self) -> Arc<Crowd> {
        self.crowd.clone()
    }

    /// Writes until there is nothing more to come, or the other end neither takes nor says anything for that long.
    pub(super) async fn write(mut self, mut writing: impl AsyncWrite + Unpin, patience: Duration) {
        while let Some(first) = self.queue.recv().await {
            let mut bytes = first;
            if bytes.len() < TOGETHER && !self.queue.is_empty() {
                let mut together = bytes.to_vec();
                while together.len() < TOGETHER {
                    match self.queue.try_recv() {
                        Ok(next) => together.extend_from_slice(&next),
                        Err(_) => break,
                    }
                }
                bytes = Bytes::from(together);
            }
            let write = async {
                writing.write_all(&bytes).await?;
                writing.flush().await
            };
            tokio::pin!(write);
            let written = loop {
                match tokio::time::timeout(patience, &mut write).await {
                    Ok(written) => break written,
                    // Whoever renews its lease may take its time: its user reads page by page.
                    Err(_) if self.crowd.alive.swap(false, Ordering::Relaxed) => {}
                    Err(_) => return,
                }
            };
            if written.is_err() {
                return;
            }
            let before = self.crowd.bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
            if before - bytes.len() < CLEARED {
                self.crowd.cleared.notify_waiters();
            }
        }
        let _ = writing.shutdown().await;
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.crowd.gone.store(true, Ordering::Relaxed);
        self.crowd.cleared.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::super::WRITE;
    use super::*;
    use tokio::io::AsyncReadExt;

    #[test]
    fn who_feeds_a_slow_reader_waits_and_all_arrives_in_order() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let (outbox, outlet) = outbox();
            let (ours, mut theirs) = tokio::io::duplex(100);
            let writer = tokio::spawn(outlet.write(ours, WRITE));
            let mut sent = Vec::new();
            let mut crowd = None;
            for n in 0..=CROWDED / 1000 {
                let bytes = vec![n as u8; 1000];
                sent.extend_from_slice(&bytes);
                assert!(outbox.put(bytes.into()));
                crowd = outbox.crowd();
            }
            let crowd = crowd.expect("more than enough waits");
            assert!(!crowd.cleared(Duration::from_millis(1)).await);
            let mut got = vec![0; sent.len()];
            let read = theirs.read_exact(&mut got);
            let (read, cleared) = tokio::join!(read, crowd.cleared(Duration::from_secs(60)));
            assert!(read.is_ok() && cleared);
            assert_eq!(got, sent);
            drop(outbox);
            writer.await.unwrap();
            assert_eq!(theirs.read(&mut got).await.unwrap(), 0);
        });
    }

    #[test]
    fn who_is_slow_but_alive_is_waited_for() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            for alive in [true, false] {
                let (outbox, outlet) = outbox();
                let crowd = outlet.crowd();
                let (ours, mut theirs) = tokio::io::duplex(10);
                let patience = Duration::from_millis(20);
                let writer = tokio::spawn(outlet.write(ours, patience));
                assert!(outbox.put(vec![7; 1000].into()));
                drop(outbox);
                if alive {
                    // On one thread: whenever the writer has lost patience, this comes before it does so again.
                    let end = std::time::Instant::now() + 5 * patience;
                    while std::time::Instant::now() < end {
                        crowd.heard();
                        tokio::task::yield_now().await;
                        assert!(!writer.is_finished(), "it was given up");
                    }
                } else {
                    writer.await.unwrap();
                }
                let mut got = Vec::new();
                theirs.read_to_end(&mut got).await.unwrap();
                assert_eq!(got.len() == 1000, alive);
            }
        });
    }

    #[test]
    fn nobody_waits_for_a_reader_that_is_gone() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let (outbox, outlet) = outbox();
            assert!(outbox.put(vec![0; CROWDED + 1].into()));
            let crowd = outbox.crowd().expect("it is crowded");
            drop(outlet);
            assert!(crowd.cleared(Duration::from_secs(60)).await);
            assert!(!outbox.put(vec![0; 1].into()));
        });
    }
}
