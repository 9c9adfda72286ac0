//! Waking a rank that sleeps.
//!
//! The word `sleeping` of a rank's segment says how: 0, it is awake; [`FUTEX`], on the word itself, when only shared
//! memory can bring it something; [`SOCKET`], in epoll among TCP's sockets, with a datagram socket of the abstract
//! namespace that stands for shared memory. Whoever publishes to a rank looks at the word, and takes it to 0 with the
//! duty to wake.

use crate::transport::os::{check, errno, Fd};
use crate::transport::shm::segment::{hex, Head};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub const FUTEX: u32 = 1;
pub const SOCKET: u32 = 2;

/// Sleeps while the word is [`FUTEX`], at most this long; false when the time is over.
pub fn wait(word: &AtomicU32, limit: Duration) -> bool {
    let time = libc::timespec {
        tv_sec: limit.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(limit.subsec_nanos() as i32),
    };
    // SAFETY: the word and the time live through the call; not FUTEX_PRIVATE, for the word is in shared memory.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_futex,
            std::ptr::from_ref(word),
            libc::FUTEX_WAIT,
            FUTEX,
            &time,
            std::ptr::null::<u32>(),
            0,
        )
    };
    !(answer < 0 && errno() == libc::ETIMEDOUT)
}

fn wake_futex(word: &AtomicU32) {
    // SAFETY: the word lives through the call.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            std::ptr::from_ref(word),
            libc::FUTEX_WAKE,
            i32::MAX,
        )
    };
}

/// The address of a rank's wake socket.
pub struct Name {
    address: libc::sockaddr_un,
    length: libc::socklen_t,
}

impl Name {
    pub fn of(nonce: &[u8; 16]) -> Name {
        // SAFETY: plain bytes and integers.
        let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        let text = format!("mayfly-{}", hex(nonce));
        // The byte before it stays 0: the abstract namespace, of which nothing is left behind.
        for (to, from) in address.sun_path[1..].iter_mut().zip(text.bytes()) {
            *to = from as libc::c_char;
        }
        let length = std::mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + text.len();
        Name {
            address,
            length: length as libc::socklen_t,
        }
    }
}

/// The datagram socket with which a rank wakes others and, when it has a name, is woken.
pub struct Waker {
    fd: Fd,
}

impl Waker {
    /// With a name: others can send to it.
    pub fn new(name: Option<&Name>) -> io::Result<Waker> {
        // SAFETY: no memory is involved.
        let fd = Fd(check(unsafe {
            libc::socket(
                libc::AF_UNIX,
                libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
                0,
            )
        })?);
        if let Some(name) = name {
            // SAFETY: the address and its length belong together and live through the call.
            check(unsafe {
                libc::bind(fd.0, std::ptr::from_ref(&name.address).cast(), name.length)
            })?;
        }
        Ok(Waker { fd })
    }

    pub fn fd(&self) -> i32 {
        self.fd.0
    }

    /// False when the other cannot be reached. A full queue is no failure: then it is being woken already.
    pub fn poke(&self, name: &Name) -> bool {
        // SAFETY: one byte is read; the address and its length belong together.
        let answer = unsafe {
            libc::sendto(
                self.fd.0,
                b"!".as_ptr().cast(),
                1,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                std::ptr::from_ref(&name.address).cast(),
                name.length,
            )
        };
        answer >= 0 || matches!(errno(), libc::EAGAIN | libc::ENOBUFS | libc::EINTR)
    }

    /// Forgets the datagrams that came.
    pub fn drain(&self) {
        let mut byte = [0u8; 8];
        for _ in 0..64 {
            // SAFETY: the pointer and length are those of `byte`.
            let n = unsafe {
                libc::recv(
                    self.fd.0,
                    byte.as_mut_ptr().cast(),
                    byte.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            if n < 0 {
                break;
            }
        }
    }
}

/// Wakes the owner of a segment, after the caller saw that it sleeps (or is about to).
#[cold]
pub fn wake(head: &Head, name: &Name, waker: &mut Option<Waker>) {
    match head.sleeping.0.swap(0, Ordering::SeqCst) {
        FUTEX => wake_futex(&head.sleeping.0),
        SOCKET => {
            if waker.is_none() {
                *waker = Waker::new(None).ok();
            }
            if !waker.as_ref().is_some_and(|w| w.poke(name)) {
                head.unwakeable.0.store(1, Ordering::SeqCst);
            }
        }
        _ => (),
    }
}
