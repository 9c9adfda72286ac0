//! Who we are at AWS: found where the AWS tools look, in their order, and renewed before it expires.
//!
//! Order: variables, the profile (keys, then `credential_process`), the container's endpoint, the machine's (IMDSv2).
//! Single sign-on and roles to assume come through `credential_process`, which the aws command can be.

use super::account::{variable, Files, Variables};
use super::time;
use crate::platform::on::client;
use reqwest::header::{HeaderValue, AUTHORIZATION};
use reqwest::{Client, Method, Url};
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// So long before their end credentials are renewed.
const EARLY: Duration = Duration::from_secs(300);
/// The machine's own endpoint answers at once or is not there.
const LOCAL: Duration = Duration::from_secs(2);
/// A process may ask its user for a code.
const PROCESS: Duration = Duration::from_secs(120);
const MACHINE: &str = "http://169.254.169.254";

/// Keys, and until when they are good.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
    pub until: Option<SystemTime>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (secret not shown)", self.id)
    }
}

/// As endpoints and processes write them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    /// Of a process.
    session_token: Option<String>,
    /// Of an endpoint.
    token: Option<String>,
    expiration: Option<String>,
    version: Option<u32>,
}

impl Written {
    fn read(json: &[u8]) -> Result<(Credentials, Option<u32>), String> {
        // serde's own words might repeat a secret.
        let written: Written =
            serde_json::from_slice(json).map_err(|_| "it is not the JSON of credentials")?;
        let until = match written.expiration {
            Some(text) => Some(
                time::parse(&text).ok_or_else(|| format!("its Expiration {text:?} is no time"))?,
            ),
            None => None,
        };
        let credentials = Credentials {
            id: written.access_key_id.ok_or("it has no AccessKeyId")?,
            secret: written
                .secret_access_key
                .ok_or("it has no SecretAccessKey")?,
            token: written.session_token.or(written.token),
            until,
        };
        Ok((credentials, written.version))
    }
}

/// Where credentials come from.
enum Source {
    Fixed(Credentials),
    Process(String),
    /// The container's endpoint.
    Container(Url),
    Machine(Url),
}

/// Gives credentials that are good now.
pub struct Provider {
    source: Source,
    get: Arc<Variables>,
    client: Client,
    cached: tokio::sync::Mutex<Option<Credentials>>,
}

impl Provider {
    pub fn find(get: Arc<Variables>, files: &Files) -> Result<Provider, String> {
        let source = source(&*get, files)?;
        // Only for addresses of this machine and this link, so that no proxy must see it.
        let client = Client::builder()
            .use_preconfigured_tls(client::tls(&client::bundles(&["AWS_CA_BUNDLE"]))?)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(LOCAL)
            .timeout(LOCAL * 3)
            .build()
            .map_err(|e| format!("the HTTP client cannot be set up: {}", client::cause(&e)))?;
        Ok(Provider {
            source,
            get,
            client,
            cached: tokio::sync::Mutex::new(None),
        })
    }

    /// Credentials for a request at this time.
    pub async fn credentials(&self, now: SystemTime) -> Result<Credentials, String> {
        let mut cached = self.cached.lock().await;
        if let Some(good) = cached.as_ref() {
            if good.until.is_none_or(|until| now + EARLY < until) {
                return Ok(good.clone());
            }
        }
        let fresh = match &self.source {
            Source::Fixed(credentials) => Ok(credentials.clone()),
            Source::Process(command) => process(command).await,
            Source::Container(url) => self.container(url).await,
            Source::Machine(url) => self.machine(url).await,
        };
        match (fresh, cached.as_ref()) {
            (Ok(fresh), _) => {
                *cached = Some(fresh.clone());
                Ok(fresh)
            }
            // The old ones may still do.
            (Err(_), Some(old)) if old.until.is_some_and(|until| now < until) => Ok(old.clone()),
            (Err(why), _) => Err(why),
        }
    }

