//! What tests of meeting need: a courier within the process, and a relay of threads that splices bytes.

use crate::base::id::PeerId;
use crate::transport::{Courier, Mailbox, Outside};
use crate::wire::relay::{self, Op, Request, Status, GREETING, REQUEST};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const KEY: [u8; 32] = [6; 32];
const EXPIRY: u64 = 4_000_000_000;

type Waiting = Arc<Mutex<HashMap<(u32, u32, bool), TcpStream>>>;

/// Relays and the post of one job.
pub struct Station {
    /// The first one: `host:port,host:port2`.
    pub relay: String,
    relays: Vec<Relay>,
    mailboxes: Vec<Mailbox>,
    /// Ranks that have left the job.
    left: Arc<Mutex<Vec<u32>>>,
    knife: Arc<Knife>,
}

/// Cuts a pair at a byte.
pub struct Knife {
    /// Bytes of all pairs until then; huge: never.
    left: AtomicU64,
    cuts: AtomicU64,
}

impl Knife {
    /// How many of these bytes pass.
    fn pass(&self, bytes: usize) -> usize {
        let bytes = bytes as u64;
        let take = |left: u64| Some(left.saturating_sub(bytes));
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        bytes.min(left.unwrap_or(0)) as usize
    }
}

/// A listener there: a relay that was killed lets go of its ports when its threads have noticed.
pub fn bound(place: SocketAddr) -> TcpListener {
    for _ in 0..1000 {
        if let Ok(listener) = TcpListener::bind(place) {
            return listener;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    TcpListener::bind(place).expect("a port")
}

struct Relay {
    listeners: Vec<SocketAddr>,
    /// All connections, to be cut.
    streams: Arc<Mutex<Vec<TcpStream>>>,
    over: Arc<Mutex<bool>>,
}

impl Relay {
    fn start(ports: [u16; 2], knife: &Arc<Knife>) -> Relay {
        let (streams, waiting, over) = (Arc::default(), Waiting::default(), Arc::default());
        let mut listeners = Vec::new();
        for port in ports {
            let listener = bound(SocketAddr::from(([127, 0, 0, 1], port)));
            listeners.push(listener.local_addr().expect("an address"));
            let (streams, waiting, over, knife) = (
                Arc::clone(&streams),
                Arc::clone(&waiting),
                Arc::clone(&over),
                Arc::clone(knife),
            );
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let over: &Mutex<bool> = &over;
                    if *over.lock().expect("a lock") {
                        return;
                    }
                    let stream = stream.expect("a connection");
                    let held: &Mutex<Vec<TcpStream>> = &streams;
                    let mut held = held.lock().expect("a lock");
                    held.push(stream.try_clone().expect("a clone"));
                    let (waiting, knife) = (Arc::clone(&waiting), Arc::clone(&knife));
                    std::thread::spawn(move || serve(stream, &waiting, &knife));
                }
            });
        }
        Relay {
            listeners,
            streams,
            over,
        }
    }

    fn kill(&self) {
        *self.over.lock().expect("a lock") = true;
        for listener in &self.listeners {
            let _ = TcpStream::connect(listener);
        }
        for stream in self.streams.lock().expect("a lock").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

struct Post {
    me: u32,
    mailboxes: Vec<Mailbox>,
    left: Arc<Mutex<Vec<u32>>>,
}

impl Courier for Post {
    fn send(&self, to: PeerId, note: &[u8]) {
        if self.left.lock().expect("a lock").contains(&to.0) {
            return self.mailboxes[self.me as usize].left(to);
        }
        self.mailboxes[to.0 as usize].push(PeerId(self.me), note);
    }
}

impl Station {
    pub fn new(ranks: u32) -> Station {
        Station::with_relays(ranks, 1)
    }

    pub fn with_relays(ranks: u32, relays: usize) -> Station {
        let mailboxes = (0..ranks)
            .map(|_| Mailbox::new().expect("a mailbox"))
            .collect();
        let knife = Arc::new(Knife {
            left: AtomicU64::new(u64::MAX / 2),
            cuts: AtomicU64::new(0),
        });
        let relays: Vec<Relay> = (0..relays).map(|_| Relay::start([0, 0], &knife)).collect();
        Station {
            relay: Station::name(&relays[0]),
            relays,
            mailboxes,
            left: Arc::default(),
            knife,
        }
    }

    /// Notes to this rank find nobody from now on.
    pub fn leave(&self, rank: u32) {
        self.left.lock().expect("a lock").push(rank);
    }

    fn name(relay: &Relay) -> String {
        format!("{},{}", relay.listeners[0], relay.listeners[1])
    }

    /// Pairs are cut after so many more bytes, in the midst of whatever it is; gives the cuts so far.
    pub fn cut_after(&self, bytes: u64) -> u64 {
        self.knife.left.store(bytes, Ordering::SeqCst);
        self.cuts()
    }

    pub fn cuts(&self) -> u64 {
        self.knife.cuts.load(Ordering::SeqCst)
    }

    /// A relay dies, with all that goes through it.
    pub fn kill_one(&self, at: usize) {
        self.relays[at].kill();
    }

    /// It is started again, on its ports.
    pub fn restart_one(&mut self, at: usize) {
        let ports = [0, 1].map(|n| self.relays[at].listeners[n].port());
        self.relays[at] = Relay::start(ports, &self.knife);
    }

    /// What a rank of this job is given.
    pub fn outside(&self, me: u32, job: &[u8; 16]) -> Outside {
        Outside {
            courier: Some(Box::new(Post {
                me,
                mailboxes: self.mailboxes.clone(),
                left: Arc::clone(&self.left),
            })),
            mailbox: Some(self.mailboxes[me as usize].clone()),
            relays: self.relays.iter().map(Station::name).collect(),
            relay_expiry: EXPIRY,
            relay_grant: relay::grant(&KEY, job, EXPIRY),
        }
    }

    /// A note from a rank, whatever it says.
    pub fn note(&self, from: u32, to: u32, note: &[u8]) {
        self.mailboxes[to as usize].push(PeerId(from), note);
    }

    /// All relays die, with all that goes through them.
    pub fn kill(&self) {
        for relay in &self.relays {
            relay.kill();
        }
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.kill();
    }
}

fn serve(mut stream: TcpStream, waiting: &Waiting, knife: &Arc<Knife>) {
    let _ = stream.set_nodelay(true);
    let nonce = [9; 16];
    let mut bytes = [0; REQUEST];
    let said: [u8; GREETING] = relay::greeting(&nonce);
    if stream.write_all(&said).is_err() || stream.read_exact(&mut bytes).is_err() {
        return;
    }
    let proven = Request::decode(&bytes).filter(|r| r.proven(&bytes, &KEY, &nonce));
    let Some(request) = proven else {
        let _ = stream.write_all(&[Status::WrongGrant as u8]);
        return;
    };
    if request.op == Op::Observe {
        let mut answer = vec![Status::Ok as u8];
        let from = stream.peer_addr().expect("an address");
        answer.extend_from_slice(&relay::observed(from));
        let _ = stream.write_all(&answer);
        // Until it leaves.
        let _ = stream.read(&mut [0]);
        return;
    }
    let dials = request.op == Op::Dial;
    let mut all = waiting.lock().expect("a lock");
    let Some(mut other) = all.remove(&(request.to, request.from, !dials)) else {
        all.insert((request.from, request.to, dials), stream);
        return;
    };
    drop(all);
    let ok = [Status::Ok as u8];
    if stream.write_all(&ok).is_err() || other.write_all(&ok).is_err() {
        return;
    }
    let clones = (stream.try_clone(), other.try_clone());
    let (Ok(from), Ok(to)) = clones else { return };
    let other_way = Arc::clone(knife);
    std::thread::spawn(move || splice(from, to, &other_way));
    splice(other, stream, knife);
}

/// All bytes one way, and the end.
fn splice(mut from: TcpStream, mut to: TcpStream, knife: &Knife) {
    let mut bytes = [0; 16 << 10];
    while let Ok(n) = from.read(&mut bytes) {
        let pass = knife.pass(n);
        if n == 0 || to.write_all(&bytes[..pass]).is_err() {
            break;
        }
        if pass < n {
            knife.cuts.fetch_add(1, Ordering::SeqCst);
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
