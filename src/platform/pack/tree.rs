//! What a package holds, before it is written: paths in order, so that the same input gives the same bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

/// One entry; folders above it are made by the writers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Folder {
        /// Anybody may write there, as to /tmp.
        open: bool,
    },
    File {
        from: Source,
        executable: bool,
    },
    /// A symbolic link with this text.
    Link(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Path(PathBuf),
    Bytes(Vec<u8>),
}

impl Source {
    /// Its bytes and their number.
    pub fn open(&self) -> io::Result<(Box<dyn Read + '_>, u64)> {
        match self {
            Source::Bytes(bytes) => Ok((Box::new(Cursor::new(bytes)), bytes.len() as u64)),
            Source::Path(path) => {
                let named =
                    |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
                let file = File::open(path).map_err(named)?;
                let length = file.metadata().map_err(named)?.len();
                // A file that grows meanwhile would spoil an archive whose header names its length.
                Ok((Box::new(file.take(length)), length))
            }
        }
    }
}

/// Entries by path (relative, with `/`).
#[derive(Clone, Debug, Default)]
pub struct Tree(BTreeMap<String, Node>);

impl Tree {
    /// Adds an entry. The same file twice is one; two different ones under one name are an error.
    pub fn add(&mut self, path: impl Into<String>, node: Node) -> Result<(), String> {
        let path = path.into();
        match self.0.get(&path) {
            Some(there) if *there == node => Ok(()),
            Some(there) => Err(format!(
                "{path}: two different files would have this name in the package: {} and {}",
                shown(there),
                shown(&node)
            )),
            None => {
                let mut above = path.as_str();
                while let Some((folder, _)) = above.rsplit_once('/') {
                    if !matches!(self.0.get(folder), None | Some(Node::Folder { .. })) {
                        return Err(format!(
                            "{folder}: would be a file and a folder in the package"
                        ));
                    }
                    above = folder;
                }
                self.0.insert(path, node);
                Ok(())
            }
        }
    }

    pub fn file(
        &mut self,
        path: impl Into<String>,
        from: &Path,
        executable: bool,
    ) -> Result<(), String> {
        let from = Source::Path(from.into());
        self.add(path, Node::File { from, executable })
    }

    pub fn text(
        &mut self,
        path: impl Into<String>,
        text: impl Into<Vec<u8>>,
    ) -> Result<(), String> {
        let from = Source::Bytes(text.into());
        let executable = false;
        self.add(path, Node::File { from, executable })
    }

    pub fn link(&mut self, path: impl Into<String>, to: impl Into<String>) -> Result<(), String> {
        self.add(path, Node::Link(to.into()))
    }

    pub fn contains(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// All entries, sorted, each folder before what is in it.
    pub fn entries(&self) -> Vec<(String, Node)> {
        let mut all: BTreeMap<String, Node> = BTreeMap::new();
        for path in self.0.keys() {
            let mut above = path.as_str();
            while let Some((folder, _)) = above.rsplit_once('/') {
                all.insert(folder.into(), Node::Folder { open: false });
                above = folder;
            }
        }
        all.extend(
            self.0
                .iter()
                .map(|(path, node)| (path.clone(), node.clone())),
        );
        all.into_iter().collect()
    }

    /// The entries whose path `wanted` takes, and the others.
    pub fn split(&self, wanted: impl Fn(&str) -> bool) -> (Tree, Tree) {
        let (a, b) = self
            .0
            .iter()
            .map(|(p, n)| (p.clone(), n.clone()))
            .partition(|(path, _)| wanted(path));
        (Tree(a), Tree(b))
    }

    /// All of it within a folder.
    pub fn under(&self, folder: &str) -> Tree {
        let all = self
            .0
            .iter()
            .map(|(path, node)| (format!("{folder}/{path}"), node.clone()));
        Tree(all.collect())
    }

    /// The bytes of all files when unpacked.
    pub fn size(&self) -> io::Result<u64> {
        let mut all = 0;
        for node in self.0.values() {
            if let Node::File { from, .. } = node {
                all += from.open()?.1;
            }
        }
        Ok(all)
    }
}

fn shown(node: &Node) -> String {
    match node {
        Node::Folder { .. } => "a folder".into(),
        Node::Link(to) => format!("a link to {to}"),
        Node::File {
            from: Source::Path(path),
            ..
        } => path.display().to_string(),
        Node::File { .. } => "a file of Mayfly's own".into(),
    }
}

/// The modes that all packages have.
pub fn mode(node: &Node) -> u32 {
    match node {
        Node::Folder { open: true } => 0o1777,
        Node::Folder { .. }
        | Node::File {
            executable: true, ..
        } => 0o755,
        Node::File { .. } => 0o644,
        Node::Link(_) => 0o777,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_and_with_their_folders() {
        let mut tree = Tree::default();
        tree.text("b/c/d", "x").unwrap();
        tree.link("b/a", "c/d").unwrap();
        tree.text("a", "yy").unwrap();
        let entries = tree.entries();
        let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "b/a", "b/c", "b/c/d"]);
        assert_eq!(tree.size().unwrap(), 3);
    }

    #[test]
    fn one_name_is_one_file() {
        let mut tree = Tree::default();
        tree.file("a/x", Path::new("/1/x"), false).unwrap();
        tree.file("a/x", Path::new("/1/x"), false).unwrap();
        let wrong = tree.file("a/x", Path::new("/2/x"), false).unwrap_err();
        assert!(wrong.contains("/1/x") && wrong.contains("/2/x"), "{wrong}");
        assert!(tree
            .text("a/x/y", "")
            .unwrap_err()
            .contains("a file and a folder"));
    }
}
