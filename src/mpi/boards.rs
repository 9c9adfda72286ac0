//! The boards of a communicator: how its members agree to use them. After a few blocking collectives they tell each
//! other, by an ordinary allgather, which board each gives, and whose memory each sees; only if all that share a machine do,
//! boards are used: by all members, or among those of each node.

use crate::base::error::Result;
use crate::base::id::CommId;
use crate::mpi::collective::shown::Reach;
use crate::mpi::comm::Comm;
use crate::mpi::nodes::{self, Nodes};
use crate::mpi::World;
use crate::transport::{Boards, Offer, BOARD_PHASES};

/// Blocking collectives before it is worth the trouble.
const FIRST: i32 = 3;
/// Then as many more, if not all members had a board to give.
const AGAIN: i32 = 1000;
/// Members of a communicator, or of a node of it, that use boards: all look at all.
pub const MOST: u32 = 64;
/// Phases that every blocking collective takes of the boards' numbers, however many it uses: ranks count alike even if one
/// finds its arguments wrong.
pub const PHASES: u32 = BOARD_PHASES as u32;
/// Bytes of an offer on its way.
pub const OFFER: usize = 24;
/// In the second word of an offer: this rank can read the memory of every member of its node.
const FETCH: u64 = 1 << 63;

/// How far a communicator has come with boards.
pub enum Showing {
    /// So many blocking collectives were called, of [`FIRST`]; negative after a vain attempt.
    Untried(i32),
    /// The members are telling each other.
    Meeting(Option<Offer>),
    Ready(Box<Boards>),
    /// There will be none.
    Never,
    /// In use by the collective under way.
    Lent,
}

impl Default for Showing {
    fn default() -> Showing {
        Showing::Untried(0)
    }
}

