//! Start, end and what needs neither (MPI-5.0 §11, §9).

use crate::abi::convert::*;
use crate::abi::entry;
use crate::abi::kinds::{Abi, Handle};
use crate::base::constant::THREAD_SINGLE;
use crate::base::error::Object;
use crate::runtime::calls;
use crate::runtime::process::runtime;
use std::ffi::{c_char, c_int, c_void};

/// MPI_Pcontrol: a hook for profiling tools; Mayfly has nothing to switch (MPI-5.0 §15.2.4).
pub fn pcontrol<A: Abi>(_level: c_int) -> c_int {
    0
}

/// MPI_Aint_add: wraps as pointers do.
pub fn aint_add<A: Abi>(base: i64, displacement: i64) -> i64 {
    base.wrapping_add(displacement)
}

/// MPI_Aint_diff.
pub fn aint_diff<A: Abi>(first: i64, second: i64) -> i64 {
    first.wrapping_sub(second)
}

/// MPI_Get_version: what the ABI's mpi.h says.
///
/// # Safety
/// The pointers are null or valid.
pub unsafe fn get_version<A: Abi>(version: *mut c_int, subversion: *mut c_int) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { two::<A>("MPI_Get_version", version, subversion, A::VERSION) }
}

/// MPI_Abi_get_version: -1 where the ABI is not the standard's; programs tell the ABIs apart by it.
///
/// # Safety
/// The pointers are null or valid.
pub unsafe fn abi_get_version<A: Abi>(major: *mut c_int, minor: *mut c_int) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { two::<A>("MPI_Abi_get_version", major, minor, A::ABI_VERSION) }
}

unsafe fn two<A: Abi>(
    name: &'static str,
    a: *mut c_int,
    b: *mut c_int,
    values: (c_int, c_int),
) -> c_int {
    if a.is_null() || b.is_null() {
        let error = crate::abi::convert::null("version or subversion");
        return entry::failed::<A>(runtime(), name, Object::None, error);
    }
    // SAFETY: neither is null, so valid by contract.
    unsafe {
        a.write(values.0);
        b.write(values.1);
    }
    0
}

/// MPIX_Query_cuda_support: buffers are in the host's memory.
pub fn mpix_query_cuda_support<A: Abi>() -> c_int {
    0
}

/// MPIX_Query_rocm_support: as CUDA.
pub fn mpix_query_rocm_support<A: Abi>() -> c_int {
    0
}

/// MPIX_Query_hip_support: as CUDA.
pub fn mpix_query_hip_support<A: Abi>() -> c_int {
    0
}

/// MPIX_Query_ze_support: as CUDA.
pub fn mpix_query_ze_support<A: Abi>() -> c_int {
    0
}

/// MPIX_GPU_query_support.
///
/// # Safety
/// `is_supported` is null or valid.
pub unsafe fn mpix_gpu_query_support<A: Abi>(_gpu_type: c_int, is_supported: *mut c_int) -> c_int {
    entry::anytime::<A>(
        "MPIX_GPU_query_support",
        || Object::None,
        |_| {
            need(is_supported, "is_supported")?;
            // SAFETY: not null, so valid by contract.
            unsafe { is_supported.write(0) };
            Ok(())
        },
    )
}

/// MPI_Wtime.
pub fn wtime<A: Abi>() -> f64 {
    calls::wtime(runtime())
}

/// MPI_Wtick.
pub fn wtick<A: Abi>() -> f64 {
    calls::wtick(runtime())
}

/// MPI_Init: the arguments are the program's own and stay as they are (MPI-5.0 §11.2.1).
pub fn init<A: Abi>(_argc: *mut c_int, _argv: *mut *mut *mut c_char) -> c_int {
    entry::anytime::<A>("MPI_Init", of_none, |rt| {
        calls::init_thread(rt, THREAD_SINGLE).map(|_| ())
    })
}

/// MPI_Init_thread.
///
/// # Safety
/// `provided` is null or valid.
pub unsafe fn init_thread<A: Abi>(
    _argc: *mut c_int,
    _argv: *mut *mut *mut c_char,
    required: c_int,
    provided: *mut c_int,
) -> c_int {
    entry::anytime::<A>("MPI_Init_thread", of_none, |rt| {
        let level = calls::init_thread(rt, number_in(A::THREADLEVEL, required))?;
        if !provided.is_null() {
            // SAFETY: not null, so valid by contract.
            unsafe { provided.write(number_out(A::THREADLEVEL, level)) };
        }
        Ok(())
    })
}

/// MPI_Alloc_mem: no info key is known.
///
/// # Safety
/// `baseptr` is null or points to a pointer.
pub unsafe fn alloc_mem<A: Abi>(size: i64, _info: A::Info, baseptr: *mut c_void) -> c_int {
    entry::call::<A>("MPI_Alloc_mem", of_none, |rt| {
        need(baseptr, "baseptr")?;
        let memory = calls::alloc_mem(rt, size)?;
        // SAFETY: not null, so it points to a pointer by contract.
        unsafe { baseptr.cast::<*mut u8>().write(memory) };
        Ok(())
    })
}

/// A new info object with these keys.
///
/// # Safety
/// `place` is null or valid.
unsafe fn info_of<A: Abi>(name: &'static str, keys: &[(&str, &str)], place: *mut A::Info) -> c_int {
    entry::anytime::<A>(name, of_none, |rt| {
        need(place, "the info's place")?;
        let info = calls::info_create(rt)?;
        for (key, value) in keys {
            calls::info_set(rt, info, key, value)?;
        }
        // SAFETY: not null, so valid by contract.
        unsafe { place.write(Handle::of(info)) };
        Ok(())
    })
}

/// MPI_Get_hw_resource_info: no resource type is known.
///
/// # Safety
/// `info` is null or valid.
pub unsafe fn get_hw_resource_info<A: Abi>(info: *mut A::Info) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { info_of::<A>("MPI_Get_hw_resource_info", &[], info) }
}

/// MPI_Abi_get_info (MPI-5.0 §20.2).
///
/// # Safety
/// `info` is null or valid.
pub unsafe fn abi_get_info<A: Abi>(info: *mut A::Info) -> c_int {
    let keys = [
        ("mpi_aint_size", "8"),
        ("mpi_count_size", "8"),
        ("mpi_offset_size", "8"),
    ];
    // SAFETY: the caller's contract is the same.
    unsafe { info_of::<A>("MPI_Abi_get_info", &keys, info) }
}

/// MPI_Abi_get_fortran_info: no Fortran has told its sizes.
///
/// # Safety
/// `info` is null or valid.
pub unsafe fn abi_get_fortran_info<A: Abi>(info: *mut A::Info) -> c_int {
    entry::anytime::<A>("MPI_Abi_get_fortran_info", of_none, |_| {
        need(info, "info")?;
        // SAFETY: not null, so valid by contract.
        unsafe { clear(info) };
        Ok(())
    })
}
