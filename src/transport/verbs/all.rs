//! All links of a rank by verbs, with the face that shared memory and TCP have.

use crate::base::config::Config;
use crate::base::id::PeerId;
use crate::transport::onesided::{Access, Atomic, Begun, Way};
use crate::transport::tcp::Keys;
use crate::transport::verbs::device::{self, Atomics, Wish};
use crate::transport::verbs::frame::What;
use crate::transport::verbs::link::Stage;
use crate::transport::verbs::meet::Settings;
use crate::transport::verbs::memory::Hold as Registration;
use crate::transport::verbs::peer::{ATOMICS, READS, WRITES};
use crate::transport::verbs::reception::{Able, Reception};
use crate::transport::verbs::sleep::{Bed, Who};
use crate::transport::verbs::sys::{Channel, Fork, Gone, Pd, Watch};
use crate::transport::verbs::traffic::{Ground, Traffic};
use crate::transport::verbs::ud::{Port, Ud};
use crate::transport::{Options, Sent, Sink};
use crate::wire::address::Address;
use crate::wire::frame::Header;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Polls between two looks at hellos while nobody is asked, and between two looks at the device's own news.
const HELLOS: u32 = 32;
const NEWS: u32 = 4096;
/// Between two looks of one who sleeps elsewhere.
const GLANCES: Duration = Duration::from_millis(500);
/// Bytes of a read or write that a software device moves at a time: its retries begin anew with each.
const PART: usize = 1 << 20;
/// And any other.
const LARGE: usize = 1 << 30;
/// What a poll is worth, in looks at memory: on a card little. In software whoever polls keeps the processor from the
/// kernel's thread that does the device's work, so it is yielded now and then, and given up soon; not sooner than a sleep and
/// its end take, or two ranks that once slept would do so for every message.
const EFFORT: [u32; 2] = [2, 5];

/// See the file's head.
pub struct Verbs {
    /// How large messages come.
    way: Way,
    traffic: Traffic,
    reception: Reception,
    bed: Bed,
    watch: Watch,
    /// When somebody who sleeps elsewhere looked at it last.
    glanced: Instant,
    /// The device is gone, and why.
    gone: Option<String>,
    software: bool,
    /// Peers that came before they were introduced.
    pub(in crate::transport) wanted: Vec<PeerId>,
    /// Peers to which nothing goes by verbs, and nothing went, and why.
    pub(in crate::transport) refused: Vec<(PeerId, String)>,
    pub(in crate::transport) losses: Vec<(PeerId, String)>,
}

/// How large messages come, if `MAYFLY_VERBS_RNDV` says so.
fn way(config: &Config) -> Result<Option<Way>, String> {
    match config.verbs_rndv.as_str() {
        "" => Ok(None),
        "get" => Ok(Some(Way::Get)),
        "put" => Ok(Some(Way::Put)),
        "pieces" => Ok(Some(Way::Pieces)),
        other => Err(format!(
            "MAYFLY_VERBS_RNDV={other} is none of get, put, pieces"
        )),
    }
}

