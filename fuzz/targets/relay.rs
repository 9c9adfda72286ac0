//! Both sides of the relay's protocol: what a stranger asks of a relay, what a false relay answers a rank.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::wire::relay::{self, Request, Status, GREETING, OBSERVED, REQUEST};

fuzz_target!(|data: &[u8]| {
    if let Some(bytes) = data.first_chunk::<GREETING>() {
        if let Some(nonce) = relay::nonce(bytes) {
            assert_eq!(&relay::greeting(&nonce), bytes);
        }
    }
    if let Some(bytes) = data.first_chunk::<REQUEST>() {
        if let Some(request) = Request::decode(bytes) {
            let again = request.encode(&[1; 32], &[2; 16]);
            assert_eq!(Request::decode(&again), Some(request));
            // No input knows the relay's key.
            assert!(!request.proven(bytes, &[3; 32], &[2; 16]));
        }
    }
    if let Some(bytes) = data.first_chunk::<OBSERVED>() {
        let seen = relay::seen(bytes);
        assert_eq!(relay::seen(&relay::observed(seen)), seen);
    }
    if let Some(status) = data.first().and_then(|byte| Status::decode(*byte)) {
        assert!(!status.text().is_empty());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        relay::ports(text);
    }
});
