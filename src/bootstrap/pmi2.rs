//! PMI-2: after a first line of the old kind, six decimal digits of length and `cmd=NAME;key=value;...`.

use super::pmi::{Line, Place, Store};
use crate::base::error::Result;
use crate::fail;
use std::os::fd::RawFd;

/// A session with a PMI-2 server.
pub struct Pmi2 {
    line: Line,
    job: String,
}

/// An answer's field; a doubled semicolon stands for one.
fn field(answer: &str, key: &str) -> Option<String> {
    let marked = answer.replace(";;", "\0");
    let found = marked.split(';').find_map(|pair| {
        let (k, v) = pair.split_once('=')?;
        (k == key).then(|| v.replace('\0', ";"))
    });
    found
}

impl Pmi2 {
    /// `rank`, `size` and the launcher's name for the job: from the environment.
    pub fn open(
        line: Line,
        job: Option<String>,
        rank: Option<u32>,
        size: Option<u32>,
    ) -> Result<(Place, Pmi2)> {
        let mut pmi = Pmi2 {
            line,
            job: String::new(),
        };
        pmi.line
            .write("cmd=init pmi_version=2 pmi_subversion=0\n")?;
        let answer = pmi.line.read_line()?;
        let spoken = |pair: &str| answer.split(' ').any(|p| p == pair);
        if !spoken("pmi_version=2") || !spoken("rc=0") {
            fail!(Other, "the PMI server does not speak PMI-2: {answer:?}");
        }
        let mut command = "fullinit;".to_string();
        if let Some(job) = &job {
            command += &format!("pmijobid={job};");
        }
        if let Some(rank) = rank {
            command += &format!("pmirank={rank};");
        }
        // Slurm answers with rc=3 where it misses something that nobody needs.
        let full = pmi.talk(&(command + "threaded=FALSE;"), "fullinit-response")?;
        let number = |key: &str| field(&full, key).and_then(|v| v.trim().parse::<u32>().ok());
        let (Some(rank), Some(size)) = (number("rank").or(rank), number("size").or(size)) else {
            fail!(Other, "the PMI-2 server does not say who we are: {full:?}");
        };
        let id = pmi.ask("job-getid;", "job-getid-response")?;
        pmi.job = field(&id, "jobid").or(job).unwrap_or_default();
        let appnum = number("appnum").unwrap_or(0) as i32;
        let universe = pmi
            .attribute("universeSize")?
            .and_then(|v| v.trim().parse::<i32>().ok());
        let place = Place {
            rank,
            size,
            appnum,
            universe: universe.filter(|&n| n > 0),
        };
        Ok((place, pmi))
    }

    fn talk(&mut self, command: &str, expected: &str) -> Result<String> {
        let text = format!("cmd={command}");
        self.line.write(&format!("{:>6}{text}", text.len()))?;
        let length = self.line.read_exact(6)?;
        let Ok(length) = length.trim().parse() else {
            fail!(
                Other,
                "the PMI-2 server announces an answer of {length:?} bytes"
            );
        };
        let answer = self.line.read_exact(length)?;
        if field(&answer, "cmd").as_deref() != Some(expected) {
            fail!(Other, "the PMI-2 server answered {answer:?} to {text:?}");
        }
        Ok(answer)
    }

    fn ask(&mut self, command: &str, expected: &str) -> Result<String> {
        let answer = self.talk(command, expected)?;
        match field(&answer, "rc").as_deref() {
            None | Some("0") => Ok(answer),
            Some(_) => fail!(Other, "the PMI-2 server refused {command:?}: {answer:?}"),
        }
    }
}

impl Store for Pmi2 {
    fn value_max(&self) -> usize {
        1024
    }

    fn put(&mut self, key: &str, value: &str) -> Result<()> {
        let command = format!("kvs-put;key={key};value={value};");
        self.ask(&command, "kvs-put-response").map(drop)
    }

    fn fence(&mut self) -> Result<()> {
        self.ask("kvs-fence;", "kvs-fence-response").map(drop)
    }

    fn get(&mut self, key: &str) -> Result<String> {
        let command = format!("kvs-get;jobid={};srcid=-1;key={key};", self.job);
        let answer = self.ask(&command, "kvs-get-response")?;
        match field(&answer, "value") {
            Some(value) if field(&answer, "found").as_deref() != Some("FALSE") => Ok(value),
            _ => fail!(Other, "the PMI-2 server does not know {key}"),
        }
    }

    fn attribute(&mut self, key: &str) -> Result<Option<String>> {
        let answer = self.talk(
            &format!("info-getjobattr;key={key};"),
            "info-getjobattr-response",
        )?;
        let found = field(&answer, "found").as_deref() == Some("TRUE");
        Ok(field(&answer, "value").filter(|_| found))
    }

    fn abort(&mut self, code: i32, text: &str) {
        let text: String = text
            .chars()
            .filter(|c| !c.is_control() && *c != ';')
            .take(500)
            .collect();
        let command = format!("cmd=abort;isworld=TRUE;exitcode={code};msg={text};");
        let _ = self.line.write(&format!("{:>6}{command}", command.len()));
    }

    fn finalize(&mut self) -> Result<()> {
        self.ask("finalize;", "finalize-response").map(drop)
    }

    fn descriptor(&self) -> RawFd {
        self.line.descriptor()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_end_at_single_semicolons() {
        let answer = "cmd=kvs-get-response;found=TRUE;value=a;;b=c;rc=0;";
        assert_eq!(field(answer, "value").as_deref(), Some("a;b=c"));
        assert_eq!(field(answer, "rc").as_deref(), Some("0"));
        assert_eq!(field(answer, "none"), None);
    }
}
