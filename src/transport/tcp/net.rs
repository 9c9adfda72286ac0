//! Sockets and interfaces, as TCP needs them from the kernel.

use crate::transport::os::{check, Fd};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A socket address as the kernel takes it.
struct Raw {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl Raw {
    fn new(address: SocketAddr) -> Raw {
        // SAFETY: plain integers.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let length = match address {
            SocketAddr::V4(v4) => {
                // SAFETY: the storage is larger than, and aligned for, every socket address.
                let to = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in>() };
                to.sin_family = libc::AF_INET as libc::sa_family_t;
                to.sin_port = v4.port().to_be();
                to.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                // SAFETY: as above.
                let to = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in6>() };
                to.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                to.sin6_port = v6.port().to_be();
                to.sin6_addr.s6_addr = v6.ip().octets();
                to.sin6_scope_id = v6.scope_id();
                size_of::<libc::sockaddr_in6>()
            }
        };
        Raw {
            storage,
            length: length as libc::socklen_t,
        }
    }

    fn ip(storage: &libc::sockaddr_storage) -> Option<(IpAddr, u16)> {
        match i32::from(storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which structure it is.
                let from = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(from.sin_addr.s_addr.to_ne_bytes());
                Some((IpAddr::V4(ip), u16::from_be(from.sin_port)))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let from = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(from.sin6_addr.s6_addr);
                Some((ip.to_canonical(), u16::from_be(from.sin6_port)))
            }
            _ => None,
        }
    }
}

fn socket(family: i32) -> io::Result<Fd> {
    // SAFETY: no memory is involved.
    check(unsafe {
        libc::socket(
            family,
            libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            0,
        )
    })
    .map(Fd)
}

fn set(fd: &Fd, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and size are those of `value`.
    check(unsafe {
        libc::setsockopt(
            fd.0,
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    })
    .map(|_| ())
}

/// No waiting to fill packets.
pub fn no_delay(fd: &Fd) {
    // Refused only by what is no TCP socket.
    let _ = set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
}

/// Punching connects from the listener's own port. Where the kernel knows no shared ports, there is no punching.
fn share_port(fd: &Fd) -> io::Result<()> {
    let _ = set(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1);
    set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)
}

/// Seconds without a word until the kernel asks whether the other end still lives, between questions, and questions
/// without an answer until it counts as gone. Address translators forget what is silent for minutes.
const ALIVE: [i32; 3] = [15, 3, 3];
/// The same of a relay, which is there to answer, and in whose place there may be another.
const ALIVE_RELAY: [i32; 3] = [4, 2, 3];

/// Asks now and then whether the other end lives, which also keeps translators from forgetting the connection.
pub fn keep_alive(fd: &Fd, relay: bool) {
    let [idle, between, count] = if relay { ALIVE_RELAY } else { ALIVE };
    // Refused only by what is no TCP socket.
    let _ = set(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
    let _ = set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, idle);
    let _ = set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, between);
    let _ = set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, count);
}

/// For how long the other machine has answered nothing, although the kernel sends again and again; `None`: all is well.
///
/// The kernel itself goes on for a quarter of an hour. TCP_USER_TIMEOUT would also end connections whose other end
/// computes and takes nothing (its window is closed; see tcp(7) and `tcp_probe_timer`): its kernel answers probes.
pub fn unanswered(fd: &Fd) -> Option<Duration> {
    // SAFETY: plain integers.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the pointers and the length are those of locals.
    check(unsafe {
        libc::getsockopt(
            fd.0,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            std::ptr::from_mut(&mut info).cast(),
            &mut length,
        )
    })
    .ok()?;
    let again = info.tcpi_unacked > 0 && info.tcpi_retransmits >= AGAIN;
    again.then(|| Duration::from_millis(info.tcpi_last_ack_recv.into()))
}

/// So often something must have been sent again before that counts.
const AGAIN: u8 = 3;

/// A listening socket on a free port of this address.
/// Connections that the kernel completes while this rank is busy: everybody may come at once. It allows what
/// `somaxconn` says, mostly 4096; when it is full, diallers hear nothing for a second or more.
const BACKLOG: i32 = 65_535;

