//! `openwhisk:[/NAMESPACE/][PACKAGE/]ACTION`: N non-blocking activations, whose records are looked at until they end.
//!
//! Interface: Apache OpenWhisk's REST API (docs/rest_api.md); limits: docs/reference.md.

use super::client;
use super::http::{listens, secret};
use super::{Answer, Delivery, Failure, Letter, Platform, Ready, Setting, Wish};
use base64::Engine;
use reqwest::header::{HeaderValue, AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use std::time::Duration;

const JOIN: Duration = Duration::from_secs(60);
const ASK: Duration = Duration::from_secs(15);
/// Between two looks at an activation's record; it grows from the first to the second.
const LOOK: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(15));
/// The default limit on what an activation is given, bytes.
const PAYLOAD: usize = 1024 * 1024;

pub struct OpenWhisk {
    name: String,
    namespace: String,
    action: Vec<String>,
    host: Url,
    login: HeaderValue,
    client: reqwest::Client,
}

#[derive(Deserialize)]
struct Action {
    #[serde(default)]
    limits: ActionLimits,
}

/// Milliseconds and MB.
#[derive(Deserialize, Default)]
struct ActionLimits {
    timeout: Option<u64>,
    memory: Option<u64>,
    concurrency: Option<u32>,
}

/// Of `GET /namespaces/_/limits`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct NamespaceLimits {
    concurrent_invocations: Option<u32>,
    invocations_per_minute: Option<u32>,
}

#[derive(Deserialize)]
struct Accepted {
    #[serde(rename = "activationId")]
    id: String,
}

#[derive(Deserialize)]
struct Activation {
    response: ActivationResponse,
}

#[derive(Deserialize)]
struct ActivationResponse {
    #[serde(default)]
    status: String,
    #[serde(default)]
    success: bool,
    #[serde(default)]
    result: serde_json::Value,
}

impl OpenWhisk {
    /// Settings: `host` and `key-file`; else as the wsk command: `WSK_CONFIG_FILE` or `~/.wskprops`, or the variables
    /// `__OW_API_HOST` and `__OW_API_KEY`.
    pub fn open(
        name: &str,
        settings: &[Setting],
        get: impl Fn(&str) -> Option<String>,
    ) -> Result<OpenWhisk, String> {
        let mut host = get("__OW_API_HOST");
        let mut key = get("__OW_API_KEY");
        let home = get("HOME").map(|home| format!("{home}/.wskprops"));
        let file = get("WSK_CONFIG_FILE").or(home);
        if let Some(text) = file.and_then(|path| std::fs::read_to_string(path).ok()) {
            let value = |wanted: &str| {
                let pairs = text.lines().filter_map(|line| line.split_once('='));
                let found = pairs.rev().find(|(name, _)| name.trim() == wanted);
                found.map(|(_, value)| value.trim().to_string())
            };
            host = host.or_else(|| value("APIHOST"));
            key = key.or_else(|| value("AUTH"));
        }
        for (name, value) in settings {
            match name.as_str() {
                "host" => host = Some(value.clone()),
                "key-file" => {
                    let text = std::fs::read_to_string(value);
                    key = Some(text.map_err(|e| format!("{value}: cannot be read: {e}"))?);
                }
                other => {
                    return Err(format!(
                        "--with {other}: unknown here; known: host, key-file"
                    ))
                }
            }
        }
        let host = host.ok_or(
            "where is OpenWhisk? Say --with host=URL, or set APIHOST by `wsk property set --apihost`",
        )?;
        let key = key.ok_or(
            "OpenWhisk wants a key: --with key-file=FILE, or AUTH by `wsk property set --auth`",
        )?;
        if !key.trim().contains(':') {
            return Err("OpenWhisk's key is no USER:PASSWORD".into());
        }
        let with_scheme = if host.contains("://") {
            host.clone()
        } else {
            format!("https://{host}")
        };
        let parsed = Url::parse(&with_scheme).ok().filter(Url::has_host);
        let url = parsed.ok_or_else(|| format!("{host}: is no URL of an OpenWhisk"))?;
        let (namespace, action) = split(name)
            .ok_or_else(|| format!("--on openwhisk:{name}: is no [/NAMESPACE/][PACKAGE/]ACTION"))?;
        let coded = base64::engine::general_purpose::STANDARD.encode(key.trim());
        Ok(OpenWhisk {
            name: format!("openwhisk:{name}"),
            namespace,
            action,
            host: url,
            login: secret(&format!("Basic {coded}"))?,
            client: client::client(&client::bundles(&["SSL_CERT_FILE"]))?,
        })
    }

