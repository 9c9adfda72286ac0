//! A parameter's declaration in C.

use crate::table::{Direction, Parameter, Procedure};

/// The type of one value of the kind.
fn base(kind: &str, large: bool) -> &'static str {
    match kind {
        "comm" => "MPI_Comm",
        "group" => "MPI_Group",
        "datatype" => "MPI_Datatype",
        "op" => "MPI_Op",
        "request" => "MPI_Request",
        "message" => "MPI_Message",
        "info" => "MPI_Info",
        "errhandler" => "MPI_Errhandler",
        "win" => "MPI_Win",
        "file" => "MPI_File",
        "session" => "MPI_Session",
        "status" => "MPI_Status",
        "fint" | "fstatus" => "MPI_Fint",
        "f08status" => "MPI_F08_status",
        "count" if large => "MPI_Count",
        "displ" if large => "MPI_Aint",
        "extent" if large => "MPI_Count",
        "extent" | "aint" => "MPI_Aint",
        "large" => "MPI_Count",
        "offset" => "MPI_Offset",
        "buffer" | "location" | "pointer" | "state" | "attribute" | "object" | "void" => "void",
        "string" | "strings" | "argvs" | "argv" => "char",
        "double" => "double",
        "cvar" => "MPI_T_cvar_handle",
        "pvar" => "MPI_T_pvar_handle",
        "pvar_session" => "MPI_T_pvar_session",
        "enum" => "MPI_T_enum",
        "event_registration" => "MPI_T_event_registration",
        "event_instance" => "MPI_T_event_instance",
        "cb_safety" => "MPI_T_cb_safety",
        "source_order" => "MPI_T_source_order",
        _ => "int",
    }
}

/// As it stands in a prototype.
pub fn parameter(p: &Parameter, large: bool) -> String {
    let name = p.name;
    let base = base(p.kind, large);
    let constant = if p.direction == Direction::In {
        "const "
    } else {
        ""
    };
    match p.kind {
        "varargs" => "...".into(),
        "function" => format!("{} *{name}", p.function),
        "polyfunction" => format!("{}{} *{name}", p.function, if large { "_c" } else { "" }),
        "buffer" | "location" | "string" | "f08status" | "fstatus" => {
            format!("{constant}{base} *{name}")
        }
        "status" if p.length.is_none() => format!("{constant}{base} *{name}"),
        "pointer" | "state" | "attribute" | "object" | "void" => format!("void *{name}"),
        "strings" => format!("char *{name}[]"),
        "argvs" => format!("char **{name}[]"),
        "argv" => format!("char ***{name}"),
        "triple" => format!("int {name}[][3]"),
        _ if p.length.is_some() => format!("{constant}{base} {name}[]"),
        _ if p.direction != Direction::In => format!("{base} *{name}"),
        _ => format!("{base} {name}"),
    }
}

/// A prototype, with `prefix` before the procedure's name, wrapped to lines of 120 columns.
pub fn prototype(p: &Procedure, large: bool, prefix: &str) -> String {
    let result = base(p.value("returns").unwrap_or("int"), false);
    let suffix = if large { "_c" } else { "" };
    let list = p.parameters.iter().filter(|q| large || !q.large_only);
    let mut list: Vec<String> = list.map(|q| parameter(q, large)).collect();
    if list.is_empty() {
        list.push("void".into());
    }
    let mut text = format!("{result} {prefix}{}{suffix}(", p.name);
    let mut column = text.len();
    let last = list.len() - 1;
    for (index, parameter) in list.iter().enumerate() {
        let end = if index == last { ");" } else { "," };
        if index > 0 && column + parameter.len() + 3 > 120 {
            text += "\n   ";
            column = 3;
        }
        if index > 0 {
            text += " ";
        }
        text += parameter;
        text += end;
        column += parameter.len() + end.len() + 1;
    }
    text + "\n"
}
