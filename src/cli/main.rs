//! The `mayfly` command.

mod inspect;
mod jobs;
mod pack;
mod relay;
mod run;
mod serve;

use clap::{Parser, Subcommand};

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
    /// Turns a program into a function: a zip, an OCI image or a Kubernetes manifest
    Pack(pack::Arguments),
    /// Tells which MPI a program was built for and whether it can run here
    #[command(disable_help_flag = true)]
    Inspect {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() {
    let status = match Arguments::parse().command {
        Command::Run { arguments } => run::main(arguments),
        Command::Serve(arguments) => serve::main(&arguments),
        Command::Relay(arguments) => relay::main(&arguments),
        Command::Ps(arguments) => jobs::ps(&arguments),
        Command::Logs(arguments) => jobs::logs(&arguments),
        Command::Kill(arguments) => jobs::kill(&arguments),
        Command::Pack(arguments) => pack::main(&arguments),
        Command::Inspect { arguments } => inspect::main(&arguments),
    };
    std::process::exit(status);
}
