//! `mayfly serve` and `mayfly relay` as operators, ranks and instances meet them: TLS, restarts, an orderly end, `mayfly
//! ps`, `logs` and `kill`.

mod common;

use common::http::{ask, connect, get};
use common::{eventually, first_line, mayfly, run, Folder};
use mayfly::rendezvous::client::{Entry, Member};
use mayfly::rendezvous::dial;
use mayfly::rendezvous::message::{hex, secrets, unhex, Event, FromHost, ToOwner};
use mayfly::rendezvous::operator::Operator;
use mayfly::rendezvous::place::Place;
use mayfly::rendezvous::server::{JobCreated, JobRequest};
use mayfly::wire::relay as wire;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const KEY: &str = "a short key";
struct Serve {
    child: Child,
    place: Place,
}

impl Serve {
    fn start(arguments: &[&str]) -> Serve {
        let mut command = mayfly();
        command.arg("serve").args(arguments);
        Serve::spawn(command.stderr(Stdio::piped()))
    }

    fn spawn(command: &mut Command) -> Serve {
        command.env("MAYFLY_OPERATOR_KEY", KEY);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let line = first_line(child.stdout.as_mut().unwrap());
        let url = line.strip_prefix("mayfly serve: listening on ").unwrap();
        let place = Place::parse(url).unwrap();
        Serve { child, place }
    }

    fn operator(&self) -> Operator {
        Operator::new(self.place.clone(), KEY.into()).unwrap()
    }

    fn create(&self, size: u32) -> JobCreated {
        let wanted = JobRequest {
            name: "a test".into(),
            ..JobRequest::new(size)
        };
        wait(self.operator().create(&wanted)).unwrap()
    }

    /// A rank of a job that was opened here, and the service's address.
    fn member(&self, created: &JobCreated, rank: u32, size: u32) -> (Member, std::net::SocketAddr) {
        let address = self.place.authority();
        let secret = unhex(&created.secret).unwrap();
        let entry = Entry {
            service: &address,
            job: &unhex(&created.job).unwrap(),
            pass: &secrets::member_pass(&secret, rank, 0),
            rank,
            size,
            epoch: 0,
            patience: Duration::from_secs(20),
        };
        let member = Member::join(&entry, Box::new(|_| {}), None).unwrap();
        (member, address.parse().unwrap())
    }

    /// A command of the operator's, at this place.
    fn command(&self, arguments: &[&str]) -> common::Run {
        let mut command = mayfly();
        command
            .args(arguments)
            .env("MAYFLY_RENDEZVOUS", self.place.to_string())
            .env("MAYFLY_OPERATOR_KEY", KEY);
        run(&mut command)
    }