impl Verbs {
    /// Opens the device; `Ok(None)` where there is none. `spare`: peers can be reached otherwise, too.
    ///
    /// # Errors
    /// One line: there is a device, and it cannot be used.
    pub fn open(
        options: &Options,
        keys: Option<Arc<Keys>>,
        spare: bool,
    ) -> Result<Option<Verbs>, String> {
        let way = way(options.config)?;
        let Some(opened) = device::open(&Wish::of(options.config)?)? else {
            return Ok(None);
        };
        let limits = &opened.limits;
        let context = &opened.context;
        if limits.receives == 0 {
            return Err(format!(
                "{} has no shared receive queues, which Mayfly needs",
                context.name()
            ));
        }
        let pd = Pd::new(context)?;
        let channel = Channel::new(context)?;
        let rings = match options.config.verbs_eager.as_str() {
            // In software a write is less work than a send.
            "" => limits.software,
            "send" => false,
            "ring" => true,
            other => return Err(format!("MAYFLY_VERBS_EAGER={other} is none of ring, send")),
        };
        // A read costs its device one way more, and a device in software a turn of the kernel's thread.
        let way = way.unwrap_or(match limits.software {
            true => Way::Put,
            false => Way::Get,
        });
        // In pieces mode nothing but sends is used.
        let rdma = way != Way::Pieces;
        let most = if limits.software { PART } else { LARGE };
        let ground = Ground {
            pd: pd.clone(),
            channel: channel.clone(),
            port: opened.port,
            requests: limits.sends,
            shared_requests: limits.receives,
            completions: limits.completions,
            regions: limits.regions,
            rings: rdma && rings,
            part: most.min(limits.message as usize).max(4096),
            fork_safe: limits.fork != Fork::Unsafe,
            reads: rdma && limits.reads_here > 0,
            writes: rdma,
            atomics: rdma && limits.atomics != Atomics::No,
        };
        let traffic = Traffic::new(options.me.0, options.size, ground)?;
        let port = Port {
            number: opened.port,
            fabric: opened.fabric,
            lid: opened.lid,
            gid: opened.gid.gid,
            index: opened.gid.index,
            mtu: opened.mtu,
        };
        let able = Able {
            reads_here: limits.reads_here.min(16),
            reads_there: limits.reads_there.min(16),
            software: limits.software,
        };
        let settings = Settings {
            me: options.me.0,
            job: options.job,
            token: options.token,
            keys,
            mtu: opened.mtu,
            reads: able.reads_here,
            patience: options.config.connect_timeout,
            spare,
        };
        let ud = Ud::open(&pd, &channel, port)?;
        let bed = Bed::new().map_err(|e| format!("epoll_create1: {e}"))?;
        let watch = Watch::new(context);
        let lying = |e: std::io::Error| format!("epoll_ctl: {e}");
        bed.watch(channel.fd(), Who::Channel).map_err(lying)?;
        for fd in watch.descriptors() {
            bed.watch(fd, Who::Device).map_err(lying)?;
        }
        Ok(Some(Verbs {
            way,
            traffic,
            reception: Reception::new(ud, port, able, settings),
            bed,
            watch,
            glanced: Instant::now(),
            gone: None,
            software: limits.software,
            wanted: Vec::new(),
            refused: Vec::new(),
            losses: Vec::new(),
        }))
    }

    /// Writes how this rank is reached.
    pub fn describe(&self, address: &mut Address) {
        let ground = &self.traffic.ground;
        let can = |able: bool, what: u32| if able { what as u8 } else { 0 };
        let modes =
            can(ground.reads, READS) | can(ground.writes, WRITES) | can(ground.atomics, ATOMICS);
        address.verbs = Some(self.reception.address(modes));
    }

    /// Device and port, as `MAYFLY_VERBS_DEVICE` names them.
    pub fn name(&self) -> String {
        let ground = &self.traffic.ground;
        format!("{}:{}", ground.pd.context().name(), ground.port)
    }

    /// Takes a peer's address in.
    pub fn introduce(&mut self, peer: PeerId, address: &Address) {
        self.reception.introduce(peer, address);
    }

    /// This descriptor ends sleeps too.
    ///
    /// # Errors
    /// The system's.
    pub fn watch(&self, fd: i32) -> std::io::Result<()> {
        self.bed.watch(fd, Who::Other)
    }

    /// The largest payload of a frame, bytes.
    pub fn max_payload(&self) -> usize {
        Traffic::max_payload()
    }

    /// Is there, or will there be, any connection?
    pub fn used(&self) -> bool {
        !self.traffic.pairs.is_empty() || self.reception.asks()
    }

    /// Why there is no device any more, when nothing is under way by it and nothing to be said of it: it can be closed.
    #[inline]
    pub fn is_over(&self) -> Option<&str> {
        let why = self.gone.as_deref()?;
        (!self.used() && self.losses.is_empty() && self.refused.is_empty()).then_some(why)
    }

    /// What a poll is worth, in looks at memory.
    #[inline]
    pub fn effort(&self) -> u32 {
        EFFORT[usize::from(self.software && self.used())]
    }

    /// Not a part of its callers, as all that is more than a look at memory: the common path stays short.
    #[inline(never)]
    pub fn send(&mut self, peer: PeerId, header: &Header, fill: impl FnOnce(&mut [u8])) -> Sent {
        let sent = self.traffic.send(peer.0, header, fill);
        if sent == Sent::Busy {
            self.meet(peer);
        }
        sent
    }

