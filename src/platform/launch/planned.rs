//! The ranks of a plan: what each is given, and where its output goes.

use super::program::Program;
use super::service::Invitation;
use super::spawn::{Brood, Nursery, Rank, Stillborn};
use super::{os, Plan, Refusal};
use crate::rendezvous::message::{secrets, Ticket};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What all of them have in common.
pub struct Planned<'a> {
    pub plan: &'a Plan,
    pub invitation: &'a Invitation,
    pub size: u32,
    pub nursery: Nursery,
}

/// A rank that runs.
pub struct Born {
    pub pid: i32,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

impl Planned<'_> {
    /// Starts a rank; whether its program takes over, its brood tells.
    pub fn start(
        &self,
        brood: &mut Brood,
        rank: u32,
        appnum: usize,
        (program, environment): (&Program, &BTreeMap<OsString, OsString>),
        stdin: OwnedFd,
    ) -> Result<Born, Refusal> {
        let part = &self.plan.parts[appnum];
        let start = || {
            let stdout = self.output(&self.plan.stdout_pattern, rank)?;
            let stderr = self.output(&self.plan.stderr_pattern, rank)?;
            let pid = brood.bear(Rank {
                ticket: &self.ticket(rank, appnum),
                program: &program.path,
                name: &part.program,
                arguments: &part.arguments,
                environment,
                folder: part.folder.as_deref(),
                stdio: [stdin, stdout.1, stderr.1],
            })?;
            Ok(Born {
                pid,
                stdout: stdout.0,
                stderr: stderr.0,
            })
        };
        start().map_err(|error| self.refusal(appnum, &Stillborn { rank, error }))
    }

    /// Why there is nothing to run after all.
    pub fn refusal(&self, appnum: usize, stillborn: &Stillborn) -> Refusal {
        let (status, text) = stillborn.tell(&self.plan.parts[appnum].program.to_string_lossy());
        Refusal::new(status, text)
    }

    fn ticket(&self, rank: u32, appnum: usize) -> Ticket {
        Ticket {
            job: self.invitation.job,
            token: secrets::mesh(&self.invitation.secret),
            pass: secrets::member_pass(&self.invitation.secret, rank, 0),
            rank,
            size: self.size,
            epoch: 0,
            local_rank: rank,
            local_size: self.size,
            appnum: appnum as i32,
            universe: self.plan.universe.unwrap_or(self.size) as i32,
            service: self.invitation.address.clone(),
            relays: Vec::new(),
            relay_expiry: 0,
            relay_grant: [0; 32],
            deadline_ms: 0,
        }
    }

    /// Where a rank's output goes: a pipe to us, or a file.
    fn output(
        &self,
        pattern: &Option<OsString>,
        rank: u32,
    ) -> io::Result<(Option<OwnedFd>, OwnedFd)> {
        let Some(pattern) = pattern else {
            let (read, write) = os::pipe()?;
            return Ok((Some(read), write));
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
pub fn expand(pattern: &OsStr, rank: u32) -> OsString {
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
