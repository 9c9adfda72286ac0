//! Between a rank and the service.

use super::codec::{Frame, Malformed, Reader, Writer};
use super::{BLOB_MAX, NAME_MAX, SIZE_MAX, TEXT_MAX, VERSION};

/// The largest body of a frame to the service.
pub const TO_SERVICE_MAX: usize = BLOB_MAX + TEXT_MAX + 64;
/// The largest body of a frame to a member: a table of everybody's blobs.
pub const TO_MEMBER_MAX: usize = 64 * 1024 * 1024;
/// The largest note, bytes.
pub const NOTE_MAX: usize = 4096;
/// How many children a rank has in the tree of [`ToService::TreeFence`].
pub const TREE_ARITY: u32 = 8;

/// The rank above this one in the tree; rank 0 has none.
pub fn tree_parent(rank: u32) -> Option<u32> {
    (rank > 0).then(|| (rank - 1) / TREE_ARITY)
}

/// The ranks below this one in the tree of a job of `size`.
pub fn tree_children(rank: u32, size: u32) -> std::ops::Range<u32> {
    let first = u64::from(rank) * u64::from(TREE_ARITY) + 1;
    let end = first + u64::from(TREE_ARITY);
    first.min(size.into()) as u32..end.min(size.into()) as u32
}

/// Some ranks' blobs, each with its rank.
pub type Blobs = Vec<(u32, Vec<u8>)>;

/// From a member to the service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToService {
    /// The first frame: who I am. `epoch` counts the attempts to start this rank; both are those of the pass.
    Join {
        rank: u32,
        size: u32,
        epoch: u32,
        pid: u32,
        host: String,
    },
    /// My part of the exchange of this name; the answer is a [`ToMember::Table`] once everybody's part is there.
    Fence { name: String, blob: Vec<u8> },
    /// The same, but the answer is a [`ToMember::Branch`].
    TreeFence { name: String, blob: Vec<u8> },
    /// I am alive.
    Renew,
    /// The job shall end with this code.
    Abort { code: i32, text: String },
    /// I need no one any more (MPI_Finalize); answered by [`ToMember::Goodbye`].
    Finished,
    /// To another rank, at most [`NOTE_MAX`] bytes; in order for each pair of ranks.
    Note { to: u32, blob: Vec<u8> },
}

/// From the service to a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToMember {
    /// You are in. Renew well within `lease` milliseconds; 0: no need to.
    Welcome { lease: u32 },
    /// You are not; the connection ends.
    Refused { text: String },
    /// Everybody's part of a fence, by rank.
    Table { name: String, blobs: Vec<Vec<u8>> },
    /// Parts of a tree fence with their ranks, ascending: for rank 0 everybody's (its own too), for every other rank
    /// those of its parent and its children in the tree.
    Branch { name: String, blobs: Blobs },
    /// The answer to [`ToService::Renew`].
    Alive,
    /// The job has been ended: by this rank, or by the service or launcher ([`super::OBSERVER`]).
    Aborted { rank: u32, code: i32, text: String },
    /// Every member has finished.
    Over,
    /// The answer to [`ToService::Finished`]; the connection ends.
    Goodbye,
    /// From another rank.
    Note { from: u32, blob: Vec<u8> },
    /// My note to this rank could not be delivered.
    Undelivered { to: u32, text: String },
}

impl Frame for ToService {
    const LIMIT: usize = TO_SERVICE_MAX;

    fn encode(&self) -> Vec<u8> {
        match self {
            ToService::Join {
                rank,
                size,
                epoch,
                pid,
                host,
            } => {
                let mut w = Writer::frame(1);
                w.raw(&VERSION.to_le_bytes());
                for value in [*rank, *size, *epoch, *pid] {
                    w.u32(value);
                }
                w.text(host, TEXT_MAX);
                w.done()
            }
            ToService::Fence { name, blob } => {
                let mut w = Writer::frame(2);
                w.text(name, NAME_MAX);
                w.bytes(blob);
                w.done()
            }
            ToService::Renew => Writer::frame(3).done(),
            ToService::Abort { code, text } => {
                let mut w = Writer::frame(4);
                w.u32(*code as u32);
                w.text(text, TEXT_MAX);
                w.done()
            }
            ToService::Finished => Writer::frame(5).done(),
            ToService::TreeFence { name, blob } => {
                let mut w = Writer::frame(6);
                w.text(name, NAME_MAX);
                w.bytes(blob);
                w.done()
            }
            ToService::Note { to, blob } => {
                let mut w = Writer::frame(7);
                w.u32(*to);
                w.bytes(blob);
                w.done()
            }
        }
    }

