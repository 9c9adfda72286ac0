//! Many processes in one test: their schedules, and a network that delivers in a random order (though between two
//! processes in the order sent), some messages at once and some only when they are received.

use crate::base::error::{Class, Error, Result};
use crate::engine::Data;
use crate::mpi::boards::PHASES;
use crate::mpi::collective::limits::Limits;
use crate::mpi::collective::running::{Port, Rank, Running, State, Upcall};
use crate::mpi::collective::shown::Reach;
use crate::mpi::collective::{Call, Place};
use crate::mpi::nodes::{mark, Nodes};
use crate::mpi::topology::Topology;
use crate::mpi::World;
use crate::transport::{Shown, BOARD_ROOM};
use std::collections::{BTreeMap, VecDeque};

/// Random numbers from a seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % n
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

enum Sent {
    /// Left the sender's buffer.
    Whole(Vec<u8>),
    /// Is read when it is received.
    Announced(Data, usize),
}

#[derive(Default)]
struct Link {
    sent: VecDeque<Sent>,
    posted: VecDeque<(Data, usize)>,
}

/// (from, to, between the groups?)
type Way = (usize, usize, bool);

/// What a process shows in a phase.
enum Exhibit {
    Here(Vec<u8>),
    There(*mut u8, usize),
}

struct Net {
    random: Random,
    /// By process and phase.
    boards: BTreeMap<(usize, u32), Exhibit>,
    /// Who looks at boards no more.
    done: Vec<bool>,
    links: BTreeMap<Way, Link>,
    /// Ways with a message and a receive.
    ready: Vec<Way>,
    over: Vec<Option<Result<()>>>,
    /// Is a message whose size is not the receive's a mistake?
    strict: bool,
}

impl Net {
    fn ticket(&mut self, over: bool) -> usize {
        self.over.push(over.then_some(Ok(())));
        self.over.len() - 1
    }

    fn meet(&mut self, way: Way) {
        let link = &self.links[&way];
        let matched = link.sent.len().min(link.posted.len());
        if matched > self.ready.iter().filter(|w| **w == way).count() {
            self.ready.push(way);
        }
    }

    /// Delivers one message; false if there is none.
    fn deliver(&mut self) -> bool {
        if self.ready.is_empty() {
            return false;
        }
        let way = self.ready.swap_remove(self.random.below(self.ready.len()));
        let link = self.links.get_mut(&way).unwrap();
        let (Some(sent), Some((data, ticket))) = (link.sent.pop_front(), link.posted.pop_front())
        else {
            panic!("ready, but nothing there")
        };
        let bytes = match sent {
            Sent::Whole(bytes) => bytes,
            Sent::Announced(from, ticket) => {
                self.over[ticket] = Some(Ok(()));
                let mut bytes = vec![0; from.bytes];
                from.read(0, &mut bytes);
                bytes
            }
        };
        if self.strict {
            assert_eq!(bytes.len(), data.bytes, "size of a message on {way:?}");
        }
        data.write(0, &bytes);
        self.over[ticket] = Some(if bytes.len() > data.bytes {
            Err(Error::new(Class::Truncate, "too long"))
        } else {
            Ok(())
        });
        true
    }
}

/// One process's end of the network.
struct End<'a> {
    net: &'a mut Net,
    me: usize,
    /// The processes with boards that this one sees, by their places there.
    hall: &'a [u32],
    /// Numbers of the first process of the local and of the remote group.
    bases: (usize, usize),
}

impl End<'_> {
    fn number(&self, rank: Rank) -> (usize, bool) {
        match rank {
            Rank::Local(rank) => (self.bases.0 + rank as usize, false),
            Rank::Remote(rank) => (self.bases.1 + rank as usize, true),
        }
    }
}

