//! Apache OpenWhisk's action interface (docs/actions-new.md): /init once, /run one at a time, and a mark at the end of
//! each activation's log on both streams.

use base64::Engine;
use serde_json::{json, Value};
use std::io::Write;

/// Ends an activation's log.
const MARK: &str = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";
/// What every runtime says to a second /init.
pub const TWICE: &str = "Cannot initialize the action more than once.";

/// What /init said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whisk {
    /// The action's variables, for the ranks.
    pub variables: Vec<(String, String)>,
    /// A package, as a zip; `None`: the program is in the image.
    pub code: Option<Vec<u8>>,
}

impl Whisk {
    /// `{"value": {"name", "main", "code", "binary", "env"}}`; binary code is a zip in base64.
    pub fn init(body: &[u8]) -> Result<Whisk, String> {
        let value: Value = serde_json::from_slice(body).map_err(|_| "this is no JSON")?;
        let value = value.get("value").unwrap_or(&Value::Null);
        let code = value.get("code").and_then(Value::as_str).unwrap_or("");
        let code = match value.get("binary") {
            _ if code.is_empty() => None,
            Some(Value::Bool(true)) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(code.trim());
                Some(bytes.map_err(|_| "the action's code is not base64")?)
            }
            _ => {
                return Err(
                    "the action's code is text; Mayfly runs what its image holds (--docker IMAGE alone) or a zip of `mayfly \
                     pack`"
                        .into(),
                )
            }
        };
        let variables = match value.get("env") {
            Some(Value::Object(env)) => env.iter().map(|(n, v)| (n.clone(), plain(v))).collect(),
            _ => Vec::new(),
        };
        Ok(Whisk { variables, code })
    }
}

/// What /run says besides its value.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Activation {
    /// Milliseconds since 1970; 0: not said.
    pub deadline_ms: u64,
    /// `__OW_ACTIVATION_ID` and so on, as other runtimes set them.
    pub variables: Vec<(String, String)>,
}

pub fn activation(body: &[u8]) -> Activation {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return Activation::default();
    };
    let number = |value: &Value| match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    };
    // The platform's key is not for programs that did not ask for it.
    let known = |name: &str| name != "value" && name != "api_key";
    Activation {
        deadline_ms: fields.get("deadline").and_then(number).unwrap_or(0),
        variables: fields
            .iter()
            .filter(|(name, _)| known(name))
            .map(|(name, value)| (format!("__OW_{}", name.to_uppercase()), plain(value)))
            .collect(),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub fn error(text: &str) -> Value {
    json!({"error": text})
}

/// Says on both streams that this activation's log is complete.
pub fn mark() {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    // A stream that nobody reads needs no mark.
    let _ = writeln!(out, "{MARK}").and_then(|()| out.flush());
    let _ = writeln!(err, "{MARK}").and_then(|()| err.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_init_and_run_say_reaches_the_ranks() {
        let body = json!({"value": {"name": "a", "main": "main", "code": "", "binary": false,
            "env": {"A": "1", "N": 2}}});
        let whisk = Whisk::init(body.to_string().as_bytes()).unwrap();
        let pair = |n: &str, v: &str| (n.to_string(), v.to_string());
        assert_eq!(whisk.variables, [pair("A", "1"), pair("N", "2")]);
        assert!(Whisk::init(b"x").is_err());
        assert_eq!(whisk.code, None);
        let of = |code: &str, binary: bool| {
            let body = json!({"value": {"code": code, "binary": binary}});
            Whisk::init(body.to_string().as_bytes())
        };
        assert_eq!(of("UEsD", true).unwrap().code, Some(b"PK\x03".to_vec()));
        assert!(of("U", true).unwrap_err().contains("base64"));
        assert!(of("#!/bin/sh", false).unwrap_err().contains("text"));
        let run = json!({"value": {}, "activation_id": "7", "api_key": "secret",
            "deadline": "1700000000000"});
        let activation = activation(run.to_string().as_bytes());
        assert_eq!(activation.deadline_ms, 1_700_000_000_000);
        assert!(activation
            .variables
            .contains(&pair("__OW_ACTIVATION_ID", "7")));
        assert!(!format!("{activation:?}").contains("secret"));
    }
}
