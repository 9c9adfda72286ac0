//! Answers: short ones at once, long ones that begin early and end with the job.

use super::{flat, Response};
use crate::platform::host::answer::{Outcome, Trouble};
use hyper::body::{Bytes, Frame};
use serde_json::{json, Value};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A body whose pieces come when they come.
pub struct Body(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.poll_recv(context);
        next.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn response(status: u16, kind: &str, body: Body) -> Response {
    let mut response = hyper::Response::new(body);
    *response.status_mut() =
        hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(kind) = kind.parse() {
        response
            .headers_mut()
            .insert(hyper::header::CONTENT_TYPE, kind);
    }
    if matches!(status, 429 | 502) {
        let soon = hyper::header::HeaderValue::from_static("1");
        response
            .headers_mut()
            .insert(hyper::header::RETRY_AFTER, soon);
    }
    response
}

fn at_once(status: u16, kind: &str, text: &str) -> Response {
    let (sender, body) = mpsc::channel(1);
    // The only piece; there is room for it.
    let _ = sender.try_send(Bytes::copy_from_slice(text.as_bytes()));
    let mut response = response(status, kind, Body(body));
    if let Ok(length) = text.len().to_string().parse() {
        response
            .headers_mut()
            .insert(hyper::header::CONTENT_LENGTH, length);
    }
    response
}

pub fn text(status: u16, text: &str) -> Response {
    let line = if text.is_empty() {
        String::new()
    } else {
        format!("{text}\n")
    };
    at_once(status, "text/plain; charset=utf-8", &line)
}

pub fn json(status: u16, value: &Value) -> Response {
    at_once(status, "application/json", &format!("{value}\n"))
}

pub fn refusal(trouble: &Trouble) -> Response {
    json(trouble.http_status(), &trouble.to_json())
}

/// The shape that a platform expects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Plain,
    /// Azure's host, when it does not forward requests as they are, takes outputs and logs.
    Azure,
}

impl Reply {
    fn wrap(self, status: u16, value: &Value) -> Value {
        match self {
            Reply::Plain => value.clone(),
            Reply::Azure => json!({
                "Outputs": {"res": {"statusCode": status, "body": value.to_string()}},
                "Logs": [value.to_string()],
                "ReturnValue": null,
            }),
        }
    }

    pub fn refusal(self, trouble: &Trouble) -> Response {
        let status = trouble.http_status();
        let value = self.wrap(status, &trouble.to_json());
        match self {
            Reply::Plain => json(status, &value),
            Reply::Azure => json(200, &value),
        }
    }

    /// Nothing has been sent yet, and all is known.
    pub fn whole(self, result: Result<Outcome, Trouble>) -> Response {
        match result {
            Ok(outcome) => json(200, &self.wrap(200, &outcome.to_json())),
            Err(trouble) => self.refusal(&trouble),
        }
    }

    /// Status and first byte now, signs of life until the end.
    pub fn stream(
        self,
        mut result: JoinHandle<Result<Outcome, Trouble>>,
        pause: Duration,
    ) -> Response {
        let (sender, body) = mpsc::channel(4);
        tokio::spawn(async move {
            let mut open = sender.send(Bytes::from_static(b"\n")).await.is_ok();
            let ended = loop {
                tokio::select! {
                    ended = &mut result => break flat(ended),
                    () = tokio::time::sleep(pause), if open => {
                        // Who does not read them must not hold us up; who has gone needs none.
                        let sent = sender.try_send(Bytes::from_static(b"\n"));
                        open = !matches!(sent, Err(mpsc::error::TrySendError::Closed(_)));
                    }
                }
            };
            let value = match &ended {
                Ok(outcome) => outcome.to_json(),
                Err(trouble) => trouble.to_json(),
            };
            let status = if ended.is_ok() { 200 } else { 500 };
            let last = format!("{}\n", self.wrap(status, &value));
            let _ = sender.send(Bytes::from(last)).await;
        });
        response(200, "application/json", Body(body))
    }
}
