//! What a library exports.

use crate::table::{constants, procedures, Family};

/// The functions of MPI, without their PMPI names.
pub fn functions(family: Family) -> Vec<String> {
    let mut names = Vec::new();
    for p in procedures().iter().filter(|p| p.exported(family)) {
        names.push(p.name.to_string());
        if p.has_large() {
            names.push(format!("{}_c", p.name));
        }
    }
    names
}

/// What C++ programs of Open MPI 4 import: src/abi/openmpi/cxx.rs.
const CXX: [&str; 8] = [
    "ompi_mpi_cxx_op_intercept",
    "ompi_op_set_cxx_callback",
    "_ZN3MPI4CommC1Ev",
    "_ZN3MPI4CommC2Ev",
    "_ZN3MPI4CommC1ERKNS_9Comm_NullE",
    "_ZN3MPI4CommC2ERKNS_9Comm_NullE",
    "_ZN3MPI8Datatype4FreeEv",
    "_ZN3MPI3Win4FreeEv",
];

/// Functions of the ABI that are no procedures of MPI: callbacks that constants stand for, and what C++ bindings that
/// were compiled into programs call.
pub fn other_functions(family: Family) -> Vec<String> {
    let mut names = Vec::new();
    for c in constants()
        .iter()
        .filter(|c| c.kind.starts_with("function."))
    {
        let value = c.value(family);
        if value.starts_with(|c: char| c.is_ascii_uppercase()) && !names.iter().any(|n| n == value)
        {
            names.push(value.to_string());
        }
    }
    if family == Family::OpenMpi {
        names.extend(CXX.iter().map(|n| n.to_string()));
    }
    names
}

/// Data objects and their sizes.
pub fn objects(family: Family) -> Vec<(String, usize)> {
    let mut list: Vec<(String, usize)> = Vec::new();
    for c in constants() {
        if let Some(name) = c.value(family).strip_prefix('&') {
            if !list.iter().any(|(n, _)| n == name) {
                list.push((name.to_string(), size(family, c.kind)));
            }
        }
    }
    if family == Family::Mpich {
        list.push(("MPIR_F08_MPI_STATUS_IGNORE_OBJ".into(), 20));
        list.push(("MPIR_F08_MPI_STATUSES_IGNORE_OBJ".into(), 20));
    }
    list
}

/// Bytes of the object behind a constant of that kind: programs have copies of exactly this size (copy relocations).
pub fn size(family: Family, kind: &str) -> usize {
    if family != Family::OpenMpi {
        return 8;
    }
    match kind {
        "comm" | "datatype" | "win" | "session" => 512,
        "group" | "request" | "message" | "info" => 256,
        "file" => 1536,
        "errhandler" => 1024,
        "op" => 2048,
        _ => 8,
    }
}

/// A version script that exports those and nothing else.
pub fn version_script(family: Family) -> String {
    let mut names: Vec<String> = Vec::new();
    for name in functions(family) {
        names.push(format!("P{name}"));
        names.push(name);
    }
    names.extend(other_functions(family));
    names.extend(objects(family).into_iter().map(|o| o.0));
    let list: String = names.iter().map(|n| format!("    {n};\n")).collect();
    format!("{{\n  global:\n{list}}};\n")
}

/// What `nm -D` says of the library: a line each of name, type (W a weak name of a T, T a function, D data), and a data
/// object's size; sorted.
pub fn golden(family: Family) -> String {
    let mut lines = Vec::new();
    for name in functions(family) {
        lines.push(format!("P{name} T"));
        lines.push(format!("{name} W"));
    }
    lines.extend(
        other_functions(family)
            .into_iter()
            .map(|n| format!("{n} T")),
    );
    lines.extend(
        objects(family)
            .into_iter()
            .map(|(n, size)| format!("{n} D {size}")),
    );
    lines.sort();
    lines.join("\n") + "\n"
}
