//! The rules of the house (ARCHITECTURE.md, "Invariants"), held by reading the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, and which of the others each may use; everything may use itself and base.
const FLOORS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("wire", &[]),
    ("qos", &[]),
    ("transport", &["wire", "qos"]),
    ("engine", &["transport", "wire", "qos"]),
    ("mpi", &["engine", "transport", "wire", "qos"]),
    ("rendezvous", &["wire"]),
    ("bootstrap", &["rendezvous", "wire"]),
    (
        "runtime",
        &["mpi", "engine", "transport", "wire", "qos", "bootstrap"],
    ),
    (
        "abi",
        &[
            "runtime",
            "mpi",
            "engine",
            "transport",
            "wire",
            "qos",
            "bootstrap",
        ],
    ),
    ("platform", &["rendezvous", "wire"]),
    // The command tells from the table what is implemented; it uses nothing else of the door (a test below). The ranks of
    // `mayfly bench` are the command itself, which then is an MPI program.
    (
        "cli",
        &["platform", "rendezvous", "wire", "abi", "runtime", "mpi"],
    ),
];

/// Floors without clock, thread, environment, file or socket.
const PURE: &[&str] = &["wire/", "qos/", "engine/", "mpi/", "rendezvous/registry"];

/// Where `unsafe` may stand, and what for.
const UNSAFE: &[&str] = &[
    "abi/",                           // pointers from C
    "runtime/",                       // users' buffers and functions
    "transport/",                     // shared memory, system calls
    "bootstrap/",                     // inherited descriptors
    "base/os.rs",                     // system calls
    "base/trace.rs",                  // one write without a lock
    "engine/data.rs",                 // users' buffers
    "mpi/datatype/",                  // copy loops
    "mpi/op/",                        // kernels over users' buffers
    "mpi/pt2pt.rs",                   // Send for what travels with a request
    "mpi/collective/running.rs",      // schedules' copies
    "mpi/collective/showing.rs",      // the same with boards
    "mpi/collective/tests/memory.rs", // a user's operation over raw memory
    "platform/launch/",               // what a child does between fork and exec
];

/// Statics that are not constants, and what for. Everything else lives in the runtime's world.
const STATICS: &[&str] = &[
    "runtime/process.rs",         // the process's runtime
    "base/config.rs",             // settings, read once
    "base/trace.rs",              // the rank in log lines
    "abi/table.rs",               // the tables, parsed once
    "abi/mpich/objects.rs",       // data objects that programs link to
    "abi/openmpi/objects.rs",     // the same
    "abi/irregular/attribute.rs", // integers that attributes point to
];

/// Longer files are tables or generated.
const LINES: usize = 700;

struct Source {
    /// Relative to src/.
    name: String,
    /// As written.
    text: String,
    /// Without comments and the insides of literals; the lines stay where they are.
    code: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut entries: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != ".git" && name != "__pycache__" {
                walk(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut paths = Vec::new();
    walk(&src, &mut paths);
    let sources: Vec<Source> = paths
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            Source {
                name: path
                    .strip_prefix(&src)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
                code: code_of(&text),
                text,
            }
        })
        .collect();
    assert!(sources.len() > 50, "only {} sources found", sources.len());
    sources
}

