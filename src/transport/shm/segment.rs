//! The memory that a rank shares: its own, where others write, and theirs, opened by their address.
//!
//! Layout: a page of [`Head`], a page-rounded byte for each rank (1: it has sent), a [`Control`] for each rank, then
//! one ring for each rank, then the owner's [`Board`]s. Pages cost nothing until somebody writes there.

use crate::transport::os::{check, Fd};
use crate::transport::parts::Parts;
use crate::transport::shm::board::Board;
use crate::transport::shm::ring::Control;
use crate::wire::address::Segment as At;
use std::ffi::CString;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU8, Ordering};

const MAGIC: u64 = u64::from_le_bytes(*b"mayfly03");
const PAGE: usize = 4096;
/// More than anybody asks for.
const BOARDS: u32 = 64;

/// What others must know of a segment and its owner.
#[repr(C)]
pub struct Head {
    magic: u64,
    ranks: u32,
    rank: u32,
    ring: u64,
    pub nonce: [u8; 16],
    job: [u8; 16],
    boards: u32,
    pad: [u8; 68],
    /// How the owner sleeps: see `wake`.
    pub sleeping: Line,
    /// While it sleeps: 0, or it waits for what this rank less 1 shows, and no other board's owner need wake it.
    pub awaits: Line,
    /// Grows when a rank sends for the first time.
    pub activations: Line,
    /// How many ranks have mapped this segment.
    pub attached: Line,
    /// How many will, at most; 0: not known yet.
    expected: Line,
    /// Set by a rank that found no way to wake the owner: it must not sleep long.
    pub unwakeable: Line,
    /// 1 when the owner listens on a wake socket.
    pub socket: Line,
    /// 1 when the owner has closed its links in good order.
    pub closed: Line,
    /// 1 when the owner, before it sleeps, makes a barrier in all registered processes: see `fence`.
    pub fences: Line,
    /// The processor that the owner waited on last, and 1 more; 0: it has not waited yet.
    pub core: Line,
}

/// A number in a cache line pair of its own (neighbouring lines are fetched together).
#[repr(C, align(128))]
pub struct Line(pub AtomicU32);

/// Where everything lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    pub ranks: u32,
    /// Bytes of one ring, a power of two.
    pub ring: usize,
    /// Boards of the owner: so many communicators at a time have one.
    pub boards: u32,
}

impl Layout {
    /// Rings small enough that those of all pairs together stay bearable.
    pub fn of(ranks: u32, boards: u32) -> Layout {
        let ring = match ranks {
            0..=8 => 256 << 10,
            9..=32 => 128 << 10,
            33..=128 => 64 << 10,
            _ => 32 << 10,
        };
        Layout {
            ranks,
            ring,
            boards,
        }
    }

    fn controls_at(&self) -> usize {
        PAGE + (self.ranks as usize).next_multiple_of(PAGE)
    }

    fn rings_at(&self) -> usize {
        self.controls_at() + (self.ranks as usize * size_of::<Control>()).next_multiple_of(PAGE)
    }

    fn boards_at(&self) -> usize {
        (self.rings_at() + self.ranks as usize * self.ring).next_multiple_of(PAGE)
    }

    pub fn total(&self) -> usize {
        self.boards_at() + self.boards as usize * size_of::<Board>()
    }
}

/// A mapping of a segment, unmapped with its owner.
pub struct Map {
    base: *mut u8,
    length: usize,
    pub layout: Layout,
}

// SAFETY: the mapping belongs to the process, not to a thread; shared words in it are atomics.
unsafe impl Send for Map {}

