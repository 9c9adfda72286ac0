//! The way from the ranks to a rendezvous that speaks TLS. The MPI library speaks plain HTTP only, so that it need not
//! carry TLS into programs; who starts ranks listens on the loopback address and passes every byte on unchanged
//! over a TLS connection of its own. Who may join is decided at the other end, by the rank's pass.

use crate::rendezvous::dial;
use crate::rendezvous::place::Place;
use std::io;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How long a rank's connection may take to get through.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where ranks find the rendezvous, as long as it lives.
pub struct Forwarder {
    address: String,
    /// `None`: they reach it themselves.
    task: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Listens for a rendezvous that speaks TLS; another needs no help.
    pub async fn of(place: &Place) -> io::Result<Forwarder> {
        if !place.tls {
            return Ok(Forwarder {
                address: place.authority(),
                task: None,
            });
        }
        Forwarder::start(place).await
    }

    async fn start(place: &Place) -> io::Result<Forwarder> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let task = Some(tokio::spawn(serve(listener, place.clone())));
        Ok(Forwarder { address, task })
    }

    /// `host:port`, for the ranks' tickets.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns when all of its connections are closed.
    pub async fn close(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Forwarder {
    /// With the task go its connections.
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn serve(listener: TcpListener, place: Place) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((rank, _)) => drop(connections.spawn(forward(rank, place.clone()))),
                // Out of descriptors, most likely: what is open goes on.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Until both directions have ended. A rank whose connection cannot be passed on sees it close.
async fn forward(mut rank: TcpStream, place: Place) {
    let _ = rank.set_nodelay(true);
    match dial::connect(&place, PATIENCE).await {
        Ok(mut there) => drop(tokio::io::copy_bidirectional(&mut rank, &mut there).await),
        Err(e) => crate::info!("a rank's connection cannot be passed on: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn every_byte_passes_both_ways_and_nothing_stays_open() {
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Place::parse(&service.local_addr().unwrap().to_string()).unwrap();
        let none = Forwarder::of(&place).await.unwrap();
        assert_eq!(none.address(), place.authority());
        let forwarder = Forwarder::start(&place).await.unwrap();
        let mut rank = TcpStream::connect(forwarder.address()).await.unwrap();
        let (mut there, _) = service.accept().await.unwrap();
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7) as u8).collect();
        let mut got = vec![0; bytes.len()];
        rank.write_all(&bytes).await.unwrap();
        there.read_exact(&mut got).await.unwrap();
        assert_eq!(got, bytes);
        there.write_all(&bytes[..10]).await.unwrap();
        rank.read_exact(&mut got[..10]).await.unwrap();
        let address = forwarder.address().to_string();
        forwarder.close().await;
        assert_eq!(there.read(&mut got).await.unwrap(), 0);
        assert!(TcpStream::connect(address).await.is_err());
    }
}
