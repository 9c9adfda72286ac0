//! What a member says to the rendezvous.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::rendezvous::message::{body_length, Frame, ToService};

fuzz_target!(|data: &[u8]| {
    let Ok(message) = ToService::decode(data) else {
        return;
    };
    let frame = message.encode();
    let (prefix, body) = frame.split_at(4);
    let prefix = prefix.try_into().unwrap_or_default();
    assert_eq!(body_length(prefix, ToService::LIMIT), Ok(body.len()));
    assert_eq!(ToService::decode(body).as_ref(), Ok(&message));
});
