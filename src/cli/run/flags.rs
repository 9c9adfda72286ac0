//! The flags of `mayfly run`, a union of mpiexec's and mpirun's. They are read by hand because clap cannot read long
//! options with a single dash (`-np`, `-genv A B`), which is how everybody writes them.

mod elsewhere;

use super::words;
use elsewhere::Elsewhere;
use mayfly::mpi::collective::tuned;
use mayfly::platform::launch::{Inherit, Part, Plan, Standalone, Stdin};
use mayfly::platform::remote;
use mayfly::rendezvous::place::Place;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

/// Why there is nothing to run.
#[derive(Debug, PartialEq)]
pub enum Wrong {
    Help,
    Version,
    Text(String),
}

#[derive(Debug)]
pub struct Parsed {
    pub plan: Plan,
    /// `--on`: instead of on this machine.
    pub remote: Option<remote::Plan>,
    /// Flags without effect here.
    pub notices: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Flag {
    Count,
    Export,
    SetForAll,
    Limits,
    Set,
    ListForAll,
    List,
    NoneForAll,
    None,
    AllForAll,
    All,
    FolderForAll,
    Folder,
    Tag,
    Stdin,
    Timeout,
    ConfigFile,
    Stdout,
    Stderr,
    Universe,
    Rendezvous,
    KeyFile,
    On,
    PerInstance,
    Listen,
    Advertise,
    JoinTimeout,
    Sync,
    Price,
    Prices,
    With,
    DryRun,
    Help,
    Version,
    /// No effect, said at `MAYFLY_LOG=info`.
    Ignored,
    /// Ranks per node: without effect here, ranks per instance elsewhere.
    PerNode,
    /// Hosts: refused.
    Hosts,
}

/// Names without their dashes, how many words follow, and the meaning.
const FLAGS: &[(&[&str], usize, Flag)] = &[
    (&["n", "np", "c"], 1, Flag::Count),
    (&["x"], 1, Flag::Export),
    (&["genv"], 2, Flag::SetForAll),
    (&["env"], 2, Flag::Set),
    (&["limits"], 1, Flag::Limits),
    (&["genvlist"], 1, Flag::ListForAll),
    (&["envlist"], 1, Flag::List),
    (&["genvnone"], 0, Flag::NoneForAll),
    (&["envnone"], 0, Flag::None),
    (&["genvall"], 0, Flag::AllForAll),
    (&["envall"], 0, Flag::All),
    (&["gwdir"], 1, Flag::FolderForAll),
    (&["wdir", "wd"], 1, Flag::Folder),
    (&["l", "prepend-rank", "tag-output"], 0, Flag::Tag),
    (&["stdin", "s"], 1, Flag::Stdin),
    (&["timeout"], 1, Flag::Timeout),
    (&["configfile", "app"], 1, Flag::ConfigFile),
    (&["outfile-pattern", "outfile"], 1, Flag::Stdout),
    (&["errfile-pattern", "errfile"], 1, Flag::Stderr),
    (&["usize"], 1, Flag::Universe),
    (&["rendezvous"], 1, Flag::Rendezvous),
    (&["key-file"], 1, Flag::KeyFile),
    (&["h", "help"], 0, Flag::Help),
    (&["V", "version"], 0, Flag::Version),
    (&["on"], 1, Flag::On),
    (&["per-instance"], 1, Flag::PerInstance),
    (&["listen"], 1, Flag::Listen),
    (&["advertise"], 1, Flag::Advertise),
    (&["join-timeout"], 1, Flag::JoinTimeout),
    (&["sync"], 0, Flag::Sync),
    (&["price"], 0, Flag::Price),
    (&["prices"], 1, Flag::Prices),
    (&["with"], 1, Flag::With),
    (&["dry-run"], 0, Flag::DryRun),
    (&["ppn", "perhost", "npernode", "N"], 1, Flag::PerNode),
    (&["bind-to", "map-by", "rank-by"], 1, Flag::Ignored),
    (&["mca", "gmca", "prtemca"], 2, Flag::Ignored),
    (
        &["allow-run-as-root", "oversubscribe", "bynode", "byslot"],
        0,
        Flag::Ignored,
    ),
    (
        &["bind-to-core", "bind-to-none", "report-bindings"],
        0,
        Flag::Ignored,
    ),
    (&["q", "quiet", "v", "verbose"], 0, Flag::Ignored),
    (
        &[
            "hosts",
            "host",
            "H",
            "f",
            "hostfile",
            "machinefile",
            "machine",
        ],
        1,
        Flag::Hosts,
    ),
    (&["default-hostfile"], 1, Flag::Hosts),
];

/// The limits in a file of `mayfly tune`, for MAYFLY_LIMITS.
fn limits(file: &OsStr) -> Result<String, Wrong> {
    let name = file.to_string_lossy();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return wrong(format!("--limits {name}: {error}")),
    };
    match tuned::parse(&text) {
        Ok(changes) => Ok(tuned::text(&changes)),
        Err(why) => wrong(format!("--limits {name}: {why}")),
    }
}

