//! Reads and writes of peers' memory, and atomics on it. What is longer than the device moves at once goes in parts.

use crate::transport::onesided::{Access, Atomic, Begun};
use crate::transport::verbs::buffers::Region;
use crate::transport::verbs::frame::What;
use crate::transport::verbs::link::{Link, Stage};
use crate::transport::verbs::memory::{Hold as Registration, Use};
use crate::transport::verbs::peer::{ATOMICS, READS, WRITES};
use crate::transport::verbs::post::id;
use crate::transport::verbs::queue::Hold;
use crate::transport::verbs::sys::{self, Pd, Work};
use crate::transport::verbs::traffic::Traffic;
use crate::transport::Sink;
use std::sync::Arc;

/// Requests of a queue pair that one-sided operations leave to frames.
const LEAVE: u32 = 16;
/// Answers of atomics under way.
const ANSWERS: usize = 256;
/// Operations under way; more are refused until some are over.
const MOST: usize = 1 << 16;

/// What a part does.
#[derive(Clone, Copy, Debug)]
pub enum Do {
    Read,
    Write,
    Atomic(Atomic),
}

/// The part of an operation that is not posted yet.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    operation: u32,
    what: Do,
    local: u64,
    local_key: u32,
    remote: u64,
    remote_key: u32,
    length: usize,
}

/// Under way.
struct Operation {
    peer: u32,
    token: u64,
    registration: Option<Registration>,
    /// Of an atomic: where its answer goes, out of the answers' memory.
    answer: Option<*mut u64>,
    /// Parts posted and not over, and whether there will be more.
    under_way: u32,
    more: bool,
}

// SAFETY: the pointer is the program's, used by whoever holds the operation.
unsafe impl Send for Operation {}

/// All that is under way.
pub struct Operations {
    all: Vec<Option<Operation>>,
    free: Vec<u32>,
    /// Where the device answers atomics: a word for each of the first operations.
    answers: Option<Region>,
    /// The longest part, bytes.
    part: usize,
    /// Peers with parts that are not posted.
    pressing: Vec<u32>,
    /// Over, and not said.
    finished: Vec<(u64, bool)>,
}

impl Operations {
    pub fn new(part: usize) -> Operations {
        Operations {
            all: Vec::new(),
            free: Vec::new(),
            answers: None,
            part,
            pressing: Vec::new(),
            finished: Vec::new(),
        }
    }

    fn insert(&mut self, operation: Operation) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            self.all.len() as u32 - 1
        });
        self.all[at as usize] = Some(operation);
        at
    }

    /// The next operation's place, were it inserted now.
    fn next(&self) -> usize {
        self.free.last().map_or(self.all.len(), |at| *at as usize)
    }

    /// Where the device answers the atomic at this place; `None`: nowhere now.
    fn answer(&mut self, pd: &Arc<Pd>, at: usize) -> Option<(u64, u32)> {
        if at >= ANSWERS {
            return None;
        }
        if self.answers.is_none() {
            self.answers = Region::new(pd, ANSWERS * 8, sys::Access::LOCAL).ok();
        }
        let region = self.answers.as_ref()?;
        Some((region.at(at * 8) as u64, region.key()))
    }

    /// A part is over. What the operation held is answered when it was the last.
    fn part_over(&mut self, at: u32) -> Option<Registration> {
        let operation = self.all.get_mut(at as usize)?.as_mut()?;
        operation.under_way -= 1;
        if operation.under_way > 0 || operation.more {
            return None;
        }
        if let (Some(into), Some(region)) = (operation.answer, &self.answers) {
            // SAFETY: the device has answered to this word, and the program gave `into` for it until now.
            unsafe {
                let word = region.at(at as usize * 8).cast::<u64>().read_volatile();
                into.write_unaligned(word);
            }
        }
        self.end(at, true)
    }

    fn end(&mut self, at: u32, fine: bool) -> Option<Registration> {
        let operation = self.all[at as usize].take()?;
        self.free.push(at);
        self.finished.push((operation.token, fine));
        operation.registration
    }

    /// Says what is over; true when anything was.
    #[inline]
    pub fn say(&mut self, sink: &mut impl Sink) -> bool {
        if self.finished.is_empty() {
            return false;
        }
        for (token, fine) in self.finished.drain(..) {
            sink.finished(token, fine);
        }
        true
    }

    /// Is there something to say?
    pub fn has_news(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Is nothing under way, and nothing to be said?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.all.len() == self.free.len() && self.finished.is_empty() && self.pressing.is_empty()
    }

    /// Does anything wait to be posted?
    #[inline]
    pub fn press(&self) -> bool {
        !self.pressing.is_empty()
    }
}

