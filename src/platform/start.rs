//! What a launcher hands to a platform for one instance, as JSON: where to meet, and as whom.

use crate::rendezvous::message::{hex, unhex};
use crate::wire::sha256::hmac;
use serde::{Deserialize, Serialize};

/// The version that this file reads and writes.
const VERSION: u32 = 1;
/// The largest start, bytes; a well-formed one has less than 600.
pub const START_MAX: usize = 4096;

/// One request to a platform: this instance, this attempt.
#[derive(Clone, PartialEq, Eq)]
pub struct Start {
    pub place: Place,
    pub instance: u32,
    /// Counts the launcher's attempts to bring this instance; what a platform repeats has the same number.
    pub attempt: u32,
    /// Proves the right to be this instance in this attempt, and nothing else.
    pub pass: [u8; 32],
}

/// Where a job meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `http://host:port` or `https://host:port`.
    pub rendezvous: String,
    /// SHA-256 of the service's certificate (DER); `None`: its name is checked against the public roots.
    pub pin: Option<[u8; 32]>,
    pub job: [u8; 16],
}

/// The same for all instances of a job, where a platform starts them without a request each: the instance's number
/// comes from its environment.
#[derive(Clone, PartialEq, Eq)]
pub struct Common {
    pub place: Place,
    /// From which every instance's pass follows.
    pub hosts_key: [u8; 32],
}

impl std::fmt::Debug for Start {
    /// Without the pass.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "instance {} (attempt {}) of job {} at {}",
            self.instance,
            self.attempt,
            hex(&self.place.job),
            self.place.rendezvous
        )
    }
}

impl std::fmt::Debug for Common {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "job {} at {}",
            hex(&self.place.job),
            self.place.rendezvous
        )
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    mayfly: u32,
    rendezvous: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pin: Option<String>,
    job: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pass: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hosts_key: Option<String>,
}

/// The pass of an instance's attempt, from the job's hosts key.
pub fn pass_of(hosts_key: &[u8; 32], instance: u32, attempt: u32) -> [u8; 32] {
    hmac(
        hosts_key,
        &[&instance.to_le_bytes(), &attempt.to_le_bytes()],
    )
}

impl Text {
    fn of(place: &Place) -> Text {
        Text {
            mayfly: VERSION,
            rendezvous: place.rendezvous.clone(),
            pin: place.pin.map(|pin| hex(&pin)),
            job: hex(&place.job),
            instance: None,
            attempt: None,
            pass: None,
            hosts_key: None,
        }
    }

    fn read(text: &[u8]) -> Result<(Text, Place), String> {
        if text.len() > START_MAX {
            return Err(format!(
                "{} bytes are more than the {START_MAX} of the largest start",
                text.len()
            ));
        }
        // serde's own words would repeat what they read, and that may be a secret.
        let text: Text = serde_json::from_slice(text).map_err(|e| {
            let kind = match e.classify() {
                serde_json::error::Category::Data => {
                    "has a field that does not belong there, or lacks one"
                }
                _ => "is not JSON",
            };
            format!("line {}, column {}: it {kind}", e.line(), e.column())
        })?;
        if text.mayfly != VERSION {
            return Err(format!(
                "it is of version {}, and this mayfly reads version {VERSION}",
                text.mayfly
            ));
        }
        let place = Place {
            rendezvous: text.rendezvous.clone(),
            pin: text
                .pin
                .as_deref()
                .map(|pin| field("pin", pin))
                .transpose()?,
            job: field("job", &text.job)?,
        };
        place.authority()?;
        Ok((text, place))
    }
}

fn field<const N: usize>(name: &str, text: &str) -> Result<[u8; N], String> {
    unhex(text).ok_or_else(|| format!("its {name:?} is not {} hexadecimal digits", 2 * N))
}

fn absent(name: &str) -> String {
    format!("it has no {name:?}")
}

impl Place {
    /// Does the rendezvous speak TLS, and its `host:port`; the port is 80 or 443 when none is written.
    pub fn authority(&self) -> Result<(bool, String), String> {
        let url = &self.rendezvous;
        let wrong =
            || format!("its \"rendezvous\" {url:?} is not http://HOST:PORT or https://HOST:PORT");
        let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(wrong()),
        };
        let rest = rest.trim_end_matches('/');
        let strange = |c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c);
        if rest.is_empty() || rest.starts_with(':') || rest.contains(strange) {
            return Err(wrong());
        }
        // `[::1]` has colons of its own.
        let tail = rest.rsplit(']').next().unwrap_or(rest);
        match tail.split_once(':') {
            None => Ok((tls, format!("{rest}:{}", if tls { 443 } else { 80 }))),
            Some((_, port)) if port.parse::<u16>().is_ok_and(|p| p > 0) => {
                Ok((tls, rest.to_string()))
            }
            Some(_) => Err(wrong()),
        }
    }
}

