//! AWS's signatures (Signature Version 4) checked from the receiver's side, by code that shares nothing with the signer:
//! written from the IAM User Guide, "Create a signed AWS API request".

use super::Seen;
use sha2::{Digest, Sha256};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// RFC 2104.
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&sha256(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|b| b ^ with).to_vec();
    let inner = sha256(&[pad(0x36), text.to_vec()].concat());
    sha256(&[pad(0x5c), inner.to_vec()].concat())
}

fn encode(text: &str, slashes: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain || (slashes && byte == b'/') {
            out.push(byte as char);
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

/// What is wrong with the request's signature, if anything. The time is taken from the request.
pub fn fault(seen: &Seen, id: &str, secret: &str, region: &str, service: &str) -> Option<String> {
    let header = seen.header("authorization");
    let Some(rest) = header.strip_prefix("AWS4-HMAC-SHA256 ") else {
        return Some(format!("no signature: {header:?}"));
    };
    let part = |name: &str| {
        let parts = rest.split(',').map(str::trim);
        parts
            .filter_map(|p| p.strip_prefix(name)?.strip_prefix('='))
            .next()
            .unwrap_or_default()
            .to_string()
    };
    let time = seen.header("x-amz-date");
    let day = time.get(..8).unwrap_or_default();
    let scope = format!("{day}/{region}/{service}/aws4_request");
    if part("Credential") != format!("{id}/{scope}") {
        return Some(format!("the credential is {}", part("Credential")));
    }
    let signed = part("SignedHeaders");
    let mut canonical_headers = String::new();
    for name in signed.split(';') {
        let words: Vec<&str> = seen.header(name).split_whitespace().collect();
        canonical_headers += &format!("{name}:{}\n", words.join(" "));
    }
    for must in ["host", "x-amz-date"] {
        if !signed.split(';').any(|name| name == must) {
            return Some(format!("{must} is not signed"));
        }
    }
    // Every header of Amazon's own must be signed.
    let own = seen.headers.iter().map(|(name, _)| name);
    if let Some(name) = own
        .filter(|name| name.starts_with("x-amz-"))
        .find(|name| !signed.split(';').any(|s| s == *name))
    {
        return Some(format!("{name} is not signed"));
    }
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_unstable();
    let request = [
        &seen.method,
        // The path as it came, encoded once more.
        &encode(path, true),
        &pairs.join("&"),
        &canonical_headers,
        &signed,
        &hex(&sha256(seen.body.as_bytes())),
    ]
    .map(String::as_str)
    .join("\n");
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&sha256(request.as_bytes()))
    );
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), day.as_bytes());
    for step in [region, service, "aws4_request"] {
        key = hmac(&key, step.as_bytes());
    }
    let expected = hex(&hmac(&key, to_sign.as_bytes()));
    let given = part("Signature");
    (given != expected).then(|| format!("the signature is {given}, not {expected}"))
}

#[test]
fn the_checker_knows_amazons_own_example() {
    let mut seen = Seen {
        method: "GET".into(),
        target: "/?Action=ListUsers&Version=2010-05-08".into(),
        headers: [
            ("host", "iam.amazonaws.com"),
            (
                "content-type",
                "application/x-www-form-urlencoded; charset=utf-8",
            ),
            ("x-amz-date", "20150830T123600Z"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date, \
                 Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            ),
        ]
        .map(|(n, v)| (n.to_string(), v.to_string()))
        .to_vec(),
        body: String::new(),
        at: std::time::Instant::now(),
    };
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let check = |seen: &Seen, secret| fault(seen, "AKIDEXAMPLE", secret, "us-east-1", "iam");
    assert_eq!(check(&seen, secret), None);
    assert!(check(&seen, "another").is_some());
    seen.body.push('x');
    assert!(check(&seen, secret).is_some());
}
