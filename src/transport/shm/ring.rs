//! A ring of records between one producer and one consumer, in memory that both map.
//!
//! A record begins on a cache line: a word (0 while there is no record), a header, the payload. A plain message's header is
//! brief: its length and number stand in the word, context, source and tag follow. Then up to 40 bytes of payload are on the
//! line of the word that the consumer waits for, and it sees all of them with it; each further line is another miss. Of all
//! others the word is the bytes of the record, and the 48 bytes of the header follow. Longer payloads have lines of their own.
//!
//! The word at the consumer's position must be 0 until the producer publishes there. The consumer zeroes the word of
//! each record it has read. What it cannot know is where payload lay at the beginning of a line: the producer
//! remembers those lines (`dirty`) and zeroes the word *behind* a record before it publishes the record.

use crate::transport::parts::Parts;
use crate::transport::shm::lines::{Last, LINE};
use crate::wire::frame::{Header, Kind, FORGOTTEN, HEADER};
use std::sync::atomic::{compiler_fence, AtomicU32, AtomicU64, Ordering};

/// A payload that does not fit on the line of its word begins on the next.
const FRONT: usize = LINE;
/// The word of the record that means: the ring goes on at its beginning.
const SKIP: u64 = u64::MAX;
/// Bit of the word of a record with a brief header; below it the length, above it 32 bits of the number.
const BRIEF: u64 = 1 << 31;
/// Word and brief header.
const BRIEF_FRONT: usize = 24;
/// Bytes of payload that fit behind them on their line.
pub const BESIDE: usize = LINE - BRIEF_FRONT;

/// What producer and consumer tell each other beside the records.
#[repr(C, align(128))]
pub struct Control {
    /// Bytes consumed since the beginning; the consumer writes it.
    head: AtomicU64,
    pad: [u64; 7],
    /// The producer sleeps until `head` moves.
    wants: AtomicU32,
    /// The consumer has no way to wake the producer.
    pub mute: AtomicU32,
    /// Of a message that both copy.
    pub parts: Parts,
}

impl Control {
    #[cfg(test)]
    fn new() -> Control {
        Control {
            head: AtomicU64::new(0),
            pad: [0; 7],
            wants: AtomicU32::new(0),
            mute: AtomicU32::new(0),
            parts: Parts::default(),
        }
    }
}

/// Largest payload of a record in a ring of this size: with the unread remainder at the ring's end and what the
/// consumer has not given back yet (an eighth), there is always room for one in an empty ring.
pub const fn max_payload(ring: usize) -> usize {
    ring / 4 - FRONT
}

#[inline(always)]
fn record(front: usize, length: usize) -> usize {
    (front + length + LINE - 1) & !(LINE - 1)
}

/// Bytes in front of the payload of a brief record.
#[inline(always)]
fn brief_front(length: usize) -> usize {
    match length <= BESIDE {
        true => BRIEF_FRONT,
        false => FRONT,
    }
}

/// Word and header of a brief record, as far as its header has one.
#[inline(always)]
fn brief(header: &Header) -> Option<(u64, [u8; BRIEF_FRONT - 8])> {
    if !header.is_plain() || header.cookie >> 32 != 0 {
        return None;
    }
    let mut bytes = [0; BRIEF_FRONT - 8];
    bytes[..8].copy_from_slice(&header.context.to_le_bytes());
    bytes[8..12].copy_from_slice(&header.source.to_le_bytes());
    bytes[12..].copy_from_slice(&header.tag.to_le_bytes());
    let word = header.cookie << 32 | BRIEF | u64::from(header.length);
    Some((word, bytes))
}

/// The header behind them.
#[inline(always)]
fn at_length(word: u64, bytes: &[u8; BRIEF_FRONT - 8]) -> Header {
    let word_at = |i: usize| [bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]];
    let [low, high] = [word_at(0), word_at(4)]
        .map(u32::from_le_bytes)
        .map(u64::from);
    let length = (word & (BRIEF - 1)) as u32;
    Header {
        length,
        context: high << 32 | low,
        source: u32::from_le_bytes(word_at(8)),
        tag: i32::from_le_bytes(word_at(12)),
        total: u64::from(length),
        request: FORGOTTEN,
        cookie: word >> 32,
        ..Header::new(Kind::Eager)
    }
}

/// The writing end.
pub struct Producer {
    data: *mut u8,
    control: *const Control,
    size: usize,
    /// Bytes published since the beginning.
    tail: u64,
    /// The tail may go this far: the consumer's head, as last seen, and the ring's size.
    limit: u64,
    /// Bit by line: a payload lies over its first word.
    dirty: Box<[u64]>,
    /// The consumer sees to the order of what is published and its own sleep: see `fence`.
    light: bool,
    last: Last,
}

