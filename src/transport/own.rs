//! Loop-back: frames a rank sends to itself, and the ends of one-sided calls that were done at once.

use crate::base::id::PeerId;
use crate::transport::{Begun, Sent, Sink};
use crate::wire::frame::Header;
use std::collections::VecDeque;

/// Largest payload of a frame to oneself, bytes.
pub const MAX_PAYLOAD: usize = 64 << 10;
/// Frames that may wait.
const FRAMES: usize = 256;
/// Frames delivered in one poll.
const BURST: usize = 32;

enum Item {
    Frame(Header, Vec<u8>),
    /// A token.
    Finished(u64),
}

/// A queue of frames; buffers are used again, so that a steady state allocates nothing.
pub struct Own {
    me: PeerId,
    queue: VecDeque<Item>,
    spare: Vec<Vec<u8>>,
}

impl Own {
    pub fn new(me: PeerId) -> Own {
        Own {
            me,
            queue: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    #[inline(never)]
    pub fn send(&mut self, header: &Header, fill: impl FnOnce(&mut [u8])) -> Sent {
        if self.queue.len() >= FRAMES {
            return Sent::Busy;
        }
        let length = header.length as usize;
        let mut buffer = self.spare.pop().unwrap_or_default();
        // Buffers keep their length: only growth costs a fill with zeros.
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        fill(&mut buffer[..length]);
        self.queue.push_back(Item::Frame(*header, buffer));
        Sent::Done
    }

    /// A one-sided call was done at once; the next poll says so.
    pub fn finish_later(&mut self, token: u64) -> Begun {
        self.queue.push_back(Item::Finished(token));
        Begun::Yes
    }

    /// Says it now.
    #[cold]
    pub fn finish(&mut self, sink: &mut impl Sink) {
        self.queue.retain(|item| {
            let token = match item {
                Item::Frame(..) => return true,
                Item::Finished(token) => *token,
            };
            sink.finished(token, true);
            false
        });
    }

    #[inline(never)]
    pub fn poll(&mut self, sink: &mut impl Sink) -> bool {
        let mut left = BURST;
        while left > 0 {
            let Some(item) = self.queue.pop_front() else {
                break;
            };
            left -= 1;
            match item {
                Item::Frame(header, buffer) => {
                    sink.frame(self.me, &header, &buffer[..header.length as usize]);
                    if self.spare.len() < 16 {
                        self.spare.push(buffer);
                    }
                }
                Item::Finished(token) => sink.finished(token, true),
            }
        }
        left < BURST
    }
}
