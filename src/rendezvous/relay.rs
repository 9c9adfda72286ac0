//! The relay: tells ranks where they are seen from, and joins two that cannot reach each other. On tokio, in a
//! thread of its own; the protocol is in [`crate::wire::relay`].
//!
//! It sees nothing but bytes that the ranks have encrypted end to end. Who has no grant of the job is turned away
//! after one digest; a connection that waits for its counterpart, or says nothing, costs no buffer.

mod share;
mod splice;

use crate::base::{os, trace};
use crate::rendezvous::message::hex;
use crate::rendezvous::server::limits::{Gate, Hushed, Limits, Place};
use crate::wire::relay::{greeting, observed, Op, Request, Status, REQUEST};
pub use share::Bounds;
use share::{Share, Shares};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// What may be said after an observation, bytes; a byte now and then keeps a translator's mapping.
const CHATTER: usize = 65_536;

/// How a relay behaves.
#[derive(Clone)]
pub struct Options {
    /// What grants are made with.
    pub key: [u8; 32],
    pub limits: Limits,
    /// Connections that may wait for their counterpart.
    pub waiting: usize,
    /// What one job may have.
    pub job: Bounds,
    /// How long they wait.
    pub wait: Duration,
    /// A link on which nothing moves for so long is closed.
    pub idle: Duration,
    /// Logs every pair.
    pub verbose: bool,
}

impl Options {
    pub fn new(key: [u8; 32]) -> Options {
        let limits = Limits::by_descriptors();
        Options {
            key,
            limits,
            waiting: 8_192,
            job: Bounds {
                // Half of all that there may be.
                pairs: limits.connections / 4,
                rate: 0,
            },
            wait: Duration::from_secs(30),
            idle: Duration::from_secs(24 * 3600),
            verbose: false,
        }
    }

    /// For a relay that shares its process, and so its descriptors, with a rendezvous.
    pub fn beside_a_rendezvous(key: [u8; 32]) -> Options {
        let mut options = Options::new(key);
        options.limits = options.limits.halved();
        options.job.pairs /= 2;
        options
    }
}

/// What a relay has done, for metrics.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Figures {
    pub connections: u64,
    pub waiting: u64,
    pub pairs: u64,
    pub pairs_ever: u64,
    pub observed: u64,
    pub bytes: u64,
    /// Jobs that have pairs or wait for them, and how many the one with most has.
    pub jobs: u64,
    pub job_pairs: u64,
    /// How often bytes waited for their job's rate.
    pub paced: u64,
    /// By [`Status`], except `Ok`.
    pub refused: [u64; Status::ALL.len()],
}

/// A running relay; dropped, it stops.
pub struct Relay {
    inner: Arc<Inner>,
    addresses: [SocketAddr; 2],
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Counters {
    pairs: AtomicU64,
    pairs_ever: AtomicU64,
    observed: AtomicU64,
    bytes: AtomicU64,
    refused: [AtomicU64; Status::ALL.len()],
}

struct Inner {
    options: Options,
    gate: Arc<Gate>,
    hushed: Hushed,
    counters: Counters,
    shares: Arc<Shares>,
    waiting: Mutex<HashMap<Side, oneshot::Sender<Guest>>>,
}

/// One side of a link.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Side {
    job: [u8; 16],
    op: Op,
    from: u32,
    to: u32,
}

impl Side {
    fn counterpart(self) -> Side {
        Side {
            job: self.job,
            op: self.op.counterpart(),
            from: self.to,
            to: self.from,
        }
    }
}

/// A connection that has proven itself.
struct Guest {
    stream: TcpStream,
    peer: SocketAddr,
    _place: Place,
}

enum Meeting {
    Handed,
    Wait(Guest, oneshot::Receiver<Guest>, Share),
    Full(Guest, Status),
}

