//! Point-to-point communication (MPI-5.0 §3): arguments checked, communicators and datatypes resolved, the engine
//! told.

use crate::base::constant::{ANY_SOURCE, ANY_TAG, PROC_NULL, TAG_MAX};
use crate::base::error::{Class, Error, Object, Result};
use crate::base::id::{CommId, DatatypeId, PeerId};
use crate::engine::{Data, End, Layout, Outcome, Pattern, Run, Started, Ticket};
use crate::fail;
use crate::mpi::datatype::{self, Datatype, Types};
use crate::mpi::request::Active;
use crate::mpi::{Status, World};

/// The four sending modes (MPI-5.0 §3.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Standard,
    Buffered,
    Synchronous,
    Ready,
}

/// Arguments of a send, as given.
#[derive(Clone, Copy, Debug)]
pub struct SendArgs {
    pub mode: Mode,
    pub buffer: *mut u8,
    pub count: i64,
    pub datatype: DatatypeId,
    pub dest: i32,
    pub tag: i32,
    pub comm: CommId,
}

/// Arguments of a receive, as given.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveArgs {
    pub buffer: *mut u8,
    pub count: i64,
    pub datatype: DatatypeId,
    pub source: i32,
    pub tag: i32,
    pub comm: CommId,
}

/// An operation of pt2pt as started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begun {
    /// To or from MPI_PROC_NULL.
    Nothing,
    Engine(Started),
    /// A buffered send: over for the program, under way as the parcel of this serial number.
    Parcel(u64),
}

impl Layout for Datatype {
    unsafe fn pack(&self, count: usize, buffer: *const u8, skip: usize, out: &mut [u8]) -> usize {
        // SAFETY: the caller's promise is the callee's.
        unsafe { datatype::pack(self, count, buffer, skip, out) }
    }

    unsafe fn unpack(&self, count: usize, buffer: *mut u8, skip: usize, data: &[u8]) -> usize {
        // SAFETY: the caller's promise is the callee's.
        unsafe { datatype::unpack(self, count, buffer, skip, data) }
    }
}

/// The bytes that (buffer, count, datatype) names.
#[inline]
pub fn data(types: &Types, buffer: *mut u8, count: i64, datatype: DatatypeId) -> Result<Data> {
    if count < 0 {
        fail!(Count, "the count is {count}, which is negative");
    }
    let ty = types.committed(datatype)?;
    let count = count as usize;
    let Some(bytes) = ty.size().checked_mul(count) else {
        fail!(
            Count,
            "{count} elements of {} bytes are more than an address can tell",
            ty.size()
        );
    };
    if bytes == 0 {
        return Ok(Data::empty());
    }
    match ty.dense(count) {
        Some(offset) => {
            if buffer.is_null() && offset == 0 {
                fail!(
                    Buffer,
                    "the buffer is a null pointer, with {bytes} bytes to move"
                );
            }
            Ok(Data::dense(buffer.wrapping_offset(offset), bytes))
        }
        None => Ok(Data::typed(ty.clone(), count, buffer, bytes)),
    }
}

/// Of dense data, where nothing is wrong with them, the first byte and their number: what [`data`] would give, for calls in
/// which all is in order.
#[inline(always)]
fn plain(types: &Types, buffer: *mut u8, count: i64, datatype: DatatypeId) -> Option<Run> {
    let ty = types.find(datatype).filter(|ty| ty.is_committed())?;
    let count = usize::try_from(count).ok()?;
    let bytes = ty.size().checked_mul(count)?;
    let offset = ty.dense(count)?;
    (!buffer.is_null() || bytes == 0).then_some((buffer.wrapping_offset(offset), bytes))
}

