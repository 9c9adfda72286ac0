//! A rank's standard input. What the rank has not read yet waits in a file without a name: the service must not have to
//! wait for one rank that does not read, and memory is what functions are billed for.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// So much is handed on at a time, bytes.
const CHUNK: usize = 64 * 1024;

/// Our end of a rank's input.
pub struct Input {
    spool: Arc<Spool>,
    task: JoinHandle<()>,
}

struct Spool {
    file: File,
    /// Bytes taken in so far.
    written: AtomicU64,
    ended: AtomicBool,
    /// The rank has closed its input and wants no more.
    closed: AtomicBool,
    changed: Notify,
}

impl Drop for Input {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Input {
    /// `folder`: where the file is.
    pub fn new(to: OwnedFd, folder: &Path) -> io::Result<Input> {
        let pipe = pipe::Sender::from_owned_fd(to)?;
        let spool = Arc::new(Spool {
            file: nameless(folder)?,
            written: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            changed: Notify::new(),
        });
        let task = tokio::spawn(pass_on(spool.clone(), pipe));
        Ok(Input { spool, task })
    }

    /// Takes the next bytes, none at the end. An error when there is no room for them.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            self.spool.ended.store(true, SeqCst);
        } else if !self.spool.closed.load(SeqCst) {
            let at = self.spool.written.load(SeqCst);
            self.spool.file.write_all_at(bytes, at)?;
            self.spool.written.store(at + bytes.len() as u64, SeqCst);
        }
        self.spool.changed.notify_one();
        Ok(())
    }
}

fn nameless(folder: &Path) -> io::Result<File> {
    let mut name = [0; 8];
    crate::base::os::random(&mut name)?;
    let path = folder.join(format!("input-{:016x}", u64::from_ne_bytes(name)));
    let mut options = File::options();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

async fn pass_on(spool: Arc<Spool>, mut pipe: pipe::Sender) {
    let mut chunk = vec![0; CHUNK];
    let mut done = 0;
    loop {
        // In this order: what was written before the end is seen with it.
        let ended = spool.ended.load(SeqCst);
        let there = spool.written.load(SeqCst) - done;
        if there == 0 {
            if ended {
                return;
            }
            spool.changed.notified().await;
            continue;
        }
        let some = &mut chunk[..usize::try_from(there).unwrap_or(CHUNK).min(CHUNK)];
        let handed = match spool.file.read_exact_at(some, done) {
            Ok(()) => pipe.write_all(some).await,
            Err(e) => Err(e),
        };
        if handed.is_err() {
            spool.closed.store(true, SeqCst);
            // It may have been long.
            let _ = spool.file.set_len(0);
            return;
        }
        done += some.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::launch::os;
    use std::io::Read;

    #[tokio::test]
    async fn a_slow_reader_gets_everything_and_holds_nobody_up() {
        let (read, write) = os::pipe().unwrap();
        let mut input = Input::new(write, &std::env::temp_dir()).unwrap();
        let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i * 13) as u8).collect();
        // Nobody reads yet.
        for piece in bytes.chunks(50_000) {
            input.push(piece).unwrap();
        }
        input.push(&[]).unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            File::from(read).read_to_end(&mut all).map(|_| all)
        });
        assert!(reading.await.unwrap().unwrap() == bytes);
    }

    #[tokio::test]
    async fn a_rank_that_closes_its_input_gets_no_more() {
        let (read, write) = os::pipe().unwrap();
        let mut input = Input::new(write, &std::env::temp_dir()).unwrap();
        drop(read);
        input.push(b"one").unwrap();
        while !input.spool.closed.load(SeqCst) {
            tokio::task::yield_now().await;
        }
        input.push(b"two").unwrap();
        assert_eq!(input.spool.file.metadata().unwrap().len(), 0);
    }
}
