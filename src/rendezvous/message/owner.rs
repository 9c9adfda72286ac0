//! Between a job's owner, its launcher, and the service; and what happens in a job.

use super::codec::{Frame, Malformed, Reader, Writer};
use super::host::stream;
use super::{OUTPUT_MAX, TEXT_MAX, VERSION};

/// The largest body of a frame from an owner.
pub const FROM_OWNER_MAX: usize = OUTPUT_MAX + TEXT_MAX + 64;
/// The largest body of a frame to an owner.
pub const TO_OWNER_MAX: usize = OUTPUT_MAX + TEXT_MAX * 2 + 64;

/// From the owner to the service. The connection begins with a [`FromOwner::Renew`] and the [`ToOwner::Welcome`] that
/// answers it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FromOwner {
    /// For a rank's standard input; no bytes: its end.
    Input { rank: u32, bytes: Vec<u8> },
    /// End the job with this code.
    Stop { code: i32, text: String },
    /// I am alive.
    Renew,
    /// I have seen all I want; a job that still runs is ended. Answered by [`ToOwner::Goodbye`].
    Done,
}

/// From the service to the owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToOwner {
    /// The first frame. Renew well within `lease` milliseconds; 0: no need to.
    Welcome { lease: u32 },
    /// You are not the owner (any more); the connection ends.
    Refused { text: String },
    /// Something happened; also what happened before the owner came.
    Event(Event),
    /// The answer to [`FromOwner::Renew`].
    Alive,
    /// The answer to [`FromOwner::Done`]; the connection ends.
    Goodbye,
}

/// What happened in a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A rank has joined.
    Joined { rank: u32, pid: u32, host: String },
    /// Somebody with a valid pass was turned away.
    Refused { why: String },
    /// A member went away without having finished.
    Lost { rank: u32, why: String },
    /// The job ended before its time; [`super::OBSERVER`]: by the service or its owner.
    Aborted { rank: u32, code: i32, text: String },
    /// A member needs no one any more.
    Finished { rank: u32 },
    /// All members have finished; in a job with hosts, all ranks have ended well.
    Over,
    /// An instance's host has begun.
    HostArrived {
        instance: u32,
        attempt: u32,
        host: String,
        platform: String,
    },
    /// An instance's host is gone without having said that it is done.
    HostLost { instance: u32, why: String },
    /// An instance's host has said everything and left.
    HostDone { instance: u32 },
    /// A rank's process runs.
    Started { rank: u32, pid: u32 },
    /// A rank has written to its standard output (1) or error (2).
    Output {
        rank: u32,
        stream: u8,
        bytes: Vec<u8>,
    },
    /// A rank's process has ended, with this code or by this signal (0: none).
    Exited { rank: u32, code: i32, signal: i32 },
    /// What an instance took.
    Usage {
        instance: u32,
        init_ms: u64,
        run_ms: u64,
        memory_mib: u32,
    },
    /// A line of a host's own.
    Log { instance: u32, text: String },
}

impl Frame for FromOwner {
    const LIMIT: usize = FROM_OWNER_MAX;

    fn encode(&self) -> Vec<u8> {
        match self {
            FromOwner::Input { rank, bytes } => {
                let mut w = Writer::frame(1);
                w.u32(*rank);
                w.bytes(bytes);
                w.done()
            }
            FromOwner::Stop { code, text } => {
                let mut w = Writer::frame(2);
                w.u32(*code as u32);
                w.text(text, TEXT_MAX);
                w.done()
            }
            FromOwner::Renew => Writer::frame(3).done(),
            FromOwner::Done => Writer::frame(4).done(),
        }
    }

    fn decode(body: &[u8]) -> Result<FromOwner, Malformed> {
        let mut r = Reader(body);
        let value = match r.u8()? {
            1 => FromOwner::Input {
                rank: r.u32()?,
                bytes: r.bytes(OUTPUT_MAX)?.to_vec(),
            },
            2 => FromOwner::Stop {
                code: r.i32()?,
                text: r.line()?,
            },
            3 => FromOwner::Renew,
            4 => FromOwner::Done,
            _ => return Err(Malformed("its kind is unknown")),
        };
        r.end(value)
    }
}

impl Frame for ToOwner {
    const LIMIT: usize = TO_OWNER_MAX;

    fn encode(&self) -> Vec<u8> {
        match self {
            ToOwner::Welcome { lease } => {
                let mut w = Writer::frame(1);
                w.raw(&VERSION.to_le_bytes());
                w.u32(*lease);
                w.done()
            }
            ToOwner::Refused { text } => {
                let mut w = Writer::frame(2);
                w.text(text, TEXT_MAX);
                w.done()
            }
            ToOwner::Event(event) => event.frame(),
            ToOwner::Alive => Writer::frame(4).done(),
            ToOwner::Goodbye => Writer::frame(5).done(),
        }
    }