fn listen_at(ip: IpAddr) -> io::Result<(Fd, u16)> {
    let family = if ip.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let fd = socket(family)?;
    share_port(&fd)?;
    if ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // One socket for both families.
        set(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
    }
    let raw = Raw::new(SocketAddr::new(ip, 0));
    // SAFETY: the address and its length belong together and live through the call.
    check(unsafe { libc::bind(fd.0, (&raw const raw.storage).cast(), raw.length) })?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::listen(fd.0, BACKLOG) })?;
    let mut bound = Raw::new(SocketAddr::new(ip, 0));
    // SAFETY: the kernel writes at most `length` bytes to the storage.
    check(unsafe { libc::getsockname(fd.0, (&raw mut bound.storage).cast(), &mut bound.length) })?;
    let port = Raw::ip(&bound.storage).map_or(0, |(_, port)| port);
    Ok((fd, port))
}

/// A listening socket, on one address or on all.
pub fn listen(only: Option<IpAddr>) -> io::Result<(Fd, u16)> {
    match only {
        Some(ip) => listen_at(ip),
        None => listen_at(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
            .or_else(|_| listen_at(IpAddr::V4(Ipv4Addr::UNSPECIFIED))),
    }
}

/// Begins to connect; the socket becomes writable when it is decided.
pub fn connect(address: SocketAddr) -> io::Result<Fd> {
    begin(socket(family(address))?, address)
}

/// Begins to connect from this port, which the listener has too.
pub fn connect_from(ip: Option<IpAddr>, port: u16, address: SocketAddr) -> io::Result<Fd> {
    let fd = socket(family(address))?;
    share_port(&fd)?;
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let raw = Raw::new(SocketAddr::new(ip.unwrap_or(any), port));
    // SAFETY: the address and its length belong together and live through the call.
    check(unsafe { libc::bind(fd.0, (&raw const raw.storage).cast(), raw.length) })?;
    begin(fd, address)
}

fn family(address: SocketAddr) -> i32 {
    match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    }
}

