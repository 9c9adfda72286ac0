//! What tests of meeting need: a courier within the process, and a relay of threads that splices bytes.

use crate::base::id::PeerId;
use crate::transport::{Courier, Mailbox, Outside};
use crate::wire::relay::{self, Op, Request, Status, GREETING, REQUEST};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const KEY: [u8; 32] = [6; 32];
const EXPIRY: u64 = 4_000_000_000;

type Waiting = Arc<Mutex<HashMap<(u32, u32, bool), TcpStream>>>;

/// A relay and the post of one job.
pub struct Station {
    /// `host:port,host:port2`.
    pub relay: String,
    mailboxes: Vec<Mailbox>,
    /// All connections, to be cut.
    streams: Arc<Mutex<Vec<TcpStream>>>,
    listeners: Vec<SocketAddr>,
    over: Arc<Mutex<bool>>,
}

struct Post {
    me: u32,
    mailboxes: Vec<Mailbox>,
}

impl Courier for Post {
    fn send(&self, to: PeerId, note: &[u8]) {
        self.mailboxes[to.0 as usize].push(PeerId(self.me), note);
    }
}

impl Station {
    pub fn new(ranks: u32) -> Station {
        let mailboxes = (0..ranks)
            .map(|_| Mailbox::new().expect("a mailbox"))
            .collect();
        let (streams, waiting, over) = (Arc::default(), Waiting::default(), Arc::default());
        let mut listeners = Vec::new();
        for _ in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listeners.push(listener.local_addr().expect("an address"));
            let (streams, waiting, over) = (
                Arc::clone(&streams),
                Arc::clone(&waiting),
                Arc::clone(&over),
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
                    let waiting = Arc::clone(&waiting);
                    std::thread::spawn(move || serve(stream, &waiting));
                }
            });
        }
        Station {
            relay: format!("{},{}", listeners[0], listeners[1]),
            mailboxes,
            streams,
            listeners,
            over,
        }
    }

    /// What a rank of this job is given.
    pub fn outside(&self, me: u32, job: &[u8; 16]) -> Outside {
        Outside {
            courier: Some(Box::new(Post {
                me,
                mailboxes: self.mailboxes.clone(),
            })),
            mailbox: Some(self.mailboxes[me as usize].clone()),
            relays: vec![self.relay.clone()],
            relay_expiry: EXPIRY,
            relay_grant: relay::grant(&KEY, job, EXPIRY),
        }
    }

    /// A note from a rank, whatever it says.
    pub fn note(&self, from: u32, to: u32, note: &[u8]) {
        self.mailboxes[to as usize].push(PeerId(from), note);
    }

    /// The relay dies, with all that goes through it.
    pub fn kill(&self) {
        *self.over.lock().expect("a lock") = true;
        for listener in &self.listeners {
            let _ = TcpStream::connect(listener);
        }
        for stream in self.streams.lock().expect("a lock").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.kill();
    }
}

fn serve(mut stream: TcpStream, waiting: &Waiting) {
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
    std::thread::spawn(move || splice(from, to));
    splice(other, stream);
}

/// All bytes one way, and the end.
fn splice(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 16 << 10];
    while let Ok(n) = from.read(&mut bytes) {
        if n == 0 || to.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
