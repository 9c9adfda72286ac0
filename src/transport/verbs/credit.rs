//! Who may send how much. Every message between two ranks takes a receive buffer of the other side, and a rank never
//! sends without knowing that one is there: each side tells the other how many messages it may have sent in all (the
//! limit), a number that grows as buffers are given back.
//!
//! The last credit is kept for giving credit back, and is used for that only when half of what was granted is owed: such a
//! message is worth at least a credit to its receiver, so two ranks that have both run out always help each other on.

/// Credits of a link that carry no frames.
pub const RESERVED: u32 = 1;
/// The fewest that a link works with: half of it is more than what is reserved.
pub const LEAST: u32 = 4;

/// Both directions of one link. Counts wrap.
#[derive(Debug)]
pub struct Credit {
    /// Messages sent, and how many may have been.
    sent: u32,
    limit: u32,
    /// Receive buffers that are there for the peer.
    width: u32,
    /// Messages whose buffers were given back, and how many of them the peer was told.
    taken: u32,
    told: u32,
}

impl Credit {
    /// `granted`: buffers that are here for the peer, as it was told.
    pub fn new(granted: u32) -> Credit {
        Credit {
            sent: 0,
            limit: 0,
            width: granted,
            taken: 0,
            told: 0,
        }
    }

    /// What the peer granted at the beginning.
    pub fn start(&mut self, theirs: u32) {
        self.limit = theirs;
    }

    /// May a frame go?
    #[inline]
    pub fn may_send(&self) -> bool {
        self.limit.wrapping_sub(self.sent) > RESERVED
    }

    /// May credit be given back by a message of its own?
    #[inline]
    pub fn may_return(&self) -> bool {
        self.limit != self.sent
    }

    /// A message goes; it carries [`Credit::promise`], so [`Credit::tell`] follows.
    #[inline]
    pub fn send(&mut self) {
        self.sent = self.sent.wrapping_add(1);
    }

    /// What the peer may have sent in all, as messages to it say.
    #[inline]
    pub fn promise(&self) -> u32 {
        self.taken.wrapping_add(self.width)
    }

    /// The peer is told [`Credit::promise`].
    #[inline]
    pub fn tell(&mut self) {
        self.told = self.taken;
    }

    /// The peer says what may have been sent; true when that is more than before.
    #[inline]
    pub fn hear(&mut self, limit: u32) -> bool {
        let more = limit.wrapping_sub(self.limit);
        let news = more != 0 && more < 1 << 31;
        if news {
            self.limit = limit;
        }
        news
    }

    /// A message of the peer was handled and its buffer is there again.
    #[inline]
    pub fn take(&mut self) {
        self.taken = self.taken.wrapping_add(1);
    }

    /// Is anything to be told?
    #[inline]
    pub fn owes(&self) -> bool {
        self.taken != self.told
    }

    /// Is so much owed that it should be told, if need be by a message of its own?
    #[inline]
    pub fn is_due(&self) -> bool {
        self.taken.wrapping_sub(self.told) * 2 >= self.width
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    struct Side {
        credit: Credit,
        /// On the way to this side: the limit that each says, and whether it is a frame.
        inbox: VecDeque<(u32, bool)>,
        to_send: u32,
        got: u32,
        alone: u32,
    }

    fn side(granted: u32, to_send: u32) -> Side {
        Side {
            credit: Credit::new(granted),
            inbox: VecDeque::new(),
            to_send,
            got: 0,
            alone: 0,
        }
    }

    /// Two sides send to each other, or one to the other, take what came when they like, and never use more buffers
    /// than there are; whatever they do, all of it arrives.
    #[test]
    fn nobody_sends_more_than_was_granted_and_nobody_starves() {
        for seed in 1..400u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let widths = [LEAST, LEAST, 5, 8, 17][(seed % 5) as usize..].to_vec();
            let (a, b) = (widths[0], *widths.last().unwrap());
            let count = 500 * u32::from(!seed.is_multiple_of(3));
            let mut sides = [side(a, 500), side(b, count)];
            sides[0].credit.start(b);
            sides[1].credit.start(a);
            // Counts wrap some time.
            for s in &mut sides {
                s.credit.sent = s.credit.sent.wrapping_sub(200);
                s.credit.limit = s.credit.limit.wrapping_sub(200);
                s.credit.taken = s.credit.taken.wrapping_sub(200);
                s.credit.told = s.credit.taken;
            }
            let mut idle = 0;
            while sides[0].got < count || sides[1].got < 500 {
                let me = (random(&mut state) % 2) as usize;
                let (left, right) = sides.split_at_mut(1);
                let (mine, theirs) = match me {
                    0 => (&mut left[0], &mut right[0]),
                    _ => (&mut right[0], &mut left[0]),
                };
                let mut moved = false;
                match random(&mut state) % 3 {
                    0 if mine.to_send > 0 && mine.credit.may_send() => {
                        theirs.inbox.push_back((mine.credit.promise(), true));
                        mine.credit.send();
                        mine.credit.tell();
                        mine.to_send -= 1;
                        moved = true;
                    }
                    1 => {
                        // A poll: some of what came, then what is owed.
                        for _ in 0..random(&mut state) % 4 {
                            if let Some((limit, frame)) = mine.inbox.pop_front() {
                                mine.credit.hear(limit);
                                mine.credit.take();
                                mine.got += u32::from(frame);
                                moved = true;
                            }
                        }
                        if mine.credit.is_due() && mine.credit.may_return() {
                            theirs.inbox.push_back((mine.credit.promise(), false));
                            mine.credit.send();
                            mine.credit.tell();
                            mine.credit.tell();
                            mine.alone += 1;
                            moved = true;
                        }
                    }
                    _ => (),
                }
                assert!(
                    theirs.inbox.len() as u32 <= theirs.credit.width,
                    "no receive buffer"
                );
                idle = if moved { 0 } else { idle + 1 };
                assert!(
                    idle < 10_000,
                    "seed {seed}: both wait for each other: {:?} {:?}",
                    mine.credit,
                    theirs.credit
                );
            }
            // Whoever only receives has to tell by messages of their own.
            if count == 0 {
                assert!(sides[1].alone > 0 && sides[1].alone <= 500);
            }
        }
    }

    #[test]
    fn an_old_limit_takes_nothing_back() {
        let mut credit = Credit::new(8);
        credit.start(8);
        assert!(credit.hear(10));
        assert!(!credit.hear(9) && !credit.hear(10));
        for _ in 0..9 {
            assert!(credit.may_send());
            credit.send();
        }
        assert!(!credit.may_send() && credit.may_return());
        credit.send();
        assert!(!credit.may_return());
    }
}