    fn decode(body: &[u8]) -> Result<ToService, Malformed> {
        let mut r = Reader(body);
        let value = match r.u8()? {
            1 => {
                r.version()?;
                ToService::Join {
                    rank: r.u32()?,
                    size: r.u32()?,
                    epoch: r.u32()?,
                    pid: r.u32()?,
                    host: r.line()?,
                }
            }
            2 => ToService::Fence {
                name: r.text(NAME_MAX)?,
                blob: r.bytes(BLOB_MAX)?.to_vec(),
            },
            3 => ToService::Renew,
            4 => ToService::Abort {
                code: r.i32()?,
                text: r.line()?,
            },
            5 => ToService::Finished,
            6 => ToService::TreeFence {
                name: r.text(NAME_MAX)?,
                blob: r.bytes(BLOB_MAX)?.to_vec(),
            },
            // Larger ones than allowed are the registry's to refuse, politely.
            7 => ToService::Note {
                to: r.u32()?,
                blob: r.bytes(BLOB_MAX)?.to_vec(),
            },
            _ => return Err(Malformed("its kind is unknown")),
        };
        r.end(value)
    }
}

impl Frame for ToMember {
    const LIMIT: usize = TO_MEMBER_MAX;

    fn encode(&self) -> Vec<u8> {
        match self {
            ToMember::Welcome { lease } => {
                let mut w = Writer::frame(1);
                w.raw(&VERSION.to_le_bytes());
                w.u32(*lease);
                w.done()
            }
            ToMember::Refused { text } => {
                let mut w = Writer::frame(2);
                w.text(text, TEXT_MAX);
                w.done()
            }
            // A barrier's table holds nothing: its answer should not grow with the job.
            ToMember::Table { name, blobs } if blobs.iter().all(Vec::is_empty) => {
                let mut w = Writer::frame(8);
                w.text(name, NAME_MAX);
                w.u32(blobs.len() as u32);
                w.done()
            }
            ToMember::Table { name, blobs } => {
                let mut w = Writer::frame(3);
                w.text(name, NAME_MAX);
                w.u32(blobs.len() as u32);
                for blob in blobs {
                    w.bytes(blob);
                }
                w.done()
            }
            ToMember::Alive => Writer::frame(4).done(),
            ToMember::Aborted { rank, code, text } => {
                let mut w = Writer::frame(5);
                w.u32(*rank);
                w.u32(*code as u32);
                w.text(text, TEXT_MAX);
                w.done()
            }
            ToMember::Over => Writer::frame(6).done(),
            ToMember::Goodbye => Writer::frame(7).done(),
            ToMember::Branch { name, blobs } => {
                let mut w = Writer::frame(9);
                w.text(name, NAME_MAX);
                w.u32(blobs.len() as u32);
                for (rank, blob) in blobs {
                    w.u32(*rank);
                    w.bytes(blob);
                }
                w.done()
            }
            ToMember::Note { from, blob } => {
                let mut w = Writer::frame(10);
                w.u32(*from);
                w.bytes(blob);
                w.done()
            }
            ToMember::Undelivered { to, text } => {
                let mut w = Writer::frame(11);
                w.u32(*to);
                w.text(text, TEXT_MAX);
                w.done()
            }
        }
    }

    fn decode(body: &[u8]) -> Result<ToMember, Malformed> {
        let mut r = Reader(body);
        let value = match r.u8()? {
            1 => {
                r.version()?;
                ToMember::Welcome { lease: r.u32()? }
            }
            2 => ToMember::Refused { text: r.line()? },
            3 => {
                let name = r.text(NAME_MAX)?;
                let count = r.count(SIZE_MAX, 4)?;
                let mut blobs = Vec::with_capacity(count);
                for _ in 0..count {
                    blobs.push(r.bytes(BLOB_MAX)?.to_vec());
                }
                ToMember::Table { name, blobs }
            }
            4 => ToMember::Alive,
            5 => ToMember::Aborted {
                rank: r.u32()?,
                code: r.i32()?,
                text: r.line()?,
            },
            6 => ToMember::Over,
            7 => ToMember::Goodbye,
            8 => ToMember::Table {
                name: r.text(NAME_MAX)?,
                blobs: vec![Vec::new(); r.count(SIZE_MAX, 0)?],
            },
            9 => {
                let name = r.text(NAME_MAX)?;
                let count = r.count(SIZE_MAX, 8)?;
                let mut blobs = Vec::with_capacity(count);
                for _ in 0..count {
                    blobs.push((r.u32()?, r.bytes(BLOB_MAX)?.to_vec()));
                }
                ToMember::Branch { name, blobs }
            }
            10 => ToMember::Note {
                from: r.u32()?,
                blob: r.bytes(NOTE_MAX)?.to_vec(),
            },
            11 => ToMember::Undelivered {
                to: r.u32()?,
                text: r.line()?,
            },
            _ => return Err(Malformed("its kind is unknown")),
        };
        r.end(value)
    }
}
