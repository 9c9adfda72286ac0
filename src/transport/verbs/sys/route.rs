//! Where packets go.

use super::layout as c;
use super::{Error, Pd};
use std::sync::Arc;

/// The way from a port to a peer's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// This side's port, from 1.
    pub port: u8,
    /// The peer's LID on InfiniBand; 0 on RoCE.
    pub lid: u16,
    /// Service level.
    pub level: u8,
    /// Always on RoCE; on InfiniBand between subnets.
    pub global: Option<Global>,
}

/// The way by GIDs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Global {
    /// The peer's.
    pub gid: c::Gid,
    /// The line of this side's in its port's table.
    pub from_index: u8,
    /// Routers on the way.
    pub hops: u8,
    /// The byte of traffic class (DSCP and ECN).
    pub class: u8,
}

impl Route {
    pub(super) fn raw(&self) -> c::AhAttr {
        let mut out = c::AhAttr {
            dlid: self.lid,
            sl: self.level,
            port_num: self.port,
            ..Default::default()
        };
        if let Some(global) = &self.global {
            let half = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| global.gid[at + i]));
            out.is_global = 1;
            out.grh.dgid = [half(0), half(8)];
            out.grh.sgid_index = global.from_index;
            out.grh.hop_limit = global.hops;
            out.grh.traffic_class = global.class;
        }
        out
    }
}

/// An address handle: where a datagram goes.
pub struct Ah {
    pub(super) raw: *mut c::Ah,
    pd: Arc<Pd>,
}

// SAFETY: libibverbs may be called from any thread; it locks what it shares.
unsafe impl Send for Ah {}
// SAFETY: as above.
unsafe impl Sync for Ah {}

impl Ah {
    /// Errors: `EINVAL`, `ETIMEDOUT` or `EHOSTUNREACH` when there is no way to the address (its MAC cannot be found).
    pub fn new(pd: &Arc<Pd>, route: &Route) -> Result<Ah, Error> {
        let context = &pd.context;
        let mut attr = route.raw();
        // SAFETY: the domain is alive; the call reads the struct.
        let raw = unsafe { (context.library.calls.create_ah)(pd.raw, &mut attr) };
        if raw.is_null() {
            return Err(Error::last("ibv_create_ah", context.name()));
        }
        Ok(Ah {
            raw,
            pd: pd.clone(),
        })
    }
}

impl Drop for Ah {
    fn drop(&mut self) {
        if self.pd.context.ours() {
            // SAFETY: ours.
            unsafe { (self.pd.context.library.calls.destroy_ah)(self.raw) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_global_only_when_it_says_so() {
        let mut route = Route {
            port: 1,
            lid: 5,
            level: 2,
            global: None,
        };
        let raw = route.raw();
        assert_eq!(
            (raw.is_global, raw.dlid, raw.sl, raw.port_num),
            (0, 5, 2, 1)
        );
        route.global = Some(Global {
            gid: *b"0123456789abcdef",
            from_index: 3,
            hops: 64,
            class: 0,
        });
        let raw = route.raw();
        assert_eq!(
            (raw.is_global, raw.grh.sgid_index, raw.grh.hop_limit),
            (1, 3, 64)
        );
        assert_eq!(
            super::super::context::bytes(raw.grh.dgid),
            *b"0123456789abcdef"
        );
    }
}
