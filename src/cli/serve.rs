//! `mayfly serve`: a rendezvous of its own, for ranks that run anywhere.

use super::relay;
use mayfly::base::os;
use mayfly::base::trace;
use mayfly::platform::launch;
use mayfly::rendezvous::message::hex;
use mayfly::rendezvous::place::Place;
use mayfly::rendezvous::relay::Relay;
use mayfly::rendezvous::server::{Options, Relays, Service};
use mayfly::rendezvous::tls::Identity;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the last words to ranks and hosts may take.
const FAREWELL: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub struct Arguments {
    /// Where to listen; port 0: any free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7717")]
    listen: String,
    /// The operator's key, which opens jobs; made up and written there when the file does not exist. Without this
    /// flag: the variable MAYFLY_OPERATOR_KEY
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Speaks TLS on the loopback interface too, as it does on all others
    #[arg(long, conflicts_with = "insecure")]
    tls: bool,
    /// The certificate (PEM, with those between it and its authority); without it one is made, and known by its pin
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Speaks plain TCP on other interfaces too: passes and output are readable on the way
    #[arg(long, conflicts_with = "tls_cert")]
    insecure: bool,
    /// Keeps the certificate that we make in this folder, so that its pin outlives a restart
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// The name or address by which ranks reach this machine; without it the one that we listen on, or its name
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// Also runs a relay on these ports
    #[arg(long, value_name = "PORT,PORT")]
    relay_listen: Option<String>,
    /// Tells ranks of a relay elsewhere (`mayfly relay`); may be repeated
    #[arg(long, value_name = "HOST:PORT,PORT", requires = "relay_key")]
    relay: Vec<String>,
    /// The relays' key; made up and written there when the file does not exist
    #[arg(long, value_name = "FILE")]
    relay_key: Option<PathBuf>,
    #[command(flatten)]
    bounds: relay::Bounds,
    /// Seconds that running jobs have to end by themselves after SIGTERM or SIGINT
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    grace: u32,
    /// Logs only refusals and troubles
    #[arg(long)]
    quiet: bool,
}

/// Serves until SIGINT or SIGTERM; gives the exit status.
pub fn main(arguments: &Arguments) -> i32 {
    match serve(arguments) {
        Ok(()) => 0,
        Err(text) => {
            trace::say(&format!("mayfly serve: {text}"));
            1
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), String> {
    let key = match &arguments.key_file {
        Some(path) => key_in(path).map_err(|e| format!("{}: {e}", path.display()))?,
        None => std::env::var("MAYFLY_OPERATOR_KEY")
            .unwrap_or_default()
            .trim()
            .to_string(),
    };
    if key.is_empty() {
        return Err("give the operator's key, in --key-file FILE or MAYFLY_OPERATOR_KEY".into());
    }
    launch::raise_descriptors();
    let listener = relay::listen(&arguments.listen)?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let host = advertised(arguments, address);
    let tls = identity(arguments, address, &host)?;
    launch::hold_signals();
    let (relay, relays) = relays(arguments, address, &host)?;
    let place = Place {
        tls: tls.is_some(),
        host,
        port: address.port(),
        // A certificate of an authority's changes every few weeks.
        pin: match arguments.tls_cert {
            Some(_) => None,
            None => tls.as_ref().map(Identity::pin),
        },
    };
    let places = relays.places.clone();
    let options = Options {
        operator_key: Some(key),
        verbose: !arguments.quiet,
        tls,
        relays,
        relay,
        ..Options::default()
    };
    let service =
        Service::start(listener, options, Box::new(|_, _| {})).map_err(|e| e.to_string())?;
    let mut lines = String::new();
    for place in places {
        lines += &format!("mayfly serve: relay at {place}\n");
    }
    let mut out = std::io::stdout();
    let _ = write!(out, "mayfly serve: listening on {place}\n{lines}").and_then(|()| out.flush());
    let signal = launch::wait_for_end();
    let ended = wind_up(&service, Duration::from_secs(arguments.grace.into()));
    if !arguments.quiet || ended > 0 {
        trace::say(&format!(
            "mayfly serve: ended by signal {signal}; {ended} running jobs were ended"
        ));
    }
    Ok(())
}

/// Takes no more jobs, gives those that run their time (a second signal ends it), ends the rest; gives their number.
fn wind_up(service: &Service, grace: Duration) -> usize {
    service.close();
    let running = service.running().len();
    if running > 0 && !grace.is_zero() {
        let text = format!("the rendezvous ends in {} s", grace.as_secs());
        service.announce(&text);
        trace::say(&format!("mayfly serve: {text}; {running} jobs are running"));
        let (sender, again) = channel();
        std::thread::spawn(move || sender.send(launch::wait_for_end()));
        let end = Instant::now() + grace;
        while !service.running().is_empty() && Instant::now() < end {
            match again.recv_timeout(Duration::from_millis(50)) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => break,
            }
        }
    }
    let rest = service.running();
    for job in &rest {
        service.abort(job, 1, "the rendezvous was stopped by its operator");
    }
    let end = Instant::now() + FAREWELL;
    while !rest.is_empty() && service.connections() > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    rest.len()
}

/// The name by which others reach this address.
fn advertised(arguments: &Arguments, address: SocketAddr) -> String {
    match &arguments.advertise {
        Some(host) => host.clone(),
        None if address.ip().is_unspecified() => os::host_name(),
        None => address.ip().to_string(),
    }
}

/// The certificate; `None`: plain TCP.
fn identity(
    arguments: &Arguments,
    address: SocketAddr,
    host: &str,
) -> Result<Option<Identity>, String> {
    let names = vec![host.to_string(), os::host_name(), "localhost".into()];
    let made = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => Identity::from_files(certificate, key),
        _ if arguments.insecure || (address.ip().is_loopback() && !arguments.tls) => {
            return Ok(None)
        }
        _ => match &arguments.state {
            Some(folder) => std::fs::create_dir_all(folder)
                .map_err(|e| std::io::Error::other(format!("{}: {e}", folder.display())))
                .and_then(|()| Identity::kept(folder, &names)),
            None => Identity::fresh(&names),
        },
    };
    made.map(Some).map_err(|e| e.to_string())
}

