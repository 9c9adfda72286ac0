//! A launcher's PMI-2 server that says anything at all.
#![no_main]

#[path = "../launcher.rs"]
mod launcher;

use libfuzzer_sys::fuzz_target;
use mayfly::bootstrap::pmi2::Pmi2;

fuzz_target!(|data: &[u8]| {
    launcher::says(data, |line| {
        let opened = Pmi2::open(line, None, Some(1), Some(4)).ok();
        opened.map(|(place, store)| (place.size, store))
    });
});
