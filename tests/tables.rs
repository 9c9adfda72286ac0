//! The tables against what they stand for: the standard's list of names, the headers, the libraries' symbols, and
//! every constant through a library of its own ABI.

use mayfly_generate::table::{constants, procedures, Constant};
use mayfly_generate::{check, header, symbols, Family};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}\n{error}",
        output.status
    );
    text
}

/// Where this test's profile puts libraries, after they were built.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let here = std::env::current_exe().expect("a test is a file");
        let folder = here
            .ancestors()
            .nth(2)
            .expect("target/PROFILE/deps/test")
            .to_path_buf();
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(root())
            .arg("build")
            .arg("--quiet")
            .arg("--locked");
        for family in Family::ALL {
            cargo.args(["-p", &format!("mayfly-{}", family.name())]);
        }
        match folder.file_name().and_then(|n| n.to_str()) {
            Some("debug") | None => {}
            Some(profile) => {
                cargo.args(["--profile", profile]);
            }
        }
        cargo
            .arg("--target-dir")
            .arg(folder.parent().expect("a folder in target"));
        run(&mut cargo);
        folder
    })
}

fn library(family: Family) -> PathBuf {
    built().join(format!("libmayfly_{}.so", family.name()))
}

#[test]
fn every_function_of_the_standard_is_in_the_table() {
    let wanted: BTreeSet<String> = read("mpi-tests/symbols/mpi50.txt")
        .lines()
        .map(str::to_string)
        .collect();
    assert_eq!(wanted.len(), 664, "503 functions and 161 large-count forms");
    let mut have = BTreeSet::new();
    for p in procedures()
        .iter()
        .filter(|p| !matches!(p.chapter, "removed" | "extension"))
    {
        if p.chapter == "conversion" && p.has("not=standard") {
            continue;
        }
        have.insert(p.name.to_string());
        if p.has_large() {
            have.insert(format!("{}_c", p.name));
        }
    }
    assert_eq!(have, wanted);
    for family in Family::ALL {
        let exported: BTreeSet<String> = symbols::functions(family).into_iter().collect();
        let missing: Vec<_> = wanted.difference(&exported).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", family.name());
    }
}

#[test]
fn the_state_of_every_row_is_true() {
    let found = check::differences(root());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_name_stands_twice() {
    let mut seen = BTreeSet::new();
    let names = procedures().iter().map(|p| p.name);
    for name in names.chain(constants().iter().map(|c| c.name)) {
        assert!(seen.insert(name), "{name}");
    }
}

#[test]
fn no_abi_gives_two_constants_of_a_kind_the_same_value() {
    for family in Family::ALL {
        let mut seen: BTreeMap<(&str, i64), &str> = BTreeMap::new();
        let kinds = [
            "errclass",
            "combiner",
            "datatype",
            "op",
            "comm",
            "keyval",
            "errhandler",
            "thread_level",
        ];
        for c in constants().iter().filter(|c| kinds.contains(&c.kind)) {
            if let Some(value) = c.number(family) {
                let before = seen.insert((c.kind, value), c.name);
                assert_eq!(
                    before,
                    None,
                    "{} has {value} of {} too",
                    family.name(),
                    c.name
                );
            }
        }
    }
}

#[test]
fn headers_are_up_to_date() {
    for family in Family::ALL {
        let path = header::path(family);
        let same = read(&path) == header::write(family);
        assert!(
            same,
            "{path} is not what the tables say: cargo run -p mayfly-generate -- headers"
        );
    }
}

#[test]
fn golden_lists_are_up_to_date() {
    for family in Family::ALL {
        let name = family.name();
        let same = read(format!("mpi-tests/symbols/{name}.txt")) == symbols::golden(family);
        assert!(
            same,
            "cargo run -p mayfly-generate -- symbols {name} > mpi-tests/symbols/{name}.txt"
        );
    }
}

/// What `nm -D` tells of a library, in the form of the golden lists.
fn exported(library: &Path) -> String {
    let text = run(Command::new("nm")
        .args(["-D", "-S", "--defined-only"])
        .arg(library));
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (size, kind, name) = match words[..] {
            [_, size, kind, name] => (size, kind, name),
            [_, kind, name] => ("0", kind, name),
            _ => panic!("nm says {line:?}"),
        };
        lines.push(match kind {
            "T" | "W" => format!("{name} {kind}"),
            // Where data lie does not matter to a program, how long they are does.
            _ => {
                let size = u64::from_str_radix(size, 16).expect("nm writes sizes in hexadecimal");
                format!("{name} D {size}")
            }
        });
    }
    lines.sort();
    lines.join("\n") + "\n"
}

