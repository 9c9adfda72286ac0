//! What ranks say and read.

use crate::common::mayfly;
use crate::ends::{kill, wait};
use crate::{run, SOON};
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn lines_are_never_torn() {
    // Each rank writes its lines in pieces; standard output and error go to the same pipe.
    let script = "i=0; while [ $i -lt 300 ]; do printf 'r%s:' $PMI_RANK; printf 'abcdefghij'; printf '%s\\n' $i; \
                  printf 'e%s:' $PMI_RANK >&2; printf '%s\\n' $i >&2; i=$((i+1)); done";
    let command = format!(
        "{} run -n 4 sh -c \"$SCRIPT\" 2>&1",
        crate::common::mayfly_path()
    );
    let run = crate::common::run(
        Command::new("sh")
            .args(["-c", &command])
            .env("SCRIPT", script),
    );
    assert_eq!(run.status, 0, "{}", run.err);
    let mut next = std::collections::HashMap::<String, usize>::new();
    assert_eq!(run.out.lines().count(), 4 * 300 * 2);
    for line in run.out.lines() {
        let (who, number) = line
            .split_once(':')
            .unwrap_or_else(|| panic!("torn: {line:?}"));
        let number = number.strip_prefix("abcdefghij").unwrap_or(number);
        let expected = next.entry(who.to_string()).or_default();
        assert_eq!(number, expected.to_string(), "{line:?}");
        *expected += 1;
    }
    assert_eq!(next.len(), 8);
}

#[test]
fn a_last_line_without_newline_comes_out_whole() {
    let script =
        "echo first; printf 'last%s' $PMI_RANK; sleep 0.$PMI_RANK; echo; printf 'end%s,' $PMI_RANK";
    let run = run(&["-n", "3", "sh", "-c", script]);
    let mut lines: Vec<&str> = run.out.lines().collect();
    assert_eq!(lines.pop(), Some("end0,end1,end2,"));
    lines.sort();
    assert_eq!(
        lines,
        ["first", "first", "first", "last0", "last1", "last2"]
    );
}

#[test]
fn bytes_pass_unchanged() {
    let bytes: Vec<u8> = (0..3_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for ranks in ["1", "3"] {
        let mut command = mayfly();
        command.args(["run", "-n", ranks, "cat"]);
        let (status, out) = crate::common::feed(&mut command, &bytes);
        assert_eq!(status, 0);
        assert!(
            out == bytes,
            "{ranks} ranks: {} bytes became {}",
            bytes.len(),
            out.len()
        );
    }
}

#[test]
fn tags_stand_before_every_line() {
    let run = run(&["-n", "2", "-l", "sh", "-c", "echo a; echo; printf b"]);
    let mut lines: Vec<&str> = run.out.lines().collect();
    lines.sort();
    assert_eq!(lines, ["[0] ", "[0] a", "[0] b", "[1] ", "[1] a", "[1] b"]);
}

#[test]
fn input_goes_where_it_is_asked_to() {
    let script = "read x; echo $PMI_RANK=$x";
    for (which, expected) in [
        ("0", ["0=hi", "1=", "2="]),
        ("2", ["0=", "1=", "2=hi"]),
        ("all", ["0=hi", "1=hi", "2=hi"]),
        ("none", ["0=", "1=", "2="]),
    ] {
        let mut command = mayfly();
        command.args(["run", "-n", "3", "-stdin", which, "sh", "-c", script]);
        let (_, out) = crate::common::feed(&mut command, b"hi\n");
        let out = String::from_utf8(out).unwrap();
        let mut lines: Vec<&str> = out.lines().collect();
        lines.sort();
        assert_eq!(lines, expected, "-stdin {which}");
    }
}

#[test]
fn input_that_nobody_reads_stays_for_the_next() {
    let command = format!("{} run -n 2 true; cat", crate::common::mayfly_path());
    let (_, out) = crate::common::feed(Command::new("sh").args(["-c", &command]), b"rest\n");
    assert_eq!(out, b"rest\n");
}

#[test]
fn output_can_go_into_files() {
    let folder = crate::common::Folder::new("files");
    folder.write("out.1", b"something old that is longer", 0o644);
    let run = run(&[
        "-n",
        "2",
        "-outfile-pattern",
        &folder.path("out.%r"),
        "sh",
        "-c",
        "echo I am $PMI_RANK",
    ]);
    assert_eq!((run.status, run.out.as_str()), (0, ""), "{}", run.err);
    assert_eq!(
        std::fs::read_to_string(folder.path("out.1")).unwrap(),
        "I am 1\n"
    );
}

#[test]
fn a_reader_that_goes_away_ends_the_job() {
    let begin = Instant::now();
    let command = format!(
        "{} run -n 2 yes | head -n 1; wait",
        crate::common::mayfly_path()
    );
    let run = crate::common::run(Command::new("sh").args(["-c", &command]));
    assert_eq!(run.out, "y\n", "{}", run.err);
    assert!(!run.err.contains("panicked"), "{}", run.err);
    assert!(begin.elapsed() < SOON);
}

#[test]
fn a_slow_reader_slows_the_ranks_and_memory_stays_bounded() {
    let mut command = mayfly();
    command.args(["run", "-n", "2", "yes", "0123456789"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 4096];
    out.read_exact(&mut first).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches("kB").trim().parse().unwrap();
    assert!(kilobytes < 64 * 1024, "{kilobytes} kB");
    kill(child.id(), "TERM");
    // Were the pipe closed instead, either of the two could come first.
    std::io::copy(&mut out, &mut std::io::sink()).unwrap();
    assert_eq!(wait(&mut child), Some(143));
}
