//! What happens while a rank looks: events, bytes, frames, ends, and what time brings.

use crate::base::id::PeerId;
use crate::transport::tcp::lane::Count;
use crate::transport::tcp::link::{Link, Stage};
use crate::transport::tcp::net::{self, Event};
use crate::transport::tcp::seal::Seal;
use crate::transport::tcp::{
    data, direct, door, rest, Tcp, BELL, LISTENER, MAX_PAYLOAD, NONE, WAKE,
};
use crate::transport::Sink;
use crate::wire::frame::{Header, Kind, HEADER};
use crate::wire::hello::Path;
use std::io;
use std::time::{Duration, Instant};

/// Bytes read at a time, but for longer frames: what stays in the cache until it is copied on.
const READ: usize = 128 << 10;
/// The same where a long frame is likely: its header, and small ones before it.
const BRIEF: usize = 512;
/// Bytes of a long frame.
const LONG: usize = 32 << 10;
/// Empty reads after which a connection is not tried before epoll any more.
const COOL: u32 = 256;
/// How often connections are looked at whose machine may have gone, and how many polls that is at most.
const OFTEN: Duration = Duration::from_secs(2);
const SELDOM: u32 = 1 << 16;
/// How long a machine may leave unanswered what is sent to it again and again, from when that is seen.
const SILENCE: Duration = Duration::from_secs(20);
/// The same of a relay, which is there to answer, and in whose place there may be another.
const RELAY_SILENCE: Duration = Duration::from_secs(4);
/// How long a rank that ends waits for counts of what it sent through relays.
const LINGER: Duration = Duration::from_millis(500);

impl Tcp {
    /// Hands what arrived to `sink`; true when anything moved.
    #[inline(never)]
    pub fn poll(&mut self, sink: &mut impl Sink) -> bool {
        self.turn = self.turn.wrapping_add(1);
        let mut moved = false;
        if !self.pending.is_empty() {
            moved |= self.flush();
        }
        // Whoever brought something last is asked first: one system call instead of two. The others' turn comes by
        // epoll, which costs the same for one connection as for a thousand.
        if self.hot != NONE {
            if self.read(self.hot, sink) {
                self.misses = 0;
                moved = true;
            } else {
                self.misses += 1;
                if self.misses > COOL {
                    self.hot = NONE;
                }
            }
        }
        // With one connection there is little that epoll alone could tell.
        let often = if self.open > 1 { 4 } else { 32 };
        if self.hot == NONE || self.turn.is_multiple_of(often) {
            moved |= self.look(sink);
        }
        if self.open > self.budget && self.turn.is_multiple_of(32) {
            self.relax();
        }
        if !(self.failed.is_empty() && self.dialling.is_empty() && self.meetings.is_empty())
            || self.greeting > 0
            || self.rests.is_some()
            || self.vigil.is_some()
        {
            self.tick(sink);
        }
        if self.turn.is_multiple_of(SELDOM) {
            self.look_for_silence();
        }
        moved
    }

    /// Now and then, however this rank waits: ends connections whose other machine has gone without a word. What is
    /// idle the kernel asks itself.
    fn look_for_silence(&mut self) {
        let now = Instant::now();
        if now < self.looked + OFTEN {
            return;
        }
        self.looked = now;
        for (at, link) in (0..).zip(&mut self.links) {
            let Some(link) = link.as_deref_mut().filter(|l| l.stage == Stage::Ready) else {
                continue;
            };
            let Some(silence) = net::unanswered(&link.fd) else {
                link.unheard = None;
                continue;
            };
            let since = *link.unheard.get_or_insert(now);
            let limit = match link.path {
                Path::Relayed => RELAY_SILENCE,
                _ => SILENCE,
            };
            if now - since >= limit && link.broken.is_none() {
                let seconds = silence.as_secs();
                link.broken = Some(format!("its machine has not answered for {seconds} s"));
                self.failed.push(at);
            }
        }
    }

    /// Handles what epoll tells.
    fn look(&mut self, sink: &mut impl Sink) -> bool {
        let mut events = [Event { events: 0, u64: 0 }; 64];
        let count = self.epoll.wait(&mut events, 0).len();
        let mut moved = false;
        for event in &events[..count] {
            match event.u64 {
                LISTENER => self.accept(sink),
                WAKE => (),
                BELL => self.read_notes(),
                data => {
                    let at = data as u32;
                    let id = (data >> 32) as u32;
                    let stage = match self.links.get(at as usize) {
                        Some(Some(link)) if link.id == id => link.stage,
                        _ => continue,
                    };
                    if stage == Stage::Connecting {
                        self.connected(at);
                        continue;
                    }
                    if event.events & !(libc::EPOLLOUT as u32) != 0 && self.read(at, sink) {
                        moved = true;
                        if self.links[at as usize].is_some() {
                            self.hot = at;
                            self.misses = 0;
                        }
                    }
                }
            }
        }
        moved
    }

