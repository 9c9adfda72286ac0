//! What goes into the registry and what comes out.

use crate::rendezvous::message::{
    Event, Frame, FromHost, FromOwner, Malformed, Role, ToHost, ToMember, ToOwner, ToService,
};

/// A job's name.
pub type JobId = [u8; 16];
/// Milliseconds since some beginning.
pub type Time = u64;

/// A member's connection, numbered by the registry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Connection(pub u64);

/// What makes a job.
#[derive(Clone)]
pub struct Plan {
    pub job: JobId,
    /// Known to the service and the owner only; everybody's passes come from it.
    pub secret: [u8; 32],
    /// For people.
    pub name: String,
    pub size: u32,
    /// Ranks of one instance, except that the last one may have fewer.
    pub per_instance: u32,
    /// Everybody must have joined (in a job with a task: every instance's host must have begun) this long after the
    /// creation; 0: whenever.
    pub join_within: Time,
    /// Whoever is silent for so long is lost; 0: only its connection's end tells.
    pub lease: Time,
    /// How long the job is remembered after its end.
    pub keep: Time,
    /// How much of the ranks' output is kept, bytes.
    pub keep_log: usize,
    /// An owner connects and stays; when it is gone, so is the job.
    pub owned: bool,
    /// What hosts are to do; `None`: the ranks come by themselves.
    pub task: Option<Vec<u8>>,
    /// For the ranks: `host:port,host:port` each.
    pub relays: Vec<String>,
    /// Seconds since 1970.
    pub relay_expiry: u64,
    pub relay_grant: [u8; 32],
}

impl Plan {
    /// A job without time limits, whose ranks come by themselves, watched by whoever runs this service.
    pub fn new(job: JobId, secret: [u8; 32], size: u32) -> Plan {
        Plan {
            job,
            secret,
            name: String::new(),
            size,
            per_instance: 1,
            join_within: 0,
            lease: 0,
            keep: 60_000,
            keep_log: 0,
            owned: false,
            task: None,
            relays: Vec::new(),
            relay_expiry: 0,
            relay_grant: [0; 32],
        }
    }
}

/// A frame that has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    Member(ToService),
    Host(FromHost),
    Owner(FromOwner),
}

/// A frame to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outgoing {
    Member(ToMember),
    Host(ToHost),
    Owner(ToOwner),
}

impl Outgoing {
    /// The whole frame, length first.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Outgoing::Member(frame) => frame.encode(),
            Outgoing::Host(frame) => frame.encode(),
            Outgoing::Owner(frame) => frame.encode(),
        }
    }

    /// How each role is told that it is not wanted.
    pub(super) fn refused(role: Role, text: impl Into<String>) -> Outgoing {
        let text = text.into();
        match role {
            Role::Member { .. } => ToMember::Refused { text }.into(),
            Role::Host { .. } => ToHost::Refused { text }.into(),
            Role::Owner => ToOwner::Refused { text }.into(),
        }
    }

    /// The answer to a renewal.
    pub(super) fn alive(role: Role) -> Outgoing {
        match role {
            Role::Member { .. } => ToMember::Alive.into(),
            Role::Host { .. } => ToHost::Alive.into(),
            Role::Owner => ToOwner::Alive.into(),
        }
    }
}

impl Incoming {
    /// From a frame's body, as this role speaks.
    pub fn decode(role: Role, body: &[u8]) -> Result<Incoming, Malformed> {
        Ok(match role {
            Role::Member { .. } => Incoming::Member(ToService::decode(body)?),
            Role::Host { .. } => Incoming::Host(FromHost::decode(body)?),
            Role::Owner => Incoming::Owner(FromOwner::decode(body)?),
        })
    }

    /// The largest body of a frame of this role.
    pub fn limit(role: Role) -> usize {
        match role {
            Role::Member { .. } => ToService::LIMIT,
            Role::Host { .. } => FromHost::LIMIT,
            Role::Owner => FromOwner::LIMIT,
        }
    }
}

impl From<ToService> for Incoming {
    fn from(frame: ToService) -> Incoming {
        Incoming::Member(frame)
    }
}

impl From<FromHost> for Incoming {
    fn from(frame: FromHost) -> Incoming {
        Incoming::Host(frame)
    }
}

impl From<FromOwner> for Incoming {
    fn from(frame: FromOwner) -> Incoming {
        Incoming::Owner(frame)
    }
}

impl From<ToMember> for Outgoing {
    fn from(frame: ToMember) -> Outgoing {
        Outgoing::Member(frame)
    }
}

impl From<ToHost> for Outgoing {
    fn from(frame: ToHost) -> Outgoing {
        Outgoing::Host(frame)
    }
}

impl From<ToOwner> for Outgoing {
    fn from(frame: ToOwner) -> Outgoing {
        Outgoing::Owner(frame)
    }
}

/// What the caller has to do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Tell whoever runs this service, and the job's owner if it is connected.
    Tell(JobId, Option<Connection>, Event),
    Send(Vec<Connection>, Outgoing),
    /// Close after what was sent. The registry has forgotten it.
    Close(Connection),
    /// Take nothing more from it for so many milliseconds: it says too much.
    Pause(Connection, Time),
}

impl Effect {
    pub(super) fn send(to: Vec<Connection>, frame: impl Into<Outgoing>) -> Effect {
        Effect::Send(to, frame.into())
    }
}

/// Why a connection is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    UnknownJob,
    /// The pass is not this role's.
    WrongToken,
}

/// A job in a few words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    pub name: String,
    pub size: u32,
    pub joined: u32,
    pub finished: u32,
    /// In a job with a task: how many instances it has, how many hosts have begun, how many are connected.
    pub instances: u32,
    pub arrived: u32,
    pub hosts: u32,
    /// Its owner is connected.
    pub attended: bool,
    /// Milliseconds since its creation.
    pub age: Time,
    /// `Err`: aborted, by which rank, with which code and text.
    pub over: Option<Result<(), (u32, i32, String)>>,
}