// SAFETY: the pointers lead into a mapping of the process that outlives the end (its owner holds both).
unsafe impl Send for Producer {}

impl Producer {
    /// # Safety
    /// `data` must be `size` bytes (a power of two, zero at first, line-aligned) that stay mapped while the end lives,
    /// `control` likewise; there must be no other producer.
    pub unsafe fn new(data: *mut u8, control: *const Control, size: usize) -> Producer {
        Producer {
            data,
            control,
            size,
            tail: 0,
            limit: size as u64,
            dirty: vec![0; (size / LINE).div_ceil(64)].into_boxed_slice(),
            light: false,
            last: Last::default(),
        }
    }

    /// As told: nothing that comes after a record need wait until it is visible.
    pub fn without_fence(mut self, light: bool) -> Producer {
        self.light = light;
        self
    }

    #[inline(always)]
    fn word(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at < self.size && at.is_multiple_of(LINE));
        // SAFETY: `at` is a line of the ring; the word is only used as an atomic while both ends may see it.
        unsafe { &*self.data.add(at).cast::<AtomicU64>() }
    }

    /// Writes a record; false (and `fill` is not called) when there is no room.
    #[inline]
    pub fn send(&mut self, header: &Header, fill: impl FnOnce(&mut [u8])) -> bool {
        let length = header.length as usize;
        assert!(length <= max_payload(self.size), "payload beyond the ring");
        let brief = brief(header);
        let front = match brief {
            Some(_) => brief_front(length),
            None => FRONT,
        };
        let record = record(front, length);
        let mut at = self.tail as usize & (self.size - 1);
        let skip = if record > self.size - at {
            self.size - at
        } else {
            0
        };
        // One line more than needed: the word behind the record is zeroed, so it must be free too.
        if self.tail + (skip + record + LINE) as u64 > self.limit {
            // Acquire pairs with the consumer's store: it has read, and zeroed the words of, all before its head.
            // SAFETY: the control lives in the same mapping as the ring.
            let head = unsafe { (*self.control).head.load(Ordering::Acquire) };
            self.limit = head + self.size as u64;
            if self.tail + (skip + record + LINE) as u64 > self.limit {
                return false;
            }
        }
        if skip > 0 {
            self.cleanse(0);
            self.word(at).store(SKIP, Ordering::Release);
            self.tail += skip as u64;
            at = 0;
        }
        self.cleanse((at + record) & (self.size - 1));
        // SAFETY: [at, at + record) lies in the ring and between head and limit, where the consumer does not read until
        // the word is stored below; header and payload fit in the record.
        unsafe {
            let payload = self.data.add(at + front);
            fill(std::slice::from_raw_parts_mut(payload, length));
            // The consumer looks at the first line all the time: once it was written to and not all is there, its look
            // takes the line away, and the word must fetch it again. So this line is written last, in one go.
            compiler_fence(Ordering::Release);
            let place = self.data.add(at + 8);
            match &brief {
                Some((_, bytes)) => place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()),
                None => place.copy_from_nonoverlapping(header.encode().as_ptr(), HEADER),
            }
        }
        let word = brief.map_or(record as u64, |(word, _)| word);
        // Publishes the record. The next thing the sender does is to look whether the receiver sleeps, and the receiver
        // says so and then looks at this word: one of the two must see the other. Either this store is sequentially
        // consistent, or the receiver has all senders pass a barrier between the two (then only the compiler must not
        // exchange store and look).
        if self.light {
            self.word(at).store(word, Ordering::Release);
            compiler_fence(Ordering::SeqCst);
        } else {
            self.word(at).store(word, Ordering::SeqCst);
        }
        if record > LINE {
            self.soil(at / LINE + 1, record / LINE - 1);
            self.last.published(self.data, self.size, at, record);
        }
        self.tail += record as u64;
        true
    }

    /// Payload lies in these lines.
    #[inline]
    fn soil(&mut self, line: usize, count: usize) {
        let (mut at, end) = (line, line + count);
        while at < end {
            let bit = at % 64;
            let run = (end - at).min(64 - bit);
            self.dirty[at / 64] |= (u64::MAX >> (64 - run)) << bit;
            at += run;
        }
    }

    /// Uses a pause of this rank's for the lines of the ring; true when there is no more to do.
    #[inline]
    pub fn pause(&mut self) -> bool {
        self.last.pause(self.data, self.size)
    }

    /// The word at `at`, which the consumer looks at next, must be 0.
    #[inline(always)]
    fn cleanse(&mut self, at: usize) {
        let line = at / LINE;
        let bit = 1 << (line % 64);
        if self.dirty[line / 64] & bit != 0 {
            self.dirty[line / 64] &= !bit;
            // The release of the record's word orders this before it.
            self.word(at).store(0, Ordering::Relaxed);
        }
    }

    /// Asks the consumer to wake this rank when it makes room; false when there is room already.
    pub fn want(&mut self) -> bool {
        // SAFETY: the control lives in the same mapping as the ring.
        let control = unsafe { &*self.control };
        control.wants.store(1, Ordering::SeqCst);
        control.head.load(Ordering::SeqCst) + self.size as u64 == self.limit
    }

    /// Will the consumer be unable to wake this rank?
    pub fn unheard(&self) -> bool {
        // SAFETY: the control lives in the same mapping as the ring.
        unsafe { (*self.control).mute.load(Ordering::Relaxed) != 0 }
    }

    /// Takes the wish back.
    pub fn unwant(&mut self) {
        // SAFETY: the control lives in the same mapping as the ring.
        unsafe { (*self.control).wants.store(0, Ordering::Relaxed) };
    }
}

