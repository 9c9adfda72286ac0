//! One ELF file, read as the loader reads it: through its program headers, never through its sections (which may be stripped).

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Why a file cannot be examined; says it in one line that names the file.
#[derive(Debug)]
pub enum Trouble {
    Missing(PathBuf),
    Directory(PathBuf),
    Io(PathBuf, io::Error),
    Empty(PathBuf),
    /// Neither ELF nor a script.
    NotElf(PathBuf),
    /// The file ends before what its headers promise, or they contradict each other.
    Damaged(PathBuf, String),
    /// For another processor (or word size) than this machine's.
    Architecture {
        path: PathBuf,
        found: String,
        host: String,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Missing(path) => write!(f, "{}: there is no such file", path.display()),
            Trouble::Directory(path) => write!(f, "{}: is a folder, not a program", path.display()),
            Trouble::Io(path, error) => write!(f, "{}: cannot be read: {error}", path.display()),
            Trouble::Empty(path) => write!(f, "{}: the file is empty", path.display()),
            Trouble::NotElf(path) => {
                write!(
                    f,
                    "{}: is no ELF program or library and no script",
                    path.display()
                )
            }
            Trouble::Damaged(path, why) => {
                write!(
                    f,
                    "{}: the ELF file is damaged or cut short: {why}",
                    path.display()
                )
            }
            Trouble::Architecture { path, found, host } => {
                write!(
                    f,
                    "{}: is built for {found}; this machine is {host}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for Trouble {}

/// What kind of file it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Starts through the dynamic loader.
    Program,
    /// Static: no loader, so no library can be put in front of it.
    Static,
    /// A shared library.
    Library,
}

/// What the loader would learn from one file.
#[derive(Debug)]
pub struct Image {
    pub path: PathBuf,
    pub shape: Shape,
    pub soname: Option<String>,
    pub needed: Vec<String>,
    pub rpath: Vec<String>,
    pub runpath: Vec<String>,
    /// Undefined dynamic symbols: what it wants from others.
    pub imports: Vec<String>,
    /// Functions it defines for others.
    pub exports: Vec<String>,
    /// All imports must resolve when it is loaded (BIND_NOW).
    pub binds_now: bool,
    /// setuid or setgid: the loader ignores LD_LIBRARY_PATH and LD_PRELOAD.
    pub privileged: bool,
}

/// The first bytes of a file, told apart.
pub enum Magic {
    Elf(File),
    /// `#!`: the interpreter and its one argument.
    Script(String),
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

struct Reader<'a> {
    file: &'a File,
    path: &'a Path,
    length: u64,
    segments: Vec<Segment>,
}

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERP: u32 = 3;
/// No name, table or header of a sound program is larger, bytes.
const LARGEST: u64 = 1 << 30;

/// Opens a file and tells ELF, script and the rest apart.
pub fn open(path: &Path) -> Result<Magic, Trouble> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Trouble::Missing(path.into()),
        _ => Trouble::Io(path.into(), error),
    })?;
    let meta = file.metadata().map_err(|e| Trouble::Io(path.into(), e))?;
    if meta.is_dir() {
        return Err(Trouble::Directory(path.into()));
    }
    let mut head = [0u8; 256];
    let got = file
        .read_at(&mut head, 0)
        .map_err(|e| Trouble::Io(path.into(), e))?;
    let head = &head[..got];
    if head.is_empty() {
        return Err(Trouble::Empty(path.into()));
    }
    if let Some(rest) = head.strip_prefix(b"#!") {
        let line = rest.split(|b| *b == b'\n').next().unwrap_or(rest);
        return Ok(Magic::Script(
            String::from_utf8_lossy(line).trim().to_string(),
        ));
    }
    if !head.starts_with(b"\x7fELF") {
        return Err(Trouble::NotElf(path.into()));
    }
    Ok(Magic::Elf(file))
}

