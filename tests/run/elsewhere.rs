//! Jobs of ranks here at a rendezvous of its own.

use crate::common::{eventually, mayfly, member, processes_with};
use crate::ends::kill;
use crate::SOON;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

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
    let folder = crate::common::Folder::new(name);
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
    let line = crate::common::first_line(serve.stdout.as_mut().unwrap());
    let url = line.rsplit(' ').next().unwrap().trim().to_string();
    let there = |ranks: &[&str]| {
        let mut command = mayfly();
        command
            .args(["run", "--rendezvous", &url, "--key-file", &key])
            .args(ranks);
        crate::common::run(&mut command)
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
    let run = crate::common::run(&mut stranger);
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
            let run = crate::common::run(&mut command);
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
    let line = crate::common::first_line(serve.stdout.as_mut().unwrap());
    assert!(line.contains("listening on http://127.0.0.1:"), "{line}");
    kill(serve.id(), "TERM");
    assert_eq!(serve.wait().unwrap().code(), Some(0));
    let mut keyless = mayfly();
    keyless
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env_remove("MAYFLY_OPERATOR_KEY");
    let run = crate::common::run(&mut keyless);
    assert_eq!(run.status, 1);
    assert!(run.err.contains("operator's key"), "{}", run.err);
}
