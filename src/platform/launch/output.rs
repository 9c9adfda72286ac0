//! The ranks' output, put together so that no line is torn. Memory is bounded: while our own output does not move on,
//! nothing is read, and the ranks wait in their writes.

use super::os;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A line may grow to this before it is passed on in pieces.
const LINE_MAX: usize = 1 << 20;
/// So much is read at a time.
const CHUNK: usize = 64 * 1024;
/// How long others wait for the rest of a line that is passed on in pieces.
pub const PATIENCE: Duration = Duration::from_millis(200);
/// On a terminal, how long the beginning of rank 0's line (a question to the user) may wait for the rest.
pub const PROMPT: Duration = Duration::from_millis(50);

/// Weaves the bytes of several ranks into one stream of whole lines.
pub struct Weaver {
    /// What stands before each line, by source.
    tags: Option<Vec<Vec<u8>>>,
    /// Lines begun, by source.
    tails: Vec<Vec<u8>>,
    /// Whose line, too long to be kept, is being passed on.
    owner: Option<usize>,
    /// There is only one source, so that nothing can mix.
    direct: bool,
}

impl Weaver {
    pub fn new(ranks: &[u32], tag: bool) -> Weaver {
        Weaver {
            tags: tag.then(|| {
                ranks
                    .iter()
                    .map(|rank| format!("[{rank}] ").into_bytes())
                    .collect()
            }),
            tails: vec![Vec::new(); ranks.len()],
            owner: None,
            direct: ranks.len() == 1 && !tag,
        }
    }

    /// Takes a source's next bytes; appends what can go out now.
    pub fn push(&mut self, source: usize, bytes: &[u8], out: &mut Vec<u8>) {
        if self.direct {
            return out.extend_from_slice(bytes);
        }
        let Some(last) = bytes.iter().rposition(|&b| b == b'\n') else {
            self.tails[source].extend_from_slice(bytes);
            if self.owner == Some(source) || self.tails[source].len() > LINE_MAX {
                self.pass_on(source, out);
                self.owner = Some(source);
            }
            return;
        };
        let (whole, rest) = bytes.split_at(last + 1);
        for (i, line) in whole.split_inclusive(|&b| b == b'\n').enumerate() {
            if i == 0 {
                self.tails[source].extend_from_slice(line);
                self.pass_on(source, out);
                if self.owner == Some(source) {
                    self.owner = None;
                }
            } else {
                self.tag(source, out);
                out.extend_from_slice(line);
            }
        }
        self.tails[source].extend_from_slice(rest);
    }

    /// Sends a source's line as far as it is known.
    pub fn pass_on(&mut self, source: usize, out: &mut Vec<u8>) {
        if self.tails[source].is_empty() {
            return;
        }
        if self.owner != Some(source) {
            self.tag(source, out);
        }
        out.append(&mut self.tails[source]);
    }

    /// The source has ended. With tags its last line gets the newline that it lacks; without, the bytes stay as they
    /// are, and such a line waits for [`Weaver::finish`], as otherwise another rank's line would stick to it.
    pub fn close(&mut self, source: usize, out: &mut Vec<u8>) {
        let begun = !self.tails[source].is_empty() || self.owner == Some(source);
        if begun && self.tags.is_some() {
            self.pass_on(source, out);
            out.push(b'\n');
        }
        if self.owner == Some(source) {
            self.owner = None;
        }
    }

    /// All sources have ended: what is left goes out as it is.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        for source in 0..self.tails.len() {
            self.pass_on(source, out);
        }
    }

    /// May this source be read now?
    pub fn may_read(&self, source: usize) -> bool {
        self.owner.is_none_or(|owner| owner == source)
    }

    /// Whose line is being passed on has been waited for long enough; another may begin one.
    pub fn give_up(&mut self) {
        self.owner = None;
    }

    /// Has this source begun a line that has not gone out?
    pub fn begun(&self, source: usize) -> bool {
        self.tails.get(source).is_some_and(|tail| !tail.is_empty())
    }

    fn tag(&self, source: usize, out: &mut Vec<u8>) {
        if let Some(tags) = &self.tags {
            out.extend_from_slice(&tags[source]);
        }
    }
}

