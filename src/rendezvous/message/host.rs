//! Between a host, the process in an instance that runs ranks, and the service.

use super::codec::{Frame, Malformed, Reader, Writer};
use super::errand::Errand;
use super::{OUTPUT_MAX, SIZE_MAX, TASK_MAX, TEXT_MAX, VERSION};

/// The largest body of a frame from a host.
pub const FROM_HOST_MAX: usize = OUTPUT_MAX + TEXT_MAX * 2 + 64;
/// The largest body of a frame to a host: an errand with a pass for every rank.
pub const TO_HOST_MAX: usize = TASK_MAX + SIZE_MAX as usize * 32 + 64 * 1024;

/// Which of a rank's streams.
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;

/// From a host to the service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FromHost {
    /// The first frame: what I run on. `left_ms`: how long the platform will let me run; 0: not known.
    Begin {
        host: String,
        platform: String,
        cores: u32,
        memory_mib: u32,
        left_ms: u64,
    },
    /// This rank's process runs.
    Started { rank: u32, pid: u32 },
    /// At most [`OUTPUT_MAX`] bytes that a rank wrote to its standard output (1) or error (2).
    Output {
        rank: u32,
        stream: u8,
        bytes: Vec<u8>,
    },
    /// This rank's process has ended: with this code, or by this signal (0: none). Its output has been sent.
    Exited { rank: u32, code: i32, signal: i32 },
    /// What it took. `init_ms`: from the instance's beginning, as far as known, to [`FromHost::Begin`].
    Usage {
        init_ms: u64,
        run_ms: u64,
        memory_mib: u32,
    },
    /// A line of the host's own for the launcher's user.
    Log { text: String },
    /// I am alive.
    Renew,
    /// All my ranks have ended and everything has been said; answered by [`ToHost::Goodbye`].
    Done,
}

/// From the service to a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToHost {
    /// What to do. Renew well within `lease` milliseconds; 0: no need to.
    Welcome { lease: u32, errand: Errand },
    /// You are not wanted (any more): end your ranks. The connection ends.
    Refused { text: String },
    /// For a rank's standard input; no bytes: its end.
    Input { rank: u32, bytes: Vec<u8> },
    /// End your ranks: SIGTERM, and SIGKILL after so many milliseconds.
    Stop { text: String, grace_ms: u32 },
    /// The answer to [`FromHost::Renew`].
    Alive,
    /// The answer to [`FromHost::Done`]; the connection ends.
    Goodbye,
}

impl Frame for FromHost {
    const LIMIT: usize = FROM_HOST_MAX;

    fn encode(&self) -> Vec<u8> {
        match self {
            FromHost::Begin {
                host,
                platform,
                cores,
                memory_mib,
                left_ms,
            } => {
                let mut w = Writer::frame(1);
                w.raw(&VERSION.to_le_bytes());
                w.text(host, TEXT_MAX);
                w.text(platform, TEXT_MAX);
                w.u32(*cores);
                w.u32(*memory_mib);
                w.u64(*left_ms);
                w.done()
            }
            FromHost::Started { rank, pid } => {
                let mut w = Writer::frame(2);
                w.u32(*rank);
                w.u32(*pid);
                w.done()
            }
            FromHost::Output {
                rank,
                stream,
                bytes,
            } => {
                let mut w = Writer::frame(3);
                w.u32(*rank);
                w.u8(*stream);
                w.bytes(bytes);
                w.done()
            }
            FromHost::Exited { rank, code, signal } => {
                let mut w = Writer::frame(4);
                w.u32(*rank);
                w.u32(*code as u32);
                w.u32(*signal as u32);
                w.done()
            }
            FromHost::Usage {
                init_ms,
                run_ms,
                memory_mib,
            } => {
                let mut w = Writer::frame(5);
                w.u64(*init_ms);
                w.u64(*run_ms);
                w.u32(*memory_mib);
                w.done()
            }
            FromHost::Log { text } => {
                let mut w = Writer::frame(6);
                w.text(text, TEXT_MAX);
                w.done()
            }
            FromHost::Renew => Writer::frame(7).done(),
            FromHost::Done => Writer::frame(8).done(),
        }
    }

    fn decode(body: &[u8]) -> Result<FromHost, Malformed> {
        let mut r = Reader(body);
        let value = match r.u8()? {
            1 => {
                r.version()?;
                FromHost::Begin {
                    host: r.line()?,
                    platform: r.line()?,
                    cores: r.u32()?,
                    memory_mib: r.u32()?,
                    left_ms: r.u64()?,
                }
            }
            2 => FromHost::Started {
                rank: r.u32()?,
                pid: r.u32()?,
            },
            3 => FromHost::Output {
                rank: r.u32()?,
                stream: stream(r.u8()?)?,
                bytes: r.bytes(OUTPUT_MAX)?.to_vec(),
            },
            4 => FromHost::Exited {
                rank: r.u32()?,
                code: r.i32()?,
                signal: r.i32()?,
            },
            5 => FromHost::Usage {
                init_ms: r.u64()?,
                run_ms: r.u64()?,
                memory_mib: r.u32()?,
            },
            6 => FromHost::Log { text: r.line()? },
            7 => FromHost::Renew,
            8 => FromHost::Done,
            _ => return Err(Malformed("its kind is unknown")),
        };
        r.end(value)
    }
}

pub(super) fn stream(value: u8) -> Result<u8, Malformed> {
    match value {
        STDOUT | STDERR => Ok(value),
        _ => Err(Malformed("its stream is neither output nor error")),
    }
}

impl Frame for ToHost {
    const LIMIT: usize = TO_HOST_MAX;

    fn encode(&self) -> Vec<u8> {
        match self {
            ToHost::Welcome { lease, errand } => {
                let mut w = Writer::frame(1);
                w.raw(&VERSION.to_le_bytes());
                w.u32(*lease);
                errand.write(&mut w);
                w.done()
            }
            ToHost::Refused { text } => {
                let mut w = Writer::frame(2);
                w.text(text, TEXT_MAX);
                w.done()
            }
            ToHost::Input { rank, bytes } => {
                let mut w = Writer::frame(3);
                w.u32(*rank);
                w.bytes(bytes);
                w.done()
            }
            ToHost::Stop { text, grace_ms } => {
                let mut w = Writer::frame(4);
                w.text(text, TEXT_MAX);
                w.u32(*grace_ms);
                w.done()
            }
            ToHost::Alive => Writer::frame(5).done(),
            ToHost::Goodbye => Writer::frame(6).done(),
        }
    }

    fn decode(body: &[u8]) -> Result<ToHost, Malformed> {
        let mut r = Reader(body);
        let value = match r.u8()? {
            1 => {
                r.version()?;
                ToHost::Welcome {
                    lease: r.u32()?,
                    errand: Errand::read(&mut r)?,
                }
            }
            2 => ToHost::Refused { text: r.line()? },
            3 => ToHost::Input {
                rank: r.u32()?,
                bytes: r.bytes(OUTPUT_MAX)?.to_vec(),
            },
            4 => ToHost::Stop {
                text: r.line()?,
                grace_ms: r.u32()?,
            },
            5 => ToHost::Alive,
            6 => ToHost::Goodbye,
            _ => return Err(Malformed("its kind is unknown")),
        };
        r.end(value)
    }
}