impl Start {
    /// As a launcher sends it.
    pub fn to_json(&self) -> String {
        let text = Text {
            instance: Some(self.instance),
            attempt: Some(self.attempt),
            pass: Some(hex(&self.pass)),
            ..Text::of(&self.place)
        };
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// From what a platform delivered; the error says what is wrong with it, and repeats no secret.
    pub fn from_json(json: &[u8]) -> Result<Start, String> {
        let (text, place) = Text::read(json)?;
        if text.hosts_key.is_some() {
            return Err("it has a \"hosts_key\", which belongs in a variable or file".into());
        }
        let pass = text.pass.ok_or_else(|| absent("pass"))?;
        Ok(Start {
            place,
            instance: text.instance.ok_or_else(|| absent("instance"))?,
            attempt: text.attempt.ok_or_else(|| absent("attempt"))?,
            pass: field("pass", &pass)?,
        })
    }
}

impl Common {
    /// As it stands in MAYFLY_START or in the file that MAYFLY_START_FILE names.
    pub fn to_json(&self) -> String {
        let text = Text {
            hosts_key: Some(hex(&self.hosts_key)),
            ..Text::of(&self.place)
        };
        serde_json::to_string(&text).unwrap_or_default()
    }

    pub fn from_json(json: &[u8]) -> Result<Common, String> {
        let (text, place) = Text::read(json)?;
        if text.instance.is_some() || text.attempt.is_some() || text.pass.is_some() {
            return Err("it is the start of one instance; here, one for all is needed".into());
        }
        let key = text.hosts_key.ok_or_else(|| absent("hosts_key"))?;
        Ok(Common {
            place,
            hosts_key: field("hosts_key", &key)?,
        })
    }

    /// One instance's own.
    pub fn of(&self, instance: u32, attempt: u32) -> Start {
        Start {
            place: self.place.clone(),
            instance,
            attempt,
            pass: pass_of(&self.hosts_key, instance, attempt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Start {
        Start {
            place: Place {
                rendezvous: "https://meet.example:7717".into(),
                pin: Some([9; 32]),
                job: [1; 16],
            },
            instance: 3,
            attempt: 2,
            pass: [0xab; 32],
        }
    }

    #[test]
    fn a_start_survives_the_journey() {
        let json = start().to_json();
        assert!(
            json.len() < 600 && json.starts_with("{\"mayfly\":1,"),
            "{json}"
        );
        assert_eq!(Start::from_json(json.as_bytes()), Ok(start()));
        let mut plain = start();
        plain.place.pin = None;
        plain.place.rendezvous = "http://127.0.0.1:80".into();
        assert!(!plain.to_json().contains("pin"));
        assert_eq!(Start::from_json(plain.to_json().as_bytes()), Ok(plain));
    }

    #[test]
    fn what_all_instances_share_gives_each_its_own() {
        let common = Common {
            place: start().place,
            hosts_key: [7; 32],
        };
        let read = Common::from_json(common.to_json().as_bytes());
        assert_eq!(read.as_ref(), Ok(&common));
        let (one, other) = (common.of(1, 0), common.of(1, 1));
        assert_eq!((one.instance, one.attempt), (1, 0));
        assert_ne!(one.pass, other.pass);
        assert_ne!(one.pass, common.of(0, 1).pass);
        assert!(Start::from_json(common.to_json().as_bytes()).is_err());
        assert!(Common::from_json(start().to_json().as_bytes()).is_err());
    }

    #[test]
    fn what_is_wrong_is_said_without_repeating_secrets() {
        let good = start().to_json();
        let wrong = [
            ("", "not JSON"),
            ("null", "does not belong"),
            ("{\"mayfly\":1}", "lacks"),
            (&good.replace("\"mayfly\":1", "\"mayfly\":9"), "version 9"),
            (&good.replace("https:", "ftp:"), "HOST:PORT"),
            (&good.replace(&hex(&[0xab; 32]), "abab"), "64 hexadecimal"),
            (&good.replace("\"job\"", "\"jobs\""), "does not belong"),
            (&good.replace("\"attempt\":2,", ""), "no \"attempt\""),
            (&" ".repeat(START_MAX + 1), "4096"),
        ];
        for (json, word) in wrong {
            let error = Start::from_json(json.as_bytes()).unwrap_err();
            assert!(error.contains(word), "{json}: {error}");
            assert!(!error.contains("abab"), "{error}");
        }
        assert!(!format!("{:?}", start()).contains("abab"));
    }

    #[test]
    fn the_rendezvous_is_a_scheme_a_host_and_a_port() {
        let place = |url: &str| {
            let place = Place {
                rendezvous: url.into(),
                ..start().place
            };
            place.authority()
        };
        assert_eq!(place("http://a:1"), Ok((false, "a:1".into())));
        assert_eq!(place("https://a/"), Ok((true, "a:443".into())));
        assert_eq!(place("http://[::1]:7"), Ok((false, "[::1]:7".into())));
        assert_eq!(place("http://[::1]"), Ok((false, "[::1]:80".into())));
        for wrong in [
            "a:1",
            "http://",
            "http://:1",
            "http://a:0",
            "http://a:x",
            "http://a/b",
            "http://u@a",
            "http://a\r\nb",
        ] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