fn wrong<T>(text: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong::Text(text.into()))
}

/// Reads everything after `run`.
pub fn parse(arguments: Vec<OsString>) -> Result<Parsed, Wrong> {
    let mut reading = Reading::default();
    reading.line(arguments, false)?;
    reading.finish()
}

#[derive(Default)]
struct Reading {
    plan: Plan,
    /// As `plan.parts`; `None`: what is said for all.
    inherit_of: Vec<Option<Inherit>>,
    set: Vec<(OsString, OsString)>,
    inherit: Option<Inherit>,
    folder: Option<PathBuf>,
    rendezvous: Option<String>,
    key_file: Option<PathBuf>,
    elsewhere: Elsewhere,
    notices: Vec<String>,
}

/// A part whose flags are being read.
#[derive(Default)]
struct Begun {
    ranks: u32,
    set: Vec<(OsString, OsString)>,
    inherit: Option<Inherit>,
    folder: Option<PathBuf>,
    /// Its parts come from a file, so that no program need follow.
    from_file: bool,
}

/// The words of one part that are still to be read.
type Rest<'a> = std::slice::Iter<'a, OsString>;

impl Reading {
    /// One command line, or one line of a configuration file.
    fn line(&mut self, words: Vec<OsString>, in_file: bool) -> Result<(), Wrong> {
        let count = words.split(|word| word == ":").count();
        for part in words.split(|word| word == ":") {
            if part.is_empty() && count > 1 {
                return wrong("there is nothing on one side of a `:`");
            }
            self.part(part.iter(), in_file)?;
        }
        Ok(())
    }

    fn part(&mut self, mut rest: Rest, in_file: bool) -> Result<(), Wrong> {
        let mut begun = Begun {
            ranks: 1,
            ..Begun::default()
        };
        let program = loop {
            let Some(word) = rest.next() else {
                break None;
            };
            if word == "--" {
                break rest.next();
            }
            if word.len() < 2 || word.as_bytes()[0] != b'-' {
                break Some(word);
            }
            self.flag(word, &mut rest, &mut begun, in_file)?;
        };
        match program {
            Some(program) => {
                self.inherit_of.push(begun.inherit);
                self.plan.parts.push(Part {
                    program: program.clone(),
                    arguments: rest.cloned().collect(),
                    ranks: begun.ranks,
                    set: begun.set,
                    inherit: Inherit::All,
                    folder: begun.folder,
                });
                Ok(())
            }
            None if begun.from_file => Ok(()),
            None => {
                wrong("which program? For example: mayfly run -n 4 ./program (--help tells more)")
            }
        }
    }

