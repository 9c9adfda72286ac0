//! How connections come in: turned away when there are too many, then TLS or plain, then HTTP.

use super::limits::{Place, TooMany};
use super::link::Entrance;
use super::Inner;
use crate::base::trace;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// A connection while requests come on it.
pub struct Slot {
    /// The answer to a request leaves there a role's connection that is about to speak in frames.
    pub entrance: Mutex<Option<Entrance>>,
    pub place: Place,
}

impl Slot {
    fn entrance(&self) -> Option<Entrance> {
        let mut entrance = self.entrance.lock().unwrap_or_else(|p| p.into_inner());
        entrance.take()
    }
}

/// The first byte of a TLS record that begins a handshake (RFC 8446, 5.1).
const TLS: u8 = 0x16;
/// The alert "handshake_failure", fatal (RFC 8446, 6.2).
const TLS_ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 40];
/// Those who come too often and are told so at the same time; more are only closed.
const TOLD: usize = 64;

/// A burst of a thousand ranks fits into the listener's queue, and connections whose other machine vanished are found
/// out: accepted sockets inherit the keep-alive.
pub fn widen(listener: &TcpListener) {
    let socket = socket2::SockRef::from(listener);
    let alive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(20))
        .with_retries(3);
    // Without either all goes on, only slower.
    let _ = socket.listen(4_096);
    let _ = socket.set_tcp_keepalive(&alive);
}

impl Inner {
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(e) => return trace::line(&format!("rendezvous: cannot listen: {e}")),
        };
        let telling = Arc::new(Semaphore::new(TOLD));
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => match self.gate.admit(peer.ip(), Instant::now()) {
                    Ok(place) => {
                        tokio::spawn(self.clone().converse(stream, peer, place));
                    }
                    Err(why) => {
                        self.turned_away(peer, why);
                        if let Ok(permit) = telling.clone().try_acquire_owned() {
                            let plain = self.options.tls.is_none();
                            tokio::spawn(async move {
                                too_many(stream, plain, why).await;
                                drop(permit);
                            });
                        }
                    }
                },
                Err(e) => {
                    self.hushed.line("accept", Instant::now(), || {
                        format!("rendezvous: cannot accept a connection: {e}")
                    });
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn turned_away(&self, peer: SocketAddr, why: TooMany) {
        self.metrics.refused(match why {
            TooMany::TooFast => "too_fast",
            TooMany::Connections | TooMany::FromThisSource => "too_many",
        });
        self.hushed.line(why.text(), Instant::now(), || {
            format!("rendezvous: turned {peer} away: {}", why.text())
        });
    }

    /// One TCP connection, from its first byte to its last.
    async fn converse(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, place: Place) {
        let _ = stream.set_nodelay(true);
        let slot = Arc::new(Slot {
            entrance: Mutex::default(),
            place,
        });
        tokio::select! {
            () = self.clone().greet(stream, peer, &slot) => (),
            () = slot.place.lost() => {
                return self.strange(peer, "room", "it had proven nothing yet, and others came");
            }
        }
        if let Some(entrance) = slot.entrance() {
            self.link(entrance).await;
        }
    }

    /// Until the connection ends, or speaks in frames.
    async fn greet(self: Arc<Self>, mut stream: TcpStream, peer: SocketAddr, slot: &Arc<Slot>) {
        let mut first = [0];
        let peeked = tokio::time::timeout(self.gate.patience(), stream.peek(&mut first));
        let in_tls = match peeked.await {
            Ok(Ok(1)) => first[0] == TLS,
            Ok(_) => return,
            Err(_) => return self.strange(peer, "slow", "it says nothing"),
        };
        match (&self.options.tls, in_tls) {
            (None, false) => self.http(stream, peer, slot).await,
            (None, true) => {
                self.strange(
                    peer,
                    "tls_to_plain",
                    "it speaks TLS, and this port is plain: its URL must begin with http://",
                );
                farewell(&mut stream, TLS_ALERT).await;
            }
            (Some(_), false) => {
                self.strange(
                    peer,
                    "plain_to_tls",
                    "it does not speak TLS, as this port does: its URL must begin with https://",
                );
                let text = "this port speaks TLS: use https://\n";
                farewell(&mut stream, &raw(400, "Bad Request", "", text)).await;
            }
            (Some(identity), true) => {
                let acceptor = tokio_rustls::TlsAcceptor::from(identity.server.clone());
                match tokio::time::timeout(self.gate.patience(), acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => self.http(stream, peer, slot).await,
                    Ok(Err(e)) => self.strange(peer, "tls", &format!("no TLS came about: {e}")),
                    Err(_) => self.strange(peer, "slow", "its TLS handshake does not end"),
                }
            }
        }
    }

    async fn http(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        slot: &Arc<Slot>,
    ) {
        let answered = Arc::new(AtomicBool::new(false));
        let (inner, filled, first) = (self.clone(), slot.clone(), answered.clone());
        let service = hyper::service::service_fn(move |request| {
            first.store(true, Ordering::Relaxed);
            let (inner, slot) = (inner.clone(), filled.clone());
            async move { Ok::<_, Infallible>(inner.answer(request, peer, &slot).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.gate.patience())
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
        match served {
            // A client that keeps its connection for later is nothing special.
            Err(e) if e.is_timeout() && answered.load(Ordering::Relaxed) => {}
            Err(e) if e.is_timeout() => self.strange(peer, "slow", "its request does not end"),
            Err(e) if e.is_parse() => {
                self.strange(peer, "not_http", &format!("it does not speak HTTP: {e}"))
            }
            Err(e) if e.is_incomplete_message() => {
                self.strange(peer, "cut_off", "it left in the middle of its request")
            }
            _ => {}
        }
    }

    fn strange(&self, peer: SocketAddr, cause: &'static str, why: &str) {
        self.metrics.refused(cause);
        self.hushed.line(cause, Instant::now(), || {
            format!("rendezvous: turned {peer} away: {why}")
        });
    }
}

/// A whole HTTP response.
fn raw(status: u16, reason: &str, header: &str, text: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} {reason}\r\nConnection: close\r\n{header}Content-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

/// Says it, and takes a little of what still comes, so that the words are not lost to a reset.
async fn farewell(stream: &mut TcpStream, words: &[u8]) {
    let said = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        let mut rest = [0; 4_096];
        for _ in 0..4 {
            if stream.read(&mut rest).await? == 0 {
                break;
            }
        }
        std::io::Result::Ok(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), said).await;
}

async fn too_many(mut stream: TcpStream, plain: bool, why: TooMany) {
    if plain {
        let text = format!("{}\n", why.text());
        let words = raw(429, "Too Many Requests", "Retry-After: 5\r\n", &text);
        farewell(&mut stream, &words).await;
    }
}
