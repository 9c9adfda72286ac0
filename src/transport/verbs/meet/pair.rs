//! The meeting of one pair, as a state machine without device and clock.
//!
//! Each rank makes its queue pair when it wants to send or when the other's hello comes, takes it to receiving and
//! sending with what that hello says, and answers. Whoever reads in a hello that the other receives from its queue pair
//! may send. Then both are connected after three datagrams, whoever began, or both at once; any of them may be lost,
//! since who wants to send asks again.
//!
//! A queue pair from which the other was told that it may send is never given up because time passed: the other may be
//! about to. This rank then only sends in another way.

use super::{Ends, Ours};
use crate::wire::verbs_address::VerbsAddress;
use crate::wire::verbs_hello::Offer;
use std::time::{Duration, Instant};

/// Between a hello and its repetition: at first, and at most.
const FIRST: Duration = Duration::from_millis(2);
const LAST: Duration = Duration::from_millis(100);

/// What to say to the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word {
    pub attempt: u32,
    pub ready_for: u32,
    pub asks: bool,
    pub refuses: bool,
    pub ours: Ours,
}

/// What the peer said, proven.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub attempt: u32,
    pub ready_for: u32,
    pub asks: bool,
    pub refuses: bool,
    pub offer: Offer,
}

/// What became of a pair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// The peer never spoke, or refused: what was made is given up.
    Failed(String),
    /// The peer may send; this rank will not.
    Unheard(String),
}

/// The end of what this rank wanted, and what the peer is told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    pub news: News,
    pub say: Option<Word>,
}

impl From<News> for End {
    fn from(news: News) -> End {
        End { news, say: None }
    }
}

/// This rank asks since, asks next, and then waits.
#[derive(Clone, Copy, Debug)]
struct Want {
    since: Instant,
    next: Instant,
    pause: Duration,
}

/// One pair's state.
#[derive(Default)]
pub struct Pair {
    /// How often this rank made a queue pair for the peer, and the last one.
    attempt: u32,
    ours: Option<Ours>,
    /// The attempt of the peer's that ours receives from, and what it offered; 0: none.
    theirs: u32,
    offer: Offer,
    /// The peer receives from ours.
    pub connected: bool,
    /// This rank will not send to the peer.
    pub over: bool,
    wants: Option<Want>,
}

impl Pair {
    /// Has the peer ever spoken?
    pub fn heard(&self) -> bool {
        self.theirs != 0
    }

    /// Is the peer asked?
    pub fn asks(&self) -> bool {
        self.wants.is_some()
    }

    /// When time has something to say, given how long the peer may be silent.
    pub fn next_tick(&self, patience: Duration) -> Option<Instant> {
        self.wants.map(|w| w.next.min(w.since + patience))
    }

    /// This rank has something for the peer.
    pub fn want(&mut self, peer: u32, now: Instant, ends: &mut impl Ends) -> Result<(), News> {
        if self.connected || self.over || self.wants.is_some() {
            return Ok(());
        }
        if let Err(why) = self.prepare(peer, ends) {
            self.over = true;
            return Err(News::Failed(why));
        }
        self.wants = Some(Want {
            since: now,
            next: now,
            pause: FIRST,
        });
        Ok(())
    }

    fn prepare(&mut self, peer: u32, ends: &mut impl Ends) -> Result<Ours, String> {
        if let Some(ours) = self.ours {
            return Ok(ours);
        }
        let ours = ends.prepare(peer)?;
        self.attempt += 1;
        self.ours = Some(ours);
        Ok(ours)
    }

    /// Takes what the peer said; answers what to say.
    pub fn came(
        &mut self,
        peer: u32,
        at: &VerbsAddress,
        said: &Said,
        ends: &mut impl Ends,
    ) -> Result<Option<Word>, End> {
        if said.refuses {
            let meant = said.ready_for == self.attempt && self.ours.is_some();
            // A refusal names the last queue pair that the peer gave up; it may have made another since.
            if !meant || self.connected || self.theirs > said.attempt {
                return Ok(None);
            }
            // It has no queue pair that could send to this one.
            self.theirs = 0;
            let why = "it has no queue pair to spare".to_string();
            return Err(self.give_up(why).into());
        }
        // An old one came late; or the peer forgot a queue pair that this rank may have sent to, which the device
        // will notice.
        if said.attempt < self.theirs || (said.attempt > self.theirs && self.connected) {
            return Ok(None);
        }
        if said.attempt > self.theirs {
            // What it made before, it has given up.
            self.theirs = 0;
            let made = self.prepare(peer, ends);
            if let Err(why) = made.and_then(|_| ends.connect(peer, at, &said.offer)) {
                let wanted = self.wants.is_some();
                let news = self.give_up(why);
                // Who wanted nothing may want something later.
                self.over = wanted;
                let say = Some(self.word(said.attempt, false, true));
                return Err(End { news, say });
            }
            self.theirs = said.attempt;
            self.offer = said.offer;
        }
        if said.ready_for == self.attempt {
            self.heard_of(peer, ends);
        }
        Ok(said
            .asks
            .then(|| self.word(self.theirs, !self.connected, false)))
    }

    /// The peer receives from this rank's queue pair: it said so, or something came that it sent.
    pub fn heard_of(&mut self, peer: u32, ends: &mut impl Ends) {
        if !self.connected && self.heard() {
            self.connected = true;
            self.wants = None;
            ends.connected(peer, &self.offer);
        }
    }

    /// What time brings: a repetition, or the end of patience.
    pub fn tick(&mut self, now: Instant, patience: Duration) -> Result<Option<Word>, News> {
        let Some(mut want) = self.wants else {
            return Ok(None);
        };
        let waited = now.saturating_duration_since(want.since);
        if waited >= patience {
            let why = format!(
                "it did not answer within {:.1} s by verbs: it is busy, or no packet passes",
                waited.as_secs_f64()
            );
            return Err(self.give_up(why));
        }
        if now < want.next {
            return Ok(None);
        }
        want.next = now + want.pause;
        want.pause = LAST.min(want.pause * 2);
        self.wants = Some(want);
        Ok(Some(self.word(self.theirs, true, false)))
    }

    /// This rank will not send to the peer by verbs.
    pub fn give_up(&mut self, why: String) -> News {
        self.wants = None;
        self.over = true;
        if self.heard() {
            return News::Unheard(why);
        }
        self.ours = None;
        News::Failed(why)
    }

    fn word(&self, ready_for: u32, asks: bool, refuses: bool) -> Word {
        Word {
            attempt: self.attempt,
            ready_for,
            asks,
            refuses,
            ours: self.ours.unwrap_or_default(),
        }
    }
}