impl Port for End<'_> {
    type Ticket = usize;

    fn send(&mut self, data: Data, to: Rank) -> usize {
        let (to, remote) = self.number(to);
        assert!(to != self.me || remote, "a message to itself");
        let way = (self.me, to, remote);
        let (sent, ticket);
        if self.net.random.below(2) == 0 {
            let mut bytes = vec![0; data.bytes];
            data.read(0, &mut bytes);
            sent = Sent::Whole(bytes);
            ticket = self.net.ticket(true);
        } else {
            ticket = self.net.ticket(false);
            sent = Sent::Announced(data, ticket);
        }
        self.net.links.entry(way).or_default().sent.push_back(sent);
        self.net.meet(way);
        ticket
    }

    fn recv(&mut self, data: Data, from: Rank) -> usize {
        let (from, remote) = self.number(from);
        let way = (from, self.me, remote);
        let ticket = self.net.ticket(false);
        let posted = (data, ticket);
        self.net
            .links
            .entry(way)
            .or_default()
            .posted
            .push_back(posted);
        self.net.meet(way);
        ticket
    }

    fn test(&mut self, ticket: &usize) -> Option<Result<()>> {
        self.net.over[*ticket].clone()
    }

    fn rank(&self) -> u32 {
        (self.me - self.bases.0) as u32
    }

    fn show(
        &mut self,
        phase: u32,
        length: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Option<Result<()>> {
        assert!(length <= BOARD_ROOM);
        if self.net.random.below(3) == 0 {
            return None;
        }
        let mut bytes = vec![0xee; length];
        fill(&mut bytes);
        self.exhibit(phase, Exhibit::Here(bytes))
    }

    fn show_at(&mut self, phase: u32, address: *mut u8, length: usize) -> Option<Result<()>> {
        assert!(!address.is_null(), "nothing is there");
        self.exhibit(phase, Exhibit::There(address, length))
    }

    fn look(&mut self, phase: u32, from: u32) -> Option<Result<Shown>> {
        assert!(!self.net.done[self.me], "a look after the end");
        if self.net.random.below(3) == 0 {
            return None;
        }
        let from = self.hall[from as usize] as usize;
        Some(Ok(match self.net.boards.get(&(from, phase))? {
            Exhibit::Here(bytes) => Shown::Here(bytes.as_ptr(), bytes.len()),
            Exhibit::There(address, length) => Shown::There(*address as u64, *length),
        }))
    }

    fn fetch(
        &mut self,
        _phase: u32,
        from: u32,
        remote: u64,
        into: *mut u8,
        length: usize,
    ) -> Result<()> {
        assert_ne!(self.hall[from as usize], self.me as u32, "its own memory");
        let mut bytes = vec![0; length];
        Data::dense(remote as *mut u8, length).read(0, &mut bytes);
        Data::dense(into, length).write(0, &bytes);
        Ok(())
    }

    fn done(&mut self) {
        assert!(!self.net.done[self.me], "said twice");
        self.net.done[self.me] = true;
        self.net.over.push(None);
    }

    fn is_read(&mut self, by: Option<u32>) -> Option<Result<()>> {
        let all = match by {
            Some(rank) => self.net.done[self.hall[rank as usize] as usize],
            None => self.hall.iter().all(|&rank| self.net.done[rank as usize]),
        };
        all.then_some(Ok(()))
    }

    fn withdraw(&mut self) {
        panic!("nobody is lost");
    }
}

impl End<'_> {
    fn exhibit(&mut self, phase: u32, exhibit: Exhibit) -> Option<Result<()>> {
        let before = self.net.boards.insert((self.me, phase), exhibit);
        assert!(before.is_none(), "shown twice");
        assert!((1..=PHASES).contains(&phase), "phase {phase}");
        self.net.over.push(None);
        Some(Ok(()))
    }
}

/// Limits with this `board_most` are for ranks on several machines.
pub const NODES: usize = 77;

/// So many ranks, on machines: some neighbours on one, some not, the last alone, and two or three on each in turns.
fn nodes(ranks: u32) -> Nodes {
    let node = |rank: u32| match ranks % 4 {
        0 => rank / 2,
        1 => rank % 2,
        2 => rank * rank % 3,
        _ => 0,
    };
    let last = |rank: u32| !ranks.is_multiple_of(4) && rank + 1 == ranks;
    let with = |a: u32, b: u32| a == b || (node(a) == node(b) && !last(a) && !last(b));
    let mark = |rank: u32| mark((0..ranks).filter(|&other| with(rank, other)));
    let marks: Vec<u64> = (0..ranks).map(mark).collect();
    Nodes::of(&marks).expect("they agree")
}

/// Processes with their schedules of one collective.
pub struct Job {
    running: Vec<Running<usize>>,
    bases: Vec<(usize, usize)>,
    halls: Vec<Vec<u32>>,
    pub strict: bool,
}

impl Job {
    /// One group, or the two of an inter-communicator. `build` gets the process's number, which goes on from the
    /// first group to the second.
    pub fn new(
        world: &World,
        limits: &Limits,
        groups: &[u32],
        build: impl FnMut(&mut Call, usize) -> Result<()>,
    ) -> Job {
        Job::on(world, limits, groups, &[], build)
    }

