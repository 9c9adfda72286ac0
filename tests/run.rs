//! `mayfly run` from outside, with shells and a member without MPI as its ranks.

mod common;

use common::{eventually, mayfly, member, processes_with, Run};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// "Within a second", with room for a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn run(arguments: &[&str]) -> Run {
    common::run(mayfly().arg("run").args(arguments))
}

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
    let folder = common::Folder::new("programs");
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
    let folder = common::Folder::new("refused");
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
    let run = common::run(&mut command);
    assert_eq!(run.status, 126, "{}", run.err);
    assert!(run.err.contains("true: rank 0 cannot"), "{}", run.err);
    assert!(run.err.contains("too long"), "{}", run.err);
}

#[test]
fn the_first_failing_rank_gives_the_status_and_ends_the_others() {
    let begin = Instant::now();
    let run = run(&[
        "-n",
        "3",
        "sh",
        "-c",
        "test $PMI_RANK = 1 && exit 7; sleep 60",
    ]);
    assert_eq!(run.status, 7);
    assert!(run.err.starts_with("mayfly: rank 1 (pid "), "{}", run.err);
    assert!(
        run.err
            .contains("exited with code 7; ending the other ranks"),
        "{}",
        run.err
    );
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    assert!(begin.elapsed() < SOON);
}

#[test]
fn a_killed_rank_is_named() {
    let begin = Instant::now();
    let run = run(&[
        "-n",
        "4",
        "sh",
        "-c",
        "trap '' TERM; test $PMI_RANK = 2 && kill -9 $$; sleep 60 & wait",
    ]);
    assert_eq!(run.status, 128 + 9);
    assert!(
        run.err.contains("mayfly: rank 2 (pid ")
            && run.err.contains("killed by signal 9 (SIGKILL)")
    );
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    assert!(begin.elapsed() < SOON);
}

#[test]
fn members_meet_and_know_their_part() {
    let run = run(&["-n", "2", &member(), ":", "-n", "1", &member()]);
    let mut lines: Vec<&str> = run.out.lines().collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "rank 0 of 3, part 0, local 0 of 3, by mayfly",
            "rank 1 of 3, part 0, local 1 of 3, by mayfly",
            "rank 2 of 3, part 1, local 2 of 3, by mayfly",
        ]
    );
    assert_eq!((run.status, run.err.as_str()), (0, ""));
}

#[test]
fn whatever_happens_to_a_member_the_others_end_and_it_is_named() {
    for (action, status, expected) in [
        (
            "die 1 9",
            128 + 9,
            "rank 1 (pid N) was killed by signal 9 (SIGKILL)",
        ),
        (
            "die 0 6",
            128 + 6,
            "rank 0 (pid N) was killed by signal 6 (SIGABRT)",
        ),
        (
            "return 2",
            1,
            "rank 2 (pid N) ended without calling MPI_Finalize",
        ),
        ("abort 1 5", 5, "rank 1 (pid N) aborted the job with code 5"),
        ("abort 1 0", 1, "rank 1 (pid N) aborted the job with code 0"),
    ] {
        let words: Vec<&str> = action.split(' ').collect();
        // May have to be built first.
        let program = member();
        let begin = Instant::now();
        let run = run(&[&["-n", "3", program.as_str()], &words[..]].concat());
        assert_eq!(run.status, status, "{action}: {}", run.err);
        let line = common::without_pids(&run.err);
        assert!(
            line.starts_with(&format!("mayfly: {expected}")),
            "{action}: {}",
            run.err
        );
        assert_eq!(run.err.lines().count(), 1, "{action}: {}", run.err);
        assert!(begin.elapsed() < SOON, "{action}");
        assert_eq!(run.out, "", "{action}");
    }
}

#[test]
fn nobody_waits_for_a_rank_that_ends_without_init() {
    let program = member();
    let begin = Instant::now();
    let run = run(&["-n", "3", &program, "never", "1"]);
    assert_ne!(run.status, 0);
    let (late, early) = ("ended without calling MPI_Init", "rank 1 has ended");
    assert!(
        run.err.contains(late) || run.err.contains(early),
        "{}",
        run.err
    );
    assert!(begin.elapsed() < SOON);
}

