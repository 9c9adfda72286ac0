//! What the rendezvous, or who passes for it, says to a rank.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::rendezvous::message::ToMember;

fuzz_target!(|data: &[u8]| {
    let Ok(message) = ToMember::decode(data) else {
        return;
    };
    let frame = message.encode();
    // A frame is its length and what was decoded.
    assert_eq!(ToMember::decode(&frame[4..]).as_ref(), Ok(&message));
});
