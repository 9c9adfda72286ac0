//! What a rank finds in its environment.

use super::program::Program;
use super::{Inherit, Part};
use crate::rendezvous::message::{Ticket, TICKET_VARIABLE};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Left behind by other launchers; a rank that saw them would believe it belonged to them.
const FOREIGN: [&str; 10] = [
    "PMI_",
    "PMI2_",
    "PMIX_",
    "PMIX",
    "OMPI_",
    "HYD_",
    "HYDI_",
    "HYDRA_",
    "PRTE_",
    "MPI_LOCAL",
];

/// A rank's place, as far as its environment tells it.
#[derive(Clone, Copy)]
pub struct Place {
    pub rank: u32,
    pub size: u32,
    pub local_rank: u32,
    pub local_size: u32,
    pub universe: u32,
}

impl Place {
    pub fn of(ticket: &Ticket) -> Place {
        Place {
            rank: ticket.rank,
            size: ticket.size,
            local_rank: ticket.local_rank,
            local_size: ticket.local_size,
            universe: u32::try_from(ticket.universe).unwrap_or(ticket.size),
        }
    }
}

/// The variables common to the ranks of a part.
pub fn common(
    part: &Part,
    program: &Program,
    ours: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let mut all: BTreeMap<OsString, OsString> = ours
        .filter(|(name, _)| match &part.inherit {
            Inherit::All => !is_foreign(name),
            Inherit::Some(names) => names.contains(name),
        })
        .collect();
    all.extend(part.set.iter().cloned());
    prepend(&mut all, "LD_LIBRARY_PATH", &program.folders);
    prepend(&mut all, "LD_PRELOAD", &program.preload);
    all
}

/// Ours alone: a rank has its own ticket, and the keys of operators and hosts are not for programs.
const OURS: [&str; 4] = [
    TICKET_VARIABLE,
    "MAYFLY_OPERATOR_KEY",
    "MAYFLY_START",
    "MAYFLY_START_FILE",
];

fn is_foreign(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    let foreign = |prefix: &&str| bytes.starts_with(prefix.as_bytes());
    FOREIGN.iter().any(foreign) || OURS.iter().any(|ours| name == *ours)
}

fn prepend(all: &mut BTreeMap<OsString, OsString>, name: &str, paths: &[PathBuf]) {
    if paths.is_empty() {
        return;
    }
    let mut value = OsString::new();
    for path in paths {
        if !value.is_empty() {
            value.push(":");
        }
        value.push(path);
    }
    if let Some(before) = all
        .get(OsStr::new(name))
        .filter(|before| !before.is_empty())
    {
        value.push(":");
        value.push(before);
    }
    all.insert(name.into(), value);
}

/// What scripts and programs read to learn their rank before (or without) MPI_Init. No PMI_FD, nothing of PMIx: another
/// MPI would try to connect there.
pub fn of_rank(place: Place) -> Vec<(&'static str, String)> {
    [
        ("PMI_RANK", place.rank),
        ("PMI_SIZE", place.size),
        ("MPI_LOCALRANKID", place.local_rank),
        ("MPI_LOCALNRANKS", place.local_size),
        ("OMPI_COMM_WORLD_RANK", place.rank),
        ("OMPI_COMM_WORLD_SIZE", place.size),
        ("OMPI_COMM_WORLD_LOCAL_RANK", place.local_rank),
        ("OMPI_COMM_WORLD_LOCAL_SIZE", place.local_size),
        ("OMPI_COMM_WORLD_NODE_RANK", place.local_rank),
        ("OMPI_UNIVERSE_SIZE", place.universe),
    ]
    .map(|(name, value)| (name, value.to_string()))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        list.iter().map(|(n, v)| (n.into(), v.into())).collect()
    }

    #[test]
    fn other_launchers_traces_are_removed_and_libraries_come_first() {
        let mut part = Part {
            set: pairs(&[("OMPI_MCA_x", "kept"), ("A", "2")]),
            ..Part::default()
        };
        let program = Program {
            path: "/p".into(),
            folders: vec!["/l/a".into(), "/l/b".into()],
            preload: vec![],
        };
        let ours = pairs(&[
            ("A", "1"),
            ("B", "1"),
            ("PMI_FD", "7"),
            ("PMIX_NAMESPACE", "x"),
            ("OMPI_COMM_WORLD_RANK", "5"),
            ("HYDI_CONTROL_FD", "3"),
            ("MAYFLY_JOB_FD", "9:9"),
            ("MAYFLY_OPERATOR_KEY", "secret"),
            ("MAYFLY_START", "secret"),
            ("LD_LIBRARY_PATH", "/own"),
        ]);
        let all = common(&part, &program, ours.clone().into_iter());
        let get = |name: &str| all.get(OsStr::new(name)).map(|v| v.to_str().unwrap());
        assert_eq!(get("A"), Some("2"));
        assert_eq!(get("B"), Some("1"));
        assert_eq!(get("OMPI_MCA_x"), Some("kept"));
        assert_eq!(get("LD_LIBRARY_PATH"), Some("/l/a:/l/b:/own"));
        assert_eq!(get("LD_PRELOAD"), None);
        let foreign = [
            "PMI_FD",
            "PMIX_NAMESPACE",
            "OMPI_COMM_WORLD_RANK",
            "HYDI_CONTROL_FD",
            "MAYFLY_JOB_FD",
            "MAYFLY_OPERATOR_KEY",
            "MAYFLY_START",
        ];
        assert!(foreign.iter().all(|name| get(name).is_none()));
        part.inherit = Inherit::Some(vec!["B".into()]);
        part.set.clear();
        let all = common(&part, &program, ours.into_iter());
        let names: Vec<_> = all.keys().map(|n| n.to_str().unwrap()).collect();
        assert_eq!(names, ["B", "LD_LIBRARY_PATH"]);
    }
}
