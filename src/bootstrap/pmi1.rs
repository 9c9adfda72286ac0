//! PMI-1: lines of `cmd=NAME key=value ...`.

use super::pmi::{Line, Place, Store};
use crate::base::error::Result;
use crate::fail;
use std::os::fd::RawFd;

/// A session with a PMI-1 server.
pub struct Pmi1 {
    line: Line,
    store: String,
    value_max: usize,
}

/// An answer's field. A value ends at the next space, but for those that are last and may hold spaces.
fn field<'a>(answer: &'a str, key: &str) -> Option<&'a str> {
    answer.split(' ').find_map(|pair| {
        let (k, v) = pair.split_once('=')?;
        (k == key).then_some(v)
    })
}

impl Pmi1 {
    /// `rank` and `size`: from the environment, or from the server's first words.
    pub fn open(line: Line, rank: Option<u32>, size: Option<u32>) -> Result<(Place, Pmi1)> {
        let mut pmi = Pmi1 {
            line,
            store: String::new(),
            value_max: 0,
        };
        let (Some(rank), Some(size)) = (rank, size) else {
            fail!(Other, "the PMI launcher does not set PMI_RANK and PMI_SIZE");
        };
        pmi.ask("init pmi_version=1 pmi_subversion=1", "response_to_init")?;
        let maxes = pmi.ask("get_maxes", "maxes")?;
        // Slurm's server reads a command into 1,024 bytes, whatever it says of values.
        let value_max = field(&maxes, "vallen_max").and_then(|v| v.parse().ok());
        pmi.value_max = value_max.unwrap_or(256).min(512);
        let appnum = pmi.ask("get_appnum", "appnum")?;
        let universe = pmi.ask("get_universe_size", "universe_size")?;
        let name = pmi.ask("get_my_kvsname", "my_kvsname")?;
        pmi.store = field(&name, "kvsname").unwrap_or_default().to_string();
        let number = |answer: &str, key| field(answer, key).and_then(|v| v.parse::<i32>().ok());
        let (appnum, universe) = (number(&appnum, "appnum"), number(&universe, "size"));
        let place = Place {
            rank,
            size,
            // Some launchers answer with a negative number when they do not know.
            appnum: appnum.filter(|&n| n >= 0).unwrap_or(0),
            universe: universe.filter(|&n| n > 0),
        };
        Ok((place, pmi))
    }

    /// One command, its answer, without judging the answer's `rc`.
    fn talk(&mut self, command: &str, expected: &str) -> Result<String> {
        self.line.write(&format!("cmd={command}\n"))?;
        let answer = self.line.read_line()?;
        if field(&answer, "cmd") != Some(expected) {
            fail!(Other, "the PMI server answered {answer:?} to {command:?}");
        }
        Ok(answer)
    }

    fn ask(&mut self, command: &str, expected: &str) -> Result<String> {
        let answer = self.talk(command, expected)?;
        match field(&answer, "rc") {
            None | Some("0") => Ok(answer),
            Some(_) => fail!(Other, "the PMI server refused {command:?}: {answer:?}"),
        }
    }
}

impl Store for Pmi1 {
    fn value_max(&self) -> usize {
        self.value_max
    }

    fn put(&mut self, key: &str, value: &str) -> Result<()> {
        let command = format!("put kvsname={} key={key} value={value}", self.store);
        self.ask(&command, "put_result").map(drop)
    }

    fn fence(&mut self) -> Result<()> {
        self.ask("barrier_in", "barrier_out").map(drop)
    }

    fn get(&mut self, key: &str) -> Result<String> {
        match self.attribute(key)? {
            Some(value) => Ok(value),
            None => fail!(Other, "the PMI server does not know {key}"),
        }
    }

    fn attribute(&mut self, key: &str) -> Result<Option<String>> {
        let command = format!("get kvsname={} key={key}", self.store);
        let answer = self.talk(&command, "get_result")?;
        let found = matches!(field(&answer, "rc"), None | Some("0"));
        Ok(field(&answer, "value")
            .filter(|_| found)
            .map(str::to_string))
    }

    fn abort(&mut self, code: i32, _text: &str) {
        // It does not answer; it ends us.
        let _ = self.line.write(&format!("cmd=abort exitcode={code}\n"));
    }

    fn finalize(&mut self) -> Result<()> {
        self.ask("finalize", "finalize_ack").map(drop)
    }

    fn descriptor(&self) -> RawFd {
        self.line.descriptor()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_whole_words() {
        let answer = "cmd=get_result rc=0 msg=success value=(vector,(0,1,2)) src=x";
        assert_eq!(field(answer, "value"), Some("(vector,(0,1,2))"));
        assert_eq!(field(answer, "rc"), Some("0"));
        assert_eq!(field(answer, "alue"), None);
    }
}
