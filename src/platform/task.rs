//! What the instances of a job are to run, as JSON: written by the launcher, carried by the rendezvous unread, read
//! by the hosts.

use crate::rendezvous::message::TASK_MAX;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `mayfly run` was asked for, as far as a host must know it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// In the order of their ranks; together as many ranks as the job has.
    pub parts: Vec<Part>,
    #[serde(default)]
    pub stdin: Stdin,
    /// The job must end within so many seconds.
    #[serde(default)]
    pub limit_s: Option<f64>,
    /// Every line of output begins with its rank (the launcher's business).
    #[serde(default)]
    pub tag: bool,
    /// MPI_UNIVERSE_SIZE; absent: the number of ranks.
    #[serde(default)]
    pub universe: Option<u32>,
}

/// Ranks that run the same command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    pub ranks: u32,
    /// An absolute path in the instance, or a name in its package.
    pub program: String,
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Variables to set.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The working folder; absent: the package's.
    #[serde(default)]
    pub folder: Option<String>,
}

/// Which rank reads the launcher's standard input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Stdin {
    All,
    #[default]
    None,
    Rank(u32),
}

impl Stdin {
    pub fn reads(self, rank: u32) -> bool {
        match self {
            Stdin::All => true,
            Stdin::None => false,
            Stdin::Rank(one) => one == rank,
        }
    }
}

impl From<Stdin> for String {
    fn from(stdin: Stdin) -> String {
        match stdin {
            Stdin::All => "all".into(),
            Stdin::None => "none".into(),
            Stdin::Rank(rank) => rank.to_string(),
        }
    }
}

impl TryFrom<String> for Stdin {
    type Error = String;
    fn try_from(text: String) -> Result<Stdin, String> {
        match text.as_str() {
            "all" => Ok(Stdin::All),
            "none" => Ok(Stdin::None),
            rank => match rank.parse() {
                Ok(rank) => Ok(Stdin::Rank(rank)),
                Err(_) => Err(format!("stdin {text:?} is not a rank, all or none")),
            },
        }
    }
}

impl Task {
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From an errand; `size` is the job's.
    pub fn from_json(json: &[u8], size: u32) -> Result<Task, String> {
        if json.len() > TASK_MAX {
            return Err(format!(
                "the task of {} bytes is larger than {TASK_MAX}",
                json.len()
            ));
        }
        let task: Task = serde_json::from_slice(json).map_err(|e| {
            format!(
                "the task is not understood ({e}): are the launcher and this host of one version?"
            )
        })?;
        let ranks: u64 = task.parts.iter().map(|part| u64::from(part.ranks)).sum();
        if ranks != u64::from(size) {
            return Err(format!(
                "the task's parts have {ranks} ranks, but the job has {size}"
            ));
        }
        let strange = |text: &str| text.contains('\0');
        for part in &task.parts {
            let names = part.environment.keys();
            if names
                .clone()
                .any(|name| name.is_empty() || name.contains('='))
                || names
                    .chain(part.environment.values())
                    .any(|text| strange(text))
                || part.arguments.iter().any(|text| strange(text))
                || strange(&part.program)
            {
                return Err(
                    "the task has a name, value or argument that no process can be given".into(),
                );
            }
        }
        Ok(task)
    }

    /// The part that a rank belongs to, and its number (MPI_APPNUM).
    pub fn part_of(&self, rank: u32) -> Option<(usize, &Part)> {
        let mut first = 0u64;
        self.parts.iter().enumerate().find(|(_, part)| {
            first += u64::from(part.ranks);
            u64::from(rank) < first
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Task {
        let part = |ranks, program: &str| Part {
            ranks,
            program: program.into(),
            arguments: vec!["-x".into()],
            environment: [("A".to_string(), "1".to_string())].into(),
            folder: None,
        };
        Task {
            parts: vec![part(2, "one"), part(3, "two")],
            stdin: Stdin::Rank(0),
            limit_s: Some(1.5),
            tag: true,
            universe: None,
        }
    }

    #[test]
    fn a_task_survives_the_journey() {
        let json = task().to_json();
        assert_eq!(Task::from_json(&json, 5), Ok(task()));
        assert!(Task::from_json(&json, 4).unwrap_err().contains("5 ranks"));
        let least = br#"{"parts":[{"ranks":1,"program":"p"}]}"#;
        let least = Task::from_json(least, 1).unwrap();
        assert_eq!((least.stdin, least.tag), (Stdin::None, false));
    }

    #[test]
    fn a_rank_finds_its_part() {
        let task = task();
        let of = |rank| {
            task.part_of(rank)
                .map(|(at, part)| (at, part.program.as_str()))
        };
        assert_eq!(of(0), Some((0, "one")));
        assert_eq!(of(2), Some((1, "two")));
        assert_eq!(of(4), Some((1, "two")));
        assert_eq!(of(5), None);
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        let wrong: [&[u8]; 5] = [
            b"",
            b"{}",
            br#"{"parts":[{"ranks":1,"program":"p","x":1}]}"#,
            br#"{"parts":[{"ranks":1,"program":"p"}],"stdin":"some"}"#,
            br#"{"parts":[{"ranks":1,"program":"p","environment":{"A=B":"1"}}]}"#,
        ];
        for json in wrong {
            assert!(Task::from_json(json, 1).is_err());
        }
        let mut task = task();
        task.parts[0].arguments[0] = "a\0b".into();
        assert!(Task::from_json(&task.to_json(), 5).is_err());
    }

    #[test]
    fn who_reads_the_input() {
        for (text, reads) in [
            ("all", [true, true]),
            ("none", [false, false]),
            ("1", [false, true]),
        ] {
            let stdin = Stdin::try_from(text.to_string()).unwrap();
            assert_eq!([stdin.reads(0), stdin.reads(1)], reads);
            assert_eq!(String::from(stdin), text);
        }
    }
}