impl Image {
    /// Reads an ELF file of this machine's kind.
    pub fn read(path: &Path, file: &File) -> Result<Image, Trouble> {
        let meta = file.metadata().map_err(|e| Trouble::Io(path.into(), e))?;
        let mut reader = Reader {
            file,
            path,
            length: meta.len(),
            segments: Vec::new(),
        };
        let head = reader
            .at(0, 64)
            .map_err(|_| reader.damaged("its header is incomplete"))?;
        check_machine(path, &head)?;
        let kind = half(&head, 16);
        if kind != 2 && kind != 3 {
            return Err(reader.damaged("it is neither a program nor a shared library"));
        }
        reader.load_segments(word(&head, 32), half(&head, 54), half(&head, 56))?;
        let dynamic = reader.dynamic()?;
        let one = |tag: u64| dynamic.iter().find(|(t, _)| *t == tag).map(|(_, v)| *v);
        let (flags, flags1) = (one(30).unwrap_or(0), one(0x6fff_fffb).unwrap_or(0));
        let strings = reader.strings(one(5), one(10))?;
        let text = |at: u64| reader.name(&strings, at);
        let texts = |tag: u64| {
            dynamic
                .iter()
                .filter(|(t, _)| *t == tag)
                .map(|(_, v)| text(*v))
                .collect::<Result<Vec<_>, _>>()
        };
        let list = |tag: u64| -> Result<Vec<String>, Trouble> {
            Ok(texts(tag)?
                .iter()
                .flat_map(|all| all.split(':').filter(|s| !s.is_empty()).map(String::from))
                .collect())
        };
        let interpreter = reader.segments.iter().any(|s| s.kind == INTERP);
        let soname = one(14).map(text).transpose()?;
        // A static PIE has a dynamic segment without loader or NEEDED; a library has no loader either, but a SONAME or the flag missing.
        let pie = flags1 & 0x0800_0000 != 0;
        let shape = match () {
            () if interpreter => Shape::Program,
            () if dynamic.is_empty() || pie || kind == 2 => Shape::Static,
            () => Shape::Library,
        };
        let (imports, exports) = reader.dynamic_symbols(&one, &strings)?;
        Ok(Image {
            path: path.into(),
            shape,
            soname,
            needed: texts(1)?,
            rpath: list(15)?,
            runpath: list(29)?,
            imports,
            exports,
            binds_now: one(24).is_some() || flags & 8 != 0 || flags1 & 1 != 0,
            privileged: meta.mode() & 0o6000 != 0,
        })
    }

    /// Whether the file itself contains an MPI library: a function of its symbol table says so, or, where that was stripped, its texts.
    /// Only for programs without MPI among their libraries: it reads the whole file. `strictly`: only what a program that looks functions up
    /// by name does not contain as well.
    pub fn contains_mpi(path: &Path, strictly: bool) -> Result<bool, Trouble> {
        let bytes = std::fs::read(path).map_err(|e| Trouble::Io(path.into(), e))?;
        let (mut profiled, mut init, mut rank) = (false, false, false);
        for text in bytes.split(|b| *b == 0) {
            profiled |= text == b"PMPI_Init";
            init |= text == b"MPI_Init";
            rank |= text == b"MPI_Comm_rank";
        }
        Ok(profiled || !strictly && init && rank)
    }
}

fn half(bytes: &[u8], at: usize) -> u64 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]]).into()
}

fn int(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from(int(bytes, at)) | u64::from(int(bytes, at + 4)) << 32
}

fn machine(number: u64, bits: u8) -> String {
    match (number, bits) {
        (3, _) => "x86 (32 bits)".into(),
        (62, 2) => "x86_64".into(),
        (62, _) => "x32".into(),
        (183, _) => "aarch64".into(),
        (40, _) => "arm (32 bits)".into(),
        (243, _) => "riscv".into(),
        (21, _) => "powerpc64".into(),
        (20, _) => "powerpc (32 bits)".into(),
        (22, _) => "s390x".into(),
        (8, _) => "mips".into(),
        (258, _) => "loongarch".into(),
        _ => format!("machine {number}"),
    }
}

fn check_machine(path: &Path, head: &[u8]) -> Result<(), Trouble> {
    let (bits, order) = (head[4], head[5]);
    let number = if order == 2 {
        half(head, 18).swap_bytes() >> 48
    } else {
        half(head, 18)
    };
    let host = if cfg!(target_arch = "aarch64") {
        183
    } else {
        62
    };
    if (bits, order, number) == (2, 1, host) {
        return Ok(());
    }
    let mut found = machine(number, bits);
    if order == 2 {
        found.push_str(", big endian");
    }
    Err(Trouble::Architecture {
        path: path.into(),
        found,
        host: machine(host, 2),
    })
}