impl Map {
    fn new(fd: i32, layout: Layout) -> io::Result<Map> {
        let length = layout.total();
        // SAFETY: a new mapping at an address of the kernel's choice; it disturbs nothing.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                fd,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Map {
            base: base.cast(),
            length,
            layout,
        })
    }

    #[inline]
    pub fn head(&self) -> &Head {
        // SAFETY: the mapping begins with a head, page-aligned, and lives as long as self; its plain fields are written
        // before any other process knows of the segment.
        unsafe { &*self.base.cast::<Head>() }
    }

    /// Has this rank ever sent?
    pub fn active(&self, rank: u32) -> &AtomicU8 {
        assert!(rank < self.layout.ranks);
        // SAFETY: the byte lies in the mapping (asserted) and is only used as an atomic.
        unsafe { &*self.base.add(PAGE + rank as usize).cast::<AtomicU8>() }
    }

    pub fn control(&self, rank: u32) -> *const Control {
        assert!(rank < self.layout.ranks);
        let at = self.layout.controls_at() + rank as usize * size_of::<Control>();
        // SAFETY: within the mapping (asserted).
        unsafe { self.base.add(at).cast::<Control>() }
    }

    /// Is the owner unable to wake this rank when there is room in its ring?
    pub fn mute(&self, rank: u32) -> &AtomicU32 {
        // SAFETY: the control lies in the mapping, and the word is only used as an atomic.
        unsafe { &(*self.control(rank)).mute }
    }

    /// Which parts are taken of a message from this rank that both copy.
    pub fn parts(&self, rank: u32) -> &Parts {
        // SAFETY: the control lies in the mapping, and the word in it is an atomic.
        unsafe { &(*self.control(rank)).parts }
    }

    pub fn ring(&self, rank: u32) -> *mut u8 {
        assert!(rank < self.layout.ranks);
        let at = self.layout.rings_at() + rank as usize * self.layout.ring;
        // SAFETY: within the mapping (asserted).
        unsafe { self.base.add(at) }
    }

    /// A board of the owner's, if it has so many.
    pub fn board(&self, index: u32) -> Option<*const Board> {
        let at = self.layout.boards_at() + index as usize * size_of::<Board>();
        // SAFETY: within the mapping (looked at), page-aligned.
        (index < self.layout.boards).then(|| unsafe { self.base.add(at).cast_const().cast() })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping; rings that point into it are dropped with their owner.
        unsafe { libc::munmap(self.base.cast(), self.length) };
    }
}

/// The segment of this rank.
pub struct Segment {
    pub map: Map,
    fd: Option<Fd>,
    path: Option<CString>,
}

/// Who a segment belongs to.
#[derive(Clone, Copy)]
pub struct Owner {
    pub rank: u32,
    pub nonce: [u8; 16],
    pub job: [u8; 16],
}

impl Segment {
    /// An anonymous segment: no file is left whatever happens.
    pub fn anonymous(layout: Layout, owner: Owner) -> io::Result<Segment> {
        let name = CString::new(format!("mayfly-{}", owner.rank)).expect("no zero byte");
        // SAFETY: the name is a C string.
        let fd = Fd(check(unsafe {
            libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
        })?);
        grow(fd.0, layout.total())?;
        // Nobody can pull the memory from under the others. Old kernels refuse; nothing depends on it.
        // SAFETY: no memory is involved.
        unsafe {
            libc::fcntl(
                fd.0,
                libc::F_ADD_SEALS,
                libc::F_SEAL_SHRINK | libc::F_SEAL_GROW,
            )
        };
        let map = Map::new(fd.0, layout)?;
        let segment = Segment {
            map,
            fd: Some(fd),
            path: None,
        };
        segment.describe(owner);
        Ok(segment)
    }

