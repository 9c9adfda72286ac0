//! The stream of a relayed pair, which outlives its connections: a relay can end, or its machine, while both ranks live.
//!
//! What a rank sends on relayed connections is kept until the peer has *counted* it: each side counts the bytes of whole
//! frames that it has handed out, and says so with a record of its own now and then. A new connection begins with both
//! counts, and each goes on sending from the other's: nothing is lost, nothing comes twice. What is kept is bounded; when
//! the bound is reached, sends are Busy until a count comes.
//!
//! Direct connections need none of this: when one breaks, the peer's machine or the network to it has gone, and no other
//! way would lead there.

use crate::transport::tcp::link::{Pool, Queue, BUFFER};
use crate::wire::frame::{Header, HEADER};

/// Bytes that are kept at most: what a fast connection has under way.
const WINDOW: usize = 1 << 20;
/// Bytes that a receiver counts before it says so.
const OFTEN: u64 = 64 << 10;
/// Bytes of a buffer that is kept while it is empty.
const SMALL: usize = 64 << 10;
/// The first byte of a count; no kind of frame has this number.
const COUNT: u8 = 0xfd;
/// Mends in a row that may bring nothing forward.
const BARREN: u32 = 16;

/// The bytes of a count: a record among frames, and what a relayed connection begins with.
pub const RECORD: usize = HEADER;

/// A count as it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    bytes: u64,
    /// Whoever says it has ended its frames, and read the end of the other's.
    pub over: bool,
    /// Whoever says it closes its links, and seeks nobody any more.
    pub closes: bool,
}

impl Count {
    fn encode(self) -> [u8; RECORD] {
        let mut out = [0; RECORD];
        out[0] = COUNT;
        out[1] = u8::from(self.over) | u8::from(self.closes) << 1;
        out[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        out
    }

    /// `None` when it is none.
    pub fn decode(said: &[u8; RECORD]) -> Option<Count> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&said[8..16]);
        let count = Count {
            bytes: u64::from_le_bytes(bytes),
            over: said[1] & 1 != 0,
            closes: said[1] & 2 != 0,
        };
        (count.encode() == *said).then_some(count)
    }
}

/// Both directions of it, as one side knows them.
#[derive(Default)]
pub struct Lane {
    buffer: Vec<u8>,
    /// What is kept lies there.
    start: usize,
    end: usize,
    /// What the connection has taken of it.
    next: usize,
    /// How much the peer has counted.
    counted: u64,
    /// How much this rank has counted, and how much of that it said.
    received: u64,
    told: u64,
    /// The next count is due.
    owed: bool,
    /// Connections since something moved last.
    barren: u32,
}

impl Lane {
    /// Has the peer counted everything?
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes that a connection must still take.
    pub fn waits(&self) -> usize {
        self.end - self.next + if self.owed { RECORD } else { 0 }
    }

    /// Room for exactly `length` bytes behind the others; `None` when it is full.
    #[inline]
    pub fn room(&mut self, length: usize) -> Option<&mut [u8]> {
        if self.end - self.start + length > WINDOW {
            return None;
        }
        Some(self.space(length))
    }

    fn space(&mut self, length: usize) -> &mut [u8] {
        let kept = self.end - self.start;
        if self.end + length > self.buffer.len() {
            // Moved only when that makes as much room as it costs.
            if self.start >= kept {
                self.buffer.copy_within(self.start..self.end, 0);
                self.next -= self.start;
                self.start = 0;
                self.end = kept;
            }
            if self.end + length > self.buffer.len() {
                let twice = (2 * self.buffer.len()).min(2 * WINDOW);
                let size = (self.end + length).max(twice).max(SMALL);
                self.buffer.resize(size, 0);
            }
        }
        &mut self.buffer[self.end..self.end + length]
    }

    /// So many bytes were written to the room.
    #[inline]
    pub fn commit(&mut self, length: usize) {
        self.end += length;
    }

    /// Takes frames that waited elsewhere, whatever the bound.
    pub fn append(&mut self, bytes: &[u8]) {
        self.space(bytes.len()).copy_from_slice(bytes);
        self.commit(bytes.len());
    }

    /// Gives a connection whose output is empty what comes next.
    #[inline]
    pub fn load(&mut self, output: &mut Queue, pool: &mut Pool) {
        let record = if self.owed { RECORD } else { 0 };
        let length = self.whole(BUFFER - record);
        if record + length == 0 {
            return;
        }
        let Some(room) = output.room(record + length, pool) else {
            return;
        };
        if record > 0 {
            room[..record].copy_from_slice(&self.tell(false));
        }
        room[record..].copy_from_slice(&self.buffer[self.next..self.next + length]);
        self.next += length;
        output.commit(record + length);
    }