impl Showing {
    /// Lends the boards to a collective.
    pub fn lend(&mut self) -> Option<Box<Boards>> {
        match std::mem::replace(self, Showing::Lent) {
            Showing::Ready(boards) => Some(boards),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Comm {
    /// What boards can do for its next blocking collective.
    pub fn reach(&self) -> Option<Reach<'_>> {
        match (&self.nodes, &self.boards) {
            (Some(nodes), _) => Some(Reach {
                fetch: nodes.fetch,
                nodes: Some(nodes),
            }),
            (None, Showing::Ready(boards)) => Some(Reach {
                fetch: boards.fetch,
                nodes: None,
            }),
            _ => None,
        }
    }
}

impl World {
    /// Is it time for the members to agree? Asked with every blocking collective, which all members call alike.
    #[inline]
    pub fn is_meeting_due(&mut self, comm: CommId) -> bool {
        let near = self.limits.near;
        let Ok(on) = self.comms.get_mut(comm) else {
            return false;
        };
        match on.boards {
            Showing::Untried(before) if before >= FIRST => {
                let members = &on.group.members;
                let engine = self.engine.as_ref();
                let fit = is_fit(on, near)
                    && (near || engine.is_some_and(|e| e.links.share_machines(members)));
                if !fit {
                    on.boards = Showing::Never;
                }
                fit
            }
            Showing::Untried(before) => {
                on.boards = Showing::Untried(before + 1);
                false
            }
            _ => false,
        }
    }

    /// What this rank tells the others, and how many they are with it. Ends with [`World::join_boards`].
    ///
    /// # Errors
    /// Those of a communicator that does not exist.
    pub fn offer_boards(&mut self, comm: CommId) -> Result<([u8; OFFER], usize)> {
        let on = self.comms.get_mut(comm)?;
        let (size, rank) = (on.size(), on.rank);
        let mut words = [0u64; OFFER / 8];
        words[2] = nodes::mark([rank].into_iter());
        let mut mine = None;
        if let Some(engine) = &mut self.engine {
            let (links, members) = (&mut engine.links, &on.group.members);
            let mut shows: Vec<u32> = (0..size)
                .filter(|&r| r == rank || links.may_be_near(members[r as usize]))
                .collect();
            // Of more than can use boards nobody's memory need be looked at.
            match shows.len() <= MOST as usize {
                true => shows.retain(|&r| links.shows_to(members[r as usize])),
                false => shows = vec![rank],
            }
            if shows.len() > 1 {
                mine = links.offer_board();
            }
            if let Some(offer) = mine {
                let fetch = shows.iter().all(|&r| links.can_fetch(members[r as usize]));
                words[0] = u64::from(offer.index) + 1;
                words[1] = offer.base | if fetch { FETCH } else { 0 };
            }
            words[2] = nodes::mark(shows.into_iter());
        }
        on.boards = Showing::Meeting(mine);
        let mut bytes = [0; OFFER];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        Ok((bytes, size as usize))
    }

    /// All members' offers have come, by rank; `None`: they could not.
    ///
    /// # Errors
    /// As those of [`World::offer_boards`].
    pub fn join_boards(&mut self, comm: CommId, offers: Option<&[u8]>) -> Result<()> {
        let on = self.comms.get_mut(comm)?;
        let Showing::Meeting(mine) = std::mem::replace(&mut on.boards, Showing::Untried(-AGAIN))
        else {
            return Ok(());
        };
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        let words = |bytes: &[u8]| {
            let mut words = bytes.chunks_exact(8);
            [(); OFFER / 8].map(|()| {
                let word = words.next().and_then(|word| word.try_into().ok());
                word.map_or(0, u64::from_le_bytes)
            })
        };
        let offers: Vec<_> = offers
            .unwrap_or(&[])
            .chunks_exact(OFFER)
            .map(words)
            .collect();
        let mut joined = None;
        match Meeting::of(&offers) {
            Meeting::Vain => {}
            Meeting::Alone => on.boards = Showing::Never,
            Meeting::Nodes(nodes) => {
                let (node, me) = nodes.place(on.rank);
                let ranks = nodes.members(node).iter();
                let all: Vec<_> = ranks
                    .map(|&rank| {
                        (
                            on.group.members[rank as usize],
                            offer(&offers[rank as usize]),
                        )
                    })
                    .collect();
                if all.len() > 1 {
                    joined = engine.links.join_boards(me as usize, &all, nodes.fetch);
                }
                on.boards = Showing::Never;
                if nodes.count() > 1 {
                    on.nodes = Some(Box::new(nodes));
                }
            }
        }
        match (joined, mine) {
            (Some(boards), _) => on.boards = Showing::Ready(Box::new(boards)),
            (None, Some(offer)) => engine.links.withdraw_board(offer),
            (None, None) => {}
        }
        Ok(())
    }

    /// The collective that had them is over.
    pub fn return_boards(&mut self, comm: CommId, mut boards: Box<Boards>) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        engine.links.end_turn(&mut boards, PHASES);
        match self.comms.get_mut(comm) {
            Ok(on) => on.boards = Showing::Ready(boards),
            Err(_) => engine.links.leave_boards(*boards),
        }
    }

    /// A communicator is no more.
    pub fn leave_boards(&mut self, gone: Comm) {
        if let (Showing::Ready(boards), Some(engine)) = (gone.boards, &mut self.engine) {
            engine.links.leave_boards(*boards);
        }
    }
}

/// What came of a meeting; all members find the same.
enum Meeting {
    Nodes(Nodes),
    /// No two members share memory.
    Alone,
    /// They do not agree, or some that share memory have no board to give.
    Vain,
}

impl Meeting {
    /// From what each member told.
    fn of(offers: &[[u64; OFFER / 8]]) -> Meeting {
        let marks: Vec<u64> = offers.iter().map(|words| words[2]).collect();
        let Some(mut nodes) = Nodes::of(&marks).filter(|nodes| nodes.count() > 0) else {
            return Meeting::Vain;
        };
        let shared = nodes.all().filter(|ranks| ranks.len() > 1).flatten();
        let shared: Vec<_> = shared.map(|&rank| &offers[rank as usize]).collect();
        if shared.is_empty() {
            return Meeting::Alone;
        }
        if shared.iter().any(|words| words[0] == 0) {
            return Meeting::Vain;
        }
        nodes.fetch = shared.iter().all(|words| words[1] & FETCH != 0);
        Meeting::Nodes(nodes)
    }
}

fn offer(&[index, base, _]: &[u64; OFFER / 8]) -> Offer {
    Offer {
        index: index.wrapping_sub(1) as u32,
        base: base & !FETCH,
    }
}

/// May boards serve this communicator at all? All members answer alike.
fn is_fit(on: &Comm, near: bool) -> bool {
    let size = on.size();
    on.remote.is_none() && size >= 2 && (size <= MOST || !near)
}