impl Reader<'_> {
    fn damaged(&self, why: impl Into<String>) -> Trouble {
        Trouble::Damaged(self.path.into(), why.into())
    }

    fn at(&self, offset: u64, size: u64) -> Result<Vec<u8>, Trouble> {
        let end = offset
            .checked_add(size)
            .filter(|end| *end <= self.length && size <= LARGEST);
        if end.is_none() {
            return Err(self.damaged(format!(
                "{size} bytes at {offset} are beyond its end ({} bytes)",
                self.length
            )));
        }
        let mut bytes = vec![0; size as usize];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|e| Trouble::Io(self.path.into(), e))?;
        Ok(bytes)
    }

    fn load_segments(&mut self, offset: u64, size: u64, count: u64) -> Result<(), Trouble> {
        if count == 0 {
            return Err(self.damaged("it has no program headers"));
        }
        if size < 56 {
            return Err(self.damaged(format!("program headers of {size} bytes")));
        }
        let table = self.at(offset, size * count)?;
        for entry in table.chunks_exact(size as usize) {
            let segment = Segment {
                kind: int(entry, 0),
                offset: word(entry, 8),
                address: word(entry, 16),
                size: word(entry, 32),
            };
            let end = segment.offset.checked_add(segment.size);
            if matches!(segment.kind, LOAD | DYNAMIC | INTERP)
                && end.is_none_or(|end| end > self.length)
            {
                return Err(self.damaged(format!(
                    "a segment of {} bytes at {} is beyond its end ({} bytes)",
                    segment.size, segment.offset, self.length
                )));
            }
            self.segments.push(segment);
        }
        Ok(())
    }

    fn dynamic(&self) -> Result<Vec<(u64, u64)>, Trouble> {
        let Some(segment) = self.segments.iter().find(|s| s.kind == DYNAMIC) else {
            return Ok(Vec::new());
        };
        let table = self.at(segment.offset, segment.size)?;
        let pairs = table.chunks_exact(16).map(|e| (word(e, 0), word(e, 8)));
        Ok(pairs.take_while(|(tag, _)| *tag != 0).collect())
    }

    /// Where an address of the loaded program lies in the file, and how many bytes follow in its segment.
    fn place(&self, address: u64) -> Result<(u64, u64), Trouble> {
        self.segments
            .iter()
            .filter(|s| s.kind == LOAD)
            .find_map(|s| {
                let inside = address.checked_sub(s.address).filter(|i| *i < s.size)?;
                Some((s.offset + inside, s.size - inside))
            })
            .ok_or_else(|| self.damaged(format!("address {address:#x} is in no segment")))
    }

    fn strings(&self, address: Option<u64>, size: Option<u64>) -> Result<Vec<u8>, Trouble> {
        let (Some(address), Some(size)) = (address, size) else {
            return Ok(Vec::new());
        };
        let (offset, rest) = self.place(address)?;
        if size > rest {
            return Err(self.damaged("its string table is beyond its segment"));
        }
        self.at(offset, size)
    }

    fn name(&self, strings: &[u8], at: u64) -> Result<String, Trouble> {
        let tail = usize::try_from(at).ok().and_then(|at| strings.get(at..));
        let Some(end) = tail.and_then(|t| t.iter().position(|b| *b == 0)) else {
            return Err(self.damaged(format!("no string at {at}")));
        };
        Ok(String::from_utf8_lossy(&tail.unwrap_or_default()[..end]).into_owned())
    }

    /// How many dynamic symbols there are: no header says it, the hash tables do.
    fn symbol_count(&self, one: &impl Fn(u64) -> Option<u64>) -> Result<u64, Trouble> {
        if let Some(address) = one(4) {
            let (offset, _) = self.place(address)?;
            return Ok(int(&self.at(offset, 8)?, 4).into());
        }
        let Some(address) = one(0x6fff_fef5) else {
            return Ok(0);
        };
        let (offset, rest) = self.place(address)?;
        let head = self.at(offset, 16)?;
        let (buckets, first, bloom) = (
            int(&head, 0) as u64,
            int(&head, 4) as u64,
            int(&head, 8) as u64,
        );
        let skip = 16 + bloom * 8;
        if skip + buckets * 4 > rest {
            return Err(self.damaged("its hash table is beyond its segment"));
        }
        let table = self.at(offset + skip, buckets * 4)?;
        let last = (0..buckets as usize)
            .map(|i| int(&table, i * 4))
            .max()
            .unwrap_or(0) as u64;
        if last < first {
            return Ok(first);
        }
        // The chain of the highest bucket ends at the entry whose lowest bit is set: it is the last symbol of all.
        let chain = offset + skip + buckets * 4;
        let space = (rest - skip - buckets * 4) / 4;
        let mut at = last;
        while at - first < space {
            let block = 1024.min(space - (at - first));
            let bytes = self.at(chain + (at - first) * 4, block * 4)?;
            for i in 0..block {
                if int(&bytes, i as usize * 4) & 1 == 1 {
                    return Ok(at + i + 1);
                }
            }
            at += block;
        }
        Err(self.damaged("its hash table has no end"))
    }

    fn dynamic_symbols(
        &self,
        one: &impl Fn(u64) -> Option<u64>,
        strings: &[u8],
    ) -> Result<(Vec<String>, Vec<String>), Trouble> {
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        let (Some(address), count) = (one(6), self.symbol_count(one)?) else {
            return Ok((imports, exports));
        };
        let (offset, rest) = self.place(address)?;
        if count.saturating_mul(24) > rest {
            return Err(self.damaged(format!("{count} symbols are beyond their segment")));
        }
        for symbol in self.at(offset, count * 24)?.chunks_exact(24).skip(1) {
            let name = self.name(strings, int(symbol, 0).into())?;
            let function = symbol[4] & 15 == 2;
            if half(symbol, 6) == 0 {
                imports.push(name);
            } else if function {
                exports.push(name);
            }
        }
        Ok((imports, exports))
    }
}
