//! Progress: the engine's, and that of the collectives under way.

use crate::base::error::{Error, Result};
use crate::base::id::{CommId, PeerId, RequestId};
use crate::engine::Engine;
use crate::mpi::boards::PHASES;
use crate::mpi::channel::{Channel, Lane, Message};
use crate::mpi::collective::running::{self, Running, State};
use crate::mpi::collective::{Call, Place};
use crate::mpi::comm::{Comm, Comms};
use crate::mpi::request::Request;
use crate::mpi::World;

use crate::{fail, info};

/// What one turn of progress did.
pub struct Progress {
    pub moved: bool,
    /// A user's reduction that a schedule waits for.
    pub upcall: Option<Upcall>,
}

/// A user's reduction, to be run with the gate open.
pub struct Upcall {
    request: RequestId,
    call: running::Upcall,
}

impl Upcall {
    /// Runs it; the request goes on with [`World::resume`].
    pub fn run(self) -> RequestId {
        self.call.run();
        self.request
    }
}

/// What happens when a collective has ended, before its request is complete.
pub enum Then {
    Nothing,
    /// A nonblocking constructor: the new communicator gets the context id that has arrived.
    Context {
        comm: CommId,
        words: Box<Words>,
    },
    /// The same between groups: the smaller of both sides' ids, and an id for the hidden local communicator.
    Contexts {
        comm: CommId,
        hidden: CommId,
        words: Box<Words>,
    },
}

impl Then {
    fn apply(&self, comms: &mut Comms) {
        let mut give = |comm: CommId, context: u64, local: u64| {
            if let Some(new) = comms.table.get_mut(comm) {
                new.context = context;
                new.local_context = local;
            }
        };
        match self {
            Then::Nothing => {}
            Then::Context { comm, words } => {
                let context = u64::from_le_bytes(words[0]);
                give(*comm, context, context);
            }
            Then::Contexts {
                comm,
                hidden,
                words,
            } => {
                let [ours, local, theirs, _] = words.map(u64::from_le_bytes);
                give(*comm, ours.min(theirs), local);
                give(*hidden, local, local);
            }
        }
    }
}

/// Context ids as they travel: ours and our hidden communicator's, theirs and their hidden one's.
pub type Words = [[u8; 8]; 4];

/// Flights that are over, for their memory. Boxed, for they go in and out and must not be copied.
#[derive(Default)]
#[allow(clippy::vec_box)]
pub struct Idle(Vec<Box<Flight>>);

impl Idle {
    fn take(&mut self, on: &Comm, tag: i32) -> Box<Flight> {
        match self.0.pop() {
            Some(mut flight) => {
                flight.lane.change(on, tag);
                flight
            }
            None => Box::new(Flight {
                running: Running::default(),
                lane: Lane::of(on, tag),
            }),
        }
    }

    /// Keeps its memory for later, unless that is much. Only when it is done.
    pub fn give(&mut self, mut flight: Box<Flight>) {
        if self.0.len() < 16 && flight.running.schedule.steps.capacity() <= 4096 {
            flight.running.rewind();
            flight.running.schedule.clear();
            self.0.push(flight);
        }
    }
}

/// A schedule with the messages of one communicator.
pub struct Flight {
    running: Running<Message>,
    lane: Lane,
}

impl Flight {
    fn step(&mut self, engine: &mut Engine) -> Result<State> {
        let lane = &mut self.lane;
        self.running.advance(&mut Channel { engine, lane })
    }

    /// The user's reduction has run.
    pub fn resumed(&mut self) {
        self.running.resumed();
    }
}

/// A collective that has a request.
pub struct Collective {
    flight: Box<Flight>,
    comm: CommId,
    life: Life,
    over: Option<Result<()>>,
    /// A user's reduction is being run; do not advance.
    calling: bool,
    then: Then,
}

/// How often a collective runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Once,
    /// Persistent, not started.
    Inactive,
    /// Persistent, started.
    Active,
}

impl Collective {
    /// Complete, or not even started?
    pub fn is_over(&self) -> bool {
        self.over.is_some() || self.life == Life::Inactive
    }

    /// Started, and its completion not yet taken?
    pub fn is_active(&self) -> bool {
        self.life != Life::Inactive
    }

    pub fn is_persistent(&self) -> bool {
        self.life != Life::Once
    }

    /// A persistent one has run: what it has to say; it may be started again.
    pub fn take(&mut self) -> Result<()> {
        if self.life == Life::Active && self.over.is_some() {
            self.life = Life::Inactive;
        }
        self.over.take().unwrap_or(Ok(()))
    }

    pub fn comm(&self) -> CommId {
        self.comm
    }

    /// Why it failed, if it is over and did.
    pub fn error(&self) -> Option<&Error> {
        self.over.as_ref()?.as_ref().err()
    }
}

