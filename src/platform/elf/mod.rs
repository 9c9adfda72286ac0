//! What a program is, before it is run: which MPI it was built for, and whether Mayfly's library can take that one's place.

mod closure;
mod family;
mod image;
mod search;
mod versions;

pub use closure::{closure, Closure, Object};
pub use family::{family, Abi, Family};
pub use image::{Image, Shape, Trouble};
pub use search::{Surroundings, Way};
pub use versions::{Glibc, Wish};

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};

/// Everything [`examine`] found.
#[derive(Debug)]
pub struct Report {
    pub path: PathBuf,
    pub kind: Kind,
    /// MPI libraries by the name that asks for them, and who asks first.
    pub libraries: Vec<Library>,
    /// The program and each library it pulls in that imports MPI symbols: path, sorted names.
    pub users: Vec<(PathBuf, Vec<String>)>,
    /// NEEDED names that no rule of the loader finds, and who needs them; MPI's own are not among them.
    pub missing: Vec<(String, PathBuf)>,
    /// What stops Mayfly's library from being loaded in the other's place.
    pub traps: Vec<Trap>,
    /// All symbols must resolve at the start (BIND_NOW in the program or one of its MPI users).
    pub binds_now: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Started by the dynamic loader.
    Dynamic,
    /// A shared library, loaded by some program.
    Library,
    /// Static; true: with an MPI library inside.
    Static(bool),
    /// Dynamic, but with an MPI library linked into it.
    MpiInside,
    /// An MPI library itself.
    MpiLibrary,
    /// A `#!` line: the interpreter and its argument.
    Script(String),
}

/// An MPI library that something needs.
#[derive(Clone, Debug)]
pub struct Library {
    pub name: String,
    pub family: Family,
    pub needed_by: PathBuf,
    /// What the loader would take today, without Mayfly.
    pub found: Option<PathBuf>,
}

/// Why the loader would not take Mayfly's library.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trap {
    /// DT_RPATH comes before LD_LIBRARY_PATH and its folder holds an MPI library.
    Rpath {
        object: PathBuf,
        library: String,
        found: PathBuf,
    },
    /// NEEDED is a path, so nothing is searched.
    Absolute { object: PathBuf, library: String },
    /// setuid or setgid: the loader ignores LD_LIBRARY_PATH and LD_PRELOAD.
    Privileged { object: PathBuf },
}

impl Trap {
    /// A preloaded library of the same SONAME is taken before any search.
    pub fn preload_helps(&self) -> bool {
        match self {
            Trap::Rpath { library, .. } => Abi::ALL.iter().any(|abi| abi.soname() == library),
            Trap::Absolute { .. } | Trap::Privileged { .. } => false,
        }
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trap::Rpath {
                object,
                library,
                found,
            } => write!(
                f,
                "{}: its DT_RPATH leads to {} and beats LD_LIBRARY_PATH for {library}",
                object.display(),
                found.display()
            ),
            Trap::Absolute { object, library } => {
                write!(f, "{}: needs {library} by its full path", object.display())
            }
            Trap::Privileged { object } => write!(
                f,
                "{}: is setuid or setgid, so the loader ignores LD_LIBRARY_PATH",
                object.display()
            ),
        }
    }
}

impl Report {
    /// The ABIs asked for, the program's own first.
    pub fn abis(&self) -> Vec<Abi> {
        let mut found = Vec::new();
        for library in &self.libraries {
            if let Family::Known(abi) = library.family {
                if !found.contains(&abi) {
                    found.push(abi);
                }
            }
        }
        found
    }

    /// The folders under lib/mayfly to put before LD_LIBRARY_PATH, in this order: what the program asks for, then the others, because what
    /// it starts or loads later (a script's interpreter, Python's mpi4py) may ask for them. Their file names differ, so all may be there.
    pub fn folders(&self) -> Vec<Abi> {
        let mut folders = self.abis();
        folders.extend(
            Abi::ALL
                .into_iter()
                .filter(|abi| !self.abis().contains(abi)),
        );
        folders
    }

    /// The ABIs whose library must go into LD_PRELOAD as well, because a DT_RPATH would win otherwise.
    pub fn preload(&self) -> Vec<Abi> {
        let trapped = self.traps.iter().filter(|t| t.preload_helps());
        let wanted: BTreeSet<Abi> = trapped
            .filter_map(|t| match t {
                Trap::Rpath { library, .. } => Abi::ALL.into_iter().find(|a| a.soname() == library),
                _ => None,
            })
            .collect();
        wanted.into_iter().collect()
    }

