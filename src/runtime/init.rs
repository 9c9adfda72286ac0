//! MPI_Init and MPI_Finalize: who am I, who are the others, links, the first communicators; and the way back.

use crate::base::config::config;
use crate::base::constant::{
    handle, THREAD_FUNNELED, THREAD_MULTIPLE, THREAD_SERIALIZED, THREAD_SINGLE,
};
use crate::base::error::{Class, Error, Result};
use crate::base::id::PeerId;
use crate::base::trace;
use crate::bootstrap::Bootstrap;
use crate::engine::Engine;
use crate::fail;
use crate::mpi::attribute::Owner;
use crate::mpi::collective::limits::Limits;
use crate::mpi::collective::tuned;
use crate::runtime::process::{Model, Runtime, State};
use crate::runtime::wireup;
use crate::transport::links::{Links, Options};
use crate::transport::shm::fence;
use crate::transport::{Courier, Mailbox, Outside};
use std::sync::atomic::Ordering;

impl Runtime {
    /// Starts MPI at the wanted thread level; returns the level provided.
    pub fn init(&self, required: i32) -> Result<i32> {
        match self.model() {
            Model::Before => {}
            Model::After => fail!(Other, "MPI was finalized; it cannot be initialized again"),
            Model::Active => fail!(Other, "MPI is already initialized"),
        }
        if ![
            THREAD_SINGLE,
            THREAD_FUNNELED,
            THREAD_SERIALIZED,
            THREAD_MULTIPLE,
        ]
        .contains(&required)
        {
            fail!(
                Arg,
                "the required thread level is {required}, which is none of the four"
            );
        }
        let provided = self.start(required)?;
        self.enter_model(Model::Active);
        Ok(provided)
    }

    /// Starts the machinery, or raises the thread level of the running one; gives the level provided.
    pub(super) fn start(&self, required: i32) -> Result<i32> {
        match self.state() {
            State::New => {
                self.enter_state(State::Starting);
                let begun = self.connect(required);
                self.enter_state(if begun.is_ok() {
                    State::Running
                } else {
                    State::New
                });
                begun.map(|()| required)
            }
            State::Running => {
                if required == THREAD_MULTIPLE {
                    self.gate.share();
                }
                Ok(self
                    .level
                    .fetch_max(required, Ordering::AcqRel)
                    .max(required))
            }
            state => fail!(Other, "MPI cannot start while it is {state:?}"),
        }
    }

    fn connect(&self, required: i32) -> Result<()> {
        // Whoever has no descriptors left meets nobody, and hears why when it opens its links.
        let mailbox = Mailbox::new().ok();
        let inbox = mailbox.clone();
        let on_note = move |from, note: Option<Vec<u8>>| match (&inbox, note) {
            (Some(inbox), Some(note)) => inbox.push(PeerId(from), &note),
            // Who writes to a rank knows its address, so that it has joined.
            (Some(inbox), None) => inbox.left(PeerId(from)),
            (None, _) => (),
        };
        // While there is no other thread yet.
        let fences = fence::register();
        let mut boot = Bootstrap::find(Box::new(on_note))?;
        let identity = boot.identity().clone();
        let me = PeerId(identity.rank);
        if identity.size > 1 {
            trace::set_rank(identity.rank as i32);
        }
        // A panic ends the process (it never unwinds into C); its last words carry the rank. The job learns of it by
        // the connection that breaks.
        std::panic::set_hook(Box::new(|panic| {
            trace::line(&format!("a defect of Mayfly ends this rank: {panic}"));
        }));
        let settings = config();
        let options = Options {
            me,
            size: identity.size,
            job: identity.job,
            token: identity.token,
            config: settings,
            fences,
            outside: outside(&boot, mailbox),
        };
        let mut links = Links::open(options)?;
        let near = identity.local_size == identity.size;
        let limits = tuned::parse(&settings.limits)
            .map_err(|why| Error::new(Class::Other, format!("MAYFLY_LIMITS: {why}")))?;
        links.say_where(near, near && identity.size > processors(), limits);
        self.patience
            .set(identity.local_size, cores(), settings.spin);
        wireup::introduce(self, &mut boot, links, settings.tree_from, |links| {
            let engine = Engine::new(links, me, identity.size, settings.eager);
            self.with(|world| {
                world.begin(engine, identity.size, identity.appnum, identity.universe);
                world.keyvals.deadline_ms = identity.deadline_ms;
            });
        })?;
        self.with(|world| {
            let Some(engine) = &world.engine else {
                return Ok(());
            };
            // Containers of one job may share a machine, and its processors.
            if identity.local_size <= cores() {
                let here = (engine.links.neighbours + 1).max(identity.local_size);
                self.patience.set(here, processors().max(cores()), settings.spin);
            }
            let (near, crowded) = engine.links.said_where();
            let changes = engine.links.said_limits();
            if !tuned::all_known(&changes) {
                fail!(Other, "rank 0 has limits (MAYFLY_LIMITS) that this rank's Mayfly does not know: take the same one everywhere");
            }
            world.limits = Limits::of(near, crowded).changed(&changes);
            Ok(())
        })?;
        self.level.store(required, Ordering::Release);
        if required == THREAD_MULTIPLE {
            self.gate.share();
        }
        let _ = self.main.set(std::thread::current().id());
        if let Ok(mut slot) = self.boot.lock() {
            *slot = Some(boot);
        }
        Ok(())
    }

