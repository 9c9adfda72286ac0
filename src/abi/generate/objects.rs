//! Open MPI's data objects: a predefined handle is the address of one.
//!
//! A program that is not position-independent, or that the linker made so, has a copy of each object that it uses, and
//! that copy is the object for the library too (copy relocations): the content, not the address, tells which it is.

use crate::symbols::size;
use crate::table::{constants, Family};

/// The generated source; of the other ABIs none.
pub fn write(family: Family) -> String {
    let mut text = String::from("// Written by mayfly-generate from constants.table.\n");
    if family != Family::OpenMpi {
        return text;
    }
    let mut names: Vec<&str> = Vec::new();
    let mut kinds: Vec<(&str, Vec<(i64, &str)>)> = Vec::new();
    for c in constants() {
        let Some(name) = c.value(family).strip_prefix('&') else {
            continue;
        };
        if c.kind == "fortran" || names.contains(&name) {
            continue;
        }
        names.push(name);
        let words = size(family, c.kind) / 8 - 2;
        let id = c
            .engine()
            .map_or("NONE".to_string(), |id| format!("{id:#x}"));
        text += &format!(
            "\n/// {}\n#[no_mangle]\npub static mut {name}: Object<{words}> = Object::new(Kind::{}, {id});\n",
            c.name,
            capital(c.kind)
        );
        let Some(engine) = c.engine() else {
            continue;
        };
        if !kinds.iter().any(|k| k.0 == c.kind) {
            kinds.push((c.kind, Vec::new()));
        }
        let list = &mut kinds
            .iter_mut()
            .find(|k| k.0 == c.kind)
            .expect("just made")
            .1;
        if !list.iter().any(|o| o.0 == engine) {
            list.push((engine, name));
        }
    }
    for (kind, list) in kinds {
        text += &format!("\n/// The object of a predefined {kind}.\npub fn {kind}_object(id: u32) -> *mut c_void {{\n    match id {{\n");
        for (id, name) in list {
            text += &format!("        {id:#x} => (&raw mut {name}).cast(),\n");
        }
        text += "        _ => std::ptr::null_mut(),\n    }\n}\n";
    }
    text
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().collect::<String>() + letters.as_str(),
        None => String::new(),
    }
}
