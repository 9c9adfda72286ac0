//! Requests to the API server ("Kubernetes API Concepts"): JSON, an error is a Status object, a watch is a stream of lines.

use super::super::client;
use super::access::{Access, Token};
use super::plugin;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, Response};
use serde_json::Value;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// For an answer that is no watch.
const ASK: Duration = Duration::from_secs(30);
/// The largest answer: a list of 10,000 pods has some 50 MB.
const ANSWER_MAX: usize = 128 << 20;
/// One object in a watch; etcd holds none larger than 1.5 MB.
const LINE_MAX: usize = 8 << 20;
/// How often a request is made that the server is too busy for.
const TRIES: u32 = 6;

pub struct Api {
    http: reqwest::Client,
    server: reqwest::Url,
    token: Token,
    /// The plugin's latest word.
    fresh: Mutex<Option<String>>,
}

/// What the server said instead of yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 0: it was not reached.
    pub status: u16,
    /// The Status object's reason: `AlreadyExists`, `Forbidden`, `Expired` ...
    pub reason: String,
    pub text: String,
}

impl Refusal {
    /// Whether asking again may help; a certificate does not become another one.
    fn busy(&self) -> bool {
        matches!(self.status, 0 | 429 | 500 | 502..=504)
            && !self.text.to_lowercase().contains("certificate")
    }
}

/// What is sent with a request.
pub enum Body<'a> {
    None,
    Json(&'a Value),
    /// RFC 7396.
    Merge(&'a Value),
}

impl Api {
    pub fn new(access: Access) -> Result<Api, String> {
        let http = client::builder()
            .use_preconfigured_tls(access.tls)
            .build()
            .map_err(|e| format!("the HTTP client cannot be set up: {}", client::cause(&e)))?;
        let fresh = match &access.token {
            Token::Plugin(_, first) => Some(first.clone()),
            _ => None,
        };
        Ok(Api {
            http,
            server: access.server,
            token: access.token,
            fresh: Mutex::new(fresh),
        })
    }

    fn bearer(&self) -> Result<Option<String>, String> {
        Ok(match &self.token {
            Token::None => None,
            Token::Fixed(token) => Some(token.clone()),
            Token::File(path) => {
                let token = std::fs::read_to_string(path)
                    .map_err(|e| format!("{}: {e}", path.display()))?;
                Some(token.trim().to_string())
            }
            Token::Plugin(..) => self
                .fresh
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        })
    }

    /// Another token, when the server takes the old one no more.
    fn renew(&self) -> bool {
        let Token::Plugin(plugin, _) = &self.token else {
            return false;
        };
        let Ok(credential) = plugin::run(plugin) else {
            return false;
        };
        *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) = credential.token;
        true
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: &Body<'_>,
        patience: Option<Duration>,
    ) -> Result<Response, Refusal> {
        let lost = |text: String| Refusal {
            status: 0,
            reason: String::new(),
            text,
        };
        let url = self
            .server
            .join(path.trim_start_matches('/'))
            .map_err(|e| lost(e.to_string()))?;
        for renewed in [false, true] {
            let mut request = self.http.request(method.clone(), url.clone());
            if let Some(token) = self.bearer().map_err(lost)? {
                let mut value = reqwest::header::HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| lost("the token has characters that no header holds".into()))?;
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            let (kind, value) = match body {
                Body::None => ("", None),
                Body::Json(value) => ("application/json", Some(value)),
                Body::Merge(value) => ("application/merge-patch+json", Some(value)),
            };
            if let Some(value) = value {
                request = request.header(CONTENT_TYPE, kind).body(value.to_string());
            }
            if let Some(patience) = patience {
                request = request.timeout(patience);
            }
            let whom = "the Kubernetes API server";
            let response = request
                .send()
                .await
                .map_err(|e| lost(client::no_answer(whom, &e).text))?;
            if response.status().is_success() {
                return Ok(response);
            }
            if response.status().as_u16() == 401 && !renewed && self.renew() {
                continue;
            }
            return Err(refusal(response).await);
        }
        Err(lost(
            "the API server does not accept our credentials".into(),
        ))
    }

    /// A request with a short answer. What the server is too busy for is asked again, within half a minute.
    pub async fn ask(&self, method: Method, path: &str, body: Body<'_>) -> Result<Value, Refusal> {
        let mut pause = Duration::from_millis(250);
        for last in (0..TRIES).rev() {
            let refusal = match self.send(&method, path, &body, Some(ASK)).await {
                Ok(response) => {
                    let bytes = client::short(response, ANSWER_MAX).await;
                    let lost = |text: String| Refusal {
                        status: 0,
                        reason: String::new(),
                        text,
                    };
                    match bytes {
                        Ok(bytes) => {
                            return serde_json::from_slice(&bytes).map_err(|_| {
                                lost("the API server's answer is not JSON; is it one?".into())
                            })
                        }
                        Err(e) => lost(client::no_answer("the Kubernetes API server", &e).text),
                    }
                }
                Err(refusal) => refusal,
            };
            if last == 0 || !refusal.busy() {
                return Err(refusal);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(4));
        }
        unreachable!("the last try returns")
    }

    pub async fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.ask(Method::GET, path, Body::None).await
    }

    /// Begins a watch.
    pub async fn watch(&self, path: &str) -> Result<Watch, Refusal> {
        let response = self.send(&Method::GET, path, &Body::None, None).await?;
        Ok(Watch {
            response,
            rest: Vec::new(),
        })
    }
}

async fn refusal(response: Response) -> Refusal {
    let status = response.status().as_u16();
    let after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|v| v.to_str().ok())
        .map(String::from);
    let body = client::short(response, 1 << 20).await.unwrap_or_default();
    let body = String::from_utf8_lossy(&body);
    let json: Value = serde_json::from_str(&body).unwrap_or_default();
    let reason = json["reason"].as_str().unwrap_or_default().to_string();
    let meaning = match status {
        401 => "does not accept our credentials",
        403 => "does not allow it",
        404 => "knows no such thing",
        409 => "has a conflict",
        429 => "is too busy",
        500..=599 => "failed",
        _ => "refuses",
    };
    let said = client::words(&body);
    let quote = if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    };
    let wait = after
        .map(|a| format!(", asks us to wait {} s", client::one_line(&a)))
        .unwrap_or_default();
    Refusal {
        status,
        reason,
        text: format!("the Kubernetes API server {meaning}{wait} (HTTP {status}{quote})"),
    }
}

/// A stream of events.
pub struct Watch {
    response: Response,
    rest: Vec<u8>,
}

impl Watch {
    /// The next event (`type`, `object`); `None`: the server has ended the watch, which it does every few minutes.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(event) => return Some(event),
                    Err(_) if line.trim_ascii().is_empty() => continue,
                    Err(_) => return None,
                }
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) if self.rest.len() + chunk.len() <= LINE_MAX => {
                    self.rest.extend_from_slice(&chunk)
                }
                _ => return None,
            }
        }
    }
}
