//! Pairing of messages and receives by (context id, source, tag), first come first served (MPI-5.0 §3.5).
//!
//! Both queues are hashed. A receive stands in the one bin that its pattern names; a message looks in the four bins
//! that could want it and takes the oldest head. A message stands in the bin of its exact source and tag, and, from
//! the first wildcard on, in three more, so that any receive finds the oldest match in one look. As long as all in a queue
//! are alike, which they are mostly, they stand in a row instead.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// A source or tag in a pattern: `None` is the wildcard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pattern {
    pub source: Option<u32>,
    pub tag: Option<i32>,
}

impl Pattern {
    fn code(self) -> u128 {
        let source = self.source.map_or(0, |s| u128::from(s) << 1 | 1);
        let tag = self.tag.map_or(0, |t| u128::from(t as u32) << 1 | 1);
        source << 64 | tag
    }

    fn wild(self) -> bool {
        self.source.is_none() || self.tag.is_none()
    }
}

/// Multiplies and folds; keys are small numbers that no stranger chooses.
#[derive(Default)]
pub struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }
    #[inline]
    fn write_u64(&mut self, value: u64) {
        let mixed =
            u128::from(self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.0 = (mixed >> 64) as u64 ^ mixed as u64;
    }
    #[inline]
    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map with that hash.
pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Fold>>;

const NONE: u32 = u32::MAX;

/// The kind of a pattern: exact, any tag, any source, both. Which of two bits is set says what is not looked at.
const ANY_TAG: usize = 1;
const ANY_SOURCE: usize = 2;

/// The four bins a message can stand in: exact, any tag, any source, both.
const VIEWS: usize = 4;

/// What a message of this source and tag is looked for by, in a view.
#[inline(always)]
fn seen(source: u32, tag: i32, view: usize) -> Pattern {
    Pattern {
        source: (view & ANY_SOURCE == 0).then_some(source),
        tag: (view & ANY_TAG == 0).then_some(tag),
    }
}

/// The views of a set.
#[inline(always)]
fn views_of(mut set: u8) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let view = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (view < VIEWS).then_some(view)
    })
}

/// A doubly linked list's ends.
#[derive(Clone, Copy)]
struct Bin {
    head: u32,
    tail: u32,
}

/// A node of the arena; `links[view]` are its neighbours in that view's bin.
struct Node<T> {
    value: Option<T>,
    source: u32,
    tag: i32,
    /// Which views' bins it stands in, as a bit set.
    in_views: u8,
    order: u64,
    links: [(u32, u32); VIEWS],
    /// Those bins.
    bins: [u32; VIEWS],
}

impl<T> Node<T> {
    /// What nodes in a row have in common.
    #[inline]
    fn kind(&self) -> (u32, i32, u8) {
        (self.source, self.tag, self.in_views)
    }
}

/// Nodes in bins; serves posted receives and unexpected messages alike.
struct Store<T> {
    nodes: Vec<Node<T>>,
    free: Vec<u32>,
    /// Where each pattern's bin is in `ends`.
    bins: Map<u128, u32>,
    ends: Vec<Bin>,
    spare_bins: Vec<u32>,
    /// The bin that was looked up last.
    recent: (u128, u32),
    order: u64,
    len: usize,
    /// All nodes, oldest first, as long as they are alike in source, tag and views: then they stand in no bin.
    row: VecDeque<u32>,
}

impl<T> Store<T> {
    fn new() -> Store<T> {
        Store {
            nodes: Vec::new(),
            free: Vec::new(),
            bins: Map::default(),
            ends: Vec::new(),
            spare_bins: Vec::new(),
            recent: (0, NONE),
            order: 0,
            len: 0,
            row: VecDeque::new(),
        }
    }

    /// Makes a node that stands in no bin yet.
    #[inline]
    fn take_node(&mut self, source: u32, tag: i32, value: T) -> u32 {
        self.order += 1;
        self.len += 1;
        if let Some(index) = self.free.pop() {
            // What it says of bins is written when it is put into some.
            let node = &mut self.nodes[index as usize];
            node.value = Some(value);
            node.source = source;
            node.tag = tag;
            node.in_views = 0;
            node.order = self.order;
            return index;
        }
        self.nodes.push(Node {
            value: Some(value),
            source,
            tag,
            in_views: 0,
            order: self.order,
            links: [(NONE, NONE); VIEWS],
            bins: [NONE; VIEWS],
        });
        (self.nodes.len() - 1) as u32
    }

