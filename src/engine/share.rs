//! rndv, shared: where each of two ranks can reach the other's memory, both copy parts of a large message. The receiver
//! invites the sender and begins at the front; the sender, if it hears that in time, goes on from behind. Each
//! takes a third of what is left at a time, the last one part alone: nobody keeps the other waiting longer than that takes.

use crate::base::id::PeerId;
use crate::engine::operation::{State, Ticket};
use crate::engine::Core;
use crate::transport::parts::{Side, MOST};
use crate::transport::Links;
use crate::wire::frame::{Header, Kind, SHARED};
use std::ops::Range;

/// Bytes of a part at least; whole pages.
const PART: usize = 16 << 10;
/// So many parts has a message that is large enough.
const PARTS: usize = 32;

/// How a message of so many bytes is parted: bytes of a part, parts.
fn parted(total: usize) -> (usize, u32) {
    let part = (total / PARTS).next_multiple_of(4096).max(PART);
    (part, total.div_ceil(part) as u32)
}

/// The bytes of a run of parts: where they begin, and how many they are.
fn bytes_of(run: &Range<u32>, part: usize, total: usize) -> (usize, usize) {
    let begin = |index: u32| (index as usize).saturating_mul(part).min(total);
    let at = begin(run.start);
    (at, begin(run.end).saturating_sub(at))
}

/// An invitation of a receiver's to copy parts of a send.
pub(super) struct Invitation {
    from: PeerId,
    header: Header,
}

impl Core {
    /// Copies a matched receive's data, which lie in one piece on both sides, together with its sender; false: nothing was
    /// done.
    pub(super) fn share(&mut self, links: &mut Links, ticket: Ticket, from: PeerId) -> bool {
        let Some(operation) = self.operations.get(ticket) else {
            return false;
        };
        let (total, remote, cookie) = (operation.wanted, operation.remote, operation.cookie);
        let Some(address) = operation.data.address() else {
            return false;
        };
        let (part, count) = parted(total);
        if !(2..=MOST).contains(&count) {
            return false;
        }
        let Some(serial) = links.share(from, total) else {
            return false;
        };
        let invitation = Header {
            flags: SHARED,
            request: remote,
            answer: ticket.0,
            total: total as u64,
            cookie: address as u64,
            source: serial,
            ..Header::new(Kind::Clear)
        };
        self.control(from, invitation);
        // Now: afterwards there is nothing left to share.
        self.flush_peer(links, from);
        let (mut taken, mut fine) = (0, true);
        // No more than there are, whatever is written to the word.
        while taken < count {
            let Some(run) = links.take_part(from, serial, count, Side::Front) else {
                break;
            };
            taken += run.len() as u32;
            let (at, length) = bytes_of(&run, part, total);
            let remote = cookie.wrapping_add(at as u64);
            // When one fails the others need not be tried, but nobody else is to try them either.
            fine = fine
                && links
                    .fetch(from, remote, address.wrapping_add(at), length)
                    .is_ok();
        }
        let behind = count - taken;
        links.was_shared(from, behind > 0);
        if behind > 0 {
            self.await_parts(ticket, from, serial, fine);
        } else {
            self.shared(ticket, from, fine);
        }
        true
    }

    /// Both have copied their parts.
    pub(super) fn shared(&mut self, ticket: Ticket, from: PeerId, fine: bool) {
        let Some(operation) = self.operations.get_mut(ticket) else {
            return;
        };
        let (remote, wanted, end) = (operation.remote, operation.wanted, operation.outcome.end);
        if fine {
            self.done(from, remote);
            self.complete(ticket, end);
        } else {
            self.clear(from, ticket, remote, wanted, None);
        }
    }

    /// The receiver of one of our sends has invited us.
    pub(super) fn on_invitation(&mut self, from: PeerId, header: &Header) {
        self.invitations.push(Invitation {
            from,
            header: *header,
        });
    }

    /// Takes up the invitations, as far as anything is left to do.
    pub(super) fn take_part(&mut self, links: &mut Links) {
        for at in 0..self.invitations.len() {
            let Invitation { from, header } = self.invitations[at];
            let operation = self.operations.get(Ticket(header.request));
            let sends =
                operation.filter(|o| o.send && o.peer == Some(from) && o.state == State::Announced);
            let run = sends.and_then(|o| o.data.address().zip(Some(o.data.bytes)));
            let (count, fine) = match run {
                Some((address, bytes)) => help(links, from, &header, address, bytes),
                // It is over here. Nothing was taken, so that nobody waits; but where parts are put by for a sender, as in
                // the simulation, the receiver does.
                None => {
                    links.finish_parts(from, header.source);
                    (1, false)
                }
            };
            if count > 0 {
                let answer = Header {
                    answer: header.answer,
                    total: u64::from(fine),
                    ..Header::new(Kind::Placed)
                };
                self.control(from, answer);
            }
        }
        self.invitations.clear();
    }
}

/// Copies parts of a send of so many bytes from this address; how many, and whether all went well.
fn help(
    links: &mut Links,
    to: PeerId,
    header: &Header,
    address: *mut u8,
    bytes: usize,
) -> (u32, bool) {
    let total = header.total as usize;
    if total > bytes {
        return (0, false);
    }
    let (part, count) = parted(total);
    let (mut taken, mut fine) = (0, true);
    while taken < count {
        let Some(run) = links.take_part(to, header.source, count, Side::Behind) else {
            break;
        };
        taken += run.len() as u32;
        let (at, length) = bytes_of(&run, part, total);
        let remote = header.cookie.wrapping_add(at as u64);
        fine = fine
            && links
                .store(to, address.wrapping_add(at), remote, length)
                .is_ok();
    }
    links.finish_parts(to, header.source);
    (taken, fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_message_once() {
        for total in [
            1,
            4096,
            2 * PART,
            2 * PART + 1,
            1 << 20,
            (1 << 20) - 1,
            5 << 30,
        ] {
            let (part, count) = parted(total);
            assert!(count <= MOST);
            let mut next = 0;
            for index in 0..count {
                let (at, length) = bytes_of(&(index..index + 1), part, total);
                assert_eq!(at, next);
                assert!(length > 0);
                next += length;
            }
            assert_eq!(next, total);
        }
        let (at, length) = bytes_of(&(u32::MAX - 1..u32::MAX), PART, 100);
        assert_eq!((at, length), (100, 0));
    }
}
