//! Who is where: how every rank learns everybody's address.
//!
//! In a small job the rendezvous gives the whole table to all. In a large one that would be a square of bytes at one
//! place: there it gives each rank only its neighbours in a tree, and the table travels down the tree over the links,
//! in pieces, each passed on as soon as it is there (log depth, every rank sends it [`TREE_ARITY`] times at most).

use crate::base::error::Result;
use crate::base::id::PeerId;
use crate::bootstrap::{tree_children, tree_parent, Bootstrap};
use crate::engine::{Data, End, Engine, Pattern, Started, Ticket};
use crate::fail;
use crate::runtime::Runtime;
use crate::transport::{Known, Links, TABLE_MAX};

/// The context on which the table travels: free again when it has.
const CONTEXT: u64 = 24;
/// Bytes of a piece of the table.
const PIECE: usize = 128 << 10;
/// The length's tag, and that of the pieces, which arrive in order.
const LENGTH: i32 = 0;
const PIECES: i32 = 1;

/// Makes the ranks known to each other's links; `open` makes the engine of them. From `tree_from` ranks on by the tree,
/// where the rendezvous is Mayfly's own.
pub fn introduce(
    rt: &Runtime,
    boot: &mut Bootstrap,
    mut links: Links,
    tree_from: u32,
    open: impl FnOnce(Links),
) -> Result<()> {
    let (me, size) = (boot.identity().rank, boot.identity().size);
    if size == 1 {
        open(links);
        return Ok(());
    }
    let address = links.address();
    let branch = if size >= tree_from.max(2) {
        boot.tree_exchange(&address)?
    } else {
        None
    };
    let Some(branch) = branch else {
        links.introduce(boot.exchange(&address)?)?;
        open(links);
        return Ok(());
    };
    let mut descent = Descent::new(me, size);
    if me == 0 {
        let mut known = Known::none_of(size);
        for (rank, blob) in &branch {
            known.add(*rank, blob);
        }
        descent.begin(known.table().to_vec());
        links.introduce_all(known)?;
    } else {
        links.introduce_few(&branch)?;
    }
    open(links);
    let table = rt.until(|world| match world.engine() {
        Ok(engine) => descent.step(engine).transpose(),
        Err(error) => Some(Err(error)),
    });
    if table.is_err() {
        // Messages under way point into it.
        std::mem::forget(descent);
    }
    let table = table?;
    if me == 0 {
        return Ok(());
    }
    let known = match Known::read(size, table) {
        Ok(known) => known,
        Err(why) => fail!(Intern, "the table of addresses cannot be read: {why}"),
    };
    rt.with(|world| world.engine()?.links.introduce_all(known))
}

/// One rank's part in the table's way down.
struct Descent {
    me: u32,
    parent: Option<u32>,
    children: Vec<u32>,
    /// Behind this, no piece has arrived.
    arrived: usize,
    /// Where the table is put together; as long as the table from the moment that its length is known.
    table: Vec<u8>,
    length: Box<[u8; 8]>,
    /// The receive under way.
    receive: Option<Started>,
    /// Sends under way.
    sends: Vec<Ticket>,
    /// The length is known.
    begun: bool,
    /// How far the table went on to the children.
    passed: Option<usize>,
}

impl Descent {
    fn new(me: u32, size: u32) -> Descent {
        Descent {
            me,
            parent: tree_parent(me),
            children: tree_children(me, size).collect(),
            arrived: 0,
            table: Vec::new(),
            length: Box::new([0; 8]),
            receive: None,
            sends: Vec::new(),
            begun: false,
            passed: None,
        }
    }

    /// At the root: the table is here.
    fn begin(&mut self, table: Vec<u8>) {
        *self.length = (table.len() as u64).to_le_bytes();
        self.arrived = table.len();
        self.table = table;
        self.begun = true;
    }

    /// Goes on as far as it can without waiting; the table when it is here and everywhere below, as far as this rank
    /// has to see to it.
    fn step(&mut self, engine: &mut Engine) -> Result<Option<Vec<u8>>> {
        self.receive(engine)?;
        if self.begun {
            self.pass_on(engine);
        }
        let mut at = 0;
        while at < self.sends.len() {
            match engine.test(self.sends[at]) {
                None => at += 1,
                Some(outcome) => {
                    if let End::Lost(peer) = outcome.end {
                        fail!(ProcAborted, "rank {} was lost while MPI started", peer.0);
                    }
                    self.sends.swap_remove(at);
                }
            }
        }
        let over = self.begun
            && self.sends.is_empty()
            && self.arrived == self.table.len()
            && self.passed == Some(self.table.len());
        if over {
            engine.drop_context(CONTEXT);
        }
        Ok(over.then(|| std::mem::take(&mut self.table)))
    }