    /// A node takes its place in the bins of these views, or in the row.
    #[inline]
    fn enter(&mut self, index: u32, in_views: u8) {
        let node = &mut self.nodes[index as usize];
        node.in_views = in_views;
        let kind = node.kind();
        if self.row.len() + 1 == self.len {
            let first = self.row.front();
            if first.is_none_or(|&first| self.nodes[first as usize].kind() == kind) {
                self.row.push_back(index);
                return;
            }
            self.scatter();
        }
        self.settle(index);
    }

    /// The row's nodes go to their bins.
    fn scatter(&mut self) {
        while let Some(index) = self.row.pop_front() {
            self.settle(index);
        }
    }

    /// Appends a node to its bins.
    #[inline(never)]
    fn settle(&mut self, index: u32) {
        let node = &self.nodes[index as usize];
        let (source, tag, in_views) = (node.source, node.tag, node.in_views);
        for view in views_of(in_views) {
            self.append(view, seen(source, tag, view).code(), index);
        }
    }

    /// Takes a node out of the row or its bins.
    #[inline]
    fn leave(&mut self, index: u32) {
        if self.row.front() == Some(&index) {
            self.row.pop_front();
            return;
        }
        self.scatter();
        self.unsettle(index);
    }

    #[inline(never)]
    fn unsettle(&mut self, index: u32) {
        let node = &self.nodes[index as usize];
        let (source, tag, in_views) = (node.source, node.tag, node.in_views);
        for view in views_of(in_views) {
            self.unlink(view, seen(source, tag, view), index);
        }
    }

    /// The bin of a pattern, made where there is none. Most come for the same one again.
    #[inline]
    fn bin(&mut self, key: u128) -> u32 {
        const EMPTY: Bin = Bin {
            head: NONE,
            tail: NONE,
        };
        if self.recent.1 != NONE && self.recent.0 == key {
            return self.recent.1;
        }
        let place = match self.bins.entry(key) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(slot) => *slot.insert(match self.spare_bins.pop() {
                Some(place) => place,
                None => {
                    self.ends.push(EMPTY);
                    (self.ends.len() - 1) as u32
                }
            }),
        };
        self.recent = (key, place);
        place
    }

    fn append(&mut self, view: usize, key: u128, index: u32) {
        let place = self.bin(key);
        let bin = &mut self.ends[place as usize];
        let tail = bin.tail;
        bin.tail = index;
        if tail == NONE {
            bin.head = index;
        } else {
            self.nodes[tail as usize].links[view].1 = index;
        }
        let node = &mut self.nodes[index as usize];
        node.in_views |= 1 << view;
        node.links[view] = (tail, NONE);
        node.bins[view] = place;
    }

    #[inline]
    fn head(&self, key: u128) -> Option<u32> {
        let place = match self.recent {
            (recent, place) if place != NONE && recent == key => place,
            _ => *self.bins.get(&key)?,
        };
        let head = self.ends[place as usize].head;
        (head != NONE).then_some(head)
    }

    /// Takes the node out of the bin of one view. Empty bins stay while few, so that a steady pattern of tags does
    /// not insert and remove for ever.
    fn unlink(&mut self, view: usize, pattern: Pattern, index: u32) {
        let node = &self.nodes[index as usize];
        let ((before, after), place) = (node.links[view], node.bins[view]);
        let bin = &mut self.ends[place as usize];
        if before == NONE {
            bin.head = after;
        }
        if after == NONE {
            bin.tail = before;
        }
        let emptied = bin.head == NONE;
        if before != NONE {
            self.nodes[before as usize].links[view].1 = after;
        }
        if after != NONE {
            self.nodes[after as usize].links[view].0 = before;
        }
        if emptied && self.bins.len() > 64 {
            self.bins.remove(&pattern.code());
            self.spare_bins.push(place);
            self.recent.1 = NONE;
        }
    }

    #[inline]
    fn release(&mut self, index: u32) -> T {
        self.free.push(index);
        self.len -= 1;
        self.nodes[index as usize]
            .value
            .take()
            .expect("a linked node holds a value")
    }
}

