//! Queue pairs: reliable connections, and datagrams.

use super::layout as c;
use super::work::post;
use super::{receive, Access, Cq, Error, Pd, Receive, Refused, Route, Srq, Work};
use std::sync::Arc;

const RELIABLE: u32 = 2;
const DATAGRAM: u32 = 4;

const STATE: i32 = 1 << 0;
const ACCESS: i32 = 1 << 3;
const PKEY_INDEX: i32 = 1 << 4;
const PORT: i32 = 1 << 5;
const QKEY: i32 = 1 << 6;
const AV: i32 = 1 << 7;
const PATH_MTU: i32 = 1 << 8;
const TIMEOUT: i32 = 1 << 9;
const RETRY_COUNT: i32 = 1 << 10;
const RNR_RETRY: i32 = 1 << 11;
const RQ_PSN: i32 = 1 << 12;
const MAX_RD_ATOMIC: i32 = 1 << 13;
const MIN_RNR_TIMER: i32 = 1 << 15;
const SQ_PSN: i32 = 1 << 16;
const MAX_DEST_RD_ATOMIC: i32 = 1 << 17;
const DEST_QPN: i32 = 1 << 20;

/// How much a queue pair holds; what the device gave may be more than what was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Caps {
    /// Pieces of work that may be under way.
    pub sends: u32,
    /// Pieces of memory a piece of work.
    pub pieces: u32,
    /// Bytes that go inline.
    pub inline: u32,
    /// Receive buffers of its own (0 with a shared queue).
    pub receives: u32,
}

/// Where a queue pair stands (`enum ibv_qp_state`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Reset,
    Init,
    /// It receives.
    Ready,
    /// It receives and sends.
    Sending,
    Error,
    Other,
}

/// The other end of a reliable connection, and how it is reached.
#[derive(Clone, Copy, Debug)]
pub struct Peering {
    pub route: Route,
    /// The peer's queue pair.
    pub pair: u32,
    /// The number of the peer's first packet, 24 bits.
    pub first: u32,
    /// `enum ibv_mtu`: 1 is 256 bytes, 5 is 4096; the smaller of both sides.
    pub mtu: u32,
    /// Reads and atomics of the peer that may be under way here.
    pub reads: u8,
    /// How long a sender waits when there is no buffer: a code, 12 is 0.64 ms.
    pub not_ready: u8,
}

/// How a reliable connection sends.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// The number of the first packet, 24 bits.
    pub first: u32,
    /// Until a packet is sent again: 4.096 us times 2 to this; 0 is never.
    pub timeout: u8,
    /// How often, at most 7.
    pub retries: u8,
    /// How often when the peer had no buffer; 7 is without end.
    pub not_ready_retries: u8,
    /// Reads and atomics of this side that may be under way.
    pub reads: u8,
}

/// A queue pair.
pub struct Qp {
    raw: *mut c::Qp,
    pd: Arc<Pd>,
    // What it uses lives as long.
    _queues: (Arc<Cq>, Arc<Cq>, Option<Arc<Srq>>),
    post: unsafe extern "C" fn(*mut c::Qp, *mut c::SendWr, *mut *mut c::SendWr) -> i32,
    number: u32,
    caps: Caps,
}

// SAFETY: libibverbs may be called from any thread; it locks what it shares.
unsafe impl Send for Qp {}
// SAFETY: as above.
unsafe impl Sync for Qp {}

impl Qp {
    /// For a reliable connection; its receives come from the shared queue.
    pub fn reliable(
        pd: &Arc<Pd>,
        send: &Arc<Cq>,
        receive: &Arc<Cq>,
        shared: &Arc<Srq>,
        caps: Caps,
    ) -> Result<Qp, Error> {
        Qp::new(pd, send, receive, Some(shared), caps, RELIABLE)
    }

