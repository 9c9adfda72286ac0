//! MPI_Status: 20 bytes.

use mayfly::abi::kinds::{StatusFields, StatusLayout};
use std::ffi::c_int;

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Status {
    count_lo: c_int,
    /// The count's higher half above bit 0, which says cancelled.
    count_hi_and_cancelled: c_int,
    source: c_int,
    tag: c_int,
    error: c_int,
}

const _: () = assert!(size_of::<Status>() == 20);
const _: () = assert!(std::mem::offset_of!(Status, source) == 8);
const _: () = assert!(std::mem::offset_of!(Status, tag) == 12);
const _: () = assert!(std::mem::offset_of!(Status, error) == 16);

impl StatusLayout for Status {
    #[inline]
    fn get(&self) -> StatusFields {
        let high = (self.count_hi_and_cancelled as u32 >> 1) as u64;
        StatusFields {
            source: self.source,
            tag: self.tag,
            error: self.error,
            bytes: high << 32 | self.count_lo as u32 as u64,
            cancelled: self.count_hi_and_cancelled & 1 != 0,
        }
    }

    #[inline]
    fn set(&mut self, fields: &StatusFields, with_error: bool) {
        self.count_lo = fields.bytes as c_int;
        self.count_hi_and_cancelled =
            ((fields.bytes >> 32) << 1) as c_int | c_int::from(fields.cancelled);
        self.source = fields.source;
        self.tag = fields.tag;
        if with_error {
            self.error = fields.error;
        }
    }
}
