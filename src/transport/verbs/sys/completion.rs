//! What was done: completion queues, and the channel by which they wake a sleeper.

use super::context::nonblocking;
use super::layout as c;
use super::{Context, Error};
use crate::transport::os::errno;
use std::sync::Arc;

/// Tells by a descriptor that an armed queue got something.
pub struct Channel {
    raw: *mut c::Channel,
    context: Arc<Context>,
}

// SAFETY: libibverbs may be called from any thread; it locks what it shares.
unsafe impl Send for Channel {}
// SAFETY: as above.
unsafe impl Sync for Channel {}

impl Channel {
    pub fn new(context: &Arc<Context>) -> Result<Arc<Channel>, Error> {
        // SAFETY: the context is open.
        let raw = unsafe { (context.library.calls.create_comp_channel)(context.raw) };
        if raw.is_null() {
            return Err(Error::last("ibv_create_comp_channel", context.name()));
        }
        let channel = Channel {
            raw,
            context: context.clone(),
        };
        nonblocking(channel.fd());
        Ok(Arc::new(channel))
    }

    /// Readable when an event waits; reads never block.
    pub fn fd(&self) -> i32 {
        // SAFETY: the channel is ours.
        unsafe { (*self.raw).fd }
    }

    /// Takes and acknowledges one event; false when none waits. The queue it came from must be armed anew.
    pub fn take(&self) -> Result<bool, Error> {
        let mut queue = std::ptr::null_mut();
        let mut cookie = std::ptr::null_mut();
        let calls = &self.context.library.calls;
        // SAFETY: the channel is ours; the call fills both when it answers 0.
        if unsafe { (calls.get_cq_event)(self.raw, &mut queue, &mut cookie) } == 0 {
            // SAFETY: the queue lives until its events are acknowledged.
            unsafe { (calls.ack_cq_events)(queue, 1) };
            return Ok(true);
        }
        match errno() {
            libc::EAGAIN | libc::EINTR => Ok(false),
            number => Err(Error::new("ibv_get_cq_event", self.context.name(), number)),
        }
    }

    /// Takes all events that wait; how many they were.
    pub fn drain(&self) -> Result<usize, Error> {
        let mut count = 0;
        while self.take()? {
            count += 1;
        }
        Ok(count)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if self.context.ours() {
            // SAFETY: ours; the queues that use it held us.
            unsafe { (self.context.library.calls.destroy_comp_channel)(self.raw) };
        }
    }
}

/// A completion queue.
pub struct Cq {
    pub(super) raw: *mut c::Cq,
    pub(super) context: Arc<Context>,
    _channel: Option<Arc<Channel>>,
    poll: unsafe extern "C" fn(*mut c::Cq, i32, *mut c::Wc) -> i32,
    notify: unsafe extern "C" fn(*mut c::Cq, i32) -> i32,
}

// SAFETY: libibverbs may be called from any thread; it locks what it shares.
unsafe impl Send for Cq {}
// SAFETY: as above.
unsafe impl Sync for Cq {}

impl Cq {
    /// Room for at least `entries` completions; with a channel, the queue can be armed.
    pub fn new(
        context: &Arc<Context>,
        entries: u32,
        channel: Option<&Arc<Channel>>,
    ) -> Result<Arc<Cq>, Error> {
        let none = || Error::new("ibv_create_cq", context.name(), libc::EOPNOTSUPP);
        let poll = context.ops().poll_cq.ok_or_else(none)?;
        let notify = context.ops().req_notify_cq.ok_or_else(none)?;
        let raw_channel = channel.map_or(std::ptr::null_mut(), |c| c.raw);
        let entries = entries.min(i32::MAX as u32) as i32;
        // SAFETY: the context is open, and the channel is one of it or null.
        let raw = unsafe {
            (context.library.calls.create_cq)(
                context.raw,
                entries,
                std::ptr::null_mut(),
                raw_channel,
                0,
            )
        };
        if raw.is_null() {
            return Err(Error::last("ibv_create_cq", context.name()));
        }
        Ok(Arc::new(Cq {
            raw,
            context: context.clone(),
            _channel: channel.cloned(),
            poll,
            notify,
        }))
    }

    /// How many completions it holds.
    pub fn capacity(&self) -> usize {
        // SAFETY: the queue is ours.
        unsafe { (*self.raw).cqe }.max(0) as usize
    }

    /// Takes what is done, oldest first, at most what `room` holds.
    #[inline]
    pub fn poll<'a>(&self, room: &'a mut [Completion]) -> Result<&'a [Completion], Error> {
        // SAFETY: the queue is ours; a Completion is C's struct, and the call fills at most so many.
        let count = unsafe { (self.poll)(self.raw, room.len() as i32, room.as_mut_ptr().cast()) };
        if count < 0 {
            return Err(Error::new(
                "ibv_poll_cq",
                self.context.name(),
                count.saturating_neg(),
            ));
        }
        Ok(&room[..count as usize])
    }

    /// The next completion (or the next that its sender marked as solicited) makes an event. What came before the call
    /// makes none: poll once more after it.
    pub fn arm(&self, solicited_only: bool) -> Result<(), Error> {
        // SAFETY: the queue is ours.
        let answer = unsafe { (self.notify)(self.raw, i32::from(solicited_only)) };
        Error::check("ibv_req_notify_cq", self.context.name(), answer)
    }
}

