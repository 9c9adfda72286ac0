//! Packing and unpacking by shape, from any byte to any byte.

use super::kernel;
use super::shape::Shape;
use super::Datatype;
use std::mem::MaybeUninit;

/// Bytes on the stack for copies between two layouts neither of which is dense.
const BOUNCE: usize = 16 << 10;

/// Elements whose runs are copied column by column at a time: enough to leave the loop's overhead behind, few enough
/// to stay in the cache.
const BATCH: usize = 64;

/// Copies bytes `skip..skip + out.len()` of the packed stream of `count` elements at `buffer` into `out`. Returns how
/// many there were: fewer only at the stream's end.
///
/// # Safety
/// The bytes that the type and count name relative to `buffer` must be readable.
pub unsafe fn pack(
    ty: &Datatype,
    count: usize,
    buffer: *const u8,
    skip: usize,
    out: &mut [u8],
) -> usize {
    // SAFETY: the caller vouches for the buffer; `out` is as long as said.
    unsafe {
        transfer::<true>(
            ty,
            count,
            buffer.cast_mut(),
            skip,
            out.as_mut_ptr(),
            out.len(),
        )
    }
}

/// Puts `data` at bytes `skip..` of the stream that `count` elements at `buffer` take. Returns how many bytes had a
/// place: fewer than given only at the stream's end.
///
/// # Safety
/// The bytes that the type and count name relative to `buffer` must be writable.
pub unsafe fn unpack(
    ty: &Datatype,
    count: usize,
    buffer: *mut u8,
    skip: usize,
    data: &[u8],
) -> usize {
    // SAFETY: the caller vouches for the buffer; unpacking only reads `data`.
    unsafe {
        transfer::<false>(
            ty,
            count,
            buffer,
            skip,
            data.as_ptr().cast_mut(),
            data.len(),
        )
    }
}

/// Copies elements at `from` to elements at `to`, each (type, count, buffer), as a message would. Returns the bytes
/// copied: those of the shorter stream.
///
/// # Safety
/// The bytes that `from` names must be readable and those of `to` writable.
pub unsafe fn copy(from: (&Datatype, usize, *const u8), to: (&Datatype, usize, *mut u8)) -> usize {
    let total = stream_size(from.0, from.1).min(stream_size(to.0, to.1));
    // SAFETY: the caller vouches for both buffers; each slice below lies inside a dense one, or in `bounce`.
    unsafe {
        match (from.0.dense(from.1), to.0.dense(to.1)) {
            _ if total == 0 => 0,
            (Some(f), Some(t)) => {
                std::ptr::copy(from.2.wrapping_offset(f), to.2.wrapping_offset(t), total);
                total
            }
            (Some(f), None) => transfer::<false>(
                to.0,
                to.1,
                to.2,
                0,
                from.2.wrapping_offset(f).cast_mut(),
                total,
            ),
            (None, Some(t)) => transfer::<true>(
                from.0,
                from.1,
                from.2.cast_mut(),
                0,
                to.2.wrapping_offset(t),
                total,
            ),
            (None, None) => {
                let mut bounce = [MaybeUninit::<u8>::uninit(); BOUNCE];
                let bounce = bounce.as_mut_ptr().cast::<u8>();
                let mut done = 0;
                while done < total {
                    let len = BOUNCE.min(total - done);
                    transfer::<true>(from.0, from.1, from.2.cast_mut(), done, bounce, len);
                    transfer::<false>(to.0, to.1, to.2, done, bounce, len);
                    done += len;
                }
                total
            }
        }
    }
}

fn stream_size(ty: &Datatype, count: usize) -> usize {
    ty.size().saturating_mul(count)
}

/// # Safety
/// As [`pack`] and [`unpack`]; `len` bytes at `stream` must be valid.
unsafe fn transfer<const PACK: bool>(
    ty: &Datatype,
    count: usize,
    buffer: *mut u8,
    skip: usize,
    stream: *mut u8,
    len: usize,
) -> usize {
    let len = len.min(stream_size(ty, count).saturating_sub(skip));
    if len == 0 {
        return 0;
    }
    // SAFETY: `skip..skip + len` lies within the stream of `count` elements, for which the caller vouches.
    unsafe {
        match ty.dense(count) {
            Some(offset) => {
                let at = buffer.wrapping_offset(offset).wrapping_add(skip);
                kernel::run::<PACK>(at, stream, len);
            }
            None => {
                let all = Repeat {
                    body: ty.shape(),
                    size: ty.size(),
                    stride: ty.extent(),
                    count,
                };
                all.range::<PACK>(buffer, skip, stream, len);
            }
        }
    }
    len
}

