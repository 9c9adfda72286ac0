//! Memory of our own that the device knows: receive buffers, which all peers share, and send buffers.

use crate::transport::verbs::sys::{Access, Mr, Pd, Receive, Srq};
use std::sync::Arc;

/// Buffers that are made at a time, at least.
const CHUNK: usize = 32;
/// Where buffers begin: a page, so that no two registrations share one.
const PAGE: usize = 4096;

/// Zeroed pages of this process, known to the device. A child of a fork does not get them.
pub struct Region {
    base: *mut u8,
    length: usize,
    // Given back before the pages are.
    registration: Option<Mr>,
    key: u32,
    remote_key: u32,
}

// SAFETY: plain memory and a registration, which any thread may use.
unsafe impl Send for Region {}

impl Region {
    /// # Errors
    /// One line: no memory, or the device refuses it.
    pub fn new(pd: &Arc<Pd>, bytes: usize, access: Access) -> Result<Region, String> {
        let length = bytes.next_multiple_of(PAGE);
        // SAFETY: new pages, wherever the kernel likes.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            let error = std::io::Error::last_os_error();
            return Err(format!("no memory for {length} bytes of buffers: {error}"));
        }
        let mut region = Region {
            base: base.cast(),
            length,
            registration: None,
            key: 0,
            remote_key: 0,
        };
        // SAFETY: the pages are ours alone. A child that writes to memory must not take the pages that the device uses
        // away from this process by copy-on-write; it gets none of them.
        unsafe { libc::madvise(base, length, libc::MADV_DONTFORK) };
        // SAFETY: the pages stay until the registration is gone (see drop).
        let mr = unsafe { Mr::register(pd, region.base, length, access)? };
        region.key = mr.lkey();
        region.remote_key = mr.rkey();
        region.registration = Some(mr);
        Ok(region)
    }

    #[inline]
    pub fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset < self.length);
        self.base.wrapping_add(offset)
    }

    /// What this rank's work requests name it by.
    #[inline]
    pub fn key(&self) -> u32 {
        self.key
    }

    /// What a peer's requests name it by.
    pub fn remote_key(&self) -> u32 {
        self.remote_key
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.registration = None;
        // SAFETY: ours; the device does not know the pages any more.
        unsafe { libc::munmap(self.base.cast(), self.length) };
    }
}

/// Equal buffers, numbered, made some at a time.
struct Buffers {
    pd: Arc<Pd>,
    access: Access,
    size: usize,
    chunks: Vec<Region>,
}

impl Buffers {
    /// Makes [`CHUNK`] more; the number of the first.
    fn grow(&mut self) -> Result<u32, String> {
        let first = self.chunks.len() * CHUNK;
        self.chunks
            .push(Region::new(&self.pd, CHUNK * self.size, self.access)?);
        Ok(first as u32)
    }

    /// Where a buffer is, and its key.
    #[inline]
    fn at(&self, number: u32) -> (*mut u8, u32) {
        let chunk = &self.chunks[number as usize / CHUNK];
        (chunk.at(number as usize % CHUNK * self.size), chunk.key)
    }
}

/// The shared receive queue and its buffers. There are always as many posted as peers may use.
pub struct Receives {
    // Dropped before the memory.
    srq: Arc<Srq>,
    buffers: Buffers,
    made: usize,
    promised: usize,
    most: usize,
    /// Handled, and to be posted again.
    again: Vec<Receive>,
}

impl Receives {
    /// For at most `most` buffers of `size` bytes.
    ///
    /// # Errors
    /// One line: the device has no such queue.
    pub fn new(pd: &Arc<Pd>, most: usize, size: usize) -> Result<Receives, String> {
        Ok(Receives {
            srq: Srq::new(pd, most as u32)?,
            buffers: Buffers {
                pd: pd.clone(),
                access: Access::LOCAL,
                size,
                chunks: Vec::new(),
            },
            made: 0,
            promised: 0,
            most,
            again: Vec::with_capacity(64),
        })
    }

    pub fn queue(&self) -> &Arc<Srq> {
        &self.srq
    }

    /// Bytes of a buffer.
    pub fn size(&self) -> usize {
        self.buffers.size
    }