impl Relay {
    /// Relays on these two ports until dropped.
    pub fn start(listeners: [TcpListener; 2], options: Options) -> io::Result<Relay> {
        let addresses = [listeners[0].local_addr()?, listeners[1].local_addr()?];
        for listener in &listeners {
            listener.set_nonblocking(true)?;
            crate::rendezvous::server::widen(listener);
        }
        let inner = Arc::new(Inner {
            gate: Gate::new(options.limits),
            shares: Shares::new(options.job),
            options,
            hushed: Hushed::default(),
            counters: Counters::default(),
            waiting: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let serving = inner.clone();
        let [first, second] = listeners;
        let thread = os::without_signals(|| {
            let builder = std::thread::Builder::new().name("relay".into());
            builder.spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = serving.clone().listen(first) => {}
                        _ = serving.clone().listen(second) => {}
                        _ = stopped => {}
                    }
                    // Those who wait hear why.
                    serving.waiting().clear();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                });
                runtime.shutdown_background();
            })
        })?;
        Ok(Relay {
            inner,
            addresses,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> [SocketAddr; 2] {
        self.addresses
    }

    pub fn figures(&self) -> Figures {
        let counters = &self.inner.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (jobs, job_pairs) = self.inner.shares.figures();
        Figures {
            connections: self.inner.gate.open() as u64,
            waiting: self.inner.waiting().len() as u64,
            pairs: read(&counters.pairs),
            pairs_ever: read(&counters.pairs_ever),
            observed: read(&counters.observed),
            bytes: read(&counters.bytes),
            jobs: jobs as u64,
            job_pairs: job_pairs as u64,
            paced: read(&self.inner.shares.paced),
            refused: std::array::from_fn(|at| read(&counters.refused[at])),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Side, oneshot::Sender<Guest>>> {
        self.waiting.lock().unwrap_or_else(|p| p.into_inner())
    }

    async fn listen(self: Arc<Self>, listener: TcpListener) {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(e) => return trace::line(&format!("relay: cannot listen: {e}")),
        };
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => match self.gate.admit(peer.ip(), Instant::now()) {
                    Ok(place) => {
                        tokio::spawn(self.clone().converse(stream, peer, place));
                    }
                    Err(why) => {
                        self.count_refusal(Status::Busy);
                        self.hushed.line(why.text(), Instant::now(), || {
                            format!("relay: turned {peer} away: {}", why.text())
                        });
                    }
                },
                Err(e) => {
                    self.hushed.line("accept", Instant::now(), || {
                        format!("relay: cannot accept a connection: {e}")
                    });
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn count_refusal(&self, status: Status) {
        self.counters.refused[status as usize].fetch_add(1, Ordering::Relaxed);
    }

    async fn refuse(&self, mut stream: TcpStream, peer: SocketAddr, status: Status) {
        self.count_refusal(status);
        self.hushed.line(status.text(), Instant::now(), || {
            let why = match status {
                Status::Malformed => "it does not speak the relay's protocol",
                Status::WrongGrant => "it has no grant for the job that it names",
                Status::Expired => "its job's grant has expired",
                Status::Busy => "too many wait for their counterpart",
                Status::JobFull => "its job has as many pairs here as a job may have",
                other => other.text(),
            };
            format!("relay: refused {peer}: {why}")
        });
        let _ = tokio::time::timeout(self.gate.patience(), stream.write_all(&[status as u8])).await;
    }

    async fn converse(self: Arc<Self>, mut stream: TcpStream, peer: SocketAddr, place: Place) {
        let _ = stream.set_nodelay(true);
        let mut nonce = [0; 16];
        if os::random(&mut nonce).is_err() {
            return;
        }
        let mut bytes = [0; REQUEST];
        let asked = async {
            stream.write_all(&greeting(&nonce)).await?;
            stream.read_exact(&mut bytes).await
        };
        let asked = async {
            tokio::select! {
                asked = tokio::time::timeout(self.gate.patience(), asked) => matches!(asked, Ok(Ok(_))),
                () = place.lost() => false,
            }
        };
        if !asked.await {
            self.count_refusal(Status::Malformed);
            return self.hushed.line("silent", Instant::now(), || {
                format!("relay: {peer} left, or said nothing for too long")
            });
        }
        let Some(request) = Request::decode(&bytes) else {
            return self.refuse(stream, peer, Status::Malformed).await;
        };
        if !request.proven(&bytes, &self.options.key, &nonce) {
            return self.refuse(stream, peer, Status::WrongGrant).await;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        if now.map_or(0, |now| now.as_secs()) >= request.expiry {
            return self.refuse(stream, peer, Status::Expired).await;
        }
        place.proven();
        let guest = Guest {
            stream,
            peer,
            _place: place,
        };
        match request.op {
            Op::Observe => self.observe(guest).await,
            _ if request.from == request.to => {
                self.refuse(guest.stream, peer, Status::Malformed).await
            }
            _ => self.link(guest, request).await,
        }
    }

    /// Tells where it is seen from, and keeps the connection, because with it a translator keeps its mapping.
    async fn observe(&self, mut guest: Guest) {
        let mut answer = vec![Status::Ok as u8];
        answer.extend_from_slice(&observed(guest.peer));
        self.counters.observed.fetch_add(1, Ordering::Relaxed);
        if guest.stream.write_all(&answer).await.is_err() {
            return;
        }
        let mut taken = 0;
        let mut chatter = [0; 64];
        while taken < CHATTER {
            let read = guest.stream.read(&mut chatter);
            match tokio::time::timeout(self.options.idle, read).await {
                Ok(Ok(n)) if n > 0 => taken += n,
                _ => return,
            }
        }
    }

    /// Waits for the counterpart, or goes to the one that waits already.
    async fn link(&self, guest: Guest, request: Request) {
        let side = Side {
            job: request.job,
            op: request.op,
            from: request.from,
            to: request.to,
        };
        let peer = guest.peer;
        let (guest, arrival, share) = match self.meet(side, guest) {
            Meeting::Handed => return,
            Meeting::Full(guest, why) => return self.refuse(guest.stream, peer, why).await,
            Meeting::Wait(guest, arrival, share) => (guest, arrival, share),
        };
        let outcome = tokio::select! {
            biased;
            arrived = arrival => match arrived {
                Ok(counterpart) => Ok(counterpart),
                Err(_) if self.waiting().contains_key(&side) => Err(Some(Status::Displaced)),
                Err(_) => Err(Some(Status::Closing)),
            },
            _ = tokio::time::sleep(self.options.wait) => Err(Some(Status::Alone)),
            _ = left(&guest.stream) => Err(None),
        };
        // Ours is the place only while its receiver is dropped; a displacer's is alive.
        let withdraw = || {
            let mut waiting = self.waiting();
            if waiting.get(&side).is_some_and(|sender| sender.is_closed()) {
                waiting.remove(&side);
            }
        };
        match outcome {
            Ok(counterpart) => self.join(guest, counterpart, &side, share).await,
            Err(Some(status)) => {
                withdraw();
                self.refuse(guest.stream, peer, status).await
            }
            Err(None) => withdraw(),
        }
    }

    /// Hands it to its counterpart's task, or gives it a place to wait.
    fn meet(&self, side: Side, mut guest: Guest) -> Meeting {
        let mut waiting = self.waiting();
        if let Some(counterpart) = waiting.remove(&side.counterpart()) {
            match counterpart.send(guest) {
                Ok(()) => return Meeting::Handed,
                // It has just given up.
                Err(back) => guest = back,
            }
        }
        if waiting.len() >= self.options.waiting && !waiting.contains_key(&side) {
            return Meeting::Full(guest, Status::Busy);
        }
        let Some(share) = self.shares.enter(side.job) else {
            return Meeting::Full(guest, Status::JobFull);
        };
        let (sender, arrival) = oneshot::channel();
        // Whoever stood there hears of it by its channel's end.
        waiting.insert(side, sender);
        Meeting::Wait(guest, arrival, share)
    }

    async fn join(&self, mut one: Guest, mut other: Guest, side: &Side, share: Share) {
        let ok = [Status::Ok as u8];
        let told = async {
            one.stream.write_all(&ok).await?;
            other.stream.write_all(&ok).await
        };
        if !matches!(
            tokio::time::timeout(self.gate.patience(), told).await,
            Ok(Ok(()))
        ) {
            return;
        }
        let name = || {
            format!(
                "relay: job {}: ranks {} ({}) and {} ({})",
                &hex(&side.job)[..8],
                side.from,
                one.peer,
                side.to,
                other.peer
            )
        };
        let named = self.options.verbose.then(name);
        if let Some(name) = &named {
            trace::line(&format!("{name} are joined"));
        }
        self.counters.pairs.fetch_add(1, Ordering::Relaxed);
        self.counters.pairs_ever.fetch_add(1, Ordering::Relaxed);
        let (one_stream, other_stream) = (one.stream, other.stream);
        let bytes = &self.counters.bytes;
        let idle = self.options.idle;
        let carried = splice::splice(one_stream, other_stream, idle, bytes, &share).await;
        self.counters.pairs.fetch_sub(1, Ordering::Relaxed);
        if let Some(name) = &named {
            trace::line(&format!("{name} are done after {carried} bytes"));
        }
    }
}

/// Ends when the peer has left. What it says before it may is not taken, and ends the watching.
async fn left(stream: &TcpStream) {
    match stream.peek(&mut [0]).await {
        Ok(n) if n > 0 => std::future::pending().await,
        _ => {}
    }
}

#[cfg(test)]
mod tests;