/// What a consumer found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Everything so far is in order.
    Fine,
    /// As [`Found::Fine`], and the producer waits to be told that there is room.
    Wake,
    /// The ring holds nonsense: its producer is not to be trusted any more.
    Nonsense,
}

/// The reading end.
pub struct Consumer {
    data: *mut u8,
    control: *const Control,
    size: usize,
    /// Bytes consumed since the beginning.
    head: u64,
    /// What the producer knows of it.
    published: u64,
}

// SAFETY: as for the producer.
unsafe impl Send for Consumer {}

impl Consumer {
    /// # Safety
    /// As for [`Producer::new`]; there must be no other consumer.
    pub unsafe fn new(data: *mut u8, control: *const Control, size: usize) -> Consumer {
        Consumer {
            data,
            control,
            size,
            head: 0,
            published: 0,
        }
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU64 {
        let at = self.head as usize & (self.size - 1);
        // SAFETY: a line of the ring; the word is only used as an atomic while both ends may see it.
        unsafe { &*self.data.add(at).cast::<AtomicU64>() }
    }

    /// Is there a record?
    #[inline(always)]
    pub fn ready(&self) -> bool {
        self.word().load(Ordering::Relaxed) != 0
    }

    /// As [`Consumer::ready`], in one order with the sleeper's announcement.
    pub fn ready_in_order(&self) -> bool {
        self.word().load(Ordering::SeqCst) != 0
    }

    /// Of the record at `at`, which has this word: its bytes, those in front of the payload, and its header; `None` when it
    /// does not lie in the ring.
    #[inline(always)]
    fn header(&self, word: u64, at: usize) -> Option<(usize, usize, Header)> {
        let room = self.size - at;
        if word & BRIEF != 0 {
            let length = (word & (BRIEF - 1)) as usize;
            let front = brief_front(length);
            let size = record(front, length);
            if size > room {
                return None;
            }
            // SAFETY: within the ring, and the producer does not touch the record until the head has passed it.
            let bytes = unsafe { &*self.data.add(at + 8).cast() };
            return Some((size, front, at_length(word, bytes)));
        }
        let size = word as usize;
        if size > room {
            return None;
        }
        // Once, whatever its producer does to it meanwhile.
        // SAFETY: as above: records are lines, and one has room for a header; it lies 8 bytes behind a line's beginning.
        let words = unsafe {
            self.data
                .add(at + 8)
                .cast::<[u64; HEADER / 8]>()
                .read_volatile()
        };
        let mut bytes = [0; HEADER];
        for (to, from) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        let header = Header::decode(&bytes)?;
        (record(FRONT, header.length as usize) == size).then_some((size, FRONT, header))
    }

    /// Reads up to `burst` records.
    #[inline]
    pub fn drain(&mut self, burst: usize, mut take: impl FnMut(&Header, &[u8])) -> Found {
        for _ in 0..burst {
            let at = self.head as usize & (self.size - 1);
            // Acquire: header and payload were written before the word.
            let word = self.word().load(Ordering::Acquire);
            if word == 0 {
                break;
            }
            if word == SKIP {
                self.word().store(0, Ordering::Relaxed);
                self.head += (self.size - at) as u64;
                continue;
            }
            let Some((size, front, header)) = self.header(word, at) else {
                return Found::Nonsense;
            };
            // SAFETY: the record lies in the ring, and its producer does not touch it until the head has passed it.
            let payload = unsafe {
                std::slice::from_raw_parts(self.data.add(at + front), header.length as usize)
            };
            take(&header, payload);
            self.word().store(0, Ordering::Relaxed);
            self.head += size as u64;
        }
        // The head's line moves between the two caches, so it is written an eighth of the ring at a time.
        if self.head - self.published >= (self.size / 8) as u64 {
            self.published = self.head;
            // SAFETY: the control lives in the same mapping as the ring.
            let control = unsafe { &*self.control };
            // Release for the producer's acquire; sequentially consistent for the sleeper: see Producer::want.
            control.head.store(self.head, Ordering::SeqCst);
            if control.wants.load(Ordering::SeqCst) != 0 {
                return Found::Wake;
            }
        }
        Found::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C, align(128))]
    struct Memory([u8; SIZE]);
    const SIZE: usize = 4096;

    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn random_records_pass_whole_and_in_order() {
        let mut memory = Box::new(Memory([0; SIZE]));
        let control = Box::new(Control::new());
        // SAFETY: the memory and the control outlive both ends, of which there is one each.
        let (mut producer, mut consumer) = unsafe {
            (
                Producer::new(memory.0.as_mut_ptr(), &*control, SIZE),
                Consumer::new(memory.0.as_mut_ptr(), &*control, SIZE),
            )
        };
        let mut state = 88_172_645_463_325_252u64;
        let (mut sent, mut got, mut refused) = (0u64, 0u64, 0);
        while got < 20_000 {
            if !random(&mut state).is_multiple_of(3) {
                let mut header = Header::new(Kind::Eager);
                header.length = match random(&mut state) % 4 {
                    0 => 8,
                    1 => 0,
                    _ => (random(&mut state) % (max_payload(SIZE) as u64 + 1)) as u32,
                };
                header.cookie = sent;
                header.total = u64::from(header.length);
                header.tag = -1;
                header.context = u64::MAX;
                if random(&mut state).is_multiple_of(2) {
                    header.request = FORGOTTEN;
                }
                // All bits set: a payload is never 0 where a word could be looked for.
                if producer.send(&header, |p| p.fill(0xff)) {
                    sent += 1;
                } else {
                    refused += 1;
                }
            } else {
                let burst = 1 + random(&mut state) as usize % 8;
                let found = consumer.drain(burst, |header, payload| {
                    assert_eq!((header.cookie, header.tag), (got, -1));
                    assert_eq!(
                        (header.context, header.total),
                        (u64::MAX, payload.len() as u64)
                    );
                    assert_eq!(header.length as usize, payload.len());
                    assert!(payload.iter().all(|b| *b == 0xff));
                    got += 1;
                });
                assert_eq!(found, Found::Fine);
            }
        }
        assert!(refused > 0, "the ring was full at times");
        while got < sent {
            assert!(consumer.ready());
            consumer.drain(1, |_, _| got += 1);
        }
        assert!(!consumer.ready());
        assert!(
            producer.send(
                &Header {
                    length: max_payload(SIZE) as u32,
                    ..Header::new(Kind::Eager)
                },
                |_| ()
            ),
            "an empty ring has room for the largest record"
        );
    }

