//! The flags of `--on`: ranks that run elsewhere. Those that only make sense on one side are refused on the other.

use super::{wrong, Wrong};
use mayfly::platform::launch::{Inherit, Plan, Standalone};
use mayfly::platform::on::{Setting, Target};
use mayfly::platform::remote::{self, Meeting};
use std::path::PathBuf;
use std::time::Duration;

/// What was said about ranks elsewhere, as it was said.
#[derive(Default)]
pub struct Elsewhere {
    pub on: Option<String>,
    pub per_instance: Option<u32>,
    /// `-ppn` and its like.
    pub per_node: Option<u32>,
    pub listen: Option<String>,
    pub advertise: Option<String>,
    pub join_within: Option<Duration>,
    pub sync: bool,
    pub price: bool,
    pub prices: Option<PathBuf>,
    pub settings: Vec<Setting>,
    pub dry_run: bool,
    /// The flag that named hosts.
    pub hosts: Option<String>,
}

impl Elsewhere {
    /// `--with NAME=VALUE`.
    pub fn with(&mut self, text: &str) -> Result<(), Wrong> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                self.settings.push((name.into(), value.into()));
                Ok(())
            }
            _ => wrong(format!("--with needs NAME=VALUE, not {text:?}")),
        }
    }

    pub fn is_meant(&self) -> bool {
        self.on.as_deref().is_some_and(|on| on != "local")
    }

    /// Ranks run here: what was said for elsewhere is a mistake.
    pub fn refuse_here(&self) -> Result<(), Wrong> {
        if let Some(flag) = &self.hosts {
            return wrong(format!(
                "{flag}: `mayfly run` starts all ranks on this machine and takes no hosts"
            ));
        }
        let only_elsewhere = [
            (self.per_instance.is_some(), "-per-instance"),
            (self.listen.is_some(), "--listen"),
            (self.advertise.is_some(), "--advertise"),
            (self.join_within.is_some(), "--join-timeout"),
            (self.sync, "--sync"),
            (self.price, "--price"),
            (self.prices.is_some(), "--prices"),
            (!self.settings.is_empty(), "--with"),
            (self.dry_run, "--dry-run"),
        ];
        match only_elsewhere.iter().find(|(said, _)| *said) {
            Some((_, flag)) => wrong(format!(
                "{flag} is for ranks elsewhere; on which platform? Say --on PLATFORM"
            )),
            None => Ok(()),
        }
    }

    /// A place that runs already needs none of ours.
    pub fn refuse_own(&self) -> Result<(), Wrong> {
        if self.listen.is_some() || self.advertise.is_some() {
            return wrong(
                "--rendezvous names one that runs already; --listen and --advertise are for one of our own",
            );
        }
        Ok(())
    }

    /// The plan for `--on`.
    pub fn plan(
        self,
        command: &Plan,
        rendezvous: Option<Standalone>,
        notices: &mut Vec<String>,
    ) -> Result<remote::Plan, Wrong> {
        let on = self.on.unwrap_or_default();
        if let Some(flag) = &self.hosts {
            return wrong(format!(
                "{flag}: with --on {on} the platform chooses the hosts; -per-instance N puts N ranks on each"
            ));
        }
        if self.prices.is_some() && !self.price {
            return wrong("--prices FILE needs --price");
        }
        for part in &command.parts {
            if let Some(folder) = &part.folder {
                if !folder.is_absolute() {
                    return wrong(format!(
                        "-wdir {}: with --on it names a folder in the instances and must be absolute",
                        folder.display()
                    ));
                }
            }
            if part.inherit == Inherit::All {
                continue;
            }
            notices
                .push("of our variables, only those that a flag names go to the instances".into());
        }
        let meeting = match rendezvous {
            Some(there) => Meeting::Elsewhere(there),
            None => match (self.listen, self.advertise) {
                (Some(listen), advertise) => Meeting::Own { listen, advertise },
                (None, Some(_)) => {
                    return wrong("--advertise needs --listen HOST:PORT, where we listen")
                }
                (None, None) if self.dry_run => Meeting::Own {
                    listen: "127.0.0.1:0".into(),
                    advertise: None,
                },
                (None, None) => {
                    return wrong(format!(
                        "with --on {on}, where do the instances meet? --rendezvous https://HOST:PORT#PIN names a running \
                         `mayfly serve`; --listen 0.0.0.0:7717 --advertise HOST makes one here, which instances must \
                         be able to reach"
                    ))
                }
            },
        };
        Ok(remote::Plan {
            command: command.clone(),
            target: Target {
                text: on,
                settings: self.settings,
                sync: self.sync,
            },
            meeting,
            per_instance: self.per_instance.or(self.per_node).unwrap_or(1),
            join_within: self.join_within,
            price: self.price,
            prices: self.prices,
            dry_run: self.dry_run,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse, Wrong};
    use super::*;
    use std::ffi::OsString;

    fn read(line: &str) -> Result<remote::Plan, String> {
        let words = line.split_whitespace().map(OsString::from).collect();
        match parse(words) {
            Ok(parsed) => Ok(parsed.remote.unwrap()),
            Err(Wrong::Text(text)) => Err(text),
            Err(other) => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_launch_elsewhere_is_read() {
        let plan = read(
            "-n 8 -per-instance 2 --on lambda:f --listen 0.0.0.0:7717 --advertise me.example --sync --price \
             --join-timeout 30 --with region=eu-west-1 --with a=b=c ./app -x",
        )
        .unwrap();
        assert_eq!(
            (plan.per_instance, plan.target.text.as_str()),
            (2, "lambda:f")
        );
        assert_eq!(plan.target.settings[1], ("a".into(), "b=c".into()));
        assert!(plan.target.sync && plan.price && !plan.dry_run);
        assert_eq!(plan.join_within, Some(Duration::from_secs(30)));
        assert_eq!(plan.command.parts[0].arguments, ["-x"]);
        let own = matches!(plan.meeting, Meeting::Own { advertise: Some(name), .. } if name == "me.example");
        assert!(own);
        let plan = read("-n 8 -ppn 4 --on http://h/ --listen 127.0.0.1:0 ./a").unwrap();
        assert_eq!(plan.per_instance, 4);
        assert!(read("--on kubernetes:x --dry-run ./a").unwrap().dry_run);
    }

    #[test]
    fn what_makes_no_sense_elsewhere_or_here_is_refused() {
        for (line, expected) in [
            ("--on lambda:f ./a", "where do the instances meet"),
            ("--on lambda:f --advertise h ./a", "needs --listen"),
            (
                "--on lambda:f --rendezvous h:1 --listen h:2 ./a",
                "runs already",
            ),
            (
                "--on lambda:f --rendezvous ftp://h ./a",
                "scheme is unknown",
            ),
            (
                "--on lambda:f --rendezvous h:1 --key-file /no/such ./a",
                "/no/such",
            ),
            (
                "--on lambda:f --listen h:1 --hostfile x ./a",
                "the platform chooses",
            ),
            (
                "--on lambda:f --listen h:1 -wdir rel ./a",
                "must be absolute",
            ),
            ("--on lambda:f --listen h:1 --prices x ./a", "needs --price"),
            ("--on lambda:f --with x ./a", "NAME=VALUE"),
            ("--on lambda:f --join-timeout 0 ./a", "number from 1"),
            ("--listen h:1 ./a", "--on PLATFORM"),
            ("--on local --price ./a", "--on PLATFORM"),
            ("--dry-run ./a", "--on PLATFORM"),
        ] {
            let error = read(line).err().unwrap();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