    /// Nothing can be sent yet, perhaps because the peer was never met.
    #[cold]
    fn meet(&mut self, peer: PeerId) {
        if self.traffic.is_new(peer.0) {
            self.reception.want(peer, &mut self.traffic);
        }
    }

    /// Hands what arrived to `sink`; true when anything moved.
    #[inline(never)]
    pub fn poll(&mut self, sink: &mut impl Sink) -> bool {
        let mut moved = self.traffic.poll(sink);
        let turn = self.traffic.turn;
        if turn.is_multiple_of(HELLOS)
            || self.reception.asks()
            || self.traffic.pairs.is_empty()
            || !self.traffic.heard.is_empty()
        {
            moved |= self.receive();
        }
        if turn.is_multiple_of(NEWS) {
            self.traffic.memory.tidy();
            self.listen();
        }
        if !self.traffic.losses.is_empty() {
            for (peer, _) in &self.traffic.losses {
                self.reception.forget(*peer);
            }
            self.losses.append(&mut self.traffic.losses);
        }
        moved
    }

    /// Looks after those who meet.
    #[inline(never)]
    fn receive(&mut self) -> bool {
        let mut moved = self.reception.poll(&mut self.traffic);
        while let Some(peer) = self.traffic.heard.pop() {
            self.reception.heard(PeerId(peer), &mut self.traffic);
            moved = true;
        }
        self.wanted.append(&mut self.reception.wanted());
        self.refused.append(&mut self.reception.refused);
        moved
    }

    /// For who sleeps elsewhere: looks now and then whether the device is still there. True when it is gone.
    pub fn glance(&mut self) -> bool {
        let now = Instant::now();
        if now - self.glanced >= GLANCES {
            self.glanced = now;
            self.listen();
        }
        self.gone.is_some()
    }

    /// What the device says by itself, and whether it is still there.
    #[cold]
    fn listen(&mut self) {
        while let Some(gone) = self.watch.look() {
            match gone {
                Gone::Pair(number, why) => {
                    if let Some(peer) = self.traffic.pairs.get(&number).copied() {
                        self.traffic.breaks(peer, why.to_string());
                    }
                }
                Gone::Device(why) => {
                    self.traffic.fail_all(&why);
                    // It will not come back.
                    self.gone = Some(why);
                    return;
                }
            }
        }
    }

    /// Has all that was taken been handed to the device?
    pub fn idle(&self) -> bool {
        !self.traffic.operations.press()
    }

    /// How large messages come from this peer.
    pub fn way(&self, peer: PeerId) -> Way {
        let abilities = match &self.traffic.links[peer.0 as usize] {
            Some(link) if link.stage == Stage::Connected => link.theirs.abilities,
            _ => READS | WRITES,
        };
        match self.way {
            Way::Get if abilities & READS == 0 => Way::Pieces,
            Way::Put if !self.traffic.ground.writes => Way::Pieces,
            way => way,
        }
    }

    /// Lets peers reach memory of this rank: its key, and what to conceal.
    pub fn expose(
        &mut self,
        address: *mut u8,
        length: usize,
        access: Access,
    ) -> Option<(u32, Registration)> {
        self.traffic.expose(address, length, access)
    }

    pub fn conceal(&mut self, registration: Registration) {
        self.traffic.conceal(registration);
    }

    pub fn get(
        &mut self,
        peer: PeerId,
        into: *mut u8,
        remote: u64,
        key: u32,
        length: usize,
        token: u64,
    ) -> Begun {
        self.met(peer, |traffic| {
            traffic.transfer(peer.0, true, into, remote, key, length, token)
        })
    }

    pub fn put(
        &mut self,
        peer: PeerId,
        from: *const u8,
        remote: u64,
        key: u32,
        length: usize,
        token: u64,
    ) -> Begun {
        self.met(peer, |traffic| {
            traffic.transfer(peer.0, false, from.cast_mut(), remote, key, length, token)
        })
    }