    /// Why Mayfly cannot be put under this program, a line each; empty: it can.
    pub fn obstacles(&self) -> Vec<String> {
        let path = self.path.display();
        let mut lines = Vec::new();
        match &self.kind {
            Kind::Static(true) => lines.push(format!(
                "{path}: an MPI library is linked into it statically; it must be linked again, dynamically"
            )),
            Kind::MpiInside => lines.push(format!(
                "{path}: an MPI library is linked into it (libmpi.a); it must be linked again, dynamically"
            )),
            _ => {}
        }
        for library in &self.libraries {
            let by = library.needed_by.display();
            match &library.family {
                Family::Foreign(what) => lines.push(format!(
                    "{by}: needs {}: {what}, an ABI that Mayfly does not have",
                    library.name
                )),
                Family::Bundled => lines.push(format!(
                    "{by}: brings its own renamed MPI library ({}), which nothing can replace",
                    library.name
                )),
                Family::Known(_) | Family::None => {}
            }
        }
        let abis = self.abis();
        if abis.len() > 1 {
            let names: Vec<_> = abis.iter().map(|a| a.title()).collect();
            lines.push(format!(
                "{path}: it and its libraries ask for more than one MPI at a time: {}",
                names.join(", ")
            ));
        }
        lines.extend(
            self.traps
                .iter()
                .filter(|t| !t.preload_helps())
                .map(|t| t.to_string()),
        );
        lines
    }

    /// The MPI functions imported by the program or its libraries (`PMPI_X` counts as `MPI_X`), and how many objects import each.
    pub fn functions(&self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for (_, names) in &self.users {
            let mine: BTreeSet<&str> = names.iter().filter_map(|name| c_function(name)).collect();
            for name in mine {
                *all.entry(name.to_string()).or_insert(0) += 1;
            }
        }
        all
    }

    /// Fortran entry points (`mpi_send_`, `MPI_SEND`, `mpi_send_f08_`) imported.
    pub fn fortran(&self) -> BTreeSet<String> {
        let all = self.users.iter().flat_map(|(_, names)| names);
        all.filter(|name| is_fortran(name)).cloned().collect()
    }

    /// Members of the C++ bindings (`MPI::Comm`...) imported from libmpi_cxx or libmpicxx.
    pub fn cxx(&self) -> usize {
        self.users
            .iter()
            .flat_map(|(_, names)| names)
            .filter(|name| is_cxx(name))
            .count()
    }
}

/// `MPI_Send` of `MPI_Send` or `PMPI_Send`; None for anything that is no C function of MPI.
fn c_function(symbol: &str) -> Option<&str> {
    let name = symbol
        .strip_prefix('P')
        .filter(|n| n.starts_with("MPI_"))
        .unwrap_or(symbol);
    let rest = name
        .strip_prefix("MPI_")
        .or_else(|| name.strip_prefix("MPIX_"))?;
    // Fortran's upper-case names and pointers such as MPI_UNWEIGHTED have no lower-case letter; MPI_F_STATUS_IGNORE neither.
    (rest.bytes().any(|b| b.is_ascii_lowercase())).then_some(name)
}

fn is_fortran(symbol: &str) -> bool {
    let lower = ["mpi_", "pmpi_"].iter().any(|p| symbol.starts_with(p));
    let upper = ["MPI_", "PMPI_"].iter().any(|p| symbol.starts_with(p));
    let commons = ["mpi_fortran_", "mpi_conversion_fn_null_"]
        .iter()
        .any(|p| symbol.starts_with(p));
    let variables = symbol.ends_with("_IGNORE")
        || symbol.ends_with("WEIGHTED")
        || symbol.ends_with("WEIGHTS_EMPTY");
    lower && !commons || upper && !variables && !symbol.bytes().any(|b| b.is_ascii_lowercase())
}

fn is_cxx(symbol: &str) -> bool {
    ["_ZN3MPI", "_ZNK3MPI", "_ZTVN3MPI", "_ZTIN3MPI", "_ZTSN3MPI"]
        .iter()
        .any(|p| symbol.starts_with(p))
}

fn is_mpi(symbol: &str) -> bool {
    c_function(symbol).is_some()
        || is_fortran(symbol)
        || is_cxx(symbol)
        || ["ompi_", "MPI_", "MPIR_", "MPII_"]
            .iter()
            .any(|p| symbol.starts_with(p))
}

/// Whether the dynamic loader starts this file.
pub fn is_dynamic(path: &Path) -> bool {
    match image::open(path) {
        Ok(image::Magic::Elf(file)) => {
            Image::read(path, &file).is_ok_and(|image| image.shape == Shape::Program)
        }
        _ => false,
    }
}

/// Examines a program in this process's surroundings.
pub fn examine(path: &Path) -> Result<Report, Trouble> {
    examine_in(path, &Surroundings::here())
}