impl Drop for Cq {
    fn drop(&mut self) {
        if self.context.ours() {
            // SAFETY: ours; the pairs that use it held us, and events are acknowledged as they are taken.
            unsafe { (self.context.library.calls.destroy_cq)(self.raw) };
        }
    }
}

/// A piece of work that is done, well or badly. Of one done badly, only `id`, `pair` and the status hold.
#[repr(transparent)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Completion(pub(super) c::Wc);

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    Send,
    Write,
    Read,
    CompareSwap,
    FetchAdd,
    /// A send of a peer arrived.
    Received,
    /// A write of a peer arrived, with a number.
    ReceivedWrite,
    Other,
}

impl Completion {
    /// Room to poll into.
    pub const EMPTY: Completion = Completion(c::Wc {
        wr_id: 0,
        status: 0,
        opcode: 0,
        vendor_err: 0,
        byte_len: 0,
        imm_data: 0,
        qp_num: 0,
        src_qp: 0,
        wc_flags: 0,
        pkey_index: 0,
        slid: 0,
        sl: 0,
        dlid_path_bits: 0,
    });

    /// As the work said.
    #[inline]
    pub fn id(&self) -> u64 {
        self.0.wr_id
    }

    #[inline]
    pub fn fine(&self) -> bool {
        self.0.status == 0
    }

    /// `enum ibv_wc_status`; 0 is fine, [`words`] says it.
    pub fn status(&self) -> u32 {
        self.0.status
    }

    /// The work never ran since its queue pair had failed before (or is being closed).
    pub fn flushed(&self) -> bool {
        self.0.status == 5
    }

    /// The peer did not answer, however often it was asked.
    pub fn unreachable(&self) -> bool {
        self.0.status == 12
    }

    pub fn operation(&self) -> Operation {
        match self.0.opcode {
            0 => Operation::Send,
            1 => Operation::Write,
            2 => Operation::Read,
            3 => Operation::CompareSwap,
            4 => Operation::FetchAdd,
            128 => Operation::Received,
            129 => Operation::ReceivedWrite,
            _ => Operation::Other,
        }
    }

    /// Was something received (and not sent)?
    #[inline]
    pub fn received(&self) -> bool {
        self.0.opcode & 128 != 0
    }

    /// Bytes received (a datagram's with the 40 of its global header).
    #[inline]
    pub fn length(&self) -> usize {
        self.0.byte_len as usize
    }

    /// The number that came along.
    pub fn immediate(&self) -> Option<u32> {
        (self.0.wc_flags & 2 != 0).then(|| u32::from_be(self.0.imm_data))
    }

    /// The local queue pair.
    #[inline]
    pub fn pair(&self) -> u32 {
        self.0.qp_num
    }

    /// Of a datagram: the sender's queue pair and LID.
    pub fn sender(&self) -> (u32, u16) {
        (self.0.src_qp, self.0.slid)
    }

    /// Of a datagram: whether its first 40 bytes are a global header.
    pub fn global(&self) -> bool {
        self.0.wc_flags & 1 != 0
    }
}

/// What a completion's status means.
pub fn words(status: u32) -> &'static str {
    match status {
        0 => "done",
        1 => "a message was longer than its receive buffer",
        2 => "the queue pair cannot do what was asked",
        4 => "memory of this rank is not registered (any more)",
        5 => "the connection had failed before",
        7 => "the peer answered nonsense",
        8 => "memory of this rank may not be written",
        9 => "the peer refused the request",
        10 => "memory of the peer is not registered (any more), or not for this",
        11 => "the peer could not do what was asked",
        12 => "the peer does not answer (retries exceeded)",
        13 => "the peer has no receive buffers (retries exceeded)",
        16 => "the peer ended the connection",
        19 => "the device failed",
        20 => "the peer did not answer in time",
        21 => "the device failed without saying why",
        _ => "a failure that has no common name",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_are_c_structs_and_have_words() {
        assert_eq!(
            std::mem::size_of::<Completion>(),
            std::mem::size_of::<c::Wc>()
        );
        let mut done = Completion::EMPTY;
        assert!(done.fine() && done.operation() == Operation::Send && done.immediate().is_none());
        done.0.wc_flags = 3;
        done.0.imm_data = 7u32.to_be();
        done.0.opcode = 129;
        done.0.status = 12;
        assert!(done.received() && done.global() && done.unreachable() && !done.flushed());
        assert_eq!(done.operation(), Operation::ReceivedWrite);
        assert_eq!(done.immediate(), Some(7));
        assert!(words(12).contains("retries") && words(99).contains("no common name"));
    }
}
