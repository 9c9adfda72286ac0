//! The command's ends of a connection to the rendezvous, a host's and an owner's: async, over plain TCP or TLS.
//!
//! [`connect`] gives a stream, [`host`] and [`owner`] a [`Link`]: a [`Speaker`] that any task may use, and a
//! [`Listener`]. A task of the link's own renews the lease. Everything needs a tokio runtime with time and I/O.

use crate::rendezvous::message::{
    body_length, hex, Errand, Frame, FromHost, FromOwner, Role, ToHost, ToOwner,
};
use crate::rendezvous::place::Place;
use crate::rendezvous::tls;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// How long the service may take for an answer that waits for nobody else.
const ANSWER: Duration = Duration::from_secs(30);
/// How long one address may take to answer a connection's beginning.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a machine that answers may say that nobody listens there. A network that is not ready yet is silent instead,
/// so this is an end, and whoever waits on costs money.
const REFUSED: Duration = Duration::from_secs(6);
/// Frames that may wait to be written; whoever says more waits.
const QUEUE: usize = 16;
/// Silences of a quarter lease in a row after which the service counts as gone.
const SILENCES: u32 = 6;

/// What a connection is made of.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A connection's bytes, in TLS or plain.
pub type Stream = Box<dyn Wire>;

fn error(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

/// Connects to a rendezvous, trying again until `patience` is over. The error names the place.
pub async fn connect(place: &Place, patience: Duration) -> io::Result<Stream> {
    let trouble = |e: io::Error| io::Error::new(e.kind(), format!("the rendezvous {place}: {e}"));
    retry(patience, || connect_once(place))
        .await
        .map_err(trouble)
}

/// Until it works, the failure is final ([`io::ErrorKind::InvalidData`], or refused for long) or the time is over.
async fn retry<T, F: std::future::Future<Output = io::Result<T>>>(
    patience: Duration,
    mut attempt: impl FnMut() -> F,
) -> io::Result<T> {
    let end = Instant::now() + patience;
    let mut pause = Duration::from_millis(20);
    let mut refused: Option<Instant> = None;
    loop {
        match attempt().await {
            Err(e) if e.kind() != io::ErrorKind::InvalidData && Instant::now() + pause < end => {
                refused = match e.kind() {
                    io::ErrorKind::ConnectionRefused => refused.or_else(|| Some(Instant::now())),
                    _ => None,
                };
                if refused.is_some_and(|since| since.elapsed() > REFUSED) {
                    return Err(e);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
            result => return result,
        }
    }
}

async fn connect_once(place: &Place) -> io::Result<Stream> {
    let authority = (place.host.as_str(), place.port);
    let tcp = tokio::time::timeout(HANDSHAKE, TcpStream::connect(authority))
        .await
        .map_err(|_| error(format!("no connection within {} s", HANDSHAKE.as_secs())))??;
    tcp.set_nodelay(true)?;
    if !place.tls {
        return Ok(Box::new(tcp));
    }
    let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let name = rustls::pki_types::ServerName::try_from(place.host.clone())
        .map_err(|e| wrong(format!("{}: {e}", place.host)))?;
    let connector = tokio_rustls::TlsConnector::from(tls::client(place.pin)?);
    match tokio::time::timeout(HANDSHAKE, connector.connect(name, tcp)).await {
        Err(_) => Err(error("it does not answer in TLS")),
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        // A wrong certificate stays wrong; a broken connection may come back.
        Ok(Err(e)) if e.kind() == io::ErrorKind::InvalidData => Err(wrong(e.to_string())),
        Ok(Err(e)) => Err(e),
    }
}

/// Asks the service on this stream to let a role in; from then on the stream carries frames.
pub async fn upgrade(
    stream: &mut Stream,
    place: &Place,
    job: &[u8; 16],
    role: Role,
    pass: &[u8; 32],
) -> io::Result<()> {
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: mayfly\r\n\
         Authorization: Bearer {}\r\n\r\n",
        role.path(job),
        place.authority(),
        hex(pass)
    );
    let status = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        status(stream).await
    };
    let status = tokio::time::timeout(ANSWER, status)
        .await
        .map_err(|_| error("it does not answer"))??;
    let refused = |text: &str| Err(io::Error::new(io::ErrorKind::InvalidData, text));
    match status {
        101 => Ok(()),
        401 => refused("it refuses this pass"),
        404 => refused("it does not know this job (has it been restarted?)"),
        429 | 503 => Err(error("it is too busy")),
        status => refused(&format!("it answered with HTTP status {status}")),
    }
}

/// Reads an HTTP response's head, byte by byte so that nothing behind it is taken.
async fn status(stream: &mut Stream) -> io::Result<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= 8192 {
            return Err(error("its HTTP head does not end"));
        }
        head.push(stream.read_u8().await?);
    }
    std::str::from_utf8(&head)
        .ok()
        .and_then(|head| head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok())
        .ok_or_else(|| error("it does not speak HTTP/1.1"))
}

