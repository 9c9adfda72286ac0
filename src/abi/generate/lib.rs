//! Writes Mayfly's entry points, numbers, data objects, version scripts and headers from the two tables.
//!
//! The libraries' build scripts call [`build`]; `cargo run -p mayfly-generate -- headers` rewrites include/.

#[path = "../table.rs"]
pub mod table;

pub mod c_types;
pub mod check;
pub mod entry_points;
pub mod header;
pub mod numbers;
pub mod objects;
pub mod rust_types;
pub mod shim;
pub mod symbols;

pub use table::Family;

use std::path::Path;

/// What a library's build script does: writes the generated sources to `OUT_DIR` and passes the linker its soname and
/// the list of names that the library exports.
pub fn build(family: Family, soname: &str) {
    let out = std::env::var("OUT_DIR").expect("called by a build script");
    let out = Path::new(&out);
    write(out, "entry_points.rs", &entry_points::write(family));
    write(out, "numbers.rs", &numbers::write(family));
    write(out, "objects.rs", &objects::write(family));
    let script = out.join("exports.version");
    write(out, "exports.version", &symbols::version_script(family));
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{soname}");
    println!(
        "cargo:rustc-cdylib-link-arg=-Wl,--version-script={}",
        script.display()
    );
    println!("cargo:rerun-if-changed=build.rs");
}

fn write(out: &Path, name: &str, text: &str) {
    std::fs::write(out.join(name), text).unwrap_or_else(|e| panic!("{name}: {e}"));
}
