//! `mayfly run --on` against fronts that misbehave as platforms do. The instances are real hosts on this machine, so
//! what is shown is the launcher's side; no platform's own front runs here.

mod common;
mod front;

use common::{eventually, mayfly, processes_with, Run};
use front::{answer, Act, Front, Seen};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the cold start takes; CI sets the twenty seconds that some platforms need.
fn cold() -> Duration {
    let seconds = std::env::var("MAYFLY_COLD_START").ok();
    Duration::from_secs(seconds.and_then(|s| s.parse().ok()).unwrap_or(2))
}

/// "Within ten seconds", with room for a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// A number of seconds to sleep that no other process sleeps.
fn long(which: u32) -> String {
    format!("{}.{which}", 100_000 + std::process::id())
}

/// How many processes sleep so long; the launcher, which has the same words, does not count.
fn asleep(length: &str) -> usize {
    let all = processes_with(&["sleep", length]).into_iter();
    all.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"sleep\0")
    })
    .count()
}

/// Becomes true within a minute?
fn in_the_end(mut condition: impl FnMut() -> bool) -> bool {
    (0..6).any(|_| eventually(&mut condition))
}

fn launch(front: &Front, path: &str, arguments: &[&str]) -> Command {
    let mut command = mayfly();
    let url = front.url(path);
    command.args(["run", "--on", &url, "--listen", "127.0.0.1:0"]);
    command.args(arguments);
    command
}

