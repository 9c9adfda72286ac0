//! What a host says to the rendezvous.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::rendezvous::message::{body_length, Frame, FromHost};

fuzz_target!(|data: &[u8]| {
    let Ok(message) = FromHost::decode(data) else {
        return;
    };
    let frame = message.encode();
    let (prefix, body) = frame.split_at(4);
    let prefix = prefix.try_into().unwrap_or_default();
    assert_eq!(body_length(prefix, FromHost::LIMIT), Ok(body.len()));
    assert_eq!(FromHost::decode(body).as_ref(), Ok(&message));
});
