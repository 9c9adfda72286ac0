//! Boards, where there is shared memory.

use super::{Links, Route};
use crate::base::error::Result;
use crate::base::id::PeerId;
use crate::fail;
use crate::transport::shm::board::{Boards, Offer, Shown};
use crate::transport::shm::Shm;

impl Links {
    /// Does this peer see what is shown here, and the other way round?
    pub fn shows_to(&mut self, peer: PeerId) -> bool {
        peer == self.me || self.route(peer) == Route::Shm
    }

    /// A board of this rank's for a communicator, which is taken from now on; none without shared memory.
    pub fn offer_board(&mut self) -> Option<Offer> {
        self.shm.as_mut()?.offer_board()
    }

    /// Takes back an offer.
    pub fn withdraw_board(&mut self, offer: Offer) {
        if let Some(shm) = &mut self.shm {
            shm.withdraw_board(offer);
        }
    }

    /// The boards that the members offered, by rank in the communicator, of which this one is `me`; `fetch`: all can read
    /// all others' memory.
    pub fn join_boards(
        &mut self,
        me: usize,
        offers: &[(PeerId, Offer)],
        fetch: bool,
    ) -> Option<Boards> {
        self.shm.as_mut()?.join_boards(me, offers, fetch)
    }

    /// The communicator is no more.
    pub fn leave_boards(&mut self, boards: Boards) {
        if let Some(shm) = &mut self.shm {
            shm.leave_boards(boards);
        }
    }

    /// See [`crate::transport::shm::Shm::show`].
    #[inline]
    pub fn show(
        &mut self,
        boards: &mut Boards,
        phase: u32,
        length: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> bool {
        match &mut self.shm {
            Some(shm) => shm.show(boards, phase, length, fill),
            None => false,
        }
    }

    /// See [`crate::transport::shm::Shm::show_at`].
    pub fn show_at(
        &mut self,
        boards: &mut Boards,
        phase: u32,
        address: u64,
        length: usize,
    ) -> bool {
        match &mut self.shm {
            Some(shm) => shm.show_at(boards, phase, address, length),
            None => false,
        }
    }

    /// See [`crate::transport::shm::Shm::look`].
    #[inline]
    pub fn look(
        &mut self,
        boards: &mut Boards,
        phase: u32,
        from: u32,
        spins: u32,
    ) -> Option<Result<Shown>> {
        self.shm.as_mut()?.look(boards, phase, from, spins)
    }

    /// See [`crate::transport::shm::Shm::fetch_shown`].
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn fetch_shown(
        &mut self,
        boards: &Boards,
        of: (u32, u32),
        remote: u64,
        into: *mut u8,
        length: usize,
    ) -> Result<()> {
        match &mut self.shm {
            Some(shm) => shm.fetch_shown(boards, of, remote, into, length),
            None => fail!(Other, "there is no shared memory"),
        }
    }

    /// See [`crate::transport::shm::Shm::say_done`].
    #[inline]
    pub fn say_done(&mut self, boards: &mut Boards, phases: u32) {
        if let Some(shm) = &mut self.shm {
            shm.say_done(boards, phases);
        }
    }

    /// See [`crate::transport::shm::Shm::is_read`].
    pub fn is_read(&mut self, boards: &mut Boards, phases: u32, by: Option<u32>) -> bool {
        match &mut self.shm {
            Some(shm) => shm.is_read(boards, phases, by),
            None => true,
        }
    }

    /// See [`crate::transport::shm::Shm::end_turn`].
    #[inline]
    pub fn end_turn(&mut self, boards: &mut Boards, phases: u32) {
        if let Some(shm) = &mut self.shm {
            shm.end_turn(boards, phases);
        }
    }

    /// Whose boards are waited for.
    pub fn awaited(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.shm.iter().flat_map(Shm::awaited)
    }

    /// See [`crate::transport::shm::Shm::withdraw_shown`].
    pub fn withdraw_shown(&mut self, boards: &Boards, phases: u32) {
        if let Some(shm) = &mut self.shm {
            shm.withdraw_shown(boards, phases);
        }
    }
}
