//! Which transport a pair takes: shared memory when both are on one machine, the segment opens and its nonce is the
//! announced one; else verbs, when both have a port of one fabric, which the first exchange has to prove; else TCP.
//! `MAYFLY_TRANSPORT` narrows the choice.

use crate::base::config::Config;
use crate::base::error::Result;
use crate::base::id::PeerId;
use crate::base::span;
use crate::transport::links::{Links, Route};
use crate::transport::Known;

use crate::wire::address::{Address, Segment};
use crate::{fail, info};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// With more peers on the machine, segments are mapped on first use only.
const EAGER: usize = 64;

/// What `MAYFLY_TRANSPORT` allows.
pub struct Allowed {
    pub shm: bool,
    pub tcp: bool,
    pub verbs: bool,
    /// Verbs are asked for by name.
    pub insists: bool,
}

impl Allowed {
    pub fn of(config: &Config) -> Result<Allowed> {
        let has = |name: &str| config.transports.iter().any(|t| t == name);
        let none = config.transports.is_empty();
        if let Some(other) = config
            .transports
            .iter()
            .find(|t| !matches!(t.as_str(), "shm" | "tcp" | "verbs"))
        {
            fail!(
                Arg,
                "MAYFLY_TRANSPORT={} names {other:?}, which is none of shm, verbs, tcp",
                config.transports.join(",")
            );
        }
        Ok(Allowed {
            shm: none || has("shm"),
            tcp: none || has("tcp"),
            verbs: none || has("verbs"),
            insists: has("verbs"),
        })
    }
}

/// Why this rank lacks a transport.
#[derive(Default)]
pub struct Without {
    pub shm: String,
    pub tcp: String,
    pub verbs: String,
    /// That there are no verbs is what everybody expects.
    pub silent: bool,
}

impl Links {
    /// Takes everybody's address, by rank.
    ///
    /// # Errors
    /// `Intern` when one is malformed, `Other` when a pair has no transport in common; both name the ranks.
    pub fn introduce(&mut self, addresses: Vec<Vec<u8>>) -> Result<()> {
        let size = self.routes.len();
        if addresses.len() != size {
            fail!(Intern, "{} addresses for {size} ranks", addresses.len());
        }
        let mut known = Known::none_of(size as u32);
        for (rank, bytes) in (0..).zip(&addresses) {
            known.add(rank, bytes);
        }
        self.known = known;
        self.present_early();
        let Some(local) = self.near_ones()? else {
            return Ok(());
        };
        let lazily = local.iter().filter(|near| **near).count() > EAGER;
        let others = (0..size as u32).filter(|r| *r != self.me.0);
        self.settle(others.map(|r| (r, lazily && local[r as usize])).collect())
    }

    /// Takes the addresses of a few, with their ranks: all that this rank speaks to until it knows the others.
    ///
    /// # Errors
    /// As those of [`Links::introduce`].
    pub fn introduce_few(&mut self, few: &[(u32, Vec<u8>)]) -> Result<()> {
        if self.mine.is_none() {
            return Ok(());
        }
        let mut known = Known::none_of(self.routes.len() as u32);
        for (rank, bytes) in few {
            known.add(*rank, bytes);
        }
        self.known = known;
        self.present_early();
        let others = few.iter().map(|(rank, _)| *rank);
        self.settle(
            others
                .filter(|r| *r != self.me.0)
                .map(|r| (r, false))
                .collect(),
        )
    }

    /// Takes the complete table. Who is not known yet is looked at when first spoken to.
    ///
    /// # Errors
    /// `Intern` when it is not of this job's size or an address in it is malformed.
    pub fn introduce_all(&mut self, known: Known) -> Result<()> {
        if known.ranks() as usize != self.routes.len() || !known.is_complete() {
            fail!(
                Intern,
                "a table of {} ranks for {}",
                known.ranks(),
                self.routes.len()
            );
        }
        self.known = known;
        self.present_early();
        self.near_ones().map(drop)
    }

    /// Says in this rank's address whether all ranks are on one machine, and are more than that has processors; and its
    /// settings of collectives.
    pub fn say_where(&mut self, near: bool, crowded: bool, limits: Vec<(u8, u64)>) {
        if let Some(mine) = &mut self.mine {
            mine.limits = limits;
            (mine.near, mine.crowded) = (near, crowded);
        }
    }

    /// Rank 0's settings of collectives. Only when everybody is known.
    pub fn said_limits(&self) -> Vec<(u8, u64)> {
        let first = self.known.address(PeerId(0));
        first.map_or_else(|_| Vec::new(), |first| first.limits)
    }

    /// What rank 0 said of that, which is what all go by. Only when everybody is known.
    pub fn said_where(&self) -> (bool, bool) {
        let first = self.known.address(PeerId(0));
        first.map_or((false, false), |first| (first.near, first.crowded))
    }

