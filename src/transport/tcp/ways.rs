//! The ways to peers: private addresses, punching, relays; which of them this rank has, and which a pair shares.

use crate::base::id::PeerId;
use crate::info;
use crate::transport::tcp::{net, observe, Tcp};
use crate::transport::{Courier, Options};
use crate::wire::address::Address;
use crate::wire::relay::Request;
use std::net::{IpAddr, SocketAddr};

/// A relay of the job.
pub struct Relay {
    /// For people.
    pub name: String,
    /// Its two ports.
    pub ports: [SocketAddr; 2],
}

/// How this rank reaches peers outside of its network.
pub struct Ways {
    pub direct: bool,
    punch: bool,
    pub courier: Option<Box<dyn Courier>>,
    pub relays: Vec<Relay>,
    /// The request to a relay, but for what is wanted and of whom.
    pub ask: Request,
    pub grant: [u8; 32],
    /// How a relay sees this rank's listener.
    pub public: Option<SocketAddr>,
    pub symmetric: bool,
    /// Keeps the address translator from forgetting the listener's port.
    _kept: Option<crate::transport::os::Fd>,
}

impl Ways {
    /// What `MAYFLY_PATHS` allows and is there. Takes two seconds at most.
    ///
    /// # Errors
    /// One line when `MAYFLY_PATHS` names an unknown way.
    pub fn find(options: &mut Options, only: Option<IpAddr>, port: u16) -> Result<Ways, String> {
        let paths = &options.config.paths;
        if let Some(other) = paths
            .iter()
            .find(|p| !matches!(p.as_str(), "direct" | "punch" | "relay"))
        {
            return Err(format!(
                "MAYFLY_PATHS={} names {other:?}, which is none of direct, punch, relay",
                paths.join(",")
            ));
        }
        let has = |name: &str| paths.is_empty() || paths.iter().any(|p| p == name);
        let me = options.me.0;
        let outside = std::mem::take(&mut options.outside);
        let ask = Request {
            op: crate::wire::relay::Op::Observe,
            job: options.job,
            expiry: outside.relay_expiry,
            from: me,
            to: me,
        };
        let relays = observe::resolve(&outside.relays);
        let mut seen = observe::Seen::default();
        if has("punch") && outside.courier.is_some() {
            seen = observe::look(&relays, &ask, &outside.relay_grant, only, port);
            if let Some(public) = seen.public {
                let how = if seen.symmetric {
                    ", by a translator that no punching passes"
                } else {
                    ""
                };
                info!("rank {me} is seen as {public}{how}");
            }
        }
        Ok(Ways {
            direct: has("direct"),
            punch: has("punch"),
            relays: if has("relay") { relays } else { Vec::new() },
            courier: outside.courier,
            ask,
            grant: outside.relay_grant,
            public: seen.public,
            symmetric: seen.symmetric,
            _kept: seen.kept,
        })
    }

    pub fn punches(&self) -> bool {
        self.punch && self.courier.is_some() && self.public.is_some()
    }

    pub fn relays(&self) -> bool {
        self.courier.is_some() && !self.relays.is_empty()
    }
}

impl Tcp {
    /// Where and how a peer is reached. `near`: it shares this machine's loopback (`None`: nobody knows).
    ///
    /// # Errors
    /// One line when there is no way to it.
    pub fn introduce(
        &mut self,
        peer: PeerId,
        address: &Address,
        near: Option<bool>,
    ) -> Result<(), String> {
        let (loopback, outer): (Vec<IpAddr>, Vec<IpAddr>) =
            address.ips.iter().partition(|ip| ip.is_loopback());
        let mut order: Vec<IpAddr> = match near {
            Some(true) => loopback.into_iter().chain(outer).collect(),
            Some(false) => outer,
            None => outer.into_iter().chain(loopback).collect(),
        };
        if near == Some(false) {
            // In a network of its own it may have this rank's address: that leads nowhere but here.
            order.retain(|ip| !self.ips.contains(ip));
        }
        if address.port == 0 || !self.ways.direct {
            order.clear();
        }
        let p = &mut self.peers[peer.0 as usize];
        p.targets = order
            .into_iter()
            .map(|ip| SocketAddr::new(ip, address.port))
            .collect();
        p.port = address.port;
        p.public = address.public;
        p.symmetric = address.symmetric;
        p.punches = address.punches;
        p.relays = address.relays;
        p.key = address.key;
        p.proof = None;
        p.introduced = true;
        if p.targets.is_empty() && !self.can_meet(peer.0) {
            return Err(match (address.port, address.ips.is_empty()) {
                (0, _) => "it does not listen",
                (_, true) => "it has no address",
                _ => "it has no address that leads there",
            }
            .to_string());
        }
        self.acquainted(peer.0);
        Ok(())
    }

    /// Can both punch?
    pub(super) fn can_punch(&self, peer: u32) -> bool {
        let p = &self.peers[peer as usize];
        let families = match (self.ways.public, p.public) {
            (Some(a), Some(b)) => a.is_ipv4() == b.is_ipv4(),
            _ => false,
        };
        self.ways.punches() && p.punches && families && !self.ways.symmetric && !p.symmetric
    }

    /// Can both go to a relay?
    pub(super) fn can_relay(&self, peer: u32) -> bool {
        self.ways.relays() && self.peers[peer as usize].relays
    }

    pub(super) fn can_meet(&self, peer: u32) -> bool {
        self.can_punch(peer) || self.can_relay(peer)
    }

    /// Are both known to be behind different translators? Then private addresses are of little hope.
    pub(super) fn far(&self, peer: u32) -> bool {
        match (self.ways.public, self.peers[peer as usize].public) {
            (Some(a), Some(b)) => a.ip() != b.ip() && self.can_meet(peer),
            _ => false,
        }
    }

    /// Is a connection of this path encrypted?
    pub(super) fn seals(&self, path: crate::wire::hello::Path) -> bool {
        use crate::base::config::Encrypt;
        match self.encrypt {
            Encrypt::Always => true,
            Encrypt::Never => false,
            Encrypt::Auto => path != crate::wire::hello::Path::Private,
        }
    }

    /// The path of a connection to this address.
    pub(super) fn path_to(target: SocketAddr) -> crate::wire::hello::Path {
        if net::is_private(target.ip()) {
            crate::wire::hello::Path::Private
        } else {
            crate::wire::hello::Path::Public
        }
    }
}
