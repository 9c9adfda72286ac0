//! What a launch costs: an estimate before, a bill after, from a dated list of prices.

use super::{Ready, Wish};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// The list that comes with this program.
const OWN: &str = include_str!("prices.toml");

/// Prices by platform.
#[derive(Deserialize)]
pub struct Prices {
    /// The day on which they were looked up.
    as_of: String,
    #[serde(flatten)]
    tariffs: HashMap<String, Tariff>,
}

/// What one platform asks for, US dollars. See prices.toml for the fields.
#[derive(Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Tariff {
    region: String,
    per_request: f64,
    per_gb_second: HashMap<String, f64>,
    per_vcpu_second: f64,
    per_gib_second: f64,
    step_ms: u64,
    least_ms: u64,
    assumption: String,
}

/// What one instance took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Including its start, as far as the host could tell.
    pub ms: u64,
    pub memory_mib: u32,
}

impl Prices {
    /// The list of a file, or our own.
    pub fn load(file: Option<&Path>) -> Result<Prices, String> {
        let Some(path) = file else {
            return parse(OWN);
        };
        let shown = path.display();
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|e| format!("{shown}: cannot be read: {e}"))?;
        parse(&text).map_err(|why| format!("{shown}: {why}"))
    }

    /// A platform's tariff and the date of the list.
    pub fn tariff(&self, name: &str) -> Option<(&Tariff, &str)> {
        self.tariffs.get(name).map(|t| (t, self.as_of.as_str()))
    }
}

fn parse(text: &str) -> Result<Prices, String> {
    toml::from_str(text).map_err(|e| super::client::one_line(&e.to_string()))
}

/// What one instance is made of, for its price.
#[derive(Clone, Copy)]
struct Size<'a> {
    memory_mib: f64,
    cpus: f64,
    architecture: &'a str,
}

impl Tariff {
    fn per_second(&self, size: Size) -> f64 {
        let gb = size.memory_mib / 1024.0;
        let by_memory = self.per_gb_second.get(size.architecture);
        by_memory.copied().unwrap_or_default() * gb
            + self.per_vcpu_second * size.cpus
            + self.per_gib_second * gb
    }

    fn of_run(&self, size: Size, ms: u64) -> f64 {
        let step = self.step_ms.max(1);
        let billed = ms.max(self.least_ms).div_ceil(step) * step;
        self.per_request + self.per_second(size) * billed as f64 / 1000.0
    }
}

/// The size that the platform told, and which parts of it had to be assumed.
fn size_of<'a>(tariff: &Tariff, ready: &'a Ready) -> (Size<'a>, Vec<String>) {
    let mut assumed = Vec::new();
    let memory_mib = ready.memory_mib.unwrap_or_else(|| {
        assumed.push("2048 MiB of memory".into());
        2048.0
    });
    let cpus = ready.cpus.unwrap_or_else(|| {
        if tariff.per_vcpu_second > 0.0 {
            assumed.push("1 vCPU".into());
        }
        1.0
    });
    let architecture = ready.architecture.as_deref().unwrap_or_else(|| {
        if !tariff.per_gb_second.is_empty() {
            assumed.push("x86_64".into());
        }
        "x86_64"
    });
    let size = Size {
        memory_mib,
        cpus,
        architecture,
    };
    (size, assumed)
}

/// Lines before the launch.
pub fn estimate(tariff: &Tariff, as_of: &str, wish: &Wish, ready: &Ready) -> Vec<String> {
    let (size, assumed) = size_of(tariff, ready);
    let n = f64::from(wish.instances);
    let requests = n * tariff.per_request;
    let mut line = format!(
        "price: {} of {:.0} MiB: {} a second",
        count(wish.instances, "instance"),
        size.memory_mib,
        dollars(n * tariff.per_second(size))
    );
    if requests > 0.0 {
        line += &format!(" and {} for the starts", dollars(requests));
    }
    let until = [wish.timeout, ready.limit].into_iter().flatten().min();
    if let Some(until) = until {
        let most = n * tariff.of_run(size, until.as_millis() as u64);
        line += &format!(
            "; at most {} when all run for {}",
            dollars(most),
            seconds(until)
        );
    }
    let mut lines = vec![line];
    if !assumed.is_empty() {
        lines.push(format!(
            "price: assumed, as the platform did not say: {}",
            assumed.join(", ")
        ));
    }
    lines.push(small_print(tariff, as_of));
    lines
}