    /// May two of these be on one machine? All ranks answer alike, for all know the same addresses.
    pub fn share_machines(&self, peers: &[PeerId]) -> bool {
        let boots = peers
            .iter()
            .map(|&peer| self.known.address(peer).map(|address| address.boot));
        let mut known = BTreeSet::new();
        boots
            .into_iter()
            .any(|boot| boot.map_or(true, |boot| !known.insert(boot)))
    }

    /// May it be on this machine? A look at its address.
    pub fn may_be_near(&self, peer: PeerId) -> bool {
        match (&self.mine, self.known.address(peer)) {
            (Some(mine), Ok(address)) => near(mine, &address),
            _ => false,
        }
    }

    /// Introduces to TCP those who came by it before this rank spoke to them, as far as their addresses are known.
    #[cold]
    pub(super) fn present(&mut self) {
        let (Some(mine), Some(tcp)) = (&self.mine, &mut self.tcp) else {
            return;
        };
        for peer in std::mem::take(&mut tcp.wanted) {
            match self.known.address(peer) {
                // An error: there is no way to it, but it found one.
                Ok(address) => drop(tcp.introduce(peer, &address, shares(mine, &address))),
                Err(_) => self.early.push(peer),
            }
        }
    }

    /// More is known than before.
    fn present_early(&mut self) {
        if let Some(tcp) = &mut self.tcp {
            tcp.wanted.append(&mut self.early);
        }
        self.present();
    }

    /// Who may be on this machine, by rank; tells shared memory how many. `None` on a simulated network, which needs no
    /// addresses.
    fn near_ones(&mut self) -> Result<Option<Vec<bool>>> {
        let Some(mine) = &self.mine else {
            return Ok(None);
        };
        let mut local = Vec::with_capacity(self.routes.len());
        for rank in 0..self.routes.len() as u32 {
            match self.known.address(PeerId(rank)) {
                Ok(address) => local.push(rank != mine.rank && near(mine, &address)),
                Err(why) => fail!(Intern, "{why}"),
            }
        }
        let count = local.iter().filter(|near| **near).count() as u32;
        // Where the kernel does not tell its boot id all seem to be near.
        self.neighbours = if mine.boot == [0; 16] { 0 } else { count };
        if let Some(shm) = &mut self.shm {
            shm.expect(count);
        }
        Ok(Some(local))
    }

    /// Chooses for these peers; those marked are left open until they are spoken to, if they are on this machine.
    fn settle(&mut self, peers: Vec<(u32, bool)>) -> Result<()> {
        let mut said: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (rank, lazily) in peers {
            let how = match self.pick(rank, lazily) {
                Ok(how) => how,
                Err(why) => fail!(Other, "rank {} has no way to rank {rank}: {why}", self.me.0),
            };
            said.entry(how).or_default().push(rank);
        }
        for (how, ranks) in said {
            info!(
                "rank {}: {how}: {}",
                self.me.0,
                span::list(&span::spans(&ranks))
            );
        }
        Ok(())
    }

    /// Chooses for a peer and says how; the error says why nothing does. `lazily`: shared memory is not tried yet.
    fn pick(&mut self, rank: u32, lazily: bool) -> std::result::Result<String, String> {
        let peer = PeerId(rank);
        let address = &self.known.address(peer)?;
        let Some(mine) = &self.mine else {
            return Err("this rank has no address".to_string());
        };
        let by_shm = match &mut self.shm {
            None => Err(format!("no shared memory here ({})", self.without.shm)),
            Some(_) if !near(mine, address) => Err("on another machine".to_string()),
            Some(_) if address.segment == Segment::None => {
                Err("it has no shared memory".to_string())
            }
            Some(_) if lazily => {
                return Ok(
                    "chosen on first use (shared memory, else the network) for ranks".to_string(),
                )
            }
            Some(shm) => shm.attach(address),
        };
        let why = match by_shm {
            Ok(()) => {
                self.routes[rank as usize] = Route::Shm;
                return Ok("shm (same machine, segment and nonce verified) with ranks".to_string());
            }
            Err(why) => why,
        };
        let no_verbs = match self.by_verbs(peer, address) {
            Ok(port) => {
                self.routes[rank as usize] = Route::Verbs;
                return Ok(format!("verbs ({port}; shm: {why}) with ranks"));
            }
            Err(why) => why,
        };
        // Where nobody expects verbs, they are not spoken of.
        let silent = self.without.silent && self.verbs.is_none();
        let why = match silent {
            true => format!("shm: {why}"),
            false => format!("shm: {why}; verbs: {no_verbs}"),
        };
        match self.by_tcp(peer, address) {
            Ok(()) => {
                self.routes[rank as usize] = Route::Tcp;
                // Numbers and names of single ranks would make a line for each.
                Ok(format!("tcp ({why}) with ranks"))
            }
            Err(no_tcp) => {
                self.routes[rank as usize] = Route::Lost;
                Err(format!("{why}; tcp: {no_tcp}"))
            }
        }
    }

