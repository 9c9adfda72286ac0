//! Boards: what a rank shows to all members of a communicator, without a message to each.
//!
//! A board lies in its owner's segment and has [`PLACES`] places, used in turn: what is shown as number q is at place
//! q mod PLACES, until the owner shows number q + PLACES there, for which it waits until all members have said that they
//! are done with q. What is longer than a place lies behind the places, one after the other round a ring, and stays as
//! long. Numbers only grow, through all communicators that a board serves one after the other, so nothing is ever taken
//! back and a look at an old board finds an old number.

mod face;

use super::segment::Head;
use super::{lines, wake};
use crate::base::error::Result;
use crate::base::id::PeerId;
use crate::fail;
use std::collections::VecDeque;
use std::sync::atomic::{compiler_fence, fence, AtomicU64, Ordering};

/// Phases that a collective may have.
pub const PHASES: u64 = 2;
/// What may be shown before the first of it has been read by all.
pub const PLACES: u64 = 256;
/// Bytes that can be shown at a time on the board itself.
pub const ROOM: usize = 64 << 10;
/// Bytes of all that is longer than a place.
const RING: usize = 4 * ROOM;

/// Bytes that are shown beside their number.
const BESIDE: usize = 112;
/// In the word of a place, above the length: these are the address and length of data in the owner's own memory.
const ELSEWHERE: u64 = 1 << 63;
/// Bytes of the ring whose lines are called for ahead.
const CALLED: usize = 1 << 10;
/// Said of a number: what it showed is not to be trusted any more.
const WITHDRAWN: u64 = 1 << 63;

/// What is shown: its number, which is written last, and what fits beside it.
#[repr(C, align(128))]
struct Place {
    number: AtomicU64,
    word: u64,
    beside: [u8; BESIDE],
}

/// A board as it lies in a segment; zero at first.
#[repr(C, align(4096))]
pub struct Board {
    /// The owner has read what the others showed, up to this number of its own.
    done: Done,
    /// Somebody sleeps until it has; 0: nobody. Of several numbers the lowest.
    wanted: Done,
    places: [Place; PLACES as usize],
    ring: [u8; RING],
}

#[repr(C, align(128))]
struct Done(AtomicU64);

/// A board that its owner gives to a communicator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    pub index: u32,
    /// The last number that was shown on it.
    pub base: u64,
}

/// The boards of a communicator's members, as this rank uses them. Phases count from 1 in each collective.
pub struct Boards {
    members: Vec<Member>,
    me: usize,
    /// Which of its own boards this rank gave.
    index: usize,
    /// Phases before the collective under way.
    turn: u64,
    /// Phases that all members are known to be done with.
    read: u64,
    /// Bytes of the ring that were ever used, and for what since then: phases, and the bytes with them.
    used: u64,
    since: VecDeque<(u64, u64)>,
    /// Where in the ring something was shown last, and its bytes, until there is a pause.
    fresh: Option<(usize, usize)>,
    /// Every member sees to the order of what is published and its own sleep: see `fence`.
    light: bool,
    /// Every member's memory can be read.
    pub fetch: bool,
}

struct Member {
    peer: u32,
    base: u64,
    board: *const Board,
    /// Of the segment that it lies in.
    head: *const Head,
}

// SAFETY: the pointers lead into mappings of the process that live as long as its links; what they lead to is only
// used through them, as atomics or as bytes that the protocol gives to one side at a time.
unsafe impl Send for Boards {}

impl Member {
    /// What its owner has read.
    fn done(&self) -> &AtomicU64 {
        // SAFETY: the board lies in a segment that stays mapped as long as the links, and the word is only used as an atomic.
        unsafe { &(*std::ptr::addr_of!((*self.board).done)).0 }
    }

    /// Who sleeps until it has.
    fn wanted(&self) -> &AtomicU64 {
        // SAFETY: as above.
        unsafe { &(*std::ptr::addr_of!((*self.board).wanted)).0 }
    }

    fn head(&self) -> &Head {
        // SAFETY: as above.
        unsafe { &*self.head }
    }

    /// Has its owner finalized? Then it neither shows nor reads anything any more.
    fn has_closed(&self) -> bool {
        self.head().closed.0.load(Ordering::Acquire) != 0
    }

    /// The first phases of collectives have one half of the places, so that those of one after the other are neighbours, the
    /// second ones the other half.
    fn place(&self, phase: u64) -> *mut Place {
        let number = (self.base + phase).wrapping_sub(1);
        let half = PLACES / PHASES;
        let at = number % PHASES * half + number / PHASES % half;
        // SAFETY: within the board.
        unsafe {
            let places = std::ptr::addr_of!((*self.board).places).cast::<Place>();
            places.add(at as usize).cast_mut()
        }
    }

