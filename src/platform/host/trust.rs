//! Whose starts an instance takes. A start names the rendezvous that says what is to be run: whoever can reach a
//! function's address could name one of his own. Platforms check who calls (IAM, basic authentication); where one does
//! not, MAYFLY_TRUST names the rendezvous whose starts are good.

use super::answer::Trouble;
use crate::rendezvous::place::Place;

/// The variable: `https://HOST:PORT#PIN`, `http://HOST:PORT`, several with blanks between.
pub const VARIABLE: &str = "MAYFLY_TRUST";

/// What the variable says.
#[derive(Clone, Debug, Default)]
pub struct Trust(Option<Vec<Place>>);

impl Trust {
    pub fn parse(text: Option<&str>) -> Result<Trust, String> {
        let Some(text) = text else {
            return Ok(Trust(None));
        };
        let places: Result<Vec<Place>, String> =
            text.split_whitespace().map(Place::parse).collect();
        match places {
            Ok(places) if !places.is_empty() => Ok(Trust(Some(places))),
            Ok(_) => Err(format!("{VARIABLE} is set, but names no rendezvous")),
            Err(e) => Err(format!("{VARIABLE}: {e}")),
        }
    }

    /// Does everybody have it?
    pub fn is_blind(&self) -> bool {
        self.0.is_none()
    }

    pub fn check(&self, place: &Place) -> Result<(), Trouble> {
        // One that is named without a pin is known by its name, with whatever certificate the start says.
        let same = |known: &&Place| {
            let known = *known;
            (known.tls, &known.host, known.port) == (place.tls, &place.host, place.port)
                && (known.pin.is_none() || known.pin == place.pin)
        };
        match &self.0 {
            Some(known) if known.iter().find(same).is_none() => Err(Trouble::Forbidden(format!(
                "this instance takes no starts for {} ({VARIABLE} names others)",
                place.url()
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rendezvous_that_are_named_are_good() {
        let place = |text: &str| Place::parse(text).unwrap();
        let pin = "ab".repeat(32);
        let pinned = format!("https://meet:1#{pin}");
        let trust = Trust::parse(Some(&format!("http://a:1 {pinned}"))).unwrap();
        assert!(trust.check(&place("http://a:1")).is_ok());
        assert!(trust.check(&place(&pinned)).is_ok());
        let other = format!("https://meet:1#{}", "cd".repeat(32));
        for stranger in ["http://a:2", "https://a:1", "https://meet:1", &other] {
            let refused = trust.check(&place(stranger));
            assert!(matches!(refused, Err(Trouble::Forbidden(_))), "{stranger}");
        }
        let blind = Trust::parse(None).unwrap();
        assert!(blind.is_blind() && blind.check(&place("http://b:9")).is_ok());
        assert!(Trust::parse(Some(" ")).is_err() && Trust::parse(Some("ftp://x")).is_err());
    }
}
