//! Info objects (MPI-5.0 §10). The door checks lengths of keys and values against its ABI's limits.

use crate::base::constant::handle;
use crate::base::error::Result;
use crate::base::id::InfoId;
use crate::fail;
use crate::mpi::info::Info;
use crate::mpi::World;
use crate::runtime::Runtime;

/// What MPI_INFO_ENV says (MPI-5.0 §11.2.1, table of §11.8.4's keys): only what is known and stays as it is.
pub fn environment() -> Info {
    let mut info = Info::default();
    let mut args = std::env::args_os().map(|a| a.to_string_lossy().into_owned());
    if let Some(command) = args.next() {
        info.set("command", &command);
    }
    let argv = args.collect::<Vec<_>>().join(" ");
    if !argv.is_empty() {
        info.set("argv", &argv);
    }
    if let Ok(folder) = std::env::current_dir() {
        info.set("wdir", &folder.to_string_lossy());
    }
    if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        info.set("host", host.trim());
    }
    info.set("arch", std::env::consts::ARCH);
    info
}

/// Looks an info object up; the first look at MPI_INFO_ENV fills it.
fn get(w: &mut World, id: InfoId) -> Result<&Info> {
    if id == handle::INFO_ENV && w.infos.table.get(id).is_none() {
        w.infos.table.set(id, environment());
    }
    w.infos.get(id)
}

fn check_key(key: &str) -> Result<()> {
    if key.is_empty() {
        fail!(InfoKey, "the key is empty");
    }
    Ok(())
}

pub fn info_create(rt: &Runtime) -> Result<InfoId> {
    rt.with(|w| Ok(w.infos.table.insert(Info::default())))
}

/// A copy of MPI_INFO_ENV.
pub fn info_create_env(rt: &Runtime) -> Result<InfoId> {
    info_dup(rt, handle::INFO_ENV)
}

pub fn info_dup(rt: &Runtime, info: InfoId) -> Result<InfoId> {
    rt.with(|w| {
        let copy = get(w, info)?.clone();
        Ok(w.infos.table.insert(copy))
    })
}

pub fn info_free(rt: &Runtime, info: InfoId) -> Result<()> {
    rt.with(|w| w.infos.free(info))
}

pub fn info_set(rt: &Runtime, info: InfoId, key: &str, value: &str) -> Result<()> {
    check_key(key)?;
    rt.with(|w| {
        w.infos.get_mut(info)?.set(key, value);
        Ok(())
    })
}

/// # Errors
/// `InfoNokey`: no such key.
pub fn info_delete(rt: &Runtime, info: InfoId, key: &str) -> Result<()> {
    check_key(key)?;
    rt.with(|w| {
        if !w.infos.get_mut(info)?.delete(key) {
            fail!(InfoNokey, "the info object has no key \"{key}\"");
        }
        Ok(())
    })
}

/// The value, cut to `valuelen` bytes; none: no such key.
pub fn info_get(rt: &Runtime, info: InfoId, key: &str, valuelen: i32) -> Result<Option<String>> {
    check_key(key)?;
    let Ok(room) = usize::try_from(valuelen) else {
        fail!(Arg, "valuelen is {valuelen}");
    };
    let value = rt.with(|w| Ok(get(w, info)?.get(key).map(str::to_string)))?;
    Ok(value.map(|v| cut(v, room)))
}

/// The length of the value with C's final zero, and as much of the value as fits into `buflen` bytes with that zero
/// (empty when `buflen` is 0: then nothing may be written); none: no such key.
pub fn info_get_string(
    rt: &Runtime,
    info: InfoId,
    key: &str,
    buflen: i32,
) -> Result<Option<(i32, String)>> {
    check_key(key)?;
    let Ok(room) = usize::try_from(buflen) else {
        fail!(Arg, "buflen is {buflen}");
    };
    let value = rt.with(|w| Ok(get(w, info)?.get(key).map(str::to_string)))?;
    Ok(value.map(|v| (v.len() as i32 + 1, cut(v, room.saturating_sub(1)))))
}

/// The first `room` bytes, or less where a character would be split.
fn cut(mut text: String, room: usize) -> String {
    if text.len() > room {
        let end = (0..=room).rev().find(|&i| text.is_char_boundary(i));
        text.truncate(end.unwrap_or(0));
    }
    text
}

/// The value's length in bytes; none: no such key.
pub fn info_get_valuelen(rt: &Runtime, info: InfoId, key: &str) -> Result<Option<i32>> {
    check_key(key)?;
    rt.with(|w| Ok(get(w, info)?.get(key).map(|v| v.len() as i32)))
}

pub fn info_get_nkeys(rt: &Runtime, info: InfoId) -> Result<i32> {
    rt.with(|w| Ok(get(w, info)?.pairs.len() as i32))
}

/// The `n`-th key, counted from 0.
///
/// # Errors
/// `Arg`: there are not that many.
pub fn info_get_nthkey(rt: &Runtime, info: InfoId, n: i32) -> Result<String> {
    rt.with(|w| {
        let pairs = &get(w, info)?.pairs;
        match usize::try_from(n).ok().and_then(|n| pairs.get(n)) {
            Some((key, _)) => Ok(key.clone()),
            None => fail!(Arg, "key number {n} is not in 0..{}", pairs.len()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_between_characters() {
        assert_eq!(cut("value".into(), 10), "value");
        assert_eq!(cut("value".into(), 2), "va");
        assert_eq!(cut("é".into(), 1), "");
        assert_eq!(cut("v".into(), 0), "");
    }

    #[test]
    fn the_environment_knows_the_command() {
        assert!(environment().get("command").is_some());
        assert!(environment().get("arch").is_some());
    }
}
