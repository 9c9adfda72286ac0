//! The few things that std cannot ask of the operating system.

use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Fills `out` with random bytes fit for secrets.
pub fn random(out: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < out.len() {
        let rest = &mut out[done..];
        // SAFETY: pointer and length are those of a live slice.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if n > 0 {
            done += n as usize;
        } else {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                // No getrandom: the device, as in the old days.
                use io::Read;
                return std::fs::File::open("/dev/urandom")
                    .and_then(|mut device| device.read_exact(out))
                    .map_err(|_| error);
            }
        }
    }
    Ok(())
}

/// Puts a new file there: whole, or not at all. One that is there already stays, and is an error.
pub fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    // Somebody's with this number who did not come to the end.
    let _ = std::fs::remove_file(&fresh);
    let mut options = std::fs::File::options();
    let made = options.write(true).create_new(true).mode(mode).open(&fresh);
    let done = made.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::hard_link(&fresh, path)
    });
    let _ = std::fs::remove_file(&fresh);
    done
}

/// Ends the process at once: no exit handlers, no flushing, no destructors of other threads' data.
pub fn leave(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Runs `f` with every signal of this thread blocked, so that a thread that `f` starts never runs a handler.
pub fn without_signals<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: both sets are plain data that sigfillset and pthread_sigmask fill; failure leaves the mask as it was.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        let blocked = libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before) == 0;
        let result = f();
        if blocked {
            libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        }
        result
    }
}

/// Takes over a descriptor that this process inherited and closes it on exec from now on; an error when it is not open.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: fcntl only reads its numbers; afterwards the descriptor is known to be open, and the caller says that
    // it was left to us by whoever started the process, so that nothing else in here owns it.
    unsafe {
        if libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Closes a descriptor by number, whoever owns it: for the child of a fork, which must not keep its parent's.
pub fn close(fd: RawFd) {
    // SAFETY: close is async-signal-safe; the owner lives in another process or is never used again.
    unsafe { libc::close(fd) };
}

/// Writes all bytes to a socket without SIGPIPE; to a pipe or file, plainly.
pub fn send_all(fd: RawFd, mut bytes: &[u8]) -> io::Result<()> {
    let mut socket = true;
    while !bytes.is_empty() {
        // SAFETY: pointer and length are those of a live slice.
        let n = unsafe {
            if socket {
                libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL)
            } else {
                libc::write(fd, bytes.as_ptr().cast(), bytes.len())
            }
        };
        if n >= 0 {
            bytes = &bytes[n as usize..];
            continue;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ENOTSOCK) if socket => socket = false,
            _ => return Err(error),
        }
    }
    Ok(())
}

/// The number of this process's namespace of a kind (`pid`, `net`), 0 when the kernel does not say.
pub fn namespace(kind: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/self/ns/{kind}")).map_or(0, |m| m.ino())
}

/// The boot that this kernel lives in: equal on two machines only when they are one (or a clone of one).
pub fn boot() -> [u8; 16] {
    let mut out = [0u8; 16];
    if let Ok(text) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        let digits: Vec<u8> = text
            .bytes()
            .filter_map(|b| (b as char).to_digit(16).map(|d| d as u8))
            .collect();
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
    }
    out
}

/// This machine's name.
pub fn host_name() -> String {
    let mut name = [0u8; 256];
    // SAFETY: pointer and length are those of a live array; the last byte stays 0.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) } != 0;
    let length = name.iter().position(|&b| b == 0).unwrap_or(0);
    if failed || length == 0 {
        return "localhost".into();
    }
    String::from_utf8_lossy(&name[..length]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ_and_unknown_descriptors_are_errors() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        random(&mut a).unwrap();
        random(&mut b).unwrap();
        assert_ne!(a, b);
        assert!(inherited(-1).is_err());
        assert!(inherited(1 << 20).is_err());
        assert!(!host_name().is_empty());
    }
}