#[test]
fn libraries_export_what_the_golden_lists_say() {
    for family in Family::ALL {
        let have = exported(&library(family));
        let want = read(format!("mpi-tests/symbols/{}.txt", family.name()));
        let (have, want): (BTreeSet<_>, BTreeSet<_>) =
            (have.lines().collect(), want.lines().collect());
        let missing: Vec<_> = want.difference(&have).collect();
        let extra: Vec<_> = have.difference(&want).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{}: missing {missing:?}, too many {extra:?}",
            family.name()
        );
    }
}

#[test]
fn libraries_need_only_the_base_system() {
    let allowed = [
        "libc.so.6",
        "libm.so.6",
        "libgcc_s.so.1",
        "ld-linux-x86-64.so.2",
        "ld-linux-aarch64.so.1",
    ];
    let sonames = ["libmpi.so.12", "libmpi.so.40", "libmpi_abi.so.1"];
    for (family, soname) in Family::ALL.into_iter().zip(sonames) {
        let text = run(Command::new("readelf").arg("-d").arg(library(family)));
        for line in text.lines().filter(|l| l.contains("(NEEDED)")) {
            let name = line
                .split(['[', ']'])
                .nth(1)
                .expect("readelf writes names in brackets");
            assert!(allowed.contains(&name), "{}: {name}", family.name());
        }
        assert!(
            text.contains(&format!("[{soname}]")),
            "{}: soname {soname}",
            family.name()
        );
    }
}

/// A program of C that takes every predefined handle to the library and back.
fn program(family: Family) -> String {
    let status = match family {
        Family::Mpich => "20, 8, 12, 16",
        Family::OpenMpi => "24, 0, 4, 8",
        Family::Standard => "32, 0, 4, 8",
    };
    let mut text = String::from("#include <mpi.h>\n#include <stdio.h>\n#include <string.h>\n");
    text += "#define LAYOUT(size, source, tag, error) \\\n";
    for (what, value) in [
        ("sizeof(MPI_Status)", "size"),
        ("offsetof(MPI_Status, MPI_SOURCE)", "source"),
        ("offsetof(MPI_Status, MPI_TAG)", "tag"),
        ("offsetof(MPI_Status, MPI_ERROR)", "error"),
    ] {
        text += &format!("    _Static_assert({what} == {value}, \"{what}\"); \\\n");
    }
    text += &format!("    struct nothing\nLAYOUT({status});\n");
    text += "int main(void) {\n    MPI_Init(0, 0);\n    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);\n";
    text += "    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);\n    char name[1024]; int length, value;\n";
    // Of constants that share an engine's number only the first comes back as itself.
    let known = |c: &&Constant| {
        let same = |o: &&Constant| o.kind == c.kind && o.engine() == c.engine();
        let first = constants().iter().find(same);
        c.value(family) != "-" && c.engine().is_some() && first.is_some_and(|o| o.name == c.name)
    };
    for c in constants()
        .iter()
        .filter(|c| c.kind == "datatype")
        .filter(known)
    {
        let name = c.name;
        let alias = constants()
            .iter()
            .find(|a| a.kind == "alias" && a.standard == name);
        let other = alias.map_or(name, |a| a.name);
        text += &format!(
            "    if (MPI_Type_get_name({name}, name, &length) || (strcmp(name, \"{name}\") && strcmp(name, \"{other}\")))\n        \
             printf(\"{name} is named %s\\n\", name);\n"
        );
    }
    for (kind, to) in [
        ("comm", "Comm"),
        ("group", "Group"),
        ("datatype", "Type"),
        ("op", "Op"),
        ("request", "Request"),
        ("message", "Message"),
        ("info", "Info"),
        ("errhandler", "Errhandler"),
        ("win", "Win"),
        ("file", "File"),
        ("session", "Session"),
    ] {
        for c in constants().iter().filter(|c| c.kind == kind).filter(known) {
            let name = c.name;
            text += &format!(
                "    if (MPI_{to}_fromint(MPI_{to}_toint({name})) != {name}) printf(\"{name} does not come back\\n\");\n"
            );
            if let (Some(number), Family::OpenMpi) = (c.fortran, family) {
                text += &format!(
                    "    if (MPI_{to}_c2f({name}) != {number}) printf(\"{name} in Fortran\\n\");\n"
                );
            }
        }
    }
    for c in constants()
        .iter()
        .filter(|c| c.kind == "errclass")
        .filter(known)
    {
        let name = c.name;
        if name == "MPI_ERR_LASTCODE" {
            continue;
        }
        text += &format!(
            "    if (MPI_Error_class({name}, &value) || value != {name}) printf(\"{name} is of class %d\\n\", value);\n    \
             if (MPI_Error_string({name}, name, &length) || strncmp(name, \"{name}\", {}))\n        \
             printf(\"{name} says %s\\n\", name);\n",
            name.len()
        );
    }
    text + "    MPI_Finalize();\n    puts(\"done\");\n    return 0;\n}\n"
}

