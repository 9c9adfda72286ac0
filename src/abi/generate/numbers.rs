//! A library's `impl Numbers`, and the tables of its predefined handles.

use crate::table::{constants, Constant, Family};

/// Kinds whose constants are translated by a table.
const TABLES: &[&str] = &[
    "errclass",
    "threadlevel",
    "comparison",
    "topology",
    "splittype",
    "order",
    "distribution",
    "darg",
    "combiner",
    "typeclass",
    "locktype",
    "whence",
    "flavor",
    "model",
    "keyval",
    "amode",
    "assert",
];

const HANDLES: &[&str] = &[
    "comm",
    "group",
    "datatype",
    "op",
    "request",
    "message",
    "info",
    "errhandler",
    "win",
    "file",
    "session",
];

const LIMITS: &[&str] = &[
    "MAX_PROCESSOR_NAME",
    "MAX_ERROR_STRING",
    "MAX_OBJECT_NAME",
    "MAX_LIBRARY_VERSION_STRING",
    "MAX_INFO_KEY",
    "MAX_INFO_VAL",
    "MAX_PORT_NAME",
    "MAX_DATAREP_STRING",
    "MAX_PSET_NAME_LEN",
];

/// The number of a constant that every ABI has.
fn number(family: Family, name: &str) -> i64 {
    let find = constants().iter().find(|c| c.name == name);
    find.and_then(|c| c.number(family)).unwrap_or_else(|| {
        panic!(
            "constants.table: {name} has no number for {}",
            family.name()
        )
    })
}

fn rows(kind: &str) -> impl Iterator<Item = &'static Constant> + use<'_> {
    constants().iter().filter(move |c| c.kind == kind)
}

/// The generated source.
pub fn write(family: Family) -> String {
    let mut text = String::from(
        "// Written by mayfly-generate from constants.table.\n\nimpl Numbers for A {\n",
    );
    for name in ["ANY_SOURCE", "PROC_NULL", "ROOT", "ANY_TAG"] {
        let value = number(family, &format!("MPI_{name}"));
        text += &format!("    const {name}: c_int = {value};\n");
    }
    for name in ["IN_PLACE", "BUFFER_AUTOMATIC", "STATUS_IGNORE"] {
        let find = |name: &str| constants().iter().find(|c| c.name == format!("MPI_{name}"));
        let value = find(name).and_then(|c| c.number(family));
        let value = value.unwrap_or_else(|| number(family, "MPI_IN_PLACE"));
        text += &format!("    const {name}: usize = {value}isize as usize;\n");
    }
    let lastcode = number(family, "MPI_ERR_LASTCODE");
    text += &format!("    const LASTCODE: c_int = {lastcode};\n");
    for kind in TABLES {
        text += &format!("    const {}: &'static [Pair] = &[\n", kind.to_uppercase());
        for c in rows(kind).filter(|c| c.name != "MPI_ERR_LASTCODE") {
            if let (Some(value), Some(engine)) = (c.number(family), c.engine()) {
                text += &format!(
                    "        ({}, {engine}), // {}\n",
                    value as u32 as i32, c.name
                );
            }
        }
        text += "    ];\n";
    }
    let (major, minor) = (
        number(family, "MPI_VERSION"),
        number(family, "MPI_SUBVERSION"),
    );
    text += &format!("    const VERSION: (c_int, c_int) = ({major}, {minor});\n");
    for name in LIMITS {
        let value = number(family, &format!("MPI_{name}"));
        text += &format!("    const {name}: usize = {value};\n");
    }
    text += "}\n";
    if family == Family::Mpich {
        text += &handles(family);
    }
    if family == Family::OpenMpi {
        text += &fortran();
    }
    text
}

/// (In the ABI, in the engine) of every predefined handle.
fn handles(family: Family) -> String {
    let mut text = String::from("\n");
    // A file's handle is a pointer, which needs no table.
    for kind in HANDLES.iter().filter(|kind| **kind != "file") {
        text += &format!("pub const {}: &[(u32, u32)] = &[\n", kind.to_uppercase());
        for c in rows(kind) {
            if let (Some(value), Some(engine)) = (c.number(family), c.engine()) {
                text += &format!("    ({value:#x}, {engine:#x}), // {}\n", c.name);
            }
        }
        text += "];\n";
    }
    text
}

/// (The engine's id, Open MPI's number in Fortran) of every predefined handle.
fn fortran() -> String {
    let mut text = String::from("\n");
    for kind in HANDLES {
        text += &format!("pub const {}: &[(u32, c_int)] = &[\n", kind.to_uppercase());
        for c in rows(kind) {
            if let (Some(number), Some(engine)) = (c.fortran, c.engine()) {
                text += &format!("    ({engine:#x}, {number}), // {}\n", c.name);
            }
        }
        text += "];\n";
    }
    text
}
