//! Real ELF files, made by cc when the tests run.

use super::*;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that goes away.
pub struct Folder(pub PathBuf);

impl Folder {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mayfly-elf-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.at(name), bytes).unwrap();
        self.at(name)
    }

    /// Compiles `source` to `name` with more arguments for cc.
    pub fn cc(&self, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
        let input = self.write(&format!("{}.c", name.replace('/', "_")), source);
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        let mut cc = Command::new("cc");
        cc.current_dir(&self.0)
            .arg("-o")
            .arg(name)
            .arg(&input)
            .args(arguments);
        let output = cc.output().expect("cc runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        self.at(name)
    }

    /// A library that offers MPI_Init and MPI_Send under a SONAME.
    pub fn mpi(&self, folder: &str, soname: &str) -> PathBuf {
        let source = "int PMPI_Init(void*a,void*b){return 0;}\
            int MPI_Init(void*a,void*b){return 0;}\
            int MPI_Send(void){return 0;}";
        let name = format!("{folder}/{soname}");
        self.cc(
            &name,
            source,
            &["-shared", "-fPIC", &format!("-Wl,-soname,{soname}")],
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub const USER: &str = "int MPI_Init(void*,void*);int MPI_Send(void);\
    int main(void){return MPI_Init(0,0)+MPI_Send();}";

fn here() -> Surroundings {
    Surroundings {
        library_path: Vec::new(),
        ..Surroundings::here()
    }
}

#[test]
fn mpi_program() {
    let folder = Folder::new();
    let library = folder.mpi("lib", "libmpi.so.12");
    let program = folder.cc("prog", USER, &["lib/libmpi.so.12"]);
    let report = examine_in(&program, &here()).unwrap();
    // cc was given the file, but NEEDED holds its SONAME, which no search finds: Mayfly's will be found.
    assert_eq!(report.kind, Kind::Dynamic);
    assert_eq!(report.abis(), [Abi::Mpich]);
    assert_eq!(report.folders(), [Abi::Mpich, Abi::OpenMpi, Abi::Standard]);
    assert_eq!(
        report.functions().into_iter().collect::<Vec<_>>(),
        [("MPI_Init".to_string(), 1), ("MPI_Send".to_string(), 1)]
    );
    assert!(report.libraries[0].found.is_none());
    assert!(report.traps.is_empty() && report.obstacles().is_empty() && report.missing.is_empty());
    assert!(report.fortran().is_empty() && report.cxx() == 0);

    let mut with = here();
    with.library_path.push(folder.at("lib"));
    let report = examine_in(&program, &with).unwrap();
    assert_eq!(
        report.libraries[0].found.as_deref(),
        Some(library.as_path())
    );
    assert_eq!(
        examine_in(&library, &here()).unwrap().kind,
        Kind::MpiLibrary
    );
}

#[test]
fn other_families() {
    let folder = Folder::new();
    for (soname, abi) in [
        ("libmpi.so.40", Abi::OpenMpi),
        ("libmpi_abi.so.1", Abi::Standard),
    ] {
        folder.mpi("lib", soname);
        let program = folder.cc("prog", USER, &[&format!("lib/{soname}")]);
        assert_eq!(examine_in(&program, &here()).unwrap().abis(), [abi]);
    }
    folder.mpi("lib", "libmpi.so.20");
    let program = folder.cc("prog", USER, &["lib/libmpi.so.20"]);
    let report = examine_in(&program, &here()).unwrap();
    assert!(report.abis().is_empty());
    assert!(
        report.obstacles()[0].contains("libmpi.so.20"),
        "{:?}",
        report.obstacles()
    );
}

#[test]
fn bind_now_is_seen() {
    let folder = Folder::new();
    folder.mpi("lib", "libmpi.so.40");
    for (flag, now) in [("-Wl,-z,now", true), ("-Wl,-z,lazy", false)] {
        let program = folder.cc("prog", USER, &["lib/libmpi.so.40", flag]);
        assert_eq!(
            examine_in(&program, &here()).unwrap().binds_now,
            now,
            "{flag}"
        );
    }
}

#[test]
fn both_hash_tables() {
    let folder = Folder::new();
    folder.mpi("lib", "libmpi.so.40");
    for style in ["gnu", "sysv"] {
        let program = folder.cc(
            "prog",
            USER,
            &["lib/libmpi.so.40", &format!("-Wl,--hash-style={style}")],
        );
        assert_eq!(
            examine_in(&program, &here()).unwrap().functions().len(),
            2,
            "{style}"
        );
    }
}

/// Its GNU hash table is empty, so it says nothing about the number of symbols.
#[test]
fn program_without_exports() {
    let folder = Folder::new();
    folder.mpi("lib", "libmpi.so.12");
    let program = folder.cc("prog", USER, &["lib/libmpi.so.12", "-no-pie"]);
    let report = examine_in(&program, &here()).unwrap();
    assert_eq!(report.functions().len(), 2);
}

#[test]
fn mpi_through_a_library() {
    let folder = Folder::new();
    folder.mpi("lib", "libmpi.so.40");
    let solver = "int MPI_Send(void);int solve(void){return MPI_Send();}";
    folder.cc(
        "lib/libsolver.so",
        solver,
        &[
            "-shared",
            "-fPIC",
            "-Wl,-soname,libsolver.so",
            "lib/libmpi.so.40",
        ],
    );
    let main = "int solve(void);int main(void){return solve();}";
    let origin = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib,--allow-shlib-undefined";
    let program = folder.cc("prog", main, &["lib/libsolver.so", origin]);
    let report = examine_in(&program, &here()).unwrap();
    assert_eq!(report.abis(), [Abi::OpenMpi]);
    assert_eq!(report.users.len(), 1);
    assert!(report.users[0].0.ends_with("lib/libsolver.so"));
    assert!(report.functions().contains_key("MPI_Send"));
    // RUNPATH is searched after LD_LIBRARY_PATH and not for a library's own needs: no trap.
    assert!(report.traps.is_empty());
}

#[test]
fn rpath_is_a_trap_and_runpath_none() {
    let folder = Folder::new();
    folder.mpi("lib", "libmpi.so.12");
    let old = "-Wl,--disable-new-dtags,-rpath,$ORIGIN/lib";
    let program = folder.cc("old", USER, &["lib/libmpi.so.12", old]);
    let report = examine_in(&program, &here()).unwrap();
    assert!(
        matches!(&report.traps[..], [Trap::Rpath { .. }]),
        "{:?}",
        report.traps
    );
    assert_eq!(report.preload(), [Abi::Mpich]);
    assert!(report.obstacles().is_empty());

    let new = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib";
    let program = folder.cc("new", USER, &["lib/libmpi.so.12", new]);
    let report = examine_in(&program, &here()).unwrap();
    assert!(report.traps.is_empty() && report.libraries[0].found.is_some());

    // An RPATH without an MPI in it does no harm.
    let empty = "-Wl,--disable-new-dtags,-rpath,$ORIGIN/nothing";
    let program = folder.cc("empty", USER, &["lib/libmpi.so.12", empty]);
    assert!(examine_in(&program, &here()).unwrap().traps.is_empty());

    // Debian's other name for MPICH is no SONAME of ours: a preload would not be taken for it.
    folder.mpi("lib", "libmpich.so.12");
    let program = folder.cc("debian", USER, &["lib/libmpich.so.12", old]);
    let report = examine_in(&program, &here()).unwrap();
    assert!(report.preload().is_empty());
    assert_eq!(report.obstacles().len(), 1);
}

#[test]
fn absolute_needed() {
    let folder = Folder::new();
    // Without a SONAME the linker writes the name it was given.
    folder.cc(
        "lib/libmpi.so.12",
        "int MPI_Init(void){return 0;}int MPI_Send(void){return 0;}",
        &["-shared", "-fPIC"],
    );
    let full = folder.at("lib/libmpi.so.12");
    let program = folder.cc("prog", USER, &[full.to_str().unwrap()]);
    let report = examine_in(&program, &here()).unwrap();
    assert!(matches!(&report.traps[..], [Trap::Absolute { .. }]));
    assert_eq!(report.obstacles().len(), 1);
}

#[test]
fn no_mpi_static_and_inside() {
    let folder = Folder::new();
    let plain = folder.cc("plain", "int main(void){return 0;}", &[]);
    let report = examine_in(&plain, &here()).unwrap();
    assert_eq!(
        (report.kind.clone(), report.abis().len(), report.users.len()),
        (Kind::Dynamic, 0, 0)
    );
    assert!(report.obstacles().is_empty());

    let with = "int PMPI_Init(void*a,void*b){return 0;}int MPI_Init(void*a,void*b){return PMPI_Init(a,b);}\
        int main(void){return MPI_Init(0,0);}";
    let inside = folder.cc("inside", with, &[]);
    assert_eq!(examine_in(&inside, &here()).unwrap().kind, Kind::MpiInside);
    for pie in ["-static", "-static-pie"] {
        let program = folder.cc("static", with, &[pie]);
        assert_eq!(
            examine_in(&program, &here()).unwrap().kind,
            Kind::Static(true),
            "{pie}"
        );
        let program = folder.cc("static", "int main(void){return 0;}", &[pie]);
        assert_eq!(
            examine_in(&program, &here()).unwrap().kind,
            Kind::Static(false),
            "{pie}"
        );
    }
}

#[test]
fn missing_library_is_named() {
    let folder = Folder::new();
    folder.cc(
        "lib/libgone.so",
        "int gone(void){return 0;}",
        &["-shared", "-fPIC", "-Wl,-soname,libgone.so.3"],
    );
    let program = folder.cc(
        "prog",
        "int gone(void);int main(void){return gone();}",
        &["lib/libgone.so"],
    );
    let report = examine_in(&program, &here()).unwrap();
    assert_eq!(report.missing, [("libgone.so.3".to_string(), program)]);
}

#[test]
fn not_elf() {
    let folder = Folder::new();
    let script = folder.write("run.py", "#!/usr/bin/env python3\nprint()\n");
    assert_eq!(
        examine_in(&script, &here()).unwrap().kind,
        Kind::Script("/usr/bin/env python3".into())
    );
    let says = |path: &Path| examine_in(path, &here()).unwrap_err().to_string();
    assert!(says(&folder.at("nothing")).contains("no such file"));
    assert!(says(&folder.0).contains("folder"));
    assert!(says(&folder.write("empty", "")).contains("empty"));
    assert!(says(&folder.write("text", "hello\n")).contains("no ELF"));
    assert!(says(&folder.write("four", "\x7fELF")).contains("cut short"));
}

#[test]
fn other_machines() {
    let folder = Folder::new();
    let program = folder.cc("prog", "int main(void){return 0;}", &[]);
    let sound = fs::read(&program).unwrap();
    let with = |changes: &[(usize, u8)]| {
        let mut bytes = sound.clone();
        for (at, value) in changes {
            bytes[*at] = *value;
        }
        examine_in(&folder.write("other", bytes), &here())
            .unwrap_err()
            .to_string()
    };
    assert!(with(&[(18, 243)]).contains("riscv"));
    assert!(with(&[(4, 1), (18, 3)]).contains("x86 (32 bits)"));
    assert!(with(&[(5, 2), (18, 0), (19, 22)]).contains("s390x, big endian"));
}

/// Every cut of a sound file, and every damaged byte of its first part, gives a report or an error, never a panic, and quickly.
#[test]
fn cuts_and_damage() {
    let folder = Folder::new();
    folder.mpi("lib", "libmpi.so.12");
    let program = folder.cc("prog", USER, &["lib/libmpi.so.12"]);
    let sound = fs::read(&program).unwrap();
    // Beyond the last segment only sections follow, which nobody needs at run time.
    for length in (0..2048).step_by(5).chain((2048..8192).step_by(97)) {
        let path = folder.write("cut", &sound[..length.min(sound.len())]);
        assert!(
            examine_in(&path, &Surroundings::default()).is_err(),
            "{length} bytes"
        );
    }
    let mut seed = 1u64;
    for at in (16..1600).step_by(3) {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let mut bytes = sound.clone();
        bytes[at] ^= (seed >> 56) as u8 | 1;
        let path = folder.write("damaged", &bytes);
        let _ = examine_in(&path, &Surroundings::default()).map(|report| report.obstacles());
    }
}

#[test]
fn symbol_names() {
    assert_eq!(c_function("PMPI_Send"), Some("MPI_Send"));
    assert_eq!(c_function("MPI_T_init_thread"), Some("MPI_T_init_thread"));
    for name in [
        "MPI_UNWEIGHTED",
        "MPI_SEND",
        "mpi_send_",
        "Print",
        "MPIR_Dup_fn",
        "PMPI",
        "ompi_mpi_int",
    ] {
        assert_eq!(c_function(name), None, "{name}");
    }
    for name in [
        "mpi_send_",
        "mpi_send__",
        "MPI_SEND",
        "PMPI_SEND",
        "mpi_send_f08_",
    ] {
        assert!(is_fortran(name), "{name}");
    }
    for name in [
        "MPI_Send",
        "MPI_UNWEIGHTED",
        "MPI_F_STATUS_IGNORE",
        "mpi_fortran_bottom_",
        "main",
    ] {
        assert!(!is_fortran(name), "{name}");
    }
}
