//! The steps of a schedule that use boards: each rank shows, all look.

use crate::base::error::{Class, Error, Result};
use crate::mpi::collective::running::{Port, Running};
use crate::mpi::collective::schedule::{Data, Readers, Spot, Step};
use crate::mpi::datatype;
use crate::transport::Shown;

/// Bytes of a table's entry about the piece for a rank: where it is (an address, or how far into what is shown), and its
/// length, with [`AWAY`] if it is an address.
pub(super) const ENTRY: usize = 16;
const AWAY: u64 = 1 << 63;

/// Elements of another's memory are combined in portions of so many bytes.
const PORTION: usize = 64 << 10;

/// A part of what a rank shows.
struct View {
    from: u32,
    phase: u32,
    shown: Shown,
}

impl<T> Running<T> {
    /// A step that has to do with boards; `None`: not yet.
    pub(super) fn board(
        &mut self,
        step: Step,
        port: &mut impl Port<Ticket = T>,
    ) -> Option<Result<()>> {
        if let Step::Settle { by } = step {
            return self.settle_boards(by, port);
        }
        // A member is gone: nobody is to wait for it, and what would be shown lacks what it brought.
        if self.gave_up {
            return Some(Ok(()));
        }
        let end = self.on_boards(step, port)?;
        // Ranks that disagree about a length go on; whatever else goes wrong leaves something out.
        self.gave_up = matches!(&end, Err(error) if error.class != Class::Truncate);
        Some(end)
    }

    fn on_boards(&mut self, step: Step, port: &mut impl Port<Ticket = T>) -> Option<Result<()>> {
        match step {
            Step::Show { data, phase } => self.show(data, phase, port),
            Step::ShowEach { phase } => self.show_each(phase, port),
            Step::ShowAll { phase } => self.show_all(phase, port),
            Step::Look { at, to } => {
                let shown = match port.look(at.phase, at.from)? {
                    Ok(shown) => shown,
                    Err(error) => return Some(Err(error)),
                };
                let end = self.take(&View::of(&at, shown), at.skip, to, port);
                Some(end.and(fits(&at, shown)))
            }
            Step::LookEach { from, phase, to } => {
                let shown = match port.look(phase, from)? {
                    Ok(shown) => shown,
                    Err(error) => return Some(Err(error)),
                };
                Some(self.take_piece(View { from, phase, shown }, to, port))
            }
            Step::Combine { at, inout, count } => {
                let shown = match port.look(at.phase, at.from)? {
                    Ok(shown) => shown,
                    Err(error) => return Some(Err(error)),
                };
                let view = View::of(&at, shown);
                Some(
                    fits(&at, shown)
                        .and_then(|()| self.combine(&view, at.skip, inout, count, port)),
                )
            }
            _ => Some(Ok(())),
        }
    }

    fn show(
        &mut self,
        data: Data,
        phase: u32,
        port: &mut impl Port<Ticket = T>,
    ) -> Option<Result<()>> {
        let size = self.schedule.size(&data);
        if size <= self.schedule.here {
            return port.show(phase, size, &mut |to| self.pack(&data, to));
        }
        let address = data.address().unwrap_or(std::ptr::null_mut());
        let end = port.show_at(phase, address, size)?;
        self.away = true;
        Some(end)
    }

    /// A table, and behind it the pieces themselves if there is room for all.
    fn show_each(&mut self, phase: u32, port: &mut impl Port<Ticket = T>) -> Option<Result<()>> {
        let pieces = &self.schedule.pieces;
        let table = pieces.len() * ENTRY;
        let sizes = pieces.iter().map(|piece| self.schedule.size(piece));
        let total = sizes.fold(table, usize::saturating_add);
        let away = total > self.schedule.here;
        let end = port.show(phase, if away { table } else { total }, &mut |to| {
            let mut at = table;
            for (rank, piece) in pieces.iter().enumerate() {
                let size = self.schedule.size(piece);
                let address = piece.address().unwrap_or(std::ptr::null_mut()) as u64;
                let (place, length) = match away {
                    true => (address, size as u64 | AWAY),
                    false => (at as u64, size as u64),
                };
                let entry = &mut to[rank * ENTRY..][..ENTRY];
                entry[..8].copy_from_slice(&place.to_le_bytes());
                entry[8..].copy_from_slice(&length.to_le_bytes());
                if !away {
                    self.pack(piece, &mut to[at..at + size]);
                    at += size;
                }
            }
        })?;
        self.away |= away;
        Some(end)
    }

    /// The pieces one after the other, for which there is room.
    fn show_all(&mut self, phase: u32, port: &mut impl Port<Ticket = T>) -> Option<Result<()>> {
        let pieces = &self.schedule.pieces;
        let total = pieces.iter().map(|piece| self.schedule.size(piece)).sum();
        port.show(phase, total, &mut |mut to| {
            for piece in pieces {
                let (front, rest) = to.split_at_mut(self.schedule.size(piece));
                self.pack(piece, front);
                to = rest;
            }
        })
    }

    fn pack(&self, data: &Data, to: &mut [u8]) {
        // SAFETY: buffers of the program, valid until the collective completes (MPI-5.0 §6.12), or scratch of this
        // schedule; `to` is as long as the data.
        unsafe {
            match self.schedule.ty(data) {
                None => std::ptr::copy_nonoverlapping(data.buffer, to.as_mut_ptr(), to.len()),
                Some(ty) => {
                    datatype::pack(ty, data.count, data.buffer, 0, to);
                }
            }
        }
    }

