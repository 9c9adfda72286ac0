//! Packing (MPI-5.0 §5.2, §5.3), addresses (§5.1.5), and counting what was received (§3.2.5, §5.1.11).

use crate::base::constant::UNDEFINED;
use crate::base::error::Result;
use crate::base::id::{CommId, DatatypeId};
use crate::fail;
use crate::mpi::datatype::{self, Type};
use crate::mpi::Status;
use crate::runtime::Runtime;

/// A committed type, and its count when that is valid.
fn typed(rt: &Runtime, datatype: DatatypeId, count: i64) -> Result<(Type, usize)> {
    if count < 0 {
        fail!(Count, "count {count} is negative");
    }
    let ty = rt.with(|w| w.types.committed(datatype).cloned())?;
    Ok((ty, count as usize))
}

/// Bytes `position..size` of the packed buffer. Errors: MPI_ERR_ARG, or MPI_ERR_BUFFER if it is null.
fn room(buffer: *mut u8, size: i64, position: i64) -> Result<(*mut u8, usize)> {
    if size < 0 || position < 0 || position > size {
        fail!(
            Arg,
            "position {position} in a packed buffer of {size} bytes"
        );
    }
    if buffer.is_null() && position < size {
        fail!(Buffer, "the packed buffer is a null pointer");
    }
    let rest = (size - position) as usize;
    Ok((buffer.wrapping_offset(position as isize), rest))
}

/// A null buffer is MPI_BOTTOM, at whose address itself no data can be.
fn check_buffer(ty: &Type, count: usize, buffer: *mut u8) -> Result<()> {
    if buffer.is_null() && count > 0 && ty.size() > 0 && ty.true_lb() == 0 {
        fail!(Buffer, "the buffer is a null pointer");
    }
    Ok(())
}

/// A slice, also of no bytes at a null pointer.
///
/// # Safety
/// `len` bytes at `at` must be valid and live for `'a`.
unsafe fn slice<'a>(at: *mut u8, len: usize) -> &'a mut [u8] {
    match len {
        0 => &mut [],
        // SAFETY: the caller vouches for the bytes.
        _ => unsafe { std::slice::from_raw_parts_mut(at, len) },
    }
}

/// Packs elements into `outbuf` from `position` on. Returns the position after them. The packed form is the data
/// alone, in typemap order.
pub fn pack(
    rt: &Runtime,
    inbuf: *mut u8,
    incount: i64,
    datatype: DatatypeId,
    outbuf: *mut u8,
    outsize: i64,
    position: i64,
    comm: CommId,
) -> Result<i64> {
    rt.with(|w| w.comms.get(comm).map(|_| ()))?;
    let (ty, count) = typed(rt, datatype, incount)?;
    check_buffer(&ty, count, inbuf)?;
    let (to, rest) = room(outbuf, outsize, position)?;
    let Some(bytes) = ty.size().checked_mul(count).filter(|b| *b <= rest) else {
        fail!(
            Truncate,
            "{incount} elements of {} bytes do not fit into the {rest} bytes from position {position} on",
            ty.size()
        );
    };
    // SAFETY: the user vouches for both buffers; `bytes` was checked against the packed one's size.
    unsafe { datatype::pack(&ty, count, inbuf, 0, slice(to, bytes)) };
    Ok(position + bytes as i64)
}

/// Unpacks elements from `inbuf` from `position` on. Returns the position after them.
pub fn unpack(
    rt: &Runtime,
    inbuf: *mut u8,
    insize: i64,
    position: i64,
    outbuf: *mut u8,
    outcount: i64,
    datatype: DatatypeId,
    comm: CommId,
) -> Result<i64> {
    rt.with(|w| w.comms.get(comm).map(|_| ()))?;
    let (ty, count) = typed(rt, datatype, outcount)?;
    check_buffer(&ty, count, outbuf)?;
    let (from, rest) = room(inbuf, insize, position)?;
    let Some(bytes) = ty.size().checked_mul(count).filter(|b| *b <= rest) else {
        fail!(
            Truncate,
            "{outcount} elements of {} bytes are more than the {rest} bytes from position {position} on",
            ty.size()
        );
    };
    // SAFETY: the user vouches for both buffers; `bytes` was checked against the packed one's size.
    unsafe { datatype::unpack(&ty, count, outbuf, 0, slice(from, bytes)) };
    Ok(position + bytes as i64)
}