impl Traffic {
    /// What a request held is free.
    #[inline]
    pub fn release(&mut self, hold: Hold) {
        match hold {
            Hold::Buffer(number) => self.sends.give_back(number),
            Hold::Part(operation) => {
                if let Some(registration) = self.operations.part_over(operation) {
                    self.memory.release(registration);
                }
            }
        }
    }

    /// Lets peers reach memory of this rank: its key, and what to release.
    pub fn expose(
        &mut self,
        address: *mut u8,
        length: usize,
        access: Access,
    ) -> Option<(u32, Registration)> {
        let (can, purpose) = match access {
            Access::Read => (self.ground.reads, Use::Read),
            Access::Write => (self.ground.writes, Use::Change),
            Access::Atomic => (self.ground.atomics, Use::Change),
        };
        if !can || length == 0 {
            return None;
        }
        let held = self.memory.register(address, length, purpose).ok()?;
        Some((held.rkey, held.hold))
    }

    /// The end of that.
    pub fn conceal(&mut self, registration: Registration) {
        self.memory.release(registration);
    }

    /// A link on which an operation may begin.
    fn able(&self, peer: u32, ability: u32) -> Result<&Link, Begun> {
        let Some(link) = &self.links[peer as usize] else {
            return Err(Begun::No);
        };
        match link.stage {
            Stage::Prepared => return Err(Begun::Busy),
            Stage::Connected => (),
            Stage::Closed | Stage::Broken => return Err(Begun::No),
        }
        if link.theirs.abilities & ability == 0 {
            return Err(Begun::No);
        }
        let crowded = self.operations.all.len() - self.operations.free.len() >= MOST;
        if !link.rest.is_empty() || link.queue.free() <= LEAVE || crowded {
            return Err(Begun::Busy);
        }
        Ok(link)
    }

    /// Moves `length` bytes between memory here and memory of the peer.
    #[allow(clippy::too_many_arguments)]
    pub fn transfer(
        &mut self,
        peer: u32,
        read: bool,
        local: *mut u8,
        remote: u64,
        remote_key: u32,
        length: usize,
        token: u64,
    ) -> Begun {
        let (what, ability, purpose) = match read {
            true => (Do::Read, READS, Use::Change),
            false => (Do::Write, WRITES, Use::Read),
        };
        if let Err(answer) = self.able(peer, ability) {
            return answer;
        }
        if length == 0 {
            self.operations.finished.push((token, true));
            return Begun::Yes;
        }
        let Ok(held) = self.memory.register(local, length, purpose) else {
            return Begun::No;
        };
        let operation = self.operations.insert(Operation {
            peer,
            token,
            registration: Some(held.hold),
            answer: None,
            under_way: 0,
            more: true,
        });
        self.begin(
            peer,
            Rest {
                operation,
                what,
                local: local as u64,
                local_key: held.lkey,
                remote,
                remote_key,
                length,
            },
        )
    }

    /// Changes eight bytes of the peer's; what they were goes to `into`.
    pub fn atomic(
        &mut self,
        peer: u32,
        what: Atomic,
        remote: u64,
        remote_key: u32,
        into: *mut u64,
        token: u64,
    ) -> Begun {
        if let Err(answer) = self.able(peer, ATOMICS) {
            return answer;
        }
        let at = self.operations.next();
        let Some((local, local_key)) = self.operations.answer(&self.ground.pd, at) else {
            return Begun::Busy;
        };
        let operation = self.operations.insert(Operation {
            peer,
            token,
            registration: None,
            answer: Some(into),
            under_way: 0,
            more: true,
        });
        self.begin(
            peer,
            Rest {
                operation,
                what: Do::Atomic(what),
                local,
                local_key,
                remote,
                remote_key,
                length: 8,
            },
        )
    }

