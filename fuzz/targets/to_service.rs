//! What a member says to the rendezvous.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::rendezvous::message::ToService;

fuzz_target!(|data: &[u8]| {
    let Ok(message) = ToService::decode(data) else {
        return;
    };
    let frame = message.encode();
    // A frame is its length and what was decoded.
    assert_eq!(ToService::decode(&frame[4..]).as_ref(), Ok(&message));
});
