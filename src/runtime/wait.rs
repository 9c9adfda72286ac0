//! The only place that blocks. Waiting adapts: spin while that pays, then yield, then sleep on the links.

use crate::base::error::Result;
use crate::engine::{Outcome, Ticket};
use crate::mpi::progress::Upcall;
use crate::mpi::World;
use crate::runtime::Runtime;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// The longest sleep: a lost wake-up costs no more than this.
const LONGEST: Duration = Duration::from_millis(100);

/// Calls that only test, between two looks at whether the peers still live.
const POKES: u32 = 4096;
/// The same for naps.
const NAPS: u32 = 16;

/// Spins and yields of who shares its processor: spinning keeps it from the rank that it waits for, and a wake-up
/// costs more than to be in the queue when the message comes: it yields at once, for some rounds.
const SHARED: (u32, u32) = (1, 16);
/// Waits in a row that spinning did not end, after which it is thought useless.
const USELESS: u32 = 2;
/// One wait in so many tries nevertheless.
const TRIAL: u32 = 32;

/// How patient waiting is: set from cores and ranks, then learnt, for other programs and the scheduler decide too
/// whether a rank has a processor for itself.
pub struct Patience {
    /// Calls so far that only tested.
    pokes: AtomicU32,
    /// Empty polls before the processor is yielded.
    pub spins: AtomicU32,
    /// Yields before sleeping.
    pub yields: AtomicU32,
    /// Waits in a row that spinning did not end.
    useless: AtomicU32,
    /// Waits since then.
    trials: AtomicU32,
    /// The user's wish stands.
    fixed: AtomicBool,
}

impl Patience {
    pub const fn new() -> Patience {
        Patience {
            pokes: AtomicU32::new(0),
            spins: AtomicU32::new(200),
            yields: AtomicU32::new(20),
            useless: AtomicU32::new(0),
            trials: AtomicU32::new(0),
            fixed: AtomicBool::new(false),
        }
    }

    /// `ranks` of this job share `cores`; `wish` is the user's number of spins, negative for ours.
    pub fn set(&self, ranks: u32, cores: u32, wish: i64) {
        let (spins, yields) = if ranks <= cores { (5_000, 50) } else { SHARED };
        self.spins.store(
            if wish < 0 {
                spins
            } else {
                wish.min(1 << 30) as u32
            },
            Ordering::Relaxed,
        );
        self.yields.store(yields, Ordering::Relaxed);
        self.fixed.store(wish >= 0, Ordering::Relaxed);
    }

    /// Spins and yields of the wait that begins, and whether something can be learnt from it.
    #[inline]
    fn begin(&self) -> (u32, u32, bool) {
        if self.useless.load(Ordering::Relaxed) >= USELESS
            && self.trials.fetch_add(1, Ordering::Relaxed) % TRIAL != TRIAL - 1
        {
            return (SHARED.0, SHARED.1, false);
        }
        let spins = self.spins.load(Ordering::Relaxed);
        let learns = spins > SHARED.0 && !self.fixed.load(Ordering::Relaxed);
        (spins, self.yields.load(Ordering::Relaxed), learns)
    }

    /// A wait that spun is over: it was worth it, or it had to yield.
    fn learn(&self, worth: bool) {
        let useless = self.useless.load(Ordering::Relaxed);
        let useless = if worth { 0 } else { USELESS.min(useless + 1) };
        self.useless.store(useless, Ordering::Relaxed);
    }
}

impl Default for Patience {
    fn default() -> Patience {
        Patience::new()
    }
}

enum Look<R> {
    Found(R),
    Call(Upcall),
    Moved,
    /// An empty poll, and what it was worth.
    Nothing(u32),
}