    async fn container(&self, url: &Url) -> Result<Credentials, String> {
        let from_file = match variable(&*self.get, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            // Read anew each time: it changes.
            Some(path) => Some(
                std::fs::read_to_string(&path)
                    .map_err(|e| format!("{path}: cannot be read: {e}"))?,
            ),
            None => variable(&*self.get, "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        };
        let mut request = self.client.get(url.clone());
        if let Some(token) = from_file {
            let mut value = HeaderValue::from_str(token.trim())
                .map_err(|_| "the container's authorization token is no header")?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let whom = "the container's credentials endpoint";
        let body = answer(request, whom).await?;
        let read = Written::read(&body).map_err(|why| format!("{whom}: {why}"));
        read.map(|(credentials, _)| credentials)
    }

    /// Version 2 of the instance metadata service: a token first.
    async fn machine(&self, base: &Url) -> Result<Credentials, String> {
        let whom = "the machine's metadata service";
        let at = |path: &str| {
            let mut url = base.clone();
            url.set_path(&format!("/latest/{path}"));
            url
        };
        let request = self.client.request(Method::PUT, at("api/token"));
        let request = request.header("x-aws-ec2-metadata-token-ttl-seconds", "21600");
        let token = answer(request, whom).await.map_err(|why| {
            format!(
                "no AWS credentials: none in the variables, in the profile or of a container, and {why}"
            )
        })?;
        let mut token = HeaderValue::from_bytes(&token)
            .map_err(|_| format!("{whom}: its token is no header"))?;
        token.set_sensitive(true);
        let ask = |path: String| {
            let request = self.client.get(at(&path));
            answer(
                request.header("x-aws-ec2-metadata-token", token.clone()),
                whom,
            )
        };
        let roles = ask("meta-data/iam/security-credentials/".into()).await?;
        let roles = String::from_utf8_lossy(&roles).into_owned();
        let role = roles.lines().next().unwrap_or_default().trim().to_string();
        let body = ask(format!("meta-data/iam/security-credentials/{role}")).await?;
        let read = Written::read(&body).map_err(|why| format!("{whom}: {why}"));
        read.map(|(credentials, _)| credentials)
    }
}

async fn answer(request: reqwest::RequestBuilder, whom: &str) -> Result<Vec<u8>, String> {
    let broken = |e: reqwest::Error| client::no_answer(whom, &e).text;
    let response = request.send().await.map_err(broken)?;
    let status = response.status();
    let body = client::short(response, 64 * 1024).await.map_err(broken)?;
    if status.is_success() {
        Ok(body)
    } else {
        Err(format!(
            "{whom} answers with HTTP status {}",
            status.as_u16()
        ))
    }
}

fn source(get: &Variables, files: &Files) -> Result<Source, String> {
    if let (Some(id), Some(secret)) = (
        variable(get, "AWS_ACCESS_KEY_ID"),
        variable(get, "AWS_SECRET_ACCESS_KEY"),
    ) {
        return Ok(Source::Fixed(Credentials {
            id: id.trim().into(),
            secret: secret.trim().into(),
            token: variable(get, "AWS_SESSION_TOKEN").map(|token| token.trim().into()),
            until: None,
        }));
    }
    if let (Some(id), Some(secret)) = (
        files.get("aws_access_key_id"),
        files.get("aws_secret_access_key"),
    ) {
        return Ok(Source::Fixed(Credentials {
            id: id.into(),
            secret: secret.into(),
            token: files.get("aws_session_token").map(str::to_string),
            until: None,
        }));
    }
    if let Some(command) = files.get("credential_process") {
        return Ok(Source::Process(command.into()));
    }
    for (name, what) in [
        ("role_arn", "assumes a role"),
        ("sso_session", "signs on at a portal"),
        ("sso_start_url", "signs on at a portal"),
        ("login_session", "signs in by a browser"),
    ] {
        if files.get(name).is_some() {
            let profile = &files.profile;
            return Err(format!(
                "the AWS profile {profile} {what} ({name}), which is the aws command's business; make a profile with \
                 credential_process = aws configure export-credentials --profile {profile}"
            ));
        }
    }
    if let Some(path) = variable(get, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        let url = Url::parse(&format!("http://169.254.170.2{path}"));
        let url = url.map_err(|_| "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is no path")?;
        return Ok(Source::Container(url));
    }
    if let Some(text) = variable(get, "AWS_CONTAINER_CREDENTIALS_FULL_URI") {
        return container_url(&text).map(Source::Container);
    }
    if variable(get, "AWS_EC2_METADATA_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
        return Err(
            "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in AWS_PROFILE"
                .into(),
        );
    }
    let base = variable(get, "AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| MACHINE.into());
    let url = Url::parse(&base).map_err(|_| format!("{base}: is no URL"))?;
    Ok(Source::Machine(url))
}

/// Plain HTTP only where nobody is in between: this machine, and the addresses of ECS and EKS.
fn container_url(text: &str) -> Result<Url, String> {
    let wrong = |why: &str| format!("AWS_CONTAINER_CREDENTIALS_FULL_URI {why}");
    let url = Url::parse(text).map_err(|_| wrong("is no URL"))?;
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let known = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
    let near = match bare.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || known.contains(&bare),
        Err(_) => bare == "localhost",
    };
    if url.scheme() == "https" || (url.scheme() == "http" && near) {
        Ok(url)
    } else {
        Err(wrong("must begin with https:// or name this machine"))
    }
}

/// Runs a profile's `credential_process`, as the SDKs do, by the shell.
async fn process(command: &str) -> Result<Credentials, String> {
    let line = command.to_string();
    let running = tokio::task::spawn_blocking(move || {
        std::process::Command::new("/bin/sh")
            .args(["-c", &line])
            .stdin(std::process::Stdio::inherit())
            .stderr(std::process::Stdio::inherit())
            .output()
    });
    let wrong = |why: String| format!("the profile's credential_process {why}");
    let output = match tokio::time::timeout(PROCESS, running).await {
        Ok(Ok(Ok(output))) => output,
        Ok(Ok(Err(e))) => return Err(wrong(format!("cannot be run: {e}"))),
        Ok(Err(e)) => return Err(wrong(format!("cannot be run: {e}"))),
        Err(_) => {
            return Err(wrong(format!(
                "does not end within {} s",
                PROCESS.as_secs()
            )))
        }
    };
    if !output.status.success() {
        return Err(wrong(format!("failed ({})", output.status)));
    }
    match Written::read(&output.stdout) {
        Ok((credentials, Some(1))) => Ok(credentials),
        Ok((_, version)) => Err(wrong(format!(
            "writes version {version:?}, and we read version 1"
        ))),
        Err(why) => Err(wrong(format!("wrote what we cannot read: {why}"))),
    }
}

#[cfg(test)]
mod tests;
