//! `openfaas:NAME[.NAMESPACE]`: N parallel synchronous calls through the gateway.
//!
//! Not the asynchronous ones: OpenFaaS's queue worker handles one message at a time unless it was told otherwise, so that
//! ranks would start one by one and wait for each other for ever.

use super::client;
use super::http::{listens, open_road, post};
use super::{Answer, Delivery, Failure, Letter, Platform, Ready, Setting, Wish};
use base64::Engine;
use reqwest::header::{HeaderMap, HeaderValue, AUTHORIZATION};
use reqwest::Url;
use serde::Deserialize;
use std::collections::HashMap;
use std::time::Duration;

const JOIN: Duration = Duration::from_secs(120);
/// A question to the gateway's own interface.
const ASK: Duration = Duration::from_secs(15);
const GATEWAY: &str = "http://127.0.0.1:8080";

pub struct OpenFaas {
    function: String,
    gateway: Url,
    /// Of the gateway's administrator; only /system asks for it.
    login: Option<HeaderValue>,
    client: reqwest::Client,
}

/// Of the answer to `GET /system/function/NAME`.
#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    labels: Option<HashMap<String, String>>,
}

impl OpenFaas {
    /// Settings: `gateway` (or OPENFAAS_URL), `password-file` (or OPENFAAS_PASSWORD), `user` (admin).
    pub fn open(
        function: &str,
        settings: &[Setting],
        get: impl Fn(&str) -> Option<String>,
    ) -> Result<OpenFaas, String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if function.is_empty() || !function.chars().all(fits) {
            return Err(format!(
                "--on openfaas:{function}: a function's name has letters, digits, - and ."
            ));
        }
        let mut gateway = get("OPENFAAS_URL").filter(|url| !url.is_empty());
        let mut password = get("OPENFAAS_PASSWORD").filter(|word| !word.is_empty());
        let mut user = "admin".to_string();
        for (name, value) in settings {
            match name.as_str() {
                "gateway" => gateway = Some(value.clone()),
                "user" => user = value.clone(),
                "password-file" => {
                    let text = std::fs::read_to_string(value);
                    password = Some(text.map_err(|e| format!("{value}: cannot be read: {e}"))?);
                }
                other => {
                    return Err(format!(
                        "--with {other}: unknown here; known: gateway, user, password-file"
                    ))
                }
            }
        }
        let gateway = gateway.unwrap_or_else(|| GATEWAY.into());
        let parsed = Url::parse(gateway.trim_end_matches('/'));
        let gateway = parsed
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| format!("{gateway}: is no URL of an OpenFaaS gateway"))?;
        let login = match password {
            Some(word) => {
                let plain = format!("{user}:{}", word.trim());
                let coded = base64::engine::general_purpose::STANDARD.encode(plain);
                Some(super::http::secret(&format!("Basic {coded}"))?)
            }
            None => None,
        };
        Ok(OpenFaas {
            function: function.into(),
            gateway,
            login,
            client: client::client(&client::bundles(&["SSL_CERT_FILE"]))?,
        })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.gateway.clone();
        let base = url.path().trim_end_matches('/').to_string();
        url.set_path(&format!("{base}{path}"));
        url
    }

    /// Asks the gateway about the function; `None`: it lets only its administrator know.
    async fn look(&self) -> Result<Option<Function>, String> {
        let Some(login) = &self.login else {
            return Ok(None);
        };
        let (name, namespace) = match self.function.rsplit_once('.') {
            Some((name, namespace)) => (name, Some(namespace)),
            None => (self.function.as_str(), None),
        };
        let mut url = self.url(&format!("/system/function/{name}"));
        if let Some(namespace) = namespace {
            url.query_pairs_mut().append_pair("namespace", namespace);
        }
        let request = self.client.get(url).header(AUTHORIZATION, login.clone());
        let response = request
            .timeout(ASK)
            .send()
            .await
            .map_err(|e| client::no_answer("the OpenFaaS gateway", &e).text)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = client::short(response, 1 << 20).await.unwrap_or_default();
        if !status.is_success() {
            let whom = "the OpenFaaS gateway";
            let body = String::from_utf8_lossy(&body);
            return Err(client::refused(whom, status, &headers, &body).text);
        }
        Ok(serde_json::from_slice(&body).ok())
    }
}

