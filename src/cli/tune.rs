//! `mayfly tune`: from which size on which algorithm of a collective is the faster one here, measured.

use super::bench::rank::Benchmark;
use super::bench::{self, Plan, Point};
use mayfly::base::config::config;
use mayfly::base::trace;
use mayfly::mpi::boards::MOST;
use mayfly::mpi::collective::limits::Limits;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// Bytes that are tried.
const SIZES: [usize; 9] = [
    64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304,
];
/// A limit stays what it is unless another is better by this factor, over all sizes.
const WORTH: f64 = 1.02;

#[derive(clap::Args)]
pub struct Arguments {
    /// Ranks: as many as the programs have
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..))]
    n: u32,
    /// Milliseconds a point
    #[arg(long, default_value_t = 40, value_name = "MS")]
    time: u64,
    /// Bytes that are tried, in rising order
    #[arg(long, value_delimiter = ',', value_name = "BYTES,BYTES", default_values_t = SIZES)]
    sizes: Vec<usize>,
    /// Times that everything is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Where the limits are written, for `mayfly run --limits FILE`; without it they are only shown
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Flags for `mayfly run`, behind `--`
    #[arg(last = true, value_name = "FLAGS")]
    run: Vec<OsString>,
}

/// For whom the limits are.
#[derive(Clone, Copy)]
struct Job {
    ranks: u32,
    /// All on one machine, ...
    near: bool,
    /// and more than its processors.
    crowded: bool,
    /// Their blocking collectives go by boards.
    boards: bool,
}

/// A limit, and what shows where it had better be.
struct Knob {
    limit: &'static str,
    benchmark: Benchmark,
    /// The limit counts the bytes of all ranks.
    total: bool,
    /// The other algorithm is for what is up to the limit, not from it on.
    up_to: bool,
    /// Does it matter to these ranks?
    matters: fn(Job) -> bool,
}

const fn from(limit: &'static str, benchmark: Benchmark, matters: fn(Job) -> bool) -> Knob {
    Knob {
        limit,
        benchmark,
        total: false,
        up_to: false,
        matters,
    }
}

const fn up_to(limit: &'static str, benchmark: Benchmark, matters: fn(Job) -> bool) -> Knob {
    Knob {
        up_to: true,
        ..from(limit, benchmark, matters)
    }
}

const KNOBS: &[Knob] = &[
    from("bcast_split", Benchmark::Bcast, |j| {
        !j.boards && j.ranks >= 4 && !j.crowded
    }),
    up_to("tree_block", Benchmark::Gather, |j| {
        !j.boards && j.ranks >= 4 && !j.crowded
    }),
    Knob {
        total: true,
        ..from("allgather_ring", Benchmark::Allgather, |j| {
            !j.boards && j.ranks > 2
        })
    },
    up_to("alltoall_forward", Benchmark::Alltoall, |j| {
        !j.boards && j.ranks >= 8
    }),
    from("reduce_split", Benchmark::Allreduce, |j| {
        !j.boards && !j.crowded
    }),
    from("crowded_split", Benchmark::Reduce, |j| {
        !j.boards && j.crowded
    }),
    from("allreduce_ring", Benchmark::Allreduce, |j| {
        !j.boards && j.ranks.is_power_of_two() && j.ranks > 2
    }),
    from("allreduce_ring_odd", Benchmark::Allreduce, |j| {
        !j.boards && !j.ranks.is_power_of_two()
    }),
    from("scatter_pairs", Benchmark::ReduceScatter, |j| {
        !j.boards && j.ranks > 2
    }),
    from("scan_chain", Benchmark::Scan, |j| {
        !j.boards && !j.crowded && j.ranks > if j.near { 8 } else { 2 }
    }),
    up_to("board_here", Benchmark::Allgather, |j| {
        j.boards && !j.crowded
    }),
    up_to("board_root", Benchmark::Bcast, |j| j.boards),
    from("board_most", Benchmark::Bcast, |j| j.boards && !j.crowded),
    up_to("board_whole", Benchmark::Allreduce, |j| j.boards),
    up_to("board_reduce", Benchmark::Reduce, |j| j.boards),
];

/// Times by size, of the algorithm below a limit and of the one above.
type Times = BTreeMap<usize, (Vec<f64>, Vec<f64>)>;

/// The best limit for these times: a size from which on the second algorithm is taken, or `None`: never. And by which
/// factor it is better than `now`, by the geometric mean over the sizes.
fn best(times: &Times, now: Option<usize>) -> (Option<usize>, f64) {
    let median = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(1.0)
    };
    let cost = |limit: Option<usize>| -> f64 {
        let of = |(&size, (below, above)): (&usize, &(Vec<f64>, Vec<f64>))| {
            let above_it = limit.is_some_and(|limit| size >= limit);
            median(if above_it { above } else { below }).max(1e-3).ln()
        };
        times.iter().map(of).sum()
    };
    let tried = times.keys().copied().map(Some).chain([None]);
    let found = tried.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).flatten();
    let gain = (cost(now) - cost(found)) / times.len().max(1) as f64;
    (found, gain.exp())
}

impl Knob {
    /// MAYFLY_LIMITS under which the second algorithm is always taken, or never.
    fn forced(&self, always: bool) -> String {
        let value = if always == self.up_to { u64::MAX } else { 0 };
        format!("{}={value}", self.limit)
    }

