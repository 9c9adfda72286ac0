//! A member's connection, once it speaks in frames.

use super::metrics::Metrics;
use super::{Inner, LINGER, REQUEST, WRITE};
use crate::rendezvous::message::{self, Frame as _, ToService};
use crate::rendezvous::registry::{Connection, Effect};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

impl Inner {
    /// A member's connection after its upgrade.
    pub(super) async fn member(
        &self,
        connection: Connection,
        mut queue: mpsc::Receiver<Bytes>,
        upgrade: hyper::upgrade::OnUpgrade,
    ) {
        let upgraded = match tokio::time::timeout(REQUEST, upgrade).await {
            Ok(Ok(upgraded)) => upgraded,
            _ => return self.gone(connection, "the connection never came about"),
        };
        let (mut reading, mut writing) = tokio::io::split(TokioIo::new(upgraded));
        let (written, mut all_written) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let _until_the_end = written;
            while let Some(bytes) = queue.recv().await {
                match tokio::time::timeout(WRITE, writing.write_all(&bytes)).await {
                    Ok(Ok(())) => {}
                    _ => return,
                }
            }
            let _ = writing.shutdown().await;
        });
        let closed = async {
            let _ = (&mut all_written).await;
            tokio::time::sleep(LINGER).await;
        };
        let why = tokio::select! {
            why = self.read(connection, &mut reading) => why,
            _ = closed => "it did not take what was sent".into(),
        };
        self.gone(connection, &why);
    }

    fn gone(&self, connection: Connection, why: &str) {
        let now = self.now();
        self.act(|registry, out| {
            registry.closed(now, connection, why, out);
            out.push(Effect::Close(connection));
        });
    }

    /// Takes frames until there are no more; says why.
    async fn read(
        &self,
        connection: Connection,
        reading: &mut (impl AsyncReadExt + Unpin),
    ) -> String {
        loop {
            let mut prefix = [0; 4];
            if let Err(e) = reading.read_exact(&mut prefix).await {
                return match e.kind() {
                    io::ErrorKind::UnexpectedEof => "its connection ended".into(),
                    _ => format!("its connection broke: {e}"),
                };
            }
            let length = match message::body_length(prefix, message::TO_SERVICE_MAX) {
                Ok(length) => length,
                Err(malformed) => return malformed.to_string(),
            };
            let mut body = vec![0; length];
            if let Err(e) = reading.read_exact(&mut body).await {
                return format!("its connection ended within a frame: {e}");
            }
            Metrics::add(&self.metrics.frames_in, 1);
            Metrics::add(&self.metrics.bytes_in, (4 + length) as u64);
            match ToService::decode(&body) {
                Err(malformed) => return malformed.to_string(),
                Ok(frame) => {
                    let now = self.now();
                    self.act(|registry, out| registry.receive(now, connection, frame, out));
                }
            }
        }
    }
}