impl Runtime {
    /// Drives progress until `done` answers. Upcalls run in between, with the gate open.
    pub fn until<R>(&self, mut done: impl FnMut(&mut World) -> Option<R>) -> R {
        let (spins, yields, learns) = self.patience.begin();
        let mut idle = 0u32;
        let mut yielded = false;
        loop {
            let look = self.with(|world| {
                if let Some(found) = done(world) {
                    return Look::Found(found);
                }
                let progress = world.progress();
                if let Some(upcall) = progress.upcall {
                    return Look::Call(upcall);
                }
                if progress.moved {
                    Look::Moved
                } else {
                    let engine = world.engine.as_ref();
                    Look::Nothing(engine.map_or(1, |e| e.links.effort()))
                }
            });
            match look {
                Look::Found(found) => {
                    if learns && (idle > 0 || yielded) {
                        self.patience.learn(!yielded);
                    }
                    return found;
                }
                Look::Call(upcall) => {
                    self.run_upcall(upcall);
                    idle = 0;
                }
                Look::Moved => {
                    idle = 0;
                    self.gate.give_way();
                }
                Look::Nothing(effort) => {
                    self.gate.give_way();
                    if idle < spins {
                        idle = idle.saturating_add(effort).min(spins);
                    } else {
                        idle = idle.saturating_add(1);
                    }
                    yielded |= idle >= spins;
                    if idle < spins {
                        std::hint::spin_loop();
                    } else if idle < spins + yields {
                        std::thread::yield_now();
                    } else {
                        self.sleep(idle - spins - yields);
                    }
                }
            }
        }
    }

    /// Sleeps until something may have arrived. Under MPI_THREAD_MULTIPLE the gate must stay open, so that other
    /// threads get in: then by short naps.
    fn sleep(&self, times: u32) {
        if self.gate.is_shared() {
            let nap = Duration::from_micros(20u64 << times.min(6));
            std::thread::sleep(nap);
            if times % NAPS == 0 {
                self.look_after_peers();
            }
            return;
        }
        self.with(|world| {
            if let Some(engine) = &mut world.engine {
                engine.links.sleep(LONGEST);
            } else {
                std::thread::sleep(Duration::from_micros(50));
            }
        });
    }

    /// The links look for peers that ended while they sleep. Who never sleeps has to ask.
    #[cold]
    fn look_after_peers(&self) {
        self.with(|world| {
            if let Some(engine) = &mut world.engine {
                engine.links.sleep(Duration::ZERO);
            }
        });
    }

    /// Lets things move once without waiting; for the calls that only test.
    pub fn poke(&self) {
        if self.patience.pokes.fetch_add(1, Ordering::Relaxed) % POKES == POKES - 1 {
            self.look_after_peers();
        }
        self.gate.give_way();
        let upcall = self.with(|world| world.progress().upcall);
        if let Some(upcall) = upcall {
            self.run_upcall(upcall);
        }
    }

    /// Waits for a ticket.
    #[inline]
    pub fn wait_ticket(&self, ticket: Ticket) -> Result<Outcome> {
        Ok(self.until(|world| match &mut world.engine {
            Some(engine) => engine.test(ticket),
            None => None,
        }))
    }

    /// Runs a user's reduction with the gate open, and lets its schedule go on.
    pub fn run_upcall(&self, upcall: Upcall) {
        let request = upcall.run();
        self.with(|world| world.resume(request));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_that_never_helps_is_given_up_and_tried_again_now_and_then() {
        let patience = Patience::new();
        patience.set(2, 2, -1);
        for _ in 0..USELESS {
            assert_eq!(patience.begin(), (5_000, 50, true));
            patience.learn(false);
        }
        let spun = |patience: &Patience| (0..320).filter(|_| patience.begin().2).count();
        assert_eq!(spun(&patience), 10);
        patience.learn(true);
        assert_eq!(spun(&patience), 320);
    }

    #[test]
    fn more_ranks_than_cores_never_spin_long_and_a_wish_stands() {
        let patience = Patience::new();
        patience.set(3, 2, -1);
        assert_eq!(patience.begin(), (SHARED.0, SHARED.1, false));
        patience.set(3, 2, 777);
        assert_eq!(patience.begin(), (777, SHARED.1, false));
    }
}