/// How a pump came to its end.
#[derive(Debug)]
pub enum Drained {
    /// All sources have ended, or [`Pump::finish`] was called and nothing was left.
    Yes,
    /// Nobody reads our output any more.
    Closed,
    Failed(io::Error),
}

/// A thread that reads pipes and writes to one descriptor.
pub struct Pump {
    /// Dropped to say: pass on what is there and stop.
    wake: Option<OwnedFd>,
}

/// Where a pump writes.
pub struct Target {
    pub fd: RawFd,
    pub tag: bool,
    /// A person sits there and may be asked something.
    pub interactive: bool,
    /// Held while writing, when two pumps write to the same file.
    pub turn: Arc<Mutex<()>>,
}

impl Pump {
    /// `done` is called at the end, on the pump's thread.
    pub fn start(
        sources: Vec<(u32, OwnedFd)>,
        target: Target,
        done: impl FnOnce(Drained) + Send + 'static,
    ) -> io::Result<Pump> {
        let (asleep, wake) = os::pipe()?;
        for (_, source) in &sources {
            os::set_nonblocking(source.as_raw_fd())?;
        }
        std::thread::Builder::new()
            .name("output".into())
            .spawn(move || {
                let ranks: Vec<u32> = sources.iter().map(|(rank, _)| *rank).collect();
                let mut pumping = Pumping {
                    weaver: Weaver::new(&ranks, target.tag),
                    sources: sources
                        .into_iter()
                        .map(|(_, fd)| Some(File::from(fd)))
                        .collect(),
                    target,
                    out: Vec::new(),
                    chunk: vec![0; CHUNK],
                };
                let ended = match pumping.run(&asleep) {
                    Ok(()) => Drained::Yes,
                    Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Drained::Closed,
                    Err(e) => Drained::Failed(e),
                };
                // Close the pipes before anyone hears of it: writers must not wait for a reader that is no more.
                drop(pumping);
                done(ended);
            })?;
        Ok(Pump { wake: Some(wake) })
    }

    /// Everything has been written by now: pass it on and stop.
    pub fn finish(&mut self) {
        self.wake = None;
    }
}

struct Pumping {
    weaver: Weaver,
    sources: Vec<Option<File>>,
    target: Target,
    out: Vec<u8>,
    chunk: Vec<u8>,
}

impl Pumping {
    fn run(&mut self, asleep: &OwnedFd) -> io::Result<()> {
        loop {
            let readable = |i: &usize| self.sources[*i].is_some() && self.weaver.may_read(*i);
            let open: Vec<usize> = (0..self.sources.len()).filter(readable).collect();
            if self.sources.iter().all(Option::is_none) {
                self.weaver.finish(&mut self.out);
                return self.flush();
            }
            let mut set: Vec<libc::pollfd> = open
                .iter()
                .filter_map(|&i| self.sources[i].as_ref())
                .map(|file| os::wants_read(file.as_raw_fd()))
                .collect();
            set.push(os::wants_read(asleep.as_raw_fd()));
            let prompt = self.target.interactive && self.weaver.begun(0);
            let patience = match (prompt, self.weaver.owner) {
                (true, _) => PROMPT.as_millis() as i32,
                (false, Some(_)) => PATIENCE.as_millis() as i32,
                (false, None) => -1,
            };
            os::poll(&mut set, patience)?;
            let finishing = set.last().is_some_and(|last| last.revents != 0);
            if set.iter().all(|entry| entry.revents == 0) {
                self.weaver.give_up();
                if prompt {
                    self.weaver.pass_on(0, &mut self.out);
                }
            }
            for (&source, entry) in open.iter().zip(&set) {
                if entry.revents != 0 && self.weaver.may_read(source) {
                    self.read(source)?;
                }
            }
            self.flush()?;
            if finishing {
                return self.drain();
            }
        }
    }