/// `count` copies of a shape of `size` bytes, `stride` bytes apart.
#[derive(Clone, Copy)]
struct Repeat<'a> {
    body: &'a Shape,
    size: usize,
    stride: i64,
    count: usize,
}

impl Repeat<'_> {
    fn at(&self, base: *mut u8, i: usize) -> *mut u8 {
        base.wrapping_offset((i as isize).wrapping_mul(self.stride as isize))
    }

    /// Bytes `skip..skip + len` of the packed copies; the range lies within them and is not empty.
    ///
    /// # Safety
    /// What the range names must be valid at `base`, and `len` bytes at `stream`.
    unsafe fn range<const PACK: bool>(
        self,
        base: *mut u8,
        skip: usize,
        mut stream: *mut u8,
        mut len: usize,
    ) {
        let (mut i, within) = (skip / self.size, skip % self.size);
        // SAFETY: first the rest of a begun copy, then whole ones, then the start of the last: all in the range.
        unsafe {
            if within > 0 {
                let part = len.min(self.size - within);
                range::<PACK>(self.body, self.at(base, i), within, stream, part);
                (stream, len) = (stream.wrapping_add(part), len - part);
                i += 1;
            }
            let whole = len / self.size;
            if whole > 0 {
                let all = Repeat {
                    count: whole,
                    ..self
                };
                all.whole::<PACK>(self.at(base, i), stream);
                let done = whole * self.size;
                (stream, len) = (stream.wrapping_add(done), len - done);
                i += whole;
            }
            if len > 0 {
                range::<PACK>(self.body, self.at(base, i), 0, stream, len);
            }
        }
    }

    /// All of it.
    ///
    /// # Safety
    /// Every byte must be valid at `base`, and `count * size` bytes at `stream`.
    unsafe fn whole<const PACK: bool>(self, base: *mut u8, stream: *mut u8) {
        // SAFETY: exactly the copies' bytes, for which the caller vouches.
        unsafe {
            match self.body {
                _ if self.count == 1 => whole::<PACK>(self.body, base, stream),
                Shape::Empty => {}
                &Shape::Run { offset, len } => {
                    let memory = (base.wrapping_offset(offset as isize), self.stride);
                    kernel::strided::<PACK>(memory, (stream, len as i64), len, self.count);
                }
                // Many short rows: run k of all rows at once, so that the inner loop is the long one.
                &Shape::Strided {
                    offset,
                    len,
                    stride,
                    count,
                } if count <= 4 => {
                    self.columns::<PACK>(base, stream, count, |k| {
                        (offset + stride * k as i64, k * len, len)
                    });
                }
                Shape::Runs { offset, list } if list.runs.len() <= 16 => {
                    self.columns::<PACK>(base, stream, list.runs.len(), |k| {
                        let begin = list.begin(k);
                        (
                            offset + list.runs[k].offset,
                            begin,
                            list.runs[k].end - begin,
                        )
                    });
                }
                body => {
                    for i in 0..self.count {
                        whole::<PACK>(body, self.at(base, i), stream.wrapping_add(i * self.size));
                    }
                }
            }
        }
    }

    /// All of it, where a copy is `runs` runs: (offset in memory, offset in the stream, length) of each.
    ///
    /// # Safety
    /// As [`Repeat::whole`].
    unsafe fn columns<const PACK: bool>(
        self,
        base: *mut u8,
        stream: *mut u8,
        runs: usize,
        run: impl Fn(usize) -> (i64, usize, usize),
    ) {
        let mut i = 0;
        while i < self.count {
            let batch = BATCH.min(self.count - i);
            let (memory, target) = (self.at(base, i), stream.wrapping_add(i * self.size));
            for k in 0..runs {
                let (offset, place, len) = run(k);
                // SAFETY: run `k` of copies `i..i + batch`.
                unsafe {
                    kernel::strided::<PACK>(
                        (memory.wrapping_offset(offset as isize), self.stride),
                        (target.wrapping_add(place), self.size as i64),
                        len,
                        batch,
                    );
                }
            }
            i += batch;
        }
    }
}

