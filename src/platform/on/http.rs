//! `http://...`, `https://...`: anything that turns one request into one instance (Knative, Cloud Run services, Azure's
//! custom handlers, Fission, Nuclio, Fargate behind a balancer). N starts are N parallel POSTs; each answer streams until
//! its instance ends.

use super::client::{self, one_line, words};
use super::{Answer, Delivery, Failure, Letter, Platform, Ready, Setting, Wish};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, AUTHORIZATION, CONTENT_TYPE, HOST};
use reqwest::Url;
use std::net::IpAddr;
use std::time::Duration;

/// A cold container, pulled and scheduled; Cloud Run's network alone may take a minute.
const JOIN: Duration = Duration::from_secs(180);
/// How long the look whether anybody listens may take.
const LOOK: Duration = Duration::from_secs(10);

pub struct Http {
    url: Url,
    headers: HeaderMap,
    client: reqwest::Client,
}

impl Http {
    /// Settings: `token-file` (sent as `Authorization: Bearer`), `header-file` (lines `NAME: VALUE`), `host`.
    pub fn open(url: &str, settings: &[Setting]) -> Result<Http, String> {
        let url = Url::parse(url).map_err(|e| format!("--on {}: no URL: {e}", one_line(url)))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "--on: the URL holds a password, which everybody on this machine can see; \
                 put it into a file and use --with header-file=FILE"
                    .into(),
            );
        }
        if url.host_str().is_none() {
            return Err(format!("--on {url}: names no host"));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in settings {
            match name.as_str() {
                "token-file" => {
                    let token = read(value)?;
                    headers.insert(AUTHORIZATION, secret(&format!("Bearer {}", token.trim()))?);
                }
                "header-file" => lines(&read(value)?, value, &mut headers)?,
                "host" => {
                    let value = HeaderValue::from_str(value);
                    headers.insert(HOST, value.map_err(|_| "--with host: no host name")?);
                }
                other => {
                    return Err(format!(
                        "--with {other}: unknown here; known: token-file, header-file, host"
                    ))
                }
            }
        }
        Ok(Http {
            url,
            headers,
            client: client::client(&client::bundles(&["SSL_CERT_FILE"]))?,
        })
    }
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{path}: cannot be read: {e}"))
}

/// A header's value that is never shown.
pub fn secret(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| "a secret holds characters that no header may hold")?;
    value.set_sensitive(true);
    Ok(value)
}

fn lines(text: &str, path: &str, headers: &mut HeaderMap) -> Result<(), String> {
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parsed = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::try_from(name.trim()).ok()?;
            Some((name, secret(value.trim()).ok()?))
        });
        let (name, value) =
            parsed.ok_or_else(|| format!("{path}, line {}: is no NAME: VALUE", i + 1))?;
        headers.insert(name, value);
    }
    Ok(())
}

/// Does the front listen at all? Asked by a bare connection, as any request might start an instance.
pub async fn listens(url: &Url) -> Result<(), String> {
    let proxied = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
        .iter()
        .flat_map(|name| [name.to_string(), name.to_lowercase()])
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(format!("{url}: names no host"));
    };
    if proxied {
        return Ok(());
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let connecting = tokio::net::TcpStream::connect((host, port));
    match tokio::time::timeout(LOOK, connecting).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) => Err(format!("nobody listens at {host}:{port}: {e}")),
        Err(_) => Err(format!(
            "{host}:{port} does not answer within {} s",
            LOOK.as_secs()
        )),
    }
}

/// A warning when starts, and the passes in them, cross a public network in the open.
pub fn open_road(url: &Url) -> Option<String> {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let inside = match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        // A cluster's or a company's own names.
        Err(_) => {
            let own = [".local", ".internal", ".svc", ".localhost"];
            !bare.contains('.') || own.iter().any(|end| bare.ends_with(end))
        }
    };
    (url.scheme() == "http" && !inside).then(|| {
        "starts go there without TLS: whoever listens on the way can take an instance's place; use https".into()
    })
}

/// Delivers a letter by POST and stays until the answer's end.
pub async fn post(
    client: &reqwest::Client,
    url: Url,
    headers: HeaderMap,
    letter: &Letter,
    whom: &str,
) -> Result<Delivery, Failure> {
    let request = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .headers(headers)
        .body(letter.body.clone());
    let broken = |e: reqwest::Error| client::no_answer(whom, &e);
    let response = request.send().await.map_err(broken)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let tail = client::tail(response).await;
    if status.is_success() {
        return Ok(Delivery::Answered(words(&tail.map_err(broken)?)));
    }
    let body = tail.unwrap_or_default();
    Err(client::refused(whom, status, &headers, &body))
}

impl Platform for Http {
    fn name(&self) -> String {
        let mut url = self.url.clone();
        // A key may stand in the query.
        url.set_query(None);
        url.to_string()
    }

    fn tariff(&self) -> Option<&'static str> {
        let host = self.url.host_str().unwrap_or_default();
        host.ends_with(".run.app").then_some("cloud-run")
    }

    fn preflight<'a>(&'a self, _: &'a Wish) -> Answer<'a, Result<Ready, String>> {
        Box::pin(async {
            listens(&self.url).await?;
            let mut ready = Ready::new(JOIN);
            ready.notices.extend(open_road(&self.url));
            Ok(ready)
        })
    }

    fn start<'a>(&'a self, letter: &'a Letter) -> Answer<'a, Result<Delivery, Failure>> {
        let host = self.url.host_str().unwrap_or_default().to_string();
        Box::pin(async move {
            let (url, headers) = (self.url.clone(), self.headers.clone());
            post(&self.client, url, headers, letter, &host).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(url: &str, settings: &[(&str, &str)]) -> String {
        let settings: Vec<Setting> = settings
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        Http::open(url, &settings).err().unwrap()
    }

    #[test]
    fn secrets_come_from_files_and_show_nowhere() {
        assert!(complaint("http://u:p@h/", &[]).contains("header-file"));
        assert!(complaint("http://h/", &[("tokenfile", "x")]).contains("known: token-file"));
        assert!(complaint("http://h/", &[("token-file", "/no/such")]).contains("/no/such"));
        let http = Http::open("http://h:8080/f?code=geheim", &[]).unwrap();
        assert_eq!(http.name(), "http://h:8080/f");
        let mut headers = HeaderMap::new();
        lines("# c\n\nX-Functions-Key: geheim\n", "f", &mut headers).unwrap();
        assert_eq!(headers["x-functions-key"], "geheim");
        assert!(!format!("{headers:?}").contains("geheim"));
        let error = lines("A: b\nnothing\n", "f", &mut headers).unwrap_err();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn only_public_roads_are_warned_of() {
        let warned = |url: &str| open_road(&Url::parse(url).unwrap()).is_some();
        for url in [
            "http://f.example.com/",
            "http://203.0.113.7/",
            "http://[2001:db8::1]/",
        ] {
            assert!(warned(url), "{url}");
        }
        for url in [
            "https://f.example.com/",
            "http://127.0.0.1:8080/",
            "http://10.1.2.3/",
            "http://[::1]/",
            "http://gateway:8080/",
            "http://f.default.svc.cluster.local/",
        ] {
            assert!(!warned(url), "{url}");
        }
    }

    #[test]
    fn only_cloud_run_is_known_by_its_address() {
        let tariff = |url: &str| Http::open(url, &[]).unwrap().tariff();
        assert_eq!(tariff("https://f-abc.a.run.app/"), Some("cloud-run"));
        assert_eq!(tariff("https://f.example.com/"), None);
    }
}
