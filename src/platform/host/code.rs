//! A package that comes as a zip in a request instead of lying in the image: unpacked into a folder of the host's, with
//! bounds, and never outside of it.

use super::scratch;
use crate::platform::package::{Package, FILE};
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::os::unix::fs::{symlink, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use zip::ZipArchive;

/// The largest request with a package in it, bytes: OpenWhisk takes 48 MB of code unless configured otherwise, which base64
/// makes a third larger.
pub const REQUEST_MAX: usize = 80 << 20;
/// Bytes that a package may have when it is unpacked.
const UNPACKED_MAX: u64 = 1 << 30;
/// Files, folders and links in it.
const ENTRIES_MAX: usize = 20_000;
/// A link's target, bytes.
const TARGET_MAX: u64 = 4096;

/// Unpacks a package below `base`; it stays until the host ends. The error is a line for people, and leaves nothing.
pub fn unpack(zip: &[u8], base: &Path) -> Result<Package, String> {
    let folder = scratch::fresh(base, "mayfly-code").map_err(|e| {
        format!(
            "the action's code cannot be unpacked in {}: {e}",
            base.display()
        )
    })?;
    let opened = all(zip, &folder).and_then(|()| match folder.join(FILE).is_file() {
        true => Package::open(&folder),
        false => Err(format!(
            "it holds no {FILE} at its root; `mayfly pack PROGRAM --to code.zip` makes such a zip"
        )),
    });
    opened.map_err(|why| {
        let _ = fs::remove_dir_all(&folder);
        format!("the action's code: {why}")
    })
}

fn all(zip: &[u8], folder: &Path) -> Result<(), String> {
    let mut archive =
        ZipArchive::new(Cursor::new(zip)).map_err(|e| format!("it is no zip file: {e}"))?;
    if archive.len() > ENTRIES_MAX {
        let count = archive.len();
        return Err(format!("it has {count} entries; {ENTRIES_MAX} are taken"));
    }
    let mut left = UNPACKED_MAX;
    // Made last, so that nothing is written through one.
    let mut links: Vec<(PathBuf, PathBuf)> = Vec::new();
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(|e| e.to_string())?;
        let name = entry.name().to_string();
        let wrong = |e: io::Error| format!("{name:?}: {e}");
        let inner = inside(&name).ok_or_else(|| format!("{name:?} leads out of it"))?;
        let path = folder.join(&inner);
        if entry.is_dir() {
            fs::create_dir_all(&path).map_err(wrong)?;
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(wrong)?;
        }
        if entry.is_symlink() {
            let mut target = String::new();
            let mut text = (&mut entry).take(TARGET_MAX);
            text.read_to_string(&mut target).map_err(wrong)?;
            if !stays(&inner, Path::new(&target)) {
                return Err(format!("the link {name:?} leads out of it"));
            }
            links.push((path, target.into()));
            continue;
        }
        let executable = entry.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
        let mut options = File::options();
        // Of equal names the reader has kept one; what is there already is there by another.
        options.write(true).create_new(true);
        options.mode(if executable { 0o700 } else { 0o600 });
        let mut file = options.open(&path).map_err(wrong)?;
        // Counted as they come, whatever the zip says of them.
        let written = io::copy(&mut (&mut entry).take(left + 1), &mut file).map_err(wrong)?;
        left = left.checked_sub(written).ok_or_else(|| {
            let most = UNPACKED_MAX >> 20;
            format!("it is larger than {most} MiB when it is unpacked")
        })?;
    }
    for (path, target) in links {
        let made = symlink(target, &path);
        made.map_err(|e| format!("the link {}: {e}", path.display()))?;
    }
    Ok(())
}

/// The path below the root, when it is one.
fn inside(name: &str) -> Option<PathBuf> {
    let path = Path::new(name.strip_suffix('/').unwrap_or(name));
    let plain = |c| matches!(c, Component::Normal(_));
    let sound = !name.contains(['\0', '\\']) && path.components().all(plain);
    (sound && path.components().next().is_some()).then(|| path.to_path_buf())
}

