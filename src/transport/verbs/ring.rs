//! A ring of records in a receiver's memory, written by one sender's device. The sender composes a record in a copy of the
//! ring in its own memory (the mirror), at the same place, and posts one write of it.
//!
//! A record: 4 bytes that say how long it is, the message, padding, and 4 bytes that are the checksum of all before and of
//! the record's number; words of 8 bytes in all. The memory of the ring is zero where no record is, so whatever part of a
//! record has arrived, in whatever order its bytes came, either the checksum is wrong (but for one case of 2^31 where bytes
//! do not arrive in order) or nothing but zeros is missing. The reader zeroes what it has read before it says so.
//!
//! Records begin on lines. Where the longest record might not fit before the end, the next one is at the beginning; both
//! ends know where that is, so nothing has to say it.

use std::sync::atomic::{fence, AtomicU64, Ordering};

/// Records begin at multiples of this, bytes.
pub const LINE: usize = 64;
const WORD: usize = 8;
const HALF: usize = WORD / 2;
/// What a record begins with: bits that say what it is, which are the owner's and not 0, then the length, then 16 bits that
/// are the owner's, too.
pub const KINDS: u32 = 3;
const KIND: u32 = (1 << KINDS) - 1;
const LENGTH: u32 = 16 - KINDS;
/// Odd, and without much order among its bits.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bytes of a record with a message of so many.
#[inline(always)]
pub const fn record(message: usize) -> usize {
    (HALF + message + HALF + WORD - 1) & !(WORD - 1)
}

#[inline(always)]
const fn lines(bytes: usize) -> usize {
    (bytes + LINE - 1) & !(LINE - 1)
}

/// The checksum of a record of so many words, which `word` reads; never 0. One word after the other: vectors take longer for
/// a few words, and very long on an emulated processor.
#[inline(always)]
fn checksum(number: u32, count: usize, word: impl Fn(usize) -> u64) -> u32 {
    let mut sum = MIX ^ u64::from(number);
    for at in 0..count - 1 {
        sum = (sum ^ word(at)).wrapping_mul(MIX).rotate_left(29);
    }
    // The checksum's own half of the last word does not count.
    sum = (sum ^ u64::from(word(count - 1) as u32)).wrapping_mul(MIX);
    (sum ^ sum >> 32) as u32 | 1
}

/// Where a ring's positions are; both ends count alike.
#[derive(Clone, Copy, Debug)]
struct Shape {
    size: usize,
    /// The longest record.
    longest: usize,
}

impl Shape {
    /// The place behind a record of `bytes` at `at`, and how far it is, with what is left out at the end.
    #[inline(always)]
    fn next(&self, at: usize, bytes: usize) -> (usize, usize) {
        let step = lines(bytes);
        if at + step + self.longest > self.size {
            (0, self.size - at)
        } else {
            (at + step, step)
        }
    }
}

/// The smallest ring for messages of this many bytes.
pub const fn least(message: usize) -> usize {
    4 * lines(record(message))
}

/// The writing end: the mirror, and how far the reader is.
pub struct Producer {
    mirror: *mut u8,
    shape: Shape,
    at: usize,
    /// Bytes written since the beginning, and read as far as known.
    tail: u64,
    head: u64,
    longest: usize,
}

// SAFETY: the mirror is memory that the producer's owner holds and nobody else writes.
unsafe impl Send for Producer {}

/// What a record begins with, besides its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Front {
    /// From 1 to 7.
    pub kind: u32,
    pub note: u16,
}

/// Room for the next record.
#[derive(Clone, Copy)]
pub struct Room {
    message: usize,
    next: usize,
    tail: u64,
}

impl Producer {
    /// For messages of at most `longest` bytes.
    ///
    /// # Safety
    /// `mirror` must be `size` bytes, aligned to words, that live as long as the producer and that nobody else writes.
    pub unsafe fn new(mirror: *mut u8, size: usize, longest: usize) -> Producer {
        assert!(longest < 1 << LENGTH, "a length beyond its field");
        let shape = Shape {
            size,
            longest: lines(record(longest)),
        };
        Producer {
            mirror,
            shape,
            at: 0,
            tail: 0,
            head: 0,
            longest,
        }
    }

