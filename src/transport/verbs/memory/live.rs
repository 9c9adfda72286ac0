//! Which addresses have a registration that may be used again.

use std::collections::BTreeMap;

/// Ranges of which none contains another (whoever inserts sees to it), so that their ends are in the order of their starts.
#[derive(Default)]
pub struct Live {
    /// By start: end, and whose it is.
    ranges: BTreeMap<usize, (usize, u32)>,
}

impl Live {
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The range must neither contain another nor lie in one.
    pub fn insert(&mut self, start: usize, end: usize, whose: u32) {
        self.ranges.insert(start, (end, whose));
    }

    pub fn remove(&mut self, start: usize) {
        self.ranges.remove(&start);
    }

    /// Whose contains all from `start` to `end`? Of those that begin in time the last one reaches farthest.
    #[inline]
    pub fn covering(&self, start: usize, end: usize) -> Option<u32> {
        let (_, (reach, whose)) = self.ranges.range(..=start).next_back()?;
        (*reach >= end).then_some(*whose)
    }

    /// One that lies wholly between the two.
    pub fn within(&self, start: usize, end: usize) -> Option<u32> {
        let (_, (reach, whose)) = self.ranges.range(start..end).next()?;
        (*reach <= end).then_some(*whose)
    }

    /// One that has a part between the two.
    pub fn touching(&self, start: usize, end: usize) -> Option<u32> {
        self.parts(start, end).next().map(|(_, _, whose)| whose)
    }

    /// All that have a part between the two, in order.
    fn parts(&self, start: usize, end: usize) -> impl Iterator<Item = (usize, usize, u32)> + '_ {
        // Those that begin before: ends are in order too, so they stand together.
        let before = self
            .ranges
            .range(..start)
            .rev()
            .take_while(move |(_, (reach, _))| *reach > start)
            .last()
            .map_or(start, |(from, _)| *from);
        self.ranges
            .range(before..end.max(before))
            .map(|(from, (to, whose))| (*from, *to, *whose))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Live {
        let mut live = Live::default();
        for (start, end, whose) in [(10, 20, 1), (15, 30, 2), (40, 50, 3)] {
            live.insert(start, end, whose);
        }
        live
    }

    #[test]
    fn the_last_that_begins_in_time_reaches_farthest() {
        let live = three();
        assert_eq!(live.covering(10, 20), Some(1));
        assert_eq!(live.covering(16, 30), Some(2));
        assert_eq!(live.covering(15, 17), Some(2), "both would do");
        assert_eq!(live.covering(12, 25), None, "two together do not");
        assert_eq!(live.covering(9, 11), None);
        assert_eq!(live.covering(45, 51), None);
        assert_eq!(live.covering(30, 31), None, "touching is not containing");
    }

    #[test]
    fn parts_and_contents() {
        let live = three();
        let touching = |start, end| live.parts(start, end).map(|p| p.2).collect::<Vec<_>>();
        assert_eq!(touching(0, 100), [1, 2, 3]);
        assert_eq!(touching(18, 19), [1, 2]);
        assert_eq!(touching(20, 40), [2]);
        assert!(touching(30, 40).is_empty());
        assert_eq!(touching(0, usize::MAX), [1, 2, 3]);
        assert_eq!(live.touching(49, 60), Some(3));
        assert_eq!(live.within(10, 30), Some(1));
        assert_eq!(live.within(11, 30), Some(2));
        assert_eq!(live.within(11, 29), None);
    }
}