    fn flag(
        &mut self,
        word: &OsStr,
        rest: &mut Rest,
        begun: &mut Begun,
        in_file: bool,
    ) -> Result<(), Wrong> {
        let bytes = word.as_bytes();
        let bare = &bytes[if bytes.starts_with(b"--") { 2 } else { 1 }..];
        // `--timeout=5`; but -x takes A=B as a word of its own.
        let (name, joined) = match bare.iter().position(|&b| b == b'=') {
            Some(at) => (
                &bare[..at],
                Some(OsString::from_vec(bare[at + 1..].to_vec())),
            ),
            None => (bare, None),
        };
        let name = String::from_utf8_lossy(name).into_owned();
        let found = FLAGS
            .iter()
            .find(|(names, ..)| names.contains(&name.as_str()));
        let Some(&(_, arity, flag)) = found else {
            return wrong(unknown(word, &name));
        };
        if joined.is_some() && arity != 1 {
            return wrong(format!("{} takes no `=`", word.to_string_lossy()));
        }
        let mut take = || match joined.clone().or_else(|| rest.next().cloned()) {
            Some(value) => Ok(value),
            None => wrong(format!("{} needs a value after it", word.to_string_lossy())),
        };
        let mut values = Vec::new();
        for _ in 0..arity {
            values.push(take()?);
        }
        let value = values.first().cloned().unwrap_or_default();
        let text = value.to_string_lossy().into_owned();
        let number = |least: u32| match text.parse::<u32>() {
            Ok(n) if n >= least => Ok(n),
            _ => wrong(format!(
                "{} needs a number from {least} on, not {text:?}",
                word.to_string_lossy()
            )),
        };
        let list = || {
            Inherit::Some(
                text.split(',')
                    .filter(|n| !n.is_empty())
                    .map(OsString::from)
                    .collect(),
            )
        };
        match flag {
            Flag::Count => begun.ranks = number(1)?,
            Flag::Export => self.export(&value)?,
            Flag::SetForAll => self.set.push((value, values[1].clone())),
            Flag::Limits => {
                let limits = limits(&value)?;
                self.set.push(("MAYFLY_LIMITS".into(), limits.into()));
            }
            Flag::Set => begun.set.push((value, values[1].clone())),
            Flag::ListForAll => self.inherit = Some(list()),
            Flag::List => begun.inherit = Some(list()),
            Flag::NoneForAll => self.inherit = Some(Inherit::Some(Vec::new())),
            Flag::None => begun.inherit = Some(Inherit::Some(Vec::new())),
            Flag::AllForAll => self.inherit = Some(Inherit::All),
            Flag::All => begun.inherit = Some(Inherit::All),
            Flag::FolderForAll => self.folder = Some(value.into()),
            Flag::Folder => begun.folder = Some(value.into()),
            Flag::Tag => self.plan.tag = true,
            Flag::Stdin => {
                self.plan.stdin = match text.as_str() {
                    "all" => Stdin::All,
                    "none" => Stdin::None,
                    _ => Stdin::Rank(number(0)?),
                }
            }
            Flag::Timeout => match text.parse::<f64>() {
                // Longer than a century is no limit.
                Ok(seconds) if (0.0..3e9).contains(&seconds) => {
                    self.plan.timeout = (seconds > 0.0).then(|| Duration::from_secs_f64(seconds));
                }
                _ => return wrong(format!("--timeout needs a number of seconds, not {text:?}")),
            },
            Flag::On => self.elsewhere.on = Some(text),
            Flag::PerInstance => self.elsewhere.per_instance = Some(number(1)?),
            Flag::PerNode => {
                self.elsewhere.per_node = text.parse().ok().filter(|n| *n > 0);
                self.ignored(word);
            }
            Flag::Listen => self.elsewhere.listen = Some(text),
            Flag::Advertise => self.elsewhere.advertise = Some(text),
            Flag::JoinTimeout => {
                let seconds = number(1)?;
                self.elsewhere.join_within = Some(Duration::from_secs(seconds.into()));
            }
            Flag::Sync => self.elsewhere.sync = true,
            Flag::Price => self.elsewhere.price = true,
            Flag::Prices => self.elsewhere.prices = Some(value.into()),
            Flag::With => self.elsewhere.with(&text)?,
            Flag::DryRun => self.elsewhere.dry_run = true,
            Flag::ConfigFile if in_file => {
                return wrong("a configuration file cannot name another one")
            }
            Flag::ConfigFile => {
                self.file(value.into())?;
                begun.from_file = true;
            }
            Flag::Stdout => self.plan.stdout_pattern = Some(value),
            Flag::Stderr => self.plan.stderr_pattern = Some(value),
            Flag::Universe => self.plan.universe = Some(number(1)?),
            Flag::Rendezvous => self.rendezvous = Some(text),
            Flag::KeyFile => self.key_file = Some(value.into()),
            Flag::Help => return Err(Wrong::Help),
            Flag::Version => return Err(Wrong::Version),
            Flag::Ignored => self.ignored(word),
            Flag::Hosts => self.elsewhere.hosts = Some(word.to_string_lossy().into_owned()),
        }
        Ok(())
    }

    fn ignored(&mut self, word: &OsStr) {
        let text = format!("{} has no effect here", word.to_string_lossy());
        self.notices.push(text);
    }

    /// `-x NAME=VALUE`, or `-x NAME` for one of ours.
    fn export(&mut self, word: &OsStr) -> Result<(), Wrong> {
        let bytes = word.as_bytes();
        let (name, value) = match bytes.iter().position(|&b| b == b'=') {
            Some(at) => (
                OsStr::from_bytes(&bytes[..at]),
                OsString::from_vec(bytes[at + 1..].to_vec()),
            ),
            None => match std::env::var_os(word) {
                Some(value) => (word, value),
                None => {
                    self.notices
                        .push(format!("-x {}: is not set", word.to_string_lossy()));
                    return Ok(());
                }
            },
        };
        if name.is_empty() {
            return wrong("-x needs NAME or NAME=VALUE");
        }
        self.set.push((name.into(), value));
        Ok(())
    }

