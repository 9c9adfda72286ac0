//! Who a request's path says it is, and where people say that a rendezvous stands.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::rendezvous::message::Role;
use mayfly::rendezvous::place::Place;

fuzz_target!(|text: &str| {
    let parts: Vec<&str> = text.split('/').collect();
    if let Some(role) = Role::from_path(&parts) {
        // One role has one path, and one pass.
        let path = role.path(&[5; 16]);
        assert!(path.ends_with(&format!("/{text}")));
        assert_eq!(role.pass(&[6; 32]).len(), 32);
    }
    if let Ok(place) = Place::parse(text) {
        assert_eq!(Place::parse(&place.to_string()), Ok(place));
    }
});
