//! Turning a program into something that a platform can run: the program, what it needs, Mayfly, and a description of it all.

mod archive;
mod base;
mod collect;
mod data;
mod image;
mod system;
mod target;
mod tree;

pub use collect::Contents;
pub use data::Data;
pub use system::Libc;
pub use target::{Demand, Target};

use crate::platform::elf::{Glibc, Kind};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What is to be packed.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The program's file.
    pub program: PathBuf,
    pub name: String,
    pub data: Vec<Data>,
    /// Libraries and programs that are opened while it runs.
    pub with: Vec<PathBuf>,
    /// Files it writes that are to appear on its standard output.
    pub print: Vec<String>,
    /// Arguments when a task names none.
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
    /// The `mayfly` command that goes into the package.
    pub command: PathBuf,
    /// The folder of Mayfly's libraries (a folder an ABI).
    pub mayfly: PathBuf,
    /// Files that look like keys are packed as well.
    pub allow_secrets: bool,
}

/// Where the package goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// A zip for machines with the target's libc; `carry`: with a libc of its own.
    Zip {
        path: PathBuf,
        target: Target,
        carry: bool,
    },
    /// An OCI image layout: complete in itself, or on a base.
    Oci {
        folder: PathBuf,
        tag: String,
        base: Option<Under>,
    },
}

/// The image that one is put on: a layout's folder, its tag, and the glibc in it, where known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Under {
    pub folder: PathBuf,
    pub tag: String,
    pub target: Option<Target>,
}

/// What Lambda takes (AWS's "Lambda quotas"): an unpacked package, and a zip that is uploaded with the call. Bytes.
pub const UNPACKED_MAX: u64 = 250 << 20;
pub const UPLOAD_MAX: u64 = 50 << 20;

/// A package that was written.
#[derive(Debug)]
pub struct Packed {
    pub contents: Contents,
    /// sha256 of the zip, or the manifest's digest.
    pub digest: String,
    /// Bytes as written, and unpacked.
    pub size: u64,
    pub unpacked: u64,
    /// What the user should know, a line each.
    pub notices: Vec<String>,
}

/// Packs; the error says in a line or more why not.
pub fn pack(request: &Request, to: &To) -> Result<Packed, String> {
    let libc = match to {
        To::Zip { carry: false, .. } => Libc::Target,
        To::Zip { carry: true, .. } => Libc::Carried,
        To::Oci { base: Some(_), .. } => Libc::Target,
        To::Oci { base: None, .. } => Libc::Rooted,
    };
    let mut contents = collect::collect(request, libc)?;
    let unpacked = contents.tree.size().map_err(|e| e.to_string())?;
    let mut notices = std::mem::take(&mut contents.notices);
    if !contents.openers.is_empty() {
        notices.push(format!(
            "{} can load more libraries while running (dlopen), which nobody sees beforehand; add those it needs with --with FILE",
            contents.openers.join(", ")
        ));
    }
    let (digest, size) = match to {
        To::Zip {
            path,
            target,
            carry,
        } => {
            fits(&contents, target, *carry)?;
            archive::write(&contents.tree, path).map_err(|e| format!("{}: {e}", path.display()))?;
            let sum = image::sum(path).map_err(|e| format!("{}: {e}", path.display()))?;
            let size = path.metadata().map_err(|e| e.to_string())?.len();
            limits(unpacked, size, &mut notices);
            (sum, size)
        }
        To::Oci { folder, tag, base } => {
            if let Some(Under { target, .. }) = base {
                match target {
                    Some(target) => fits(&contents, target, false)?,
                    None => notices.push("which glibc the base image has is not known; --target compares it with what is packed".into()),
                }
            }
            oci(&contents, request, folder, tag, base.as_ref())?
        }
    };
    Ok(Packed {
        contents,
        digest,
        size,
        unpacked,
        notices,
    })
}

/// Whether everything will load on the target; the error names each object that will not.
fn fits(contents: &Contents, target: &Target, carry: bool) -> Result<(), String> {
    let mut lines = target::too_new(&contents.demands, target);
    if lines.is_empty() {
        return Ok(());
    }
    let rest = lines.len().saturating_sub(8);
    lines.truncate(8);
    if rest > 0 {
        lines.push(format!("and {rest} more"));
    }
    let advice = if carry {
        "Mayfly's own command must run on the target's libc: build it on an older system, or pack an image (--to oci:DIR)"
    } else {
        "take this machine's libc along (--libc), pack an image (--to oci:DIR), build on an older system, or name another --target"
    };
    lines.push(advice.into());
    Err(lines.join("\n"))
}

fn limits(unpacked: u64, size: u64, notices: &mut Vec<String>) {
    if unpacked > UNPACKED_MAX {
        notices.push(format!(
            "{} unpacked: Lambda takes {} at most; deploy it as an image (--to oci:DIR, up to 10 GB)",
            megabytes(unpacked),
            megabytes(UNPACKED_MAX)
        ));
    } else if size > UPLOAD_MAX {
        notices.push(format!(
            "{}: Lambda takes {} at most with the call itself; upload it to S3 and name it there",
            megabytes(size),
            megabytes(UPLOAD_MAX)
        ));
    }
}

