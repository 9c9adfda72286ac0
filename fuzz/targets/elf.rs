//! A program that somebody else brought.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::platform::elf::Image;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;

fuzz_target!(|data: &[u8]| {
    // SAFETY: the name ends with a zero; a descriptor that is not negative is ours alone.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"program".as_ptr(), 0);
        assert!(fd >= 0, "no memory file");
        File::from_raw_fd(fd)
    };
    if file.write_all(data).is_err() {
        return;
    }
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let _ = Image::read(&path, &file);
    let _ = Image::contains_mpi(&path, true);
});
