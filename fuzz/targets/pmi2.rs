//! A launcher's PMI-2 server that says anything at all.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::bootstrap::pmi::{nodes, Line, Store};
use mayfly::bootstrap::pmi2::Pmi2;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

fuzz_target!(|data: &[u8]| {
    // What does not fit the socket's buffer at once would block us.
    if data.len() > 16 * 1024 {
        return;
    }
    let Ok((mut server, client)) = UnixStream::pair() else {
        return;
    };
    if server.write_all(data).is_err() || server.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let Ok((place, mut store)) = Pmi2::open(Line::new(client.into()), None, Some(1), Some(4))
    else {
        return;
    };
    if let Ok(Some(mapping)) = store.attribute("PMI_process_mapping") {
        nodes(&mapping, place.size.min(4096));
    }
    let _ = store.put("key", "value");
    let _ = store.fence();
    let _ = store.get("key");
    let _ = store.finalize();
});
