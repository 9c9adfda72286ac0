//! A child between fork and exec. All that needs memory is made before the fork; what goes wrong in the child comes back
//! through a pipe that its exec closes.

use std::ffi::{c_char, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// What it takes to become a program.
pub struct Birth {
    /// What the child says it is when something goes wrong.
    pub number: u32,
    pub program: CString,
    pub arguments: Vec<CString>,
    /// `NAME=VALUE` each.
    pub environment: Vec<CString>,
    /// `None`: ours.
    pub folder: Option<CString>,
    /// Input, output, errors; each above 2, where std has put something in every process.
    pub stdio: [OwnedFd; 3],
    /// What goes where: the ticket's pipe to its reserved number.
    pub ticket: OwnedFd,
    pub place: RawFd,
    /// The limit on descriptors that it is to have.
    pub descriptors: libc::rlimit,
    /// Where it tells of trouble.
    pub trouble: RawFd,
}

/// What a child was about to do when it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
enum Step {
    Prepare,
    Folder,
    Exec,
}

/// Why a child did not become a program; as it crosses the pipe, three words of four bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trouble {
    pub number: u32,
    step: Step,
    errno: i32,
}

impl Trouble {
    pub const LENGTH: usize = 12;

    fn encode(&self) -> [u8; Trouble::LENGTH] {
        let mut out = [0; Trouble::LENGTH];
        out[..4].copy_from_slice(&self.number.to_ne_bytes());
        out[4..8].copy_from_slice(&(self.step as u32).to_ne_bytes());
        out[8..].copy_from_slice(&self.errno.to_ne_bytes());
        out
    }

    pub fn decode(bytes: [u8; Trouble::LENGTH]) -> Trouble {
        let [a, b, c, d, e, f, g, h, errno @ ..] = bytes;
        let step = match u32::from_ne_bytes([e, f, g, h]) {
            0 => Step::Prepare,
            1 => Step::Folder,
            _ => Step::Exec,
        };
        Trouble {
            number: u32::from_ne_bytes([a, b, c, d]),
            step,
            errno: i32::from_ne_bytes(errno),
        }
    }

    /// In words; the kind is the program's own trouble only.
    pub fn error(&self) -> io::Error {
        let error = io::Error::from_raw_os_error(self.errno);
        match self.step {
            Step::Exec => error,
            Step::Folder => io::Error::other(format!("its working folder: {error}")),
            Step::Prepare => io::Error::other(format!("its process cannot be set up: {error}")),
        }
    }
}

impl Birth {
    /// Forks; gives the child's number. Its process dies with the thread that calls this.
    pub fn fork(&self) -> io::Result<i32> {
        let list = |words: &[CString]| -> Vec<*const c_char> {
            let words = words.iter().map(|word| word.as_ptr());
            words.chain([std::ptr::null()]).collect()
        };
        let (arguments, environment) = (list(&self.arguments), list(&self.environment));
        let parent = std::process::id() as i32;
        // SAFETY: the child makes only calls that are allowed after a fork, and never returns from `become_program`; the
        // lists and what they point to live until then.
        unsafe {
            match libc::fork() {
                0 => self.become_program(parent, &arguments, &environment),
                pid if pid > 0 => {
                    // The child does so too: whoever comes first, it has a group of its own before anybody signals it.
                    libc::setpgid(pid, pid);
                    Ok(pid)
                }
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    /// # Safety
    /// In the child of a fork; both lists end with a null pointer.
    unsafe fn become_program(
        &self,
        parent: i32,
        arguments: &[*const c_char],
        environment: &[*const c_char],
    ) -> ! {
        // SAFETY: as promised by the caller.
        let step = unsafe { self.exec(parent, arguments, environment) };
        let trouble = Trouble {
            number: self.number,
            step,
            errno: io::Error::last_os_error().raw_os_error().unwrap_or(0),
        };
        let bytes = trouble.encode();
        // SAFETY: pointer and length are those of a live array; _exit takes a number.
        unsafe {
            libc::write(self.trouble, bytes.as_ptr().cast(), bytes.len());
            libc::_exit(127)
        }
    }

    /// Returns where it failed; errno tells why.
    ///
    /// # Safety
    /// As [`Birth::become_program`].
    unsafe fn exec(
        &self,
        parent: i32,
        arguments: &[*const c_char],
        environment: &[*const c_char],
    ) -> Step {
        // SAFETY: each call is async-signal-safe and gets plain numbers or pointers to live data.
        unsafe {
            libc::setpgid(0, 0);
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
            libc::signal(libc::SIGTTIN, libc::SIG_DFL);
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) < 0 {
                return Step::Prepare;
            }
            if libc::getppid() != parent {
                libc::_exit(1);
            }
            // The copies stay open across exec.
            for (number, fd) in self.stdio.iter().enumerate() {
                if libc::dup2(fd.as_raw_fd(), number as RawFd) < 0 {
                    return Step::Prepare;
                }
            }
            if libc::dup2(self.ticket.as_raw_fd(), self.place) < 0 {
                return Step::Prepare;
            }
            libc::setrlimit(libc::RLIMIT_NOFILE, &self.descriptors);
            if let Some(folder) = &self.folder {
                if libc::chdir(folder.as_ptr()) < 0 {
                    return Step::Folder;
                }
            }
            // As a shell does it: what is no program and has no `#!` line is the shell's.
            libc::execvpe(
                self.program.as_ptr(),
                arguments.as_ptr(),
                environment.as_ptr(),
            );
        }
        Step::Exec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_survives_its_pipe() {
        for step in [Step::Prepare, Step::Folder, Step::Exec] {
            let trouble = Trouble {
                number: 70_000,
                step,
                errno: libc::EACCES,
            };
            assert_eq!(Trouble::decode(trouble.encode()), trouble);
        }
        let gone = Trouble {
            number: 1,
            step: Step::Exec,
            errno: libc::ENOENT,
        };
        assert_eq!(gone.error().kind(), io::ErrorKind::NotFound);
        let folder = Trouble {
            step: Step::Folder,
            ..gone
        };
        assert_ne!(folder.error().kind(), io::ErrorKind::NotFound);
    }
}