    /// Bytes of the next whole frames that fit, at least one: a count stands between frames.
    fn whole(&self, most: usize) -> usize {
        let waiting = &self.buffer[self.next..self.end];
        let mut length = 0;
        while let Some(head) = waiting[length..].first_chunk::<HEADER>() {
            // What is no frame is a rest.
            let payload = Header::decode(head).map_or(0, |header| header.length as usize);
            if length + HEADER + payload > most {
                break;
            }
            length += HEADER + payload;
        }
        length
    }

    /// This rank's count, which is said with that.
    pub fn tell(&mut self, over: bool) -> [u8; RECORD] {
        self.told = self.received;
        self.owed = false;
        Count {
            bytes: self.received,
            over,
            closes: false,
        }
        .encode()
    }

    /// The last count: this rank closes its links.
    pub fn close(&self) -> [u8; RECORD] {
        Count {
            bytes: self.received,
            over: false,
            closes: true,
        }
        .encode()
    }

    /// Whole frames of so many bytes were handed out. `now`: the peer waits for the count.
    #[inline]
    pub fn count(&mut self, bytes: usize, now: bool) {
        self.received += bytes as u64;
        self.barren = if bytes > 0 { 0 } else { self.barren };
        self.owed |= now || self.received - self.told >= OFTEN;
    }

