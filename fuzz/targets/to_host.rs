//! What the rendezvous, or who passes for it, tells a host to do.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::rendezvous::message::{body_length, Frame, ToHost};

fuzz_target!(|data: &[u8]| {
    let Ok(message) = ToHost::decode(data) else {
        return;
    };
    let frame = message.encode();
    let (prefix, body) = frame.split_at(4);
    let prefix = prefix.try_into().unwrap_or_default();
    assert_eq!(body_length(prefix, ToHost::LIMIT), Ok(body.len()));
    assert_eq!(ToHost::decode(body).as_ref(), Ok(&message));
});
