//! What belongs to the machine's own system: libc and its kin, the loader, the compiler's runtime.

/// Whose libc the program will use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Libc {
    /// The target machine's, or the base image's.
    Target,
    /// A copy of ours in a folder of the package, through its own loader.
    Carried,
    /// A copy of ours where it stands here: the package is a whole root.
    Rooted,
}

/// The parts of glibc, by SONAME without version.
const GLIBC: [&str; 15] = [
    "libc",
    "libm",
    "libmvec",
    "libpthread",
    "libdl",
    "librt",
    "libresolv",
    "libutil",
    "libanl",
    "libBrokenLocale",
    "libthread_db",
    "libc_malloc_debug",
    "libnss_files",
    "libnss_dns",
    "libnss_compat",
];

/// Whether a NEEDED name is glibc's: its parts fit only each other, so they travel together or not at all.
pub fn is_libc(name: &str) -> bool {
    if is_loader(name) || name == "libnsl.so.1" {
        return true;
    }
    // libc.so of musl has no version, and shares nothing with glibc.
    let Some((stem, version)) = name.split_once(".so.") else {
        return false;
    };
    GLIBC.contains(&stem) && !version.is_empty()
}

pub fn is_loader(name: &str) -> bool {
    name.starts_with("ld-linux") || name.starts_with("ld64.so")
}

/// The compiler's runtime that every system with glibc has (glibc itself loads it to end threads).
pub fn is_compiler_runtime(name: &str) -> bool {
    name == "libgcc_s.so.1"
}

/// The Fortran compiler whose runtime this is.
pub fn fortran(name: &str) -> Option<&'static str> {
    let known = [
        ("libgfortran.so", "gfortran"),
        ("libifcore", "Intel Fortran"),
        ("libifport", "Intel Fortran"),
        ("libnvf.so", "NVIDIA Fortran"),
        ("libflang", "flang"),
        ("libFortran", "flang"),
    ];
    known
        .into_iter()
        .find(|(start, _)| name.starts_with(start))
        .map(|(_, compiler)| compiler)
}

/// Open MPI's internals, which programs linked with old wrappers name beside libmpi; Mayfly's library stands in for them too.
pub fn is_mpi_internal(name: &str) -> bool {
    [
        "libopen-rte.so.",
        "libopen-pal.so.",
        "libmpl.so.",
        "libopa.so.",
    ]
    .iter()
    .any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_library_it_is() {
        for name in [
            "libc.so.6",
            "libm.so.6",
            "ld-linux-x86-64.so.2",
            "libnss_dns.so.2",
            "libnsl.so.1",
        ] {
            assert!(is_libc(name), "{name}");
        }
        for name in [
            "libc.so",
            "libcrypt.so.1",
            "libnsl.so.2",
            "libmpi.so.40",
            "libcurl.so.4",
            "libgcc_s.so.1",
        ] {
            assert!(!is_libc(name), "{name}");
        }
        assert_eq!(fortran("libgfortran.so.5"), Some("gfortran"));
        assert_eq!(fortran("libgmp.so.10"), None);
        assert!(is_mpi_internal("libopen-pal.so.40") && !is_mpi_internal("libopenblas.so.0"));
    }
}
