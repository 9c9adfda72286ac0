//! Where a rendezvous is, as people write it: `https://host:port#PIN`, `http://host:port`, `host:port`.

use crate::rendezvous::message::{hex, unhex};
use std::fmt;
use std::net::IpAddr;

/// The port that `mayfly serve` takes unless told otherwise.
pub const PORT: u16 = 7717;

/// Where a rendezvous is, and how it is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub tls: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// The SHA-256 digest of its certificate's DER; without, the public authorities must vouch for it.
    pub pin: Option<[u8; 32]>,
}

impl Place {
    /// A pin makes it `https`, without a scheme too; neither means plain TCP.
    pub fn parse(text: &str) -> Result<Place, String> {
        let wrong = |why: &str| {
            format!("{text}: {why}; a rendezvous is https://HOST:PORT#PIN, http://HOST:PORT or HOST:PORT")
        };
        let (rest, pin) = match text.trim().split_once('#') {
            None => (text.trim(), None),
            Some((rest, pin)) => {
                let pin = unhex::<32>(pin)
                    .ok_or_else(|| wrong("its pin is not 64 hexadecimal digits"))?;
                (rest, Some(pin))
            }
        };
        let (tls, rest) = match rest.split_once("://") {
            None => (pin.is_some(), rest),
            Some(("https", rest)) => (true, rest),
            Some(("http", _)) if pin.is_some() => return Err(wrong("a pin needs https")),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(wrong("its scheme is unknown")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '@', ' ']) {
            return Err(wrong("it has more than a host and a port"));
        }
        let bare = rest.ends_with(']') || !rest.contains(':');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !bare => (
                host,
                port.parse().map_err(|_| wrong("its port is no port"))?,
            ),
            _ => (rest, PORT),
        };
        let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let name = inner.unwrap_or(host);
        let strange = |c: char| matches!(c, '[' | ']') || c.is_whitespace() || c.is_control();
        if name.is_empty() || name.contains(strange) || (inner.is_none() && host.contains(':')) {
            return Err(wrong("its host is no host"));
        }
        Ok(Place {
            tls,
            host: inner.unwrap_or(host).to_string(),
            port,
            pin,
        })
    }

    /// `host:port`, as a dialler takes it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Does it stay on this machine?
    pub fn is_near(&self) -> bool {
        let loopback = |ip: IpAddr| ip.is_loopback();
        self.host == "localhost" || self.host.parse().is_ok_and(loopback)
    }

    /// Without the pin, for an HTTP client.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())?;
        match &self.pin {
            Some(pin) => write!(f, "#{}", hex(pin)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_comes_out() {
        let pin = "ab".repeat(32);
        for (text, url) in [
            ("127.0.0.1:1", "http://127.0.0.1:1".to_string()),
            ("http://a:1/", "http://a:1".into()),
            ("https://a", format!("https://a:{PORT}")),
            ("[::1]", format!("http://[::1]:{PORT}")),
            ("[::1]:5", "http://[::1]:5".into()),
            (&format!("a:1#{pin}"), format!("https://a:1#{pin}")),
            (&format!("https://a:1/#{pin}"), format!("https://a:1#{pin}")),
        ] {
            let place = Place::parse(text).unwrap();
            assert_eq!(place.to_string(), url);
            assert_eq!(Place::parse(&url).unwrap(), place);
        }
    }

    #[test]
    fn what_stays_on_this_machine_is_known() {
        for (text, near) in [
            ("localhost", true),
            ("127.8.0.1:1", true),
            ("[::1]", true),
            ("192.0.2.1:1", false),
            ("localhost.example:1", false),
        ] {
            assert_eq!(Place::parse(text).unwrap().is_near(), near, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_own_text() {
        let pin = "ab".repeat(32);
        for text in [
            "",
            ":1",
            "a:",
            "a:70000",
            "::1",
            "ftp://a:1",
            "http://a:1/x",
            "https://user@a:1",
            "a:1#ab",
            "[[]]",
            "a\r\nb:1",
            &format!("http://a:1#{pin}"),
        ] {
            let why = Place::parse(text).unwrap_err();
            assert!(why.starts_with(text), "{why}");
        }
    }
}
