//! Starting one rank: a child with its ticket in a pipe, in a process group of its own.

use super::environment::{self, Place};
use super::os::{self, Birth};
use crate::rendezvous::message::{Ticket, TICKET_VARIABLE};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// What all ranks' starts have in common.
pub struct Nursery {
    /// The descriptor number at which a rank finds its ticket.
    place: OwnedFd,
    /// The limit on descriptors as we found it.
    descriptors: libc::rlimit,
}

/// A rank to be started.
pub struct Rank<'a> {
    pub ticket: &'a Ticket,
    pub program: &'a Path,
    /// Its `argv[0]`.
    pub name: &'a OsStr,
    pub arguments: &'a [OsString],
    pub environment: &'a BTreeMap<OsString, OsString>,
    /// `None`: ours.
    pub folder: Option<&'a Path>,
    pub stdin: Stdio,
    pub stdout: Stdio,
    pub stderr: Stdio,
}

impl Nursery {
    /// `descriptors`: the limit that the ranks are to have.
    pub fn new(descriptors: libc::rlimit) -> io::Result<Nursery> {
        Ok(Nursery {
            place: os::reserve()?,
            descriptors,
        })
    }

    /// Starts a rank; returns its process when its program has taken over. The process dies with the thread that calls
    /// this.
    pub fn bear(&self, rank: Rank) -> io::Result<i32> {
        let ticket = pipe_with(rank.ticket)?;
        let birth = Birth {
            parent: std::process::id() as i32,
            ticket: ticket.as_raw_fd(),
            place: self.place.as_raw_fd(),
            descriptors: self.descriptors,
        };
        let inode = File::from(ticket.try_clone()?).metadata()?.ino();
        let mut command = Command::new(rank.program);
        command
            .arg0(rank.name)
            .args(rank.arguments)
            .env_clear()
            .envs(rank.environment)
            .envs(environment::of_rank(Place::of(rank.ticket)))
            .env(TICKET_VARIABLE, format!("{}:{inode}", birth.place))
            .stdin(rank.stdin)
            .stdout(rank.stdout)
            .stderr(rank.stderr)
            .process_group(0);
        if let Some(folder) = rank.folder {
            command.current_dir(folder);
        }
        // SAFETY: `prepare` makes only calls that are allowed between fork and exec.
        unsafe { command.pre_exec(move || birth.prepare()) };
        Ok(command.spawn()?.id() as i32)
    }
}

/// A pipe that holds the rank's ticket and nothing else.
fn pipe_with(ticket: &Ticket) -> io::Result<OwnedFd> {
    let (read, write) = os::pipe()?;
    File::from(write).write_all(&ticket.encode())?;
    Ok(read)
}
