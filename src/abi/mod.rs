//! The door: everything between C's calling convention in three ABIs and the engine's types.
//!
//! `procedures.table` and `constants.table` say what there is; `generate/` writes each library's entry points from them;
//! `kinds` and `convert` translate an argument by its kind; `entry` gives every call the same duties; `irregular` holds
//! the doors written by hand. The libraries themselves are `mpich/`, `openmpi/` and `standard/`.

pub mod array;
pub mod convert;
pub mod entry;
pub mod irregular;
pub mod kinds;
pub mod table;

/// Makes `MPI_X` a weak name of `PMPI_X`, so that a tool may put its own `MPI_X` in front.
#[macro_export]
macro_rules! weak {
    ($alias:literal, $target:literal) => {
        core::arch::global_asm!(
            concat!(".weak ", $alias),
            concat!(".type ", $alias, ",@function"),
            concat!(".set ", $alias, ", ", $target)
        );
    };
}
