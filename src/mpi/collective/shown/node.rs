//! Collectives of ranks on several machines: by boards within each node, by messages between one rank of each.

use crate::mpi::collective;
use crate::mpi::collective::allgather::{ring, shifted};
use crate::mpi::collective::arguments::{Call, Place};
use crate::mpi::collective::barrier::dissemination;
use crate::mpi::collective::blocks::Blocks;
use crate::mpi::collective::limits::{Bcast, Limits};
use crate::mpi::collective::reduce::even_begin;
use crate::mpi::collective::schedule::{Data, Rank, Readers, Schedule};
use crate::mpi::collective::shown::reducing::Job;
use crate::mpi::collective::vector::Vector;
use crate::mpi::nodes::Nodes;

/// A rank's node, and who speaks for each.
pub struct Node<'a> {
    nodes: &'a Nodes,
    /// This node's number.
    number: u32,
    /// This rank in it.
    place: Place,
    /// The place of the leader in it.
    lead: u32,
    /// One rank of each node, the root of a collective for its own.
    leaders: Vec<u32>,
}

impl<'a> Call<'a> {
    /// The node of this rank, where ranks are on several machines and boards serve within each a collective in which a rank
    /// shows at most so many bytes. The root, if there is one, leads its node.
    pub fn node(&mut self, most: usize, root: Option<u32>) -> Option<Node<'a>> {
        let nodes = self.reach.and_then(|reach| reach.nodes)?;
        let has_boards = self.has_boards(self.limits.board_root, most);
        has_boards.then(|| Node::of(nodes, self.place.rank, root))
    }

    /// The same for a reduction.
    pub fn node_combines(&mut self, v: &Vector, root: Option<u32>) -> Option<Node<'a>> {
        match self.folds(v) {
            true => self
                .node(v.size(), root)
                .filter(|node| node.suits(self.limits, v.size())),
            false => None,
        }
    }
}

