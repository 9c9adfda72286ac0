//! Punching: TCP simultaneous open (RFC 9293 §3.5) through address translators. Each connects from its listener's port to
//! where a relay sees the other's.
//!
//! A translator that drops what nobody asked for lets it pass at once: whoever comes second finds the way open. One that
//! answers with a reset closes the way with that, and for a pair of ports that was refused once it stays closed for
//! seconds (Linux's conntrack: state CLOSE). So both packets must cross while a way is new, and when they did not, another
//! is taken. In each round the *shooter* asks the *drummer* by a note for the next port; the drummer answers and connects
//! there again and again, and the shooter, when the answer comes, connects once, from that port. The note's way sees to it
//! that both are at it at the same time. A shooter is a rank whose translator keeps port numbers.

use crate::transport::tcp::link::{Effort, Link, Stage};
use crate::transport::tcp::{net, Tcp, NONE};
use crate::wire::hello::Path;
use crate::wire::note::Note;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long both try their listeners' ports before the rounds begin.
const FIRST: Duration = Duration::from_millis(25);
/// How long a shooter waits for an answer, and rests between rounds.
const ANSWER: Duration = Duration::from_millis(300);
const REST: Duration = Duration::from_micros(500);
/// The longest pause between two attempts: random, and no more than some times what a refusal takes to come back (and at
/// least the shorter one).
const JITTER: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(6)];
const ROUND_TRIPS: u32 = 4;
/// Attempts without a pause while each is refused at once.
const BURST: u32 = 48;

impl Tcp {
    /// Is this rank the shooter of a pair? `None`: no translator of the two keeps port numbers.
    fn shoots(&self, peer: u32) -> Option<bool> {
        let p = &self.peers[peer as usize];
        let keeps = |public: Option<SocketAddr>, port| public.is_some_and(|a| a.port() == port);
        let mine = keeps(self.ways.public, self.port);
        let theirs = keeps(p.public, p.port);
        match (mine, theirs) {
            (true, true) => Some(self.me > peer),
            (false, false) => None,
            (mine, _) => Some(mine),
        }
    }

    /// The next round of a shooter.
    fn next_round(&mut self, peer: u32, now: Instant) {
        let Some(meeting) = &mut self.peers[peer as usize].meeting else {
            return;
        };
        let punch = &mut meeting.punch;
        punch.round += 1;
        punch.asked = true;
        punch.next = now + ANSWER;
        let round = punch.round;
        self.send_note(peer, Note::Next(round));
    }

    /// The shooter asks for a round.
    pub(super) fn drum(&mut self, peer: u32, round: u32) {
        let shoots = self.shoots(peer);
        let Some(meeting) = &mut self.peers[peer as usize].meeting else {
            return;
        };
        let punch = &mut meeting.punch;
        if shoots != Some(false) || meeting.calls.is_some() || round <= punch.round {
            return;
        }
        punch.round = round;
        punch.next = Instant::now();
        let at = punch.link;
        // It may be there already, and this rank has not looked: a busy one reads notes first.
        self.notice(at);
        let link = self.links.get(at as usize).and_then(Option::as_deref);
        match link.map(|l| l.stage) {
            // It is of the last round.
            Some(Stage::Connecting) => {
                self.remove(at);
                if let Some(meeting) = &mut self.peers[peer as usize].meeting {
                    meeting.punch.link = NONE;
                }
            }
            Some(_) => return,
            None => (),
        }
        self.send_note(peer, Note::Go(round));
        self.meet(Instant::now());
    }

    /// The drummer is at it.
    pub(super) fn shoot(&mut self, peer: u32, round: u32) {
        if let Some(meeting) = &mut self.peers[peer as usize].meeting {
            let punch = &mut meeting.punch;
            if punch.asked && punch.round == round {
                punch.asked = false;
                punch.next = Instant::now();
            }
        }
        self.meet(Instant::now());
    }

    /// Makes the attempts that are due.
    pub(super) fn punch(&mut self, peer: u32, now: Instant) {
        let shoots = self.shoots(peer);
        let p = &mut self.peers[peer as usize];
        let (Some(meeting), Some(mut target)) = (&mut p.meeting, p.public) else {
            return;
        };
        let (punch, since) = (&mut meeting.punch, meeting.since + self.heads[0]);
        if punch.link != NONE || now < punch.next {
            return;
        }
        let rounds = punch.round > 0 || (punch.said.is_some() && now > since + FIRST);
        let shooter = shoots == Some(true) && rounds;
        if shooter && (punch.round == 0 || punch.asked || punch.shot) {
            punch.shot = false;
            self.next_round(peer, now);
            return;
        }
        let next = |port: u16| port.checked_add(punch.round as u16);
        let from = if shooter {
            next(self.port)
        } else {
            Some(self.port)
        };
        if shoots == Some(false) {
            target.set_port(next(target.port()).unwrap_or(target.port()));
        }
        let Some(from) = from else { return };
        punch.shot = shooter;
        let most = if shooter { 1 } else { BURST };
        let mut tries = 0;
        let begun = loop {
            tries += 1;
            let begun = net::connect_from(self.only, from, target);
            // Where the way is short the refusal is here already.
            let begun = begun.and_then(|fd| net::outcome(&fd).map(|()| fd));
            if begun.is_ok() || tries == most {
                break begun;
            }
        };
        punch.tries += tries;
        let took = now.elapsed() / tries;
        let ours = self.hello(peer, Path::Punched);
        let made = begun.and_then(|fd| {
            let link = Link::new(fd, Effort::Punch, target.to_string(), ours);
            self.insert(link, true)
        });
        match made {
            Ok(at) => {
                if let Some(meeting) = &mut self.peers[peer as usize].meeting {
                    meeting.punch.link = at;
                }
            }
            Err(error) => self.miss_punch(peer, took, &error),
        }
    }

    /// An attempt was refused, after so long.
    pub(super) fn miss_punch(&mut self, peer: u32, took: Duration, error: &io::Error) {
        let now = Instant::now();
        let random = self.random();
        let shoots = self.shoots(peer) == Some(true);
        let p = &mut self.peers[peer as usize];
        let (Some(meeting), Some(target)) = (&mut p.meeting, p.public) else {
            return;
        };
        let punch = &mut meeting.punch;
        let most = (took * ROUND_TRIPS).clamp(JITTER[0], JITTER[1]);
        punch.next = now + Duration::from_micros(random % most.as_micros() as u64);
        if shoots && punch.round > 0 {
            punch.next = now + REST;
        }
        let tries = punch.tries;
        if punch.said.is_none() {
            // Where resets come back punching needs many tries, and nothing beside it.
            let relay = &mut meeting.relay;
            relay.next = relay.next.max(meeting.since + self.heads[1] * 5);
        }
        punch.said = Some(format!("punching to {target}: {error} ({tries} attempts)"));
    }
}
