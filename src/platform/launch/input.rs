//! Standard input on its way to the ranks that read it.

use super::Stdin;
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Decides what each rank reads, and copies where the descriptor itself cannot be handed over.
pub struct Input {
    which: Stdin,
    /// A terminal answers only to its foreground group, which the ranks are not in.
    direct: bool,
    copies: Vec<File>,
}

impl Input {
    pub fn new(which: Stdin) -> Input {
        Input {
            which,
            direct: which != Stdin::All && !std::io::stdin().is_terminal(),
            copies: Vec::new(),
        }
    }

    /// A rank's standard input.
    pub fn of(&mut self, rank: u32) -> std::io::Result<OwnedFd> {
        let reads = match self.which {
            Stdin::First => rank == 0,
            Stdin::Rank(one) => rank == one,
            Stdin::All => true,
            Stdin::None => false,
        };
        if !reads {
            return super::os::nothing();
        }
        if self.direct {
            return std::io::stdin().as_fd().try_clone_to_owned();
        }
        let (read, write) = super::os::pipe()?;
        self.copies.push(write.into());
        Ok(read)
    }

    /// Starts copying, where there is something to copy. The thread ends with the input or with its readers, or with
    /// the process.
    pub fn start(mut self) -> std::io::Result<()> {
        if self.copies.is_empty() {
            return Ok(());
        }
        std::thread::Builder::new()
            .name("input".into())
            .spawn(move || {
                let mut chunk = vec![0; 64 * 1024];
                let mut stdin = std::io::stdin().lock();
                while !self.copies.is_empty() {
                    match stdin.read(&mut chunk) {
                        Ok(0) => return,
                        // A rank that has closed its input is left out from then on.
                        Ok(n) => self
                            .copies
                            .retain_mut(|copy| copy.write_all(&chunk[..n]).is_ok()),
                        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(_) => return,
                    }
                }
            })?;
        Ok(())
    }
}
