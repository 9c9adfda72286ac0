//! Ranks that join their job, with the member without MPI.

use crate::common::member;
use crate::{run, SOON};
use std::time::Instant;

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
        let line = crate::common::without_pids(&run.err);
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
    let run = crate::run(&["-n", "2", "bash", "-c", &script]);
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
