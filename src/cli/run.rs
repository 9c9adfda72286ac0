//! `mayfly run`: starts the ranks of a job on this machine.

mod flags;
pub mod words;

use mayfly::platform::launch;
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
  -usize N                   MPI_UNIVERSE_SIZE (the number of ranks)
  --rendezvous HOST:PORT     a running `mayfly serve`, whose operator's key is in MAYFLY_OPERATOR_KEY or --key-file FILE
Accepted without effect: -ppn, -N, -npernode, --oversubscribe, --bind-to, --map-by, --rank-by, --allow-run-as-root, --mca.

Mayfly's libraries are taken from MAYFLY_LIBRARIES, or from ../lib/mayfly beside the command.
The exit status is that of the first rank that failed, 128 + N when signal N killed it.";

/// Runs the subcommand; `arguments` are those after `run`. Gives the exit status.
pub fn main(arguments: Vec<OsString>) -> i32 {
    let parsed = match flags::parse(arguments) {
        Ok(parsed) => parsed,
        Err(flags::Wrong::Help) => {
            let _ = writeln!(std::io::stdout(), "{USAGE}");
            return 0;
        }
        Err(flags::Wrong::Version) => {
            let _ = writeln!(std::io::stdout(), "mayfly {}", env!("CARGO_PKG_VERSION"));
            return 0;
        }
        Err(flags::Wrong::Text(text)) => {
            eprintln!("mayfly: {text}");
            return 2;
        }
    };
    for notice in &parsed.notices {
        mayfly::info!("{notice}");
    }
    match launch::run(&parsed.plan) {
        Ok(status) => status,
        Err(refusal) => {
            eprintln!("mayfly: {}", refusal.text);
            refusal.status
        }
    }
}