impl<'a> Node<'a> {
    fn of(nodes: &'a Nodes, rank: u32, root: Option<u32>) -> Node<'a> {
        let (number, at) = nodes.place(rank);
        let mut leaders: Vec<u32> = nodes.all().map(|ranks| ranks[0]).collect();
        if let Some(root) = root {
            leaders[nodes.place(root).0 as usize] = root;
        }
        Node {
            nodes,
            number,
            place: Place {
                rank: at,
                size: nodes.members(number).len() as u32,
                remote: None,
            },
            lead: nodes.place(leaders[number as usize]).1,
            leaders,
        }
    }

    fn leads(&self) -> bool {
        self.place.rank == self.lead
    }

    /// Would leaders not do too much alone? Where nodes have as many ranks, all can work.
    pub fn suits(&self, limits: &Limits, bytes: usize) -> bool {
        self.nodes.is_even() || bytes <= limits.board_reduce
    }

    /// Does every rank of a node do a part of so much, of so many elements?
    fn is_parted(&self, limits: &Limits, bytes: usize, count: usize) -> bool {
        let size = self.place.size;
        size > 1 && self.nodes.is_even() && bytes > limits.board_reduce && count >= size as usize
    }

    fn is_shared(&self) -> bool {
        self.place.size > 1
    }

    /// What one rank of each node does by messages: `build` gets its place among them.
    fn among(&self, s: &mut Schedule, ranks: &[u32], build: impl FnOnce(&mut Schedule, Place)) {
        let first = s.steps.len();
        let place = Place {
            rank: self.number,
            size: self.nodes.count(),
            remote: None,
        };
        build(s, place);
        s.rename(first, ranks);
    }

    /// The same of those at this rank's place in each node, where all nodes have as many.
    fn among_alike(&self, s: &mut Schedule, build: impl FnOnce(&mut Schedule, Place)) {
        let ranks: Vec<u32> = self
            .nodes
            .all()
            .map(|ranks| ranks[self.place.rank as usize])
            .collect();
        self.among(s, &ranks, build);
    }

    /// The same of the leaders.
    fn among_leaders(&self, s: &mut Schedule, build: impl FnOnce(&mut Schedule, Place)) {
        self.among(s, &self.leaders, build);
    }

    /// The leader's data, at all of its node.
    fn tell(&self, s: &mut Schedule, data: Data, phase: u32) {
        if !self.is_shared() {
            return;
        }
        if self.leads() {
            s.show(data, phase);
            return s.settle_boards(Readers::All);
        }
        let size = s.size(&data);
        s.look(self.lead, phase, (0, size), data);
        // What this rank showed the leader has read, or it would not show this.
        s.settle_boards(Readers::Nobody);
    }
}

/// Nobody leaves before everybody has come.
pub fn barrier(s: &mut Schedule, node: &Node) {
    if node.leads() {
        for rank in node.place.others() {
            s.look(rank, 1, (0, 0), Data::EMPTY);
        }
        node.among_leaders(s, dissemination);
    } else {
        s.show(Data::EMPTY, 1);
    }
    node.tell(s, Data::EMPTY, 2);
}

/// The data of the root, which leads its node, everywhere.
pub fn bcast(s: &mut Schedule, limits: &Limits, node: &Node, root: u32, data: Data) {
    let bytes = s.size(&data);
    if node.is_parted(limits, bytes, bytes) {
        return bcast_in_parts(s, node, root, data);
    }
    if node.leads() {
        node.among_leaders(s, |s, place| {
            let root = node.nodes.place(root).0;
            match limits.bcast(bytes, place.size) {
                Bcast::Split => collective::bcast::split(s, place, root, data),
                _ => collective::bcast::tree(s, place, root, data),
            }
        });
    }
    node.tell(s, data, 1);
}

/// Every rank of the root's node sends a part to one rank of each other node, whose ranks then show each other what they got.
fn bcast_in_parts(s: &mut Schedule, node: &Node, root: u32, data: Data) {
    let bytes = s.size(&data);
    let base = match data.address() {
        Some(address) => address,
        None => s.scratch(bytes),
    };
    let whole = Data::bytes(base, bytes);
    let place = node.place;
    let part = |rank: u32| {
        let begin = |rank: u32| even_begin(bytes, place.size, rank as usize);
        let size = begin(rank + 1) - begin(rank);
        Data::bytes(base.wrapping_add(begin(rank)), size)
    };
    let at_root = node.nodes.place(root).0;
    let is_near = node.number == at_root;
    if is_near && node.leads() {
        s.copy(data, whole);
        s.show(whole, 1);
    } else if is_near {
        s.look(node.lead, 1, (0, bytes), whole);
    }
    let mine = part(place.rank);
    node.among_alike(s, |s, among| {
        collective::bcast::tree(s, among, at_root, mine)
    });
    if !is_near {
        s.fence();
        s.show(mine, 1);
        for rank in place.others() {
            let theirs = part(rank);
            s.look(rank, 1, (0, theirs.count), theirs);
        }
    }
    s.settle_boards(match is_near && !node.leads() {
        true => Readers::Nobody,
        false => Readers::All,
    });
    if !(is_near && node.leads()) {
        s.copy(whole, data);
    }
}

/// Everyone's elements combined, at the root, which leads its node; `result` matters there only.
pub fn reduce(
    s: &mut Schedule,
    limits: &Limits,
    node: &Node,
    (own, result): (*mut u8, *mut u8),
    v: &Vector,
    root: u32,
) {
    if node.is_parted(limits, v.size(), v.count) {
        let job = limits.job(v, node.place, own, result);
        return in_parts(s, limits, node, &job, Some(root));
    }
    let mut sum = own;
    if node.is_shared() {
        if node.leads() {
            sum = match node.leaders[node.number as usize] == root {
                true => result,
                false => v.scratch(s, v.count),
            };
        }
        let job = limits.job(v, node.place, own, sum);
        if !node.leads() {
            job.show(s, 1);
            return s.settle_boards(Readers::One(node.lead));
        }
        job.combine(s, job.any_order(), (0, v.count), sum);
        s.settle_boards(Readers::Nobody);
    }
    node.among_leaders(s, |s, place| {
        let root = node.nodes.place(root).0;
        collective::reduce::at(s, limits, place, root, sum, result, v);
    });
}

/// Everyone's elements combined, everywhere.
pub fn allreduce(
    s: &mut Schedule,
    limits: &Limits,
    node: &Node,
    (own, result): (*mut u8, *mut u8),
    v: &Vector,
) {
    let job = limits.job(v, node.place, own, result);
    if node.is_parted(limits, v.size(), v.count) {
        return in_parts(s, limits, node, &job, None);
    }
    if node.leads() {
        job.combine(s, job.any_order(), (0, v.count), result);
        node.among_leaders(s, |s, place| {
            collective::allreduce::local(s, limits, place, result, result, v);
            s.fence();
        });
    } else {
        job.show(s, 1);
    }
    let all = v.all(s, result);
    node.tell(s, all, 2);
}

/// Every rank combines a part of what its node has, then with those who have that part of the other nodes': at a root, or
/// everywhere.
fn in_parts(s: &mut Schedule, limits: &Limits, node: &Node, job: &Job, root: Option<u32>) {
    let (v, place) = (job.v, node.place);
    let at_root = root.map(|root| node.nodes.place(root).0);
    let is_wanted = at_root.is_none_or(|at_root| at_root == node.number);
    let collects = root.is_none() || (is_wanted && node.leads());
    job.show(s, 1);
    let mine = job.part(place.rank);
    let sum = match collects {
        true => v.at(job.result, mine.0),
        false => v.scratch(s, mine.1),
    };
    job.combine(s, job.any_order(), mine, sum);
    let part = v.part(mine.1);
    node.among_alike(s, |s, among| match at_root {
        Some(at_root) => collective::reduce::at(s, limits, among, at_root, sum, sum, &part),
        None => collective::allreduce::local(s, limits, among, sum, sum, &part),
    });
    if is_wanted {
        s.fence();
        if root.is_none() || !collects {
            let data = v.data(s, sum, 0, mine.1);
            s.show(data, 2);
        }
        if collects {
            job.collect(s);
        }
    }
    s.settle_boards(Readers::All);
}

/// Every rank's block, everywhere.
pub fn allgather(
    s: &mut Schedule,
    limits: &Limits,
    node: &Node,
    (rank, own): (u32, Data),
    blocks: &Blocks,
) {
    // What leaders collect, by nodes; it may be what all want.
    let order: Vec<u32> = node.nodes.all().flatten().copied().collect();
    let mut begins = vec![0; order.len()];
    let mut total = 0;
    for &rank in &order {
        begins[rank as usize] = total;
        total += blocks.size(rank);
    }
    let whole = match order.is_sorted() {
        true => blocks.run(s, 0, order.len() as u32),
        false => None,
    };
    let whole = whole.filter(|whole| whole.address().is_some());
    if node.leads() {
        let base = match whole {
            Some(whole) => whole.buffer,
            None => s.scratch(total),
        };
        let part = |rank: u32| {
            let begin = begins[rank as usize];
            Data::bytes(base.wrapping_add(begin), blocks.size(rank))
        };
        s.copy(own, part(rank));
        let members = node.nodes.members(node.number);
        for at in node.place.others() {
            let to = part(members[at as usize]);
            if to.count > 0 {
                s.look(at, 1, (0, to.count), to);
            }
        }
        node.among_leaders(s, |s, place| {
            let of = |node_of: u32| {
                let ranks = node.nodes.members(node_of);
                let size = ranks.iter().map(|&rank| blocks.size(rank)).sum();
                Data::bytes(part(ranks[0]).buffer, size)
            };
            if total >= limits.allgather_ring {
                ring(s, place, |_, node| of(node));
            } else if place.size > limits.window {
                shifted(s, place, of(place.rank), |_, node| of(node));
            } else {
                for step in 1..place.size {
                    s.recv_some(of(place.before(step)), Rank::Local(place.before(step)));
                    s.send_some(of(place.rank), Rank::Local(place.after(step)));
                }
            }
            s.fence();
        });
        if node.is_shared() {
            s.show(Data::bytes(base, total), 2);
            s.settle_boards(Readers::All);
        }
        if whole.is_none() {
            for &rank in &order {
                let to = blocks.of(s, rank);
                s.copy(part(rank), to);
            }
        }
        return;
    }
    s.show(own, 1);
    match whole {
        Some(whole) => s.look(node.lead, 2, (0, total), whole),
        None => {
            for &rank in &order {
                let to = blocks.of(s, rank);
                if s.size(&to) > 0 {
                    s.look(node.lead, 2, (begins[rank as usize], total), to);
                }
            }
        }
    }
    s.settle_boards(Readers::Nobody);
}
