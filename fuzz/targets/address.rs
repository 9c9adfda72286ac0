//! A rank's address, as another rank published it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::wire::address::Address;

fuzz_target!(|data: &[u8]| {
    if let Ok(address) = Address::decode(data) {
        assert_eq!(Address::decode(&address.encode()), Ok(address));
    }
});
