//! Foreign launchers that speak PMI (Hydra's mpiexec, srun): finding the server, and exchanging blobs through its
//! key-value store.

use super::{pmi1::Pmi1, pmi2::Pmi2, Identity, Relays};
use crate::base::error::{Class, Error, Result};
use crate::base::os;
use crate::fail;
use crate::rendezvous::client;
use crate::rendezvous::message::{hex, unhex, SIZE_MAX};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// A PMI server's key-value store. What is put is seen by all after a fence.
pub trait Store {
    /// The longest value, bytes.
    fn value_max(&self) -> usize;
    fn put(&mut self, key: &str, value: &str) -> Result<()>;
    fn fence(&mut self) -> Result<()>;
    fn get(&mut self, key: &str) -> Result<String>;
    /// Something that the launcher knows of the job; `None` when it does not.
    fn attribute(&mut self, key: &str) -> Result<Option<String>>;
    fn abort(&mut self, code: i32, text: &str);
    fn finalize(&mut self) -> Result<()>;
    fn descriptor(&self) -> RawFd;
}

/// What the first words with the server say.
pub struct Place {
    pub rank: u32,
    pub size: u32,
    pub appnum: i32,
    pub universe: Option<i32>,
}

/// The connection to the server: a descriptor, with what was read ahead.
pub struct Line {
    stream: File,
    ahead: Vec<u8>,
}

/// The longest answer that is still believed.
const ANSWER_MAX: usize = 1 << 20;

impl Line {
    pub fn new(stream: OwnedFd) -> Line {
        Line {
            stream: File::from(stream),
            ahead: Vec::new(),
        }
    }

    pub fn descriptor(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    pub fn write(&mut self, text: &str) -> Result<()> {
        match os::send_all(self.stream.as_raw_fd(), text.as_bytes()) {
            Ok(()) => Ok(()),
            Err(e) => fail!(Other, "the PMI server cannot be reached: {e}"),
        }
    }

    fn more(&mut self) -> Result<()> {
        let mut chunk = [0; 4096];
        if self.ahead.len() > ANSWER_MAX {
            fail!(Other, "the PMI server's answer does not end");
        }
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => fail!(Other, "the PMI server closed the connection"),
                Ok(n) => {
                    self.ahead.extend_from_slice(&chunk[..n]);
                    return Ok(());
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(unreachable_server(e)),
            }
        }
    }

    /// Up to the next newline, without it.
    pub fn read_line(&mut self) -> Result<String> {
        loop {
            if let Some(at) = self.ahead.iter().position(|&b| b == b'\n') {
                let line = self.read_exact(at + 1)?;
                return Ok(line.trim_end_matches('\n').to_string());
            }
            self.more()?;
        }
    }

