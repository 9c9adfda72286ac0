//! What a rank reads from its launcher's pipe.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::rendezvous::message::Ticket;

fuzz_target!(|data: &[u8]| {
    if let Ok(ticket) = Ticket::decode(data) {
        assert!(ticket.rank < ticket.size);
        let again = Ticket::decode(&ticket.encode());
        assert!(again.is_ok_and(|again| again == ticket));
    }
});
