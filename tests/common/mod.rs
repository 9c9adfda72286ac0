//! What the tests of the command share.
#![allow(dead_code)]

pub mod http;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// No test's command may take longer.
const LONGEST: Duration = Duration::from_secs(60);

pub fn mayfly_path() -> &'static str {
    env!("CARGO_BIN_EXE_mayfly")
}

/// The command, without what a surrounding job may have set.
pub fn mayfly() -> Command {
    let mut command = Command::new(mayfly_path());
    command.stdin(Stdio::null()).env_remove("MAYFLY_LOG");
    command
}

/// The example of that name. `cargo test` builds it along with the tests, `cargo test --test run` does not.
pub fn member() -> String {
    static PATH: OnceLock<String> = OnceLock::new();
    let build = || {
        let folder = Path::new(mayfly_path()).parent().unwrap();
        if let Some(cargo) = std::env::var_os("CARGO") {
            let mut command = Command::new(cargo);
            command.args(["build", "--quiet", "--offline", "--example", "member"]);
            if folder.ends_with("release") {
                command.arg("--release");
            }
            assert!(command
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status()
                .unwrap()
                .success());
        }
        let path = folder.join("examples/member");
        assert!(path.exists(), "{} is not built", path.display());
        path.to_str().unwrap().into()
    };
    PATH.get_or_init(build).clone()
}

/// How a command ended.
pub struct Run {
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// Runs to the end; kills it and fails when that takes too long.
pub fn run(command: &mut Command) -> Run {
    let shown = format!("{command:?}");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let out = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).map(|_| bytes)
    });
    let err = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        err.read_to_end(&mut bytes).map(|_| bytes)
    });
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > LONGEST {
            child.kill().unwrap();
            panic!("does not end: {shown}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Run {
        status: status.code().unwrap_or(-1),
        out: text(out.join().unwrap().unwrap()),
        err: text(err.join().unwrap().unwrap()),
    }
}

/// Runs with this input; gives status and output.
pub fn feed(command: &mut Command, input: &[u8]) -> (i32, Vec<u8>) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let out = std::thread::scope(|scope| {
        // Whoever does not read its input breaks the pipe, which is its right.
        scope.spawn(move || drop(stdin.write_all(input)));
        let mut out = Vec::new();
        stdout.read_to_end(&mut out).unwrap();
        out
    });
    (child.wait().unwrap().code().unwrap_or(-1), out)
}

pub fn first_line(from: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while from.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// Becomes true within ten seconds?
pub fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// Running processes whose arguments contain all of these.
pub fn processes_with(words: &[&str]) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments: Vec<&[u8]> = line.split(|&b| b == 0).collect();
        words
            .iter()
            .all(|word| arguments.contains(&word.as_bytes()))
    })
    .collect()
}

/// `(pid 1234)` becomes `(pid N)`.
pub fn without_pids(text: &str) -> String {
    let mut out = String::new();
    let mut parts = text.split("(pid ");
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        out.push_str("(pid N");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

/// A folder of a test's own, gone at its end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("mayfly-test-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().into()
    }

    pub fn write(&self, name: &str, bytes: &[u8], mode: u32) {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
