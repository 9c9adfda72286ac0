//! What a host is told to do: which ranks to run, and what they need to meet the others.

use super::codec::{Malformed, Reader, Writer};
use super::{RELAYS_MAX, RELAY_MAX, SIZE_MAX, TASK_MAX};

/// A host's part of a job.
#[derive(Clone, PartialEq, Eq)]
pub struct Errand {
    pub first_rank: u32,
    /// How many ranks run here.
    pub ranks: u32,
    /// The whole job's.
    pub size: u32,
    /// How many ranks an instance has, except that the last one may have fewer.
    pub per_instance: u32,
    /// The ranks' epoch: this host's attempt.
    pub epoch: u32,
    /// The job's mesh key, a rank's `token`.
    pub mesh: [u8; 32],
    /// A member pass for each rank here.
    pub passes: Vec<[u8; 32]>,
    /// `host:port,host:port`: the two ports of a relay.
    pub relays: Vec<String>,
    /// Seconds since 1970.
    pub relay_expiry: u64,
    pub relay_grant: [u8; 32],
    /// What the launcher wrote for the host; the service does not look into it.
    pub task: Vec<u8>,
}

impl std::fmt::Debug for Errand {
    /// Without its secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let last = self.first_rank + self.ranks.saturating_sub(1);
        write!(f, "ranks {}..={last} of {}", self.first_rank, self.size)
    }
}

impl Errand {
    pub(super) fn write(&self, w: &mut Writer) {
        for value in [
            self.first_rank,
            self.ranks,
            self.size,
            self.per_instance,
            self.epoch,
        ] {
            w.u32(value);
        }
        w.raw(&self.mesh);
        w.u32(self.passes.len() as u32);
        for pass in &self.passes {
            w.raw(pass);
        }
        write_relays(w, &self.relays, self.relay_expiry, &self.relay_grant);
        w.bytes(&self.task);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Errand, Malformed> {
        let first_rank = r.u32()?;
        let ranks = r.u32()?;
        let size = r.u32()?;
        let per_instance = r.u32()?;
        let epoch = r.u32()?;
        let mesh = r.array()?;
        let count = r.count(SIZE_MAX, 32)?;
        let mut passes = Vec::with_capacity(count);
        for _ in 0..count {
            passes.push(r.array()?);
        }
        let (relays, relay_expiry, relay_grant) = read_relays(r)?;
        let fits = first_rank.checked_add(ranks).is_some_and(|end| end <= size);
        if ranks == 0 || size > SIZE_MAX || !fits || count != ranks as usize {
            return Err(Malformed("its ranks are not within its size"));
        }
        Ok(Errand {
            first_rank,
            ranks,
            size,
            per_instance,
            epoch,
            mesh,
            passes,
            relays,
            relay_expiry,
            relay_grant,
            task: r.bytes(TASK_MAX)?.to_vec(),
        })
    }
}

pub(super) fn write_relays(w: &mut Writer, relays: &[String], expiry: u64, grant: &[u8; 32]) {
    let relays = &relays[..relays.len().min(RELAYS_MAX)];
    w.u32(relays.len() as u32);
    for relay in relays {
        w.text(relay, RELAY_MAX);
    }
    w.u64(expiry);
    w.raw(grant);
}

pub(super) type Relays = (Vec<String>, u64, [u8; 32]);

pub(super) fn read_relays(r: &mut Reader<'_>) -> Result<Relays, Malformed> {
    let count = r.count(RELAYS_MAX as u32, 4)?;
    let mut relays = Vec::with_capacity(count);
    for _ in 0..count {
        relays.push(r.text(RELAY_MAX)?);
    }
    Ok((relays, r.u64()?, r.array()?))
}
