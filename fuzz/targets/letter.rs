//! A request to an instance, in whatever a platform wraps around it: whoever knows the function's address can send one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::platform::host::{letter, openwhisk};
use mayfly::platform::package::Description;

fuzz_target!(|data: &[u8]| {
    if let Ok(start) = letter::open(data) {
        assert!(start.place.rendezvous().is_ok());
    }
    let _ = openwhisk::Whisk::init(data);
    let _ = openwhisk::activation(data);
    // What stands in a package; its paths are checked where it lies.
    let _ = serde_json::from_slice::<Description>(data);
});