    fn decode(body: &[u8]) -> Result<ToOwner, Malformed> {
        let mut r = Reader(body);
        let value = match r.u8()? {
            1 => {
                r.version()?;
                ToOwner::Welcome { lease: r.u32()? }
            }
            2 => ToOwner::Refused { text: r.line()? },
            3 => ToOwner::Event(Event::read(&mut r)?),
            4 => ToOwner::Alive,
            5 => ToOwner::Goodbye,
            _ => return Err(Malformed("its kind is unknown")),
        };
        r.end(value)
    }
}

impl Event {
    /// The frame of [`ToOwner::Event`], without a copy of the event.
    pub fn frame(&self) -> Vec<u8> {
        let mut w = Writer::frame(3);
        self.write(&mut w);
        w.done()
    }

    fn write(&self, w: &mut Writer) {
        let kind = |w: &mut Writer, kind: u8, numbers: &[u32]| {
            w.u8(kind);
            for &number in numbers {
                w.u32(number);
            }
        };
        match self {
            Event::Joined { rank, pid, host } => {
                kind(w, 1, &[*rank, *pid]);
                w.text(host, TEXT_MAX);
            }
            Event::Refused { why } => {
                kind(w, 2, &[]);
                w.text(why, TEXT_MAX);
            }
            Event::Lost { rank, why } => {
                kind(w, 3, &[*rank]);
                w.text(why, TEXT_MAX);
            }
            Event::Aborted { rank, code, text } => {
                kind(w, 4, &[*rank, *code as u32]);
                w.text(text, TEXT_MAX);
            }
            Event::Finished { rank } => kind(w, 5, &[*rank]),
            Event::Over => kind(w, 6, &[]),
            Event::HostArrived {
                instance,
                attempt,
                host,
                platform,
            } => {
                kind(w, 7, &[*instance, *attempt]);
                w.text(host, TEXT_MAX);
                w.text(platform, TEXT_MAX);
            }
            Event::HostLost { instance, why } => {
                kind(w, 8, &[*instance]);
                w.text(why, TEXT_MAX);
            }
            Event::HostDone { instance } => kind(w, 9, &[*instance]),
            Event::Started { rank, pid } => kind(w, 10, &[*rank, *pid]),
            Event::Output {
                rank,
                stream,
                bytes,
            } => {
                kind(w, 11, &[*rank]);
                w.u8(*stream);
                w.bytes(bytes);
            }
            Event::Exited { rank, code, signal } => {
                kind(w, 12, &[*rank, *code as u32, *signal as u32])
            }
            Event::Usage {
                instance,
                init_ms,
                run_ms,
                memory_mib,
            } => {
                kind(w, 13, &[*instance]);
                w.u64(*init_ms);
                w.u64(*run_ms);
                w.u32(*memory_mib);
            }
            Event::Log { instance, text } => {
                kind(w, 14, &[*instance]);
                w.text(text, TEXT_MAX);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Event, Malformed> {
        Ok(match r.u8()? {
            1 => Event::Joined {
                rank: r.u32()?,
                pid: r.u32()?,
                host: r.line()?,
            },
            2 => Event::Refused { why: r.line()? },
            3 => Event::Lost {
                rank: r.u32()?,
                why: r.line()?,
            },
            4 => Event::Aborted {
                rank: r.u32()?,
                code: r.i32()?,
                text: r.line()?,
            },
            5 => Event::Finished { rank: r.u32()? },
            6 => Event::Over,
            7 => Event::HostArrived {
                instance: r.u32()?,
                attempt: r.u32()?,
                host: r.line()?,
                platform: r.line()?,
            },
            8 => Event::HostLost {
                instance: r.u32()?,
                why: r.line()?,
            },
            9 => Event::HostDone { instance: r.u32()? },
            10 => Event::Started {
                rank: r.u32()?,
                pid: r.u32()?,
            },
            11 => Event::Output {
                rank: r.u32()?,
                stream: stream(r.u8()?)?,
                bytes: r.bytes(OUTPUT_MAX)?.to_vec(),
            },
            12 => Event::Exited {
                rank: r.u32()?,
                code: r.i32()?,
                signal: r.i32()?,
            },
            13 => Event::Usage {
                instance: r.u32()?,
                init_ms: r.u64()?,
                run_ms: r.u64()?,
                memory_mib: r.u32()?,
            },
            14 => Event::Log {
                instance: r.u32()?,
                text: r.line()?,
            },
            _ => return Err(Malformed("its kind is unknown")),
        })
    }
}
