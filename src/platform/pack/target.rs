//! Where a package will run, as far as it matters before: which glibc is there.

use crate::platform::elf::{Glibc, Image};
use std::path::PathBuf;

/// A system with a libc of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub glibc: Glibc,
}

/// The glibc of systems that functions run on (their release notes).
const KNOWN: &[(&str, Glibc, &str)] = &[
    ("al2023", Glibc(2, 34), "Lambda's provided.al2023"),
    ("al2", Glibc(2, 26), "Lambda's provided.al2"),
    ("debian11", Glibc(2, 31), ""),
    ("debian12", Glibc(2, 36), ""),
    ("debian13", Glibc(2, 41), ""),
    ("ubuntu20.04", Glibc(2, 31), ""),
    ("ubuntu22.04", Glibc(2, 35), ""),
    ("ubuntu24.04", Glibc(2, 39), ""),
    ("rhel8", Glibc(2, 28), ""),
    ("rhel9", Glibc(2, 34), ""),
];

impl Target {
    /// Of `al2023` or `glibc=2.34`.
    pub fn parse(text: &str) -> Result<Target, String> {
        if let Some(version) = text.strip_prefix("glibc=") {
            let glibc = Glibc::parse(version).ok_or_else(|| {
                format!("--target {text}: {version:?} is no version of glibc (2.34)")
            })?;
            return Ok(Target {
                name: format!("a machine with glibc {glibc}"),
                glibc,
            });
        }
        let known = KNOWN.iter().find(|(name, _, _)| *name == text);
        let names: Vec<_> = KNOWN.iter().map(|(name, _, _)| *name).collect();
        let (name, glibc, what) = known.ok_or_else(|| {
            format!(
                "--target {text}: is not known; known are {}, and glibc=VERSION",
                names.join(", ")
            )
        })?;
        let name = match *what {
            "" => name.to_string(),
            what => format!("{name} ({what})"),
        };
        Ok(Target {
            name,
            glibc: *glibc,
        })
    }
}

/// What one packed object wants of the libc there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    pub object: PathBuf,
    pub glibc: Glibc,
    pub symbol: String,
}

/// What the images want, the most demanding first.
pub fn demands<'a>(images: impl Iterator<Item = &'a Image>) -> Vec<Demand> {
    let mut all: Vec<Demand> = images
        .filter_map(|image| {
            let wish = image.glibc.as_ref()?;
            Some(Demand {
                object: image.path.clone(),
                glibc: wish.glibc,
                symbol: wish.symbol.clone(),
            })
        })
        .collect();
    all.sort_by(|a, b| b.glibc.cmp(&a.glibc).then_with(|| a.object.cmp(&b.object)));
    all
}

/// The lines that say what is too new for the target; none: all will load there.
pub fn too_new(demands: &[Demand], target: &Target) -> Vec<String> {
    let wrong = demands.iter().filter(|demand| demand.glibc > target.glibc);
    wrong
        .map(|d| {
            format!(
                "{}: wants glibc {} ({}); {} has {}",
                d.object.display(),
                d.glibc,
                d.symbol,
                target.name,
                target.glibc
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!(Target::parse("al2023").unwrap().glibc, Glibc(2, 34));
        assert_eq!(Target::parse("glibc=2.17").unwrap().glibc, Glibc(2, 17));
        assert!(Target::parse("alpine").unwrap_err().contains("al2023"));
        assert!(Target::parse("glibc=new").is_err());
    }

    #[test]
    fn what_is_too_new_is_named() {
        let demand = |object: &str, glibc| Demand {
            object: object.into(),
            glibc,
            symbol: "arc4random".into(),
        };
        let all = [
            demand("/l/a.so", Glibc(2, 36)),
            demand("/l/b.so", Glibc(2, 34)),
        ];
        let target = Target::parse("al2023").unwrap();
        let lines = too_new(&all, &target);
        assert_eq!(
            lines,
            ["/l/a.so: wants glibc 2.36 (arc4random); al2023 (Lambda's provided.al2023) has 2.34"]
        );
        assert!(too_new(&all, &Target::parse("debian12").unwrap()).is_empty());
    }
}
