//! `mayfly inspect PROGRAM`: what a program wants of MPI and what Mayfly has of it; `mayfly inspect --coverage`: what Mayfly has.

use mayfly::abi::table;
use mayfly::base::trace;
use mayfly::platform::elf::{examine, Family, Kind, Report};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};

const USAGE: &str = "\
usage: mayfly inspect PROGRAM [--json]     which MPI it was built for, what it imports, whether it can run here
       mayfly inspect --coverage [--json]  which procedures of MPI are implemented, by chapter

exit status: 0 Mayfly can take the place of the program's MPI (or it uses none), 1 it cannot, 2 the file cannot be read";

/// The longest line of wrapped names, columns.
const WIDTH: usize = 100;

/// Runs the subcommand; `arguments` are those after `inspect`. Gives the exit status.
pub fn main(arguments: &[String]) -> i32 {
    let (mut json, mut coverage, mut program) = (false, false, None);
    for argument in arguments {
        match argument.as_str() {
            "--json" => json = true,
            "--coverage" => coverage = true,
            "-h" | "--help" => {
                say(&format!("{USAGE}\n"));
                return 0;
            }
            other if other.starts_with('-') => return usage(&format!("unknown option {other}")),
            other if program.is_none() => program = Some(other.to_string()),
            other => return usage(&format!("one program at a time, not {other} as well")),
        }
    }
    match (program, coverage) {
        (None, true) => {
            say(&if json {
                coverage_json()
            } else {
                coverage_text()
            });
            0
        }
        (Some(program), false) => inspect(&program, json),
        (Some(_), true) => usage("--coverage takes no program"),
        (None, false) => usage("which program?"),
    }
}

fn usage(why: &str) -> i32 {
    trace::say(&format!("mayfly inspect: {why}\n{USAGE}"));
    2
}

/// Prints, and takes a closed pipe (`| head`) as the end.
fn say(text: &str) {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Who reads us has seen enough.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            trace::say(&format!("mayfly inspect: standard output: {e}"));
            std::process::exit(1);
        }
        _ => (),
    }
}

/// A name without a slash is searched in PATH as a shell does, then in the current folder.
fn locate(program: &str) -> PathBuf {
    if !program.contains('/') {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .map(|f| f.join(program))
            .find(|p| p.is_file());
        if let Some(found) = found {
            return found;
        }
    }
    PathBuf::from(program)
}

fn inspect(program: &str, json: bool) -> i32 {
    let path = locate(program);
    match examine(&path) {
        Err(trouble) => {
            if json {
                let object = Json::new()
                    .text("program", &path.to_string_lossy())
                    .text("error", &trouble.to_string());
                say(&format!("{}\n", object.done()));
            } else {
                trace::say(&format!("mayfly inspect: {trouble}"));
            }
            2
        }
        Ok(report) => {
            let facts = Facts::of(&report);
            say(&if json {
                facts.json(&report)
            } else {
                facts.text(&report, program)
            });
            i32::from(!facts.obstacles.is_empty())
        }
    }
}

/// What the table says about a report's functions.
struct Facts {
    ready: Vec<String>,
    later: Vec<String>,
    /// Imported names that no row of the table has.
    unknown: Vec<String>,
    fortran: Vec<String>,
    obstacles: Vec<String>,
}

impl Facts {
    fn of(report: &Report) -> Facts {
        let mut facts = Facts {
            ready: vec![],
            later: vec![],
            unknown: vec![],
            fortran: report.fortran().into_iter().collect(),
            obstacles: report.obstacles(),
        };
        for name in report.functions().into_keys() {
            match table::procedure_of(&name) {
                Some(row) if row.ready => facts.ready.push(name),
                Some(_) => facts.later.push(name),
                None => facts.unknown.push(name),
            }
        }
        if report.binds_now && !facts.unknown.is_empty() {
            facts.obstacles.push(format!(
                "{}: binds every symbol at its start, and Mayfly does not export {}",
                report.path.display(),
                facts.unknown.join(", ")
            ));
        }
        facts
    }

    fn uses_mpi(&self, report: &Report) -> bool {
        !report.libraries.is_empty() || !report.functions().is_empty()
    }

