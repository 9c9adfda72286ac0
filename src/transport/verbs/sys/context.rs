//! An open device: what it can do, its ports and addresses, and what happens to it.

use super::layout as c;
use super::library::{text, Devices, Library};
use super::Error;
use crate::transport::os::errno;
use std::sync::Arc;

/// An open device. Dropped, it is closed, when the last that was made from it is.
pub struct Context {
    pub(super) raw: *mut c::Context,
    pub(super) library: &'static Library,
    name: Arc<str>,
    /// Who opened it: a child of a fork must leave the parent's things alone.
    process: u32,
}

// SAFETY: libibverbs may be called from any thread; it locks what it shares.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Devices {
    /// Opens a device. Errors: no such device, no provider for it, no permission on its file.
    pub fn open(&self, name: &str) -> Result<Arc<Context>, Error> {
        let called: Arc<str> = name.into();
        let Some(device) = self.find(name) else {
            let mut error = Error::new("ibv_get_device_list", &called, libc::ENODEV);
            error.hint = match std::path::Path::new("/sys/class/infiniband")
                .join(name)
                .exists()
            {
                true => "libibverbs has no provider for it; install ibverbs-providers".into(),
                false => format!("there are: {}", self.names().join(", ")),
            };
            return Err(error);
        };
        // SAFETY: the device is in our list, which is alive.
        let raw = unsafe { (self.library.calls.open_device)(device) };
        if raw.is_null() {
            let mut error = Error::last("ibv_open_device", &called);
            // SAFETY: as above.
            let file = format!(
                "/dev/infiniband/{}",
                text(unsafe { (*device).dev_name.as_ptr() })
            );
            // The library tries another way when it may not open the file, and tells of that.
            if let Err(denied) = usable(&file) {
                error.errno = denied;
                error.hint = format!("{file} must be readable and writable for this user");
            }
            return Err(error);
        }
        let context = Context {
            raw,
            library: self.library,
            name: called,
            process: std::process::id(),
        };
        nonblocking(context.events_fd());
        Ok(Arc::new(context))
    }
}

/// May this process read and write the file?
fn usable(path: &str) -> Result<(), i32> {
    let path = std::ffi::CString::new(path).map_err(|_| libc::EINVAL)?;
    // SAFETY: the path ends with a zero and lives through the call.
    match unsafe { libc::access(path.as_ptr(), libc::R_OK | libc::W_OK) } {
        0 => Ok(()),
        _ => Err(errno()),
    }
}

/// From now on reads of the descriptor answer EAGAIN instead of waiting.
pub(super) fn nonblocking(fd: i32) {
    // SAFETY: fcntl only reads its numbers.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK);
    }
}

/// How a GID's packets look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GidKind {
    InfiniBand,
    RoceV1,
    RoceV2,
}

/// A line of a port's address table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GidEntry {
    pub index: u8,
    pub gid: c::Gid,
    pub kind: GidKind,
}

/// Something that the device says by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// `enum ibv_event_type`; [`Event::words`] says it.
    pub kind: u32,
    pub of: Of,
}

/// Whom an event is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Of {
    /// The number of a queue pair.
    Pair(u32),
    Completions,
    Receives,
    Port(i32),
    Device,
}

impl Event {
    pub const DEVICE_FATAL: u32 = 8;
    pub const PORT_ACTIVE: u32 = 9;
    pub const PORT_ERROR: u32 = 10;

    /// After it, nothing of the device works any more.
    pub fn device_gone(&self) -> bool {
        self.kind == Event::DEVICE_FATAL
    }

    /// After it, what it is about works no more.
    pub fn fatal(&self) -> bool {
        matches!(self.kind, 0..=3 | Event::DEVICE_FATAL | 14)
    }

