//! From a task to what each rank is started with.

use super::Situation;
use crate::platform::launch::program::Program;
use crate::platform::launch::{environment, Inherit, Part};
use crate::platform::package::Package;
use crate::platform::task::{self, Task};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What the ranks of one part of a task are started with.
pub struct Prepared {
    pub program: PathBuf,
    /// Its `argv[0]`.
    pub name: OsString,
    pub arguments: Vec<OsString>,
    pub environment: BTreeMap<OsString, OsString>,
    pub folder: Option<PathBuf>,
}

/// Where the ranks of this job stand and write.
#[derive(Clone, Default)]
pub struct Ground {
    /// The working folder; `None`: ours.
    pub work: Option<PathBuf>,
    /// A folder for temporary files that goes away with the job.
    pub scratch: Option<PathBuf>,
    pub deadline_ms: u64,
}

/// Finds a part's program and puts its environment together; an error is a line and an exit status.
pub fn prepare(
    part: &task::Part,
    package: Option<&Package>,
    ground: &Ground,
    situation: &Situation,
    ours: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Prepared, (i32, String)> {
    let words = |list: &[String]| -> Vec<OsString> { list.iter().map(OsString::from).collect() };
    let mut set: BTreeMap<String, String> = BTreeMap::new();
    if ground.deadline_ms != 0 {
        let seconds = ground.deadline_ms / 1000;
        set.insert("MAYFLY_DEADLINE".into(), seconds.to_string());
    }
    if let Some(scratch) = &ground.scratch {
        set.insert("TMPDIR".into(), scratch.to_string_lossy().into_owned());
    }
    set.extend(situation.variables.iter().cloned());
    let mut wanted = Part {
        program: OsString::from(&part.program),
        arguments: words(&part.arguments),
        ranks: part.ranks,
        inherit: Inherit::All,
        folder: folder(part, ground.work.as_deref())?,
        ..Part::default()
    };
    let program = match package {
        None => {
            wanted.set = pairs(set, &part.environment);
            Program::find(&wanted).map_err(|refusal| (refusal.status, refusal.text))?
        }
        Some(package) => {
            let command = package
                .command(&part.program, &wanted.arguments)
                .map_err(|text| (127, text))?;
            let mut all = command.environment.clone();
            all.append(&mut set);
            wanted.set = pairs(all, &part.environment);
            wanted.arguments = command.arguments;
            Program {
                path: command.program,
                folders: command.libraries,
                preload: command.preload,
            }
        }
    };
    let name = match part.program.as_str() {
        "" => program.path.clone().into_os_string(),
        name => name.into(),
    };
    Ok(Prepared {
        environment: environment::common(&wanted, &program, ours),
        program: program.path,
        name,
        arguments: wanted.arguments,
        folder: wanted.folder,
    })
}

/// What the task sets comes last.
fn pairs(
    mut set: BTreeMap<String, String>,
    task: &BTreeMap<String, String>,
) -> Vec<(OsString, OsString)> {
    set.extend(task.iter().map(|(n, v)| (n.clone(), v.clone())));
    let os = |(name, value): (String, String)| (name.into(), value.into());
    set.into_iter().map(os).collect()
}

/// The part's own folder, within the job's when it is relative.
fn folder(part: &task::Part, work: Option<&Path>) -> Result<Option<PathBuf>, (i32, String)> {
    let Some(own) = &part.folder else {
        return Ok(work.map(Path::to_path_buf));
    };
    let folder = work.unwrap_or(Path::new("")).join(own);
    match folder.is_dir() {
        true => Ok(Some(folder)),
        false => Err((
            1,
            format!("{own}: the working folder does not exist in the instance"),
        )),
    }
}

/// The parts that have ranks here, prepared; by their number in the task.
pub fn all(
    task: &Task,
    ranks: std::ops::Range<u32>,
    package: Option<&Package>,
    ground: &Ground,
    situation: &Situation,
) -> Result<BTreeMap<usize, Prepared>, (i32, String)> {
    let mut prepared = BTreeMap::new();
    for rank in ranks {
        let (at, part) = task
            .part_of(rank)
            .ok_or_else(|| (1, format!("the task has no rank {rank}")))?;
        if let std::collections::btree_map::Entry::Vacant(place) = prepared.entry(at) {
            let ours = std::env::vars_os();
            place.insert(prepare(part, package, ground, situation, ours)?);
        }
    }
    Ok(prepared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    fn part(program: &str) -> task::Part {
        task::Part {
            ranks: 1,
            program: program.into(),
            arguments: vec!["a b".into()],
            environment: [("A".to_string(), "task".to_string())].into(),
            folder: None,
        }
    }

    #[test]
    fn the_tasks_variables_count_most_and_our_secrets_stay_ours() {
        let situation = Situation {
            variables: vec![("A".into(), "platform".into()), ("T".into(), "1".into())],
            ..Situation::default()
        };
        let ours = [("MAYFLY_START", "secret"), ("B", "ours"), ("T", "0")];
        let ours = ours.map(|(n, v)| (n.into(), v.into())).into_iter();
        let ground = Ground {
            scratch: Some("/scratch".into()),
            deadline_ms: 1_700_000_000_999,
            ..Ground::default()
        };
        let prepared = prepare(&part("/bin/sh"), None, &ground, &situation, ours);
        let prepared = prepared.map_err(|(_, text)| text).unwrap();
        let get = |name: &str| {
            let value = prepared.environment.get(OsStr::new(name));
            value.map(|value| value.to_str().unwrap())
        };
        assert_eq!(get("A"), Some("task"));
        assert_eq!((get("B"), get("T")), (Some("ours"), Some("1")));
        assert_eq!(get("MAYFLY_START"), None);
        assert_eq!(get("MAYFLY_DEADLINE"), Some("1700000000"));
        assert_eq!(get("TMPDIR"), Some("/scratch"));
        assert_eq!(prepared.arguments, ["a b"]);
        assert_eq!(prepared.name, "/bin/sh");
    }

    #[test]
    fn what_is_not_there_is_said_with_a_status() {
        let refused = |part: &task::Part| {
            let none = std::iter::empty();
            prepare(part, None, &Ground::default(), &Situation::default(), none)
                .err()
                .unwrap()
        };
        let (status, text) = refused(&part("/no/such/program"));
        assert!(status == 127 && text.contains("/no/such/program"), "{text}");
        let mut lost = part("/bin/sh");
        lost.folder = Some("/no/such/folder".into());
        let (status, text) = refused(&lost);
        assert!(status == 1 && text.contains("/no/such/folder"), "{text}");
    }
}
