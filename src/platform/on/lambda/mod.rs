//! `lambda:NAME[:QUALIFIER]` or `lambda:ARN`: AWS Lambda's Invoke interface.
//!
//! Source: AWS Lambda API Reference (Invoke, GetFunctionConfiguration, GetFunctionConcurrency, GetAccountSettings,
//! GetFunctionEventInvokeConfig). Starts are asynchronous (`Event`), so that no connection must be held for the
//! fifteen minutes that an instance may run; `--sync` waits for each answer instead.

mod account;
mod credentials;
pub mod ini;
mod limits;
mod sign;
mod time;

use super::client;
use super::{Again, Answer, Delivery, Failure, Letter, Platform, Ready, Setting, Wish};
use account::{Files, Variables};
use credentials::Provider;
use limits::{Checked, Findings};
use reqwest::header::{HeaderMap, HeaderValue, CONTENT_TYPE};
use reqwest::{Method, Request, StatusCode, Url};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;

/// Asynchronous starts on their way at a time: each is answered in milliseconds, and connections cost.
const AT_ONCE: usize = 64;
/// A question about the function or the account.
const ASK: Duration = Duration::from_secs(15);

pub struct Lambda {
    name: String,
    /// Name or ARN, without the qualifier.
    function: String,
    qualifier: Option<String>,
    region: String,
    endpoint: Url,
    sync: bool,
    gate: Semaphore,
    provider: Provider,
    client: reqwest::Client,
}