    /// For datagrams, with receives of its own.
    pub fn datagram(
        pd: &Arc<Pd>,
        send: &Arc<Cq>,
        receive: &Arc<Cq>,
        caps: Caps,
    ) -> Result<Qp, Error> {
        Qp::new(pd, send, receive, None, caps, DATAGRAM)
    }

    fn new(
        pd: &Arc<Pd>,
        send: &Arc<Cq>,
        receive: &Arc<Cq>,
        shared: Option<&Arc<Srq>>,
        caps: Caps,
        kind: u32,
    ) -> Result<Qp, Error> {
        let context = &pd.context;
        let post = context.ops().post_send;
        let post =
            post.ok_or_else(|| Error::new("ibv_create_qp", context.name(), libc::EOPNOTSUPP))?;
        let mut init = c::QpInitAttr {
            qp_context: std::ptr::null_mut(),
            send_cq: send.raw,
            recv_cq: receive.raw,
            srq: shared.map_or(std::ptr::null_mut(), |s| s.raw),
            cap: c::QpCap {
                max_send_wr: caps.sends,
                max_recv_wr: caps.receives,
                max_send_sge: caps.pieces,
                max_recv_sge: 1,
                max_inline_data: caps.inline,
            },
            qp_type: kind,
            sq_sig_all: 0,
        };
        // SAFETY: domain and queues are alive and of one device; the call reads and writes the struct.
        let raw = unsafe { (context.library.calls.create_qp)(pd.raw, &mut init) };
        if raw.is_null() {
            return Err(Error::last("ibv_create_qp", context.name()));
        }
        Ok(Qp {
            raw,
            pd: pd.clone(),
            _queues: (send.clone(), receive.clone(), shared.cloned()),
            post,
            // SAFETY: the pair is ours.
            number: unsafe { (*raw).qp_num },
            caps: Caps {
                sends: init.cap.max_send_wr,
                pieces: init.cap.max_send_sge,
                inline: init.cap.max_inline_data,
                receives: init.cap.max_recv_wr,
            },
        })
    }

    /// 24 bits, by which peers and completions name it.
    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn caps(&self) -> Caps {
        self.caps
    }

    fn modify(&self, mut attr: c::QpAttr, mask: i32) -> Result<(), Error> {
        let context = &self.pd.context;
        // SAFETY: the pair is ours; the call reads the struct.
        let answer = unsafe { (context.library.calls.modify_qp)(self.raw, &mut attr, mask) };
        Error::check("ibv_modify_qp", context.name(), answer)
    }

    /// A new reliable pair takes a port, and says what peers may do to this rank's memory (as far as the memory lets them).
    pub fn init(&self, port: u8, access: Access) -> Result<(), Error> {
        let attr = c::QpAttr {
            qp_state: 1,
            port_num: port,
            qp_access_flags: access.0,
            ..Default::default()
        };
        self.modify(attr, STATE | PKEY_INDEX | PORT | ACCESS)
    }

    /// A new pair for datagrams becomes ready for everything; peers must know its `qkey`.
    pub fn open(&self, port: u8, qkey: u32, first: u32) -> Result<(), Error> {
        let mut attr = c::QpAttr {
            qp_state: 1,
            port_num: port,
            qkey,
            ..Default::default()
        };
        self.modify(attr, STATE | PKEY_INDEX | PORT | QKEY)?;
        attr.qp_state = 2;
        self.modify(attr, STATE)?;
        attr.qp_state = 3;
        attr.sq_psn = first & 0xff_ffff;
        self.modify(attr, STATE | SQ_PSN)
    }

    /// After `init`: it receives from the peer. Errors: `ENETUNREACH`, `ETIMEDOUT` (no way to it), `EINVAL`.
    pub fn receive_from(&self, peer: &Peering) -> Result<(), Error> {
        let attr = c::QpAttr {
            qp_state: 2,
            path_mtu: peer.mtu,
            rq_psn: peer.first & 0xff_ffff,
            dest_qp_num: peer.pair,
            ah_attr: peer.route.raw(),
            max_dest_rd_atomic: peer.reads,
            min_rnr_timer: peer.not_ready,
            ..Default::default()
        };
        let mask = STATE | AV | PATH_MTU | DEST_QPN | RQ_PSN | MAX_DEST_RD_ATOMIC | MIN_RNR_TIMER;
        self.modify(attr, mask)
    }