/// What a function's labels and annotations say about running so many instances at once.
fn judge(function: &Function, wish: &Wish, ready: &mut Ready) -> Result<(), String> {
    let label = |name: &str| function.labels.as_ref()?.get(name).cloned();
    match label("com.openfaas.scale.max").and_then(|max| max.parse::<u32>().ok()) {
        Some(max) if max < wish.instances => {
            return Err(format!(
                "the function may have {max} replicas (label com.openfaas.scale.max), but {} instances are needed \
                 at once; the job would wait for ever",
                wish.instances
            ));
        }
        Some(_) => {}
        None => ready.notices.push(format!(
            "the function has no label com.openfaas.scale.max; OpenFaaS's own limit may be below {} replicas",
            wish.instances
        )),
    }
    let least = label("com.openfaas.scale.min").and_then(|min| min.parse::<u32>().ok());
    if least.unwrap_or(1) < wish.instances {
        ready.notices.push(format!(
            "the function keeps {} of {} replicas ready (label com.openfaas.scale.min); the rest depends on how soon \
             OpenFaaS scales",
            least.unwrap_or(1),
            wish.instances
        ));
    }
    Ok(())
}

impl Platform for OpenFaas {
    fn name(&self) -> String {
        format!("openfaas:{}", self.function)
    }

    fn preflight<'a>(&'a self, wish: &'a Wish) -> Answer<'a, Result<Ready, String>> {
        Box::pin(async move {
            listens(&self.gateway).await?;
            let mut ready = Ready::new(JOIN);
            ready.notices.extend(open_road(&self.gateway));
            if let Some(function) = self.look().await? {
                judge(&function, wish, &mut ready)?;
            }
            Ok(ready)
        })
    }

    fn start<'a>(&'a self, letter: &'a Letter) -> Answer<'a, Result<Delivery, Failure>> {
        Box::pin(async move {
            let url = self.url(&format!("/function/{}", self.function));
            post(&self.client, url, HeaderMap::new(), letter, &self.name()).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_found_as_faas_cli_finds_it() {
        let none = |_: &str| None;
        let open = |name: &str| OpenFaas::open(name, &[], none);
        let url = open("mpi").unwrap().url("/function/mpi").to_string();
        assert_eq!(url, "http://127.0.0.1:8080/function/mpi");
        let set = |name: &str| (name == "OPENFAAS_URL").then(|| "https://g/base/".to_string());
        let there = OpenFaas::open("mpi.ns", &[], set).unwrap();
        assert_eq!(
            there.url("/function/mpi.ns").to_string(),
            "https://g/base/function/mpi.ns"
        );
        assert!(open("../system").is_err() && open("").is_err());
        let odd = ("gatway".to_string(), "x".to_string());
        let error = OpenFaas::open("mpi", &[odd], none).err().unwrap();
        assert!(error.contains("known: gateway"), "{error}");
    }

    #[test]
    fn too_few_replicas_are_a_deadlock() {
        let function = |json: &str| serde_json::from_str::<Function>(json).unwrap();
        let mut ready = Ready::new(JOIN);
        let few = function(r#"{"name":"f","labels":{"com.openfaas.scale.max":"5"}}"#);
        let error = judge(&few, &Wish::of(6), &mut ready).unwrap_err();
        assert!(error.contains("5 replicas"), "{error}");
        let labels = r#"{"com.openfaas.scale.max":"8","com.openfaas.scale.min":"8"}"#;
        let enough = function(&format!(r#"{{"name":"f","labels":{labels}}}"#));
        judge(&enough, &Wish::of(8), &mut ready).unwrap();
        assert_eq!(ready.notices.len(), 0);
        judge(&function(r#"{"labels":null}"#), &Wish::of(2), &mut ready).unwrap();
        assert_eq!(ready.notices.len(), 2);
    }
}
