//! `mayfly host`: runs ranks in an instance of a platform. The executable of a function is this command under the name
//! `bootstrap`.

use mayfly::base::trace;
use mayfly::platform::host::{self, Contract};
use std::time::Duration;

#[derive(clap::Args, Default)]
pub struct Arguments {
    /// How the platform hands over starts: lambda, http, knative, cloud-run, openfaas, fission, nuclio, azure, openwhisk,
    /// index (also: the variable MAYFLY_CONTRACT); without it, the environment tells
    #[arg(long, value_name = "NAME")]
    contract: Option<String>,
    /// Where to listen for requests [default: all addresses, at $PORT or the contract's port]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// How long the platform lets one start run, where it does not say so itself (also: the variable MAYFLY_LIMIT); ten
    /// seconds before the end the ranks get SIGTERM
    #[arg(long, value_name = "SECONDS")]
    limit: Option<String>,
}

/// Serves starts until the platform ends us; gives the exit status.
pub fn main(arguments: &Arguments) -> i32 {
    match options(arguments) {
        Ok(options) => host::run(options),
        Err(text) => {
            trace::say(&format!("mayfly host: {text}"));
            2
        }
    }
}

fn options(arguments: &Arguments) -> Result<host::Options, String> {
    // Some platforms let one set variables of an image, but not its command.
    let named = arguments.contract.clone();
    let named = named.or_else(|| std::env::var("MAYFLY_CONTRACT").ok());
    let contract = match named.filter(|name| !name.is_empty()) {
        None => None,
        Some(name) => Some(Contract::named(&name).ok_or_else(|| {
            let known: Vec<_> = Contract::NAMES.iter().map(|(name, _)| *name).collect();
            format!("--contract {name}: unknown; known: {}", known.join(", "))
        })?),
    };
    let limit = arguments
        .limit
        .clone()
        .or_else(|| std::env::var("MAYFLY_LIMIT").ok());
    let limit = match limit.as_deref().map(str::trim) {
        None | Some("") => None,
        Some(text) => {
            let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
            let limit = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
            Some(limit.ok_or_else(|| format!("--limit {text}: is no number of seconds"))?)
        }
    };
    Ok(host::Options {
        contract,
        listen: arguments.listen.clone(),
        limit,
    })
}
