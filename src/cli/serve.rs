//! `mayfly serve`: a rendezvous of its own, for ranks that run anywhere.

use mayfly::base::os;
use mayfly::rendezvous::message::hex;
use mayfly::rendezvous::server::{Options, Service};
use std::io::Write;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Arguments {
    /// Where to listen; port 0: any free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7717")]
    listen: String,
    /// The operator's key, which opens jobs; made up and written there when the file does not exist. Without this
    /// flag: the variable MAYFLY_OPERATOR_KEY
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Logs only refusals and troubles
    #[arg(long)]
    quiet: bool,
}

/// Serves until SIGINT or SIGTERM; gives the exit status.
pub fn main(arguments: &Arguments) -> i32 {
    match serve(arguments) {
        Ok(()) => 0,
        Err(text) => {
            eprintln!("mayfly serve: {text}");
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
    let listen = &arguments.listen;
    let addresses = listen
        .to_socket_addrs()
        .map_err(|e| format!("{listen}: {e}"))?;
    let addresses: Vec<_> = addresses.collect();
    let listener =
        TcpListener::bind(&addresses[..]).map_err(|e| format!("cannot listen on {listen}: {e}"))?;
    mayfly::platform::launch::hold_signals();
    let options = Options {
        operator_key: Some(key),
        verbose: !arguments.quiet,
        ..Options::default()
    };
    let service =
        Service::start(listener, options, Box::new(|_, _| {})).map_err(|e| e.to_string())?;
    let mut out = std::io::stdout();
    let _ = writeln!(
        out,
        "mayfly serve: listening on http://{}",
        service.address()
    )
    .and_then(|()| out.flush());
    let signal = mayfly::platform::launch::wait_for_end();
    if !arguments.quiet {
        eprintln!("mayfly serve: ended by signal {signal}");
    }
    drop(service);
    Ok(())
}

/// The key in a file; where there is none, a new one, for our eyes only.
fn key_in(path: &Path) -> std::io::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(key) => return Ok(key.trim().to_string()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut bytes = [0; 32];
    os::random(&mut bytes)?;
    let key = hex(&bytes);
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{key}")?;
    Ok(key)
}
