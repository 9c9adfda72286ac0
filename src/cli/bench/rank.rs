//! What each rank of `mayfly bench` does: an MPI program that calls the procedures from inside.

use clap::ValueEnum;
use mayfly::base::constant::handle::{BYTE, COMM_WORLD, FLOAT, SUM};
use mayfly::base::error::Result;
use mayfly::mpi::request::Completion;
use mayfly::runtime::process::runtime;
use mayfly::runtime::{calls, Runtime};
use std::io::Write;
use std::time::{Duration, Instant};

/// Messages under way in a measure of bandwidth.
const WINDOW: usize = 64;
/// Batches a point, of which the median is told.
const BATCHES: usize = 5;
/// Bytes of a rank's buffers at most.
const MOST: usize = 256 << 20;

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Benchmark {
    /// Ranks 0 and 1 in turns: microseconds one way
    Latency,
    /// From rank 0 to rank 1, 64 messages under way: megabytes a second
    Bandwidth,
    Barrier,
    Bcast,
    Reduce,
    Allreduce,
    Gather,
    Scatter,
    Allgather,
    Alltoall,
    ReduceScatter,
    Scan,
}

impl Benchmark {
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |v| v.get_name().to_string())
    }

    /// Of two ranks.
    pub fn is_pair(self) -> bool {
        matches!(self, Benchmark::Latency | Benchmark::Bandwidth)
    }

    /// Do buffers hold a block for each rank?
    fn is_wide(self) -> bool {
        use Benchmark::{Allgather, Alltoall, Gather, Scatter};
        matches!(self, Gather | Scatter | Allgather | Alltoall)
    }

    pub fn unit(self) -> &'static str {
        match self {
            Benchmark::Bandwidth => "MB/s",
            _ => "microseconds",
        }
    }
}

/// What the ranks are told to do.
#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<usize>,
    #[arg(long)]
    time: u64,
    #[arg(required = true)]
    benchmarks: Vec<Benchmark>,
}

/// One rank.
struct Rank {
    rt: &'static Runtime,
    rank: i32,
    ranks: usize,
    out: Vec<f32>,
    into: Vec<f32>,
}