/// What a collective did with its turn.
enum Turn {
    Waits,
    Ended,
    Call(running::Upcall),
}

/// Looks at a board, some twenty nanoseconds each, before something else is done.
const SPINS: u32 = 40;

impl World {
    /// Builds a collective on a communicator, ready to be run; a `blocking` one may use the communicator's boards.
    pub fn collective(
        &mut self,
        comm: CommId,
        blocking: bool,
        build: impl FnOnce(&mut Call) -> Result<()>,
    ) -> Result<Box<Flight>> {
        let on = self.comms.get_mut(comm)?;
        // Counted even if the arguments turn out wrong here: they may be right elsewhere.
        let tag = (on.collectives & i32::MAX as u32) as i32;
        on.collectives = on.collectives.wrapping_add(1);
        let place = Place {
            rank: on.rank,
            size: on.size(),
            remote: on.remote.as_ref().map(|g| g.size() as u32),
        };
        let mut flight = self.idle.take(on, tag);
        let on = self.comms.get(comm)?;
        let reach = match blocking {
            true => on.reach(),
            false => None,
        };
        let has_boards = reach.is_some();
        let mut call = Call {
            world: self,
            place,
            topology: on.topology.as_ref(),
            limits: &self.limits,
            reach,
            s: &mut flight.running.schedule,
        };
        let built = build(&mut call);
        if has_boards {
            let shows = built.is_ok() && flight.running.schedule.shows;
            self.lend_boards(comm, shows, &mut flight)?;
        }
        built.map(|()| flight)
    }

    /// A blocking collective begins where there are boards. If it does without them, or its arguments are wrong here, they
    /// are done with it: they may be used by it elsewhere.
    #[inline]
    fn lend_boards(&mut self, comm: CommId, shows: bool, flight: &mut Flight) -> Result<()> {
        let on = self.comms.get_mut(comm)?;
        let passes_on = on.nodes.is_some();
        let Some(mut boards) = on.boards.lend() else {
            return Ok(());
        };
        if shows {
            flight.lane.passes_on = passes_on;
            flight.lane.boards = Some(boards);
            flight.lane.spins = if self.limits.crowded { 0 } else { SPINS };
        } else {
            if let Some(engine) = &mut self.engine {
                engine.links.say_done(&mut boards, PHASES);
            }
            self.return_boards(comm, boards);
        }
        Ok(())
    }

    /// Begins a blocking collective, and ends it if it need not wait; else it is given back.
    pub fn begin_collective(
        &mut self,
        comm: CommId,
        build: impl FnOnce(&mut Call) -> Result<()>,
    ) -> Result<Option<Box<Flight>>> {
        let mut flight = self.collective(comm, true, build)?;
        match self.fly(&mut flight) {
            Some(Ok(None)) => {
                self.land(comm, flight, true);
                Ok(None)
            }
            Some(Err(error)) => {
                self.land(comm, flight, false);
                Err(error)
            }
            // A user's reduction is asked for again.
            Some(Ok(Some(_))) | None => Ok(Some(flight)),
        }
    }

    /// A blocking collective is over: its boards and its memory are for the next.
    #[inline]
    pub fn land(&mut self, comm: CommId, mut flight: Box<Flight>, fine: bool) {
        if let Some(boards) = flight.lane.boards.take() {
            self.return_boards(comm, boards);
        }
        if fine {
            self.idle.give(flight);
        }
    }

    /// Lets a collective without a request go on: nothing while it waits, then its end, or a user's reduction that is
    /// to be run before [`Flight::resumed`].
    pub fn fly(&mut self, flight: &mut Flight) -> Option<Result<Option<running::Upcall>>> {
        let Some(engine) = &mut self.engine else {
            return Some(self.engine().map(|_| None));
        };
        match flight.step(engine) {
            Ok(State::Waiting) => None,
            Ok(State::Call(call)) => Some(Ok(Some(call))),
            Ok(State::Done) => Some(Ok(None)),
            Err(error) => Some(Err(error)),
        }
    }

    /// Starts a collective; the request completes when this rank's part is done.
    pub fn start_collective(
        &mut self,
        comm: CommId,
        then: Then,
        build: impl FnOnce(&mut Call) -> Result<()>,
    ) -> Result<RequestId> {
        let id = self.request_for_collective(comm, Life::Once, then, build)?;
        self.take_off(id);
        Ok(id)
    }

    /// Makes a persistent collective, to be started by its request. Every run uses the same tag: messages of later
    /// runs do not overtake those of earlier ones.
    pub fn persistent_collective(
        &mut self,
        comm: CommId,
        build: impl FnOnce(&mut Call) -> Result<()>,
    ) -> Result<RequestId> {
        self.request_for_collective(comm, Life::Inactive, Then::Nothing, build)
    }

