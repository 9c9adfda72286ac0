//! Data files: which name they get in the package, and that no keys slip in.

use super::tree::{Node, Tree};
use crate::platform::package::FOLDER;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// A file or folder of the command line, and its path in the program's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    pub from: PathBuf,
    pub name: String,
}

impl Data {
    /// Of `FILE` or `FILE=NAME`. A relative path keeps its folders; of an absolute one, or one that leads up, the last part remains.
    pub fn parse(text: &str) -> Result<Data, String> {
        let (from, name) = match text.rsplit_once('=') {
            Some((from, name)) if fs::symlink_metadata(text).is_err() => (from, Some(name)),
            _ => (text, None),
        };
        let plain = |path: &str| {
            let mut parts = Vec::new();
            for part in Path::new(path).components() {
                match part {
                    Component::Normal(part) => parts.push(part.to_str()?.to_string()),
                    Component::CurDir => {}
                    _ => return None,
                }
            }
            (!parts.is_empty()).then(|| parts.join("/"))
        };
        let last = || Path::new(from).file_name()?.to_str().map(String::from);
        let name = match name {
            Some(name) => plain(name),
            None => plain(from).or_else(last),
        };
        let name =
            name.ok_or_else(|| format!("{text}: gives no name for the package (FILE=NAME)"))?;
        Ok(Data {
            from: from.into(),
            name,
        })
    }

    /// Adds the file, or the folder with all that is in it; gives the ELF files among them.
    pub fn add(&self, tree: &mut Tree, secrets: bool) -> Result<Vec<PathBuf>, String> {
        let mut programs = Vec::new();
        add(
            &self.from,
            &format!("{FOLDER}/{}", self.name),
            tree,
            secrets,
            0,
            &mut programs,
        )?;
        Ok(programs)
    }
}

/// Links to these stay links: a way to show on the platform's output what a program writes into a file.
const STREAMS: [&str; 3] = ["/dev/stdout", "/dev/stderr", "/dev/null"];

fn add(
    from: &Path,
    name: &str,
    tree: &mut Tree,
    secrets: bool,
    depth: u32,
    programs: &mut Vec<PathBuf>,
) -> Result<(), String> {
    let shown = from.display();
    if let Some(to) = fs::read_link(from)
        .ok()
        .filter(|to| STREAMS.iter().any(|s| to == Path::new(s)))
    {
        return tree.link(name, to.to_string_lossy());
    }
    let meta = fs::metadata(from).map_err(|e| format!("{shown}: {e}"))?;
    if meta.is_dir() {
        if depth > 64 {
            return Err(format!(
                "{shown}: folders in folders without end (a link that leads up?)"
            ));
        }
        tree.add(name, Node::Folder { open: false })?;
        for entry in fs::read_dir(from).map_err(|e| format!("{shown}: {e}"))? {
            let entry = entry.map_err(|e| format!("{shown}: {e}"))?;
            let own = entry.file_name();
            let own = own
                .to_str()
                .ok_or_else(|| format!("{}: its name is not UTF-8", entry.path().display()))?;
            add(
                &entry.path(),
                &format!("{name}/{own}"),
                tree,
                secrets,
                depth + 1,
                programs,
            )?;
        }
        return Ok(());
    }
    if !meta.is_file() {
        return Err(format!("{shown}: is neither a file nor a folder"));
    }
    let mut head = Vec::new();
    let file = fs::File::open(from).map_err(|e| format!("{shown}: {e}"))?;
    file.take(16 << 10)
        .read_to_end(&mut head)
        .map_err(|e| format!("{shown}: {e}"))?;
    if let Some(what) = secret(from, &head).filter(|_| !secrets) {
        return Err(format!("{shown}: {what}; secrets do not belong in a package (--allow-secrets packs it all the same)"));
    }
    if head.starts_with(b"\x7fELF") {
        programs.push(from.into());
    }
    tree.file(name, from, meta.permissions().mode() & 0o111 != 0)
}