    /// The limit's number for a change at this size of the benchmark; and back.
    fn number(&self, from: Option<usize>, ranks: u32) -> u64 {
        let factor = if self.total { u64::from(ranks) } else { 1 };
        match (from, self.up_to) {
            (Some(size), false) => size as u64 * factor,
            (None, false) => u64::MAX,
            // Up to the size before, and what lies between: half way, by the powers.
            (Some(size), true) => size as u64 / 2,
            (None, true) => u64::MAX,
        }
    }

    fn size(&self, number: u64, sizes: &[usize], ranks: u32) -> Option<usize> {
        let factor = if self.total { u64::from(ranks) } else { 1 };
        sizes.iter().copied().find(|&size| match self.up_to {
            true => size as u64 > number,
            false => size as u64 * factor >= number,
        })
    }
}

/// Runs the subcommand. Gives the exit status.
pub fn main(arguments: &Arguments) -> i32 {
    let mut changes = Vec::new();
    let near = !arguments.run.iter().any(|flag| flag == "--on");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let job = Job {
        ranks: arguments.n,
        near,
        crowded: near && arguments.n as usize > cores,
        boards: near && arguments.n <= MOST && config().boards > 0,
    };
    let matters = |knob: &&Knob| (knob.matters)(job);
    let (knobs, idle): (Vec<&Knob>, Vec<&Knob>) = KNOBS.iter().partition(matters);
    for (at, knob) in knobs.iter().enumerate() {
        if std::io::stderr().is_terminal() {
            let _ = write!(
                std::io::stderr(),
                "\r{} of {}: {:<20}",
                at + 1,
                knobs.len(),
                knob.limit
            );
        }
        let times = match times(arguments, knob) {
            Ok(times) => times,
            Err(status) => return status,
        };
        let default = Limits::DEFAULT.number(knob.limit).unwrap_or(0);
        let now = knob.size(default, &arguments.sizes, arguments.n);
        let (found, gain) = best(&times, now);
        if found != now && gain >= WORTH {
            changes.push((knob, found, gain, default));
        }
    }
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r{:40}\r", "");
    }
    let mut text = format!(
        "# mayfly tune -n {}: limits of collectives, for mayfly run --limits\n",
        arguments.n
    );
    for (knob, found, gain, default) in &changes {
        let number = knob.number(*found, arguments.n);
        text += &format!(
            "# {}: {:.0} % quicker than with {default}\n{}={number}\n",
            knob.benchmark.name(),
            (gain - 1.0) * 100.0,
            knob.limit
        );
    }
    if !idle.is_empty() {
        let names: Vec<&str> = idle.iter().map(|knob| knob.limit).collect();
        text += &format!(
            "# without effect for so many ranks here: {}\n",
            names.join(", ")
        );
    }
    if changes.is_empty() {
        text += "# nothing here is better than the limits that are built in\n";
    }
    let _ = write!(std::io::stdout(), "{text}");
    match &arguments.save {
        None => 0,
        Some(file) => match std::fs::write(file, text) {
            Ok(()) => 0,
            Err(error) => {
                trace::say(&format!("mayfly tune: {}: {error}", file.display()));
                1
            }
        },
    }
}

/// Measures both algorithms of a limit, in turns.
fn times(arguments: &Arguments, knob: &Knob) -> Result<Times, i32> {
    let mut times = Times::new();
    for _ in 0..arguments.rounds {
        for always in [false, true] {
            let plan = Plan {
                ranks: arguments.n,
                benchmarks: &[knob.benchmark],
                sizes: &arguments.sizes,
                milliseconds: arguments.time,
                limits: Some(knob.forced(always)),
                flags: &arguments.run,
            };
            bench::measure(&plan, |Point { bytes, value, .. }| {
                // Up to the limit the second algorithm is taken: it is the one of what lies below.
                let both = times.entry(bytes).or_default();
                match always != knob.up_to {
                    true => both.1.push(value),
                    false => both.0.push(value),
                }
            })?;
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times_of(points: &[(usize, f64, f64)]) -> Times {
        let entry = |&(size, below, above): &(usize, f64, f64)| (size, (vec![below], vec![above]));
        points.iter().map(entry).collect()
    }

    #[test]
    fn the_limit_lies_where_the_second_becomes_the_quicker_one() {
        let times = times_of(&[
            (64, 1.0, 2.0),
            (256, 2.0, 2.1),
            (1024, 8.0, 4.0),
            (4096, 32.0, 8.0),
        ]);
        assert_eq!(best(&times, Some(1024)), (Some(1024), 1.0));
        let (found, gain) = best(&times, None);
        assert_eq!(found, Some(1024));
        assert!((gain - 8f64.powf(0.25)).abs() < 1e-9);
        let never = times_of(&[(64, 1.0, 2.0), (256, 2.0, 3.0)]);
        assert_eq!(best(&never, Some(64)).0, None);
    }

    #[test]
    fn a_number_means_the_size_that_it_was_made_of() {
        for knob in KNOBS {
            assert!(
                Limits::DEFAULT.number(knob.limit).is_some(),
                "{}",
                knob.limit
            );
            for from in SIZES.iter().copied().map(Some).chain([None]) {
                assert_eq!(
                    knob.size(knob.number(from, 4), &SIZES, 4),
                    from,
                    "{}",
                    knob.limit
                );
            }
        }
        assert_eq!(
            from("bcast_split", Benchmark::Bcast, |_| true).forced(true),
            "bcast_split=0"
        );
        let up = up_to("tree_block", Benchmark::Gather, |_| true);
        assert_eq!(up.forced(true), format!("tree_block={}", u64::MAX));
        assert_eq!(up.forced(false), "tree_block=0");
    }
}