    /// After `receive_from`: it sends as well.
    pub fn send_to(&self, how: &Sending) -> Result<(), Error> {
        let attr = c::QpAttr {
            qp_state: 3,
            sq_psn: how.first & 0xff_ffff,
            timeout: how.timeout,
            retry_cnt: how.retries,
            rnr_retry: how.not_ready_retries,
            max_rd_atomic: how.reads,
            ..Default::default()
        };
        let mask = STATE | TIMEOUT | RETRY_COUNT | RNR_RETRY | SQ_PSN | MAX_RD_ATOMIC;
        self.modify(attr, mask)
    }

    /// As it was made: what was posted is forgotten without completions.
    pub fn reset(&self) -> Result<(), Error> {
        self.modify(c::QpAttr::default(), STATE)
    }

    /// Gives up: whatever is posted comes back flushed.
    pub fn fail(&self) -> Result<(), Error> {
        let attr = c::QpAttr {
            qp_state: 6,
            ..Default::default()
        };
        self.modify(attr, STATE)
    }

    /// Where it stands, as the device says.
    pub fn state(&self) -> Result<State, Error> {
        let context = &self.pd.context;
        let mut attr = c::QpAttr::default();
        // SAFETY: plain integers and pointers, for which zero is a value.
        let mut init: c::QpInitAttr = unsafe { std::mem::zeroed() };
        // SAFETY: the pair is ours; the call writes both structs.
        let answer =
            unsafe { (context.library.calls.query_qp)(self.raw, &mut attr, STATE, &mut init) };
        Error::check("ibv_query_qp", context.name(), answer)?;
        Ok(match attr.qp_state {
            0 => State::Reset,
            1 => State::Init,
            2 => State::Ready,
            3 => State::Sending,
            6 => State::Error,
            _ => State::Other,
        })
    }

    /// Hands over work, in order.
    ///
    /// # Safety
    /// The pieces' memory stays until the work is done (inline work: until this returns), and the device writes what reads
    /// and atomics answer there.
    #[inline(always)]
    pub unsafe fn post(&self, list: &mut [Work]) -> Result<(), Refused> {
        // SAFETY: the pair is ours, the chain is well made, and the caller answers for the memory.
        let (accepted, answer) = post(list, |first, bad| unsafe {
            (self.post)(self.raw, first, bad)
        });
        match answer {
            0 => Ok(()),
            answer => Err(Refused {
                accepted,
                error: Error::answered("ibv_post_send", self.pd.context.name(), answer),
            }),
        }
    }

    /// Posts receive buffers of its own (of a pair without a shared queue); how many were taken when not all were.
    ///
    /// # Safety
    /// The device writes to the buffers until they come back by a completion, or the pair is dropped.
    pub unsafe fn post_receives(&self, list: &[Receive]) -> Result<(), (usize, Error)> {
        let context = &self.pd.context;
        let Some(call) = context.ops().post_recv else {
            return Err((
                0,
                Error::new("ibv_post_recv", context.name(), libc::EOPNOTSUPP),
            ));
        };
        // SAFETY: the pair is ours, the chain is well made, and the caller answers for the memory.
        let (taken, answer) =
            receive::post(list, |first, bad| unsafe { call(self.raw, first, bad) });
        Error::check("ibv_post_recv", context.name(), answer).map_err(|e| (taken, e))
    }
}

impl Drop for Qp {
    fn drop(&mut self) {
        if self.pd.context.ours() {
            // SAFETY: ours.
            unsafe { (self.pd.context.library.calls.destroy_qp)(self.raw) };
        }
    }
}