    fn request_for_collective(
        &mut self,
        comm: CommId,
        life: Life,
        then: Then,
        build: impl FnOnce(&mut Call) -> Result<()>,
    ) -> Result<RequestId> {
        let collective = Box::new(Collective {
            flight: self.collective(comm, false, build)?,
            comm,
            life,
            over: None,
            calling: false,
            then,
        });
        Ok(self.requests.table.insert(Request::Collective(collective)))
    }

    /// Starts a persistent collective once more.
    pub fn restart_collective(&mut self, id: RequestId) -> Result<()> {
        self.engine()?;
        match self.requests.get_mut(id)? {
            Request::Collective(collective) if collective.life == Life::Inactive => {
                collective.flight.running.rewind();
                collective.life = Life::Active;
            }
            Request::Collective(collective) if collective.life == Life::Active => {
                fail!(Request, "persistent request {:#x} is already active", id.0)
            }
            _ => fail!(Request, "request {:#x} is not persistent", id.0),
        }
        self.take_off(id);
        Ok(())
    }

    /// A first turn: what can be sent now need not wait for the next call. A user's reduction has to, and is asked for
    /// again.
    fn take_off(&mut self, id: RequestId) {
        if !matches!(self.turn(id), Turn::Ended) {
            self.requests.running.push(id);
        }
    }

    /// Which peer is lost and why, one that this rank lost itself before one that it was told of; for people.
    #[cold]
    pub fn loss(&self) -> Option<String> {
        let core = &self.engine.as_ref()?.core;
        let of = |peer: PeerId| Some((peer, core.peers[peer.0 as usize].lost.as_deref()?));
        let lost = || core.lost.iter().filter_map(|&peer| of(peer));
        let own = lost().find(|(_, why)| !why.ends_with(crate::engine::HEARSAY));
        let (peer, why) = own.or_else(|| lost().next())?;
        Some(format!("rank {} is gone: {why}", peer.0))
    }

    /// One turn: what arrived is taken in, what waits is sent, collectives go on.
    #[inline]
    pub fn progress(&mut self) -> Progress {
        let Some(engine) = &mut self.engine else {
            return Progress {
                moved: false,
                upcall: None,
            };
        };
        let mut moved = engine.progress();
        while let Some(peer) = engine.next_loss() {
            let why = engine.core.peers[peer.0 as usize].lost.as_deref();
            info!("rank {} is gone: {}", peer.0, why.unwrap_or_default());
            self.comms.bereave(engine, peer);
            moved = true;
        }
        if self.requests.running.is_empty() {
            return Progress {
                moved,
                upcall: None,
            };
        }
        self.advance(moved)
    }

    fn advance(&mut self, mut moved: bool) -> Progress {
        let completions = |world: &World| world.engine.as_ref().map(|e| e.core.completions);
        let before = completions(self);
        let mut at = 0;
        while at < self.requests.running.len() {
            let request = self.requests.running[at];
            match self.turn(request) {
                Turn::Waits => at += 1,
                Turn::Ended => {
                    moved = true;
                    self.requests.running.swap_remove(at);
                }
                Turn::Call(call) => {
                    if let Some(Request::Collective(c)) = self.requests.table.get_mut(request) {
                        c.calling = true;
                    }
                    return Progress {
                        moved: true,
                        upcall: Some(Upcall { request, call }),
                    };
                }
            }
        }
        Progress {
            moved: moved || before != completions(self),
            upcall: None,
        }
    }

    /// Lets one collective go on as far as it can.
    fn turn(&mut self, request: RequestId) -> Turn {
        let (Some(engine), Some(Request::Collective(collective))) =
            (&mut self.engine, self.requests.table.get_mut(request))
        else {
            return Turn::Ended;
        };
        if collective.calling {
            return Turn::Waits;
        }
        let end = match collective.flight.step(engine) {
            Ok(State::Waiting) => return Turn::Waits,
            Ok(State::Call(call)) => return Turn::Call(call),
            Ok(State::Done) => Ok(()),
            Err(error) => Err(error),
        };
        if end.is_ok() {
            collective.then.apply(&mut self.comms);
        }
        collective.over = Some(end);
        Turn::Ended
    }

    /// A user's reduction has run: its schedule goes on.
    pub fn resume(&mut self, request: RequestId) {
        if let Some(Request::Collective(collective)) = self.requests.table.get_mut(request) {
            collective.flight.resumed();
            collective.calling = false;
        }
    }

    /// What a collective that was taken from the table has to say.
    pub fn end_collective(&mut self, collective: Collective) -> Result<()> {
        match collective.over {
            Some(result) => {
                self.idle.give(collective.flight);
                result
            }
            None => fail!(Intern, "a collective was taken before it was complete"),
        }
    }
}