impl World {
    /// A send of dense data to a process that can leave at once, and with which nothing is wrong; a `recallable` one may be
    /// cancelled. `None`: nothing was done.
    #[inline(always)]
    pub fn send_at_once(&mut self, args: &SendArgs, recallable: bool) -> Option<Active> {
        if !matches!(args.mode, Mode::Standard | Mode::Ready) || args.tag < 0 || args.dest < 0 {
            return None;
        }
        let comm = self.comms.table.get(args.comm)?;
        let peer = *comm.targets().members.get(args.dest as usize)?;
        let run = plain(&self.types, args.buffer, args.count, args.datatype)?;
        let (engine, context) = (self.engine.as_mut()?, comm.context);
        let serial = engine.send_at_once(run, peer, context, comm.rank, args.tag, recallable)?;
        Some(Active::Sent(peer, context, serial))
    }

    /// Context, pattern and process of a receive with which nothing is wrong: what [`World::pattern`] would give.
    #[inline(always)]
    fn plain_pattern(&self, args: &ReceiveArgs) -> Option<(u64, Pattern, Option<PeerId>)> {
        let comm = self.comms.table.get(args.comm)?;
        let tag = match args.tag {
            ANY_TAG => None,
            0.. => Some(args.tag),
            _ => return None,
        };
        let (source, peer) = match args.source {
            ANY_SOURCE => (None, None),
            0.. => {
                let peer = *comm.targets().members.get(args.source as usize)?;
                (Some(args.source as u32), Some(peer))
            }
            _ => return None,
        };
        Some((comm.context, Pattern { source, tag }, peer))
    }

    /// Begins a blocking receive that needs no operation, and with which nothing is wrong ([`Engine::unblock`] tells its
    /// end). False: nothing was done.
    #[inline(always)]
    pub fn block(&mut self, args: &ReceiveArgs) -> bool {
        let Some((context, pattern, peer)) = self.plain_pattern(args) else {
            return false;
        };
        let room = plain(&self.types, args.buffer, args.count, args.datatype);
        match (room, &mut self.engine) {
            (Some(room), Some(engine)) => engine.block(room, context, pattern, peer),
            _ => false,
        }
    }

    /// Posts a receive of dense data, with which nothing is wrong, and for which nothing waits. `None`: nothing was done.
    #[inline(always)]
    pub fn post(&mut self, args: &ReceiveArgs) -> Option<Ticket> {
        let (context, pattern, peer) = self.plain_pattern(args)?;
        let room = plain(&self.types, args.buffer, args.count, args.datatype)?;
        self.engine.as_mut()?.post(room, context, pattern, peer)
    }

    fn check_send_tag(tag: i32) -> Result<()> {
        if !(0..=TAG_MAX).contains(&tag) {
            fail!(Tag, "the tag is {tag}; it must be between 0 and {TAG_MAX}");
        }
        Ok(())
    }

    /// The process and this process's rank for a message to `dest`; `None` for MPI_PROC_NULL.
    #[inline]
    fn target(&self, comm: CommId, dest: i32) -> Result<Option<(PeerId, u64, u32)>> {
        let comm = self.comms.get(comm)?;
        if dest == PROC_NULL {
            return Ok(None);
        }
        let targets = comm.targets();
        match targets.members.get(dest as usize) {
            Some(&peer) if dest >= 0 => Ok(Some((peer, comm.context, comm.rank))),
            _ => fail!(
                Rank,
                "rank {dest} is not in 0..{} of the communicator",
                targets.size()
            ),
        }
    }

    /// [`World::target`] of a send's arguments, and the tag checked.
    pub fn checked_target(&self, args: &SendArgs) -> Result<Option<(PeerId, u64, u32)>> {
        let target = self.target(args.comm, args.dest)?;
        Self::check_send_tag(args.tag)?;
        Ok(target)
    }

    /// Starts a send that the engine reads straight from the user's memory. Buffered ones go through
    /// [`crate::mpi::buffered`].
    #[inline]
    pub fn send_start(&mut self, args: &SendArgs, tracked: bool) -> Result<Begun> {
        let target = self.checked_target(args)?;
        let data = data(&self.types, args.buffer, args.count, args.datatype)?;
        let Some((peer, context, rank)) = target else {
            return Ok(Begun::Nothing);
        };
        let synchronous = args.mode == Mode::Synchronous;
        Ok(Begun::Engine(self.engine()?.send(
            data,
            peer,
            context,
            rank,
            args.tag,
            synchronous,
            tracked,
        )))
    }

