//! What a stranger on a rank's port may say first.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::wire::hello::{holds, plausible, Hello, Role, HELLO};

fuzz_target!(|data: &[u8]| {
    let Some((bytes, rest)) = data.split_first_chunk::<HELLO>() else {
        plausible(data);
        return;
    };
    let Some(hello) = Hello::decode(bytes) else {
        return;
    };
    assert!(plausible(bytes));
    assert_eq!(&hello.encode(), bytes);
    // No input knows the token.
    assert!(!holds(&[7; 32], Role::Dialler, &hello, &hello, rest));
});