    fn begin(&mut self, peer: u32, rest: Rest) -> Begun {
        if let Some(link) = &mut self.links[peer as usize] {
            link.rest.push_back(rest);
        }
        if !self.press(peer) {
            self.operations.pressing.push(peer);
        }
        Begun::Yes
    }

    /// Posts parts that wait, as far as there is room.
    #[cold]
    pub fn press_all(&mut self) {
        for peer in std::mem::take(&mut self.operations.pressing) {
            if !self.press(peer) {
                self.operations.pressing.push(peer);
            }
        }
    }

    /// Posts parts to this peer; true when none wait any more.
    fn press(&mut self, peer: u32) -> bool {
        let longest = self.operations.part;
        while let Some(Some(link)) = self.links.get_mut(peer as usize) {
            let Some(rest) = link.rest.front_mut() else {
                return true;
            };
            if link.stage != Stage::Connected {
                return true;
            }
            if link.queue.free() <= LEAVE / 2 || self.asked >= self.askable {
                return false;
            }
            let part = rest.length.min(longest);
            let last = part == rest.length;
            let (number, ask) = link.queue.post(Some(Hold::Part(rest.operation)), last);
            self.asked += u32::from(ask);
            let name = id(peer, number);
            let (remote, key) = (rest.remote, rest.remote_key);
            let mut work = match rest.what {
                Do::Read => Work::read(name, remote, key),
                Do::Write => Work::write(name, remote, key),
                Do::Atomic(Atomic::FetchAdd(add)) => Work::fetch_add(name, remote, key, add),
                Do::Atomic(Atomic::CompareSwap { compare, swap }) => {
                    Work::compare_swap(name, remote, key, compare, swap)
                }
            }
            .piece(rest.local, part, rest.local_key);
            if ask {
                work = work.signaled();
            }
            if let Some(Some(operation)) = self.operations.all.get_mut(rest.operation as usize) {
                operation.under_way += 1;
                operation.more = !last;
            }
            rest.local += part as u64;
            rest.remote += part as u64;
            rest.length -= part;
            if last {
                link.rest.pop_front();
            }
            // SAFETY: the memory is registered until the operation is over, and the program leaves it to the operation
            // until then.
            if let Err(refused) = unsafe { link.qp.post(&mut [work]) } {
                // What is under way ends with the link.
                self.breaks(peer, refused.error.to_string());
                return true;
            }
        }
        true
    }

    /// Writes nothing to the peer, which its device answers alone: whether it is there comes out. What is under way with
    /// an answer says that as well.
    pub fn probe(&mut self, peer: u32) {
        let writes = self.able(peer, WRITES).is_ok();
        let Some(Some(link)) = self.links.get_mut(peer as usize) else {
            return;
        };
        if link.queue.asked() > 0 || self.asked >= self.askable {
            return;
        }
        if !writes {
            // It has nothing but sends, or there is little room; that needs a credit, of which one is kept.
            self.tell_and_ask(peer, What::Credit, true);
            return;
        }
        let (number, _) = link.queue.post(None, true);
        self.asked += 1;
        let work = Work::write(id(peer, number), 0, 0).signaled();
        // SAFETY: no memory is involved.
        if let Err(refused) = unsafe { link.qp.post(&mut [work]) } {
            self.breaks(peer, refused.error.to_string());
        }
    }

    /// A peer is gone, and its queue pair with it: what was under way ends badly.
    pub fn end_operations(&mut self, peer: u32) {
        self.operations.pressing.retain(|p| *p != peer);
        for at in 0..self.operations.all.len() as u32 {
            let operation = &self.operations.all[at as usize];
            if operation.as_ref().is_some_and(|o| o.peer == peer) {
                if let Some(registration) = self.operations.end(at, false) {
                    self.memory.release(registration);
                }
            }
        }
    }
}
