//! What the rendezvous, or who passes for it, says to a rank.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::rendezvous::message::{body_length, Frame, ToMember};

fuzz_target!(|data: &[u8]| {
    let Ok(message) = ToMember::decode(data) else {
        return;
    };
    let frame = message.encode();
    let (prefix, body) = frame.split_at(4);
    let prefix = prefix.try_into().unwrap_or_default();
    assert_eq!(body_length(prefix, ToMember::LIMIT), Ok(body.len()));
    assert_eq!(ToMember::decode(body).as_ref(), Ok(&message));
});
