//! Meeting a peer that cannot be dialled: one side calls by a note, the other answers, and both try the same ways.
//!
//! *Punching* (`punch`): each connects to where a relay sees the other. *A relay* joins two connections; it begins a
//! little later, and when punching succeeds after it, the frames move over (`rest`).
//!
//! Whoever computes answers when it next calls MPI, so a call waits for long; a meeting that has begun does not. Who has
//! left the job, as the rendezvous says, will not answer.

use crate::base::id::PeerId;
use crate::debug;
use crate::transport::tcp::greet::ALONE;
use crate::transport::tcp::link::{Effort, Link, Stage};
use crate::transport::tcp::{net, Tcp, NONE};
use crate::wire::hello::Path;
use crate::wire::note::Note;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long both punch.
const PUNCH: Duration = Duration::from_secs(6);
/// When they begin to punch, and when they go to the relay as well.
pub const HEADS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(300)];
/// So often may relays refuse or fail, and the first pause after that, which doubles.
const REFUSALS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);
/// How long both go round relays that refuse or fail: as long as it may take to start one again.
pub const RELAYS: Duration = Duration::from_secs(6);
/// How long connecting to a relay may take, and how long it may wait for the peer.
const RELAY: Duration = Duration::from_secs(5);
const JOIN: Duration = Duration::from_secs(40);
/// The first pause before another call, and the longest: notes may get lost.
const AGAIN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(20);

/// An effort of two to meet.
pub struct Meeting {
    /// Its number.
    effort: u32,
    begun: Instant,
    /// `Some`: called and not answered; when to call again, and the pause after that.
    pub calls: Option<(Instant, Duration)>,
    /// Since when both are at it, and how long they were in earlier rounds.
    pub since: Instant,
    spent: Duration,
    pub punch: Way,
    pub relay: Way,
}

/// One way of a meeting.
pub struct Way {
    /// The attempt under way.
    pub link: u32,
    /// Of punching: the round; the peer was asked for it, and this rank has tried.
    pub round: u32,
    pub asked: bool,
    pub shot: bool,
    /// The next attempt, when none is under way.
    pub next: Instant,
    /// The attempt under way, or the way, is given up.
    until: Instant,
    /// Attempts so far; of a relay those that failed.
    pub tries: u32,
    over: bool,
    /// The peer did not come, for no fault of the way's.
    alone: bool,
    /// What was heard last.
    pub said: Option<String>,
}

impl Way {
    fn new(now: Instant) -> Way {
        Way {
            link: NONE,
            round: 0,
            asked: false,
            shot: false,
            next: now,
            until: now,
            tries: 0,
            over: true,
            alone: false,
            said: None,
        }
    }

    fn next_tick(&self) -> Option<Instant> {
        match (self.over, self.link) {
            (true, _) => None,
            (false, NONE) => Some(self.next),
            _ => Some(self.until),
        }
    }
}

impl Meeting {
    fn new(effort: u32, now: Instant) -> Meeting {
        Meeting {
            effort,
            begun: now,
            calls: None,
            since: now,
            spent: Duration::ZERO,
            punch: Way::new(now),
            relay: Way::new(now),
        }
    }

    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// A connection to a relay is gone.
    pub fn misses(&mut self, at: u32) {
        if self.relay.link == at {
            self.relay.link = NONE;
        }
    }

    /// Is the relay one of its ways?
    pub fn goes_to_relay(&self) -> bool {
        !self.relay.over || self.relay.link != NONE
    }

    /// The relay was asked for the peer, who may take so long.
    pub fn joins(&mut self, stay: Option<Duration>) {
        self.relay.until = Instant::now() + stay.unwrap_or(JOIN);
    }

    /// When the clock has something to say.
    pub fn next_tick(&self) -> Instant {
        let ways = [self.punch.next_tick(), self.relay.next_tick()];
        let calls = self.calls.map(|(at, _)| at);
        let far = self.since + Duration::from_secs(3600);
        let all = ways.into_iter().chain([calls]).flatten();
        all.min().unwrap_or(far)
    }
}