    /// Sends what waits, as far as it goes.
    pub(super) fn flush(&mut self) -> bool {
        let mut moved = false;
        let mut i = 0;
        while i < self.pending.len() {
            let at = self.pending[i];
            let Some(link) = &mut self.links[at as usize] else {
                self.pending.swap_remove(i);
                continue;
            };
            let before = link.left();
            if let Err(error) = link.flush(&mut self.pool) {
                link.broken = Some(error.to_string());
                link.pending = false;
                self.failed.push(at);
                self.pending.swap_remove(i);
                continue;
            }
            let after = link.left();
            moved |= after < before;
            if after == 0 {
                link.pending = false;
                if link.writes {
                    link.writes = false;
                    let _ = self.epoll.change(link.fd.0, data(at, link.id), true, false);
                }
                self.pending.swap_remove(i);
                if link.rests() || link.tired {
                    self.rested(at);
                }
            } else {
                i += 1;
            }
        }
        moved
    }

    /// Reads once from a connection; false when there was nothing.
    pub(super) fn read(&mut self, at: u32, sink: &mut impl Sink) -> bool {
        let Some(link) = &mut self.links[at as usize] else {
            return false;
        };
        if link.inside.is_some() {
            let got = self.read_inside(at, sink);
            return self.came(at, got, sink);
        }
        let got = match &mut link.seal {
            Seal::Channel(channel) => channel.receive(&link.fd, &mut self.pool),
            Seal::None | Seal::Begun(_) => {
                let brief = link.brief && link.input.is_empty();
                let rest = link.input.rest(link.frame, &mut self.pool);
                let most = match brief {
                    true => BRIEF,
                    false => rest.len().min(link.frame.max(READ)),
                };
                let got = net::receive(&link.fd, &mut rest[..most]);
                link.input.commit(*got.as_ref().unwrap_or(&0));
                got
            }
        };
        self.came(at, got, sink)
    }

