//! A platform's front as the launcher sees it, with the bad habits of real ones: it is told request by request what to
//! do. Its instances are real: each is a `mayfly host` process of its own.
#![allow(dead_code)]

pub mod sigv4;

use crate::common::mayfly_path;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub at: Instant,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, value)| value)
    }

    fn number(&self, name: &str) -> Option<u32> {
        let value: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        u32::try_from(value.get(name)?.as_u64()?).ok()
    }

    /// Of the start in its body; `None`: it holds none.
    pub fn instance(&self) -> Option<u32> {
        self.number("instance")
    }

    pub fn attempt(&self) -> Option<u32> {
        self.number("attempt")
    }
}

/// What the front does with a request.
#[derive(Clone)]
pub enum Act {
    /// Runs an instance and passes its answer on as it comes.
    Run,
    /// Answers this at once and runs an instance in the background.
    Accept(u16, String),
    /// Answers: status, further headers (each with its line's end), body.
    Answer(u16, String, String),
    /// Closes the connection; nothing runs.
    Cut,
    /// Runs an instance, and closes the connection as soon as it has begun.
    RunThenCut,
    /// Delivers the start to two instances; the answer is the second one's, which comes too late.
    Twice,
    /// Passes on so many bytes of the answer's body, then the connection ends.
    Truncate(usize),
    /// Says that it will run, and does not.
    Swallow,
    /// First waits: a cold start.
    After(Duration, Box<Act>),
}

pub fn answer(status: u16, body: &str) -> Act {
    Act::Answer(status, String::new(), body.into())
}

type Decide = dyn Fn(&Seen) -> Act + Send + Sync;

struct Inner {
    decide: Box<Decide>,
    seen: Mutex<Vec<Seen>>,
    instances: Mutex<Vec<Child>>,
    ended: AtomicBool,
}

/// Listens until dropped; then its instances are gone.
pub struct Front {
    inner: Arc<Inner>,
    port: u16,
}

impl Front {
    pub fn start(decide: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner {
            decide: Box::new(decide),
            seen: Mutex::default(),
            instances: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let for_thread = inner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if for_thread.ended.load(Ordering::Relaxed) {
                    return;
                }
                let inner = for_thread.clone();
                // A client that goes away in the middle ends its thread.
                std::thread::spawn(move || drop(inner.serve(stream.unwrap())));
            }
        });
        Front { inner, port }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    /// Those that hold a start.
    pub fn starts(&self) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| seen.instance().is_some());
        seen
    }

    /// Attempts for this instance.
    pub fn attempts(&self, instance: u32) -> Vec<u32> {
        let starts = self.starts();
        let of = starts.iter().filter(|s| s.instance() == Some(instance));
        of.filter_map(Seen::attempt).collect()
    }

    /// The processes of the instances that were ever started.
    pub fn pids(&self) -> Vec<u32> {
        let instances = self.inner.instances.lock().unwrap();
        instances.iter().map(Child::id).collect()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        for instance in self.inner.instances.lock().unwrap().iter_mut() {
            let _ = instance.kill();
            let _ = instance.wait();
        }
    }
}

impl Inner {
    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let Some(seen) = read_request(&mut client)? else {
            return Ok(());
        };
        self.seen.lock().unwrap().push(seen.clone());
        let act = (self.decide)(&seen);
        self.act(act, &seen, &mut client)?;
        client.shutdown(Shutdown::Both)
    }

    fn act(&self, act: Act, seen: &Seen, client: &mut TcpStream) -> std::io::Result<()> {
        match act {
            Act::Answer(status, headers, body) => respond(client, status, &headers, &body),
            Act::Accept(status, body) => {
                let mut instance = self.deliver(&seen.body)?;
                respond(client, status, "", &body)?;
                client.shutdown(Shutdown::Both)?;
                drain(&mut instance)
            }
            Act::Run => {
                let mut instance = self.deliver(&seen.body)?;
                std::io::copy(&mut instance, client).map(drop)
            }
            Act::Cut => Ok(()),
            Act::RunThenCut => {
                let mut instance = self.deliver(&seen.body)?;
                instance.read_exact(&mut [0; 12])?;
                client.shutdown(Shutdown::Both)?;
                drain(&mut instance)
            }
            Act::Twice => {
                let mut first = self.deliver(&seen.body)?;
                first.read_exact(&mut [0; 12])?;
                let mut second = self.deliver(&seen.body)?;
                std::io::copy(&mut second, client)?;
                client.shutdown(Shutdown::Both)?;
                drain(&mut first)
            }
            Act::Truncate(bytes) => {
                let mut instance = self.deliver(&seen.body)?;
                let head = read_head(&mut instance)?;
                client.write_all(&head)?;
                std::io::copy(&mut (&instance).take(bytes as u64), client)?;
                client.shutdown(Shutdown::Both)?;
                drain(&mut instance)
            }
            Act::Swallow => respond(client, 202, "", ""),
            Act::After(time, act) => {
                std::thread::sleep(time);
                self.act(*act, seen, client)
            }
        }
    }

    /// A new instance that has been given the start.
    fn deliver(&self, body: &str) -> std::io::Result<TcpStream> {
        let mut host = Command::new(mayfly_path())
            .args(["host", "--contract", "http", "--listen", "127.0.0.1:0"])
            .env_remove("MAYFLY_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut said = BufReader::new(host.stderr.take().unwrap());
        self.instances.lock().unwrap().push(host);
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(said.read_line(&mut line)? > 0, "the host ended early");
            if let Some((_, address)) = line.trim_end().split_once("http://") {
                let address = address.split_whitespace().next();
                break address.unwrap_or_default().to_string();
            }
        };
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if std::env::var_os("FRONT_SHOWS").is_some() {
                    eprintln!("instance: {line}");
                }
            }
        });
        let mut stream = TcpStream::connect(&address)?;
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        Ok(stream)
    }
}

fn drain(stream: &mut TcpStream) -> std::io::Result<()> {
    std::io::copy(stream, &mut std::io::sink()).map(drop)
}

fn read_head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    Ok(head)
}

fn read_request(client: &mut TcpStream) -> std::io::Result<Option<Seen>> {
    let head = String::from_utf8(read_head(client)?).unwrap();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_string()))
        .collect();
    let mut seen = Seen {
        method: method.into(),
        target: target.into(),
        headers,
        body: String::new(),
        at: Instant::now(),
    };
    let mut body = vec![0; seen.header("content-length").parse().unwrap_or(0)];
    client.read_exact(&mut body)?;
    seen.body = String::from_utf8(body).unwrap();
    Ok(Some(seen))
}

fn respond(client: &mut TcpStream, status: u16, headers: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status} So\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
