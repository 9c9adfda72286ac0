//! `mayfly ps`, `mayfly logs` and `mayfly kill`: the jobs of a `mayfly serve`.

use mayfly::base::trace;
use mayfly::rendezvous::operator::Operator;
use mayfly::rendezvous::place::Place;
use mayfly::rendezvous::server::JobStatus;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Which rendezvous, and what lets us in.
#[derive(clap::Args)]
pub struct There {
    /// The rendezvous: https://HOST:PORT#PIN, http://HOST:PORT or HOST:PORT. Without this flag: the variable
    /// MAYFLY_RENDEZVOUS
    #[arg(long, value_name = "URL")]
    rendezvous: Option<String>,
    /// The operator's key. Without this flag: the variable MAYFLY_OPERATOR_KEY
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

#[derive(clap::Args)]
pub struct Ps {
    #[command(flatten)]
    there: There,
    /// All that is known, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct Logs {
    #[command(flatten)]
    there: There,
    /// Its first digits are enough
    job: String,
    /// Goes on until the job has ended
    #[arg(short, long)]
    follow: bool,
}

#[derive(clap::Args)]
pub struct Kill {
    #[command(flatten)]
    there: There,
    /// Their first digits are enough
    #[arg(required = true)]
    jobs: Vec<String>,
}

impl There {
    fn operator(&self) -> Result<Operator, String> {
        let url = match &self.rendezvous {
            Some(url) => url.clone(),
            None => std::env::var("MAYFLY_RENDEZVOUS").unwrap_or_default(),
        };
        if url.is_empty() {
            return Err("which rendezvous? Give --rendezvous URL or MAYFLY_RENDEZVOUS".into());
        }
        let key = match &self.key_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|e| format!("--key-file {}: {e}", path.display()))?,
            None => std::env::var("MAYFLY_OPERATOR_KEY").unwrap_or_default(),
        };
        if key.trim().is_empty() {
            return Err(
                "give the operator's key, in --key-file FILE or MAYFLY_OPERATOR_KEY".into(),
            );
        }
        Operator::new(Place::parse(&url)?, key.trim().to_string())
    }
}

pub fn ps(arguments: &Ps) -> i32 {
    command("ps", || async {
        let jobs = arguments.there.operator()?.list().await?;
        if arguments.json {
            let text = serde_json::to_string_pretty(&jobs).map_err(|e| e.to_string())?;
            return say(format!("{text}\n").as_bytes());
        }
        say(table(&jobs, std::io::stdout().is_terminal()).as_bytes())
    })
}

pub fn logs(arguments: &Logs) -> i32 {
    command("logs", || async {
        let operator = arguments.there.operator()?;
        let job = whole(&operator, &arguments.job).await?;
        let mut from = 0;
        loop {
            let piece = operator.log(&job, from).await?;
            if piece.lost > 0 {
                trace::say(&format!(
                    "mayfly logs: {} bytes before this are not kept",
                    piece.lost
                ));
            }
            say(&piece.bytes)?;
            if piece.ended || !arguments.follow {
                return Ok(());
            }
            from = piece.next;
            tokio::time::sleep(LOOK).await;
        }
    })
}

pub fn kill(arguments: &Kill) -> i32 {
    command("kill", || async {
        let operator = arguments.there.operator()?;
        for job in &arguments.jobs {
            let job = whole(&operator, job).await?;
            operator.end(&job).await?;
            say(format!("{job}\n").as_bytes())?;
        }
        Ok(())
    })
}

/// Runs it to its end; gives the exit status.
fn command<F: std::future::Future<Output = Result<(), String>>>(
    name: &str,
    work: impl FnOnce() -> F,
) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(work()),
        Err(e) => Err(e.to_string()),
    };
    match done {
        Ok(()) => 0,
        Err(text) => {
            trace::say(&format!("mayfly {name}: {text}"));
            1
        }
    }
}

/// The job whose name begins like this.
async fn whole(operator: &Operator, begins: &str) -> Result<String, String> {
    let begins = begins.to_ascii_lowercase();
    if begins.len() == 32 {
        return Ok(begins);
    }
    let jobs = operator.list().await?;
    let mut alike = jobs.iter().filter(|job| job.job.starts_with(&begins));
    match (alike.next(), alike.next()) {
        (Some(job), None) => Ok(job.job.clone()),
        (None, _) => Err(format!("no job begins with {begins}; see mayfly ps")),
        (Some(_), Some(_)) => Err(format!("more than one job begins with {begins}")),
    }
}

fn say(bytes: &[u8]) -> Result<(), String> {
    let mut out = std::io::stdout();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // Who reads us has seen enough.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|e| format!("standard output: {e}")),
    }
}

/// For people.
fn table(jobs: &[JobStatus], colours: bool) -> String {
    let mut rows = vec![["JOB", "NAME", "RANKS", "INSTANCES", "AGE", "STATE"].map(String::from)];
    for job in jobs {
        let instances = job.size.div_ceil(job.per_instance.max(1));
        let words = match (&job.code, &job.text) {
            (Some(code), Some(text)) => format!("{}, code {code}: {text}", job.state),
            _ => job.state.clone(),
        };
        let hosts = match job.hosts {
            0 => "-".into(),
            hosts => format!("{hosts}/{instances}"),
        };
        rows.push([
            job.job.chars().take(12).collect(),
            if job.name.is_empty() {
                "-".into()
            } else {
                job.name.clone()
            },
            format!("{}/{}", job.joined, job.size),
            hosts,
            age(job.age_s),
            words,
        ]);
    }
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for (at, row) in rows.iter().enumerate() {
        let colour = match (colours, at, row[5].split(',').next()) {
            (false, ..) => "",
            (_, 0, _) => "\x1b[1m",
            (_, _, Some("running")) => "\x1b[32m",
            (_, _, Some("aborted")) => "\x1b[31m",
            _ => "",
        };
        let cells = row.iter().zip(widths).take(5);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        let end = if colour.is_empty() { "" } else { "\x1b[0m" };
        out += &format!("{}  {colour}{}{end}\n", cells.join("  "), row[5]);
    }
    out
}

/// Seconds for people.
fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: &str, code: Option<i32>, text: Option<&str>) -> JobStatus {
        JobStatus {
            job: "0123456789abcdef0123456789abcdef".into(),
            name: String::new(),
            size: 8,
            per_instance: 3,
            joined: 2,
            finished: 0,
            hosts: 1,
            age_s: 125,
            state: state.into(),
            code,
            text: text.map(String::from),
        }
    }

    #[test]
    fn a_table_has_its_columns_below_each_other_and_colours_only_when_asked() {
        let jobs = [
            job("running", None, None),
            job("aborted", Some(3), Some("why")),
        ];
        assert_eq!(
            table(&jobs, false),
            "JOB           NAME  RANKS  INSTANCES  AGE    STATE\n\
             0123456789ab  -     2/8    1/3        2 min  running\n\
             0123456789ab  -     2/8    1/3        2 min  aborted, code 3: why\n"
        );
        assert!(table(&jobs, true).contains("\x1b[31maborted"));
        assert_eq!(table(&[], false).lines().count(), 1);
    }

    #[test]
    fn ages_are_short() {
        let said = [0, 119, 120, 7_200, 172_800].map(age);
        assert_eq!(said, ["0 s", "119 s", "2 min", "2 h", "2 d"]);
    }
}
