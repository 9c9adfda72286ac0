//! Platforms without a trigger: Kubernetes' Indexed Jobs, Cloud Run's jobs, Slurm.

use crate::instance::Instance;
use crate::meeting::{shell, Meeting};
use mayfly::rendezvous::message::Event;

fn platform(meeting: &Meeting) -> Option<String> {
    meeting.events().into_iter().find_map(|event| match event {
        Event::HostArrived { platform, .. } => Some(platform),
        _ => None,
    })
}

#[test]
fn each_pod_of_an_indexed_job_runs_its_ranks() {
    let meeting = Meeting::new(
        &shell(
            3,
            "echo I am $PMI_RANK; echo $MAYFLY_START$MAYFLY_START_FILE",
        ),
        1,
        false,
    );
    let folder = crate::common::Folder::new("indexed");
    folder.write("start", meeting.common().to_json().as_bytes(), 0o400);
    let file = folder.path("start");
    let mut pods: Vec<Instance> = (0..3)
        .map(|i| {
            let index = i.to_string();
            let variables = [
                ("MAYFLY_START_FILE", file.as_str()),
                ("JOB_COMPLETION_INDEX", &index),
            ];
            Instance::start(&format!("pod{i}"), &[], &variables)
        })
        .collect();
    for pod in &mut pods {
        let status = pod.status();
        assert_eq!(status, 0, "{}", pod.err());
        pod.left_nothing();
        meeting.keeps_secrets(&pod.err());
    }
    assert_eq!(platform(&meeting).as_deref(), Some("kubernetes"));
    assert_eq!(meeting.written(2, 1), "I am 2\n\n");
    // A pod that the platform starts once more, with the same index.
    let variables = [
        ("MAYFLY_START_FILE", file.as_str()),
        ("JOB_COMPLETION_INDEX", "1"),
    ];
    let mut again = Instance::start("again", &[], &variables);
    assert_eq!(again.status(), 1);
    assert!(again.err().contains("the job is over"), "{}", again.err());
}

#[test]
fn the_exit_status_is_the_ranks() {
    let outcome = |script: &str, more: &[(&str, &str)]| {
        let meeting = Meeting::of(&shell(2, script));
        let text = meeting.common().to_json();
        let mut variables = vec![("MAYFLY_START", text.as_str())];
        variables.extend(more);
        let mut host = Instance::start("status", &[], &variables);
        (host.status(), platform(&meeting).unwrap_or_default())
    };
    let slurm = [("SLURM_PROCID", "0")];
    assert_eq!(outcome("exit 0", &slurm), (0, "slurm".into()));
    let cloud = [
        ("CLOUD_RUN_TASK_INDEX", "0"),
        ("CLOUD_RUN_TASK_ATTEMPT", "0"),
    ];
    assert_eq!(outcome("exit 5", &cloud), (5, "cloud-run-job".into()));
    assert_eq!(
        outcome("kill -9 $$", &[("MAYFLY_INDEX", "0")]),
        (137, "index".into())
    );
}

#[test]
fn what_is_missing_is_said_at_once() {
    let mut host = Instance::start("none", &["--contract", "index"], &[]);
    assert_eq!(host.status(), 1);
    assert!(host.err().contains("MAYFLY_START"), "{}", host.err());
    let meeting = Meeting::of(&shell(1, "true"));
    let text = meeting.common().to_json();
    let mut host = Instance::start("numberless", &[], &[("MAYFLY_START", &text)]);
    assert_eq!(host.status(), 1);
    assert!(
        host.err().contains("JOB_COMPLETION_INDEX"),
        "{}",
        host.err()
    );
    meeting.keeps_secrets(&host.err());
}

#[test]
fn the_platforms_signal_ends_a_job_of_one() {
    let meeting = Meeting::of(&shell(
        1,
        "trap 'echo bye; exit 0' TERM; echo up; sleep 60 & wait",
    ));
    let text = meeting.common().to_json();
    let variables = [
        ("MAYFLY_START", text.as_str()),
        ("JOB_COMPLETION_INDEX", "0"),
    ];
    let mut host = Instance::start("evicted", &[], &variables);
    meeting.wait_for_output(0, "up");
    host.signal(libc::SIGTERM);
    assert_eq!(host.status(), 143);
    assert_eq!(meeting.written(0, 1), "up\nbye\n");
    host.left_nothing();
}

#[test]
fn a_task_that_cloud_run_moves_says_so_and_is_not_stopped() {
    let folder = crate::common::Folder::new("moved");
    let script = format!(
        "echo up; while ! [ -e {} ]; do sleep 0.1; done",
        folder.path("go")
    );
    let meeting = Meeting::of(&shell(1, &script));
    let text = meeting.common().to_json();
    let variables = [
        ("MAYFLY_START", text.as_str()),
        ("CLOUD_RUN_TASK_INDEX", "0"),
    ];
    let mut host = Instance::start("moved-host", &[], &variables);
    meeting.wait_for_output(0, "up");
    host.signal(libc::SIGTSTP);
    let log = |events: &[Event]| {
        let moves = |e: &Event| matches!(e, Event::Log { text, .. } if text.contains("SIGTSTP"));
        events.iter().any(moves)
    };
    meeting.wait("the word of the move", log);
    host.signal(libc::SIGCONT);
    folder.write("go", b"", 0o600);
    assert_eq!(host.status(), 0, "{}", host.err());
}

#[test]
fn a_host_that_is_killed_leaves_no_process_and_no_file() {
    let nap = format!("{}.8", 200_000 + std::process::id());
    let script = format!("touch $TMPDIR/file; sleep {nap} & echo up; wait");
    let meeting = Meeting::of(&shell(2, &script));
    let text = meeting.common().to_json();
    let variables = [("MAYFLY_START", text.as_str()), ("MAYFLY_INDEX", "0")];
    let host = Instance::start("killed", &[], &variables);
    meeting.wait_for_output(0, "up");
    meeting.wait_for_output(1, "up");
    host.signal(libc::SIGKILL);
    let lost = |e: &Event| matches!(e, Event::HostLost { instance: 0, .. });
    meeting.wait("its loss", |events| events.iter().any(lost));
    let gone = || crate::common::processes_with(&["sleep", &nap]).is_empty();
    assert!(crate::common::eventually(gone), "processes are left");
    host.left_nothing();
}
