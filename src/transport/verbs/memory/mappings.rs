//! What kinds of memory stand behind addresses: the process's mappings, as the kernel tells them.

use crate::transport::os::{errno, Fd};
use std::io;

/// A mapping or a part of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    pub start: usize,
    pub end: usize,
    /// Anonymous and private: nobody but this process's own calls on these addresses changes what they mean. Pages of files (and
    /// of shared memory, which is files) are also cut off by ftruncate and fallocate, through any descriptor and in any process.
    pub own: bool,
}

/// `/proc/self/maps`, kept open.
pub struct Mappings {
    file: Fd,
    /// Can the kernel be asked for one address (Linux 6.11)? Otherwise the text is read.
    asks: bool,
    text: Vec<u8>,
}

impl Mappings {
    pub fn open() -> io::Result<Mappings> {
        // SAFETY: the path ends with a zero.
        let fd = unsafe {
            libc::open(
                c"/proc/self/maps".as_ptr(),
                libc::O_RDONLY | libc::O_CLOEXEC,
            )
        };
        Ok(Mappings {
            file: Fd(crate::transport::os::check(fd)?),
            asks: true,
            text: Vec::new(),
        })
    }

    /// Is everything from `start` to `end` mapped, and private and anonymous?
    pub fn own(&mut self, start: usize, end: usize) -> io::Result<bool> {
        let mut at = start;
        let mut own = true;
        self.each(start, end, |mapping| {
            own &= mapping.own && mapping.start <= at;
            at = mapping.end;
        })?;
        Ok(own && at >= end)
    }

    /// The mappings that have a part between `start` and `end`, in order.
    pub fn each(
        &mut self,
        start: usize,
        end: usize,
        mut found: impl FnMut(Mapping),
    ) -> io::Result<()> {
        let mut at = start;
        while self.asks && at < end {
            match self.ask(at) {
                Ok(Some(mapping)) if mapping.start < end => {
                    found(mapping);
                    at = mapping.end;
                }
                Ok(_) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => self.asks = false,
                Err(error) => return Err(error),
            }
        }
        if at >= end {
            return Ok(());
        }
        self.read()?;
        for line in self.text.split(|b| *b == b'\n') {
            let Some(mapping) = parse(line) else { continue };
            if mapping.start >= end {
                break;
            }
            if mapping.end > start {
                found(mapping);
            }
        }
        Ok(())
    }

    /// The mapping at `address` or the next above it.
    fn ask(&self, address: usize) -> io::Result<Option<Mapping>> {
        let mut query = Query {
            size: std::mem::size_of::<Query>() as u64,
            flags: COVERING_OR_NEXT,
            address: address as u64,
            ..Query::default()
        };
        // SAFETY: the structure is the kernel's, knows its own size, and points to no buffers.
        if unsafe { libc::ioctl(self.file.0, PROCMAP_QUERY, &mut query) } != 0 {
            return match errno() {
                libc::ENOENT => Ok(None),
                other => Err(io::Error::from_raw_os_error(other)),
            };
        }
        let file = query.inode != 0 || query.major != 0 || query.minor != 0;
        Ok(Some(Mapping {
            start: query.start as usize,
            end: query.end as usize,
            own: !file && query.kind & SHARED == 0,
        }))
    }

    /// Reads the whole text anew.
    fn read(&mut self) -> io::Result<()> {
        self.text.clear();
        loop {
            let have = self.text.len();
            self.text.resize(have + (32 << 10), 0);
            let room = &mut self.text[have..];
            // SAFETY: pointer and length are those of a live slice.
            let n = unsafe {
                libc::pread(
                    self.file.0,
                    room.as_mut_ptr().cast(),
                    room.len(),
                    have as i64,
                )
            };
            self.text.truncate(have + n.max(0) as usize);
            match n {
                0 => return Ok(()),
                n if n < 0 && errno() != libc::EINTR => return Err(io::Error::last_os_error()),
                _ => {}
            }
        }
    }
}