#[test]
fn after_its_finalize_a_rank_may_fail_alone() {
    let run = run(&["-n", "3", &member(), "late", "1", "6"]);
    assert_eq!(run.status, 6, "{}", run.err);
    assert_eq!(run.out.matches("ended in peace").count(), 2, "{}", run.out);
}

#[test]
fn a_fork_does_not_disturb() {
    let run = run(&["-n", "3", &member(), "fork"]);
    assert_eq!((run.status, run.out.lines().count()), (0, 3), "{}", run.err);
}

#[test]
fn a_ticket_admits_one_process() {
    let script = format!("{0} && {0}", member());
    let run = run(&["-n", "2", "sh", "-c", &script]);
    assert_eq!(run.status, 3, "{}", run.err);
    assert!(
        run.err
            .contains("another process of this rank has already called MPI_Init"),
        "{}",
        run.err
    );
    assert_eq!(run.out.lines().count(), 2, "{}", run.out);
}

#[test]
fn a_wrapper_that_closes_descriptors_does_not_lose_the_ticket() {
    let script = format!(
        "fd=${{MAYFLY_JOB_FD%%:*}}; ( exec {{fd}}<&-; {} ); exit $?",
        member()
    );
    let run = run(&["-n", "2", "bash", "-c", &script]);
    assert_eq!((run.status, run.out.lines().count()), (0, 2), "{}", run.err);
    let script = format!(
        "fd=${{MAYFLY_JOB_FD%%:*}}; exec {{fd}}<&-; exec {}",
        member()
    );
    let run = self::run(&["-n", "2", "bash", "-c", &script]);
    assert_eq!(run.status, 3);
    assert!(
        run.err.contains("no longer leads to the job"),
        "{}",
        run.err
    );
}

#[test]
fn the_secret_is_neither_in_the_arguments_nor_in_the_environment() {
    let run = run(&["-n", "1", "sh", "-c", "env; cat /proc/$PPID/cmdline"]);
    let long_hex = |word: &str| word.len() >= 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let words = run.out.split(|c: char| !c.is_ascii_alphanumeric());
    assert_eq!(words.filter(|w| long_hex(w)).count(), 0, "{}", run.out);
    assert!(run.out.contains("PMI_SIZE=1\n") && run.out.contains("OMPI_COMM_WORLD_LOCAL_RANK=0\n"));
    assert!(!run.out.contains("PMI_FD"));
}

#[test]
fn lines_are_never_torn() {
    // Each rank writes its lines in pieces; standard output and error go to the same pipe.
    let script = "i=0; while [ $i -lt 300 ]; do printf 'r%s:' $PMI_RANK; printf 'abcdefghij'; printf '%s\\n' $i; \
                  printf 'e%s:' $PMI_RANK >&2; printf '%s\\n' $i >&2; i=$((i+1)); done";
    let command = format!("{} run -n 4 sh -c \"$SCRIPT\" 2>&1", common::mayfly_path());
    let run = common::run(
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
        let (status, out) = common::feed(&mut command, &bytes);
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
        let (_, out) = common::feed(&mut command, b"hi\n");
        let out = String::from_utf8(out).unwrap();
        let mut lines: Vec<&str> = out.lines().collect();
        lines.sort();
        assert_eq!(lines, expected, "-stdin {which}");
    }
}

#[test]
fn input_that_nobody_reads_stays_for_the_next() {
    let command = format!("{} run -n 2 true; cat", common::mayfly_path());
    let (_, out) = common::feed(Command::new("sh").args(["-c", &command]), b"rest\n");
    assert_eq!(out, b"rest\n");
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
    let run = common::run(&mut command);
    let mut lines: Vec<&str> = run.out.lines().collect();
    lines.sort();
    assert_eq!(lines, ["--2-1-1-", "--2-1-1-2"], "{}", run.err);
}

#[test]
fn output_can_go_into_files() {
    let folder = common::Folder::new("files");
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
fn a_job_ends_at_its_timeout() {
    let begin = Instant::now();
    let run = run(&["-n", "2", "--timeout", "0.5", "sleep", "60"]);
    assert_eq!(run.status, 124);
    assert!(run.err.contains("did not end within 0.5 s"), "{}", run.err);
    assert!(begin.elapsed() < SOON);
    assert_eq!(self::run(&["--timeout", "30", "true"]).status, 0);
}

/// Starts a job whose ranks sleep for so many seconds (a number of this test's own), and returns when they do.
fn sleeping(nap: &str, script: &str) -> std::process::Child {
    let mut command = mayfly();
    command.args(["run", "-n", "2", "sh", "-c", &script.replace("NAP", nap)]);
    command.stderr(Stdio::piped()).process_group(0);
    // Tests in the background of a script inherit SIGINT ignored, and `mayfly run` leaves ignored what it finds ignored.
    // SAFETY: signal may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        });
    }
    let child = command.spawn().unwrap();
    assert!(
        eventually(|| processes_with(&["sleep", nap]).len() >= 2),
        "the ranks do not start"
    );
    child
}

