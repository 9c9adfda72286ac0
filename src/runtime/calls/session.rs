//! Sessions, and communicators without a parent (MPI-5.0 §11.3, §7.4.2, §7.6.2).

use crate::base::constant::{handle, THREAD_SINGLE};
use crate::base::error::{Object, Result};
use crate::base::id::{CommId, ErrhandlerId, GroupId, InfoId, SessionId};
use crate::fail;
use crate::mpi::errhandler::Kind;
use crate::mpi::group::Group;
use crate::mpi::info::Info;
use crate::mpi::session::{self, Session, PROCESS_SETS};
use crate::mpi::World;
use crate::runtime::process::{runtime, Model, State};
use crate::runtime::{construct, Runtime};
use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::{Arc, Once};

/// Opens a session; the first starts MPI. The info key `thread_level` says what thread level is wanted.
pub fn session_init(rt: &Runtime, info: InfoId, errhandler: ErrhandlerId) -> Result<SessionId> {
    let hints = rt.with(|w| {
        w.errhandlers.fits(errhandler, Kind::Session)?;
        w.infos.hints(info)
    })?;
    let wanted = hints.get("thread_level").and_then(session::level);
    let level = rt.start(wanted.unwrap_or(THREAD_SINGLE))?;
    Ok(rt.with(|w| {
        let id = w.sessions.table.insert(Session { level });
        w.errhandlers.register(Object::Session(id), errhandler);
        id
    }))
}

