//! A start as platforms deliver it: as it is, or inside what they wrap around a request's body.

use super::answer::Trouble;
use crate::platform::start::Start;
use base64::Engine;
use serde_json::Value;

/// The largest request, bytes: a start and what a gateway tells about it (headers, identities).
pub const LETTER_MAX: usize = 256 * 1024;
/// Wrappers within wrappers.
const DEPTH: usize = 5;

/// The start in a request's body.
pub fn open(body: &[u8]) -> Result<Start, Trouble> {
    if body.len() > LETTER_MAX {
        return Err(too_large(body.len()));
    }
    let found = serde_json::from_slice(body)
        .ok()
        .and_then(|value| find(&value, DEPTH));
    let text = match found {
        Some(text) => text,
        // Let the start's reader say what is wrong.
        None => body.to_vec(),
    };
    Start::from_json(&text).map_err(|e| Trouble::Malformed(format!("this is no start: {e}")))
}

pub fn too_large(size: usize) -> Trouble {
    Trouble::TooLarge(format!(
        "the request has {size} bytes or more; a start with all that platforms wrap around it has at most {LETTER_MAX}"
    ))
}

/// Looks for an object with the field `mayfly`.
fn find(value: &Value, depth: usize) -> Option<Vec<u8>> {
    let inner = |value: &Value| match depth {
        0 => None,
        _ => find(value, depth - 1),
    };
    match value {
        Value::Object(fields) if fields.contains_key("mayfly") => serde_json::to_vec(value).ok(),
        Value::Object(fields) => {
            // Lambda's URLs and API Gateway, OpenWhisk, Azure ({"Data":{"req":{"Body":..}}}), CloudEvents.
            let encoded = fields.get("isBase64Encoded") == Some(&Value::Bool(true));
            let names = ["body", "Body", "value", "Data", "req", "data", "input"];
            let known = names.iter().filter_map(|name| fields.get(*name));
            let plain = known.filter_map(|value| match value {
                Value::String(text) if encoded => inner(&decoded(text)?),
                other => inner(other),
            });
            let base64 = fields.get("data_base64").and_then(Value::as_str);
            let coded = base64.and_then(decoded).and_then(|value| inner(&value));
            plain.into_iter().next().or(coded)
        }
        Value::String(text) => inner(&serde_json::from_str(text).ok()?),
        Value::Array(items) if items.len() == 1 => inner(&items[0]),
        _ => None,
    }
}

fn decoded(text: &str) -> Option<Value> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::start::Place;
    use serde_json::json;

    fn start() -> Start {
        Start {
            place: Place {
                rendezvous: "http://127.0.0.1:7717".into(),
                pin: None,
                job: [1; 16],
            },
            instance: 2,
            attempt: 1,
            pass: [3; 32],
        }
    }

    #[test]
    fn a_start_is_found_in_every_wrapper() {
        let text = start().to_json();
        let object: Value = serde_json::from_str(&text).unwrap();
        let coded = base64::engine::general_purpose::STANDARD.encode(&text);
        for letter in [
            object.clone(),
            json!({"version": "2.0", "headers": {}, "body": text, "isBase64Encoded": false}),
            json!({"body": coded, "isBase64Encoded": true}),
            json!({"value": object, "activation_id": "x"}),
            json!({"Data": {"req": {"Url": "x", "Body": text}}, "Metadata": {}}),
            json!({"Data": {"req": {"Body": object}}, "Metadata": {}}),
            json!({"specversion": "1.0", "data": object}),
            json!({"specversion": "1.0", "data_base64": coded}),
            json!([object]),
            json!(text),
        ] {
            let opened = open(letter.to_string().as_bytes());
            assert_eq!(opened, Ok(start()), "{letter}");
        }
    }

    #[test]
    fn what_is_no_start_is_refused() {
        for garbage in [
            b"".as_slice(),
            b"{}",
            b"\xff\xfe",
            b"[1,2]",
            b"{\"body\":{\"body\":\"nothing\"}}",
            b"{\"mayfly\":1}",
        ] {
            assert!(matches!(open(garbage), Err(Trouble::Malformed(_))));
        }
        let huge = vec![b' '; LETTER_MAX + 1];
        assert!(matches!(open(&huge), Err(Trouble::TooLarge(_))));
        // Depth is bounded.
        let deep = format!(
            "{}{}{}",
            "[".repeat(100),
            start().to_json(),
            "]".repeat(100)
        );
        assert!(open(deep.as_bytes()).is_err());
    }
}
