//! Platforms without a trigger: all instances are started with the same description, and each learns its number from
//! its environment (Kubernetes Indexed Jobs, Cloud Run jobs, Slurm). Our exit status is the ranks'.

use super::answer::{Outcome, Trouble};
use super::clock::{now_ms, plausible};
use super::contract::Contract;
use super::{Host, Situation};
use crate::base::trace;
use crate::platform::start::{Common, Start};

/// Which instance we are, in the order of preference.
const INDEX: [&str; 4] = [
    "MAYFLY_INDEX",
    "JOB_COMPLETION_INDEX",
    "CLOUD_RUN_TASK_INDEX",
    "SLURM_PROCID",
];
/// How often it has been tried before.
const ATTEMPT: [&str; 3] = [
    "MAYFLY_ATTEMPT",
    "CLOUD_RUN_TASK_ATTEMPT",
    "SLURM_RESTART_COUNT",
];

/// Runs our one start; gives the exit status.
pub async fn once(mut host: Host, fault: Option<String>, limit_ms: u64) -> Result<i32, String> {
    if let Some(text) = fault {
        return Err(text);
    }
    let get = |name: &str| std::env::var(name).ok();
    let start = start(get, |path| std::fs::read(path))?;
    let now = now_ms();
    let slurm = get("SLURM_JOB_END_TIME").and_then(|text| text.trim().parse::<u64>().ok());
    let deadline = match limit_ms {
        0 => slurm.unwrap_or(0).saturating_mul(1000),
        limit => now + limit,
    };
    let situation = Situation {
        platform: Contract::Index.platform(get),
        deadline_ms: plausible(deadline, now),
        variables: Vec::new(),
    };
    let result = host.run(&start, &situation, || {}).await;
    let signal = *host.ending.borrow();
    match result {
        Ok(outcome) => Ok(Outcome::status(&outcome)),
        Err(trouble) => {
            trace::line(trouble.text());
            match trouble {
                Trouble::Ended(..) if signal != 0 => Ok(128 + signal),
                other => Ok(other.status()),
            }
        }
    }
}

/// From the variable or the file.
fn start(
    get: impl Fn(&str) -> Option<String>,
    read: impl Fn(&str) -> std::io::Result<Vec<u8>>,
) -> Result<Start, String> {
    let (source, text) = match (get("MAYFLY_START_FILE"), get("MAYFLY_START")) {
        (Some(path), _) if !path.is_empty() => {
            let text = read(&path).map_err(|e| format!("MAYFLY_START_FILE: {path}: {e}"))?;
            (path, text)
        }
        (_, Some(text)) => ("MAYFLY_START".to_string(), text.into_bytes()),
        _ => return Err("neither MAYFLY_START nor MAYFLY_START_FILE says where to meet".into()),
    };
    let common = match (Common::from_json(&text), Start::from_json(&text)) {
        (Ok(common), _) => common,
        // Made for this instance alone.
        (_, Ok(start)) => return Ok(start),
        (Err(e), _) => return Err(format!("{source}: {e}")),
    };
    let number = |names: &[&str]| -> Result<Option<u32>, String> {
        let found = names.iter().find_map(|name| Some((name, get(name)?)));
        let parse = |(name, text): (&&str, String)| {
            text.trim()
                .parse()
                .map_err(|_| format!("{name}={text:?} is no number"))
        };
        found.map(parse).transpose()
    };
    let instance = number(&INDEX)?
        .ok_or_else(|| format!("none of {} says which instance this is", INDEX.join(", ")))?;
    Ok(common.of(instance, number(&ATTEMPT)?.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::start::Place;

    fn common() -> Common {
        Common {
            place: Place {
                rendezvous: "http://127.0.0.1:7717".into(),
                pin: None,
                job: [1; 16],
            },
            hosts_key: [7; 32],
        }
    }

    fn with(variables: &[(&str, &str)]) -> Result<Start, String> {
        let get = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| value.to_string())
        };
        start(get, |path| match path {
            "/start" => Ok(common().to_json().into_bytes()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        })
    }

    #[test]
    fn the_environment_gives_the_number() {
        let text = common().to_json();
        let start = with(&[("MAYFLY_START", &text), ("JOB_COMPLETION_INDEX", "5")]);
        assert_eq!(start, Ok(common().of(5, 0)));
        let start = with(&[
            ("MAYFLY_START_FILE", "/start"),
            ("CLOUD_RUN_TASK_INDEX", "2"),
            ("CLOUD_RUN_TASK_ATTEMPT", "1"),
        ]);
        assert_eq!(start, Ok(common().of(2, 1)));
        let own = common().of(3, 4).to_json();
        assert_eq!(with(&[("MAYFLY_START", &own)]), Ok(common().of(3, 4)));
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = common().to_json();
        for (variables, word) in [
            (vec![], "MAYFLY_START"),
            (
                vec![("MAYFLY_START", text.as_str())],
                "JOB_COMPLETION_INDEX",
            ),
            (
                vec![("MAYFLY_START", "{}"), ("MAYFLY_INDEX", "0")],
                "MAYFLY_START",
            ),
            (vec![("MAYFLY_START_FILE", "/none")], "/none"),
            (
                vec![("MAYFLY_START", &text), ("MAYFLY_INDEX", "x")],
                "MAYFLY_INDEX",
            ),
        ] {
            let error = with(&variables).unwrap_err();
            assert!(error.contains(word), "{error}");
            assert!(!error.contains("0707"), "{error}");
        }
    }
}
