//! What the rendezvous, or who passes for it, tells a launcher.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::rendezvous::message::{body_length, Frame, ToOwner};

fuzz_target!(|data: &[u8]| {
    let Ok(message) = ToOwner::decode(data) else {
        return;
    };
    let frame = message.encode();
    let (prefix, body) = frame.split_at(4);
    let prefix = prefix.try_into().unwrap_or_default();
    assert_eq!(body_length(prefix, ToOwner::LIMIT), Ok(body.len()));
    assert_eq!(ToOwner::decode(body).as_ref(), Ok(&message));
});