/// `12.3 MB`, in the binary megabytes that the platforms count.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}

/// The folder of the package on a base image, whose own folders (and links such as /lib) stay as they are.
const ON_BASE: &str = "package";

/// Two layers: what seldom changes (Mayfly, libraries, libc), and the program with its data.
fn oci(
    contents: &Contents,
    request: &Request,
    folder: &Path,
    tag: &str,
    under: Option<&Under>,
) -> Result<(String, u64), String> {
    let of_program =
        |path: &str| path.starts_with("app/") || path == crate::platform::package::FILE;
    let (mut top, mut bottom) = contents.tree.split(of_program);
    let mut base = None;
    if let Some(under) = under {
        base = Some(base::Base::open(&under.folder, &under.tag)?);
        (top, bottom) = (top.under(ON_BASE), bottom.under(ON_BASE));
        bottom.link("bootstrap", format!("{ON_BASE}/bootstrap"))?;
    }
    let abis: Vec<&str> = contents.abis.iter().map(|abi| abi.name()).collect();
    let meta = image::Meta {
        name: &request.name,
        tag,
        labels: vec![
            (
                "dev.mayfly.version".into(),
                env!("CARGO_PKG_VERSION").into(),
            ),
            ("dev.mayfly.abi".into(), abis.join(",")),
        ],
        base,
    };
    let layers = [("libraries and Mayfly", bottom), ("program and data", top)];
    let digest = image::write(&layers, &meta, folder).map_err(|e| e.to_string())?;
    let blobs = std::fs::read_dir(folder.join("blobs/sha256")).map_err(|e| e.to_string())?;
    let size = blobs
        .flatten()
        .filter_map(|blob| blob.metadata().ok())
        .map(|meta| meta.len())
        .sum();
    Ok((digest, size))
}

impl Packed {
    /// What was packed, for people.
    pub fn text(&self, request: &Request, to: &To) -> String {
        let c = &self.contents;
        let mut out = String::new();
        let mut row = |label: &str, text: &str| {
            let _ = writeln!(out, "{label:<10} {text}");
        };
        match to {
            To::Zip { path, .. } => row(
                "packed",
                &format!(
                    "{} ({}, {} unpacked)",
                    path.display(),
                    megabytes(self.size),
                    megabytes(self.unpacked)
                ),
            ),
            To::Oci { folder, tag, .. } => row(
                "packed",
                &format!(
                    "oci:{}:{tag} ({}, {} unpacked)",
                    folder.display(),
                    megabytes(self.size),
                    megabytes(self.unpacked)
                ),
            ),
        }
        let sum = self.digest.trim_start_matches("sha256:");
        row("sha256", sum);
        let kind = match &c.report.kind {
            Kind::Script(line) => format!(", a script for {line}"),
            Kind::Static(_) => ", static".into(),
            _ => String::new(),
        };
        row(
            "program",
            &format!(
                "{} from {}{kind}",
                c.description.program,
                request.program.display()
            ),
        );
        let asked: Vec<_> = c.report.abis().iter().map(|abi| abi.title()).collect();
        let abis: Vec<_> = c.abis.iter().map(|abi| abi.name()).collect();
        let why = if asked.is_empty() {
            "no MPI seen".into()
        } else {
            format!("built for {}", asked.join(", "))
        };
        row("MPI", &format!("Mayfly's {} ({why})", abis.join(", ")));
        row(
            "libraries",
            &format!("{}: {}", c.libraries.len(), c.libraries.join(" ")),
        );
        let fortran: Vec<_> = c
            .libraries
            .iter()
            .filter_map(|name| Some((system::fortran(name)?, name)))
            .collect();
        for (compiler, name) in fortran {
            row("Fortran", &format!("{compiler}'s runtime, {name}"));
        }
        match to {
            To::Oci {
                base: Some(under), ..
            } => row(
                "libc",
                &format!("that of {}:{}", under.folder.display(), under.tag),
            ),
            To::Oci { base: None, .. } => row(
                "libc",
                "this machine's, with its loader: the image needs no base",
            ),
            To::Zip { carry: true, .. } => row(
                "libc",
                "this machine's, with its loader, for the program; Mayfly uses the target's",
            ),
            To::Zip { target, .. } => row(
                "libc",
                &format!("that of {}, glibc {}", target.name, target.glibc),
            ),
        }
        if let Some(demand) = c.demands.first() {
            row(
                "glibc",
                &format!(
                    "{} or newer ({}: {})",
                    demand.glibc,
                    demand.object.display(),
                    demand.symbol
                ),
            );
        }
        out
    }
}

/// The glibc of Lambda's current runtime, which a zip is for when nothing else is said.
pub fn usual_target() -> Target {
    Target::parse("al2023").unwrap_or(Target {
        name: "al2023".into(),
        glibc: Glibc(2, 34),
    })
}

#[cfg(test)]
mod tests;
