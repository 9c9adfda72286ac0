//! Everything the dynamic loader would load for a program, and for what is loaded into it later.

use super::image::{self, Image};
use super::search::{self, Surroundings};
use super::{family, Family, Trouble};
use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;

/// A library that is asked for, and the file that the loader takes.
#[derive(Debug)]
pub struct Object {
    /// As asked for: the name under which it must be found again.
    pub name: String,
    pub image: Image,
}

/// What [`closure`] found.
#[derive(Debug, Default)]
pub struct Closure {
    /// What was given, as far as it is ELF.
    pub roots: Vec<Image>,
    /// What they need, in the loader's order; no MPI library, and nothing that only an MPI library needs.
    pub objects: Vec<Object>,
    /// The names by which MPI libraries are asked for, each once.
    pub mpi: Vec<String>,
    /// NEEDED names that are nowhere, and who needs them.
    pub missing: Vec<(String, PathBuf)>,
}

/// Follows NEEDED breadth first from each root; the first is the program, into which the others are loaded.
pub fn closure(roots: &[PathBuf], here: &Surroundings) -> Result<Closure, Trouble> {
    let mut out = Closure::default();
    let mut images: Vec<(Image, Option<usize>, Option<String>)> = Vec::new();
    let mut queue = VecDeque::new();
    let mut known = HashSet::new();
    for path in roots {
        let image::Magic::Elf(file) = image::open(path)? else {
            continue;
        };
        let image = Image::read(path, &file)?;
        known.extend(image.soname.clone());
        let above = (!images.is_empty()).then_some(0);
        queue.push_back(images.len());
        images.push((image, above, None));
    }
    while let Some(at) = queue.pop_front() {
        let mut chain = vec![&images[at].0];
        let mut up = images[at].1;
        while let Some(index) = up {
            chain.push(&images[index].0);
            up = images[index].1;
        }
        chain.reverse();
        let mut fresh = Vec::new();
        for name in &images[at].0.needed {
            if !known.insert(name.clone()) {
                continue;
            }
            if family(name) != Family::None {
                out.mpi.push(name.clone());
                continue;
            }
            let found = search::find(name, &chain, here).and_then(|(path, _)| {
                let image::Magic::Elf(file) = image::open(&path).ok()? else {
                    return None;
                };
                Image::read(&path, &file).ok()
            });
            match found {
                Some(image) => fresh.push((name.clone(), image)),
                None => out.missing.push((name.clone(), images[at].0.path.clone())),
            }
        }
        for (name, image) in fresh {
            known.extend(image.soname.clone());
            queue.push_back(images.len());
            images.push((image, Some(at), Some(name)));
        }
    }
    for (image, _, name) in images {
        match name {
            Some(name) => out.objects.push(Object { name, image }),
            None => out.roots.push(image),
        }
    }
    Ok(out)
}