/// The two languages of a role.
pub trait Talk: Send + 'static {
    type Says: Frame + Send;
    type Hears: Frame + Send;
    const RENEW: Self::Says;
    /// Is this only the answer to a renewal?
    fn idle(frame: &Self::Hears) -> bool;
}

/// A host's talk.
pub struct Host;

impl Talk for Host {
    type Says = FromHost;
    type Hears = ToHost;
    const RENEW: FromHost = FromHost::Renew;
    fn idle(frame: &ToHost) -> bool {
        *frame == ToHost::Alive
    }
}

/// An owner's talk.
pub struct Owner;

impl Talk for Owner {
    type Says = FromOwner;
    type Hears = ToOwner;
    const RENEW: FromOwner = FromOwner::Renew;
    fn idle(frame: &ToOwner) -> bool {
        *frame == ToOwner::Alive
    }
}

/// A connection that has been welcomed.
pub struct Link<T: Talk> {
    pub speaker: Speaker<T>,
    pub listener: Listener<T>,
    /// How long we may be silent; zero: for ever.
    pub lease: Duration,
}

/// Shows the host pass, says what we run on (a [`FromHost::Begin`]) and gets the errand.
pub async fn host(
    place: &Place,
    job: &[u8; 16],
    (instance, attempt): (u32, u32),
    pass: &[u8; 32],
    begin: &FromHost,
    patience: Duration,
) -> io::Result<(Link<Host>, Errand)> {
    let role = Role::Host { instance, attempt };
    let stream = enter(place, job, role, pass, patience).await?;
    let (reading, mut writing) = tokio::io::split(stream);
    let mut listener = Listener::<Host>::new(reading);
    writing.write_all(&begin.encode()).await?;
    writing.flush().await?;
    match first(&mut listener).await? {
        ToHost::Welcome { lease, errand } => Ok((link(writing, listener, lease), errand)),
        ToHost::Refused { text } | ToHost::Stop { text, .. } => Err(refusal(text)),
        _ => Err(error("the rendezvous answered out of turn")),
    }
}

/// Shows the job's secret and becomes its owner, in place of an earlier one.
pub async fn owner(
    place: &Place,
    job: &[u8; 16],
    secret: &[u8; 32],
    patience: Duration,
) -> io::Result<Link<Owner>> {
    let stream = enter(place, job, Role::Owner, secret, patience).await?;
    let (reading, mut writing) = tokio::io::split(stream);
    let mut listener = Listener::<Owner>::new(reading);
    writing.write_all(&FromOwner::Renew.encode()).await?;
    writing.flush().await?;
    match first(&mut listener).await? {
        ToOwner::Welcome { lease } => Ok(link(writing, listener, lease)),
        ToOwner::Refused { text } => Err(refusal(text)),
        _ => Err(error("the rendezvous answered out of turn")),
    }
}

