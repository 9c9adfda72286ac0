//! Is procedures.table's `ready` the truth?

use crate::table::procedures;
use std::collections::BTreeSet;
use std::path::Path;

/// Words that a source file defines as public functions, also through its own macros' arguments.
fn functions(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut in_macro = false;
    for line in text.lines() {
        if let Some((_, rest)) = line
            .split_once("pub fn ")
            .or_else(|| line.split_once("pub unsafe fn "))
        {
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            found.insert(name);
        }
        // An invocation at the left margin: `per_object!(` ... `);`
        let head = line.split_once('!').map_or("", |(word, _)| word);
        let is_word = !head.is_empty() && head.chars().all(|c| c.is_alphanumeric() || c == '_');
        in_macro |= is_word && head != "macro_rules";
        if in_macro && !line.trim_start().starts_with("//") {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            found.extend(words.filter(|w| !w.is_empty()).map(str::to_string));
        }
        if line.starts_with([')', '}']) || line.ends_with(");") && is_word {
            in_macro = false;
        }
    }
    found
}

fn folder(path: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.append(&mut folder(&path));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            found.append(&mut functions(&text));
        }
    }
    found
}

/// A line for each row whose state is not what the sources say: a function exists and the row says later, or the other
/// way round.
pub fn differences(root: &Path) -> Vec<String> {
    let calls = folder(&root.join("src/runtime/calls"));
    let doors = folder(&root.join("src/abi/irregular"));
    let mut lines = Vec::new();
    for p in procedures() {
        let exists = match (p.has("handle"), p.has("irregular")) {
            (true, _) => true,
            (_, true) => doors.contains(&p.door()),
            _ => calls.contains(&p.call(false)),
        };
        match (exists, p.ready) {
            (true, false) => lines.push(format!("{}: exists, but the table says later", p.name)),
            (false, true) => lines.push(format!(
                "{}: the table says ready, but it does not exist",
                p.name
            )),
            _ => {}
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::functions;

    #[test]
    fn functions_of_macros_are_found() {
        let text = "pub fn a() {}\nmake! {\n    /// of c\n    b, d(x: i32);\n}\nfn e() {}\nmake!(f);\nfn g() {}\n";
        let found: Vec<String> = functions(text).into_iter().collect();
        for name in ["a", "b", "d", "f"] {
            assert!(found.iter().any(|f| f == name), "{name} in {found:?}");
        }
        for name in ["e", "g", "of", "c"] {
            assert!(!found.iter().any(|f| f == name), "{name} in {found:?}");
        }
    }
}
