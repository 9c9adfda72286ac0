//! The only place that blocks. Waiting adapts: spin while that pays, then yield, then sleep on the links.

use crate::base::error::Result;
use crate::engine::{Outcome, Ticket};
use crate::mpi::progress::Upcall;
use crate::mpi::World;
use crate::runtime::Runtime;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest sleep: a lost wake-up costs no more than this.
const LONGEST: Duration = Duration::from_millis(100);

/// The longest sleep with a gate that another thread may come to.
const SHORT: Duration = Duration::from_millis(4);

/// Spins of threads that meet at the gate: each keeps the others out.
const CROWDED: u32 = 500;

/// After so many sleeps in one wait the peers are asked whether they live: of one to whom this rank never spoke,
/// nothing else would tell the end. As many later, and so on, the links look again.
const UNEASY: u32 = 16;

/// How often who never sleeps has the links look for peers that ended in silence.
const LOOKS: Duration = Duration::from_secs(2);

/// A look of so much effort, one at sockets or at a device that is the kernel's, may share the processor with who does the
/// work looked for: a kernel's thread, or the peer, which the kernel often wakes where the message was sent. Of a peer
/// without shared memory nothing tells where it runs, nor of one that waits for such a peer.
const DEAR: u32 = 4;

/// Looks at a time, where nobody else wants in.
const SEVERAL: u32 = 8;

/// What is done once in so many rounds of looks, each some microseconds after the other.
const SELDOM: u32 = 32;

/// The round in which that is done for the first time: before, most answers have come.
const EARLY: u32 = 8;

/// Calls that only test, between two looks at the clock, and how often they look whether the peers still live.
const POKES: u32 = 1024;
const GLANCES: Duration = Duration::from_millis(20);
/// The same for naps.
const NAPS: u32 = 16;

/// How patient waiting is; set once from cores and ranks.
pub struct Patience {
    /// Calls so far that only tested.
    pokes: AtomicU32,
    /// Collectives so far that had not to wait.
    calls: AtomicU32,
    /// When somebody who never sleeps looked last.
    looked: Mutex<Option<Instant>>,
    /// When somebody who only tests did.
    glanced: Mutex<Option<Instant>>,
    /// Empty polls before the processor is yielded.
    pub spins: AtomicU32,
    /// Yields before sleeping.
    pub yields: AtomicU32,
}

impl Patience {
    pub const fn new() -> Patience {
        Patience {
            pokes: AtomicU32::new(0),
            calls: AtomicU32::new(0),
            looked: Mutex::new(None),
            glanced: Mutex::new(None),
            spins: AtomicU32::new(200),
            yields: AtomicU32::new(20),
        }
    }

    /// `ranks` of this job share `cores`; `wish` is the user's number of spins, negative for ours.
    pub fn set(&self, ranks: u32, cores: u32, wish: i64) {
        // Where ranks share cores, whoever spins keeps the core from the rank that it waits for, and a wake-up costs
        // more than to be in the queue when the message comes: yield at once, for some rounds.
        // Where each has its own, half a millisecond: on a machine with other work to do, whoever leaves its core
        // sooner loses the time that it could have had together with its peer.
        let (spins, yields) = if ranks <= cores {
            (20_000, 50)
        } else {
            (1, 48)
        };
        self.spins.store(
            if wish < 0 {
                spins
            } else {
                wish.min(1 << 30) as u32
            },
            Ordering::Relaxed,
        );
        self.yields.store(yields, Ordering::Relaxed);
    }
}

impl Patience {
    /// Is it time to look for silent peers? Says so once.
    #[cold]
    fn is_look_due(&self) -> bool {
        is_due(&self.looked, LOOKS)
    }

    /// The same for those who only test.
    #[cold]
    fn is_glance_due(&self) -> bool {
        is_due(&self.glanced, GLANCES)
    }
}

