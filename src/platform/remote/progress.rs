//! How the start gets on, for people: a bar on a terminal, else a line now and then.

use crate::base::trace;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Without a terminal, the first line comes after this time, each further one after twice as long.
const FIRST: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(120);

/// Writes to standard error; a clone writes to the same bar.
#[derive(Clone)]
pub struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    next: Option<Duration>,
    instances: u32,
    arrived: u32,
    trouble: String,
}

impl Progress {
    pub fn new(instances: u32, platform: &str) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(Some(instances.into()), target);
            let template =
                "{spinner} {prefix}: {pos} of {len} instances {bar:24} {elapsed} {wide_msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(platform.to_string());
            bar.enable_steady_tick(TICK);
            bar
        });
        Progress {
            next: bar.is_none().then_some(FIRST),
            bar,
            began: Instant::now(),
            instances,
            arrived: 0,
            trouble: String::new(),
        }
    }

    pub fn arrived(&mut self, arrived: u32) {
        self.arrived = arrived;
        self.trouble(String::new());
        if let Some(bar) = &self.bar {
            bar.set_position(arrived.into());
        }
        if arrived == self.instances {
            self.end();
        }
    }

    /// What keeps an instance from coming; shown with the bar, and with the next line.
    pub fn trouble(&mut self, text: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.clone());
        }
        self.trouble = text;
    }

    /// When [`Progress::tick`] has something to say.
    pub fn due(&self) -> Option<Instant> {
        self.next.map(|after| self.began + after)
    }

    /// `missing`: which instances have not arrived.
    pub fn tick(&mut self, now: Instant, missing: impl FnOnce() -> String) {
        let Some(after) = self.next.filter(|&after| self.began + after <= now) else {
            return;
        };
        self.next = Some(after * 2);
        let mut line = format!(
            "{} of {} instances arrived after {} s, missing: {}",
            self.arrived,
            self.instances,
            after.as_secs(),
            missing()
        );
        if !self.trouble.is_empty() {
            line += &format!("; {}", self.trouble);
        }
        trace::line(&line);
    }

    /// Does something that writes to the terminal, with the bar out of the way.
    pub fn aside<R>(&self, f: impl FnOnce() -> R) -> R {
        match &self.bar {
            Some(bar) if !bar.is_finished() => bar.suspend(f),
            _ => f(),
        }
    }

    /// A line of ours.
    pub fn line(&self, text: &str) {
        self.aside(|| trace::line(text));
    }

    /// Nothing more is shown.
    pub fn end(&mut self) {
        self.next = None;
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