/// Examines a program in given surroundings.
pub fn examine_in(path: &Path, here: &Surroundings) -> Result<Report, Trouble> {
    let mut report = Report {
        path: path.into(),
        kind: Kind::Dynamic,
        libraries: Vec::new(),
        users: Vec::new(),
        missing: Vec::new(),
        traps: Vec::new(),
        binds_now: false,
    };
    let file = match image::open(path)? {
        image::Magic::Script(interpreter) => {
            report.kind = Kind::Script(interpreter);
            return Ok(report);
        }
        image::Magic::Elf(file) => file,
    };
    let program = Image::read(path, &file)?;
    if program.shape == Shape::Static {
        report.kind = Kind::Static(Image::contains_mpi(path, false)?);
        return Ok(report);
    }
    // What it defines itself; a profiling library defines MPI_Init too, but takes PMPI_Init from elsewhere.
    let defines = |name: &str| program.exports.iter().any(|e| e == name);
    let offers = defines("PMPI_Init") || defines("MPI_Init");
    if program.shape == Shape::Library && defines("PMPI_Init") {
        report.kind = Kind::MpiLibrary;
        return Ok(report);
    }
    if program.shape == Shape::Library {
        report.kind = Kind::Library;
    }
    let privileged = program.privileged;
    walk(program, here, &mut report);
    if privileged && !report.libraries.is_empty() {
        report.traps.push(Trap::Privileged {
            object: path.into(),
        });
    }
    if report.kind == Kind::Dynamic
        && report.libraries.is_empty()
        && (offers || Image::contains_mpi(path, true)?)
    {
        let wants_profiled = report
            .users
            .iter()
            .any(|(_, names)| names.iter().any(|n| n == "PMPI_Init"));
        if !wants_profiled
            && report
                .users
                .iter()
                .all(|(p, names)| p != path || !names.iter().any(|n| n == "MPI_Init"))
        {
            report.kind = Kind::MpiInside;
        }
    }
    Ok(report)
}

/// Follows NEEDED breadth first, as the loader does, and does not enter MPI libraries.
fn walk(program: Image, here: &Surroundings, report: &mut Report) {
    let mut images: Vec<(Image, Option<usize>)> = vec![(program, None)];
    let mut known: HashSet<String> = HashSet::new();
    let mut queue = VecDeque::from([0usize]);
    while let Some(at) = queue.pop_front() {
        let mut chain = vec![];
        let mut up = Some(at);
        while let Some(index) = up {
            chain.push(&images[index].0);
            up = images[index].1;
        }
        chain.reverse();
        let asking = &images[at].0;
        let mut used: Vec<String> = asking
            .imports
            .iter()
            .filter(|s| is_mpi(s))
            .cloned()
            .collect();
        let needs_mpi = asking.needed.iter().any(|n| family(n) != Family::None);
        if !used.is_empty() && (needs_mpi || used.iter().any(|s| c_function(s).is_some())) {
            used.sort();
            used.dedup();
            report.users.push((asking.path.clone(), used));
        }
        if needs_mpi || at == 0 {
            report.binds_now |= asking.binds_now;
        }
        let mut fresh = Vec::new();
        for name in &asking.needed {
            if !known.insert(name.clone()) {
                continue;
            }
            let found = search::find(name, &chain, here);
            let kind = family(name);
            if kind != Family::None {
                note_library(name, kind, asking, found, report);
                continue;
            }
            match found {
                None => report.missing.push((name.clone(), asking.path.clone())),
                Some((path, _)) => {
                    if let Ok(image::Magic::Elf(file)) = image::open(&path) {
                        if let Ok(image) = Image::read(&path, &file) {
                            fresh.push(image);
                        }
                    }
                }
            }
        }
        for image in fresh {
            known.extend(image.soname.clone());
            images.push((image, Some(at)));
            queue.push_back(images.len() - 1);
        }
    }
}

fn note_library(
    name: &str,
    kind: Family,
    asking: &Image,
    found: Option<(PathBuf, Way)>,
    report: &mut Report,
) {
    let object = asking.path.clone();
    if matches!(kind, Family::Known(_)) {
        match &found {
            _ if name.contains('/') => report.traps.push(Trap::Absolute {
                object,
                library: name.into(),
            }),
            Some((path, Way::Rpath)) => report.traps.push(Trap::Rpath {
                object,
                library: name.into(),
                found: path.clone(),
            }),
            _ => {}
        }
    }
    report.libraries.push(Library {
        name: name.into(),
        family: kind,
        needed_by: asking.path.clone(),
        found: found.map(|(path, _)| path),
    });
}

#[cfg(test)]
pub mod tests;