fn refusal(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Connects and upgrades. An error of the kind [`io::ErrorKind::InvalidData`] would come again.
async fn enter(
    place: &Place,
    job: &[u8; 16],
    role: Role,
    pass: &[u8; 32],
    patience: Duration,
) -> io::Result<Stream> {
    let attempt = || async move {
        let mut stream = connect_once(place).await?;
        upgrade(&mut stream, place, job, role, pass).await?;
        Ok(stream)
    };
    let trouble = |e: io::Error| io::Error::new(e.kind(), format!("the rendezvous {place}: {e}"));
    retry(patience, attempt).await.map_err(trouble)
}

async fn first<T: Talk>(listener: &mut Listener<T>) -> io::Result<T::Hears> {
    tokio::time::timeout(ANSWER, listener.next())
        .await
        .map_err(|_| error("the rendezvous does not answer"))?
}

fn link<T: Talk>(writing: WriteHalf<Stream>, mut listener: Listener<T>, lease_ms: u32) -> Link<T> {
    let lease = Duration::from_millis(lease_ms.into());
    let (sender, queue) = mpsc::channel(QUEUE);
    tokio::spawn(write::<T>(writing, queue, lease / 4));
    if !lease.is_zero() {
        listener.beat = Some(beat(lease / 4));
    }
    Link {
        speaker: Speaker {
            sender,
            talk: PhantomData,
        },
        listener,
        lease,
    }
}

/// After a pause (the machine or this process was frozen) it beats once, not as often as it missed.
fn beat(period: Duration) -> Interval {
    let mut beat = tokio::time::interval_at(Instant::now() + period, period);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

type Item = (Vec<u8>, Option<oneshot::Sender<()>>);

/// Writes what is said, and renewals between; ends with the last [`Speaker`].
async fn write<T: Talk>(
    mut writing: WriteHalf<Stream>,
    mut queue: mpsc::Receiver<Item>,
    period: Duration,
) {
    let mut beat = beat(period.max(Duration::from_millis(1)));
    let renew = T::RENEW.encode();
    loop {
        let (bytes, written) = tokio::select! {
            item = queue.recv() => match item {
                Some(item) => item,
                None => break,
            },
            _ = beat.tick(), if !period.is_zero() => (renew.clone(), None),
        };
        let done = async {
            writing.write_all(&bytes).await?;
            writing.flush().await
        };
        if done.await.is_err() {
            return;
        }
        if let Some(written) = written {
            let _ = written.send(());
        }
    }
    let _ = writing.shutdown().await;
}

/// Says things; clones say them on the same connection.
pub struct Speaker<T: Talk> {
    sender: mpsc::Sender<Item>,
    talk: PhantomData<fn(T)>,
}

impl<T: Talk> Clone for Speaker<T> {
    fn clone(&self) -> Speaker<T> {
        Speaker {
            sender: self.sender.clone(),
            talk: PhantomData,
        }
    }
}

impl<T: Talk> Speaker<T> {
    /// Queues a frame; waits while the service does not take more. An error when the connection is broken.
    pub async fn say(&self, frame: &T::Says) -> io::Result<()> {
        let item = (frame.encode(), None);
        let sent = self.sender.send(item).await;
        sent.map_err(|_| error("the connection to the rendezvous is broken"))
    }

    /// The same, and waits until the system has taken its bytes.
    pub async fn say_now(&self, frame: &T::Says) -> io::Result<()> {
        let (written, done) = oneshot::channel();
        let broken = || error("the connection to the rendezvous is broken");
        let sent = self.sender.send((frame.encode(), Some(written))).await;
        sent.map_err(|_| broken())?;
        done.await.map_err(|_| broken())
    }
}

/// An end without TLS's farewell, as of a killed service, is an end.
fn unless_cut(read: io::Result<usize>) -> io::Result<usize> {
    match read {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        other => other,
    }
}

/// Hears what the service says.
pub struct Listener<T: Talk> {
    reading: ReadHalf<Stream>,
    buffer: Vec<u8>,
    /// Where the first frame that has not been taken begins.
    start: usize,
    beat: Option<Interval>,
    /// Beats in a row without a byte: counted rather than measured, because a frozen instance wakes up with a clock far
    /// ahead and nothing wrong.
    silent: u32,
    talk: PhantomData<fn(T)>,
}

impl<T: Talk> Listener<T> {
    fn new(reading: ReadHalf<Stream>) -> Listener<T> {
        Listener {
            reading,
            buffer: Vec::new(),
            start: 0,
            beat: None,
            silent: 0,
            talk: PhantomData,
        }
    }

    /// The next frame that says something. An error: the connection has ended, or the service is silent for longer than
    /// the lease. May be dropped and called again.
    pub async fn next(&mut self) -> io::Result<T::Hears> {
        loop {
            if let Some(frame) = self.take()? {
                if !T::idle(&frame) {
                    return Ok(frame);
                }
                continue;
            }
            let read = self.reading.read_buf(&mut self.buffer);
            let got = match &mut self.beat {
                None => unless_cut(read.await)?,
                Some(beat) => tokio::select! {
                    biased;
                    got = read => unless_cut(got)?,
                    _ = beat.tick() => {
                        self.silent += 1;
                        if self.silent > SILENCES {
                            return Err(error("the rendezvous no longer answers"));
                        }
                        continue;
                    }
                },
            };
            self.silent = 0;
            if got == 0 {
                let text = "the rendezvous closed the connection";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
        }
    }

    /// A whole frame from the buffer.
    fn take(&mut self) -> io::Result<Option<T::Hears>> {
        let rest = &self.buffer[self.start..];
        let whole = match rest.first_chunk::<4>() {
            None => None,
            Some(prefix) => {
                let length = body_length(*prefix, T::Hears::LIMIT).map_err(io::Error::other)?;
                rest.get(4..4 + length)
            }
        };
        let Some(body) = whole else {
            self.buffer.drain(..self.start);
            self.start = 0;
            // Grows with what really comes, whatever length was announced.
            self.buffer.reserve(16 * 1024);
            return Ok(None);
        };
        let frame = T::Hears::decode(body).map_err(io::Error::other)?;
        self.start += 4 + body.len();
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests;