    pub fn atomic(
        &mut self,
        peer: PeerId,
        what: Atomic,
        remote: u64,
        key: u32,
        into: *mut u64,
        token: u64,
    ) -> Begun {
        self.met(peer, |traffic| {
            traffic.atomic(peer.0, what, remote, key, into, token)
        })
    }

    /// Begins something with a peer that has to be met first, perhaps.
    fn met(&mut self, peer: PeerId, begin: impl FnOnce(&mut Traffic) -> Begun) -> Begun {
        if self.way == Way::Pieces {
            return Begun::No;
        }
        if self.way == Way::Pieces {
            return Begun::No;
        }
        if self.traffic.is_new(peer.0) {
            self.meet(peer);
            return Begun::Busy;
        }
        begin(&mut self.traffic)
    }

    /// Looks whether this peer is there, if it was met.
    pub fn probe(&mut self, peer: PeerId) {
        self.traffic.probe(peer.0);
    }

    /// Others have said that this peer is gone. From here on it reaches nothing: its queue pair is no more.
    pub fn give_up(&mut self, peer: PeerId) {
        self.reception.forget(peer);
        self.traffic
            .breaks(peer.0, "others have said that it is gone".to_string());
        self.traffic.bury();
    }

    /// Prepares for a sleep; false: there is something to do. [`Verbs::rise`] must follow.
    pub fn arm(&mut self) -> bool {
        if !self.losses.is_empty() || !self.refused.is_empty() || !self.wanted.is_empty() {
            return false;
        }
        match self.reception.arm() {
            Ok(quiet) => quiet && self.traffic.arm(),
            Err(why) => {
                self.traffic.fail_all(&why);
                false
            }
        }
    }

    /// The longest that a sleep may take.
    pub fn nap(&mut self, limit: Duration) -> Duration {
        let limit = self.traffic.nap(limit);
        self.reception.nap(limit)
    }

    /// Sleeps until something may have arrived, or a watched descriptor is readable.
    pub fn wait(&mut self, limit: Duration) {
        let woken = self.bed.wait(limit);
        if woken.channel {
            self.traffic.rise();
        }
        if woken.device {
            self.listen();
        }
    }

    /// After a sleep, or after one that was not to be.
    pub fn rise(&mut self) {
        // The next poll looks at hellos.
        self.traffic.turn = HELLOS - 1;
    }

    /// Says so to those who are connected, waits at most this long until everything that was sent is there, and closes
    /// all.
    pub fn close(&mut self, limit: Duration) {
        struct Deaf;
        impl Sink for Deaf {
            fn frame(&mut self, _: PeerId, _: &Header, _: &[u8]) {}
            fn finished(&mut self, _: u64, _: bool) {}
            fn lost(&mut self, _: PeerId, _: &str) {}
        }
        let end = Instant::now() + limit;
        loop {
            self.traffic.poll(&mut Deaf);
            if self.traffic.part() || Instant::now() >= end {
                break;
            }
            if self.traffic.arm() {
                self.wait(Duration::from_millis(20));
            }
        }
        for peer in 0..self.traffic.links.len() as u32 {
            self.traffic.remove(peer);
        }
        self.losses.clear();
        self.traffic.memory.close();
    }
}

impl Traffic {
    /// Is this peer one with whom there is no connection yet?
    #[inline]
    pub fn is_new(&self, peer: u32) -> bool {
        match &self.links[peer as usize] {
            Some(link) => link.stage == Stage::Prepared,
            None => !self.gone[peer as usize],
        }
    }

    /// Says the end to everybody; true when that and all before has arrived, where somebody is there to get it.
    fn part(&mut self) -> bool {
        let mut parted = true;
        for peer in 0..self.links.len() as u32 {
            let Some(link) = &self.links[peer as usize] else {
                continue;
            };
            if link.stage != Stage::Connected {
                continue;
            }
            if !link.said_bye && self.tell(peer, What::Bye) {
                if let Some(link) = &mut self.links[peer as usize] {
                    link.said_bye = true;
                }
            }
            let link = &self.links[peer as usize];
            parted &= link
                .as_ref()
                .is_none_or(|l| l.stage != Stage::Connected || (l.said_bye && l.queue.is_empty()));
        }
        parted
    }
}
