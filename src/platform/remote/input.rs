//! Standard input on its way to ranks elsewhere.

use crate::rendezvous::dial::{Owner, Speaker};
use crate::rendezvous::message::FromOwner;
use std::io::Read;
use tokio::sync::mpsc;

const CHUNK: usize = 32 * 1024;

/// Copies our standard input to these ranks until it ends. Called once, when they run; what is read before would have to
/// be kept somewhere. The thread ends with the input, with the connection, or with the process.
pub fn start(readers: Vec<u32>, speaker: Speaker<Owner>) -> std::io::Result<()> {
    let (sender, mut chunks) = mpsc::channel::<Vec<u8>>(2);
    std::thread::Builder::new()
        .name("input".into())
        .spawn(move || {
            let mut chunk = vec![0; CHUNK];
            let mut stdin = std::io::stdin().lock();
            loop {
                let got = match stdin.read(&mut chunk) {
                    Ok(n) => n,
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(_) => 0,
                };
                // No bytes tell the end.
                if sender.blocking_send(chunk[..got].to_vec()).is_err() || got == 0 {
                    return;
                }
            }
        })?;
    tokio::spawn(async move {
        while let Some(bytes) = chunks.recv().await {
            for &rank in &readers {
                let input = FromOwner::Input {
                    rank,
                    bytes: bytes.clone(),
                };
                if speaker.say(&input).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(())
}
