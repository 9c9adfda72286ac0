//! A launcher's PMI server that says anything at all, for both of its languages.

use mayfly::bootstrap::pmi::{nodes, Line, Store};
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// Sends `data` and nothing more. `open` begins the talk and gives the number of ranks.
pub fn says<S: Store>(data: &[u8], open: impl FnOnce(Line) -> Option<(u32, S)>) {
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
    let Some((size, mut store)) = open(Line::new(client.into())) else {
        return;
    };
    if let Ok(Some(mapping)) = store.attribute("PMI_process_mapping") {
        nodes(&mapping, size.min(4096));
    }
    let _ = store.put("key", "value");
    let _ = store.fence();
    let _ = store.get("key");
    let _ = store.finalize();
}