/// Blanks comments, strings and characters.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    let blank = |out: &mut Vec<u8>, part: &[u8]| {
        out.extend(part.iter().map(|b| if *b == b'\n' { b'\n' } else { b' ' }));
    };
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    while at < bytes.len() {
        let rest = &bytes[at..];
        let fresh = at == 0 || !word(bytes[at - 1]);
        let length = if rest.starts_with(b"//") {
            rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            rest.windows(2)
                .position(|w| w == b"*/")
                .map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest).filter(|_| fresh) {
            let end: Vec<u8> = [b"\"".as_slice(), &b"#".repeat(hashes.1)].concat();
            let start = hashes.0;
            rest[start..]
                .windows(end.len())
                .position(|w| w == end)
                .map_or(rest.len(), |p| start + p + end.len())
        } else if rest[0] == b'"' {
            quoted(rest, b'"')
        } else if rest[0] == b'\'' && (rest.get(1) == Some(&b'\\') || rest.get(2) == Some(&b'\'')) {
            quoted(rest, b'\'')
        } else {
            out.push(rest[0]);
            at += 1;
            continue;
        };
        blank(&mut out, &rest[..length]);
        at += length;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the text of `r"`, `r#"`, `br"` begins, and its number of hashes.
fn raw_string(rest: &[u8]) -> Option<(usize, usize)> {
    let start = if rest.starts_with(b"br") {
        2
    } else {
        usize::from(rest.starts_with(b"r"))
    };
    if start == 0 {
        return None;
    }
    let hashes = rest[start..].iter().take_while(|b| **b == b'#').count();
    (rest.get(start + hashes) == Some(&b'"')).then_some((start + hashes + 1, hashes))
}

fn quoted(rest: &[u8], end: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != end {
        at += 1 + usize::from(rest[at] == b'\\');
    }
    (at + 1).min(rest.len())
}

/// The part before a file's own unit tests; nothing of a file that is all tests.
fn without_tests(source: &Source) -> &str {
    let name = &source.name;
    if name.contains("/tests/") || name.ends_with("/tests.rs") || name.ends_with("conformance.rs") {
        return "";
    }
    source.code.split("#[cfg(test)]\nmod ").next().unwrap()
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

fn report(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// The names that follow `prefix` (`crate::`): `crate::x::y` gives x, `crate::{x::y, z}` gives x and z.
fn followers(code: &str, prefix: &str) -> Vec<(usize, String)> {
    let ident = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push((at, ident(rest)));
            continue;
        };
        let (mut depth, mut start) = (0, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && depth == 0 && !c.is_whitespace() => {
                    found.push((at, ident(&group[i..])));
                    start = false;
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn no_floor_uses_one_above_it() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some((floor, _)) = source.name.split_once('/') else {
            continue;
        };
        let Some((_, below)) = FLOORS.iter().find(|(name, _)| *name == floor) else {
            wrong.push(format!(
                "src/{}: {floor} is no floor that tests/tidy.rs knows",
                source.name
            ));
            continue;
        };
        // The ABI libraries and the command are crates of their own.
        let member = [
            "abi/mpich/",
            "abi/openmpi/",
            "abi/standard/",
            "abi/generate/",
        ];
        let outside = floor == "cli" || member.iter().any(|m| source.name.starts_with(m));
        let prefix = if outside { "mayfly::" } else { "crate::" };
        for (at, used) in followers(&source.code, prefix) {
            let known = FLOORS.iter().any(|(name, _)| *name == used);
            if known && used != floor && used != "base" && !below.contains(&used.as_str()) {
                let line = line_of(&source.code, at);
                wrong.push(format!(
                    "src/{}:{line}: {floor} uses {used}, which is not below it",
                    source.name
                ));
            }
        }
        let narrow: &[(&str, &str)] = &[
            ("bootstrap", "rendezvous::server"),
            ("bootstrap", "rendezvous::registry"),
            ("cli", "abi::entry"),
            ("cli", "abi::kinds"),
        ];
        for (from, to) in narrow {
            if floor == *from && source.code.contains(to) {
                wrong.push(format!("src/{}: {from} uses {to}", source.name));
            }
        }
    }
    report(wrong);
}

#[test]
fn the_pure_floors_touch_nothing_outside() {
    let forbidden = [
        "Instant",
        "SystemTime",
        "std::thread",
        "thread::spawn",
        "std::env",
        "std::fs",
        "std::process",
        "std::io::std",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "libc::",
        "println!",
        "eprintln!",
        "tokio::",
    ];
    let mut wrong = Vec::new();
    for source in sources() {
        if !PURE.iter().any(|pure| source.name.starts_with(pure)) {
            continue;
        }
        let code = without_tests(&source);
        for word in forbidden {
            for (at, _) in code.match_indices(word) {
                if !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                    wrong.push(format!(
                        "src/{}:{}: {word} in a pure floor",
                        source.name,
                        line_of(code, at)
                    ));
                }
            }
        }
    }
    report(wrong);
}

#[test]
fn unsafe_stands_where_it_may_and_says_why() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (i, line) in source.code.lines().enumerate() {
            let Some(at) = line.find("unsafe") else {
                continue;
            };
            let place = format!("src/{}:{}", source.name, i + 1);
            let rest = line[at + 6..].trim_start();
            // `unsafe fn` and `unsafe extern` are promises, and the attribute #[unsafe(...)] is a name.
            if !(rest.starts_with('{') || rest.starts_with("impl")) {
                continue;
            }
            if !UNSAFE
                .iter()
                .any(|allowed| source.name.starts_with(allowed))
            {
                wrong.push(format!("{place}: unsafe does not belong here"));
            }
            let above = lines[i.saturating_sub(8)..=i]
                .iter()
                .any(|l| l.contains("SAFETY"));
            let inside = lines.get(i + 1).is_some_and(|l| l.contains("SAFETY"));
            if !above && !inside {
                wrong.push(format!("{place}: no SAFETY comment says why this is sound"));
            }
        }
    }
    report(wrong);
}