fn begin(fd: Fd, address: SocketAddr) -> io::Result<Fd> {
    no_delay(&fd);
    let raw = Raw::new(address);
    // SAFETY: the address and its length belong together and live through the call.
    match check(unsafe { libc::connect(fd.0, (&raw const raw.storage).cast(), raw.length) }) {
        Err(e) if !matches!(e.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => Err(e),
        _ => Ok(fd),
    }
}

/// Is a connection attempt decided, one way or the other?
pub fn is_decided(fd: &Fd) -> bool {
    let mut set = libc::pollfd {
        fd: fd.0,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: the pointer and the count are those of a local.
    unsafe { libc::poll(&mut set, 1, 0) == 1 }
}

/// How a connection attempt ended.
pub fn outcome(fd: &Fd) -> io::Result<()> {
    let mut error = 0i32;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointers and the length are those of locals.
    check(unsafe {
        libc::getsockopt(
            fd.0,
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            std::ptr::from_mut(&mut error).cast(),
            &mut length,
        )
    })?;
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

/// The next connection that waits, and who it comes from.
pub fn accept(listener: &Fd) -> io::Result<(Fd, String)> {
    // SAFETY: plain integers.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to the storage.
    let fd = Fd(check(unsafe {
        libc::accept4(
            listener.0,
            (&raw mut storage).cast(),
            &mut length,
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    })?);
    no_delay(&fd);
    let from = Raw::ip(&storage).map_or("somewhere".to_string(), |(ip, port)| {
        SocketAddr::new(ip, port).to_string()
    });
    Ok((fd, from))
}

/// Sends what fits.
#[inline]
pub fn send(fd: &Fd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of `bytes`.
    let n = unsafe {
        libc::send(
            fd.0,
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
        )
    };
    if n < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(n as usize)
    }
}

/// Sends of both, one behind the other, what the kernel takes: how many bytes.
pub fn send_both(fd: &Fd, first: &[u8], second: &[u8]) -> io::Result<usize> {
    let part = |bytes: &[u8]| libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut parts = [part(first), part(second)];
    // SAFETY: a message header is plain integers and pointers; all zeros is an empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len() as _;
    // SAFETY: the parts live through the call, and the kernel only reads them.
    let n = unsafe { libc::sendmsg(fd.0, &message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
    match n < 0 {
        true => Err(io::Error::last_os_error()),
        false => Ok(n as usize),
    }
}

/// Receives what is there, first to `place`, then to `rest`; 0 at the end.
///
/// # Safety
/// `place` must be valid for writes of `length` bytes.
pub unsafe fn receive_both(
    fd: &Fd,
    place: *mut u8,
    length: usize,
    rest: &mut [u8],
) -> io::Result<usize> {
    let part = |start: *mut u8, length| libc::iovec {
        iov_base: start.cast(),
        iov_len: length,
    };
    let mut parts = [part(place, length), part(rest.as_mut_ptr(), rest.len())];
    // SAFETY: as in `send_both`.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len() as _;
    // SAFETY: the caller's promise for the first part; the second is a slice.
    let n = unsafe { libc::recvmsg(fd.0, &mut message, libc::MSG_DONTWAIT) };
    match n < 0 {
        true => Err(io::Error::last_os_error()),
        false => Ok(n as usize),
    }
}

/// Receives what is there; 0 at the end.
#[inline]
pub fn receive(fd: &Fd, bytes: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of `bytes`.
    let n = unsafe {
        libc::recv(
            fd.0,
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT,
        )
    };
    if n < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(n as usize)
    }
}

/// Nothing more will be sent.
pub fn finish(fd: &Fd) {
    // SAFETY: no memory is involved.
    unsafe { libc::shutdown(fd.0, libc::SHUT_WR) };
}

/// Waits until the socket can be read (or written), at most until `end`.
///
/// # Errors
/// `TimedOut`.
pub fn wait(fd: &Fd, write: bool, end: std::time::Instant) -> io::Result<()> {
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        let mut look = libc::pollfd {
            fd: fd.0,
            events: if write { libc::POLLOUT } else { libc::POLLIN },
            revents: 0,
        };
        // SAFETY: one entry, which lives through the call.
        let n = unsafe { libc::poll(&mut look, 1, left.as_millis().min(60_000) as i32) };
        match n {
            1 => return Ok(()),
            0 if left.is_zero() || left.as_millis() == 0 => {
                return Err(io::ErrorKind::TimedOut.into())
            }
            _ => (),
        }
    }
}

/// Is it an address that only the platform's own network knows? RFC 1918, 3927, 4193, 6598; loopback.
pub fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => {
            let local = ip.segments()[0] & 0xfe00 == 0xfc00 || ip.segments()[0] & 0xffc0 == 0xfe80;
            ip.is_loopback() || local
        }
    }
}

/// The kernel's list of sockets to watch.
pub struct Epoll(Fd);

pub use libc::epoll_event as Event;

impl Epoll {
    /// Readable when anything that it watches has something.
    pub fn fd(&self) -> i32 {
        self.0 .0
    }

    pub fn new() -> io::Result<Epoll> {
        // SAFETY: no memory is involved.
        check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(|fd| Epoll(Fd(fd)))
    }

    fn control(&self, what: i32, fd: i32, events: i32, data: u64) -> io::Result<()> {
        let mut event = Event {
            events: events as u32,
            u64: data,
        };
        // SAFETY: the event lives through the call.
        check(unsafe { libc::epoll_ctl(self.0 .0, what, fd, &mut event) }).map(|_| ())
    }

    fn interest(write: bool, read: bool) -> i32 {
        (if write { libc::EPOLLOUT } else { 0 }) | (if read { libc::EPOLLIN } else { 0 })
    }

    pub fn add(&self, fd: i32, data: u64, read: bool, write: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, Self::interest(write, read), data)
    }

    pub fn change(&self, fd: i32, data: u64, read: bool, write: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, Self::interest(write, read), data)
    }

    pub fn remove(&self, fd: i32) {
        // It may be closed already, which removed it too.
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    /// What is ready, after at most this many milliseconds.
    pub fn wait<'a>(&self, events: &'a mut [Event], milliseconds: i32) -> &'a [Event] {
        // SAFETY: the pointer and length are those of `events`.
        let n = unsafe {
            libc::epoll_wait(
                self.0 .0,
                events.as_mut_ptr(),
                events.len() as i32,
                milliseconds,
            )
        };
        &events[..n.max(0) as usize]
    }
}

