//! The libraries' functions: `PMPI_X`, and `MPI_X` as its weak name.

use crate::rust_types;
use crate::shim;
use crate::table::{procedures, Direction, Family, Procedure};
use std::fmt::Write;

/// All entry points of a library.
pub fn write(family: Family) -> String {
    let mut text = String::from("// Written by mayfly-generate from procedures.table.\n");
    for p in procedures().iter().filter(|p| p.exported(family)) {
        text += &function(p, false);
        if p.has_large() {
            text += &function(p, true);
        }
    }
    text
}

/// The expression that names the object whose error handler gets the errors.
fn object(p: &Procedure) -> String {
    // What opens or deletes a file raises its errors on the null handle (MPI-5.0 §14.7).
    let file = p
        .parameters
        .iter()
        .any(|q| q.kind == "file" && q.direction != Direction::Out);
    if p.chapter == "file" && !file {
        return "of_no_file".into();
    }
    let kinds = ["comm", "win", "file", "session"];
    let found = p
        .parameters
        .iter()
        .find(|q| kinds.contains(&q.kind) && q.length.is_none() && q.direction != Direction::Out);
    match found {
        None => "of_none".into(),
        Some(q) if q.direction == Direction::In => format!("|| of_{}({})", q.kind, q.name),
        Some(q) => format!("|| of_{}(at({}))", q.kind, q.name),
    }
}

fn function(p: &Procedure, large: bool) -> String {
    let suffix = if large { "_c" } else { "" };
    let name = format!("{}{suffix}", p.name);
    let parameters: Vec<(&str, String)> = p
        .parameters
        .iter()
        .filter(|q| large || !q.large_only)
        .filter_map(|q| Some((q.name, rust_types::parameter(q, large)?)))
        .collect();
    let result = rust_types::result(p.value("returns"));
    let mut text = format!("\n/// {name} ({}).\n#[no_mangle]\n", p.chapter);
    let list: Vec<String> = parameters
        .iter()
        .map(|(n, t)| format!("{n}: {t}"))
        .collect();
    let line = format!(
        "pub unsafe extern \"C\" fn P{name}({}) -> {result} {{",
        list.join(", ")
    );
    if line.len() <= 100 {
        writeln!(text, "{line}").expect("a String takes all");
    } else {
        writeln!(
            text,
            "pub unsafe extern \"C\" fn P{name}(\n    {},\n) -> {result} {{",
            list.join(",\n    ")
        )
        .expect("a String takes all");
    }
    let names: Vec<&str> = parameters.iter().map(|(n, _)| *n).collect();
    let inside = inside(p, large, &name, &names);
    if inside.contains("unsafe") {
        text += "    // SAFETY: the program keeps the procedure's contract: its pointers are valid as the standard asks.\n";
    }
    text += &inside;
    text += "}\n";
    text += &format!("weak!(\"{name}\", \"P{name}\");\n");
    text
}

fn inside(p: &Procedure, large: bool, name: &str, names: &[&str]) -> String {
    let object = object(p);
    let anytime = p.has("anytime");
    if p.has("handle") {
        let arrow = if p.value("returns").is_some_and(shim::is_handle) {
            "Handle::from_int"
        } else {
            "Handle::to_int"
        };
        return format!("    {arrow}({})\n", names[0]);
    }
    if !p.ready {
        let later = match (p.chapter, anytime) {
            ("tool", _) => "entry::later_tool::<A>()".into(),
            (_, true) => format!("entry::later_anytime::<A>(\"{name}\", {object})"),
            (_, false) => format!("entry::later::<A>(\"{name}\", {object})"),
        };
        return match later.contains("at(") {
            true => format!("    unsafe {{ {later} }}\n"),
            false => format!("    {later}\n"),
        };
    }
    if p.has("irregular") {
        let suffix = if large { "_c" } else { "" };
        return format!(
            "    unsafe {{ irregular::{}{suffix}::<A>({}) }}\n",
            p.door(),
            names.join(", ")
        );
    }
    let entry = if anytime { "anytime" } else { "call" };
    format!(
        "    unsafe {{\n        entry::{entry}::<A>(\"{name}\", {object}, |rt| {{\n{}        }})\n    }}\n",
        shim::body(p, large, "            ")
    )
}
