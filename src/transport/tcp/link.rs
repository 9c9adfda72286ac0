//! One connection: its greeting's stage, and the bytes on their way in and out.

use crate::transport::os::Fd;
use crate::transport::tcp::lane::Lane;
use crate::transport::tcp::net;
use crate::transport::tcp::seal::Seal;
use crate::wire::frame::{Header, HEADER};
use crate::wire::hello::{Hello, Path};
use std::io;
use std::time::Instant;

/// The payload of a frame that fills so many segments of the loopback interface, of 64 KiB each. A little more, and each frame
/// would end in a segment of its own: measured, a third of the bandwidth.
const fn segments(count: usize) -> usize {
    count * 65_483 - HEADER
}

/// Largest payload of a frame, bytes.
pub const MAX_PAYLOAD: usize = segments(5);
/// The same of what a long message is sent in.
pub const MAX_PIECE: usize = segments(4);
/// Messages up to here travel with their header, for which a receive mostly waits: then they are read to their place, and an
/// announcement would cost a way there and back.
pub const MAX_EAGER: usize = 256 << 10;
/// The same where ranks share processors, and messages often come before their receive does.
pub const CROWDED_EAGER: usize = 64 << 10;
/// Bytes of a buffer: two of the largest frames, so that a frame in parts is moved at most once.
pub const BUFFER: usize = 2 * (MAX_PAYLOAD + HEADER);
/// Buffers kept for later.
const SPARE: usize = 8;

/// Buffers that no connection uses now. An idle connection holds none.
#[derive(Default)]
pub struct Pool(Vec<Box<[u8]>>);

impl Pool {
    #[inline]
    fn get(&mut self) -> Box<[u8]> {
        self.0
            .pop()
            .unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
    }

    #[inline]
    fn put(&mut self, buffer: Box<[u8]>) {
        if self.0.len() < SPARE {
            self.0.push(buffer);
        }
    }
}

/// Bytes in order.
#[derive(Default)]
pub struct Queue {
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Queue {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match &self.buffer {
            Some(buffer) => &buffer[self.start..self.end],
            None => &[],
        }
    }

    /// The same, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.buffer {
            Some(buffer) => &mut buffer[self.start..self.end],
            None => &mut [],
        }
    }

    /// Room for exactly `length` bytes behind the others, `None` when it is full. What waits is moved to the front
    /// only when half of the buffer is free there, so that moving costs no more than sending.
    #[inline]
    pub fn room(&mut self, length: usize, pool: &mut Pool) -> Option<&mut [u8]> {
        let buffer = self.buffer.get_or_insert_with(|| pool.get());
        if self.end + length > BUFFER {
            if self.start < BUFFER / 2 || self.end - self.start + length > BUFFER {
                return None;
            }
            buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        Some(&mut buffer[self.end..self.end + length])
    }

    /// Room for exactly `length` bytes behind the others, moving them to the front when it must.
    #[inline]
    pub fn space(&mut self, length: usize, pool: &mut Pool) -> Option<&mut [u8]> {
        let buffer = self.buffer.get_or_insert_with(|| pool.get());
        if self.end + length > BUFFER {
            if self.end - self.start + length > BUFFER {
                return None;
            }
            buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        Some(&mut buffer[self.end..self.end + length])
    }

    /// All room behind the bytes, after moving them to the front when a frame of `frame` bytes would not fit.
    #[inline]
    pub fn rest(&mut self, frame: usize, pool: &mut Pool) -> &mut [u8] {
        let buffer = self.buffer.get_or_insert_with(|| pool.get());
        if self.start > 0 && self.start + frame > BUFFER {
            buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut buffer[self.end..]
    }

    /// So many bytes were written to the room.
    #[inline]
    pub fn commit(&mut self, length: usize) {
        self.end += length;
    }

    /// So many bytes are done with. An empty queue gives its buffer back.
    #[inline]
    pub fn consume(&mut self, length: usize, pool: &mut Pool) {
        self.start += length;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if let Some(buffer) = self.buffer.take() {
                pool.put(buffer);
            }
        }
    }
}

/// How far the greeting is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Dialled, not connected yet.
    Connecting,
    /// Connected to a relay: its greeting must come.
    Asking,
    /// The relay was asked for the peer: its status must come.
    Joining,
    /// Dialled, our hello is sent: hello and proof must come.
    Greeting,
    /// Dialled, our proof is sent: the welcome must come.
    Knocking,
    /// Accepted: a hello must come.
    Accepted,
    /// Accepted, answered: the proof must come.
    Proving,
    /// Relayed, and each knows who the other is: its count must come.
    Counting,
    /// Frames flow.
    Ready,
}

/// What a connection is an attempt of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effort {
    /// The other side's.
    Theirs,
    Dial,
    Punch,
    Relay,
    /// To see whether a relay is there.
    Look,
}

/// One connection.
pub struct Link {
    pub fd: Fd,
    /// Tells this connection from an earlier one in the same place.
    pub id: u32,
    pub stage: Stage,
    /// Whom it leads to: certain when Ready or dialled.
    pub peer: u32,
    pub effort: Effort,
    /// Certain when Ready or dialled.
    pub path: Path,
    pub seal: Seal,
    /// The other end, for people.
    pub at: String,
    pub since: Instant,
    /// Since when its machine is seen to answer nothing.
    pub unheard: Option<Instant>,
    pub ours: Hello,
    pub theirs: Option<Hello>,
    pub input: Queue,
    pub output: Queue,
    /// Of a relayed connection: what outlives it. Frames go there first.
    pub lane: Option<Box<Lane>>,
    /// Of a frame whose payload is read to its place: what is still to come.
    pub inside: Option<Header>,
    /// Bytes of the frame that the input begins with, as far as known.
    pub frame: usize,
    /// The next frame is likely a long one: of it little is to be read, so that the rest can be read to its place.
    pub brief: bool,
    /// It is in the list of those with output.
    pub pending: bool,
    /// epoll tells when it can be written.
    pub writes: bool,
    /// Writing failed; reading will tell the end.
    pub broken: Option<String>,
    /// The turn of its last frame.
    pub used: u32,
    /// There is a better one: it is given up when there is room to say so.
    pub tired: bool,
    /// The peer said that it closes its links.
    pub closes: bool,
    /// This side has nothing more to send on it; the other side neither.
    pub rest_sent: bool,
    pub rest_came: bool,
    /// Both are done, and the other side's end is waited for.
    pub finished: bool,
}

