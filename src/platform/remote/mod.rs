//! Starting a job's ranks in instances elsewhere, and staying with them until the last one is gone.

mod input;
mod meeting;
mod output;
mod progress;
mod starts;
mod supervise;
mod verdict;

pub use meeting::Meeting;

use super::launch::{Inherit, Plan as Command, Refusal, Stdin};
use super::on::Target;
use super::task::{self, Task};
use crate::rendezvous::message::{SIZE_MAX, TASK_MAX};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

/// What is to be started, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Parts, input, output and time limit, as for this machine; its rendezvous has no meaning here.
    pub command: Command,
    pub target: Target,
    pub meeting: Meeting,
    /// Ranks in each instance.
    pub per_instance: u32,
    /// How long the instances may take to arrive; `None`: as the platform needs.
    pub join_within: Option<Duration>,
    /// Print an estimate before and a bill after.
    pub price: bool,
    /// Prices other than our own.
    pub prices: Option<PathBuf>,
    /// Print what would be asked of the platform, and ask nothing.
    pub dry_run: bool,
}

/// Starts the job and returns its exit status when everything has ended. Called once in a process, from its main
/// thread, before there are others.
pub fn run(plan: &Plan) -> Result<i32, Refusal> {
    let size: u64 = plan.command.parts.iter().map(|p| u64::from(p.ranks)).sum();
    if size == 0 || size > u64::from(SIZE_MAX) {
        return Err(Refusal::new(
            2,
            format!("{size} ranks cannot be started; 1 to 65536 can"),
        ));
    }
    let task = task_of(&plan.command).map_err(|text| Refusal::new(2, text))?;
    supervise::supervise(plan, task, size as u32)
}

/// What the hosts are told.
fn task_of(command: &Command) -> Result<Task, String> {
    let text = |what: &str, value: &OsStr| {
        value
            .to_str()
            .map(str::to_string)
            .ok_or_else(|| format!("{what} {}: is not UTF-8", value.to_string_lossy()))
    };
    let mut parts = Vec::new();
    for part in &command.parts {
        let mut environment = std::collections::BTreeMap::new();
        // Our own variables describe this machine; only those asked for by name go along.
        let named: &[OsString] = match &part.inherit {
            Inherit::All => &[],
            Inherit::Some(names) => names,
        };
        let ours = named
            .iter()
            .filter_map(|name| Some((name.clone(), std::env::var_os(name)?)));
        for (name, value) in ours.chain(part.set.iter().cloned()) {
            environment.insert(text("the variable", &name)?, text("the value", &value)?);
        }
        let arguments = part.arguments.iter();
        parts.push(task::Part {
            ranks: part.ranks,
            program: text("the program", &part.program)?,
            arguments: arguments
                .map(|word| text("the argument", word))
                .collect::<Result<_, _>>()?,
            environment,
            folder: match &part.folder {
                Some(folder) => Some(text("the folder", folder.as_os_str())?),
                None => None,
            },
        });
    }
    let task = Task {
        parts,
        stdin: match command.stdin {
            Stdin::First => task::Stdin::Rank(0),
            Stdin::Rank(rank) => task::Stdin::Rank(rank),
            Stdin::All => task::Stdin::All,
            Stdin::None => task::Stdin::None,
        },
        limit_s: command.timeout.map(|limit| limit.as_secs_f64()),
        tag: command.tag,
        universe: command.universe,
    };
    let length = task.to_json().len();
    if length > TASK_MAX {
        return Err(format!(
            "program, arguments and variables take {length} bytes; {} can be sent. Put them into a file of the package",
            TASK_MAX
        ));
    }
    Ok(task)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::launch::Part;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn only_what_was_asked_for_goes_along() {
        let part = Part {
            program: "./app".into(),
            arguments: vec!["-x".into()],
            ranks: 2,
            set: vec![("A".into(), "1".into()), ("A".into(), "2".into())],
            folder: Some("/data".into()),
            ..Part::default()
        };
        let mut command = Command {
            parts: vec![part],
            timeout: Some(Duration::from_secs(5)),
            ..Command::default()
        };
        let task = task_of(&command).unwrap();
        let variables: Vec<_> = task.parts[0].environment.iter().collect();
        assert_eq!(variables, [(&"A".to_string(), &"2".to_string())]);
        assert_eq!(
            (task.stdin, task.limit_s),
            (task::Stdin::Rank(0), Some(5.0))
        );
        command.parts[0].inherit = Inherit::Some(vec!["PATH".into(), "NOT_SET_ANYWHERE".into()]);
        let task = task_of(&command).unwrap();
        assert_eq!(task.parts[0].environment.len(), 2);
        command.parts[0].arguments = vec![OsString::from_vec(vec![0xff])];
        assert!(task_of(&command).unwrap_err().contains("UTF-8"));
        command.parts[0].arguments = vec!["x".repeat(TASK_MAX).into()];
        assert!(task_of(&command)
            .unwrap_err()
            .contains("file of the package"));
    }
}
