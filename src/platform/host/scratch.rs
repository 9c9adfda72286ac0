//! A job's folder for temporary files.

use crate::base::os;
use crate::rendezvous::message::hex;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Goes away with everything in it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(base: &Path) -> io::Result<Scratch> {
        let mut name = [0; 8];
        os::random(&mut name)?;
        let path = base.join(format!("mayfly-tmp-{}", hex(&name)));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Scratch(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stays() {
        let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
        let path = scratch.path().to_path_buf();
        fs::write(path.join("file"), "x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
