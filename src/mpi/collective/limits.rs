//! Which algorithm: by what every rank knows to be the same everywhere (bytes, ranks, the operation).

/// Where the ranks are, and switch points, in bytes where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All ranks of the job are on one machine.
    pub near: bool,
    /// And they are more than its processors: what counts is the work of all together, and how often one waits for another.
    pub crowded: bool,
    /// A bcast from here on scatters the data and gathers them everywhere, from 4 ranks on.
    pub bcast_split: usize,
    /// Blocks up to here are gathered and scattered along a tree, from 4 ranks on.
    pub tree_block: usize,
    /// All blocks together from here on go round a ring in an allgather.
    pub allgather_ring: usize,
    /// Blocks up to here are forwarded by others in an alltoall, from 8 ranks on.
    pub alltoall_forward: usize,
    /// Pairs of messages that an alltoall has under way, or an allgather between nodes.
    pub window: u32,
    /// The same for blocks of at least `segment`.
    pub large_window: u32,
    /// A reduce or allreduce from here on shares the work.
    pub reduce_split: usize,
    /// Where ranks share processors: a reduce from here on shares the work, and what `crowded_ranks` and more all wait for goes
    /// through rank 0 up to a quarter of it.
    pub crowded_split: usize,
    pub crowded_ranks: u32,
    /// An allreduce from here on sends the shares round a ring; of ranks that are no power of two from
    /// `allreduce_ring_odd` on.
    pub allreduce_ring: usize,
    pub allreduce_ring_odd: usize,
    /// A reduce_scatter from here on exchanges blocks between all pairs.
    pub scatter_pairs: usize,
    /// Messages whose elements are combined on arrival come in pieces of about this size.
    pub segment: usize,
    /// The same of what passes from rank to rank along a chain.
    pub link: usize,
    /// A scan from here on goes along a chain.
    pub scan_chain: usize,
    /// Data up to here are shown on a board themselves, longer ones by their address.
    pub board_here: usize,
    /// The same of what a root shows, or is shown to a root alone: who shows it need not wait for who reads it. And within a node
    /// of ranks on several machines.
    pub board_root: usize,
    /// Where ranks do not share processors a root's data from here on are messages, which both ranks copy.
    pub board_most: usize,
    /// Of a reduction by boards up to here every rank combines all that it wants itself, of a longer one a part.
    pub board_whole: usize,
    /// The same of a reduction to a root. Within a node of ranks on several machines leaders do up to so much alone.
    pub board_reduce: usize,
}

impl Limits {
    pub const DEFAULT: Limits = Limits {
        near: false,
        crowded: false,
        bcast_split: 64 << 10,
        tree_block: 1 << 10,
        allgather_ring: 64 << 10,
        alltoall_forward: 128,
        window: 32,
        large_window: 8,
        reduce_split: 16 << 10,
        crowded_split: 512 << 10,
        crowded_ranks: 4,
        allreduce_ring: 4 << 20,
        allreduce_ring_odd: 512 << 10,
        scatter_pairs: 64 << 10,
        segment: 256 << 10,
        link: 64 << 10,
        scan_chain: 64 << 10,
        board_here: 12 << 10,
        board_root: 64 << 10,
        board_most: 512 << 10,
        board_whole: 4 << 10,
        board_reduce: 64 << 10,
    };