/// Does this link's target lie in the package? Dots stand only at its beginning, where the folders above are no links.
fn stays(link: &Path, target: &Path) -> bool {
    let up = |c: &Component| matches!(c, Component::ParentDir);
    let ups = target.components().take_while(up).count();
    let mut rest = target.components().skip(ups);
    let depth = link.components().count() - 1;
    ups <= depth && rest.all(|c| matches!(c, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use zip::write::SimpleFileOptions;
    use zip::ZipWriter;

    const DESCRIPTION: &[u8] = br#"{"mayfly":1,"name":"a","program":"app/a"}"#;

    /// Name, mode and content; a link where the content begins with `->`.
    fn zip(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, mode, content) in entries {
            let options = SimpleFileOptions::default().unix_permissions(*mode);
            match content.strip_prefix(b"->") {
                Some(target) => {
                    let target = std::str::from_utf8(target).unwrap();
                    zip.add_symlink(*name, target, options).unwrap();
                }
                None => {
                    zip.start_file(*name, options).unwrap();
                    zip.write_all(content).unwrap();
                }
            }
        }
        zip.finish().unwrap().into_inner()
    }

    fn base(name: &str) -> PathBuf {
        let base = std::env::temp_dir().join(format!("mayfly-code-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(&base).unwrap();
        base
    }

    #[test]
    fn a_package_comes_out_with_its_modes_and_links() {
        let base = base("sound");
        let bytes = zip(&[
            ("lib/app/x.so.1", 0o644, b"x"),
            ("lib/app/x.so", 0o777, b"->x.so.1"),
            ("app/y", 0o777, b"->../lib/app/x.so.1"),
            ("mayfly.json", 0o644, DESCRIPTION),
            ("app/a", 0o755, b"#!/bin/sh\n"),
        ]);
        let package = unpack(&bytes, &base).unwrap();
        let mode = |name: &str| {
            let file = fs::metadata(package.root.join(name)).unwrap();
            file.permissions().mode() & 0o777
        };
        assert_eq!((mode("app/a"), mode("lib/app/x.so.1")), (0o700, 0o600));
        assert_eq!(fs::read(package.root.join("app/y")).unwrap(), b"x");
        assert_eq!(package.description.name, "a");
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn what_leads_out_or_is_too_much_is_refused_and_leaves_nothing() {
        let base = base("wrong");
        let json = ("mayfly.json", 0o644, DESCRIPTION);
        // Little when packed.
        let mut many = ZipWriter::new(Cursor::new(Vec::new()));
        for at in 0..ENTRIES_MAX + 1 {
            let options = SimpleFileOptions::default();
            many.start_file(format!("{at}"), options).unwrap();
        }
        for (bytes, expected) in [
            (b"no zip".to_vec(), "no zip file"),
            (zip(&[("a", 0o644, b"")]), "no mayfly.json"),
            (zip(&[json, ("../up", 0o644, b"")]), "leads out"),
            (zip(&[json, ("/tmp/up", 0o644, b"")]), "leads out"),
            (zip(&[json, ("a/../../up", 0o644, b"")]), "leads out"),
            (zip(&[json, ("l", 0o777, b"->/etc")]), "leads out"),
            (zip(&[json, ("a/l", 0o777, b"->../../up")]), "leads out"),
            (zip(&[json, ("l", 0o777, b"->a/../../up")]), "leads out"),
            // A file through a link, in either order: the folder is real, so that the link finds no place.
            (
                zip(&[json, ("l", 0o777, b"->app"), ("l/x", 0o644, b"")]),
                "the link",
            ),
            (many.finish().unwrap().into_inner(), "entries"),
        ] {
            let error = unpack(&bytes, &base)
                .err()
                .unwrap_or_else(|| panic!("{expected}"));
            assert!(error.contains(expected), "{expected}: {error}");
            assert!(error.starts_with("the action's code"), "{error}");
            assert_eq!(fs::read_dir(&base).unwrap().count(), 0, "{expected}");
        }
        fs::remove_dir_all(&base).unwrap();
    }
}