    fn file(&mut self, path: PathBuf) -> Result<(), Wrong> {
        let shown = path.display().to_string();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) => return wrong(format!("{shown}: cannot be read: {e}")),
        };
        for (i, line) in text.lines().enumerate() {
            let at = |what: &str| Wrong::Text(format!("{shown}, line {}: {what}", i + 1));
            let words = words::split(line).map_err(at)?;
            // Hydra's files may end a line with the colon that joins it to the next.
            let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            let words = words
                .strip_suffix(&[OsString::from(":")])
                .unwrap_or(&words)
                .to_vec();
            if !words.is_empty() {
                self.line(words, true).map_err(|e| match e {
                    Wrong::Text(text) => at(&text),
                    other => other,
                })?;
            }
        }
        Ok(())
    }

    /// Applies what was said for all parts.
    fn finish(mut self) -> Result<Parsed, Wrong> {
        if self.plan.parts.is_empty() {
            return wrong(
                "which program? For example: mayfly run -n 4 ./program (--help tells more)",
            );
        }
        for (part, own) in self.plan.parts.iter_mut().zip(self.inherit_of) {
            let inherit = own.or_else(|| self.inherit.clone());
            part.inherit = inherit.unwrap_or_default();
            part.folder = part.folder.take().or_else(|| self.folder.clone());
            part.set.splice(0..0, self.set.iter().cloned());
        }
        let size: u64 = self
            .plan
            .parts
            .iter()
            .map(|part| u64::from(part.ranks))
            .sum();
        if let Stdin::Rank(rank) = self.plan.stdin {
            if u64::from(rank) >= size {
                return wrong(format!("-stdin {rank}: there are only {size} ranks"));
            }
        }
        let remote = if self.elsewhere.is_meant() {
            let notices = &mut self.notices;
            if self.rendezvous.is_some() {
                self.elsewhere.refuse_own()?;
            }
            let there = standalone(self.rendezvous, self.key_file)?;
            Some(self.elsewhere.plan(&self.plan, there, notices)?)
        } else {
            self.elsewhere.refuse_here()?;
            self.plan.rendezvous = standalone(self.rendezvous, self.key_file)?;
            None
        };
        Ok(Parsed {
            plan: self.plan,
            remote,
            notices: self.notices,
        })
    }
}

/// `--rendezvous`: one that runs elsewhere.
fn standalone(
    address: Option<String>,
    key_file: Option<PathBuf>,
) -> Result<Option<Standalone>, Wrong> {
    let Some(address) = address else {
        return match key_file {
            Some(_) => wrong("--key-file needs --rendezvous"),
            None => Ok(None),
        };
    };
    Ok(Some(Standalone {
        place: Place::parse(&address).map_err(Wrong::Text)?,
        operator_key: operator_key(key_file)?,
    }))
}

/// What lets us open a job at a rendezvous that runs elsewhere.
fn operator_key(key_file: Option<PathBuf>) -> Result<String, Wrong> {
    let key = match key_file {
        Some(path) => match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) => return wrong(format!("{}: cannot be read: {e}", path.display())),
        },
        None => std::env::var("MAYFLY_OPERATOR_KEY").unwrap_or_default(),
    };
    let key = key.trim().to_string();
    if key.is_empty() {
        return wrong(
            "--rendezvous needs the operator's key, in MAYFLY_OPERATOR_KEY or --key-file FILE",
        );
    }
    Ok(key)
}

/// Names an unknown flag and the nearest known one.
fn unknown(word: &OsStr, name: &str) -> String {
    let shown = word.to_string_lossy();
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let letters = &name[..name.len() - digits.len()];
    if matches!(letters, "n" | "np") && digits.parse::<u32>().is_ok() {
        return format!("unknown flag {shown}; did you mean -{letters} {digits}?");
    }
    let names = FLAGS.iter().flat_map(|(names, ..)| names.iter());
    let nearest = names.map(|known| (distance(name, known), known)).min();
    match nearest {
        Some((d, known)) if d <= 1 + known.len() / 4 && known.len() > 1 => {
            format!("unknown flag {shown}; did you mean -{known}?")
        }
        _ => format!("unknown flag {shown}; `mayfly run --help` lists all"),
    }
}

/// How many letters must be changed, added or left out to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
