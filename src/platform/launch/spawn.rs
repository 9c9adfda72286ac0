//! Starting ranks: children with their tickets in pipes, each in a process group of its own. All are forked before the
//! first one is waited for: on a busy machine each wait for a program to take over is a turn lost.

use super::birth::{Birth, Trouble};
use super::environment::{self, Place};
use super::os;
use crate::rendezvous::message::{Ticket, TICKET_VARIABLE};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
    /// Input, output, errors.
    pub stdio: [OwnedFd; 3],
}

impl Nursery {
    /// `descriptors`: the limit that the ranks are to have.
    pub fn new(descriptors: libc::rlimit) -> io::Result<Nursery> {
        Ok(Nursery {
            place: os::reserve()?,
            descriptors,
        })
    }

    /// For ranks that are to be started together.
    pub fn brood(&self) -> io::Result<Brood<'_>> {
        let (read, write) = os::pipe()?;
        Ok(Brood {
            nursery: self,
            troubles: File::from(read),
            trouble: write,
            children: Vec::new(),
        })
    }
}

/// Ranks that are being started.
pub struct Brood<'a> {
    nursery: &'a Nursery,
    /// Ends when all programs have taken over.
    troubles: File,
    trouble: OwnedFd,
    /// By rank.
    children: Vec<(u32, i32)>,
}

/// A rank whose program has not taken over.
#[derive(Debug)]
pub struct Stillborn {
    pub rank: u32,
    pub error: io::Error,
}

impl Stillborn {
    /// A shell's exit status for such a program, and a line for people.
    pub fn tell(&self, program: &str) -> (i32, String) {
        let status = match self.error.kind() {
            io::ErrorKind::NotFound => 127,
            _ => 126,
        };
        let Stillborn { rank, error } = self;
        let text = format!("{program}: rank {rank} cannot be started: {error}");
        (status, text)
    }
}

impl Brood<'_> {
    /// Starts a rank; returns its process, which dies with the thread that calls this.
    pub fn bear(&mut self, rank: Rank) -> io::Result<i32> {
        let ticket = File::from(pipe_with(rank.ticket)?);
        let place = self.nursery.place.as_raw_fd();
        let number = rank.ticket.rank;
        let label = format!("{place}:{}", ticket.metadata()?.ino());
        let mut environment = rank.environment.clone();
        for (name, value) in environment::of_rank(Place::of(rank.ticket)) {
            environment.insert(name.into(), value.into());
        }
        environment.insert(TICKET_VARIABLE.into(), label.into());
        let variable = |(name, value): (OsString, OsString)| {
            let mut bytes = name.into_vec();
            bytes.push(b'=');
            bytes.extend(value.into_vec());
            word(bytes)
        };
        let arguments = rank.arguments.iter().map(|argument| argument.as_bytes());
        let arguments = std::iter::once(rank.name.as_bytes()).chain(arguments);
        let folder = rank.folder.map(|folder| folder.as_os_str().as_bytes());
        let birth = Birth {
            number,
            program: word(rank.program.as_os_str().as_bytes())?,
            arguments: arguments.map(word).collect::<io::Result<_>>()?,
            environment: environment
                .into_iter()
                .map(variable)
                .collect::<io::Result<_>>()?,
            folder: folder.map(word).transpose()?,
            stdio: rank.stdio,
            ticket: ticket.into(),
            place,
            descriptors: self.nursery.descriptors,
            trouble: self.trouble.as_raw_fd(),
        };
        let pid = birth.fork()?;
        self.children.push((number, pid));
        Ok(pid)
    }

    /// Waits until each rank's program has taken over or cannot; gives those that cannot, by rank. Their processes are
    /// gone.
    pub fn grown(self) -> io::Result<Vec<Stillborn>> {
        let Brood {
            mut troubles,
            trouble,
            children,
            ..
        } = self;
        drop(trouble);
        let mut told = Vec::new();
        troubles.read_to_end(&mut told)?;
        let (words, _) = told.as_chunks::<{ Trouble::LENGTH }>();
        let mut stillborn: Vec<_> = words.iter().map(|word| Trouble::decode(*word)).collect();
        stillborn.sort_by_key(|trouble| trouble.number);
        for (number, pid) in children {
            if stillborn.iter().any(|trouble| trouble.number == number) {
                os::wait(pid);
            }
        }
        let known = |trouble: Trouble| Stillborn {
            rank: trouble.number,
            error: trouble.error(),
        };
        Ok(stillborn.into_iter().map(known).collect())
    }
}

/// As the system takes it.
fn word(bytes: impl Into<Vec<u8>>) -> io::Result<CString> {
    CString::new(bytes).map_err(|e| {
        let text = String::from_utf8_lossy(&e.into_vec()).into_owned();
        io::Error::other(format!("{text:?} contains a zero byte"))
    })
}

/// A pipe that holds the rank's ticket and nothing else.
fn pipe_with(ticket: &Ticket) -> io::Result<OwnedFd> {
    let (read, write) = os::pipe()?;
    File::from(write).write_all(&ticket.encode())?;
    Ok(read)
}
