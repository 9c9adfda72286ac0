//! `file:PATH`: writes the start into a file and leaves the rest to whoever starts `mayfly host` N times: containers by hand, Slurm's srun,
//! Cloud Run jobs, machines of one's own. Each instance gets the file (MAYFLY_START_FILE) and its number (MAYFLY_INDEX or the platform's own).

use super::{Answer, Delivery, Failure, Letter, Platform, Ready, Setting, Wish};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// People start things too.
const JOIN: Duration = Duration::from_secs(600);

pub struct StartFile {
    path: PathBuf,
    /// It is ours to remove.
    written: AtomicBool,
}

impl StartFile {
    pub fn open(path: &str, settings: &[Setting]) -> Result<StartFile, String> {
        if path.is_empty() {
            return Err("--on file:PATH: where is the start to be written?".into());
        }
        if let Some((name, _)) = settings.first() {
            return Err(format!(
                "--with {name}: unknown here; a file needs no settings"
            ));
        }
        Ok(StartFile {
            path: path.into(),
            written: AtomicBool::new(false),
        })
    }

    /// For the owner's eyes; not over a file that is there, which another job may be using.
    fn write(&self, body: &str) -> std::io::Result<()> {
        let mut options = fs::File::options();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)?;
        self.written.store(true, Ordering::Relaxed);
        file.write_all(body.as_bytes())
    }

    fn remove(&self) -> Result<(), String> {
        if !self.written.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("{}: cannot be removed: {e}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for StartFile {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

impl Platform for StartFile {
    fn name(&self) -> String {
        format!("file:{}", self.path.display())
    }

    fn preflight<'a>(&'a self, _wish: &'a Wish) -> Answer<'a, Result<Ready, String>> {
        Box::pin(async {
            if fs::symlink_metadata(&self.path).is_ok() {
                return Err("is there already; another job may be using it".into());
            }
            let folder = self.path.parent().filter(|f| !f.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            if !folder.is_dir() {
                return Err(format!("the folder {} does not exist", folder.display()));
            }
            Ok(Ready::new(JOIN))
        })
    }

    fn start<'a>(&'a self, _letter: &'a Letter) -> Answer<'a, Result<Delivery, Failure>> {
        Box::pin(async { Err(Failure::last("one file is for all instances")) })
    }

    fn start_all<'a>(
        &'a self,
        wish: &'a Wish,
        letter: &'a Letter,
    ) -> Option<Answer<'a, Result<Delivery, Failure>>> {
        Some(Box::pin(async move {
            self.write(&letter.body)
                .map_err(|e| Failure::last(e.to_string()))?;
            crate::base::trace::line(&format!(
                "{} is written; now {} instances: MAYFLY_START_FILE={0} MAYFLY_INDEX=0..{} mayfly host",
                self.path.display(),
                wish.instances,
                wish.instances - 1
            ));
            Ok(Delivery::Accepted)
        }))
    }

    fn describe(&self, wish: &Wish) -> Result<String, String> {
        let path = self.path.display();
        let line = |index| format!("MAYFLY_START_FILE={path} MAYFLY_INDEX={index} mayfly host");
        Ok((0..wish.instances).map(line).collect::<Vec<_>>().join("\n"))
    }

    fn stop<'a>(&'a self) -> Answer<'a, Result<(), String>> {
        Box::pin(async { self.remove() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn block<T>(work: impl std::future::Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(work)
    }

    #[test]
    fn the_file_is_for_its_owner_and_goes_away() {
        let path = std::env::temp_dir().join(format!("mayfly-start-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let platform = StartFile::open(path.to_str().unwrap(), &[]).unwrap();
        let letter = Letter {
            instance: 0,
            attempt: 0,
            body: "s3cret".into(),
        };
        block(async {
            platform.preflight(&Wish::of(2)).await.unwrap();
            let done = platform.start_all(&Wish::of(2), &letter).unwrap().await;
            assert_eq!(done, Ok(Delivery::Accepted));
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), "s3cret");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let other = StartFile::open(path.to_str().unwrap(), &[]).unwrap();
        assert!(block(async { other.preflight(&Wish::of(2)).await })
            .unwrap_err()
            .contains("already"));
        drop(other);
        assert!(path.exists());
        block(async { platform.stop().await }).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_asked_of_people_is_shown() {
        let text = StartFile::open("/s", &[])
            .unwrap()
            .describe(&Wish::of(2))
            .unwrap();
        assert_eq!(
            text,
            "MAYFLY_START_FILE=/s MAYFLY_INDEX=0 mayfly host\nMAYFLY_START_FILE=/s MAYFLY_INDEX=1 mayfly host"
        );
        assert!(StartFile::open("", &[]).is_err());
        assert!(StartFile::open("/s", &[("a".into(), "b".into())]).is_err());
    }
}
