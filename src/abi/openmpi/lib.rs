//! libmpi.so.40: Mayfly with the ABI of Open MPI 4 and 5.

mod cxx;
mod handles;
mod objects;
mod status;

#[allow(
    non_snake_case,
    unused_imports,
    unused_unsafe,
    unused_variables,
    clippy::missing_safety_doc,
    clippy::too_many_arguments,
    clippy::needless_borrow,
    clippy::redundant_closure
)]
mod entry_points {
    use crate::handles::*;
    use crate::status::Status;
    use mayfly::abi::convert::*;
    use mayfly::abi::kinds::{Handle, Numbers};
    use mayfly::abi::{entry, irregular};
    use mayfly::base::constant::{handle::KEYVAL_INVALID, IN_PLACE};
    use mayfly::runtime::calls;
    use mayfly::weak;
    use std::ffi::{c_char, c_int, c_void};

    include!(concat!(env!("OUT_DIR"), "/entry_points.rs"));
}
