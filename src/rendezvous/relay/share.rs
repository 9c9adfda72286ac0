//! What one job may have of a relay: pairs at a time, and bytes a second. A pair counts from when its first side waits;
//! it holds a buffer a direction at most, so that the bound of pairs bounds a job's bytes under way too.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// After a pause a job may carry at once what it may carry in this time.
const BURST: Duration = Duration::from_millis(250);

/// What every job may have.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Pairs at a time.
    pub pairs: usize,
    /// Bytes a second, all pairs and directions together; 0: as many as go through.
    pub rate: u64,
}

/// The shares of all jobs that have pairs.
pub struct Shares {
    bounds: Bounds,
    jobs: Mutex<HashMap<[u8; 16], Job>>,
    /// How often bytes waited for their job's rate.
    pub paced: AtomicU64,
}

#[derive(Default)]
struct Job {
    pairs: usize,
    /// When the bytes that it has carried are paid for.
    paid: Option<Instant>,
}

impl Shares {
    pub fn new(bounds: Bounds) -> Arc<Shares> {
        Arc::new(Shares {
            bounds,
            jobs: Mutex::default(),
            paced: AtomicU64::new(0),
        })
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<[u8; 16], Job>> {
        self.jobs.lock().unwrap_or_else(|p| p.into_inner())
    }

    /// A place for one more pair; `None`: the job has as many as it may have. It is free again when it is dropped.
    pub fn enter(self: &Arc<Shares>, job: [u8; 16]) -> Option<Share> {
        let mut jobs = self.jobs();
        let entry = jobs.entry(job).or_default();
        if entry.pairs >= self.bounds.pairs {
            if entry.pairs == 0 {
                jobs.remove(&job);
            }
            return None;
        }
        entry.pairs += 1;
        Some(Share {
            job,
            shares: self.clone(),
        })
    }

    /// Jobs that have pairs, and how many the one with most has.
    pub fn figures(&self) -> (usize, usize) {
        let jobs = self.jobs();
        let most = jobs.values().map(|job| job.pairs).max();
        (jobs.len(), most.unwrap_or(0))
    }
}

/// A pair's place.
pub struct Share {
    job: [u8; 16],
    shares: Arc<Shares>,
}

impl Share {
    /// So many bytes were carried: how long to wait before the next ones.
    pub fn carried(&self, bytes: usize, now: Instant) -> Option<Duration> {
        let rate = self.shares.bounds.rate;
        if rate == 0 {
            return None;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let mut jobs = self.shares.jobs();
        let entry = jobs.get_mut(&self.job)?;
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let paid = entry.paid.map_or(earliest, |paid| paid.max(earliest)) + cost;
        entry.paid = Some(paid);
        let wait = paid.checked_duration_since(now).filter(|w| !w.is_zero())?;
        self.shares.paced.fetch_add(1, Ordering::Relaxed);
        Some(wait)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut jobs = self.shares.jobs();
        if let Some(entry) = jobs.get_mut(&self.job) {
            entry.pairs -= 1;
            if entry.pairs == 0 {
                jobs.remove(&self.job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_its_places_and_another_its_own() {
        let shares = Shares::new(Bounds { pairs: 2, rate: 0 });
        let enter = |job: u8| shares.enter([job; 16]);
        let (first, second) = (enter(1), enter(1));
        assert!(first.is_some() && second.is_some() && enter(1).is_none());
        let other = enter(2);
        assert!(other.is_some());
        assert_eq!(shares.figures(), (2, 2));
        drop(first);
        assert!(enter(1).is_some());
        drop((second, other));
        assert_eq!(shares.figures(), (0, 0));
        let none = Shares::new(Bounds { pairs: 0, rate: 0 });
        assert!(none.enter([1; 16]).is_none());
        assert_eq!(none.figures(), (0, 0));
    }

    #[test]
    fn a_job_carries_what_its_rate_allows_over_any_time() {
        let shares = Shares::new(Bounds {
            pairs: 9,
            rate: 1_000_000,
        });
        let pairs = [1, 1, 2].map(|job| shares.enter([job; 16]).expect("a place"));
        let begin = Instant::now();
        // Two pairs of one job take turns, each waiting as it is told.
        let mut due = [begin; 2];
        let mut carried = 0;
        while due[0].min(due[1]) < begin + Duration::from_secs(10) {
            let turn = usize::from(due[1] < due[0]);
            carried += 50_000;
            let wait = pairs[turn].carried(50_000, due[turn]);
            due[turn] += wait.unwrap_or_default();
        }
        assert!((10_000_000..10_600_000).contains(&carried), "{carried}");
        // The other job owes nothing; nor does anybody where there is no bound.
        assert_eq!(pairs[2].carried(200_000, begin), None);
        assert!(pairs[2].carried(200_000, begin).is_some());
        let free = Shares::new(Bounds { pairs: 1, rate: 0 });
        let pair = free.enter([1; 16]).expect("a place");
        assert_eq!(pair.carried(usize::MAX, begin), None);
        assert!(shares.paced.load(Ordering::Relaxed) > 0);
    }
}
