//! `mayfly bench` and `mayfly tune`, as a user calls them.
#![cfg(feature = "command")]

use std::path::Path;
use std::process::{Command, Output};

fn mayfly(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mayfly"));
    command.args(words).env_remove("MAYFLY_LIMITS");
    command.output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_benchmark_has_its_points() {
    let words = "bench -n 3 --time 1 --sizes 8,4100 --json";
    let out = mayfly(&words.split(' ').collect::<Vec<_>>());
    assert!(out.status.success(), "{}", text(&out.stderr));
    let document: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let points = document["points"].as_array().expect("points");
    // Two sizes of all but the barrier.
    assert_eq!(points.len(), 11 * 2 + 1);
    assert!(points.iter().all(|p| p["value"].as_f64() > Some(0.0)));
}

#[test]
fn what_is_tuned_is_taken_by_a_run() {
    let folder = std::env::temp_dir().join(format!("mayfly-tune-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("limits");
    let name = file.to_str().expect("text");
    let words = ["tune", "-n", "2", "--time", "1", "--rounds", "1"];
    let out = mayfly(&[&words[..], &["--sizes", "64,1024", "--save", name]].concat());
    assert!(out.status.success(), "{}", text(&out.stderr));
    let saved = std::fs::read_to_string(&file).expect("the limits");
    assert_eq!(saved, text(&out.stdout));
    assert!(saved.starts_with("# mayfly tune -n 2"), "{saved}");

    let shown = |limits: &str| {
        std::fs::write(&file, limits).expect("written");
        mayfly(&[
            "run",
            "-n",
            "2",
            "--limits",
            name,
            "printenv",
            "MAYFLY_LIMITS",
        ])
    };
    let out = shown("# a remark\nbcast_split=9\nlink=3\n");
    assert_eq!(text(&out.stdout), "bcast_split=9,link=3\n".repeat(2));
    let out = shown("bcast=9");
    assert_eq!(out.status.code(), Some(2));
    assert!(
        text(&out.stderr).contains("there is no limit bcast"),
        "{}",
        text(&out.stderr)
    );
    std::fs::remove_dir_all(Path::new(&folder)).expect("removed");
}

#[test]
fn rank_0_s_limits_hold_for_all() {
    // Rank 1 would take other algorithms than rank 0, and neither would end.
    let bench = env!("CARGO_BIN_EXE_mayfly");
    let rank = [
        bench,
        "bench-rank",
        "--sizes",
        "64,70000",
        "--time",
        "1",
        "bcast",
        "scan",
        "reduce_scatter",
    ];
    let part = |limits: &'static str| ["-n", "2", "-env", "MAYFLY_LIMITS", limits];
    let mut words = vec!["run", "--timeout", "60"];
    words.extend(part("bcast_split=0,scan_chain=0,scatter_pairs=0"));
    words.extend(rank);
    words.push(":");
    words.extend(part(""));
    words.extend(rank);
    let out = mayfly(&words);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(text(&out.stdout).lines().count(), 6);
}