    /// What happened, in words.
    pub fn words(&self) -> &'static str {
        match self.kind {
            0 => "a completion queue overflowed",
            1 => "a queue pair failed",
            2 => "a queue pair got a request that it cannot take",
            3 => "a peer asked for memory that it may not reach",
            4 => "a connection is established",
            5 => "a send queue is drained",
            6 => "a path migrated",
            7 => "a path failed to migrate",
            Event::DEVICE_FATAL => "the device failed or was removed",
            Event::PORT_ACTIVE => "the port is up",
            Event::PORT_ERROR => "the port is down",
            11 => "the port's LID changed",
            12 => "the partition keys changed",
            13 => "the subnet manager changed",
            14 => "a shared receive queue failed",
            15 => "a shared receive queue runs low",
            16 => "a queue pair took its last receive",
            17 => "the subnet manager asks to register again",
            18 => "the port's addresses changed",
            19 => "a work queue failed",
            _ => "an event that this library does not know",
        }
    }
}

impl Context {
    /// The device's name, `mlx5_0`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The device's file in /dev/infiniband, `uverbs0`.
    pub fn file(&self) -> String {
        // SAFETY: the context is open, and its device lives as long.
        text(unsafe { (*(*self.raw).device).dev_name.as_ptr() })
    }

    pub fn library(&self) -> &'static Library {
        self.library
    }

    /// Whether this process opened it (and is not a child of that one).
    pub(super) fn ours(&self) -> bool {
        self.process == std::process::id()
    }

    pub(super) fn ops(&self) -> &c::Operations {
        // SAFETY: the context is open; its table of operations does not change after it was.
        unsafe { &(*self.raw).ops }
    }

    /// What the device can do.
    pub fn attributes(&self) -> Result<c::DeviceAttr, Error> {
        // SAFETY: plain integers, for which zero is a value.
        let mut out: c::DeviceAttr = unsafe { std::mem::zeroed() };
        // SAFETY: the context is open and the struct has C's layout.
        let answer = unsafe { (self.library.calls.query_device)(self.raw, &mut out) };
        Error::check("ibv_query_device", &self.name, answer).map(|()| out)
    }

    /// A port's state; ports count from 1.
    pub fn port(&self, port: u8) -> Result<c::PortAttr, Error> {
        let mut out = c::PortAttr::default();
        // SAFETY: the context is open; the call writes at most what the struct has.
        let answer = unsafe { (self.library.calls.query_port)(self.raw, port, &mut out) };
        Error::check("ibv_query_port", &self.name, answer).map(|()| out)
    }

    /// The port's addresses that are set, with their kinds.
    pub fn gids(&self, port: u8) -> Result<Vec<GidEntry>, Error> {
        if let Some(all) = self.gid_table() {
            let of_port = all.iter().filter(|e| e.port_num == u32::from(port));
            return Ok(of_port
                .filter_map(|e| {
                    Some(GidEntry {
                        index: u8::try_from(e.gid_index).ok()?,
                        gid: bytes(e.gid),
                        kind: match e.gid_type {
                            1 => GidKind::RoceV1,
                            2 => GidKind::RoceV2,
                            _ => GidKind::InfiniBand,
                        },
                    })
                })
                .filter(|e| e.gid != [0; 16])
                .collect());
        }
        // An old library or kernel: entry by entry.
        let count = self.port(port)?.gid_tbl_len.clamp(0, 256);
        let mut found = Vec::new();
        for index in 0..count as u8 {
            let mut gid = [0; 16];
            // SAFETY: the context is open, and the call writes 16 bytes.
            let answer = unsafe {
                (self.library.calls.query_gid)(self.raw, port, i32::from(index), &mut gid)
            };
            if answer == 0 && gid != [0; 16] {
                let kind = self.gid_kind(port, index);
                found.push(GidEntry { index, gid, kind });
            }
        }
        Ok(found)
    }

    /// All ports' entries, by one call.
    fn gid_table(&self) -> Option<Vec<c::GidEntry>> {
        let call = self.library.query_gid_table?;
        let mut entries = vec![c::GidEntry::default(); 64];
        loop {
            let size = std::mem::size_of::<c::GidEntry>();
            // SAFETY: the context is open; the call writes at most so many entries of that size.
            let count = unsafe { call(self.raw, entries.as_mut_ptr(), entries.len(), 0, size) };
            match usize::try_from(count) {
                Ok(count) => {
                    entries.truncate(count);
                    return Some(entries);
                }
                // Too small an array.
                Err(_) if count == -(libc::EINVAL as isize) && entries.len() < 4096 => {
                    entries.resize(entries.len() * 4, c::GidEntry::default());
                }
                Err(_) => return None,
            }
        }
    }

    fn gid_kind(&self, port: u8, index: u8) -> GidKind {
        let path = format!(
            "/sys/class/infiniband/{}/ports/{port}/gid_attrs/types/{index}",
            self.name
        );
        kind_of(&std::fs::read_to_string(path).unwrap_or_default())
    }

    /// Readable when an event waits; reads never block.
    pub fn events_fd(&self) -> i32 {
        // SAFETY: the context is open.
        unsafe { (*self.raw).async_fd }
    }

    /// The next event, if one waits. It is acknowledged, so nobody waits for that.
    pub fn event(&self) -> Result<Option<Event>, Error> {
        let mut raw = c::AsyncEvent {
            element: c::Element { port_num: 0 },
            event_type: 0,
        };
        // SAFETY: the context is open; the call fills the struct when it answers 0.
        let answer = unsafe { (self.library.calls.get_async_event)(self.raw, &mut raw) };
        if answer != 0 {
            return match errno() {
                libc::EAGAIN | libc::EINTR => Ok(None),
                number => Err(Error::new("ibv_get_async_event", &self.name, number)),
            };
        }
        // SAFETY: the kind says which member is set, and what it points to lives until the event is acknowledged.
        let of = unsafe {
            match raw.event_type {
                0 => Of::Completions,
                1..=7 | 16 => Of::Pair((*raw.element.qp).qp_num),
                14 | 15 => Of::Receives,
                9..=13 | 17 | 18 => Of::Port(raw.element.port_num),
                _ => Of::Device,
            }
        };
        // SAFETY: the event that the call above answered.
        unsafe { (self.library.calls.ack_async_event)(&mut raw) };
        Ok(Some(Event {
            kind: raw.event_type,
            of,
        }))
    }
}

