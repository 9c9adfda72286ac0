//! A small process that outlives us: when we are killed in a way that leaves us no time, it kills what we started.
//!
//! Each rank's own process dies with us (PR_SET_PDEATHSIG); the guard reaches what a rank has started in turn.

use super::os;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

/// Our end of the pipe to the guard.
pub struct Guard {
    pipe: Option<File>,
    pub pid: i32,
}

impl Drop for Guard {
    /// It goes before us, so that nobody finds a process of ours after our end.
    fn drop(&mut self) {
        self.pipe = None;
        os::wait(self.pid);
    }
}

impl Guard {
    /// Forks the guard; only while this process has one thread. `folder` goes away with us, and with all that is in it.
    pub fn start(folder: Option<&Path>) -> io::Result<Guard> {
        let (read, write) = os::pipe()?;
        match os::fork()? {
            Some(pid) => Ok(Guard {
                pipe: Some(File::from(write)),
                pid,
            }),
            None => {
                os::new_session();
                os::ignore_signals();
                // Our caller's pipes must not stay open because of us, and the writing end must be the launcher's alone.
                os::close_all_but(read.as_raw_fd());
                watch(File::from(read));
                if let Some(folder) = folder {
                    remove(folder);
                }
                crate::base::os::leave(0)
            }
        }
    }

    /// This process group is to die with us.
    pub fn watch(&self, group: i32) {
        self.tell(group);
    }

    /// This group has ended; its number may be given to others.
    pub fn forget(&self, group: i32) {
        self.tell(-group);
    }

    fn tell(&self, number: i32) {
        // Without a guard we still do all we can ourselves.
        let _ = self
            .pipe
            .as_ref()
            .map(|mut pipe| pipe.write_all(&number.to_ne_bytes()));
    }
}

/// The guard's life: takes down group numbers until the launcher's end of the pipe closes, then kills what is left.
fn watch(mut pipe: impl Read) {
    let mut groups: Vec<i32> = Vec::new();
    let mut number = [0; 4];
    while pipe.read_exact(&mut number).is_ok() {
        match i32::from_ne_bytes(number) {
            group if group > 1 => groups.push(group),
            ended => groups.retain(|&group| group != -ended),
        }
    }
    for group in groups {
        os::kill(-group, libc::SIGKILL);
    }
}

/// Who was killed a moment ago may still be writing there.
fn remove(folder: &Path) {
    for _ in 0..40 {
        match std::fs::remove_dir_all(folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                std::thread::sleep(Duration::from_millis(50));
            }
            _ => return,
        }
    }
}