    /// One read; `false`: there is nothing now. Closes the source at its end.
    fn read(&mut self, source: usize) -> io::Result<bool> {
        let Some(file) = &mut self.sources[source] else {
            return Ok(false);
        };
        match file.read(&mut self.chunk) {
            Ok(0) => {
                self.sources[source] = None;
                self.weaver.close(source, &mut self.out);
            }
            Ok(n) => {
                self.weaver.push(source, &self.chunk[..n], &mut self.out);
                if self.out.len() > 4 * CHUNK {
                    self.flush()?;
                }
                return Ok(true);
            }
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => {
                self.sources[source] = None;
                self.weaver.close(source, &mut self.out);
            }
        }
        Ok(false)
    }

    /// What the pipes hold at the end; whoever still has them open is not waited for.
    fn drain(&mut self) -> io::Result<()> {
        // Whose line is in the middle goes first.
        let first = self.weaver.owner;
        for source in first.into_iter().chain(0..self.sources.len()) {
            while self.read(source)? {}
            self.weaver.close(source, &mut self.out);
            self.flush()?;
            self.sources[source] = None;
        }
        self.weaver.finish(&mut self.out);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let turn = self.target.turn.clone();
        let _held = turn.lock().unwrap_or_else(|p| p.into_inner());
        let result = os::write_all(self.target.fd, &self.out);
        self.out.clear();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_come_out_whole() {
        let mut weaver = Weaver::new(&[0, 1], false);
        let mut out = Vec::new();
        weaver.push(0, b"one ", &mut out);
        weaver.push(1, b"uno\ndos", &mut out);
        weaver.push(0, b"line\ntwo\nthr", &mut out);
        weaver.push(1, b"\n", &mut out);
        weaver.close(0, &mut out);
        weaver.push(1, b"tres\n", &mut out);
        assert_eq!(text(&out), "uno\none line\ntwo\ndos\ntres\n");
        weaver.close(1, &mut out);
        weaver.finish(&mut out);
        assert_eq!(text(&out), "uno\none line\ntwo\ndos\ntres\nthr");
    }

    #[test]
    fn tags_stand_before_every_line() {
        let mut weaver = Weaver::new(&[4, 5], true);
        let mut out = Vec::new();
        weaver.push(1, b"a\n\nb", &mut out);
        weaver.push(0, b"c\n", &mut out);
        weaver.close(1, &mut out);
        weaver.close(0, &mut out);
        assert_eq!(text(&out), "[5] a\n[5] \n[4] c\n[5] b\n");
    }

    #[test]
    fn an_endless_line_passes_in_pieces_and_nobody_comes_between() {
        let mut weaver = Weaver::new(&[0, 1], true);
        let mut out = Vec::new();
        let piece = vec![b'x'; LINE_MAX / 2 + 1];
        weaver.push(0, &piece, &mut out);
        assert!(out.is_empty() && weaver.may_read(1));
        weaver.push(0, &piece, &mut out);
        assert_eq!(out.len(), 4 + 2 * piece.len());
        assert!(weaver.may_read(0) && !weaver.may_read(1));
        out.clear();
        weaver.push(0, b"xx", &mut out);
        assert_eq!(text(&out), "xx");
        out.clear();
        weaver.push(0, b"end\nnext", &mut out);
        assert_eq!(text(&out), "end\n");
        assert!(weaver.may_read(1));
    }

    #[test]
    fn one_rank_alone_passes_straight_through() {
        let mut weaver = Weaver::new(&[0], false);
        let mut out = Vec::new();
        weaver.push(0, b"no newline \xff\0", &mut out);
        assert_eq!(out, b"no newline \xff\0");
    }
}
