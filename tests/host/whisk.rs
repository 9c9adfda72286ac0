//! Apache OpenWhisk's /init and /run, as docs/actions-new.md has them.

use crate::common::eventually;
use crate::instance::Instance;
use crate::meeting::{program, shell, Meeting};
use crate::web::{json, Client};
use base64::Engine;
use std::io::Write;
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

const MARK: &str = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n";

fn host(name: &str) -> (Instance, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client(listener.local_addr().unwrap().port());
    drop(listener);
    let port = client.0.to_string();
    let host = Instance::start(
        name,
        &[],
        &[("PORT", &port), ("__OW_API_HOST", "https://ow")],
    );
    assert!(
        eventually(|| host.err().contains("waiting for starts")),
        "{}",
        host.err()
    );
    (host, client)
}

fn run(meeting: &Meeting, more: &serde_json::Value) -> String {
    let start = json(&meeting.json());
    let mut body = serde_json::json!({"value": start, "activation_id": "act-7", "namespace": "guest",
        "api_key": "secret-key"});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

#[test]
fn init_once_and_a_mark_after_each_run() {
    let (host, client) = host("whisk");
    let init =
        r#"{"value":{"name":"a","main":"main","code":"","binary":false,"env":{"SET":"by init"}}}"#;
    let (status, text) = client.short("POST", "/init", init);
    assert_eq!((status, &json(&text)["OK"]), (200, &true.into()));
    let (status, text) = client.short("POST", "/init", init);
    assert_eq!(status, 403);
    assert_eq!(
        json(&text)["error"],
        "Cannot initialize the action more than once."
    );
    let descriptors = host.descriptors();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    for number in 1..=2 {
        let script = "echo $SET, $__OW_ACTIVATION_ID, $__OW_API_KEY, $MAYFLY_DEADLINE; exit 2";
        let meeting = Meeting::of(&shell(1, script));
        let deadline = (now + 300_000).to_string();
        let body = run(&meeting, &serde_json::json!({"deadline": deadline}));
        let (status, text) = client.short("POST", "/run", &body);
        assert_eq!((status, &json(&text)["status"]), (200, &2.into()));
        let seconds = (now + 300_000) / 1000;
        assert_eq!(
            meeting.written(0, 1),
            format!("by init, act-7, , {seconds}\n")
        );
        let marks = |text: String| text.matches(MARK).count();
        assert!(eventually(
            || (marks(host.out()), marks(host.err())) == (number, number)
        ));
        host.clean(descriptors);
        meeting.keeps_secrets(&(host.err() + &host.out()));
    }
}

/// A package as `mayfly pack` makes it, with this script as its program, as /init brings it.
fn init_with(script: &str) -> String {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let plain = zip::write::SimpleFileOptions::default();
    zip.start_file("app/greet", plain.unix_permissions(0o755))
        .unwrap();
    zip.write_all(script.as_bytes()).unwrap();
    zip.start_file("app/data", plain.unix_permissions(0o644))
        .unwrap();
    zip.write_all(b"its data").unwrap();
    zip.start_file("mayfly.json", plain).unwrap();
    zip.write_all(br#"{"mayfly":1,"name":"greet","program":"app/greet"}"#)
        .unwrap();
    let bytes = zip.finish().unwrap().into_inner();
    let code = base64::engine::general_purpose::STANDARD.encode(bytes);
    serde_json::json!({"value": {"name": "a", "code": code, "binary": true, "env": {"SET": "by init"}}})
        .to_string()
}

#[test]
fn code_that_comes_as_a_zip_is_what_runs() {
    let (mut host, client) = host("whisk-zip");
    let text = |pad: usize| format!("#!/bin/sh\necho $SET, $(cat data)\n# {}", "x".repeat(pad));
    // More than a start may have; what follows the script compresses well, so that it is padded with what does not.
    let mut noise = 1u32;
    let noise: String = (0..500_000)
        .map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (noise >> 24) as u8 % 26)
        })
        .collect();
    let init = init_with(&(text(1) + &noise));
    assert!(init.len() > 300_000);
    let (status, answer) = client.short("POST", "/init", &init);
    assert_eq!(
        (status, &json(&answer)["OK"]),
        (200, &true.into()),
        "{answer}"
    );
    assert_eq!(client.short("POST", "/init", &init).0, 403);
    for _ in 0..2 {
        let meeting = Meeting::of(&program(2, "greet", &[]));
        let (status, answer) = client.short("POST", "/run", &run(&meeting, &serde_json::json!({})));
        assert_eq!(
            (status, &json(&answer)["status"]),
            (200, &0.into()),
            "{answer}"
        );
        assert_eq!(meeting.written(1, 1), "by init, its data\n");
    }
    host.signal(libc::SIGTERM);
    host.status();
    host.left_nothing();
    // Elsewhere, whoever can send a start cannot send a program.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client(listener.local_addr().unwrap().port());
    drop(listener);
    let port = client.0.to_string();
    let plain = Instance::start("whisk-not", &["--contract", "http"], &[("PORT", &port)]);
    assert!(eventually(|| plain.err().contains("waiting for starts")));
    let (status, answer) = client.short("POST", "/init", &init_with(&text(1)));
    assert_eq!(status, 502);
    assert!(answer.contains("OpenWhisk only"), "{answer}");
}

#[test]
fn what_cannot_run_is_an_error_with_its_mark() {
    let (host, client) = host("whisk-wrong");
    assert_eq!(client.short("POST", "/init", "garbage").0, 502);
    let zip = r#"{"value":{"code":"UEsDBA==","binary":true}}"#;
    assert_eq!(client.short("POST", "/init", zip).0, 502);
    assert_eq!(client.short("POST", "/init", r#"{"value":{}}"#).0, 200);
    let (status, text) = client.short("POST", "/run", r#"{"value":{"x":1}}"#);
    assert_eq!(status, 502);
    assert!(json(&text)["error"].as_str().unwrap().contains("no start"));
    assert!(eventually(
        || host.out() == MARK && host.err().ends_with(MARK)
    ));
    let meeting = Meeting::of(&shell(1, "true"));
    assert_eq!(
        client
            .short("POST", "/run", &run(&meeting, &serde_json::json!({})))
            .0,
        200
    );
    // The invoker tries again what it believes lost.
    let (status, text) = client.short("POST", "/run", &run(&meeting, &serde_json::json!({})));
    assert_eq!(status, 502, "{text}");
    assert!(eventually(|| host.out() == MARK.repeat(3)));
}
