//! `/metrics` and `/healthz` of a relay that runs by itself: a page for those who watch it.

use super::limits::{Gate, Limits};
use super::metrics::of_relay;
use super::REQUEST;
use crate::base::os;
use crate::rendezvous::relay::Relay;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A page that is served; dropped, it is no more.
pub struct Page {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Page {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves it on this listener, in a thread of its own.
pub fn start(listener: TcpListener, relay: Arc<Relay>) -> io::Result<Page> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = os::without_signals(|| {
        let builder = std::thread::Builder::new().name("metrics".into());
        builder.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(listener, relay) => {}
                    _ = stopped => {}
                }
            });
        })
    })?;
    Ok(Page {
        address,
        stop: Some(stop),
        thread: Some(thread),
    })
}

async fn serve(listener: TcpListener, relay: Arc<Relay>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let gate = Gate::new(Limits {
        connections: 64,
        ..Limits::by_descriptors()
    });
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = gate.admit(peer.ip(), Instant::now()) else {
            continue;
        };
        let relay = relay.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let answer = answer(&request, &relay);
                async move { Ok::<_, Infallible>(answer) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = served => {}
                () = place.lost() => {}
            }
        });
    }
}

fn answer(request: &Request<Incoming>, relay: &Relay) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => (StatusCode::OK, "ok\n".to_string()),
        (&Method::GET, "/metrics") => (StatusCode::OK, of_relay(relay)),
        _ => (StatusCode::NOT_FOUND, "not found\n".to_string()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}