    /// For ranks on one machine, or not, which share its processors, or not: what rank 0 said, so that all choose alike.
    pub fn of(near: bool, crowded: bool) -> Limits {
        Limits {
            near,
            crowded,
            ..Limits::DEFAULT
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bcast {
    /// From the root to everybody.
    Flat,
    Tree,
    /// Scattered along a tree, then gathered round a ring.
    Split,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allgather {
    /// Gathered at rank 0, then told to all.
    Root,
    /// Blocks double with each partner; a power of two of ranks.
    Doubling,
    /// Blocks double, shifted (Bruck).
    Shifted,
    Ring,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allreduce {
    /// Reduced at rank 0, then told to all.
    Root,
    /// Whole vectors meet pairwise; keeps the order of ranks.
    Doubling,
    /// Halves are combined, then gathered (Rabenseifner).
    Halving,
    Ring,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReduceScatter {
    Halving,
    Pairs,
    /// Reduced at rank 0, then scattered; keeps the order of ranks.
    Root,
    /// All blocks collected, then combined in the order of ranks.
    Ordered,
}

impl Limits {
    pub fn bcast(&self, bytes: usize, ranks: u32) -> Bcast {
        if self.crowded && bytes >= self.bcast_split {
            Bcast::Flat
        } else if bytes >= self.bcast_split && ranks >= 4 {
            Bcast::Split
        } else {
            Bcast::Tree
        }
    }

    /// May blocks of this size pass through others on their way to or from a root?
    pub fn tree(&self, block: usize, ranks: u32) -> bool {
        block <= self.tree_block && ranks >= 4 && !self.crowded
    }

    /// Does a scan go along a chain, rather than by doubling?
    pub fn chain(&self, bytes: usize, ranks: u32) -> bool {
        self.crowded || ranks == 2 || (self.near && ranks <= 8) || bytes >= self.scan_chain
    }

    /// `even`: all blocks are equal.
    pub fn allgather(&self, total: usize, ranks: u32, even: bool) -> Allgather {
        if self.through_root(total, ranks) {
            Allgather::Root
        } else if total >= self.allgather_ring {
            Allgather::Ring
        } else if even && ranks.is_power_of_two() {
            Allgather::Doubling
        } else {
            Allgather::Shifted
        }
    }

    /// Does an alltoall of such blocks go through rank 0?
    pub fn exchange(&self, block: usize, ranks: u32) -> bool {
        let row = block.saturating_mul(ranks as usize);
        self.through_root(row.saturating_mul(ranks as usize) / 2, ranks)
    }

    /// Does a reduction's root take everybody's elements itself? `waited`: all ranks wait for what the root does then. If they
    /// do not, the root soon has more to do than any other.
    pub fn flat_reduce(&self, bytes: usize, ranks: u32, waited: bool) -> bool {
        let all = bytes.saturating_mul(ranks as usize);
        let weight = match waited {
            true => all / 4,
            false => all.saturating_mul(32),
        };
        self.through_root(weight, ranks)
    }

    /// May blocks of this size be forwarded in an alltoall?
    pub fn forward(&self, block: usize, ranks: u32) -> bool {
        block <= self.alltoall_forward && ranks >= 8
    }

    /// Messages under way for blocks of about this size.
    pub fn window(&self, block: usize) -> u32 {
        if block >= self.segment {
            self.large_window
        } else {
            self.window
        }
    }

    /// May a reduction of this many elements be shared among the ranks? `free`: any order and any cut will do.
    pub fn share(&self, bytes: usize, count: usize, ranks: u32, free: bool) -> bool {
        let split = match self.crowded {
            true => self.crowded_split,
            false => self.reduce_split,
        };
        free && bytes >= split && count >= ranks as usize
    }

    /// Where ranks share processors: is it less work, and less waiting, if rank 0 does it for all?
    fn through_root(&self, bytes: usize, ranks: u32) -> bool {
        self.crowded && ranks >= self.crowded_ranks && bytes < self.crowded_split / 4
    }

    pub fn allreduce(&self, bytes: usize, count: usize, ranks: u32, free: bool) -> Allreduce {
        let ring = if ranks.is_power_of_two() {
            self.allreduce_ring
        } else {
            self.allreduce_ring_odd
        };
        if self.through_root(bytes, ranks) {
            Allreduce::Root
        } else if !free || bytes < self.reduce_split || count < ranks as usize {
            Allreduce::Doubling
        } else if bytes >= ring && ranks > 2 {
            Allreduce::Ring
        } else {
            Allreduce::Halving
        }
    }

    pub fn reduce_scatter(
        &self,
        bytes: usize,
        count: usize,
        ranks: u32,
        commute: bool,
    ) -> ReduceScatter {
        // Of fewer elements than ranks, ranks without any need not wait.
        if count >= ranks as usize && self.through_root(bytes, ranks) {
            return ReduceScatter::Root;
        }
        match (commute, bytes >= self.scatter_pairs) {
            (true, false) => ReduceScatter::Halving,
            (true, true) => ReduceScatter::Pairs,
            (false, false) => ReduceScatter::Root,
            (false, true) => ReduceScatter::Ordered,
        }
    }
}
