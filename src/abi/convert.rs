//! One argument through the door: called by the generated entry points, a function a kind and direction.
//!
//! Pointers are the program's. That they are valid for what the standard says of the parameter is the program's duty;
//! what can be seen at no cost (null, negative lengths) is checked.

pub use crate::abi::array::Array;
use crate::abi::kinds::*;
use crate::base::constant::{self, UNDEFINED};
use crate::base::error::{Class, Error, Object, Result};
use crate::base::id::{CommId, FileId, KeyvalId, SessionId, WinId};
use crate::fail;
use crate::mpi::Status;
use crate::runtime::Runtime;
use std::borrow::Cow;
use std::ffi::{c_char, c_int, c_void, CStr};

/// The object whose error handler gets an error of the call.
pub fn of_comm(comm: impl Handle<Id = CommId>) -> Object {
    Object::Comm(comm.id())
}

pub fn of_win(win: impl Handle<Id = WinId>) -> Object {
    Object::Win(win.id())
}

pub fn of_file(file: impl Handle<Id = FileId>) -> Object {
    Object::File(file.id())
}

pub fn of_session(session: impl Handle<Id = SessionId>) -> Object {
    Object::Session(session.id())
}

/// Of calls that have no file yet.
pub fn of_no_file() -> Object {
    Object::File(constant::handle::FILE_NULL)
}

pub fn of_none() -> Object {
    Object::None
}

/// The handle behind a pointer; the null handle behind a null pointer.
///
/// # Safety
/// `pointer` is null or points to a handle.
pub unsafe fn at<H: Handle>(pointer: *const H) -> H {
    if pointer.is_null() {
        return H::of(H::NULL);
    }
    // SAFETY: not null, so a handle by contract.
    unsafe { pointer.read() }
}

/// An output must have a place.
#[inline(always)]
pub fn need<T>(pointer: *const T, name: &'static str) -> Result<()> {
    if pointer.is_null() {
        return Err(null(name));
    }
    Ok(())
}

#[cold]
pub fn null(name: &'static str) -> Error {
    Error::new(Class::Arg, format!("{name} is a null pointer"))
}

// --- Buffers ---

/// A buffer's address in the engine's convention.
#[inline(always)]
pub fn buffer_in<A: Abi>(address: *const c_void) -> *mut u8 {
    let value = address as usize;
    if A::IN_PLACE == constant::IN_PLACE as usize
        && A::BUFFER_AUTOMATIC <= constant::BUFFER_AUTOMATIC as usize
    {
        return value as *mut u8;
    }
    if value == A::IN_PLACE {
        constant::IN_PLACE
    } else if value == A::BUFFER_AUTOMATIC {
        constant::BUFFER_AUTOMATIC
    } else {
        address.cast_mut().cast()
    }
}

/// A buffer's address that goes back to the program (MPI_Buffer_detach).
pub fn buffer_out<A: Abi>(address: *mut u8) -> *mut c_void {
    if address == constant::BUFFER_AUTOMATIC {
        return A::BUFFER_AUTOMATIC as *mut c_void;
    }
    address.cast()
}

// --- Numbers ---

/// The engine's number of an ABI's constant; what is none stays itself, so that a message can name it, unless the engine
/// would take it for another constant.
pub fn number_in(table: &[Pair], value: c_int) -> c_int {
    if let Some(&(_, engine)) = table.iter().find(|pair| pair.0 == value) {
        return engine;
    }
    match table.iter().any(|pair| pair.1 == value) {
        true => c_int::MIN,
        false => value,
    }
}

/// The ABI's number of an engine's constant.
pub fn number_out(table: &[Pair], value: c_int) -> c_int {
    table
        .iter()
        .find(|pair| pair.1 == value)
        .map_or(value, |pair| pair.0)
}

/// A set of bits; one that the ABI does not know becomes a bit that the engine does not know.
pub fn bits_in(table: &[Pair], value: c_int) -> c_int {
    let mut rest = value;
    let mut engine = 0;
    for &(abi, bit) in table {
        if value & abi != 0 {
            engine |= bit;
            rest &= !abi;
        }
    }
    if rest != 0 {
        engine |= 1 << 30;
    }
    engine
}

