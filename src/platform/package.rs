//! A package: a folder with a program, what it needs and `mayfly.json`, which says what is what. `mayfly pack` writes it, the host reads it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{symlink, DirBuilderExt};
use std::path::{Component, Path, PathBuf};

/// The description's file name, at the package's root, beside `bootstrap`.
pub const FILE: &str = "mayfly.json";
/// The folder of the program and its data files.
pub const FOLDER: &str = "app";
/// The folder of the libraries that are neither Mayfly's nor libc's.
pub const LIBRARIES: &str = "lib/app";
/// The folder of a libc that travels along, and its loader.
pub const LIBC: &str = "lib/libc";

/// What stands in `mayfly.json`. Paths are relative to the package's root, which is wherever it was unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The format, 1.
    pub mayfly: u32,
    pub name: String,
    /// The program's file.
    pub program: String,
    /// Its arguments when a task names none.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Folders to put in front of LD_LIBRARY_PATH, in this order.
    #[serde(default)]
    pub libraries: Vec<String>,
    /// Files to put in front of LD_PRELOAD.
    #[serde(default)]
    pub preload: Vec<String>,
    /// The dynamic loader to start the program with, when the package brings its own libc (its folder is the last of `libraries`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<String>,
    /// Variables for the program; `{package}` in a value is the folder where the package is.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// An unpacked package.
#[derive(Clone, Debug)]
pub struct Package {
    pub root: PathBuf,
    pub description: Description,
}

/// What to execute for one rank, all paths absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub program: PathBuf,
    /// Without argv\[0\].
    pub arguments: Vec<OsString>,
    /// Set these, unless the task sets them.
    pub environment: BTreeMap<String, String>,
    /// Put these in front of LD_LIBRARY_PATH.
    pub libraries: Vec<PathBuf>,
    /// Put these in front of LD_PRELOAD.
    pub preload: Vec<PathBuf>,
}

impl Package {
    /// The package this command was started from: `bootstrap` stands at its root, `mayfly` in its `bin`. None: it is in no package.
    pub fn of_this_command() -> Result<Option<Package>, String> {
        let Ok(command) = std::env::current_exe() else {
            return Ok(None);
        };
        for root in command.ancestors().skip(1).take(2) {
            if root.join(FILE).is_file() {
                return Package::open(root).map(Some);
            }
        }
        Ok(None)
    }

    /// Reads the description in `root`; the error is one line that names the file.
    pub fn open(root: &Path) -> Result<Package, String> {
        let file = root.join(FILE);
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let description: Description = serde_json::from_str(&text)
            .map_err(|e| format!("{}: is no package description: {e}", file.display()))?;
        if description.mayfly != 1 {
            return Err(format!(
                "{}: is of format {}; this Mayfly reads format 1",
                file.display(),
                description.mayfly
            ));
        }
        let root = root
            .canonicalize()
            .map_err(|e| format!("{}: {e}", root.display()))?;
        let package = Package { root, description };
        let d = &package.description;
        let paths = [&d.program].into_iter().chain(&d.libraries);
        for path in paths.chain(&d.preload).chain(&d.loader) {
            let plain = |c| matches!(c, Component::Normal(_));
            if path.is_empty() || !Path::new(path).components().all(plain) {
                return Err(format!(
                    "{}: the path {path:?} leads out of the package",
                    file.display()
                ));
            }
        }
        Ok(package)
    }

    /// The folder of the program and its data files.
    pub fn folder(&self) -> PathBuf {
        self.root.join(FOLDER)
    }

    /// The file that a task means by `name`: nothing or the package's name is the package's program; a path or name in the package; a path
    /// or name elsewhere whose last part is in the package (the launcher's `./build/app` is the package's `app`); an absolute path as it is.
    pub fn resolve(&self, name: &str) -> Result<PathBuf, String> {
        let own = self.root.join(&self.description.program);
        if name.is_empty() || name == self.description.name {
            return Ok(own);
        }
        let plain = |c| matches!(c, Component::Normal(_) | Component::CurDir);
        let inside = Path::new(name).components().all(plain);
        let last = Path::new(name).file_name().unwrap_or_default();
        let mut places = Vec::new();
        if inside {
            places.push(self.folder().join(name));
            places.push(self.root.join(name));
        }
        if !last.is_empty() {
            places.push(self.folder().join(last));
            places.push(self.root.join("bin").join(last));
        }
        if name.starts_with('/') {
            places.push(name.into());
        }
        places.into_iter().find(|p| p.is_file()).ok_or_else(|| {
            format!(
                "{name}: there is no such program in the package {} (its own is {})",
                self.description.name, self.description.program
            )
        })
    }