/// Closes a session. When it was the last and the world model has ended, MPI ends; in a program that never called
/// MPI_Init it ends when the process does, as more sessions may come.
pub fn session_finalize(rt: &Runtime, session: SessionId) -> Result<()> {
    let last = rt.with(|w| {
        w.sessions.get(session)?;
        w.sessions.table.remove(session);
        w.errhandlers.unregister(Object::Session(session));
        Ok(w.sessions.table.is_empty())
    })?;
    match rt.model() {
        Model::After if last => rt.end(),
        Model::Before => {
            end_with_the_process();
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Ends MPI when the process exits, unless the world model or an open session has a say in it.
fn end_with_the_process() {
    extern "C" fn end() {
        let rt = runtime();
        if rt.state() == State::Running && rt.model() == Model::Before {
            let idle = rt.with(|w| w.sessions.table.is_empty());
            if idle {
                // The process exits; nobody is left to hear of an error.
                let _ = rt.end();
            }
        }
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the function is one of this library, which is never unloaded, and unwinds not.
        unsafe { libc::atexit(end) };
    });
}

/// What a session was opened with.
pub fn session_get_info(rt: &Runtime, session: SessionId) -> Result<InfoId> {
    rt.with(|w| {
        let level = w.sessions.get(session)?.level;
        let mut info = Info::default();
        info.set("thread_level", session::level_name(level));
        Ok(w.infos.table.insert(info))
    })
}

pub fn session_get_num_psets(rt: &Runtime, session: SessionId, info: InfoId) -> Result<i32> {
    rt.with(|w| {
        w.sessions.get(session)?;
        w.infos.hints(info)?;
        Ok(PROCESS_SETS.len() as i32)
    })
}

/// The `n`-th process set's name.
///
/// # Errors
/// `Arg`: there are not that many.
pub fn session_get_nth_pset(
    rt: &Runtime,
    session: SessionId,
    info: InfoId,
    n: i32,
) -> Result<String> {
    let count = session_get_num_psets(rt, session, info)?;
    match usize::try_from(n).ok().and_then(|n| PROCESS_SETS.get(n)) {
        Some(name) => Ok((*name).to_string()),
        None => fail!(Arg, "process set {n} is not in 0..{count}"),
    }
}

fn members(w: &World, session: SessionId, name: &str) -> Result<Arc<Group>> {
    w.sessions.get(session)?;
    let comm = match session::process_set(name)? {
        0 => handle::COMM_WORLD,
        _ => handle::COMM_SELF,
    };
    Ok(w.comms.get(comm)?.group.clone())
}

/// `mpi_size`: how many processes the set has.
pub fn session_get_pset_info(rt: &Runtime, session: SessionId, pset_name: &str) -> Result<InfoId> {
    rt.with(|w| {
        let size = members(w, session, pset_name)?.size();
        let mut info = Info::default();
        info.set("mpi_size", &size.to_string());
        Ok(w.infos.table.insert(info))
    })
}

pub fn group_from_session_pset(
    rt: &Runtime,
    session: SessionId,
    pset_name: &str,
) -> Result<GroupId> {
    rt.with(|w| {
        let group = members(w, session, pset_name)?;
        Ok(w.groups.handle(group))
    })
}

/// A tag for constructions from groups: negative, as no program's tag is, and the same for the same text.
fn tag_of(stringtag: &str) -> i32 {
    type Hasher = BuildHasherDefault<crate::engine::matching::Fold>;
    Hasher::default().hash_one(stringtag) as i32 | i32::MIN
}

/// The program's wishes for a communicator without a parent.
fn wishes(rt: &Runtime, info: InfoId, errhandler: ErrhandlerId) -> Result<Info> {
    rt.with(|w| {
        w.errhandlers.fits(errhandler, Kind::Comm)?;
        w.infos.hints(info)
    })
}

fn equip(rt: &Runtime, comm: CommId, hints: Info, errhandler: ErrhandlerId) -> Result<CommId> {
    rt.with(|w| {
        let new = w.comms.get_mut(comm)?;
        new.info = hints;
        let old = std::mem::replace(&mut new.errhandler, errhandler);
        w.errhandlers.hold(errhandler);
        w.errhandlers.release(old);
        Ok(comm)
    })
}

fn whole(rt: &Runtime, group: GroupId) -> Result<Arc<Group>> {
    let group = rt.with(|w| w.groups.get(group).cloned())?;
    if group.size() > 0 && group.me.is_none() {
        fail!(Group, "this process is not a member of the group");
    }
    Ok(group)
}

/// A communicator of a group; its members call, with the same text.
pub fn comm_create_from_group(
    rt: &Runtime,
    group: GroupId,
    stringtag: &str,
    info: InfoId,
    errhandler: ErrhandlerId,
) -> Result<CommId> {
    let hints = wishes(rt, info, errhandler)?;
    let group = whole(rt, group)?;
    if group.size() == 0 {
        return Ok(handle::COMM_NULL);
    }
    let comm = construct::create_group(rt, handle::COMM_WORLD, group, tag_of(stringtag))?;
    equip(rt, comm, hints, errhandler)
}

/// An inter-communicator of two groups; `remote_group` and `remote_leader` count at the local leader.
#[allow(clippy::too_many_arguments)]
pub fn intercomm_create_from_groups(
    rt: &Runtime,
    local_group: GroupId,
    local_leader: i32,
    remote_group: GroupId,
    remote_leader: i32,
    stringtag: &str,
    info: InfoId,
    errhandler: ErrhandlerId,
) -> Result<CommId> {
    let hints = wishes(rt, info, errhandler)?;
    let local = whole(rt, local_group)?;
    if local.size() == 0 {
        return Ok(handle::COMM_NULL);
    }
    let tag = tag_of(stringtag);
    let leads = local.me == u32::try_from(local_leader).ok();
    let leader = if leads {
        let remote = rt.with(|w| w.groups.get(remote_group).cloned())?;
        match usize::try_from(remote_leader)
            .ok()
            .and_then(|r| remote.members.get(r))
        {
            Some(leader) => leader.0 as i32,
            None => fail!(
                Rank,
                "the remote leader {remote_leader} is not in 0..{}",
                remote.size()
            ),
        }
    } else {
        0
    };
    let within = construct::create_group(rt, handle::COMM_WORLD, local, tag)?;
    let made = construct::intercomm(rt, within, local_leader, handle::COMM_WORLD, leader, tag);
    construct::forget(rt, within);
    equip(rt, made?, hints, errhandler)
}