pub fn bits_out(table: &[Pair], value: c_int) -> c_int {
    table
        .iter()
        .filter(|pair| value & pair.1 != 0)
        .fold(0, |set, pair| set | pair.0)
}

/// A rank, also MPI_ANY_SOURCE, MPI_PROC_NULL and MPI_ROOT.
#[inline(always)]
pub fn rank_in<A: Abi>(rank: c_int) -> c_int {
    if rank >= 0 || A::PROC_NULL == constant::PROC_NULL {
        return rank;
    }
    special_rank::<A>(rank)
}

#[cold]
fn special_rank<A: Abi>(rank: c_int) -> c_int {
    if rank == A::PROC_NULL {
        constant::PROC_NULL
    } else if rank == A::ANY_SOURCE {
        constant::ANY_SOURCE
    } else if rank == A::ROOT {
        constant::ROOT
    } else if rank >= constant::ROOT {
        rank - 1000
    } else {
        rank
    }
}

#[inline(always)]
pub fn rank_out<A: Abi>(rank: c_int) -> c_int {
    match rank {
        0.. => rank,
        constant::PROC_NULL => A::PROC_NULL,
        constant::ANY_SOURCE => A::ANY_SOURCE,
        constant::ROOT => A::ROOT,
        _ => rank,
    }
}

/// A tag, also MPI_ANY_TAG.
#[inline(always)]
pub fn tag_in<A: Abi>(tag: c_int) -> c_int {
    if tag >= 0 {
        tag
    } else if tag == A::ANY_TAG {
        constant::ANY_TAG
    } else if tag == constant::ANY_TAG {
        tag - 1000
    } else {
        tag
    }
}

#[inline(always)]
pub fn tag_out<A: Abi>(tag: c_int) -> c_int {
    if tag == constant::ANY_TAG {
        A::ANY_TAG
    } else {
        tag
    }
}

/// An attribute key.
pub fn keyval_in<A: Abi>(key: c_int) -> KeyvalId {
    if let Some(&(_, engine)) = A::KEYVAL.iter().find(|pair| pair.0 == key) {
        return KeyvalId(engine as u32);
    }
    if key as u32 == constant::handle::SECONDS_LEFT.0 {
        return constant::handle::SECONDS_LEFT;
    }
    let id = (key as u32).wrapping_sub(A::KEYVAL_BASE as u32);
    KeyvalId(if id >= crate::base::id::FIRST_USER {
        id
    } else {
        NONE
    })
}

pub fn keyval_out<A: Abi>(key: KeyvalId) -> c_int {
    match A::KEYVAL.iter().find(|pair| pair.1 as u32 == key.0) {
        Some(pair) => pair.0,
        None => key.0.wrapping_add(A::KEYVAL_BASE as u32) as c_int,
    }
}

/// The engine's highest predefined error code; what programs add lies above.
pub const LASTCODE: c_int = 0x3fff;

/// An error code or class, a program's own included.
pub fn code_in<A: Abi>(code: c_int) -> c_int {
    if code > A::LASTCODE {
        return code - A::LASTCODE + LASTCODE;
    }
    number_in(A::ERRCLASS, code)
}

pub fn code_out<A: Abi>(code: c_int) -> c_int {
    if code > LASTCODE {
        return code - LASTCODE + A::LASTCODE;
    }
    number_out(A::ERRCLASS, code)
}

/// What the call returns for an error.
pub fn error_code<A: Abi>(error: &Error) -> c_int {
    match error.user_code {
        Some(code) => code,
        None => number_out(A::ERRCLASS, error.class as c_int),
    }
}

/// A count that must fit an int, or MPI_UNDEFINED (MPI-5.0 §3.2.5).
#[inline(always)]
pub fn small(value: i64) -> c_int {
    c_int::try_from(value).unwrap_or(UNDEFINED)
}

// --- Arrays ---

/// An array's length.
#[inline(always)]
pub fn length_in(count: impl Into<i64>, name: &'static str) -> Result<usize> {
    let count = count.into();
    if count < 0 {
        fail!(Arg, "{name} = {count} is negative");
    }
    Ok(count as usize)
}

