//! The Runtime API's requests, each on a connection of its own: one that was kept would have to survive being frozen.

use crate::platform::host::answer::{Outcome, Trouble};
use crate::platform::host::letter::LETTER_MAX;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::time::Duration;
use tokio::net::TcpStream;

const VERSION: &str = "/2018-06-01";
/// How long the platform may take to take an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Where the API is.
#[derive(Debug, PartialEq, Eq)]
pub struct Api {
    /// `host:port`.
    authority: String,
    /// In front of every path; usually empty.
    prefix: String,
}

/// An invocation to answer.
pub struct Invocation {
    pub id: String,
    /// As the platform says it; an emulator may say anything.
    pub deadline_ms: u64,
    pub trace: Option<String>,
    /// Or its size, when it is too large.
    pub body: Result<Bytes, usize>,
}

impl Api {
    /// From AWS_LAMBDA_RUNTIME_API: `host:port`, or with `http://` in front and a path behind.
    pub fn parse(address: &str) -> Result<Api, String> {
        let wrong = || format!("AWS_LAMBDA_RUNTIME_API={address:?} is no HOST:PORT");
        let rest = address
            .trim()
            .strip_prefix("http://")
            .unwrap_or(address.trim());
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_matches('/');
        let strange = |c: char| c.is_whitespace() || c.is_control() || c == '@';
        if authority.is_empty() || rest.contains(strange) {
            return Err(wrong());
        }
        let authority = match authority.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => authority.to_string(),
            Some(_) => return Err(wrong()),
            None => format!("{authority}:80"),
        };
        Ok(Api {
            authority,
            prefix: match path {
                "" => String::new(),
                path => format!("/{path}"),
            },
        })
    }

    /// Waits for the next invocation, for as long as it takes.
    pub async fn next(&self) -> Result<Invocation, String> {
        let response = self
            .send("GET", "/runtime/invocation/next", &[], String::new())
            .await?;
        let status = response.status();
        if !status.is_success() {
            return Err(self.refusal("next", status));
        }
        let headers = response.headers().clone();
        let id = header(&headers, "lambda-runtime-aws-request-id")
            .ok_or("the runtime API gave an invocation without Lambda-Runtime-Aws-Request-Id")?;
        let number = header(&headers, "lambda-runtime-deadline-ms");
        Ok(Invocation {
            id,
            deadline_ms: number.and_then(|n| n.trim().parse().ok()).unwrap_or(0),
            trace: header(&headers, "lambda-runtime-trace-id"),
            body: limited(response.into_body())
                .await
                .map_err(|e| format!("the runtime API's invocation broke off: {e}"))?,
        })
    }

    /// Answers an invocation.
    pub async fn answer(&self, id: &str, result: &Result<Outcome, Trouble>) -> Result<(), String> {
        match result {
            Ok(outcome) => {
                let path = format!("/runtime/invocation/{id}/response");
                self.post(&path, &[], outcome.to_json().to_string()).await
            }
            Err(trouble) => {
                self.error(&format!("/runtime/invocation/{id}/error"), trouble)
                    .await
            }
        }
    }

    /// This instance cannot serve anything.
    pub async fn init_error(&self, trouble: &Trouble) -> Result<(), String> {
        self.error("/runtime/init/error", trouble).await
    }

    async fn error(&self, path: &str, trouble: &Trouble) -> Result<(), String> {
        let kind = trouble.kind();
        let body = json!({"errorMessage": trouble.text(), "errorType": kind, "stackTrace": []});
        let headers = [("Lambda-Runtime-Function-Error-Type", kind)];
        self.post(path, &headers, body.to_string()).await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: String) -> Result<(), String> {
        let sent = self.send("POST", path, headers, body);
        let response = tokio::time::timeout(ANSWER, sent)
            .await
            .map_err(|_| format!("the runtime API does not take {path}"))??;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(self.refusal(path, status)),
        }
    }

    fn refusal(&self, what: &str, status: StatusCode) -> String {
        format!(
            "the runtime API at {} answers {what} with HTTP status {status}",
            self.authority
        )
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<Response<Incoming>, String> {
        let trouble =
            |e: &dyn std::fmt::Display| format!("the runtime API at {}: {e}", self.authority);
        let stream = TcpStream::connect(&self.authority)
            .await
            .map_err(|e| trouble(&e))?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{VERSION}{path}", self.prefix))
            .header(HOST, &self.authority)
            .header("User-Agent", concat!("mayfly/", env!("CARGO_PKG_VERSION")))
            .header("Content-Type", "application/json")
            .header("Connection", "close");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| trouble(&e))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| trouble(&e))?;
        // Ends with the answer, which is read to its end or dropped.
        tokio::spawn(async move { drop(connection.await) });
        sender.send_request(request).await.map_err(|e| trouble(&e))
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_string())
}

/// The body, or the size at which it was too large.
async fn limited(mut body: Incoming) -> Result<Result<Bytes, usize>, hyper::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > LETTER_MAX {
            return Ok(Err(bytes.len()));
        }
    }
    Ok(Ok(bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_the_address_is_understood() {
        let api = |text: &str| Api::parse(text).map(|api| (api.authority, api.prefix));
        let is = |authority: &str, prefix: &str| Ok((authority.to_string(), prefix.to_string()));
        assert_eq!(api("127.0.0.1:9001"), is("127.0.0.1:9001", ""));
        assert_eq!(
            api("http://127.0.0.1:9000/.rt/fn"),
            is("127.0.0.1:9000", "/.rt/fn")
        );
        assert_eq!(
            api("127.0.0.1:9000/.rt/fn/"),
            is("127.0.0.1:9000", "/.rt/fn")
        );
        assert_eq!(api("runtime"), is("runtime:80", ""));
        for wrong in ["", "http://", "a:b", "a b:1", "u@a:1"] {
            assert!(api(wrong).is_err(), "{wrong}");
        }
    }
}