/// Both queues of one context id.
pub struct Context<R, M> {
    posted: Store<R>,
    /// Posted receives by kind of pattern: exact, any tag, any source, both.
    posted_by_view: [usize; VIEWS],
    unexpected: Store<M>,
    /// Has a wildcard ever looked here? From then on messages stand in all four bins.
    wild: bool,
}

/// Names a posted receive so that it can be withdrawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Posted(u32, u64);

impl<R, M> Default for Context<R, M> {
    fn default() -> Self {
        Context {
            posted: Store::new(),
            posted_by_view: [0; VIEWS],
            unexpected: Store::new(),
            wild: false,
        }
    }
}

impl<R, M> Context<R, M> {
    #[inline]
    fn view_of(pattern: Pattern) -> usize {
        let source = usize::from(pattern.source.is_none()) * ANY_SOURCE;
        source | (usize::from(pattern.tag.is_none()) * ANY_TAG)
    }

    /// Adds a receive that no waiting message matched.
    #[inline]
    pub fn post(&mut self, pattern: Pattern, receive: R) -> Posted {
        let view = Self::view_of(pattern);
        let index = self.posted.take_node(
            pattern.source.unwrap_or(NONE),
            pattern.tag.unwrap_or(i32::MIN),
            receive,
        );
        self.posted.enter(index, 1 << view);
        self.posted_by_view[view] += 1;
        Posted(index, self.posted.order)
    }

    /// Withdraws a posted receive; `None` when it has been matched.
    pub fn withdraw(&mut self, posted: Posted, pattern: Pattern) -> Option<R> {
        let node = self.posted.nodes.get(posted.0 as usize)?;
        if node.order != posted.1 || node.value.is_none() {
            return None;
        }
        Some(self.take_posted(Self::view_of(pattern), posted.0))
    }

    #[inline]
    fn take_posted(&mut self, view: usize, index: u32) -> R {
        self.posted.leave(index);
        self.posted_by_view[view] -= 1;
        self.posted.release(index)
    }

    /// The oldest posted receive that wants this message, taken from the queue.
    #[inline(always)]
    pub fn match_message(&mut self, source: u32, tag: i32) -> Option<R> {
        if self.posted.len == 0 {
            return None;
        }
        let Some(&first) = self.posted.row.front() else {
            return self.match_in_bins(source, tag);
        };
        let node = &self.posted.nodes[first as usize];
        let view = node.in_views.trailing_zeros() as usize;
        if (node.source != source && view & ANY_SOURCE == 0)
            || (node.tag != tag && view & ANY_TAG == 0)
        {
            return None;
        }
        Some(self.take_posted(view, first))
    }

    #[inline(never)]
    fn match_in_bins(&mut self, source: u32, tag: i32) -> Option<R> {
        let mut best: Option<(u64, usize, u32)> = None;
        for view in 0..VIEWS {
            if self.posted_by_view[view] == 0 {
                continue;
            }
            if let Some(index) = self.posted.head(seen(source, tag, view).code()) {
                let order = self.posted.nodes[index as usize].order;
                if best.is_none_or(|b| order < b.0) {
                    best = Some((order, view, index));
                }
            }
        }
        let (_, view, index) = best?;
        Some(self.take_posted(view, index))
    }

    /// Keeps a message that nobody waits for yet.
    pub fn keep(&mut self, source: u32, tag: i32, message: M) {
        let index = self.unexpected.take_node(source, tag, message);
        let in_views = if self.wild { (1 << VIEWS) - 1 } else { 1 };
        self.unexpected.enter(index, in_views);
    }

    /// The oldest waiting message of this pattern.
    #[inline]
    fn find(&mut self, pattern: Pattern) -> Option<u32> {
        if self.unexpected.len == 0 {
            return None;
        }
        let Some(&first) = self.unexpected.row.front() else {
            self.index_for(pattern);
            return self.unexpected.head(pattern.code());
        };
        let node = &self.unexpected.nodes[first as usize];
        let wanted = pattern.source.is_none_or(|s| s == node.source)
            && pattern.tag.is_none_or(|t| t == node.tag);
        wanted.then_some(first)
    }