/// The length of an array that a count gives.
#[inline(always)]
pub fn length_of_count(count: impl Into<i64>, name: &'static str) -> Result<usize> {
    let count = count.into();
    if count < 0 {
        fail!(Count, "{name} = {count} is negative");
    }
    Ok(count as usize)
}

/// An array that the engine reads as it is.
///
/// # Safety
/// `pointer` is null or valid for `length` entries while the call runs.
#[inline(always)]
pub unsafe fn slice<'a, T>(
    pointer: *const T,
    length: usize,
    name: &'static str,
) -> Result<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    need(pointer, name)?;
    // SAFETY: not null, so valid by contract.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// An array whose entries are translated, into `room`: an array that were returned would be copied.
///
/// # Safety
/// As [`slice`].
#[inline(always)]
pub unsafe fn mapped<'a, T: Copy, U: Copy>(
    room: &'a mut Array<U>,
    pointer: *const T,
    length: usize,
    name: &'static str,
    map: impl Fn(T) -> U,
) -> Result<&'a [U]> {
    // SAFETY: the caller's contract is the same.
    let slice = unsafe { slice(pointer, length, name)? };
    Ok(room.fill(slice.len(), |i| map(slice[i])))
}

/// Writes an output array, as much as there is room for.
///
/// # Safety
/// `pointer` is valid for `room` entries.
pub unsafe fn fill<T, U>(
    pointer: *mut T,
    room: usize,
    values: impl IntoIterator<Item = U>,
    map: impl Fn(U) -> T,
) {
    for (index, value) in values.into_iter().take(room).enumerate() {
        // SAFETY: index < room.
        unsafe { pointer.add(index).write(map(value)) };
    }
}

/// The place of an output array.
pub fn need_array<T>(pointer: *const T, length: usize, name: &'static str) -> Result<()> {
    if length > 0 {
        need(pointer, name)?;
    }
    Ok(())
}

/// As many as ranks can be named on the communicator.
pub fn peers(rt: &Runtime, comm: CommId) -> Result<usize> {
    rt.with(|w| Ok(w.comms.get(comm)?.targets().size()))
}

/// As many as processes are in the local group.
pub fn local(rt: &Runtime, comm: CommId) -> Result<usize> {
    rt.with(|w| Ok(w.comms.get(comm)?.group.size()))
}

/// [`peers`] at the root, 0 elsewhere.
pub fn at_root(rt: &Runtime, comm: CommId, root: c_int) -> Result<usize> {
    rt.with(|w| {
        let comm = w.comms.get(comm)?;
        let here = match comm.is_inter() {
            true => root == constant::ROOT,
            false => root == comm.rank as c_int,
        };
        Ok(if here { comm.targets().size() } else { 0 })
    })
}

/// A handle that is looked at only at the root: elsewhere the null handle, whatever the program passed.
#[inline]
pub fn significant<H: Handle>(rt: &Runtime, comm: CommId, root: c_int, handle: H) -> Result<H::Id> {
    let here = rt.with(|w| {
        let comm = w.comms.get(comm)?;
        Ok::<_, Error>(match comm.is_inter() {
            true => root == constant::ROOT,
            false => root == comm.rank as c_int,
        })
    })?;
    Ok(if here { handle.id() } else { H::NULL })
}

/// As many as the Cartesian topology has dimensions.
pub fn dims_of(rt: &Runtime, comm: CommId) -> Result<usize> {
    use crate::mpi::topology::Topology;
    rt.with(|w| match &w.comms.get(comm)?.topology {
        Some(Topology::Cart { dims, .. }) => Ok(dims.len()),
        _ => fail!(Topology, "the communicator has no Cartesian topology"),
    })
}

// --- Strings ---

/// A string argument.
///
/// # Safety
/// `text` is null or a string of C.
pub unsafe fn string_in<'a>(text: *const c_char, name: &'static str) -> Result<Cow<'a, str>> {
    need(text, name)?;
    // SAFETY: not null, so a string by contract.
    Ok(unsafe { CStr::from_ptr(text) }.to_string_lossy())
}

/// A string output of at most `room` bytes with its end; gives the length written.
///
/// # Safety
/// `place` is valid for `room` bytes.
pub unsafe fn text_out(place: *mut c_char, room: usize, text: &str) -> c_int {
    if room == 0 {
        return 0;
    }
    let mut length = text.len().min(room - 1);
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    // SAFETY: `length` < `room` bytes and the end are inside `place`, which is not part of a Rust string.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), place, length);
        place.add(length).write(0);
    }
    length as c_int
}