    fn url(&self, namespace: &str, rest: &[&str]) -> Url {
        let mut url = self.host.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend(["api", "v1", "namespaces", namespace]);
            path.extend(rest);
        }
        url
    }

    fn action_url(&self) -> Url {
        let mut rest = vec!["actions"];
        rest.extend(self.action.iter().map(String::as_str));
        self.url(&self.namespace, &rest)
    }

    async fn ask(
        &self,
        method: Method,
        url: Url,
        body: Option<String>,
    ) -> Result<(StatusCode, Vec<u8>), Failure> {
        let mut request = self.client.request(method, url).timeout(ASK);
        request = request.header(AUTHORIZATION, self.login.clone());
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let broken = |e: reqwest::Error| client::no_answer(&self.name, &e);
        let response = request.send().await.map_err(broken)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = client::short(response, 1 << 20).await.map_err(broken)?;
        if status.is_success() || status == StatusCode::NOT_FOUND {
            return Ok((status, body));
        }
        let body = String::from_utf8_lossy(&body);
        Err(client::refused(&self.name, status, &headers, &body))
    }

    /// Until the activation has ended.
    async fn follow(&self, id: &str) -> Result<Delivery, Failure> {
        let mut pause = LOOK.0;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LOOK.1);
            let url = self.url("_", &["activations", id]);
            // Its record is there when it has ended. A look that fails says nothing about the activation.
            let Ok((StatusCode::OK, body)) = self.ask(Method::GET, url, None).await else {
                continue;
            };
            if let Ok(activation) = serde_json::from_slice::<Activation>(&body) {
                return ended(&self.name, id, activation.response);
            }
        }
    }
}

/// `/ns/package/action`, `package/action`, `action`: the namespace (`_`: one's own) and the rest.
fn split(name: &str) -> Option<(String, Vec<String>)> {
    let mut parts: Vec<String> = name
        .trim_start_matches('/')
        .split('/')
        .map(Into::into)
        .collect();
    if parts
        .iter()
        .any(|part| part.is_empty() || part == "." || part == "..")
    {
        return None;
    }
    let namespace = if name.starts_with('/') {
        parts.remove(0)
    } else {
        "_".into()
    };
    matches!(parts.len(), 1 | 2).then_some((namespace, parts))
}

/// What an activation's record says.
fn ended(name: &str, id: &str, response: ActivationResponse) -> Result<Delivery, Failure> {
    let said = match &response.result {
        serde_json::Value::Null => String::new(),
        value => client::words(&value.to_string()),
    };
    if response.success {
        return Ok(Delivery::Answered(said));
    }
    let text = format!(
        "{name}: activation {id} ended with {}: {said}",
        response.status
    );
    // Its own invoker's trouble may pass; the action's would come again.
    Err(if response.status == "whisk internal error" {
        Failure::passing(text)
    } else {
        Failure::last(text)
    })
}

/// What the action's and the namespace's limits say about so many activations.
fn judge(action: &ActionLimits, space: &NamespaceLimits, wish: &Wish) -> Result<Ready, String> {
    let mut ready = Ready::new(JOIN);
    let n = wish.instances;
    for (limit, what) in [
        (space.concurrent_invocations, "at once"),
        (space.invocations_per_minute, "a minute"),
    ] {
        if let Some(limit) = limit.filter(|&limit| limit < n) {
            return Err(format!(
                "the namespace may have {limit} activations {what}, but {n} instances are needed; \
                 more --per-instance, or the operator raises the limit"
            ));
        }
    }
    if wish.letter > PAYLOAD {
        return Err(format!(
            "a start of {} bytes is more than OpenWhisk's {PAYLOAD}",
            wish.letter
        ));
    }
    if action.concurrency.unwrap_or(1) > 1 {
        return Err(
            "the action takes several activations in one container (limit concurrency); set it to 1: \
             wsk action update --concurrency 1"
                .into(),
        );
    }
    let limit = Duration::from_millis(action.timeout.unwrap_or(60_000));
    match wish.timeout {
        Some(timeout) if timeout > limit => {
            return Err(format!(
                "the action's time limit is {} s, less than the {} s of --timeout; wsk action update --timeout",
                limit.as_secs_f64(),
                timeout.as_secs_f64()
            ))
        }
        Some(_) => {}
        None => ready.notices.push(format!(
            "the action ends every instance after {} s (its limit timeout)",
            limit.as_secs_f64()
        )),
    }
    ready.limit = Some(limit);
    ready.memory_mib = action.memory.map(|m| m as f64);
    Ok(ready)
}

