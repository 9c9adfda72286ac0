//! What anybody may send to the queue pair that takes hellos.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::wire::verbs_hello::{VerbsHello, HELLO};

fuzz_target!(|data: &[u8]| {
    let Some(bytes) = data.first_chunk::<HELLO>() else {
        return;
    };
    let Some(hello) = VerbsHello::decode(bytes) else {
        return;
    };
    let key = [8; 32];
    // No input knows the key; what was read is what was written.
    assert!(!VerbsHello::proven(bytes, &key));
    let again = hello.encode(&key);
    assert!(VerbsHello::proven(&again, &key));
    assert_eq!(VerbsHello::decode(&again), Some(hello));
});
