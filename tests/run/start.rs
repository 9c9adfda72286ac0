//! What runs, with which environment, and what cannot be started.

use crate::common::{eventually, mayfly, member, processes_with};
use crate::run;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn programs_that_are_no_mpi_programs_run() {
    let run = run(&["-n", "3", "echo", "hello"]);
    assert_eq!(
        (run.status, run.out.as_str(), run.err.as_str()),
        (0, "hello\nhello\nhello\n", "")
    );
}

#[test]
fn what_cannot_be_started_is_said_before_anything_starts() {
    let folder = crate::common::Folder::new("programs");
    let elf = |machine: u8| {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        (bytes[16], bytes[18], bytes[20], bytes[52]) = (3, machine, 1, 64);
        bytes
    };
    let other_machine = if cfg!(target_arch = "x86_64") {
        183
    } else {
        62
    };
    folder.write("plain", b"hello", 0o644);
    folder.write("foreign", &elf(other_machine), 0o755);
    folder.write("orphan", b"#!/does/not/exist -x\n", 0o755);
    for (name, status, expected) in [
        ("missing", 127, "no such program"),
        ("plain", 126, "not executable"),
        ("", 126, "folder"),
        ("foreign", 126, "built for"),
        ("orphan", 126, "/does/not/exist"),
    ] {
        let path = folder.path(name);
        // The first part would leave a trace if it had been started.
        let trace = folder.path("trace");
        let run = run(&["-n", "1", "touch", &trace, ":", "-n", "2", &path]);
        assert_eq!(run.status, status, "{name}: {}", run.err);
        assert!(
            run.err.contains(expected) && run.err.contains(&path),
            "{name}: {}",
            run.err
        );
        assert_eq!(run.err.lines().count(), 1, "{}", run.err);
        assert!(!std::path::Path::new(&trace).exists());
    }
    assert_eq!(run(&["-n", "2", "no-such-program-anywhere"]).status, 127);
    assert_eq!(run(&["--no-such-flag", "true"]).status, 2);
    assert_eq!(run(&["-wdir", "/no/such/folder", "true"]).status, 1);
}

#[test]
fn what_only_the_system_refuses_is_said_once_and_ends_what_runs() {
    let folder = crate::common::Folder::new("refused");
    // Its interpreter is there, but is no program.
    folder.write("locked", b"#!/etc/passwd\n", 0o755);
    let locked = folder.path("locked");
    let run = run(&["-n", "2", "sleep", "61.7", ":", "-n", "3", &locked]);
    assert_eq!(run.status, 126, "{}", run.err);
    let expected = format!("mayfly: {locked}: rank 2 cannot be started: ");
    assert!(run.err.starts_with(&expected), "{}", run.err);
    assert!(run.err.contains("Permission denied"), "{}", run.err);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    assert!(eventually(|| processes_with(&["sleep", "61.7"]).is_empty()));
    // More than the system takes for one word.
    let long = format!("A={}", "x".repeat(200_000));
    let mut command = mayfly();
    command.args(["run", "-n", "2"]);
    folder.write("file", format!("-x {long} true").as_bytes(), 0o644);
    command.args(["-configfile", &folder.path("file")]);
    let run = crate::common::run(&mut command);
    assert_eq!(run.status, 126, "{}", run.err);
    assert!(run.err.contains("true: rank 0 cannot"), "{}", run.err);
    assert!(run.err.contains("too long"), "{}", run.err);
}

#[test]
fn the_environment_is_what_was_asked_for() {
    let mut command = mayfly();
    command
        .env("PMI_FD", "77")
        .env("PMIX_NAMESPACE", "x")
        .env("OMPI_COMM_WORLD_SIZE", "99")
        .env("KEPT", "1");
    let script = "echo $PMI_FD-$PMIX_NAMESPACE-$OMPI_COMM_WORLD_SIZE-$KEPT-$A-$B";
    command.args([
        "run", "-x", "A=1", "-n", "1", "-env", "B", "2", "sh", "-c", script,
    ]);
    command.args([":", "-n", "1", "sh", "-c", script]);
    let run = crate::common::run(&mut command);
    let mut lines: Vec<&str> = run.out.lines().collect();
    lines.sort();
    assert_eq!(lines, ["--2-1-1-", "--2-1-1-2"], "{}", run.err);
}

#[test]
fn many_ranks_start_quickly() {
    let begin = Instant::now();
    let run = run(&["-n", "64", &member()]);
    assert_eq!(
        (run.status, run.out.lines().count()),
        (0, 64),
        "{}",
        run.err
    );
    assert!(begin.elapsed() < Duration::from_secs(8));
    let run = crate::run(&["-n", "256", "true"]);
    assert_eq!((run.status, run.err.as_str()), (0, ""));
}

#[test]
fn few_descriptors_are_enough_or_it_is_said() {
    let limited = |hard: u32, ranks: u32| {
        let command = format!(
            "ulimit -n {hard}; exec {} run -n {ranks} {}",
            crate::common::mayfly_path(),
            member()
        );
        crate::common::run(Command::new("sh").args(["-c", &command]))
    };
    let run = limited(64, 4);
    assert_eq!((run.status, run.out.lines().count()), (0, 4), "{}", run.err);
    let run = limited(64, 64);
    assert_eq!(run.status, 1);
    assert!(
        run.err.contains("64 ranks need") && run.err.contains("only 64 are allowed"),
        "{}",
        run.err
    );
}

#[test]
fn a_terminal_is_not_needed() {
    // Everything closed: no input, no output.
    let command = format!(
        "{} run -n 2 sh -c 'echo x; echo y >&2' <&- >&- 2>&-",
        crate::common::mayfly_path()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).stdin(Stdio::null());
    let mut child = shell.spawn().unwrap();
    let _ = std::io::stdout().flush();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