    /// A file in this folder, for where there is no memfd or `/proc` hides the others. All its blocks are taken at
    /// once: a full file system is an error here, not a signal later.
    pub fn file(folder: &str, layout: Layout, owner: Owner) -> io::Result<Segment> {
        let path = format!(
            "{folder}/mayfly-{}-{}-{}",
            hex(&owner.job),
            owner.rank,
            hex(&owner.nonce[..4])
        );
        let path = CString::new(path).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: the path is a C string.
        let fd = Fd(check(unsafe {
            libc::open(
                path.as_ptr(),
                libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC | libc::O_NOFOLLOW,
                0o600,
            )
        })?);
        let made = grow(fd.0, layout.total()).and_then(|()| {
            // SAFETY: no memory is involved.
            match unsafe { libc::posix_fallocate(fd.0, 0, layout.total() as libc::off_t) } {
                0 => Map::new(fd.0, layout),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        });
        match made {
            Ok(map) => {
                let segment = Segment {
                    map,
                    fd: None,
                    path: Some(path),
                };
                segment.describe(owner);
                Ok(segment)
            }
            Err(error) => {
                // SAFETY: the path is a C string.
                unsafe { libc::unlink(path.as_ptr()) };
                Err(error)
            }
        }
    }

    fn describe(&self, owner: Owner) {
        // SAFETY: the mapping begins with a head, nobody else knows of it yet, and no reference to it exists.
        unsafe {
            let head = self.map.base.cast::<Head>();
            (*head).ranks = self.map.layout.ranks;
            (*head).rank = owner.rank;
            (*head).ring = self.map.layout.ring as u64;
            (*head).nonce = owner.nonce;
            (*head).job = owner.job;
            (*head).boards = self.map.layout.boards;
            (*head).magic = MAGIC;
        }
    }

    /// How others open it.
    pub fn at(&self) -> At {
        match (&self.fd, &self.path) {
            (Some(fd), _) => At::Descriptor(fd.0 as u32),
            (None, Some(path)) => At::File(path.to_string_lossy().into_owned()),
            (None, None) => At::None,
        }
    }

    /// Could another process of this user open it?
    pub fn reachable(&self) -> bool {
        match self.at() {
            At::None => false,
            At::Descriptor(fd) => {
                std::fs::metadata(format!("/proc/{}/fd/{fd}", std::process::id())).is_ok()
            }
            At::File(path) => std::path::Path::new(&path).exists(),
        }
    }

    /// So many will map it. The last of them takes a file's name away; nothing is left behind then, whoever is killed.
    pub fn expect(&mut self, local: u32) {
        let head = self.map.head();
        head.expected.0.store(local, Ordering::SeqCst);
        if head.attached.0.load(Ordering::SeqCst) >= local {
            self.unlink();
        }
    }

    fn unlink(&mut self) {
        if let Some(path) = self.path.take() {
            // SAFETY: the path is a C string.
            unsafe { libc::unlink(path.as_ptr()) };
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.unlink();
    }
}

/// Opens the segment of another rank and proves that it is the one its address speaks of; the error says why not.
pub fn attach(at: &At, pid: u32, ranks: u32, owner: Owner) -> Result<Map, String> {
    let path = match at {
        At::None => return Err("it has no segment".to_string()),
        At::Descriptor(fd) => format!("/proc/{pid}/fd/{fd}"),
        At::File(path) => path.clone(),
    };
    let name = CString::new(path.as_str()).map_err(|_| "its path is no path".to_string())?;
    // SAFETY: the path is a C string.
    let fd = check(unsafe {
        libc::open(
            name.as_ptr(),
            libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY,
        )
    })
    .map(Fd)
    .map_err(|e| format!("its segment cannot be opened: {e}"))?;
    // The nonce is read before anything is mapped: another process's descriptor may be anything.
    let mut page = [0u8; size_of::<Plain>()];
    // SAFETY: the pointer and length are those of `page`.
    let n = unsafe { libc::pread(fd.0, page.as_mut_ptr().cast(), page.len(), 0) };
    if n != page.len() as isize {
        return Err("its segment is something else".to_string());
    }
    // SAFETY: `Plain` is plain bytes and integers, any content is valid.
    let plain: Plain = unsafe { std::ptr::read_unaligned(page.as_ptr().cast()) };
    if plain.magic != MAGIC || plain.nonce != owner.nonce || plain.job != owner.job {
        return Err("its segment is that of another process".to_string());
    }
    let layout = Layout {
        ranks,
        ring: plain.ring as usize,
        boards: plain.boards,
    };
    // SAFETY: `stat` is plain integers and the call fills it.
    let size = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(fd.0, &mut stat) != 0 {
            return Err("its segment cannot be measured".to_string());
        }
        stat.st_size
    };
    if plain.ranks != ranks
        || plain.rank != owner.rank
        || !layout.ring.is_power_of_two()
        || !(4096..=1 << 30).contains(&layout.ring)
        || layout.boards > BOARDS
        || size != layout.total() as i64
    {
        return Err("its segment is laid out differently".to_string());
    }
    let map = Map::new(fd.0, layout).map_err(|e| format!("its segment cannot be mapped: {e}"))?;
    let head = map.head();
    let attached = 1 + head.attached.0.fetch_add(1, Ordering::SeqCst);
    let expected = head.expected.0.load(Ordering::SeqCst);
    if matches!(at, At::File(_)) && expected != 0 && attached >= expected {
        // SAFETY: the path is a C string.
        unsafe { libc::unlink(name.as_ptr()) };
    }
    Ok(map)
}

/// The beginning of [`Head`], as bytes of a file.
#[repr(C)]
struct Plain {
    magic: u64,
    ranks: u32,
    rank: u32,
    ring: u64,
    nonce: [u8; 16],
    job: [u8; 16],
    boards: u32,
}

/// Sets the size, after a look at the limit whose breach would be a signal.
fn grow(fd: i32, length: usize) -> io::Result<()> {
    // SAFETY: the structure is plain integers and the call fills it.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) == 0
            && limit.rlim_cur != libc::RLIM_INFINITY
            && limit.rlim_cur < length as u64
        {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
    }
    // SAFETY: no memory is involved.
    check(unsafe { libc::ftruncate(fd, length as libc::off_t) }).map(|_| ())
}

/// Folders where a segment that is a file may live, best first.
pub fn folders(wanted: Option<&str>) -> Vec<String> {
    match wanted {
        Some(folder) => vec![folder.to_string()],
        None => {
            let mut folders = vec!["/dev/shm".to_string()];
            folders.push(std::env::temp_dir().to_string_lossy().into_owned());
            if folders[1] != "/tmp" {
                folders.push("/tmp".to_string());
            }
            folders
        }
    }
}

/// The layout of a file, so small that those of all ranks fit in half of what the folder has left.
pub fn fitting(folder: &str, ranks: u32, boards: u32) -> Layout {
    let mut layout = Layout::of(ranks, boards);
    let Ok(name) = CString::new(folder) else {
        return layout;
    };
    // SAFETY: the path is a C string; the structure is plain integers and the call fills it.
    let free = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(name.as_ptr(), &mut stat) != 0 {
            return layout;
        }
        stat.f_bavail as u64 * stat.f_frsize as u64
    };
    let is_much = |layout: &Layout| layout.total() as u64 * u64::from(ranks) > free / 2;
    while layout.boards > 1 && is_much(&layout) {
        layout.boards /= 2;
    }
    while layout.ring > 8 << 10 && is_much(&layout) {
        layout.ring /= 2;
    }
    if is_much(&layout) {
        layout.boards = 0;
    }
    layout
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner {
        rank: 1,
        nonce: [7; 16],
        job: [8; 16],
    };

