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

/// `/proc/self/maps`, kept open; looking at it allocates nothing.
pub struct Mappings {
    file: Fd,
    /// Can the kernel be asked for one address (Linux 6.11)? Otherwise the text is read.
    asks: bool,
    /// Of the text, as much as is looked at at a time.
    text: Box<[u8]>,
}

/// Longer than any line.
const TEXT: usize = 32 << 10;

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
            text: vec![0; TEXT].into(),
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
        self.read(|mapping| {
            if mapping.start < end && mapping.end > start {
                found(mapping);
            }
            mapping.start < end
        })
    }

    /// All the runs, in order: memory of our own without a hole and as far as it goes, be it one mapping or several.
    pub fn runs(&mut self, mut found: impl FnMut(usize, usize)) -> io::Result<()> {
        let (mut start, mut end) = (0, 0);
        self.each(0, usize::MAX, |mapping| {
            if mapping.own && mapping.start == end {
                end = mapping.end;
                return;
            }
            if start < end {
                found(start, end);
            }
            (start, end) = match mapping.own {
                true => (mapping.start, mapping.end),
                false => (0, 0),
            };
        })?;
        if start < end {
            found(start, end);
        }
        Ok(())
    }

    /// The run that has all from `start` to `end`.
    pub fn run(&mut self, start: usize, end: usize) -> io::Result<Option<(usize, usize)>> {
        let mut run = None;
        self.runs(|from, to| {
            if from <= start && to >= end {
                run = Some((from, to));
            }
        })?;
        Ok(run)
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
        let only_read = query.kind & (READABLE | WRITABLE) == READABLE;
        let own = !file && query.kind & SHARED == 0;
        Ok(Some(Mapping {
            start: query.start as usize,
            end: query.end as usize,
            own: own && !(only_read && self.is_kernels(query.start)),
        }))
    }

    /// Is the mapping at `address` one of the kernel's own (`[vdso]`, `[vvar]`)? These are read by the program, never written.
    fn is_kernels(&self, address: u64) -> bool {
        let mut name = [0u8; 16];
        let mut query = Query {
            size: std::mem::size_of::<Query>() as u64,
            address,
            name_size: name.len() as u32,
            name: name.as_mut_ptr() as u64,
            ..Query::default()
        };
        // SAFETY: the structure is the kernel's, knows its own size, and names a buffer with its length.
        let answer = unsafe { libc::ioctl(self.file.0, PROCMAP_QUERY, &mut query) };
        answer == 0 && name.starts_with(KERNELS)
    }

    /// From where to where the mappings go that have a part between `start` and `end`.
    pub fn mappings(&mut self, start: usize, end: usize) -> io::Result<(usize, usize)> {
        let (mut from, mut to) = (start, end);
        self.each(start, end, |mapping| {
            from = from.min(mapping.start);
            to = to.max(mapping.end);
        })?;
        Ok((from, to))
    }

    /// Goes through the text, until `more` says that it is enough.
    fn read(&mut self, mut more: impl FnMut(Mapping) -> bool) -> io::Result<()> {
        let (mut have, mut offset) = (0, 0);
        loop {
            let room = &mut self.text[have..];
            // SAFETY: pointer and length are those of a live slice.
            let n =
                unsafe { libc::pread(self.file.0, room.as_mut_ptr().cast(), room.len(), offset) };
            match n {
                0 => return Ok(()),
                n if n < 0 && errno() == libc::EINTR => continue,
                n if n < 0 => return Err(io::Error::last_os_error()),
                _ => {}
            }
            offset += n as i64;
            have += n as usize;
            let mut at = 0;
            while let Some(length) = self.text[at..have].iter().position(|b| *b == b'\n') {
                if parse(&self.text[at..at + length]).is_some_and(|m| !more(m)) {
                    return Ok(());
                }
                at += length + 1;
            }
            // The beginning of a line stays; what is no line at all does not.
            let rest = (have - at) % TEXT;
            self.text.copy_within(at..at + rest, 0);
            have = rest;
        }
    }
}

/// So begin the names of the kernel's own mappings, which are anonymous and private and cannot be watched.
const KERNELS: &[u8] = b"[v";

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
    let kernels = words
        .next()
        .is_some_and(|name| name.as_bytes().starts_with(KERNELS));
    let file = inode != "0" || !device.chars().all(|c| c == '0' || c == ':');
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        own: kind.ends_with('p') && !file && !kernels,
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
const READABLE: u64 = 0x01;
const WRITABLE: u64 = 0x02;
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
        assert_eq!(
            own("7f00-8000 r-xp 00000000 00:00 0     [vdso]"),
            Some(false)
        );
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
    #[test]
    fn a_run_goes_as_far_as_memory_of_our_own() {
        let block = Block::far(0x1100_0000_0000, 16 * PAGE);
        block.map(0, 3 * PAGE);
        block.map(4 * PAGE, 8 * PAGE);
        block.protect(5 * PAGE, PAGE, libc::PROT_NONE);
        block.cover_with_memfd(9 * PAGE, PAGE);
        let mut maps = Mappings::open().expect("procfs");
        let page = |n: usize| block.address() + n * PAGE;
        for asks in [true, false] {
            maps.asks = asks;
            let mut run = |from, to| maps.run(page(from), page(to)).unwrap();
            assert_eq!(run(1, 2), Some((page(0), page(3))));
            assert_eq!(run(8, 9), Some((page(4), page(9))), "of two kinds");
            assert_eq!(run(10, 12), Some((page(10), page(12))));
            for none in [(2, 5), (8, 10), (9, 10), (12, 13)] {
                assert_eq!(run(none.0, none.1), None);
            }
            let mut last = 0;
            maps.runs(|start, end| {
                assert!(last < start && start < end);
                last = end;
            })
            .unwrap();
            // The kernel's own page is in none.
            // SAFETY: getauxval has no preconditions.
            let vdso = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize;
            assert_eq!(maps.run(vdso, vdso + PAGE).unwrap(), None);
        }
    }
}
