//! How a job ends: by its ranks, by signals, by its time; and that nothing is left of it.

use crate::common::{eventually, mayfly, processes_with};
use crate::{run, SOON};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
fn a_job_ends_at_its_timeout() {
    let begin = Instant::now();
    let run = run(&["-n", "2", "--timeout", "0.5", "sleep", "60"]);
    assert_eq!(run.status, 124);
    assert!(run.err.contains("did not end within 0.5 s"), "{}", run.err);
    assert!(begin.elapsed() < SOON);
    assert_eq!(crate::run(&["--timeout", "30", "true"]).status, 0);
}

/// Starts a job whose ranks sleep for so many seconds (a number of this test's own), and returns when they do.
pub fn sleeping(nap: &str, script: &str) -> std::process::Child {
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
pub fn nap(which: u32) -> String {
    format!("{}.{which}", 100_000 + std::process::id())
}

/// Waits for a child; kills it and fails when that takes too long.
pub fn wait(child: &mut std::process::Child) -> Option<i32> {
    let ended = eventually(|| child.try_wait().unwrap().is_some());
    if !ended {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(ended, "it does not end");
    status.code()
}

pub fn kill(pid: u32, signal: &str) {
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
