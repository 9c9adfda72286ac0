//! An image that ours stands on: its layers come below, its settings stay.

use crate::rendezvous::message::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// What we take over.
#[derive(Debug)]
pub struct Base {
    folder: PathBuf,
    /// Descriptors of its layers, from the bottom up.
    pub layers: Vec<Value>,
    /// The digests of what is in them.
    pub plain: Vec<Value>,
    pub history: Vec<Value>,
    pub env: Vec<String>,
}

impl Base {
    /// Opens an OCI image layout; the error is one line.
    pub fn open(folder: &Path, tag: &str) -> Result<Base, String> {
        let shown = folder.display();
        let index = json(&folder.join("index.json"))?;
        let listed: Vec<&Value> = index["manifests"]
            .as_array()
            .into_iter()
            .flatten()
            .collect();
        let named = |m: &&&Value| m["annotations"]["org.opencontainers.image.ref.name"] == tag;
        let found = listed.iter().find(named).or(match &listed[..] {
            [only] if tag == "latest" => Some(only),
            _ => None,
        });
        let found = found.ok_or_else(|| format!("{shown}: has no image {tag}"))?;
        let mut base = Base {
            folder: folder.into(),
            layers: Vec::new(),
            plain: Vec::new(),
            history: Vec::new(),
            env: Vec::new(),
        };
        let manifest = base.blob(found)?;
        if manifest["layers"].is_null() {
            return Err(format!(
                "{shown}:{tag}: is an image for several machines; copy one out of it (skopeo copy)"
            ));
        }
        let config = base.blob(&manifest["config"])?;
        let own = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        if config["architecture"] != own {
            return Err(format!(
                "{shown}:{tag}: is built for {}, not {own}",
                config["architecture"]
            ));
        }
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        base.layers = list(&manifest["layers"]);
        base.plain = list(&config["rootfs"]["diff_ids"]);
        base.history = list(&config["history"]);
        let env = list(&config["config"]["Env"]);
        base.env = env
            .iter()
            .filter_map(|v| v.as_str().map(String::from))
            .collect();
        if base.layers.len() != base.plain.len() {
            return Err(format!(
                "{shown}:{tag}: its manifest and its configuration do not fit each other"
            ));
        }
        Ok(base)
    }

    /// A blob's file.
    fn path(&self, descriptor: &Value) -> Result<(PathBuf, String), String> {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        let sound = digest
            .strip_prefix("sha256:")
            .filter(|d| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit()));
        let sum = sound
            .ok_or_else(|| format!("{}: {digest:?} is no sha256 digest", self.folder.display()))?;
        Ok((self.folder.join("blobs/sha256").join(sum), sum.into()))
    }

    fn blob(&self, descriptor: &Value) -> Result<Value, String> {
        let (path, sum) = self.path(descriptor)?;
        let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        if hex(&Sha256::digest(&bytes)) != sum {
            return Err(format!("{}: is damaged", path.display()));
        }
        serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Copies its layers.
    pub fn copy(&self, blobs: &Path) -> Result<(), String> {
        for layer in &self.layers {
            let (path, sum) = self.path(layer)?;
            fs::copy(&path, blobs.join(sum)).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(())
    }
}

fn json(path: &Path) -> Result<Value, String> {
    let text = fs::read(path)
        .map_err(|e| format!("{}: {e} (is it an OCI image layout?)", path.display()))?;
    serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()))
}