    /// Room for a message of so many bytes, if there is.
    #[inline(always)]
    pub fn room(&self, message: usize) -> Option<Room> {
        if message > self.longest {
            return None;
        }
        let (next, step) = self.shape.next(self.at, record(message));
        let tail = self.tail + step as u64;
        (tail - self.head <= self.shape.size as u64).then_some(Room {
            message,
            next,
            tail,
        })
    }

    /// Begins a record in the room that was just found: the place of its message, which is to be written whole.
    #[inline(always)]
    pub fn begin(&mut self, room: Room, front: Front) -> &mut [u8] {
        assert!(room.tail > self.tail, "room that was used");
        debug_assert!(front.kind != 0 && front.kind <= KIND);
        // SAFETY: the record is at most the ring's size, by Shape::next and room; the place was read, so the device is
        // done with what it held before. Words are aligned, for `at` is a multiple of a line.
        unsafe {
            let words = self.mirror.add(self.at).cast::<u64>();
            // The padding; before the message and the first bytes, for they may cover the rest.
            words.add(record(room.message) / WORD - 1).write(0);
            words
                .cast::<u32>()
                .write(front.kind | (room.message as u32) << KINDS | u32::from(front.note) << 16);
            std::slice::from_raw_parts_mut(self.mirror.add(self.at + HALF), room.message)
        }
    }

    /// Ends the record that was begun, which has this number: where it lies in mirror and ring, and its bytes.
    #[inline(always)]
    pub fn seal(&mut self, room: Room, number: u32) -> (usize, usize) {
        assert!(room.tail > self.tail, "room that was used");
        let (at, bytes) = (self.at, record(room.message));
        let count = bytes / WORD;
        // SAFETY: as in `begin`.
        unsafe {
            let words = self.mirror.add(at).cast::<u64>();
            let sum = checksum(number, count, |i| words.add(i).read());
            words.cast::<u32>().add(2 * count - 1).write(sum);
        }
        self.at = room.next;
        self.tail = room.tail;
        (at, bytes)
    }

    /// The reader has read so many lines since the beginning (the count wraps).
    #[inline]
    pub fn read(&mut self, lines: u32) {
        let known = (self.head / LINE as u64) as u32;
        self.pass(u64::from(lines.wrapping_sub(known)));
    }

    /// The same, by the low half of the count.
    #[inline]
    pub fn read_low(&mut self, lines: u16) {
        let known = (self.head / LINE as u64) as u16;
        self.pass(u64::from(lines.wrapping_sub(known)));
    }

    #[inline(always)]
    fn pass(&mut self, lines: u64) {
        let more = lines * LINE as u64;
        // What is beyond the tail is no news, but an old or a false count.
        if self.head + more <= self.tail {
            self.head += more;
        }
    }
}

/// The reading end.
pub struct Consumer {
    data: *mut u8,
    shape: Shape,
    at: usize,
    head: u64,
    /// What the writer was told of it.
    told: u64,
}

// SAFETY: as for the producer; besides it only the device writes, as the ring's words say.
unsafe impl Send for Consumer {}

impl Consumer {
    /// For messages of at most `longest` bytes.
    ///
    /// # Safety
    /// `data` must be `size` bytes, zero at first, aligned to words, that live as long as the consumer.
    pub unsafe fn new(data: *mut u8, size: usize, longest: usize) -> Consumer {
        let shape = Shape {
            size,
            longest: lines(record(longest)),
        };
        Consumer {
            data,
            shape,
            at: 0,
            head: 0,
            told: 0,
        }
    }

    /// May something be there?
    #[inline(always)]
    pub fn stirs(&self) -> bool {
        // SAFETY: `at` is a line within the ring.
        unsafe { &*self.data.add(self.at).cast::<AtomicU64>() }.load(Ordering::Relaxed) != 0
    }

