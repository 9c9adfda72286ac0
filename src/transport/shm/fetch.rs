//! Cross-memory attach: one process reads another's memory, one copy and no ring.

use crate::base::error::Result;
use crate::fail;
use std::io;

/// One call moves less than 2 GiB.
const PIECE: usize = 1 << 30;

type Call = unsafe extern "C" fn(
    libc::pid_t,
    *const libc::iovec,
    libc::c_ulong,
    *const libc::iovec,
    libc::c_ulong,
    libc::c_ulong,
) -> libc::ssize_t;

/// One call; answers the bytes moved.
fn call(how: Call, pid: u32, remote: u64, near: *mut u8, length: usize) -> io::Result<usize> {
    let local = libc::iovec {
        iov_base: near.cast(),
        iov_len: length,
    };
    let far = libc::iovec {
        iov_base: remote as *mut libc::c_void,
        iov_len: length,
    };
    // SAFETY: the kernel checks the far side; the near side is the buffer that the caller vouches for.
    let n = unsafe { how(pid as libc::pid_t, &local, 1, &far, 1, 0) };
    if n < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(n as usize)
    }
}

/// Lets others of this user attach where the Yama module would refuse.
pub fn allow() {
    const PR_SET_PTRACER: libc::c_int = 0x5961_6d61;
    // SAFETY: no memory is involved; an error only means that there is no Yama.
    unsafe { libc::prctl(PR_SET_PTRACER, libc::c_ulong::MAX, 0, 0, 0) };
}

/// Reads the nonce that must lie at `probe` in the process: whether fetching works, and from the right process.
pub fn probe(pid: u32, probe: u64, nonce: &[u8; 16]) -> std::result::Result<(), String> {
    if probe == 0 {
        return Err("it shows nothing to read".to_string());
    }
    let mut got = [0u8; 16];
    match call(
        libc::process_vm_readv,
        pid,
        probe,
        got.as_mut_ptr(),
        got.len(),
    ) {
        Ok(16) if got == *nonce => Ok(()),
        Ok(_) => Err(format!("process {pid} is another one")),
        Err(error) => Err(format!("process_vm_readv: {error}")),
    }
}

/// Reads all of `length` bytes.
///
/// # Errors
/// `Other` with the address that could not be read and the kernel's reason.
pub fn fetch(peer: u32, pid: u32, remote: u64, into: *mut u8, length: usize) -> Result<()> {
    all(
        libc::process_vm_readv,
        "read",
        peer,
        pid,
        remote,
        into,
        length,
    )
}

/// Writes all of `length` bytes.
///
/// # Errors
/// As those of [`fetch`].
pub fn store(peer: u32, pid: u32, from: *const u8, remote: u64, length: usize) -> Result<()> {
    // The kernel only reads from there.
    let from = from.cast_mut();
    all(
        libc::process_vm_writev,
        "written",
        peer,
        pid,
        remote,
        from,
        length,
    )
}

fn all(
    how: Call,
    done: &str,
    peer: u32,
    pid: u32,
    remote: u64,
    near: *mut u8,
    length: usize,
) -> Result<()> {
    let mut moved = 0;
    while moved < length {
        let piece = (length - moved).min(PIECE);
        let at = remote.wrapping_add(moved as u64);
        match call(how, pid, at, near.wrapping_add(moved), piece) {
            Ok(0) => fail!(
                Other,
                "nothing could be {done} at {at:#x} in rank {peer} (process {pid})"
            ),
            Ok(n) => moved += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => fail!(
                Other,
                "{} bytes at {at:#x} in rank {peer} (process {pid}) could not be {done}: {error}",
                length - moved
            ),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_address_is_an_error_that_names_it() {
        let mut to = [0u8; 64];
        let pid = std::process::id();
        let error = fetch(3, pid, 8, to.as_mut_ptr(), to.len()).expect_err("page zero");
        assert!(error.detail.contains("0x8 in rank 3"), "{error}");
        let from = [5u8; 64];
        fetch(3, pid, from.as_ptr() as u64, to.as_mut_ptr(), 64).expect("fetch");
        assert_eq!(to, from);
        store(3, pid, [6u8; 64].as_ptr(), to.as_mut_ptr() as u64, 64).expect("store");
        assert_eq!(to, [6; 64]);
        let error = store(3, pid, from.as_ptr(), 8, 64).expect_err("page zero");
        assert!(error.detail.contains("0x8 in rank 3"), "{error}");
        assert!(probe(pid, 0, &[5; 16]).is_err());
        assert!(probe(pid, from.as_ptr() as u64, &[5; 16]).is_ok());
        assert!(probe(pid, from.as_ptr() as u64, &[6; 16]).is_err());
    }
}