    fn ring(&self, at: usize) -> *mut u8 {
        debug_assert!(at < RING);
        // SAFETY: within the board.
        unsafe {
            let ring = std::ptr::addr_of!((*self.board).ring).cast::<u8>();
            ring.add(at).cast_mut()
        }
    }

    fn number(&self, phase: u64) -> &AtomicU64 {
        // SAFETY: as above; the number is only used as an atomic.
        unsafe { &(*self.place(phase)).number }
    }
}

/// What a member shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// So many bytes, here.
    Here(*const u8, usize),
    /// So many bytes at this address of the member's memory.
    There(u64, usize),
}

/// A word that this rank waits for to reach a number.
pub(super) struct Awaited {
    word: *const AtomicU64,
    number: u64,
    /// The rank whose word it is.
    peer: u32,
    /// Where that rank sees who waits for its having read; null: the word is that of something shown.
    wanted: *const AtomicU64,
}

impl Awaited {
    fn has_come(&self) -> bool {
        // SAFETY: it lies in a segment that stays mapped as long as the links.
        unsafe { (*self.word).load(Ordering::SeqCst) >= self.number }
    }

    /// Tells the word's owner, before sleep; said anew before each, for the owner forgets it when it wakes somebody.
    fn want(&self) {
        // SAFETY: as above.
        if let Some(wanted) = unsafe { self.wanted.as_ref() } {
            let lower = |now: u64| (now == 0 || now > self.number).then_some(self.number);
            let _ = wanted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lower);
        }
    }
}

/// This rank's boards.
#[derive(Default)]
pub(super) struct Own {
    /// Of each: the number it has come to, whether it is given away, and to whom it was given last.
    boards: Vec<(u64, bool, Option<Boards>)>,
    /// What the communicator with this board waits for.
    pub(super) awaited: Vec<Option<Awaited>>,
}

// SAFETY: as for `Boards`.
unsafe impl Send for Own {}

impl Boards {
    /// Whose board that is.
    pub fn peer(&self, member: u32) -> PeerId {
        PeerId(self.members[member as usize].peer)
    }

    /// What was written stands before what is looked at next, in the order that a sleeper sees.
    #[inline(always)]
    fn order(&self) {
        match self.light {
            true => compiler_fence(Ordering::SeqCst),
            false => fence(Ordering::SeqCst),
        }
    }

    fn pause(&self, at: usize, bytes: usize) {
        let mine = &self.members[self.me];
        for line in (at..at + bytes).step_by(lines::LINE) {
            lines::push(mine.ring(line));
        }
        self.call(CALLED..bytes.min(4 * CALLED));
    }

    /// Calls for lines of the ring where the next is shown.
    #[inline]
    fn call(&self, bytes: std::ops::Range<usize>) {
        let mine = &self.members[self.me];
        let next = self.used as usize % RING;
        for line in (next + bytes.start..(next + bytes.end).min(RING)).step_by(lines::LINE) {
            lines::call(mine.ring(line));
        }
    }

    /// Whose word has to come before all of them (or this one) have read so many phases.
    fn unread(
        &mut self,
        turn: u64,
        by: Option<u32>,
        gone: impl Fn(u32) -> bool,
    ) -> Option<Awaited> {
        if self.read >= turn {
            return None;
        }
        let mut least = u64::MAX;
        for (rank, member) in self.members.iter().enumerate() {
            if rank == self.me || by.is_some_and(|by| by as usize != rank) {
                continue;
            }
            let word = member.done();
            let done = word.load(Ordering::Acquire);
            if done < member.base + turn && (member.has_closed() || gone(member.peer)) {
                continue;
            }
            if done < member.base + turn {
                return Some(Awaited {
                    word,
                    number: member.base + turn,
                    peer: member.peer,
                    wanted: member.wanted(),
                });
            }
            least = least.min(done.saturating_sub(member.base));
        }
        if by.is_none() {
            self.read = least;
        }
        None
    }
}

#[cold]
fn finalized<T>(peer: u32) -> Result<T> {
    fail!(
        ProcAborted,
        "rank {peer} of MPI_COMM_WORLD is gone: it has finalized"
    )
}

#[cold]
fn nonsense<T>(peer: u32) -> Result<T> {
    fail!(
        ProcAborted,
        "the board of rank {peer} of MPI_COMM_WORLD holds nonsense"
    )
}

#[cold]
fn left<T>(peer: u32) -> Result<T> {
    fail!(
        ProcAborted,
        "rank {peer} of MPI_COMM_WORLD is gone, or has left this collective because another one is"
    )
}