    /// The next record's front and message, when it has arrived whole and has this number. It stays until
    /// [`Consumer::pass`].
    #[inline(always)]
    pub fn message(&self, number: u32) -> Option<(Front, &[u8])> {
        // SAFETY: words of the ring, aligned; the device may write them meanwhile, so all are read as atomics until the
        // checksum says that nothing is missing; from then on nobody writes them before the writer is told.
        unsafe {
            let words = self.data.add(self.at).cast::<AtomicU64>();
            let first = (*words).load(Ordering::Acquire) as u32;
            let message = (first as u16 >> KINDS) as usize;
            let bytes = record(message);
            if first & KIND == 0 || bytes > self.shape.longest {
                return None;
            }
            let count = bytes / WORD;
            let last = (*words.add(count - 1)).load(Ordering::Acquire);
            let sum = (last >> 32) as u32;
            if sum == 0
                || sum != checksum(number, count, |i| (*words.add(i)).load(Ordering::Relaxed))
            {
                return None;
            }
            fence(Ordering::Acquire);
            let message = std::slice::from_raw_parts(self.data.add(self.at + HALF), message);
            let front = Front {
                kind: first & KIND,
                note: (first >> 16) as u16,
            };
            Some((front, message))
        }
    }

    /// Done with a message of so many bytes: its place is zeroed.
    #[inline(always)]
    pub fn pass(&mut self, message: usize) {
        let bytes = record(message);
        // SAFETY: the record that was just read lies there; the writer does not write there until it is told.
        unsafe {
            let words = self.data.add(self.at).cast::<AtomicU64>();
            if bytes <= LINE {
                // A call takes longer; as atomics they stay a loop.
                for i in 0..bytes / WORD {
                    (*words.add(i)).store(0, Ordering::Relaxed);
                }
            } else {
                std::ptr::write_bytes(words.cast::<u8>(), 0, bytes);
            }
        }
        let (next, step) = self.shape.next(self.at, bytes);
        self.at = next;
        self.head += step as u64;
    }

    /// What to tell the writer: lines read since the beginning (the count wraps).
    #[inline]
    pub fn promise(&self) -> u32 {
        (self.head / LINE as u64) as u32
    }

    /// The writer is told [`Consumer::promise`].
    #[inline]
    pub fn tell(&mut self) {
        self.told = self.head;
    }

