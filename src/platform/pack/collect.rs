//! From a program to everything it needs, each file with its place in the package.

use super::data::Data;
use super::system::{is_compiler_runtime, is_libc, is_loader, is_mpi_internal, Libc};
use super::target::{demands, Demand};
use super::tree::{Node, Tree};
use super::Request;
use crate::platform::elf::{self, Abi, Closure, Image, Kind, Report, Shape, Surroundings, Trouble};
use crate::platform::package::{Description, FILE, FOLDER, LIBC, LIBRARIES};
use std::fs;
use std::path::{Path, PathBuf};

/// A package's contents, and what there is to say about them.
#[derive(Debug)]
pub struct Contents {
    pub tree: Tree,
    pub description: Description,
    pub report: Report,
    /// The program's libraries that are packed, by name.
    pub libraries: Vec<String>,
    /// Mayfly's libraries that are packed.
    pub abis: Vec<Abi>,
    /// What the packed objects want of a libc that is not packed.
    pub demands: Vec<Demand>,
    /// Packed objects that load others while they run.
    pub openers: Vec<String>,
    /// Things the user should know.
    pub notices: Vec<String>,
}

struct Collector<'a> {
    request: &'a Request,
    libc: Libc,
    tree: Tree,
    notices: Vec<String>,
    libraries: Vec<String>,
}

/// Finds, judges and places everything.
pub fn collect(request: &Request, libc: Libc) -> Result<Contents, String> {
    let mut c = Collector {
        request,
        libc,
        tree: Tree::default(),
        notices: Vec::new(),
        libraries: Vec::new(),
    };
    let here = Surroundings::here();
    let report = c.judge(&here)?;
    let program = c.program()?;
    let roots = c.given(&report)?;
    let closure = elf::closure(&roots, &here).map_err(|e| e.to_string())?;
    if !closure.missing.is_empty() {
        let lines: Vec<String> = closure
            .missing
            .iter()
            .map(|(name, by)| {
                format!(
                    "{}: needs {name}, which is nowhere to be found",
                    by.display()
                )
            })
            .collect();
        return Err(lines.join("\n"));
    }
    let abis = c.abis(&report, &closure);
    let own = c.mayfly(&abis, &closure)?;
    let command = elf::closure(std::slice::from_ref(&request.command), &here);
    let command = command.map_err(|e| e.to_string())?;
    c.libraries(&closure)?;
    let loader = c.libc(&closure, &command)?;
    let mut libraries: Vec<String> = abis
        .iter()
        .map(|a| format!("lib/mayfly/{}", a.name()))
        .collect();
    libraries.push(LIBRARIES.into());
    if libc == Libc::Carried {
        libraries.push(LIBC.into());
    }
    let description = Description {
        mayfly: 1,
        name: request.name.clone(),
        program,
        arguments: request.arguments.clone(),
        libraries,
        // On a machine that has the other MPI where a DT_RPATH leads, that one would win.
        preload: (report.preload().iter())
            .map(|abi| format!("lib/mayfly/{}/{}", abi.name(), abi.soname()))
            .collect(),
        loader,
        environment: request.environment.clone(),
    };
    let text = serde_json::to_string_pretty(&description).map_err(|e| e.to_string())?;
    c.tree.text(FILE, text + "\n")?;

    let packed = |name: &str| libc != Libc::Target || !(is_libc(name) || is_compiler_runtime(name));
    let of_program = closure.roots.iter().chain(
        closure
            .objects
            .iter()
            .filter(|o| packed(&o.name))
            .map(|o| &o.image),
    );
    let mut wanting: Vec<&Image> = command.roots.iter().collect();
    if libc == Libc::Target {
        wanting.extend(of_program);
        wanting.extend(&own);
    }
    let demands = match libc {
        Libc::Rooted => Vec::new(),
        Libc::Target | Libc::Carried => demands(wanting.into_iter()),
    };
    let openers = openers(&closure);
    Ok(Contents {
        tree: c.tree,
        description,
        report,
        libraries: c.libraries,
        abis,
        demands,
        openers,
        notices: c.notices,
    })
}

