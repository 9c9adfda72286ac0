//! The few system calls that several transports share.

use std::io;

/// A file descriptor of ours, closed with its owner.
pub struct Fd(pub i32);

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: we own the descriptor and nobody uses it after its owner.
        unsafe { libc::close(self.0) };
    }
}

/// The error of the last system call.
pub fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// What a C call that answers -1 on error says, as a result.
pub fn check(answer: i32) -> Result<i32, io::Error> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

/// 16 bytes that nobody guesses.
pub fn nonce() -> [u8; 16] {
    let mut out = [0u8; 16];
    let _ = crate::base::os::random(&mut out);
    out
}

/// When the process started, in the kernel's ticks, and whether it still lives; `None` when it cannot be seen.
pub fn process(pid: u32) -> Option<(u64, bool)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so count from its end.
    let rest = &text[text.rfind(')')? + 1..];
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((start, !matches!(state, "Z" | "X" | "x")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_lives_and_no_other_has_its_start() {
        let (start, alive) = super::process(std::process::id()).expect("procfs");
        assert!(alive && start > 0);
        assert_eq!(super::process(u32::MAX), None);
        assert_ne!(super::nonce(), super::nonce());
    }
}
