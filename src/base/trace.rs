//! One line a message on standard error: `mayfly[rank 3]: ...`, as much as `MAYFLY_LOG` asks for.

use crate::base::config::{config, Level};
use std::sync::atomic::{AtomicI32, Ordering};

static RANK: AtomicI32 = AtomicI32::new(-1);

/// From now on lines carry this rank.
pub fn set_rank(rank: i32) {
    RANK.store(rank, Ordering::Relaxed);
}

/// Is this level wanted?
pub fn wants(level: Level) -> bool {
    level <= config().log
}

/// Writes one line in one call, so that lines of several processes never mix.
pub fn line(text: &str) {
    let line = match RANK.load(Ordering::Relaxed) {
        -1 => format!("mayfly: {text}\n"),
        rank => format!("mayfly[rank {rank}]: {text}\n"),
    };
    write(&line);
}

/// Writes a line as it is. Unlike `eprintln!` it never panics: standard error may be closed, or its disk full.
pub fn say(text: &str) {
    write(&format!("{text}\n"));
}

fn write(line: &str) {
    // SAFETY: the pointer and length are those of a live string; a short or failed write only loses a log line.
    unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
}

/// `info!("rank {r} by {t}")`: said when `MAYFLY_LOG` is info or debug.
#[macro_export]
macro_rules! info {
    ($($text:tt)*) => { if $crate::base::trace::wants($crate::base::config::Level::Info) { $crate::base::trace::line(&format!($($text)*)) } };
}

/// Said when `MAYFLY_LOG` is debug.
#[macro_export]
macro_rules! debug {
    ($($text:tt)*) => { if $crate::base::trace::wants($crate::base::config::Level::Debug) { $crate::base::trace::line(&format!($($text)*)) } };
}

/// Said unless `MAYFLY_LOG` is error.
#[macro_export]
macro_rules! warning {
    ($($text:tt)*) => { if $crate::base::trace::wants($crate::base::config::Level::Warn) { $crate::base::trace::line(&format!($($text)*)) } };
}