/// Objects that import dlopen: those of libc, of MPI and the usual runtimes are no news.
fn openers(closure: &Closure) -> Vec<String> {
    let quiet =
        |name: &str| is_libc(name) || is_compiler_runtime(name) || name.starts_with("libstdc++");
    let names = closure.objects.iter().filter(|o| !quiet(&o.name));
    let named = |image: &Image| {
        image
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let opens = |image: &Image| {
        image
            .imports
            .iter()
            .any(|s| s == "dlopen" || s == "dlmopen")
    };
    let roots = closure.roots.iter().filter(|i| opens(i)).map(named);
    let mut all: Vec<String> = roots
        .chain(names.filter(|o| opens(&o.image)).map(|o| o.name.clone()))
        .collect();
    all.dedup();
    all
}

impl Collector<'_> {
    /// Whether the program can run under Mayfly at all.
    fn judge(&mut self, here: &Surroundings) -> Result<Report, String> {
        let path = &self.request.program;
        let shown = path.display();
        let report = elf::examine_in(path, here).map_err(|e| match e {
            Trouble::NotElf(_) | Trouble::Empty(_) => {
                format!("{e}; if a shell is to read it, its first line must say so (#!/bin/sh)")
            }
            other => other.to_string(),
        })?;
        match &report.kind {
            Kind::Library | Kind::MpiLibrary => {
                return Err(format!("{shown}: is a shared library, not a program"));
            }
            Kind::Script(line) => {
                let interpreter = line
                    .split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_string();
                if self.libc == Libc::Rooted {
                    return Err(format!(
                        "{shown}: is a script for {line}, and an image without a base has no interpreter; name a base \
                         (--base oci:DIR), or pack the program that the script starts"
                    ));
                }
                self.notices.push(format!(
                    "{shown} is a script: {interpreter} must be on the target machine, and the programs it starts are not seen; add them with --with FILE"
                ));
            }
            Kind::Static(false) => self.notices.push(format!(
                "{shown} is static and without MPI: its ranks would be independent copies"
            )),
            _ => {}
        }
        // Modes are ours in the package, so setuid is gone there.
        let obstacles = report.obstacles();
        let obstacles: Vec<String> = obstacles
            .into_iter()
            .filter(|o| !o.contains("setuid"))
            .collect();
        if !obstacles.is_empty() {
            return Err(obstacles.join("\n"));
        }
        if report.kind == Kind::Dynamic && report.abis().is_empty() {
            self.notices.push(format!(
                "{shown} is linked against no MPI; if it loads one later, Mayfly's libraries are in the package"
            ));
        }
        Ok(report)
    }

    /// Places the program; gives its path.
    fn program(&mut self) -> Result<String, String> {
        let path = &self.request.program;
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| format!("{}: its name is not UTF-8", path.display()))?;
        if name.starts_with("python") {
            self.notices.push(format!(
                "{name}: Python's modules (its own library, mpi4py, yours) are not seen; name their folders as FILES (/usr/lib/python3.11=lib/python3.11) \
                 and say where they are (--env PYTHONHOME={{package}}/app)"
            ));
        }
        let place = format!("{FOLDER}/{name}");
        self.tree.file(&place, path, true)?;
        Ok(place)
    }

    /// Places data files and what --with names; gives all ELF files to follow, the program first.
    fn given(&mut self, report: &Report) -> Result<Vec<PathBuf>, String> {
        let secrets = self.request.allow_secrets;
        let mut roots = Vec::new();
        if !matches!(report.kind, Kind::Script(_)) {
            roots.push(self.request.program.clone());
        }
        for data in &self.request.data {
            roots.extend(data.add(&mut self.tree, secrets)?);
        }
        for path in &self.request.with {
            let file = path.file_name().and_then(|name| name.to_str());
            let file = file.ok_or_else(|| format!("--with {}: is no file", path.display()))?;
            let image = match elf::Image::of(path) {
                Ok(image) => image,
                Err(Trouble::NotElf(_) | Trouble::Empty(_)) => None,
                Err(trouble) => return Err(format!("--with {trouble}")),
            };
            match image {
                Some(image) if image.shape == Shape::Library => {
                    self.tree.file(format!("{LIBRARIES}/{file}"), path, false)?;
                    if let Some(soname) = image.soname.filter(|soname| soname != file) {
                        self.tree.link(format!("{LIBRARIES}/{soname}"), file)?;
                    }
                    self.libraries.push(file.into());
                    roots.push(path.clone());
                }
                Some(_) => {
                    self.tree.file(format!("{FOLDER}/{file}"), path, true)?;
                    roots.push(path.clone());
                }
                None => {
                    let data = Data {
                        from: path.clone(),
                        name: file.into(),
                    };
                    roots.extend(data.add(&mut self.tree, secrets)?);
                }
            }
        }
        for name in &self.request.print {
            let data = Data::parse(&format!("./{name}"))?;
            self.tree
                .link(format!("{FOLDER}/{}", data.name), "/dev/stdout")?;
        }
        Ok(roots)
    }

    /// The interfaces asked for; all of them when nothing tells.
    fn abis(&self, report: &Report, closure: &Closure) -> Vec<Abi> {
        let mut abis = report.abis();
        for name in &closure.mpi {
            if let elf::Family::Known(abi) = elf::family(name) {
                if !abis.contains(&abi) {
                    abis.push(abi);
                }
            }
        }
        if abis.is_empty() {
            abis.extend(Abi::ALL);
        }
        abis
    }

    /// The command and Mayfly's libraries, under every name they have in the installation.
    fn mayfly(&mut self, abis: &[Abi], closure: &Closure) -> Result<Vec<Image>, String> {
        self.tree.file("bootstrap", &self.request.command, true)?;
        self.tree.link("bin/mayfly", "../bootstrap")?;
        let mut images = Vec::new();
        for abi in abis {
            let folder = self.request.mayfly.join(abi.name());
            let library = folder.join(abi.soname());
            let image = Image::of(&library).map_err(|e| e.to_string())?;
            images.extend(image);
            let place = |name: &str| format!("lib/mayfly/{}/{name}", abi.name());
            self.tree.file(place(abi.soname()), &library, false)?;
            let entries =
                fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let link = fs::read_link(entry.path());
                if link.is_ok_and(|to| to == Path::new(abi.soname())) {
                    self.tree.link(place(&name), abi.soname())?;
                }
            }
        }
        // A name that the installation does not know would send the loader to an MPI of the target machine's, or nowhere.
        for name in &closure.mpi {
            let elf::Family::Known(abi) = elf::family(name) else {
                continue;
            };
            if !self
                .tree
                .contains(&format!("lib/mayfly/{}/{name}", abi.name()))
            {
                return Err(format!(
                    "{name}: is not among Mayfly's libraries in {}; is the installation complete?",
                    self.request.mayfly.join(abi.name()).display()
                ));
            }
        }
        Ok(images)
    }

    /// The program's libraries that are nobody's system.
    fn libraries(&mut self, closure: &Closure) -> Result<(), String> {
        for object in &closure.objects {
            let (name, path) = (&object.name, &object.image.path);
            if name.contains('/') {
                return Err(format!("{name}: is needed by its full path, which a package cannot offer; link with -l instead"));
            }
            if is_libc(name) || is_compiler_runtime(name) && self.libc != Libc::Carried {
                continue;
            }
            if is_mpi_internal(name) {
                self.stand_in(name, &object.image, closure)?;
                continue;
            }
            self.tree.file(format!("{LIBRARIES}/{name}"), path, false)?;
            if !self.libraries.contains(name) {
                self.libraries.push(name.clone());
            }
        }
        self.libraries.sort();
        Ok(())
    }

    /// Mayfly's library under the name of Open MPI's internals, when only the name is asked for.
    fn stand_in(&mut self, name: &str, image: &Image, closure: &Closure) -> Result<(), String> {
        let all = closure
            .roots
            .iter()
            .chain(closure.objects.iter().map(|o| &o.image));
        let users = all.filter(|i| {
            i.needed.iter().any(|n| n == name)
                && !is_mpi_internal(i.soname.as_deref().unwrap_or_default())
        });
        for user in users {
            let used = user
                .imports
                .iter()
                .find(|symbol| image.exports.contains(symbol));
            if let Some(symbol) = used {
                return Err(format!(
                    "{}: calls {symbol} of {name}, which is inside Open MPI and not in Mayfly",
                    user.path.display()
                ));
            }
        }
        self.tree.link(
            format!("lib/mayfly/{}/{name}", Abi::OpenMpi.name()),
            Abi::OpenMpi.soname(),
        )
    }

    /// libc and the loader, where the package brings them; gives the loader to start the program with.
    fn libc(&mut self, closure: &Closure, command: &Closure) -> Result<Option<String>, String> {
        let interpreter =
            |images: &[Image]| images.iter().find_map(|image| image.interpreter.clone());
        match self.libc {
            Libc::Target => Ok(None),
            Libc::Carried => {
                let Some(loader) = interpreter(&closure.roots) else {
                    return Ok(None);
                };
                let file = Path::new(&loader)
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let place = format!("{LIBC}/{file}");
                self.tree.file(&place, Path::new(&loader), true)?;
                let objects = closure.objects.iter().chain(&command.objects);
                for object in objects.filter(|o| is_libc(&o.name) && !is_loader(&o.name)) {
                    self.tree
                        .file(format!("{LIBC}/{}", object.name), &object.image.path, false)?;
                }
                Ok(Some(place))
            }
            Libc::Rooted => {
                for loader in interpreter(&closure.roots)
                    .into_iter()
                    .chain(interpreter(&command.roots))
                {
                    self.tree
                        .file(loader.trim_start_matches('/'), Path::new(&loader), true)?;
                }
                let system =
                    |name: &str| (is_libc(name) || is_compiler_runtime(name)) && !is_loader(name);
                let of_program = closure.objects.iter().filter(|o| system(&o.name));
                for object in
                    of_program.chain(command.objects.iter().filter(|o| !is_loader(&o.name)))
                {
                    let place = object.image.path.to_string_lossy();
                    self.tree
                        .file(place.trim_start_matches('/'), &object.image.path, false)?;
                }
                self.root()?;
                Ok(None)
            }
        }
    }

    /// What programs expect of a root besides libraries.
    fn root(&mut self) -> Result<(), String> {
        for folder in ["dev", "proc", "sys", "run/mayfly"] {
            self.tree.add(folder, Node::Folder { open: false })?;
        }
        self.tree.add("tmp", Node::Folder { open: true })?;
        self.tree.text(
            "etc/passwd",
            "root:x:0:0:root:/tmp:/sbin/nologin\nnobody:x:65534:65534:nobody:/tmp:/sbin/nologin\n",
        )?;
        self.tree
            .text("etc/group", "root:x:0:\nnogroup:x:65534:\n")?;
        self.tree.text(
            "etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n",
        )
    }
}
