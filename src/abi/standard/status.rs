//! MPI_Status: 32 bytes, of which the last 20 are the library's own.

use mayfly::abi::kinds::{StatusFields, StatusLayout};
use std::ffi::c_int;

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Status {
    source: c_int,
    tag: c_int,
    error: c_int,
    /// The byte count's lower and higher half, cancelled, and nothing.
    internal: [c_int; 5],
}

const _: () = assert!(size_of::<Status>() == 32);
const _: () = assert!(std::mem::offset_of!(Status, source) == 0);
const _: () = assert!(std::mem::offset_of!(Status, tag) == 4);
const _: () = assert!(std::mem::offset_of!(Status, error) == 8);

impl StatusLayout for Status {
    #[inline]
    fn get(&self) -> StatusFields {
        StatusFields {
            source: self.source,
            tag: self.tag,
            error: self.error,
            bytes: (self.internal[1] as u32 as u64) << 32 | self.internal[0] as u32 as u64,
            cancelled: self.internal[2] != 0,
        }
    }

    #[inline]
    fn set(&mut self, fields: &StatusFields, with_error: bool) {
        self.source = fields.source;
        self.tag = fields.tag;
        if with_error {
            self.error = fields.error;
        }
        self.internal[0] = fields.bytes as c_int;
        self.internal[1] = (fields.bytes >> 32) as c_int;
        self.internal[2] = fields.cancelled.into();
    }
}
