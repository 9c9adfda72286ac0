//! Which members of a communicator share memory: its nodes.

/// The nodes of a communicator whose members are on several machines. All members have the same picture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nodes {
    /// By rank: the number of its node, and its place there.
    places: Vec<(u32, u32)>,
    /// By node: its ranks, in order. Nodes count in the order of their first ranks.
    members: Vec<Vec<u32>>,
    /// Wherever ranks share memory each can also read the others' own.
    pub fetch: bool,
}

/// What says that these ranks, in this order, are the members of a node.
pub fn mark(ranks: impl Iterator<Item = u32>) -> u64 {
    // FNV-1a.
    ranks.fold(0xcbf2_9ce4_8422_2325, |mark, rank| {
        let bytes = rank.to_le_bytes().into_iter();
        bytes.fold(mark, |mark, byte| {
            (mark ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    })
}

impl Nodes {
    /// From what every member, by rank, holds to be its node; `None`: they do not agree.
    pub fn of(marks: &[u64]) -> Option<Nodes> {
        let mut nodes = Nodes {
            places: Vec::with_capacity(marks.len()),
            members: Vec::new(),
            fetch: false,
        };
        let mut known = std::collections::HashMap::new();
        for (rank, &mark) in (0..).zip(marks) {
            let node = *known.entry(mark).or_insert_with(|| {
                nodes.members.push(Vec::new());
                nodes.members.len() - 1
            });
            let members = &mut nodes.members[node];
            nodes.places.push((node as u32, members.len() as u32));
            members.push(rank);
        }
        let agree = nodes
            .members
            .iter()
            .all(|ranks| mark(ranks.iter().copied()) == marks[ranks[0] as usize]);
        agree.then_some(nodes)
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.members.len() as u32
    }

    /// The node of a rank, and its place there.
    pub fn place(&self, rank: u32) -> (u32, u32) {
        self.places[rank as usize]
    }

    /// The ranks of a node, in order.
    pub fn members(&self, node: u32) -> &[u32] {
        &self.members[node as usize]
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &[u32]> {
        self.members.iter().map(Vec::as_slice)
    }

    /// Ranks of the largest one.
    pub fn largest(&self) -> usize {
        self.all().map(<[u32]>::len).max().unwrap_or(0)
    }

    /// Have all as many ranks?
    pub fn is_even(&self) -> bool {
        self.all().all(|ranks| ranks.len() == self.members[0].len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(nodes: &[&[u32]]) -> Vec<u64> {
        let ranks = nodes.iter().map(|ranks| ranks.len()).sum();
        let mut marks = vec![0; ranks];
        for ranks in nodes {
            let one = mark(ranks.iter().copied());
            ranks.iter().for_each(|&rank| marks[rank as usize] = one);
        }
        marks
    }

    #[test]
    fn members_of_a_node_are_found_wherever_they_are() {
        let nodes = Nodes::of(&marks(&[&[0, 3], &[1, 2, 5], &[4]])).expect("they agree");
        assert_eq!(
            (nodes.count(), nodes.largest(), nodes.is_even()),
            (3, 3, false)
        );
        assert_eq!(nodes.members(1), [1, 2, 5]);
        assert_eq!(
            [nodes.place(0), nodes.place(5), nodes.place(4)],
            [(0, 0), (1, 2), (2, 0)]
        );
        assert!(Nodes::of(&marks(&[&[0, 2], &[1, 3]])).is_some_and(|nodes| nodes.is_even()));
    }

    #[test]
    fn who_does_not_agree_is_found_out() {
        let mut marks = marks(&[&[0, 1], &[2, 3]]);
        // Rank 1 believes that it is alone.
        marks[1] = mark([1].into_iter());
        assert_eq!(Nodes::of(&marks), None);
    }
}