/// Has so much time passed since it was so last? The first time counts from now.
fn is_due(last: &Mutex<Option<Instant>>, every: Duration) -> bool {
    let now = Instant::now();
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let due = last.is_some_and(|before| now - before >= every);
    if due || last.is_none() {
        *last = Some(now);
    }
    due
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
        let spins = self.patience.spins.load(Ordering::Relaxed);
        let spins = if self.gate.is_crowded() {
            spins.min(CROWDED)
        } else {
            spins
        };
        let yields = self.patience.yields.load(Ordering::Relaxed);
        let (mut idle, mut looks, mut crowded, mut woke, mut far) =
            (0u32, 0u32, false, false, false);
        let several = if self.gate.is_shared() || spins < SEVERAL {
            1
        } else {
            SEVERAL
        };
        loop {
            let look = self.with(|world| {
                if let Some(found) = done(world) {
                    return Look::Found(found);
                }
                let mut effort = 0u32;
                for _ in 0..several {
                    let progress = world.progress();
                    if let Some(upcall) = progress.upcall {
                        return Look::Call(upcall);
                    }
                    if progress.moved {
                        return done(world).map_or(Look::Moved, Look::Found);
                    }
                    let engine = world.engine.as_ref();
                    let this = engine.map_or(1, |e| e.links.effort());
                    effort = effort.saturating_add(this);
                    // A look at a device's queues or at sockets is pause enough; in a guest a pause may cost more than all the rest.
                    if this == 1 {
                        std::hint::spin_loop();
                    }
                }
                far = !world.limits.near;
                woke = world.engine.as_mut().is_some_and(|e| e.links.has_woken());
                Look::Nothing(effort)
            });
            match look {
                Look::Found(found) => return found,
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
                    idle = if idle < spins {
                        idle.saturating_add(effort).min(spins)
                    } else {
                        idle.saturating_add(1)
                    };
                    looks = looks.wrapping_add(1);
                    if idle < spins {
                        if looks.is_multiple_of(SELDOM) {
                            crowded = self.shares_core();
                        }
                        // What is dear enough to be the kernel's own work lets the kernel's threads by.
                        let due = looks == EARLY || looks.is_multiple_of(SELDOM);
                        let kernel = (far || effort >= several * DEAR) && due;
                        if crowded || kernel || woke {
                            std::thread::yield_now();
                        }
                    } else if idle < spins + yields {
                        std::thread::yield_now();
                    } else {
                        self.sleep(idle - spins - yields);
                    }
                }
            }
        }
    }

    /// Is the processor that this rank spins on also its peer's?
    #[cold]
    fn shares_core(&self) -> bool {
        let shares = |world: &mut World| world.engine.as_mut().map(|e| e.links.shares_core());
        self.with(shares).unwrap_or(false)
    }

    /// Sleeps until something may have arrived. Where other threads call, the gate must stay open for them: then by
    /// short naps. Where they might, the sleep is short, for who comes first has to wait for its end.
    fn sleep(&self, times: u32) {
        let shared = self.gate.is_shared();
        if shared && self.gate.in_company() {
            let nap = Duration::from_micros(20u64 << times.min(6));
            std::thread::sleep(nap);
            if times.is_multiple_of(NAPS) {
                self.look_after_peers();
            }
            return;
        }
        self.with(|world| {
            if let Some(engine) = &mut world.engine {
                if times > 0 && times.is_multiple_of(UNEASY) {
                    engine.inquire(times > UNEASY);
                }
                engine.links.sleep(if shared { SHORT } else { LONGEST });
            } else {
                std::thread::sleep(Duration::from_micros(50));
            }
        });
    }

    /// The links look for peers that ended while they sleep. Who never sleeps has to ask.
    #[cold]
    fn look_after_peers(&self) {
        let due = self.patience.is_look_due();
        self.with(|world| {
            if let Some(engine) = &mut world.engine {
                if due {
                    engine.inquire(true);
                }
                engine.links.sleep(Duration::ZERO);
            }
        });
    }

    /// Is `done` so, now or after things have moved once? For the calls that only test.
    #[inline]
    pub fn attempt(&self, mut done: impl FnMut(&mut World) -> bool) {
        self.count_poke();
        let upcall = self.with(|world| {
            if done(world) {
                return None;
            }
            let progress = world.progress();
            if progress.upcall.is_none() && progress.moved {
                done(world);
            }
            progress.upcall
        });
        if let Some(upcall) = upcall {
            self.run_upcall(upcall);
            self.with(done);
        }
    }

    /// Who only tests never sleeps, and has to look for peers that ended in silence now and then.
    #[inline]
    fn count_poke(&self) {
        // Threads that count at once may lose a count.
        let pokes = self.patience.pokes.load(Ordering::Relaxed);
        self.patience
            .pokes
            .store(pokes.wrapping_add(1), Ordering::Relaxed);
        if pokes % POKES == POKES - 1 && self.patience.is_glance_due() {
            self.look_after_peers();
        }
        self.gate.give_way();
    }

    /// Of calls that end without waiting every eighth lets things move, or those who wait for this rank might wait for long.
    #[inline]
    pub fn breathe(&self) {
        let calls = self.patience.calls.load(Ordering::Relaxed);
        self.patience
            .calls
            .store(calls.wrapping_add(1), Ordering::Relaxed);
        if calls % 8 == 7 {
            self.poke();
        }
    }

    /// Lets things move once without waiting; for the calls that only test.
    pub fn poke(&self) {
        self.count_poke();
        let upcall = self.with(|world| world.progress().upcall);
        if let Some(upcall) = upcall {
            self.run_upcall(upcall);
        }
    }

    /// Waits for a ticket.
    #[inline(never)]
    pub fn wait_ticket(&self, ticket: Ticket) -> Result<Outcome> {
        Ok(self.until(|world| match &mut world.engine {
            Some(engine) => engine.test(ticket),
            None => None,
        }))
    }

    /// Waits for the blocking receive.
    #[inline(never)]
    pub fn wait_blocking(&self) -> Outcome {
        self.until(|world| world.engine.as_mut()?.unblock())
    }

    /// Runs a user's reduction with the gate open, and lets its schedule go on.
    pub fn run_upcall(&self, upcall: Upcall) {
        let request = upcall.run();
        self.with(|world| world.resume(request));
    }
}