/// The kind by what the kernel writes in gid_attrs/types.
fn kind_of(text: &str) -> GidKind {
    match text.trim() {
        "RoCE v2" => GidKind::RoceV2,
        "IB/RoCE v1" => GidKind::RoceV1,
        _ => GidKind::InfiniBand,
    }
}

/// A GID's bytes as they stand in memory.
pub(super) fn bytes(words: [u64; 2]) -> c::Gid {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&words[0].to_ne_bytes());
    out[8..].copy_from_slice(&words[1].to_ne_bytes());
    out
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.ours() {
            // SAFETY: ours, and all that was made from it held us, so it is gone.
            unsafe { (self.library.calls.close_device)(self.raw) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_bytes_of_gids() {
        assert_eq!(kind_of("RoCE v2\n"), GidKind::RoceV2);
        assert_eq!(kind_of("IB/RoCE v1\n"), GidKind::RoceV1);
        assert_eq!(kind_of(""), GidKind::InfiniBand);
        let gid: c::Gid = *b"0123456789abcdef";
        let halves = [&gid[..8], &gid[8..]].map(|h| u64::from_ne_bytes(h.try_into().unwrap()));
        assert_eq!(bytes(halves), gid);
    }

    #[test]
    fn an_event_has_words_and_weight() {
        let event = |kind| Event {
            kind,
            of: Of::Device,
        };
        assert!(event(Event::DEVICE_FATAL).device_gone() && event(Event::DEVICE_FATAL).fatal());
        assert!(event(1).fatal() && !event(4).fatal() && !event(Event::PORT_ERROR).fatal());
        let all: std::collections::HashSet<_> = (0..=20).map(|k| event(k).words()).collect();
        assert_eq!(all.len(), 21);
    }
}