/// Runs the subcommand. Gives the exit status.
pub fn main(arguments: &Arguments) -> i32 {
    match measure(arguments) {
        Ok(()) => 0,
        Err(error) => {
            mayfly::base::trace::say(&format!("mayfly bench: {error}"));
            1
        }
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let rt = runtime();
    rt.init(0)?;
    let mut me = Rank {
        rt,
        rank: calls::comm_rank(rt, COMM_WORLD)?,
        ranks: calls::comm_size(rt, COMM_WORLD)? as usize,
        out: Vec::new(),
        into: Vec::new(),
    };
    let limit = Duration::from_millis(arguments.time);
    for &benchmark in &arguments.benchmarks {
        for &bytes in &arguments.sizes {
            let bytes = match benchmark {
                Benchmark::Barrier => 0,
                _ => bytes,
            };
            if let Some(value) = me.point(benchmark, bytes, limit)? {
                if me.rank == 0 {
                    // A reader that has gone does not end the others' work here; its end is noticed elsewhere.
                    let mut out = std::io::stdout();
                    let (name, ranks) = (benchmark.name(), me.ranks);
                    let _ = writeln!(out, "{name} {ranks} {bytes} {value:.3}");
                    let _ = out.flush();
                }
            }
            if benchmark == Benchmark::Barrier {
                break;
            }
        }
    }
    rt.finalize()
}

impl Rank {
    /// A point; `None`: its buffers would be too large.
    fn point(&mut self, what: Benchmark, bytes: usize, limit: Duration) -> Result<Option<f64>> {
        let blocks = if what.is_wide() { self.ranks } else { 1 };
        let used = bytes.max(4).saturating_mul(blocks);
        if used > MOST {
            return Ok(None);
        }
        self.out.clear();
        self.out.resize(used.div_ceil(4), 1.0);
        self.into.clear();
        self.into.resize(used.div_ceil(4), 0.0);
        let once = self.batch(what, bytes, 3)?;
        let rounds = (limit.as_secs_f64() / BATCHES as f64 / once.max(1e-9)) as u32;
        let rounds = rounds.clamp(1, 10_000);
        let mut took = [0.0; BATCHES];
        for slot in &mut took {
            *slot = self.batch(what, bytes, rounds)?;
        }
        took.sort_by(f64::total_cmp);
        let seconds = took[BATCHES / 2];
        Ok(Some(match what {
            Benchmark::Latency => seconds * 1e6 / 2.0,
            Benchmark::Bandwidth => (bytes * WINDOW) as f64 / seconds / 1e6,
            _ => seconds * 1e6,
        }))
    }

    /// So many rounds: seconds a round, of the slowest rank, until all ranks are through: one that left the first barrier late
    /// would find the others' work done.
    fn batch(&mut self, what: Benchmark, bytes: usize, rounds: u32) -> Result<f64> {
        calls::barrier(self.rt, COMM_WORLD)?;
        let begin = Instant::now();
        for _ in 0..rounds {
            self.once(what, bytes as i64)?;
        }
        if !what.is_pair() {
            calls::barrier(self.rt, COMM_WORLD)?;
        }
        let mine = match what.is_pair() && self.rank > 1 {
            true => 0.0,
            false => (begin.elapsed().as_secs_f64() / f64::from(rounds)) as f32,
        };
        let mut all = vec![mine; self.ranks];
        let (mut own, into) = (mine, all.as_mut_ptr().cast());
        let out = std::ptr::from_mut(&mut own).cast();
        calls::allgather(self.rt, out, 1, FLOAT, into, 1, FLOAT, COMM_WORLD)?;
        Ok(f64::from(all.iter().copied().fold(0.0, f32::max)))
    }

    fn once(&mut self, what: Benchmark, bytes: i64) -> Result<()> {
        let (rt, world) = (self.rt, COMM_WORLD);
        let (out, into): (*mut u8, *mut u8) =
            (self.out.as_mut_ptr().cast(), self.into.as_mut_ptr().cast());
        let floats = bytes / 4;
        match what {
            Benchmark::Latency => self.turn(out, into, bytes),
            Benchmark::Bandwidth => self.flood(out, into, bytes),
            Benchmark::Barrier => calls::barrier(rt, world),
            Benchmark::Bcast => calls::bcast(rt, out, bytes, BYTE, 0, world),
            Benchmark::Reduce => calls::reduce(rt, out, into, floats, FLOAT, SUM, 0, world),
            Benchmark::Allreduce => calls::allreduce(rt, out, into, floats, FLOAT, SUM, world),
            Benchmark::Gather => calls::gather(rt, out, bytes, BYTE, into, bytes, BYTE, 0, world),
            Benchmark::Scatter => calls::scatter(rt, out, bytes, BYTE, into, bytes, BYTE, 0, world),
            Benchmark::Allgather => {
                calls::allgather(rt, out, bytes, BYTE, into, bytes, BYTE, world)
            }
            Benchmark::Alltoall => calls::alltoall(rt, out, bytes, BYTE, into, bytes, BYTE, world),
            Benchmark::ReduceScatter => {
                let (ranks, floats) = (self.ranks as i64, floats);
                let part = |i| floats / ranks + i64::from(i < floats % ranks);
                let counts: Vec<i64> = (0..ranks).map(part).collect();
                calls::reduce_scatter(rt, out, into, &counts, FLOAT, SUM, world)
            }
            Benchmark::Scan => calls::scan(rt, out, into, floats, FLOAT, SUM, world),
        }
    }

    fn turn(&self, out: *mut u8, into: *mut u8, bytes: i64) -> Result<()> {
        let rt = self.rt;
        if self.rank == 0 {
            calls::send(rt, out, bytes, BYTE, 1, 1, COMM_WORLD)?;
            calls::recv(rt, into, bytes, BYTE, 1, 1, COMM_WORLD)?;
        } else if self.rank == 1 {
            calls::recv(rt, into, bytes, BYTE, 0, 1, COMM_WORLD)?;
            calls::send(rt, out, bytes, BYTE, 0, 1, COMM_WORLD)?;
        }
        Ok(())
    }

    fn flood(&self, out: *mut u8, into: *mut u8, bytes: i64) -> Result<()> {
        let rt = self.rt;
        if self.rank > 1 {
            return Ok(());
        }
        let request = |_| match self.rank {
            0 => calls::isend(rt, out, bytes, BYTE, 1, 2, COMM_WORLD),
            _ => calls::irecv(rt, into, bytes, BYTE, 0, 2, COMM_WORLD),
        };
        let requests = (0..WINDOW).map(request).collect::<Result<Vec<_>>>()?;
        let mut end = Ok(());
        calls::waitall(rt, requests.as_slice(), &mut |_, one: Completion| {
            if let Some(error) = one.error {
                end = Err(error);
            }
        })?;
        end?;
        let mut answer = 0u8;
        let answer = std::ptr::from_mut(&mut answer);
        match self.rank {
            0 => calls::recv(rt, answer, 1, BYTE, 1, 3, COMM_WORLD).map(drop),
            _ => calls::send(rt, answer, 1, BYTE, 0, 3, COMM_WORLD),
        }
    }
}
