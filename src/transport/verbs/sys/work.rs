//! Work for a send queue, built on the stack and chained when it is posted.

use super::layout as c;
use super::{Ah, Error};

/// How many pieces of memory one piece of work may gather.
pub const PIECES: usize = 3;

const WRITE: u32 = 0;
const WRITE_IMMEDIATE: u32 = 1;
const SEND: u32 = 2;
const SEND_IMMEDIATE: u32 = 3;
const READ: u32 = 4;
const COMPARE_SWAP: u32 = 5;
const FETCH_ADD: u32 = 6;

const FENCE: u32 = 1;
const SIGNALED: u32 = 2;
const SOLICITED: u32 = 4;
const INLINE: u32 = 8;

/// One piece of work. `id` comes back with its completion; only signaled and failed work has one.
#[derive(Clone, Copy)]
pub struct Work {
    request: c::SendWr,
    pieces: [c::Sge; PIECES],
}

// SAFETY: its pointers are set when it is posted, to itself or to its neighbours in the list, and mean nothing otherwise; but
// for an address handle, which is kept as long as the work.
unsafe impl Send for Work {}

/// Not all work was taken: the first `accepted` pieces were, and will be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    pub accepted: usize,
    pub error: Error,
}

impl Work {
    fn new(id: u64, opcode: u32, remote: u64, rkey: u32) -> Work {
        Work {
            request: c::SendWr {
                wr_id: id,
                next: std::ptr::null_mut(),
                sg_list: std::ptr::null_mut(),
                num_sge: 0,
                opcode,
                send_flags: 0,
                imm_data: 0,
                wr: c::Target {
                    atomic: c::Atomic {
                        remote_addr: remote,
                        compare_add: 0,
                        swap: 0,
                        rkey: 0,
                    },
                },
                xrc_srqn: 0,
                unused: [0; 6],
            },
            pieces: [c::Sge::default(); PIECES],
        }
        .rkey(rkey)
    }

    fn rkey(mut self, rkey: u32) -> Work {
        let remote_addr = self.remote();
        if matches!(self.request.opcode, WRITE | WRITE_IMMEDIATE | READ) {
            self.request.wr.rdma = c::Rdma { remote_addr, rkey };
        } else {
            self.request.wr.atomic = c::Atomic {
                remote_addr,
                compare_add: 0,
                swap: 0,
                rkey,
            };
        }
        self
    }

    fn remote(&self) -> u64 {
        // SAFETY: all members of the union begin with eight bytes that are set, the first two with this address.
        unsafe { self.request.wr.rdma.remote_addr }
    }

    /// The pieces, into a receive buffer of the peer.
    #[inline]
    pub fn send(id: u64) -> Work {
        Work::new(id, SEND, 0, 0)
    }

    /// A send with a number.
    pub fn send_immediate(id: u64, number: u32) -> Work {
        let mut work = Work::new(id, SEND_IMMEDIATE, 0, 0);
        work.request.imm_data = number.to_be();
        work
    }

    /// The pieces, to the peer's memory.
    #[inline]
    pub fn write(id: u64, remote: u64, rkey: u32) -> Work {
        Work::new(id, WRITE, remote, rkey)
    }

    /// A write with a number, which takes a receive buffer of the peer and so is seen there.
    pub fn write_immediate(id: u64, remote: u64, rkey: u32, number: u32) -> Work {
        let mut work = Work::new(id, WRITE_IMMEDIATE, remote, rkey);
        work.request.imm_data = number.to_be();
        work
    }

    /// The peer's memory, to the pieces.
    pub fn read(id: u64, remote: u64, rkey: u32) -> Work {
        Work::new(id, READ, remote, rkey)
    }

    /// The eight bytes at `remote` (aligned) become `swap` if they are `compare`; what they were goes to the piece.
    pub fn compare_swap(id: u64, remote: u64, rkey: u32, compare: u64, swap: u64) -> Work {
        let mut work = Work::new(id, COMPARE_SWAP, remote, rkey);
        work.request.wr.atomic = c::Atomic {
            remote_addr: remote,
            compare_add: compare,
            swap,
            rkey,
        };
        work
    }

    /// `add` is added to the eight bytes at `remote` (aligned); what they were goes to the piece.
    pub fn fetch_add(id: u64, remote: u64, rkey: u32, add: u64) -> Work {
        let mut work = Work::new(id, FETCH_ADD, remote, rkey);
        work.request.wr.atomic = c::Atomic {
            remote_addr: remote,
            compare_add: add,
            swap: 0,
            rkey,
        };
        work
    }

    /// One more piece of this rank's memory; at most [`PIECES`]. `lkey` does not matter for inline work.
    #[inline]
    pub fn piece(mut self, address: u64, length: usize, lkey: u32) -> Work {
        let at = self.request.num_sge as usize;
        debug_assert!(length <= u32::MAX as usize);
        self.pieces[at] = c::Sge {
            addr: address,
            length: length as u32,
            lkey,
        };
        self.request.num_sge += 1;
        self
    }

    /// Of a datagram: where it goes. The handle must live until the work is done.
    pub fn to(mut self, ah: &Ah, pair: u32, qkey: u32) -> Work {
        self.request.wr.ud = c::Ud {
            ah: ah.raw,
            remote_qpn: pair,
            remote_qkey: qkey,
        };
        self
    }

    /// The same write of one piece again, of other bytes to another place: cheaper than a new one.
    #[inline(always)]
    pub fn again(
        &mut self,
        id: u64,
        remote: u64,
        (address, length): (u64, usize),
        inline: bool,
        signaled: bool,
    ) {
        debug_assert!(self.request.opcode == WRITE && self.request.num_sge == 1);
        let flag = |wanted: bool, flag: u32| if wanted { flag } else { 0 };
        self.request.wr_id = id;
        self.request.send_flags = flag(inline, INLINE) | flag(signaled, SIGNALED);
        self.request.wr.rdma.remote_addr = remote;
        self.pieces[0].addr = address;
        self.pieces[0].length = length as u32;
    }

