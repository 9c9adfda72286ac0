//! Hears that the device, or a connection, is gone when no completion tells.
//!
//! A driver that can take a device away from its users says so by an event. One that cannot (rxe up to Linux 6.1) waits in
//! the removal until the last user has closed the device, and says nothing: only its file is gone, for new users. So we
//! look for the file, too, and let go.

use super::context::{Context, Event, Of};
use crate::info;
use crate::transport::os::Fd;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LIST: &str = "/sys/class/infiniband_verbs";

/// What is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gone {
    /// Everything on this device: why, with its name.
    Device(String),
    /// The connection of this queue pair: why.
    Pair(u32, &'static str),
}

/// Watches an open device.
pub struct Watch {
    context: Arc<Context>,
    /// Where the kernel lists the device for its users; none where it did not from the start.
    listed: Option<PathBuf>,
    /// Readable when something happens to the device's file; none where that cannot be watched.
    file: Option<Fd>,
}

impl Watch {
    pub fn new(context: &Arc<Context>) -> Watch {
        let file = context.file();
        let listed = Path::new(LIST).join(&file);
        Watch {
            context: context.clone(),
            listed: listed.exists().then_some(listed),
            file: notify(&Path::new("/dev/infiniband").join(&file)),
        }
    }

    /// Descriptors that become readable when there may be something to [`Watch::look`] for.
    pub fn descriptors(&self) -> impl Iterator<Item = i32> + '_ {
        std::iter::once(self.context.events_fd()).chain(self.file.iter().map(|f| f.0))
    }

    /// What is gone since the last look, if anything is; ask again until there is nothing. Two or three system calls: it
    /// is for a rank that woke up, and now and then for one that does not sleep.
    pub fn look(&self) -> Option<Gone> {
        self.hear_file();
        loop {
            match self.context.event() {
                Err(error) => return Some(Gone::Device(error.to_string())),
                Ok(Some(event)) => {
                    if let Some(gone) = self.weigh(&event) {
                        return Some(gone);
                    }
                }
                Ok(None) => break,
            }
        }
        let listed = self.listed.as_ref()?;
        (!listed.exists()).then(|| {
            Gone::Device(format!(
                "{} was removed from this machine",
                self.context.name()
            ))
        })
    }

    fn weigh(&self, event: &Event) -> Option<Gone> {
        let name = self.context.name();
        match event.of {
            Of::Pair(number) if event.fatal() => Some(Gone::Pair(number, event.words())),
            Of::Pair(_) => None,
            _ if event.fatal() => Some(Gone::Device(format!("{name}: {}", event.words()))),
            // A port that is down may come back before the retries are over.
            Of::Port(port) => {
                info!("verbs: {name}:{port}: {}", event.words());
                None
            }
            _ => None,
        }
    }

    /// Takes what the kernel says of the file; that it said something is all there is to know.
    fn hear_file(&self) {
        let Some(file) = &self.file else { return };
        let mut room = [0u8; 256];
        // SAFETY: pointer and length are those of a live array; the descriptor does not block.
        while unsafe { libc::read(file.0, room.as_mut_ptr().cast(), room.len()) } > 0 {}
    }
}

/// Readable from when the file is unlinked.
fn notify(path: &Path) -> Option<Fd> {
    use std::os::unix::ffi::OsStrExt;
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
    if fd < 0 {
        return None;
    }
    let fd = Fd(fd);
    // SAFETY: the path ends with a zero and lives through the call.
    let watch = unsafe {
        libc::inotify_add_watch(fd.0, path.as_ptr(), libc::IN_ATTRIB | libc::IN_DELETE_SELF)
    };
    (watch >= 0).then_some(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unlinked_file_is_heard_of() {
        let path = std::env::temp_dir().join(format!("mayfly-watch-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        let open = std::fs::File::open(&path).unwrap();
        let fd = notify(&path).unwrap();
        let readable = |limit| {
            let mut poll = libc::pollfd {
                fd: fd.0,
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one live pollfd.
            unsafe { libc::poll(&mut poll, 1, limit) == 1 }
        };
        assert!(!readable(0));
        std::fs::remove_file(&path).unwrap();
        // Somebody still has it open, as we have the device.
        assert!(readable(10_000));
        drop(open);
        assert!(notify(&path).is_none());
    }
}