impl Tcp {
    /// Asks a peer to meet.
    pub(super) fn call(&mut self, peer: u32, now: Instant) {
        let effort = self.random() as u32;
        let p = &mut self.peers[peer as usize];
        if p.meeting.is_some() {
            return;
        }
        let mut meeting = Meeting::new(effort, now);
        meeting.calls = Some((now + AGAIN, AGAIN));
        p.meeting = Some(Box::new(meeting));
        self.meetings.push(peer);
        self.send_note(peer, Note::Call(effort));
    }

    pub(super) fn send_note(&self, peer: u32, note: Note) {
        if let Some(courier) = &self.ways.courier {
            courier.send(PeerId(peer), &note.encode());
        }
    }

    /// Takes what peers say.
    pub(super) fn read_notes(&mut self) {
        let Some(mailbox) = self.mailbox.clone() else {
            return;
        };
        while let Some((from, bytes)) = mailbox.take() {
            let from = from.0;
            if from == self.me || from as usize >= self.peers.len() {
                continue;
            }
            let Some(bytes) = bytes else {
                self.departed(from);
                continue;
            };
            match Note::decode(&bytes) {
                Some(Note::Call(effort)) => self.called(from, effort),
                Some(Note::Answer(effort)) if self.asks(from, effort) => {
                    self.begin(from, Instant::now());
                }
                Some(Note::Refusal(effort)) if self.asks(from, effort) => {
                    self.end_meeting(from);
                    self.unmet(from, "it has given this rank up".to_string());
                }
                Some(Note::Next(round)) => self.drum(from, round),
                Some(Note::Go(round)) => self.shoot(from, round),
                Some(Note::Answer(_) | Note::Refusal(_)) => (),
                None => debug!("rank {from} sent a note that cannot be read"),
            }
        }
    }

    /// A note did not reach a peer, for it has left the job: nor will a call.
    fn departed(&mut self, peer: u32) {
        let meeting = self.peers[peer as usize].meeting.as_ref();
        if meeting.is_some_and(|m| m.calls.is_some()) {
            self.end_meeting(peer);
            self.unmet(peer, "it has left the job".to_string());
        }
    }

    /// Has this rank called a peer, by this number, and waits?
    fn asks(&self, peer: u32, effort: u32) -> bool {
        let meeting = self.peers[peer as usize].meeting.as_ref();
        meeting.is_some_and(|m| m.effort == effort && m.calls.is_some())
    }

    /// A peer wants to meet.
    pub(super) fn called(&mut self, peer: u32, effort: u32) {
        let now = Instant::now();
        let p = &mut self.peers[peer as usize];
        if !p.introduced {
            p.called = Some(effort);
            self.want(peer);
            return;
        }
        if p.gone {
            self.send_note(peer, Note::Refusal(effort));
            return;
        }
        let waits = match &mut p.meeting {
            None => {
                p.meeting = Some(Box::new(Meeting::new(effort, now)));
                self.meetings.push(peer);
                true
            }
            // Both called: each call is the other's answer.
            Some(meeting) if meeting.calls.is_some() => true,
            Some(meeting) => {
                let same = meeting.effort == effort;
                let busy = [&meeting.punch, &meeting.relay]
                    .iter()
                    .any(|w| !w.over || w.link != NONE);
                meeting.effort = effort;
                !same && !busy
            }
        };
        self.send_note(peer, Note::Answer(effort));
        if waits {
            self.begin(peer, now);
        }
    }

    /// Both know that both are there.
    fn begin(&mut self, peer: u32, now: Instant) {
        let punch = self.can_punch(peer) && !self.mends(peer);
        let relay = self.can_relay(peer);
        let Some(meeting) = &mut self.peers[peer as usize].meeting else {
            return;
        };
        meeting.calls = None;
        meeting.since = now;
        meeting.punch = Way::new(now);
        meeting.punch.over = !punch;
        meeting.relay = Way::new(now);
        meeting.relay.over = !relay;
        if punch {
            meeting.punch.next = now + self.heads[0];
            meeting.punch.until = meeting.punch.next + PUNCH;
            meeting.relay.next = now + self.heads[1];
        }
        self.step(peer, now);
    }