    /// So many more buffers are there from now on.
    ///
    /// # Errors
    /// One line: there is no room for them.
    pub fn promise(&mut self, count: usize) -> Result<(), String> {
        if self.promised + count > self.most {
            return Err(format!(
                "{} receive buffers are promised and the device's queue holds {}",
                self.promised, self.most
            ));
        }
        while self.made < self.promised + count {
            let first = self.buffers.grow()?;
            let count = CHUNK.min(self.most - self.made) as u32;
            let fresh: Vec<Receive> = (first..first + count).map(|n| self.request(n)).collect();
            // SAFETY: the buffers live as long as the queue, and nobody reads one before its completion has come.
            unsafe { self.srq.post(&fresh) }.map_err(|(_, error)| error)?;
            self.made += count as usize;
        }
        self.promised += count;
        Ok(())
    }

    /// So many are not needed any more.
    pub fn release(&mut self, count: usize) {
        self.promised = self.promised.saturating_sub(count);
    }

    fn request(&self, number: u32) -> Receive {
        let (at, key) = self.buffers.at(number);
        Receive {
            id: u64::from(number),
            address: at as u64,
            length: self.buffers.size as u32,
            lkey: key,
        }
    }

    /// What came in a buffer; `None` for what cannot be.
    #[inline]
    pub fn bytes(&self, id: u64, length: usize) -> Option<&[u8]> {
        if id >= self.made as u64 || length > self.buffers.size {
            return None;
        }
        let (at, _) = self.buffers.at(id as u32);
        // SAFETY: the buffer's completion has come, so the device is done with it until it is posted again, which takes
        // `&mut self`.
        Some(unsafe { std::slice::from_raw_parts(at, length) })
    }

    /// The buffer was read.
    #[inline]
    pub fn give_back(&mut self, id: u64) {
        if id < self.made as u64 {
            let request = self.request(id as u32);
            self.again.push(request);
        }
    }

    /// Posts what was given back.
    ///
    /// # Errors
    /// The device's, after which nothing is received any more.
    #[inline]
    pub fn post(&mut self) -> Result<(), String> {
        if self.again.is_empty() {
            return Ok(());
        }
        // SAFETY: as in `promise`; whoever read these buffers is done.
        let posted = unsafe { self.srq.post(&self.again) };
        self.again.clear();
        posted.map_err(|(_, error)| error.to_string())
    }
}

/// Buffers that frames leave from.
pub struct Sends {
    buffers: Buffers,
    free: Vec<u32>,
    most: usize,
}

impl Sends {
    pub fn new(pd: &Arc<Pd>, most: usize, size: usize) -> Sends {
        Sends {
            buffers: Buffers {
                pd: pd.clone(),
                access: Access::NONE,
                size,
                chunks: Vec::new(),
            },
            free: Vec::new(),
            most,
        }
    }

    /// There is at least one buffer.
    ///
    /// # Errors
    /// One line: no memory, or the device refuses it.
    pub fn ensure(&mut self) -> Result<(), String> {
        if self.buffers.chunks.is_empty() {
            let first = self.buffers.grow()?;
            self.free.extend((first..first + CHUNK as u32).rev());
        }
        Ok(())
    }

    /// A free one, if there is any or there may be more.
    #[inline]
    pub fn take(&mut self) -> Option<u32> {
        if self.free.is_empty() {
            self.grow();
        }
        self.free.pop()
    }

    #[cold]
    fn grow(&mut self) {
        if self.buffers.chunks.len() * CHUNK < self.most {
            match self.buffers.grow() {
                Ok(first) => self.free.extend((first..first + CHUNK as u32).rev()),
                // Those that are there have to do.
                Err(_) => self.most = self.buffers.chunks.len() * CHUNK,
            }
        }
    }

    /// Is there none, and will there be none until one is given back?
    pub fn is_exhausted(&self) -> bool {
        self.free.is_empty() && self.buffers.chunks.len() * CHUNK >= self.most
    }

    /// Where it is, and its key. It is the caller's until it is given back.
    #[inline]
    pub fn at(&self, number: u32) -> (*mut u8, u32) {
        self.buffers.at(number)
    }

    #[inline]
    pub fn give_back(&mut self, number: u32) {
        self.free.push(number);
    }
}
