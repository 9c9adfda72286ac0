use super::super::account::tests::{files, variables};
use super::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

fn run<T>(future: impl std::future::Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

fn provider(set: &[(&str, &str)], config: &str) -> Result<Provider, String> {
    Provider::find(Arc::from(variables(set)), &files(config, "", "p"))
}

fn found(set: &[(&str, &str)], config: &str) -> Result<Credentials, String> {
    let provider = provider(set, config)?;
    run(provider.credentials(UNIX_EPOCH))
}

/// Answers requests by their first line; gives its address and what was asked.
fn server(
    answer: impl Fn(&str, usize) -> String + Send + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let count = seen.lock().unwrap().len();
            let body = answer(head.lines().next().unwrap(), count);
            seen.lock().unwrap().push(head);
            let length = body.len();
            let text = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            stream.write_all(text.as_bytes()).unwrap();
        }
    });
    (address.to_string(), asked)
}

const KEYS: &str = r#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"S","Token":"T","Expiration":"2000-01-01T00:00:00Z"}"#;

#[test]
fn variables_come_first_then_the_profile() {
    let set = [
        ("AWS_ACCESS_KEY_ID", "A"),
        ("AWS_SECRET_ACCESS_KEY", "S"),
        ("AWS_SESSION_TOKEN", "T"),
    ];
    let profile = "[profile p]\naws_access_key_id=B\naws_secret_access_key=R";
    let keys = found(&set, profile).unwrap();
    assert_eq!((keys.id.as_str(), keys.token.as_deref()), ("A", Some("T")));
    let keys = found(&set[..1], profile).unwrap();
    assert_eq!((keys.id.as_str(), keys.token), ("B", None));
    let sso = found(&[], "[profile p]\nsso_session = corp").unwrap_err();
    assert!(sso.contains("export-credentials --profile p"), "{sso}");
    let none = found(&[("AWS_EC2_METADATA_DISABLED", "true")], "").unwrap_err();
    assert!(none.contains("AWS_ACCESS_KEY_ID"), "{none}");
}

#[test]
fn a_process_gives_them() {
    let keys = r#"{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","SessionToken":"T"}"#;
    let config = |command: &str| format!("[profile p]\ncredential_process = {command}");
    let given = found(&[], &config(&format!("echo '{keys}'"))).unwrap();
    assert_eq!(
        (given.id.as_str(), given.token.as_deref()),
        ("A", Some("T"))
    );
    for (command, said) in [
        ("exit 3", "failed (exit status: 3)"),
        (
            "echo '{\"Version\":2,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\"}'",
            "version",
        ),
        ("echo secret-key", "cannot read"),
    ] {
        let error = found(&[], &config(command)).unwrap_err();
        assert!(
            error.contains(said) && !error.contains("secret-key"),
            "{error}"
        );
    }
}

#[test]
fn a_containers_endpoint_gives_them_and_they_are_renewed() {
    let (address, asked) = server(|_, count| KEYS.replace("\"A\"", &format!("\"A{count}\"")));
    let url = format!("http://{address}/creds");
    let set = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let me in"),
    ];
    let provider = provider(&set, "").unwrap();
    let end = time::parse("2000-01-01T00:00:00Z").unwrap();
    let at = |before: u64| {
        run(provider.credentials(end - Duration::from_secs(before)))
            .unwrap()
            .id
    };
    assert_eq!(at(3600), "A0");
    assert_eq!(at(301), "A0");
    assert_eq!(at(299), "A1");
    assert!(asked.lock().unwrap()[0].contains("let me in"));
    for wrong in ["http://example.com/", "ftp://127.0.0.1/", "nothing"] {
        assert!(container_url(wrong).is_err(), "{wrong}");
    }
    for right in [
        "https://example.com/",
        "http://[::1]/",
        "http://169.254.170.23/v1",
    ] {
        assert!(container_url(right).is_ok(), "{right}");
    }
}

#[test]
fn a_machine_gives_them_for_a_token() {
    let (address, asked) = server(|line, _| match line.split(' ').nth(1).unwrap() {
        "/latest/api/token" => "TOKEN".into(),
        "/latest/meta-data/iam/security-credentials/" => "role\n".into(),
        "/latest/meta-data/iam/security-credentials/role" => KEYS.into(),
        other => panic!("{other}"),
    });
    let base = format!("http://{address}");
    let keys = found(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &base)], "").unwrap();
    assert_eq!((keys.id.as_str(), keys.token.as_deref()), ("A", Some("T")));
    let asked = asked.lock().unwrap();
    assert!(asked[0].starts_with("PUT ") && asked[2].contains("x-aws-ec2-metadata-token: TOKEN"));
    // A port where nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = found(
        &[(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            &format!("http://{closed}"),
        )],
        "",
    )
    .unwrap_err();
    assert!(error.starts_with("no AWS credentials"), "{error}");
}
