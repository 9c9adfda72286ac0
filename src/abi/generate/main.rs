//! `mayfly-generate headers`: rewrites include/. `mayfly-generate check`: compares procedures.table with the semantic
//! functions that exist. `mayfly-generate symbols ABI`: what that library exports.

use mayfly_generate::{check, header, symbols, Family};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["headers"] => {
            for family in Family::ALL {
                let path = root.join(header::path(family));
                let parent = path.parent().expect("a file in a folder");
                let written = std::fs::create_dir_all(parent)
                    .and_then(|()| std::fs::write(&path, header::write(family)));
                if let Err(error) = written {
                    eprintln!("{}: {error}", path.display());
                    return ExitCode::FAILURE;
                }
            }
        }
        ["check"] => {
            let found = check::differences(&root);
            found.iter().for_each(|line| println!("{line}"));
            if !found.is_empty() {
                return ExitCode::FAILURE;
            }
        }
        ["symbols", name] => match Family::ALL.iter().find(|f| f.name() == name) {
            Some(&family) => print!("{}", symbols::golden(family)),
            None => {
                eprintln!("{name} is none of mpich, openmpi, standard");
                return ExitCode::FAILURE;
            }
        },
        _ => {
            eprintln!("usage: mayfly-generate headers | check | symbols ABI");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
