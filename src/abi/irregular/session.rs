//! Sessions (MPI-5.0 §11.3).

use crate::abi::convert::*;
use crate::abi::entry;
use crate::abi::kinds::{Abi, Handle};
use crate::fail;
use crate::runtime::calls;
use std::ffi::{c_char, c_int};

/// MPI_Session_get_nth_pset: `pset_len` counts the end; 0 asks only how long the name is.
///
/// # Safety
/// The pointers are null or valid, `pset_name` for `*pset_len` bytes.
pub unsafe fn session_get_nth_pset<A: Abi>(
    session: A::Session,
    info: A::Info,
    n: c_int,
    pset_len: *mut c_int,
    pset_name: *mut c_char,
) -> c_int {
    entry::anytime::<A>(
        "MPI_Session_get_nth_pset",
        || of_session(session),
        |rt| {
            need(pset_len, "pset_len")?;
            // SAFETY: not null, so valid by contract.
            unsafe {
                let room = pset_len.read();
                if room < 0 {
                    fail!(Arg, "pset_len = {room} is negative");
                }
                let name = calls::session_get_nth_pset(rt, session.id(), info.id(), n)?;
                pset_len.write(name.len() as c_int + 1);
                if room > 0 {
                    need(pset_name, "pset_name")?;
                    text_out(pset_name, room as usize, &name);
                }
            }
            Ok(())
        },
    )
}