    fn text(&self, report: &Report, program: &str) -> String {
        let style = Style::new();
        let mut out = format!("{}\n", style.bold(&report.path.to_string_lossy()));
        let mut row = |label: &str, text: &str| {
            let _ = writeln!(out, "  {label:<10} {text}");
        };
        match &report.kind {
            Kind::Script(interpreter) => row("kind", &format!("a script for {interpreter}")),
            Kind::Static(_) => row(
                "kind",
                "a static program (it starts without the dynamic loader)",
            ),
            Kind::MpiLibrary => row("kind", "an MPI library itself"),
            Kind::Library => row("kind", "a shared library"),
            Kind::MpiInside | Kind::Dynamic => {}
        }
        for library in &report.libraries {
            let what = match &library.family {
                Family::Known(abi) => format!("{} ABI", abi.title()),
                Family::Foreign(what) => what.clone(),
                Family::Bundled => "a renamed copy of an MPI library".into(),
                Family::None => continue,
            };
            let place = match &library.found {
                Some(path) => format!("today {}", path.display()),
                None => "not found on this machine".into(),
            };
            row("MPI", &format!("{:<24} {what}; {place}", library.name));
        }
        for (path, names) in &report.users {
            let by = if *path == report.path {
                "the program".into()
            } else {
                path.display().to_string()
            };
            row(
                "used by",
                &format!("{by} ({})", counted(names.len(), "symbol")),
            );
        }
        let total = self.ready.len() + self.later.len() + self.unknown.len();
        if total > 0 {
            let mut text = format!(
                "{} imported, {} implemented",
                counted(total, "C function"),
                self.ready.len()
            );
            if !self.later.is_empty() {
                let _ = write!(text, ", {} not yet", self.later.len());
            }
            row("functions", &text);
        }
        for (label, names) in [("not yet", &self.later), ("unknown", &self.unknown)] {
            for (i, line) in wrap(names, WIDTH - 13).iter().enumerate() {
                row(if i == 0 { label } else { "" }, line);
            }
        }
        if !self.fortran.is_empty() {
            row(
                "Fortran",
                &format!(
                    "{}, which Mayfly does not offer yet",
                    counted(self.fortran.len(), "entry point")
                ),
            );
        }
        if report.cxx() > 0 {
            row(
                "C++",
                &format!("{} of MPI's C++ bindings", counted(report.cxx(), "member")),
            );
        }
        if report.binds_now && self.uses_mpi(report) {
            row(
                "binding",
                "all symbols must resolve at the start (BIND_NOW)",
            );
        }
        for trap in &report.traps {
            let help = if trap.preload_helps() {
                "; `mayfly run` preloads its library, which wins"
            } else {
                ""
            };
            row("trap", &style.yellow(&format!("{trap}{help}")));
        }
        for (name, by) in &report.missing {
            row(
                "missing",
                &style.yellow(&format!(
                    "{name}, needed by {}, is nowhere to be found",
                    by.display()
                )),
            );
        }
        row("verdict", &self.verdict(report, program, &style));
        out
    }

    fn verdict(&self, report: &Report, program: &str, style: &Style) -> String {
        if !self.obstacles.is_empty() {
            return style.red(&format!(
                "cannot run under Mayfly:\n             {}",
                self.obstacles.join("\n             ")
            ));
        }
        match &report.kind {
            Kind::Script(_) => {
                return "depends on what the script starts; inspect that program".into()
            }
            Kind::MpiLibrary => return "nothing to run".into(),
            _ => {}
        }
        if !self.uses_mpi(report) {
            return match report.kind {
                Kind::Static(_) => style.yellow("linked against no MPI; it would run as independent copies"),
                _ => style.yellow("linked against no MPI; unless it loads one later (Python does), it would run as independent copies"),
            };
        }
        let mut text = style.green(&match report.kind {
            Kind::Library => "runs in a program that loads it".to_string(),
            _ => format!("runs: mayfly run -n 4 {program}"),
        });
        if !self.later.is_empty() {
            let _ = write!(
                text,
                " (what is not yet implemented raises MPI_ERR_UNSUPPORTED_OPERATION when called)"
            );
        }
        text
    }

    fn json(&self, report: &Report) -> String {
        let kind = match &report.kind {
            Kind::Dynamic => "dynamic",
            Kind::Library => "library",
            Kind::Static(_) => "static",
            Kind::MpiInside => "mpi-inside",
            Kind::MpiLibrary => "mpi-library",
            Kind::Script(_) => "script",
        };
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let libraries = report.libraries.iter().map(|library| {
            let abi = match &library.family {
                Family::Known(abi) => abi.name(),
                _ => "",
            };
            let found = library.found.as_deref().map(path).unwrap_or_default();
            let row = Json::new().text("name", &library.name).text("abi", abi);
            row.text("found", &found)
                .text("needed_by", &path(&library.needed_by))
                .done()
        });
        let users = report.users.iter().map(|(by, names)| {
            Json::new()
                .text("object", &path(by))
                .texts("symbols", names)
                .done()
        });
        let missing: Vec<String> = report
            .missing
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let traps: Vec<String> = report.traps.iter().map(|t| t.to_string()).collect();
        let abis: Vec<String> = report.abis().iter().map(|a| a.name().to_string()).collect();
        let interpreter = if let Kind::Script(i) = &report.kind {
            i.as_str()
        } else {
            ""
        };
        let object = Json::new()
            .text("program", &path(&report.path))
            .text("kind", kind)
            .text("interpreter", interpreter)
            .texts("abis", &abis)
            .raw("libraries", &list(libraries))
            .raw("users", &list(users))
            .texts("implemented", &self.ready)
            .texts("later", &self.later)
            .texts("unknown", &self.unknown)
            .texts("fortran", &self.fortran)
            .raw("cxx", &report.cxx().to_string())
            .raw("binds_now", &report.binds_now.to_string())
            .texts("traps", &traps)
            .texts("missing", &missing)
            .texts("obstacles", &self.obstacles)
            .raw("runs", &(self.obstacles.is_empty()).to_string());
        format!("{}\n", object.done())
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Names in lines no longer than `width` (a single longer name excepted).
fn wrap(names: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + name.len() <= width => {
                line.push(' ');
                line.push_str(name);
            }
            _ => lines.push(name.clone()),
        }
    }
    lines
}

