//! The ranks' output, as the rendezvous brings it: the same weaving as of local ranks, but bytes come when they like.
//!
//! A thread of its own writes, so that a reader who takes his time (a pager) holds up the output and nothing else; while
//! it waits, [`Output::give`] waits too, and nothing more is read from the rendezvous.

use super::progress::Progress;
use crate::platform::launch::os;
use crate::platform::launch::output::{Drained, Weaver, PATIENCE, PROMPT};
use crate::platform::launch::planned::expand;
use crate::rendezvous::message::{STDERR, STDOUT};
use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// Pieces that may wait for the writing thread, 64 KiB at most each.
const WAITING: usize = 64;
/// So many bytes may wait for the end of another rank's line.
const HELD_MAX: usize = 16 << 20;
/// Between two looks whether there is room.
const LOOK: Duration = Duration::from_millis(4);

enum Piece {
    Bytes {
        rank: u32,
        stream: u8,
        bytes: Vec<u8>,
    },
    /// This rank says no more.
    Closed(u32),
}

/// Where the ranks' output goes.
pub struct Settings {
    pub size: u32,
    pub tag: bool,
    pub stdout_pattern: Option<OsString>,
    pub stderr_pattern: Option<OsString>,
}

/// Takes output from one task.
pub struct Output {
    pieces: SyncSender<Piece>,
}

impl Output {
    /// `done` is called at the end, on the writing thread: all is written, or cannot be.
    pub fn start(
        settings: Settings,
        progress: Progress,
        done: impl FnOnce(Drained) + Send + 'static,
    ) -> io::Result<Output> {
        let (pieces, inbox) = sync_channel(WAITING);
        let ways = [
            Way::new(1, settings.stdout_pattern.clone(), &settings),
            Way::new(2, settings.stderr_pattern.clone(), &settings),
        ];
        std::thread::Builder::new()
            .name("output".into())
            .spawn(move || {
                let mut writing = Writing { ways, progress };
                done(match writing.run(&inbox) {
                    Ok(()) => Drained::Yes,
                    Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Drained::Closed,
                    Err(e) => Drained::Failed(e),
                });
            })?;
        Ok(Output { pieces })
    }

    /// Hands over what a rank wrote, when there is room. Without effect when nobody writes any more.
    pub async fn give(&self, rank: u32, stream: u8, bytes: Vec<u8>) {
        self.send(Piece::Bytes {
            rank,
            stream,
            bytes,
        })
        .await;
    }

    /// This rank has ended.
    pub async fn close(&self, rank: u32) {
        self.send(Piece::Closed(rank)).await;
    }

