//! Error classes and codes that a program adds (MPI-5.0 §9.5). Predefined classes have the engine's numbers, up to
//! [`LAST_CODE`]; what is added is numbered from there on, classes and codes in one row. Each door shifts that row
//! to behind its own ABI's MPI_ERR_LASTCODE.

use crate::base::error::{Class, Error, Result};
use crate::fail;
use std::collections::BTreeSet;

/// MPI_ERR_LASTCODE of the engine's numbers.
pub const LAST_CODE: i32 = 0x3fff;

struct Code {
    /// The class it belongs to; a class belongs to itself.
    class: i32,
    text: String,
}

/// What the program added.
#[derive(Default)]
pub struct Codes {
    entries: Vec<Option<Code>>,
    /// Numbers given back, lowest first, so that the row stays short.
    free: BTreeSet<usize>,
    /// The newest error that a call returned or handed to the program: its class, and what happened where.
    last: Option<(Class, String)>,
}

fn predefined(code: i32) -> Option<Class> {
    Class::ALL
        .iter()
        .copied()
        .find(|&class| class as i32 == code)
}

impl Codes {
    /// MPI_LASTUSEDCODE, in the engine's numbers.
    pub fn last_used(&self) -> i32 {
        LAST_CODE + self.entries.len() as i32
    }

    fn index(code: i32) -> Option<usize> {
        usize::try_from(i64::from(code) - i64::from(LAST_CODE) - 1).ok()
    }

    fn entry(&self, code: i32) -> Result<&Code> {
        match Codes::index(code).and_then(|i| self.entries.get(i)?.as_ref()) {
            Some(entry) => Ok(entry),
            None => unknown(code),
        }
    }

    fn add(&mut self, class: Option<i32>) -> i32 {
        let index = self.free.pop_first().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        let code = LAST_CODE + 1 + index as i32;
        let class = class.unwrap_or(code);
        self.entries[index] = Some(Code {
            class,
            text: String::new(),
        });
        code
    }

    /// Keeps an error's function, argument and value for whoever asks for its string next.
    pub fn remember(&mut self, name: &str, error: &Error) {
        if error.user_code.is_none() && !error.detail.is_empty() {
            self.last = Some((error.class, format!("{name}: {}", error.detail)));
        }
    }

    pub fn add_class(&mut self) -> i32 {
        self.add(None)
    }

    /// A new code of a class, predefined or added.
    pub fn add_code(&mut self, class: i32) -> Result<i32> {
        if self.class(class)? != class {
            fail!(Arg, "{class} is an error code, not an error class");
        }
        Ok(self.add(Some(class)))
    }

    pub fn set_text(&mut self, code: i32, text: &str) -> Result<()> {
        self.entry(code)?;
        let entry = Codes::index(code).and_then(|i| self.entries.get_mut(i)?.as_mut());
        if let Some(entry) = entry {
            entry.text = text.to_string();
        }
        Ok(())
    }

    fn remove(&mut self, code: i32) {
        let Some(index) = Codes::index(code) else {
            return;
        };
        self.entries[index] = None;
        self.free.insert(index);
        while self.entries.last().is_some_and(Option::is_none) {
            self.entries.pop();
            self.free.remove(&self.entries.len());
        }
    }

    /// # Errors
    /// `Arg`: predefined, unknown, a code rather than a class, or a class that still has codes or a string.
    pub fn remove_class(&mut self, class: i32) -> Result<()> {
        let entry = self.entry(class)?;
        if entry.class != class {
            fail!(Arg, "{class} is an error code, not an error class");
        }
        if !entry.text.is_empty() {
            fail!(Arg, "error class {class} still has a string");
        }
        let codes = self
            .entries
            .iter()
            .flatten()
            .filter(|e| e.class == class)
            .count();
        if codes > 1 {
            fail!(Arg, "error class {class} still has {} codes", codes - 1);
        }
        self.remove(class);
        Ok(())
    }

    /// # Errors
    /// `Arg`: predefined, unknown, a class, or a code that still has a string.
    pub fn remove_code(&mut self, code: i32) -> Result<()> {
        let entry = self.entry(code)?;
        if entry.class == code {
            fail!(Arg, "{code} is an error class, not an error code");
        }
        if !entry.text.is_empty() {
            fail!(Arg, "error code {code} still has a string");
        }
        self.remove(code);
        Ok(())
    }

    /// The class of a code or class.
    pub fn class(&self, code: i32) -> Result<i32> {
        match predefined(code) {
            Some(class) => Ok(class as i32),
            None => Ok(self.entry(code)?.class),
        }
    }

    /// The text of a code or class; empty for an added one that was given none.
    pub fn text(&self, code: i32) -> Result<String> {
        match predefined(code) {
            Some(class) => Ok(match &self.last {
                Some((last, story)) if *last == class => {
                    format!("{}: {} ({story})", class.name(), class.text())
                }
                _ => format!("{}: {}", class.name(), class.text()),
            }),
            None => Ok(self.entry(code)?.text.clone()),
        }
    }
}

#[cold]
fn unknown<T>(code: i32) -> Result<T> {
    match predefined(code) {
        Some(class) => fail!(Arg, "{} is predefined", class.name()),
        None => fail!(
            Arg,
            "{code} is not an error code that MPI or the program made"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_codes() {
        let mut codes = Codes::default();
        assert_eq!(codes.last_used(), LAST_CODE);
        let class = codes.add_class();
        let code = codes.add_code(class).unwrap();
        let other = codes.add_code(Class::Arg as i32).unwrap();
        assert_eq!(codes.class(class).unwrap(), class);
        assert_eq!(codes.class(code).unwrap(), class);
        assert_eq!(codes.class(other).unwrap(), Class::Arg as i32);
        assert_eq!(codes.last_used(), other);
        assert_eq!(codes.text(class).unwrap(), "");
        codes.set_text(code, "too hot").unwrap();
        assert_eq!(codes.text(code).unwrap(), "too hot");
        for wrong in [-1, 0x3ffe, other + 1, i32::MIN, i32::MAX] {
            assert_eq!(codes.class(wrong).unwrap_err().class, Class::Arg);
        }
        assert!(codes.add_code(code).is_err());
        assert!(codes.set_text(Class::Arg as i32, "no").is_err());
    }

    #[test]
    fn the_newest_error_tells_its_story() {
        let mut codes = Codes::default();
        let rank = Class::Rank as i32;
        assert_eq!(codes.text(rank).unwrap(), "MPI_ERR_RANK: invalid rank");
        codes.remember(
            "MPI_Send",
            &Error::new(Class::Rank, "rank 9 is not in 0..4"),
        );
        let told = "MPI_ERR_RANK: invalid rank (MPI_Send: rank 9 is not in 0..4)";
        assert_eq!(codes.text(rank).unwrap(), told);
        codes.remember("MPI_Send", &Error::new(Class::Tag, "the tag is -7"));
        assert_eq!(codes.text(rank).unwrap(), "MPI_ERR_RANK: invalid rank");
    }

    #[test]
    fn removal_gives_numbers_back() {
        let mut codes = Codes::default();
        for _ in 0..3 {
            let class = codes.add_class();
            let code = codes.add_code(class).unwrap();
            assert!(codes.remove_class(class).is_err() && codes.remove_code(class).is_err());
            assert!(codes.remove_class(code).is_err());
            codes.remove_code(code).unwrap();
            codes.remove_class(class).unwrap();
            assert!(codes.remove_class(Class::Arg as i32).is_err());
        }
        assert_eq!(codes.last_used(), LAST_CODE);
    }
}
