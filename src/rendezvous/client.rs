//! The member's end: one blocking connection. A small helper thread reads what the service pushes and renews the
//! lease, while the program's thread sends.

use crate::base::os;
use crate::rendezvous::message::{self, hex, Frame as _, Role, ToMember, ToService};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the service may take for an answer that waits for nobody else.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// How the connection came to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// Somebody ended the job.
    Aborted { rank: u32, code: i32, text: String },
    /// The connection broke, or the service stopped answering.
    Lost(String),
    /// After [`Member::finish`].
    Goodbye,
}

/// What the helper thread calls when the job was aborted or the connection broke, unless the member is leaving.
pub type OnEnd = Box<dyn FnOnce(End) + Send>;

/// What the helper thread calls with a rank and the bytes of its note, or without bytes when the rank has left the job,
/// so that a note to it was in vain; it must be quick.
pub type OnNote = Box<dyn FnMut(u32, Option<Vec<u8>>) + Send>;

/// A member's connection.
pub struct Member {
    shared: Arc<Shared>,
    helper: Option<JoinHandle<()>>,
}

struct Shared {
    stream: TcpStream,
    /// Held while a frame is written.
    sending: Mutex<()>,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
}

/// Sends notes through a member's connection.
#[derive(Clone)]
pub struct Notes {
    shared: Arc<Shared>,
}

impl Notes {
    /// Sends at most [`message::NOTE_MAX`] bytes to another rank; they arrive in order. An error when the note is too
    /// large or the connection is broken. A note to a rank that has not joined or has left is lost, which `on_note` hears.
    pub fn send(&self, to: u32, note: &[u8]) -> io::Result<()> {
        if note.len() > message::NOTE_MAX {
            return Err(error(format!(
                "a note of {} bytes is larger than {}",
                note.len(),
                message::NOTE_MAX
            )));
        }
        let blob = note.to_vec();
        self.shared.send(&ToService::Note { to, blob })
    }
}

#[derive(Default)]
struct Inbox {
    tables: VecDeque<(String, Vec<Vec<u8>>)>,
    branches: VecDeque<(String, message::Blobs)>,
    end: Option<End>,
    /// The member is leaving, so an end is no news.
    leaving: bool,
}

/// Who joins which job where.
pub struct Entry<'a> {
    /// `host:port`.
    pub service: &'a str,
    pub job: &'a [u8; 16],
    /// The member pass of this rank and epoch.
    pub pass: &'a [u8; 32],
    pub rank: u32,
    pub size: u32,
    pub epoch: u32,
    /// How long to go on trying to connect.
    pub patience: Duration,
}

fn error(text: String) -> io::Error {
    io::Error::other(text)
}

/// Connects to `host:port`, trying again until `patience` is over.
pub fn connect(service: &str, patience: Duration) -> io::Result<TcpStream> {
    let end = Instant::now() + patience;
    let mut pause = Duration::from_millis(10);
    loop {
        let mut last = error(format!("{service} has no address"));
        match service.to_socket_addrs() {
            Err(e) => last = e,
            Ok(addresses) => {
                for address in addresses {
                    let left = end.saturating_duration_since(Instant::now());
                    match TcpStream::connect_timeout(&address, left.max(Duration::from_millis(100)))
                    {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            return Ok(stream);
                        }
                        Err(e) => last = e,
                    }
                }
            }
        }
        if Instant::now() + pause >= end {
            return Err(last);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// Reads an HTTP response's head, byte by byte so that nothing behind it is taken; gives the status and the head.
pub fn response_head(stream: &mut impl Read) -> io::Result<(u16, String)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= 8192 {
            return Err(error("its HTTP head does not end".into()));
        }
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| digits.parse().ok());
    match status {
        Some(status) => Ok((status, head)),
        None => Err(error("it does not speak HTTP/1.1".into())),
    }
}

fn read_frame(stream: &mut impl Read) -> io::Result<ToMember> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    let length = message::body_length(prefix, message::TO_MEMBER_MAX).map_err(io::Error::other)?;
    let mut body = Vec::new();
    // Grows with what really comes, whatever length was announced.
    stream.by_ref().take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    ToMember::decode(&body).map_err(io::Error::other)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Connects and shows the pass; from then on the stream carries frames. A service that is too busy is asked again.
