//! `mayfly relay`: a relay of its own, for ranks that cannot reach each other; and what it shares with `mayfly serve`.

use super::serve::key_in;
use mayfly::base::trace;
use mayfly::platform::launch;
use mayfly::rendezvous::message::unhex;
use mayfly::rendezvous::relay::{Options, Relay};
use mayfly::rendezvous::server::page;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Arguments {
    /// Where to listen: two ports, so that ranks learn what their address translator does; port 0: any free one
    #[arg(
        long,
        value_name = "HOST:PORT,PORT",
        default_value = "127.0.0.1:7718,7719"
    )]
    listen: String,
    /// The relay's key (64 hexadecimal digits), which `mayfly serve --relay-key` must have too; made up and written there
    /// when the file does not exist
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    #[command(flatten)]
    bounds: Bounds,
    /// Serves /metrics and /healthz there
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<String>,
    /// Logs only refusals and troubles
    #[arg(long)]
    quiet: bool,
}

/// What one job may have of a relay.
#[derive(clap::Args)]
pub struct Bounds {
    /// Pairs of ranks that one job may have joined by the relay at a time; without it half of what the descriptors allow
    #[arg(long, value_name = "PAIRS")]
    relay_job_pairs: Option<usize>,
    /// Megabytes (10^6 bytes) a second that the relay carries for one job, all pairs together; 0: no bound
    #[arg(long, value_name = "MB/S", default_value_t = 0.0)]
    relay_job_rate: f64,
}

impl Bounds {
    /// Sets what was said.
    pub fn apply(&self, options: &mut Options) -> Result<(), String> {
        if !(self.relay_job_rate.is_finite() && self.relay_job_rate >= 0.0) {
            return Err(format!(
                "--relay-job-rate {}: it must be 0 or more",
                self.relay_job_rate
            ));
        }
        options.job.pairs = self.relay_job_pairs.unwrap_or(options.job.pairs);
        // Something that is not 0 stays so.
        options.job.rate = (self.relay_job_rate * 1e6).ceil() as u64;
        Ok(())
    }
}

/// Relays until SIGINT or SIGTERM; gives the exit status.
pub fn main(arguments: &Arguments) -> i32 {
    match relay(arguments) {
        Ok(()) => 0,
        Err(text) => {
            trace::say(&format!("mayfly relay: {text}"));
            1
        }
    }
}

fn relay(arguments: &Arguments) -> Result<(), String> {
    launch::raise_descriptors();
    launch::hold_signals();
    let mut options = Options {
        verbose: !arguments.quiet,
        ..Options::new(relay_key(&arguments.key_file)?)
    };
    arguments.bounds.apply(&mut options)?;
    let relay = start(&arguments.listen, options)?;
    let _page = match &arguments.metrics {
        None => None,
        Some(address) => {
            let (listener, relay) = (listen(address)?, relay.clone());
            Some(page::start(listener, relay).map_err(|e| format!("{address}: {e}"))?)
        }
    };
    let [first, second] = relay.addresses();
    let mut out = std::io::stdout();
    let line = format!("mayfly relay: listening on {first},{}", second.port());
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    let signal = launch::wait_for_end();
    let figures = relay.figures();
    trace::say(&format!(
        "mayfly relay: ended by signal {signal}; {} pairs were joined, {} bytes carried",
        figures.pairs_ever, figures.bytes
    ));
    Ok(())
}

/// A relay on `HOST:PORT,PORT`.
pub fn start(listen_on: &str, options: Options) -> Result<Arc<Relay>, String> {
    let (host, first, second) = two_ports(listen_on)?;
    let listeners = [
        listen(&format!("{host}:{first}"))?,
        listen(&format!("{host}:{second}"))?,
    ];
    let relay = Relay::start(listeners, options).map_err(|e| format!("{listen_on}: {e}"))?;
    Ok(Arc::new(relay))
}

/// `HOST:PORT,PORT` in its parts.
pub fn two_ports(text: &str) -> Result<(&str, u16, u16), String> {
    let parts = text.rsplit_once(':').and_then(|(host, ports)| {
        let (first, second) = ports.split_once(',')?;
        Some((host, first.parse().ok()?, second.parse().ok()?))
    });
    match parts {
        Some((host, first, second)) if !host.is_empty() && (first != second || first == 0) => {
            Ok((host, first, second))
        }
        _ => Err(format!("{text}: a relay is HOST:PORT,PORT")),
    }
}

/// The relay's key in this file; made up when it does not exist.
pub fn relay_key(path: &Path) -> Result<[u8; 32], String> {
    let text = key_in(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let wrong = || format!("{}: it does not hold 64 hexadecimal digits", path.display());
    unhex(&text).ok_or_else(wrong)
}

/// A listener on `HOST:PORT`.
pub fn listen(on: &str) -> Result<TcpListener, String> {
    let addresses = on.to_socket_addrs().map_err(|e| format!("{on}: {e}"))?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    TcpListener::bind(&addresses[..]).map_err(|e| format!("cannot listen on {on}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ports_are_read() {
        assert_eq!(two_ports("a:1,2"), Ok(("a", 1, 2)));
        assert_eq!(two_ports("[::]:0,0"), Ok(("[::]", 0, 0)));
        for wrong in ["", "a:1", "a:1,1", ":1,2", "a:1,x", "a:1,2,3", "1,2"] {
            assert!(two_ports(wrong).unwrap_err().contains("PORT,PORT"));
        }
    }
}
