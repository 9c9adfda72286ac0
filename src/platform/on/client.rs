//! What all platforms' HTTP has in common: the client, and how answers are put into words.

use super::{Again, Failure};
use crate::rendezvous::operator::innermost;
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(10);
/// NAT gateways forget a silent connection after minutes (Amazon's after 350 s).
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How much of an answer is kept to explain a failure, bytes.
const TAIL: usize = 1024;
/// The longest quotation of a platform's words in a line of ours, characters.
const QUOTE: usize = 240;
/// A platform cannot make us pause for longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What lets us believe a server: the public roots, and the certificates in the PEM files named.
pub fn tls(bundles: &[String]) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    for path in bundles {
        let wrong = |e: &dyn std::fmt::Display| format!("{path}: no certificates in PEM: {e}");
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(&e))? {
            let certificate = certificate.map_err(|e| wrong(&e))?;
            roots.add(certificate).map_err(|e| wrong(&e))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

/// A client that follows no redirects (they would carry a pass to somebody else) and repeats nothing by itself.
pub fn client(bundles: &[String]) -> Result<reqwest::Client, String> {
    builder()
        .use_preconfigured_tls(tls(bundles)?)
        .build()
        .map_err(|e| format!("the HTTP client cannot be set up: {}", cause(&e)))
}

/// The same, for those who bring their own TLS.
pub fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("mayfly/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT)
        .tcp_keepalive(KEEPALIVE)
}

/// The PEM files that the user's environment names in these variables.
pub fn bundles(variables: &[&str]) -> Vec<String> {
    let values = variables.iter().filter_map(|name| std::env::var(name).ok());
    values.filter(|value| !value.is_empty()).collect()
}

/// The innermost reason of an error, without the URL.
pub fn cause(error: &dyn std::error::Error) -> String {
    one_line(&innermost(error))
}

/// A request that got no answer, or only a part of one.
pub fn no_answer(whom: &str, error: &reqwest::Error) -> Failure {
    let why = cause(error);
    if error.is_connect() {
        return Failure::passing(format!("{whom} cannot be reached: {why}"));
    }
    let text = if error.is_timeout() {
        format!("{whom} does not answer in time")
    } else {
        format!("the connection to {whom} broke: {why}")
    };
    Failure {
        doubtful: true,
        ..Failure::passing(text)
    }
}

/// An answer that is no success, in one line: what it means, its status, its words.
pub fn refused(whom: &str, status: StatusCode, headers: &HeaderMap, body: &str) -> Failure {
    let meaning = match status.as_u16() {
        400 => "does not understand the request",
        401 => "does not accept our credentials",
        403 => "does not allow it",
        404 => "knows no such function",
        405 => "takes no POST there",
        408 | 504 => "gave up waiting for the function",
        413 => "finds the request too large",
        429 => "takes no more requests for now",
        502 => "got no answer from the function",
        503 => "has no instance free",
        300..=399 => "sends us elsewhere, where we do not follow with a secret; name that address",
        500..=599 => "failed",
        _ => "refuses",
    };
    let said = words(body);
    let quote = if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    };
    let text = format!("{whom} {meaning} (HTTP {}{quote})", status.as_u16());
    let again = match status.as_u16() {
        408 | 429 | 500..=599 => pause(headers).map_or(Again::Soon, Again::After),
        _ => Again::Never,
    };
    // With 429 and 503 a front says that nobody has seen the request.
    let doubtful = matches!(status.as_u16(), 408 | 500..=502 | 504..=599);
    Failure {
        text,
        again,
        doubtful,
    }
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3).
fn pause(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get("retry-after")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).min(PAUSE_MAX))
}

/// The message within an answer's body: of JSON the field that holds it, of a page its text, in one line.
pub fn words(body: &str) -> String {
    let from_json = || {
        let value: serde_json::Value = serde_json::from_str(body).ok()?;
        let names = ["message", "Message", "errorMessage", "error", "reason"];
        let text = names
            .iter()
            .find_map(|name| value.get(name)?.as_str().map(str::to_string));
        Some(text.unwrap_or_else(|| value.to_string()))
    };
    let text = from_json().unwrap_or_else(|| {
        if body.trim_start().starts_with('<') {
            without_markup(body)
        } else {
            body.to_string()
        }
    });
    one_line(&text)
}

fn without_markup(page: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in page.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                out.push(' ');
            }
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

/// White space becomes single spaces, control characters (which could steer a terminal) go, long texts are cut.
pub fn one_line(text: &str) -> String {
    let words: Vec<String> = text
        .split_whitespace()
        .map(|word| word.chars().filter(|c| !c.is_control()).collect())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(QUOTE) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// Reads an answer to its end, however long that takes, and keeps its last bytes.
pub async fn tail(mut response: Response) -> Result<String, reqwest::Error> {
    let mut kept: Vec<u8> = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        kept.extend_from_slice(&chunk[chunk.len().saturating_sub(TAIL)..]);
        if kept.len() > TAIL {
            kept.drain(..kept.len() - TAIL);
        }
    }
    Ok(String::from_utf8_lossy(&kept).into_owned())
}

/// Reads a short answer (of a control interface), of at most `limit` bytes.
pub async fn short(mut response: Response, limit: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut body: Vec<u8> = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = limit - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == limit {
            break;
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_one_line() {
        let none = HeaderMap::new();
        let of = |status: u16, body: &str| {
            refused("f", StatusCode::from_u16(status).unwrap(), &none, body)
        };
        let limited = of(429, "{\"message\":\"Rate\\nexceeded\"}");
        assert_eq!(
            limited.text,
            "f takes no more requests for now (HTTP 429: Rate exceeded)"
        );
        assert_eq!(limited.again, Again::Soon);
        let page = of(404, "<html><b>not</b>\n<i>here\u{1b}[2J</i></html>");
        assert_eq!(
            page.text,
            "f knows no such function (HTTP 404: not here[2J)"
        );
        assert_eq!(page.again, Again::Never);
        assert_eq!(of(502, "").again, Again::Soon);
        for status in [301, 400, 401, 403, 405, 409, 413] {
            assert_eq!(of(status, "").again, Again::Never, "{status}");
        }
        let long = of(500, &"x ".repeat(1000)).text;
        assert!(long.len() < 300 && long.ends_with("...)"), "{long}");
    }

    #[test]
    fn a_pause_asked_for_is_kept_within_reason() {
        let mut headers = HeaderMap::new();
        let mut after = |value: &'static str| {
            headers.insert("retry-after", value.parse().unwrap());
            refused("f", StatusCode::SERVICE_UNAVAILABLE, &headers, "").again
        };
        assert_eq!(after("2"), Again::After(Duration::from_secs(2)));
        assert_eq!(after("86400"), Again::After(PAUSE_MAX));
        assert_eq!(after("Fri, 31 Dec 1999 23:59:59 GMT"), Again::Soon);
    }

    #[test]
    fn a_bundle_that_is_none_is_named() {
        assert!(client(&[]).is_ok());
        let error = client(&["/does/not/exist.pem".into()]).unwrap_err();
        assert!(error.contains("/does/not/exist.pem"), "{error}");
    }
}
