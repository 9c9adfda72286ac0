//! The rings of a pair: one here that the peer writes to, one there that this rank writes to, and how a rank that sleeps
//! says so, since no write wakes it.
//!
//! Behind each ring lies a word that its owner's peer writes: 1, the peer sleeps, so it is sent messages, which wake it;
//! 0, it looks at its ring. A record that was on the way when the word changed is found by short naps, each twice as long
//! as the one before; after [`NAPS`] of them nothing can be on the way any more, or the connection has failed.

use crate::base::id::PeerId;
use crate::transport::verbs::buffers::Region;
use crate::transport::verbs::frame::{self, Envelope, What, ENVELOPE, FRONT, LONG, NEW, SAME};
use crate::transport::verbs::link::{Link, Stage};
use crate::transport::verbs::peer::Terms;
use crate::transport::verbs::post::id;
use crate::transport::verbs::ring::{self, Consumer, Front, Producer, Room};
use crate::transport::verbs::sys::{Access, Pd, Work};
use crate::transport::verbs::traffic::Traffic;
use crate::transport::Sink;
use crate::wire::frame::{Header, Kind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a ring.
const RING: usize = 32 << 10;
/// Bytes of the longest message that goes through it.
pub const LONGEST: usize = FRONT + 1024;
/// Rings of a rank at most; peers beyond are sent messages only.
pub const RINGS: usize = 64;
/// Records taken from a ring in one poll.
const BURST: usize = 16;
/// Naps of a sleeper until it sleeps for good: 1 ms and twice as long each, together more than a record can be on the way.
const NAPS: u32 = 12;

const _: () = assert!(RING >= ring::least(LONGEST));

/// A peer's way in: the ring here.
pub struct Inward {
    region: Region,
    ring: Consumer,
    /// The peer was told that this rank sleeps.
    asleep: bool,
    /// Of the last short record.
    envelope: Envelope,
}

impl Inward {
    /// # Errors
    /// One line: no memory, or the device refuses it.
    pub fn new(pd: &Arc<Pd>) -> Result<Inward, String> {
        let region = Region::new(pd, RING + 64, Access::WRITE)?;
        // SAFETY: the region lives beside the consumer, and is zero.
        let ring = unsafe { Consumer::new(region.at(0), RING, LONGEST) };
        Ok(Inward {
            region,
            ring,
            asleep: false,
            envelope: Envelope::default(),
        })
    }

    /// Writes it to what the peer is offered.
    pub fn offer(&self, terms: &mut Terms) {
        terms.ring = self.region.at(0) as u64;
        terms.ring_key = self.region.remote_key();
        terms.ring_size = RING as u32;
    }

    /// Has the peer said that it sleeps?
    #[inline]
    fn sleeps(&self) -> bool {
        // SAFETY: the word behind the ring, which the device writes at once.
        unsafe { &*self.region.at(RING).cast::<AtomicU64>() }.load(Ordering::Relaxed) != 0
    }

    /// Lines that were read, for the peer.
    #[inline]
    pub fn promise(&self) -> u32 {
        self.ring.promise()
    }

    #[inline]
    pub fn tell(&mut self) {
        self.ring.tell();
    }

    #[inline]
    pub fn is_due(&self) -> bool {
        self.ring.is_due()
    }
}

/// The way out: a mirror of the ring there.
pub struct Outward {
    mirror: Region,
    ring: Producer,
    remote: u64,
    key: u32,
    /// What is posted for each record.
    work: Work,
    /// Of the last short record.
    envelope: Envelope,
}

impl Outward {
    /// # Errors
    /// One line: the peer has no such ring, or no memory for the mirror.
    pub fn new(pd: &Arc<Pd>, theirs: &Terms) -> Result<Outward, String> {
        if theirs.ring_size as usize != RING {
            return Err("it offers no ring".to_string());
        }
        let mirror = Region::new(pd, RING, Access::NONE)?;
        // SAFETY: the region lives beside the producer, which alone writes it.
        let ring = unsafe { Producer::new(mirror.at(0), RING, LONGEST) };
        let work = Work::write(0, theirs.ring, theirs.ring_key).piece(0, 0, mirror.key());
        Ok(Outward {
            envelope: Envelope::default(),
            work,
            mirror,
            ring,
            remote: theirs.ring,
            key: theirs.ring_key,
        })
    }

    /// The peer has read so many lines.
    #[inline]
    pub fn read(&mut self, lines: u32) {
        self.ring.read(lines);
    }
}

/// How a frame goes through the ring.
#[derive(Clone, Copy)]
pub struct Way {
    room: Room,
    kind: u32,
}

impl Link {
    /// Room in the ring for this frame, if it may go through it now.
    #[inline(always)]
    pub fn room(&self, header: &Header) -> Option<Way> {
        let (Some(out), Some(inward)) = (&self.outward, &self.inward) else {
            return None;
        };
        // A long front tells of credit, too.
        let (kind, front) = if !frame::is_short(header) || self.credit.owes() {
            (LONG, FRONT)
        } else if out.envelope == Envelope::of(header) {
            (SAME, 0)
        } else {
            (NEW, ENVELOPE)
        };
        let room = out.ring.room(front + header.length as usize)?;
        (!inward.sleeps()).then_some(Way { room, kind })
    }

    /// Sends a frame through the ring, where room was found for it. The error is the device's.
    #[inline(always)]
    pub fn write(
        &mut self,
        peer: u32,
        header: &Header,
        way: Way,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<bool, (String, bool)> {
        let prefix = self.prefix(What::Frame);
        let Some(out) = &mut self.outward else {
            return Ok(false);
        };
        let front = Front {
            kind: way.kind,
            note: prefix.read as u16,
        };
        let message = out.ring.begin(way.room, front);
        let before = match way.kind {
            SAME => 0,
            NEW => {
                out.envelope = Envelope::of(header);
                message[..ENVELOPE].copy_from_slice(&out.envelope.encode());
                ENVELOPE
            }
            _ => {
                frame::write_long(message, &prefix, header);
                FRONT
            }
        };
        fill(&mut message[before..]);
        let (at, bytes) = out.ring.seal(way.room, prefix.number);
        let (number, ask) = self.queue.post(None, false);
        let place = out.mirror.at(at) as u64;
        let (id, there) = (id(peer, number), out.remote + at as u64);
        out.work
            .again(id, there, (place, bytes), bytes <= self.inline, ask);
        let work = std::slice::from_mut(&mut out.work);
        // SAFETY: the mirror's part is not written again before the peer has read the record, thus after the device.
        match unsafe { self.qp.post(work) } {
            Ok(()) => {
                if way.kind == LONG {
                    self.credit.tell();
                }
                if let Some(inward) = &mut self.inward {
                    inward.tell();
                }
                self.next = self.next.wrapping_add(1);
                Ok(ask)
            }
            Err(refused) => Err((refused.error.to_string(), ask)),
        }
    }

    /// Writes to the peer's word whether this rank sleeps. `None`: not now; else whether a completion will come.
    fn write_word(&mut self, peer: u32, asleep: bool) -> Option<Result<bool, (String, bool)>> {
        let out = self.outward.as_ref()?;
        if self.queue.free() == 0 {
            return None;
        }
        let word = u64::from(asleep).to_le_bytes();
        let (number, ask) = self.queue.post(None, false);
        let mut work = Work::write(id(peer, number), out.remote + RING as u64, out.key)
            .piece(word.as_ptr() as u64, word.len(), 0)
            .inline();
        if ask {
            work = work.signaled();
        }
        // SAFETY: inline: the word is copied before the call returns.
        let posted = unsafe { self.qp.post(&mut [work]) };
        Some(match posted {
            Ok(()) => Ok(ask),
            Err(refused) => Err((refused.error.to_string(), ask)),
        })
    }
}

impl Traffic {
    /// Makes the way out, when both ends have a ring for the other.
    pub fn open_lane(&mut self, peer: u32) {
        let Some(link) = &mut self.links[peer as usize] else {
            return;
        };
        // Words are written inline.
        if link.inward.is_none() || link.inline < 8 || link.theirs.ring_size == 0 {
            return;
        }
        match Outward::new(&self.ground.pd, &link.theirs) {
            Ok(out) => link.outward = Some(out),
            Err(why) => crate::debug!("rank {} writes no ring of rank {peer}: {why}", self.me),
        }
    }

    /// Looks at all rings; true when anything was there.
    #[inline]
    pub fn poll_rings(&mut self, sink: &mut impl Sink) -> bool {
        let mut moved = false;
        for at in 0..self.ringing.len() {
            let peer = self.ringing[at];
            let stirs = match &self.links[peer as usize] {
                Some(link) => link.inward.as_ref().is_some_and(|r| r.ring.stirs()),
                None => false,
            };
            if stirs {
                moved |= self.drain(peer, sink);
            }
        }
        moved
    }

    /// Takes what is next from a peer's ring; true when anything was.
    pub fn drain(&mut self, peer: u32, sink: &mut impl Sink) -> bool {
        let mut moved = false;
        for _ in 0..BURST {
            let Some(link) = &mut self.links[peer as usize] else {
                break;
            };
            let Some(inward) = &mut link.inward else {
                break;
            };
            // Before this one has the number that is expected, what was sent as messages before it is still to come.
            let Some((front, message)) = inward.ring.message(link.expected) else {
                break;
            };
            let length = message.len();
            link.expected = link.expected.wrapping_add(1);
            let (header, payload) = match (front.kind, message.split_first_chunk()) {
                (SAME, _) => (inward.envelope.header(length), message),
                (NEW, Some((envelope, payload))) => {
                    inward.envelope = Envelope::decode(envelope);
                    (inward.envelope.header(payload.len()), payload)
                }
                _ => {
                    let Some((prefix, header, payload)) = frame::read_long(message) else {
                        self.breaks(peer, "its ring holds what is no frame".to_string());
                        break;
                    };
                    link.goodbye |= header.kind == Kind::Goodbye;
                    if link.credit.hear(prefix.limit) {
                        link.starved = false;
                    }
                    (header, payload)
                }
            };
            // Of every kind.
            if let Some(out) = &mut link.outward {
                out.ring.read_low(front.note);
            }
            sink.frame(PeerId(peer), &header, payload);
            inward.ring.pass(length);
            moved = true;
        }
        self.note_debt(peer);
        moved
    }

    /// Tells those who write rings here that nobody looks at them; false: not everybody could be told.
    pub fn fall_asleep(&mut self) -> bool {
        let mut all = true;
        for at in 0..self.ringing.len() {
            all &= self.say_sleep(self.ringing[at], true);
        }
        all
    }

    /// Tells a peer, unless it knows, whether this rank sleeps; false: not now.
    pub fn say_sleep(&mut self, peer: u32, asleep: bool) -> bool {
        let Some(link) = &mut self.links[peer as usize] else {
            return true;
        };
        if link.stage != Stage::Connected || link.outward.is_none() {
            return true;
        }
        if link.inward.as_ref().is_none_or(|r| r.asleep == asleep) {
            return true;
        }
        if self.asked >= self.askable {
            return false;
        }
        match link.write_word(peer, asleep) {
            None => false,
            Some(Ok(asked)) => {
                self.asked += u32::from(asked);
                if let Some(inward) = &mut link.inward {
                    inward.asleep = asleep;
                }
                true
            }
            Some(Err((why, asked))) => {
                self.asked += u32::from(asked);
                self.breaks(peer, why);
                true
            }
        }
    }

    /// Does anything wait in a ring?
    pub fn rings_stir(&self) -> bool {
        self.ringing.iter().any(|peer| {
            let link = self.links[*peer as usize].as_ref();
            link.and_then(|l| l.inward.as_ref())
                .is_some_and(|r| r.ring.stirs())
        })
    }

    /// The longest that the next sleep may take; each counts.
    pub fn nap(&mut self, limit: Duration) -> Duration {
        if self.ringing.is_empty() || self.naps > NAPS {
            return limit;
        }
        self.naps += 1;
        limit.min(Duration::from_millis(1 << (self.naps - 1)))
    }
}
