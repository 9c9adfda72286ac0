//! The head of an HTTP answer, as the library reads it byte by byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::rendezvous::client::response_head;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    if let Ok((status, head)) = response_head(&mut rest) {
        assert!(status <= 999);
        assert!(head.ends_with("\r\n\r\n"));
        // Not a byte more than the head is taken.
        assert!(data[..data.len() - rest.len()].ends_with(b"\r\n\r\n"));
    }
});
