//! The header before every message between ranks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::wire::frame::{Header, HEADER};

fuzz_target!(|data: &[u8]| {
    let Some(bytes) = data.first_chunk::<HEADER>() else {
        return;
    };
    if let Some(header) = Header::decode(bytes) {
        assert_eq!(Header::decode(&header.encode()), Some(header));
    }
});