    /// The same with a topology for each process.
    pub fn on(
        world: &World,
        limits: &Limits,
        groups: &[u32],
        topologies: &[Topology],
        mut build: impl FnMut(&mut Call, usize) -> Result<()>,
    ) -> Job {
        let mut job = Job {
            running: Vec::new(),
            bases: Vec::new(),
            halls: Vec::new(),
            strict: true,
        };
        let nodes = (limits.board_most == NODES && groups.len() == 1).then(|| nodes(groups[0]));
        for (group, &size) in groups.iter().enumerate() {
            let first = if group == 0 { 0 } else { groups[0] as usize };
            let other = if group == 0 { groups[0] as usize } else { 0 };
            for rank in 0..size {
                let mut running = Running::default();
                let mut call = Call {
                    world,
                    place: Place {
                        rank,
                        size,
                        remote: (groups.len() == 2).then(|| groups[1 - group]),
                    },
                    topology: topologies.get(first + rank as usize),
                    limits,
                    // Ranks that are near and do not share processors have boards in these tests.
                    reach: ((limits.near || nodes.is_some())
                        && !limits.crowded
                        && groups == [size]
                        && size > 1)
                        .then_some(Reach {
                            fetch: limits.board_here < BOARD_ROOM,
                            nodes: nodes.as_ref(),
                        }),
                    s: &mut running.schedule,
                };
                build(&mut call, first + rank as usize).unwrap();
                job.running.push(running);
                job.bases.push((first, other));
                job.halls.push(match &nodes {
                    Some(nodes) => nodes.members(nodes.place(rank).0).to_vec(),
                    None => (0..size).collect(),
                });
            }
        }
        job
    }

    /// Runs all to their ends; what each says of it.
    pub fn run(&mut self, seed: u64) -> Vec<Result<()>> {
        let mut net = Net {
            random: Random::new(seed),
            boards: BTreeMap::new(),
            done: vec![false; self.running.len()],
            links: BTreeMap::new(),
            ready: Vec::new(),
            over: Vec::new(),
            strict: self.strict,
        };
        let mut ends: Vec<Option<Result<()>>> = self.running.iter().map(|_| None).collect();
        let mut calls: Vec<Option<Upcall>> = self.running.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..self.running.len()).collect();
        let mut stuck = 0;
        while !open.is_empty() {
            let at = net.random.below(open.len());
            let me = open[at];
            if let Some(call) = calls[me].take() {
                call.run();
                self.running[me].resumed();
            }
            let before = net.over.len();
            let mut end = End {
                net: &mut net,
                me,
                bases: self.bases[me],
                hall: &self.halls[me],
            };
            match self.running[me].advance(&mut end) {
                Ok(State::Waiting) => stuck += 1,
                Ok(State::Call(call)) => {
                    calls[me] = Some(call);
                    stuck = 0;
                }
                Ok(State::Done) => {
                    ends[me] = Some(Ok(()));
                    open.swap_remove(at);
                    stuck = 0;
                }
                Err(error) => {
                    ends[me] = Some(Err(error));
                    open.swap_remove(at);
                    stuck = 0;
                }
            }
            if net.over.len() > before {
                stuck = 0;
            }
            for _ in 0..net.random.below(4) {
                if net.deliver() {
                    stuck = 0;
                }
            }
            if stuck > 1000 + 20 * open.len() {
                while net.deliver() {
                    stuck = 0;
                }
                assert_eq!(stuck, 0, "{open:?} wait for ever");
            }
        }
        for (process, running) in self.running.iter().enumerate() {
            let shows = running.schedule.shows;
            let with = self.halls[process]
                .first()
                .map_or(process, |&rank| rank as usize);
            assert_eq!(shows, self.running[with].schedule.shows, "way of {process}");
            assert_eq!(net.done[process], shows, "end of {process}");
        }
        for (way, link) in &net.links {
            assert!(
                link.sent.is_empty(),
                "nobody receives what is sent on {way:?}"
            );
            assert!(
                link.posted.is_empty(),
                "nobody sends what is awaited on {way:?}"
            );
        }
        ends.into_iter().map(Option::unwrap).collect()
    }

    /// Does it go by boards?
    pub fn shows(&self) -> bool {
        self.running.iter().all(|r| r.schedule.shows)
    }

    /// Back to the beginning, as a persistent collective.
    pub fn rewind(&mut self) {
        self.running.iter_mut().for_each(Running::rewind);
    }
}
