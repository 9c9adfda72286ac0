//! What another rank says through the rendezvous, and the table of addresses that comes down the tree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::base::id::PeerId;
use mayfly::transport::Known;
use mayfly::wire::note::Note;

fuzz_target!(|data: &[u8]| {
    if let Some(note) = Note::decode(data) {
        assert_eq!(note.encode(), data);
    }
    let Some((ranks, table)) = data.split_first() else {
        return;
    };
    let ranks = u32::from(*ranks);
    if let Ok(known) = Known::read(ranks, table.to_vec()) {
        for rank in 0..=ranks {
            let _ = known.address(PeerId(rank));
        }
    }
});
