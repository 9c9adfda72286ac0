//! The `mayfly` command.

mod bench;
mod host;
mod inspect;
mod jobs;
mod pack;
mod relay;
mod run;
mod serve;
mod tune;

use clap::{CommandFactory, Parser, Subcommand};

/// Runs unmodified MPI programs inside serverless functions.
#[derive(Parser)]
#[command(name = "mayfly", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts an MPI program: mayfly run -n 4 ./program (flags as of mpiexec and mpirun)
    #[command(disable_help_flag = true)]
    Run {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Runs a rendezvous where the ranks of jobs meet
    Serve(serve::Arguments),
    /// Runs a relay for ranks that cannot reach each other
    Relay(relay::Arguments),
    /// Lists the jobs of a rendezvous
    Ps(jobs::Ps),
    /// Shows what the ranks of a job at a rendezvous wrote
    Logs(jobs::Logs),
    /// Ends jobs at a rendezvous
    Kill(jobs::Kill),
    /// Runs ranks in an instance of a platform; what a packed function does when it is started
    Host(host::Arguments),
    /// Turns a program into a function: a zip, an OCI image or a Kubernetes manifest
    Pack(pack::Arguments),
    /// Measures latency, bandwidth and collectives here: mayfly bench -n 4 allreduce
    Bench(bench::Arguments),
    /// Finds out which algorithms of collectives are the faster ones here
    Tune(tune::Arguments),
    /// One rank of `bench`
    #[command(hide = true)]
    BenchRank(bench::rank::Arguments),
    /// Tells which MPI a program was built for and whether it can run here
    #[command(disable_help_flag = true)]
    Inspect {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Has this command been started as a function's executable? Images may give that an argument (a handler's name), which
/// means nothing to us, unless it is one of our own.
fn is_bootstrap(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> bool {
    let name = arguments.next().unwrap_or_default();
    let ours = |word: std::ffi::OsString| {
        let known = |command: &clap::Command| *command.get_name() == word;
        word.to_string_lossy().starts_with('-')
            || word == "help"
            || Arguments::command().get_subcommands().any(known)
    };
    std::path::Path::new(&name).file_name() == Some("bootstrap".as_ref())
        && !arguments.next().is_some_and(ours)
}

fn main() {
    if is_bootstrap(std::env::args_os()) {
        std::process::exit(host::main(&host::Arguments::default()));
    }
    let status = match Arguments::parse().command {
        Command::Run { arguments } => run::main(arguments),
        Command::Serve(arguments) => serve::main(&arguments),
        Command::Relay(arguments) => relay::main(&arguments),
        Command::Ps(arguments) => jobs::ps(&arguments),
        Command::Logs(arguments) => jobs::logs(&arguments),
        Command::Kill(arguments) => jobs::kill(&arguments),
        Command::Host(arguments) => host::main(&arguments),
        Command::Pack(arguments) => pack::main(&arguments),
        Command::Bench(arguments) => bench::main(&arguments),
        Command::Tune(arguments) => tune::main(&arguments),
        Command::BenchRank(arguments) => bench::rank::main(&arguments),
        Command::Inspect { arguments } => inspect::main(&arguments),
    };
    std::process::exit(status);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_functions_executable_is_a_host() {
        let is = |words: &[&str]| is_bootstrap(words.iter().map(std::ffi::OsString::from));
        assert!(is(&["/var/task/bootstrap"]) && is(&["bootstrap", "app.handler"]));
        assert!(!is(&["bootstrap", "run"]) && !is(&["bootstrap", "--help"]));
        assert!(!is(&["/usr/bin/mayfly"]) && !is(&["mayfly", "bootstrap"]) && !is(&[]));
    }
}