/// Bytes that so many elements need when packed.
pub fn pack_size(rt: &Runtime, incount: i64, datatype: DatatypeId, comm: CommId) -> Result<i64> {
    rt.with(|w| w.comms.get(comm).map(|_| ()))?;
    let (ty, count) = typed(rt, datatype, incount)?;
    match (ty.size() as i64).checked_mul(count as i64) {
        Some(bytes) => Ok(bytes),
        None => fail!(Count, "{incount} elements of {} bytes", ty.size()),
    }
}

fn check_datarep(datarep: &str) -> Result<()> {
    if datarep != "external32" {
        fail!(
            UnsupportedDatarep,
            "the data representation is {datarep:?}; only \"external32\" is known"
        );
    }
    Ok(())
}

/// Packs elements in a portable representation ("external32") from `position` on. Returns the position after them.
pub fn pack_external(
    rt: &Runtime,
    datarep: &str,
    inbuf: *mut u8,
    incount: i64,
    datatype: DatatypeId,
    outbuf: *mut u8,
    outsize: i64,
    position: i64,
) -> Result<i64> {
    check_datarep(datarep)?;
    let (ty, count) = typed(rt, datatype, incount)?;
    check_buffer(&ty, count, inbuf)?;
    let (to, rest) = room(outbuf, outsize, position)?;
    // SAFETY: the user vouches for both buffers.
    let bytes = unsafe { datatype::pack_external(&ty, count, inbuf, slice(to, rest))? };
    Ok(position + bytes as i64)
}

/// Unpacks elements in a portable representation from `position` on. Returns the position after them.
pub fn unpack_external(
    rt: &Runtime,
    datarep: &str,
    inbuf: *mut u8,
    insize: i64,
    position: i64,
    outbuf: *mut u8,
    outcount: i64,
    datatype: DatatypeId,
) -> Result<i64> {
    check_datarep(datarep)?;
    let (ty, count) = typed(rt, datatype, outcount)?;
    check_buffer(&ty, count, outbuf)?;
    let (from, rest) = room(inbuf, insize, position)?;
    // SAFETY: the user vouches for both buffers.
    let bytes = unsafe { datatype::unpack_external(&ty, count, outbuf, slice(from, rest))? };
    Ok(position + bytes as i64)
}

/// Bytes that so many elements take in a portable representation.
pub fn pack_external_size(
    rt: &Runtime,
    datarep: &str,
    incount: i64,
    datatype: DatatypeId,
) -> Result<i64> {
    check_datarep(datarep)?;
    let (ty, count) = typed(rt, datatype, incount)?;
    match datatype::external_size(&ty)?.checked_mul(count as i64) {
        Some(bytes) => Ok(bytes),
        None => fail!(Count, "{incount} elements are more than 2^63 bytes"),
    }
}

/// A location as an address.
pub fn get_address(_rt: &Runtime, location: *mut u8) -> Result<i64> {
    Ok(location as i64)
}

/// Whole elements received; MPI_UNDEFINED if the bytes end within one.
pub fn get_count(rt: &Runtime, status: &Status, datatype: DatatypeId) -> Result<i64> {
    let count = rt.with(|w| Ok(w.types.get(datatype)?.count_of(status.bytes)))?;
    Ok(count.unwrap_or(UNDEFINED as i64))
}

/// Basic elements received; MPI_UNDEFINED if the bytes end within one.
pub fn get_elements(rt: &Runtime, status: &Status, datatype: DatatypeId) -> Result<i64> {
    let count = rt.with(|w| Ok(w.types.get(datatype)?.elements_of(status.bytes)))?;
    Ok(count.unwrap_or(UNDEFINED as i64))
}

/// The status with that many basic elements, so that [`get_elements`] gives them back.
pub fn status_set_elements(
    rt: &Runtime,
    status: &Status,
    datatype: DatatypeId,
    count: i64,
) -> Result<Status> {
    let bytes = rt.with(|w| w.types.get(datatype)?.bytes_of_elements(count))?;
    Ok(Status { bytes, ..*status })
}

/// The status with that answer for MPI_Test_cancelled.
pub fn status_set_cancelled(_rt: &Runtime, status: &Status, flag: bool) -> Result<Status> {
    Ok(Status {
        cancelled: flag,
        ..*status
    })
}