impl Link {
    /// A connection at the beginning.
    pub fn new(fd: Fd, effort: Effort, at: String, ours: Hello) -> Link {
        let stage = match effort {
            Effort::Theirs => Stage::Accepted,
            Effort::Dial | Effort::Punch | Effort::Relay | Effort::Look => Stage::Connecting,
        };
        Link {
            fd,
            id: 0,
            stage,
            peer: ours.to,
            effort,
            path: ours.path,
            seal: Seal::None,
            at,
            since: Instant::now(),
            unheard: None,
            ours,
            theirs: None,
            input: Queue::default(),
            output: Queue::default(),
            lane: None,
            inside: None,
            frame: 0,
            brief: false,
            pending: false,
            writes: stage == Stage::Connecting,
            broken: None,
            used: 0,
            tired: false,
            closes: false,
            rest_sent: false,
            rest_came: false,
            finished: false,
        }
    }

    /// Is it being given up? Then nothing more is sent on it.
    #[inline]
    pub fn rests(&self) -> bool {
        self.rest_sent || self.rest_came
    }

    /// Has all output left for the kernel?
    #[inline]
    pub fn sent(&self) -> bool {
        self.output.is_empty()
            && self.lane.as_ref().is_none_or(|lane| lane.waits() == 0)
            && match &self.seal {
                Seal::None | Seal::Begun(_) => true,
                Seal::Channel(channel) => channel.is_empty(),
            }
    }

    /// Has all output left for the kernel, or, where that is known, arrived?
    pub fn settled(&self) -> bool {
        self.sent() && self.lane.as_ref().is_none_or(|lane| lane.is_empty())
    }

    /// Room for exactly `length` bytes of frames; `None` when it is full.
    #[inline]
    pub fn room(&mut self, length: usize, pool: &mut Pool) -> Option<&mut [u8]> {
        match &mut self.lane {
            Some(lane) => lane.room(length),
            None => self.output.room(length, pool),
        }
    }

    /// So many bytes were written to the room.
    #[inline]
    pub fn commit(&mut self, length: usize) {
        match &mut self.lane {
            Some(lane) => lane.commit(length),
            None => self.output.commit(length),
        }
    }

    /// Bytes of output.
    pub fn left(&self) -> usize {
        let sealed = match &self.seal {
            Seal::None | Seal::Begun(_) => 0,
            Seal::Channel(channel) => channel.left(),
        };
        let kept = self.lane.as_ref().map_or(0, |lane| lane.waits());
        self.output.bytes().len() + sealed + kept
    }

    /// Sends of the output what the kernel takes.
    #[inline]
    pub fn flush(&mut self, pool: &mut Pool) -> io::Result<()> {
        loop {
            self.push(pool)?;
            match &mut self.lane {
                Some(lane) if self.stage == Stage::Ready && self.output.is_empty() => {
                    lane.load(&mut self.output, pool);
                    if self.output.is_empty() {
                        return Ok(());
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    /// Tells the peer of a relayed pair that this rank closes its links, or it would seek another way to it.
    pub fn say_closed(&mut self, pool: &mut Pool) {
        let ready = self.stage == Stage::Ready;
        let Some(said) = self.lane.as_ref().filter(|_| ready).map(|l| l.close()) else {
            return;
        };
        if let Some(room) = self.output.space(said.len(), pool) {
            room.copy_from_slice(&said);
            self.output.commit(said.len());
            // An error: then it ends without a word.
            let _ = self.push(pool);
        }
    }

    #[inline]
    fn push(&mut self, pool: &mut Pool) -> io::Result<()> {
        if let Seal::Channel(channel) = &mut self.seal {
            return channel.flush(&self.fd, &mut self.output, pool);
        }
        while !self.output.is_empty() {
            match net::send(&self.fd, self.output.bytes()) {
                Ok(n) => self.output.consume(n, pool),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_keeps_order_and_gives_its_buffer_back() {
        let mut pool = Pool::default();
        let mut queue = Queue::default();
        let (mut next_in, mut next_out, mut refused) = (0u64, 0u64, 0);
        let mut state = 1u64;
        while next_out < 40_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let count = (state >> 40) % 3000;
            if state >> 62 != 0 {
                match queue.room(8 * count as usize, &mut pool) {
                    Some(room) => {
                        for eight in room.chunks_exact_mut(8) {
                            eight.copy_from_slice(&next_in.to_le_bytes());
                            next_in += 1;
                        }
                        queue.commit(8 * count as usize);
                    }
                    None => refused += 1,
                }
            } else {
                let count = count.min(queue.bytes().len() as u64 / 8);
                for eight in queue.bytes()[..8 * count as usize].chunks_exact(8) {
                    assert_eq!(eight, next_out.to_le_bytes());
                    next_out += 1;
                }
                queue.consume(8 * count as usize, &mut pool);
            }
        }
        assert!(refused > 0);
        queue.consume(queue.bytes().len(), &mut pool);
        assert!(queue.is_empty() && queue.bytes().is_empty());
        assert_eq!(pool.0.len(), 1);
    }
}
