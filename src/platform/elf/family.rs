//! Which MPI a library file name belongs to.

/// A binary interface that Mayfly offers; each has its folder under lib/mayfly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Abi {
    /// MPICH, Intel MPI and relatives: libmpi.so.12.
    Mpich,
    /// Open MPI 4 and 5: libmpi.so.40.
    OpenMpi,
    /// MPI-5.0's standard ABI: libmpi_abi.so.1.
    Standard,
}

impl Abi {
    pub const ALL: [Abi; 3] = [Abi::Mpich, Abi::OpenMpi, Abi::Standard];

    /// The name of its folder under lib/mayfly and include/mayfly, and of `--abi=`.
    pub fn name(self) -> &'static str {
        match self {
            Abi::Mpich => "mpich",
            Abi::OpenMpi => "openmpi",
            Abi::Standard => "standard",
        }
    }

    /// What a person calls it.
    pub fn title(self) -> &'static str {
        match self {
            Abi::Mpich => "MPICH (and Intel MPI)",
            Abi::OpenMpi => "Open MPI",
            Abi::Standard => "MPI-5 standard",
        }
    }

    /// The SONAME of Mayfly's library with this interface.
    pub fn soname(self) -> &'static str {
        match self {
            Abi::Mpich => "libmpi.so.12",
            Abi::OpenMpi => "libmpi.so.40",
            Abi::Standard => "libmpi_abi.so.1",
        }
    }
}

/// What a NEEDED name says about MPI.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Family {
    /// A library that Mayfly replaces.
    Known(Abi),
    /// An MPI library, but one whose binary interface Mayfly does not have; the text says which.
    Foreign(String),
    /// A copy of an MPI library under a private name (wheels do that): the loader will never ask for Mayfly's.
    Bundled,
    /// Not an MPI library.
    None,
}

/// Judges a library's file name (`libmpi.so.40`).
pub fn family(name: &str) -> Family {
    let file = name.rsplit('/').next().unwrap_or(name);
    let Some(at) = file.find(".so") else {
        return Family::None;
    };
    let (stem, version) = (&file[..at], file[at + 3..].trim_start_matches('.'));
    let major = version.split('.').next().unwrap_or("");
    const MPICH: [&str; 6] = [
        "libmpi",
        "libmpich",
        "libmpifort",
        "libmpichfort",
        "libmpicxx",
        "libmpichcxx",
    ];
    const OPENMPI: [&str; 6] = [
        "libmpi",
        "libmpi_mpifh",
        "libmpi_usempif08",
        "libmpi_usempi_ignore_tkr",
        "libmpi_usempi",
        "libmpi_cxx",
    ];
    if major == "12" && MPICH.contains(&stem) {
        return Family::Known(Abi::Mpich);
    }
    if major == "40" && OPENMPI.contains(&stem) {
        return Family::Known(Abi::OpenMpi);
    }
    if stem == "libmpi_abi" && matches!(major, "0" | "1") {
        return Family::Known(Abi::Standard);
    }
    if stem == "libmpifort_abi" {
        return Family::Foreign("Intel's Fortran library for the standard ABI".into());
    }
    if stem == "libmpi_ilp64" {
        return Family::Foreign("Intel MPI's library with 64-bit integers".into());
    }
    // libmpi-d26c8c51.so.12.3.1: a copy that a wheel's repair tool renamed.
    if let Some((base, hash)) = stem.rsplit_once('-') {
        let renamed = hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if renamed && (MPICH.contains(&base) || OPENMPI.contains(&base)) {
            return Family::Bundled;
        }
    }
    if MPICH.contains(&stem) || OPENMPI.contains(&stem) || stem == "libmpi_abi" {
        if version.is_empty() {
            return Family::Foreign("an MPI library without a version in its name".into());
        }
        return Family::Foreign(format!("an MPI library of another generation ({file})"));
    }
    Family::None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in [
            "libmpi.so.12",
            "libmpich.so.12",
            "libmpifort.so.12",
            "/x/libmpicxx.so.12.4",
        ] {
            assert_eq!(family(name), Family::Known(Abi::Mpich), "{name}");
        }
        for name in [
            "libmpi.so.40",
            "libmpi_mpifh.so.40",
            "libmpi_cxx.so.40.30.1",
        ] {
            assert_eq!(family(name), Family::Known(Abi::OpenMpi), "{name}");
        }
        for name in ["libmpi_abi.so.0", "libmpi_abi.so.1"] {
            assert_eq!(family(name), Family::Known(Abi::Standard), "{name}");
        }
        assert_eq!(family("libmpi-d26c8c51.so.12.3.1"), Family::Bundled);
        for name in [
            "libmpi.so.20",
            "libmpich.so.10",
            "libmpi.so",
            "libmpi_ilp64.so.4",
            "libmpi_cxx.so.12",
        ] {
            assert!(matches!(family(name), Family::Foreign(_)), "{name}");
        }
        for name in [
            "libc.so.6",
            "libmpi4py.so",
            "libmpfr.so.6",
            "libmpich",
            "libopen-pal.so.40",
            "",
        ] {
            assert_eq!(family(name), Family::None, "{name}");
        }
    }
}
