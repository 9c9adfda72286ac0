//! The ticket that a launcher or a host hands to a rank.

use super::codec::{Malformed, Reader, Writer};
use super::errand::{read_relays, write_relays};
use super::SIZE_MAX;

/// The largest encoded [`Ticket`]; it fits the smallest pipe.
pub const TICKET_MAX: usize = 4096;

/// The environment variable that names the pipe with the ticket: `DESCRIPTOR:INODE`. The inode tells the pipe from
/// whatever else may have that number by the time somebody looks.
pub const TICKET_VARIABLE: &str = "MAYFLY_JOB_FD";

/// What a launcher gives to a rank, through a pipe, so that it can join.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    pub job: [u8; 16],
    /// The mesh key: what ranks show each other.
    pub token: [u8; 32],
    /// The member pass of this rank and epoch: what it shows to the service.
    pub pass: [u8; 32],
    pub rank: u32,
    pub size: u32,
    pub epoch: u32,
    pub local_rank: u32,
    pub local_size: u32,
    pub appnum: i32,
    /// MPI_UNIVERSE_SIZE; -1: not known.
    pub universe: i32,
    /// Where the service listens: `host:port`.
    pub service: String,
    /// `host:port,host:port` each: the two ports of a relay.
    pub relays: Vec<String>,
    /// Until when the grant is good, seconds since 1970.
    pub relay_expiry: u64,
    pub relay_grant: [u8; 32],
    /// When the platform ends this instance, milliseconds since 1970; 0: not known.
    pub deadline_ms: u64,
}

const MAGIC: &[u8; 8] = b"mayfly\x02t";

impl Ticket {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer(MAGIC.to_vec());
        w.raw(&self.job);
        w.raw(&self.token);
        w.raw(&self.pass);
        for value in [
            self.rank,
            self.size,
            self.epoch,
            self.local_rank,
            self.local_size,
            self.appnum as u32,
            self.universe as u32,
        ] {
            w.u32(value);
        }
        w.text(&self.service, 1024);
        write_relays(&mut w, &self.relays, self.relay_expiry, &self.relay_grant);
        w.u64(self.deadline_ms);
        w.0
    }

    /// From what a pipe held.
    pub fn decode(bytes: &[u8]) -> Result<Ticket, Malformed> {
        let mut r = Reader(bytes);
        if r.array::<8>()? != *MAGIC {
            return Err(Malformed("it is no ticket of this version"));
        }
        let mut ticket = Ticket {
            job: r.array()?,
            token: r.array()?,
            pass: r.array()?,
            rank: r.u32()?,
            size: r.u32()?,
            epoch: r.u32()?,
            local_rank: r.u32()?,
            local_size: r.u32()?,
            appnum: r.i32()?,
            universe: r.i32()?,
            service: r.text(1024)?,
            relays: Vec::new(),
            relay_expiry: 0,
            relay_grant: [0; 32],
            deadline_ms: 0,
        };
        (ticket.relays, ticket.relay_expiry, ticket.relay_grant) = read_relays(&mut r)?;
        ticket.deadline_ms = r.u64()?;
        if ticket.size == 0 || ticket.size > SIZE_MAX || ticket.rank >= ticket.size {
            return Err(Malformed("its rank is not within its size"));
        }
        if ticket.local_size == 0 || ticket.local_rank >= ticket.local_size {
            return Err(Malformed("its local rank is not within its local size"));
        }
        r.end(ticket)
    }
}
