//! The operand of a reduction, and how parts of it meet.

use crate::mpi::collective::schedule::{Data, Rank, Schedule};
use crate::mpi::datatype::Type;

/// A vector of elements to be combined with others of its kind.
pub struct Vector<'a> {
    pub count: usize,
    pub ty: &'a Type,
    /// May operands be reordered?
    pub commute: bool,
    /// May it also be cut anywhere? Users' functions may want it whole.
    pub free: bool,
    /// Elements of a piece, where it is cut into pieces to combine one while the next arrives.
    pub segment: usize,
}

/// Elements `first..first + count` at `base`, on the way to or from a process.
#[derive(Clone, Copy)]
pub struct Part {
    pub base: *mut u8,
    pub first: usize,
    pub count: usize,
    pub peer: Rank,
}

impl<'a> Vector<'a> {
    /// So many elements of its kind.
    pub fn part(&self, count: usize) -> Vector<'a> {
        Vector { count, ..*self }
    }

    /// Bytes on the wire.
    pub fn size(&self) -> usize {
        self.count * self.ty.size()
    }

    /// Element `first` of the vector at `base`.
    pub fn at(&self, base: *mut u8, first: usize) -> *mut u8 {
        base.wrapping_offset((self.ty.extent() * first as i64) as isize)
    }

    /// Some elements of the vector at `base`.
    pub fn data(&self, s: &mut Schedule, base: *mut u8, first: usize, count: usize) -> Data {
        s.data(self.at(base, first), count, self.ty)
    }

    /// All of the vector at `base`.
    pub fn all(&self, s: &mut Schedule, base: *mut u8) -> Data {
        s.data(base, self.count, self.ty)
    }

    /// Copies all of it.
    pub fn copy(&self, s: &mut Schedule, from: *mut u8, to: *mut u8) {
        let (from, to) = (self.all(s, from), self.all(s, to));
        s.copy(from, to);
    }

    /// `inout = input op inout` on all of it.
    pub fn reduce(&self, s: &mut Schedule, input: *mut u8, inout: *mut u8) {
        s.reduce(input, inout, self.count);
    }

    /// Scratch for `count` elements.
    pub fn scratch(&self, s: &mut Schedule, count: usize) -> *mut u8 {
        s.elements(count, self.ty)
    }

    /// How many pieces a part of so many elements comes in.
    pub fn pieces(&self, count: usize) -> usize {
        if self.free {
            // Less than half is not worth a piece of its own.
            ((count + self.segment / 2) / self.segment).max(1)
        } else {
            1
        }
    }

    /// Begin and end of a piece; empty behind the last.
    pub fn piece(&self, count: usize, piece: usize) -> (usize, usize) {
        let pieces = self.pieces(count);
        let begin = |piece: usize| {
            if piece >= pieces {
                count
            } else {
                piece * self.segment
            }
        };
        (begin(piece), begin(piece + 1))
    }

    fn send_piece(&self, s: &mut Schedule, out: Part, piece: usize) -> u32 {
        let (i, end) = self.piece(out.count, piece);
        let data = self.data(s, out.base, out.first + i, end - i);
        s.send_some(data, out.peer)
    }

    /// Sends all of the vector at `base` to a process that takes it in with [`Vector::take_in`].
    pub fn give(&self, s: &mut Schedule, base: *mut u8, peer: Rank) {
        let all = Part {
            base,
            first: 0,
            count: self.count,
            peer,
        };
        for piece in 0..self.pieces(self.count) {
            self.send_piece(s, all, piece);
        }
    }

    /// Receives a part of the vector and combines it with the elements there, of the vector at `current`, into the
    /// vector at `sum`, in any order of operands; `current` may be the same as `sum`. Meanwhile sends another part,
    /// which must not overlap it. `spare`: scratch for the part, made when it is needed.
    pub fn take_in(
        &self,
        s: &mut Schedule,
        part: Part,
        current: *mut u8,
        spare: &mut Option<*mut u8>,
        out: Option<Part>,
    ) {
        let sum = part.base;
        let direct = current != sum;
        let room = if direct || part.count == 0 {
            sum
        } else {
            *spare.get_or_insert_with(|| self.scratch(s, part.count))
        };
        // Element i of the part lands here, and is combined with that.
        let land = |i: usize| {
            if direct {
                self.at(sum, part.first + i)
            } else {
                self.at(room, i)
            }
        };
        let combine = |s: &mut Schedule, i: usize, n: usize| {
            let (input, inout) = if direct {
                (self.at(current, part.first + i), land(i))
            } else {
                (land(i), self.at(sum, part.first + i))
            };
            s.reduce(input, inout, n);
        };
        let sending = out.map_or(0, |out| out.count);
        let pieces = self.pieces(part.count).max(self.pieces(sending));
        let mut before = None;
        for piece in 0..pieces {
            let (i, end) = self.piece(part.count, piece);
            let incoming = s.data(land(i), end - i, self.ty);
            let mut started = s.recv_some(incoming, part.peer);
            if let Some(out) = out {
                started += self.send_piece(s, out, piece);
            }
            if let Some((i, n)) = before {
                s.fence_but(started);
                combine(s, i, n);
            }
            before = Some((i, end - i));
        }
        s.fence();
        if let Some((i, n)) = before {
            combine(s, i, n);
        }
    }
}