/// All of one shape.
///
/// # Safety
/// What the shape names must be valid at `base`, and as many bytes at `stream`.
unsafe fn whole<const PACK: bool>(shape: &Shape, base: *mut u8, stream: *mut u8) {
    // SAFETY: exactly the shape's bytes, for which the caller vouches.
    unsafe {
        match shape {
            Shape::Empty => {}
            &Shape::Run { offset, len } => {
                kernel::run::<PACK>(base.wrapping_offset(offset as isize), stream, len)
            }
            &Shape::Strided {
                offset,
                len,
                stride,
                count,
            } => {
                let memory = (base.wrapping_offset(offset as isize), stride);
                kernel::strided::<PACK>(memory, (stream, len as i64), len, count);
            }
            Shape::Runs { offset, list } => {
                let memory = base.wrapping_offset(*offset as isize);
                kernel::listed::<PACK>(list, 0, list.runs.len(), memory, stream);
            }
            Shape::Loop {
                offset,
                stride,
                count,
                body,
                size,
            } => {
                let all = Repeat {
                    body,
                    size: *size,
                    stride: *stride,
                    count: *count,
                };
                all.whole::<PACK>(base.wrapping_offset(*offset as isize), stream);
            }
            Shape::Parts { offset, list } => {
                let base = base.wrapping_offset(*offset as isize);
                let mut begin = 0;
                for part in list.iter() {
                    whole::<PACK>(&part.shape, base, stream.wrapping_add(begin));
                    begin = part.end;
                }
            }
        }
    }
}

/// Bytes `skip..skip + len` of one shape; the range lies within it and is not empty.
///
/// # Safety
/// What the range names must be valid at `base`, and `len` bytes at `stream`.
unsafe fn range<const PACK: bool>(
    shape: &Shape,
    base: *mut u8,
    skip: usize,
    stream: *mut u8,
    len: usize,
) {
    // SAFETY: every piece lies in the range for which the caller vouches.
    unsafe {
        match shape {
            Shape::Empty => {}
            &Shape::Run { offset, .. } => {
                let memory = base.wrapping_offset(offset as isize).wrapping_add(skip);
                kernel::run::<PACK>(memory, stream, len);
            }
            &Shape::Strided {
                offset,
                len: size,
                stride,
                count,
            } => {
                let body = Shape::Run {
                    offset: 0,
                    len: size,
                };
                let all = Repeat {
                    body: &body,
                    size,
                    stride,
                    count,
                };
                all.range::<PACK>(base.wrapping_offset(offset as isize), skip, stream, len);
            }
            Shape::Runs { offset, list } => {
                let memory = base.wrapping_offset(*offset as isize);
                let end = skip + len;
                let (first, last) = (list.find(skip), list.find(end - 1));
                let part = |i: usize, from: usize, to: usize| {
                    let at = list.runs[i].offset as isize + (from - list.begin(i)) as isize;
                    let target = stream.wrapping_add(from - skip);
                    kernel::run::<PACK>(memory.wrapping_offset(at), target, to - from);
                };
                if first == last {
                    part(first, skip, end);
                } else {
                    part(first, skip, list.runs[first].end);
                    let target = stream.wrapping_add(list.runs[first].end - skip);
                    kernel::listed::<PACK>(list, first + 1, last, memory, target);
                    part(last, list.begin(last), end);
                }
            }
            Shape::Loop {
                offset,
                stride,
                count,
                body,
                size,
            } => {
                let all = Repeat {
                    body,
                    size: *size,
                    stride: *stride,
                    count: *count,
                };
                all.range::<PACK>(base.wrapping_offset(*offset as isize), skip, stream, len);
            }
            Shape::Parts { offset, list } => {
                let base = base.wrapping_offset(*offset as isize);
                let end = skip + len;
                let first = list.partition_point(|part| part.end <= skip);
                let mut begin = if first == 0 { 0 } else { list[first - 1].end };
                for part in &list[first..] {
                    if begin >= end {
                        break;
                    }
                    let (from, to) = (begin.max(skip), part.end.min(end));
                    let target = stream.wrapping_add(from - skip);
                    if from == begin && to == part.end {
                        whole::<PACK>(&part.shape, base, target);
                    } else {
                        range::<PACK>(&part.shape, base, from - begin, target, to - from);
                    }
                    begin = part.end;
                }
            }
        }
    }
}