fn run(front: &Front, arguments: &[&str]) -> Run {
    common::run(&mut launch(front, "/", arguments))
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// What was said, but for the lines that tell somebody who waits for long what for: on a busy machine there may be some.
fn said(run: &Run) -> Vec<&str> {
    let waiting = |line: &&str| {
        (0..5).any(|n| line.contains(&format!("arrived after {} s, missing", 5 << n)))
    };
    run.err.lines().filter(|line| !waiting(line)).collect()
}

const HELLO: [&str; 3] = ["sh", "-c", "echo rank $PMI_RANK of $PMI_SIZE"];

fn hello(n: usize) -> Vec<String> {
    (0..n).map(|rank| format!("rank {rank} of {n}")).collect()
}

fn with<'a>(flags: &[&'a str], program: &[&'a str]) -> Vec<&'a str> {
    [flags, program].concat()
}

/// All ranks have printed their line, once each, and nothing was said.
fn went_well(run: &Run, n: usize) {
    assert_eq!(run.status, 0, "{}", run.err);
    assert_eq!(sorted(&run.out), hello(n), "{}", run.err);
    assert!(said(run).is_empty(), "{}", run.err);
}

#[test]
fn ranks_run_in_instances_and_their_output_comes_home() {
    let front = Front::start(|_| Act::Run);
    went_well(&run(&front, &with(&["-n", "4"], &HELLO)), 4);
    assert_eq!(front.starts().len(), 4);
    let tagged = run(
        &front,
        &with(&["-n", "3", "-per-instance", "2", "-l"], &HELLO),
    );
    let expected = ["[0] rank 0 of 3", "[1] rank 1 of 3", "[2] rank 2 of 3"];
    assert_eq!(sorted(&tagged.out), expected, "{}", tagged.err);
    assert_eq!(front.starts().len(), 6);
    let both = run(
        &front,
        &[
            "-n",
            "1",
            "-x",
            "A=b c",
            "sh",
            "-c",
            "echo $A; echo err >&2",
            ":",
            "-n",
            "1",
            "echo",
            "x",
        ],
    );
    assert_eq!(sorted(&both.out), ["b c", "x"]);
    assert_eq!(both.err, "err\n");
}

#[test]
fn standard_input_reaches_its_rank() {
    let front = Front::start(|_| Act::Run);
    let input: Vec<u8> = (0..300_000u32)
        .flat_map(|i| format!("{i}\n").into_bytes())
        .collect();
    let (status, out) = common::feed(&mut launch(&front, "/", &["-n", "2", "cat"]), &input);
    assert_eq!(status, 0);
    assert!(out == input, "{} of {} bytes", out.len(), input.len());
    let all = ["-n", "3", "-stdin", "all", "-l", "cat"];
    let (status, out) = common::feed(&mut launch(&front, "/", &all), b"one\n");
    let out = String::from_utf8(out).unwrap();
    assert_eq!(
        (status, sorted(&out)),
        (0, vec!["[0] one", "[1] one", "[2] one"])
    );
}

#[test]
fn a_front_that_is_busy_for_a_while_is_asked_again() {
    let front = Front::start(|seen| match seen.attempt() {
        Some(0) => Act::Answer(429, "Retry-After: 0\r\n".into(), "slow down".into()),
        Some(1) if seen.instance() == Some(1) => answer(503, "no instance free"),
        _ => Act::Run,
    });
    went_well(&run(&front, &with(&["-n", "3"], &HELLO)), 3);
    assert_eq!(front.attempts(0), [0, 1]);
    assert_eq!(front.attempts(1), [0, 1, 2]);
}

#[test]
fn errors_and_cut_connections_before_the_start_are_mended() {
    let front = Front::start(|seen| match (seen.instance(), seen.attempt()) {
        (Some(0), Some(0)) => Act::Cut,
        (Some(1), Some(0)) => answer(500, "<html>Internal Server Error</html>"),
        (Some(2), Some(0)) => answer(502, "bad gateway"),
        _ => Act::Run,
    });
    went_well(&run(&front, &with(&["-n", "4"], &HELLO)), 4);
    assert_eq!(front.attempts(0), [0, 1]);
    assert_eq!(front.attempts(3), [0]);
}

#[test]
fn answers_that_are_lost_or_cut_do_not_start_a_rank_twice() {
    let front = Front::start(|seen| match seen.instance() {
        Some(0) => Act::RunThenCut,
        Some(1) => Act::Truncate(0),
        Some(2) => Act::Accept(202, "{}".into()),
        _ => Act::Run,
    });
    let program = ["sh", "-c", "sleep 3; echo rank $PMI_RANK of $PMI_SIZE"];
    went_well(&run(&front, &with(&["-n", "4"], &program)), 4);
    assert_eq!(front.starts().len(), 4);
}

#[test]
fn a_start_that_is_delivered_twice_runs_once() {
    let front = Front::start(|_| Act::Twice);
    let program = ["sh", "-c", "sleep 1; echo rank $PMI_RANK of $PMI_SIZE"];
    went_well(&run(&front, &with(&["-n", "2"], &program)), 2);
    assert_eq!((front.starts().len(), front.pids().len()), (2, 4));
}

#[test]
fn a_cold_start_is_waited_for() {
    let cold = cold();
    let front = Front::start(move |seen| match seen.instance() {
        Some(1) => Act::After(cold, Box::new(Act::Run)),
        _ => Act::Run,
    });
    let begin = Instant::now();
    let run = run(&front, &with(&["-n", "3"], &HELLO));
    assert_eq!(
        (run.status, sorted(&run.out)),
        (0, hello(3).iter().map(String::as_str).collect())
    );
    assert!(begin.elapsed() >= cold);
    // Without a terminal, somebody who waits for long is told what for.
    let told = cold.as_secs() > 5;
    assert_eq!(
        run.err
            .contains("2 of 3 instances arrived after 5 s, missing: 1"),
        told,
        "{}",
        run.err
    );
}

#[test]
fn an_instance_that_never_comes_is_named() {
    let front = Front::start(|seen| match seen.instance() {
        Some(2) => Act::Swallow,
        _ => Act::Run,
    });
    let begin = Instant::now();
    let flags = ["-n", "4", "--join-timeout", "3"];
    let run = run(&front, &with(&flags, &["sleep", &long(1)]));
    assert_eq!(run.status, 1);
    assert!(
        run.err.contains("3 of 4 instances arrived after 3") && run.err.contains("missing: 2"),
        "{}",
        run.err
    );
    assert!(
        begin.elapsed() < SOON + Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    assert!(eventually(
        || processes_with(&["sleep", &long(1)]).is_empty()
    ));
}

#[test]
fn a_platform_that_stays_busy_is_to_blame_in_the_end() {
    let front = Front::start(|seen| match seen.instance() {
        Some(1) => answer(429, r#"{"message":"Rate exceeded"}"#),
        _ => Act::Run,
    });
    let flags = ["-n", "2", "--join-timeout", "2"];
    let run = run(&front, &with(&flags, &["sleep", "60"]));
    assert_eq!(run.status, 1);
    assert!(run.err.contains("(HTTP 429: Rate exceeded)"), "{}", run.err);
    assert_eq!(said(&run).len(), 1, "{}", run.err);
}

#[test]
fn what_no_further_attempt_mends_ends_the_job_at_once() {
    for (status, body, expected) in [
        (401, "", "does not accept our credentials (HTTP 401)"),
        (
            403,
            "who are you?",
            "does not allow it (HTTP 403: who are you?)",
        ),
        (404, "", "knows no such function (HTTP 404)"),
        (413, "", "finds the request too large (HTTP 413)"),
    ] {
        let front = Front::start(move |seen| match seen.instance() {
            Some(1) => answer(status, body),
            _ => Act::Run,
        });
        let begin = Instant::now();
        let run = run(&front, &with(&["-n", "2"], &["sleep", &long(2)]));
        assert_eq!((run.status, said(&run).len()), (1, 1), "{}", run.err);
        assert!(
            run.err.contains("instance 1 (rank 1) cannot be started: "),
            "{}",
            run.err
        );
        assert!(run.err.contains(expected), "{}", run.err);
        assert!(begin.elapsed() < SOON);
    }
    assert!(eventually(
        || processes_with(&["sleep", &long(2)]).is_empty()
    ));
    // Nobody there at all: nothing is started.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{nobody}/");
    let run = common::run(mayfly().args(["run", "--on", &url, "--listen", "127.0.0.1:0", "true"]));
    assert!(
        run.status == 1 && run.err.contains("nobody listens"),
        "{}",
        run.err
    );
}

#[test]
fn somebody_who_answers_but_is_no_host_is_found_out() {
    let front = Front::start(|_| answer(200, "<html><h1>It works!</h1></html>"));
    let run = run(&front, &with(&["-n", "1"], &HELLO));
    assert_eq!((run.status, said(&run).len()), (1, 1), "{}", run.err);
    let expected = "answered (It works!), but the instance never came";
    assert!(run.err.contains(expected), "{}", run.err);
}

#[test]
fn what_a_platform_says_may_not_give_the_secret_away() {
    let front = Front::start(|seen| answer(400, &seen.body.clone()));
    let run = run(&front, &with(&["-n", "1"], &HELLO));
    let starts = front.starts();
    let start: serde_json::Value = serde_json::from_str(&starts[0].body).unwrap();
    let pass = start["pass"].as_str().unwrap();
    assert!(pass.len() == 64 && !run.err.contains(pass), "{}", run.err);
    assert!(
        run.status == 1 && run.err.contains("(HTTP 400"),
        "{}",
        run.err
    );
}

#[test]
fn the_first_failing_rank_gives_the_status_and_ends_the_others() {
    let front = Front::start(|_| Act::Run);
    for (program, status, expected) in [
        (
            "test $PMI_RANK = 1 && exit 7; sleep $0",
            7,
            "exited with code 7",
        ),
        (
            "test $PMI_RANK = 1 && kill -9 $$; sleep $0",
            137,
            "(SIGKILL)",
        ),
    ] {
        let begin = Instant::now();
        let run = run(&front, &["-n", "3", "sh", "-c", program, &long(3)]);
        assert_eq!(run.status, status, "{}", run.err);
        assert!(
            said(&run)[0].starts_with("mayfly: rank 1 ") && run.err.contains(expected),
            "{}",
            run.err
        );
        assert_eq!(said(&run).len(), 1, "{}", run.err);
        assert!(begin.elapsed() < SOON);
    }
    assert!(in_the_end(|| asleep(&long(3)) == 0));
}

#[test]
fn a_time_limit_ends_the_job() {
    let front = Front::start(|_| Act::Run);
    let begin = Instant::now();
    let run = run(&front, &["-n", "2", "--timeout", "2", "sleep", &long(4)]);
    assert_eq!(run.status, 124, "{}", run.err);
    assert!(run.err.contains("--timeout"), "{}", run.err);
    assert!(begin.elapsed() < SOON);
    assert!(eventually(
        || processes_with(&["sleep", &long(4)]).is_empty()
    ));
}

/// A launch whose ranks sleep; killed when dropped.
struct Sleeping(Child);

impl Drop for Sleeping {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sleeping(front: &Front, length: &str) -> Sleeping {
    let child = launch(front, "/", &["-n", "3", "sleep", length])
        .stderr(Stdio::piped())
        .spawn();
    let mut sleeping = Sleeping(child.unwrap());
    let mut ended = None;
    let all = in_the_end(|| {
        ended = sleeping.0.try_wait().unwrap();
        ended.is_some() || asleep(length) == 3
    });
    if !all || ended.is_some() {
        sleeping.0.kill().unwrap();
        panic!("{ended:?}: {:?}", end(sleeping));
    }
    sleeping
}

/// Its exit status and what it said.
fn end(mut sleeping: Sleeping) -> (Option<i32>, String) {
    let status = sleeping.0.wait().unwrap();
    let mut said = String::new();
    let mut stderr = sleeping.0.stderr.take().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    (status.code(), said)
}

fn kill(how: &str, pid: u32) {
    let status = Command::new("kill").args([how, &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

#[test]
fn an_interrupted_launch_leaves_nothing_running() {
    let front = Front::start(|_| Act::Run);
    let child = sleeping(&front, &long(5));
    let begin = Instant::now();
    kill("-INT", child.0.id());
    let (status, said) = end(child);
    assert_eq!(
        (status, said.as_str()),
        (Some(130), "mayfly: SIGINT: ending 3 ranks\n")
    );
    assert!(begin.elapsed() < SOON);
    assert!(in_the_end(|| asleep(&long(5)) == 0));
}

#[test]
fn a_launcher_that_is_killed_leaves_nothing_running() {
    let front = Front::start(|_| Act::Run);
    drop(sleeping(&front, &long(6)));
    assert!(in_the_end(|| asleep(&long(6)) == 0));
}

#[test]
fn a_lost_instance_ends_the_job() {
    let front = Front::start(|_| Act::Run);
    let child = sleeping(&front, &long(7));
    let begin = Instant::now();
    kill("-KILL", front.pids()[0]);
    let (status, said) = end(child);
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("instance ") && said.contains("was lost") && begin.elapsed() < SOON,
        "{said}"
    );
    assert!(in_the_end(|| asleep(&long(7)) == 0));
}

#[test]
fn files_instead_of_our_output() {
    let folder = common::Folder::new("elsewhere");
    let front = Front::start(|_| Act::Run);
    let pattern = folder.path("out.%r");
    let run = run(
        &front,
        &with(&["-n", "2", "-outfile-pattern", &pattern], &HELLO),
    );
    assert_eq!((run.status, run.out.as_str()), (0, ""), "{}", run.err);
    let text = std::fs::read_to_string(folder.path("out.1")).unwrap();
    assert_eq!(text, "rank 1 of 2\n");
}

// Lambda.

const KEY: (&str, &str) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");

fn on_lambda(front: &Front, arguments: &[&str]) -> Command {
    let mut command = mayfly();
    command
        .args(["run", "--on", "lambda:mpi:live", "--listen", "127.0.0.1:0"])
        .args(arguments)
        .env("AWS_ENDPOINT_URL_LAMBDA", front.url(""))
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", KEY.0)
        .env("AWS_SECRET_ACCESS_KEY", KEY.1)
        .env("AWS_SESSION_TOKEN", "a/session+token==")
        .env("HOME", "/does/not/exist");
    for other in [
        "AWS_PROFILE",
        "AWS_ENDPOINT_URL",
        "AWS_CA_BUNDLE",
        "SSL_CERT_FILE",
    ] {
        command.env_remove(other);
    }
    command
}

/// Lambda's interface around what is done with invocations; every request must be signed.
fn lambda(concurrency: u32, invoke: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Front {
    Front::start(move |seen| {
        if let Some(fault) = front::sigv4::fault(seen, KEY.0, KEY.1, "eu-west-1", "lambda") {
            let body = format!("{{\"message\":{fault:?}}}");
            let kind = "x-amzn-ErrorType: InvalidSignatureException:\r\n".to_string();
            return Act::Answer(403, kind, body);
        }
        assert_eq!(seen.header("x-amz-security-token"), "a/session+token==");
        let path = seen.target.split('?').next().unwrap();
        match (seen.method.as_str(), path) {
            ("GET", "/2015-03-31/functions/mpi/configuration") => answer(
                200,
                r#"{"FunctionName":"mpi","State":"Active","Timeout":900,"MemorySize":2048,"Architectures":["x86_64"]}"#,
            ),
            ("GET", "/2019-09-30/functions/mpi/concurrency") => answer(200, "{}"),
            ("GET", "/2016-08-19/account-settings/") => answer(
                200,
                &format!(
                    "{{\"AccountLimit\":{{\"UnreservedConcurrentExecutions\":{concurrency}}}}}"
                ),
            ),
            ("GET", "/2019-09-25/functions/mpi/event-invoke-config") => {
                answer(200, r#"{"MaximumRetryAttempts":0}"#)
            }
            ("POST", "/2015-03-31/functions/mpi/invocations") => invoke(seen),
            other => panic!("{other:?}"),
        }
    })
}

#[test]
fn lambda_is_invoked_with_signed_requests() {
    let front = lambda(1000, |seen| match seen.attempt() {
        Some(0) if seen.instance() == Some(0) => Act::Answer(
            429,
            "x-amzn-ErrorType: TooManyRequestsException:\r\n".into(),
            r#"{"Reason":"ConcurrentInvocationLimitExceeded","message":"Rate Exceeded."}"#.into(),
        ),
        _ => Act::Accept(202, String::new()),
    });
    let run = common::run(&mut on_lambda(&front, &with(&["-n", "4"], &HELLO)));
    went_well(&run, 4);
    let starts = front.starts();
    assert_eq!(starts.len(), 5);
    for start in &starts {
        assert_eq!(
            start.target,
            "/2015-03-31/functions/mpi/invocations?Qualifier=live"
        );
        assert_eq!(start.header("x-amz-invocation-type"), "Event");
    }
    let run = common::run(&mut on_lambda(
        &front,
        &with(&["-n", "2", "--sync"], &HELLO),
    ));
    assert_eq!(run.status, 0, "{}", run.err);
    assert_eq!(
        front.starts()[5].header("x-amz-invocation-type"),
        "RequestResponse"
    );
    // With another secret nothing is started.
    let mut wrong = on_lambda(&front, &with(&["-n", "2"], &HELLO));
    let run = common::run(wrong.env("AWS_SECRET_ACCESS_KEY", "another"));
    assert_eq!((run.status, said(&run).len()), (1, 1), "{}", run.err);
    assert!(
        run.err
            .contains("does not allow it (HTTP 403: the signature is"),
        "{}",
        run.err
    );
    assert_eq!(front.starts().len(), 8);
}

#[test]
fn lambda_says_what_would_deadlock_and_what_it_costs() {
    let front = lambda(3, |_| Act::Accept(202, String::new()));
    let run = common::run(&mut on_lambda(
        &front,
        &with(&["-n", "4", "--price"], &HELLO),
    ));
    assert_eq!(run.status, 1);
    assert!(
        run.err
            .contains("3 instances at once in this region, but 4 are needed"),
        "{}",
        run.err
    );
    assert_eq!(front.starts().len(), 0);
    let long = with(&["-n", "1", "--timeout", "901"], &HELLO);
    let run = common::run(&mut on_lambda(&front, &long));
    assert!(
        run.status == 1 && run.err.contains("time limit is 900 s"),
        "{}",
        run.err
    );
    let run = common::run(&mut on_lambda(
        &front,
        &with(&["-n", "3", "--price"], &HELLO),
    ));
    assert_eq!(run.status, 0, "{}", run.err);
    for expected in [
        "3 instances of 2048 MiB: $0.000100 a second",
        "at most $0.0900",
        "of 2026-11-21",
        "price: about $0.0",
    ] {
        assert!(run.err.contains(expected), "{expected}: {}", run.err);
    }
}

#[test]
fn a_lambda_function_that_fails_says_why() {
    let front = lambda(1000, |seen| {
        match seen.instance() {
        Some(1) => Act::Answer(
            200,
            "X-Amz-Function-Error: Unhandled\r\n".into(),
            r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 1 Error: Runtime exited"}"#.into(),
        ),
        _ => Act::Run,
    }
    });
    let run = common::run(&mut on_lambda(
        &front,
        &["-n", "2", "--sync", "sleep", "60"],
    ));
    assert_eq!((run.status, said(&run).len()), (1, 1), "{}", run.err);
    assert!(
        run.err
            .contains("(Unhandled): Runtime.ExitError: RequestId: 1 Error: Runtime exited"),
        "{}",
        run.err
    );
}

// OpenFaaS and OpenWhisk.

#[test]
fn openfaas_is_called_synchronously() {
    let front = Front::start(|seen| match seen.target.as_str() {
        "/system/function/mpi" if seen.header("authorization") == "Basic YWRtaW46Z2VoZWlt" => {
            answer(
                200,
                r#"{"name":"mpi","labels":{"com.openfaas.scale.max":"3","com.openfaas.scale.min":"3"}}"#,
            )
        }
        "/system/function/mpi" => answer(401, "invalid credentials"),
        "/function/mpi" => Act::Run,
        other => panic!("{other}"),
    });
    let on = |password: &str, n: &str| {
        let mut command = mayfly();
        command
            .args([
                "run",
                "--on",
                "openfaas:mpi",
                "--listen",
                "127.0.0.1:0",
                "-n",
                n,
            ])
            .args(HELLO)
            .env("OPENFAAS_URL", front.url(""))
            .env("OPENFAAS_PASSWORD", password);
        common::run(&mut command)
    };
    went_well(&on("geheim", "3"), 3);
    let run = on("geheim", "4");
    assert!(
        run.status == 1 && run.err.contains("3 replicas"),
        "{}",
        run.err
    );
    let run = on("falsch", "1");
    assert!(
        run.status == 1 && run.err.contains("HTTP 401: invalid credentials"),
        "{}",
        run.err
    );
    assert_eq!(front.starts().len(), 3);
}

#[test]
fn openwhisk_activations_are_followed() {
    let front = Front::start(|seen| {
        assert_eq!(seen.header("authorization"), "Basic dTpw");
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        match (seen.method.as_str(), path) {
            ("GET", "/api/v1/namespaces/_/actions/mpi") => answer(
                200,
                r#"{"name":"mpi","limits":{"timeout":300000,"memory":512,"concurrency":1}}"#,
            ),
            ("GET", "/api/v1/namespaces/_/limits") => answer(
                200,
                r#"{"concurrentInvocations":3,"invocationsPerMinute":60}"#,
            ),
            ("POST", "/api/v1/namespaces/_/actions/mpi") => {
                assert_eq!(query, "blocking=false&result=false");
                let id = format!("{{\"activationId\":\"a{}\"}}", seen.instance().unwrap());
                match seen.body.contains("\"instance\":2") {
                    true => answer(202, &id),
                    false => Act::Accept(202, id),
                }
            }
            ("GET", "/api/v1/namespaces/_/activations/a2") => answer(
                200,
                r#"{"activationId":"a2","response":{"status":"action developer error","success":false,
                    "result":{"error":"The action did not return a dictionary."}}}"#,
            ),
            ("GET", path) if path.starts_with("/api/v1/namespaces/_/activations/") => {
                answer(404, r#"{"error":"The requested resource does not exist."}"#)
            }
            other => panic!("{other:?}"),
        }
    });
    let on = |n: &str, program: &[&str]| {
        let mut command = mayfly();
        command
            .args([
                "run",
                "--on",
                "openwhisk:mpi",
                "--listen",
                "127.0.0.1:0",
                "--timeout",
                "60",
                "-n",
                n,
            ])
            .args(program)
            .env("WSK_CONFIG_FILE", "/does/not/exist")
            .env("__OW_API_HOST", front.url(""))
            .env("__OW_API_KEY", "u:p");
        common::run(&mut command)
    };
    went_well(&on("2", &HELLO), 2);
    let run = on("3", &["sleep", "60"]);
    assert_eq!((run.status, said(&run).len()), (1, 1), "{}", run.err);
    assert!(
        run.err
            .contains("activation a2 ended with action developer error"),
        "{}",
        run.err
    );
    let run = on("4", &HELLO);
    assert!(
        run.status == 1 && run.err.contains("3 activations at once"),
        "{}",
        run.err
    );
}

#[test]
fn an_unknown_platform_and_a_wrong_setting_are_named() {
    for (on, with, expected) in [
        ("lamda:f", "a=b", "unknown platform"),
        ("http://h/", "tokn=b", "known: token-file"),
        ("lambda:a b", "region=x", "neither NAME"),
        ("openwhisk:", "host=h", "key"),
    ] {
        let mut command = mayfly();
        let command = command
            .args([
                "run",
                "--on",
                on,
                "--with",
                with,
                "--listen",
                "127.0.0.1:0",
                "true",
            ])
            .env("HOME", "/does/not/exist");
        let run = common::run(command);
        assert_eq!((run.status, said(&run).len()), (2, 1), "{}", run.err);
        assert!(run.err.contains(expected), "{}", run.err);
    }
}

// Where they meet.

#[test]
fn a_rendezvous_under_another_name_has_tls_and_a_pin() {
    let front = Front::start(|_| Act::Run);
    let mut command = mayfly();
    let url = front.url("/");
    command
        .args([
            "run",
            "--on",
            &url,
            "--listen",
            "0.0.0.0:0",
            "--advertise",
            "127.0.0.1",
            "-n",
            "2",
        ])
        .args(HELLO);
    went_well(&common::run(&mut command), 2);
    for seen in front.starts() {
        let start: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
        assert!(start["rendezvous"]
            .as_str()
            .unwrap()
            .starts_with("https://127.0.0.1:"));
        assert_eq!(start["pin"].as_str().unwrap().len(), 64);
    }
    // Nobody can know under which name instances find us.
    let nameless = ["run", "--on", &url, "--listen", "0.0.0.0:0", "true"];
    let run = common::run(mayfly().args(nameless));
    assert!(
        run.status == 1 && run.err.contains("--advertise"),
        "{}",
        run.err
    );
}

#[test]
fn a_rendezvous_that_runs_already_serves_as_well() {
    let folder = common::Folder::new("elsewhere-serve");
    folder.write("key", b"operator's key of this test", 0o600);
    let key = folder.path("key");
    let serve = mayfly()
        .args([
            "serve",
            "--quiet",
            "--listen",
            "127.0.0.1:0",
            "--key-file",
            &key,
        ])
        .stdout(Stdio::piped())
        .spawn();
    let mut serve = Sleeping(serve.unwrap());
    let line = common::first_line(serve.0.stdout.as_mut().unwrap());
    let place = line.rsplit(' ').next().unwrap().to_string();
    let front = Front::start(|_| Act::Run);
    let on = |place: &str, key: &str| {
        let mut command = mayfly();
        command
            .args([
                "run",
                "--on",
                &front.url("/"),
                "--rendezvous",
                place,
                "-n",
                "2",
            ])
            .args(HELLO)
            .env("MAYFLY_OPERATOR_KEY", key);
        common::run(&mut command)
    };
    went_well(&on(&place, "operator's key of this test"), 2);
    let run = on(&place, "another key");
    assert!(
        run.status == 1 && run.err.contains("refuses our operator's key"),
        "{}",
        run.err
    );
    assert_eq!(
        (said(&run).len(), front.starts().len()),
        (1, 2),
        "{}",
        run.err
    );
    drop(serve);
    let run = on(&place, "operator's key of this test");
    assert!(
        run.status == 1 && run.err.contains(place.trim_start_matches("http://")),
        "{}",
        run.err
    );
    assert_eq!(
        (said(&run).len(), front.starts().len()),
        (1, 2),
        "{}",
        run.err
    );
}

/// A job's end must not depend on who reads its output, or how slowly.
#[test]
fn a_reader_who_goes_away_ends_the_job() {
    let front = Front::start(|_| Act::Run);
    let mut child = launch(&front, "/", &["-n", "2", "yes", &long(8)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 64];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut some)
        .unwrap();
    drop(child.stdout.take());
    let begin = Instant::now();
    let (status, said) = end(Sleeping(child));
    assert_eq!(status, Some(141), "{said}");
    assert!(begin.elapsed() < SOON);
    let gone = || processes_with(&["yes", &long(8)]).is_empty();
    assert!(in_the_end(gone));
}