    fn index_for(&mut self, pattern: Pattern) {
        if self.wild || !pattern.wild() {
            return;
        }
        self.wild = true;
        let mut waiting: Vec<u32> = (0..self.unexpected.nodes.len() as u32)
            .filter(|&i| self.unexpected.nodes[i as usize].value.is_some())
            .collect();
        waiting.sort_by_key(|&i| self.unexpected.nodes[i as usize].order);
        for index in waiting {
            let (source, tag) = {
                let node = &self.unexpected.nodes[index as usize];
                (node.source, node.tag)
            };
            for view in 1..VIEWS {
                self.unexpected
                    .append(view, seen(source, tag, view).code(), index);
            }
        }
    }

    /// The oldest waiting message of this pattern, left where it is.
    pub fn peek(&mut self, pattern: Pattern) -> Option<(u32, i32, &M)> {
        let index = self.find(pattern)?;
        let node = &self.unexpected.nodes[index as usize];
        node.value.as_ref().map(|m| (node.source, node.tag, m))
    }

    /// The oldest waiting message of this pattern, taken from the queue.
    #[inline]
    pub fn take(&mut self, pattern: Pattern) -> Option<(u32, i32, M)> {
        let index = self.find(pattern)?;
        Some(self.take_unexpected(index))
    }

    fn take_unexpected(&mut self, index: u32) -> (u32, i32, M) {
        let node = &self.unexpected.nodes[index as usize];
        let (source, tag) = (node.source, node.tag);
        self.unexpected.leave(index);
        (source, tag, self.unexpected.release(index))
    }

    /// Takes the first waiting message that `wanted` accepts, in no promised order (cancelled sends).
    pub fn take_where(&mut self, wanted: impl Fn(&M) -> bool) -> Option<M> {
        let index = self
            .unexpected
            .nodes
            .iter()
            .position(|n| n.value.as_ref().is_some_and(&wanted))?;
        Some(self.take_unexpected(index as u32).2)
    }

    /// Does any message wait?
    #[inline]
    pub fn holds_messages(&self) -> bool {
        self.unexpected.len > 0
    }

    /// Nothing posted, nothing waiting.
    pub fn is_empty(&self) -> bool {
        self.posted.len == 0 && self.unexpected.len == 0
    }
}

/// The queues of all context ids. Those used last are at hand, for most programs talk in one context at a time.
pub struct Contexts<R, M> {
    places: Map<u64, u32>,
    queues: Vec<Context<R, M>>,
    spare: Vec<u32>,
    last: Option<(u64, u32)>,
}

impl<R, M> Default for Contexts<R, M> {
    fn default() -> Self {
        Contexts {
            places: Map::default(),
            queues: Vec::new(),
            spare: Vec::new(),
            last: None,
        }
    }
}

impl<R, M> Contexts<R, M> {
    /// A context's queues, made if need be.
    #[inline(always)]
    pub fn of(&mut self, id: u64) -> &mut Context<R, M> {
        let place = match self.last {
            Some((last, place)) if last == id => place,
            _ => self.find(id),
        };
        &mut self.queues[place as usize]
    }

    #[inline(never)]
    fn find(&mut self, id: u64) -> u32 {
        let place = match self.places.entry(id) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(slot) => *slot.insert(match self.spare.pop() {
                Some(place) => place,
                None => {
                    self.queues.push(Context::default());
                    (self.queues.len() - 1) as u32
                }
            }),
        };
        self.last = Some((id, place));
        place
    }

    /// A context's queues, if anything was ever in them.
    #[inline]
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Context<R, M>> {
        let place = match self.last {
            Some((last, place)) if last == id => place,
            _ => *self.places.get(&id)?,
        };
        self.queues.get_mut(place as usize)
    }

    /// Forgets a context in whose queues nothing stands.
    pub fn forget(&mut self, id: u64) {
        if self.get_mut(id).is_some_and(|queues| queues.is_empty()) {
            if let Some(place) = self.places.remove(&id) {
                self.queues[place as usize] = Context::default();
                self.spare.push(place);
                self.last = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
