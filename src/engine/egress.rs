//! What leaves: small answers first, then sends in the order in which they must be matched, then payloads.

use crate::base::id::PeerId;
use crate::engine::operation::End;
use crate::engine::Core;
use crate::transport::{Links, Sent};
use crate::wire::frame::Header;

impl Core {
    /// Begins and sends what waits; true when anything moved.
    #[inline]
    pub(super) fn go_on(&mut self, links: &mut Links) -> bool {
        let mut moved = false;
        if self.transfers.due {
            moved |= self.transfer(links);
        }
        if !self.busy.is_empty() {
            moved |= self.flush(links);
        }
        moved
    }

    /// Queues a payload-less frame.
    pub(super) fn control(&mut self, to: PeerId, header: Header) {
        let peer = &mut self.peers[to.0 as usize];
        if peer.lost.is_none() {
            peer.control.push_back(header);
            self.mark_busy(to);
        }
    }

    pub(super) fn mark_busy(&mut self, to: PeerId) {
        let peer = &mut self.peers[to.0 as usize];
        if !peer.busy {
            peer.busy = true;
            self.busy.push(to);
        }
    }

    /// Sends what waits, to every peer that has something waiting; true when anything left.
    fn flush(&mut self, links: &mut Links) -> bool {
        let mut moved = false;
        // Those who stay busy enter the other list; both keep their memory.
        let mut walked = std::mem::take(&mut self.walked);
        std::mem::swap(&mut walked, &mut self.busy);
        for peer in walked.drain(..) {
            self.peers[peer.0 as usize].busy = false;
            moved |= self.flush_peer(links, peer);
        }
        self.walked = walked;
        moved
    }

    /// Sends what waits for one peer, as far as its link has room.
    pub(super) fn flush_peer(&mut self, links: &mut Links, to: PeerId) -> bool {
        let mut moved = false;
        let index = to.0 as usize;
        loop {
            if self.peers[index].lost.is_some() {
                return moved;
            }
            let sent = if let Some(&header) = self.peers[index].control.front() {
                let sent = links.send(to, &header, |_| {});
                if sent == Sent::Done {
                    self.peers[index].control.pop_front();
                }
                sent
            } else if let Some(&ticket) = self.peers[index].sends.front() {
                let sent = self.start_send(links, ticket, to);
                if sent == Sent::Done {
                    self.peers[index].sends.pop_front();
                }
                sent
            } else if let Some(&ticket) = self.peers[index].streams.front() {
                let (sent, over) = self.send_piece(links, ticket, to);
                if over {
                    self.peers[index].streams.pop_front();
                    self.complete(ticket, End::Fine);
                } else if sent == Sent::Done && self.peers[index].streams.len() > 1 {
                    self.peers[index].streams.rotate_left(1);
                }
                sent
            } else {
                return moved;
            };
            match sent {
                Sent::Done => {
                    self.peers[index].talked = true;
                    moved = true;
                }
                Sent::Busy => {
                    self.mark_busy(to);
                    return moved;
                }
                Sent::Lost => return moved,
            }
        }
    }
}