/// One address of this machine.
struct Interface {
    name: String,
    ip: IpAddr,
    loopback: bool,
}

fn interfaces() -> Vec<Interface> {
    let mut out = Vec::new();
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the call fills `list`, which is freed below.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return out;
    }
    let mut at = list;
    while !at.is_null() {
        // SAFETY: the list's entries live until it is freed; names are C strings; an address that is there has the
        // size that its family says, which is checked before more than the family is read.
        unsafe {
            let entry = &*at;
            at = entry.ifa_next;
            if entry.ifa_addr.is_null() || entry.ifa_flags & libc::IFF_UP as u32 == 0 {
                continue;
            }
            let ip = match i32::from((*entry.ifa_addr).sa_family) {
                libc::AF_INET => {
                    let v4 = &*entry.ifa_addr.cast::<libc::sockaddr_in>();
                    IpAddr::V4(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()))
                }
                libc::AF_INET6 => {
                    let v6 = &*entry.ifa_addr.cast::<libc::sockaddr_in6>();
                    // A link-local address means nothing without the name of the link.
                    if v6.sin6_scope_id != 0 {
                        continue;
                    }
                    IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr))
                }
                _ => continue,
            };
            out.push(Interface {
                name: std::ffi::CStr::from_ptr(entry.ifa_name)
                    .to_string_lossy()
                    .into_owned(),
                ip,
                loopback: entry.ifa_flags & libc::IFF_LOOPBACK as u32 != 0,
            });
        }
    }
    // SAFETY: the list came from getifaddrs and is not used any more.
    unsafe { libc::freeifaddrs(list) };
    out
}

/// What to announce, and the one address to listen on (`None`: all), by `MAYFLY_INTERFACE`.
///
/// # Errors
/// One line when there is no such interface or address.
pub fn announce(wanted: &str) -> Result<(Vec<IpAddr>, Option<IpAddr>), String> {
    let all = interfaces();
    if wanted.is_empty() {
        let mut ips: Vec<IpAddr> = all.iter().filter(|i| !i.loopback).map(|i| i.ip).collect();
        // IPv4 first: where both exist it is the one more often routed between functions.
        ips.sort_by_key(IpAddr::is_ipv6);
        ips.dedup();
        return Ok((ips, None));
    }
    let ip = match wanted.parse::<IpAddr>() {
        Ok(ip) => Some(ip),
        Err(_) => {
            let mut of: Vec<IpAddr> = all
                .iter()
                .filter(|i| i.name == wanted)
                .map(|i| i.ip)
                .collect();
            of.sort_by_key(IpAddr::is_ipv6);
            of.first().copied()
        }
    };
    match ip {
        Some(ip) if all.iter().any(|i| i.ip == ip) => Ok((vec![ip], Some(ip))),
        _ => {
            let mut known: Vec<String> =
                all.iter().map(|i| format!("{} {}", i.name, i.ip)).collect();
            known.sort();
            Err(format!(
                "MAYFLY_INTERFACE={wanted} is no interface or address of this machine; it has {}",
                known.join(", ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        let private = |text: &str| is_private(text.parse().expect("an address"));
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.9.9",
            "169.254.7.7",
            "100.100.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(private(ip), "{ip}");
        }
        for ip in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "203.0.113.9",
            "2001:db8::1",
        ] {
            assert!(!private(ip), "{ip}");
        }
    }

    #[test]
    fn interfaces_are_found_by_name_and_address() {
        let (ips, only) = announce("127.0.0.1").expect("loopback");
        assert_eq!((ips[0], only), (ips[0], Some(ips[0])));
        assert_eq!(announce("lo").expect("lo").1, only);
        let error = announce("nowhere9").expect_err("no such interface");
        assert!(error.contains("nowhere9") && error.contains("127.0.0.1"));
        assert!(announce("203.0.113.9").is_err());
        assert!(announce("").expect("all").1.is_none());
    }
}
