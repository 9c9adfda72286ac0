//! What leaves: frames, and what two ends tell each other about credit and their ends.

use crate::transport::verbs::frame::{front, write_front, What};
use crate::transport::verbs::link::Stage;
use crate::transport::verbs::queue::Hold;
use crate::transport::verbs::sys::Work;
use crate::transport::verbs::traffic::{Traffic, SPARE};
use crate::transport::Sent;
use crate::wire::frame::Header;
use std::mem::MaybeUninit;

/// Bytes that are composed on the stack, to go inline.
const SMALL: usize = 512;

/// What a request to this peer is called: the completion tells peer and number.
#[inline]
pub fn id(peer: u32, number: u32) -> u64 {
    u64::from(peer) << 32 | u64::from(number)
}

impl Traffic {
    /// Sends a frame to a peer with whom this rank is connected.
    #[inline]
    pub fn send(&mut self, peer: u32, header: &Header, fill: impl FnOnce(&mut [u8])) -> Sent {
        let Some(link) = &mut self.links[peer as usize] else {
            return match self.gone[peer as usize] {
                false => Sent::Busy,
                true => Sent::Lost,
            };
        };
        if link.stage != Stage::Connected {
            return match link.stage {
                Stage::Prepared => Sent::Busy,
                _ => Sent::Lost,
            };
        }
        // What follows a put must not arrive before it.
        if link.queue.free() <= SPARE || self.asked >= self.askable || !link.rest.is_empty() {
            self.stuck = true;
            return Sent::Busy;
        }
        if let Some(way) = link.room(header) {
            return match link.write(peer, header, way, fill) {
                Ok(ask) => {
                    self.asked += u32::from(ask);
                    Sent::Done
                }
                Err((why, ask)) => {
                    self.asked += u32::from(ask);
                    self.breaks(peer, why);
                    Sent::Lost
                }
            };
        }
        self.send_message(peer, header, fill)
    }

    /// Sends a frame that does not go through the ring to a peer whose queue has room.
    #[inline(never)]
    fn send_message(&mut self, peer: u32, header: &Header, fill: impl FnOnce(&mut [u8])) -> Sent {
        let Some(link) = &mut self.links[peer as usize] else {
            return Sent::Lost;
        };
        if !link.credit.may_send() {
            link.starved = true;
            return Sent::Busy;
        }
        let front = front(header);
        let message = front + header.length as usize;
        let prefix = link.prefix(What::Frame);
        let posted = if message <= link.inline.min(SMALL) {
            let mut small = [MaybeUninit::<u8>::uninit(); SMALL];
            // SAFETY: the bytes are written before anything reads them: prefix and header by write_front, the payload
            // by `fill`, which writes all of it.
            let out =
                unsafe { std::slice::from_raw_parts_mut(small.as_mut_ptr().cast::<u8>(), message) };
            write_front(out, &prefix, header);
            fill(&mut out[front..]);
            let (number, ask) = link.queue.post(None, false);
            self.asked += u32::from(ask);
            let work = Work::send(id(peer, number))
                .piece(out.as_ptr() as u64, message, 0)
                .inline();
            let work = if ask { work.signaled() } else { work };
            // SAFETY: inline: the bytes are copied before the call returns.
            unsafe { link.qp.post(&mut [work]) }.map_err(|refused| (refused, ask))
        } else {
            let Some(buffer) = self.sends.take() else {
                self.stuck = true;
                return Sent::Busy;
            };
            let (at, key) = self.sends.at(buffer);
            assert!(message <= self.receives.size(), "payload beyond the limit");
            // SAFETY: the buffer is this frame's until its completion, and long enough.
            let out = unsafe { std::slice::from_raw_parts_mut(at, message) };
            write_front(out, &prefix, header);
            fill(&mut out[front..]);
            // The last buffers must come back soon.
            let wish = self.sends.is_exhausted();
            let (number, ask) = link.queue.post(Some(Hold::Buffer(buffer)), wish);
            self.asked += u32::from(ask);
            let work = Work::send(id(peer, number)).piece(at as u64, message, key);
            let work = if ask { work.signaled() } else { work };
            // SAFETY: the buffer is not touched until the completion that stands for this request.
            unsafe { link.qp.post(&mut [work]) }.map_err(|refused| (refused, ask))
        };
        match posted {
            Ok(()) => {
                link.credit.send();
                link.told();
                link.next = link.next.wrapping_add(1);
                Sent::Done
            }
            Err((refused, ask)) => {
                self.unpost(peer, ask);
                self.breaks(peer, refused.error.to_string());
                Sent::Lost
            }
        }
    }

