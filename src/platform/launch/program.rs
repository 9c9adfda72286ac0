//! Finding a program and what it needs in front of it.

use super::{Part, Refusal};
use crate::platform::elf::{self, Abi, Trouble};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A shell's exit status for a program that is not there.
const NOT_FOUND: i32 = 127;
/// And for one that cannot be run.
const NOT_RUNNABLE: i32 = 126;

/// A program that can be started.
pub struct Program {
    pub path: PathBuf,
    /// Folders to put in front of LD_LIBRARY_PATH.
    pub folders: Vec<PathBuf>,
    /// Files to put in front of LD_PRELOAD.
    pub preload: Vec<PathBuf>,
}

impl Program {
    /// Looks for a part's program and checks it.
    pub fn find(part: &Part) -> Result<Program, Refusal> {
        let shown = part.program.to_string_lossy();
        if let Some(folder) = &part.folder {
            if !folder.is_dir() {
                let text = format!("{}: the working folder does not exist", folder.display());
                return Err(Refusal::new(1, text));
            }
        }
        let search = part.set.iter().rev().find(|(name, _)| name == "PATH");
        let search = search
            .map(|(_, value)| value.clone())
            .or_else(|| std::env::var_os("PATH"));
        let path = locate(part, search.unwrap_or_default()).ok_or_else(|| {
            let place = if shown.contains('/') { "" } else { " in PATH" };
            Refusal::new(
                NOT_FOUND,
                format!("{shown}: there is no such program{place}"),
            )
        })?;
        runnable(&path)?;
        let mut program = Program {
            path,
            folders: Vec::new(),
            preload: Vec::new(),
        };
        program.libraries()?;
        let list = |paths: &[PathBuf]| {
            let shown: Vec<_> = paths
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            shown.join(":")
        };
        crate::info!(
            "{}: libraries from {}, preloaded: {}",
            program.path.display(),
            list(&program.folders),
            if program.preload.is_empty() {
                "none".into()
            } else {
                list(&program.preload)
            }
        );
        Ok(program)
    }

    /// Which libraries of ours belong in front of it.
    fn libraries(&mut self) -> Result<(), Refusal> {
        let report = match elf::examine(&self.path) {
            Ok(report) => report,
            // A shell reads what is neither ELF nor has a `#!` line.
            Err(Trouble::NotElf(_) | Trouble::Empty(_)) => return self.all(&Abi::ALL, &[], false),
            // What can be run but not read is run as it is.
            Err(Trouble::Io(..)) => return self.all(&Abi::ALL, &[], false),
            Err(trouble) => return Err(Refusal::new(NOT_RUNNABLE, trouble.to_string())),
        };
        if let elf::Kind::Script(line) = &report.kind {
            let interpreter = line.split_whitespace().next().unwrap_or("");
            if !Path::new(interpreter).exists() {
                let text = format!(
                    "{}: its interpreter {interpreter:?} does not exist",
                    self.path.display()
                );
                return Err(Refusal::new(NOT_RUNNABLE, text));
            }
        }
        if let Some(obstacle) = report.obstacles().into_iter().next() {
            return Err(Refusal::new(1, obstacle));
        }
        let needed = !report.abis().is_empty();
        self.all(&report.folders(), &report.preload(), needed)
    }

    fn all(&mut self, folders: &[Abi], preload: &[Abi], needed: bool) -> Result<(), Refusal> {
        let base = library_folder();
        for abi in folders {
            let folder = base.join(abi.name());
            if folder.join(abi.soname()).exists() {
                self.folders.push(folder);
            } else if needed && Some(abi) == folders.first() {
                let text = format!(
                    "{}: needs Mayfly's {}, which is not in {}; is the installation complete?",
                    self.path.display(),
                    abi.soname(),
                    folder.display()
                );
                return Err(Refusal::new(1, text));
            }
        }
        self.preload = preload
            .iter()
            .map(|abi| base.join(abi.name()).join(abi.soname()))
            .collect();
        Ok(())
    }
}

/// Where our libraries are: `MAYFLY_LIBRARIES`, or `../lib/mayfly` beside the command.
pub fn library_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("MAYFLY_LIBRARIES") {
        return folder.into();
    }
    let command = std::env::current_exe().unwrap_or_default();
    let prefix = command.parent().and_then(Path::parent);
    prefix.unwrap_or(Path::new("/")).join("lib/mayfly")
}

/// The program's file as an absolute path. Like other launchers' users we may leave out `./`.
fn locate(part: &Part, search: OsString) -> Option<PathBuf> {
    let here = std::env::current_dir().unwrap_or_default();
    let folder = part.folder.as_ref().map(|folder| here.join(folder));
    let name = Path::new(&part.program);
    if name.as_os_str().is_empty() {
        return None;
    }
    let beside = folder.iter().chain([&here]).map(|folder| folder.join(name));
    if part.program.as_bytes().contains(&b'/') {
        return beside.into_iter().find(|path| path.exists());
    }
    let executable = |path: &PathBuf| path.is_file() && is_executable(path);
    std::env::split_paths(&search)
        .map(|folder| here.join(folder).join(name))
        .find(executable)
        .or_else(|| beside.into_iter().find(|path| path.is_file()))
}

/// The file of a program that is named as on a command line: a path, or a name in PATH or the current folder.
pub fn locate_program(name: &Path) -> Option<PathBuf> {
    let part = Part {
        program: name.into(),
        ..Part::default()
    };
    locate(&part, std::env::var_os("PATH").unwrap_or_default())
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0)
}

fn runnable(path: &Path) -> Result<(), Refusal> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Refusal::new(
            NOT_RUNNABLE,
            format!("{shown}: is a folder, not a program"),
        ));
    }
    if !is_executable(path) {
        return Err(Refusal::new(
            NOT_RUNNABLE,
            format!("{shown}: is not executable (chmod +x)"),
        ));
    }
    Ok(())
}
