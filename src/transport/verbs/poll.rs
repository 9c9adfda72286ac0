//! What arrives, what has left, and what ends.

use crate::base::id::PeerId;
use crate::transport::verbs::frame::{self, What};
use crate::transport::verbs::link::Stage;
use crate::transport::verbs::sys::{words, Completion};
use crate::transport::verbs::traffic::{Traffic, BATCH};
use crate::transport::Sink;
use crate::wire::frame::Kind;

/// Looks at the queues that bring nothing until they are rare: one of so many looks.
const LULL: u32 = 64;
const RARE: u32 = 8;
/// Looks at the rings in a poll that looks at nothing else.
const LOOKS: u32 = 9;

impl Traffic {
    /// Hands what came to `sink`, a bounded part of it; true when anything moved.
    #[inline]
    pub fn poll(&mut self, sink: &mut impl Sink) -> bool {
        let rests = self.rests();
        // Another look costs little, and what comes now need not wait for the next poll.
        let mut looks = if rests { LOOKS } else { 1 };
        let mut moved = false;
        while !moved && looks > 0 {
            looks -= 1;
            moved = self.poll_rings(sink);
        }
        if !rests {
            return self.poll_queues(moved, sink);
        }
        if moved {
            self.naps = 0;
        }
        moved
    }

    /// The rest of a poll; `moved`: the rings have brought something.
    #[inline(never)]
    fn poll_queues(&mut self, mut moved: bool, sink: &mut impl Sink) -> bool {
        if !self.stash.is_empty() {
            moved = true;
            for done in std::mem::take(&mut self.stash) {
                self.arrived(&done, sink);
            }
        }
        let came = self.take(true);
        self.lull = self.lull.saturating_add(1);
        if came > 0 {
            moved = true;
            self.lull = 0;
            for at in 0..came {
                let done = self.room[at];
                self.arrived(&done, sink);
            }
        }
        if moved {
            self.naps = 0;
            if let Err(why) = self.receives.post() {
                self.fail_all(&why);
            }
        }
        if !self.due.is_empty() {
            self.pay();
        }
        if self.asked > 0 {
            moved |= self.reap();
        }
        if self.operations.press() {
            self.press_all();
        }
        if !self.broken.is_empty() && came < BATCH {
            self.bury();
            moved = true;
        }
        moved |= self.operations.say(sink);
        moved
    }

    /// Is this time a look at the rings enough? A look at a queue takes many times as long, and where rings bring what comes
    /// and nobody waits for what left, the queues can wait some looks.
    #[inline]
    fn rests(&mut self) -> bool {
        self.turn = self.turn.wrapping_add(1);
        self.lull > LULL
            && !self.turn.is_multiple_of(RARE)
            && !self.ringing.is_empty()
            && !self.stuck
            && self.operations.is_empty()
            && self.due.is_empty()
            && self.broken.is_empty()
            && self.stash.is_empty()
    }

    /// Takes completions to the room: how many.
    #[inline]
    fn take(&mut self, came: bool) -> usize {
        let queue = if came { &self.came } else { &self.went };
        match queue.poll(&mut self.room[..]) {
            Ok(done) => done.len(),
            Err(error) => {
                self.fail_all(&error.to_string());
                0
            }
        }
    }

    /// A receive buffer came back.
    #[inline]
    fn arrived(&mut self, done: &Completion, sink: &mut impl Sink) {
        let id = done.id();
        // Mostly it is the one before again.
        let peer = match self.latest {
            (pair, peer) if pair == done.pair() => Some(peer),
            _ => self.pairs.get(&done.pair()).copied(),
        };
        let Some(peer) = peer else {
            // Of a queue pair that is gone.
            self.receives.give_back(id);
            return;
        };
        self.latest = (done.pair(), peer);
        if !done.fine() {
            self.receives.give_back(id);
            self.breaks(peer, words(done.status()).to_string());
            return;
        }
        let wrong = self.message(peer, id, done.length(), sink);
        self.receives.give_back(id);
        if let Err(why) = wrong {
            self.breaks(peer, why.to_string());
        }
    }

