//! How others see this rank: its listener's port, asked of a relay at both of its ports.

use crate::info;
use crate::transport::os::Fd;
use crate::transport::tcp::net;
use crate::transport::tcp::ways::Relay;
use crate::wire::relay::{self, Request, Status, GREETING, OBSERVED};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(2);

/// What relays said.
#[derive(Default)]
pub struct Seen {
    pub public: Option<SocketAddr>,
    /// The two ports saw different addresses.
    pub symmetric: bool,
    /// The connection to the first port.
    pub kept: Option<Fd>,
}

/// The relays whose names lead somewhere. A name that is none, or takes too long, is said.
pub fn resolve(names: &[String]) -> Vec<Relay> {
    let (tell, told) = mpsc::channel();
    let end = Instant::now() + LIMIT;
    for (number, name) in names.iter().enumerate() {
        let (tell, name) = (tell.clone(), name.clone());
        let find = move || {
            let one = |end: &str| {
                let mut all: Vec<SocketAddr> = end.to_socket_addrs().ok()?.collect();
                // IPv4 first: where both exist it is the one that functions have.
                all.sort_by_key(SocketAddr::is_ipv6);
                all.first().copied()
            };
            let found = relay::ports(&name).and_then(|(a, b)| Some([one(a)?, one(b)?]));
            let _ = tell.send((number, found));
        };
        // A literal address needs nobody's help.
        let literal = relay::ports(&names[number])
            .is_some_and(|(a, b)| [a, b].iter().all(|e| e.parse::<SocketAddr>().is_ok()));
        if literal {
            find();
        } else if std::thread::Builder::new()
            .stack_size(256 << 10)
            .spawn(find)
            .is_err()
        {
            info!("relay {}: no thread to look its name up", names[number]);
        }
    }
    drop(tell);
    let mut found: Vec<(usize, [SocketAddr; 2])> = Vec::new();
    let mut answered = 0;
    while answered < names.len() {
        let left = end.saturating_duration_since(Instant::now());
        match told.recv_timeout(left) {
            Ok((number, Some(ports))) => found.push((number, ports)),
            Ok((_, None)) => (),
            Err(_) => break,
        }
        answered += 1;
    }
    // All ranks have the same order.
    found.sort_unstable();
    for (number, name) in names.iter().enumerate() {
        if !found.iter().any(|(n, _)| *n == number) {
            info!("relay {name} has no address here");
        }
    }
    let relay = |(number, ports): (usize, _)| Relay {
        name: names[number].clone(),
        ports,
    };
    found.into_iter().map(relay).collect()
}

/// Asks the first relay that answers.
pub fn look(
    relays: &[Relay],
    ask: &Request,
    grant: &[u8; 32],
    only: Option<IpAddr>,
    port: u16,
) -> Seen {
    let end = Instant::now() + LIMIT;
    for relay in relays {
        let one = |to: SocketAddr| observe(to, ask, grant, only, port, end);
        let [first, second] = relay.ports;
        // Both at once: an observation is two round trips.
        let (first, second) = std::thread::scope(|scope| {
            let other = std::thread::Builder::new()
                .stack_size(256 << 10)
                .spawn_scoped(scope, || one(second));
            let first = one(first);
            let second = other.and_then(|other| {
                let joined = other.join();
                joined.unwrap_or_else(|_| Err(io::Error::other("it failed")))
            });
            (first, second)
        });
        match (first, second) {
            (Ok((public, kept)), second) => {
                let symmetric = match second {
                    Ok((other, _)) => other != public,
                    Err(error) => {
                        info!("relay {}: its second port: {error}", relay.name);
                        false
                    }
                };
                return Seen {
                    public: Some(public),
                    symmetric,
                    kept: Some(kept),
                };
            }
            (Err(error), _) => info!("relay {} cannot be asked: {error}", relay.name),
        }
        if Instant::now() >= end {
            break;
        }
    }
    Seen::default()
}

fn observe(
    to: SocketAddr,
    ask: &Request,
    grant: &[u8; 32],
    only: Option<IpAddr>,
    port: u16,
    end: Instant,
) -> io::Result<(SocketAddr, Fd)> {
    let fd = net::connect_from(only, port, to)?;
    net::wait(&fd, true, end)?;
    net::outcome(&fd)?;
    let mut greeting = [0; GREETING];
    read(&fd, &mut greeting, end)?;
    let nonce = relay::nonce(&greeting).ok_or_else(|| io::Error::other("it is no relay"))?;
    let said = ask.encode(grant, &nonce);
    if net::send(&fd, &said)? != said.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let mut status = [0];
    read(&fd, &mut status, end)?;
    match Status::decode(status[0]) {
        Some(Status::Ok) => (),
        Some(other) => return Err(io::Error::other(other.text())),
        None => {
            return Err(io::Error::other(
                "it refuses, for a reason of a later version",
            ))
        }
    }
    let mut seen = [0; OBSERVED];
    read(&fd, &mut seen, end)?;
    net::keep_alive(&fd, true);
    Ok((relay::seen(&seen), fd))
}

/// Reads all of it.
fn read(fd: &Fd, into: &mut [u8], end: Instant) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        net::wait(fd, false, end)?;
        match net::receive(fd, &mut into[done..]) {
            Ok(0) => return Err(io::Error::other("it closed the connection")),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => (),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
