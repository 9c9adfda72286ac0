//! `--on kubernetes` against an API server of ours that answers as "Kubernetes API Concepts" documents it: optimistic names (409), rights
//! (403), lists and watches with resource versions, 410 Gone, 429 with Retry-After, TLS with client certificates, tokens that expire.

use mayfly::platform::on::{Delivery, Failure, Letter, Platform, Target, Wish};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What the server is told to do.
#[derive(Clone, Default)]
struct Manners {
    /// Rights that are refused: `create secrets`.
    denied: Vec<&'static str>,
    quota: Option<Value>,
    /// So many requests for a new Job find the name taken.
    taken: u32,
    /// So many requests are answered 429.
    busy: u32,
    /// The only token that is taken; none: all.
    token: Option<String>,
    /// What happens to pod 0 .. n-1 once the Job runs: statuses one after the other.
    lives: Vec<Vec<Value>>,
    /// A watch ends after so many events; the next one starts with 410 Gone.
    cut: Option<usize>,
    /// The pods' last step waits until so many lists of them were asked for.
    hold: usize,
    /// An event of the Job.
    event: Option<&'static str>,
}

#[derive(Default)]
struct State {
    manners: Manners,
    /// `kind/name` and what was created.
    objects: BTreeMap<String, Value>,
    /// What became of pods, in order; an event's place + 1 is its resource version.
    events: Vec<Value>,
    /// `METHOD path` and body of all requests.
    log: Vec<(String, String)>,
    gone: bool,
    stopped: bool,
}

struct Server {
    address: String,
    state: Arc<Mutex<State>>,
    folder: PathBuf,
    door: TcpListener,
}

/// One connection, plain or TLS.
trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

impl Server {
    fn start(name: &str, manners: Manners, tls: Option<Arc<rustls::ServerConfig>>) -> Server {
        let folder = std::env::temp_dir().join(format!("mayfly-k8s-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = door.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State {
            manners,
            ..State::default()
        }));
        let (listener, shared) = (door.try_clone().unwrap(), state.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if lock(&shared).stopped {
                    return;
                }
                let (shared, tls) = (shared.clone(), tls.clone());
                std::thread::spawn(move || {
                    let wire: Box<dyn Wire> = match tls {
                        None => Box::new(stream),
                        Some(config) => {
                            let connection = rustls::ServerConnection::new(config).unwrap();
                            Box::new(rustls::StreamOwned::new(connection, stream))
                        }
                    };
                    serve(wire, &shared);
                });
            }
        });
        Server {
            address,
            state,
            folder,
            door,
        }
    }

    /// A kubeconfig for this server.
    fn config(&self, scheme: &str, cluster: &str, user: &str) -> String {
        let text = format!(
            "current-context: it\ncontexts: [{{name: it, context: {{cluster: c, user: u, namespace: team}}}}]\n\
             clusters: [{{name: c, cluster: {{server: '{scheme}://{}'{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n",
            self.address
        );
        let path = self.folder.join("config");
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }

    fn platform(&self, settings: &[(&str, &str)]) -> Box<dyn Platform> {
        let config = self.config("http", "", "token: tok");
        let mut all = vec![("kubeconfig".to_string(), config)];
        all.extend(settings.iter().map(|(n, v)| (n.to_string(), v.to_string())));
        let target = Target {
            text: "kubernetes:image=r/x:1".into(),
            settings: all,
            sync: false,
        };
        target.open().unwrap()
    }

    fn log(&self) -> Vec<String> {
        lock(&self.state)
            .log
            .iter()
            .map(|(line, _)| line.clone())
            .collect()
    }

    fn objects(&self) -> Vec<String> {
        lock(&self.state).objects.keys().cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        lock(&self.state).stopped = true;
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.door.local_addr().unwrap());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

