//! Signing requests (AWS Signature Version 4), by Amazon's own crate.

use super::credentials::Credentials;
use aws_sigv4::http_request::{sign, SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Request, Url};
use std::time::SystemTime;

/// What a signature is for besides the request itself.
pub struct Scope<'a> {
    pub credentials: &'a Credentials,
    pub region: &'a str,
    pub service: &'a str,
    pub time: SystemTime,
}

/// Adds the signature's headers; every header that the request has by now is signed.
pub fn apply(request: &mut Request, scope: &Scope) -> Result<(), String> {
    let wrong = |e: &dyn std::fmt::Display| format!("the request cannot be signed: {e}");
    let identity = aws_credential_types::Credentials::new(
        scope.credentials.id.clone(),
        scope.credentials.secret.clone(),
        scope.credentials.token.clone(),
        None,
        "mayfly",
    )
    .into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(scope.time)
        .settings(SigningSettings::default())
        .build()
        .map_err(|e| wrong(&e))?
        .into();
    let host = authority(request.url());
    let headers = request.headers();
    let mut signed: Vec<(&str, &str)> = vec![("host", &host)];
    for (name, value) in headers {
        if name != "host" {
            signed.push((name.as_str(), value.to_str().map_err(|e| wrong(&e))?));
        }
    }
    let body = request.body().and_then(|body| body.as_bytes());
    let signable = SignableRequest::new(
        request.method().as_str(),
        request.url().as_str(),
        signed.into_iter(),
        SignableBody::Bytes(body.unwrap_or_default()),
    )
    .map_err(|e| wrong(&e))?;
    let (instructions, _) = sign(signable, &parameters)
        .map_err(|e| wrong(&e))?
        .into_parts();
    let mut added = Vec::new();
    for (name, value) in instructions.headers() {
        let name = HeaderName::try_from(name).map_err(|e| wrong(&e))?;
        let mut value = HeaderValue::from_str(value).map_err(|e| wrong(&e))?;
        value.set_sensitive(true);
        added.push((name, value));
    }
    request.headers_mut().extend(added);
    Ok(())
}

/// The Host header that will be sent: without the scheme's own port.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::on::lambda::time;
    use reqwest::Method;

    /// Amazon's published example keys.
    fn example(token: Option<&str>) -> Credentials {
        Credentials {
            id: "AKIDEXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            token: token.map(str::to_string),
            until: None,
        }
    }

    fn signature(request: &mut Request, service: &str, token: Option<&str>) -> String {
        let credentials = example(token);
        let scope = Scope {
            credentials: &credentials,
            region: "us-east-1",
            service,
            time: time::parse("2015-08-30T12:36:00Z").unwrap(),
        };
        apply(request, &scope).unwrap();
        request.headers()["authorization"].to_str().unwrap().into()
    }

    /// From the AWS Signature Version 4 test suite: names of its cases, and the signatures that it gives.
    #[test]
    fn amazons_published_vectors_hold() {
        let scope =
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
        for (case, method, url, expected) in VECTORS {
            let mut request = Request::new(method.parse().unwrap(), Url::parse(url).unwrap());
            assert_eq!(
                signature(&mut request, "service", None),
                format!("{scope}, SignedHeaders=host;x-amz-date, Signature={expected}"),
                "{case}"
            );
            assert_eq!(request.headers()["x-amz-date"], "20150830T123600Z");
        }
    }

    const VECTORS: &[(&str, &str, &str, &str)] = &[
        ("get-vanilla", "GET", "https://example.amazonaws.com/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("post-vanilla", "POST", "https://example.amazonaws.com/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("get-unreserved", "GET", "https://example.amazonaws.com/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
        ("get-vanilla-query-order-encoded", "GET", "https://example.amazonaws.com/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1", "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"),
        ("get-vanilla-empty-query-key", "GET", "https://example.amazonaws.com/?Param1=value1", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
    ];

    /// The suite's post-x-www-form-urlencoded (of the edition without a checksum header) and
    /// get-vanilla-with-session-token, and the example of the IAM User Guide.
    #[test]
    fn bodies_headers_and_session_tokens_are_signed() {
        let url = Url::parse("https://example.amazonaws.com/").unwrap();
        let form = "application/x-www-form-urlencoded";
        let mut request = Request::new(Method::POST, url.clone());
        request
            .headers_mut()
            .insert("content-type", form.parse().unwrap());
        *request.body_mut() = Some("Param1=value1".into());
        let signed = signature(&mut request, "service", None);
        let expected = "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
        assert!(signed.ends_with(expected), "{signed}");

        let token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
        let mut request = Request::new(Method::GET, url);
        let signed = signature(&mut request, "service", Some(token));
        assert!(signed.contains("SignedHeaders=host;x-amz-date;x-amz-security-token"));
        let expected = "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8";
        assert!(signed.ends_with(expected), "{signed}");
        assert_eq!(request.headers()["x-amz-security-token"], token);

        let url = "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08";
        let mut request = Request::new(Method::GET, Url::parse(url).unwrap());
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        request
            .headers_mut()
            .insert("content-type", form.parse().unwrap());
        let signed = signature(&mut request, "iam", None);
        let expected = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
        assert!(signed.ends_with(expected), "{signed}");
    }

    #[test]
    fn secrets_do_not_show() {
        let mut request = Request::new(Method::GET, Url::parse("http://127.0.0.1:9000/a").unwrap());
        signature(&mut request, "lambda", Some("geheim"));
        assert!(!format!("{request:?} {:?}", example(None)).contains("geheim"));
        assert!(!format!("{:?}", example(None)).contains("wJalr"));
        assert_eq!(authority(request.url()), "127.0.0.1:9000");
    }
}