    /// What time brings to all meetings.
    pub(super) fn meet(&mut self, now: Instant) {
        for i in (0..self.meetings.len()).rev() {
            if let Some(&peer) = self.meetings.get(i) {
                self.step(peer, now);
            }
        }
        self.keep_vigil(now);
    }

    /// Makes what attempts are due, ends what takes too long.
    fn step(&mut self, peer: u32, now: Instant) {
        let Some(meeting) = &mut self.peers[peer as usize].meeting else {
            return;
        };
        if let Some((at, pause)) = meeting.calls {
            if now >= at {
                meeting.calls = Some((now + pause, SELDOM.min(pause * 2)));
                let effort = meeting.effort;
                self.send_note(peer, Note::Call(effort));
            }
            return;
        }
        // Only what has not reached the peer is bounded: at the other end somebody may compute.
        let early = |at: u32| {
            let link = self.links.get(at as usize).and_then(Option::as_deref);
            link.is_some_and(|l| {
                matches!(l.stage, Stage::Connecting | Stage::Asking | Stage::Joining)
            })
        };
        let late = |way: &Way| way.link != NONE && now >= way.until && early(way.link);
        let (punch, relay) = (late(&meeting.punch), late(&meeting.relay));
        for (late, at) in [(punch, meeting.punch.link), (relay, meeting.relay.link)] {
            if late {
                self.remove(at);
                let error = io::Error::from(io::ErrorKind::TimedOut);
                self.missed(peer, at, Duration::ZERO, &error);
            }
        }
        let Some(meeting) = &mut self.peers[peer as usize].meeting else {
            return;
        };
        let punch = &mut meeting.punch;
        if !punch.over && punch.link == NONE && now >= punch.until {
            punch.over = true;
        }
        if !punch.over {
            self.punch(peer, now);
        }
        let Some(meeting) = &mut self.peers[peer as usize].meeting else {
            return;
        };
        let relay = &mut meeting.relay;
        if !relay.over && relay.link == NONE && now >= relay.next {
            self.go_to_relay(peer, now);
        }
        self.part(peer, now);
    }

    fn go_to_relay(&mut self, peer: u32, now: Instant) {
        let ours = self.hello(peer, Path::Relayed);
        let Some(meeting) = &mut self.peers[peer as usize].meeting else {
            return;
        };
        let tries = meeting.relay.tries;
        let stay = self.stay(peer).unwrap_or(RELAY);
        let Some((address, name)) = self.relay_for(peer, tries) else {
            return;
        };
        let made = net::connect(address).and_then(|fd| {
            net::keep_alive(&fd, true);
            self.insert(Link::new(fd, Effort::Relay, name.clone(), ours), true)
        });
        let Some(meeting) = &mut self.peers[peer as usize].meeting else {
            return;
        };
        match made {
            Ok(at) => {
                meeting.relay.link = at;
                meeting.relay.until = now + stay;
                meeting.relay.alone = false;
            }
            Err(error) => self.miss_relay(peer, now, &error),
        }
    }

    /// Where both go: to the same one at first, and pairs spread over all.
    pub(super) fn relay_for(&self, peer: u32, tries: u32) -> Option<(SocketAddr, String)> {
        let turn = self.me as usize + peer as usize + tries as usize;
        let relay = self.ways.relays.get(turn % self.ways.relays.len().max(1))?;
        let address = relay.ports[0];
        let literal = relay.name.starts_with(&address.to_string());
        Some((
            address,
            match literal {
                true => format!("relay {address}"),
                false => format!("relay {} at {address}", relay.name),
            },
        ))
    }

    /// An attempt came to nothing; its connection is gone.
    pub(super) fn missed(&mut self, peer: u32, at: u32, took: Duration, error: &io::Error) {
        let now = Instant::now();
        let Some(meeting) = &mut self.peers[peer as usize].meeting else {
            return;
        };
        if meeting.punch.link == at {
            meeting.punch.link = NONE;
            self.miss_punch(peer, took, error);
        } else if meeting.relay.link == at {
            meeting.relay.link = NONE;
            self.miss_relay(peer, now, error);
        }
        self.part(peer, now);
    }