    #[test]
    fn a_full_ring_wakes_its_producer() {
        let mut memory = Box::new(Memory([0; SIZE]));
        let control = Box::new(Control::new());
        // SAFETY: as above.
        let (mut producer, mut consumer) = unsafe {
            (
                Producer::new(memory.0.as_mut_ptr(), &*control, SIZE),
                Consumer::new(memory.0.as_mut_ptr(), &*control, SIZE),
            )
        };
        let header = Header::new(Kind::Eager);
        let mut sent = 0;
        while producer.send(&header, |_| ()) {
            sent += 1;
        }
        assert_eq!(sent, SIZE / LINE - 1);
        assert!(producer.want());
        assert_eq!(consumer.drain(1, |_, _| ()), Found::Fine);
        assert_eq!(consumer.drain(SIZE, |_, _| ()), Found::Wake);
        assert!(!producer.want(), "there is room");
        producer.unwant();
        assert!(producer.send(&header, |_| ()));
    }

    #[test]
    fn nonsense_is_noticed() {
        for word in [
            1u64,
            64 + 1,
            1 << 20,
            4096 + 64,
            128,
            BRIEF | (SIZE as u64 - 63),
            BRIEF | (BRIEF - 1),
        ] {
            let mut memory = Box::new(Memory([0; SIZE]));
            memory.0[..8].copy_from_slice(&word.to_le_bytes());
            let control = Box::new(Control::new());
            // SAFETY: as above.
            let mut consumer = unsafe { Consumer::new(memory.0.as_mut_ptr(), &*control, SIZE) };
            assert_eq!(consumer.drain(8, |_, _| ()), Found::Nonsense);
        }
    }
}
