//! One request a start, as Knative, Cloud Run, OpenFaaS, Fission, Nuclio and Azure send them.

use crate::common::eventually;
use crate::instance::Instance;
use crate::meeting::{shell, Meeting};
use crate::web::{json, Answer, Client};
use mayfly::rendezvous::message::Event;
use std::io::{Read, Write};
use std::net::TcpListener;

/// A port that was free a moment ago.
fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A host on a port of the platform's choosing.
fn host(
    name: &str,
    variable: &str,
    arguments: &[&str],
    more: &[(&str, &str)],
) -> (Instance, Client) {
    let client = Client(port());
    let port = client.0.to_string();
    let mut variables = vec![(variable, port.as_str())];
    variables.extend(more);
    let host = Instance::start(name, arguments, &variables);
    assert!(
        eventually(|| host.err().contains("waiting for starts")),
        "{}",
        host.err()
    );
    (host, client)
}

#[test]
fn the_answer_begins_with_the_start_and_ends_with_the_ranks() {
    let (host, client) = host("knative", "PORT", &[], &[("K_SERVICE", "f")]);
    let descriptors = host.descriptors();
    for number in 0..2 {
        let go = host.folder.path("go");
        let script = format!("echo up; while ! test -e {go}; do sleep 0.05; done; exit 4");
        let meeting = Meeting::of(&shell(1, &script));
        let mut answer = client.post("/", &meeting.json());
        assert_eq!(answer.head.status(), 200);
        assert_eq!(answer.head.field("content-type"), Some("application/json"));
        // The first byte is here while the rank runs.
        assert_eq!(answer.chunk().unwrap(), b"\n");
        meeting.wait_for_output(0, "up");
        assert_eq!(meeting.exits(), []);
        let arrived =
            |e: &Event| matches!(e, Event::HostArrived { platform, .. } if platform == "knative");
        assert!(meeting.events().iter().any(arrived));
        std::fs::write(&go, "").unwrap();
        let body = json(&answer.rest());
        assert_eq!(
            (&body["status"], &body["instance"]),
            (&4.into(), &0.into()),
            "{number}"
        );
        std::fs::remove_file(&go).unwrap();
        host.clean(descriptors);
        meeting.keeps_secrets(&(host.err() + &host.out()));
    }
}

#[test]
fn one_start_at_a_time() {
    let (_host, client) = host("busy", "PORT", &[], &[]);
    let meeting = Meeting::of(&shell(1, "echo up; sleep 60"));
    let running = client.post("/", &meeting.json());
    assert_eq!(running.head.status(), 200);
    let other = Meeting::of(&shell(1, "echo other"));
    let second = client.post("/", &other.json());
    assert_eq!(second.head.status(), 429);
    assert_eq!(second.head.field("retry-after"), Some("1"));
    assert!(json(&second.rest())["error"]
        .as_str()
        .unwrap()
        .contains("one at a time"));
    // It lives all the same, and OpenFaaS is told that it takes nothing.
    assert_eq!(client.short("GET", "/_/health", "").0, 200);
    assert_eq!(client.short("GET", "/_/ready", "").0, 429);
    meeting
        .service
        .as_ref()
        .unwrap()
        .abort(&meeting.place.job, 1, "enough");
    let body = json(&running.rest());
    assert_eq!(body["kind"], "Mayfly.Ended");
    assert!(eventually(|| client.short("GET", "/_/ready", "").0 == 200));
    let mut again = Meeting::of(&shell(1, "echo again"));
    assert_eq!(
        json(&client.post("/x/y", &again.json()).rest())["status"],
        0
    );
    again.service = None;
}

#[test]
fn what_is_wrong_is_a_status() {
    let (host, client) = host("wrong", "PORT", &[], &[]);
    let descriptors = host.descriptors();
    let meeting = Meeting::of(&shell(1, "echo ran"));
    let error = |body: &str| {
        let (status, text) = client.short("POST", "/", body);
        (
            status,
            json(&text)["kind"].as_str().unwrap_or("").to_string(),
        )
    };
    let is = |status: u16, kind: &str| (status, format!("Mayfly.{kind}"));
    assert_eq!(error("garbage"), is(400, "Malformed"));
    assert_eq!(error(""), is(400, "Malformed"));
    let mut stranger = meeting.start(0, 0);
    stranger.pass[3] ^= 1;
    assert_eq!(error(&stranger.to_json()), is(403, "Forbidden"));
    // The right pass for another number.
    let mut other = meeting.start(0, 0);
    other.attempt = 1;
    assert_eq!(error(&other.to_json()), is(403, "Forbidden"));
    let mut nowhere = meeting.start(0, 0);
    nowhere.place.job = [9; 16];
    assert_eq!(error(&nowhere.to_json()), is(409, "Refused"));
    assert_eq!(client.short("POST", "/", &meeting.json()).0, 200);
    meeting.wait("done", |e| e.contains(&Event::HostDone { instance: 0 }));
    // Delivered twice.
    assert_eq!(error(&meeting.json()), is(409, "Refused"));
    assert_eq!(client.short("PUT", "/", "").0, 405);
    assert_eq!(client.short("GET", "/nothing", "").0, 404);
    let answer = client.ask("POST", "/", &vec![b' '; 300 * 1024]);
    assert_eq!(answer.head.status(), 413);
    // A request that is cut in the middle starts nothing.
    let mut cut = client.connect();
    cut.write_all(b"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 500\r\n\r\n{\"mayfly\":1,")
        .unwrap();
    cut.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = String::new();
    let _ = cut.read_to_string(&mut rest);
    assert!(!rest.starts_with("HTTP/1.1 200"), "{rest}");
    drop((cut, answer));
    assert_eq!(meeting.written(0, 1), "ran\n");
    host.clean(descriptors);
    meeting.keeps_secrets(&(host.err() + &host.out()));
}

