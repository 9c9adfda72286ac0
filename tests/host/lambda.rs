//! The Runtime API, as "Using the Lambda runtime API" describes it, with a platform that is sometimes strange.

use crate::common::{eventually, member};
use crate::instance::Instance;
use crate::meeting::{program, shell, Meeting};
use crate::web::{json, Head};
use mayfly::rendezvous::message::Event;
use std::collections::VecDeque;
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the platform hands out next.
enum Next {
    /// A body, and the deadline's header.
    Invocation(Vec<u8>, String),
    /// It closes the connection without a word.
    Cut,
}

#[derive(Default)]
struct State {
    next: VecDeque<Next>,
    given: u32,
    /// Somebody waits for the next invocation.
    asked: u32,
    /// Path, error type, body.
    answers: Vec<(String, Option<String>, String)>,
}

#[derive(Clone)]
struct Api {
    state: Arc<(Mutex<State>, Condvar)>,
    port: u16,
    prefix: &'static str,
}

const ROOT: &str = "/2018-06-01/runtime";

impl Api {
    fn new(prefix: &'static str) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = Api {
            state: Arc::default(),
            port: listener.local_addr().unwrap().port(),
            prefix,
        };
        let serving = api.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let api = serving.clone();
                std::thread::spawn(move || api.talk(stream));
            }
        });
        api
    }

    fn talk(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let Some(head) = Head::read(&mut reader) else {
            return;
        };
        let body = String::from_utf8(head.body(&mut reader)).unwrap();
        let mut words = head.line.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let path = path.strip_prefix(self.prefix).expect("the prefix");
        let path = path.strip_prefix(ROOT).expect("the version").to_string();
        let (lock, changed) = &*self.state;
        let mut state = lock.lock().unwrap();
        if method == "GET" && path == "/invocation/next" {
            state.asked += 1;
            changed.notify_all();
            let next = loop {
                match state.next.pop_front() {
                    Some(next) => break next,
                    None => state = changed.wait(state).unwrap(),
                }
            };
            state.asked -= 1;
            let Next::Invocation(body, deadline) = next else {
                return;
            };
            state.given += 1;
            let head = format!(
                "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: id-{}\r\n{deadline}\
                 Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:x:1:function:f\r\n\
                 Lambda-Runtime-Trace-Id: Root=1-2-3\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
                state.given,
                body.len()
            );
            let bytes = [head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
            let _ = stream.write_all(&bytes);
            return;
        }
        assert_eq!(method, "POST");
        let kind = head.field("lambda-runtime-function-error-type");
        state.answers.push((path, kind.map(str::to_string), body));
        changed.notify_all();
        let _ = stream
            .write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 16\r\n\r\n{\"status\":\"OK\"}\n");
    }

    fn give(&self, next: Next) {
        self.state.0.lock().unwrap().next.push_back(next);
        self.state.1.notify_all();
    }

    fn invoke(&self, body: &str) {
        self.invoke_with(
            body,
            &format!("Lambda-Runtime-Deadline-Ms: {}\r\n", now_ms() + 900_000),
        );
    }

    fn invoke_with(&self, body: &str, deadline: &str) {
        self.give(Next::Invocation(body.into(), deadline.into()));
    }

    /// The answer of this number, from 1.
    #[track_caller]
    fn answer(&self, number: usize) -> (String, Option<String>, serde_json::Value) {
        let there = eventually(|| self.state.0.lock().unwrap().answers.len() >= number);
        assert!(there, "no answer");
        let (path, kind, body) = self.state.0.lock().unwrap().answers[number - 1].clone();
        (path, kind, json(&body))
    }

    /// The answer is an error of this kind; gives its message.
    #[track_caller]
    fn error(&self, number: usize, kind: &str) -> String {
        let (path, header, body) = self.answer(number);
        assert_eq!(path, format!("/invocation/id-{number}/error"), "{body}");
        assert_eq!(
            (header.as_deref(), &body["errorType"]),
            (Some(kind), &kind.into())
        );
        assert!(body["stackTrace"].is_array());
        body["errorMessage"].as_str().unwrap().to_string()
    }

    fn waits(&self) {
        assert!(
            eventually(|| self.state.0.lock().unwrap().asked == 1),
            "the host does not ask"
        );
    }

    fn host(&self, name: &str) -> Instance {
        Instance::start(name, &[], &[("AWS_LAMBDA_RUNTIME_API", &self.address())])
    }

    fn address(&self) -> String {
        match self.prefix {
            "" => format!("127.0.0.1:{}", self.port),
            prefix => format!("http://127.0.0.1:{}{prefix}", self.port),
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64
}

#[test]
fn two_starts_one_after_the_other_and_nothing_is_left() {
    let api = Api::new("");
    let host = api.host("warm");
    api.waits();
    let descriptors = host.descriptors();
    let script = "echo rank $PMI_RANK of $PMI_SIZE; echo $_X_AMZN_TRACE_ID $MAYFLY_DEADLINE; echo oops >&2; \
                  touch $TMPDIR/x; sleep 1000 & setsid sleep 1000 & exit 0";
    for number in 1..=2 {
        let meeting = Meeting::of(&shell(2, script));
        api.invoke(&meeting.json());
        let (path, _, body) = api.answer(number);
        assert_eq!(path, format!("/invocation/id-{number}/response"));
        assert_eq!(
            (&body["status"], &body["ranks"]),
            (&0.into(), &2.into()),
            "{body}"
        );
        assert!(body.to_string().len() < 1000);
        assert_eq!(meeting.exits(), [(0, 0, 0), (1, 0, 0)]);
        let text = meeting.written(1, 1);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "rank 1 of 2");
        let (trace, deadline) = lines[1].split_once(' ').unwrap();
        assert_eq!(trace, "Root=1-2-3");
        let left = deadline.parse::<u64>().unwrap() - now_ms() / 1000;
        assert!((800..=900).contains(&left), "{left}");
        assert_eq!(meeting.written(0, 2), "oops\n");
        let arrived =
            |e: &Event| matches!(e, Event::HostArrived { platform, .. } if platform == "lambda");
        assert!(meeting.events().iter().any(arrived));
        meeting.wait("usage", |events| {
            let used = |e: &Event| {
                matches!(
                    e,
                    Event::Usage {
                        memory_mib: 1..,
                        ..
                    }
                )
            };
            events.iter().any(used)
        });
        meeting.wait("done", |e| e.contains(&Event::HostDone { instance: 0 }));
        api.waits();
        host.clean(descriptors);
        meeting.keeps_secrets(&host.err());
    }
}

#[test]
fn what_is_no_start_or_none_any_more_is_refused_and_the_host_stays() {
    let api = Api::new("");
    let host = api.host("refuse");
    let meeting = Meeting::of(&shell(1, "echo ran"));
    api.waits();
    let descriptors = host.descriptors();
    api.invoke("{\"hello\":1}");
    assert!(api.error(1, "Mayfly.Malformed").contains("no start"));
    api.invoke(&" ".repeat(300 * 1024));
    assert!(api.error(2, "Mayfly.TooLarge").contains("at most"));
    let mut stranger = meeting.start(0, 0);
    stranger.pass[0] ^= 1;
    api.invoke(&stranger.to_json());
    assert!(api.error(3, "Mayfly.Forbidden").contains("pass"));
    api.invoke(&meeting.json());
    assert_eq!(api.answer(4).2["status"], 0);
    // The platform delivers it once more, and then the job is forgotten.
    api.invoke(&meeting.json());
    api.error(5, "Mayfly.Refused");
    let mut other = meeting.start(0, 0);
    other.place.job = [7; 16];
    api.invoke(&other.to_json());
    api.error(6, "Mayfly.Refused");
    assert_eq!(meeting.written(0, 1), "ran\n");
    api.waits();
    host.clean(descriptors);
    meeting.keeps_secrets(&host.err());
}

#[test]
fn a_duplicate_while_the_first_runs_is_refused() {
    let (api, other) = (Api::new(""), Api::new(""));
    let (_one, _two) = (api.host("first"), other.host("second"));
    let meeting = Meeting::of(&shell(1, "echo here; read line; echo got $line"));
    api.invoke(&meeting.json());
    meeting.wait_for_output(0, "here");
    other.invoke(&meeting.json());
    other.error(1, "Mayfly.Refused");
    assert_eq!(meeting.written(0, 1), "here\n");
    meeting
        .service
        .as_ref()
        .unwrap()
        .abort(&meeting.place.job, 5, "enough");
    assert!(api.error(1, "Mayfly.Ended").contains("enough"));
}

#[test]
fn a_rank_that_dies_by_a_signal_is_told_as_that() {
    let api = Api::new("");
    let _host = api.host("signal");
    let meeting = Meeting::of(&shell(1, "echo before; kill -9 $$"));
    api.invoke(&meeting.json());
    let (_, _, body) = api.answer(1);
    assert_eq!(
        (&body["status"], &body["failed"][0]["signal"]),
        (&137.into(), &9.into())
    );
    assert_eq!(meeting.exits(), [(0, 0, 9)]);
    assert_eq!(meeting.written(0, 1), "before\n");
}

#[test]
fn emulators_may_be_strange() {
    // As cargo-lambda: a scheme and a path in the address, a deadline that is none, connections that end.
    let api = Api::new("/.rt/fn");
    let _host = api.host("strange");
    api.give(Next::Cut);
    api.give(Next::Cut);
    let meeting = Meeting::of(&shell(1, "echo deadline=$MAYFLY_DEADLINE"));
    let wrapped =
        serde_json::json!({"version": "2.0", "isBase64Encoded": false, "body": meeting.json()});
    api.invoke_with(
        &wrapped.to_string(),
        "Lambda-Runtime-Deadline-Ms: 600000\r\n",
    );
    assert_eq!(api.answer(1).2["status"], 0);
    assert_eq!(meeting.written(0, 1), "deadline=\n");
    let meeting = Meeting::of(&shell(1, "exit 3"));
    api.invoke_with(&meeting.json(), "");
    assert_eq!(api.answer(2).2["status"], 3);
}

#[test]
fn the_ranks_are_warned_before_the_deadline() {
    let api = Api::new("");
    let host = api.host("deadline");
    api.waits();
    let descriptors = host.descriptors();
    // Four seconds: the warning comes after two.
    let deadline = || format!("Lambda-Runtime-Deadline-Ms: {}\r\n", now_ms() + 4000);
    let meeting = Meeting::of(&shell(1, "trap 'echo saved; exit 0' TERM; sleep 60 & wait"));
    api.invoke_with(&meeting.json(), &deadline());
    assert_eq!(api.answer(1).2["status"], 0);
    assert_eq!(meeting.written(0, 1), "saved\n");
    let log = |e: &Event| matches!(e, Event::Log { text, .. } if text.contains("time limit"));
    assert!(meeting.events().iter().any(log), "{:?}", meeting.events());
    // One that does not listen is ended before the platform ends us.
    let meeting = Meeting::of(&shell(1, "trap '' TERM; while :; do sleep 60; done"));
    api.invoke_with(&meeting.json(), &deadline());
    assert!(api.error(2, "Mayfly.Ended").contains("time limit"));
    assert_eq!(meeting.exits(), [(0, 0, 9)]);
    api.waits();
    host.clean(descriptors);
}

#[test]
fn the_platforms_signal_ends_the_ranks_and_is_answered() {
    let api = Api::new("");
    let mut host = api.host("term");
    let meeting = Meeting::of(&shell(
        1,
        "trap 'echo bye; exit 9' TERM; echo up; sleep 60 & wait",
    ));
    api.invoke(&meeting.json());
    meeting.wait_for_output(0, "up");
    host.signal(libc::SIGTERM);
    assert!(api.error(1, "Mayfly.Ended").contains("SIGTERM"));
    assert_eq!(host.status(), 143);
    assert_eq!(meeting.written(0, 1), "up\nbye\n");
    // And one that has nothing to do goes at once.
    let api = Api::new("");
    let mut idle = api.host("idle");
    api.waits();
    idle.signal(libc::SIGTERM);
    assert_eq!(idle.status(), 0);
}

#[test]
fn a_lost_rendezvous_ends_the_ranks() {
    let api = Api::new("");
    let host = api.host("lost");
    api.waits();
    let descriptors = host.descriptors();
    let mut meeting = Meeting::of(&shell(
        2,
        "trap '' TERM; echo up; while :; do sleep 60; done",
    ));
    api.invoke(&meeting.json());
    meeting.wait_for_output(1, "up");
    meeting.service = None;
    let text = api.error(1, "Mayfly.Ended");
    assert!(text.contains("rendezvous"), "{text}");
    api.waits();
    host.clean(descriptors);
}

#[test]
fn a_program_that_is_not_there_ends_the_job() {
    let api = Api::new("");
    let _host = api.host("missing");
    let meeting = Meeting::of(&program(2, "/no/such/program", &[]));
    api.invoke(&meeting.json());
    assert!(api.error(1, "Mayfly.Unfit").contains("/no/such/program"));
    assert_eq!(meeting.exits(), [(0, 127, 0)]);
    let log = |e: &Event| matches!(e, Event::Log { text, .. } if text.contains("/no/such/program"));
    assert!(meeting.events().iter().any(log), "{:?}", meeting.events());
}

#[test]
fn a_rank_that_only_the_system_refuses_ends_the_others() {
    let api = Api::new("");
    let host = api.host("locked");
    api.waits();
    let descriptors = host.descriptors();
    let folder = crate::common::Folder::new("locked-program");
    // Its interpreter is there, but is no program.
    folder.write("locked", b"#!/etc/passwd\n", 0o755);
    let mut task = program(2, "/bin/sleep", &["62.3"]);
    task.parts
        .extend(program(2, &folder.path("locked"), &[]).parts);
    let meeting = Meeting::of(&task);
    api.invoke(&meeting.json());
    let text = api.error(1, "Mayfly.Unfit");
    assert!(
        text.contains("locked: rank 2 cannot be started: "),
        "{text}"
    );
    // Said once of it, and never of its equal, which the same line explains.
    let refused = |end: &&(u32, i32, i32)| end.0 >= 2;
    let exits = meeting.exits();
    let exits: Vec<_> = exits.iter().filter(refused).collect();
    assert_eq!(exits, [&(2, 126, 0)]);
    api.waits();
    host.clean(descriptors);
}

#[test]
fn ranks_join_through_the_hosts_tls() {
    let api = Api::new("");
    let host = api.host("tls");
    api.waits();
    let descriptors = host.descriptors();
    let meeting = Meeting::new(&program(3, &member(), &[]), 3, true);
    api.invoke(&meeting.json());
    let (_, _, body) = api.answer(1);
    assert_eq!(body["status"], 0, "{:?}", meeting.events());
    assert_eq!(
        meeting.written(2, 1),
        "rank 2 of 3, part 0, local 2 of 3, by mayfly\n"
    );
    api.waits();
    host.clean(descriptors);
    // A rendezvous with another certificate is not talked to.
    let mut wrong = Meeting::new(&program(1, "true", &[]), 1, true);
    wrong.place.pin = Some([1; 32]);
    api.invoke(&wrong.json());
    let text = api.error(2, "Mayfly.Refused");
    assert!(text.contains("pin"), "{text}");
}

#[test]
fn ranks_of_two_instances_meet() {
    let (one, two) = (Api::new(""), Api::new(""));
    let (_one, _two) = (one.host("half"), two.host("other"));
    let meeting = Meeting::new(&program(4, &member(), &[]), 2, false);
    one.invoke(&meeting.start(0, 0).to_json());
    two.invoke(&meeting.start(1, 0).to_json());
    assert_eq!(one.answer(1).2["status"], 0, "{:?}", meeting.events());
    assert_eq!(two.answer(1).2["status"], 0, "{:?}", meeting.events());
    assert_eq!(
        meeting.written(3, 1),
        "rank 3 of 4, part 0, local 1 of 2, by mayfly\n"
    );
}

#[test]
fn much_output_arrives_whole() {
    let api = Api::new("");
    let _host = api.host("output");
    let script =
        "i=0; while [ $i -lt 20000 ]; do echo line $i of this; i=$((i+1)); done; echo end >&2";
    let meeting = Meeting::of(&shell(1, script));
    api.invoke(&meeting.json());
    assert_eq!(api.answer(1).2["status"], 0);
    let text = meeting.written(0, 1);
    assert_eq!(text.lines().count(), 20000);
    assert!(text.ends_with("line 19999 of this\n"));
    // The end of a rank is told after everything that it wrote.
    let events = meeting.events();
    let last = events
        .iter()
        .rposition(|e| matches!(e, Event::Output { .. }));
    let end = events
        .iter()
        .position(|e| matches!(e, Event::Exited { .. }));
    assert!(last < end);
}

/// A function as `mayfly pack` lays it out: the command as `bootstrap`, the description beside it.
fn function(name: &str, description: &str) -> crate::common::Folder {
    let folder = crate::common::Folder::new(name);
    std::fs::create_dir_all(folder.path("app")).unwrap();
    let command = crate::common::mayfly_path();
    let bootstrap = folder.path("bootstrap");
    if std::fs::hard_link(command, &bootstrap).is_err() {
        std::fs::copy(command, &bootstrap).unwrap();
    }
    folder.write("mayfly.json", description.as_bytes(), 0o644);
    folder.write("app/data.txt", b"data\n", 0o444);
    let script = b"#!/bin/sh\ncat data.txt; echo $0 $* $SET; echo new >data.new; ls; exit 7\n";
    folder.write("app/flow.sh", script, 0o755);
    folder
}

#[test]
fn a_packed_function_runs_its_own_program_afresh_each_time() {
    let description = r#"{"mayfly":1,"name":"flow","program":"app/flow.sh","arguments":["-x"],"environment":{"SET":"1"}}"#;
    let folder = function("function", description);
    let api = Api::new("");
    let address = api.address();
    let variables = [("AWS_LAMBDA_RUNTIME_API", address.as_str())];
    // Images give it a handler's name.
    let host = Instance::of(
        &folder.path("bootstrap"),
        "packed",
        &["app.handler"],
        &variables,
    );
    for number in 1..=2 {
        let meeting = Meeting::of(&program(1, "flow", &[]));
        api.invoke(&meeting.json());
        assert_eq!(api.answer(number).2["status"], 7);
        let text = meeting.written(0, 1);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            (lines[0], &lines[2..]),
            ("data", &["data.new", "data.txt", "flow.sh"][..])
        );
        assert!(lines[1].ends_with(" -x 1"), "{text}");
    }
    api.waits();
    assert_eq!(host.files(), 0);
    assert!(!std::path::Path::new(&folder.path("app/data.new")).exists());
}

#[test]
fn a_broken_package_is_an_error_of_the_initialization() {
    let folder = function("broken", r#"{"mayfly":99}"#);
    let api = Api::new("");
    let address = api.address();
    let variables = [("AWS_LAMBDA_RUNTIME_API", address.as_str())];
    let mut host = Instance::of(&folder.path("bootstrap"), "broken", &[], &variables);
    let (path, kind, body) = api.answer(1);
    assert_eq!(
        (path.as_str(), kind.as_deref()),
        ("/init/error", Some("Mayfly.Unfit"))
    );
    assert!(
        body["errorMessage"]
            .as_str()
            .unwrap()
            .contains("mayfly.json"),
        "{body}"
    );
    assert_eq!(host.status(), 1);
}
