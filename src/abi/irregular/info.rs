//! Reading info objects into the program's buffers (MPI-5.0 §10).

use crate::abi::convert::*;
use crate::abi::entry;
use crate::abi::kinds::{Abi, Handle};
use crate::fail;
use crate::runtime::calls;
use std::ffi::{c_char, c_int};

/// MPI_Info_get: `value` has one byte more than `valuelen`.
///
/// # Safety
/// The pointers are null or valid, `value` for `valuelen` + 1 bytes.
pub unsafe fn info_get<A: Abi>(
    info: A::Info,
    key: *const c_char,
    valuelen: c_int,
    value: *mut c_char,
    flag: *mut c_int,
) -> c_int {
    entry::anytime::<A>("MPI_Info_get", of_none, |rt| {
        need(value, "value")?;
        need(flag, "flag")?;
        if valuelen < 0 {
            fail!(Arg, "valuelen = {valuelen} is negative");
        }
        // SAFETY: not null, so valid by contract.
        unsafe {
            let found = calls::info_get(rt, info.id(), &string_in(key, "key")?, valuelen)?;
            flag.write(found.is_some().into());
            if let Some(found) = found {
                text_out(value, valuelen as usize + 1, &found);
            }
        }
        Ok(())
    })
}

/// MPI_Info_get_string: `buflen` counts the end, and says afterwards what would have been enough.
///
/// # Safety
/// The pointers are null or valid, `value` for `*buflen` bytes.
pub unsafe fn info_get_string<A: Abi>(
    info: A::Info,
    key: *const c_char,
    buflen: *mut c_int,
    value: *mut c_char,
    flag: *mut c_int,
) -> c_int {
    entry::anytime::<A>("MPI_Info_get_string", of_none, |rt| {
        need(buflen, "buflen")?;
        need(flag, "flag")?;
        // SAFETY: not null, so valid by contract.
        unsafe {
            let room = buflen.read();
            if room < 0 {
                fail!(Arg, "buflen = {room} is negative");
            }
            let found = calls::info_get_string(rt, info.id(), &string_in(key, "key")?, room)?;
            flag.write(found.is_some().into());
            if let Some((needed, found)) = found {
                buflen.write(needed);
                need_array(value, room as usize, "value")?;
                text_out(value, room as usize, &found);
            }
        }
        Ok(())
    })
}

/// MPI_Info_create_env: the program's arguments need not be looked at.
///
/// # Safety
/// `info` is null or valid.
pub unsafe fn info_create_env<A: Abi>(
    _argc: c_int,
    _argv: *mut *mut c_char,
    info: *mut A::Info,
) -> c_int {
    entry::anytime::<A>("MPI_Info_create_env", of_none, |rt| {
        need(info, "info")?;
        // SAFETY: not null, so valid by contract.
        unsafe { info.write(Handle::of(calls::info_create_env(rt)?)) };
        Ok(())
    })
}