/// What an answer of the control interface came to.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Lambda {
    /// Settings: `profile`, `region`; the rest as the AWS tools find it.
    pub fn open(
        name: &str,
        settings: &[Setting],
        sync: bool,
        get: Arc<Variables>,
    ) -> Result<Lambda, String> {
        let (mut profile, mut region) = (None, None);
        for (setting, value) in settings {
            match setting.as_str() {
                "profile" => profile = Some(value.as_str()),
                "region" => region = Some(value.as_str()),
                other => {
                    return Err(format!(
                        "--with {other}: unknown here; known: profile, region"
                    ))
                }
            }
        }
        let (function, qualifier, in_arn) = split(name).ok_or_else(|| {
            format!("--on lambda:{name}: is neither NAME, NAME:QUALIFIER nor a function's ARN")
        })?;
        let files = Files::read(&*get, profile)?;
        let region = account::region(&*get, &files, in_arn.as_deref().or(region))?;
        let text = account::endpoint(&*get, &files, &region);
        let parsed = Url::parse(&text).ok();
        let endpoint = parsed
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| format!("{text}: is no URL of Lambda's interface"))?;
        Ok(Lambda {
            name: format!("lambda:{name}"),
            function,
            qualifier,
            region,
            endpoint,
            sync,
            gate: Semaphore::new(AT_ONCE),
            provider: Provider::find(get, &files)?,
            client: client::client(&client::bundles(&["AWS_CA_BUNDLE", "SSL_CERT_FILE"]))?,
        })
    }

    /// `/VERSION/functions/NAME/...`, with the qualifier where it has a meaning.
    fn url(&self, before: &str, after: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        let base = url.path().trim_end_matches('/').to_string();
        // Colons (of an ARN) as the SDKs write them.
        let function = self.function.replace(':', "%3A");
        let after = after.join("/");
        url.set_path(&format!("{base}/{before}/functions/{function}/{after}"));
        if let Some(qualifier) = &self.qualifier {
            url.query_pairs_mut().append_pair("Qualifier", qualifier);
        }
        url
    }

    async fn send(&self, mut request: Request) -> Result<reqwest::Response, Failure> {
        let now = SystemTime::now();
        let credentials = self
            .provider
            .credentials(now)
            .await
            .map_err(Failure::last)?;
        let scope = sign::Scope {
            credentials: &credentials,
            region: &self.region,
            service: "lambda",
            time: now,
        };
        sign::apply(&mut request, &scope).map_err(Failure::last)?;
        let sent = self.client.execute(request).await;
        sent.map_err(|e| client::no_answer(&self.whom(), &e))
    }

    /// Who answers, for error lines.
    fn whom(&self) -> String {
        format!("AWS Lambda in {}", self.region)
    }

    async fn ask(&self, url: Url) -> Result<Reply, Failure> {
        let mut request = Request::new(Method::GET, url);
        *request.timeout_mut() = Some(ASK);
        let response = self.send(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = client::short(response, 1 << 20)
            .await
            .map_err(|e| client::no_answer(&self.whom(), &e))?;
        Ok(Reply {
            status,
            headers,
            body,
        })
    }

    /// One of the questions before a launch.
    async fn check<T: serde::de::DeserializeOwned>(&self, url: Url) -> Result<Checked<T>, String> {
        let reply = self.ask(url).await.map_err(|failure| failure.text)?;
        if reply.status.is_success() {
            return Ok(match serde_json::from_slice(&reply.body) {
                Ok(value) => Checked::Known(value),
                Err(_) => Checked::Unknown("the answer is not Lambda's".into()),
            });
        }
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        let kind = error_kind(&reply.headers, &body);
        let failure = client::refused(&self.whom(), reply.status, &reply.headers, &body);
        Ok(match (reply.status.as_u16(), kind.as_str()) {
            (404, "ResourceNotFoundException") => Checked::Missing,
            // Its signature or key is wrong: no other question will fare better.
            (401, _)
            | (
                403,
                "UnrecognizedClientException"
                | "InvalidSignatureException"
                | "ExpiredTokenException"
                | "IncompleteSignatureException"
                | "MissingAuthenticationTokenException",
            ) => return Err(failure.text),
            _ => Checked::Unknown(failure.text),
        })
    }

    async fn look(&self, wish: &Wish) -> Result<Ready, String> {
        let findings = Findings {
            function: self
                .check(self.url("2015-03-31", &["configuration"]))
                .await?,
            reserved: self
                .check(self.bare("2019-09-30", &["concurrency"]))
                .await?,
            account: {
                let mut url = self.endpoint.clone();
                if let Ok(mut path) = url.path_segments_mut() {
                    path.pop_if_empty()
                        .extend(["2016-08-19", "account-settings", ""]);
                }
                self.check(url).await?
            },
            repeats: if self.sync {
                Checked::Missing
            } else {
                self.check(self.url("2019-09-25", &["event-invoke-config"]))
                    .await?
            },
        };
        limits::judge(&findings, wish, self.sync, &self.function)
    }

    /// As [`Lambda::url`], without the qualifier.
    fn bare(&self, before: &str, after: &[&str]) -> Url {
        let mut url = self.url(before, after);
        url.set_query(None);
        url
    }

    async fn invoke(&self, letter: &Letter) -> Result<Delivery, Failure> {
        let _place = match self.sync {
            true => None,
            false => self.gate.acquire().await.ok(),
        };
        let mut request = Request::new(Method::POST, self.url("2015-03-31", &["invocations"]));
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let kind = if self.sync {
            "RequestResponse"
        } else {
            "Event"
        };
        headers.insert("x-amz-invocation-type", HeaderValue::from_static(kind));
        *request.body_mut() = Some(letter.body.clone().into());
        let response = self.send(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let tail = client::tail(response).await;
        let failed = headers.get("x-amz-function-error");
        match (status.is_success(), failed) {
            (true, Some(how)) => {
                let how = how.to_str().unwrap_or("an error");
                Err(Failure::last(function_error(
                    how,
                    &tail.unwrap_or_default(),
                )))
            }
            // Accepted for later; emulators wait for the function and answer 200.
            (true, None) if status == StatusCode::ACCEPTED => Ok(Delivery::Accepted),
            (true, None) => {
                let tail = tail.map_err(|e| client::no_answer(&self.whom(), &e))?;
                Ok(Delivery::Answered(client::words(&tail)))
            }
            (false, _) => {
                let body = tail.unwrap_or_default();
                let mut failure = client::refused(&self.whom(), status, &headers, &body);
                let kind = error_kind(&headers, &body);
                // The function is being changed, or its instances are.
                if matches!(kind.as_str(), "ResourceConflictException") {
                    failure.again = Again::Soon;
                }
                if !kind.is_empty() {
                    failure.text = format!("{} [{kind}]", failure.text);
                }
                Err(failure)
            }
        }
    }
}

/// Name (or ARN), qualifier, and the region that an ARN names.
fn split(name: &str) -> Option<(String, Option<String>, Option<String>)> {
    let fits = |part: &str| {
        let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '$');
        !part.is_empty() && part.chars().all(ok)
    };
    let parts: Vec<&str> = name.split(':').collect();
    if !parts.iter().all(|part| fits(part)) {
        return None;
    }
    let own = |part: &str| part.to_string();
    match parts[..] {
        [function] => Some((own(function), None, None)),
        [function, qualifier] => Some((own(function), Some(own(qualifier)), None)),
        ["arn", partition, "lambda", region, account, "function", function, ref rest @ ..]
            if rest.len() < 2 =>
        {
            let arn = format!("arn:{partition}:lambda:{region}:{account}:function:{function}");
            Some((arn, rest.first().map(|q| own(q)), Some(own(region))))
        }
        _ => None,
    }
}