    /// So many bytes came, or none; false when there was nothing.
    #[inline]
    fn came(&mut self, at: u32, got: io::Result<usize>, sink: &mut impl Sink) -> bool {
        match got {
            Ok(0) => {
                self.ended(at, "it closed the connection", sink);
                true
            }
            Ok(_) => {
                self.digest(at, sink);
                true
            }
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                if let Some(link) = &mut self.links[at as usize] {
                    link.input.consume(0, &mut self.pool);
                }
                false
            }
            Err(e) => {
                self.ended(at, &e.to_string(), sink);
                true
            }
        }
    }

    /// Opens what is sealed, goes on with the greeting, hands out frames: as far as the bytes go.
    fn digest(&mut self, at: u32, sink: &mut impl Sink) {
        loop {
            let Some(link) = &mut self.links[at as usize] else {
                return;
            };
            if let Seal::Channel(channel) = &mut link.seal {
                match channel.open(&mut link.input, &mut self.pool) {
                    Ok(true) => (),
                    Ok(false) => return,
                    Err(why) => return self.ended(at, why, sink),
                }
            }
            if link.stage == Stage::Ready || self.greet(at) {
                self.frames(at, sink);
            }
            // Records behind those that filled the input; or the first ones, which came with the end of the handshake.
            let sealed = |l: &Link| matches!(l.seal, Seal::Channel(_));
            let link = self.links[at as usize].as_deref();
            if !(link.is_some_and(sealed)) {
                return;
            }
        }
    }

    /// Hands the whole frames among the bytes to the sink.
    fn frames(&mut self, at: u32, sink: &mut impl Sink) {
        let Some(link) = &mut self.links[at as usize] else {
            return;
        };
        let link = &mut **link;
        if link.inside.is_some() {
            return;
        }
        let bytes = link.input.bytes();
        let mut done = 0;
        let mut counts = 0;
        let mut nonsense = None;
        let mut goodbye = false;
        let mut rest = false;
        let mut inside = None;
        let mut renamed = None;
        let is_empty = bytes.is_empty();
        let mut long = false;
        link.frame = HEADER;
        while let Some(head) = bytes[done..].first_chunk::<HEADER>() {
            let Some(header) = Header::decode(head).filter(|h| h.length as usize <= MAX_PAYLOAD)
            else {
                done += HEADER;
                if let (Some(lane), Some(count)) = (&mut link.lane, Count::decode(head)) {
                    counts += HEADER;
                    link.closes |= count.closes;
                    match lane.confirm(count) {
                        Ok(()) => continue,
                        Err(why) => nonsense = Some(why),
                    }
                } else if rest::is(head) && (bytes.len() == done || link.lane.is_some()) {
                    // No frame comes after a rest.
                    rest = true;
                    if link.lane.is_some() {
                        continue;
                    }
                } else {
                    nonsense = Some("it sent what is no frame");
                }
                break;
            };
            let total = HEADER + header.length as usize;
            let Some(frame) = bytes.get(done..done + total) else {
                let part = &bytes[done + HEADER..];
                long |= total >= LONG;
                if link.is_plain() {
                    let begun = direct::begin(PeerId(link.peer), &header, part, sink);
                    (inside, renamed) = (begun.inside, begun.renamed);
                }
                match inside {
                    Some(_) => done = bytes.len(),
                    None => link.frame = total,
                }
                break;
            };
            if header.kind == Kind::Goodbye {
                self.peers[link.peer as usize].goodbye = true;
                goodbye = true;
            }
            sink.frame(PeerId(link.peer), &header, &frame[HEADER..]);
            long |= total >= LONG;
            done += total;
        }
        if let (Some(header), None) = (renamed, inside) {
            link.input.bytes_mut()[done..done + HEADER].copy_from_slice(&header.encode());
        }
        // Where nothing came it stays as it was.
        link.brief = (long || (link.brief && is_empty)) && link.is_plain();
        link.input.consume(done, &mut self.pool);
        if inside.is_some() {
            link.inside = inside;
        }
        link.used = self.turn;
        link.rest_came |= rest;
        let mut over = rest;
        if let Some(lane) = &mut link.lane {
            lane.count(done - counts, rest || goodbye);
            over |= counts > 0 && link.rests();
            if !link.pending && !link.sent() {
                link.pending = true;
                self.pending.push(at);
            }
        }
        if let Some(why) = nonsense {
            self.ended(at, why, sink);
        } else if over {
            self.rested(at);
        }
    }

    /// A connection is over. What the peer still has under way on its other one is read before it counts as lost.
    fn ended(&mut self, at: u32, why: &str, sink: &mut impl Sink) {
        if self.put_to_rest(at) {
            return;
        }
        let Some(link) = self.remove(at) else { return };
        if link.stage != Stage::Ready {
            self.ungreeted(at, &link, why);
            return;
        }
        if self.can_mend(&link) {
            let why = link.broken.as_deref().unwrap_or(why);
            return self.mend(at, &link, why);
        }
        let p = &mut self.peers[link.peer as usize];
        p.gone = true;
        p.mend = None;
        p.out = NONE;
        for other in std::mem::take(&mut p.ready) {
            if other == at {
                continue;
            }
            for _ in 0..4096 {
                if !self.read(other, sink) {
                    break;
                }
            }
            self.remove(other);
        }
        self.end_meeting(link.peer);
        if let Some(dial) = self.peers[link.peer as usize].dial.take() {
            self.dialling.retain(|d| *d != link.peer);
            if dial.link() != NONE {
                self.remove(dial.link());
            }
        }
        let p = &mut self.peers[link.peer as usize];
        p.out = NONE;
        p.ready.clear();
        if !p.goodbye {
            let why = link.broken.as_deref().unwrap_or(why);
            let why = match link.path {
                Path::Relayed => format!(
                    "relayed, and the relay or the rank ended: {why} ({})",
                    link.at
                ),
                _ => format!("{why} ({})", link.at),
            };
            self.losses.push((PeerId(link.peer), why));
            // Said once, whichever connection ends first.
            self.peers[link.peer as usize].goodbye = true;
        }
    }

    /// Puts a connection in its place.
    pub(super) fn insert(&mut self, mut link: Link, write: bool) -> io::Result<u32> {
        let at = match self.links.iter().position(Option::is_none) {
            Some(at) => at,
            None => {
                self.links.push(None);
                self.links.len() - 1
            }
        };
        self.next_id = self.next_id.wrapping_add(1) & 0x7fff_ffff;
        link.id = self.next_id;
        link.used = self.turn;
        self.epoll
            .add(link.fd.0, data(at as u32, link.id), !write, write)?;
        self.greeting += 1;
        self.open += 1;
        self.links[at] = Some(Box::new(link));
        if self.open > self.budget {
            self.relax();
        }
        Ok(at as u32)
    }

    /// Closes a connection.
    pub(super) fn remove(&mut self, at: u32) -> Option<Box<Link>> {
        let mut link = self.links[at as usize].take()?;
        if let Some(lane) = link.lane.take() {
            self.peers[link.peer as usize].lane = Some(lane);
        }
        self.epoll.remove(link.fd.0);
        self.open -= 1;
        self.freed = Instant::now();
        if link.stage != Stage::Ready {
            self.greeting -= 1;
        }
        self.pending.retain(|p| *p != at);
        self.failed.retain(|f| *f != at);
        if self.hot == at {
            self.hot = NONE;
        }
        Some(link)
    }

    /// What time brings: connections whose writing failed, attempts and greetings that take too long.
    fn tick(&mut self, sink: &mut impl Sink) {
        for at in std::mem::take(&mut self.failed) {
            // Its last words first; the end of them is the end of the connection.
            for _ in 0..4096 {
                if self.links[at as usize].is_none() || !self.read(at, sink) {
                    break;
                }
            }
            if self.links[at as usize].is_some() {
                self.ended(at, "writing to it failed", sink);
            }
        }
        if self.greeting == 0
            && self.dialling.is_empty()
            && self.meetings.is_empty()
            && self.rests.is_none()
            && self.vigil.is_none()
        {
            return;
        }
        let now = Instant::now();
        if self.rests.is_some_and(|until| now >= until) {
            self.rests = None;
            let _ = self.epoll.add(self.listener.0, LISTENER, true, false);
        }
        self.late(now, sink);
        self.redial(now);
        self.meet(now);
    }

    /// Waits until something can be read, or written where it must, or `limit` has passed.
    pub fn wait(&mut self, limit: Duration) {
        let mut limit = limit;
        if !self.lie_down(&mut limit) {
            return;
        }
        let milliseconds = limit.as_nanos().div_ceil(1_000_000).min(3_600_000) as i32;
        let mut events = [Event { events: 0, u64: 0 }; 4];
        self.epoll.wait(&mut events, milliseconds);
        self.get_up();
    }

    /// Prepares for a sleep that [`Tcp::events_fd`] ends, and shortens it so that nothing is late; false: nobody should
    /// sleep now.
    pub fn lie_down(&mut self, limit: &mut Duration) -> bool {
        if !self.failed.is_empty() || !self.losses.is_empty() {
            return false;
        }
        for &at in &self.pending {
            if let Some(link) = &mut self.links[at as usize] {
                if !link.writes {
                    link.writes = true;
                    let _ = self.epoll.change(link.fd.0, data(at, link.id), true, true);
                }
            }
        }
        if let Some(next) = self.next_tick() {
            *limit = (*limit).min(next.saturating_duration_since(Instant::now()));
        }
        if self.open > 0 {
            *limit = (*limit).min(OFTEN);
        }
        true
    }

    /// After a sleep: the next poll looks at all, not at the favourite.
    pub fn get_up(&mut self) {
        self.look_for_silence();
        self.turn = 31;
    }

    /// Readable when there is something to do for a poll.
    pub fn events_fd(&self) -> i32 {
        self.epoll.fd()
    }

    /// When [`Tcp::tick`] has something to do by the clock.
    fn next_tick(&self) -> Option<Instant> {
        let mut next = self.rests;
        let mut sooner = |t: Instant| next = Some(next.map_or(t, |n| n.min(t)));
        for &peer in &self.dialling {
            if let Some(dial) = &self.peers[peer as usize].dial {
                sooner(dial.next_tick());
            }
        }
        for &peer in &self.meetings {
            if let Some(meeting) = &self.peers[peer as usize].meeting {
                sooner(meeting.next_tick());
            }
        }
        if let Some(vigil) = &self.vigil {
            sooner(vigil.next_tick());
        }
        if self.greeting > 0 {
            for link in self.links.iter().flatten() {
                if door::is_timed(link) {
                    sooner(link.since + door::PATIENCE);
                }
            }
        }
        next
    }

    /// Flushes for at most this long and closes all.
    pub fn close(&mut self, limit: Duration) {
        struct Deaf;
        impl Sink for Deaf {
            fn frame(&mut self, _: PeerId, _: &Header, _: &[u8]) {}
            fn finished(&mut self, _: u64, _: bool) {}
            fn lost(&mut self, _: PeerId, _: &str) {}
        }
        let end = Instant::now() + limit;
        let linger = Instant::now() + limit.min(LINGER);
        loop {
            let now = Instant::now();
            if now >= end || self.idle() && (now >= linger || self.settled()) {
                break;
            }
            self.wait(Duration::from_millis(20));
            self.poll(&mut Deaf);
        }
        for at in 0..self.links.len() as u32 {
            if let Some(link) = &mut self.links[at as usize] {
                link.say_closed(&mut self.pool);
                net::finish(&link.fd);
            }
            // Unread bytes would turn the close into a reset, which may overtake what was sent last.
            for _ in 0..64 {
                if self.links[at as usize].is_none() || !self.read(at, &mut Deaf) {
                    break;
                }
            }
        }
        self.links.clear();
        self.hot = NONE;
        self.failed.clear();
        self.open = 0;
        self.pending.clear();
        self.dialling.clear();
        self.meetings.clear();
        self.vigil = None;
        self.greeting = 0;
        for p in &mut self.peers {
            p.out = NONE;
            p.ready.clear();
            p.dial = None;
            p.meeting = None;
            p.mend = None;
            p.lane = None;
            p.gone = true;
        }
    }
}