/// The relay in this process, and what ranks are told.
fn relays(
    arguments: &Arguments,
    address: SocketAddr,
    host: &str,
) -> Result<(Option<Arc<Relay>>, Relays), String> {
    let mut key = [0; 32];
    match &arguments.relay_key {
        Some(path) => key = relay::relay_key(path)?,
        None => os::random(&mut key).map_err(|e| e.to_string())?,
    }
    let bracketed = |host: &str| match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_string(),
    };
    let place = |host: &str, ports: [u16; 2]| format!("{host}:{},{host}:{}", ports[0], ports[1]);
    let mut places = Vec::new();
    let relay = match &arguments.relay_listen {
        None => None,
        Some(ports) => {
            let on = format!("{}:{ports}", bracketed(&address.ip().to_string()));
            let mut options = mayfly::rendezvous::relay::Options {
                verbose: !arguments.quiet,
                ..mayfly::rendezvous::relay::Options::beside_a_rendezvous(key)
            };
            arguments.bounds.apply(&mut options)?;
            let relay = relay::start(&on, options).map_err(|e| format!("--relay-listen {e}"))?;
            let ports = relay.addresses().map(|address| address.port());
            places.push(place(&bracketed(host), ports));
            Some(relay)
        }
    };
    for text in &arguments.relay {
        let (host, first, second) = relay::two_ports(text).map_err(|e| format!("--relay {e}"))?;
        places.push(place(host, [first, second]));
    }
    let most = mayfly::rendezvous::message::RELAYS_MAX;
    if places.len() > most {
        return Err(format!("ranks can be told of {most} relays"));
    }
    Ok((relay, Relays { places, key }))
}

/// The key in a file; where there is none, a new one, for our eyes only.
pub fn key_in(path: &Path) -> std::io::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(key) if key.trim().is_empty() => {
            let text = "it is empty; remove it, and a key is made up";
            return Err(std::io::Error::other(text));
        }
        Ok(key) => return Ok(key.trim().to_string()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut bytes = [0; 32];
    os::random(&mut bytes)?;
    let key = hex(&bytes);
    os::write_new(path, &format!("{key}\n"), 0o600)?;
    Ok(key)
}
