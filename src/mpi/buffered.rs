//! Buffered sends (MPI-5.0 §3.6). The message is packed into memory of our own; the attached buffer is only counted,
//! so that a program sees the error it would see when it attached too little.

use crate::base::constant::BUFFER_AUTOMATIC;
use crate::base::error::Result;
use crate::base::id::PeerId;
use crate::engine::{Data, Started, Ticket};
use crate::fail;
use crate::mpi::pt2pt::{data, Begun, Mode, SendArgs};
use crate::mpi::World;

/// What a buffered message takes besides its bytes; below every ABI's MPI_BSEND_OVERHEAD.
const OVERHEAD: usize = 64;

/// A buffered message under way.
pub struct Parcel {
    /// Tells it from all others of this process.
    pub serial: u64,
    pub ticket: Ticket,
    /// The packed message; the engine reads it until the ticket completes.
    pub memory: Box<[u8]>,
}

/// The attached buffer and what is in it.
#[derive(Default)]
pub struct Buffered {
    attached: Option<(usize, usize)>,
    pub parcels: Vec<Parcel>,
    /// Parcels so far.
    serial: u64,
}

impl Buffered {
    /// MPI_Buffer_attach: remembers address and size, bytes.
    pub fn attach(&mut self, address: *mut u8, size: i64) -> Result<()> {
        if self.attached.is_some() {
            fail!(Buffer, "a buffer is attached already");
        }
        if size < 0 {
            fail!(Arg, "the size is {size}, which is negative");
        }
        let size = if address == BUFFER_AUTOMATIC {
            usize::MAX
        } else {
            size as usize
        };
        self.attached = Some((address as usize, size));
        Ok(())
    }

    /// What MPI_Buffer_detach returns; call it when no parcel is left.
    pub fn detach(&mut self) -> Result<(*mut u8, i64)> {
        match self.attached.take() {
            Some((address, size)) => Ok((
                address as *mut u8,
                if address == BUFFER_AUTOMATIC as usize {
                    0
                } else {
                    size as i64
                },
            )),
            None => fail!(Buffer, "no buffer is attached"),
        }
    }

    fn reserve(&self, bytes: usize) -> Result<()> {
        let Some((_, size)) = self.attached else {
            fail!(
                Buffer,
                "no buffer is attached (MPI_Buffer_attach) for a buffered send of {bytes} bytes"
            )
        };
        let used: usize = self.parcels.iter().map(|p| p.memory.len() + OVERHEAD).sum();
        if size != usize::MAX && used.saturating_add(bytes + OVERHEAD) > size {
            fail!(
                Buffer,
                "a buffered send of {bytes} bytes needs {} more; {used} of {size} are in use",
                bytes + OVERHEAD
            );
        }
        Ok(())
    }
}

impl World {
    /// Lets go of buffered messages that have left; true when none is on its way any more.
    pub fn sweep_buffered(&mut self) -> bool {
        if let Some(engine) = &mut self.engine {
            self.buffered
                .parcels
                .retain(|p| engine.test(p.ticket).is_none());
        }
        self.buffered.parcels.is_empty()
    }

    /// Starts a send of any mode. A buffered one leaves a parcel, and its ticket.
    pub fn send_any(&mut self, args: &SendArgs) -> Result<Begun> {
        if args.mode != Mode::Buffered {
            return self.send_start(args, true);
        }
        let target = self.checked_target(args)?;
        let data = data(&self.types, args.buffer, args.count, args.datatype)?;
        self.send_data(args.mode, data, target, args.tag)
    }

    /// Starts a send whose arguments are resolved.
    pub fn send_data(
        &mut self,
        mode: Mode,
        data: Data,
        target: Option<(PeerId, u64, u32)>,
        tag: i32,
    ) -> Result<Begun> {
        let Some((peer, context, rank)) = target else {
            return Ok(Begun::Nothing);
        };
        if mode != Mode::Buffered {
            let synchronous = mode == Mode::Synchronous;
            return Ok(Begun::Engine(self.engine()?.send(
                data,
                peer,
                context,
                rank,
                tag,
                synchronous,
                true,
            )));
        }
        self.sweep_buffered();
        if let Err(error) = self.buffered.reserve(data.bytes) {
            // Some of what is in the way may only wait for a look at the links.
            self.engine()?.progress();
            self.sweep_buffered();
            self.buffered.reserve(data.bytes).map_err(|_| error)?;
        }
        let mut memory = vec![0u8; data.bytes].into_boxed_slice();
        data.read(0, &mut memory);
        let packed = Data::dense(memory.as_mut_ptr(), memory.len());
        let started = self
            .engine()?
            .send(packed, peer, context, rank, tag, false, true);
        if let Started::Pending(ticket) = started {
            self.buffered.serial += 1;
            let serial = self.buffered.serial;
            self.buffered.parcels.push(Parcel {
                serial,
                ticket,
                memory,
            });
            return Ok(Begun::Parcel(serial));
        }
        Ok(Begun::Engine(started))
    }
}
