//! A parameter's type in Rust.

use crate::table::{Direction, Parameter};

/// The type of one value of the kind.
fn base(kind: &str, large: bool) -> &'static str {
    match kind {
        "comm" => "Comm",
        "group" => "Group",
        "datatype" => "Datatype",
        "op" => "Op",
        "request" => "Request",
        "message" => "Message",
        "info" => "Info",
        "errhandler" => "Errhandler",
        "win" => "Win",
        "file" => "File",
        "session" => "Session",
        "count" | "displ" if large => "i64",
        "extent" | "aint" | "large" | "offset" => "i64",
        "triple" => "[c_int; 3]",
        "cvar" | "pvar" | "pvar_session" | "enum" | "event_registration" | "event_instance" => {
            "*mut c_void"
        }
        _ => "c_int",
    }
}

/// As it stands in the entry point's signature; nothing for the dots of a variadic function, which C's convention lets
/// the callee ignore.
pub fn parameter(p: &Parameter, large: bool) -> Option<String> {
    let constant = p.direction == Direction::In;
    let pointer = |to: &str| Some(format!("*{} {to}", if constant { "const" } else { "mut" }));
    match p.kind {
        "varargs" => None,
        "buffer" | "location" | "f08status" => pointer("c_void"),
        "pointer" | "state" | "attribute" | "object" | "void" => Some("*mut c_void".into()),
        "function" | "polyfunction" => Some("*const c_void".into()),
        "string" => pointer("c_char"),
        "strings" => Some("*mut *mut c_char".into()),
        "argvs" | "argv" => Some("*mut *mut *mut c_char".into()),
        "status" => pointer("Status"),
        "fstatus" => pointer("c_int"),
        kind if p.length.is_some() || p.direction != Direction::In => pointer(base(kind, large)),
        kind => Some(base(kind, large).into()),
    }
}

/// What a procedure returns.
pub fn result(kind: Option<&str>) -> &'static str {
    match kind {
        None | Some("fint") => "c_int",
        Some("double") => "f64",
        Some(kind) => base(kind, false),
    }
}
