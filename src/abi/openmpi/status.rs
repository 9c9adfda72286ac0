//! MPI_Status: 24 bytes.

use mayfly::abi::kinds::{StatusFields, StatusLayout};
use std::ffi::c_int;

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Status {
    source: c_int,
    tag: c_int,
    error: c_int,
    cancelled: c_int,
    bytes: u64,
}

const _: () = assert!(size_of::<Status>() == 24);
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
            bytes: self.bytes,
            cancelled: self.cancelled != 0,
        }
    }

    #[inline]
    fn set(&mut self, fields: &StatusFields, with_error: bool) {
        self.source = fields.source;
        self.tag = fields.tag;
        if with_error {
            self.error = fields.error;
        }
        self.cancelled = fields.cancelled.into();
        self.bytes = fields.bytes;
    }
}