/// What makes a file look like somebody's keys.
fn secret(path: &Path, head: &[u8]) -> Option<&'static str> {
    let file = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let folder = path
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(head);
    let has = |what: &str| text.contains(what);
    match () {
        () if has("-----BEGIN") && has("PRIVATE KEY-----") => Some("holds a private key"),
        () if has("aws_secret_access_key") => Some("holds AWS credentials"),
        () if has("client-key-data:") || has("\"hosts_key\"") => Some("holds keys"),
        () if matches!(
            file,
            ".netrc" | ".pgpass" | ".env" | ".git-credentials" | ".npmrc" | ".pypirc"
        ) =>
        {
            Some("is where passwords are kept")
        }
        () if matches!(folder, ".ssh" | ".aws" | ".kube" | ".gnupg" | ".docker") => {
            Some("is in a folder of credentials")
        }
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let name = |text: &str| Data::parse(text).map(|data| data.name);
        assert_eq!(name("in.txt").unwrap(), "in.txt");
        assert_eq!(name("./data/in.txt").unwrap(), "data/in.txt");
        assert_eq!(name("/far/data/in.txt").unwrap(), "in.txt");
        assert_eq!(name("../data/in.txt").unwrap(), "in.txt");
        assert_eq!(name("/far/in.7=data/in.txt").unwrap(), "data/in.txt");
        for wrong in [
            "/far/in.txt=",
            "in.txt=/etc/passwd",
            "in.txt=../x",
            "..",
            "/",
        ] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn folders_modes_and_streams() {
        let folder = std::env::temp_dir().join(format!("mayfly-data-{}", std::process::id()));
        fs::create_dir_all(folder.join("deep")).unwrap();
        fs::write(folder.join("deep/run.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(folder.join("deep/run.sh"), PermissionsExt::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("/dev/stdout", folder.join("out.txt")).unwrap();
        fs::write(folder.join("x"), b"\x7fELF").unwrap();
        let data = Data {
            from: folder.clone(),
            name: "d".into(),
        };
        let mut tree = Tree::default();
        let programs = data.add(&mut tree, false).unwrap();
        let link = Data {
            from: folder.join("deep/up"),
            name: "up".into(),
        };
        std::os::unix::fs::symlink("..", folder.join("deep/up")).unwrap();
        let endless = link.add(&mut Tree::default(), false).unwrap_err();
        fs::write(folder.join("key"), "-----BEGIN RSA PRIVATE KEY-----\nx").unwrap();
        let key = Data {
            from: folder.join("key"),
            name: "key".into(),
        };
        let refused = key.add(&mut tree, false).unwrap_err();
        key.add(&mut tree, true).unwrap();
        fs::remove_dir_all(&folder).unwrap();

        assert_eq!(programs, [folder.join("x")]);
        let entries = tree.entries();
        let find = |name: &str| {
            entries
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, node)| node.clone())
        };
        assert!(matches!(
            find("app/d/deep/run.sh"),
            Some(Node::File {
                executable: true,
                ..
            })
        ));
        assert_eq!(
            find("app/d/out.txt"),
            Some(Node::Link("/dev/stdout".into()))
        );
        assert!(
            endless.contains("without end") || endless.contains("Too many levels"),
            "{endless}"
        );
        assert!(refused.contains("holds a private key"), "{refused}");
    }

    #[test]
    fn keys_are_recognised() {
        let judge = |path: &str, text: &str| secret(Path::new(path), text.as_bytes()).is_some();
        assert!(judge("/h/.aws/config", ""));
        assert!(judge(
            "a/credentials",
            "[default]\naws_secret_access_key = x"
        ));
        assert!(judge("config", "users:\n- user:\n    client-key-data: x"));
        assert!(judge(".env", ""));
        assert!(!judge("in.melt", "units lj"));
        assert!(!judge("ca.pem", "-----BEGIN CERTIFICATE-----"));
    }
}
