//! What travels between the service and those who connect to it: frames of a 4-byte little-endian length and a body, of
//! which the first byte says the kind. A room a role: ranks, hosts, the job's owner. And the ticket that a launcher or a
//! host hands to a rank.

mod codec;
mod errand;
mod host;
mod member;
mod owner;
pub mod secrets;
mod ticket;

pub use codec::{body_length, Frame, Malformed};
pub use errand::Errand;
pub use host::{FromHost, ToHost, FROM_HOST_MAX, STDERR, STDOUT, TO_HOST_MAX};
pub use member::{
    tree_children, tree_parent, Blobs, ToMember, ToService, NOTE_MAX, TO_MEMBER_MAX,
    TO_SERVICE_MAX, TREE_ARITY,
};
pub use owner::{Event, FromOwner, ToOwner, FROM_OWNER_MAX, TO_OWNER_MAX};
pub use ticket::{Ticket, TICKET_MAX, TICKET_VARIABLE};

/// The protocol's version; a service and whoever connects refuse each other when theirs differ.
pub const VERSION: u16 = 2;
/// The largest blob that a member may give to a fence, bytes.
pub const BLOB_MAX: usize = 256 * 1024;
/// The longest text in a frame, bytes; longer ones are cut when encoded.
pub const TEXT_MAX: usize = 4096;
/// The longest name of a fence, bytes.
pub const NAME_MAX: usize = 64;
/// The largest piece of a rank's output or input, bytes.
pub const OUTPUT_MAX: usize = 64 * 1024;
/// The largest task of a job, bytes.
pub const TASK_MAX: usize = 1024 * 1024;
/// The most relays a job has.
pub const RELAYS_MAX: usize = 4;
/// The longest address of a relay, bytes.
pub const RELAY_MAX: usize = 512;
/// The largest job.
pub const SIZE_MAX: u32 = 65_536;
/// In place of a rank or an instance, in who ended a job or said something: the service or the job's owner.
pub const OBSERVER: u32 = u32::MAX;

/// Who opens a connection, as its path says; its pass proves it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    Member { rank: u32, epoch: u32 },
    Host { instance: u32, attempt: u32 },
    Owner,
}

impl Role {
    /// The path of this role's connection at the service.
    pub fn path(&self, job: &[u8; 16]) -> String {
        let job = hex(job);
        match self {
            Role::Member { rank, epoch } => format!("/v1/jobs/{job}/member/{rank}/{epoch}"),
            Role::Host { instance, attempt } => format!("/v1/jobs/{job}/host/{instance}/{attempt}"),
            Role::Owner => format!("/v1/jobs/{job}/owner"),
        }
    }

    /// From the parts of a path behind the job.
    pub fn from_path(parts: &[&str]) -> Option<Role> {
        // One way to write a number, so that one role has one path.
        let number = |text: &str| {
            let value: u32 = text.parse().ok()?;
            (value.to_string() == text).then_some(value)
        };
        match parts {
            ["member", rank, epoch] => Some(Role::Member {
                rank: number(rank)?,
                epoch: number(epoch)?,
            }),
            ["host", instance, attempt] => Some(Role::Host {
                instance: number(instance)?,
                attempt: number(attempt)?,
            }),
            ["owner"] => Some(Role::Owner),
            _ => None,
        }
    }

    /// What this role's connection must show, made from the job's secret.
    pub fn pass(&self, secret: &[u8; 32]) -> [u8; 32] {
        match *self {
            Role::Member { rank, epoch } => secrets::member_pass(secret, rank, epoch),
            Role::Host { instance, attempt } => {
                secrets::host_pass(&secrets::hosts_key(secret), instance, attempt)
            }
            Role::Owner => *secret,
        }
    }
}

/// The exit status for an abort's code: its low eight bits, but never 0.
pub fn exit_status(code: i32) -> i32 {
    match code & 0xff {
        0 => 1,
        status => status,
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The reverse of [`hex`], for exactly `N` bytes.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let high = (pair[0] as char).to_digit(16)?;
        let low = (pair[1] as char).to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    Some(out)
}

/// Are two secrets equal? Takes as long for any two of the same length.
pub fn same_secret(a: &[u8], b: &[u8]) -> bool {
    let mut difference = u8::from(a.len() != b.len());
    for (x, y) in a.iter().zip(b) {
        difference |= std::hint::black_box(x ^ y);
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests;
