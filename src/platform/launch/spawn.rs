//! Starting one rank.

use super::environment::{self, Place};
use super::os::{self, Birth};
use super::program::Program;
use super::service::Invitation;
use super::{Part, Plan, Refusal};
use crate::rendezvous::message::{Ticket, TICKET_VARIABLE};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// What all ranks' starts have in common.
pub struct Nursery<'a> {
    pub plan: &'a Plan,
    pub invitation: &'a Invitation,
    pub size: u32,
    /// The descriptor number at which a rank finds its ticket.
    pub place: OwnedFd,
    /// The limit on descriptors as we found it.
    pub descriptors: libc::rlimit,
}

/// A rank that runs.
pub struct Born {
    pub pid: i32,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

impl Nursery<'_> {
    /// Starts a rank; returns when its program has taken over.
    pub fn start(
        &self,
        rank: u32,
        appnum: usize,
        program: &Program,
        environment: &BTreeMap<OsString, OsString>,
        stdin: Stdio,
    ) -> Result<Born, Refusal> {
        let part = &self.plan.parts[appnum];
        self.try_start(rank, appnum, program, environment, stdin)
            .map_err(|e| {
                let status = match e.kind() {
                    io::ErrorKind::NotFound => 127,
                    _ => 126,
                };
                let shown = part.program.to_string_lossy();
                Refusal::new(
                    status,
                    format!("{shown}: rank {rank} cannot be started: {e}"),
                )
            })
    }

    fn try_start(
        &self,
        rank: u32,
        appnum: usize,
        program: &Program,
        environment: &BTreeMap<OsString, OsString>,
        stdin: Stdio,
    ) -> io::Result<Born> {
        let part: &Part = &self.plan.parts[appnum];
        let place = Place {
            rank,
            size: self.size,
            local_rank: rank,
            local_size: self.size,
            universe: self.plan.universe.unwrap_or(self.size),
        };
        let ticket = self.ticket(place, appnum)?;
        let birth = Birth {
            parent: std::process::id() as i32,
            ticket: ticket.as_raw_fd(),
            place: self.place.as_raw_fd(),
            descriptors: self.descriptors,
        };
        let inode = File::from(ticket.try_clone()?).metadata()?.ino();
        let mut command = Command::new(&program.path);
        command
            .arg0(&part.program)
            .args(&part.arguments)
            .env_clear()
            .envs(environment)
            .envs(environment::of_rank(place))
            .env(TICKET_VARIABLE, format!("{}:{inode}", birth.place))
            .stdin(stdin)
            .process_group(0);
        if let Some(folder) = &part.folder {
            command.current_dir(folder);
        }
        let stdout = self.output(&self.plan.stdout_pattern, rank)?;
        let stderr = self.output(&self.plan.stderr_pattern, rank)?;
        command.stdout(stdout.1).stderr(stderr.1);
        // SAFETY: `prepare` makes only calls that are allowed between fork and exec.
        unsafe { command.pre_exec(move || birth.prepare()) };
        let child = command.spawn()?;
        Ok(Born {
            pid: child.id() as i32,
            stdout: stdout.0,
            stderr: stderr.0,
        })
    }

    /// A pipe that holds the rank's ticket and nothing else.
    fn ticket(&self, place: Place, appnum: usize) -> io::Result<OwnedFd> {
        let ticket = Ticket {
            job: self.invitation.job,
            token: self.invitation.token,
            rank: place.rank,
            size: place.size,
            epoch: 0,
            local_rank: place.local_rank,
            local_size: place.local_size,
            appnum: appnum as i32,
            universe: place.universe as i32,
            service: self.invitation.address.clone(),
        };
        let (read, write) = os::pipe()?;
        File::from(write).write_all(&ticket.encode())?;
        Ok(read)
    }

    /// Where a rank's output goes: a pipe to us, or a file.
    fn output(
        &self,
        pattern: &Option<OsString>,
        rank: u32,
    ) -> io::Result<(Option<OwnedFd>, Stdio)> {
        let Some(pattern) = pattern else {
            let (read, write) = os::pipe()?;
            return Ok((Some(read), write.into()));
        };
        let name = expand(pattern, rank);
        // Ranks that share a file append to it; the first one empties it.
        let mut options = File::options();
        options.create(true).append(true);
        let file = options.open(&name).map_err(|e| {
            let text = format!("{}: cannot be written: {e}", name.to_string_lossy());
            io::Error::new(e.kind(), text)
        })?;
        if rank == 0 || &name != pattern {
            file.set_len(0)?;
        }
        Ok((None, file.into()))
    }
}

/// `%r` is the rank, `%h` this machine, `%p` and `%g` 0 (one proxy, one process group), `%%` a percent sign.
fn expand(pattern: &OsStr, rank: u32) -> OsString {
    let mut out = Vec::new();
    let mut rest = pattern.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        match (byte, rest.as_slice().first()) {
            (b'%', Some(b'r')) => out.extend_from_slice(rank.to_string().as_bytes()),
            (b'%', Some(b'h')) => out.extend_from_slice(crate::base::os::host_name().as_bytes()),
            (b'%', Some(b'p' | b'g')) => out.push(b'0'),
            (b'%', Some(b'%')) => out.push(b'%'),
            _ => {
                out.push(byte);
                continue;
            }
        }
        rest.next();
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_a_file_for_each_rank() {
        assert_eq!(expand(OsStr::new("out.%r.%p%%%x"), 12), "out.12.0%%x");
        assert_eq!(expand(OsStr::new("plain%"), 1), "plain%");
    }
}
