//! `mayfly bench`: how fast MPI is on this machine or platform, as a user's programs would see it.

pub mod rank;

use mayfly::base::trace;
use rank::Benchmark;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, Stdio};

/// Bytes of the points, without `--sizes`.
const SIZES: &[usize] = &[8, 64, 512, 4096, 32_768, 262_144, 1_048_576];

#[derive(clap::Args)]
pub struct Arguments {
    /// Ranks
    #[arg(short, long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    /// Bytes of a message, or of a rank's block in a collective
    #[arg(long, value_delimiter = ',', value_name = "BYTES,BYTES")]
    sizes: Vec<usize>,
    /// Milliseconds a point
    #[arg(long, default_value_t = 40, value_name = "MS")]
    time: u64,
    /// For machines: all points as one JSON document
    #[arg(long)]
    json: bool,
    /// What to measure; all without
    benchmarks: Vec<Benchmark>,
    /// Flags for `mayfly run`, behind `--`
    #[arg(last = true, value_name = "FLAGS")]
    run: Vec<OsString>,
}

/// What to measure, and how.
pub struct Plan<'a> {
    pub ranks: u32,
    pub benchmarks: &'a [Benchmark],
    pub sizes: &'a [usize],
    pub milliseconds: u64,
    /// MAYFLY_LIMITS for the ranks; `None`: what is in our own.
    pub limits: Option<String>,
    /// Of `mayfly run`.
    pub flags: &'a [OsString],
}

/// One result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub benchmark: Benchmark,
    pub bytes: usize,
    /// In the benchmark's unit.
    pub value: f64,
}

/// Starts the ranks and tells `each` of every point as it comes. The error is an exit status; what is wrong has been said.
pub fn measure(plan: &Plan, mut each: impl FnMut(Point)) -> Result<(), i32> {
    let fail = |what: &str, error: std::io::Error| {
        trace::say(&format!("mayfly bench: {what}: {error}"));
        1
    };
    let mayfly = std::env::current_exe().map_err(|e| fail("where this command is", e))?;
    let sizes: Vec<String> = plan.sizes.iter().map(usize::to_string).collect();
    let mut command = Command::new(&mayfly);
    command.arg("run").arg("-n").arg(plan.ranks.to_string());
    command.args(plan.flags);
    command.arg(&mayfly).arg("bench-rank");
    command.args(["--sizes", &sizes.join(","), "--time"]);
    command.arg(plan.milliseconds.to_string());
    command.args(plan.benchmarks.iter().map(|b| b.name()));
    if let Some(limits) = &plan.limits {
        command.env("MAYFLY_LIMITS", limits);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| fail("cannot start the ranks", e))?;
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            match point(&line) {
                Some(point) => each(point),
                None => trace::say(&line),
            }
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.code().unwrap_or(1)),
        Err(error) => Err(fail("the ranks", error)),
    }
}

/// The point that a rank's line tells.
fn point(line: &str) -> Option<Point> {
    use clap::ValueEnum;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, _, bytes, value] = words[..] else {
        return None;
    };
    Some(Point {
        benchmark: Benchmark::from_str(name, false).ok()?,
        bytes: bytes.parse().ok()?,
        value: value.parse().ok()?,
    })
}

/// Runs the subcommand. Gives the exit status.
pub fn main(arguments: &Arguments) -> i32 {
    use clap::ValueEnum;
    let all = Benchmark::value_variants();
    let mut wanted = match arguments.benchmarks.is_empty() {
        true => all.to_vec(),
        false => arguments.benchmarks.clone(),
    };
    if arguments.n < 2 {
        wanted.retain(|b| !b.is_pair());
    }
    if wanted.is_empty() {
        trace::say("mayfly bench: latency and bandwidth need two ranks (-n 2)");
        return 2;
    }
    let sizes = match arguments.sizes.is_empty() {
        true => SIZES,
        false => &arguments.sizes,
    };
    let plan = Plan {
        ranks: arguments.n,
        benchmarks: &wanted,
        sizes,
        milliseconds: arguments.time,
        limits: None,
        flags: &arguments.run,
    };
    let mut points = Vec::new();
    let mut last = None;
    let ended = measure(&plan, |point| {
        if !arguments.json {
            show(&point, last.replace(point.benchmark), arguments.n);
        }
        points.push(point);
    });
    if arguments.json {
        let points: Vec<_> = points.iter().map(json).collect();
        let document = serde_json::json!({ "ranks": arguments.n, "points": points });
        let _ = writeln!(std::io::stdout(), "{document:#}");
    }
    ended.err().unwrap_or(0)
}

fn json(point: &Point) -> serde_json::Value {
    serde_json::json!({
        "benchmark": point.benchmark.name(),
        "bytes": point.bytes,
        "value": point.value,
        "unit": point.benchmark.unit(),
    })
}

/// A line, with a bar that grows by a column from one power of two to the next.
fn show(point: &Point, last: Option<Benchmark>, ranks: u32) {
    let mut out = std::io::stdout();
    let benchmark = point.benchmark;
    if last != Some(benchmark) {
        let _ = writeln!(
            out,
            "\n{}, {ranks} ranks, {}",
            benchmark.name(),
            benchmark.unit()
        );
    }
    let length = (point.value * 4.0).max(1.0).log2().round() as usize;
    let bar = "━".repeat(length.min(40));
    let (colour, plain) = match out.is_terminal() {
        true => ("\x1b[36m", "\x1b[0m"),
        false => ("", ""),
    };
    let _ = writeln!(
        out,
        "{:>12} {:>14.2}  {colour}{bar}{plain}",
        point.bytes, point.value
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ranks_line_tells_a_point() {
        let found = point("reduce_scatter 4 64 1.500").unwrap();
        assert_eq!(
            (found.benchmark, found.bytes, found.value),
            (Benchmark::ReduceScatter, 64, 1.5)
        );
        assert!(point("mayfly: warning").is_none());
        assert!(point("reduce 4 64 fast").is_none() && point("sing 4 64 1").is_none());
    }
}