// --- Statuses ---

/// Does the program not want a status?
#[inline(always)]
pub fn is_ignore<A: Abi>(status: *const A::Status) -> bool {
    status as usize == A::STATUS_IGNORE
}

/// The fields of an engine's status in the ABI's numbers.
#[inline(always)]
pub fn status_fields<A: Abi>(status: &Status) -> StatusFields {
    StatusFields {
        source: rank_out::<A>(status.source),
        tag: tag_out::<A>(status.tag),
        error: match status.error {
            Class::Success => 0,
            class => number_out(A::ERRCLASS, class as c_int),
        },
        bytes: status.bytes,
        cancelled: status.cancelled,
    }
}

/// Writes a single status, leaving its MPI_ERROR alone; only the empty status has one (MPI-5.0 §3.7.3), and nothing that
/// was received has its source.
///
/// # Safety
/// `place` is MPI_STATUS_IGNORE, null or valid.
#[inline(always)]
pub unsafe fn status_out<A: Abi>(place: *mut A::Status, status: &Status) {
    if is_ignore::<A>(place) || place.is_null() {
        return;
    }
    let empty = status.source == constant::ANY_SOURCE;
    // SAFETY: a status of the program by contract; all bit patterns are valid.
    unsafe { (*place).set(&status_fields::<A>(status), empty) };
}

/// Writes the status of a receive that ended in an error (a message too long); other errors leave it alone.
///
/// # Safety
/// As [`status_out`].
#[cold]
pub unsafe fn status_of_error<A: Abi>(place: *mut A::Status, error: &Error) {
    if let Some((source, tag, bytes)) = error.received {
        let status = Status {
            source,
            tag,
            bytes,
            ..Status::EMPTY
        };
        // SAFETY: the caller's promise is the callee's.
        unsafe { status_out::<A>(place, &status) };
    }
}

/// Writes back a status that the program passed in, leaving its MPI_ERROR alone.
///
/// # Safety
/// `place` is valid: [`status_in`] read it.
pub unsafe fn status_back<A: Abi>(place: *mut A::Status, status: &Status) {
    // SAFETY: valid by contract; all bit patterns are valid.
    unsafe { (*place).set(&status_fields::<A>(status), false) };
}

/// A status argument.
///
/// # Safety
/// `place` is MPI_STATUS_IGNORE, null or valid.
pub unsafe fn status_in<A: Abi>(place: *const A::Status, name: &'static str) -> Result<Status> {
    if is_ignore::<A>(place) || place.is_null() {
        fail!(Arg, "{name} is MPI_STATUS_IGNORE or a null pointer");
    }
    // SAFETY: a status of the program by contract; all bit patterns are valid.
    let fields = unsafe { (*place).get() };
    let class = code_in::<A>(fields.error);
    Ok(Status {
        source: rank_in::<A>(fields.source),
        tag: tag_in::<A>(fields.tag),
        error: class_of(class),
        bytes: fields.bytes,
        cancelled: fields.cancelled,
    })
}

fn class_of(code: c_int) -> Class {
    let find = |c: &&Class| **c as c_int == code;
    Class::ALL
        .iter()
        .find(find)
        .copied()
        .unwrap_or(Class::Other)
}

/// After an object was freed: the program's handle becomes the null handle.
///
/// # Safety
/// `pointer` is valid.
pub unsafe fn clear<H: Handle>(pointer: *mut H) {
    // SAFETY: valid by contract.
    unsafe { pointer.write(H::of(H::NULL)) };
}

/// How many sources and destinations this process's neighborhood has.
pub fn degrees(rt: &Runtime, comm: CommId) -> Result<(usize, usize)> {
    rt.with(|w| {
        let comm = w.comms.get(comm)?;
        let Some(topology) = &comm.topology else {
            fail!(
                Topology,
                "the communicator has no topology, so nobody has neighbors"
            )
        };
        let (sources, destinations) = topology.neighbors(comm.rank as i32)?;
        Ok((sources.len(), destinations.len()))
    })
}
