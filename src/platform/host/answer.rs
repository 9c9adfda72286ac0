//! What became of a start, and how a platform is told.

use serde_json::{json, Value};

/// How one rank ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub rank: u32,
    pub code: i32,
    /// 0: none.
    pub signal: i32,
}

impl End {
    /// As a shell shows it.
    pub fn status(&self) -> i32 {
        match self.signal {
            0 => self.code,
            signal => 128 + signal,
        }
    }
}

/// All ranks of an instance have run and ended by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub instance: u32,
    pub attempt: u32,
    /// In the order in which they came.
    pub ends: Vec<End>,
}

impl Outcome {
    /// That of the rank that failed first; those that were ended for it come later.
    pub fn status(&self) -> i32 {
        let statuses = self.ends.iter().map(End::status);
        statuses
            .into_iter()
            .find(|&status| status != 0)
            .unwrap_or(0)
    }

    /// Small, whatever the job printed: output and exit codes travel by the rendezvous.
    pub fn to_json(&self) -> Value {
        let failed: Vec<Value> = self
            .ends
            .iter()
            .filter(|end| end.status() != 0)
            .take(16)
            .map(|end| json!({"rank": end.rank, "code": end.code, "signal": end.signal}))
            .collect();
        json!({
            "mayfly": 1,
            "instance": self.instance,
            "attempt": self.attempt,
            "ranks": self.ends.len(),
            "status": self.status(),
            "failed": failed,
        })
    }
}

/// Why a start did not come to its natural end; each a line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is no start.
    Malformed(String),
    /// It is larger than any start.
    TooLarge(String),
    /// Its pass is wrong.
    Forbidden(String),
    /// The rendezvous does not want this instance: a duplicate, a replay, too late.
    Refused(String),
    /// The rendezvous cannot be reached.
    Unreachable(String),
    /// This instance cannot run the program.
    Unfit(String),
    /// One start runs already.
    Busy,
    /// The ranks were ended from outside: the job's end, a lost rendezvous, the platform. The status is that of the first
    /// rank that failed by itself all the same, else 1.
    Ended(String, i32),
}

impl Trouble {
    pub fn text(&self) -> &str {
        match self {
            Trouble::Malformed(text)
            | Trouble::TooLarge(text)
            | Trouble::Forbidden(text)
            | Trouble::Refused(text)
            | Trouble::Unreachable(text)
            | Trouble::Unfit(text)
            | Trouble::Ended(text, _) => text,
            Trouble::Busy => "this instance runs another start; one at a time (set the platform's concurrency to 1)",
        }
    }

    /// For programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Trouble::Malformed(_) => "Mayfly.Malformed",
            Trouble::TooLarge(_) => "Mayfly.TooLarge",
            Trouble::Forbidden(_) => "Mayfly.Forbidden",
            Trouble::Refused(_) => "Mayfly.Refused",
            Trouble::Unreachable(_) => "Mayfly.Unreachable",
            Trouble::Unfit(_) => "Mayfly.Unfit",
            Trouble::Busy => "Mayfly.Busy",
            Trouble::Ended(..) => "Mayfly.Ended",
        }
    }

    /// The HTTP status (RFC 9110) that says the same, and whether another attempt may help.
    pub fn http_status(&self) -> u16 {
        match self {
            Trouble::Malformed(_) => 400,
            Trouble::TooLarge(_) => 413,
            Trouble::Forbidden(_) => 403,
            Trouble::Refused(_) => 409,
            Trouble::Unreachable(_) => 502,
            Trouble::Unfit(_) => 500,
            Trouble::Busy => 429,
            Trouble::Ended(..) => 500,
        }
    }

    /// A process's exit status that says the same.
    pub fn status(&self) -> i32 {
        match self {
            Trouble::Ended(_, status) => *status,
            _ => 1,
        }
    }

    pub fn to_json(&self) -> Value {
        json!({"mayfly": 1, "error": self.text(), "kind": self.kind(), "status": self.status()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_the_status() {
        let end = |rank, code, signal| End { rank, code, signal };
        let outcome = |ends: &[End]| Outcome {
            instance: 1,
            attempt: 0,
            ends: ends.to_vec(),
        };
        assert_eq!(
            outcome(&[end(0, 0, 0), end(1, 0, 9), end(2, 3, 0)]).status(),
            137
        );
        assert_eq!(outcome(&[end(0, 0, 0)]).status(), 0);
        let json = outcome(&[end(0, 0, 0), end(1, 7, 0)]).to_json();
        assert_eq!((&json["status"], &json["ranks"]), (&json!(7), &json!(2)));
        assert_eq!(json["failed"], json!([{"rank": 1, "code": 7, "signal": 0}]));
        let many = vec![end(5, 1, 0); 64];
        assert!(outcome(&many).to_json().to_string().len() < 1000);
    }
}