    /// It makes a completion also when it goes well.
    #[inline]
    pub fn signaled(self) -> Work {
        self.flag(SIGNALED)
    }

    /// The payload is copied while it is posted.
    #[inline]
    pub fn inline(self) -> Work {
        self.flag(INLINE)
    }

    /// It wakes a peer that armed its queue for solicited completions only.
    #[inline]
    pub fn solicited(self) -> Work {
        self.flag(SOLICITED)
    }

    /// It starts after the reads and atomics before it are done.
    pub fn fence(self) -> Work {
        self.flag(FENCE)
    }

    #[inline]
    fn flag(mut self, flag: u32) -> Work {
        self.request.send_flags |= flag;
        self
    }

    /// Bytes in its pieces.
    pub fn length(&self) -> usize {
        let pieces = &self.pieces[..self.request.num_sge as usize];
        pieces.iter().map(|p| p.length as usize).sum()
    }
}

/// Makes a chain of the list where it stands, and hands it over; how much was taken, and why no more.
#[inline]
pub(super) fn post(
    list: &mut [Work],
    give: impl FnOnce(*mut c::SendWr, *mut *mut c::SendWr) -> i32,
) -> (usize, i32) {
    let count = list.len();
    if count == 0 {
        return (0, 0);
    }
    let base = list.as_mut_ptr();
    for i in 0..count {
        // SAFETY: i < count, and everything is reached by this one pointer only.
        unsafe {
            let work = base.add(i);
            (*work).request.sg_list = (&raw mut (*work).pieces).cast();
            (*work).request.next = if i + 1 < count {
                &raw mut (*base.add(i + 1)).request
            } else {
                std::ptr::null_mut()
            };
        }
    }
    let mut bad = std::ptr::null_mut();
    // SAFETY: the list is not empty.
    let answer = give(unsafe { &raw mut (*base).request }, &mut bad);
    if answer == 0 {
        return (count, 0);
    }
    // SAFETY: i < count.
    let taken = (0..count).find(|&i| bad == unsafe { &raw mut (*base.add(i)).request });
    (taken.unwrap_or(0), answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_holds_each_piece_of_work_and_what_is_refused_is_counted() {
        let mut list = [
            Work::write(1, 0x1000, 7).piece(10, 100, 3).piece(20, 5, 4),
            Work::send(2).piece(30, 8, 0).inline().solicited(),
            Work::fetch_add(3, 0x2000, 8, 5)
                .piece(40, 8, 3)
                .signaled()
                .fence(),
            Work::compare_swap(4, 0x3000, 9, 1, 2).piece(50, 8, 3),
            Work::write_immediate(5, 0x4000, 9, 77),
        ];
        assert_eq!(list[0].length(), 105);
        let mut seen = Vec::new();
        let (taken, answer) = post(&mut list, |mut at, bad| {
            while !at.is_null() {
                // SAFETY: a live chain of post's.
                let request = unsafe { &*at };
                let pieces = request.num_sge as usize;
                // SAFETY: as above.
                let pieces = unsafe { std::slice::from_raw_parts(request.sg_list, pieces) };
                let bytes: u32 = pieces.iter().map(|p| p.length).sum();
                seen.push((request.wr_id, request.opcode, request.send_flags, bytes));
                match request.opcode {
                    // SAFETY: the opcode says which member is set.
                    WRITE => unsafe {
                        assert_eq!(
                            (request.wr.rdma.remote_addr, request.wr.rdma.rkey),
                            (0x1000, 7)
                        );
                    },
                    // SAFETY: as above.
                    FETCH_ADD => unsafe {
                        let atomic = request.wr.atomic;
                        assert_eq!(
                            (atomic.remote_addr, atomic.compare_add, atomic.rkey),
                            (0x2000, 5, 8)
                        );
                    },
                    // SAFETY: as above.
                    COMPARE_SWAP => unsafe {
                        let atomic = request.wr.atomic;
                        assert_eq!((atomic.compare_add, atomic.swap, atomic.rkey), (1, 2, 9));
                    },
                    WRITE_IMMEDIATE => {
                        assert_eq!(u32::from_be(request.imm_data), 77);
                        // SAFETY: post's pointer.
                        unsafe { *bad = at };
                        return libc::ENOMEM;
                    }
                    _ => {}
                }
                at = request.next;
            }
            0
        });
        assert_eq!((taken, answer), (4, libc::ENOMEM));
        let expected = [
            (1, WRITE, 0, 105),
            (2, SEND, INLINE | SOLICITED, 8),
            (3, FETCH_ADD, SIGNALED | FENCE, 8),
            (4, COMPARE_SWAP, 0, 8),
            (5, WRITE_IMMEDIATE, 0, 0),
        ];
        assert_eq!(seen, expected);
        assert_eq!(post(&mut [], |_, _| unreachable!()), (0, 0));
        let mut again = Work::write(1, 0x1000, 7).piece(10, 100, 3).signaled();
        again.again(2, 0x3000, (50, 8), true, false);
        let request = &again.request;
        assert_eq!((request.wr_id, request.send_flags), (2, INLINE));
        assert_eq!((again.remote(), again.length()), (0x3000, 8));
        assert_eq!((again.pieces[0].addr, again.pieces[0].lkey), (50, 3));
        again.again(2, 0x3000, (50, 8), false, true);
        assert_eq!(again.request.send_flags, SIGNALED);
    }
}
