//! `mayfly run`: starts the ranks of a job, on this machine or elsewhere.

mod flags;
pub mod words;

use mayfly::base::trace;
use mayfly::platform::{launch, remote};
use std::ffi::OsString;
use std::io::Write;

const USAGE: &str = "\
usage: mayfly run [FLAGS] PROGRAM [ARGUMENTS] [: [FLAGS] PROGRAM [ARGUMENTS]]...

Flags may begin with one dash or two; those of mpiexec (MPICH) and of mpirun (Open MPI) mean the same here.
  -n, -np N                  ranks of this program (1)
  -x NAME[=VALUE]            sets a variable for all ranks (without a value: passes ours on)
  -genv NAME VALUE           sets a variable for all ranks; -env: for this program's ranks
  -genvlist, -envlist A,B    only these of our variables; -genvall, -envall: all (as ever); -genvnone, -envnone: none
  -wdir FOLDER               the ranks' working folder
  -l, -prepend-rank, --tag-output
                             [RANK] before every line of output
  -outfile-pattern FILE      standard output into files; %r is the rank; also -errfile-pattern
  -stdin 0|N|all|none        which rank reads standard input (0)
  --timeout SECONDS          ends the job after this time, with status 124
  -configfile, --app FILE    one program with its flags a line
  --limits FILE              limits of collectives that `mayfly tune` has written
  -usize N                   MPI_UNIVERSE_SIZE (the number of ranks)
  --rendezvous https://HOST:PORT#PIN
                             a running `mayfly serve` (the address that it prints), whose operator's key is in
                             MAYFLY_OPERATOR_KEY or --key-file FILE
  --on PLATFORM              ranks elsewhere, see below
Accepted without effect: -ppn, -N, -npernode, --oversubscribe, --bind-to, --map-by, --rank-by, --allow-run-as-root, --mca.

Mayfly's libraries are taken from MAYFLY_LIBRARIES, or from ../lib/mayfly beside the command.
The exit status is that of the first rank that failed, 128 + N when signal N killed it.";

const USAGE_ON: &str = "\
Ranks elsewhere: mayfly run -n N --on PLATFORM [FLAGS] PROGRAM [ARGUMENTS]...

PROGRAM is a name in the package that the instances run, or a path in them.
  --on lambda:NAME[:QUALIFIER] | lambda:ARN
                             AWS Lambda; credentials, region and endpoint as for the aws command
  --on http://... | https://...
                             one POST an instance: Knative, Cloud Run, Azure, Fission, Nuclio
  --on openfaas:NAME         OpenFaaS; gateway in OPENFAAS_URL
  --on openwhisk:ACTION      Apache OpenWhisk; host and key of the wsk command
  --on kubernetes:[NAMESPACE/]image=IMAGE
                             an Indexed Job; --dry-run prints its manifest
  --on file:PATH             writes the start there; you start `mayfly host` with MAYFLY_START_FILE=PATH and MAYFLY_INDEX=0, 1, ...
                             (containers by hand, Slurm's srun, Cloud Run jobs)
  --on local                 this machine, as ever
  -per-instance P            ranks in each instance (1); -ppn means the same
  --with NAME=VALUE          something for the platform to know (an unknown name tells which there are)
  --rendezvous https://HOST:PORT#PIN
                             where they meet: a running `mayfly serve`; the operator's key as for ranks here
  --listen HOST:PORT --advertise HOST[:PORT]
                             or: where we listen, and under which name instances find us (TLS unless loopback)
  --join-timeout SECONDS     how long the instances may take to arrive (each platform has a usual time)
  --timeout SECONDS          ends the job after this time, counted from the first start
  --sync                     waits for each answer of the platform (Lambda; default: asynchronous starts)
  --price                    prints an estimate before and the bill after; --prices FILE: other prices
  -wdir FOLDER, -x, -genv    are about the instances; of our own variables only those named go along";

/// Runs the subcommand; `arguments` are those after `run`. Gives the exit status.
pub fn main(arguments: Vec<OsString>) -> i32 {
    let parsed = match flags::parse(arguments) {
        Ok(parsed) => parsed,
        Err(flags::Wrong::Help) => {
            let _ = writeln!(std::io::stdout(), "{USAGE}\n\n{USAGE_ON}");
            return 0;
        }
        Err(flags::Wrong::Version) => {
            let _ = writeln!(std::io::stdout(), "mayfly {}", env!("CARGO_PKG_VERSION"));
            return 0;
        }
        Err(flags::Wrong::Text(text)) => {
            trace::say(&format!("mayfly: {text}"));
            return 2;
        }
    };
    for notice in &parsed.notices {
        mayfly::info!("{notice}");
    }
    let ended = match &parsed.remote {
        Some(plan) => remote::run(plan),
        None => launch::run(&parsed.plan),
    };
    match ended {
        Ok(status) => status,
        Err(refusal) => {
            trace::say(&format!("mayfly: {}", refusal.text));
            refusal.status
        }
    }
}