    /// So many bytes.
    pub fn read_exact(&mut self, n: usize) -> Result<String> {
        if n > ANSWER_MAX {
            fail!(Other, "the PMI server announces an answer of {n} bytes");
        }
        while self.ahead.len() < n {
            self.more()?;
        }
        let rest = self.ahead.split_off(n);
        let bytes = std::mem::replace(&mut self.ahead, rest);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn unreachable_server(e: std::io::Error) -> Error {
    Error::new(
        Class::Other,
        format!("the PMI server cannot be reached: {e}"),
    )
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The PMI server that started this process, and who we are to it. `None`: there is none.
pub fn find() -> Result<Option<(Identity, Box<dyn Store + Send>)>> {
    let (line, rank, size) = match (variable("PMI_FD"), variable("PMI_PORT")) {
        (Some(fd), _) => match fd.parse().map(os::inherited) {
            Ok(Ok(stream)) => (Line::new(stream), number("PMI_RANK"), number("PMI_SIZE")),
            _ => fail!(
                Other,
                "PMI_FD={fd} is no open descriptor: a program between the launcher and this one has closed it"
            ),
        },
        (None, Some(port)) => dial(&port)?,
        (None, None) => return Ok(None),
    };
    // Only srun sets PMI_JOBID; its server prefers the second protocol, Hydra's the first.
    let second = match variable("MAYFLY_PMI").as_deref() {
        Some("2") => true,
        Some("1") => false,
        _ => variable("PMI_JOBID").is_some(),
    };
    let (place, mut store): (Place, Box<dyn Store + Send>) = if second {
        let (place, store) = Pmi2::open(line, variable("PMI_JOBID"), rank, size)?;
        (place, Box::new(store))
    } else {
        let (place, store) = Pmi1::open(line, rank, size)?;
        (place, Box::new(store))
    };
    for name in ["PMI_FD", "PMI_PORT", "PMI_ID"] {
        // What this process starts is not meant to talk to the server.
        std::env::remove_var(name);
    }
    if place.size == 0 || place.size > SIZE_MAX || place.rank >= place.size {
        fail!(
            Other,
            "the PMI server says that this is rank {} of {}",
            place.rank,
            place.size
        );
    }
    let mapping = store.attribute("PMI_process_mapping")?;
    let (local_rank, local_size) = match mapping.and_then(|text| nodes(&text, place.size)) {
        Some(nodes) => local(&nodes, place.rank),
        None => match (number("MPI_LOCALRANKID"), number("MPI_LOCALNRANKS")) {
            (Some(rank), Some(size)) if rank < size => (rank, size),
            _ => (0, 1),
        },
    };
    let (job, token) = secret(store.as_mut(), place.rank)?;
    let identity = Identity {
        rank: place.rank,
        size: place.size,
        job,
        token,
        local_rank,
        local_size,
        appnum: place.appnum,
        universe: place.universe,
        relays: Relays::default(),
        deadline_ms: 0,
        launcher: if second { "PMI-2" } else { "PMI-1" },
    };
    Ok(Some((identity, store)))
}

fn number(name: &str) -> Option<u32> {
    variable(name)?.trim().parse().ok()
}

/// Connects to `PMI_PORT` and says which process we are; the server says our rank and the job's size.
fn dial(port: &str) -> Result<(Line, Option<u32>, Option<u32>)> {
    let Some(id) = variable("PMI_ID") else {
        fail!(Other, "PMI_PORT={port} is set, but PMI_ID is not");
    };
    let stream = match client::connect(port, Duration::from_secs(30)) {
        Ok(stream) => stream,
        Err(e) => fail!(
            Other,
            "the PMI server at PMI_PORT={port} cannot be reached: {e}"
        ),
    };
    let mut line = Line::new(stream.into());
    line.write(&format!("cmd=initack pmiid={id}\n"))?;
    let answer = line.read_line()?;
    if !answer.starts_with("cmd=initack") {
        fail!(Other, "the PMI server at {port} answered {answer:?}");
    }
    // It adds size, rank and debug, one line each.
    let (mut rank, mut size) = (None, None);
    for _ in 0..3 {
        let setting = line.read_line()?;
        let value = |name: &str| {
            setting
                .strip_prefix(name)
                .and_then(|v| v.trim().parse().ok())
        };
        rank = rank.or(value("cmd=set rank="));
        size = size.or(value("cmd=set size="));
    }
    Ok((line, rank, size))
}

/// The job's name and token: rank 0 draws them, the store carries them.
fn secret(store: &mut (dyn Store + Send), rank: u32) -> Result<([u8; 16], [u8; 32])> {
    if rank == 0 {
        let mut both = [0; 48];
        if let Err(e) = os::random(&mut both) {
            fail!(Other, "the system gives no random numbers: {e}");
        }
        store.put("mayfly-job", &hex(&both))?;
    }
    store.fence()?;
    let value = store.get("mayfly-job")?;
    let Some(both) = unhex::<48>(&value) else {
        fail!(
            Other,
            "rank 0 says nothing of its job that this rank understands: do all ranks run Mayfly of one version?"
        );
    };
    let (mut job, mut token) = ([0; 16], [0; 32]);
    job.copy_from_slice(&both[..16]);
    token.copy_from_slice(&both[16..]);
    Ok((job, token))
}

/// Everybody's blob, by rank, in pieces that the store's values can hold.
pub fn exchange(
    store: &mut (dyn Store + Send),
    identity: &Identity,
    number: u32,
    blob: &[u8],
) -> Result<Vec<Vec<u8>>> {
    let room = (store.value_max().saturating_sub(16) / 2).max(1);
    let key = |rank: u32, piece: usize| format!("mayfly-{number}-{rank}-{piece}");
    let pieces: Vec<&[u8]> = blob.chunks(room).collect();
    // The first piece says how many there are.
    store.put(&key(identity.rank, 0), &format!("{}.", pieces.len()))?;
    for (i, piece) in pieces.iter().enumerate() {
        store.put(&key(identity.rank, i + 1), &hex(piece))?;
    }
    store.fence()?;
    let mut all = Vec::with_capacity(identity.size as usize);
    for rank in 0..identity.size {
        let count = store.get(&key(rank, 0))?;
        let Some(count) = count
            .strip_suffix('.')
            .and_then(|n| n.parse::<usize>().ok())
        else {
            fail!(
                Other,
                "rank {rank}'s part of the exchange is not readable: {count:?}"
            );
        };
        let mut whole = Vec::new();
        for piece in 1..=count {
            let text = store.get(&key(rank, piece))?;
            for pair in text.as_bytes().chunks(2) {
                match std::str::from_utf8(pair).ok().and_then(unhex::<1>) {
                    Some([byte]) => whole.push(byte),
                    None => fail!(
                        Other,
                        "rank {rank}'s part of the exchange is not hexadecimal"
                    ),
                }
            }
        }
        all.push(whole);
    }
    Ok(all)
}

/// The node of each rank, from `(vector,(first node,nodes,ranks a node),...)`; the blocks repeat until all ranks
/// have a place.
pub fn nodes(mapping: &str, size: u32) -> Option<Vec<u32>> {
    let inner = mapping.trim().strip_prefix("(vector,")?.strip_suffix(')')?;
    let mut blocks = Vec::new();
    for block in inner.split('(').skip(1) {
        let numbers: Vec<u32> = block
            .trim_end_matches([',', ')'])
            .split(',')
            .map(|n| n.trim().parse().ok())
            .collect::<Option<_>>()?;
        match numbers[..] {
            [first, count, each] if count > 0 && each > 0 => blocks.push((first, count, each)),
            _ => return None,
        }
    }
    let mut nodes = Vec::new();
    while !blocks.is_empty() {
        for &(first, count, each) in &blocks {
            for node in 0..count {
                for _ in 0..each {
                    if nodes.len() == size as usize {
                        return Some(nodes);
                    }
                    nodes.push(first.checked_add(node)?);
                }
            }
        }
    }
    None
}

/// A rank's number among those of its node, and how many they are.
fn local(nodes: &[u32], rank: u32) -> (u32, u32) {
    let mine = nodes[rank as usize];
    let before = nodes[..rank as usize]
        .iter()
        .filter(|&&n| n == mine)
        .count();
    let all = nodes.iter().filter(|&&n| n == mine).count();
    (before as u32, all as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::sync::{Arc, Barrier, Mutex};

    #[test]
    fn a_mapping_gives_every_rank_its_node() {
        assert_eq!(nodes("(vector,(0,1,2))", 2), Some(vec![0, 0]));
        assert_eq!(nodes("(vector,(0,2,2))", 4), Some(vec![0, 0, 1, 1]));
        // Round robin: the block is used again and again.
        assert_eq!(nodes("(vector,(0,2,1))", 5), Some(vec![0, 1, 0, 1, 0]));
        assert_eq!(
            nodes("(vector,(0,1,3),(1,2,1))", 5),
            Some(vec![0, 0, 0, 1, 2])
        );
        for wrong in [
            "",
            "(vector,)",
            "(vector,(0,0,1))",
            "(vector,(0,1))",
            "(vector,(a,1,1))",
        ] {
            assert_eq!(nodes(wrong, 2), None, "{wrong}");
        }
        assert_eq!(local(&[0, 1, 0, 1, 0], 2), (1, 3));
        assert_eq!(local(&[0, 1, 0, 1, 0], 3), (1, 2));
    }

    struct Fake {
        map: Arc<Mutex<HashMap<String, String>>>,
        barrier: Arc<Barrier>,
    }

    impl Store for Fake {
        fn value_max(&self) -> usize {
            100
        }
        fn put(&mut self, key: &str, value: &str) -> Result<()> {
            assert!(value.len() <= 100 && key.len() <= 64);
            assert!(!value.is_empty() && !value.contains([' ', '=', ';', '\n']));
            self.map.lock().unwrap().insert(key.into(), value.into());
            Ok(())
        }
        fn fence(&mut self) -> Result<()> {
            self.barrier.wait();
            Ok(())
        }
        fn get(&mut self, key: &str) -> Result<String> {
            match self.map.lock().unwrap().get(key) {
                Some(value) => Ok(value.clone()),
                None => fail!(Other, "no {key}"),
            }
        }
        fn attribute(&mut self, _: &str) -> Result<Option<String>> {
            Ok(None)
        }
        fn abort(&mut self, _: i32, _: &str) {}
        fn finalize(&mut self) -> Result<()> {
            Ok(())
        }
        fn descriptor(&self) -> RawFd {
            -1
        }
    }

    #[test]
    fn blobs_of_any_length_pass_through_small_values() {
        let map = Arc::new(Mutex::new(HashMap::new()));
        let barrier = Arc::new(Barrier::new(3));
        let blob = |rank: u32| -> Vec<u8> { (0..rank * 100).map(|i| i as u8).collect() };
        let ranks: Vec<_> = (0..3)
            .map(|rank| {
                let mut store = Fake {
                    map: map.clone(),
                    barrier: barrier.clone(),
                };
                std::thread::spawn(move || {
                    let (job, token) = secret(&mut store, rank).unwrap();
                    let identity = Identity {
                        rank,
                        size: 3,
                        job,
                        token,
                        local_rank: rank,
                        local_size: 3,
                        appnum: 0,
                        universe: None,
                        relays: Relays::default(),
                        deadline_ms: 0,
                        launcher: "test",
                    };
                    (
                        job,
                        token,
                        exchange(&mut store, &identity, 1, &blob(rank)).unwrap(),
                    )
                })
            })
            .collect();
        let results: Vec<_> = ranks.into_iter().map(|r| r.join().unwrap()).collect();
        for (job, token, blobs) in &results {
            assert_eq!((job, token), (&results[0].0, &results[0].1));
            assert_eq!(*blobs, vec![blob(0), blob(1), blob(2)]);
        }
    }
}