    async fn send(&self, mut piece: Piece) {
        loop {
            match self.pieces.try_send(piece) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => piece = back,
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// One of the two streams on its way out.
struct Way {
    fd: i32,
    pattern: Option<OsString>,
    files: HashMap<OsString, File>,
    weaver: Weaver,
    /// What came while another rank's long line was being passed on.
    held: VecDeque<(u32, Option<Vec<u8>>)>,
    held_bytes: usize,
    /// When something went out that nobody had to wait for.
    moved: Instant,
    out: Vec<u8>,
    /// A person sits there and may be asked something.
    interactive: bool,
}

impl Way {
    fn new(fd: i32, pattern: Option<OsString>, settings: &Settings) -> Way {
        let ranks: Vec<u32> = (0..settings.size).collect();
        Way {
            fd,
            pattern,
            files: HashMap::new(),
            weaver: Weaver::new(&ranks, settings.tag),
            held: VecDeque::new(),
            held_bytes: 0,
            moved: Instant::now(),
            out: Vec::new(),
            interactive: fd == 1 && io::stdout().is_terminal() && io::stdin().is_terminal(),
        }
    }

    /// `None`: the rank's end.
    fn take(&mut self, rank: u32, bytes: Option<Vec<u8>>) -> io::Result<()> {
        if let (Some(pattern), Some(bytes)) = (self.pattern.clone(), &bytes) {
            return self.write_file(&pattern, rank, bytes);
        }
        if self.weaver.may_read(rank as usize) {
            self.moved = Instant::now();
            self.weave(rank, bytes);
        } else {
            self.held_bytes += bytes.as_ref().map_or(0, Vec::len);
            self.held.push_back((rank, bytes));
            if self.moved.elapsed() < PATIENCE && self.held_bytes < HELD_MAX {
                return Ok(());
            }
            self.weaver.give_up();
        }
        self.release();
        Ok(())
    }

    fn weave(&mut self, rank: u32, bytes: Option<Vec<u8>>) {
        match bytes {
            Some(bytes) => self.weaver.push(rank as usize, &bytes, &mut self.out),
            None => self.weaver.close(rank as usize, &mut self.out),
        }
    }

    /// Lets out what was held, as far as may be.
    fn release(&mut self) {
        let mut rest = std::mem::take(&mut self.held);
        while let Some((rank, bytes)) = rest.pop_front() {
            if self.weaver.may_read(rank as usize) {
                self.held_bytes -= bytes.as_ref().map_or(0, Vec::len);
                self.weave(rank, bytes);
            } else {
                self.held.push_back((rank, bytes));
            }
        }
    }

    fn write_file(&mut self, pattern: &OsStr, rank: u32, bytes: &[u8]) -> io::Result<()> {
        let name = expand(pattern, rank);
        let file = match self.files.entry(name) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let shown = entry.key().to_string_lossy().into_owned();
                let file = File::create(entry.key());
                let wrong = |e: io::Error| io::Error::new(e.kind(), format!("{shown}: {e}"));
                entry.insert(file.map_err(wrong)?)
            }
        };
        file.write_all(bytes)
    }

    /// How long nothing may come before something is done.
    fn patience(&self) -> Option<Duration> {
        if self.interactive && self.weaver.begun(0) {
            return Some(PROMPT);
        }
        (!self.held.is_empty()).then_some(PATIENCE)
    }

    /// Nothing has come for that long.
    fn bored(&mut self) {
        self.weaver.give_up();
        if self.interactive && self.weaver.begun(0) {
            self.weaver.pass_on(0, &mut self.out);
        }
        self.release();
    }
}

struct Writing {
    ways: [Way; 2],
    progress: Progress,
}

impl Writing {
    fn run(&mut self, inbox: &Receiver<Piece>) -> io::Result<()> {
        loop {
            let patience = self.ways.iter().filter_map(Way::patience).min();
            let piece = match patience {
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(patience) => inbox.recv_timeout(patience),
            };
            match piece {
                Ok(Piece::Bytes {
                    rank,
                    stream,
                    bytes,
                }) => match stream {
                    STDOUT => self.ways[0].take(rank, Some(bytes))?,
                    STDERR => self.ways[1].take(rank, Some(bytes))?,
                    _ => {}
                },
                Ok(Piece::Closed(rank)) => {
                    for way in &mut self.ways {
                        way.take(rank, None)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.ways.iter_mut().for_each(Way::bored),
                Err(RecvTimeoutError::Disconnected) => {
                    for way in &mut self.ways {
                        way.weaver.give_up();
                        way.release();
                        way.weaver.finish(&mut way.out);
                    }
                    return self.flush();
                }
            }
            self.flush()?;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        for way in &mut self.ways {
            if !way.out.is_empty() {
                let written = self.progress.aside(|| os::write_all(way.fd, &way.out));
                way.out.clear();
                written?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(size: u32, tag: bool) -> Way {
        let settings = Settings {
            size,
            tag,
            stdout_pattern: None,
            stderr_pattern: None,
        };
        Way::new(1, None, &settings)
    }

    #[test]
    fn nobody_comes_into_a_line_that_is_passed_on_in_pieces() {
        let mut way = way(2, true);
        let long = vec![b'x'; (1 << 20) + 1];
        way.take(0, Some(long.clone())).unwrap();
        way.take(1, Some(b"one\n".to_vec())).unwrap();
        way.take(1, None).unwrap();
        assert_eq!(way.out.len(), 4 + long.len());
        assert_eq!(way.patience(), Some(PATIENCE));
        way.out.clear();
        way.take(0, Some(b"end\n".to_vec())).unwrap();
        assert_eq!(way.out, b"end\n[1] one\n");
        assert_eq!((way.patience(), way.held_bytes), (None, 0));
        // What waits is bounded.
        way.take(0, Some(long)).unwrap();
        way.out.clear();
        for _ in 0..HELD_MAX / (1 << 20) {
            let line = [vec![b'y'; (1 << 20) - 1], vec![b'\n']].concat();
            way.take(1, Some(line)).unwrap();
        }
        assert!(way.out.len() > HELD_MAX && way.held_bytes == 0);
    }

    #[test]
    fn patience_has_an_end() {
        let mut way = way(2, false);
        way.take(0, Some(vec![b'x'; (1 << 20) + 1])).unwrap();
        way.take(1, Some(b"one\n".to_vec())).unwrap();
        way.out.clear();
        way.bored();
        assert_eq!(way.out, b"one\n");
    }

    #[test]
    fn a_pattern_gives_every_rank_its_file() {
        let folder = std::env::temp_dir().join(format!("mayfly-ways-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut way = way(3, true);
        way.pattern = Some(folder.join("o.%r").into());
        for rank in [0, 2, 0] {
            way.take(rank, Some(format!("r{rank}\n").into_bytes()))
                .unwrap();
        }
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(
            (text("o.0").as_str(), text("o.2").as_str()),
            ("r0\nr0\n", "r2\n")
        );
        way.pattern = Some("/does/not/exist/%r".into());
        let error = way.take(0, Some(vec![1])).unwrap_err().to_string();
        assert!(error.contains("/does/not/exist/0"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