fn serve(wire: Box<dyn Wire>, state: &Arc<Mutex<State>>) {
    let mut wire = BufReader::new(wire);
    let mut line = String::new();
    let mut length = 0;
    let mut token = String::new();
    if wire.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    loop {
        let mut header = String::new();
        wire.read_line(&mut header).unwrap();
        let lower = header.to_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if lower.starts_with("authorization: bearer ") {
            token = header[22..].trim().to_string();
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    wire.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let out = wire.get_mut();
    if path.contains("watch=1") {
        lock(state).log.push((format!("{method} {path}"), body));
        watch(out, path, state);
        return;
    }
    let (status, extra, answer) = answer(method, path, &body, &token, state);
    let answer = answer.to_string();
    let _ = write!(
        out,
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n{extra}\r\n{answer}",
        answer.len()
    );
    let _ = out.flush();
}

fn status(code: u32, reason: &str, message: &str) -> (u32, &'static str, Value) {
    let extra = if code == 429 {
        "retry-after: 0\r\n"
    } else {
        ""
    };
    let text = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    (code, extra, text)
}

fn answer(
    method: &str,
    path: &str,
    body: &str,
    token: &str,
    state: &Arc<Mutex<State>>,
) -> (u32, &'static str, Value) {
    let mut s = lock(state);
    s.log.push((format!("{method} {path}"), body.to_string()));
    if s.manners.token.as_deref().is_some_and(|only| only != token) {
        return status(401, "Unauthorized", "Unauthorized");
    }
    if s.manners.busy > 0 {
        s.manners.busy -= 1;
        return status(
            429,
            "TooManyRequests",
            "too many requests, please try again later",
        );
    }
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let plain = path.split('?').next().unwrap();
    let parts: Vec<&str> = plain.trim_matches('/').split('/').collect();
    let kind = ["jobs", "secrets", "services"]
        .into_iter()
        .find(|kind| parts.contains(kind));
    if plain.ends_with("/selfsubjectaccessreviews") {
        let asked = &body["spec"]["resourceAttributes"];
        let right = format!(
            "{} {}",
            asked["verb"].as_str().unwrap(),
            asked["resource"].as_str().unwrap()
        );
        assert_eq!(asked["namespace"], "team");
        return (
            201,
            "",
            json!({"status": {"allowed": !s.manners.denied.contains(&right.as_str())}}),
        );
    }
    if plain.ends_with("/resourcequotas") {
        let items: Vec<Value> = s.manners.quota.iter().cloned().collect();
        return (200, "", json!({"items": items}));
    }
    if plain.ends_with("/events") {
        let items: Vec<Value> = (s.manners.event.iter())
            .map(|text| json!({"reason": "FailedCreate", "message": text}))
            .collect();
        return (200, "", json!({"items": items}));
    }
    if plain.ends_with("/pods") {
        let mut last: BTreeMap<String, Value> = BTreeMap::new();
        for event in &s.events {
            last.insert(
                event["object"]["metadata"]["name"].to_string(),
                event["object"].clone(),
            );
        }
        let items: Vec<Value> = last.into_values().collect();
        return (
            200,
            "",
            json!({"metadata": {"resourceVersion": s.events.len().to_string()}, "items": items}),
        );
    }
    let kind = kind.unwrap_or_else(|| panic!("{method} {path}"));
    let key = |name: &str| format!("{kind}/{name}");
    let last = parts.last().unwrap().to_string();
    match method {
        "POST" => {
            let name = body["metadata"]["name"].as_str().unwrap().to_string();
            if kind == "jobs" && s.manners.taken > 0 {
                s.manners.taken -= 1;
                s.objects.insert(
                    key(&name),
                    json!({"metadata": {"labels": {"whose": "somebody's"}}}),
                );
            }
            if s.objects.contains_key(&key(&name)) {
                return status(
                    409,
                    "AlreadyExists",
                    &format!("{kind} {name:?} already exists"),
                );
            }
            let mut made = body;
            made["metadata"]["uid"] = format!("uid-of-{name}").into();
            s.objects.insert(key(&name), made.clone());
            (201, "", made)
        }
        "GET" => match s.objects.get(&key(&last)) {
            Some(there) => (200, "", there.clone()),
            None => status(404, "NotFound", "not found"),
        },
        "PATCH" => {
            let Some(job) = s.objects.get_mut(&key(&last)) else {
                return status(404, "NotFound", "not found");
            };
            job["spec"]["suspend"] = body["spec"]["suspend"].clone();
            let job = job.clone();
            let (lives, hold) = (s.manners.lives.clone(), s.manners.hold);
            let state = state.clone();
            std::thread::spawn(move || live(&last, &lives, hold, &state));
            (200, "", job)
        }
        "DELETE" => match s.objects.remove(&key(&last)) {
            Some(_) => (200, "", json!({"kind": "Status", "status": "Success"})),
            None => status(404, "NotFound", "not found"),
        },
        other => panic!("{other} {path}"),
    }
}

/// Lets the pods live.
fn live(job: &str, lives: &[Vec<Value>], hold: usize, state: &Arc<Mutex<State>>) {
    let steps = lives.iter().map(Vec::len).max().unwrap_or(0);
    for step in 0..steps {
        while step + 1 == steps && lists(&lock(state).log) < hold && !lock(state).stopped {
            std::thread::sleep(Duration::from_millis(5));
        }
        for (index, life) in lives.iter().enumerate() {
            let Some(status) = life.get(step) else {
                continue;
            };
            let kind = if step == 0 { "ADDED" } else { "MODIFIED" };
            let pod = json!({
                "metadata": {"name": format!("{job}-{index}")},
                "spec": {"containers": [{"image": "r/x:1"}]},
                "status": status,
            });
            lock(state)
                .events
                .push(json!({"type": kind, "object": pod}));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn watch(out: &mut Box<dyn Wire>, path: &str, state: &Arc<Mutex<State>>) {
    let chunk = |out: &mut Box<dyn Wire>, text: &str| -> bool {
        let sent = write!(out, "{:x}\r\n{text}\r\n", text.len()).and_then(|()| out.flush());
        sent.is_ok()
    };
    let _ = write!(
        out,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    let version = path.split("resourceVersion=").nth(1).unwrap();
    let mut at: usize = version.parse().unwrap();
    let mut sent = 0;
    if std::mem::take(&mut lock(state).gone) {
        chunk(out, "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\"}}\n");
        chunk(out, "");
        return;
    }
    loop {
        let (event, cut) = {
            let mut s = lock(state);
            if s.stopped {
                return;
            }
            let cut = s.manners.cut.filter(|cut| sent >= *cut);
            if cut.is_some() {
                s.manners.cut = None;
                s.gone = true;
            }
            (s.events.get(at).cloned(), cut)
        };
        if cut.is_some() {
            chunk(out, "");
            return;
        }
        match event {
            // In two pieces, as a network may deliver it.
            Some(event) => {
                let text = format!("{event}\n");
                let (a, b) = text.split_at(text.len() / 2);
                if !chunk(out, a) || !chunk(out, b) {
                    return;
                }
                (at, sent) = (at + 1, sent + 1);
            }
            None => {
                let bookmark = "{\"type\":\"BOOKMARK\",\"object\":{}}\n";
                if sent == 0 && !chunk(out, bookmark) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// How often the pods were listed.
fn lists(log: &[(String, String)]) -> usize {
    let list = |line: &str| line.contains("/pods?") && !line.contains("watch=1");
    log.iter().filter(|(line, _)| list(line)).count()
}

fn phase(phase: &str) -> Value {
    json!({"phase": phase})
}

fn good(pods: usize) -> Vec<Vec<Value>> {
    vec![vec![phase("Pending"), phase("Running"), phase("Succeeded")]; pods]
}

fn wish(instances: u32) -> Wish {
    Wish {
        name: "lmp".into(),
        ranks: instances,
        per_instance: 1,
        instances,
        timeout: None,
        letter: 300,
    }
}

const BODY: &str = "{\"hosts_key\":\"5ec7e7\"}";

fn block<T>(future: impl std::future::Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), future)
            .await
            .expect("ends within a minute")
    })
}

fn bring(platform: &dyn Platform, instances: u32) -> Result<Delivery, Failure> {
    let letter = Letter {
        instance: 0,
        attempt: 0,
        body: BODY.into(),
    };
    let wish = wish(instances);
    block(async {
        platform
            .start_all(&wish, &letter)
            .expect("starts all at once")
            .await
    })
}

fn stop(platform: &dyn Platform) {
    block(async { platform.stop().await }).unwrap();
}

#[test]
fn a_job_is_created_watched_and_deleted() {
    let server = Server::start(
        "good",
        Manners {
            lives: good(4),
            ..Manners::default()
        },
        None,
    );
    let platform = server.platform(&[("cpu", "500m")]);
    let wish = wish(4);
    let ready = block(async { platform.preflight(&wish).await }).unwrap();
    assert!(ready.notices.is_empty(), "{:?}", ready.notices);
    assert_eq!((ready.cpus, ready.memory_mib), (Some(0.5), Some(2048.0)));
    let done = bring(&*platform, 4).unwrap();
    assert!(
        matches!(&done, Delivery::Answered(text) if text.contains("all 4 pods")),
        "{done:?}"
    );

    let objects = lock(&server.state).objects.clone();
    let kinds: Vec<&str> = objects
        .keys()
        .map(|key| key.split('/').next().unwrap())
        .collect();
    assert_eq!(kinds, ["jobs", "secrets", "services"]);
    let (name, job) = objects.first_key_value().unwrap();
    assert!(name.starts_with("jobs/lmp-"), "{name}");
    assert_eq!(job["spec"]["suspend"], false);
    // The start stands in the Secret alone, and the Job owns it.
    assert!(!job.to_string().contains("5ec7e7"));
    let secret = objects.values().nth(1).unwrap();
    assert_eq!(secret["stringData"]["start.json"], BODY);
    assert_eq!(
        secret["metadata"]["ownerReferences"][0]["uid"],
        job["metadata"]["uid"]
    );
    // The Secret is there before the first pod.
    let log = server.log();
    let place = |start: &str| log.iter().position(|line| line.starts_with(start)).unwrap();
    assert!(
        place("POST /api/v1/namespaces/team/secrets")
            < place("PATCH /apis/batch/v1/namespaces/team/jobs")
    );
    assert!(log
        .iter()
        .all(|line| !line.contains("5ec7e7") && !line.contains("tok")));

    stop(&*platform);
    assert!(server.objects().is_empty(), "{:?}", server.objects());
    // Once is enough.
    let before = server.log().len();
    stop(&*platform);
    assert_eq!(server.log().len(), before);
}

#[test]
fn a_name_that_is_taken_is_left_alone() {
    let server = Server::start(
        "taken",
        Manners {
            lives: good(2),
            taken: 2,
            ..Manners::default()
        },
        None,
    );
    let platform = server.platform(&[]);
    bring(&*platform, 2).unwrap();
    stop(&*platform);
    // Two jobs of somebody else are still there.
    assert_eq!(server.objects().len(), 2);
}

#[test]
fn a_busy_server_is_asked_again() {
    let server = Server::start(
        "busy",
        Manners {
            lives: good(2),
            busy: 3,
            ..Manners::default()
        },
        None,
    );
    bring(&*server.platform(&[]), 2).unwrap();
    let jobs = server
        .log()
        .iter()
        .filter(|line| line.ends_with("/jobs"))
        .count();
    assert_eq!(jobs, 4);
}

#[test]
fn a_watch_that_ends_and_a_version_too_old_are_no_failures() {
    // The first watch ends, the second is told 410, and only then do the pods end.
    let manners = Manners {
        lives: good(3),
        cut: Some(2),
        hold: 3,
        ..Manners::default()
    };
    let server = Server::start("cut", manners, None);
    bring(&*server.platform(&[]), 3).unwrap();
    assert!(lists(&lock(&server.state).log) >= 3);
}

fn waits(reason: &str, message: &str) -> Value {
    let waiting = json!({"reason": reason, "message": message});
    json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]})
}

#[test]
fn an_image_that_is_not_there_ends_the_wait_and_leaves_nothing() {
    let mut lives = good(2);
    lives[1] = vec![
        phase("Pending"),
        waits("ErrImagePull", "manifest unknown"),
        waits("ImagePullBackOff", "Back-off"),
    ];
    lives[0].truncate(2);
    let server = Server::start(
        "image",
        Manners {
            lives,
            ..Manners::default()
        },
        None,
    );
    let platform = server.platform(&[]);
    let failure = bring(&*platform, 2).unwrap_err();
    assert!(
        failure
            .text
            .contains("-1 cannot start, ImagePullBackOff of r/x:1: manifest unknown"),
        "{}",
        failure.text
    );
    stop(&*platform);
    assert!(server.objects().is_empty());
}

#[test]
fn pods_without_a_node_are_waited_for_as_long_as_said() {
    let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"});
    let refused = json!({"phase": "Pending", "conditions": [condition]});
    let server = Server::start(
        "nodes",
        Manners {
            lives: vec![vec![refused]; 2],
            ..Manners::default()
        },
        None,
    );
    let begun = Instant::now();
    let failure = bring(&*server.platform(&[("unschedulable", "1")]), 2).unwrap_err();
    let text = "2 of 2 pods find no node within 1 s (Unschedulable: 0/3 nodes are available)";
    assert!(failure.text.contains(text), "{}", failure.text);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn what_is_not_allowed_is_said_before() {
    let manners = Manners {
        denied: vec!["create secrets", "watch pods"],
        ..Manners::default()
    };
    let server = Server::start("rights", manners, None);
    let platform = server.platform(&[]);
    let wish = wish(8);
    let wrong = block(async { platform.preflight(&wish).await }).unwrap_err();
    assert!(
        wrong.contains("in namespace team we may not: create secrets, watch pods"),
        "{wrong}"
    );

    let quota = json!({"metadata": {"name": "small"}, "status": {"hard": {"pods": "10"}, "used": {"pods": "5"}}});
    let server = Server::start(
        "quota",
        Manners {
            quota: Some(quota),
            ..Manners::default()
        },
        None,
    );
    let platform = server.platform(&[]);
    let wrong = block(async { platform.preflight(&wish).await }).unwrap_err();
    assert!(
        wrong.contains("quota small leaves 5 of pods, the job needs 8"),
        "{wrong}"
    );
    assert!(server.objects().is_empty());
}

#[test]
fn pods_that_are_not_created_are_explained_by_the_events() {
    let event = Some("pods \"x-0\" is forbidden: violates PodSecurity \"restricted\"");
    let server = Server::start(
        "events",
        Manners {
            event,
            ..Manners::default()
        },
        None,
    );
    let failure = bring(&*server.platform(&[]), 2).unwrap_err();
    assert!(
        failure
            .text
            .contains("gets no pods: pods \"x-0\" is forbidden: violates PodSecurity"),
        "{}",
        failure.text
    );
}

#[test]
fn a_token_that_expires_is_renewed_by_its_plugin() {
    let manners = Manners {
        lives: good(1),
        token: Some("token-2".into()),
        ..Manners::default()
    };
    let server = Server::start("plugin", manners, None);
    let count = server.folder.join("count");
    let script = format!(
        "n=$(( $(cat {0} 2>/dev/null || echo 0) + 1 )); echo $n >{0}; \
         printf '{{\"kind\":\"ExecCredential\",\"status\":{{\"token\":\"token-%s\"}}}}' $n",
        count.display()
    );
    fs::write(server.folder.join("login.sh"), script).unwrap();
    let user = "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/sh, args: ["
        .to_string()
        + &server.folder.join("login.sh").to_string_lossy()
        + "]}";
    let config = server.config("http", "", &user);
    let target = Target {
        text: "kubernetes:image=r/x:1".into(),
        settings: vec![("kubeconfig".into(), config)],
        sync: false,
    };
    bring(&*target.open().unwrap(), 1).unwrap();
    assert_eq!(fs::read_to_string(count).unwrap().trim(), "2");

    // A token that is simply wrong is refused in one line.
    let wrong = server.platform(&[]);
    let failure = bring(&*wrong, 1).unwrap_err();
    assert!(
        failure.text.contains("does not accept our credentials"),
        "{}",
        failure.text
    );
}

#[test]
fn tls_knows_both_sides() {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(vec![]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(authority, authority_key).unwrap();
    let sign = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec![name.into()]).unwrap();
        (parameters.signed_by(&key, &authority).unwrap(), key)
    };
    let (server_certificate, server_key) = sign("127.0.0.1");
    let (client_certificate, client_key) = sign("user");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        provider.clone(),
    );
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![server_certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let server = Server::start(
        "tls",
        Manners {
            lives: good(1),
            ..Manners::default()
        },
        Some(Arc::new(config)),
    );
    for (name, text) in [
        ("ca.pem", authority.pem()),
        ("cert.pem", client_certificate.pem()),
        ("key.pem", client_key.serialize_pem()),
    ] {
        fs::write(server.folder.join(name), text).unwrap();
    }
    let open = |cluster: &str, user: &str| {
        let config = server.config("https", cluster, user);
        let target = Target {
            text: "kubernetes:image=r/x:1".into(),
            settings: vec![("kubeconfig".into(), config)],
            sync: false,
        };
        target.open().unwrap()
    };
    let ours = "client-certificate: cert.pem, client-key: key.pem";
    bring(&*open(", certificate-authority: ca.pem", ours), 1).unwrap();
    // A server that the public roots do not know.
    let wish = wish(1);
    let failure = block(async { open("", ours).preflight(&wish).await }).unwrap_err();
    assert!(
        failure.contains("UnknownIssuer") || failure.contains("cannot be reached"),
        "{failure}"
    );
    // A server that does not know us.
    let failure = block(async {
        open(", certificate-authority: ca.pem", "token: x")
            .preflight(&wish)
            .await
    })
    .unwrap_err();
    assert!(failure.contains("API server"), "{failure}");
}