fn enter(entry: &Entry<'_>) -> io::Result<TcpStream> {
    let service = entry.service;
    let role = Role::Member {
        rank: entry.rank,
        epoch: entry.epoch,
    };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {service}\r\nConnection: Upgrade\r\nUpgrade: mayfly\r\n\
         Authorization: Bearer {}\r\n\r\n",
        role.path(entry.job),
        hex(entry.pass)
    );
    let end = Instant::now() + entry.patience;
    let mut pause = Duration::from_millis(100);
    loop {
        let mut stream = connect(service, end.saturating_duration_since(Instant::now()))?;
        stream.set_read_timeout(Some(ANSWER))?;
        let status = stream
            .write_all(request.as_bytes())
            .and_then(|()| response_head(&mut stream));
        let trouble = match status {
            Ok((101, _)) => return Ok(stream),
            Ok((401, _)) => return Err(error("it refused this rank's pass".into())),
            Ok((404, _)) => {
                return Err(error(
                    "it does not know this job (has it been restarted?)".into(),
                ))
            }
            Ok((status @ (429 | 503), _)) => {
                error(format!("it is too busy (HTTP status {status})"))
            }
            Ok((status, _)) => return Err(error(format!("it answered with HTTP status {status}"))),
            Err(e) => e,
        };
        if Instant::now() + pause >= end {
            return Err(trouble);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

fn check_size(name: &str, blob: &[u8]) -> io::Result<()> {
    if blob.len() > message::BLOB_MAX || name.len() > message::NAME_MAX {
        return Err(error(format!(
            "a blob of {} bytes is too large to exchange",
            blob.len()
        )));
    }
    Ok(())
}

fn take<T>(answers: &mut VecDeque<(String, T)>, name: &str) -> Option<T> {
    let at = answers.iter().position(|(n, _)| n == name)?;
    answers.remove(at).map(|(_, found)| found)
}

impl Member {
    /// Connects, shows the pass and joins. `on_end` is called at most once, `on_note` for every note (`None`: notes are
    /// thrown away), both on the helper thread.
    pub fn join(entry: &Entry<'_>, on_end: OnEnd, on_note: Option<OnNote>) -> io::Result<Member> {
        let mut stream = enter(entry)?;
        let join = ToService::Join {
            rank: entry.rank,
            size: entry.size,
            epoch: entry.epoch,
            pid: std::process::id(),
            host: os::host_name(),
        };
        stream.write_all(&join.encode())?;
        let lease = match read_frame(&mut stream)? {
            ToMember::Welcome { lease } => Duration::from_millis(lease.into()),
            ToMember::Refused { text } => return Err(error(text)),
            ToMember::Aborted { text, .. } => {
                return Err(error(format!("the job has been ended: {text}")))
            }
            _ => return Err(error("it answered out of turn".into())),
        };
        stream.set_read_timeout((!lease.is_zero()).then(|| lease / 4))?;
        let shared = Arc::new(Shared {
            stream,
            sending: Mutex::new(()),
            inbox: Mutex::default(),
            arrived: Condvar::new(),
        });
        let for_helper = shared.clone();
        let helper = os::without_signals(|| {
            std::thread::Builder::new()
                .name("mayfly-lease".into())
                .stack_size(256 * 1024)
                .spawn(move || for_helper.listen(lease, on_end, on_note))
        })?;
        Ok(Member {
            shared,
            helper: Some(helper),
        })
    }

    /// Gives a blob to the fence of this name and waits for everybody's, by rank.
    pub fn fence(&self, name: &str, blob: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        check_size(name, blob)?;
        self.shared.send(&ToService::Fence {
            name: name.into(),
            blob: blob.to_vec(),
        })?;
        self.answer(|inbox| take(&mut inbox.tables, name))
    }

    /// The same for a large job: rank 0 gets everybody's blob, every other rank those of its parent and its children
    /// ([`message::tree_parent`], [`message::tree_children`]), each with its rank.
    pub fn tree_fence(&self, name: &str, blob: &[u8]) -> io::Result<message::Blobs> {
        check_size(name, blob)?;
        self.shared.send(&ToService::TreeFence {
            name: name.into(),
            blob: blob.to_vec(),
        })?;
        self.answer(|inbox| take(&mut inbox.branches, name))
    }

    /// Something that can send notes to other ranks.
    pub fn notes(&self) -> Notes {
        Notes {
            shared: self.shared.clone(),
        }
    }

    /// Waits for what `take` finds in the inbox.
    fn answer<T>(&self, mut take: impl FnMut(&mut Inbox) -> Option<T>) -> io::Result<T> {
        let mut inbox = lock(&self.shared.inbox);
        loop {
            if let Some(found) = take(&mut inbox) {
                return Ok(found);
            }
            match &inbox.end {
                None => {
                    inbox = self
                        .shared
                        .arrived
                        .wait(inbox)
                        .unwrap_or_else(|p| p.into_inner())
                }
                Some(End::Aborted { text, .. }) => {
                    return Err(error(format!("the job has been ended: {text}")))
                }
                Some(End::Lost(why)) => {
                    return Err(error(format!("the connection is lost: {why}")))
                }
                Some(End::Goodbye) => {
                    return Err(error("this rank has already left the job".into()))
                }
            }
        }
    }

    /// Ends the job for everybody; returns when the service knows, or after two seconds.
    pub fn abort(&mut self, code: i32, text: &str) {
        self.depart(&ToService::Abort {
            code,
            text: text.into(),
        });
    }

    /// Says that this member needs no one any more and closes the connection.
    pub fn finish(&mut self) {
        self.depart(&ToService::Finished);
    }

    /// How the connection ended, if it has.
    pub fn end(&self) -> Option<End> {
        lock(&self.shared.inbox).end.clone()
    }

    /// In the child of a fork: lets go of the parent's connection without a word. Nothing else may be called afterwards.
    pub fn after_fork(&self) {
        os::close(self.shared.stream.as_raw_fd());
    }

    fn depart(&mut self, last: &ToService) {
        let Some(helper) = self.helper.take() else {
            return;
        };
        lock(&self.shared.inbox).leaving = true;
        if self.shared.send(last).is_ok() {
            let _ = self.shared.stream.shutdown(Shutdown::Write);
            // Unread bytes at close would reset the connection and may destroy our last frame: wait for the end.
            let inbox = lock(&self.shared.inbox);
            let _ = self
                .shared
                .arrived
                .wait_timeout_while(inbox, FAREWELL, |inbox| inbox.end.is_none());
        }
        let _ = self.shared.stream.shutdown(Shutdown::Both);
        let _ = helper.join();
    }
}

impl Shared {
    fn send(&self, frame: &ToService) -> io::Result<()> {
        let bytes = frame.encode();
        let _held = lock(&self.sending);
        (&self.stream).write_all(&bytes)
    }

    /// The helper thread.
    fn listen(&self, lease: Duration, on_end: OnEnd, on_note: Option<OnNote>) {
        let end = self.follow(lease, on_note);
        let leaving = lock(&self.inbox).leaving;
        // Before anyone who waits for an answer hears of it: usually this ends the process, and says why itself.
        if !leaving && end != End::Goodbye {
            on_end(end.clone());
        }
        lock(&self.inbox).end = Some(end);
        self.arrived.notify_all();
    }

    /// Reads frames until the connection's end.
    fn follow(&self, lease: Duration, mut on_note: Option<OnNote>) -> End {
        let mut reader = Patient {
            shared: self,
            lease,
            silent: 0,
            renewed: Instant::now(),
        };
        loop {
            match read_frame(&mut reader) {
                Ok(ToMember::Table { name, blobs }) => {
                    lock(&self.inbox).tables.push_back((name, blobs));
                    self.arrived.notify_all();
                }
                Ok(ToMember::Branch { name, blobs }) => {
                    lock(&self.inbox).branches.push_back((name, blobs));
                    self.arrived.notify_all();
                }
                Ok(ToMember::Note { from, blob }) => {
                    if let Some(on_note) = &mut on_note {
                        on_note(from, Some(blob));
                    }
                }
                Ok(ToMember::Undelivered { to, text }) => {
                    crate::info!("a note to rank {to} was not delivered: {text}");
                    if let Some(on_note) = &mut on_note {
                        on_note(to, None);
                    }
                }
                Ok(ToMember::Aborted { rank, code, text }) => {
                    return End::Aborted { rank, code, text }
                }
                Ok(ToMember::Goodbye) => return End::Goodbye,
                Ok(ToMember::Refused { text }) => return End::Lost(text),
                Ok(ToMember::Welcome { .. } | ToMember::Alive | ToMember::Over) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    return End::Lost("it closed the connection".into())
                }
                Err(e) => return End::Lost(e.to_string()),
            }
        }
    }
}

/// Reads from the socket and renews the lease while it waits.
struct Patient<'a> {
    shared: &'a Shared,
    lease: Duration,
    /// Timeouts in a row, each a quarter of the lease: counted rather than measured, because a frozen instance wakes up
    /// with a clock far ahead and nothing wrong.
    silent: u32,
    renewed: Instant,
}

impl Read for Patient<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = (&self.shared.stream).read(out);
            let now = Instant::now();
            if !self.lease.is_zero() && now.duration_since(self.renewed) >= self.lease / 4 {
                self.renewed = now;
                self.shared.send(&ToService::Renew)?;
            }
            match result {
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    self.silent += 1;
                    if self.silent > 4 {
                        return Err(error("it no longer answers".into()));
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
                Ok(n) => {
                    self.silent = 0;
                    return Ok(n);
                }
            }
        }
    }
}