    /// Takes in what the parent sends.
    fn receive(&mut self, engine: &mut Engine) -> Result<()> {
        let Some(parent) = self.parent else {
            return Ok(());
        };
        while !self.begun || self.arrived < self.table.len() {
            let started = match self.receive.take() {
                Some(started) => started,
                None => {
                    let (data, tag) = if self.begun {
                        let rest = &mut self.table[self.arrived..];
                        let length = rest.len().min(PIECE);
                        (Data::dense(rest.as_mut_ptr(), length), PIECES)
                    } else {
                        (Data::dense(self.length.as_mut_ptr(), 8), LENGTH)
                    };
                    let pattern = Pattern {
                        source: Some(parent),
                        tag: Some(tag),
                    };
                    engine.receive(data, CONTEXT, pattern, Some(PeerId(parent)))
                }
            };
            let outcome = match started {
                Started::Done(outcome) => outcome,
                Started::Pending(ticket) => match engine.test(ticket) {
                    Some(outcome) => outcome,
                    None => {
                        self.receive = Some(started);
                        return Ok(());
                    }
                },
            };
            match outcome.end {
                End::Fine => {}
                End::Lost(peer) => fail!(
                    ProcAborted,
                    "rank {} was lost before it had passed on everybody's address",
                    peer.0
                ),
                _ => fail!(Intern, "rank {parent} sent more of the table than there is"),
            }
            if self.begun {
                self.arrived += outcome.bytes as usize;
                continue;
            }
            let length = u64::from_le_bytes(*self.length);
            if length == 0 || length > TABLE_MAX as u64 {
                fail!(Intern, "rank {parent} announces a table of {length} bytes");
            }
            self.table = vec![0; length as usize];
            self.begun = true;
        }
        Ok(())
    }

    /// Sends what is new to the children, in whole pieces.
    fn pass_on(&mut self, engine: &mut Engine) {
        if self.passed.is_none() {
            self.passed = Some(0);
            let data = Data::dense(self.length.as_mut_ptr(), 8);
            self.send_down(engine, data, LENGTH);
        }
        while let Some(from) = self.passed.filter(|&from| from < self.arrived) {
            let to = (from + PIECE).min(self.table.len());
            if to > self.arrived {
                return;
            }
            let piece = &mut self.table[from..to];
            let data = Data::dense(piece.as_mut_ptr(), piece.len());
            self.send_down(engine, data, PIECES);
            self.passed = Some(to);
        }
    }

    fn send_down(&mut self, engine: &mut Engine, data: Data, tag: i32) {
        for &child in &self.children {
            let to = PeerId(child);
            let sent = engine.send(data.clone(), to, CONTEXT, self.me, tag, false, false);
            if let Started::Pending(ticket) = sent {
                self.sends.push(ticket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::sim::{Settings, Sim};

    fn engines(settings: Settings) -> (Sim, Vec<Engine>) {
        let (sim, links) = Links::simulated(settings);
        let ranks = settings.ranks;
        let engines = (0..)
            .zip(links)
            .map(|(me, links)| Engine::new(links, PeerId(me), ranks, 0))
            .collect();
        (sim, engines)
    }

    fn table(ranks: u32, each: usize) -> Vec<u8> {
        let mut known = Known::none_of(ranks);
        for rank in 0..ranks {
            known.add(rank, &vec![rank as u8 ^ 0x55; each + rank as usize % 5]);
        }
        known.table().to_vec()
    }

    #[test]
    fn the_table_reaches_everybody() {
        let rough = |ranks, seed| Settings::rough(ranks, seed);
        for (settings, each) in [
            (Settings::calm(1), 100),
            (Settings::calm(2), 100),
            (Settings::calm(300), 150),
            (rough(9, 1), 40_000),
            (rough(10, 2), 40_000),
            (rough(74, 3), 3_000),
            (rough(75, 4), 3_000),
        ] {
            let ranks = settings.ranks;
            let (_sim, mut engines) = engines(settings);
            let wanted = table(ranks, each);
            let mut parts: Vec<Descent> = (0..ranks).map(|me| Descent::new(me, ranks)).collect();
            parts[0].begin(wanted.clone());
            let mut open: Vec<usize> = (0..ranks as usize).rev().collect();
            let mut turns = 0;
            while !open.is_empty() {
                for engine in &mut engines {
                    engine.progress();
                }
                open.retain(|&me| {
                    let got = parts[me].step(&mut engines[me]).expect("no loss");
                    if let Some(got) = &got {
                        assert!(*got == wanted, "rank {me} of {ranks}");
                        Known::read(ranks, got.clone()).expect("a table");
                    }
                    got.is_none()
                });
                turns += 1;
                assert!(turns < 100_000, "{ranks} ranks: it stands still");
            }
        }
    }

    #[test]
    fn a_rank_that_dies_on_the_way_ends_the_start_of_those_below_it() {
        let (sim, mut engines) = engines(Settings::calm(20));
        let mut parts: Vec<Descent> = (0..20).map(|me| Descent::new(me, 20)).collect();
        parts[0].begin(table(20, 30_000));
        sim.kill(PeerId(1));
        let mut ends: Vec<Option<bool>> = vec![None; 20];
        ends[1] = Some(false);
        for _ in 0..10_000 {
            for me in (0..20).filter(|&me| me != 1) {
                engines[me].progress();
                if ends[me].is_none() {
                    ends[me] = match parts[me].step(&mut engines[me]) {
                        Ok(table) => table.map(|_| true),
                        Err(error) => {
                            assert!(error.detail.contains("rank 1 "), "{error}");
                            Some(false)
                        }
                    };
                }
            }
        }
        for me in [0].into_iter().chain(9..17) {
            assert_eq!(ends[me], Some(false), "rank {me}");
        }
        assert!(ends.iter().all(Option::is_some), "{ends:?}");
    }
}
