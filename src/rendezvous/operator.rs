//! The operator's end: opens, lists, reads and ends jobs at a `mayfly serve`, over HTTP or HTTPS.

use crate::rendezvous::message::unhex;
use crate::rendezvous::place::Place;
use crate::rendezvous::server::{JobCreated, JobRequest, JobStatus, JOB_STATE, LOG_LOST, LOG_NEXT};
use crate::rendezvous::tls;
use reqwest::{Method, Response, StatusCode};
use std::time::Duration;

/// Until a connection stands; until an answer is there.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);
/// The largest answer that is taken, bytes: a job's log.
const LARGEST: usize = 32 << 20;

/// A rendezvous and what lets us in.
pub struct Operator {
    place: Place,
    key: String,
    client: reqwest::Client,
}

/// What came of a job's log.
pub struct LogPiece {
    pub bytes: Vec<u8>,
    /// Bytes before it that are not kept any more.
    pub lost: u64,
    /// Where to go on reading.
    pub next: u64,
    /// Nothing will follow.
    pub ended: bool,
}

impl Operator {
    pub fn new(place: Place, key: String) -> Result<Operator, String> {
        let tls = tls::client(place.pin).map_err(|e| format!("TLS cannot be set up: {e}"))?;
        let client = reqwest::Client::builder()
            .use_preconfigured_tls((*tls).clone())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .build()
            .map_err(|e| format!("the HTTP client cannot be set up: {e}"))?;
        Ok(Operator { place, key, client })
    }

    /// Opens a job.
    pub async fn create(&self, wanted: &JobRequest) -> Result<JobCreated, String> {
        let body = serde_json::to_vec(wanted).map_err(|e| e.to_string())?;
        let answer = self.ask(Method::POST, "/v1/jobs", Some(body)).await?;
        self.json(answer).await
    }

    /// Opens a job whose ranks we start ourselves: its number and its secret.
    pub async fn open(&self, wanted: &JobRequest) -> Result<([u8; 16], [u8; 32]), String> {
        if !self.place.tls && !self.place.is_near() {
            crate::warning!(
                "the rendezvous {} is spoken to without TLS: whoever listens on the way can take a rank's place (mayfly \
                 serve has TLS unless told otherwise)",
                self.place
            );
        }
        let created = self.create(wanted).await?;
        match (unhex(&created.job), unhex(&created.secret)) {
            (Some(job), Some(secret)) => Ok((job, secret)),
            _ => Err(self.trouble("its answer is not understood")),
        }
    }

    /// All jobs that it remembers, the youngest first.
    pub async fn list(&self) -> Result<Vec<JobStatus>, String> {
        let answer = self.ask(Method::GET, "/v1/jobs", None).await?;
        self.json(answer).await
    }

    /// How a job (32 hexadecimal digits) stands.
    pub async fn status(&self, job: &str) -> Result<JobStatus, String> {
        let path = format!("/v1/jobs/{job}");
        let answer = self.ask(Method::GET, &path, None).await?;
        self.json(answer).await
    }

    /// Ends a job.
    pub async fn end(&self, job: &str) -> Result<(), String> {
        let path = format!("/v1/jobs/{job}");
        self.ask(Method::DELETE, &path, None).await.map(drop)
    }

    /// What the job's ranks wrote, from this byte on.
    pub async fn log(&self, job: &str, from: u64) -> Result<LogPiece, String> {
        let path = format!("/v1/jobs/{job}/log?from={from}");
        let answer = self.ask(Method::GET, &path, None).await?;
        let header = |name: &str| {
            let value = answer.headers().get(name).and_then(|v| v.to_str().ok());
            value.map(str::to_string).unwrap_or_default()
        };
        let number = |name: &str| {
            let text = header(name);
            let wrong = || self.trouble(&format!("its answer lacks {name}"));
            text.parse::<u64>().map_err(|_| wrong())
        };
        let (next, lost) = (number(LOG_NEXT)?, number(LOG_LOST)?);
        let ended = header(JOB_STATE) != "running";
        let bytes = self.body(answer).await?;
        Ok(LogPiece {
            bytes,
            lost,
            next,
            ended,
        })
    }

    fn trouble(&self, why: &str) -> String {
        format!("the rendezvous {}: {why}", self.place.url())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response, String> {
        let url = format!("{}{path}", self.place.url());
        let mut request = self.client.request(method, url).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.body(body);
        }
        let answer = request.send().await;
        let answer = answer.map_err(|e| self.trouble(&innermost(&e.without_url())))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = self.body(answer).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        Err(self.trouble(&match status {
            StatusCode::UNAUTHORIZED => "it refuses our operator's key".to_string(),
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => text.trim().to_string(),
            status => format!("it answers {status}: {}", text.trim()),
        }))
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= LARGEST => bytes.extend(chunk),
                Ok(Some(_)) => return Err(self.trouble("its answer is too large")),
                Ok(None) => return Ok(bytes),
                Err(e) => return Err(self.trouble(&innermost(&e.without_url()))),
            }
        }
    }

    async fn json<T: serde::de::DeserializeOwned>(&self, answer: Response) -> Result<T, String> {
        let bytes = self.body(answer).await?;
        let wrong = |e| self.trouble(&format!("its answer is not understood: {e}"));
        serde_json::from_slice(&bytes).map_err(wrong)
    }
}

/// The reason that says most.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