#[test]
fn mutable_statics_are_counted() {
    let cells = [
        "Mutex", "RwLock", "Atomic", "Cell", "OnceLock", "LazyLock", "Once<",
    ];
    let mut wrong = Vec::new();
    for source in sources() {
        let code = without_tests(&source);
        for (i, line) in code.lines().enumerate() {
            let line = line
                .trim_start()
                .trim_start_matches("pub(super) ")
                .trim_start_matches("pub(crate) ");
            let Some(rest) = line.trim_start_matches("pub ").strip_prefix("static ") else {
                continue;
            };
            let mutable = rest.starts_with("mut ") || cells.iter().any(|cell| rest.contains(cell));
            let local = code.lines().take(i).any(|l| l.contains("thread_local!"));
            if mutable && !local && !STATICS.contains(&source.name.as_str()) {
                wrong.push(format!(
                    "src/{}:{}: a mutable static: {}",
                    source.name,
                    i + 1,
                    rest.trim()
                ));
            }
        }
    }
    report(wrong);
}

#[test]
fn files_stay_small_and_finished() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > LINES {
            wrong.push(format!(
                "src/{}: {lines} lines, more than {LINES}",
                source.name
            ));
        }
        for word in ["todo!", "unimplemented!", "dbg!", "#[ignore"] {
            if let Some(at) = source.code.find(word) {
                wrong.push(format!(
                    "src/{}:{}: {word}",
                    source.name,
                    line_of(&source.code, at)
                ));
            }
        }
        let small = source.name.ends_with("build.rs") || source.name.ends_with("tests.rs");
        if !small && !source.text.starts_with("//") {
            wrong.push(format!(
                "src/{}: the first line does not say what the file is for",
                source.name
            ));
        }
    }
    report(wrong);
}

/// `println!` and its kin panic, and so end the process, when standard output or error is closed or its disk full.
#[test]
fn nothing_ends_for_want_of_a_reader() {
    let mut wrong = Vec::new();
    for source in sources() {
        let tests = source.name.contains("/tests/") || source.name.contains("/trial.rs");
        let build = source.name.starts_with("abi/generate/") || source.name.ends_with("build.rs");
        let code = without_tests(&source);
        // This finds those of the other three as well.
        for (at, _) in code.match_indices("print") {
            let rest = &code[at + "print".len()..];
            let called = rest.starts_with("!(") || rest.starts_with("ln!(");
            if called && !tests && !build && !source.name.ends_with("strangers.rs") {
                let line = line_of(code, at);
                wrong.push(format!("src/{}:{line}: print!", source.name));
            }
        }
    }
    report(wrong);
}

#[test]
fn nothing_names_one_machine() {
    // Put together here, so that this file does not find itself.
    let forbidden: Vec<String> = [
        ["/wo", "rk/"],
        ["/tmp", "/h/"],
        ["/ro", "ot/"],
        ["/home", "/"],
    ]
    .iter()
    .map(|p| p.concat())
    .collect();
    let mut paths = Vec::new();
    walk(&root(), &mut paths);
    let mut wrong = Vec::new();
    for path in paths {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (i, line) in text.lines().enumerate() {
            for word in &forbidden {
                if line.contains(word.as_str()) {
                    let name = path.strip_prefix(root()).unwrap().display();
                    wrong.push(format!(
                        "{name}:{}: names a path of one machine: {word}",
                        i + 1
                    ));
                }
            }
        }
    }
    report(wrong);
}

#[test]
fn the_reader_reads_rust() {
    let code = code_of("let a = \"unsafe // \\\" x\"; // unsafe\nlet c = '\"'; /* unsafe\n */ let l: &'a str = r#\"unsafe\"#; b");
    assert!(!code.contains("unsafe"));
    assert!(code.contains("&'a str") && code.ends_with("; b"));
    assert_eq!(code.matches('\n').count(), 2);
    let names: Vec<String> = followers(
        "use crate::{mpi::{a, b}, engine, base::c}; crate::wire::x; mycrate::y::z; crate::fail!()",
        "crate::",
    )
    .into_iter()
    .map(|(_, name)| name)
    .collect();
    assert_eq!(names, ["mpi", "engine", "base", "wire", "fail"]);
}
