//! What a call of libibverbs said when it failed.

use std::fmt;
use std::sync::Arc;

/// A failed call: which, on what device, and the system's number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// As C knows it: `ibv_reg_mr`.
    pub call: &'static str,
    /// The device's name, `rxe0`.
    pub device: Arc<str>,
    /// `ENOMEM` and so on; 0 when the call did not say.
    pub errno: i32,
    /// What to look at, when we know more than the system: empty or a phrase.
    pub hint: String,
}

impl Error {
    pub(super) fn new(call: &'static str, device: &Arc<str>, errno: i32) -> Error {
        Error {
            call,
            device: device.clone(),
            errno,
            hint: String::new(),
        }
    }

    /// The error of a call that answers a null pointer, which left its cause in errno.
    #[cold]
    pub(super) fn last(call: &'static str, device: &Arc<str>) -> Error {
        let mut error = Error::new(call, device, crate::transport::os::errno());
        error.hint = match (error.errno, call) {
            (libc::EAGAIN, _) => "the limit of this cgroup (rdma.max) is reached".into(),
            (libc::ENOMEM, "ibv_reg_mr" | "ibv_create_cq" | "ibv_create_srq" | "ibv_create_qp") => {
                locked()
            }
            _ => String::new(),
        };
        error
    }

    /// `Ok` for 0; otherwise the answer is an errno, or -1 with the cause in errno.
    pub(super) fn check(call: &'static str, device: &Arc<str>, answer: i32) -> Result<(), Error> {
        match answer {
            0 => Ok(()),
            answer => Err(Error::answered(call, device, answer)),
        }
    }

    /// The error of a call that answered this, which is not 0.
    #[cold]
    pub(super) fn answered(call: &'static str, device: &Arc<str>, answer: i32) -> Error {
        match answer {
            -1 => Error::last(call, device),
            // Some providers answer a negative errno.
            other => Error::new(call, device, other.saturating_abs()),
        }
    }

    /// Is the device gone, so that nothing on it will ever work again?
    pub fn gone(&self) -> bool {
        matches!(self.errno, libc::EIO | libc::ENODEV)
    }
}

/// What bounds locked memory here, if anything does.
fn locked() -> String {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct lives through the call.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) } != 0;
    match limit.rlim_cur {
        _ if failed => String::new(),
        libc::RLIM_INFINITY => String::new(),
        bytes => format!(
            "locked memory is limited to {} KiB (ulimit -l)",
            bytes >> 10
        ),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} on {}: ", self.call, self.device)?;
        match self.errno {
            0 => write!(f, "failed and does not say why")?,
            n => write!(f, "{}", std::io::Error::from_raw_os_error(n))?,
        }
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl From<Error> for String {
    fn from(error: Error) -> String {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_call_device_and_cause() {
        let device: Arc<str> = "rxe0".into();
        let error = Error::check("ibv_modify_qp", &device, libc::EINVAL).unwrap_err();
        let said = error.to_string();
        assert!(
            said.starts_with("ibv_modify_qp on rxe0: Invalid argument"),
            "{said}"
        );
        assert_eq!(
            Error::check("x", &device, -libc::EIO).unwrap_err().errno,
            libc::EIO
        );
        assert!(Error::check("x", &device, -libc::EIO).unwrap_err().gone());
        assert!(Error::check("x", &device, 0).is_ok());
        let silent = Error::new("ibv_poll_cq", &device, 0).to_string();
        assert_eq!(silent, "ibv_poll_cq on rxe0: failed and does not say why");
    }
}