    fn miss_relay(&mut self, peer: u32, now: Instant, error: &io::Error) {
        let tries = self.peers[peer as usize].meeting.as_ref();
        let tries = tries.map_or(0, |m| m.relay.tries);
        let name = self.relay_for(peer, tries);
        let name = name.map_or("relay".to_string(), |(_, name)| name);
        let Some(meeting) = &mut self.peers[peer as usize].meeting else {
            return;
        };
        let relay = &mut meeting.relay;
        relay.said = Some(format!("{name}: {error}"));
        relay.alone = error.to_string() == ALONE;
        if relay.alone {
            relay.over = true;
        } else {
            relay.next = now + PAUSE * 2u32.pow(relay.tries.min(6));
            relay.tries += 1;
            relay.over = relay.tries >= REFUSALS;
        }
    }

    /// When all ways of a round failed: once more, or never.
    fn part(&mut self, peer: u32, now: Instant) {
        let p = &mut self.peers[peer as usize];
        let Some(meeting) = &mut p.meeting else {
            return;
        };
        let open = [&meeting.punch, &meeting.relay]
            .iter()
            .any(|way| !way.over || way.link != NONE);
        if open || meeting.calls.is_some() {
            return;
        }
        meeting.spent += now - meeting.since;
        let linked = !p.ready.is_empty();
        let hopeful = meeting.relay.said.is_none() && meeting.spent < self.patience;
        let again = meeting.relay.alone || hopeful;
        // A relay may be on its way back.
        let again = again || meeting.relay.said.is_some() && meeting.spent < self.relay_limit;
        if (p.dial.is_some() && !linked || p.mend.is_some()) && again {
            // It left for other work, or the ways are bad: from the beginning.
            meeting.effort = meeting.effort.wrapping_add(1);
            meeting.calls = Some((now + AGAIN, AGAIN));
            let effort = meeting.effort;
            self.send_note(peer, Note::Call(effort));
            return;
        }
        let said = [meeting.punch.said.take(), meeting.relay.said.take()];
        let said: Vec<String> = said.into_iter().flatten().collect();
        p.meeting = None;
        self.meetings.retain(|m| *m != peer);
        debug!("meeting rank {peer} is over: {}", said.join("; "));
        if !linked || self.peers[peer as usize].mend.is_some() {
            self.unmet(peer, said.join("; "));
        }
    }

    /// A connection to the peer is there: what is not needed any more ends.
    pub(super) fn met(&mut self, peer: u32, path: Path) {
        if path != Path::Relayed {
            if self.peers[peer as usize].mend.is_none() {
                self.end_meeting(peer);
            }
            return;
        }
        let Some(meeting) = &mut self.peers[peer as usize].meeting else {
            return;
        };
        meeting.relay.link = NONE;
        meeting.relay.over = true;
        self.part(peer, Instant::now());
    }

    /// Drops what has not reached the peer. What has may be complete on its side, and ends by itself.
    pub(super) fn end_meeting(&mut self, peer: u32) {
        let Some(meeting) = self.peers[peer as usize].meeting.take() else {
            return;
        };
        self.meetings.retain(|m| *m != peer);
        for at in [meeting.punch.link, meeting.relay.link] {
            let early = |l: &Link| {
                let early = matches!(l.stage, Stage::Connecting | Stage::Asking | Stage::Joining);
                early && l.peer == peer
            };
            let link = self.links.get(at as usize).and_then(Option::as_deref);
            if link.is_some_and(early) {
                self.remove(at);
            }
        }
    }

    /// As if its time had come.
    #[cfg(test)]
    pub(super) fn punch_now(&mut self, peer: u32) {
        if let Some(meeting) = &mut self.peers[peer as usize].meeting {
            meeting.punch.next = Instant::now();
        }
    }

    /// A number that differs between ranks and calls.
    pub(super) fn random(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice
    }
}
