//! The platform's time limit: when the ranks are warned, when they are ended.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// From SIGTERM to the platform's end.
const WARNING: Duration = Duration::from_secs(10);
/// What we need ourselves at the end, to tell everybody.
const LAST_WORDS: Duration = Duration::from_millis(1500);

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// A deadline as a platform states it, if it can be one: some emulators send the length of the time there. 0: not known.
pub fn plausible(deadline_ms: u64, now_ms: u64) -> u64 {
    // No platform runs anything for longer than a week.
    let week = 7 * 24 * 3600 * 1000;
    if deadline_ms > now_ms && deadline_ms - now_ms < week {
        deadline_ms
    } else {
        0
    }
}

/// When something is to be done about the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub warn: Instant,
    pub kill: Instant,
}

impl Limit {
    /// `None`: nothing ends us.
    pub fn new(deadline_ms: u64, now_ms: u64, now: Instant) -> Option<Limit> {
        if deadline_ms == 0 {
            return None;
        }
        let left = Duration::from_millis(deadline_ms.saturating_sub(now_ms));
        // Whoever has less than twenty seconds gets half of them.
        let warn = left.saturating_sub(WARNING).max(left / 2);
        let kill = left.saturating_sub(LAST_WORDS).max(left * 3 / 4);
        Some(Limit {
            warn: now + warn,
            kill: now + kill,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_seconds_before_the_end_or_halfway() {
        let now = Instant::now();
        let limit = |left: u64| {
            let limit = Limit::new(5_000 + left, 5_000, now).unwrap();
            let ms = |at: Instant| at.duration_since(now).as_millis();
            (ms(limit.warn), ms(limit.kill))
        };
        assert_eq!(limit(900_000), (890_000, 898_500));
        assert_eq!(limit(12_000), (6_000, 10_500));
        assert_eq!(limit(3_000), (1_500, 2_250));
        assert_eq!(Limit::new(0, 5_000, now), None);
        // It has passed already.
        let past = Limit::new(4_000, 5_000, now).unwrap();
        assert_eq!((past.warn, past.kill), (now, now));
    }

    #[test]
    fn what_can_be_no_deadline_is_none() {
        let now = 1_700_000_000_000;
        assert_eq!(plausible(now + 1000, now), now + 1000);
        assert_eq!(plausible(600_000, now), 0);
        assert_eq!(plausible(u64::MAX, now), 0);
        assert!(now_ms() > now);
    }
}