    /// What to execute for a task's program and arguments; no arguments: the package's.
    pub fn command(&self, name: &str, arguments: &[OsString]) -> Result<Command, String> {
        let d = &self.description;
        let program = self.resolve(name)?;
        let own = program == self.root.join(&d.program);
        let arguments: Vec<OsString> = match arguments {
            [] if own => d.arguments.iter().map(OsString::from).collect(),
            given => given.to_vec(),
        };
        let absolute = |paths: &[String]| -> Vec<PathBuf> {
            paths.iter().map(|path| self.root.join(path)).collect()
        };
        let mut command = Command {
            program,
            arguments,
            environment: (d.environment.iter())
                .map(|(name, value)| {
                    (
                        name.clone(),
                        value.replace("{package}", &self.root.to_string_lossy()),
                    )
                })
                .collect(),
            libraries: absolute(&d.libraries),
            preload: absolute(&d.preload),
        };
        let packed = command.program.starts_with(&self.root);
        if let Some(loader) = d.loader.as_ref().filter(|_| packed) {
            if crate::platform::elf::is_dynamic(&command.program) {
                through_loader(&mut command, self.root.join(loader));
            }
        }
        Ok(command)
    }

    /// A fresh working folder under `base` (a place that can be written to) with the package's data files as links: programs write where
    /// they stand, packages are often read-only, and the next start must find nothing of this one. It goes away when dropped.
    pub fn working_folder(&self, base: &Path) -> io::Result<WorkingFolder> {
        let mut name = [0u8; 8];
        crate::base::os::random(&mut name)?;
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = base.join(format!("mayfly-{name}"));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let folder = WorkingFolder { path };
        if self.folder().is_dir() {
            link_all(&self.folder(), &folder.path)?;
        }
        Ok(folder)
    }
}

/// The program through a loader of the package's own. Its libraries are told by argument, so that what the program starts (a shell of the
/// machine's, which has another libc) does not inherit them.
fn through_loader(command: &mut Command, loader: PathBuf) {
    let folders: Vec<String> = command
        .libraries
        .drain(..)
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    let preload: Vec<String> = command
        .preload
        .drain(..)
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    let program = std::mem::replace(&mut command.program, loader);
    let mut arguments: Vec<OsString> = vec!["--inhibit-cache".into(), "--library-path".into()];
    arguments.push(folders.join(":").into());
    if !preload.is_empty() {
        arguments.extend(["--preload".into(), OsString::from(preload.join(":"))]);
    }
    arguments.extend(["--argv0".into(), program.clone().into(), program.into()]);
    arguments.append(&mut command.arguments);
    command.arguments = arguments;
}

/// Folders are made anew, files are links.
fn link_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            link_all(&source, &target)?;
        } else {
            symlink(&source, &target)?;
        }
    }
    Ok(())
}

/// A folder that goes away with everything in it.
#[derive(Debug)]
pub struct WorkingFolder {
    path: PathBuf,
}