    /// Is so much read that the writer should be told, if need be by a message of its own?
    #[inline]
    pub fn is_due(&self) -> bool {
        (self.head - self.told) as usize * 4 >= self.shape.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const SIZE: usize = 4096;
    const LONGEST: usize = 600;

    #[repr(align(64))]
    struct Memory([u8; SIZE]);

    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    /// The bytes of each record arrive in any order, one by one, with looks in between; records themselves in order.
    #[test]
    fn records_pass_whole_however_their_bytes_arrive() {
        for seed in 1..6u64 {
            let mut state = seed.wrapping_mul(MIX);
            let mut mirror = Box::new(Memory([0; SIZE]));
            let mut ring = Box::new(Memory([0; SIZE]));
            let data = ring.0.as_mut_ptr();
            // SAFETY: both memories outlive the ends, of which there is one each.
            let (mut producer, mut consumer) = unsafe {
                (
                    Producer::new(mirror.0.as_mut_ptr(), SIZE, LONGEST),
                    Consumer::new(data, SIZE, LONGEST),
                )
            };
            // Counts of lines wrap some time.
            let near = (u64::from(u32::MAX) - 100) * LINE as u64;
            (producer.tail, producer.head) = (near, near);
            (consumer.head, consumer.told) = (near, near);
            let mut flying: VecDeque<(usize, usize)> = VecDeque::new();
            let mut wanted: VecDeque<(Front, Vec<u8>)> = VecDeque::new();
            let (mut sent, mut next) = (u32::MAX - 7, u32::MAX - 7);
            let (mut got, mut refused, mut torn) = (0, 0, 0);
            while got < 3000 {
                let length = match random(&mut state) % 4 {
                    0 => 0,
                    1 => LONGEST,
                    _ => (random(&mut state) as usize) % (LONGEST + 1),
                };
                if let Some(room) = producer.room(length) {
                    // Zeros, ones, and anything: what is missing may look like what is there.
                    let kind = random(&mut state) % 3;
                    let bytes: Vec<u8> = (0..length)
                        .map(|_| match kind {
                            0 => 0,
                            1 => (random(&mut state) % 2) as u8,
                            _ => random(&mut state) as u8,
                        })
                        .collect();
                    let front = Front {
                        kind: 1 + random(&mut state) as u32 % 7,
                        note: random(&mut state) as u16,
                    };
                    let number = sent;
                    sent = sent.wrapping_add(1);
                    producer.begin(room, front).copy_from_slice(&bytes);
                    flying.push_back(producer.seal(room, number));
                    wanted.push_back((front, bytes));
                } else {
                    refused += 1;
                }
                if random(&mut state).is_multiple_of(2) {
                    let Some((at, bytes)) = flying.pop_front() else {
                        continue;
                    };
                    let mut order: Vec<usize> = (at..at + bytes).collect();
                    for i in (1..order.len()).rev() {
                        order.swap(i, random(&mut state) as usize % (i + 1));
                    }
                    for (done, i) in order.iter().enumerate() {
                        // SAFETY: within the ring; the consumer looks at it between the writes only.
                        unsafe { data.add(*i).write(mirror.0[*i]) };
                        let rest_is_zero = || order[done + 1..].iter().all(|i| mirror.0[*i] == 0);
                        if done.is_multiple_of(37) && consumer.promise() == lines_at(at, &consumer)
                        {
                            torn += 1;
                            assert!(consumer.message(next).is_none() || rest_is_zero());
                        }
                    }
                    if random(&mut state).is_multiple_of(4) {
                        continue;
                    }
                    while consumer.stirs() {
                        assert!(consumer.message(next.wrapping_add(1)).is_none());
                        let (front, message) = consumer.message(next).expect("whole");
                        let (front, message) = (front, message.to_vec());
                        next = next.wrapping_add(1);
                        consumer.pass(message.len());
                        assert_eq!(Some((front, message)), wanted.pop_front());
                        got += 1;
                    }
                    assert!(consumer.message(next).is_none());
                    if consumer.is_due() || random(&mut state).is_multiple_of(5) {
                        match got % 2 {
                            0 => producer.read(consumer.promise()),
                            _ => producer.read_low(consumer.promise() as u16),
                        }
                        consumer.tell();
                    }
                }
            }
            assert!(refused > 100 && torn > 1000, "{refused} {torn}");
        }
    }

    /// The promise of a consumer that stands at this place.
    fn lines_at(at: usize, consumer: &Consumer) -> u32 {
        if consumer.at == at {
            consumer.promise()
        } else {
            !consumer.promise()
        }
    }

    #[test]
    fn nonsense_is_never_a_message() {
        let mut ring = Box::new(Memory([0; SIZE]));
        let data = ring.0.as_mut_ptr();
        // SAFETY: the memory outlives the consumer.
        let consumer = unsafe { Consumer::new(data, SIZE, LONGEST) };
        let mut state = 7;
        for round in 0..2000 {
            for at in (0..SIZE).step_by(WORD) {
                let word = match (at, round % 3) {
                    (0, 1) => 5 | random(&mut state) << KINDS,
                    (0, 2) => 5 | (random(&mut state) % 700) << KINDS,
                    _ => random(&mut state),
                };
                // SAFETY: an aligned word of the ring.
                unsafe { data.add(at).cast::<u64>().write(word) };
            }
            assert!(consumer.message(0).is_none());
        }
    }

    #[test]
    fn a_false_count_of_what_was_read_makes_no_room() {
        let mut mirror = Box::new(Memory([0; SIZE]));
        // SAFETY: the memory outlives the producer.
        let mut producer = unsafe { Producer::new(mirror.0.as_mut_ptr(), SIZE, LONGEST) };
        while let Some(room) = producer.room(LONGEST) {
            producer.begin(room, Front { kind: 1, note: 0 }).fill(1);
            producer.seal(room, 0);
        }
        producer.read(1000);
        producer.read(u32::MAX);
        assert!(producer.room(LONGEST).is_none());
        producer.read((SIZE / LINE) as u32);
        assert!(producer.room(LONGEST).is_some());
    }
}
