//! Which transport a pair takes: shared memory when both are on one machine, the segment opens and its nonce is the
//! announced one; else TCP. `MAYFLY_TRANSPORT` narrows the choice.

use crate::base::config::Config;
use crate::base::error::Result;
use crate::base::id::PeerId;
use crate::transport::links::{Links, Route};

use crate::wire::address::{Address, Segment};
use crate::{fail, info};
use std::collections::BTreeMap;

/// With more peers on the machine, segments are mapped on first use only.
const EAGER: usize = 64;

/// What `MAYFLY_TRANSPORT` allows.
pub struct Allowed {
    pub shm: bool,
    pub tcp: bool,
}

impl Allowed {
    pub fn of(config: &Config) -> Result<Allowed> {
        let has = |name: &str| config.transports.iter().any(|t| t == name);
        let none = config.transports.is_empty();
        if let Some(other) = config
            .transports
            .iter()
            .find(|t| !matches!(t.as_str(), "shm" | "tcp"))
        {
            fail!(
                Arg,
                "MAYFLY_TRANSPORT={} names {other:?}, which is none of shm, tcp",
                config.transports.join(",")
            );
        }
        Ok(Allowed {
            shm: none || has("shm"),
            tcp: none || has("tcp"),
        })
    }
}

/// Why this rank lacks a transport.
#[derive(Default)]
pub struct Without {
    pub shm: String,
    pub tcp: String,
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
        let Some(mine) = self.mine.clone() else {
            // A simulated network needs none.
            return Ok(());
        };
        for (rank, bytes) in addresses.iter().enumerate() {
            let address = match Address::decode(bytes) {
                Ok(address) => address,
                Err(why) => fail!(Intern, "the address of rank {rank} cannot be read: {why}"),
            };
            if address.rank as usize != rank {
                fail!(
                    Intern,
                    "the address of rank {rank} is that of rank {}",
                    address.rank
                );
            }
            self.addresses.push(address);
        }
        let local = self
            .addresses
            .iter()
            .filter(|a| a.rank != mine.rank && near(&mine, a))
            .count();
        if let Some(shm) = &mut self.shm {
            shm.expect(local as u32);
        }
        let mut said: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for rank in (0..size as u32).filter(|r| *r != mine.rank) {
            let lazily = local > EAGER && near(&mine, &self.addresses[rank as usize]);
            let how = match self.pick(rank, lazily) {
                Ok(how) => how,
                Err(why) => fail!(Other, "rank {} has no way to rank {rank}: {why}", self.me.0),
            };
            said.entry(how).or_default().push(rank);
        }
        for (how, ranks) in said {
            info!("rank {}: {how}: {}", self.me.0, spans(&ranks));
        }
        Ok(())
    }

    /// Chooses for a peer and says how; the error says why nothing does. `lazily`: shared memory is not tried yet.
    fn pick(&mut self, rank: u32, lazily: bool) -> std::result::Result<String, String> {
        let (Some(mine), Some(address)) = (&self.mine, self.addresses.get(rank as usize)) else {
            return Err("nobody introduced it".to_string());
        };
        let peer = PeerId(rank);
        let by_shm = match &mut self.shm {
            None => Err(format!("no shared memory here ({})", self.without.shm)),
            Some(_) if !near(mine, address) => Err("on another machine".to_string()),
            Some(_) if address.segment == Segment::None => {
                Err("it has no shared memory".to_string())
            }
            Some(_) if lazily => {
                return Ok("chosen on first use (shared memory, else tcp) for ranks".to_string())
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
        let shares = match (mine.net_namespace, address.net_namespace) {
            (0, _) | (_, 0) => None,
            (a, b) => Some(a == b && near(mine, address)),
        };
        let by_tcp = match &mut self.tcp {
            None => Err(format!("no TCP here ({})", self.without.tcp)),
            Some(tcp) => tcp.introduce(peer, &address.ips, address.port, shares),
        };
        match by_tcp {
            Ok(()) => {
                self.routes[rank as usize] = Route::Tcp;
                // Numbers and names of single ranks would make a line for each.
                Ok(format!("tcp (shm: {why}) with ranks"))
            }
            Err(no_tcp) => {
                self.routes[rank as usize] = Route::Lost;
                Err(format!("shm: {why}; tcp: {no_tcp}"))
            }
        }
    }

    /// First use of a peer whose transport was left open.
    #[cold]
    pub(super) fn choose(&mut self, peer: PeerId) -> Route {
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

/// May they be on one machine?
fn near(a: &Address, b: &Address) -> bool {
    a.boot == b.boot
}

/// `0-3, 7`.
fn spans(ranks: &[u32]) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut i = 0;
    while i < ranks.len() {
        let mut end = i;
        while end + 1 < ranks.len() && ranks[end + 1] == ranks[end] + 1 {
            end += 1;
        }
        out.push(if end == i {
            ranks[i].to_string()
        } else {
            format!("{}-{}", ranks[i], ranks[end])
        });
        i = end + 1;
    }
    out.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_said_in_spans() {
        assert_eq!(spans(&[0, 1, 2, 5, 7, 8]), "0-2, 5, 7-8");
        assert_eq!(spans(&[]), "");
    }

    #[test]
    fn an_unknown_transport_is_named() {
        let config = Config::from_lookup(|name| {
            (name == "MAYFLY_TRANSPORT").then(|| "shm,pigeon".to_string())
        });
        let error = Allowed::of(&config).err().expect("an error");
        assert!(error.detail.contains("pigeon"), "{error}");
    }
}
