//! The process's one mutable static, and what belongs to the process rather than to MPI.

use crate::base::error::{Class, Error, Result};
use crate::base::trace;
use crate::bootstrap::Bootstrap;
use crate::mpi::World;
use crate::runtime::gate::Gate;
use crate::runtime::wait::Patience;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

/// Where MPI's machinery stands: it runs from the first MPI_Init or MPI_Session_init on, until neither the world nor
/// a session needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    New = 0,
    Starting = 1,
    Running = 2,
    Ending = 3,
    Finalized = 4,
}

/// Where the world model stands: MPI_Init and MPI_Finalize (MPI-5.0 §11.2). Sessions are another matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Model {
    Before = 0,
    Active = 1,
    After = 2,
}

/// The process's MPI: the world behind its gate.
pub struct Runtime {
    pub(super) gate: Gate<World>,
    pub(super) patience: Patience,
    state: AtomicU8,
    model: AtomicU8,
    /// The thread level provided, in the engine's numbers.
    pub(super) level: AtomicI32,
    /// Thread that initialized MPI.
    pub(super) main: OnceLock<std::thread::ThreadId>,
    pub(super) boot: Mutex<Option<Bootstrap>>,
    pub(super) began: Instant,
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The process's MPI, made at the first call of any function.
#[inline]
pub fn runtime() -> &'static Runtime {
    RUNTIME.get_or_init(Runtime::new)
}

impl Runtime {
    fn new() -> Runtime {
        Runtime {
            gate: Gate::new(World::new()),
            patience: Patience::new(),
            state: AtomicU8::new(State::New as u8),
            model: AtomicU8::new(Model::Before as u8),
            level: AtomicI32::new(0),
            main: OnceLock::new(),
            boot: Mutex::new(None),
            began: Instant::now(),
        }
    }

    /// Runs `f` on the world with the gate held. Never call user code inside.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        self.gate.enter(f)
    }

    #[inline]
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::New,
            1 => State::Starting,
            2 => State::Running,
            3 => State::Ending,
            _ => State::Finalized,
        }
    }

    pub(super) fn enter_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    #[inline]
    pub fn model(&self) -> Model {
        match self.model.load(Ordering::Acquire) {
            0 => Model::Before,
            1 => Model::Active,
            _ => Model::After,
        }
    }

    pub(super) fn enter_model(&self, model: Model) {
        self.model.store(model as u8, Ordering::Release);
    }

    /// May communication be called now? Callbacks that run during MPI_Finalize still may.
    #[inline]
    pub fn is_active(&self) -> bool {
        matches!(self.state(), State::Running | State::Ending)
    }

    /// Ends the whole job: tells it, says why in one line, and exits with `code`.
    pub fn abort(&self, code: i32, text: &str) -> ! {
        if !text.is_empty() {
            trace::line(text);
        }
        // A second abort, from a callback or another thread, must not wait for the first.
        if let Ok(mut boot) = self.boot.try_lock() {
            if let Some(boot) = boot.as_mut() {
                boot.abort(code, text);
            }
        }
        // What the shell would see of other codes: only the low eight bits; zero would say all was well.
        let status = if code & 0xff == 0 { 1 } else { code & 0xff };
        // SAFETY: flushing every C stream so that the program's last words are not lost, then leaving without
        // running destructors, which could wait for peers.
        unsafe {
            libc::fflush(std::ptr::null_mut());
            libc::_exit(status)
        }
    }

    /// The process's connection to its job.
    pub(super) fn with_boot<R>(&self, f: impl FnOnce(&mut Bootstrap) -> Result<R>) -> Result<R> {
        let mut boot = self
            .boot
            .lock()
            .map_err(|_| Error::new(Class::Intern, "a thread died in MPI"))?;
        match boot.as_mut() {
            Some(boot) => f(boot),
            None => Err(Error::new(Class::Other, "MPI is not initialized")),
        }
    }
}
