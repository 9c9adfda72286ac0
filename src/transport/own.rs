//! Loop-back: frames a rank sends to itself.

use crate::base::id::PeerId;
use crate::transport::{Sent, Sink};
use crate::wire::frame::Header;
use std::collections::VecDeque;

/// Largest payload of a frame to oneself, bytes.
pub const MAX_PAYLOAD: usize = 64 << 10;
/// Frames that may wait.
const FRAMES: usize = 256;
/// Frames delivered in one poll.
const BURST: usize = 32;

/// A queue of frames; buffers are used again, so that a steady state allocates nothing.
pub struct Own {
    me: PeerId,
    queue: VecDeque<(Header, Vec<u8>)>,
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
        self.queue.push_back((*header, buffer));
        Sent::Done
    }

    pub fn poll(&mut self, sink: &mut impl Sink) -> bool {
        let mut left = BURST;
        while left > 0 {
            let Some((header, buffer)) = self.queue.pop_front() else {
                break;
            };
            sink.frame(self.me, &header, &buffer[..header.length as usize]);
            if self.spare.len() < 16 {
                self.spare.push(buffer);
            }
            left -= 1;
        }
        left < BURST
    }
}