    /// What it has said on standard error, and its exit status, after this signal.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        self.signal(signal);
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        if let Some(mut err) = self.child.stderr.take() {
            err.read_to_string(&mut said).unwrap();
        }
        (status.code(), said)
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(killed.unwrap().success());
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait<F: std::future::Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

#[test]
fn a_certificate_is_known_by_its_pin_and_both_outlive_a_crash() {
    let folder = Folder::new("serve-tls");
    let state = folder.path("state");
    let start = |listen: &str| Serve::start(&["--listen", listen, "--tls", "--state", &state]);
    let serve = start("127.0.0.1:0");
    let place = serve.place.clone();
    assert!(place.tls && place.pin.is_some());
    let stale = serve.create(2);
    // Another pin is another certificate.
    let mut other = place.clone();
    other.pin = Some([7; 32]);
    let refused = Operator::new(other, KEY.into()).unwrap();
    let text = wait(refused.list()).unwrap_err();
    assert!(text.contains("has the pin"), "{text}");
    let mut unknown = place.clone();
    unknown.pin = None;
    let refused = Operator::new(unknown, KEY.into()).unwrap();
    assert!(wait(refused.list()).is_err(), "nobody vouches for it");
    // Killed, and at once there again: the same port, the same pin, but none of its jobs.
    assert_eq!(serve.end("KILL").0, None);
    let serve = start(&place.authority());
    assert_eq!(serve.place, place);
    let text = wait(serve.operator().status(&stale.job)).unwrap_err();
    assert!(text.contains("restarted"), "{text}");
    let secret = Operator::new(place, stale.secret).unwrap();
    let text = wait(secret.status(&stale.job)).unwrap_err();
    assert!(text.contains("restarted"), "{text}");
    serve.create(1);
}

#[test]
fn the_operator_lists_reads_and_ends_jobs() {
    let serve = Serve::start(&["--listen", "127.0.0.1:0"]);
    let (one, two) = (serve.create(3), serve.create(2));
    let ps = serve.command(&["ps"]);
    assert_eq!(ps.status, 0, "{}", ps.err);
    assert_eq!(ps.out.lines().count(), 3);
    assert!(ps.out.contains(&one.job[..12]) && ps.out.contains("a test"));
    assert!(!ps.out.contains('\x1b'), "no colours in a pipe");
    let json = serve.command(&["ps", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(!json.out.contains(&one.secret) && !json.out.contains(KEY));
    let kill = serve.command(&["kill", &one.job[..12]]);
    assert_eq!(
        (kill.status, kill.out.trim()),
        (0, one.job.as_str()),
        "{}",
        kill.err
    );
    let again = serve.command(&["kill", &one.job]);
    assert_eq!(again.status, 1);
    assert!(again.err.contains("ended already"), "{}", again.err);
    let ps = serve.command(&["ps"]);
    assert!(ps.out.contains("aborted, code 137"), "{}", ps.out);
    let logs = serve.command(&["logs", &one.job, "-f"]);
    assert!(
        logs.out.contains("ended with code 137"),
        "{} {}",
        logs.out,
        logs.err
    );
    assert_eq!(serve.command(&["logs", &two.job[..8]]).status, 0);
    let unknown = serve.command(&["kill", "zz"]);
    assert!(
        unknown.err.contains("no job begins with zz"),
        "{}",
        unknown.err
    );
    let mut wrong = mayfly();
    wrong
        .args(["ps", "--rendezvous", &serve.place.to_string()])
        .env("MAYFLY_OPERATOR_KEY", "guess");
    let refused = run(&mut wrong);
    assert_eq!(refused.status, 1);
    assert!(
        refused.err.contains("refuses our operator's key"),
        "{}",
        refused.err
    );
}

#[test]
fn what_instances_say_is_kept_and_shown_over_tls() {
    let serve = Serve::start(&["--listen", "127.0.0.1:0", "--tls", "--relay-listen", "0,0"]);
    wait(async {
        let wanted = JobRequest {
            task: Some(serde_json::json!({ "parts": [] })),
            per_instance: 2,
            ..JobRequest::new(4)
        };
        let created = serve.operator().create(&wanted).await.unwrap();
        let (job, secret) = (
            unhex(&created.job).unwrap(),
            unhex(&created.secret).unwrap(),
        );
        let patience = Duration::from_secs(5);
        let mut owner = dial::owner(&serve.place, &job, &secret, patience)
            .await
            .unwrap();
        let begin = FromHost::Begin {
            host: "h".into(),
            platform: "test".into(),
            cores: 1,
            memory_mib: 1,
            left_ms: 0,
        };
        let key = secrets::hosts_key(&secret);
        let host = |instance: u32, attempt: u32, shown: u32| {
            let (pass, begin) = (secrets::host_pass(&key, shown, attempt), &begin);
            let (place, job) = (&serve.place, &job);
            async move { dial::host(place, job, (instance, attempt), &pass, begin, patience).await }
        };
        let (link, errand) = host(1, 0, 1).await.unwrap();
        assert_eq!((errand.first_rank, errand.ranks, errand.size), (2, 2, 4));
        assert_eq!(errand.relays, created.relays);
        assert_eq!(errand.relays.len(), 1);
        assert_eq!(errand.task, br#"{"parts":[]}"#);
        // Another instance's pass, and a start that comes twice.
        assert!(host(0, 0, 1).await.is_err());
        assert!(host(1, 0, 1).await.is_err());
        let (rank, stream) = (2, 1);
        for part in ["hello ", "from two\nand"] {
            let bytes = part.as_bytes().to_vec();
            let output = FromHost::Output {
                rank,
                stream,
                bytes,
            };
            link.speaker.say_now(&output).await.unwrap();
        }
        loop {
            if let ToOwner::Event(Event::Output { bytes, .. }) =
                owner.listener.next().await.unwrap()
            {
                if bytes.ends_with(b"and") {
                    break;
                }
            }
        }
        let piece = serve.operator().log(&created.job, 0).await.unwrap();
        let text = String::from_utf8(piece.bytes).unwrap();
        assert!(text.contains("[2] hello from two\n"), "{text}");
        assert!(!piece.ended);
        // Its last line has no end, until it is lost.
        drop(link);
        let ended = async {
            loop {
                let piece = serve
                    .operator()
                    .log(&created.job, piece.next)
                    .await
                    .unwrap();
                if piece.ended {
                    return String::from_utf8(piece.bytes).unwrap();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let text = tokio::time::timeout(Duration::from_secs(20), ended)
            .await
            .unwrap();
        assert!(text.contains("[2] and\n"), "{text}");
        assert!(text.contains("instance 1 was lost"), "{text}");
    });
    let ps = serve.command(&["ps"]);
    assert!(ps.out.contains("aborted"), "{}", ps.out);
    let logs = serve.command(&["logs", "--follow", &ps.out.lines().nth(1).unwrap()[..12]]);
    assert!(logs.out.starts_with("[2] hello from two\n"), "{}", logs.out);
}

#[test]
fn the_end_is_announced_and_running_jobs_get_their_time() {
    let serve = Serve::start(&["--listen", "127.0.0.1:0", "--grace", "30"]);
    let created = serve.create(1);
    let (job, secret) = (
        unhex(&created.job).unwrap(),
        unhex(&created.secret).unwrap(),
    );
    let address = serve.place.authority();
    let entry = Entry {
        service: &address,
        job: &job,
        pass: &secrets::member_pass(&secret, 0, 0),
        rank: 0,
        size: 1,
        epoch: 0,
        patience: Duration::from_secs(5),
    };
    let mut member = Member::join(&entry, Box::new(|_| {}), None).unwrap();
    serve.signal("TERM");
    let closing = || {
        let stream = address.parse().unwrap();
        ask(stream, &get("/healthz", "")).0 == 503
    };
    assert!(eventually(closing));
    let text = wait(serve.operator().create(&JobRequest::new(1)))
        .err()
        .unwrap();
    assert!(text.contains("no more jobs"), "{text}");
    let begin = Instant::now();
    member.fence("x", b"").unwrap();
    member.finish();
    let (status, said) = serve.end("CONT");
    assert_eq!(status, Some(0), "{said}");
    assert!(begin.elapsed() < Duration::from_secs(20), "{said}");
    assert!(said.contains("0 running jobs were ended"), "{said}");
    // Without time, the job hears why it ends.
    let serve = Serve::start(&["--listen", "127.0.0.1:0"]);
    let created = serve.create(2);
    let (job, secret) = (
        unhex(&created.job).unwrap(),
        unhex(&created.secret).unwrap(),
    );
    let address = serve.place.authority();
    let entry = Entry {
        service: &address,
        job: &job,
        pass: &secrets::member_pass(&secret, 0, 0),
        size: 2,
        ..entry
    };
    let (sender, ends) = std::sync::mpsc::channel();
    let on_end = Box::new(move |end| drop(sender.send(end)));
    let _member = Member::join(&entry, on_end, None).unwrap();
    let (status, said) = serve.end("TERM");
    assert_eq!(status, Some(0));
    assert!(said.contains("1 running jobs were ended"), "{said}");
    let end = ends.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(
        format!("{end:?}").contains("stopped by its operator"),
        "{end:?}"
    );
}

#[test]
fn running_jobs_get_their_time_where_nothing_can_be_logged() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    let mut command = mayfly();
    command.args(["serve", "--listen", "127.0.0.1:0", "--grace", "30"]);
    let serve = Serve::spawn(command.stderr(full.unwrap()));
    let created = serve.create(1);
    let (mut member, address) = serve.member(&created, 0, 1);
    serve.signal("TERM");
    assert!(eventually(|| {
        ask(address, &get("/healthz", "")).0 == 503
    }));
    member.fence("x", b"").unwrap();
    member.finish();
    assert_eq!(serve.end("CONT").0, Some(0));
}

#[test]
fn a_key_is_made_whole_or_not_at_all() {
    let folder = Folder::new("serve-key");
    let key = folder.path("operator.key");
    let serve = |limits: &str| {
        let mut command = Command::new("sh");
        let script = format!("{limits} exec \"$0\" \"$@\"");
        command.args(["-c", &script, common::mayfly_path(), "serve", "--listen"]);
        command.args(["127.0.0.1:0", "--key-file", &key]);
        command
    };
    // No file may have a byte.
    let full = run(&mut serve("trap '' XFSZ; ulimit -f 0;"));
    assert_eq!(full.status, 1, "{}", full.err);
    assert!(
        full.err.contains("operator.key: File too large"),
        "{}",
        full.err
    );
    let left: Vec<_> = std::fs::read_dir(folder.path("")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    drop(Serve::spawn(&mut serve("")));
    let made = std::fs::read_to_string(&key).unwrap();
    assert_eq!(made.trim().len(), 64);
    drop(Serve::spawn(&mut serve("")));
    assert_eq!(std::fs::read_to_string(&key).unwrap(), made);
    std::fs::write(&key, "\n").unwrap();
    let empty = run(&mut serve(""));
    assert!(
        empty.err.contains("it is empty; remove it"),
        "{}",
        empty.err
    );
}

#[test]
fn half_open_connections_beyond_all_descriptors_keep_nobody_out() {
    let mut command = Command::new("sh");
    let limited = "ulimit -n 256; exec \"$0\" \"$@\"";
    command.args(["-c", limited, common::mayfly_path(), "serve", "--listen"]);
    command.args(["127.0.0.1:0", "--relay-listen", "0,0"]);
    let serve = Serve::spawn(command.stderr(Stdio::piped()));
    let created = serve.create(2);
    let relay = created.relays[0].split(',').next().unwrap();
    let mut idle = Vec::new();
    for _ in 0..300 {
        for at in [serve.place.authority().as_str(), relay] {
            idle.push(std::net::TcpStream::connect(at).unwrap());
        }
    }
    let mut members = [0, 1].map(|rank| serve.member(&created, rank, 2).0);
    std::thread::scope(|scope| {
        for member in &mut members {
            scope.spawn(|| member.fence("x", b"y").unwrap());
        }
    });
    for member in &mut members {
        member.finish();
    }
    drop(idle);
    let (status, said) = serve.end("TERM");
    assert_eq!(status, Some(0), "{said}");
    assert!(!said.contains("Too many open files"), "{said}");
}

#[test]
fn a_relay_by_itself_comes_back_on_its_ports_and_knows_its_grants() {
    let folder = Folder::new("serve-relay");
    let key = folder.path("key");
    let start = |listen: &str| {
        let mut command = mayfly();
        command
            .args(["relay", "--listen", listen, "--key-file", &key])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let line = first_line(child.stdout.as_mut().unwrap());
        let at = line.strip_prefix("mayfly relay: listening on ").unwrap();
        let (first, second) = at.split_once(',').unwrap();
        let host = first.rsplit_once(':').unwrap().0;
        let place = Place::parse(first).unwrap();
        let relay = format!("{first},{host}:{second}");
        (Serve { child, place }, relay, at.to_string())
    };
    let (crashed, _, at) = start("127.0.0.1:0,0");
    crashed.end("KILL");
    let (relay, both, again) = start(&at);
    assert_eq!(at, again);
    // What a rendezvous with the same key grants is good there.
    let serve = Serve::start(&[
        "--listen",
        "127.0.0.1:0",
        "--relay-key",
        &key,
        "--relay",
        &at,
    ]);
    let created = serve.create(2);
    assert_eq!(created.relays, [both]);
    let text = std::fs::read_to_string(&key).unwrap();
    let job = unhex(&created.job).unwrap();
    let expiry = created.relay_expiry;
    let granted = wire::grant(&unhex(text.trim()).unwrap(), &job, expiry);
    let mut stream = connect(relay.place.authority().parse().unwrap());
    let mut greeting = [0; wire::GREETING];
    stream.read_exact(&mut greeting).unwrap();
    let request = wire::Request {
        op: wire::Op::Observe,
        job,
        expiry,
        from: 0,
        to: 0,
    };
    let nonce = wire::nonce(&greeting).unwrap();
    stream.write_all(&request.encode(&granted, &nonce)).unwrap();
    let mut answer = [0; 1 + wire::OBSERVED];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[0], wire::Status::Ok as u8);
    let (status, said) = relay.end("TERM");
    assert_eq!(status, Some(0));
    assert!(said.contains("ended by signal 15"), "{said}");
}

#[test]
fn nothing_secret_is_in_its_log_its_arguments_or_its_environment() {
    let folder = Folder::new("serve-secrets");
    let (key, relay_key) = (folder.path("key"), folder.path("relay-key"));
    let mut command = mayfly();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--key-file", &key])
        .args(["--relay-listen", "0,0", "--relay-key", &relay_key])
        .args(["--tls", "--state", &folder.path("state")])
        .env_remove("MAYFLY_OPERATOR_KEY")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let line = first_line(child.stdout.as_mut().unwrap());
    let place = Place::parse(line.rsplit(' ').next().unwrap()).unwrap();
    let mut serve = Serve { child, place };
    let read = |path: &str| std::fs::read_to_string(path).unwrap().trim().to_string();
    let operators = read(&key);
    let operator = Operator::new(serve.place.clone(), operators.clone()).unwrap();
    let created = wait(operator.create(&JobRequest::new(2))).unwrap();
    assert_eq!(created.relays.len(), 1);
    assert!(created.relay_expiry > 0);
    // Somebody shows a pass in the wrong place, which must not be repeated either.
    let confused = Operator::new(serve.place.clone(), created.secret.clone()).unwrap();
    assert!(wait(confused.list()).is_err());
    assert!(wait(confused.status(&"0".repeat(32))).is_err());
    let of = |what: &str| {
        let bytes = std::fs::read(format!("/proc/{}/{what}", serve.child.id())).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut seen = of("cmdline") + &of("environ");
    let pin = hex(&serve.place.pin.unwrap());
    serve.child.kill().unwrap();
    let mut out = serve.child.stdout.take().unwrap();
    let mut err = serve.child.stderr.take().unwrap();
    out.read_to_string(&mut seen).unwrap();
    err.read_to_string(&mut seen).unwrap();
    assert!(seen.contains("wrong operator's key"), "{seen}");
    for secret in [operators, read(&relay_key), created.secret] {
        assert_eq!(secret.len(), 64);
        assert!(!seen.contains(&secret) && !seen.contains(&secret[..16]));
    }
    assert!(!seen.contains(&pin), "the ready line was read before");
}