#[test]
fn every_constant_passes_the_door() {
    let folder = built().join("constants-of-every-abi");
    std::fs::create_dir_all(&folder).expect("a folder in target");
    for family in Family::ALL {
        let name = family.name();
        let source = folder.join(format!("{name}.c"));
        std::fs::write(&source, program(family)).expect("a file in target");
        let soname = ["libmpi.so.12", "libmpi.so.40", "libmpi_abi.so.1"][family as usize];
        let link = folder.join(soname);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(library(family), &link).expect("a link in target");
        for (form, flags) in [
            ("pie", ["-fPIE", "-pie"]),
            ("no-pie", ["-fno-PIE", "-no-pie"]),
        ] {
            let program = folder.join(format!("{name}-{form}"));
            let include = root().join("include").join(name);
            run(Command::new("cc")
                .args(flags)
                .arg("-I")
                .arg(include)
                .arg(&source)
                .arg("-o")
                .arg(&program)
                .arg(&link));
            let said = run(Command::new(&program)
                .env("LD_LIBRARY_PATH", &folder)
                .env_remove("PMI_RANK"));
            assert_eq!(said, "done\n", "{name} {form}");
        }
    }
}

#[test]
fn a_program_may_put_its_own_function_in_front() {
    let folder = built().join("constants-of-every-abi");
    std::fs::create_dir_all(&folder).expect("a folder in target");
    let source = folder.join("in-front.c");
    let text = "#include <mpi.h>\n#include <stdio.h>\n\
        int MPI_Comm_size(MPI_Comm comm, int *size) {\n    \
            puts(\"in front\");\n    return PMPI_Comm_size(comm, size);\n}\n\
        int main(void) {\n    int size = 0;\n    MPI_Init(0, 0);\n    MPI_Comm_size(MPI_COMM_WORLD, &size);\n    \
            printf(\"%d\\n\", size);\n    return MPI_Finalize();\n}\n";
    std::fs::write(&source, text).expect("a file in target");
    for family in Family::ALL {
        let name = family.name();
        let program = folder.join(format!("in-front-{name}"));
        run(Command::new("cc")
            .arg("-I")
            .arg(root().join("include").join(name))
            .arg(&source)
            .arg("-o")
            .arg(&program)
            .arg(library(family)));
        // The program asks for the library by its soname.
        let apart = folder.join(format!("apart-{name}"));
        std::fs::create_dir_all(&apart).expect("a folder in target");
        let soname = ["libmpi.so.12", "libmpi.so.40", "libmpi_abi.so.1"][family as usize];
        let link = apart.join(soname);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(library(family), &link).expect("a link in target");
        let said = run(Command::new(&program).env("LD_LIBRARY_PATH", &apart));
        assert_eq!(said, "in front\n1\n", "{name}");
    }
}
