//! Folders for what jobs write.

use crate::base::os;
use crate::rendezvous::message::hex;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The folder of all jobs of a host, below the machine's place for temporary files.
pub fn base(below: &Path) -> io::Result<PathBuf> {
    fresh(below, "mayfly-host")
}

/// For our eyes only.
pub fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// A folder that nobody else has, and its name.
pub fn fresh(below: &Path, name: &str) -> io::Result<PathBuf> {
    let mut number = [0; 8];
    os::random(&mut number)?;
    let path = below.join(format!("{name}-{}", hex(&number)));
    make(&path)?;
    Ok(path)
}

/// A job's folder for temporary files. Goes away with everything in it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(base: &Path) -> io::Result<Scratch> {
        fresh(base, "mayfly-tmp").map(Scratch)
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