impl WorkingFolder {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkingFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path =
                std::env::temp_dir().join(format!("mayfly-package-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join("app/data")).unwrap();
            fs::write(path.join("app/solver"), "x").unwrap();
            fs::write(path.join("app/data/in.txt"), "input").unwrap();
            Scratch(path.canonicalize().unwrap())
        }

        fn write(&self, text: &str) -> Result<Package, String> {
            fs::write(self.0.join(FILE), text).unwrap();
            Package::open(&self.0)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const SOLVER: &str = r#"{"mayfly": 1, "name": "flow", "program": "app/solver", "arguments": ["-in", "data/in.txt"],
        "libraries": ["lib/mayfly/openmpi", "lib/app"], "environment": {"A": "1", "HOME": "{package}/app"}}"#;

    #[test]
    fn a_task_names_the_program_in_many_ways() {
        let scratch = Scratch::new("names");
        let package = scratch.write(SOLVER).unwrap();
        let solver = scratch.0.join("app/solver");
        for name in [
            "",
            "flow",
            "solver",
            "./solver",
            "app/solver",
            "../build/solver",
            "/elsewhere/solver",
        ] {
            assert_eq!(package.resolve(name).unwrap(), solver, "{name:?}");
        }
        assert!(package
            .resolve("other")
            .unwrap_err()
            .contains("no such program"));
        // The last part of a path that leads out is looked for inside, never followed.
        assert!(package.resolve("../../etc/passwd").is_err());
        let shell = package.resolve("/bin/sh").unwrap();
        assert_eq!(shell, Path::new("/bin/sh"));
    }

    #[test]
    fn own_arguments_are_for_the_own_program_without_others() {
        let scratch = Scratch::new("arguments");
        let package = scratch.write(SOLVER).unwrap();
        let command = package.command("", &[]).unwrap();
        assert_eq!(command.arguments, ["-in", "data/in.txt"]);
        assert_eq!(command.environment["A"], "1");
        let home = scratch.0.join("app");
        assert_eq!(command.environment["HOME"], home.to_str().unwrap());
        let folders = ["lib/mayfly/openmpi", "lib/app"].map(|f| scratch.0.join(f));
        assert_eq!(command.libraries, folders);
        let command = package.command("", &["-v".into()]).unwrap();
        assert_eq!(command.arguments, ["-v"]);
        assert!(package
            .command("/bin/sh", &[])
            .unwrap()
            .arguments
            .is_empty());
    }

    #[test]
    fn a_loader_takes_the_program_and_its_libraries() {
        let scratch = Scratch::new("loader");
        let text = SOLVER.replace(
            r#""environment""#,
            r#""loader": "lib/libc/ld.so", "environment""#,
        );
        let package = scratch.write(&text).unwrap();
        // What is not dynamic does not go through it.
        assert_eq!(
            package.command("", &[]).unwrap().program,
            scratch.0.join("app/solver")
        );
        fs::copy(
            std::env::current_exe().unwrap(),
            scratch.0.join("app/solver"),
        )
        .unwrap();
        let command = package.command("", &["-v".into()]).unwrap();
        assert_eq!(command.program, scratch.0.join("lib/libc/ld.so"));
        assert!(command.libraries.is_empty());
        let solver = scratch.0.join("app/solver").into_os_string();
        let mut end = command.arguments.iter().rev();
        assert_eq!(end.next().unwrap(), "-v");
        assert_eq!(
            (end.next().unwrap(), end.next().unwrap()),
            (&solver, &solver)
        );
        assert_eq!(end.next().unwrap(), "--argv0");
        let machine = package.command("/bin/sh", &[]).unwrap();
        assert_eq!(machine.program, Path::new("/bin/sh"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let scratch = Scratch::new("wrong");
        let says = |text: &str| scratch.write(text).unwrap_err();
        assert!(says("").contains("mayfly.json: is no package description"));
        assert!(says(&SOLVER.replace(": 1,", ": 2,")).contains("format 2"));
        assert!(says(&SOLVER.replace("flow\",", "flow\", \"x\": 1,")).contains("unknown field"));
        for path in ["/bin/sh", "../x", ""] {
            let text = SOLVER.replace("app/solver", path);
            assert!(says(&text).contains("leads out of the package"), "{path:?}");
        }
        assert!(Package::open(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn a_working_folder_is_fresh_and_goes_away() {
        let scratch = Scratch::new("folder");
        let package = scratch.write(SOLVER).unwrap();
        let base = scratch.0.join("tmp");
        fs::create_dir(&base).unwrap();
        for _ in 0..2 {
            let folder = package.working_folder(&base).unwrap();
            let at = |name: &str| folder.path().join(name);
            assert_eq!(fs::read_to_string(at("data/in.txt")).unwrap(), "input");
            assert!(!at("data/out.txt").exists());
            fs::write(at("data/out.txt"), "output").unwrap();
            fs::write(at("out.txt"), "output").unwrap();
        }
        assert_eq!(fs::read_dir(&base).unwrap().count(), 0);
        assert!(!scratch.0.join("app/data/out.txt").exists());
        assert!(scratch.0.join("app/data/in.txt").exists());
    }
}