/// The exception's name: in a header, or as a field of the body.
fn error_kind(headers: &HeaderMap, body: &str) -> String {
    let in_header = headers
        .get("x-amzn-errortype")
        .and_then(|v| v.to_str().ok());
    let in_body = || {
        let value: serde_json::Value = serde_json::from_str(body).ok()?;
        let names = ["__type", "code"];
        names
            .iter()
            .find_map(|name| Some(value.get(name)?.as_str()?.to_string()))
    };
    let kind = in_header.map(str::to_string).or_else(in_body);
    let kind = kind.unwrap_or_default();
    // `com.amazon#Kind:http://...`
    let kind = kind.split(':').next().unwrap_or_default();
    client::one_line(kind.rsplit('#').next().unwrap_or_default())
}

/// What `X-Amz-Function-Error` and the body say.
fn function_error(how: &str, body: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let field = |name: &str| value.get(name).and_then(|v| v.as_str()).unwrap_or_default();
    let (kind, message) = (field("errorType"), field("errorMessage"));
    let said = match (kind, message) {
        ("", "") => client::words(body),
        ("", message) => client::one_line(message),
        (kind, message) => client::one_line(&format!("{kind}: {message}")),
    };
    format!("the function failed ({how}): {said}")
}

impl Platform for Lambda {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn tariff(&self) -> Option<&'static str> {
        Some("lambda")
    }

    fn preflight<'a>(&'a self, wish: &'a Wish) -> Answer<'a, Result<Ready, String>> {
        Box::pin(self.look(wish))
    }

    fn start<'a>(&'a self, letter: &'a Letter) -> Answer<'a, Result<Delivery, Failure>> {
        Box::pin(self.invoke(letter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_named_as_for_the_aws_command() {
        let of = |name: &str| {
            split(name).map(|(f, q, r)| (f, q.unwrap_or_default(), r.unwrap_or_default()))
        };
        let found = |f: &str, q: &str, r: &str| Some((f.to_string(), q.to_string(), r.to_string()));
        assert_eq!(of("my-fn"), found("my-fn", "", ""));
        assert_eq!(of("my_fn:$LATEST"), found("my_fn", "$LATEST", ""));
        let arn = "arn:aws:lambda:eu-west-1:123456789012:function:f";
        assert_eq!(of(arn), found(arn, "", "eu-west-1"));
        assert_eq!(of(&format!("{arn}:live")), found(arn, "live", "eu-west-1"));
        for wrong in [
            "",
            "a b",
            "a/b",
            "a:b:c",
            "arn:aws:s3:::bucket:x:y",
            "f:",
            "../f",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn addresses_are_those_of_the_sdks() {
        let set = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "A"),
            ("AWS_SECRET_ACCESS_KEY", "S"),
        ];
        let mut set = set.to_vec();
        let url = |name: &str, set: &[(&str, &str)]| {
            let get = Arc::from(account::tests::variables(set));
            let lambda = Lambda::open(name, &[], false, get).unwrap();
            lambda.url("2015-03-31", &["invocations"]).to_string()
        };
        assert_eq!(
            url("f:live", &set),
            "https://lambda.eu-west-1.amazonaws.com/2015-03-31/functions/f/invocations?Qualifier=live"
        );
        set.push(("AWS_ENDPOINT_URL", "http://127.0.0.1:9/base/"));
        assert_eq!(
            url("arn:aws:lambda:eu-west-2:1:function:f", &set),
            "http://127.0.0.1:9/base/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-2%3A1%3Afunction%3Af/invocations"
        );
    }

    #[test]
    fn errors_name_their_kind() {
        let mut headers = HeaderMap::new();
        let body = r#"{"__type":"com.amazon#UnrecognizedClientException","message":"m"}"#;
        assert_eq!(error_kind(&headers, body), "UnrecognizedClientException");
        headers.insert(
            "x-amzn-errortype",
            "TooManyRequestsException:http://x".parse().unwrap(),
        );
        assert_eq!(error_kind(&headers, "{}"), "TooManyRequestsException");
        let body = r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 1 Error: exit status 1"}"#;
        let text = function_error("Unhandled", body);
        assert_eq!(
            text,
            "the function failed (Unhandled): Runtime.ExitError: RequestId: 1 Error: exit status 1"
        );
    }
}