    /// Ends the world model: MPI_COMM_SELF's attributes are deleted first (MPI-5.0 §11.2.4), then everything that was
    /// sent is delivered, then the links close, unless a session still needs them.
    pub fn finalize(&self) -> Result<()> {
        match self.model() {
            Model::Active => {}
            Model::After => fail!(Other, "MPI is already finalized"),
            Model::Before => fail!(Other, "MPI is not initialized"),
        }
        if self.with(|world| world.sessions.table.is_empty()) {
            self.enter_state(State::Ending);
            self.delete_self_attributes();
            self.end()?;
        } else {
            self.delete_self_attributes();
        }
        self.enter_model(Model::After);
        Ok(())
    }

    /// Ends the machinery.
    pub(super) fn end(&self) -> Result<()> {
        self.enter_state(State::Ending);
        self.until(|world| world.sweep_buffered().then_some(()));
        // Nobody leaves before everybody has received what was sent to them.
        let barrier = crate::runtime::calls::barrier(self, handle::COMM_WORLD);
        self.until(|world| {
            let idle = world.engine.as_ref().is_none_or(Engine::is_idle);
            idle.then_some(())
        });
        self.with(|world| {
            if let Some(engine) = &mut world.engine {
                engine.goodbye();
            }
        });
        self.drain();
        barrier?;
        self.with_boot(Bootstrap::finalize)?;
        self.with(|world| {
            if let Some(mut engine) = world.engine.take() {
                engine.links.close();
            }
        });
        self.enter_state(State::Finalized);
        Ok(())
    }

    /// Gives the last frames a bounded time to leave, and to arrive where a relay may break under them: who has left the
    /// job hears no call any more. A peer that is gone no longer takes them.
    fn drain(&self) {
        let start = std::time::Instant::now();
        self.until(|world| {
            let mut engine = world.engine.iter();
            let idle = engine.all(|e| e.is_idle() && e.links.settled());
            (idle || start.elapsed() > std::time::Duration::from_secs(5)).then_some(())
        });
    }

    /// Errors of delete functions have nobody to go to any more.
    fn delete_self_attributes(&self) {
        for comm in [handle::COMM_SELF, handle::COMM_WORLD] {
            let _ = crate::runtime::calls::delete_from(self, Owner::Comm(comm));
        }
    }
}

/// What the job gives a rank to reach peers outside of its network.
fn outside(boot: &Bootstrap, mailbox: Option<Mailbox>) -> Outside {
    let relays = &boot.identity().relays;
    let (Some(mailbox), Some(notes)) = (mailbox, boot.notes()) else {
        return Outside::default();
    };
    if relays.addresses.is_empty() {
        return Outside::default();
    }
    Outside {
        courier: Some(Box::new(Post(notes))),
        mailbox: Some(mailbox),
        relays: relays.addresses.clone(),
        relay_expiry: relays.expiry,
        relay_grant: relays.grant,
    }
}

/// The rendezvous carries notes. One that it does not take is lost; whoever sent it asks again, or the job ends.
struct Post(crate::bootstrap::Notes);

impl Courier for Post {
    fn send(&self, to: PeerId, note: &[u8]) {
        let _ = self.0.send(to.0, note);
    }
}

/// Processors that this process may use.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// Processors of this machine, whether this rank may use them or not.
fn processors() -> u32 {
    // SAFETY: no memory is involved.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    u32::try_from(online).map_or(1, |n| n.max(1))
}

impl Runtime {
    /// An error before there is a communicator to hand it to: the process ends.
    pub fn cannot_start(&self, error: &Error) -> ! {
        let code = if error.class == Class::Success {
            1
        } else {
            error.class as i32
        };
        self.abort(code, &format!("MPI_Init: {}", error.detail))
    }
}
