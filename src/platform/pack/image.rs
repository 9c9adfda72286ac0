//! A package as an OCI image layout (image-spec 1.0: image-layout.md, manifest.md, config.md, layer.md), which skopeo copies to any registry.

use super::base::Base;
use super::tree::{mode, Node, Tree};
use crate::rendezvous::message::hex;
use flate2::{Compression, GzBuilder};
use serde_json::{json, Value};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What the image says of itself.
pub struct Meta<'a> {
    pub name: &'a str,
    pub tag: &'a str,
    /// Labels beside our own.
    pub labels: Vec<(String, String)>,
    /// The image below.
    pub base: Option<Base>,
}

/// Who the program is when the platform does not say: nobody.
const USER: &str = "65534:65534";
/// Times in images are the epoch's: what is in it decides its digest, not when it was made.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// Writes the layout to `folder`, which must be new, empty or such a layout; gives the manifest's digest. `layers` from the bottom up.
pub fn write(layers: &[(&str, Tree)], meta: &Meta<'_>, folder: &Path) -> io::Result<String> {
    if fs::symlink_metadata(folder).is_ok() && !replaceable(folder) {
        let text = format!("{}: is there and is no OCI image layout", folder.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    let mut name = folder.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = folder.with_file_name(name);
    let filled = fill(layers, meta, &fresh)
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", folder.display())));
    let done = filled.and_then(|digest| {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::rename(&fresh, folder)?;
        Ok(digest)
    });
    if done.is_err() {
        let _ = fs::remove_dir_all(&fresh);
    }
    done
}

fn replaceable(folder: &Path) -> bool {
    let empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    empty || folder.join("oci-layout").is_file()
}

fn fill(layers: &[(&str, Tree)], meta: &Meta<'_>, folder: &Path) -> io::Result<String> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let (mut descriptors, mut plain, mut history) = (Vec::new(), Vec::new(), Vec::new());
    let mut env = vec![
        "PATH=/bin:/usr/bin:/usr/local/bin".to_string(),
        "HOME=/tmp".into(),
    ];
    if let Some(base) = &meta.base {
        base.copy(&blobs).map_err(io::Error::other)?;
        (descriptors, plain, history) = (
            base.layers.clone(),
            base.plain.clone(),
            base.history.clone(),
        );
        let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_string();
        env.retain(|own| name(own) == "HOME" || !base.env.iter().any(|v| name(v) == name(own)));
        env.splice(0..0, base.env.iter().filter(|v| name(v) != "HOME").cloned());
    }
    for (what, tree) in layers {
        let layer = layer(tree, &blobs)?;
        descriptors.push(descriptor(
            "application/vnd.oci.image.layer.v1.tar+gzip",
            &layer.0,
            layer.1,
        ));
        plain.push(layer.2.into());
        history.push(json!({"created": CREATED, "created_by": "mayfly pack", "comment": what}));
    }
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let mut labels = serde_json::Map::new();
    labels.insert("org.opencontainers.image.title".into(), meta.name.into());
    labels.insert("org.opencontainers.image.ref.name".into(), meta.tag.into());
    labels.extend(
        meta.labels
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.as_str()))),
    );
    let config = json!({
        "created": CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": USER,
            "Env": env,
            "Entrypoint": ["/bootstrap", "host"],
            "WorkingDir": "/tmp",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": plain},
        "history": history,
    });
    let config = blob(&config, "application/vnd.oci.image.config.v1+json", &blobs)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": descriptors,
    });
    let mut manifest = blob(
        &manifest,
        "application/vnd.oci.image.manifest.v1+json",
        &blobs,
    )?;
    let digest = manifest["digest"].as_str().unwrap_or_default().to_string();
    manifest["platform"] = json!({"architecture": architecture, "os": "linux"});
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": meta.tag});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    fs::write(folder.join("index.json"), index.to_string())?;
    fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    Ok(digest)
}

fn descriptor(kind: &str, digest: &str, size: u64) -> Value {
    json!({"mediaType": kind, "digest": digest, "size": size})
}

fn blob(value: &Value, kind: &str, blobs: &Path) -> io::Result<Value> {
    let bytes = value.to_string();
    let digest = hex(&Sha256::digest(&bytes));
    fs::write(blobs.join(&digest), &bytes)?;
    Ok(descriptor(
        kind,
        &format!("sha256:{digest}"),
        bytes.len() as u64,
    ))
}

/// Writes a layer's blob; gives its digest, its size, and the digest of what is in the compression.
fn layer(tree: &Tree, blobs: &Path) -> io::Result<(String, u64, String)> {
    let place: PathBuf = blobs.join("layer.new");
    let outer = Hashing::new(BufWriter::new(File::create(&place)?));
    let gzip = GzBuilder::new().mtime(0).write(outer, Compression::new(6));
    let mut tar = tar::Builder::new(Hashing::new(gzip));
    for (name, node) in tree.entries() {
        append(&mut tar, &name, &node)?;
    }
    let (gzip, plain, _) = tar.into_inner()?.finish();
    let (mut file, digest, size) = gzip.finish()?.finish();
    file.flush()?;
    fs::rename(&place, blobs.join(&digest))?;
    Ok((format!("sha256:{digest}"), size, format!("sha256:{plain}")))
}

fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, node: &Node) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode(node));
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    match node {
        Node::Folder { .. } => {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, format!("{name}/"), io::empty())
        }
        Node::Link(to) => {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, name, to)
        }
        Node::File { from, .. } => {
            let (bytes, length) = from.open()?;
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(length);
            tar.append_data(&mut header, name, bytes)
        }
    }
}

/// A file's sha256, hex.
pub fn sum(path: &Path) -> io::Result<String> {
    let mut all = Hashing::new(io::sink());
    io::copy(&mut File::open(path)?, &mut all)?;
    Ok(all.finish().1)
}

/// Passes bytes on and keeps their sum and number.
struct Hashing<W> {
    to: W,
    sum: Sha256,
    bytes: u64,
}

impl<W: Write> Hashing<W> {
    fn new(to: W) -> Hashing<W> {
        Hashing {
            to,
            sum: Sha256::new(),
            bytes: 0,
        }
    }

    fn finish(self) -> (W, String, u64) {
        (self.to, hex(&self.sum.finalize()), self.bytes)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.sum.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
