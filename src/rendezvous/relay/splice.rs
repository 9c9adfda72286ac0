//! Bytes from one connection to another and back, no faster than they are taken.

use super::share::Share;
use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::TcpStream;

/// What is read at a time, bytes.
const PIECE: usize = 65_536;
/// Buffers that are kept when nobody needs them.
const SPARE: usize = 32;

thread_local! {
    static BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

fn lend() -> Box<[u8]> {
    let spare = BUFFERS.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| vec![0; PIECE].into())
}

fn give_back(buffer: Box<[u8]>) {
    BUFFERS.with_borrow_mut(|buffers| {
        if buffers.len() < SPARE {
            buffers.push(buffer);
        }
    });
}

/// What one link has done.
struct Link<'a> {
    began: Instant,
    /// Milliseconds after the beginning when something moved last.
    moved: AtomicU64,
    carried: AtomicU64,
    /// Of all links.
    total: &'a AtomicU64,
    share: &'a Share,
}

impl Link<'_> {
    fn count(&self, bytes: usize) {
        self.carried.fetch_add(bytes as u64, Ordering::Relaxed);
        self.total.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = self.began.elapsed().as_millis() as u64;
        self.moved.store(now, Ordering::Relaxed);
    }

    /// Ends when nothing has moved for so long.
    async fn idles(&self, idle: Duration) {
        loop {
            let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
            match (moved + idle).checked_sub(self.began.elapsed()) {
                None => return,
                Some(left) => tokio::time::sleep(left + Duration::from_millis(1)).await,
            }
        }
    }
}

/// Until both have ended, one breaks, or nothing moved for `idle`; gives the bytes carried, which `total` counts too, and
/// which are no more than the job's share.
pub async fn splice(
    one: TcpStream,
    other: TcpStream,
    idle: Duration,
    total: &AtomicU64,
    share: &Share,
) -> u64 {
    let (from_one, to_one) = one.into_split();
    let (from_other, to_other) = other.into_split();
    let link = Link {
        began: Instant::now(),
        moved: AtomicU64::new(0),
        carried: AtomicU64::new(0),
        total,
        share,
    };
    let both = async {
        tokio::try_join!(
            flow(from_one, to_other, &link),
            flow(from_other, to_one, &link)
        )
    };
    tokio::select! {
        _ = both => {}
        _ = link.idles(idle) => {}
    }
    link.carried.load(Ordering::Relaxed)
}

/// One direction. A buffer is held only while it has something in it.
async fn flow(from: OwnedReadHalf, mut to: OwnedWriteHalf, link: &Link<'_>) -> io::Result<()> {
    loop {
        from.readable().await?;
        let mut buffer = lend();
        let taken = match from.try_read(&mut buffer) {
            Ok(n) => to.write_all(&buffer[..n]).await.map(|()| n),
            Err(e) => Err(e),
        };
        give_back(buffer);
        match taken {
            Ok(0) => return to.shutdown().await,
            Ok(n) => {
                link.count(n);
                if let Some(wait) = link.share.carried(n, Instant::now()) {
                    tokio::time::sleep(wait).await;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}
