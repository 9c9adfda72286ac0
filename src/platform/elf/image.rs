//! One ELF file, read as the loader reads it: through its program headers, never through its sections (which may be stripped).

use super::versions::{self, Wish};
use object::elf::{self, FileHeader64, ProgramHeader64, Sym64};
use object::read::elf::{Dynamic, FileHeader, GnuHashTable, HashTable, ProgramHeader, Sym};
use object::read::{ReadCache, ReadRef, StringTable};
use object::Endianness;
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
    /// The dynamic loader that a program asks for.
    pub interpreter: Option<String>,
    /// The newest glibc it wants.
    pub glibc: Option<Wish>,
}

/// The first bytes of a file, told apart.
pub enum Magic {
    Elf(File),
    /// `#!`: the interpreter and its one argument.
    Script(String),
}

type Header = FileHeader64<Endianness>;
type Segment = ProgramHeader64<Endianness>;

/// One file's bytes, fetched piece by piece as they are asked for (a program of a gigabyte costs its tables), and its program headers.
pub(super) struct Reader<'a> {
    data: &'a ReadCache<&'a File>,
    path: &'a Path,
    length: u64,
    segments: &'a [Segment],
    dynamic: Vec<Dynamic>,
}

/// This machine's byte order: [`check_machine`] has seen to it.
pub(super) const ORDER: Endianness = Endianness::Little;
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
    /// Opens and reads a file; None: a script.
    pub fn of(path: &Path) -> Result<Option<Image>, Trouble> {
        match open(path)? {
            Magic::Elf(file) => Image::read(path, &file).map(Some),
            Magic::Script(_) => Ok(None),
        }
    }

    /// Reads an ELF file of this machine's kind.
    pub fn read(path: &Path, file: &File) -> Result<Image, Trouble> {
        let meta = file.metadata().map_err(|e| Trouble::Io(path.into(), e))?;
        let data = ReadCache::new(file);
        let mut reader = Reader {
            data: &data,
            path,
            length: meta.len(),
            segments: &[],
            dynamic: Vec::new(),
        };
        let header: &Header = reader
            .data
            .read_at(0)
            .map_err(|()| reader.damaged("its header is incomplete"))?;
        check_machine(path, header)?;
        let kind = header.e_type(ORDER);
        if kind != elf::ET_EXEC && kind != elf::ET_DYN {
            return Err(reader.damaged("it is neither a program nor a shared library"));
        }
        reader.load_segments(header)?;
        reader.load_dynamic()?;
        let flags = elf::DynamicFlags(reader.one(elf::DT_FLAGS).unwrap_or(0));
        let flags1 = elf::DynamicFlags1(reader.one(elf::DT_FLAGS_1).unwrap_or(0));
        let strings = reader.strings()?;
        let texts = |tag| {
            let all = reader.dynamic.iter().filter(|d| d.tag == tag);
            all.map(|d| reader.name(&strings, d.val))
                .collect::<Result<Vec<_>, _>>()
        };
        let list = |tag| -> Result<Vec<String>, Trouble> {
            Ok(texts(tag)?
                .iter()
                .flat_map(|all| all.split(':').filter(|s| !s.is_empty()).map(String::from))
                .collect())
        };
        let interpreter = reader.interpreter()?;
        // A static PIE has a dynamic segment without loader or NEEDED; a library has no loader either, but a SONAME or the flag missing.
        let pie = flags1.contains(elf::DF_1_PIE);
        let shape = match () {
            () if interpreter.is_some() => Shape::Program,
            () if reader.dynamic.is_empty() || pie || kind == elf::ET_EXEC => Shape::Static,
            () => Shape::Library,
        };
        let symbols = reader.symbols(&strings)?;
        let (imports, exports) = reader.dynamic_symbols(symbols, &strings)?;
        Ok(Image {
            path: path.into(),
            shape,
            soname: texts(elf::DT_SONAME)?.into_iter().next(),
            needed: texts(elf::DT_NEEDED)?,
            rpath: list(elf::DT_RPATH)?,
            runpath: list(elf::DT_RUNPATH)?,
            imports,
            exports,
            binds_now: reader.one(elf::DT_BIND_NOW).is_some()
                || flags.contains(elf::DF_BIND_NOW)
                || flags1.contains(elf::DF_1_NOW),
            privileged: meta.mode() & 0o6000 != 0,
            glibc: versions::newest(&reader, symbols),
            interpreter,
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

fn machine(machine: elf::Machine, class: elf::FileClass) -> String {
    match machine {
        elf::EM_386 => "x86 (32 bits)".into(),
        elf::EM_X86_64 if class == elf::ELFCLASS64 => "x86_64".into(),
        elf::EM_X86_64 => "x32".into(),
        elf::EM_AARCH64 => "aarch64".into(),
        elf::EM_ARM => "arm (32 bits)".into(),
        elf::EM_RISCV => "riscv".into(),
        elf::EM_PPC64 => "powerpc64".into(),
        elf::EM_PPC => "powerpc (32 bits)".into(),
        elf::EM_S390 => "s390x".into(),
        elf::EM_MIPS => "mips".into(),
        elf::EM_LOONGARCH => "loongarch".into(),
        elf::Machine(number) => format!("machine {number}"),
    }
}

/// Class, byte order and machine stand at the same place in every ELF header, 32 bits or 64.
fn check_machine(path: &Path, header: &Header) -> Result<(), Trouble> {
    let big = header.is_big_endian();
    let number = header.e_machine(if big { Endianness::Big } else { ORDER });
    let host = if cfg!(target_arch = "aarch64") {
        elf::EM_AARCH64
    } else {
        elf::EM_X86_64
    };
    if header.is_class_64() && header.is_little_endian() && number == host {
        return Ok(());
    }
    let mut found = machine(number, header.e_ident().class);
    if big {
        found.push_str(", big endian");
    }
    Err(Trouble::Architecture {
        path: path.into(),
        found,
        host: machine(host, elf::ELFCLASS64),
    })
}

impl<'a> Reader<'a> {
    fn damaged(&self, why: impl Into<String>) -> Trouble {
        Trouble::Damaged(self.path.into(), why.into())
    }

    fn load_segments(&mut self, header: &Header) -> Result<(), Trouble> {
        self.segments = header
            .program_headers(ORDER, self.data)
            .map_err(|error| self.damaged(error.to_string()))?;
        if self.segments.is_empty() {
            return Err(self.damaged("it has no program headers"));
        }
        for segment in self.segments {
            let (offset, size) = segment.file_range(ORDER);
            let end = offset.checked_add(size);
            let kind = segment.p_type(ORDER);
            if matches!(kind, elf::PT_LOAD | elf::PT_DYNAMIC | elf::PT_INTERP)
                && end.is_none_or(|end| end > self.length)
            {
                return Err(self.damaged(format!(
                    "a segment of {size} bytes at {offset} is beyond its end ({} bytes)",
                    self.length
                )));
            }
        }
        Ok(())
    }

    fn interpreter(&self) -> Result<Option<String>, Trouble> {
        let mut found = self.segments.iter();
        let Some(segment) = found.find(|s| s.p_type(ORDER) == elf::PT_INTERP) else {
            return Ok(None);
        };
        let (offset, size) = segment.file_range(ORDER);
        let path = self
            .data
            .read_bytes_at(offset, size.min(4096))
            .map_err(|()| self.damaged("its loader's name cannot be read"))?;
        let path = path.split(|byte| *byte == 0).next().unwrap_or(path);
        Ok(Some(String::from_utf8_lossy(path).into_owned()))
    }

    fn load_dynamic(&mut self) -> Result<(), Trouble> {
        let mut found = self.segments.iter();
        let Some(segment) = found.find(|s| s.p_type(ORDER) == elf::PT_DYNAMIC) else {
            return Ok(());
        };
        if segment.p_filesz(ORDER) > LARGEST {
            return Err(self.damaged("its dynamic segment is too large"));
        }
        let entries = segment
            .dynamic(ORDER, self.data)
            .map_err(|error| self.damaged(error.to_string()))?;
        self.dynamic = entries
            .unwrap_or_default()
            .iter()
            .map(|entry| Dynamic {
                tag: entry.d_tag.get(ORDER),
                val: entry.d_val.get(ORDER),
            })
            .take_while(|entry| entry.tag != elf::DT_NULL)
            .collect();
        Ok(())
    }

    pub(super) fn one(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.dynamic.iter().find(|d| d.tag == tag).map(|d| d.val)
    }

    /// `size` bytes at an address of the loaded program; without a size, as far as the next table or the segment's end.
    pub(super) fn table(&self, address: u64, size: Option<u64>) -> Result<&'a [u8], Trouble> {
        let place = self.segments.iter().find_map(|segment| {
            let (offset, length) = segment.file_range(ORDER);
            let inside = address.checked_sub(segment.p_vaddr(ORDER))?;
            let here = segment.p_type(ORDER) == elf::PT_LOAD && inside < length;
            here.then(|| (offset + inside, length - inside))
        });
        let Some((offset, rest)) = place else {
            return Err(self.damaged(format!("address {address:#x} is in no segment")));
        };
        let size = size.unwrap_or_else(|| {
            let others = self.dynamic.iter().filter(|d| d.is_address());
            let gaps = others.filter_map(|d| d.val.checked_sub(address));
            gaps.filter(|gap| *gap > 0).min().unwrap_or(rest).min(rest)
        });
        if size > rest || size > LARGEST {
            return Err(self.damaged(format!(
                "a table of {size} bytes at {offset} is beyond its segment"
            )));
        }
        self.data
            .read_bytes_at(offset, size)
            .map_err(|()| self.damaged(format!("{size} bytes at {offset} cannot be read")))
    }

    pub(super) fn strings(&self) -> Result<StringTable<'a>, Trouble> {
        let (address, size) = (self.one(elf::DT_STRTAB), self.one(elf::DT_STRSZ));
        let (Some(address), Some(size)) = (address, size) else {
            return Ok(StringTable::default());
        };
        let bytes = self.table(address, Some(size))?;
        Ok(StringTable::new(bytes, 0, size))
    }

    pub(super) fn name(&self, strings: &StringTable<'a>, at: u64) -> Result<String, Trouble> {
        let found = u32::try_from(at).ok().and_then(|at| strings.get(at).ok());
        match found {
            Some(name) => Ok(String::from_utf8_lossy(name).into_owned()),
            None => Err(self.damaged(format!("no string at {at}"))),
        }
    }

    /// The dynamic symbols. No header says how many there are: the hash tables do, and where a GNU one is empty (a program that
    /// exports nothing), the table that follows, with a gap between them perhaps, whose bytes make no names.
    fn symbols(&self, strings: &StringTable<'a>) -> Result<&'a [Sym64<Endianness>], Trouble> {
        let Some(address) = self.one(elf::DT_SYMTAB) else {
            return Ok(&[]);
        };
        let count = if let Some(hash) = self.one(elf::DT_HASH) {
            let table = HashTable::<Header>::parse(ORDER, self.table(hash, None)?);
            let table = table.map_err(|error| self.damaged(error.to_string()))?;
            Some(table.symbol_table_length())
        } else if let Some(hash) = self.one(elf::DT_GNU_HASH) {
            let table = GnuHashTable::<Header>::parse(ORDER, self.table(hash, None)?);
            let table = table.map_err(|error| self.damaged(error.to_string()))?;
            table.symbol_table_length(ORDER)
        } else {
            return Ok(&[]);
        };
        let each = size_of::<Sym64<Endianness>>();
        let bytes = self.table(address, count.map(|count| u64::from(count) * each as u64))?;
        let (symbols, _) =
            object::pod::slice_from_bytes::<Sym64<Endianness>>(bytes, bytes.len() / each)
                .map_err(|()| self.damaged("its symbol table is misaligned"))?;
        if count.is_some() {
            return Ok(symbols);
        }
        let named = symbols
            .iter()
            .take_while(|s| s.name(ORDER, *strings).is_ok());
        Ok(&symbols[..named.count()])
    }

    /// The names of what it imports, and of the functions it exports.
    fn dynamic_symbols(
        &self,
        symbols: &[Sym64<Endianness>],
        strings: &StringTable<'a>,
    ) -> Result<(Vec<String>, Vec<String>), Trouble> {
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        for symbol in symbols.iter().skip(1) {
            let name = self.name(strings, symbol.st_name(ORDER).into())?;
            if symbol.is_undefined(ORDER) {
                imports.push(name);
            } else if symbol.st_type() == elf::STT_FUNC {
                exports.push(name);
            }
        }
        Ok((imports, exports))
    }
}