    #[test]
    fn a_segment_is_opened_by_its_address_and_by_no_other() {
        let folder = std::env::temp_dir().to_string_lossy().into_owned();
        let layout = Layout {
            ranks: 3,
            ring: 8192,
            boards: 1,
        };
        for segment in [
            Segment::anonymous(layout, OWNER).expect("memfd"),
            Segment::file(&folder, layout, OWNER).expect("file"),
        ] {
            let pid = std::process::id();
            let there = attach(&segment.at(), pid, 3, OWNER).expect("attach");
            there.active(2).store(1, Ordering::Relaxed);
            assert_eq!(segment.map.active(2).load(Ordering::Relaxed), 1);
            assert_eq!(segment.map.active(1).load(Ordering::Relaxed), 0);
            let other = Owner {
                nonce: [6; 16],
                ..OWNER
            };
            assert!(attach(&segment.at(), pid, 3, other).is_err());
            assert!(attach(&segment.at(), pid, 4, OWNER).is_err());
            if let At::File(path) = segment.at() {
                drop(segment);
                assert!(!std::path::Path::new(&path).exists());
            }
        }
    }

    #[test]
    fn the_last_who_maps_a_file_takes_its_name_away() {
        let folder = std::env::temp_dir().to_string_lossy().into_owned();
        let layout = Layout {
            ranks: 3,
            ring: 8192,
            boards: 1,
        };
        let owner = Owner {
            nonce: [9; 16],
            ..OWNER
        };
        for owner_first in [true, false] {
            let mut segment = Segment::file(&folder, layout, owner).expect("file");
            let At::File(path) = segment.at() else {
                panic!("it is a file");
            };
            if owner_first {
                segment.expect(2);
            }
            for _ in 0..2 {
                assert!(std::path::Path::new(&path).exists());
                attach(&At::File(path.clone()), 1, 3, owner).expect("attached");
            }
            if !owner_first {
                assert!(std::path::Path::new(&path).exists());
                segment.expect(2);
            }
            assert!(!std::path::Path::new(&path).exists());
        }
    }

    #[test]
    fn a_foreign_descriptor_is_no_segment() {
        let at = At::Descriptor(0);
        assert!(attach(&at, std::process::id(), 2, OWNER).is_err());
        assert!(attach(&At::File("/etc/passwd".into()), 1, 2, OWNER).is_err());
    }
}
