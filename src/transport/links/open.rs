//! Opening what others connect to.

use super::{Links, Options};
use crate::base::error::Result;
use crate::transport::choice::Allowed;
use crate::transport::os;
use crate::transport::shm::Shm;
use crate::transport::tcp::{Keys, Tcp};
use crate::transport::verbs::Verbs;
use crate::wire::address::{Address, Segment};
use crate::{fail, info};
use std::sync::Arc;

const FORBIDDEN: &str = "MAYFLY_TRANSPORT forbids it";

impl Links {
    /// Opens what others connect to: the segment, the device and the listener, as far as `MAYFLY_TRANSPORT` allows. What
    /// cannot be opened is said at level info.
    ///
    /// # Errors
    /// `Arg` when `MAYFLY_TRANSPORT` names an unknown transport, `Other` when none of the allowed ones can be opened.
    pub fn open(mut options: Options) -> Result<Links> {
        let mut links = Links::with(options.me, options.size);
        let allowed = Allowed::of(options.config)?;
        let nonce = os::nonce();
        let mut public = None;
        if options.size > 1 {
            let keys = Keys::new().map(Arc::new);
            public = keys.as_ref().map(|keys| keys.public);
            links.open_tcp(&mut options, &allowed, keys.clone());
            links.open_verbs(&options, &allowed, keys);
            links.open_shm(&options, &allowed, nonce);
            links.connect_bells()?;
            if links.tcp.is_none() && links.shm.is_none() && links.verbs.is_none() {
                let without = &links.without;
                fail!(
                    Other,
                    "rank {} can reach nobody: no shared memory ({}), no verbs ({}), no TCP ({})",
                    links.me.0,
                    without.shm,
                    without.verbs,
                    without.tcp
                );
            }
        }
        let pid = std::process::id();
        let mut mine = Address {
            rank: links.me.0,
            boot: crate::base::os::boot(),
            pid_namespace: crate::base::os::namespace("pid"),
            net_namespace: crate::base::os::namespace("net"),
            pid,
            start: os::process(pid).map_or(0, |(start, _)| start),
            nonce,
            probe: links.shm.as_ref().map_or(0, Shm::probe),
            segment: links.shm.as_ref().map_or(Segment::None, Shm::at),
            port: 0,
            ips: Vec::new(),
            public: None,
            symmetric: false,
            punches: false,
            relays: false,
            near: false,
            crowded: false,
            limits: Vec::new(),
            key: public,
            verbs: None,
        };
        if let Some(tcp) = &links.tcp {
            tcp.describe(&mut mine);
        }
        if let Some(verbs) = &links.verbs {
            verbs.describe(&mut mine);
        }
        links.mine = Some(mine);
        Ok(links)
    }

    fn open_tcp(&mut self, options: &mut Options, allowed: &Allowed, keys: Option<Arc<Keys>>) {
        match allowed.tcp.then(|| Tcp::open(options, keys)) {
            Some(Ok(tcp)) => self.tcp = Some(tcp),
            Some(Err(why)) => {
                info!("rank {} has no TCP: {why}", self.me.0);
                self.without.tcp = why;
            }
            None => self.without.tcp = FORBIDDEN.to_string(),
        }
    }

    fn open_verbs(&mut self, options: &Options, allowed: &Allowed, keys: Option<Arc<Keys>>) {
        let spare = self.tcp.is_some();
        match allowed.verbs.then(|| Verbs::open(options, keys, spare)) {
            Some(Ok(Some(verbs))) => self.verbs = Some(Box::new(verbs)),
            // Most machines have none, which is worth no word where nobody asks for it.
            Some(Ok(None)) => {
                self.without.verbs = "there is no RDMA device".to_string();
                self.without.silent = !allowed.insists;
            }
            Some(Err(why)) => {
                info!("rank {} has no verbs: {why}", self.me.0);
                self.without.verbs = why;
            }
            None => {
                self.without.verbs = FORBIDDEN.to_string();
                self.without.silent = true;
            }
        }
    }

    fn open_shm(&mut self, options: &Options, allowed: &Allowed, nonce: [u8; 16]) {
        // Who sleeps on other links is woken by a socket.
        let socket = self.tcp.is_some() || self.verbs.is_some();
        match allowed.shm.then(|| Shm::open(options, nonce, socket)) {
            Some(Ok(shm)) => self.shm = Some(shm),
            Some(Err(why)) => {
                info!("rank {} has no shared memory: {why}", self.me.0);
                self.without.shm = why;
            }
            None => self.without.shm = FORBIDDEN.to_string(),
        }
    }

    /// Whoever sleeps for all links is told of all.
    fn connect_bells(&self) -> Result<()> {
        let me = self.me.0;
        if let (Some(tcp), Some(shm)) = (&self.tcp, &self.shm) {
            if let Some(Err(error)) = shm.wake_fd().map(|fd| tcp.watch(fd)) {
                fail!(Other, "rank {me} cannot watch its wake socket: {error}");
            }
        }
        if let Some(verbs) = &self.verbs {
            let others = match (&self.tcp, &self.shm) {
                (Some(tcp), _) => Some(tcp.events_fd()),
                (None, Some(shm)) => shm.wake_fd(),
                (None, None) => None,
            };
            if let Some(Err(error)) = others.map(|fd| verbs.watch(fd)) {
                fail!(Other, "rank {me} cannot watch its other links: {error}");
            }
        }
        Ok(())
    }
}