/// A number of seconds for `sleep` that no other process on this machine uses.
fn nap(which: u32) -> String {
    format!("{}.{which}", 100_000 + std::process::id())
}

/// Waits for a child; kills it and fails when that takes too long.
fn wait(child: &mut std::process::Child) -> Option<i32> {
    let ended = eventually(|| child.try_wait().unwrap().is_some());
    if !ended {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(ended, "it does not end");
    status.code()
}

fn kill(pid: u32, signal: &str) {
    // The shell's own: a machine without procps has no other.
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {pid}")])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn signals_end_everything() {
    for (signal, status, which) in [("INT", 130, 1), ("TERM", 143, 2), ("HUP", 129, 3)] {
        let begin = Instant::now();
        let nap = nap(which);
        let mut child = sleeping(&nap, "sleep NAP");
        kill(child.id(), signal);
        assert_eq!(wait(&mut child), Some(status), "{signal}");
        assert!(processes_with(&["sleep", &nap]).is_empty(), "{signal}");
        assert!(begin.elapsed() < 2 * SOON);
    }
    // Even those who do not listen.
    let nap = nap(4);
    let mut child = sleeping(&nap, "trap '' TERM INT; sleep NAP & wait; wait");
    kill(child.id(), "INT");
    std::thread::sleep(Duration::from_millis(20));
    kill(child.id(), "INT");
    assert_eq!(wait(&mut child), Some(130));
    assert!(processes_with(&["sleep", &nap]).is_empty());
}

#[test]
fn nothing_is_left_behind_when_mayfly_is_killed() {
    let nap = &nap(5);
    let script = format!("sleep {nap} & sleep {nap} & wait");
    let mut child = sleeping(nap, &script);
    // A child that has not exec'ed yet may be a third.
    assert!(
        processes_with(&["run", "sh", &script]).len() >= 2,
        "the launcher and its guard"
    );
    kill(child.id(), "KILL");
    child.wait().unwrap();
    assert!(eventually(|| processes_with(&["sleep", nap]).is_empty()));
    assert!(
        eventually(|| processes_with(&["run", "sh", &script]).is_empty()),
        "the guard itself"
    );
}

#[test]
fn nothing_is_left_behind_at_the_end() {
    let nap = &nap(6);
    let script = format!("sleep {nap} & setsid sleep {nap} & echo started");
    let run = run(&["-n", "2", "sh", "-c", &script]);
    assert_eq!((run.status, run.out.as_str()), (0, "started\nstarted\n"));
    assert!(processes_with(&["sleep", nap]).is_empty());
    assert!(
        processes_with(&["run", "sh", &script]).is_empty(),
        "the guard itself"
    );
}

#[test]
fn a_reader_that_goes_away_ends_the_job() {
    let begin = Instant::now();
    let command = format!("{} run -n 2 yes | head -n 1; wait", common::mayfly_path());
    let run = common::run(Command::new("sh").args(["-c", &command]));
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
    let run = self::run(&["-n", "256", "true"]);
    assert_eq!((run.status, run.err.as_str()), (0, ""));
}

#[test]
fn few_descriptors_are_enough_or_it_is_said() {
    let limited = |hard: u32, ranks: u32| {
        let command = format!(
            "ulimit -n {hard}; exec {} run -n {ranks} {}",
            common::mayfly_path(),
            member()
        );
        common::run(Command::new("sh").args(["-c", &command]))
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
fn a_standalone_rendezvous_serves_and_its_death_ends_the_ranks() {
    standalone("serve-plain", &[]);
}

#[test]
fn so_does_one_that_speaks_tls() {
    standalone("serve-tls", &["--tls"]);
}

/// Jobs of ranks here at a rendezvous that is started with these flags.
fn standalone(name: &str, flags: &[&str]) {
    let folder = common::Folder::new(name);
    let key = folder.path("key");
    let mut serve = mayfly();
    serve
        .args(["serve", "--listen", "127.0.0.1:0", "--key-file", &key])
        .args(flags);
    let mut serve = serve
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let line = common::first_line(serve.stdout.as_mut().unwrap());
    let url = line.rsplit(' ').next().unwrap().trim().to_string();
    let there = |ranks: &[&str]| {
        let mut command = mayfly();
        command
            .args(["run", "--rendezvous", &url, "--key-file", &key])
            .args(ranks);
        common::run(&mut command)
    };
    assert_eq!(
        url.contains("https://") && url.contains('#'),
        !flags.is_empty()
    );
    let run = there(&["-n", "3", &member()]);
    assert_eq!((run.status, run.out.lines().count()), (0, 3), "{}", run.err);
    let run = there(&["-n", "3", &member(), "abort", "1", "5"]);
    assert_eq!(run.status, 5, "{}", run.err);
    assert!(run.err.contains("rank 1 (pid "), "{}", run.err);
    let run = there(&["-n", "3", &member(), "die", "2", "9"]);
    assert_eq!(run.status, 137, "{}", run.err);
    let mut stranger = mayfly();
    stranger
        .args(["run", "--rendezvous", &url, "true"])
        .env("MAYFLY_OPERATOR_KEY", "guess");
    let run = common::run(&mut stranger);
    assert_eq!(run.status, 1);
    assert!(
        run.err.contains("refuses our operator's key"),
        "{}",
        run.err
    );
    if let Some((bare, _)) = url.split_once('#') {
        // Whoever does not know its pin does not speak to it, with or without TLS.
        for address in [bare.to_string(), bare.replace("https", "http")] {
            let mut command = mayfly();
            command.args(["run", "--rendezvous", &address, "--key-file", &key, "true"]);
            let run = common::run(&mut command);
            assert_eq!(run.status, 1, "{address}");
            assert!(run.err.contains(&address), "{}", run.err);
        }
    }
    // Two jobs at once do not see each other.
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| there(&["-n", "2", &member(), "wait", "200"]));
        let two = there(&["-n", "3", &member(), "wait", "200"]);
        (one.join().unwrap(), two)
    });
    assert_eq!((one.status, two.status), (0, 0), "{} {}", one.err, two.err);
    // Its death is everybody's.
    let begin = Instant::now();
    let ranks = std::thread::scope(|scope| {
        let ranks = scope.spawn(|| there(&["-n", "2", &member(), "wait", "60000"]));
        assert!(eventually(
            || processes_with(&[&member(), "60000"]).len() >= 4
        ));
        std::thread::sleep(Duration::from_millis(300));
        serve.kill().unwrap();
        ranks.join().unwrap()
    });
    assert_ne!(ranks.status, 0);
    assert!(ranks.err.contains("rendezvous"), "{}", ranks.err);
    assert!(begin.elapsed() < 2 * SOON);
    serve.wait().unwrap();
    let mut log = String::new();
    serve.stderr.unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("wrong operator's key"), "{log}");
    let secret = std::fs::read_to_string(&key).unwrap();
    assert!(!log.contains(secret.trim()) && secret.trim().len() == 64);
}

#[test]
fn serve_ends_in_order() {
    let mut serve = mayfly();
    serve
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("MAYFLY_OPERATOR_KEY", "k");
    let mut serve = serve
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let line = common::first_line(serve.stdout.as_mut().unwrap());
    assert!(line.contains("listening on http://127.0.0.1:"), "{line}");
    kill(serve.id(), "TERM");
    assert_eq!(serve.wait().unwrap().code(), Some(0));
    let mut keyless = mayfly();
    keyless
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env_remove("MAYFLY_OPERATOR_KEY");
    let run = common::run(&mut keyless);
    assert_eq!(run.status, 1);
    assert!(run.err.contains("operator's key"), "{}", run.err);
}

#[test]
fn a_terminal_is_not_needed() {
    // Everything closed: no input, no output.
    let command = format!(
        "{} run -n 2 sh -c 'echo x; echo y >&2' <&- >&- 2>&-",
        common::mayfly_path()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).stdin(Stdio::null());
    let mut child = shell.spawn().unwrap();
    let _ = std::io::stdout().flush();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