#[test]
fn a_cut_connection_does_not_end_the_job() {
    let (host, client) = host("cut", "PORT", &[], &[]);
    let descriptors = host.descriptors();
    let meeting = Meeting::of(&shell(1, "echo up; sleep 1; echo done"));
    let stream = client.send("POST", "/", meeting.json().as_bytes());
    meeting.wait_for_output(0, "up");
    drop(stream);
    meeting.wait_for_output(0, "done");
    meeting.wait("done", |e| e.contains(&Event::HostDone { instance: 0 }));
    host.clean(descriptors);
}

#[test]
fn the_platforms_signal_is_answered_in_band() {
    let (mut host, client) = host("end", "PORT", &[], &[]);
    let meeting = Meeting::of(&shell(
        1,
        "trap 'echo bye; exit 0' TERM; echo up; sleep 60 & wait",
    ));
    let running = client.post("/", &meeting.json());
    meeting.wait_for_output(0, "up");
    host.signal(libc::SIGTERM);
    let body = json(&running.rest());
    assert_eq!(body["kind"], "Mayfly.Ended");
    assert!(body["error"].as_str().unwrap().contains("SIGTERM"));
    assert_eq!(host.status(), 143);
    assert_eq!(meeting.written(0, 1), "up\nbye\n");
    let (mut idle, client) = self::host("idle-http", "PORT", &[], &[]);
    // A connection that is kept open does not hold it up.
    let kept = client.connect();
    idle.signal(libc::SIGTERM);
    assert_eq!(idle.status(), 0);
    drop(kept);
}

#[test]
fn a_limit_that_the_platform_does_not_tell_can_be_told() {
    let (_host, client) = host("limit", "PORT", &[], &[("MAYFLY_LIMIT", "4")]);
    let meeting = Meeting::of(&shell(1, "trap 'echo saved; exit 0' TERM; sleep 60 & wait"));
    let body = json(&client.post("/", &meeting.json()).rest());
    assert_eq!(body["status"], 0);
    assert_eq!(meeting.written(0, 1), "saved\n");
}

#[test]
fn fission_specializes_once() {
    let (host, client) = host("fission", "PORT", &["--contract", "fission"], &[]);
    let folder = crate::common::Folder::new("fission-package");
    std::fs::create_dir_all(folder.path("app")).unwrap();
    folder.write(
        "mayfly.json",
        br#"{"mayfly":1,"name":"flow","program":"app/flow"}"#,
        0o644,
    );
    folder.write(
        "app/flow",
        b"#!/bin/sh\necho packed in $PWD; echo new > file\n",
        0o755,
    );
    let load = serde_json::json!({"filepath": folder.path(""), "functionName": "", "url": "",
        "FunctionMetadata": {"name": "f"}});
    assert_eq!(
        client.short("POST", "/v2/specialize", &load.to_string()).0,
        202
    );
    let second = client.short("POST", "/v2/specialize", &load.to_string());
    assert_eq!(
        (second.0, second.1.trim()),
        (400, "Not a generic container")
    );
    let meeting = Meeting::of(&crate::meeting::program(1, "flow", &[]));
    assert_eq!(json(&client.post("/", &meeting.json()).rest())["status"], 0);
    let text = meeting.written(0, 1);
    assert!(
        text.starts_with(&format!("packed in {}", host.folder.path(""))),
        "{text}"
    );
    assert_eq!(host.files(), 0);
    assert_eq!(client.short("GET", "/healthz", "").0, 200);
}

