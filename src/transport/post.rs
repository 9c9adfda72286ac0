//! Notes: small messages between ranks that have no link yet. Somebody else carries them (the rendezvous, as the
//! runtime arranges it); a transport only writes and reads them.

use crate::base::id::PeerId;
use crate::transport::os::{check, Fd};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Notes that may wait to be read. A rank asks again when it gets no answer, so the oldest may go.
const MOST: usize = 4096;

/// Carries a note to a peer: at once or never, without waiting for it to be read. It may get lost.
pub trait Courier: Send {
    fn send(&self, to: PeerId, note: &[u8]);
}

/// Where notes from peers are put, by any thread, and wait for the next poll. A sleeping rank is woken.
#[derive(Clone)]
pub struct Mailbox(Arc<Inner>);

struct Inner {
    /// Without a note: the peer has left the job.
    notes: Mutex<VecDeque<(PeerId, Option<Vec<u8>>)>>,
    /// An eventfd, readable while notes wait.
    bell: Fd,
}

impl Mailbox {
    /// # Errors
    /// The kernel's, when there is no descriptor left.
    pub fn new() -> std::io::Result<Mailbox> {
        // SAFETY: no memory is involved.
        let bell = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        Ok(Mailbox(Arc::new(Inner {
            notes: Mutex::default(),
            bell: Fd(bell),
        })))
    }

    /// Puts a note in. The same note of the same peer waits once.
    pub fn push(&self, from: PeerId, note: &[u8]) {
        self.put(from, Some(note));
    }

    /// A note to this peer found nobody: it has left the job.
    pub fn left(&self, peer: PeerId) {
        self.put(peer, None);
    }

    fn put(&self, from: PeerId, note: Option<&[u8]>) {
        let mut notes = self.0.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes
            .iter()
            .any(|(f, n)| *f == from && n.as_deref() == note)
        {
            return;
        }
        if notes.len() >= MOST {
            notes.pop_front();
        }
        notes.push_back((from, note.map(<[u8]>::to_vec)));
        let one = 1u64;
        // SAFETY: the pointer and length are those of a local. It fails only when the bell rings already.
        unsafe { libc::write(self.0.bell.0, (&raw const one).cast(), 8) };
    }

    /// The oldest note, or word that a peer has left. When there is none the bell is silent.
    pub(super) fn take(&self) -> Option<(PeerId, Option<Vec<u8>>)> {
        let mut notes = self.0.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let note = notes.pop_front();
        if note.is_none() {
            let mut count = 0u64;
            // SAFETY: the pointer and length are those of a local. It fails only when the bell is silent.
            unsafe { libc::read(self.0.bell.0, (&raw mut count).cast(), 8) };
        }
        note
    }

    /// The descriptor to sleep on.
    pub(super) fn bell(&self) -> i32 {
        self.0.bell.0
    }
}

/// What a rank knows of the world beyond its own network. The default: nothing.
#[derive(Default)]
pub struct Outside {
    /// Carries notes to peers that cannot be reached yet.
    pub courier: Option<Box<dyn Courier>>,
    /// Where the notes of such peers arrive.
    pub mailbox: Option<Mailbox>,
    /// Relays, `host:port,host:port2` each: the two ports of one relay.
    pub relays: Vec<String>,
    /// Until when the grant holds, Unix time in seconds.
    pub relay_expiry: u64,
    /// What makes a relay serve this job's ranks.
    pub relay_grant: [u8; 32],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_wait_in_order_and_ring_the_bell() {
        let mailbox = Mailbox::new().expect("a descriptor");
        let rings = || {
            let mut look = libc::pollfd {
                fd: mailbox.bell(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one entry, which lives through the call.
            unsafe { libc::poll(&mut look, 1, 0) == 1 }
        };
        assert!(!rings());
        let other = mailbox.clone();
        std::thread::spawn(move || {
            for note in [b"a", b"b", b"a"] {
                other.push(PeerId(3), note);
            }
            other.push(PeerId(4), b"a");
            other.left(PeerId(4));
            other.left(PeerId(4));
        })
        .join()
        .expect("pushed");
        let mut got = Vec::new();
        while let Some((from, note)) = mailbox.take() {
            assert!(rings(), "while notes may wait");
            got.push((from.0, note.map_or(0, |note| note[0])));
        }
        assert_eq!(got, [(3, b'a'), (3, b'b'), (4, b'a'), (4, 0)]);
        assert!(!rings());
        for i in 0..=MOST as u32 {
            mailbox.push(PeerId(i), b"x");
        }
        assert_eq!(mailbox.take().map(|(from, _)| from), Some(PeerId(1)));
    }
}