/// A line of the text: `start-end rwxp offset major:minor inode name`.
fn parse(line: &[u8]) -> Option<Mapping> {
    let line = std::str::from_utf8(line.get(..line.len().min(100))?)
        .or_else(|e| std::str::from_utf8(&line[..e.valid_up_to()]))
        .ok()?;
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let hex = |text| usize::from_str_radix(text, 16).ok();
    let kind = words.next()?;
    let (_, device, inode) = (words.next()?, words.next()?, words.next()?);
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        own: kind.ends_with('p') && device.chars().all(|c| c == '0' || c == ':') && inode == "0",
    })
}

/// Of linux/fs.h (`struct procmap_query`).
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    flags: u64,
    address: u64,
    start: u64,
    end: u64,
    kind: u64,
    page: u64,
    offset: u64,
    inode: u64,
    major: u32,
    minor: u32,
    name_size: u32,
    build_size: u32,
    name: u64,
    build: u64,
}

/// `_IOWR(0x66, 17, struct procmap_query)`.
const PROCMAP_QUERY: libc::c_ulong = 0xc068_6611;
const SHARED: u64 = 0x08;
const COVERING_OR_NEXT: u64 = 0x10;

#[cfg(test)]
mod tests {
    use super::super::tests::block::Block;
    use super::*;

    const PAGE: usize = 4096;

    #[test]
    fn a_line_tells_private_anonymous_memory_from_files_and_shared_memory() {
        let own = |line: &str| parse(line.as_bytes()).map(|m| m.own);
        assert_eq!(std::mem::size_of::<Query>(), 0x68);
        assert_eq!(
            own("7f00-8000 rw-p 00000000 00:00 0 "),
            Some(true),
            "anonymous"
        );
        assert_eq!(
            own("7f00-8000 rw-p 00000000 00:00 0      [heap]"),
            Some(true)
        );
        assert_eq!(
            own("7f00-8000 rw-p 00000000 08:01 77     /a b"),
            Some(false)
        );
        assert_eq!(
            own("7f00-8000 rw-s 00000000 00:01 0      /SYSV00000000 (deleted)"),
            Some(false),
            "the first segment of System V has the inode 0"
        );
        assert_eq!(own("7f00-8000 rw-p 00000000 00:01 0 /x"), Some(false));
        assert_eq!(own(""), None);
        assert_eq!(own("no mapping at all"), None);
    }

    #[test]
    fn both_ways_of_asking_find_the_same() {
        let block = Block::new(8 * PAGE);
        block.protect(PAGE, PAGE, libc::PROT_READ);
        block.cover_with_memfd(4 * PAGE, PAGE);
        block.unmap(6 * PAGE, PAGE);
        let mut maps = Mappings::open().expect("procfs");
        for asks in [true, false] {
            maps.asks = asks;
            let mut parts = Vec::new();
            let (start, end) = (block.address(), block.address() + 8 * PAGE);
            maps.each(start, end, |m| {
                parts.push((m.start.max(start) - start, m.end.min(end) - start, m.own))
            })
            .unwrap();
            let pages: Vec<_> = parts
                .iter()
                .map(|(s, e, own)| (s / PAGE, e / PAGE, *own))
                .collect();
            assert_eq!(
                pages,
                [
                    (0, 1, true),
                    (1, 2, true),
                    (2, 4, true),
                    (4, 5, false),
                    (5, 6, true),
                    (7, 8, true)
                ]
            );
            let own = |maps: &mut Mappings, from: usize, to: usize| {
                maps.own(start + from * PAGE, start + to * PAGE).unwrap()
            };
            assert!(own(&mut maps, 0, 4), "mprotect changes nothing");
            assert!(!own(&mut maps, 3, 5), "a file in it");
            assert!(!own(&mut maps, 5, 7), "a hole at its end");
            assert!(!own(&mut maps, 5, 8), "a hole in it");
            assert!(!own(&mut maps, 6, 8), "a hole at its beginning");
        }
    }
}