/// Per chapter, in the table's order: the names ready and later.
fn chapters() -> Vec<(&'static str, Vec<String>, Vec<String>)> {
    let mut order: Vec<&'static str> = Vec::new();
    let mut sorted: BTreeMap<&'static str, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for row in table::procedures() {
        if !order.contains(&row.chapter) {
            order.push(row.chapter);
        }
        let (ready, later) = sorted.entry(row.chapter).or_default();
        if row.ready { ready } else { later }.push(row.name.to_string());
    }
    order
        .into_iter()
        .filter_map(|c| sorted.remove(c).map(|(ready, later)| (c, ready, later)))
        .collect()
}

fn coverage_text() -> String {
    let style = Style::new();
    let chapters = chapters();
    let wide = chapters
        .iter()
        .map(|(name, _, _)| name.len())
        .max()
        .unwrap_or(0)
        .max(7);
    let mut out = style.bold(&format!(
        "{:wide$} {:>6} {:>6} {:>6}",
        "chapter", "ready", "later", "all"
    )) + "\n";
    let (mut done, mut open) = (0, 0);
    for (name, ready, later) in &chapters {
        (done, open) = (done + ready.len(), open + later.len());
        let line = format!(
            "{name:wide$} {:6} {:6} {:6}",
            ready.len(),
            later.len(),
            ready.len() + later.len()
        );
        let _ = writeln!(
            out,
            "{}",
            if later.is_empty() {
                style.green(&line)
            } else {
                line
            }
        );
    }
    let _ = writeln!(out, "{:wide$} {done:6} {open:6} {:6}", "all", done + open);
    for (title, ready_ones) in [
        ("implemented", true),
        (
            "not yet implemented (they raise MPI_ERR_UNSUPPORTED_OPERATION)",
            false,
        ),
    ] {
        let _ = writeln!(out, "\n{}", style.bold(title));
        for (name, ready, later) in &chapters {
            let names = if ready_ones { ready } else { later };
            for (i, line) in wrap(names, WIDTH - wide - 1).iter().enumerate() {
                let _ = writeln!(out, "{:wide$} {line}", if i == 0 { name } else { "" });
            }
        }
    }
    out
}

fn coverage_json() -> String {
    let rows = chapters().into_iter().map(|(name, ready, later)| {
        Json::new()
            .text("chapter", name)
            .texts("ready", &ready)
            .texts("later", &later)
            .done()
    });
    format!("{}\n", list(rows))
}

/// Colours, on a terminal only, and only where NO_COLOR is not set.
struct Style(bool);

impl Style {
    fn new() -> Style {
        Style(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
    }

    fn with(&self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.into()
        }
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn red(&self, text: &str) -> String {
        self.with("31", text)
    }

    fn green(&self, text: &str) -> String {
        self.with("32", text)
    }

    fn yellow(&self, text: &str) -> String {
        self.with("33", text)
    }
}

/// A JSON object in the making.
struct Json(String);

impl Json {
    fn new() -> Json {
        Json(String::new())
    }

    fn raw(mut self, name: &str, value: &str) -> Json {
        if !self.0.is_empty() {
            self.0.push_str(", ");
        }
        let _ = write!(self.0, "{}: {value}", quote(name));
        self
    }

    fn text(self, name: &str, value: &str) -> Json {
        self.raw(name, &quote(value))
    }

    fn texts(self, name: &str, values: &[String]) -> Json {
        self.raw(name, &list(values.iter().map(|v| quote(v))))
    }

    fn done(self) -> String {
        format!("{{{}}}", self.0)
    }
}

fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(", "))
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 32 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        assert_eq!(quote("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000ad\"");
        let object = Json::new()
            .text("x", "1")
            .texts("y", &["a".into(), "b".into()])
            .raw("z", "2")
            .done();
        assert_eq!(object, r#"{"x": "1", "y": ["a", "b"], "z": 2}"#);
    }

    #[test]
    fn wrapping() {
        let names: Vec<String> = ["aaa", "bbb", "ccc", "dddddddddd"].map(String::from).into();
        assert_eq!(wrap(&names, 7), ["aaa bbb", "ccc", "dddddddddd"]);
        assert!(wrap(&[], 7).is_empty());
    }

    #[test]
    fn wrong_arguments() {
        for arguments in [&["--what"][..], &[], &["a", "b"], &["--coverage", "a"]] {
            let arguments: Vec<String> = arguments.iter().map(|s| s.to_string()).collect();
            assert_eq!(main(&arguments), 2, "{arguments:?}");
        }
        assert_eq!(main(&["/no/such/file".to_string()]), 2);
    }

    #[test]
    fn coverage_counts_each_row_once() {
        let rows: usize = chapters()
            .iter()
            .map(|(_, ready, later)| ready.len() + later.len())
            .sum();
        assert_eq!(rows, table::procedures().len());
    }
}