    /// What a receive or probe looks for: context, pattern, and the process when one is named. `None`: MPI_PROC_NULL.
    #[inline]
    pub fn pattern(
        &self,
        comm: CommId,
        source: i32,
        tag: i32,
    ) -> Result<Option<(u64, Pattern, Option<PeerId>)>> {
        let comm = self.comms.get(comm)?;
        let tag = match tag {
            ANY_TAG => None,
            0.. => Some(tag),
            _ => fail!(
                Tag,
                "the tag is {tag}; it must be MPI_ANY_TAG or between 0 and {TAG_MAX}"
            ),
        };
        let targets = comm.targets();
        let (source, peer) = match source {
            PROC_NULL => return Ok(None),
            ANY_SOURCE => (None, None),
            _ => match targets.members.get(source as usize) {
                Some(&peer) if source >= 0 => (Some(source as u32), Some(peer)),
                _ => fail!(
                    Rank,
                    "rank {source} is not in 0..{} of the communicator",
                    targets.size()
                ),
            },
        };
        Ok(Some((comm.context, Pattern { source, tag }, peer)))
    }

    /// Is a message of this pattern waiting? An error when none can come any more.
    pub fn look(
        &mut self,
        context: u64,
        pattern: Pattern,
        peer: Option<PeerId>,
    ) -> Option<Result<Status>> {
        let engine = self.engine.as_mut()?;
        if let Some((source, tag, bytes)) = engine.probe(context, pattern) {
            return Some(Ok(Status {
                source: source as i32,
                tag,
                bytes: bytes as u64,
                ..Status::EMPTY
            }));
        }
        let gone = engine.core.gone(context, peer);
        gone.map(|peer| Err(lost(peer)))
    }

    /// Starts a receive.
    #[inline]
    pub fn receive_start(&mut self, args: &ReceiveArgs) -> Result<Begun> {
        let pattern = self.pattern(args.comm, args.source, args.tag)?;
        let data = data(&self.types, args.buffer, args.count, args.datatype)?;
        let Some((context, pattern, peer)) = pattern else {
            return Ok(Begun::Nothing);
        };
        Ok(Begun::Engine(
            self.engine()?.receive(data, context, pattern, peer),
        ))
    }
}

/// A receive's status and error.
#[inline]
pub fn received(outcome: &Outcome, comm: CommId) -> (Status, Option<Error>) {
    let mut status = Status {
        source: outcome.source as i32,
        tag: outcome.tag,
        error: Class::Success,
        bytes: outcome.bytes,
        cancelled: false,
    };
    match outcome.end {
        End::Fine => (status, None),
        End::Cancelled => {
            status.cancelled = true;
            (status, None)
        }
        End::Truncated(total) => {
            status.error = Class::Truncate;
            let text = format!(
                "the message from rank {} with tag {} has {total} bytes, the receive buffer room for {}",
                outcome.source, outcome.tag, outcome.bytes
            );
            (
                status,
                Some(Error::new(Class::Truncate, text).on(Object::Comm(comm))),
            )
        }
        End::Lost(peer) => {
            status.error = Class::ProcAborted;
            (status, Some(lost(peer).on(Object::Comm(comm))))
        }
    }
}

/// A send's status and error.
#[inline]
pub fn sent(outcome: &Outcome, comm: CommId) -> (Status, Option<Error>) {
    let mut status = Status::EMPTY;
    match outcome.end {
        End::Cancelled => {
            status.cancelled = true;
            (status, None)
        }
        End::Lost(peer) => {
            status.error = Class::ProcAborted;
            (status, Some(lost(peer).on(Object::Comm(comm))))
        }
        End::Fine | End::Truncated(_) => (status, None),
    }
}

#[cold]
fn lost(peer: PeerId) -> Error {
    Error::new(
        Class::ProcAborted,
        format!("rank {} of MPI_COMM_WORLD is gone", peer.0),
    )
}
