//! What lies under ~/.aws.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::platform::on::lambda::ini;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for (title, section) in ini::parse(text) {
        assert!(!title.contains([']', '\n', '"', '\'']));
        for (name, value) in section {
            assert!(!name.contains(|c: char| c.is_ascii_uppercase() || c == '='));
            assert_eq!(value, value.trim());
            assert!(text.contains(&value));
        }
    }
});
