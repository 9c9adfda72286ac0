//! A package as a zip file, as Lambda takes it.

use super::tree::{mode, Node, Tree};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// Writes the tree; the file is there when all of it is. Times are 1980-01-01 (the format's first), modes are fixed.
pub fn write(tree: &Tree, path: &Path) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    let done = fill(tree, &fresh).and_then(|()| fs::rename(&fresh, path));
    if done.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    done
}

fn fill(tree: &Tree, path: &Path) -> io::Result<()> {
    let mut zip = ZipWriter::new(BufWriter::new(File::create(path)?));
    if let Err(e) = add(tree, &mut zip) {
        // Dropped, it would try to complete the file, and say in its own words that it cannot.
        std::mem::forget(zip);
        return Err(e);
    }
    zip.finish()?.flush()
}

fn add(tree: &Tree, zip: &mut ZipWriter<BufWriter<File>>) -> io::Result<()> {
    for (name, node) in tree.entries() {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(6))
            .last_modified_time(DateTime::default())
            .unix_permissions(mode(&node));
        match &node {
            Node::Folder { .. } => zip.add_directory(&name, options)?,
            Node::Link(to) => zip.add_symlink(&name, to, options)?,
            Node::File { from, .. } => {
                let (mut bytes, length) = from.open()?;
                zip.start_file(&name, options.large_file(length >= u64::from(u32::MAX)))?;
                io::copy(&mut bytes, zip)?;
            }
        }
    }
    Ok(())
}
