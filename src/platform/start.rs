//! What a launcher hands to a platform for one instance, as JSON: where to meet, and as whom.

use crate::rendezvous::message::{hex, secrets, unhex};
use crate::rendezvous::place;
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
        place.rendezvous()?;
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
    /// As what dials there takes it. The URL has a scheme, and its pin stands beside it.
    pub fn rendezvous(&self) -> Result<place::Place, String> {
        let url = &self.rendezvous;
        if !url.contains("://") || url.contains('#') {
            return Err(format!(
                "its \"rendezvous\" {url:?} is not http://HOST:PORT or https://HOST:PORT"
            ));
        }
        let mut place = place::Place::parse(url)?;
        if self.pin.is_some() && !place.tls {
            return Err(format!("it has a \"pin\", but {url} has no certificate"));
        }
        place.pin = self.pin;
        Ok(place)
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
            pass: secrets::host_pass(&self.hosts_key, instance, attempt),
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
        plain.place.rendezvous = "http://127.0.0.1:81".into();
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
            (&good.replace("https:", "ftp:"), "scheme"),
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
    fn the_rendezvous_has_a_scheme_and_no_pin_of_its_own() {
        let place = |url: &str, pin| {
            let place = Place {
                rendezvous: url.into(),
                pin,
                ..start().place
            };
            place.rendezvous()
        };
        assert_eq!(place("http://a:1", None).unwrap().authority(), "a:1");
        let there = place("https://[::1]:7", Some([9; 32])).unwrap();
        assert_eq!((there.tls, there.pin), (true, Some([9; 32])));
        assert_eq!(there.authority(), "[::1]:7");
        let pinned = format!("https://a:1#{}", hex(&[9; 32]));
        for wrong in ["a:1", "http://", "http://a:x", "http://a/b", &pinned] {
            assert!(place(wrong, None).is_err(), "{wrong}");
        }
        assert!(place("http://a:1", Some([9; 32])).is_err());
    }
}
