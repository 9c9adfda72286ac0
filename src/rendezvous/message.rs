//! What travels between a member and the service: frames of a 4-byte little-endian length and a body, of which the
//! first byte says the kind. And the ticket that a launcher hands to a rank.

/// The protocol's version; a service and a member of different versions refuse each other.
pub const VERSION: u16 = 1;
/// The largest blob that a member may give to a fence, bytes.
pub const BLOB_MAX: usize = 256 * 1024;
/// The longest text in a frame, bytes; longer ones are cut when encoded.
pub const TEXT_MAX: usize = 4096;
/// The longest name of a fence, bytes.
pub const NAME_MAX: usize = 64;
/// The largest body of a frame to the service.
pub const TO_SERVICE_MAX: usize = BLOB_MAX + TEXT_MAX + 64;
/// The largest body of a frame to a member: a table of everybody's blobs.
pub const TO_MEMBER_MAX: usize = 64 * 1024 * 1024;
/// The largest job.
pub const SIZE_MAX: u32 = 65_536;
/// The largest encoded [`Ticket`]; it fits the smallest pipe.
pub const TICKET_MAX: usize = 4096;
/// The rank of a connection that takes no part but wants to know how the job ends.
pub const OBSERVER: u32 = u32::MAX;

/// Bytes that are no frame, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed frame: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// From a member to the service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToService {
    /// The first frame: who I am. `epoch` counts the attempts to start this rank.
    Join {
        rank: u32,
        size: u32,
        epoch: u32,
        pid: u32,
        host: String,
    },
    /// My part of the exchange of this name; the answer is a [`ToMember::Table`] once everybody's part is there.
    Fence { name: String, blob: Vec<u8> },
    /// I am alive.
    Renew,
    /// The job shall end with this code.
    Abort { code: i32, text: String },
    /// I need no one any more (MPI_Finalize); answered by [`ToMember::Goodbye`].
    Finished,
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
    /// The answer to [`ToService::Renew`].
    Alive,
    /// The job has been ended: by this rank, or by the service or launcher ([`OBSERVER`]).
    Aborted { rank: u32, code: i32, text: String },
    /// Every member has finished.
    Over,
    /// The answer to [`ToService::Finished`]; the connection ends.
    Goodbye,
}

/// What a launcher gives to a rank, through a pipe, so that it can join.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    pub job: [u8; 16],
    pub token: [u8; 32],
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
}

struct Writer(Vec<u8>);

impl Writer {
    fn frame(kind: u8) -> Writer {
        Writer(vec![0, 0, 0, 0, kind])
    }
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.0.extend_from_slice(bytes);
    }
    fn text(&mut self, text: &str, limit: usize) {
        let mut end = text.len().min(limit);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.bytes(&text.as_bytes()[..end]);
    }
    fn done(mut self) -> Vec<u8> {
        let length = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        if n > self.0.len() {
            return Err(Malformed("it ends too early"));
        }
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }
    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }
    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    fn bytes(&mut self, limit: usize) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        if length > limit {
            return Err(Malformed("a field is longer than allowed"));
        }
        self.take(length)
    }
    fn text(&mut self, limit: usize) -> Result<String, Malformed> {
        match std::str::from_utf8(self.bytes(limit)?) {
            Ok(text) => Ok(text.to_string()),
            Err(_) => Err(Malformed("a text is not UTF-8")),
        }
    }
    fn end<T>(self, value: T) -> Result<T, Malformed> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(Malformed("bytes are left over"))
        }
    }
}

/// The length of a frame's body, from its first four bytes; an error when it is empty or above `limit`.
pub fn body_length(prefix: [u8; 4], limit: usize) -> Result<usize, Malformed> {
    match u32::from_le_bytes(prefix) as usize {
        0 => Err(Malformed("it is empty")),
        n if n > limit => Err(Malformed("it is larger than allowed")),
        n => Ok(n),
    }
}