    /// What is shown from `skip` on comes to where it belongs, as much as there is room for.
    fn take(
        &mut self,
        view: &View,
        skip: usize,
        to: Data,
        port: &mut impl Port<Ticket = T>,
    ) -> Result<()> {
        let size = self
            .schedule
            .size(&to)
            .min(view.length().saturating_sub(skip));
        if size == 0 {
            return Ok(());
        }
        match (view.shown, self.schedule.ty(&to)) {
            (Shown::Here(bytes, _), None) => {
                // SAFETY: the board shows so many bytes until this rank says that it is done; the program's buffer (or
                // scratch) has room for `to`, and boards lie in no buffer of the program.
                unsafe { std::ptr::copy_nonoverlapping(bytes.add(skip), to.buffer, size) };
                Ok(())
            }
            (Shown::Here(bytes, _), Some(ty)) => {
                // SAFETY: as above.
                unsafe {
                    let bytes = std::slice::from_raw_parts(bytes.add(skip), size);
                    datatype::unpack(ty, to.count, to.buffer, 0, bytes);
                }
                Ok(())
            }
            (Shown::There(remote, _), None) => {
                view.fetch(remote + skip as u64, to.buffer, size, port)
            }
            (Shown::There(remote, _), Some(ty)) => {
                let mut bytes = vec![0; size];
                view.fetch(remote + skip as u64, bytes.as_mut_ptr(), size, port)?;
                // SAFETY: as above.
                unsafe { datatype::unpack(ty, to.count, to.buffer, 0, &bytes) };
                Ok(())
            }
        }
    }

    fn take_piece(
        &mut self,
        mut view: View,
        to: Data,
        port: &mut impl Port<Ticket = T>,
    ) -> Result<()> {
        let rank = port.rank() as usize;
        let mut entry = [0; ENTRY];
        if let Shown::Here(bytes, length) = view.shown {
            if length >= (rank + 1) * ENTRY {
                // SAFETY: the entry lies in what is shown.
                unsafe {
                    entry
                        .as_mut_ptr()
                        .copy_from_nonoverlapping(bytes.add(rank * ENTRY), ENTRY)
                };
            }
            let word = |i: usize| entry[i..i + 8].try_into().map_or(0, u64::from_le_bytes);
            let (place, size) = (word(0), (word(8) & !AWAY) as usize);
            view.shown = match word(8) & AWAY != 0 {
                true => Shown::There(place, size),
                false if place as usize <= length && size <= length - place as usize => {
                    Shown::Here(bytes.wrapping_add(place as usize), size)
                }
                false => Shown::Here(bytes, 0),
            };
        }
        let size = self.schedule.size(&to);
        let (from, phase) = (view.from, view.phase);
        let at = Spot {
            from,
            phase,
            skip: 0,
            total: size,
        };
        self.take(&view, 0, to, port)?;
        fits(&at, view.shown)
    }

    fn combine(
        &mut self,
        view: &View,
        skip: usize,
        inout: *mut u8,
        count: usize,
        port: &mut impl Port<Ticket = T>,
    ) -> Result<()> {
        let Some(kernel) = self.schedule.fold.as_ref().and_then(|fold| fold.kernel) else {
            return Ok(());
        };
        let element = self.schedule.element;
        let count = count.min(view.length().saturating_sub(skip) / element.max(1));
        match view.shown {
            Shown::Here(bytes, _) => {
                // SAFETY: as in `take`; the builder checked that operation and type fit.
                unsafe { kernel(bytes.add(skip), inout, count) };
            }
            Shown::There(remote, _) => {
                self.portion.resize(PORTION / size_of::<u128>(), 0);
                let room = self.portion.as_mut_ptr().cast::<u8>();
                let most = (PORTION / element.max(1)).max(1);
                let mut at = 0;
                while at < count {
                    let n = most.min(count - at);
                    let remote = remote + (skip + at * element) as u64;
                    view.fetch(remote, room, n * element, port)?;
                    // SAFETY: as above; the portion was just read.
                    unsafe { kernel(room, inout.add(at * element), n) };
                    at += n;
                }
            }
        }
        Ok(())
    }

    /// The end of all looks.
    fn settle_boards(
        &mut self,
        by: Readers,
        port: &mut impl Port<Ticket = T>,
    ) -> Option<Result<()>> {
        if !std::mem::replace(&mut self.done, true) {
            port.done();
        }
        let mut end = Ok(());
        if !self.gave_up {
            let by = match by {
                Readers::One(rank) => Some(rank),
                Readers::All => None,
                Readers::Nobody => return Some(Ok(())),
            };
            if !self.away {
                return Some(Ok(()));
            }
            end = port.is_read(by)?;
            self.gave_up = end.is_err();
        }
        if self.gave_up {
            port.withdraw();
        }
        Some(end)
    }
}

impl View {
    fn of(at: &Spot, shown: Shown) -> View {
        View {
            from: at.from,
            phase: at.phase,
            shown,
        }
    }

    fn length(&self) -> usize {
        let (Shown::Here(_, length) | Shown::There(_, length)) = self.shown;
        length
    }

    fn fetch<T>(
        &self,
        remote: u64,
        into: *mut u8,
        length: usize,
        port: &mut impl Port<Ticket = T>,
    ) -> Result<()> {
        port.fetch(self.phase, self.from, remote, into, length)
    }
}

/// Does a rank show no more than was expected?
fn fits(at: &Spot, shown: Shown) -> Result<()> {
    let (Shown::Here(_, length) | Shown::There(_, length)) = shown;
    if length <= at.total {
        return Ok(());
    }
    Err(Error::new(
        Class::Truncate,
        format!(
            "rank {} has {length} bytes where {} were expected: the ranks disagree about counts or types",
            at.from, at.total
        ),
    ))
}