/// Lines after the launch; `missing`: instances that were started but told nothing of what they took.
pub fn bill(
    tariff: &Tariff,
    as_of: &str,
    ready: &Ready,
    usages: &[Usage],
    missing: usize,
) -> Vec<String> {
    let (size, _) = size_of(tariff, ready);
    let mut sum = missing as f64 * tariff.per_request;
    let mut ms = 0;
    for usage in usages {
        let memory_mib = match ready.memory_mib {
            Some(configured) => configured,
            None if usage.memory_mib > 0 => f64::from(usage.memory_mib),
            None => size.memory_mib,
        };
        ms += usage.ms;
        sum += tariff.of_run(Size { memory_mib, ..size }, usage.ms);
    }
    let mut line = format!(
        "price: about {} for {}, {:.1} s of running in all",
        dollars(sum),
        count(usages.len() as u32 + missing as u32, "instance"),
        ms as f64 / 1000.0
    );
    if missing > 0 {
        line += &format!("; the time of {missing} of them is not known and not counted");
    }
    vec![line, small_print(tariff, as_of)]
}

fn small_print(tariff: &Tariff, as_of: &str) -> String {
    let region = match tariff.region.as_str() {
        "" => String::new(),
        region => format!(" in {region}"),
    };
    let mut line = format!("price: list prices{region} of {as_of}");
    if !tariff.assumption.is_empty() {
        line += &format!("; {}", tariff.assumption);
    }
    line
}

/// Cents and more as people write them, less than that with three significant digits.
fn dollars(amount: f64) -> String {
    if amount >= 0.995 || amount == 0.0 {
        return format!("${amount:.2}");
    }
    let places = (2.0 - amount.log10().floor()).clamp(2.0, 12.0);
    format!("${amount:.0$}", places as usize)
}

fn seconds(time: Duration) -> String {
    let s = time.as_secs_f64();
    if s.fract() == 0.0 {
        format!("{s:.0} s")
    } else {
        format!("{s:.1} s")
    }
}

fn count(n: u32, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(memory: Option<f64>) -> Ready {
        Ready {
            memory_mib: memory,
            cpus: Some(1.0),
            limit: Some(Duration::from_secs(600)),
            architecture: Some("x86_64".into()),
            ..Ready::new(Duration::from_secs(60))
        }
    }

    /// 64 ranks, 1 vCPU, 600 s: the comparison among our facts has $1.13 for Lambda and $0.84 (jobs) to $1.1 for Cloud Run.
    #[test]
    fn sixty_four_ranks_for_ten_minutes_cost_what_they_cost() {
        let prices = Prices::load(None).unwrap();
        let (lambda, as_of) = prices.tariff("lambda").unwrap();
        let lines = estimate(lambda, as_of, &Wish::of(64), &ready(Some(1769.0)));
        assert!(
            lines[0].contains("64 instances of 1769 MiB: $0.00184 a second"),
            "{lines:#?}"
        );
        assert!(
            lines[0].contains("at most $1.11 when all run for 600 s"),
            "{lines:#?}"
        );
        assert_eq!(lines.len(), 2);
        assert!(lines[1].contains("us-east-1 of 2026-11-21"));
        let usage = Usage {
            ms: 600_000,
            memory_mib: 0,
        };
        let bill = bill(lambda, as_of, &ready(Some(1769.0)), &[usage; 64], 0);
        assert!(
            bill[0].starts_with("price: about $1.11 for 64 instances, 38400.0 s"),
            "{bill:#?}"
        );
    }

    #[test]
    fn what_is_assumed_is_said_and_what_is_short_is_rounded_up() {
        let prices = Prices::load(None).unwrap();
        let (run, as_of) = prices.tariff("cloud-run").unwrap();
        let unknown = Ready::new(Duration::from_secs(60));
        let lines = estimate(run, as_of, &Wish::of(1), &unknown);
        assert!(
            lines[1].ends_with("2048 MiB of memory, 1 vCPU"),
            "{lines:#?}"
        );
        let (fargate, _) = prices.tariff("fargate").unwrap();
        let size = Size {
            memory_mib: 1024.0,
            cpus: 1.0,
            architecture: "x86_64",
        };
        assert_eq!(fargate.of_run(size, 1), fargate.of_run(size, 60_000));
        assert!(fargate.of_run(size, 60_001) > fargate.of_run(size, 60_000));
        let lines = bill(run, as_of, &unknown, &[], 2);
        assert!(lines[0].contains("2 of them is not known"), "{lines:#?}");
        assert!(prices.tariff("nowhere").is_none());
    }

    #[test]
    fn sums_are_readable_and_files_checked() {
        let shown = [1.234, 0.1234, 0.0000002, 0.0].map(dollars);
        assert_eq!(shown, ["$1.23", "$0.123", "$0.000000200", "$0.00"]);
        assert!(Prices::load(Some(Path::new("/does/not/exist"))).is_err());
        assert!(parse("as_of = \"x\"\n[lambda]\nper_requst = 1").is_err());
        assert!(parse("[lambda]").is_err());
    }
}
