//! Buffers for what peers send, shared by all queue pairs.

use super::layout as c;
use super::{Error, Pd};
use std::sync::Arc;

/// A buffer to be posted: `id` comes back with its completion.
#[derive(Clone, Copy, Default, Debug)]
pub struct Receive {
    pub id: u64,
    pub address: u64,
    pub length: u32,
    pub lkey: u32,
}

/// How many requests are handed over at once.
const BATCH: usize = 32;

/// Posts a list by way of chains on the stack; how many were taken, and why no more.
pub(super) fn post(
    list: &[Receive],
    mut give: impl FnMut(*mut c::RecvWr, *mut *mut c::RecvWr) -> i32,
) -> (usize, i32) {
    for (number, part) in list.chunks(BATCH).enumerate() {
        let mut pieces = [c::Sge::default(); BATCH];
        let mut requests = [c::RecvWr {
            wr_id: 0,
            next: std::ptr::null_mut(),
            sg_list: std::ptr::null_mut(),
            num_sge: 1,
        }; BATCH];
        let first = requests.as_mut_ptr();
        let pieces = pieces.as_mut_ptr();
        for (i, receive) in part.iter().enumerate() {
            // SAFETY: i < BATCH, both arrays' length; everything is reached by these two pointers only.
            unsafe {
                *pieces.add(i) = c::Sge {
                    addr: receive.address,
                    length: receive.length,
                    lkey: receive.lkey,
                };
                let request = &mut *first.add(i);
                request.wr_id = receive.id;
                request.sg_list = pieces.add(i);
                if i + 1 < part.len() {
                    request.next = first.add(i + 1);
                }
            }
        }
        let mut bad = std::ptr::null_mut();
        let answer = give(first, &mut bad);
        if answer != 0 {
            let taken = (0..part.len())
                .find(|&i| bad == first.wrapping_add(i))
                .unwrap_or(0);
            return (number * BATCH + taken, answer);
        }
    }
    (list.len(), 0)
}

/// A shared receive queue.
pub struct Srq {
    pub(super) raw: *mut c::Srq,
    pub(super) pd: Arc<Pd>,
    post: unsafe extern "C" fn(*mut c::Srq, *mut c::RecvWr, *mut *mut c::RecvWr) -> i32,
    room: u32,
}

// SAFETY: libibverbs may be called from any thread; it locks what it shares.
unsafe impl Send for Srq {}
// SAFETY: as above.
unsafe impl Sync for Srq {}

impl Srq {
    /// Room for at least `requests` buffers. Errors: `EINVAL` when the device holds fewer, `ENOMEM`.
    pub fn new(pd: &Arc<Pd>, requests: u32) -> Result<Arc<Srq>, Error> {
        let context = &pd.context;
        let post = context.ops().post_srq_recv;
        let post =
            post.ok_or_else(|| Error::new("ibv_create_srq", context.name(), libc::EOPNOTSUPP))?;
        let mut init = c::SrqInitAttr {
            srq_context: std::ptr::null_mut(),
            max_wr: requests,
            max_sge: 1,
            srq_limit: 0,
        };
        // SAFETY: the domain is alive; the call reads and writes the struct.
        let raw = unsafe { (context.library.calls.create_srq)(pd.raw, &mut init) };
        if raw.is_null() {
            return Err(Error::last("ibv_create_srq", context.name()));
        }
        Ok(Arc::new(Srq {
            raw,
            pd: pd.clone(),
            post,
            room: init.max_wr.max(requests),
        }))
    }

    /// How many buffers it holds.
    pub fn capacity(&self) -> usize {
        self.room as usize
    }

    /// Posts buffers; how many were taken when not all were.
    ///
    /// # Safety
    /// The device writes to the buffers until they come back by a completion, or the queue is dropped.
    pub unsafe fn post(&self, list: &[Receive]) -> Result<(), (usize, Error)> {
        // SAFETY: the queue is ours, the chain is well made, and the caller answers for the memory.
        let (taken, answer) = post(list, |first, bad| unsafe {
            (self.post)(self.raw, first, bad)
        });
        Error::check("ibv_post_srq_recv", self.pd.context.name(), answer).map_err(|e| (taken, e))
    }
}

impl Drop for Srq {
    fn drop(&mut self) {
        if self.pd.context.ours() {
            // SAFETY: ours; the pairs that use it held us.
            unsafe { (self.pd.context.library.calls.destroy_srq)(self.raw) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks the chains like a provider, which takes `room` buffers.
    fn walk(list: &[Receive], room: usize) -> (Vec<(u64, u64, u32)>, usize, i32) {
        let mut seen = Vec::new();
        let (taken, answer) = post(list, |mut at, bad| {
            while !at.is_null() {
                // SAFETY: a live chain of post's.
                unsafe {
                    if seen.len() == room {
                        *bad = at;
                        return libc::ENOMEM;
                    }
                    assert_eq!((*at).num_sge, 1);
                    let piece = *(*at).sg_list;
                    seen.push(((*at).wr_id, piece.addr, piece.lkey));
                    at = (*at).next;
                }
            }
            0
        });
        (seen, taken, answer)
    }

    #[test]
    fn lists_of_any_length_arrive_in_order_and_what_is_refused_is_counted() {
        for count in [0, 1, 31, 32, 33, 100] {
            let list: Vec<Receive> = (0..count as u64)
                .map(|id| Receive {
                    id,
                    address: id * 100,
                    length: 100,
                    lkey: 9,
                })
                .collect();
            let (seen, taken, answer) = walk(&list, usize::MAX);
            assert_eq!((taken, answer), (count, 0));
            assert_eq!(
                seen,
                (0..count as u64)
                    .map(|i| (i, i * 100, 9))
                    .collect::<Vec<_>>()
            );
            if count > 0 {
                let (seen, taken, answer) = walk(&list, count - 1);
                assert_eq!(
                    (seen.len(), taken, answer),
                    (count - 1, count - 1, libc::ENOMEM)
                );
            }
        }
    }
}