    #[cold]
    fn unpost(&mut self, peer: u32, asked: bool) {
        if let Some(link) = &mut self.links[peer as usize] {
            let hold = link.queue.unpost(asked);
            self.asked -= u32::from(asked);
            if let Some(Hold::Buffer(buffer)) = hold {
                self.sends.give_back(buffer);
            }
        }
    }

    /// Sends a message that is no frame; false: not now.
    pub fn tell(&mut self, peer: u32, what: What) -> bool {
        self.tell_and_ask(peer, what, what == What::Bye)
    }

    /// The same; `wish`: its completion is asked for.
    pub fn tell_and_ask(&mut self, peer: u32, what: What, wish: bool) -> bool {
        let Some(link) = &mut self.links[peer as usize] else {
            return true;
        };
        if link.stage != Stage::Connected {
            return true;
        }
        // The last credit is for giving credit back.
        let may = match what {
            What::Credit if !link.credit.is_due() => link.credit.may_send(),
            _ => link.credit.may_return(),
        };
        if !may || link.queue.free() == 0 || self.asked >= self.askable {
            return false;
        }
        let bytes = link.prefix(what).encode();
        let (number, ask) = link.queue.post(None, wish);
        self.asked += u32::from(ask);
        let inline = bytes.len() <= link.inline;
        let mut buffer = None;
        let mut work = if inline {
            Work::send(id(peer, number))
                .piece(bytes.as_ptr() as u64, bytes.len(), 0)
                .inline()
        } else {
            let Some(taken) = self.sends.take() else {
                self.unpost(peer, ask);
                return false;
            };
            buffer = Some(taken);
            let (at, key) = self.sends.at(taken);
            // SAFETY: the buffer is ours, and longer than a prefix.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) };
            Work::send(id(peer, number)).piece(at as u64, bytes.len(), key)
        };
        if let Some(buffer) = buffer {
            link.queue.hold_last(Hold::Buffer(buffer));
        }
        if ask {
            work = work.signaled();
        }
        // SAFETY: inline bytes are copied before the call returns, a buffer is kept until the completion.
        match unsafe { link.qp.post(&mut [work]) } {
            Ok(()) => {
                link.credit.send();
                link.told();
            }
            Err(refused) => {
                self.unpost(peer, ask);
                self.breaks(peer, refused.error.to_string());
            }
        }
        true
    }

    /// Gives credit back to those who are owed much and to whom nothing else went.
    #[inline]
    pub fn pay(&mut self) {
        let mut at = 0;
        while at < self.due.len() {
            let peer = self.due[at];
            let paid = match &self.links[peer as usize] {
                Some(link) if link.is_due() => self.tell(peer, What::Credit),
                _ => true,
            };
            if paid {
                self.due.swap_remove(at);
                if let Some(link) = &mut self.links[peer as usize] {
                    link.due = false;
                }
            } else {
                at += 1;
            }
        }
    }

    /// Notes a peer that is to be told what was taken.
    #[inline]
    pub fn note_debt(&mut self, peer: u32) {
        if let Some(link) = &mut self.links[peer as usize] {
            if !link.due && link.is_due() && link.stage == Stage::Connected {
                link.due = true;
                self.due.push(peer);
            }
        }
    }

    /// The link to a peer does not work any more; said and cleared up at the next poll.
    #[cold]
    pub fn breaks(&mut self, peer: u32, why: String) {
        if let Some(link) = &mut self.links[peer as usize] {
            if !matches!(link.stage, Stage::Broken) {
                link.stage = Stage::Broken;
                self.broken.push((peer, why));
            }
        }
    }
}
