//! The environment (MPI-5.0 §9.1, §9.6, §11).

use crate::base::error::Result;
use crate::base::id::CommId;
use crate::fail;
use crate::runtime::process::{Model, State};
use crate::runtime::Runtime;
use std::sync::atomic::Ordering;

/// Starts MPI; returns the thread level provided. An error here ends the process: there is no handler yet.
pub fn init_thread(rt: &Runtime, required: i32) -> Result<i32> {
    if rt.state() == State::New {
        return match rt.init(required) {
            Ok(provided) => Ok(provided),
            Err(error) => rt.cannot_start(&error),
        };
    }
    rt.init(required)
}

/// Ends MPI.
pub fn finalize(rt: &Runtime) -> Result<()> {
    rt.finalize()
}

/// Was MPI initialized, ever?
pub fn initialized(rt: &Runtime) -> Result<bool> {
    Ok(rt.model() != Model::Before)
}

/// Is MPI finalized? During MPI_Finalize's callbacks it is not yet.
pub fn finalized(rt: &Runtime) -> Result<bool> {
    Ok(rt.model() == Model::After)
}

/// The thread level provided.
pub fn query_thread(rt: &Runtime) -> Result<i32> {
    Ok(rt.level.load(Ordering::Acquire))
}

/// Is this the thread that initialized MPI?
pub fn is_thread_main(rt: &Runtime) -> Result<bool> {
    Ok(rt.main.get() == Some(&std::thread::current().id()))
}

/// Ends the job with that exit code.
pub fn abort(rt: &Runtime, comm: CommId, code: i32) -> Result<()> {
    let whom = rt.with(|w| {
        w.comms
            .get(comm)
            .map(|c| c.name.clone())
            .unwrap_or_default()
    });
    let whom = if whom.is_empty() {
        format!("communicator {:#x}", comm.0)
    } else {
        whom
    };
    rt.abort(
        code,
        &format!("MPI_Abort was called on {whom} with code {code}"),
    )
}

/// This machine's name.
pub fn get_processor_name(_rt: &Runtime) -> Result<String> {
    Ok(crate::base::os::host_name())
}

/// What MPI_Get_library_version says.
pub fn get_library_version(_rt: &Runtime) -> Result<String> {
    Ok(format!("Mayfly {}", env!("CARGO_PKG_VERSION")))
}

/// Seconds since some moment in the past of this process.
#[inline]
pub fn wtime(rt: &Runtime) -> f64 {
    rt.began.elapsed().as_secs_f64()
}

/// Seconds between two ticks of that clock.
pub fn wtick(_rt: &Runtime) -> f64 {
    1e-9
}

/// Memory of `size` bytes, aligned to a cache line.
pub fn alloc_mem(_rt: &Runtime, size: i64) -> Result<*mut u8> {
    if size < 0 {
        fail!(Arg, "the size is {size}, which is negative");
    }
    let mut address = std::ptr::null_mut();
    // SAFETY: the out pointer is ours; 64 is a power of two and a multiple of a pointer's size.
    let status = unsafe { libc::posix_memalign(&mut address, 64, (size as usize).max(1)) };
    if status != 0 {
        fail!(NoMem, "{size} bytes are not to be had");
    }
    Ok(address.cast())
}

/// Gives memory of [`alloc_mem`] back.
pub fn free_mem(_rt: &Runtime, base: *mut u8) -> Result<()> {
    // SAFETY: the program promises (MPI-5.0 §9.2) that the address came from MPI_Alloc_mem; null is allowed by free.
    unsafe { libc::free(base.cast()) };
    Ok(())
}
