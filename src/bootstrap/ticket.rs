//! The ticket of `mayfly run`: read once from an inherited pipe, so that its secret stands neither in the arguments nor
//! in the environment.

use crate::base::error::Result;
use crate::base::os;
use crate::fail;
use crate::rendezvous::message::{Ticket, TICKET_MAX, TICKET_VARIABLE as VARIABLE};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// This process's ticket, if it was given one. Only the first process of a rank that asks gets it.
pub fn take() -> Result<Option<Ticket>> {
    let Ok(value) = std::env::var(VARIABLE) else {
        return Ok(None);
    };
    // What this process starts is not meant to join again.
    std::env::remove_var(VARIABLE);
    let Some((fd, inode)) = parse(&value) else {
        fail!(Other, "{VARIABLE}={value} is not DESCRIPTOR:INODE");
    };
    let Some(mut pipe) = open(fd, inode) else {
        fail!(
            Other,
            "descriptor {fd} no longer leads to the job: a program between `mayfly run` and this one has closed it"
        );
    };
    let mut bytes = vec![0; TICKET_MAX];
    let length = match pipe.read(&mut bytes) {
        Ok(length) => length,
        Err(e) => fail!(
            Other,
            "the job's ticket cannot be read from descriptor {fd}: {e}"
        ),
    };
    if length == 0 {
        fail!(
            Other,
            "another process of this rank has already called MPI_Init; `mayfly run` starts one MPI process a rank"
        );
    }
    match Ticket::decode(&bytes[..length]) {
        Ok(ticket) => Ok(Some(ticket)),
        Err(e) => fail!(
            Other,
            "the job's ticket is not readable ({e}): are `mayfly` and this library of one version?"
        ),
    }
}

fn parse(value: &str) -> Option<(i32, u64)> {
    let (fd, inode) = value.split_once(':')?;
    Some((fd.parse().ok().filter(|&fd| fd >= 0)?, inode.parse().ok()?))
}

/// Our own descriptor, or, where a wrapper (Python's subprocess) closed it, the wrapper's.
fn open(fd: i32, inode: u64) -> Option<File> {
    let is_ours = |path: &str| {
        let found = std::fs::metadata(path);
        found.is_ok_and(|m| m.file_type().is_fifo() && m.ino() == inode)
    };
    if is_ours(&format!("/proc/self/fd/{fd}")) {
        return os::inherited(fd).ok().map(File::from);
    }
    let mut process = std::os::unix::process::parent_id();
    for _ in 0..16 {
        let path = format!("/proc/{process}/fd/{fd}");
        if is_ours(&path) {
            return File::open(path).ok();
        }
        process = parent(process)?;
    }
    None
}

fn parent(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything; after it: state, parent.
    let rest = &stat[stat.rfind(')')? + 1..];
    rest.split_whitespace()
        .nth(1)?
        .parse()
        .ok()
        .filter(|&p| p > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_descriptor_and_an_inode_are_a_value() {
        assert_eq!(parse("5:77"), Some((5, 77)));
        for wrong in ["", "5", "-1:7", "x:7", "5:", "5:7:9"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert!(parent(std::process::id()).is_some());
        assert!(open(0, u64::MAX).is_none());
    }
}
