//! One function a procedure of MPI, in the engine's types: what the generated entry points call. Names are the
//! procedures' without `MPI_`, in lower case; `_c` forms share the function. Inputs in the standard's order as
//! arguments, outputs as the result (a tuple when several).

mod group;
mod info;
mod op;

pub use group::*;
pub use info::*;
pub use op::*;
