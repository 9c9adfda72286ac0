//! The start that a platform delivers: whoever knows the function's address can send one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::platform::start::{Common, Start};

fuzz_target!(|data: &[u8]| {
    if let Ok(start) = Start::from_json(data) {
        let again = Start::from_json(start.to_json().as_bytes());
        assert!(again.is_ok_and(|again| again == start));
        assert!(start.place.rendezvous().is_ok());
    }
    if let Ok(common) = Common::from_json(data) {
        let again = Common::from_json(common.to_json().as_bytes());
        assert!(again.is_ok_and(|again| again == common));
    }
});
