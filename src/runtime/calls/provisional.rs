//! Provisional: removed when the collectives land (src/runtime/calls/collective.rs).
use crate::base::error::Result;
use crate::base::id::{CommId, DatatypeId};
use crate::fail;
use crate::runtime::Runtime;

pub fn barrier(rt: &Runtime, comm: CommId) -> Result<()> {
    let size = rt.with(|w| Ok(w.comms.get(comm)?.size()))?;
    if size > 1 {
        fail!(UnsupportedOperation, "collectives have not landed");
    }
    Ok(())
}
pub fn bcast(_: &Runtime, _: *mut u8, _: i64, _: DatatypeId, _: i32, _: CommId) -> Result<()> {
    fail!(UnsupportedOperation, "collectives have not landed")
}
#[allow(clippy::too_many_arguments)]
pub fn allgather(
    _: &Runtime,
    _: *mut u8,
    _: i64,
    _: DatatypeId,
    _: *mut u8,
    _: i64,
    _: DatatypeId,
    _: CommId,
) -> Result<()> {
    fail!(UnsupportedOperation, "collectives have not landed")
}
