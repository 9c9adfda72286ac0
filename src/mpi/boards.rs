//! The boards of a communicator: how its members agree to use them. After a few blocking collectives they tell each
//! other, by an ordinary allgather, which board each gives; only if all do, and see all others' memory, boards are used.

use crate::base::error::Result;
use crate::base::id::CommId;
use crate::mpi::collective::shown::Reach;
use crate::mpi::comm::Comm;
use crate::mpi::World;
use crate::transport::{Boards, Offer, BOARD_PHASES};

/// Blocking collectives before it is worth the trouble.
const FIRST: i32 = 3;
/// Then as many more, if not all members had a board to give.
const AGAIN: i32 = 1000;
/// Members of a communicator that uses boards: all look at all.
pub const MOST: u32 = 64;
/// Phases that every blocking collective takes of the boards' numbers, however many it uses: ranks count alike even if one
/// finds its arguments wrong.
pub const PHASES: u32 = BOARD_PHASES as u32;
/// Bytes of an offer on its way.
pub const OFFER: usize = 16;
/// In the second word of an offer: this rank can read every member's memory.
const FETCH: u64 = 1 << 63;

/// How far a communicator has come with boards.
pub enum Showing {
    /// So many blocking collectives were called, of [`FIRST`]; negative after a vain attempt.
    Untried(i32),
    /// The members are telling each other.
    Meeting(Option<Offer>),
    Ready(Box<Boards>),
    /// In use by the collective under way.
    Lent,
}

impl Default for Showing {
    fn default() -> Showing {
        Showing::Untried(0)
    }
}

impl Showing {
    /// What boards can do for the next blocking collective.
    pub fn reach(&self) -> Option<Reach> {
        match self {
            Showing::Ready(boards) => Some(Reach {
                fetch: boards.fetch,
            }),
            _ => None,
        }
    }

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

impl World {
    /// Is it time for the members to agree? Asked with every blocking collective, which all members call alike.
    #[inline]
    pub fn is_meeting_due(&mut self, comm: CommId) -> bool {
        let near = self.limits.near;
        let Ok(on) = self.comms.get_mut(comm) else {
            return false;
        };
        match on.boards {
            Showing::Untried(before) if before >= FIRST => near && is_fit(on),
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
        let mut words = [0u64; 2];
        let mut mine = None;
        if let Some(engine) = &mut self.engine {
            let links = &mut engine.links;
            if on.group.members.iter().all(|&peer| links.shows_to(peer)) {
                mine = links.offer_board();
            }
            if let Some(offer) = mine {
                let fetch = on.group.members.iter().all(|&peer| links.can_fetch(peer));
                words[0] = u64::from(offer.index) + 1;
                words[1] = offer.base | if fetch { FETCH } else { 0 };
            }
        }
        let size = on.size() as usize;
        on.boards = Showing::Meeting(mine);
        let mut bytes = [0; OFFER];
        bytes[..8].copy_from_slice(&words[0].to_le_bytes());
        bytes[8..].copy_from_slice(&words[1].to_le_bytes());
        Ok((bytes, size))
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
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        let mut all = Vec::with_capacity(on.group.members.len());
        let mut fetch = true;
        for (bytes, &peer) in offers
            .unwrap_or(&[])
            .chunks_exact(OFFER)
            .zip(&on.group.members)
        {
            let (index, base) = (word(&bytes[..8]), word(&bytes[8..]));
            fetch &= base & FETCH != 0;
            if index > 0 {
                let offer = Offer {
                    index: (index - 1) as u32,
                    base: base & !FETCH,
                };
                all.push((peer, offer));
            }
        }
        let complete = all.len() == on.group.members.len();
        let me = on.rank as usize;
        let joined = match complete {
            true => engine.links.join_boards(me, &all, fetch),
            false => None,
        };
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

/// May boards serve this communicator at all? All members answer alike.
fn is_fit(on: &Comm) -> bool {
    on.remote.is_none() && (2..=MOST).contains(&on.size())
}