    /// A message of a peer.
    #[inline]
    fn message(
        &mut self,
        peer: u32,
        id: u64,
        length: usize,
        sink: &mut impl Sink,
    ) -> Result<(), &'static str> {
        const NONSENSE: &str = "it sent what is no frame";
        let bytes = self.receives.bytes(id, length).ok_or(NONSENSE)?;
        let (prefix, _, _) = frame::read(bytes).ok_or(NONSENSE)?;
        if !self.ringing.is_empty() {
            self.catch_up(peer, prefix.number, sink);
        }
        let Some(link) = &mut self.links[peer as usize] else {
            return Ok(());
        };
        let bytes = self.receives.bytes(id, length).ok_or(NONSENSE)?;
        let (prefix, header, payload) = frame::read(bytes).ok_or(NONSENSE)?;
        if let Some(out) = &mut link.outward {
            out.read(prefix.read);
        }
        if link.credit.hear(prefix.limit) {
            link.starved = false;
        }
        link.credit.take();
        if link.stage == Stage::Prepared {
            self.heard.push(peer);
        }
        // Of what is no frame, frames behind it may have come already, through the ring.
        let ahead = link.expected.wrapping_sub(prefix.number);
        if ahead != 0 && (prefix.what != What::Credit || ahead > u32::MAX / 2) {
            return Err("frames of it are missing");
        }
        match (prefix.what, header) {
            (What::Frame, Some(header)) => {
                link.expected = link.expected.wrapping_add(1);
                link.goodbye |= header.kind == Kind::Goodbye;
                sink.frame(PeerId(peer), &header, payload);
            }
            (What::Bye, _) => {
                if link.goodbye {
                    link.stage = Stage::Closed;
                } else {
                    return Err("it closed its links without a goodbye");
                }
            }
            _ => (),
        }
        self.note_debt(peer);
        Ok(())
    }

    /// A message came from a peer that writes to a ring here, too: what was written before it is taken first. It is there
    /// already, for one queue pair brings both.
    fn catch_up(&mut self, peer: u32, number: u32, sink: &mut impl Sink) {
        loop {
            match &self.links[peer as usize] {
                Some(link) if link.inward.is_some() && link.expected != number => (),
                _ => break,
            }
            if !self.drain(peer, sink) {
                break;
            }
        }
        // It was told that this rank sleeps, and is told now that it does not.
        self.say_sleep(peer, false);
    }

    /// Takes what the device is done with; true when anything was.
    pub fn reap(&mut self) -> bool {
        let went = self.take(false);
        for at in 0..went {
            let done = self.room[at];
            let (peer, number) = ((done.id() >> 32) as u32, done.id() as u32);
            let Some(Some(link)) = self.links.get_mut(peer as usize) else {
                continue;
            };
            // One of an earlier queue pair is over with it.
            if link.local.qpn != done.pair() {
                continue;
            }
            if !done.fine() {
                self.breaks(peer, words(done.status()).to_string());
                continue;
            }
            let before = link.queue.asked();
            let over = &mut self.over;
            link.queue.complete(number, |hold| over.push(hold));
            self.asked -= before - link.queue.asked();
            while let Some(hold) = self.over.pop() {
                self.release(hold);
            }
        }
        if went > 0 {
            self.stuck = false;
        }
        went > 0
    }

    /// All links are broken.
    #[cold]
    pub fn fail_all(&mut self, why: &str) {
        for peer in 0..self.links.len() as u32 {
            self.breaks(peer, why.to_string());
        }
    }

    /// Clears broken links up and says which were.
    #[cold]
    pub fn bury(&mut self) {
        for (peer, why) in std::mem::take(&mut self.broken) {
            let goodbye = match &self.links[peer as usize] {
                Some(link) => link.goodbye,
                None => continue,
            };
            self.remove(peer);
            self.gone[peer as usize] = true;
            if !goodbye {
                self.losses.push((PeerId(peer), why));
            }
        }
    }
}
