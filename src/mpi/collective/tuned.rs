//! The limits by name: what `mayfly tune` measures and MAYFLY_LIMITS sets. Rank 0's hold for the whole job.

use crate::mpi::collective::limits::Limits;

/// A limit's place in [`NAMES`], and its value.
pub type Change = (u8, u64);

macro_rules! numbers {
    ($($name:ident),* $(,)?) => {
        /// What can be set. The order is that of the wire: with a change of it comes one of the address's version.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        impl Limits {
            /// The number of this name.
            pub fn number(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($name) => Some(self.$name as u64),)*
                    _ => None,
                }
            }

            fn set(&mut self, name: &str, value: u64) {
                match name {
                    $(stringify!($name) => self.$name = value.try_into().unwrap_or(!0),)*
                    _ => {}
                }
            }
        }
    };
}

numbers!(
    bcast_split,
    tree_block,
    allgather_ring,
    alltoall_forward,
    window,
    large_window,
    reduce_split,
    crowded_split,
    crowded_ranks,
    allreduce_ring,
    allreduce_ring_odd,
    scatter_pairs,
    segment,
    link,
    scan_chain,
    board_here,
    board_root,
    board_most,
    board_whole,
    board_reduce,
);

impl Limits {
    /// With these changes, all of known names.
    pub fn changed(mut self, changes: &[Change]) -> Limits {
        for &(index, value) in changes {
            if let Some(name) = NAMES.get(usize::from(index)) {
                self.set(name, value);
            }
        }
        // Nothing is sent in no pieces, or none at a time.
        self.window = self.window.max(1);
        self.large_window = self.large_window.max(1);
        self.segment = self.segment.max(1);
        self.link = self.link.max(1);
        self
    }
}

/// The changes in `name=value,name=value`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse(text: &str) -> Result<Vec<Change>, String> {
    let words = text.split([',', '\n']).map(str::trim);
    let change = |word: &str| {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| format!("{word} is not of the form name=value"))?;
        let (name, value) = (name.trim(), value.trim());
        let index = NAMES.iter().position(|known| *known == name);
        let index =
            index.ok_or_else(|| format!("there is no limit {name}, but {}", NAMES.join(", ")))?;
        let number = value
            .parse()
            .map_err(|_| format!("{name} is to be a number, not {value}"))?;
        Ok::<Change, String>((index as u8, number))
    };
    let mut changes: Vec<Change> = Vec::new();
    for word in words.filter(|word| !word.is_empty() && !word.starts_with('#')) {
        let (index, number) = change(word)?;
        // What comes later counts.
        changes.retain(|known| known.0 != index);
        changes.push((index, number));
    }
    Ok(changes)
}

/// Do all have names? Ranks that leave out what others do would wait for each other for ever.
pub fn all_known(changes: &[Change]) -> bool {
    changes
        .iter()
        .all(|change| usize::from(change.0) < NAMES.len())
}

/// What [`parse`] reads.
pub fn text(changes: &[Change]) -> String {
    let word = |&(index, value): &Change| {
        let name = NAMES.get(usize::from(index));
        name.map(|name| format!("{name}={value}"))
    };
    let words: Vec<String> = changes.iter().filter_map(word).collect();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_by_name() {
        let changes = parse("bcast_split=1024, window=0,\n# a remark\nscan_chain = 7\n").unwrap();
        let limits = Limits::DEFAULT.changed(&changes);
        assert_eq!((limits.bcast_split, limits.scan_chain), (1024, 7));
        assert_eq!(limits.window, 1, "none under way would be for ever");
        assert_eq!(limits.link, Limits::DEFAULT.link);
        assert_eq!(Limits::DEFAULT.changed(&[(255, 1)]), Limits::DEFAULT);
        assert_eq!(limits.number("scan_chain"), Some(7));
        assert_eq!(parse(&text(&changes)).unwrap(), changes);
        let most = Limits::DEFAULT.changed(&[(4, u64::MAX)]);
        assert_eq!(most.window, u32::MAX);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("bcast_split", "name=value"),
            ("bcast=1", "no limit bcast"),
            ("window=many", "to be a number"),
            ("window=-1", "to be a number"),
        ] {
            assert!(parse(text).unwrap_err().contains(word), "{text}");
        }
        assert!(parse(" , ").unwrap().is_empty());
        assert_eq!(parse("link=1,link=2").unwrap().len(), 1);
        assert!(all_known(&parse("link=1").unwrap()) && !all_known(&[(255, 1)]));
    }
}