#[test]
fn azure_gets_outputs_unless_it_forwards() {
    let variable = "FUNCTIONS_CUSTOMHANDLER_PORT";
    let (_host, client) = host("azure", variable, &[], &[]);
    let wrap = |meeting: &Meeting| {
        serde_json::json!({"Data": {"req": {"Url": "http://h/api/f", "Method": "POST",
            "Body": meeting.json()}}, "Metadata": {}})
        .to_string()
    };
    let meeting = Meeting::of(&shell(1, "exit 6"));
    let body = json(&client.post("/MpiFunction", &wrap(&meeting)).rest());
    assert_eq!(body["Outputs"]["res"]["statusCode"], 200);
    let inner = json(body["Outputs"]["res"]["body"].as_str().unwrap());
    assert_eq!(inner["status"], 6);
    assert!(body["Logs"].is_array() && body["ReturnValue"].is_null());
    // Duplicates: the custom handler itself has answered.
    let (status, text) = client.short("POST", "/MpiFunction", &wrap(&meeting));
    assert_eq!(
        (status, &json(&text)["Outputs"]["res"]["statusCode"]),
        (200, &409.into())
    );
    let meeting = Meeting::of(&shell(1, "exit 0"));
    let body = json(&client.post("/api/MpiFunction", &meeting.json()).rest());
    assert_eq!(body["status"], 0);
}

#[test]
fn health_is_told_where_platforms_look() {
    let (_host, client) = host("health", "PORT", &["--contract", "openfaas"], &[]);
    for path in ["/", "/healthz", "/_/health", "/_/ready", "/livez", "/ready"] {
        assert_eq!(client.short("GET", path, "").0, 200, "{path}");
    }
    let head = Answer::of(client.send("HEAD", "/healthz", b""));
    assert_eq!(head.head.status(), 200);
}

#[test]
fn a_port_that_is_taken_is_said() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut host = Instance::start("taken", &[], &[("PORT", &port)]);
    assert_eq!(host.status(), 1);
    assert!(
        host.err()
            .contains(&format!("cannot listen on port {port}")),
        "{}",
        host.err()
    );
    let mut host = Instance::start("nonsense", &["--contract", "heroku"], &[]);
    assert_eq!(host.status(), 2);
}

#[test]
fn a_request_that_does_not_arrive_is_given_up() {
    let (host, client) = host("late", "PORT", &[], &[]);
    let descriptors = host.descriptors();
    let mut slow = client.connect();
    slow.write_all(b"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 500\r\n\r\n{")
        .unwrap();
    let mut headless = client.connect();
    headless.write_all(b"POST / HT").unwrap();
    let mut text = String::new();
    headless.read_to_string(&mut text).unwrap();
    assert_eq!(Answer::of(slow).head.status(), 408);
    // Others have been served all the time.
    assert_eq!(client.short("GET", "/healthz", "").0, 200);
    host.clean(descriptors);
}

#[test]
fn idle_connections_keep_neither_health_nor_a_start_out() {
    let (host, client) = host("crowd", "PORT", &[], &[]);
    let idle: Vec<_> = (0..300).map(|_| client.connect()).collect();
    let healthy = || {
        let mut stream = client.connect();
        let asked = b"GET /healthz HTTP/1.1\r\nHost: f\r\nConnection: close\r\n\r\n";
        let mut text = String::new();
        let said = stream
            .write_all(asked)
            .and_then(|()| stream.read_to_string(&mut text));
        said.is_ok() && text.starts_with("HTTP/1.1 200")
    };
    assert!(eventually(healthy));
    let go = host.folder.path("go");
    let script = format!("echo up; while ! test -e {go}; do sleep 0.05; done");
    let meeting = Meeting::of(&shell(1, &script));
    let answer = client.post("/", &meeting.json());
    meeting.wait_for_output(0, "up");
    // A start that runs makes room for nobody.
    let more: Vec<_> = (0..300).map(|_| client.connect()).collect();
    assert!(eventually(healthy));
    std::fs::write(&go, "").unwrap();
    assert_eq!(json(&answer.rest())["status"], 0);
    drop((idle, more));
}

#[test]
fn a_stranger_who_reaches_the_port_cannot_name_a_rendezvous_of_his_own() {
    let meeting = Meeting::of(&shell(1, "echo ran"));
    let trusted = [("MAYFLY_TRUST", meeting.place.rendezvous.as_str())];
    let (_host, client) = host("trust", "PORT", &[], &trusted);
    let stranger = Meeting::of(&shell(1, "echo stolen"));
    let (status, text) = client.short("POST", "/", &stranger.json());
    assert_eq!(
        (status, &json(&text)["kind"]),
        (403, &"Mayfly.Forbidden".into())
    );
    assert_eq!(stranger.events(), []);
    assert_eq!(json(&client.post("/", &meeting.json()).rest())["status"], 0);
    let mut host = Instance::start("mistrust", &[], &[("MAYFLY_TRUST", "nonsense://")]);
    assert_eq!(host.status(), 1);
    assert!(host.err().contains("MAYFLY_TRUST"), "{}", host.err());
}