    /// The peer has counted so far.
    ///
    /// # Errors
    /// It cannot have.
    pub fn confirm(&mut self, count: Count) -> Result<(), &'static str> {
        let more = count.bytes.checked_sub(self.counted);
        match more.and_then(|more| usize::try_from(more).ok()) {
            Some(more) if more <= self.next - self.start => {
                self.start += more;
                self.counted = count.bytes;
                self.barren = if more > 0 { 0 } else { self.barren };
            }
            _ => return Err("it counts what was not sent"),
        }
        if self.is_empty() {
            (self.start, self.end, self.next) = (0, 0, 0);
            if self.buffer.len() > SMALL {
                self.buffer = Vec::new();
            }
        }
        Ok(())
    }

    /// A new connection is there, and this is the peer's count: it gets what comes behind.
    ///
    /// # Errors
    /// It cannot be.
    pub fn resume(&mut self, count: Count) -> Result<(), &'static str> {
        self.next = self.end;
        self.confirm(count)?;
        self.next = self.start;
        Ok(())
    }

    /// A connection broke; false when too many did, one after the other, and nothing came through.
    pub fn broke(&mut self) -> bool {
        self.barren += 1;
        self.barren <= BARREN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::tcp::random::Random;
    use crate::wire::frame::Kind;
    use std::collections::VecDeque;

    /// One end: its lane, its connection's queues, and the next number to send and to receive.
    #[derive(Default)]
    struct End {
        lane: Lane,
        output: Queue,
        input: Vec<u8>,
        sent: u32,
        got: u32,
    }

    fn frame(number: u32, payload: usize) -> Vec<u8> {
        let header = Header {
            request: number,
            length: payload as u32,
            ..Header::new(Kind::Eager)
        };
        let mut frame = header.encode().to_vec();
        frame.resize(HEADER + payload, number as u8);
        frame
    }

    impl End {
        fn send(&mut self, payload: usize) -> bool {
            let frame = frame(self.sent, payload);
            let Some(room) = self.lane.room(frame.len()) else {
                return false;
            };
            room.copy_from_slice(&frame);
            self.lane.commit(frame.len());
            self.sent += 1;
            true
        }

        /// Takes the whole records of the input.
        fn digest(&mut self, opened: &mut bool) {
            while let Some(head) = self.input.first_chunk::<RECORD>() {
                if head[0] == COUNT {
                    let count = Count::decode(head).expect("a count");
                    let taken = match *opened {
                        true => self.lane.confirm(count),
                        false => self.lane.resume(count),
                    };
                    taken.expect("a right count");
                    *opened = true;
                    self.input.drain(..RECORD);
                    continue;
                }
                let header = Header::decode(head).expect("a frame");
                let total = HEADER + header.length as usize;
                if self.input.len() < total {
                    return;
                }
                assert_eq!(header.request, self.got);
                let same = self.input[..total] == frame(self.got, header.length as usize);
                assert!(same, "frame {}", self.got);
                self.got += 1;
                self.input.drain(..total);
                self.lane.count(total, false);
            }
        }
    }

    /// Two ends, and connections that are cut after random numbers of bytes, each way its own.
    fn trial(seed: u64, cuts: usize) -> [u32; 2] {
        let mut random = Random(seed);
        let mut pool = Pool::default();
        let mut ends = [End::default(), End::default()];
        for cut in 0..=cuts {
            // The last one stays; a few are cut while both still greet.
            let mut left = [0, 1].map(|_| match random.below(4) {
                _ if cut == cuts => usize::MAX,
                0 => random.below(2 * RECORD),
                1 => random.below(40 * RECORD),
                _ => random.below(60_000),
            });
            let mut opened = [false; 2];
            // On its way, after the sender's queue.
            let mut way: [VecDeque<u8>; 2] = Default::default();
            for end in &mut ends {
                end.input.clear();
                let full = end.output.bytes().len();
                end.output.consume(full, &mut pool);
                let said = end.lane.tell(false);
                end.output
                    .room(RECORD, &mut pool)
                    .expect("room")
                    .copy_from_slice(&said);
                end.output.commit(RECORD);
            }
            loop {
                let me = random.below(2);
                if random.below(3) > 0 && (cut < cuts || ends[me].sent == 0) {
                    let payload = match random.below(20) {
                        0 => random.below(64 << 10),
                        _ => random.below(300),
                    };
                    ends[me].send(payload);
                }
                if ends[me].output.is_empty() && opened[me] {
                    let End { lane, output, .. } = &mut ends[me];
                    lane.load(output, &mut pool);
                }
                let some = ends[me].output.bytes().len().min(random.below(30_000));
                way[me].extend(&ends[me].output.bytes()[..some]);
                ends[me].output.consume(some, &mut pool);
                let some = way[me].len().min(1 + random.below(20_000)).min(left[me]);
                if left[me] != usize::MAX {
                    left[me] -= some;
                }
                let other = &mut ends[1 - me];
                other.input.extend(way[me].drain(..some));
                other.digest(&mut opened[1 - me]);
                if left.contains(&0) {
                    break;
                }
                let done = (0..2).all(|me| ends[me].got == ends[1 - me].sent);
                if cut == cuts && done {
                    break;
                }
            }
        }
        ends.map(|end| end.got)
    }

    #[test]
    fn ten_thousand_cuts_lose_nothing_and_double_nothing() {
        for seed in 0..20 {
            let got = trial(seed, 500);
            assert!(got[0] > 300 && got[1] > 300, "{got:?}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_an_empty_lane_costs_little() {
        let (mut end, mut pool) = (End::default(), Pool::default());
        let mut sent = 0;
        while end.send(1000) {
            sent += RECORD + 1000;
        }
        assert!((WINDOW - 1100..=WINDOW).contains(&sent));
        while end.lane.waits() > 0 {
            end.lane.load(&mut end.output, &mut pool);
            let full = end.output.bytes().len();
            end.output.consume(full, &mut pool);
        }
        assert!(!end.send(1000), "nothing is counted yet");
        let count = |bytes| Count {
            bytes,
            over: false,
            closes: false,
        };
        for wrong in [sent as u64 + 1, u64::MAX] {
            assert!(end.lane.confirm(count(wrong)).is_err());
        }
        end.lane.confirm(count(sent as u64)).expect("all");
        assert!(end.lane.is_empty() && end.lane.buffer.is_empty());
        assert!(end.lane.confirm(count(0)).is_err(), "it counts backwards");
        // Mends that bring nothing forward end, others do not.
        assert!((0..BARREN).all(|_| end.lane.broke()) && !end.lane.broke());
        end.lane.count(1, false);
        assert!(end.lane.broke());
    }

    #[test]
    fn counts_are_said_and_nothing_else_is_one() {
        let count = Count {
            bytes: 1 << 40 | 7,
            over: true,
            closes: false,
        };
        assert_eq!(Count::decode(&count.encode()), Some(count));
        for at in (0..8).chain(16..RECORD) {
            let mut wrong = count.encode();
            wrong[at] ^= 0x82;
            assert_eq!(Count::decode(&wrong), None, "byte {at}");
        }
        let last = Count::decode(&Lane::default().close()).expect("a count");
        assert!(last.closes && !last.over);
        let mut lane = Lane::default();
        lane.count(OFTEN as usize - 1, false);
        assert_eq!(lane.waits(), 0);
        lane.count(1, false);
        assert_eq!(lane.waits(), RECORD);
        lane.tell(false);
        lane.count(1, true);
        assert_eq!(lane.waits(), RECORD);
    }
}