impl ToService {
    /// The whole frame, length first.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            ToService::Join {
                rank,
                size,
                epoch,
                pid,
                host,
            } => {
                let mut w = Writer::frame(1);
                w.0.extend_from_slice(&VERSION.to_le_bytes());
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
        }
    }

    /// From a frame's body.
    pub fn decode(body: &[u8]) -> Result<ToService, Malformed> {
        let mut r = Reader(body);
        let value = match r.u8()? {
            1 => {
                if u16::from_le_bytes(r.array()?) != VERSION {
                    return Err(Malformed("it is of another version of the protocol"));
                }
                ToService::Join {
                    rank: r.u32()?,
                    size: r.u32()?,
                    epoch: r.u32()?,
                    pid: r.u32()?,
                    host: r.text(TEXT_MAX)?,
                }
            }
            2 => ToService::Fence {
                name: r.text(NAME_MAX)?,
                blob: r.bytes(BLOB_MAX)?.to_vec(),
            },
            3 => ToService::Renew,
            4 => ToService::Abort {
                code: r.u32()? as i32,
                text: r.text(TEXT_MAX)?,
            },
            5 => ToService::Finished,
            _ => return Err(Malformed("its kind is unknown")),
        };
        r.end(value)
    }
}

impl ToMember {
    /// The whole frame, length first.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            ToMember::Welcome { lease } => {
                let mut w = Writer::frame(1);
                w.0.extend_from_slice(&VERSION.to_le_bytes());
                w.u32(*lease);
                w.done()
            }
            ToMember::Refused { text } => {
                let mut w = Writer::frame(2);
                w.text(text, TEXT_MAX);
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
        }
    }

    /// From a frame's body.
    pub fn decode(body: &[u8]) -> Result<ToMember, Malformed> {
        let mut r = Reader(body);
        let value = match r.u8()? {
            1 => {
                if u16::from_le_bytes(r.array()?) != VERSION {
                    return Err(Malformed("it is of another version of the protocol"));
                }
                ToMember::Welcome { lease: r.u32()? }
            }
            2 => ToMember::Refused {
                text: r.text(TEXT_MAX)?,
            },
            3 => {
                let name = r.text(NAME_MAX)?;
                let count = r.u32()?;
                // Every blob takes at least its length, so a lying count cannot make us reserve much.
                if count > SIZE_MAX || count as usize * 4 > r.0.len() {
                    return Err(Malformed("its table is too long"));
                }
                let mut blobs = Vec::with_capacity(count as usize);
                for _ in 0..count {
                    blobs.push(r.bytes(BLOB_MAX)?.to_vec());
                }
                ToMember::Table { name, blobs }
            }
            4 => ToMember::Alive,
            5 => ToMember::Aborted {
                rank: r.u32()?,
                code: r.u32()? as i32,
                text: r.text(TEXT_MAX)?,
            },
            6 => ToMember::Over,
            7 => ToMember::Goodbye,
            _ => return Err(Malformed("its kind is unknown")),
        };
        r.end(value)
    }
}

const TICKET_MAGIC: &[u8; 8] = b"mayfly\x01t";

impl Ticket {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer(TICKET_MAGIC.to_vec());
        w.0.extend_from_slice(&self.job);
        w.0.extend_from_slice(&self.token);
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
        w.0
    }

    /// From what a pipe held.
    pub fn decode(bytes: &[u8]) -> Result<Ticket, Malformed> {
        let mut r = Reader(bytes);
        if r.array::<8>()? != *TICKET_MAGIC {
            return Err(Malformed("it is no ticket of this version"));
        }
        let ticket = Ticket {
            job: r.array()?,
            token: r.array()?,
            rank: r.u32()?,
            size: r.u32()?,
            epoch: r.u32()?,
            local_rank: r.u32()?,
            local_size: r.u32()?,
            appnum: r.u32()? as i32,
            universe: r.u32()? as i32,
            service: r.text(1024)?,
        };
        if ticket.size == 0 || ticket.size > SIZE_MAX || ticket.rank >= ticket.size {
            return Err(Malformed("its rank is not within its size"));
        }
        if ticket.local_size == 0 || ticket.local_rank >= ticket.local_size {
            return Err(Malformed("its local rank is not within its local size"));
        }
        r.end(ticket)
    }
}

/// The environment variable that names the pipe with the ticket: `DESCRIPTOR:INODE`. The inode tells the pipe from
/// whatever else may have that number by the time somebody looks.
pub const TICKET_VARIABLE: &str = "MAYFLY_JOB_FD";

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