    /// Takes verbs for a peer, if its port may be reachable: by what port.
    fn by_verbs(&mut self, peer: PeerId, address: &Address) -> std::result::Result<String, String> {
        let ours = self.mine.as_ref().and_then(|mine| mine.verbs);
        let (Some(verbs), Some(ours)) = (&mut self.verbs, ours) else {
            return Err(format!("none here ({})", self.without.verbs));
        };
        let Some(theirs) = &address.verbs else {
            return Err("it has none".to_string());
        };
        let near = self.mine.as_ref().is_some_and(|mine| near(mine, address));
        if let Some(why) = ours.apart(theirs, near) {
            return Err(why);
        }
        verbs.introduce(peer, address);
        Ok(format!("{}, {}", verbs.name(), ours.fabric.name()))
    }

    /// Takes TCP for a peer.
    fn by_tcp(&mut self, peer: PeerId, address: &Address) -> std::result::Result<(), String> {
        match (&mut self.tcp, &self.mine) {
            (Some(tcp), Some(mine)) => tcp.introduce(peer, address, shares(mine, address)),
            _ => Err(format!("no TCP here ({})", self.without.tcp)),
        }
    }

    /// Takes what verbs have found out: losses, peers that came before this rank knew them, and peers that cannot be
    /// reached so: nothing was sent to them, and TCP may do.
    #[cold]
    pub(super) fn hear_of_verbs(&mut self) {
        let Some(verbs) = &mut self.verbs else { return };
        self.losses.append(&mut verbs.losses);
        if let Some(why) = verbs.is_over().map(str::to_string) {
            return self.leave_verbs(why);
        }
        // Who is not known yet will come again.
        for peer in std::mem::take(&mut verbs.wanted) {
            if let Ok(address) = self.known.address(peer) {
                verbs.introduce(peer, &address);
            }
        }
        let refused = std::mem::take(&mut verbs.refused);
        let mut said: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (peer, why) in refused {
            let at = peer.0 as usize;
            if self.routes[at] != Route::Verbs {
                continue;
            }
            let address = self.known.address(peer);
            match address.and_then(|address| self.by_tcp(peer, &address)) {
                Ok(()) => {
                    self.routes[at] = Route::Tcp;
                    said.entry(why).or_default().push(peer.0);
                }
                Err(no_tcp) => {
                    let why = format!(
                        "rank {} has no way to it: verbs: {why}; tcp: {no_tcp}",
                        self.me.0
                    );
                    self.losses.push((peer, why));
                }
            }
        }
        for (why, mut ranks) in said {
            ranks.sort_unstable();
            info!(
                "rank {}: tcp (verbs: {why}) with ranks: {}",
                self.me.0,
                span::list(&span::spans(&ranks))
            );
        }
    }

    /// The device is gone and nothing is under way by it: it is closed, or its removal would wait for the end of the job.
    /// Peers to which nothing went yet are chosen a transport anew.
    #[cold]
    fn leave_verbs(&mut self, why: String) {
        info!("rank {} has no verbs any more: {why}", self.me.0);
        if let Some(mut verbs) = self.verbs.take() {
            verbs.close(Duration::ZERO);
        }
        self.without.verbs = why;
        let lost: Vec<PeerId> = self.losses.iter().map(|(peer, _)| *peer).collect();
        for (rank, route) in (0..).zip(&mut self.routes) {
            if *route == Route::Verbs && !lost.contains(&PeerId(rank)) {
                *route = Route::Unknown;
            }
        }
    }

    /// First use of a peer whose transport was left open.
    #[cold]
    pub(super) fn choose(&mut self, peer: PeerId) -> Route {
        if !self.known.is_complete() && self.mine.is_some() {
            // Its address is on the way.
            return Route::Unknown;
        }
        match self.pick(peer.0, false) {
            Ok(how) => info!("rank {}: {how}: {}", self.me.0, peer.0),
            Err(why) => {
                let why = format!("rank {} has no way to it: {why}", self.me.0);
                // `report` marks the route; until then a send finds no transport.
                self.losses.push((peer, why));
                self.routes[peer.0 as usize] = Route::Unknown;
                return Route::Lost;
            }
        }
        self.routes[peer.0 as usize]
    }
}

/// Do they share a network, loopback included? `None`: nobody knows.
fn shares(a: &Address, b: &Address) -> Option<bool> {
    match (a.net_namespace, b.net_namespace) {
        (0, _) | (_, 0) => None,
        (one, other) => Some(one == other && near(a, b)),
    }
}

/// May they be on one machine?
fn near(a: &Address, b: &Address) -> bool {
    a.boot == b.boot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_transport_is_named() {
        let config = Config::from_lookup(|name| {
            (name == "MAYFLY_TRANSPORT").then(|| "shm,pigeon".to_string())
        });
        let error = Allowed::of(&config).err().expect("an error");
        assert!(error.detail.contains("pigeon"), "{error}");
    }
}