impl Platform for OpenWhisk {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn preflight<'a>(&'a self, wish: &'a Wish) -> Answer<'a, Result<Ready, String>> {
        Box::pin(async move {
            listens(&self.host).await?;
            let action = self.ask(Method::GET, self.action_url(), None).await;
            let (status, body) = action.map_err(|failure| failure.text)?;
            if status == StatusCode::NOT_FOUND {
                let text = format!(
                    "there is no action {}; create it with wsk action create",
                    self.name
                );
                return Err(text);
            }
            let action: Action = serde_json::from_slice(&body)
                .map_err(|_| format!("{}: the answer is not OpenWhisk's", self.name))?;
            // Older releases do not tell.
            let url = self.url("_", &["limits"]);
            let space = match self.ask(Method::GET, url, None).await {
                Ok((StatusCode::OK, body)) => serde_json::from_slice(&body).unwrap_or_default(),
                _ => NamespaceLimits::default(),
            };
            judge(&action.limits, &space, wish)
        })
    }

    fn start<'a>(&'a self, letter: &'a Letter) -> Answer<'a, Result<Delivery, Failure>> {
        Box::pin(async move {
            let mut url = self.action_url();
            url.set_query(Some("blocking=false&result=false"));
            let (status, body) = self
                .ask(Method::POST, url, Some(letter.body.clone()))
                .await?;
            if status == StatusCode::NOT_FOUND {
                return Err(Failure::last(format!("there is no action {}", self.name)));
            }
            let accepted: Accepted = serde_json::from_slice(&body).map_err(|_| {
                let said = client::words(&String::from_utf8_lossy(&body));
                Failure::last(format!(
                    "{}: the answer names no activation: {said}",
                    self.name
                ))
            })?;
            self.follow(&accepted.id).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(instances: u32, timeout: Option<u64>) -> Wish {
        Wish {
            timeout: timeout.map(Duration::from_secs),
            ..Wish::of(instances)
        }
    }

    #[test]
    fn names_are_those_of_wsk() {
        let of = |name: &str| split(name).map(|(ns, rest)| (ns, rest.join("/")));
        let found = |ns: &str, rest: &str| Some((ns.to_string(), rest.to_string()));
        assert_eq!(of("mpi"), found("_", "mpi"));
        assert_eq!(of("pack/mpi"), found("_", "pack/mpi"));
        assert_eq!(of("/guest/mpi"), found("guest", "mpi"));
        assert_eq!(of("/guest/pack/mpi"), found("guest", "pack/mpi"));
        for wrong in ["", "/", "/guest", "a//b", "a/b/c", "../x"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        let get = |name: &str| match name {
            "__OW_API_HOST" => Some("h:3233".to_string()),
            "__OW_API_KEY" => Some("u:p".to_string()),
            _ => None,
        };
        let there = OpenWhisk::open("a b", &[], get).unwrap();
        let url = there.action_url().to_string();
        assert_eq!(url, "https://h:3233/api/v1/namespaces/_/actions/a%20b");
        assert!(OpenWhisk::open("a", &[], |_| None)
            .err()
            .unwrap()
            .contains("--apihost"));
    }

    #[test]
    fn limits_that_would_deadlock_are_refused() {
        let action = |json: &str| serde_json::from_str::<Action>(json).unwrap().limits;
        let space = |json: &str| serde_json::from_str::<NamespaceLimits>(json).unwrap();
        let usual =
            action(r#"{"limits":{"timeout":60000,"memory":256,"logs":10,"concurrency":1}}"#);
        let of = space(r#"{"concurrentInvocations":100,"invocationsPerMinute":120}"#);
        let error = |wish: &Wish| judge(&usual, &of, wish).unwrap_err();
        assert!(error(&wish(101, None)).contains("100 activations at once"));
        assert!(error(&wish(4, Some(120))).contains("60 s, less than the 120 s"));
        let ready = judge(&usual, &of, &wish(100, None)).unwrap();
        assert_eq!(
            (ready.limit, ready.memory_mib),
            (Some(Duration::from_secs(60)), Some(256.0))
        );
        assert_eq!(ready.notices.len(), 1);
        let shared = action(r#"{"limits":{"concurrency":4}}"#);
        assert!(judge(&shared, &of, &wish(1, None))
            .unwrap_err()
            .contains("concurrency"));
    }

    #[test]
    fn an_activation_that_failed_says_why() {
        let of = |json: &str| {
            let activation: Activation = serde_json::from_str(json).unwrap();
            ended("openwhisk:a", "12ab", activation.response)
        };
        let failed = of(
            r#"{"activationId":"12ab","response":{"status":"action developer error","success":false,
                "result":{"error":"The action did not initialize or run as expected."}}}"#,
        );
        let failure = failed.unwrap_err();
        assert_eq!(failure.again, super::super::Again::Never);
        assert!(failure.text.ends_with(
            "action developer error: The action did not initialize or run as expected."
        ));
        let passing = of(r#"{"response":{"status":"whisk internal error","success":false}}"#);
        assert_eq!(passing.unwrap_err().again, super::super::Again::Soon);
        assert!(of(r#"{"response":{"status":"success","success":true,"result":{}}}"#).is_ok());
    }
}
