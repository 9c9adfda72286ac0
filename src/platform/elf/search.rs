//! Where the dynamic loader would find a library: ld.so(8), "When resolving shared object dependencies".

use super::image::{open, Image, Magic};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// What of the surroundings the loader looks at.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The folders of LD_LIBRARY_PATH.
    pub library_path: Vec<PathBuf>,
    /// The files of ld.so.cache: (name, path).
    pub cache: Vec<(String, PathBuf)>,
    /// Searched last.
    pub default_folders: Vec<PathBuf>,
}

impl Surroundings {
    /// This process's.
    pub fn here() -> Surroundings {
        Surroundings {
            library_path: split_path(std::env::var_os("LD_LIBRARY_PATH")),
            cache: fs::read("/etc/ld.so.cache")
                .map(|bytes| parse_cache(&bytes))
                .unwrap_or_default(),
            default_folders: default_folders(),
        }
    }
}

fn split_path(value: Option<OsString>) -> Vec<PathBuf> {
    // The loader also takes ";" here, and an empty entry is the current folder.
    let Some(value) = value.filter(|v| !v.is_empty()) else {
        return Vec::new();
    };
    value
        .to_string_lossy()
        .split([':', ';'])
        .map(|s| PathBuf::from(if s.is_empty() { "." } else { s }))
        .collect()
}

fn default_folders() -> Vec<PathBuf> {
    let triple = if cfg!(target_arch = "aarch64") {
        "aarch64-linux-gnu"
    } else {
        "x86_64-linux-gnu"
    };
    let mut folders: Vec<PathBuf> = ["/lib", "/usr/lib"]
        .iter()
        .map(|root| Path::new(root).join(triple))
        .collect();
    folders.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from));
    folders
}

/// Reads the new format of ld.so.cache (magic "glibc-ld.so.cache1.1"), also behind an old-format part. Garbage gives an empty list.
fn parse_cache(bytes: &[u8]) -> Vec<(String, PathBuf)> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    let Some(start) = bytes.windows(MAGIC.len()).position(|w| w == MAGIC) else {
        return Vec::new();
    };
    let cache = &bytes[start..];
    let number = |at: usize| -> Option<usize> {
        let b = cache.get(at..at + 4)?;
        Some(u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
    };
    let text = |at: usize| -> Option<String> {
        let tail = cache.get(at..)?;
        let end = tail.iter().position(|b| *b == 0)?;
        Some(String::from_utf8_lossy(&tail[..end]).into_owned())
    };
    let count = number(20).unwrap_or(0).min(cache.len() / 24);
    (0..count)
        .filter_map(|i| {
            let entry = 48 + i * 24;
            Some((
                text(number(entry + 4)?)?,
                PathBuf::from(text(number(entry + 8)?)?),
            ))
        })
        .collect()
}

/// Replaces $ORIGIN, $LIB and $PLATFORM as the loader does.
pub fn expand(folder: &str, object: &Path) -> PathBuf {
    let origin = fs::canonicalize(object).unwrap_or_else(|_| object.to_path_buf());
    let origin = origin
        .parent()
        .unwrap_or(Path::new("/"))
        .to_string_lossy()
        .into_owned();
    let (lib, platform) = if cfg!(target_arch = "aarch64") {
        ("lib/aarch64-linux-gnu", "aarch64")
    } else {
        ("lib/x86_64-linux-gnu", "x86_64")
    };
    let mut text = folder.to_string();
    for (name, value) in [
        ("ORIGIN", origin.as_str()),
        ("LIB", lib),
        ("PLATFORM", platform),
    ] {
        text = text
            .replace(&format!("${{{name}}}"), value)
            .replace(&format!("${name}"), value);
    }
    PathBuf::from(text)
}

/// How a library was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// NEEDED names a path.
    Path,
    /// DT_RPATH: comes before LD_LIBRARY_PATH.
    Rpath,
    LibraryPath,
    Runpath,
    Cache,
    Default,
}

/// Finds `name` for the last of `chain` (the program first, each loaded by the one before it).
pub fn find(name: &str, chain: &[&Image], here: &Surroundings) -> Option<(PathBuf, Way)> {
    let asking = chain.last()?;
    if name.contains('/') {
        let path = expand(name, &asking.path);
        return usable(&path).then_some((path, Way::Path));
    }
    let mut places: Vec<(PathBuf, Way)> = Vec::new();
    if asking.runpath.is_empty() {
        for image in chain.iter().rev().filter(|i| i.runpath.is_empty()) {
            places.extend(
                image
                    .rpath
                    .iter()
                    .map(|f| (expand(f, &image.path), Way::Rpath)),
            );
        }
    }
    if !chain[0].privileged {
        places.extend(
            here.library_path
                .iter()
                .map(|f| (f.clone(), Way::LibraryPath)),
        );
    }
    places.extend(
        asking
            .runpath
            .iter()
            .map(|f| (expand(f, &asking.path), Way::Runpath)),
    );
    for (folder, way) in places {
        let path = folder.join(name);
        if usable(&path) {
            return Some((path, way));
        }
    }
    let cached = here
        .cache
        .iter()
        .filter(|(n, _)| n == name)
        .map(|(_, path)| (path.clone(), Way::Cache));
    let fixed = here
        .default_folders
        .iter()
        .map(|f| (f.join(name), Way::Default));
    cached.chain(fixed).find(|(path, _)| usable(path))
}

/// Whether the loader would take the file: another architecture's is passed over.
fn usable(path: &Path) -> bool {
    match open(path) {
        Ok(Magic::Elf(file)) => Image::read(path, &file).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_garbage_is_empty() {
        assert!(parse_cache(b"").is_empty());
        assert!(parse_cache(b"ld.so-1.7.0 and nothing else").is_empty());
        let mut cut = b"glibc-ld.so.cache1.1".to_vec();
        cut.extend(u32::MAX.to_le_bytes());
        cut.extend([0xff; 200]);
        assert!(parse_cache(&cut).is_empty());
    }

    #[test]
    fn cache_entries() {
        let mut bytes = b"ld.so-1.7.0\0old part".to_vec();
        let mut cache = b"glibc-ld.so.cache1.1".to_vec();
        cache.extend(1u32.to_le_bytes());
        cache.resize(48, 0);
        let texts = 48 + 24;
        for number in [0x303u32, texts, texts + 10, 0, 0, 0] {
            cache.extend(number.to_le_bytes());
        }
        cache.extend(b"libx.so.1\0/lib/libx.so.1\0");
        bytes.extend(cache);
        assert_eq!(
            parse_cache(&bytes),
            [("libx.so.1".to_string(), PathBuf::from("/lib/libx.so.1"))]
        );
    }

    #[test]
    fn origin() {
        let at = Path::new("/nowhere/bin/prog");
        assert_eq!(
            expand("$ORIGIN/../lib", at),
            Path::new("/nowhere/bin/../lib")
        );
        assert_eq!(expand("${ORIGIN}", at), Path::new("/nowhere/bin"));
        assert_eq!(expand("/plain", at), Path::new("/plain"));
    }

    #[test]
    fn library_path_entries() {
        assert!(split_path(None).is_empty());
        assert!(split_path(Some("".into())).is_empty());
        assert_eq!(
            split_path(Some("/a::/b;/c".into())),
            ["/a", ".", "/b", "/c"].map(PathBuf::from)
        );
    }
}
